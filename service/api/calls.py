"""Calls as OpenAPI describes them: what refuses one, what Soniox calls here, what is called at subscribers."""

from typing import Any

from pydantic import BaseModel

from service.api import documents, examples

Json = dict[str, Any]
JSON = "application/json"
REFERENCE = "#/components/schemas/{model}"


def refusal(code: int, told: Json) -> Json:
    """The answer with this status; `told` is what the route itself says of it."""
    content = {JSON: {"schema": ref_to(documents.Error), "example": examples.error(code)}}
    answer = {"description": told.get("description") or examples.ERRORS[code][0], "content": content}
    if code in {429, 503}:
        answer["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
    return answer


def ref_to(model: type[BaseModel]) -> Json:
    """Where its schema is."""
    return {"$ref": REFERENCE.format(model=model.__name__)}


def body_of(kind: str, schema: Json, **more: Any) -> Json:
    """A body that must be there."""
    return {"required": True, "content": {kind: {"schema": schema, **more}}}


def soniox_webhook() -> Json:
    """POST /webhooks/soniox."""
    refusals = {str(code): refusal(code, {}) for code in (400, 401, 408, 413, 500, 503)}
    job = {"name": "job", "in": "query", "schema": {"type": "string"}, "description": "The relay's id."}
    return {
        "tags": ["Soniox"],
        "summary": "What Soniox calls when a transcription has ended",
        "operationId": "soniox_webhook",
        "description": "The header SONIOX_API_WEBHOOK_HEADER must carry the secret of the job.",
        "parameters": [job],
        "requestBody": body_of(
            JSON, ref_to(documents.Notice), example={"id": examples.JOB, "status": "completed"}
        ),
        "responses": {"200": {"description": "It is on disk"}, **refusals},
    }


def event(name: str) -> Json:
    """One event as it is sent, signed."""
    summary, data = examples.EVENTS[name]
    model = {"transcription.deleted": documents.DeletedTranscription}.get(name, documents.FinishedTranscription)
    told = ref_to(model) if name.startswith("transcription.") else {"type": "object"}
    properties = {
        "type": {"const": name},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": told,
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    example = {"type": name, "timestamp": examples.AT, "data": data}
    signed = [
        {"name": header, "in": "header", "required": True, "schema": {"type": "string"}}
        for header in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ]
    return {
        "tags": ["Events"],
        "summary": summary,
        "operationId": f"event_{name.replace('.', '_')}",
        "parameters": signed,
        "requestBody": body_of(JSON, schema, example=example),
        "responses": {"2XX": {"description": "Delivered; anything else is sent again"}},
    }
