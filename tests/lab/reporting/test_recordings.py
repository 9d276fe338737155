"""The picture of a recording, opened again and looked at in its pixels."""

import matplotlib.image
import numpy as np
import pytest
import soundfile

from spoken_digits.audio import AudioError
from spoken_digits.lab.reporting.recordings import show


def chirp(path, low_hz: float, high_hz: float) -> None:
    """Write 2 s at 16 kHz: silence, and between 0.5 and 1.5 s a rising tone."""
    t = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * (low_hz * t + (high_hz - low_hz) / 2 * t**2))
    soundfile.write(path, np.pad(0.5 * tone * np.hanning(16_000) ** 0.1, 8_000), 16_000)


def brightness(png) -> np.ndarray:
    """Return the lower picture, the spectrogram, as brightness: rows from high to low frequency."""
    pixels = matplotlib.image.imread(png)[..., :3]
    assert pixels.shape == (600, 960, 3)
    return pixels[250:535, 90:850].mean(axis=2)


def test_the_picture_shows_the_rise_of_a_rising_tone_between_two_silences(tmp_path):
    chirp(tmp_path / "a$b$.wav", 300, 3_000)
    assert show(tmp_path / "a$b$.wav", tmp_path / "out" / "a.png") == tmp_path / "out" / "a.png"
    picture = brightness(tmp_path / "out" / "a.png")
    width = picture.shape[1]
    silence, sound = picture[:, : width // 6], picture[:, 3 * width // 8 : 5 * width // 8]
    assert silence.mean() < 0.05
    assert sound.max() > 0.7
    peaks = sound.argmax(axis=0)
    assert peaks[0] - peaks[-1] > 50  # rows count downwards: the tone climbs


def test_a_recording_that_cannot_be_heard_leaves_no_picture(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), 8_000)
    with pytest.raises(AudioError, match=r"silent\.wav: no sound"):
        show(tmp_path / "silent.wav", tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["silent.wav"]
