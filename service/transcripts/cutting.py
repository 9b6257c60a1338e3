"""Where a transcript is cut into chunks: never, if it can be helped, inside a word or a translation."""

from collections.abc import Iterable, Iterator, Sequence

from service.transcripts.tokens import Token, is_translation, text_of
from service.transcripts.words import begins_word

CHUNK_TOKENS = 1_000
_LONGEST = 2 * CHUNK_TOKENS


def cut(slices: Iterable[Sequence[Token]]) -> Iterator[list[Token]]:
    """Yield all tokens again in chunks of CHUNK_TOKENS or somewhat more; the last may be shorter."""
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
    """How many of the tokens go into one chunk."""
    last = min(len(tokens), _LONGEST)
    for place in range(CHUNK_TOKENS, last):
        if _is_seam(tokens[place - 1], tokens[place]):
            return place
    return CHUNK_TOKENS


def _is_seam(before: Token, token: Token) -> bool:
    """Whether nothing that belongs together is parted between these two tokens."""
    if is_translation(token):
        return False
    if token.get("translation_status") == before.get("translation_status") == "original":
        return False
    return begins_word(text_of(before), text_of(token))
