"""/openapi.json with the parts that FastAPI cannot derive, and /docs, which needs no internet access."""

import re
from collections.abc import Iterator
from importlib.resources import files
from mimetypes import guess_type
from typing import Literal

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api import webhooks
from service.api.requests import Submission
from service.api.responses import Json
from service.errors import NotFoundError
from service.schemas import Error

SOURCES = ("audio_url", "file_id")

DESCRIPTION = """\
Soniox's own API for recordings, kept: the official SDKs work when their base URL is this relay. Accepted work is
durable before the answer, waits here while Soniox has no room, and its results are kept and announced.
Further fields may appear in every document at any time."""


def install(app: FastAPI) -> None:
    """Replace FastAPI's document with the one of `describe`."""

    def openapi() -> Json:
        app.openapi_schema = app.openapi_schema or describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def methods_of(app: FastAPI, path: str) -> list[str]:
    """Return all methods of a path. FastAPI's own 405 response names only those of one router."""
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path):
            return sorted(method.upper() for method in operations)
    return []


def describe(app: FastAPI) -> Json:
    """Return the OpenAPI document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=[*app.routes, *webhooks.received.routes],
        webhooks=webhooks.sent.routes,
    )
    document["components"]["schemas"] |= _schemas()
    for path, operation in _operations(document):
        _drop_what_is_never_answered(path, operation["responses"])
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


def _schemas() -> Json:
    """Return the schemas of errors and of the bodies that routes parse themselves, without and with a file."""
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]]
    models = [(Submission, "validation"), (Error, "serialization")]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas: Json = definitions["$defs"]
    whole = schemas["Submission"]
    with_file = {name: spec for name, spec in whole["properties"].items() if name not in SOURCES}
    schemas["SubmissionWithFile"] = {**whole, "properties": with_file, "title": "SubmissionWithFile"}
    whole["oneOf"] = [{"required": [source], "properties": {source: {"type": "string"}}} for source in SOURCES]
    return schemas


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, operations in {**document["paths"], **document["webhooks"]}.items():
        for operation in operations.values():
            yield path, operation


def _drop_what_is_never_answered(path: str, answers: Json) -> None:
    """Remove 404 from paths without parameters, and FastAPI's 422: validation errors are answered with 400."""
    if "{" not in path:
        answers.pop("404", None)
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]


router = APIRouter(include_in_schema=False)

ASSETS = files("service.api") / "assets"
ASSET_TYPES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "docs.js"})
POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Soniox Relay API</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/docs.js"></script>
</body>
</html>
"""


@router.get("/docs")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    if name not in ASSET_TYPES:
        raise NotFoundError("no such asset")
    kind, _ = guess_type(name)
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response((ASSETS / name).read_bytes(), media_type=kind, headers=headers)
