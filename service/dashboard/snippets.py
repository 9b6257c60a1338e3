"""A hit's snippet taken apart again, so that a page escapes every piece of it itself. Pure."""

import html
import re
from typing import NamedTuple

MARK = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)


class Part(NamedTuple):
    """Some text, and whether it is what was searched for."""

    text: str
    hit: bool


def marked(snippet: str) -> list[Part]:
    """The snippet that `transcripts.hits` made, as plain text in parts."""
    pieces = MARK.split(snippet)
    return [Part(html.unescape(piece), n % 2 == 1) for n, piece in enumerate(pieces) if piece]
