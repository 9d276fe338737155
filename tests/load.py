"""Load that outlasts a test: a crowd at `serve`, threads at one recognizer, a stream of a day.

``python -m tests.load stream --seconds 86400 --record`` measures one of these and writes it to
results/load.json; CI runs each for about a second (test_load.py). Linux only: memory and threads
are read in /proc.
"""

import argparse
import asyncio
import contextlib
import datetime
import gc
import json
import multiprocessing
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

import spoken_digits
from spoken_digits import serve as server
from spoken_digits.audio import SAMPLE_RATE, read_audio, resample
from spoken_digits.connected import Segment, Transcriber
from spoken_digits.lab.runs import commit, write_whole
from spoken_digits.recognize import load

RESULTS = Path(__file__).parents[1] / "results" / "load.json"
VOICES = Path(spoken_digits.__file__).parent / "assets" / "voices"
CHUNK_S = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("what", choices=MEASURES)
    text = "how long: of serving, of recognizing, or of the sound that is streamed"
    parser.add_argument("--seconds", type=float, required=True, help=text)
    parser.add_argument("--record", action="store_true", help="write it to results/load.json")
    arguments = parser.parse_args()
    begun, cpu, measured = time.monotonic(), time.process_time(), commit()
    result = MEASURES[arguments.what](arguments.seconds)
    result |= {
        "command": f"python -m tests.load {arguments.what} --seconds {arguments.seconds:g}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": measured,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnxruntime", "spoken-digits")},
        },
        "took_s": round(time.monotonic() - begun, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    print(json.dumps(result, indent=2))
    if arguments.record:
        rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
        text = json.dumps(rows | {arguments.what: result}, indent=2, sort_keys=True)
        write_whole(RESULTS, f"{text}\n".encode())
    return 0 if result["reached"] else 1


# --- A stream of a day


def stream(seconds: float, rate: int = 16_000, period_s: float = 60.0) -> dict[str, Any]:
    """Stream the same period of sound again and again: digits, then noise of -80 dB.

    The clock is that of the samples. What a period is answered with is compared with the first
    period's, its offset subtracted: digits, probabilities, and times, which may differ by the
    rounding of double precision alone.
    """
    sound = _period(rate, period_s)
    chunk = round(rate * CHUNK_S)
    transcriber = Transcriber()
    following = transcriber.stream(rate)
    first: list[Segment] = []
    segments: list[Segment] = []
    memory: list[int] = []
    drift_s, unequal, digits = 0.0, 0, 0
    periods = max(2, round(seconds / period_s))
    for index in range(periods):
        for start in range(0, len(sound), chunk):
            segments += following.feed(sound[start : start + chunk]).segments
        offset_s = index * period_s
        digits += len(segments)
        if index == 0:
            first = segments
        elif [_without_times(s) for s in segments] != [_without_times(s) for s in first]:
            unequal += 1
        else:
            for mine, reference in zip(segments, first, strict=True):
                differences = (
                    mine.start_s - offset_s - reference.start_s,
                    mine.end_s - offset_s - reference.end_s,
                )
                drift_s = max(drift_s, *map(abs, differences))
        segments = []
        if (index + 1) % max(1, periods // 24) == 0 or index == periods - 1:
            memory.append(resident_kb())
            print(
                f"{(index + 1) * period_s:g} s, {memory[-1] / 1024:.1f} MB, drift {drift_s:g} s, "
                f"{unequal} unequal",
                file=sys.stderr,
            )
    # From the first of 24 parts on: what the runtime's pools take at the beginning is no growth.
    growth = (memory[-1] - memory[0]) / 1024
    return {
        "streamed_s": periods * period_s,
        "sample_rate_hz": rate,
        "digits": digits,
        "digits_in_a_period": len(first),
        "unequal_periods": unequal,
        "drift_s": drift_s,
        "memory_growth_mb": round(growth, 2),
        "memory_mb": [round(kb / 1024, 2) for kb in memory],
        "bars": {"memory_growth_mb": 1, "drift_s": ROUNDING_S},
        "reached": bool(first) and not unequal and drift_s <= ROUNDING_S and growth <= 1,
    }


ROUNDING_S = 1e-9  # of a time in double precision: a day has 1.5e-11


def _without_times(segment: Segment) -> tuple[object, ...]:
    return segment.digit, segment.word, segment.probability


def _period(rate: int, period_s: float) -> np.ndarray:
    """Make a period: noise, in its middle seven digits of a synthetic voice that ships."""
    sound = np.random.default_rng(17).normal(0, 1e-4, round(rate * period_s)).astype(np.float32)
    position = len(sound) // 3
    for digit in "4155501":
        samples = _read(rate, min((VOICES / digit).glob("flite-awb_*.flac")))
        sound[position : position + len(samples)] += samples
        position += len(samples) + rate // 5
    return sound


def _read(rate: int, file: Path) -> np.ndarray:
    import soxr

    samples, own = read_audio(file)
    return np.asarray(soxr.resample(samples, own, rate), np.float32)


def resident_kb() -> int:
    gc.collect()
    return _status("self", "VmRSS")


def _status(process: int | str, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


MEASURES: dict[str, Callable[[float], dict[str, Any]]] = {"stream": stream}

if __name__ == "__main__":
    raise SystemExit(main())
