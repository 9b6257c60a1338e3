"""Cache of Soniox's models: in memory, and in the database for a restart while Soniox is down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import structlog

from service.errors import SonioxError, SonioxUnreachableError, UnavailableError
from service.relay import Relay
from service.store import system
from service.tables import ModelList

log = structlog.get_logger(__name__)

FRESH_MS = 10 * 60_000
RETRY_AFTER_MS = 30_000
FIRST_RESPONSE_TIMEOUT_MS = 1_000  # after the start; a submission waits until then for the first list
RESPONSE_TIMEOUT_S = 10.0


class _Model(msgspec.Struct):
    id: str
    transcription_mode: str = ""


class _Models(msgspec.Struct):
    models: list[_Model]


@dataclass
class ModelCache:
    """The newest list of models. Create it with `open_model_cache`."""

    relay: Relay
    _known: ModelList | None = None
    _ids: frozenset[str] = frozenset()
    _tried_at_ms: int = 0
    _waits_until_ms: int = 0  # for the first list
    _asking: asyncio.Task[None] | None = field(default=None, repr=False)

    async def document(self) -> bytes:
        """Return Soniox's response to GET /v1/models. Raises SonioxUnreachableError if there never was one."""
        if self._is_old():
            self.refresh()
        if self._known is None:
            await self._answer(RESPONSE_TIMEOUT_S)
        if self._known is None:
            raise SonioxUnreachableError("Soniox has not told its models yet")
        return self._known.body

    async def async_models(self) -> frozenset[str]:
        """Return the ids of the models for recordings; empty while there is no list.

        Waits only for the first list, and only briefly after the start: Soniox may be down.
        """
        if self._is_old():
            self.refresh()
        patience_ms = 0 if self._known else self._waits_until_ms - self.relay.clock()
        if patience_ms > 0:
            await self._answer(patience_ms / 1000)
        return self._ids

    def remember(self, heard: ModelList) -> None:
        """Use this list as the newest."""
        models = msgspec.json.decode(heard.body, type=_Models).models
        self._ids = frozenset(model.id for model in models if model.transcription_mode == "async")
        self._known = heard

    def refresh(self) -> None:
        """Start a request to Soniox, unless one is under way."""
        if self._asking is None or self._asking.done():
            self._tried_at_ms = self.relay.clock()
            self._asking = asyncio.create_task(self._ask())

    async def stop(self) -> None:
        """Cancel the request under way."""
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _is_old(self) -> bool:
        heard_at_ms = self._known.fetched_at_ms if self._known else 0
        now_ms = self.relay.clock()
        return now_ms - heard_at_ms > FRESH_MS and now_ms - self._tried_at_ms > RETRY_AFTER_MS

    async def _answer(self, within_s: float) -> None:
        if self._asking:
            await asyncio.wait({self._asking}, timeout=within_s)

    async def _ask(self) -> None:
        try:
            body = await self.relay.soniox.get_models()
            heard = ModelList(id=system.ONLY, fetched_at_ms=self.relay.clock(), body=body)
            self.remember(heard)
            await self.relay.db.write(lambda session: system.store_model_list(session, heard))
        except (SonioxError, UnavailableError, msgspec.MsgspecError) as error:
            log.warning("model_list_refresh_failed", reason=str(error))


@asynccontextmanager
async def open_model_cache(relay: Relay) -> AsyncIterator[ModelCache]:
    """Load the stored list and start to refresh it. Requests stop when the block ends."""
    cache = ModelCache(relay, _waits_until_ms=relay.clock() + FIRST_RESPONSE_TIMEOUT_MS)
    stored = await relay.db.read(system.model_list)
    if stored is not None:
        cache.remember(stored)
    cache.refresh()
    try:
        yield cache
    finally:
        await cache.stop()
