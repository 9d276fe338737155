import math

import numpy as np
import pytest
import torch

from spoken_digits.lab.augmentation.spectrogram import (
    add_noise,
    bend,
    equalize,
    freq_mixstyle,
    mask_freq,
    mask_time,
    mixup,
    noise_gain,
    reverberate,
    shift_pitch,
    warp,
    warp_time,
)
from spoken_digits.lab.features import FRONT_ENDS, LogMel, frame_mask

F, T = 129, 60


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bump(bin_index: float, frame: float) -> torch.Tensor:
    """A smooth hill of power around a bin and a frame: (1, F, T)."""
    bins, frames = torch.arange(F)[:, None], torch.arange(T)[None]
    return torch.exp(-((bins - bin_index) ** 2) / 18 - ((frames - frame) ** 2) / 18)[None]


def centers(power: torch.Tensor) -> tuple[float, float]:
    """Center of mass of (F, T) in bins and in frames."""
    weight = power / power.sum()
    bins = (weight.sum(1) * torch.arange(power.shape[0])).sum()
    frames = (weight.sum(0) * torch.arange(power.shape[1])).sum()
    return float(bins), float(frames)


@pytest.mark.parametrize("ratio", [0.85, 1.0, 1.2])
def test_frequency_warp_moves_a_resonance_by_its_ratio(ratio: float) -> None:
    power, frames = warp(bump(60, 30), torch.tensor([T]), torch.tensor([ratio]), torch.ones(1))
    assert int(frames) == T
    assert centers(power[0])[0] == pytest.approx(60 / ratio, rel=0.01)
    assert centers(power[0])[1] == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.4])
def test_tempo_warp_moves_an_event_and_the_end_by_its_ratio(ratio: float) -> None:
    power, frames = warp(bump(60, 30), torch.tensor([T]), torch.ones(1), torch.tensor([ratio]))
    assert int(frames) == round(T / ratio)
    assert power.shape == (1, F, int(frames))
    assert centers(power[0])[1] == pytest.approx(30 / ratio, rel=0.02)
    assert centers(power[0])[0] == pytest.approx(60, abs=0.1)


def where_it_is_read(deviations: tuple[float, float], frames: int = 40) -> list[torch.Tensor]:
    """What `bend` reads of ramps: the positions of bins (B, F) and of moments (B, frames)."""
    n_frames = torch.full((200,), frames)
    inside = frame_mask(n_frames, T)
    bins = torch.linspace(0, 1, F)[None, :, None] * inside
    moments = (torch.arange(T) / (frames - 1))[None, None] * inside.expand(-1, F, -1)
    bent = [bend(ramp, n_frames, generator(), *deviations) for ramp in (bins, moments)]
    assert all(not x[..., frames:].any() for x in bent)
    return [bent[0][:, :, 0], bent[1][:, 0, :frames]]


def test_no_bend_is_the_identity() -> None:
    power = torch.rand(3, F, T, generator=generator())
    torch.testing.assert_close(
        bend(power, torch.full((3,), T), generator(), 0, 0), power, atol=1e-5, rtol=1e-4
    )


def test_a_bend_leaves_the_ends_and_never_folds() -> None:
    for positions in where_it_is_read((0.2, 0.4)):
        assert (positions.diff(dim=1) > -1e-6).all()
        torch.testing.assert_close(positions[:, 0], torch.zeros(200), atol=1e-5, rtol=0)
        torch.testing.assert_close(positions[:, -1], torch.ones(200), atol=1e-5, rtol=0)


def test_the_first_sine_of_a_bend_deviates_as_asked() -> None:
    for positions in where_it_is_read((0.03, 0.03)):
        x = torch.linspace(0, 1, positions.shape[1])
        # Sines are orthogonal over the axis: twice the mean of the product is the amplitude.
        first = 2 * ((positions - x) * torch.sin(torch.pi * x)).mean(1)
        assert float(first.std()) == pytest.approx(0.03, rel=0.15)


def test_unit_ratios_are_the_identity() -> None:
    power = torch.rand(3, F, T, generator=generator())
    warped, frames = warp(power, torch.full((3,), T), torch.ones(3), torch.ones(3))
    torch.testing.assert_close(warped, power, atol=1e-5, rtol=1e-4)
    assert frames.tolist() == [T] * 3


