"""Handling noise: what tells its kinds apart, measured on the samples alone."""

import numpy as np
import pytest
from scipy import signal

from spoken_digits.lab.augmentation import handling
from spoken_digits.lab.augmentation.handling import HANDLING_NOISES

RATE = 8_000
FRAME = 240  # samples, 30 ms


def make(kind: str, key: int, seconds: float = 10.0) -> np.ndarray:
    return HANDLING_NOISES[kind](round(seconds * RATE), np.random.default_rng([5, key]))


def levels_db(samples: np.ndarray) -> np.ndarray:
    frames = samples[: len(samples) // FRAME * FRAME].astype(float).reshape(-1, FRAME)
    return 10 * np.log10((frames**2).mean(axis=1) + 1e-12)


def crest_db(samples: np.ndarray) -> float:
    """Peak over RMS."""
    return float(
        20 * np.log10(np.abs(samples).max() / np.sqrt((samples.astype(float) ** 2).mean()))
    )


def flatness(samples: np.ndarray) -> float:
    """Geometric over arithmetic mean of the spectrum, within 0.3 to 3 kHz, of loud frames; 0 to 1.

    White noise of one frame has exp(-0.577) = 0.56.
    """
    level_db = levels_db(samples)
    frames = samples[: len(level_db) * FRAME].astype(float).reshape(-1, FRAME)
    power = np.abs(np.fft.rfft(frames[level_db > level_db.max() - 20] * np.hanning(FRAME))) ** 2
    power = power[:, 300 * FRAME // RATE : 3_000 * FRAME // RATE] + 1e-20
    return float(np.median(np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)))


def over_draws(measure, kind: str) -> float:
    return float(np.median([measure(make(kind, key)) for key in range(12)]))


@pytest.mark.parametrize("kind", HANDLING_NOISES)
def test_the_generator_alone_decides_the_samples(kind):
    np.testing.assert_array_equal(make(kind, 1), make(kind, 1))
    assert not np.array_equal(make(kind, 1), make(kind, 2))


@pytest.mark.parametrize("kind", HANDLING_NOISES)
@pytest.mark.parametrize("n_samples", [1, 2, 79, 800, 20_001])
def test_any_length_is_filled_without_clipping(kind, n_samples):
    for key in range(30 if n_samples < 1_000 else 3):
        samples = HANDLING_NOISES[kind](n_samples, np.random.default_rng(key))
        assert samples.shape == (n_samples,)
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() == 1


def test_no_samples_are_an_error():
    for generate in HANDLING_NOISES.values():
        with pytest.raises(ValueError, match="n_samples 0: expected at least 1"):
            generate(0, np.random.default_rng(0))


@pytest.mark.parametrize("kind", HANDLING_NOISES)
def test_sounds_are_short_and_not_steady(kind):
    """White noise of 30 ms varies by some 1 dB; a draw here by tens, and it is mostly quiet."""
    spreads, loud = [], []
    for key in range(12):
        level_db = levels_db(make(kind, key))
        spreads.append(np.ptp(np.percentile(level_db, [5, 95])))
        loud.append((level_db > level_db.max() - 20).mean())
    assert np.median(spreads) > 20
    assert 0.005 < np.median(loud) < 0.5


def test_knocks_are_the_most_impulsive_and_scrapes_the_least():
    # A sine has 3 dB, white noise of ten seconds some 13.
    assert over_draws(crest_db, "knocks") > over_draws(crest_db, "scrapes") + 3 > 18


def test_rustle_is_wide_and_the_others_resonate():
    """In one frame, rustle has a flat spectrum, knocks have lines and scrapes a band."""
    assert over_draws(flatness, "rustle") > 0.2
    assert over_draws(flatness, "scrapes") < 0.1
    assert over_draws(flatness, "knocks") < 0.1


def test_the_power_of_puffs_falls_with_frequency():
    """From 150 Hz to 1.5 kHz, by 4 to 28 dB: as 1/f to 1/f^3 above a corner of 80 to 400 Hz."""

    def fall_db(samples: np.ndarray) -> float:
        hz, power = signal.welch(samples, RATE, nperseg=512)
        low, high = (power[(hz > f / 1.3) & (hz < f * 1.3)].mean() for f in (150, 1_500))
        return float(10 * np.log10(low / high))

    assert 4 < over_draws(fall_db, "puffs") < 28
    assert over_draws(fall_db, "puffs") > over_draws(fall_db, "rustle") + 3


def test_creaks_are_pulses_and_last_longer_than_knocks():
    """Within a frame of 30 ms pulses have a higher peak than noise; a stroke has many of them."""

    def loud(samples: np.ndarray) -> np.ndarray:
        level_db = levels_db(samples)
        frames = samples[: len(level_db) * FRAME].reshape(-1, FRAME)
        return frames[level_db > level_db.max() - 15]

    def crest_of_frames_db(samples: np.ndarray) -> float:
        return float(np.median([crest_db(frame) for frame in loud(samples)]))

    def loud_s(samples: np.ndarray) -> float:
        return len(loud(samples)) * FRAME / RATE

    assert (
        over_draws(crest_of_frames_db, "creaks") > over_draws(crest_of_frames_db, "scrapes") + 1.5
    )
    assert over_draws(loud_s, "creaks") > 1.5 * over_draws(loud_s, "knocks")


def test_knocks_rise_at_once_and_scrapes_slowly():
    """The steepest rise from one 10 ms to the next, of the median draw."""

    def steepest_db(samples: np.ndarray) -> float:
        frames = samples.astype(float).reshape(-1, 80)
        level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
        return float(np.percentile(np.diff(level_db), 99.5))

    assert over_draws(steepest_db, "knocks") > over_draws(steepest_db, "scrapes") + 5


def test_the_band_of_a_scrape_moves_slowly():
    """The spectral centroid of a frame of 30 ms resembles the next's, and not one a second on."""

    def likeness(samples: np.ndarray, lag: int) -> float:
        frames = samples[: len(samples) // FRAME * FRAME].astype(float).reshape(-1, FRAME)
        level_db = levels_db(samples)
        power = np.abs(np.fft.rfft(frames * np.hanning(FRAME))) ** 2
        centroid = (power * np.arange(power.shape[1])).sum(1) / power.sum(1)
        is_loud = level_db > level_db.max() - 25
        both = is_loud[:-lag] & is_loud[lag:]
        return float(np.abs(centroid[:-lag] - centroid[lag:])[both].mean())

    near, far = (
        np.mean([likeness(make("scrapes", key, 30), lag) for key in range(6)]) for lag in (1, 33)
    )
    assert near < 0.6 * far


@pytest.mark.parametrize("frequency_hz", [120.0, 900.0, 3_100.0])
def test_a_mode_rings_at_its_frequency_and_decays_by_8_7_db_in_its_time(frequency_hz):
    decay_s = 0.05
    blow = handling._blow(
        np.array([frequency_hz]), np.array([decay_s]), np.array([1.0]), direct=0.0, width_s=1e-4
    )
    spectrum = np.abs(np.fft.rfft(blow, 2**16))
    assert spectrum.argmax() * RATE / 2**16 == pytest.approx(frequency_hz, abs=3)
    envelope = np.abs(signal.hilbert(blow))
    level_db = 20 * np.log10([envelope[round(t * RATE)] for t in (0.03, 0.03 + decay_s)])
    assert level_db[0] - level_db[1] == pytest.approx(20 / np.log(10), abs=0.3)


def test_what_is_dropped_rebounds_at_shrinking_intervals():
    """A ratio of successive intervals is the coefficient of restitution, so the same throughout."""
    found = 0
    for key in range(200):
        delays_s = np.array([at for at, _ in handling._blows(np.random.default_rng(key))])
        intervals = np.diff(delays_s)
        if len(intervals) >= 3 and (np.diff(intervals) < 0).all():
            ratios = intervals[1:] / intervals[:-1]
            if np.ptp(ratios) < 1e-9:
                assert 0.4 <= ratios[0] <= 0.85
                found += 1
    assert found > 20
