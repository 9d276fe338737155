from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch

from spoken_digits.lab.features import (
    FRONT_ENDS,
    FrontEnd,
    LogMel,
    log_mel,
    mel_filter_bank,
    mel_spectrogram,
)

NORMALIZATIONS = ("band", "band_mean", "utterance")


def speech_like(n_samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 8000
    tone = np.sin(2 * np.pi * 440 * t) * np.hanning(n_samples)
    return (tone + 0.01 * rng.standard_normal(n_samples)).astype(np.float32)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_mel_filter_bank_is_librosas(name: str) -> None:
    front_end = FRONT_ENDS[name]
    expected = librosa.filters.mel(
        sr=front_end.sample_rate,
        n_fft=front_end.n_fft,
        n_mels=front_end.n_mels,
        fmin=front_end.f_min_hz,
        fmax=front_end.f_max_hz,
    )
    plain = replace(front_end, pre_emphasis=0.0)
    np.testing.assert_allclose(mel_filter_bank(plain), expected, atol=1e-8)


@pytest.mark.parametrize("n_samples", [800, 3111, 12000])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_mel_spectrogram_is_librosas_to_a_hundredth_of_a_decibel(name: str, n_samples: int) -> None:
    front_end = replace(FRONT_ENDS[name], pre_emphasis=0.0)
    samples = speech_like(n_samples)
    expected = librosa.feature.melspectrogram(
        y=samples,
        sr=front_end.sample_rate,
        n_fft=front_end.n_fft,
        win_length=front_end.window_length,
        hop_length=front_end.hop_length,
        n_mels=front_end.n_mels,
        fmin=front_end.f_min_hz,
        fmax=front_end.f_max_hz,
        center=True,
        pad_mode="constant",
    )
    found = mel_spectrogram(samples, front_end)
    assert found.shape == expected.shape
    np.testing.assert_allclose(10 * np.log10(found), 10 * np.log10(expected), atol=0.01)


def test_pre_emphasis_is_librosas_filter() -> None:
    front_end = FrontEnd(pre_emphasis=0.97)
    samples = np.random.default_rng(0).standard_normal(80_000).astype(np.float32)
    filtered = librosa.effects.preemphasis(samples, coef=0.97)
    found = mel_spectrogram(samples, front_end)
    expected = mel_spectrogram(filtered, replace(front_end, pre_emphasis=0.0))
    # A filtered window is not quite a window of the filtered signal, where the gain is steepest.
    difference_db = 10 * np.log10(found.mean(axis=1) / expected.mean(axis=1))
    assert np.abs(difference_db[:4]).max() < 1
    assert np.abs(difference_db[4:]).max() < 0.1


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("n_samples", [800, 3111, 12000])
def test_numpy_and_torch_agree(normalization: str, n_samples: int) -> None:
    front_end = FrontEnd(normalization=normalization)
    samples = speech_like(n_samples)
    found, mask = LogMel(front_end)(torch.from_numpy(samples)[None])
    assert mask.all()
    np.testing.assert_allclose(found[0].numpy(), log_mel(samples, front_end), atol=1e-4)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_convolution_that_is_exported_is_the_fourier_transform(name: str) -> None:
    front_end = LogMel(FRONT_ENDS[name])
    waveform = torch.from_numpy(np.stack([speech_like(3000), speech_like(3000, 1)]))
    half = front_end.front_end.n_fft // 2
    found = front_end._power_by_convolution(torch.nn.functional.pad(waveform, (half, half)))
    expected = front_end.power(waveform)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_padding_changes_nothing_and_comes_out_as_zero(normalization: str) -> None:
    front_end = FrontEnd(normalization=normalization)
    clips = [speech_like(n, seed=n) for n in (1000, 2345, 4000)]
    batch = torch.zeros(3, 4000)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    found, mask = LogMel(front_end)(batch, torch.tensor([len(clip) for clip in clips]))
    for i, clip in enumerate(clips):
        alone = log_mel(clip, front_end)
        n_frames = alone.shape[1]
        assert int(mask[i].sum()) == n_frames
        np.testing.assert_allclose(found[i, :, :n_frames].numpy(), alone, atol=1e-4)
        assert not found[i, :, n_frames:].any()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_level_does_not_matter(normalization: str) -> None:
    front_end = FrontEnd(normalization=normalization)
    samples = speech_like(4000)
    quiet = (samples * 10 ** (-50 / 20)).astype(np.float32)
    np.testing.assert_allclose(log_mel(quiet, front_end), log_mel(samples, front_end), atol=1e-3)


def test_each_normalization_leaves_the_moments_it_promises() -> None:
    samples = speech_like(4000)
    assert abs(log_mel(samples, FrontEnd(normalization="utterance")).mean()) < 1e-5
    band_mean = log_mel(samples, FrontEnd(normalization="band_mean"))
    np.testing.assert_allclose(band_mean.mean(axis=1), 0, atol=1e-5)
    band = log_mel(samples, FrontEnd(normalization="band"))
    np.testing.assert_allclose(band.std(axis=1), 1, atol=1e-3)


def test_silence_stays_finite() -> None:
    silence = np.zeros(2000, np.float32)
    for front_end in FRONT_ENDS.values():
        assert np.isfinite(log_mel(silence, front_end)).all()
        assert torch.isfinite(LogMel(front_end)(torch.from_numpy(silence)[None])[0]).all()


def test_a_tone_lands_in_the_band_around_its_frequency() -> None:
    front_end = FRONT_ENDS["ours"]
    bank = mel_filter_bank(front_end)
    bins_hz = np.fft.rfftfreq(front_end.n_fft, 1 / 8000)
    for frequency_hz in (300.0, 1000.0, 2500.0):
        tone = np.sin(2 * np.pi * frequency_hz * np.arange(4000) / 8000).astype(np.float32)
        loudest = mel_spectrogram(tone, front_end).mean(axis=1).argmax()
        response = [np.interp(frequency_hz, bins_hz, row) for row in bank]
        assert abs(int(loudest) - int(np.argmax(response))) <= 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"normalization": "mean"}, "normalization"),
        ({"window_ms": 40}, "n_fft"),
        ({"hop_ms": 0.01}, "hop_ms"),
        ({"f_max_hz": 5000}, "4000"),
        ({"n_mels": 0}, "n_mels"),
        ({"pre_emphasis": 1.5}, "pre_emphasis"),
    ],
)
def test_impossible_parameters_are_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        FrontEnd(**change)
