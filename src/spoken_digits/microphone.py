"""Live input: the microphone, or a file in its place, and the digits as they are spoken."""

import contextlib
import math
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
_TIMEOUT_S = 5.0  # without a sample, the microphone counts as lost
_RETRY_S = 1.0
RECONNECT_S = 600.0  # how long `spoken-digits listen` waits for a microphone that is lost


class MicrophoneError(ValueError):
    """No microphone can be used; the message says why, and the remedy."""


def from_microphone(
    device: str | int | None = None,
    reconnect_s: float = 0.0,
    on_notice: Callable[[str], object] = lambda _: None,
) -> Chunks:
    """Yield the microphone's samples, 50 ms at a time, at the device's own rate, until closed.

    Parameters
    ----------
    device : str or int, optional
        Name, part of it, or number in ``python -m sounddevice``; left out, the system's default.
    reconnect_s : float
        How long to wait for a microphone that is lost after it has worked, in seconds. Meanwhile
        silence is yielded, so that the time goes on; its rate may be another one afterwards.
    on_notice : callable
        Is called with a sentence when the microphone is lost, and when it is back.

    Raises
    ------
    MicrophoneError
        When PortAudio or the device is missing, may not be used, or gives no samples for 5 s, and
        is not back in time.
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
    rate = 0.0  # none has been opened
    last_s = yielded_s = 0.0  # until when samples came, and until when they or silence were yielded
    is_lost = False

    def silence(until_s: float) -> FloatArray:
        return np.zeros(max(0, round((until_s - yielded_s) * rate)), np.float32)

    while True:
        try:
            for samples, new_rate in _record(sounddevice, device):
                last_s = time.monotonic()
                if is_lost:
                    is_lost = False
                    on_notice("the microphone is back")
                    yield silence(last_s - len(samples) / new_rate), rate
                rate, yielded_s = new_rate, last_s
                yield samples, rate
        except MicrophoneError as error:
            if not rate or time.monotonic() - last_s >= reconnect_s:
                raise
            if not is_lost:
                is_lost = True
                on_notice(f"{error}; waiting for it to come back, up to {reconnect_s:g} s")
        now_s = time.monotonic()
        yield silence(now_s), rate
        yielded_s = now_s
        time.sleep(_RETRY_S)
        _restart(sounddevice)


def _record(sounddevice: Any, device: str | int | None) -> Chunks:
    """Yield a microphone's samples while it gives any.

    Raises
    ------
    MicrophoneError
        When it cannot be opened, or gives no more.
    """
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


def _restart(sounddevice: Any) -> None:
    """Let PortAudio look for devices anew: it does so only when it starts."""
    with contextlib.suppress(sounddevice.PortAudioError):
        sounddevice._terminate()
    with contextlib.suppress(sounddevice.PortAudioError):
        sounddevice._initialize()


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
    with an error, or the user interrupts them, is transcribed all the same. Where the rate changes,
    another stream begins; its times go on.
    """
    stream = None
    stream_rate = start_s = fed_s = 0.0  # of the stream; when it began; what it has been fed

    def emit(segments: Iterable[Segment]) -> None:
        for segment in segments:
            begin_s, end_s = segment.start_s + start_s, segment.end_s + start_s
            on_digit(replace(segment, start_s=begin_s, end_s=end_s) if start_s else segment)

    try:
        for samples, rate in chunks:
            if stream is None or rate != stream_rate:
                if stream is not None:
                    emit(stream.finish().segments)
                start_s, fed_s, stream_rate = start_s + fed_s, 0.0, rate
                stream = transcriber.stream(rate, oh=oh, doubles=doubles)
            fed_s += len(samples) / rate
            power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
            on_level(10 * math.log10(power) if power > 0 else -math.inf)
            emit(stream.feed(samples).segments)
    finally:
        if stream is not None:
            emit(stream.finish().segments)


def level_meter(level_dbfs: float) -> str:
    """Draw a level as a bar of fixed width, from -60 to 0 dB of full scale."""
    fraction = min(max(1 - level_dbfs / METER_MIN_DBFS, 0.0), 1.0)
    filled = round(fraction * METER_WIDTH)
    return (
        f"[{'#' * filled}{' ' * (METER_WIDTH - filled)}] {max(level_dbfs, METER_MIN_DBFS):4.0f} dB"
    )
