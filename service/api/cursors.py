"""Cursors of lists: opaque to callers, a position in (created_at_ms, id) to us."""

import base64
import binascii

from service.errors import InvalidCursor
from service.ids import is_own_id, is_uuid

LATEST_MS = 2**63


def encode(created_at_ms: int, row_id: str) -> str:
    """The cursor of the page after this row."""
    return base64.urlsafe_b64encode(f"{created_at_ms}:{row_id}".encode()).rstrip(b"=").decode()


def decode(cursor: str) -> tuple[int, str] | None:
    """The position; None for the empty cursor of a first page. Raises InvalidCursor."""
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, row_id = text.split(":", 1)
        created_at_ms = int(moment)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    if not 0 <= created_at_ms < LATEST_MS or not (is_uuid(row_id) or is_own_id(row_id)):
        raise _invalid()
    return created_at_ms, row_id


def _invalid() -> InvalidCursor:
    return InvalidCursor("Invalid cursor: it was not made by this list. Start again without one.")
