"""Does the time that the header check takes tell how much of a guess is right? `python -m tests.chaos.timing`.

Two classes of guesses in random order: the right value with only its last character wrong, and one that is wrong
from the first on. Welch's t over the times, once with all of them and once without the slowest (a busy machine
makes those); it must stay below 4.5, the customary bound for "no difference seen". A comparison that stops at the
first difference is measured, too, so that it is known that this machine could see one.
"""

import argparse
import gc
import math
import random
import secrets
import statistics
import sys
import time
from collections.abc import Callable

from service.crypto import SecretBox

MASTER = secrets.token_bytes(32)
JOB = "0197a1b2-0000-7000-8000-000000000001"
BOUND = 4.5
KEPT = 0.9  # the share of the quickest
WARM_UP = 2000


def times_ns(check: Callable[[bytes], object], guesses: tuple[bytes, bytes], number: int) -> list[list[int]]:
    """How long each of `number` checks took, by class.

    Each guess is an object of its own and the loop does not know its class: where a guess lies, and any step taken
    for one class only, shows in a million measurements.
    """
    kinds = [random.getrandbits(1) for _ in range(number)]
    prepared = [bytes(bytearray(guesses[kind])) for kind in kinds]
    taken = []
    gc.disable()
    for guess in prepared[:WARM_UP]:
        check(guess)
    for guess in prepared:
        begun = time.perf_counter_ns()
        check(guess)
        taken.append(time.perf_counter_ns() - begun)
    gc.enable()
    return [[took for took, its_kind in zip(taken, kinds, strict=True) if its_kind == kind] for kind in (0, 1)]


def welch(first: list[int], second: list[int]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(spread)


def trimmed(taken: list[list[int]]) -> list[list[int]]:
    """Both without what took longer than most of all of them."""
    both = sorted(taken[0] + taken[1])
    longest = both[int(len(both) * KEPT)]
    return [[one for one in kind if one <= longest] for kind in taken]


def examine(name: str, check: Callable[[bytes], object], right: bytes, number: int) -> float:
    """Measure, print, and give back the larger t of the two."""
    nearly, wrong = right[:-1] + bytes([right[-1] ^ 1]), bytes([right[0] ^ 1]) + right[1:]
    taken = times_ns(check, (nearly, wrong), number)
    all_of_them, quick = welch(*taken), welch(*trimmed(taken))
    print(
        f"{name}: {number:,} compares, t={all_of_them:+.2f}, without the slowest tenth t={quick:+.2f}", flush=True
    )
    return max(abs(all_of_them), abs(quick))


def byte_by_byte(given: bytes, right: bytes) -> bool:
    """What must not be done."""
    return all(one == other for one, other in zip(given, right, strict=True))


def main() -> int:
    """Run and print; 0 when nothing was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compares", type=int, default=1_000_000)
    arguments = parser.parse_args()
    secret_box = SecretBox([MASTER])
    right = secret_box.webhook_secret(JOB).encode()
    seen = examine(
        "header check", lambda given: secret_box.knows_webhook_secret(given, JOB), right, arguments.compares
    )
    control = examine(
        "a comparison that stops early", lambda given: byte_by_byte(given, right), right, arguments.compares // 20
    )
    print(f"t={seen:.2f} bound={BOUND} control={control:.2f}")
    return 0 if seen < BOUND < control else 1


if __name__ == "__main__":
    sys.exit(main())
