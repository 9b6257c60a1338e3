"""Soniox's response body, decoded slice by slice so that no step takes long however large it is.

A cut is only ever made where a decoder agrees: if everything before a `},{` decodes as a list of
objects, the cut lies between two tokens, whatever the strings and nested values before it contain.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from service.transcripts.tokens import Token

_SLICE_BYTES = 128 * 1024
_TRIES = 8
_ARRAY_OPENS = re.compile(rb'"tokens"\s*:\s*\[')
_BETWEEN_TOKENS = re.compile(rb"\}\s*,\s*(?=\{)")


class MalformedTranscript(ValueError):
    """The body is not a transcript: JSON of the form {id, text, tokens: [objects]}."""


_objects = msgspec.json.Decoder(list[Token])
_fields = msgspec.json.Decoder(dict[str, Any])
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Reading:
    """One pass over a body: iterate for slices of tokens, then look at `fields`."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.fields: dict[str, Any] = {}
        """Everything but the tokens, in the order Soniox sent it; `tokens` itself holds an empty list."""

    def __iter__(self) -> Iterator[list[Token]]:
        """Yield the tokens in slices of a few hundred; MalformedTranscript as soon as it shows."""
        position = self._open()
        while (cut := self._cut(position)) is not None:
            tokens, position = cut
            yield tokens
        yield self._rest(position)

    def _open(self) -> int:
        """Decode what stands before the tokens; return where the first one is, 0 if all is to be decoded."""
        if len(self._body) <= _SLICE_BYTES:
            return 0
        for _, opening in zip(range(_TRIES), _ARRAY_OPENS.finditer(self._body), strict=False):
            try:
                self.fields = _fields.decode(self._body[: opening.end()] + b"]}")
            except _UNDECODABLE:
                continue
            return opening.end()
        return 0

    def _cut(self, position: int) -> tuple[list[Token], int] | None:
        """Decode the next slice; None if what is left is short, or is better decoded in one go."""
        if position == 0 or len(self._body) - position <= _SLICE_BYTES:
            return None
        gaps = _BETWEEN_TOKENS.finditer(self._body, position + _SLICE_BYTES)
        for _, gap in zip(range(_TRIES), gaps, strict=False):
            try:
                return _objects.decode(b"[" + self._body[position : gap.start() + 1] + b"]"), gap.end()
            except _UNDECODABLE:
                continue
        return None

    def _rest(self, position: int) -> list[Token]:
        """Decode everything from a token (or the beginning) to the end of the document."""
        body = b'{"tokens":[' + self._body[position:] if position else self._body
        try:
            fields = _fields.decode(body)
        except _UNDECODABLE as error:
            raise MalformedTranscript(f"the transcript cannot be decoded: {error}") from error
        self.fields |= {**fields, "tokens": []}
        for name in ("id", "text"):
            if not isinstance(self.fields.get(name), str):
                raise MalformedTranscript(f"the transcript's `{name}` is not a string")
        return _checked(fields.get("tokens"))


def _checked(tokens: Any) -> list[Token]:
    if not isinstance(tokens, list) or not set(map(type, tokens)) <= {dict}:
        raise MalformedTranscript("the transcript's `tokens` is not a list of objects")
    return tokens
