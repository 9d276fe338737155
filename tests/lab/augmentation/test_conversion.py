"""Voice conversion: formants, pitch, tempo and breath are those asked for, each apart."""

import numpy as np
import pytest
import torch
from scipy import linalg, signal

from spoken_digits.lab.augmentation import waveform as w

RATE, F0_HZ = 8000, 80.0
FORMANTS_HZ = (600.0, 1200.0, 2500.0)


def vowel(n=8000):
    """Pulses through three resonators of known frequency: (1, n)."""
    samples = np.zeros(n)
    samples[:: int(RATE / F0_HZ)] = 1.0
    for f_hz in FORMANTS_HZ:
        radius = np.exp(-np.pi * 80 / RATE)
        denominator = [1, -2 * radius * np.cos(2 * np.pi * f_hz / RATE), radius**2]
        samples = signal.lfilter([1], denominator, samples)
    return torch.from_numpy(0.1 * samples / np.abs(samples).max()).float()[None]


def formants_hz(samples):
    """Poles of linear prediction by autocorrelation, of bandwidths up to 400 Hz."""
    middle = samples.numpy()[1000:-1000].astype(float)
    middle = middle * np.hanning(len(middle))
    r = np.correlate(middle, middle, "full")[len(middle) - 1 :][:9]
    r[0] *= 1 + 1e-6
    a = linalg.solve_toeplitz(r[:8], r[1:])
    roots = np.roots([1, *-a])
    roots = roots[(roots.imag > 0) & (-np.log(np.abs(roots)) * RATE / np.pi < 400)]
    return np.sort(np.angle(roots) * RATE / 2 / np.pi)


def fundamental_hz(samples):
    """Lag of the largest autocorrelation between 60 and 300 Hz, refined by a parabola."""
    middle = samples.numpy()[1000:-1000].astype(float)
    r = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    low, high = int(RATE / 300), int(RATE / 55)
    lag = low + int(np.argmax(r[low:high]))
    a, b, c = r[lag - 1 : lag + 2]
    return RATE / (lag + (a - c) / (2 * (a - 2 * b + c)))


def converted(formants=1.0, pitch=1.0, tempo=1.0):
    x = vowel()
    ratios = (torch.tensor([value]) for value in (formants, pitch, tempo))
    y, lengths = w.convert_voice(x, torch.tensor([x.shape[1]]), *ratios)
    return y[0, : int(lengths[0])]


@pytest.mark.parametrize("formants", [0.87, 1.0, 1.15])
@pytest.mark.parametrize("pitch", [0.85, 1.0, 1.3])
def test_formants_and_fundamental_are_those_asked_for(formants, pitch):
    found = converted(formants, pitch)
    assert fundamental_hz(found) == pytest.approx(F0_HZ * pitch, rel=0.01)
    nearest = [
        min(formants_hz(found), key=lambda f: abs(f - formants * wanted)) for wanted in FORMANTS_HZ
    ]
    wanted = np.multiply(FORMANTS_HZ, formants)
    assert nearest == pytest.approx(wanted, rel=0.07)


@pytest.mark.parametrize("tempo", [0.75, 1.3])
def test_tempo_leaves_fundamental_and_formants(tempo):
    found = converted(tempo=tempo)
    assert len(found) == pytest.approx(8000 / tempo, abs=2)
    assert fundamental_hz(found) == pytest.approx(F0_HZ, rel=0.01)


@pytest.mark.parametrize("ratio_db", [5.0, 20.0])
def test_breath_gives_the_harmonics_to_noise_ratio_asked_for(ratio_db):
    x = vowel()
    generator = torch.Generator().manual_seed(0)
    found = w.add_breath(x, torch.tensor([8000]), generator, torch.tensor([ratio_db]))[0].double()
    # 100 samples a period: their mean is the harmonics, what is left is noise.
    periods = found[1600:].view(-1, 100)
    mean = periods.mean(0)
    noise = (periods - mean).square().sum() / (len(periods) - 1) * len(periods)
    measured = 10 * torch.log10(x[0, 1600:].double().square().sum() / noise)
    assert float(measured) == pytest.approx(ratio_db, abs=1.0)
