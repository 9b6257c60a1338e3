"""/docs: the API document to read and try, with Swagger UI from our own disk: it needs no internet.

The page has no script or style of its own inside, so that the policy can forbid such.
"""

from importlib.resources import files
from mimetypes import guess_type

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from service.errors import NotFound

router = APIRouter(include_in_schema=False)

ASSETS = files("service.api") / "assets"
SERVED = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "docs.js"})
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
    if name not in SERVED:
        raise NotFound("no such asset")
    kind, _ = guess_type(name)
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response((ASSETS / name).read_bytes(), media_type=kind, headers=headers)
