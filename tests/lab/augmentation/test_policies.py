import dataclasses

import pytest
import torch

from spoken_digits.lab.augmentation.policies import (
    POLICIES,
    Policy,
    augmented_log_mel,
    augmented_waveform,
)
from spoken_digits.lab.features import FRONT_ENDS, LogMel


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Made-up clips of these lengths, zero-padded."""
    n = torch.tensor(lengths)
    waveform = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator())
    return waveform * (torch.arange(max(lengths)) < n[:, None]), n


def test_without_augmentation_the_chain_is_the_front_end() -> None:
    front_end = LogMel(FRONT_ENDS["ours"])
    waveform, lengths = clips(3000, 2000, 1500)
    found = augmented_log_mel(front_end, waveform, lengths, POLICIES["none"], generator())
    for a, b in zip(found, front_end(waveform, lengths), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_key_gives_the_same_bytes_and_the_input_is_left_alone(name: str) -> None:
    front_end = LogMel(FRONT_ENDS["ours"])
    waveform, lengths = clips(3000, 2500, 1500, 900)
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


EACH_TRANSFORM = {
    "margin_ms": {"margin_ms": 60.0},
    "vtlp": {"vtlp": 0.2},
    "tempo_warp": {"tempo_warp": 0.3},
    "frequency_bend": {"frequency_bend": 0.03},
    "tempo_bend": {"tempo_bend": 0.08},
    "equalizer_db": {"equalizer_db": 4.0},
    "noise_snr_db": {"noise_snr_db": (0.0, 30.0)},
    "freq_mixstyle_p": {"freq_mixstyle_p": 1.0},
    "freq_masks": {"freq_masks": 2},
    "time_masks": {"time_masks": 2, "max_time_mask": 0.4},
    "pitch_warp": {"pitch_warp": 0.3},
    "time_warp": {"time_warp": 0.2},
    "speed": {"speed": 0.2},
    "formants": {"formants": 0.2},
    "pitch": {"pitch": 0.3},
    "tempo": {"tempo": 0.3},
    "breath_db": {"breath_db": (0.0, 5.0)},
    "scaling": {"scaling": 0.2},
    "jitter": {"jitter": 0.03},
    "shift_ms": {"shift_ms": 50.0},
    "rt60_s": {"rt60_s": (0.1, 0.5)},
    "background_snr_db": {"background_snr_db": (0.0, 20.0)},
    "bandwidth_hz": {"bandwidth_hz": (1500.0, 3500.0)},
    "low_cut_hz": {"low_cut_hz": 800.0},
    "trim_db": {"trim_db": (0.0, 0.3)},
    "gated_noise_snr_db": {"gated_noise_snr_db": (0.0, 10.0)},
    "max_rejected_hz": {"max_rejected_hz": 800.0},
    "clipping_db": {"clipping_db": 20.0},
    "companding": {"companding": True},
    "dropouts": {"dropouts": 2, "max_dropout": 0.3},
}
WITHOUT_EFFECT_ALONE = {
    "max_freq_mask",
    "max_time_mask",
    "direct_to_reverberant_db",
    "max_dropout",
    "p_degrade",
    "p_trim",
    "mixup_alpha",
}


def test_every_field_of_a_policy_is_tested_here() -> None:
    names = {field.name for field in dataclasses.fields(Policy)}
    assert names == set(EACH_TRANSFORM) | WITHOUT_EFFECT_ALONE


@pytest.mark.parametrize("name", EACH_TRANSFORM)
def test_each_transform_alone_changes_the_clip_keeps_padding_and_repeats(name: str) -> None:
    policy = Policy(**EACH_TRANSFORM[name])
    front_end = LogMel(FRONT_ENDS["ours"])
    waveform, lengths = clips(3000, 2500, 1500, 900)
    before = waveform.clone()
    changed, changed_lengths = augmented_waveform(waveform, lengths, policy, generator(1), 8000)
    assert changed.dtype == waveform.dtype
    assert changed.shape[1] >= int(changed_lengths.max())
    assert not (changed * (torch.arange(changed.shape[1]) >= changed_lengths[:, None])).any()
    (plain, _), (first, mask), (second, _), (other, _) = (
        augmented_log_mel(front_end, waveform, lengths, p, generator(seed))
        for p, seed in ((Policy(), 1), (policy, 1), (policy, 1), (policy, 2))
    )
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()
    assert not (first * (1 - mask)).any()
    assert torch.equal(waveform, before)
    if name == "scaling":  # the front end normalizes the level
        torch.testing.assert_close(first, plain, atol=1e-3, rtol=1e-3)
        assert not torch.equal(changed, waveform)
    else:
        assert first.shape != plain.shape or not torch.allclose(first, plain, atol=1e-3)
    if name not in ("scaling", "companding"):  # what is random differs by key
        assert first.shape != other.shape or not torch.allclose(first, other, atol=1e-3)


def test_a_fraction_of_clips_is_degraded_and_the_others_are_left_alone() -> None:
    waveform, lengths = clips(*[1000] * 400)
    policy = Policy(companding=True, p_degrade=0.3)
    changed, _ = augmented_waveform(waveform, lengths, policy, generator(), 8000)
    degraded = (changed != waveform).any(1).float().mean()
    assert float(degraded) == pytest.approx(0.3, abs=0.07)


def test_the_noise_of_a_take_stops_where_it_was_cut() -> None:
    waveform, lengths = clips(*[1000] * 400)
    policy = Policy(gated_noise_snr_db=(10.0, 10.0), p_trim=0.3, margin_ms=50)
    changed, changed_lengths = augmented_waveform(waveform, lengths, policy, generator(), 8000)
    sounding = (changed != 0).sum(1)
    assert int(sounding.max()) <= 1000
    assert int(changed_lengths.max()) > 1700
    energy = changed.square().sum(1) / waveform.square().sum(1)
    noisy = (energy - 1).abs() > 0.02
    assert float(noisy.float().mean()) == pytest.approx(0.3, abs=0.07)
    assert float(energy[noisy].mean()) == pytest.approx(1.1, abs=0.02)


def test_recorded_noise_and_measured_rooms_are_taken_where_they_are_given() -> None:
    waveform, lengths = clips(3000, 2000)
    noise = torch.sin(2 * torch.pi * 1000 * torch.arange(20000) / 8000)
    policy = Policy(background_snr_db=(0.0, 0.0))
    noisy, _ = augmented_waveform(waveform, lengths, policy, generator(), 8000, background=noise)
    added = (noisy - waveform)[0]
    spectrum = torch.fft.rfft(added).abs()
    assert float(spectrum.argmax()) == pytest.approx(1000 * 3000 / 8000, abs=1)
    echo = torch.zeros(1, 500)
    echo[0, 0], echo[0, 400] = 1.0, 0.5
    policy = Policy(rt60_s=(0.1, 0.2))
    wet, _ = augmented_waveform(waveform, lengths, policy, generator(), 8000, responses=echo)
    expected = waveform.clone()
    expected[:, 400:] += 0.5 * waveform[:, :-400]
    expected = expected * (torch.arange(3000) < lengths[:, None])
    for found, wanted in zip(wet, expected, strict=True):
        cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=0)
        assert float(cosine) == pytest.approx(1, abs=1e-5)


def test_a_clip_alone_takes_the_way_it_takes_in_company_where_nothing_is_random() -> None:
    front_end = LogMel(FRONT_ENDS["ours"])
    waveform, lengths = clips(1500, 3000)
    policy = Policy(bandwidth_hz=(2000, 2000), companding=True, clipping_db=0.0)
    together, _ = augmented_log_mel(front_end, waveform, lengths, policy, generator())
    alone, mask = augmented_log_mel(
        front_end, waveform[:1, :1500], lengths[:1], policy, generator()
    )
    # A sample on the edge between two levels may fall to either side.
    assert float((together[0, :, : mask.shape[-1]] - alone[0]).abs().mean()) < 0.02
