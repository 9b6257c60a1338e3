"""/openapi.json: what FastAPI finds in the routes, completed with what it cannot see.

That is: the bodies of the routes that read their requests themselves, the documents that are answered, every
refusal, Soniox's webhook, and the events that are sent.
"""

import re
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api import documents, examples
from service.api.calls import JSON, REFERENCE, Json, body_of, event, ref_to, refusal, soniox_webhook
from service.api.submission import Submission
from service.settings import WEBHOOK_PATH

FORM = "multipart/form-data"
SOURCES = ("audio_url", "file_id")

DESCRIPTION = """\
Soniox's own API for recordings, kept: the official SDKs work when their base URL is this relay. Accepted work is
durable before the answer, waits here while Soniox has no room, and its results are kept and announced.
Further fields may appear in every document at any time."""

ANSWERS: dict[str, tuple[type[BaseModel], Json]] = {
    "POST /v1/transcriptions": (documents.Transcription, examples.TRANSCRIPTION),
    "GET /v1/transcriptions": (
        documents.TranscriptionPage,
        {"transcriptions": [examples.TRANSCRIPTION], "next_page_cursor": None},
    ),
    "GET /v1/transcriptions/count": (documents.Count, examples.COUNT),
    "GET /v1/transcriptions/{transcription_id}": (
        documents.TranscriptionWithTimeline,
        {**examples.TRANSCRIPTION, "timeline": [examples.STEP]},
    ),
    "POST /v1/transcriptions/{transcription_id}/retry": (documents.Transcription, examples.TRANSCRIPTION),
    "POST /v1/files": (documents.File, examples.FILE_OBJECT),
    "GET /v1/files": (documents.FilePage, {"files": [examples.FILE_OBJECT], "next_page_cursor": None}),
    "GET /v1/files/count": (documents.Count, examples.COUNT),
    "GET /v1/files/{file_id}": (documents.File, examples.FILE_OBJECT),
    "GET /v1/models": (
        documents.Models,
        {
            "models": [
                {"id": "stt-async-v5", "aliased_model_id": None, "name": "v5", "transcription_mode": "async"}
            ]
        },
    ),
    "POST /v1/keys": (documents.KeyWithSecret, {**examples.KEY, "key": "srk_..."}),
    "GET /v1/keys": (documents.Keys, {"keys": [examples.KEY]}),
}
REFUSALS: dict[str, tuple[int, ...]] = {
    "POST /v1/transcriptions": (413, 415, 422),
    "POST /v1/transcriptions/{transcription_id}/retry": (409,),
    "POST /v1/files": (413, 415),
}
HEADERS: dict[str, tuple[str, ...]] = {
    "POST /v1/transcriptions": ("Location", "Idempotent-Replayed"),
    "POST /v1/files": ("Location",),
    "POST /v1/keys": ("Location",),
    "GET /v1/transcriptions/{transcription_id}": ("ETag",),
    "GET /v1/models": ("ETag",),
}
DESCRIBED = (
    documents.Error,
    documents.Transcript,
    documents.Upload,
    documents.Notice,
    documents.FinishedTranscription,
    documents.DeletedTranscription,
    *(answer for answer, _ in ANSWERS.values()),
)


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
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= _schemas()
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for name, operation in _operations(document):
        _complete(name, operation)
    document["paths"]["/v1/transcriptions"]["post"]["requestBody"] = _submission_body()
    document["paths"]["/v1/files"]["post"]["requestBody"] = body_of(FORM, ref_to(documents.Upload))
    document["paths"][WEBHOOK_PATH] = {"post": soniox_webhook()}
    document["webhooks"] = {name: {"post": event(name)} for name in examples.EVENTS}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _schemas() -> Json:
    answered = [(model, "serialization") for model in dict.fromkeys(DESCRIBED)]
    asked = [(Submission, "validation")]
    _, definitions = models_json_schema([*answered, *asked], ref_template=REFERENCE)  # type: ignore[list-item]
    schemas: Json = definitions["$defs"]
    with_file = {name: spec for name, spec in schemas["Submission"]["properties"].items() if name not in SOURCES}
    schemas["SubmissionWithFile"] = {
        **schemas["Submission"],
        "properties": with_file,
        "title": "SubmissionWithFile",
    }
    schemas["Submission"]["oneOf"] = [
        {"required": [source], "properties": {source: {"type": "string"}}} for source in SOURCES
    ]
    return schemas


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def _complete(name: str, operation: Json) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    if " /v1/" not in name:
        return
    operation["security"] = [{"key": []}]
    _describe_success(name, answers)
    given = tuple(int(code) for code in answers if int(code) >= 400)
    missing = (404,) if "{" in name else ()
    for code in sorted({400, 401, 403, 429, 500, 503, *given, *missing, *REFUSALS.get(name, ())}):
        answers[str(code)] = refusal(code, answers.get(str(code), {}))


def _describe_success(name: str, answers: Json) -> None:
    code = next(code for code in answers if code.startswith("2"))
    if name in ANSWERS:
        model, example = ANSWERS[name]
        answers[code]["content"] = {JSON: {"schema": ref_to(model), "example": example}}
    headers = {header: {"schema": {"type": "string"}} for header in HEADERS.get(name, ())}
    if headers:
        answers[code]["headers"] = headers
    if "ETag" in headers:
        answers["304"] = {"description": "If-None-Match names what would be answered", "headers": headers}


def _submission_body() -> Json:
    with_file = {"$ref": REFERENCE.format(model="SubmissionWithFile")}
    parts = {"file": {"type": "string", "format": "binary"}, "request": with_file}
    form = {"type": "object", "required": ["file", "request"], "properties": parts}
    body = body_of(JSON, ref_to(Submission), example=examples.SUBMISSION)
    body["content"][FORM] = {
        "schema": form,
        "encoding": {"request": {"contentType": JSON}},
        "example": examples.FORM,
    }
    return body
