"""How a worker takes rows, keeps them and lets go of them; where it can, in the line of claims."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import CLAIMS, by_itself
from service.store import claims
from service.store.claims import Claimant
from service.tables import Due

Claim = Callable[[AsyncConnection, Claimant, int], Awaitable[Sequence[Any]]]


class Asked(NamedTuple):
    """A lane has so many hands free."""

    model: type[Due]
    claim: Claim
    claimant: Claimant
    free: int


class Claimed(NamedTuple):
    """Rows for them; if there is none, when the next one becomes due."""

    rows: Sequence[Any]
    next_due_ms: int | None


class Held(NamedTuple):
    """Rows under way, by id and fence, and until when they are to be held."""

    model: type[Due]
    rows: list[tuple[str, int]]
    until_ms: int


class Leaving(NamedTuple):
    """A worker that lets go of its rows, or all workers for None."""

    model: type[Due]
    worker: str | None
    now_ms: int


async def claim(connection: AsyncConnection, asked: list[Asked]) -> list[Claimed]:
    """Rows for free hands; if there is none, when the next one becomes due. After some, their steps ring."""
    return [await _claim_for(connection, each) for each in asked]


@by_itself(CLAIMS)
async def claim_by_itself(connection: AsyncConnection, asked: list[Asked]) -> list[Claimed]:
    """The same. If the second of its statements fails, what the first one took waits for the end of its lease."""
    return await claim(connection, asked)


@by_itself(CLAIMS)
async def renew(connection: AsyncConnection, held: list[Held]) -> list[list[str]]:
    """The ids of those that were still ours. By itself, so that nobody waits for all of them to finish one."""
    return [await claims.renew(connection, *each) for each in held]


async def release(connection: AsyncConnection, leaving: list[Leaving]) -> Sequence[None]:
    """The leases end now."""
    for each in leaving:
        await claims.release(connection, *each)
    return [None] * len(leaving)


@by_itself(CLAIMS)
async def release_by_itself(connection: AsyncConnection, leaving: list[Leaving]) -> Sequence[None]:
    """The same, behind a claim that is still under way."""
    return await release(connection, leaving)


async def _claim_for(connection: AsyncConnection, asked: Asked) -> Claimed:
    rows = await asked.claim(connection, asked.claimant, asked.free)
    if rows:
        return Claimed(rows, None)
    return Claimed(rows, await claims.next_due_ms(connection, asked.model, asked.claimant.now_ms))