def test_warps_read_nothing_of_the_padding() -> None:
    power = torch.rand(1, F, 30, generator=generator())
    padded = torch.nn.functional.pad(power, (0, 30), value=7.0)
    ratios = torch.tensor([1.1]), torch.tensor([0.8])
    alone, frames = warp(power, torch.tensor([30]), *ratios)
    found, _ = warp(padded, torch.tensor([30]), *ratios)
    torch.testing.assert_close(found[..., : int(frames)], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ratio_db", [-5.0, 0.0, 10.0, 30.0])
def test_the_noise_asked_for_is_the_noise_found(ratio_db: float) -> None:
    power = torch.rand(4, F, T, generator=generator())
    mask = frame_mask(torch.tensor([60, 50, 40, 30]), T)
    power = power * mask
    noisy = add_noise(power, mask, generator(1), (ratio_db, ratio_db))
    found_db = 10 * torch.log10(power.sum((1, 2)) / (noisy - power).sum((1, 2)))
    np.testing.assert_allclose(found_db.numpy(), ratio_db, atol=0.1)
    assert not (noisy * (1 - mask)).any()


def test_the_equalizer_has_the_deviation_asked_for_and_is_the_same_in_every_frame() -> None:
    gain = equalize(torch.ones(4000, F, 2), generator(), 3.0, order=4)
    gain_db = 10 * torch.log10(gain)
    torch.testing.assert_close(gain_db[..., 0], gain_db[..., 1])
    # Four cosines of mean square one half, each with a deviation of 3 dB: 3 * sqrt(4 / 2).
    assert float(gain_db.std()) == pytest.approx(3 * 2**0.5, rel=0.03)
    torch.testing.assert_close(equalize(gain, generator(), 0.0), gain)


def test_mixed_styles_move_statistics_and_nothing_else() -> None:
    x = torch.randn(500, 5, 40, generator=generator()) * torch.arange(1, 6)[:, None]
    x = x + torch.randn(500, 5, 1, generator=generator(1))
    n_frames = torch.randint(20, 41, (500,), generator=generator(2))
    mask = frame_mask(n_frames, 40)
    x = x * mask
    torch.testing.assert_close(freq_mixstyle(x, mask, generator(3), 0.0), x, atol=1e-5, rtol=1e-4)
    mixed = freq_mixstyle(x, mask, generator(3), 0.7)
    assert not (mixed * (1 - mask)).any()
    changed = (mixed - x).abs().amax((1, 2)) > 1e-3
    assert float(changed.float().mean()) == pytest.approx(0.7, abs=0.06)
    for before, after, n in zip(x, mixed, n_frames.tolist(), strict=True):
        # Within a band a clip is scaled and shifted: its shape over time stays.
        for a, b in zip(before[:, :n], after[:, :n], strict=True):
            assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.999
    means = x.sum(-1) / n_frames[:, None]
    mixed_means = mixed.sum(-1) / n_frames[:, None]
    assert float(mixed_means.amax()) <= float(means.amax()) + 1e-4


def test_masks_are_as_wide_as_asked_and_inside_the_clip() -> None:
    x = torch.ones(2000, 40, 50)
    bands = (mask_freq(x, generator(), 8)[..., 0] == 0).sum(1)
    assert int(bands.max()) <= 9
    assert float(bands.float().mean()) == pytest.approx(4, abs=0.2)
    n_frames = torch.full((2000,), 40)
    masked = mask_time(x, n_frames, generator(), 0.2)[:, 0] == 0
    assert not masked[:, 40:].any()
    assert float(masked.sum(1).float().mean()) == pytest.approx(4, abs=0.2)


def buzz(f0_hz: float, n: int = 4000) -> torch.Tensor:
    """Harmonics under two resonances, at 8 kHz: (1, n)."""
    t = torch.arange(n, dtype=torch.float64) / 8000
    tone = torch.zeros(n, dtype=torch.float64)
    for k in range(1, int(3800 / f0_hz)):
        f = k * f0_hz
        amplitude = 1 / (1 + ((f - 700) / 200) ** 2) + 0.5 / (1 + ((f - 1900) / 250) ** 2)
        tone = tone + amplitude * torch.cos(2 * torch.pi * f * t + k * k)
    return tone.float()[None]


def spacing_bins(power: torch.Tensor) -> float:
    """Distance of the harmonics below 1.2 kHz, from the middle frame of (F, T)."""
    log_power = power[:40, power.shape[1] // 2].double().log()
    log_power = (log_power - log_power.mean()) * torch.hann_window(40, dtype=torch.float64)
    spectrum = torch.fft.rfft(log_power, 8000).abs()
    low, high = 8000 // 12, 8000 // 4  # from 4 to 12 bins apart
    return 8000 / (low + int(spectrum[low:high].argmax()))


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.25])
def test_pitch_moves_the_harmonics_and_leaves_the_formants(ratio: float) -> None:
    power = LogMel(FRONT_ENDS["ours"]).power(buzz(220.0))
    moved = shift_pitch(power, torch.tensor([ratio]), 8000)
    assert moved.shape == power.shape
    assert spacing_bins(moved[0]) / spacing_bins(power[0]) == pytest.approx(ratio, rel=0.03)

    # Centers of the power around both resonances; moved along, they would be off by the ratio.
    bin_hz = 8000 / 256
    for low_hz, high_hz in ((250, 1250), (1400, 2500)):
        band = slice(round(low_hz / bin_hz), round(high_hz / bin_hz))
        before, after = (
            float(centers(x[0, band, 10:-10])[0]) * bin_hz + low_hz for x in (power, moved)
        )
        assert after == pytest.approx(before, rel=0.1)


