import numpy as np
import pytest
import torch

from spoken_digits.lab.augment import (
    POLICIES,
    Policy,
    add_noise,
    augmented_log_mel,
    equalize,
    mask_bands,
    mask_frames,
    mix_style,
    place,
    warp,
)
from spoken_digits.lab.features import FRONT_ENDS, LogMel, frame_mask

F, T = 129, 60
BIN_HZ = 4000 / (F - 1)


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


def test_placement_adds_silence_within_the_margin_and_keeps_every_sample() -> None:
    waveform = torch.randn(200, 500, generator=generator())
    lengths = torch.randint(300, 501, (200,), generator=generator())
    waveform = waveform * (torch.arange(500) < lengths[:, None])
    placed, placed_lengths = place(waveform, lengths, generator(1), margin=80)
    assert int((placed_lengths - lengths).min()) >= 0
    assert int((placed_lengths - lengths).max()) <= 160
    leads = set()
    for before, after, n in zip(waveform, placed, lengths.tolist(), strict=True):
        start = int(after.nonzero()[0]) - int(before.nonzero()[0])
        leads.add(start)
        torch.testing.assert_close(after[start : start + n], before[:n])
        assert not after[:start].any()
        assert not after[start + n :].any()
    assert min(leads) <= 5
    assert max(leads) >= 75


def test_mixed_styles_move_statistics_and_nothing_else() -> None:
    x = torch.randn(500, 5, 40, generator=generator()) * torch.arange(1, 6)[:, None]
    x = x + torch.randn(500, 5, 1, generator=generator(1))
    n_frames = torch.randint(20, 41, (500,), generator=generator(2))
    mask = frame_mask(n_frames, 40)
    x = x * mask
    torch.testing.assert_close(mix_style(x, mask, generator(3), 0.0), x, atol=1e-5, rtol=1e-4)
    mixed = mix_style(x, mask, generator(3), 0.7)
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
    bands = (mask_bands(x, generator(), 8)[..., 0] == 0).sum(1)
    assert int(bands.max()) <= 9
    assert float(bands.float().mean()) == pytest.approx(4, abs=0.2)
    n_frames = torch.full((2000,), 40)
    masked = mask_frames(x, n_frames, generator(), 0.2)[:, 0] == 0
    assert not masked[:, 40:].any()
    assert float(masked.sum(1).float().mean()) == pytest.approx(4, abs=0.2)


def test_without_augmentation_the_chain_is_the_front_end() -> None:
    front_end = LogMel(FRONT_ENDS["ours"])
    waveform = torch.randn(3, 3000, generator=generator())
    lengths = torch.tensor([3000, 2000, 1500])
    waveform = waveform * (torch.arange(3000) < lengths[:, None])
    found = augmented_log_mel(front_end, waveform, lengths, POLICIES["none"], generator())
    for a, b in zip(found, front_end(waveform, lengths), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_key_gives_the_same_bytes_and_the_input_is_left_alone(name: str) -> None:
    front_end = LogMel(FRONT_ENDS["ours"])
    waveform = torch.randn(4, 3000, generator=generator())
    lengths = torch.tensor([3000, 2500, 1500, 900])
    waveform = waveform * (torch.arange(3000) < lengths[:, None])
    before = waveform.clone()
    first, second, other = (
        augmented_log_mel(front_end, waveform, lengths, POLICIES[name], generator(seed))[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert torch.equal(waveform, before)
    assert torch.isfinite(first).all()
    if POLICIES[name] != Policy():
        assert first.shape != other.shape or not torch.equal(first, other)
