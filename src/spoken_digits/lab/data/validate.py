"""What is wrong with one recording, judged by its file and its samples alone."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import AudioError, read_audio

__all__ = ["SoundCheck", "check_recording"]

SILENCE_DBFS = -50.0  # a clip whose loudest frame is quieter holds hardly any speech
FRAME_S = 0.03
FULL_SCALE = 0.99  # 127/128, the largest 8-bit sample, counts as full scale
CLIPPED_RUN = 3  # samples in a row at full scale, and ...
CLIPPED_SHARE = 1e-3  # ... of all samples: a clip with its peak at full scale has fewer


@dataclass(frozen=True)
class SoundCheck:
    """Rate and digest of the samples of a recording (None and b"" if unreadable), and what ails it.

    `problems` are (kind, detail) pairs; a kind is unreadable, truncated, channels, silence or
    clipping.
    """

    sample_rate_hz: int | None
    content: bytes
    problems: tuple[tuple[str, str], ...]


def check_recording(file: Path) -> SoundCheck:
    """Read a recording whole and return what is wrong with it; a bad file is no error here."""
    try:
        samples, sample_rate_hz = read_audio(file)
    except AudioError as error:
        detail = str(error).removeprefix(f"{file}: ")
        kind = "truncated" if detail.startswith("truncated") else "unreadable"
        return SoundCheck(None, b"", ((kind, detail),))
    problems = list(_listen(samples, sample_rate_hz))
    if (channels := sf.info(file).channels) > 1:
        problems.append(("channels", f"{channels} channels, expected 1 (they will be averaged)"))
    content = hashlib.sha256(sample_rate_hz.to_bytes(4) + samples.tobytes()).digest()
    return SoundCheck(sample_rate_hz, content, tuple(problems))


def _listen(samples: npt.NDArray[np.float32], sample_rate_hz: int) -> Iterator[tuple[str, str]]:
    """Yield kind and detail of what is wrong with samples (L,), L > 0, full scale 1."""
    frame = min(len(samples), round(FRAME_S * sample_rate_hz))
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    loudest_dbfs = 10 * np.log10(np.square(frames).mean(axis=1).max() + 1e-12)
    if loudest_dbfs < SILENCE_DBFS:
        yield "silence", f"nowhere louder than {loudest_dbfs:.0f} dBFS"
    full = np.abs(samples) >= FULL_SCALE
    edges = np.flatnonzero(np.diff(full, prepend=False, append=False))
    longest = (edges[1::2] - edges[::2]).max(initial=0)
    if longest >= CLIPPED_RUN and full.mean() >= CLIPPED_SHARE:
        yield "clipping", f"{longest} samples in a row at full scale, {full.mean():.2%} of the clip"
