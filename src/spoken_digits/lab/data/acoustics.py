"""What recordings are like, whoever speaks in them: offset, cut ends, bandwidth.

One recording says little: a vowel alone has no high frequencies, and a word may begin loudly. So
`remark` judges all recordings of a speaker together, and says one sentence about a corpus.

Shapes: L samples, T frames, N recordings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Acoustics", "cut_off_hz", "describe", "remark"]

FloatArray = NDArray[np.float32]

CUT_DB = 12.0  # below the loudest frame: an end that is louder is within speech
OFFSET = 0.005  # of full scale
MIN_CUT_FRACTION = 0.05  # of the recordings: of single words that are whole, 3 % begin so loudly
NARROW = 0.75  # of half the sample rate: telephones and codecs pass more
MIN_RECORDINGS = 5  # that are cut, or of a speaker whose bandwidth is judged: fewer say little
_MAX_NAMES = 3
_EDGE_S, _LOUDEST_S, _FRAME_S = 0.01, 0.03, 0.032
_BAND_HZ = 125.0
_MIN_CUT_OFF_HZ, _FALL_DB = 2_000.0, 15.0
_SILENT = 1e-14  # power, -140 dBFS


@dataclass(frozen=True)
class Acoustics:
    """Measurements of one recording, full scale 1.

    Attributes
    ----------
    sample_rate
        In Hz.
    offset
        Mean of the samples.
    start_db, end_db
        First and last 10 ms, relative to the loudest 30 ms.
    spectrum_db
        Power in bands of 125 Hz, from 0 to half the sample rate, as its logarithm's mean over
        frames: loud vowels do not outweigh everything else.
    """

    sample_rate: float
    offset: float
    start_db: float
    end_db: float
    spectrum_db: FloatArray

    @property
    def is_cut(self) -> bool:
        """Whether it begins or ends within speech."""
        return max(self.start_db, self.end_db) > -CUT_DB


class Spoken(NamedTuple):
    """A recording's measurements, and who speaks."""

    speaker: str
    acoustics: Acoustics


def describe(samples: FloatArray, sample_rate: float) -> Acoustics:
    """Measure samples (L,), L > 0."""
    edge = max(1, round(_EDGE_S * sample_rate))
    loudest = np.square(_frames(samples, _LOUDEST_S, sample_rate)).mean(axis=1).max()
    start, end = (np.square(part).mean() for part in (samples[:edge], samples[-edge:]))
    offset = samples.mean(dtype=float)
    frames = _frames(samples - np.float32(offset), _FRAME_S, sample_rate)
    window = np.hanning(frames.shape[1] + 2)[1:-1].astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * window))) / frames.shape[1] ** 2  # (T, bins)
    hz = np.fft.rfftfreq(frames.shape[1], 1 / sample_rate)
    edges = np.searchsorted(hz, np.arange(0, sample_rate / 2 - _BAND_HZ / 2, _BAND_HZ))
    bands = np.add.reduceat(power, np.minimum(edges, len(hz) - 1), axis=1)
    return Acoustics(
        sample_rate=sample_rate,
        offset=float(offset),
        start_db=float(_db(start) - _db(loudest)),
        end_db=float(_db(end) - _db(loudest)),
        spectrum_db=_db(bands).mean(axis=0).astype(np.float32),
    )


def cut_off_hz(spectrum_db: FloatArray) -> float | None:
    """Return the frequency from which on a spectrum in bands of 125 Hz holds nothing, if it does.

    There it falls by 15 dB or more within three bands, and nothing above is louder than that. The
    lowest such frequency of 2 kHz or more is returned, None if there is none.
    """
    for band in range(round(_MIN_CUT_OFF_HZ / _BAND_HZ), len(spectrum_db) - 3):
        above = max(spectrum_db[band + 1 : band + 3].mean(), spectrum_db[band + 3 :].max())
        if spectrum_db[band - 2 : band].mean() - above >= _FALL_DB:
            return band * _BAND_HZ
    return None


def remark(recordings: Sequence[Spoken], noun: str = "clips") -> Iterator[tuple[str, str]]:
    """Yield kind and detail of what N recordings have, each kind once: cut, offset, bandwidth.

    None of it makes a recording unusable. Speakers are named, at most three, the worst first.
    """
    by_speaker: dict[str, list[Acoustics]] = {}
    for speaker, acoustics in recordings:
        by_speaker.setdefault(speaker, []).append(acoustics)
    count = sum(each.acoustics.is_cut for each in recordings)
    if count >= max(MIN_RECORDINGS, MIN_CUT_FRACTION * len(recordings)):
        known = {name: some for name, some in by_speaker.items() if len(some) >= MIN_RECORDINGS}
        _, names = _worst(known, _cut_fraction, MIN_CUT_FRACTION, "{:.0%}")
        what = f"within {CUT_DB:.0f} dB of the loudest 30 ms at either end, as if cut within speech"
        yield "cut", f"{what}: {count:,} of {len(recordings):,} {noun}{names and f', {names}'}"
    kinds = (
        ("offset", _offset, OFFSET, "{:.1%}", "a mean of {limit:.1%} of full scale"),
        (
            "bandwidth",
            _missing,
            1 - NARROW,
            "{:.0%}",
            "nothing in the upper {limit:.0%} of the band",
        ),
    )
    for kind, measure, limit, value, what in kinds:
        number, names = _worst(by_speaker, measure, limit, value)
        if number:
            of_all = f"{number:,} of {len(by_speaker):,} speakers, {names}"
            yield kind, f"{what.format(limit=limit)} or more: {of_all}"


def _cut_fraction(recordings: Sequence[Acoustics]) -> float:
    return sum(each.is_cut for each in recordings) / len(recordings)


def _offset(recordings: Sequence[Acoustics]) -> float:
    return abs(sum(each.offset for each in recordings) / len(recordings))


def _missing(recordings: Sequence[Acoustics]) -> float:
    """Return the fraction of the band above the cut-off of what most recordings' rate allows."""
    rates = [each.sample_rate for each in recordings]
    rate = max(set(rates), key=rates.count)
    alike = [each.spectrum_db for each in recordings if each.sample_rate == rate]
    if len(alike) < MIN_RECORDINGS:
        return 0.0
    found = cut_off_hz(np.mean(alike, axis=0))
    return 0.0 if found is None else 1 - found / (rate / 2)


def _worst(
    by_speaker: dict[str, list[Acoustics]],
    measure: Callable[[Sequence[Acoustics]], float],
    limit: float,
    text: str,
) -> tuple[int, str]:
    """Return how many speakers reach a limit, and name the worst of them with their values."""
    values = {speaker: measure(recordings) for speaker, recordings in by_speaker.items()}
    reached = sorted((n for n in values if values[n] >= limit), key=lambda n: (-values[n], n))
    named = [f"{name} {text.format(values[name])}" for name in reached[:_MAX_NAMES]]
    return len(reached), ", ".join(named) + ", ..." * (len(reached) > _MAX_NAMES)


def _frames(samples: FloatArray, duration_s: float, sample_rate: float) -> FloatArray:
    """Cut samples (L,) into frames, one after the other: (T, n), T >= 1."""
    length = min(len(samples), max(1, round(duration_s * sample_rate)))
    return samples[: len(samples) // length * length].reshape(-1, length)


def _db(power: NDArray[np.floating]) -> NDArray[np.floating]:
    decibels: NDArray[np.floating] = 10 * np.log10(power + _SILENT)
    return decibels
