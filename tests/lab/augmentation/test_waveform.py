import math
from collections.abc import Callable

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional

from spoken_digits.lab.augmentation import waveform as w
from spoken_digits.lab.augmentation.spectrogram import equalize as equalize_power
from spoken_digits.lab.features import FRONT_ENDS, LogMel

RATE = 8000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sine(f_hz: float, n: int = 4000) -> Tensor:
    """A sine of full scale: (1, n)."""
    t = torch.arange(n, dtype=torch.float64) / RATE
    return torch.sin(2 * torch.pi * f_hz * t).float()[None]


def vowel(f0_hz: float, n: int = 4000) -> Tensor:
    """Harmonics of equal loudness up to 3.5 kHz, at 0.1 of full scale: (1, n)."""
    return 0.1 * sum(sine(k * f0_hz, n) for k in range(1, int(3500 / f0_hz)))


def clips(*lengths: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Made-up clips of these lengths, zero-padded."""
    n = torch.tensor(lengths)
    x = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator(7), dtype=dtype)
    return x * (torch.arange(max(lengths)) < n[:, None]), n


def fundamental_hz(samples: Tensor) -> float:
    """Lowest harmonic of (L,) samples, between 70 and 200 Hz: the peak of a fine spectrum."""
    n = 1 << 18
    spectrum = np.abs(np.fft.rfft(samples.numpy() * np.hanning(len(samples)), n))
    frequency_hz = np.fft.rfftfreq(n, 1 / RATE)
    return float(frequency_hz[np.argmax(spectrum * ((frequency_hz > 70) & (frequency_hz < 200)))])


def level_db(samples: Tensor) -> float:
    return 10 * math.log10(float(samples.double().square().mean()))


def full(value: float, B: int = 1) -> Tensor:
    return torch.full((B,), float(value))


# Everything with one set of parameters: (waveform, lengths, generator) to waveform.
TRANSFORMS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "jitter": lambda x, n, g: w.jitter(x, n, g, full(0.03, len(x))),
    "scale": lambda x, n, g: w.scale(x, g, 0.1),
    "gain": lambda x, n, g: w.gain(x, full(6, len(x))),
    "shift": lambda x, n, g: w.shift(x, n, torch.full((len(x),), 300)),
    "trim": lambda x, n, g: w.trim(x, n, full(0.1, len(x)))[0],
    "place": lambda x, n, g: w.place(x, n, g, 100)[0],
    "add_noise": lambda x, n, g: w.add_noise(
        x, n, w.colored_noise(x.shape, g, full(-1, len(x))), full(10, len(x))
    ),
    "change_speed": lambda x, n, g: w.change_speed(x, n, full(1.2, len(x)))[0],
    "change_tempo": lambda x, n, g: w.change_tempo(x, n, full(1.2, len(x)))[0],
    "shift_pitch": lambda x, n, g: w.shift_pitch(x, n, full(2, len(x))),
    "reverberate": lambda x, n, g: w.reverberate(
        x, n, w.make_responses(g, full(0.3, len(x)), full(5, len(x)))
    ),
    "limit_bandwidth": lambda x, n, g: w.limit_bandwidth(x, n, full(2000, len(x))),
    "reject_band": lambda x, n, g: w.reject_band(x, n, full(1000, len(x)), full(1500, len(x))),
    "equalize": lambda x, n, g: w.equalize(x, n, g, 4.0),
    "drop_time": lambda x, n, g: w.drop_time(x, n, g, full(0.5, len(x))),
    "clip_level": lambda x, n, g: w.clip_level(x, full(0.1, len(x))),
    "clip_fraction": lambda x, n, g: w.clip_fraction(x, n, full(0.1, len(x))),
    "quantize": lambda x, n, g: w.quantize(x, torch.full((len(x),), 6)),
    "compand": lambda x, n, g: w.compand(x),
}
DRAWN = {"jitter", "scale", "place", "add_noise", "reverberate", "equalize", "drop_time"}
OTHER_LENGTH = {"trim", "place", "change_speed", "change_tempo"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_keeps_type_padding_and_its_input_and_repeats(
    name: str, dtype: torch.dtype
) -> None:
    x, n = clips(3000, 2200, 900, dtype=dtype)
    before = x.clone()
    transform = TRANSFORMS[name]
    first, second, other = (transform(x, n, generator(seed)) for seed in (1, 1, 2))
    assert first.dtype == dtype
    assert torch.equal(x, before)
    assert torch.equal(first, second)
    assert torch.equal(first, other) == (name not in DRAWN)
    assert torch.isfinite(first).all()
    if name not in OTHER_LENGTH:
        assert first.shape == x.shape
        assert not (first * (torch.arange(x.shape[1]) >= n[:, None])).any()
    assert first.shape != x.shape or not torch.allclose(first, x, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - DRAWN))
def test_a_clip_alone_becomes_what_it_becomes_in_company(name: str) -> None:
    x, n = clips(3000, 1700)
    together = TRANSFORMS[name](x, n, generator())[1]
    alone = TRANSFORMS[name](x[1:, :1700], n[1:], generator())[0]
    together = together[: len(alone)]
    # Fourier transforms of other lengths put a resampled clip's cut end down a little otherwise.
    np.testing.assert_allclose(together[:-50], alone[:-50], atol=1e-3)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_silence_stays_finite(name: str) -> None:
    x, n = torch.zeros(2, 1000), torch.tensor([1000, 800])
    assert torch.isfinite(TRANSFORMS[name](x, n, generator())).all()


def test_zero_strength_is_the_identity() -> None:
    x, n = clips(3000, 2200, 900)
    zero, one, g = full(0, 3), full(1, 3), generator()
    unchanged = {
        "jitter": w.jitter(x, n, g, zero),
        "scale": w.scale(x, g, 0.0),
        "gain": w.gain(x, zero),
        "shift": w.shift(x, n, torch.zeros(3, dtype=torch.long)),
        "trim": w.trim(x, n, full(torch.inf, 3))[0],
        "place": w.place(x, n, g, 0)[0],
        "add_noise": w.add_noise(x, n, torch.randn(x.shape, generator=g), full(200, 3)),
        "change_speed": w.change_speed(x, n, one)[0],
        "change_tempo": w.change_tempo(x, n, one)[0],
        "shift_pitch": w.shift_pitch(x, n, zero),
        "reverberate": w.reverberate(x, n, w.make_responses(g, full(0.3, 3), full(200, 3))),
        "limit_bandwidth": w.limit_bandwidth(x, n, full(RATE / 2, 3)),
        "reject_band": w.reject_band(x, n, full(1000, 3), full(1000, 3)),
        "equalize": w.equalize(x, n, g, 0.0),
        "drop_time": w.drop_time(x, n, g, zero),
        "clip_level": w.clip_level(x, full(10, 3)),
        "clip_fraction": w.clip_fraction(x, n, zero),
        "quantize": w.quantize(x, full(24, 3)),
    }
    assert set(unchanged) == set(TRANSFORMS) - {"compand"}  # that one has no strength
    for name, found in unchanged.items():
        torch.testing.assert_close(found, x, atol=2e-6, rtol=1e-5, msg=name)


def test_placement_adds_silence_within_the_margin_and_keeps_every_sample() -> None:
    waveform = torch.randn(200, 500, generator=generator())
    lengths = torch.randint(300, 501, (200,), generator=generator())
    waveform = waveform * (torch.arange(500) < lengths[:, None])
    placed, placed_lengths = w.place(waveform, lengths, generator(1), margin=80)
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


def test_a_shift_moves_a_clip_within_its_own_length() -> None:
    x, n = clips(1000, 800)
    later = w.shift(x, n, torch.tensor([100, -100]))
    assert torch.equal(later[0, 100:], x[0, :900])
    assert not later[0, :100].any()
    assert torch.equal(later[1, :700], x[1, 100:800])
    assert not later[1, 700:].any()


def test_jitter_scaling_and_gain_have_the_size_asked_for() -> None:
    x, n = torch.zeros(1, 200_000), torch.tensor([200_000])
    assert float(w.jitter(x, n, generator(), full(0.03)).std()) == pytest.approx(0.03, rel=0.01)
    factors = w.scale(torch.ones(20_000, 1), generator(), 0.1)
    assert float(factors.mean()) == pytest.approx(1, abs=0.01)
    assert float(factors.std()) == pytest.approx(0.1, rel=0.03)
    tone = sine(440)
    assert level_db(w.gain(tone, full(-7.5))) - level_db(tone) == pytest.approx(-7.5, abs=1e-4)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("kind", ["white", "brown", "recorded"])
def test_the_noise_asked_for_is_the_noise_found(kind: str, snr_db: float) -> None:
    x, n = clips(3000, 1700)
    if kind == "recorded":
        noise = w.random_stretches(x.shape, generator(), torch.rand(20_000, generator=generator()))
    else:
        noise = w.colored_noise(x.shape, generator(), full({"white": 0, "brown": -2}[kind], 2))
    noisy = w.add_noise(x, n, noise, full(snr_db, 2))
    for clean, mixed, length in zip(x, noisy, n.tolist(), strict=True):
        added = (mixed - clean)[:length]
        assert level_db(clean[:length]) - level_db(added) == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 1.0])
def test_colored_noise_has_the_slope_asked_for(exponent: float) -> None:
    noise = w.colored_noise((50, 8000), generator(), full(exponent, 50))
    frequency, density = scipy.signal.welch(noise.numpy(), RATE, nperseg=1024)
    band = (frequency > 100) & (frequency < 3500)
    slope = np.polyfit(np.log(frequency[band]), np.log(density.mean(0)[band]), 1)[0]
    assert slope == pytest.approx(exponent, abs=0.05)


def test_random_stretches_are_the_recording_from_anywhere_in_it() -> None:
    recording = torch.arange(1000.0)
    stretches = w.random_stretches((500, 100), generator(), recording)
    assert torch.equal(stretches.diff(), torch.ones(500, 99))
    assert float(stretches[:, 0].min()) < 20
    assert float(stretches[:, 0].max()) > 880
    short = w.random_stretches((1, 10), generator(), recording[:4])
    assert short.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]]


@pytest.mark.parametrize("semitones", [-3.0, 2.0, 5.0])
def test_pitch_moves_the_fundamental_and_leaves_the_tempo(semitones: float) -> None:
    x = vowel(130)
    shifted = w.shift_pitch(x, torch.tensor([4000]), full(semitones))
    assert shifted.shape == x.shape
    ratio = fundamental_hz(shifted[0]) / fundamental_hz(x[0])
    assert ratio == pytest.approx(2 ** (semitones / 12), rel=0.01)
    # It sounds to the end.
    assert level_db(shifted[0, 3600:3900]) == pytest.approx(level_db(shifted[0]), abs=2)


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_tempo_changes_the_duration_and_leaves_the_fundamental(ratio: float) -> None:
    x = vowel(130)
    changed, n = w.change_tempo(x, torch.tensor([4000]), full(ratio))
    assert int(n) == changed.shape[1] == round(4000 / ratio)
    assert fundamental_hz(changed[0]) == pytest.approx(fundamental_hz(x[0]), rel=0.01)


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_speed_changes_both(ratio: float) -> None:
    x = vowel(130)
    changed, n = w.change_speed(x, torch.tensor([4000]), full(ratio))
    assert int(n) == changed.shape[1] == round(4000 / ratio)
    assert fundamental_hz(changed[0]) / fundamental_hz(x[0]) == pytest.approx(ratio, rel=0.01)


def test_tempo_is_what_librosa_makes_of_it() -> None:
    x = vowel(130) * torch.linspace(0.2, 1, 4000)
    changed, _ = w.change_tempo(x.double(), torch.tensor([4000]), full(1.25).double())
    stretched = librosa.effects.time_stretch(
        x[0].double().numpy(), rate=1.25, n_fft=256, hop_length=64
    )
    np.testing.assert_allclose(changed[0, :-128], stretched[:-128], atol=1e-3)


@pytest.mark.parametrize("ratio", [0.83, 1.21])
def test_speed_is_what_a_polyphase_resampler_makes_of_it(ratio: float) -> None:
    up, down = 100, round(100 * ratio)
    envelope = torch.hann_window(4000)
    x = (0.5 * sine(300) + 0.3 * sine(1500)) * envelope
    changed, n = w.change_speed(x, torch.tensor([4000]), full(ratio))
    expected = scipy.signal.resample_poly(x[0].double().numpy(), up, down)
    np.testing.assert_allclose(changed[0], expected[: int(n)], atol=4e-3)


def test_a_faster_clip_has_no_image_of_what_it_can_no_longer_hold() -> None:
    changed, n = w.change_speed(sine(3600), torch.tensor([4000]), full(1.3))
    assert level_db(changed[0, 100 : int(n) - 100]) < level_db(sine(3600)) - 40


@pytest.mark.parametrize("rt60_s", [0.15, 0.4, 0.8])
def test_a_made_room_has_the_reverberation_time_and_the_ratio_asked_for(rt60_s: float) -> None:
    response = w.make_responses(generator(), full(rt60_s, 8), full(7.0, 8))
    for h in response.double():
        assert 10 * math.log10(h[0] ** 2 / h[1:].square().sum()) == pytest.approx(7, abs=0.01)
        # Schroeder 1965: energy still to come, its fall from -5 to -35 dB, times two.
        to_come = h[1:].square().flip(0).cumsum(0).flip(0)
        decay_db = 10 * torch.log10(to_come / to_come[0])
        time_s = torch.arange(len(decay_db)) / RATE
        fitted = (decay_db < -5) & (decay_db > -35)
        slope = np.polyfit(time_s[fitted].numpy(), decay_db[fitted].numpy(), 1)[0]
        assert -60 / slope == pytest.approx(rt60_s, rel=0.1)


def test_reverberation_is_scipys_convolution_from_the_direct_path_on() -> None:
    x, n = clips(3000, 1700)
    response = torch.zeros(2, 700)
    response[0, [40, 0, 340, 699]] = torch.tensor([1.0, 0.2, -0.5, 0.3])  # the direct path is late
    response[1] = w.make_responses(generator(), full(0.1), full(3.0))[0, :700]
    wet = w.reverberate(x, n, response)
    for dry, found, h, delay, length in zip(x, wet, response, (40, 0), (3000, 1700), strict=True):
        expected = scipy.signal.fftconvolve(dry.double().numpy(), h.double().numpy())
        expected = expected[delay : delay + length]
        expected *= np.linalg.norm(dry) / np.linalg.norm(expected)
        np.testing.assert_allclose(found[:length], expected, atol=1e-5)
        assert level_db(found) == pytest.approx(level_db(dry), abs=0.001)


@pytest.mark.parametrize(("f_hz", "rejected"), [(900, False), (1250, True), (1600, False)])
def test_band_reject_takes_a_tone_in_the_band_and_leaves_one_outside(
    f_hz: float, rejected: bool
) -> None:
    x, n = sine(f_hz), torch.tensor([4000])
    found = w.reject_band(x, n, full(1000), full(1500))
    change_db = level_db(found[0, 300:-300]) - level_db(x[0, 300:-300])
    if rejected:
        assert change_db < -20
    else:
        assert change_db == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(("f_hz", "kept"), [(1850, True), (2150, False), (3500, False)])
def test_bandwidth_keeps_a_tone_below_the_limit_and_takes_one_above(
    f_hz: float, kept: bool
) -> None:
    x, n = sine(f_hz), torch.tensor([4000])
    found = w.limit_bandwidth(x, n, full(2000))
    change_db = level_db(found[0, 300:-300]) - level_db(x[0, 300:-300])
    assert change_db == pytest.approx(0, abs=0.5) if kept else change_db < -20


def test_the_equalizer_of_samples_is_that_of_power_spectrograms() -> None:
    x, n = clips(8000)
    front_end = LogMel(FRONT_ENDS["ours"])
    found = front_end.power(w.equalize(x, n, generator(), 3.0))
    expected = equalize_power(front_end.power(x), generator(), 3.0)
    found_db, expected_db = (10 * torch.log10(p[0].mean(1)) for p in (found, expected))
    assert float((found_db - expected_db)[2:-2].abs().max()) < 0.5


def test_a_dropout_is_as_long_as_asked_and_inside_the_clip() -> None:
    x = torch.ones(2000, 1000)
    n = torch.full((2000,), 800)
    x = x * (torch.arange(1000) < 800)
    dropped = (w.drop_time(x, n, generator(), full(0.2, 2000)) != x).sum(1)
    assert int(dropped.max()) <= 161
    assert float(dropped.float().mean()) == pytest.approx(80, abs=3)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
def test_the_share_asked_for_is_clipped(share: float) -> None:
    x, n = clips(4000, 2000)
    clipped = w.clip_fraction(x, n, full(share, 2))
    for before, after, length in zip(x, clipped, n.tolist(), strict=True):
        assert int((before != after).sum()) == int(share * length + 1e-3)
        assert int((after.abs() == after.abs().max()).sum()) == int(share * length + 1e-3) + 1
    assert float(w.clip_level(x, full(0.05, 2)).abs().max()) == pytest.approx(0.05)


@pytest.mark.parametrize("bits", [3, 6, 8, 12])
def test_quantization_leaves_the_levels_and_the_noise_of_its_bits(bits: int) -> None:
    x = sine(441.3, 80_000) * (1 - 2.0 ** (1 - bits))
    found = w.quantize(x, torch.tensor([bits]))
    assert len(found.unique()) <= 2**bits
    assert len(w.quantize(3 * x, torch.tensor([bits])).unique()) <= 2**bits
    snr_db = level_db(x) - level_db(found - x)
    below_full_scale_db = 20 * math.log10(1 - 2.0 ** (1 - bits))
    expected_db = 6.02 * bits + 1.76 + below_full_scale_db
    assert snr_db == pytest.approx(expected_db, abs=0.7 if bits == 3 else 0.2)


def test_companding_is_librosas_mu_law_and_keeps_its_noise_at_every_level() -> None:
    x = torch.linspace(-1, 1, 2001)[None]
    found = w.compand(x)
    assert len(found.unique()) <= 2**8
    bent = librosa.mu_compress(x[0].double().numpy(), mu=255, quantize=False)
    expected = librosa.mu_expand(np.round(bent * 127) / 127, mu=255, quantize=False)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    for level in (1.0, 0.1, 0.03):
        tone = level * sine(441.3, 80_000)
        assert level_db(tone) - level_db(w.compand(tone) - tone) > 30


def test_quiet_edges_go_as_a_tool_that_cuts_by_level_would_have_it() -> None:
    """800 samples at -40 dB, 1600 at 0, 1200 at -20: each threshold finds its own edges."""
    level = torch.cat([torch.full((k,), v) for k, v in ((800, 0.01), (1600, 1.0), (1200, 0.1))])
    x = (level * torch.sign(torch.randn(3600, generator=generator()))).repeat(4, 1)
    n = torch.full((4,), 3600)
    below_db = torch.tensor([torch.inf, 45.0, 30.0, 10.0])
    cut, lengths = w.trim(functional.pad(x, (0, 400)), n, below_db)
    assert lengths[:2].tolist() == [3600, 3600]
    torch.testing.assert_close(cut[0, :3600], x[0])
    # To the step: a level of 30 ms reaches 10 ms too far on either side, and 10 ms more are kept.
    assert int(lengths[2]) == pytest.approx(2800, abs=160)
    assert int(lengths[3]) == pytest.approx(1600, abs=320)
    assert (cut[3].abs() == 1).sum() == 1600
    assert not (cut * (torch.arange(cut.shape[1]) >= lengths[:, None])).any()


def test_no_more_than_300_ms_of_a_quiet_edge_go() -> None:
    x = 1e-3 * torch.ones(1, 8000)
    x[:, 3900:4100] = 1
    _, lengths = w.trim(x, torch.tensor([8000]), torch.tensor([20.0]))
    assert lengths.tolist() == [8000 - 2 * 2400]
