"""Cursors of lists: opaque to callers, a position in (created_at_ms, id) to us."""

import base64
import binascii

from service.errors import InvalidCursor


def encode(created_at_ms: int, row_id: str) -> str:
    """The cursor of the page after this row."""
    return base64.urlsafe_b64encode(f"{created_at_ms}:{row_id}".encode()).rstrip(b"=").decode()


def decode(cursor: str) -> tuple[int, str] | None:
    """The position; None for the empty cursor of a first page. Raises InvalidCursor."""
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created_at_ms, row_id = text.split(":", 1)
        position = int(created_at_ms), row_id
    except (binascii.Error, ValueError):
        raise InvalidCursor("the cursor is not one of this list; start without one") from None
    if not 0 <= position[0] < 2**63 or not row_id.isascii() or len(row_id) > 64:
        raise InvalidCursor("the cursor is not one of this list; start without one")
    return position
