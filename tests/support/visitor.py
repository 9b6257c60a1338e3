"""Somebody who looks at the dashboard over plain HTTP: keeps the session, sends forms as a browser does."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.relay_app import ADMIN_KEY, RelayApp


@dataclass
class Visitor:
    """One browser, signed in."""

    client: httpx.AsyncClient
    token: str

    async def page(self, path: str, code: int = 200, **params: Any) -> str:
        """A page's HTML."""
        answer = await self.client.get(path, params=params or None)
        assert answer.status_code == code, f"{path}: {answer.status_code}\n{answer.text[:2000]}"
        return answer.text

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """A form sent from a page; redirects are not followed."""
        return await self.client.post(path, data={"token": self.token, **fields})

    async def told(self, answer: httpx.Response) -> str:
        """What the page says that a form leads to."""
        assert answer.status_code == 303, answer.text[:2000]
        html = await self.page(answer.headers["location"])
        found = re.search(r'class="flash (?:good|bad)".*?<span>(.*?)</span>', html, re.DOTALL)
        assert found, html[:2000]
        return found[1]


@asynccontextmanager
async def visiting(relay_app: RelayApp, key: str = ADMIN_KEY) -> AsyncIterator[Visitor]:
    """Sign in with this key."""
    url = relay_app.server.url
    async with httpx.AsyncClient(base_url=url, headers={"Origin": url}, trust_env=False, timeout=30) as client:
        answer = await client.post("/ui/sign-in", data={"key": key, "next": "/ui"})
        assert answer.status_code == 303, answer.text
        found = re.search(r'name="token" value="([^"]+)"', (await client.get("/ui/")).text)
        assert found
        yield Visitor(client, found[1])
