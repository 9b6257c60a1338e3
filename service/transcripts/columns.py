"""Tokens packed as typed columns: a compact, lossless form for a table of JSON values."""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import accumulate, chain, groupby, islice, repeat
from operator import add, ne, sub
from typing import Any, Self, TypeVar

import msgspec

from service.transcripts.tokens import Batch, Token, as_text

_REPEATABLE = {str, bool, type(None)}
_INT64 = range(-(2**63), 2**63)
_WIDTHS = {"b": 1, "h": 2, "i": 4, "q": 8}
_HEAD = 32
_SEPARATOR = "\0"


class Runs(msgspec.Struct, array_like=True, tag=0):
    """Repeated values: each run as one value and its length."""

    singles: list[str | bool | int | None]
    lengths: list[int]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """Pack values of one JSON type, or any mix of strings, booleans and nulls."""
        if _is_constant(values):
            return cls([values[0]], [len(values)])
        runs = [(value, len(list(run))) for value, run in groupby(values)]
        return cls([value for value, _ in runs], [length for _, length in runs])

    def values(self) -> list[Any]:
        """Return the original values."""
        return list(chain.from_iterable([value] * n for value, n in zip(self.singles, self.lengths, strict=True)))


class Integers(msgspec.Struct, array_like=True, tag=1):
    """Integers as differences between neighbours, divided by their greatest common divisor."""

    first: int
    unit: int
    width: str
    steps: bytes

    @classmethod
    def of(cls, values: Sequence[int]) -> "Integers | Json":
        """Pack 64-bit integers. Wider values or differences become JSON."""
        differences = list(map(sub, values[1:], values))
        distinct = set(differences)  # usually few
        unit = math.gcd(*distinct) or 1
        steps = {difference: difference // unit for difference in distinct}
        width = _narrowest(steps.values())
        if width is None or not (values[0] in _INT64 and unit in _INT64):
            return Json.of(values)
        packed = struct.pack(f"<{len(differences)}{width}", *map(steps.__getitem__, differences))
        return cls(values[0], unit, width, _to_planes(packed, _WIDTHS[width]))

    def values(self) -> list[Any]:
        """Return the original values."""
        width = _WIDTHS[self.width]
        packed = _from_planes(self.steps, width)
        steps = struct.unpack(f"<{len(packed) // width}{self.width}", packed)
        return list(accumulate([step * self.unit for step in steps], initial=self.first))


class Doubles(msgspec.Struct, array_like=True, tag=2):
    """Floating-point numbers, bit for bit."""

    planes: bytes

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Pack floats."""
        return cls(_to_planes(struct.pack(f"<{len(values)}d", *values), 8))

    def values(self) -> list[Any]:
        """Return the original values."""
        return list(struct.unpack(f"<{len(self.planes) // 8}d", _from_planes(self.planes, 8)))


class Strings(msgspec.Struct, array_like=True, tag=3):
    """Joined strings, for values that rarely repeat."""

    joined: str

    @classmethod
    def of(cls, values: Sequence[str]) -> "Strings | Json":
        """Pack strings. If one contains the separator, all become JSON."""
        joined = _SEPARATOR.join(values)
        return cls(joined) if joined.count(_SEPARATOR) == len(values) - 1 else Json.of(values)

    def values(self) -> list[Any]:
        """Return the original values."""
        return self.joined.split(_SEPARATOR)


class Json(msgspec.Struct, array_like=True, tag=4):
    """Values that fit no other column: objects, lists, integers of any size."""

    text: bytes

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """Pack any JSON values."""
        return cls(msgspec.json.encode(values))

    def values(self) -> list[Any]:
        """Return the original values."""
        decoded: list[Any] = msgspec.json.decode(self.text)
        return decoded


class Mixed(msgspec.Struct, array_like=True, tag=5):
    """Values of several types: one column per type, and the order of the columns."""

    order: bytes
    parts: list["Column"]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """Pack values of any JSON types, with one column per type."""
        parts: dict[type, list[Any]] = {}
        for value in values:
            parts.setdefault(type(value), []).append(value)
        number = {kind: position for position, kind in enumerate(parts)}
        columns = [column(part, {kind}) for kind, part in parts.items()]
        return cls(bytes(number[type(value)] for value in values), columns)

    def values(self) -> list[Any]:
        """Return the original values."""
        parts = [iter(part.values()) for part in self.parts]
        return [next(parts[position]) for position in self.order]


Column = Runs | Integers | Doubles | Strings | Json | Mixed


def column(values: Sequence[Any], kinds: Set[type]) -> Column:
    """Pack at least one JSON value in the column that suits their types and repetition.

    `kinds` are the types of all values.
    """
    if (kinds <= _REPEATABLE or kinds == {int}) and _repeats(values) and (int not in kinds or _are_64_bit(values)):
        return Runs.of(values)
    if len(kinds) > 1:
        return Mixed.of(values)
    match next(iter(kinds)):
        case kind if kind is int:
            return Integers.of(values)
        case kind if kind is float:
            return Doubles.of(values)
        case kind if kind is str:
            return Strings.of(values)
        case kind if kind in _REPEATABLE:
            return Runs.of(values)
        case _:
            return Json.of(values)


def _repeats(values: Sequence[Any]) -> bool:
    """Return whether few values differ from the one before. The first `_HEAD` values exclude most columns."""
    head = values[:_HEAD]
    if sum(map(ne, head, head[1:])) * 2 > len(head):
        return False
    return _is_constant(values) or sum(map(ne, values, values[1:])) * 8 <= len(values)


def _is_constant(values: Sequence[Any]) -> bool:
    return values.count(values[0]) == len(values)


def _are_64_bit(values: Sequence[int]) -> bool:
    return min(values) in _INT64 and max(values) in _INT64


def _narrowest(numbers: Iterable[int]) -> str | None:
    """Return the struct letter of the smallest signed width for all numbers, None beyond 64 bits."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    for letter, size in _WIDTHS.items():
        limit = 1 << (8 * size - 1)
        if -limit <= low and high < limit:
            return letter
    return None


def _to_planes(packed: bytes, width: int) -> bytes:
    """Group the first bytes of all numbers, then the second bytes, because similar bytes compress well."""
    return b"".join(packed[place::width] for place in range(width))


def _from_planes(planes: bytes, width: int) -> bytes:
    """Undo `_to_planes`."""
    packed = bytearray(len(planes))
    count = len(planes) // width
    for place in range(width):
        packed[place::width] = planes[place * count : (place + 1) * count]
    return bytes(packed)


T = TypeVar("T")

CODEC = b"\x01"
_LEVEL = 1


class Shape(msgspec.Struct, array_like=True):
    """All tokens of a chunk with the same keys in the same order."""

    keys: list[str]
    columns: list[Column]
    ends_are_spans: bool


class Table(msgspec.Struct, array_like=True):
    """Tokens by column. `turns` lists the shape number and the count of each run of tokens."""

    shapes: list[Shape]
    turns: list[tuple[int, int]]


_decoder = msgspec.msgpack.Decoder(Table)


def pack_tokens(batch: Batch) -> bytes:
    """Pack tokens into bytes that start with the codec version."""
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
    """Return the tokens of one chunk.

    Raises ValueError for another codec version and zlib.error for damaged data.
    """
    table = _read(data)
    return _in_order(table, [map(dict, map(zip, repeat(shape.keys), _rows(shape))) for shape in table.shapes])


def unpack_slice(data: bytes, first: int, last: int) -> list[Token]:
    """Return the tokens from `first` to `last` (exclusive), without building the others."""
    table = _read(data)
    rows = [zip(repeat(shape.keys), _rows(shape), strict=False) for shape in table.shapes]
    return [dict(zip(keys, row, strict=True)) for keys, row in islice(_ordered(table, rows), first, last)]


def unpack_texts(data: bytes) -> list[str]:
    """Return only the texts of the tokens, without unpacking the other columns."""
    table = _read(data)
    return [as_text(text) for text in _in_order(table, [_texts(shape) for shape in table.shapes])]


def compress(content: bytes) -> bytes:
    """Compress `content`. The result starts with the codec version."""
    return CODEC + zlib.compress(content, _LEVEL)


def decompress(data: bytes) -> bytes:
    """Undo `compress`. Raises ValueError for another codec version and zlib.error for damaged data."""
    if data[:1] != CODEC:
        raise ValueError(f"transcript data of unknown codec version {data[:1]!r}")
    return zlib.decompress(memoryview(data)[1:])


def _read(data: bytes) -> Table:
    return _decoder.decode(decompress(data))


def _alike(batch: Batch, keys: Sequence[tuple[str, ...]]) -> list[Batch]:
    """Return the tokens grouped by their keys."""
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
    """Return the values of all tokens of a shape. For a shape without keys, the iterator is endless."""
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
