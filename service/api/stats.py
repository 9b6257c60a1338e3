"""The figures behind the dashboard."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.auth import FiguresOf, Reader
from service.figures import Length

router = APIRouter(prefix="/v1", tags=["Operations"])


@router.get("/stats", summary="What stands where, what happened, and what needs somebody's attention")
async def read(
    caller: Reader,
    figures: FiguresOf,
    window: Annotated[Length, Query(description="How far back to look.")] = "24h",
) -> dict[str, Any]:
    """Of the key's own transcriptions; with an admin key of all, and with quotas and the reconciler's finds."""
    return await figures.overview(caller.sees, window)
