"""Recordings in a report: sound, spectrograms, and the picture that `show` draws."""

import base64
import io

import matplotlib.image
import numpy as np
import pytest
import soundfile

from spoken_digits.audio import AudioError
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.reporting import recordings
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


def test_a_recording_that_cannot_be_read_leaves_no_picture(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), 8_000)
    with pytest.raises(AudioError, match=r"silent\.wav: no sound"):
        show(tmp_path / "silent.wav", tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["silent.wav"]


def test_a_sound_in_a_page_is_the_recording(tone_corpus):
    path = next(tone_corpus.rglob("*.wav"))
    head, _, body = recordings.sound(path).partition(",")
    assert head == "data:audio/wav;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body)))
    expected, expected_rate = soundfile.read(path)
    assert rate == expected_rate
    assert samples == pytest.approx(expected, abs=1 / 32768)


def test_a_clip_of_each_digit_is_drawn_of_one_speaker(tone_corpus):
    clips = read_corpus(tone_corpus)
    pictures = recordings.digit_spectrograms("bob", clips, tuple("0123456789"))
    assert [p.title for p in pictures] == [f"{d} (bob_0.wav)" for d in range(10)]
    svg = recordings.draw_spectrograms(pictures)
    assert all(f"{d} (bob_0.wav)" in svg for d in range(10))
    with pytest.raises(ValueError, match="speaker nobody: no clip has one of the labels"):
        recordings.digit_spectrograms("nobody", clips, tuple("0123456789"))
