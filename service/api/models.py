"""Models: Soniox's list, answered from memory."""

from fastapi import APIRouter, Request, Response

from service.api.auth import CatalogueOf, Reader
from service.api.etags import answer_once

router = APIRouter(prefix="/v1/models", tags=["Models"])


@router.get("", summary="List models")
async def list_all(request: Request, _caller: Reader, catalogue: CatalogueOf) -> Response:
    return answer_once(request, await catalogue.document())
