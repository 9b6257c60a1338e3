"""/ui: how the whole is doing."""

from fastapi import Request, Response

from service.api.auth import RelayOf
from service.dashboard.page import page_router
from service.dashboard.render import render
from service.dashboard.visitors import Reader

router = page_router()


@router.get("")
async def overview(request: Request, relay: RelayOf, visitor: Reader) -> Response:
    return render(request, "overview.html")