def test_pitch_of_ratio_one_is_the_identity_and_silence_stays_silent() -> None:
    power = torch.rand(2, F, T, generator=generator())
    power[1, :, 30:] = 0
    same = shift_pitch(power, torch.ones(2), 8000)
    torch.testing.assert_close(same, power, atol=1e-4, rtol=1e-4)
    assert not shift_pitch(power, torch.tensor([1.3, 0.8]), 8000)[1, :, 30:].any()


def test_time_warp_moves_a_moment_and_fixes_both_ends() -> None:
    x = torch.zeros(2, 3, T)
    frames = torch.arange(T)
    x[:, 0] = torch.exp(-((frames - 20.0) ** 2) / 8)
    x[:, 1, 0] = 1
    x[:, 2, 49] = 1
    n_frames = torch.tensor([50, 50])
    moved = warp_time(x, n_frames, torch.tensor([20.0, 20.0]), torch.tensor([26.0, 20.0]))
    assert int(moved[0, 0].argmax()) == 26
    assert float(moved[0, 1, 0]) == pytest.approx(1)
    assert float(moved[0, 2, 49]) == pytest.approx(1, abs=1e-4)
    assert not moved[:, :, 50:].any()
    torch.testing.assert_close(moved[1], x[1], atol=1e-4, rtol=1e-4)


