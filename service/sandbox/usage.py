"""Routes of `/v1/models` and `/v1/usage-logs`."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter

from service.sandbox.context import ContextDep
from service.sandbox.models import listed_models
from service.sandbox.schemas import detail, invalid_cursor, invalid_request, page_limit

LONGEST_WINDOW = timedelta(days=31)
FARTHEST_BACK = timedelta(days=91)
SORTS = ("end_time_asc", "end_time_desc")

router = APIRouter(prefix="/v1")


@router.get("/models")
async def list_models() -> dict[str, Any]:
    return {"models": listed_models()}


@router.get("/usage-logs")
async def list_usage_logs(
    desk: ContextDep,
    start_time: str | None = None,
    end_time: str | None = None,
    limit: str | None = None,
    sort: str = "end_time_asc",
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return one page of entries. They are logged in order of `end_time`, so an offset is a stable cursor."""
    start, end = _window(start_time, end_time)
    if sort not in SORTS:
        raise invalid_request("Invalid request.", detail("enum", "query.payload.sort", "Unknown sort"))
    entries = [entry for entry in desk.soniox.usage if start <= _moment(entry["end_time"]) < end]
    if sort == "end_time_desc":
        entries.reverse()
    question = f"{start_time}|{end_time}|{sort}"
    first = _offset(cursor, question) if cursor else 0
    following = first + page_limit(limit)
    more = following < len(entries)
    return {
        "usage_logs": entries[first:following],
        "next_page_cursor": _cursor(following, question) if more else None,
    }


def _window(start_time: str | None, end_time: str | None) -> tuple[datetime, datetime]:
    missing = [name for name, given in (("start_time", start_time), ("end_time", end_time)) if not given]
    if missing:
        problems = [detail("missing", f"query.payload.{name}", "Field required") for name in missing]
        raise invalid_request("Invalid request.", *problems)
    start, end = _asked("start_time", str(start_time)), _asked("end_time", str(end_time))
    if not timedelta(0) < end - start <= LONGEST_WINDOW:
        raise invalid_request("The window must be positive and at most 31 days.")
    if start < datetime.now(UTC) - FARTHEST_BACK:
        raise invalid_request("start_time must be at most 91 days ago.")
    return start, end


def _asked(name: str, text: str) -> datetime:
    try:
        return _moment(text)
    except ValueError:
        problem = detail("datetime_parsing", f"query.payload.{name}", "Input should be a valid datetime")
        raise invalid_request("Invalid request.", problem) from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cursor(offset: int, question: str) -> str:
    return urlsafe_b64encode(f"{offset}|{question}".encode()).decode()


def _offset(cursor: str, question: str) -> int:
    """Return the offset in `cursor`. Raises ApiError when the cursor was issued for another query."""
    try:
        offset, _, asked = urlsafe_b64decode(cursor.encode()).decode().partition("|")
        if asked == question:
            return int(offset)
    except ValueError:
        pass
    raise invalid_cursor()
