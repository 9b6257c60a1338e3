"""One chunk of tokens as compressed columns: grouped by the keys a token has, in the order they came."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice, repeat
from operator import add, sub
from typing import Any, TypeVar

import msgspec

from service.transcripts.columns import Column, column
from service.transcripts.tokens import Batch, Token, as_text

T = TypeVar("T")

CODEC = b"\x01"
_LEVEL = 1


class Shape(msgspec.Struct, array_like=True):
    """All tokens of a chunk that have the same keys in the same order."""

    keys: list[str]
    columns: list[Column]
    ends_are_spans: bool


class Table(msgspec.Struct, array_like=True):
    """Tokens column by column; `turns` says which shape the next tokens have, and how many of them."""

    shapes: list[Shape]
    turns: list[tuple[int, int]]


_decoder = msgspec.msgpack.Decoder(Table)


def pack_tokens(batch: Batch) -> bytes:
    """Pack tokens to bytes, the codec version first."""
    keys = list(map(tuple, batch.tokens))
    number = {distinct: position for position, distinct in enumerate(dict.fromkeys(keys))}
    if len(number) == 1:
        turns, alike = [(0, len(keys))], [batch]
    else:
        turns = [(number[same], len(list(run))) for same, run in groupby(keys)]
        alike = _alike(batch, keys)
    shapes = [_shape(list(own), theirs) for own, theirs in zip(number, alike, strict=True)]
    return compress(msgspec.msgpack.encode(Table(shapes, turns)))


def unpack_tokens(data: bytes) -> list[Token]:
    """Give back the tokens of one chunk.

    Raises ValueError for bytes of another codec version and zlib.error for damaged ones.
    """
    table = _read(data)
    return _in_order(table, [map(dict, map(zip, repeat(shape.keys), _rows(shape))) for shape in table.shapes])


def unpack_slice(data: bytes, first: int, last: int) -> list[Token]:
    """Give back the tokens from `first` to before `last`, without the cost of the others."""
    table = _read(data)
    rows = [zip(repeat(shape.keys), _rows(shape), strict=False) for shape in table.shapes]
    return [dict(zip(keys, row, strict=True)) for keys, row in islice(_ordered(table, rows), first, last)]


def unpack_texts(data: bytes) -> list[str]:
    """Give back only the tokens' texts, without the cost of the other columns."""
    table = _read(data)
    return [as_text(text) for text in _in_order(table, [_texts(shape) for shape in table.shapes])]


def compress(content: bytes) -> bytes:
    """Compress, with the codec version in front."""
    return CODEC + zlib.compress(content, _LEVEL)


def decompress(data: bytes) -> bytes:
    """Undo `compress`; ValueError if another codec version wrote the data."""
    if data[:1] != CODEC:
        raise ValueError(f"transcript data of unknown codec version {data[:1]!r}")
    return zlib.decompress(memoryview(data)[1:])


def _read(data: bytes) -> Table:
    return _decoder.decode(decompress(data))


def _alike(batch: Batch, keys: Sequence[tuple[str, ...]]) -> list[Batch]:
    """The tokens divided by their keys."""
    groups: dict[tuple[str, ...], list[Token]] = {}
    for own, token in zip(keys, batch.tokens, strict=True):
        groups.setdefault(own, []).append(token)
    return list(map(Batch, groups.values()))


def _shape(keys: list[str], batch: Batch) -> Shape:
    values = {key: batch.column(key) for key in keys}
    ends_are_spans = batch.kinds("start_ms") == batch.kinds("end_ms") == {int}
    if ends_are_spans:
        values["end_ms"] = list(map(sub, values["end_ms"], values["start_ms"]))
    return Shape(keys, [column(each, batch.kinds(key)) for key, each in values.items()], ends_are_spans)


def _rows(shape: Shape) -> Iterator[tuple[Any, ...]]:
    """The values of all tokens of a shape; one without keys repeats for as long as it is asked."""
    values = {key: each.values() for key, each in zip(shape.keys, shape.columns, strict=True)}
    if shape.ends_are_spans:
        values["end_ms"] = list(map(add, values["start_ms"], values["end_ms"]))
    return zip(*values.values(), strict=True) if values else repeat(())


def _texts(shape: Shape) -> Iterator[Any]:
    if "text" not in shape.keys:
        return repeat(None)
    return iter(shape.columns[shape.keys.index("text")].values())


def _in_order(table: Table, shapes: Sequence[Iterator[T]]) -> list[T]:
    return list(_ordered(table, shapes))


def _ordered(table: Table, shapes: Sequence[Iterator[T]]) -> Iterator[T]:
    return chain.from_iterable(islice(shapes[number], count) for number, count in table.turns)
