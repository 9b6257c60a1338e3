"""How quick search is over many transcripts, over HTTP, on both databases: `python -m bench.search [HOW_MANY]`."""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from sqlalchemy import text

from bench.served import ready_databases
from bench.transcripts import report
from service.crypto import hash_api_key
from service.relay import Relay
from service.store import keys
from service.tables import ApiKey
from tests.support.relay_app import RelayApp, open_relay_app
from tests.support.transcripts import document, put, spoken

HOW_MANY = 10_000
WORDS = 300  # of each transcript: two minutes
VOCABULARY = 30_000
ROUNDS = 3
EACH = 20  # of each kind of search in a round
AT_ONCE = 50
KEY = "key-of-one-who-owns-one-in-a-hundred"

P95_TARGET_MS = 50


class Language:
    """Made-up words, used as often as words are: the n-th in 1/n of the cases."""

    def __init__(self) -> None:
        self.dice = random.Random(3)
        letters = "etaoinshrdlucmfwypvbgk"
        made = ("".join(self.dice.choices(letters, k=self.dice.randint(2, 9))) for _ in range(VOCABULARY))
        self.words = sorted(made, key=len)
        self.stored: list[str] = []
        """Ids of the transcripts that `fill` stored."""
        self._weights = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))

    def speech(self) -> list[str]:
        """What is said in one transcript."""
        return self.dice.choices(self.words, cum_weights=self._weights, k=WORDS)

    def common(self) -> str:
        """One of the ten commonest words."""
        return self.words[self.dice.randrange(10)]

    def usual(self) -> str:
        """A word as anybody might look for."""
        return self.words[self.dice.randrange(500, 3_000)]

    def rare(self) -> str:
        """A word that few ever say."""
        return self.words[self.dice.randrange(20_000, VOCABULARY)]

    def queries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Kinds of search, with an example of each."""
        said = self.speech()
        yield "a rare word", {"q": self.rare()}
        yield "a usual word", {"q": self.usual()}
        yield "one of the commonest words", {"q": self.common()}
        yield "two common words", {"q": f"{self.common()} {self.common()}"}
        yield "a common and a rare word", {"q": f"{self.common()} {self.rare()}"}
        yield "three usual words", {"q": " ".join(self.usual() for _ in range(3))}
        yield "a phrase", {"q": f'"{self.common()} {self.usual()}"'}
        yield "a phrase of common words", {"q": f'"{" ".join(said[:2])}"'}
        yield "the beginning of a word", {"q": f"{self.usual()[:4]}*"}
        yield "a short beginning", {"q": f"{self.usual()[:2]}*"}
        yield "a word nobody says", {"q": "xylophon"}
        yield "one speaker's common word", {"q": self.common(), "speaker": "3"}
        yield "a common word in one transcript", {"q": self.common(), "transcription_id": self.stored[0]}
        yield "one of 100 keys' usual word", {"q": self.usual(), "key": KEY}
        yield "one of 100 keys' common word", {"q": self.common(), "key": KEY}


def transcript(words: list[str], dice: random.Random) -> dict[str, Any]:
    """Words said in turns."""
    tokens, speaker, start_ms = [], "1", 0
    for word in words:
        if dice.random() < 0.04:
            speaker = dice.choice("123")
        tokens.append(spoken(f" {word}", start_ms, speaker=speaker, confidence=round(dice.random(), 3)))
        start_ms += 400
    return document(tokens)


async def fill(relay: Relay, language: Language, how_many: int) -> None:
    """Store so many transcripts, one in a hundred of them for the owner of KEY."""
    key = ApiKey(id="key_small", name="small", hash=hash_api_key(KEY), scopes=["read"], created_at_ms=1)
    await relay.db.write(lambda session: keys.add(session, key))
    for start in range(0, how_many, AT_ONCE):
        bodies = [transcript(language.speech(), language.dice) for _ in range(min(AT_ONCE, how_many - start))]
        owners = [key.id if (start + n) % 100 == 0 else "bootstrap" for n in range(len(bodies))]
        puts = [put(relay, each, owner=owner) for each, owner in zip(bodies, owners, strict=True)]
        language.stored += await asyncio.gather(*puts)


async def settle(relay: Relay) -> None:
    """What a database in service has done by itself: PostgreSQL's autovacuum."""
    if not relay.db.is_sqlite:
        await relay.db.read(lambda session: session.execute(text("VACUUM ANALYZE")))


async def measure(relay_app: RelayApp, language: Language) -> dict[str, list[float]]:
    """Milliseconds of each search by kind."""
    taken: dict[str, list[float]] = {}
    for _ in range(EACH):
        for kind, query in language.queries():
            headers = {"Authorization": f"Bearer {query.pop('key')}"} if "key" in query else {}
            begun = time.perf_counter()
            answer = await relay_app.client.get("/v1/search", params=query, headers=headers)
            taken.setdefault(kind, []).append((time.perf_counter() - begun) * 1000)
            assert answer.status_code == 200, answer.text
    return taken


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def bench(name: str, database_url: str, how_many: int) -> None:
    """Fill a database and search it."""
    async with open_relay_app(database_url) as relay_app:
        language = Language()
        begun = time.perf_counter()
        await fill(relay_app.relay, language, how_many)
        print(f"{name}: {how_many:,} transcripts of {WORDS} words stored in {time.perf_counter() - begun:.0f} s")
        await settle(relay_app.relay)
        rounds = [await measure(relay_app, language) for _ in range(ROUNDS)]
    taken = min(rounds, key=lambda each: percentile(all_of(each), 0.95))  # the others shared the machine
    for kind, values in taken.items():
        print(f"  {kind:<32} median {statistics.median(values):7.1f} ms   p95 {percentile(values, 0.95):7.1f} ms")
    every = all_of(taken)
    report(f"{name}, p95 of {len(every)} searches", percentile(every, 0.95), P95_TARGET_MS, "ms")


def all_of(taken: dict[str, list[float]]) -> list[float]:
    """The times of all kinds of search."""
    return [value for values in taken.values() for value in values]


async def main(how_many: int) -> None:
    """Measure and print."""
    with ready_databases() as urls:
        for name, url in urls.items():
            await bench(name, url, how_many)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else HOW_MANY))
