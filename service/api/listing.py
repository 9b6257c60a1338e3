"""What the lists have in common: their query parameters, and the cursor to the next page."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from service.api.auth import Reader
from service.api.cursors import decode, encode
from service.lifecycle import SonioxStatus, Stage
from service.schemas import Open
from service.store.transcription_queries import Page, TranscriptionFilter
from service.tables import Delivery, Endpoint, File, Transcription

LARGEST_PAGE = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = TypeVar("Row", File, Transcription, Endpoint, Delivery)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is not allowed")
    return text


def _moment_ms(text: object) -> int:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError("give a moment in RFC 3339, such as 2026-11-20T13:00:00Z") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


Text = Annotated[str, AfterValidator(_without_nul)]
Moment = Annotated[int, BeforeValidator(_moment_ms), WithJsonSchema({"type": "string", "format": "date-time"})]
NextCursor = Annotated[str | None, Field(description="null on the last page.")]


class Count(Open):
    """How many there are. Soniox splits its counts by source; all of ours come in by the API."""

    total: int
    public_api: int
    playground: int = 0


async def page_asked_for(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Most items of this page.")] = LARGEST_PAGE,
    cursor: Annotated[str, Query(description="`next_page_cursor` of the page before.")] = "",
    order: Annotated[Literal["asc", "desc"], Query(description="By creation; `desc` is newest first.")] = "desc",
) -> Page:
    """The page. Raises InvalidCursor."""
    return Page(limit, decode(cursor), newest_first=order == "desc")


async def transcriptions_asked_for(
    caller: Reader,
    status: Annotated[list[SonioxStatus], Query(description="May be given several times.")] = [],  # noqa: B006  # FastAPI copies it
    stage: Annotated[list[Stage], Query(description="May be given several times.")] = [],  # noqa: B006  # FastAPI copies it
    client_reference_id: Annotated[Text | None, Query(max_length=256)] = None,
    created_after: Annotated[Moment | None, Query(description="Later than this moment.")] = None,
    created_before: Annotated[Moment | None, Query(description="Earlier than this moment.")] = None,
) -> TranscriptionFilter:
    """The filters, and what this caller may see at all."""
    return TranscriptionFilter(
        caller.sees, tuple(status), tuple(stage), client_reference_id, created_after, created_before
    )


def cut(rows: Sequence[Row], page: Page) -> tuple[Sequence[Row], str | None]:
    """The page and the cursor of the next: `rows` has one more than `page.limit` if there is one."""
    here = rows[: page.limit]
    more = len(rows) > page.limit
    cursor = encode(here[-1].created_at_ms, here[-1].id) if more else None
    return here, cursor


def counted(total: int) -> Count:
    """The answer of a `/count`."""
    return Count(total=total, public_api=total)


PageOf = Annotated[Page, Depends(page_asked_for)]
WantedOf = Annotated[TranscriptionFilter, Depends(transcriptions_asked_for)]
