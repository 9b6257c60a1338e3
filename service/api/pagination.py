"""Pagination: query parameters, filters, and the cursor of the next page."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from service.api.deps import Reader
from service.errors import InvalidCursorError
from service.ids import is_own_id, is_uuid
from service.lifecycle import SonioxStatus, Stage
from service.schemas import Open
from service.store.transcription_queries import Page, TranscriptionFilter
from service.tables import Delivery, Endpoint, File, Transcription

LATEST_MS = 2**63


def encode_cursor(created_at_ms: int, row_id: str) -> str:
    """Return the cursor of the page after this row."""
    return base64.urlsafe_b64encode(f"{created_at_ms}:{row_id}".encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[int, str] | None:
    """Return the creation time (ms) and the id of the last row, or None for an empty cursor.

    Raises InvalidCursorError.
    """
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, row_id = text.split(":", 1)
        created_at_ms = int(moment)
    except (binascii.Error, ValueError):
        raise _invalid_cursor() from None
    if not 0 <= created_at_ms < LATEST_MS or not (is_uuid(row_id) or is_own_id(row_id)):
        raise _invalid_cursor()
    return created_at_ms, row_id


def _invalid_cursor() -> InvalidCursorError:
    return InvalidCursorError("Invalid cursor: it was not made by this list. Start again without one.")


MAX_PAGE = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = TypeVar("Row", File, Transcription, Endpoint, Delivery)


def _reject_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is not allowed")
    return text


def _moment_ms(text: object) -> int:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError("give a moment in RFC 3339, such as 2026-11-20T13:00:00Z") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


Text = Annotated[str, AfterValidator(_reject_nul)]
MomentParameter = Annotated[
    int, BeforeValidator(_moment_ms), WithJsonSchema({"type": "string", "format": "date-time"})
]
NextCursor = Annotated[str | None, Field(description="null on the last page.")]


class Count(Open):
    """How many there are. Soniox splits its counts by source; all of ours come in by the API."""

    total: int
    public_api: int
    playground: int = 0


async def page_parameters(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most items of this page.")] = MAX_PAGE,
    cursor: Annotated[str, Query(description="`next_page_cursor` of the page before.")] = "",
    order: Annotated[Literal["asc", "desc"], Query(description="By creation; `desc` is newest first.")] = "desc",
) -> Page:
    """Return the requested page. Raises InvalidCursorError."""
    return Page(limit, decode_cursor(cursor), newest_first=order == "desc")


async def filter_parameters(
    caller: Reader,
    status: Annotated[list[SonioxStatus], Query(description="May be given several times.")] = [],  # noqa: B006  # FastAPI copies it
    stage: Annotated[list[Stage], Query(description="May be given several times.")] = [],  # noqa: B006  # FastAPI copies it
    client_reference_id: Annotated[Text | None, Query(max_length=256)] = None,
    created_after: Annotated[MomentParameter | None, Query(description="Later than this moment.")] = None,
    created_before: Annotated[MomentParameter | None, Query(description="Earlier than this moment.")] = None,
) -> TranscriptionFilter:
    """Return the filter, limited to the transcriptions that the caller may see."""
    return TranscriptionFilter(
        caller.sees, tuple(status), tuple(stage), client_reference_id, created_after, created_before
    )


def page_and_cursor(rows: Sequence[Row], page: Page) -> tuple[Sequence[Row], str | None]:
    """Return the page and the next cursor. `rows` has one more than `page.limit` if there is a next page."""
    here = rows[: page.limit]
    more = len(rows) > page.limit
    cursor = encode_cursor(here[-1].created_at_ms, here[-1].id) if more else None
    return here, cursor


def count_answer(total: int) -> Count:
    """Return the response of a `/count` route."""
    return Count(total=total, public_api=total)


PageDep = Annotated[Page, Depends(page_parameters)]
FilterDep = Annotated[TranscriptionFilter, Depends(filter_parameters)]
