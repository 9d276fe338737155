"""Live input: the microphone, or a file in its place, and the digits as they are spoken."""

import math
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import Encoding, Source, open_audio
from spoken_digits.connected import Segment, Transcriber

__all__ = ["MicrophoneError", "from_file", "from_microphone", "level_meter", "listen"]

FloatArray = NDArray[np.float32]
Chunks = Iterator[tuple[FloatArray, float]]  # mono samples, their rate in Hz

CHUNK_S = 0.05
METER_MIN_DBFS, METER_WIDTH = -60.0, 30
_TIMEOUT_S = 5.0  # without a sample, the microphone counts as gone


class MicrophoneError(ValueError):
    """No microphone can be used; the message says why, and the remedy."""


def from_microphone(device: str | int | None = None) -> Chunks:
    """Yield the microphone's samples, 50 ms at a time, at the device's own rate, until closed.

    Parameters
    ----------
    device : str or int, optional
        Name, part of it, or number in ``python -m sounddevice``; left out, the system's default.

    Raises
    ------
    MicrophoneError
        When PortAudio or the device is missing, may not be used, or gives no samples for 5 s.
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
    chunks: queue.SimpleQueue[FloatArray] = queue.SimpleQueue()

    def put(samples: NDArray[np.float32], *_: Any) -> None:
        chunks.put(samples.mean(axis=1))

    try:
        rate = float(sounddevice.query_devices(device, "input")["default_samplerate"])
        microphone = sounddevice.InputStream(
            rate, round(rate * CHUNK_S), device, channels=1, dtype="float32", callback=put
        )
        with microphone:
            while True:
                yield chunks.get(timeout=_TIMEOUT_S), rate
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise MicrophoneError(
            f"no microphone to listen to ({reason}); expected an input device: plug one in, allow "
            "its use in the system's settings, name it with --device, or use --wav FILE"
        ) from None
    except queue.Empty:
        raise MicrophoneError(
            f"the microphone has given no sound for {_TIMEOUT_S:g} s; expected samples: plug it "
            "in again, or name another one with --device"
        ) from None


def from_file(
    source: Source,
    wait: Callable[[float], object] = time.sleep,
    *,
    channel: int | None = None,
    encoding: Encoding | None = None,
    on_warning: Callable[[str], object] = lambda _: None,
) -> Chunks:
    """Yield a recording, 50 ms at a time, in real time, as a microphone would.

    `source`, `channel` and `encoding` are those of `open_audio`; `on_warning` is called with each
    of its warnings, at the end.

    Raises
    ------
    AudioError
        When the file cannot be read.
    """
    with open_audio(source, channel=channel, encoding=encoding) as recording:
        begin, yielded_s, rate = time.monotonic(), 0.0, recording.sample_rate
        length = max(1, round(rate * CHUNK_S))
        for block in recording:
            for start in range(0, len(block), length):
                chunk = block[start : start + length]
                yielded_s += len(chunk) / rate
                wait(max(0.0, begin + yielded_s - time.monotonic()))
                yield chunk, rate
        for warning in recording.warnings:
            on_warning(warning)


def listen(
    transcriber: Transcriber,
    chunks: Chunks,
    on_digit: Callable[[Segment], object],
    on_level: Callable[[float], object] = lambda _: None,
    *,
    oh: bool = True,
    doubles: bool = True,
) -> None:
    """Transcribe chunks until they end; call `on_digit` with each digit that is final.

    `on_level` is called with each chunk's level: its root mean square in dB of full scale, -inf for
    silence. `oh` and `doubles` are those of `Transcriber`. What has been said when the chunks end
    with an error, or the user interrupts them, is transcribed all the same.
    """
    stream = None
    try:
        for samples, rate in chunks:
            if stream is None:
                stream = transcriber.stream(rate, oh=oh, doubles=doubles)
            power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
            on_level(10 * math.log10(power) if power > 0 else -math.inf)
            for segment in stream.feed(samples).segments:
                on_digit(segment)
    finally:
        if stream is not None:
            for segment in stream.finish().segments:
                on_digit(segment)


def level_meter(level_dbfs: float) -> str:
    """Draw a level as a bar of fixed width, from -60 to 0 dB of full scale."""
    fraction = min(max(1 - level_dbfs / METER_MIN_DBFS, 0.0), 1.0)
    filled = round(fraction * METER_WIDTH)
    return (
        f"[{'#' * filled}{' ' * (METER_WIDTH - filled)}] {max(level_dbfs, METER_MIN_DBFS):4.0f} dB"
    )
