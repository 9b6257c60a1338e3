"""/openapi.json and /docs: complete, true, committed, and readable without the internet."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from starlette.routing import BaseRoute, Route

from service.api import openapi
from service.app import create_app
from service.event_types import EVENT_TYPES
from service.settings import WEBHOOK_PATH, Settings
from tests.support.relay_app import RelayApp

pytestmark = pytest.mark.one_database  # one document

COMMITTED = Path(__file__).parents[1] / "docs" / "openapi.json"
OPERATIONS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of this code."""
    return dict(json.loads(json.dumps(create_app(Settings.model_construct()).openapi())))


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in OPERATIONS
    ]


def test_the_committed_document_is_that_of_this_code(document: dict[str, Any]) -> None:
    assert json.loads(COMMITTED.read_text()) == document, "run: soniox-relay openapi > docs/openapi.json"


def test_every_route_is_described(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for method, path, _ in operations(document)}
    hidden = {"/", "/docs", "/docs/assets/{name}", "/openapi.json"}
    served = {
        (method, route.path)
        for route in _routes(create_app(Settings.model_construct()).routes)
        if route.path not in hidden and not route.path.startswith("/ui")
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert len(served) > 25
    assert served | {("POST", WEBHOOK_PATH)} == described  # the door stands in front of the routes


def _routes(routes: Iterable[BaseRoute]) -> list[Route]:
    """All of them; FastAPI keeps those of an included router inside it."""
    found = []
    for route in routes:
        inner = getattr(route, "original_router", None)
        found += _routes(inner.routes) if inner else [route] if isinstance(route, Route) else []
    return found


def test_every_operation_names_its_refusals_in_sonioxs_error_body(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if not path.startswith("/v1/"):
            continue
        expected = {"400", "401", "403", "429", "500", "503"} | ({"404"} if "{" in path else set())
        assert expected <= set(operation["responses"]), (method, path)
        for code, answer in operation["responses"].items():
            if code >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (method, path, code)
    codes = set(document["paths"]["/v1/transcriptions"]["post"]["responses"])
    assert codes == {"201", "400", "401", "403", "413", "415", "422", "429", "500", "503"}


def test_every_example_is_true_to_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for where, schema, example in _examples(document):
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})
        assert list(validator.iter_errors(example)) == [], where
        checked += 1
    assert checked > 200


def _examples(node: Any, where: str = "") -> list[tuple[str, dict[str, Any], Any]]:
    """Those of bodies and those of single fields."""
    found = []
    if isinstance(node, dict):
        if "example" in node and "schema" in node:
            found.append((where, node["schema"], node["example"]))
        if isinstance(node.get("examples"), list):
            found += [(where, node, example) for example in node["examples"]]
        for name, child in node.items():
            found += _examples(child, f"{where}/{name}")
    return found


def test_both_ways_to_submit_are_described(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/transcriptions"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert content["application/json"]["example"]["audio_url"]
    assert set(content["multipart/form-data"]["schema"]["required"]) == {"file", "request"}


def test_every_operation_names_the_scope_that_its_key_needs(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for method, path, operation in operations(document):
        if not path.startswith("/v1/"):
            assert "security" not in operation, path
            continue
        [[scope]] = [needed["key"] for needed in operation["security"]]
        of_admins = path.startswith(("/v1/keys", "/v1/reconciler"))
        assert scope == ("admin" if of_admins else "read" if method == "get" else "submit"), (method, path)


def test_the_webhooks_section_has_every_event(document: dict[str, Any]) -> None:
    assert set(document["webhooks"]) == set(EVENT_TYPES)
    for name, item in document["webhooks"].items():
        body = item["post"]["requestBody"]["content"]["application/json"]
        schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
        assert schema["properties"]["type"]["const"] == name
        assert set(schema["required"]) == {"type", "timestamp", "data"}
        headers = {one["name"] for one in item["post"]["parameters"] if one["required"]}
        assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(names) - {*document["components"]["schemas"]} == set()
    unused = {*document["components"]["schemas"]} - {*names}
    assert unused == set()


async def test_the_page_needs_nothing_from_elsewhere(relay_app: RelayApp) -> None:
    page = await relay_app.client.get("/docs", headers={"Authorization": ""})
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script>" not in page.text
    assert "'unsafe-inline'" not in page.headers["content-security-policy"].partition("style-src")[0]
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        answer = await relay_app.client.get(asset)
        assert answer.status_code == 200
        assert len(answer.content) > 100
    assert (await relay_app.client.get("/docs/assets/../docs.py")).status_code == 404
    assert (await relay_app.client.get("/docs/assets/README.md")).status_code == 404
    assert (await relay_app.client.get("/openapi.json")).json()["openapi"].startswith("3.1")


def test_the_vendored_page_has_its_licence_beside_it() -> None:
    licence = (openapi.ASSETS / "LICENSE.swagger-ui").read_text("utf-8")
    assert "Apache License" in licence
    assert (openapi.ASSETS / "NOTICE.swagger-ui").is_file()
