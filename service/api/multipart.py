"""multipart/form-data as it arrives, cut into pieces of named parts; holds one read at a time. Pure."""

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidRequest, UnsupportedMediaType

MOST_PARTS = 20
LONGEST_HEADERS = 16 * 1024  # bytes of all headers of one part


@dataclass(eq=False)
class Part:
    """One part of the form; `filename` is None for a plain field."""

    name: str = ""
    filename: str | None = None


Piece = tuple[Part, bytes]  # an empty one begins a part


class Parts:
    """Turns the parser's callbacks into a list of pieces for each read."""

    def __init__(self, content_type: str) -> None:
        self._pieces: list[Piece] = []
        self._part = Part()
        self._count = 0
        self._name, self._value = bytearray(), bytearray()
        self._header_bytes = 0
        self._ended = False
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._header(self._value, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": lambda: self._pieces.append((self._part, b"")),
                "on_part_data": lambda data, start, end: self._pieces.append((self._part, data[start:end])),
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> list[Piece]:
        """What these bytes bring. Raises InvalidRequest."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise InvalidRequest("the multipart body is malformed") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> None:
        """Nothing follows. Raises InvalidRequest unless the form is whole."""
        if not self._ended:
            raise InvalidRequest("the multipart body ends in the middle")

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise InvalidRequest(f"a form may have {MOST_PARTS} parts")
        self._part = Part()
        self._header_bytes = 0

    def _header(self, half: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > LONGEST_HEADERS:
            raise InvalidRequest("the headers of a part are too long")
        half += data

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self._part.filename = options[b"filename"].decode("utf-8", "replace")
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType("send multipart/form-data")
    if not options.get(b"boundary"):
        raise InvalidRequest("the multipart/form-data header names no boundary")
    return options[b"boundary"]
