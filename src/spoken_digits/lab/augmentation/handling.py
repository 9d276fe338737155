"""Handling noise, synthesized: what a microphone records when it, or what it lies on, is touched.

Five kinds, each a function of a number of samples L and a generator that returns (L,) float32 at
8 kHz with a peak of 1: the same generator state gives the same samples. No word is in them. Their
sounds are short and loud, with the faint noise of a microphone in between.

What varies from call to call, and within a call from one sound to the next: durations, decay times,
resonance frequencies within 80 to 3,500 Hz, densities and bandwidths.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from spoken_digits.audio import SAMPLE_RATE

__all__ = ["HANDLING_NOISES", "creaks", "knocks", "puffs", "rustle", "scrapes"]

FloatArray = NDArray[np.float32]
Samples = NDArray[np.float64]

MIN_HZ, MAX_HZ = 80.0, 3_500.0  # of resonances and of bands
_FLOOR_DB = (-80.0, -50.0)  # of the microphone's noise, its RMS relative to the peak
_MAX_ENERGY = 100.0  # of a click in rustle, over that of the weakest
_STEP = 80  # samples, 10 ms: movements are drawn at these and interpolated


def rustle(n_samples: int, rng: np.random.Generator) -> FloatArray:
    """Synthesize the rustle of clothing or paper: (L,).

    Movements of 0.08 to 1.5 s. In each, fibres or creases give way one by one: clicks at random
    times, 150 to 4,000 a second of movement, whose energies follow a power law (Houle and Sethna
    1996, Physical Review E 54, found exponents of 1.3 to 1.6 for crumpled paper), each a decay of
    0.1 to 3 ms; cloth adds friction, a continuous hiss. The material filters both to a wide band.

    Raises
    ------
    ValueError
        When `n_samples` is below 1.
    """
    sound = _silence(n_samples)
    exponent = rng.uniform(1.3, 1.9)
    density_hz = _log_uniform(rng, 150, 4_000)
    decay_s = _log_uniform(rng, 1e-4, 3e-3)
    friction = rng.choice([0.0, _log_uniform(rng, 0.1, 2.0)])
    for begin, length in _movements(n_samples, rng, (0.08, 1.5), _log_uniform(rng, 0.5, 3)):
        envelope = _movement(length, rng)
        # Clicks come as often as the movement is fast. Energy E >= 1, P(E) ~ E^-exponent.
        is_click = rng.random(length) < envelope * density_hz / SAMPLE_RATE
        energies = np.minimum((1 - rng.random(length)) ** (-1 / (exponent - 1)), _MAX_ENERGY)
        clicks = is_click * np.sqrt(energies) * rng.choice([-1.0, 1.0], length)
        clicks = signal.lfilter([1], [1, -np.exp(-1 / (decay_s * SAMPLE_RATE))], clicks)
        hiss = envelope * rng.standard_normal(length)
        mixed = clicks + friction * max(_rms(clicks), 1e-3) * hiss
        low_hz = _log_uniform(rng, 150, 1_200)
        high_hz = _log_uniform(rng, max(1_600, 2.5 * low_hz), MAX_HZ)
        bands = signal.butter(1, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos")
        sound[begin : begin + length] += _loudness(rng, 5) * signal.sosfilt(bands, mixed)
    return _finish(sound, rng)


def knocks(n_samples: int, rng: np.random.Generator) -> FloatArray:
    """Synthesize knocks and clicks: (L,).

    Each is a blow: a force pulse, half a sine of 0.1 to 3 ms (a Hertzian contact; the harder, the
    shorter), strikes a body and excites its modes, 2 to 7 damped sines of 80 to 3,500 Hz that decay
    within 1 to 120 ms, the higher the faster. A blow comes alone, several times in a rhythm, as
    press and release of a switch, or as the rebounds of something dropped: at intervals that shrink
    by the coefficient of restitution.

    Raises
    ------
    ValueError
        When `n_samples` is below 1.
    """
    sound = _silence(n_samples)
    for begin in _moments(n_samples, rng, _log_uniform(rng, 0.4, 3)):
        count = int(rng.integers(2, 8))
        modes_hz = np.sort(np.exp(rng.uniform(np.log(MIN_HZ), np.log(MAX_HZ), count)))
        longest_s = _log_uniform(rng, 1e-3, 0.12)
        decays_s = longest_s * (modes_hz[0] / modes_hz) ** rng.uniform(0.2, 1)
        weights = rng.uniform(0.2, 1, len(modes_hz)) * rng.choice([-1, 1], len(modes_hz))
        direct = rng.uniform(0, 1)  # of the contact itself, beside what the body radiates
        width_s = _log_uniform(rng, 1e-4, 3e-3)
        for delay_s, strength in _blows(rng):
            at = begin + round(delay_s * SAMPLE_RATE)
            if at >= n_samples:
                break
            # No two blows hit the same place: the modes' weights differ a little.
            own = weights * rng.uniform(0.6, 1.4, len(modes_hz))
            blow = _blow(modes_hz, decays_s, own, direct, width_s)[: n_samples - at]
            sound[at : at + len(blow)] += strength * blow
    return _finish(sound, rng)


def scrapes(n_samples: int, rng: np.random.Generator) -> FloatArray:
    """Synthesize scrapes, of a finger, a sleeve or a stubble over a case: (L,).

    Strokes of 0.1 to 2 s. The roughness of the surface is met at the speed of the stroke: noise in
    a band 60 to 1,500 Hz wide whose center moves slowly with the speed, within 80 to 3,500 Hz. The
    case adds a resonance that stays where it is. Stick and slip may modulate the stroke at 12 to
    150 Hz.

    Raises
    ------
    ValueError
        When `n_samples` is below 1.
    """
    sound = _silence(n_samples)
    for begin, length in _movements(n_samples, rng, (0.1, 2.0), _log_uniform(rng, 0.4, 2)):
        speed = _movement(length, rng)
        width_hz = _log_uniform(rng, 60, 1_500)
        center_hz = _log_uniform(rng, 300, 3_000) * speed ** rng.uniform(0.1, 0.8)
        edge_hz = min(width_hz / 2, 600)
        center_hz = np.clip(center_hz, MIN_HZ + edge_hz, MAX_HZ - edge_hz)
        phase = 2 * np.pi * np.cumsum(center_hz) / SAMPLE_RATE
        band = signal.butter(2, width_hz / 2, fs=SAMPLE_RATE, output="sos")
        i, q = signal.sosfilt(band, rng.standard_normal((2, length)))
        noise = i * np.cos(phase) - q * np.sin(phase)
        resonance_hz = _log_uniform(rng, MIN_HZ, MAX_HZ)
        body = signal.lfilter(*signal.iirpeak(resonance_hz, rng.uniform(1, 12), SAMPLE_RATE), noise)
        noise = noise / _rms(noise) + rng.uniform(0, 1) * body / _rms(body)
        if rng.random() < 0.4:  # stick and slip
            rate_hz = _log_uniform(rng, 12, 150) * _wander(length, rng, 0.2)
            slips = signal.sawtooth(2 * np.pi * np.cumsum(rate_hz) / SAMPLE_RATE)
            noise *= 1 + rng.uniform(0.3, 1) * slips
        sound[begin : begin + length] += _loudness(rng, 6) * speed * noise
    return _finish(sound, rng)


def puffs(n_samples: int, rng: np.random.Generator) -> FloatArray:
    """Synthesize breath or wind that blows at a microphone: (L,).

    Puffs of 0.03 to 0.8 s. In each, turbulence: noise that fluctuates at some 3 to 40 Hz, whose
    power falls as 1/f to 1/f^3 above a corner of 80 to 400 Hz. A puff as loud as the microphone
    can take is clipped.

    Raises
    ------
    ValueError
        When `n_samples` is below 1.
    """
    sound = _silence(n_samples)
    for begin, length in _movements(n_samples, rng, (0.03, 0.8), _log_uniform(rng, 0.4, 3)):
        corner_hz, slope = _log_uniform(rng, 80, 400), rng.uniform(1, 3)
        spectrum = np.fft.rfft(rng.standard_normal(length))
        hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        noise = np.fft.irfft(spectrum * (1 + hz / corner_hz) ** (-slope / 2), length)
        points = rng.standard_normal(length // _STEP + 5)
        slow = signal.lfilter(*signal.butter(1, rng.uniform(3, 40), fs=SAMPLE_RATE / _STEP), points)
        gusts = np.interp(np.arange(length) / _STEP, np.arange(len(slow)), slow / _rms(slow))
        puff = _movement(length, rng) * np.exp(gusts / 3) * noise / _rms(noise)
        limit = rng.choice([np.inf, rng.uniform(0.5, 2)])
        sound[begin : begin + length] += _loudness(rng, 6) * puff.clip(-limit, limit)
    return _finish(sound, rng)


def creaks(n_samples: int, rng: np.random.Generator) -> FloatArray:
    """Synthesize the creaking of a hinge, a chair, leather or a case that is bent: (L,).

    Strokes of 0.08 to 1.2 s. Two surfaces stick and slip: pulses at 8 to 150 Hz, more often the
    faster the stroke, of unequal strength, each of which excites the modes of the body, 2 to 6
    damped sines of 150 to 3,500 Hz that decay within 1 to 15 ms.

    Raises
    ------
    ValueError
        When `n_samples` is below 1.
    """
    sound = _silence(n_samples)
    for begin, length in _movements(n_samples, rng, (0.08, 1.2), _log_uniform(rng, 0.4, 2)):
        speed = _movement(length, rng)
        rate_hz = _log_uniform(rng, 20, 150) * (0.4 + 0.6 * speed) * _wander(length, rng, 0.25)
        phase = np.cumsum(rate_hz) / SAMPLE_RATE
        is_slip = np.diff(np.floor(phase), prepend=0) > 0
        slips = is_slip * np.exp(0.4 * rng.standard_normal(length)) * (0.1 + 0.9 * speed)
        modes_hz = np.exp(rng.uniform(np.log(150), np.log(MAX_HZ), int(rng.integers(2, 7))))
        decays_s = np.exp(rng.uniform(np.log(1e-3), np.log(0.015), len(modes_hz)))
        weights = rng.uniform(0.2, 1, len(modes_hz)) * rng.choice([-1, 1], len(modes_hz))
        ring = _blow(modes_hz, decays_s, weights, rng.uniform(0, 1), _log_uniform(rng, 1e-4, 2e-3))
        stroke = signal.convolve(slips, ring)[:length]
        sound[begin : begin + length] += _loudness(rng, 6) * stroke
    return _finish(sound, rng)


def _silence(n_samples: int) -> Samples:
    if n_samples < 1:
        raise ValueError(f"n_samples {n_samples}: expected at least 1")
    return np.zeros(n_samples)


def _finish(sound: Samples, rng: np.random.Generator) -> FloatArray:
    """Add the microphone's noise; set the peak to 1."""
    sound /= max(float(np.abs(sound).max()), 1e-12)
    sound += 10 ** (rng.uniform(*_FLOOR_DB) / 20) * rng.standard_normal(len(sound))
    finished: FloatArray = (sound / np.abs(sound).max()).astype(np.float32)
    return finished


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a value whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _loudness(rng: np.random.Generator, std_db: float) -> float:
    """Draw a factor of the amplitude."""
    return float(10 ** (std_db * rng.standard_normal() / 20))


