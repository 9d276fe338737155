"""Encoded files of every kind, made of samples; and what recorders and pipes make of them."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import soundfile

RATE = 8_000


def syllables(count: int = 3, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Return (L,) float32: bursts of noise of 0.4 s, and 0.3 s of faint noise after each."""
    rng = np.random.default_rng(seed)
    burst = np.hanning(round(0.4 * rate)) ** 0.5
    envelope = np.tile(np.concatenate([burst, np.zeros(round(0.3 * rate))]), count)
    return ((0.1 * envelope + 1e-4) * rng.standard_normal(len(envelope))).astype(np.float32)


def encoded(samples: np.ndarray, kind: str, rate: int = RATE, **settings: object) -> bytes:
    """Return a file in libsndfile's format, or format and subtype: "OGG/OPUS"."""
    kind, _, subtype = kind.partition("/")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype or None, **settings)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """Return what libsndfile reads of a file, (L,) float32: the reference for whole ones."""
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    return samples


def replaced(content: bytes, at: int, field: bytes) -> bytes:
    return content[:at] + field + content[at + len(field) :]


def flac_of_unknown_length(samples: np.ndarray) -> bytes:
    """Return FLAC as an encoder writes it to a pipe: STREAMINFO leaves the number of samples 0."""
    content = encoded(samples, "FLAC")
    at = content.index(b"fLaC") + 8 + 13  # the low 4 bits of this byte and 4 bytes more
    return replaced(content, at, bytes([content[at] & 0xF0, 0, 0, 0, 0]))


def mpeg_frames(content: bytes) -> Iterator[bytes]:
    """Yield the frames of an MP3 of layer III, by the tables of ISO 11172-3 and 13818-3."""
    kbits_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    kbits_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    at = 0
    while at < len(content):
        (bits,) = struct.unpack_from(">I", content, at)
        assert bits >> 21 == 0x7FF
        version = bits >> 19 & 3
        rate = (44_100, 48_000, 32_000)[bits >> 10 & 3] // {3: 1, 2: 2, 0: 4}[version]
        kbits = (kbits_1 if version == 3 else kbits_2)[bits >> 12 & 15]
        size = (144_000 if version == 3 else 72_000) * kbits // rate + (bits >> 9 & 1)
        yield content[at : at + size]
        at += size


def mp3(samples: np.ndarray, rate: int = RATE) -> bytes:
    """Return an MP3 of variable rate, with its index."""
    return encoded(samples, "MP3", rate, bitrate_mode="VARIABLE", compression_level=0.3)


# Recordings of several channels

SPEECH, OTHER = syllables(4), syllables(4, seed=1)[::-1]
SILENT = np.zeros_like(SPEECH)
HUM = (0.05 * np.sin(2 * np.pi * 50 * np.arange(len(SPEECH)) / RATE)).astype(np.float32)
HISS = (0.01 * np.random.default_rng(2).standard_normal(len(SPEECH))).astype(np.float32)
DELAYED = np.roll(SPEECH, 40)  # 5 ms, of which the sum is a comb filter

CHANNELS = {  # channels; which of them are taken; whether the others are another sound
    "antiphase": ([SPEECH, -SPEECH], (1,), False),
    "first silent": ([SILENT, SPEECH], (2,), False),
    "second silent": ([SPEECH, SILENT], (1,), False),
    "offset only": ([SILENT + 0.4, SPEECH], (2,), False),
    "delayed": ([SPEECH, DELAYED], (1,), False),
    "same": ([SPEECH, SPEECH], (1, 2), False),
    "same but quieter": ([0.3 * SPEECH, SPEECH], (1, 2), False),
    "louder hum": ([HUM, 0.5 * SPEECH], (2,), False),
    "hiss": ([SPEECH, HISS], (1,), False),
    "two speakers": ([0.4 * OTHER, SPEECH], (2,), True),
    "six": ([SILENT, SPEECH, SPEECH, 0.5 * OTHER, -SPEECH, HISS], (2, 3), True),
}
