"""Lossless packing of transcripts for storage: decode Soniox's JSON, cut it into chunks, compress them."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from service.transcripts.columns import compress, decompress, pack_tokens, unpack_tokens
from service.transcripts.passages import PassageDraft, Passages
from service.transcripts.summary import Summary, Tally
from service.transcripts.tokens import Batch, Times, Token, effective_times, is_translation, known, text_of
from service.transcripts.words import begins_word

CHUNK_TOKENS = 1_000
_LONGEST = 2 * CHUNK_TOKENS


def cut(slices: Iterable[Sequence[Token]]) -> Iterator[list[Token]]:
    """Yield all tokens in chunks of CHUNK_TOKENS or slightly more. The last chunk may be shorter."""
    held: list[Token] = []
    for tokens in slices:
        held += tokens
        while len(held) >= _LONGEST:
            place = _place(held)
            yield held[:place]
            held = held[place:]
    while held:
        place = _place(held) if len(held) > CHUNK_TOKENS else len(held)
        yield held[:place]
        held = held[place:]


def _place(tokens: Sequence[Token]) -> int:
    """Return how many of the tokens go into the next chunk."""
    last = min(len(tokens), _LONGEST)
    for place in range(CHUNK_TOKENS, last):
        if _is_seam(tokens[place - 1], tokens[place]):
            return place
    return CHUNK_TOKENS


def _is_seam(before: Token, token: Token) -> bool:
    """Return whether a chunk may end here: not in a word, between originals or before a translation."""
    if is_translation(token):
        return False
    if token.get("translation_status") == before.get("translation_status") == "original":
        return False
    return begins_word(text_of(before), text_of(token))


JOINED = None
"""Stands for a `text` that is the tokens' texts joined; Soniox's own is never null."""

_LARGE = 64 * 1024
"""From this size on, compressing would stall the event loop; in a thread it does not."""


async def write_envelope(fields: dict[str, Any], texts: Sequence[str]) -> bytes:
    """Pack the fields of a document. `texts` are the texts of its tokens; the field `tokens` is empty."""
    if fields["text"] == "".join(texts):
        fields = {**fields, "text": JOINED}
    content = msgspec.json.encode(fields)
    return await asyncio.to_thread(compress, content) if len(content) > _LARGE else compress(content)


def read_envelope(envelope: bytes) -> dict[str, Any]:
    """Return the fields in Soniox's order. `text` is JOINED if it is the joined texts of the tokens."""
    fields: dict[str, Any] = msgspec.json.decode(decompress(envelope))
    return fields


_SLICE_BYTES = 128 * 1024
_TRIES = 8
_ARRAY_OPENS = re.compile(rb'"tokens"\s*:\s*\[')
_BETWEEN_TOKENS = re.compile(rb"\}\s*,\s*(?=\{)")


class MalformedTranscriptError(ValueError):
    """The body is not a transcript, which is JSON of the form {id, text, tokens: [objects]}."""


_objects = msgspec.json.Decoder(list[Token])
_fields = msgspec.json.Decoder(dict[str, Any])
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Reading:
    """One pass over a body: iterate over slices of tokens, then read `fields`."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.fields: dict[str, Any] = {}
        """Everything but the tokens, in the order Soniox sent it; `tokens` itself holds an empty list."""

    def __iter__(self) -> Iterator[list[Token]]:
        """Yield the tokens in slices of a few hundred. Raises MalformedTranscriptError."""
        position = self._open()
        while (cut := self._cut(position)) is not None:
            tokens, position = cut
            yield tokens
        yield self._rest(position)

    def _open(self) -> int:
        """Decode the fields before the tokens. Return where the tokens begin, or 0 to decode the whole body."""
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
        """Decode the next slice. Return None if the rest is short or cannot be cut."""
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
        """Decode from a token (or from the start) to the end of the document."""
        body = b'{"tokens":[' + self._body[position:] if position else self._body
        try:
            fields = _fields.decode(body)
        except _UNDECODABLE as error:
            raise MalformedTranscriptError(f"the transcript cannot be decoded: {error}") from error
        self.fields |= {**fields, "tokens": []}
        for name in ("id", "text"):
            if not isinstance(self.fields.get(name), str):
                raise MalformedTranscriptError(f"the transcript's `{name}` is not a string")
        return _checked(fields.get("tokens"))


def _checked(tokens: Any) -> list[Token]:
    if not isinstance(tokens, list) or not set(map(type, tokens)) <= {dict}:
        raise MalformedTranscriptError("the transcript's `tokens` is not a list of objects")
    return tokens


@dataclass(frozen=True, slots=True)
class Chunk:
    """About 1,000 consecutive tokens. A translation and its originals are in the same chunk."""

    position: int
    token_count: int
    start_ms: int | None
    """Smallest effective time in the chunk, None if no token has one."""
    end_ms: int | None
    """Largest effective time in the chunk."""
    min_confidence: float | None
    data: bytes
    """Packed tokens; the first byte names the codec version."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed transcript, ready to be stored."""

    envelope: bytes
    """All of the document but `tokens`, and but `text` where that is the tokens' texts joined."""
    chunks: list[Chunk]
    token_count: int
    summary: Summary
    passages: list[PassageDraft]
    """What search will find, in the order of the tokens."""


async def pack(body: bytes) -> Packed:
    """Pack the JSON document that Soniox returned. Raises MalformedTranscriptError (a ValueError)."""
    reading = Reading(body)
    chunks: list[Chunk] = []
    texts: list[str] = []
    tally, passages = Tally(), Passages()
    for position, tokens in enumerate(cut(reading)):
        batch = Batch(tokens)
        starts, ends = effective_times(batch)
        tally.add(batch, starts, ends)
        passages.add(position, batch, starts)
        chunks.append(_chunk(position, batch, starts, ends))
        texts.append(batch.text)
        await asyncio.sleep(0)
    summary = tally.summary()
    envelope = await write_envelope(reading.fields, texts)
    return Packed(envelope, chunks, summary.token_count, summary, passages.all())


async def unpack(envelope: bytes, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Return the document exactly as Soniox sent it: values, types, absent keys and key order."""
    fields = read_envelope(envelope)
    tokens: list[Token] = fields["tokens"]
    texts: list[str] = []
    for data in chunks:
        part = unpack_tokens(data)
        tokens += part
        texts.append("".join(map(text_of, part)))
        await asyncio.sleep(0)
    if fields["text"] is JOINED:
        fields["text"] = "".join(texts)
    return fields


def _chunk(position: int, batch: Batch, starts: Times, ends: Times) -> Chunk:
    times = known(starts + ends)
    return Chunk(
        position=position,
        token_count=len(batch.tokens),
        start_ms=min(times, default=None),
        end_ms=max(times, default=None),
        min_confidence=min(batch.confidences, default=None),
        data=pack_tokens(batch),
    )