def _rms(x: Samples) -> float:
    return max(float(np.sqrt((x**2).mean())), 1e-12)


def _moments(n_samples: int, rng: np.random.Generator, rate_hz: float) -> list[int]:
    """Draw moments of a Poisson process, at least one, in the first half of what is short."""
    count = max(1, int(rng.poisson(rate_hz * n_samples / SAMPLE_RATE)))
    return sorted(rng.integers(0, n_samples if count > 1 else (n_samples + 1) // 2, count).tolist())


def _movements(
    n_samples: int,
    rng: np.random.Generator,
    duration_s: tuple[float, float],
    rate_hz: float,
) -> Iterator[tuple[int, int]]:
    """Yield begin and length of movements, in samples, none beyond the end."""
    for begin in _moments(n_samples, rng, rate_hz):
        length = round(_log_uniform(rng, *duration_s) * SAMPLE_RATE)
        yield begin, min(length, n_samples - begin)


def _movement(length: int, rng: np.random.Generator) -> Samples:
    """Draw the speed of a hand: rises, wavers, falls; (length,), 0 to 1."""
    attack = rng.uniform(0.05, 0.8)
    x = (np.arange(length) + 0.5) / length
    rise_and_fall = np.minimum(x / attack, (1 - x) / (1 - attack)) ** rng.uniform(0.5, 2)
    speed: Samples = rise_and_fall * _wander(length, rng, rng.uniform(0, 0.8))
    speed /= speed.max()
    return speed


def _wander(length: int, rng: np.random.Generator, spread: float) -> Samples:
    """Draw a factor around 1 that changes within some 30 ms; (length,), log-normal."""
    coarse = rng.standard_normal(length // _STEP + 5)
    smooth = signal.lfilter([0.5, 0.3, 0.2], [1], coarse)[3:]
    wave: Samples = np.exp(
        spread * np.interp(np.arange(length) / _STEP, np.arange(len(smooth)), smooth)
    )
    return wave


def _blows(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw delays in seconds and strengths of the blows of one event."""
    strength = _loudness(rng, 8)
    kind = rng.integers(4)
    if kind == 0:
        return [(0.0, strength)]
    if kind == 1:  # in a rhythm
        period_s, count = _log_uniform(rng, 0.06, 0.4), int(rng.integers(2, 7))
        jitter = 1 + 0.08 * rng.standard_normal(count)
        return [(k * period_s * jitter[k], strength * _loudness(rng, 3)) for k in range(count)]
    if kind == 2:  # press and release
        return [(0.0, strength), (rng.uniform(0.03, 0.3), strength * rng.uniform(0.3, 1.2))]
    restitution, interval_s = rng.uniform(0.4, 0.85), rng.uniform(0.05, 0.35)
    count = int(rng.integers(2, 10))
    delays_s = interval_s * np.concatenate([[0], np.cumsum(restitution ** np.arange(count - 1))])
    return [(d, strength * restitution**k) for k, d in enumerate(delays_s.tolist())]


def _blow(
    modes_hz: Samples, decays_s: Samples, weights: Samples, direct: float, width_s: float
) -> Samples:
    """Return the sound of one blow on modes (M,), with a peak of 1."""
    t = np.arange(round((7 * decays_s.max() + width_s) * SAMPLE_RATE) + 2) / SAMPLE_RATE
    modes = np.exp(-t / decays_s[:, None]) * np.sin(2 * np.pi * modes_hz[:, None] * t)
    ringing = weights @ modes
    width = max(1, round(width_s * SAMPLE_RATE))
    force = np.sin(np.pi * (np.arange(width) + 0.5) / width)
    sound: Samples = signal.convolve(ringing, force)[: len(t)]
    sound /= max(float(np.abs(sound).max()), 1e-12)
    contact = np.diff(force, prepend=0, append=0)[: len(t)]  # pressure follows acceleration
    sound[: len(contact)] += direct * contact / np.abs(contact).max()
    sound /= np.abs(sound).max()
    return sound


HANDLING_NOISES: dict[str, Callable[[int, np.random.Generator], FloatArray]] = {
    "rustle": rustle,
    "knocks": knocks,
    "scrapes": scrapes,
    "puffs": puffs,
    "creaks": creaks,
}
