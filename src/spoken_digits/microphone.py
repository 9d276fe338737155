"""Listen to the microphone, or to a file as if it were one, and show digits as they are spoken."""

import math
import os
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import read_blocks
from spoken_digits.connected import Segment, Transcriber

__all__ = ["MicrophoneError", "from_file", "from_microphone", "level_meter", "listen"]

FloatArray = NDArray[np.float32]
Chunks = Iterator[tuple[FloatArray, float]]  # mono samples, their rate in Hz

CHUNK_S = 0.05
QUIETEST_DB, METER_WIDTH = -60.0, 30
_PATIENCE_S = 5.0  # without a sample, a microphone is taken for dead


class MicrophoneError(ValueError):
    """There is nothing to listen with; the message says what to do."""


def from_microphone(device: str | int | None = None) -> Chunks:
    """Yield what the microphone hears, 50 ms at a time, at the device's own rate, until closed.

    Parameters
    ----------
    device : str or int, optional
        Name, part of it, or number in ``python -m sounddevice``; left out, the system's default.

    Raises
    ------
    MicrophoneError
        When PortAudio or the device is missing, may not be used, or falls silent for 5 s.
    ImportError
        Without the extra ``mic``.
    """
    try:
        import sounddevice  # late: an extra, and it looks for PortAudio
    except OSError:
        raise MicrophoneError(
            "PortAudio is not installed, expected it to reach the microphone: "
            "apt install libportaudio2 (Debian, Ubuntu) or brew install portaudio, "
            "or listen to a file with --wav FILE"
        ) from None
    heard: queue.SimpleQueue[FloatArray] = queue.SimpleQueue()

    def keep(samples: NDArray[np.float32], *_: Any) -> None:
        heard.put(samples.mean(axis=1))

    try:
        rate = float(sounddevice.query_devices(device, "input")["default_samplerate"])
        microphone = sounddevice.InputStream(
            rate, round(rate * CHUNK_S), device, channels=1, dtype="float32", callback=keep
        )
        with microphone:
            while True:
                yield heard.get(timeout=_PATIENCE_S), rate
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise MicrophoneError(
            f"no microphone to listen to ({reason}); expected an input device: plug one in, allow "
            "its use in the system's settings, name it with --device, or use --wav FILE"
        ) from None
    except queue.Empty:
        raise MicrophoneError(
            f"the microphone has given no sound for {_PATIENCE_S:g} s; expected samples: plug it "
            "in again, or name another one with --device"
        ) from None


def from_file(path: str | os.PathLike[str], wait: Callable[[float], object] = time.sleep) -> Chunks:
    """Yield a recording, 50 ms at a time, as slowly as a microphone would.

    Raises
    ------
    AudioError
        When the file cannot be read.
    """
    begin = time.monotonic()
    given_s = 0.0
    for block, rate in read_blocks(path):
        length = max(1, round(rate * CHUNK_S))
        for start in range(0, len(block), length):
            chunk = block[start : start + length]
            given_s += len(chunk) / rate
            wait(max(0.0, begin + given_s - time.monotonic()))
            yield chunk, rate


def listen(
    transcriber: Transcriber,
    chunks: Chunks,
    heard: Callable[[Segment], object],
    level: Callable[[float], object] = lambda _: None,
) -> None:
    """Hear chunks until they end; call `heard` with each digit, `level` with each chunk's level.

    The level is the root of the mean square in dB of full scale, -inf for silence.
    """
    stream = None
    for samples, rate in chunks:
        if stream is None:
            stream = transcriber.stream(rate)
        power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
        level(10 * math.log10(power) if power > 0 else -math.inf)
        for segment in stream.feed(samples).segments:
            heard(segment)
    if stream is not None:
        for segment in stream.finish().segments:
            heard(segment)


def level_meter(level_db: float) -> str:
    """Draw a level as a bar of fixed width, from -60 to 0 dB of full scale."""
    share = min(max(1 - level_db / QUIETEST_DB, 0.0), 1.0)
    filled = round(share * METER_WIDTH)
    return f"[{'#' * filled}{' ' * (METER_WIDTH - filled)}] {max(level_db, QUIETEST_DB):4.0f} dB"
