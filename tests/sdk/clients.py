"""The official Python SDK's two clients behind one asynchronous face, and a tally of what was called."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

import httpx
from soniox import AsyncSonioxClient, SonioxClient
from soniox.errors import SonioxAPIError
from soniox.types import ApiError

Client = SonioxClient | AsyncSonioxClient


class Tallied:
    """One namespace of a client, such as `client.stt`: every method is awaited, whichever client it is of."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        self.called.add(name)

        async def call(*given: Any, **named: Any) -> Any:
            if inspect.iscoroutinefunction(method):
                return await method(*given, **named)
            if inspect.isasyncgenfunction(method):
                return [item async for item in method(*given, **named)]
            if inspect.isgeneratorfunction(method):
                return await asyncio.to_thread(lambda: list(method(*given, **named)))
            return await asyncio.to_thread(method, *given, **named)

        return call

    def never_called(self) -> set[str]:
        """Public methods that no test has used."""
        methods = {name for name, _ in inspect.getmembers(type(self._api), inspect.isfunction)}
        return {name for name in methods if not name.startswith("_")} - self.called


class Sdk:
    """A client with its namespaces."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stt = Tallied(client.stt)
        self.files = Tallied(client.files)
        self.models = Tallied(client.models)

    async def close(self) -> None:
        """Close its connections."""
        if isinstance(self.client, SonioxClient):
            self.client.close()
        else:
            await self.client.aclose()


def details_of(error: SonioxAPIError) -> ApiError:
    """The parsed body of a refusal."""
    assert error.api_error is not None
    return error.api_error


def headers_of(error: SonioxAPIError) -> httpx.Headers:
    """The headers of a refusal."""
    assert error.response is not None
    return error.response.headers


async def sdk_of(kind: str, base_url: str, key: str) -> AsyncIterator[Sdk]:
    """The SDK with only base URL and key changed."""
    clients: dict[str, type[Client]] = {"sync": SonioxClient, "async": AsyncSonioxClient}
    sdk = Sdk(clients[kind](api_key=key, api_base_url=f"{base_url}/v1"))
    yield sdk
    await sdk.close()
