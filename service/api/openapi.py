"""/openapi.json: what FastAPI finds in the routes, and the few things that it cannot see."""

import re
from collections.abc import Iterator
from typing import Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api import webhooks
from service.api.documents import Json
from service.api.submission import Submission
from service.schemas import Error

SOURCES = ("audio_url", "file_id")

DESCRIPTION = """\
Soniox's own API for recordings, kept: the official SDKs work when their base URL is this relay. Accepted work is
durable before the answer, waits here while Soniox has no room, and its results are kept and announced.
Further fields may appear in every document at any time."""


def install(app: FastAPI) -> None:
    """Serve this document in place of FastAPI's own."""

    def openapi() -> Json:
        app.openapi_schema = app.openapi_schema or describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def methods_of(app: FastAPI, path: str) -> list[str]:
    """What a path can be asked: all of it, while FastAPI's 405 names the methods of one router."""
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path):
            return sorted(method.upper() for method in operations)
    return []


def describe(app: FastAPI) -> Json:
    """The whole document."""
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
    """Of refusals, and of the bodies that `intake` reads itself: with an address, and beside a file."""
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
    """404 where nothing is named, and FastAPI's own 422: what is wrong is answered with 400 here."""
    if "{" not in path:
        answers.pop("404", None)
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
