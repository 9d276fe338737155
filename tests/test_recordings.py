"""Recordings of one digit each in twenty formats, and the answers of recognize.

They are made here of the synthetic speech that ships, each with a second of faint noise before and
after the digit.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import read_audio, resample
from spoken_digits.cli import main
from spoken_digits.lab.data.corpora import SHIPPED_VOICES
from spoken_digits.recognize import load

# suffix, libsndfile's subtype, rate in Hz, channels
KINDS = (
    ("wav", "PCM_16", 4_000, 1),
    ("wav", "PCM_U8", 8_000, 1),
    ("wav", "ULAW", 8_000, 1),
    ("wav", "ALAW", 8_000, 1),
    ("wav", "IMA_ADPCM", 8_000, 1),
    ("wav", "GSM610", 8_000, 1),
    ("au", "ULAW", 8_000, 1),
    ("wav", "PCM_16", 11_025, 1),
    ("opus", "OPUS", 16_000, 1),
    ("wav", "PCM_16", 16_000, 2),
    ("ogg", "VORBIS", 22_050, 1),
    ("mp3", "MPEG_LAYER_III", 32_000, 1),
    ("mp3", "MPEG_LAYER_III", 44_100, 2),
    ("aiff", "PCM_16", 44_100, 2),
    ("wav", "PCM_24", 44_100, 1),
    ("flac", "PCM_16", 48_000, 1),
    ("wav", "PCM_32", 48_000, 2),
    ("wav", "FLOAT", 48_000, 6),
    ("w64", "PCM_24", 96_000, 1),
    ("flac", "PCM_24", 96_000, 2),
    ("wav", "DOUBLE", 176_400, 1),
    ("wav", "PCM_16", 192_000, 1),
)


def write(path: Path, digit: np.ndarray, kind: tuple[str, str, int, int], seed: int) -> None:
    """Write (L,) samples at 8 kHz as a recording of this kind."""
    suffix, subtype, rate, channels = kind
    rng = np.random.default_rng(seed)
    samples = np.pad(digit * (0.5 / np.abs(digit).max()), 8_000)
    samples += 1e-4 * rng.standard_normal(len(samples))
    wide = resample(samples.astype(np.float32), 8_000, rate)
    gains = rng.uniform(0.3, 1, channels)
    container = "OGG" if suffix == "opus" else suffix.upper()
    soundfile.write(path, wide[:, None] * gains, rate, subtype=subtype, format=container)


@pytest.fixture(scope="module")
def confident() -> list[tuple[str, np.ndarray]]:
    """Labels and clips that the model recognizes with a probability above 0.97 as they are."""
    recognizer, chosen = load(), []
    for file in sorted(SHIPPED_VOICES.glob("[0-9]/*_0.flac")):
        if file.name.startswith("kokoro"):  # the network was not trained on these voices
            continue
        answer = recognizer(file)
        if answer.label == file.parent.name and answer.probability > 0.97:
            chosen.append((answer.label, read_audio(file)[0]))
    return chosen


def test_every_format_is_recognized_correctly(confident, tmp_path, capsys):
    files, digits = [], []
    for k, kind in enumerate(KINDS):
        if not soundfile.check_format("OGG" if kind[0] == "opus" else kind[0].upper(), kind[1]):
            continue
        digit, clip = confident[k * len(confident) // len(KINDS)]
        path = tmp_path / f"{k}-{kind[1]}-{kind[2]}-{kind[3]}.{kind[0]}"
        write(path, clip, kind, k)
        files.append(str(path))
        digits.append(digit)
    assert len(files) >= 20
    assert main(["recognize", "--json", *files]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    wrong = [
        (Path(row["file"]).name, digit, row["digit"], row["reason"])
        for row, digit in zip(rows, digits, strict=True)
        if row["digit"] != int(digit)
    ]
    assert wrong == []
    assert len(set(digits)) >= 8