def test_time_warp_of_the_shortest_clips_stays_finite() -> None:
    x = torch.rand(4, 3, 5, generator=generator())
    moved = warp_time(x, torch.tensor([1, 2, 3, 5]), torch.full((4,), 1.0), torch.full((4,), 1.5))
    assert torch.isfinite(moved).all()
    assert torch.equal(moved[:2], x[:2])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_mixes_sounds_and_targets_alike_by_shares_of_a_beta_distribution(
    alpha: float,
) -> None:
    B = 4000
    identity = torch.eye(B)  # each clip of its own class: the targets tell who was mixed
    x = torch.randn(B, 2, 3, generator=generator())
    mask = torch.ones(B, 1, 3)
    mask[::2, :, 2] = 0
    x = x * mask
    mixed, mixed_mask, targets = mixup(x, mask, identity, generator(1), alpha)
    np.testing.assert_allclose(targets.sum(1).numpy(), 1, atol=1e-6)
    own = targets.diagonal()
    assert float(own.min()) >= 0.5
    expected = (targets @ x.reshape(B, -1)).reshape(x.shape)
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    assert not (mixed * (1 - mixed_mask)).any()
    drawn = np.random.default_rng(0).beta(alpha, alpha, 100_000)
    folded = np.maximum(drawn, 1 - drawn)
    others = own[own < 1]  # a clip may be its own partner
    assert float(others.mean()) == pytest.approx(folded.mean(), abs=0.01)
    assert float(others.std()) == pytest.approx(folded.std(), abs=0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_drawn_is_the_same_for_the_same_key(seed: int) -> None:
    x = torch.randn(4, F, T, generator=generator()).abs()
    mask, n_frames = torch.ones(4, 1, T), torch.full((4,), T)
    before = x.clone()
    for transform in (
        lambda g: equalize(x, g, 3.0),
        lambda g: add_noise(x, mask, g, (0, 20)),
        lambda g: freq_mixstyle(x, mask, g, 1.0),
        lambda g: mixup(x, mask, torch.eye(4), g, 0.4)[0],
        lambda g: mask_freq(x, g, 20.0),
        lambda g: mask_time(x, n_frames, g, 0.5),
    ):
        first, second = transform(generator(seed)), transform(generator(seed))
        assert torch.equal(first, second)
        assert not torch.equal(first, transform(generator(seed + 10)))
    assert torch.equal(x, before)


def test_ratios_are_drawn_from_all_of_their_range_and_measured_inside_the_clip() -> None:
    power = torch.rand(400, F, 20, generator=generator())
    mask = frame_mask(torch.full((400,), 15), 20)
    noisy = add_noise(power, mask, generator(1), (0.0, 20.0))  # what is outside counts for nothing
    signal, added = ((x * mask).sum((1, 2)) for x in (power, noisy - power))
    found_db = 10 * torch.log10(signal / added)
    assert 0 - 0.05 < float(found_db.min()) < 0.5
    assert 19.5 < float(found_db.max()) < 20.05
    assert float(found_db.mean()) == pytest.approx(10, abs=1)


def test_noise_is_exponential_in_a_bin_and_falls_or_rises_as_its_colour_is_drawn() -> None:
    power = torch.ones(60, F, 500)
    mask = frame_mask(torch.full((60,), 500), 500)
    noise = (add_noise(power, mask, generator(), (0.0, 0.0)) - power).numpy()
    mean = noise.mean(2)  # (60, F)
    assert (noise.std(2) / mean).mean() == pytest.approx(1, abs=0.02)
    log_frequency = np.log(np.arange(F) + 2)
    slopes = [np.polyfit(log_frequency, np.log(density), 1)[0] for density in mean]
    assert -1.55 < min(slopes) < -1.3
    assert 0.1 < max(slopes) < 0.35
    assert np.mean(slopes) == pytest.approx(-0.6, abs=0.2)


def test_noise_that_is_silent_adds_nothing() -> None:
    power = torch.rand(2, F, T, generator=generator())
    gain = noise_gain(power.sum((1, 2)), torch.zeros(2), torch.tensor([0.0, 10.0]))
    assert torch.isfinite(gain).all()
    assert not (gain * 0).any()


def test_late_reverberation_decays_exponentially_by_the_power_drawn():
    power = torch.zeros(64, 2, 400)
    power[:, :, 50] = 1.0
    smeared = reverberate(power, generator(), 1.0, (20.0, 20.0), (0.5, 0.5))
    torch.testing.assert_close(smeared[:, :, :51], power[:, :, :51])  # nothing comes early
    tail = smeared[:, :, 51:91]
    torch.testing.assert_close(tail[..., 20] / tail[..., 0], torch.full((64, 2), math.exp(-1)))
    torch.testing.assert_close(tail.sum(-1), torch.full((64, 2), 0.5))
    dry = reverberate(power, generator(), 0.0, (20.0, 20.0), (0.5, 0.5))
    torch.testing.assert_close(dry, power)
    half = reverberate(power, generator(), 0.5, (4.0, 30.0), (0.1, 0.5))
    changed = (half != power).any(-1).any(-1).sum()
    assert 20 <= changed <= 44
    assert (half[:, :, 51] > 0).all(-1).sum() == changed
