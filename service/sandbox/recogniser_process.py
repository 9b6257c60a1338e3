"""The recogniser's process: reads one path per line (JSON) and writes the recognised words as one line of JSON.

It is a process because pocketsphinx holds the interpreter's lock for a whole recording (0.8 s for the packaged
seven seconds). It uses pipes because the worker of a process pool outlives a killed parent; this process ends
when its standard input closes. It is run by path, so it must not import this package.
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
SILENCE = 0.001  # of full scale; the recogniser invents words for silence
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
    """Yield pieces and their offsets, cut at the quietest moment near each half minute, to bound memory use."""
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
    """Yield `[text, start_ms, end_ms, confidence]` for each word.

    pocketsphinx has 100 frames per second. It writes an alternative pronunciation as `word(2)`, and silence and
    noise as `<sil>` or similar.
    """
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and closes our input
    decoder = Decoder(loglevel="FATAL")
    for line in sys.stdin:
        answer(hear(decoder, json.loads(line)))


def answer(heard: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(heard) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)  # the parent was killed; a normal exit would fail to flush stdout


if __name__ == "__main__":
    main()
