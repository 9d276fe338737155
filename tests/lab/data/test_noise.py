"""Noise recordings: which are found, and the level and rate at which they are read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import AudioError
from spoken_digits.lab.data.corpora import CorpusError
from spoken_digits.lab.data.noise import find_noises, read_noise


def write(file: Path, samples: np.ndarray, sample_rate: int = 8_000) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, samples, sample_rate, "FLOAT")
    return file


def test_the_noises_of_speech_commands_are_found_in_order_and_nothing_else(pooled_corpora: Path):
    noises = find_noises(pooled_corpora)
    assert [file.name for file in noises] == ["a.wav", "b.wav", "c.wav"]
    assert {file.parent.name for file in noises} == {"_background_noise_"}


def test_without_speech_commands_there_are_no_noises(tmp_path: Path):
    assert find_noises(tmp_path) == ()
    with pytest.raises(CorpusError, match="no such folder"):
        find_noises(tmp_path / "nowhere")


def test_a_noise_is_read_as_recorded_or_at_the_level_asked_for(tmp_path: Path):
    recorded = (0.1 + 0.02 * np.random.default_rng(0).standard_normal(40_000)).astype(np.float32)
    file = write(tmp_path / "fan.wav", recorded)
    np.testing.assert_array_equal(read_noise(file), recorded)
    for rms in (1.0, 0.05):
        scaled = read_noise(file, rms)
        assert scaled.dtype == np.float32
        assert np.sqrt((scaled.astype(float) ** 2).mean()) == pytest.approx(rms, rel=1e-5)
        assert scaled.mean() == pytest.approx(0, abs=1e-5 * rms)
        assert np.corrcoef(scaled, recorded)[0, 1] == pytest.approx(1, abs=1e-6)


def test_a_noise_of_another_rate_comes_out_at_8_khz(tmp_path: Path):
    t = np.arange(32_000) / 16_000
    tone = np.sin(2 * np.pi * 1_000 * t) + np.sin(2 * np.pi * 6_000 * t)  # the second folds back
    samples = read_noise(write(tmp_path / "tone.wav", tone, 16_000), rms=1.0)
    assert len(samples) == 16_000
    power = np.abs(np.fft.rfft(samples)) ** 2
    assert power.argmax() == 2_000  # bins of 0.5 Hz: 1,000 Hz
    assert power[1_990:2_010].sum() / power.sum() > 0.999


def test_a_noise_may_be_longer_than_any_recording_of_a_digit(tmp_path: Path):
    long = np.zeros(8_000 * 700, np.float32)
    long[::2] = 0.01
    assert len(read_noise(write(tmp_path / "hum.wav", long))) == len(long)


def test_silence_has_no_level_to_scale(tmp_path: Path):
    file = write(tmp_path / "silence.wav", np.zeros(8_000))
    assert not read_noise(file).any()
    with pytest.raises(AudioError, match=r"silence\.wav: silence; expected noise"):
        read_noise(file, rms=1.0)
