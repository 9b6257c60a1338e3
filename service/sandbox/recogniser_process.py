"""The recogniser's own process: a path per line comes in, what was heard goes out as a line of JSON.

A process and not a thread, because pocketsphinx holds the interpreter's lock for a whole recording (0.8 s for the
packaged seven seconds). Pipes and not a process pool, because a pool's worker outlives a killed parent, while
this one ends with its standard input. Run by path, so it must import nothing of this package.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from pocketsphinx import Decoder

RATE = 16_000
SILENCE = 0.001  # of full scale; asked about silence, the recogniser makes words up
PIECE = 30 * RATE
CUT_WITHIN = 5 * RATE
CUT_FRAME = RATE // 50

Samples = NDArray[np.float32]


def samples_of(path: str) -> Samples:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono: Samples = audio.mean(axis=1)
    if rate == RATE or not len(mono):
        return mono
    moments = np.arange(int(len(mono) * RATE / rate)) * (rate / RATE)
    return np.asarray(np.interp(moments, np.arange(len(mono)), mono), dtype=np.float32)


def pieces_of(samples: Samples) -> Iterator[tuple[int, Samples]]:
    """Cut long recordings at the quietest moment near each half minute, so that memory stays small."""
    start = 0
    while len(samples) - start > PIECE:
        end = start + PIECE - CUT_WITHIN + quietest_moment(samples[start + PIECE - CUT_WITHIN : start + PIECE])
        yield start, samples[start:end]
        start = end
    yield start, samples[start:]


def quietest_moment(samples: Samples) -> int:
    frames = np.abs(samples).reshape(-1, CUT_FRAME).mean(axis=1)
    return int(frames.argmin()) * CUT_FRAME + CUT_FRAME // 2


def words_of(decoder: Decoder, samples: Samples, offset_ms: int) -> Iterator[list[Any]]:
    """Segments come at 100 frames a second; `word(2)` is a pronunciation, `<sil>` and its kin are no words."""
    if not len(samples) or np.abs(samples).max() < SILENCE:
        return
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    decoder.start_utt()
    decoder.process_raw(pcm, no_search=False, full_utt=True)
    decoder.end_utt()
    for segment in decoder.seg() or ():
        if segment.word[0] not in "<[":
            start, end = segment.start_frame * 10, segment.end_frame * 10 + 10
            confidence = min(max(float(segment.prob), 1e-4), 1.0)
            yield [segment.word.partition("(")[0], offset_ms + start, offset_ms + end, confidence]


def hear(decoder: Decoder, path: str) -> dict[str, Any]:
    try:
        samples = samples_of(path)
    except (soundfile.LibsndfileError, ValueError, OSError):
        return {"error": "Invalid audio file"}
    words = [word for at, piece in pieces_of(samples) for word in words_of(decoder, piece, at * 1000 // RATE)]
    return {"duration_ms": len(samples) * 1000 // RATE, "words": words}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; our input then ends
    decoder = Decoder(loglevel="FATAL")
    for line in sys.stdin:
        answer(hear(decoder, json.loads(line)))


def answer(heard: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(heard) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)  # the parent was killed; a normal exit would try, and fail, to write once more


if __name__ == "__main__":
    main()
