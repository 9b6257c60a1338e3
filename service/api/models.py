"""Models: Soniox's list, served from `ModelCache`."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from service.api.deps import ModelCacheDep, Reader
from service.api.responses import COMMON_RESPONSES, NOT_CHANGED, respond_unless_known
from service.schemas import Open

router = APIRouter(prefix="/v1/models", tags=["Models"], responses=COMMON_RESPONSES)


class Model(Open):
    """A model as Soniox describes it; it may say more."""

    id: str
    aliased_model_id: str | None
    name: str
    transcription_mode: Literal["async", "real_time"]
    context_version: int | None = None
    languages: list[dict[str, Any]] = []
    supports_language_hints_strict: bool = False
    supports_max_endpoint_delay: bool = False
    supports_endpoint_sensitivity: bool = False
    supports_endpoint_latency_adjustment: bool = False
    endpoint_latency_adjustment_max_level: int = 0
    translation_targets: list[dict[str, Any]] = []
    two_way_translation_pairs: list[str] = []
    one_way_translation: str | None = None
    two_way_translation: str | None = None


class Models(Open):
    """Soniox's models."""

    models: list[Model]


@router.get("", summary="List models", response_model=Models, responses=NOT_CHANGED)
async def list_all(request: Request, _caller: Reader, model_cache: ModelCacheDep) -> Response:
    return respond_unless_known(request, await model_cache.document())
