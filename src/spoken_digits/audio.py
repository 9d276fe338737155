"""From any recording to the input of a network: mono, 8 kHz, cut to the utterance in it.

`open_audio` (`reading.py`) is where every recording comes in; from there `find_utterance` cuts one
clip, for training and for recognizing alike. Shapes: L samples, T frames.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.reading import (
    MAX_DURATION_S,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    AudioError,
    AudioWarning,
    Encoding,
    Source,
    check_duration,
    open_audio,
    read_audio,
    to_mono,
)

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = [
    "MARGIN_S",
    "MAX_CLIP_DURATION_S",
    "MAX_DURATION_S",
    "MAX_SAMPLE_RATE",
    "MIN_CLIP_DURATION_S",
    "MIN_SAMPLE_RATE",
    "SAMPLE_RATE",
    "SILENCE",
    "AudioError",
    "AudioWarning",
    "Encoding",
    "Resampler",
    "Source",
    "Utterance",
    "cut_clip",
    "find_speech",
    "find_utterance",
    "open_audio",
    "read_audio",
    "resample",
    "to_clip",
    "to_mono",
]

FloatArray = NDArray[np.float32]

SAMPLE_RATE = 8_000  # Hz: FSDD is recorded so, the telephone is
MIN_CLIP_DURATION_S, MAX_CLIP_DURATION_S = 0.1, 1.5
MARGIN_S = 0.06  # kept on either side of an utterance
SILENCE = 1e-6  # -120 dBFS, below the noise of any converter

_NO_SOUND = "no sound in it; expected speech: check the microphone and its level"

# Resampler: a sinc of 36 crossings on either side, 4.5 ms at 8 kHz, in a Kaiser window, whose
# sidelobes lie 80 dB down. The middle of its slope lies at 0.935 of the lower Nyquist frequency: up
# to 3.4 kHz all passes, and what folds back from 4 kHz on is 50 dB down or more. As on the page.
_CROSSINGS, _PASSED, _KAISER = 36, 0.935, 8.0
_MAX_PHASES = 1024  # of an odd rate, nearest: 65 dB and more below; all rates in use have fewer
_GROUP = SAMPLE_RATE // 100  # samples out, made at once

# find_speech: frames of 32 ms every 10 ms, in bands of 94, 406, 1000, 2000, 4000 Hz: mains hum lies
# below them, and the hiss of "six" has a band apart from its vowel.
_HOP, _WINDOW = SAMPLE_RATE // 100, 256
_BAND_EDGES = (3, 13, 32, 64, 1 + _WINDOW // 2)
_BACKGROUND_FRAMES = 10  # background: the quietest 100 ms
_PEAK_FRAMES = 5  # level: what is exceeded for 50 ms, so that a click does not set it
_ACTIVE_FRAMES = 3  # speech: what lasts 30 ms
_RISE_DB, _RANGE_DB, _TRIMMED_RANGE_DB = 7, 50, 45
_NOISY_DB = -18  # background relative to the voice; above, a weak end is lost: the t of "eight"
_NOISY_END_MARGIN = round(0.14 * SAMPLE_RATE)
_MARGIN, _PAUSE = round(MARGIN_S * SAMPLE_RATE), round(0.3 * SAMPLE_RATE)
_LONG_DIGIT = round(1.2 * SAMPLE_RATE)
# Speech: above the background for 50 ms, by 20 dB summed over its frames, and not below -80 dBFS,
# the last bits of 16. Noise, white to brown, reaches 40 ms and 4 dB in half a minute; a digit 10 dB
# above it 70 ms and 90 dB at least.
_MIN_SPEECH_FRAMES, _MIN_SPEECH_DB, _MIN_LEVEL_DBFS = 3, 20, -80
# Several digits. A recording may be cut to the word, and hold no background, or all of it may be
# noise around the word: what is counted is not what rises at all, but what is loud, in amplitude,
# where the voice is 1. Noise is the median over all frames, and is taken off; where that is speech
# itself, it is held 10 dB below the voice, and near the quietest moment. Loud is 0.2 of the voice
# and 1.6 times the noise, which babble does not reach. Digits are 150 ms apart (the closures within
# one are shorter), loud in ten frames at least, which two clicks are not, with a quarter of the
# strongest's sum of loudness and a peak within 9 dB of its peak, which excludes breaths. One digit
# of the training speakers in a thousand is loud for 0.98 s: what is so for more than 1.05 s,
# without a pause of 0.3 s, are several.
_MAX_NOISE, _MIN_LOUDNESS, _ABOVE_NOISE = 0.1, 0.2, 1.6
_MAX_UNSTEADY = 16.0  # of noise: power of its median over that of its quietest 100 ms
_MIN_GAP, _MIN_DIGIT_FRAMES, _MAX_DIGIT_FRAMES = round(0.15 * SAMPLE_RATE), 10, 105
_MIN_STRENGTH, _MIN_PEAK = 0.25, 0.35


def resample(
    samples: FloatArray, sample_rate: float, target_rate: float = SAMPLE_RATE
) -> FloatArray:
    """Resample (L,) samples to (L',) at the target rate, band-limited (soxr's high quality)."""
    if sample_rate == target_rate:
        return samples
    import soxr  # late: what is at 8 kHz already needs none

    resampled: FloatArray = soxr.resample(samples, sample_rate, target_rate)
    return resampled


class Resampler:
    """Resamples a stream to 8 kHz; its output lies 4.5 ms behind, and up to 10 ms a group.

    However the samples are divided, the same come out, to the last bit: each 10 ms of output are
    computed at once, from the same samples. A windowed sinc without delay (Smith, Digital Audio
    Resampling), the same as on the page; `soxr.ResampleStream` holds back up to 158 ms.

    Parameters
    ----------
    sample_rate : float
        Of what comes in, 4,000 to 192,000 Hz.
    """

    def __init__(self, sample_rate: float) -> None:
        from fractions import Fraction  # late: a file is resampled without

        self._ratio = Fraction(float(sample_rate)) / SAMPLE_RATE  # samples in per sample out
        self._filters = _sinc_filters(self._ratio)  # (phases + 1, taps)
        self._half = self._filters.shape[1] // 2
        self._held = np.zeros(self._half - 1, np.float32)  # what came in and is still needed
        self._first = 1 - self._half  # index of its first sample
        self._taken = self._given = 0  # samples in, samples out

    def add(self, samples: FloatArray) -> FloatArray:
        """Take the next (L,) float32; return (L',) float32: what is known by now."""
        self._taken += len(samples)
        return self._push(samples)

    def finish(self) -> FloatArray:
        """Return the rest, (L',) float32, as if zeros followed. No more may be added."""
        lacking = round(self._taken / self._ratio) - self._given
        groups = lacking // _GROUP + 1
        zeros = np.zeros(math.ceil(groups * _GROUP * self._ratio) + 2 * self._half, np.float32)
        return self._push(zeros)[:lacking]

    def _push(self, samples: FloatArray) -> FloatArray:
        held = np.concatenate([self._held, samples])
        taps, groups = self._filters.shape[1], []
        # Where each sample of a group stands between those that came in: whole ones, and a phase.
        numerator, denominator = self._ratio.as_integer_ratio()
        steps = np.arange(_GROUP) * numerator
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(held, (0, taps)), taps)
        while True:
            whole, begun = divmod(self._given * numerator, denominator)
            whole += 1 - self._half - self._first  # index in `held` of the first sample needed
            position = steps + begun
            if whole + int(position[-1] // denominator) + taps > len(held):
                break
            start = whole + position // denominator
            phase = np.rint(position % denominator / denominator * (len(self._filters) - 1))
            filters = self._filters[phase.astype(np.intp)]
            groups.append(np.einsum("nt,nt->n", windows[start], filters))
            self._given += _GROUP
        done = min(whole, len(held))
        self._held, self._first = held[done:].copy(), self._first + done
        return np.concatenate(groups) if groups else np.empty(0, np.float32)


@lru_cache(maxsize=4)
def _sinc_filters(ratio: "Fraction") -> FloatArray:
    """Make the filters of a `Resampler`, (phases + 1, taps): the last is the first, later by 1."""
    half = math.ceil(_CROSSINGS * max(1.0, float(ratio)))
    phases = min(ratio.denominator, _MAX_PHASES)
    t = np.arange(1 - half, half + 1) - np.arange(phases + 1)[:, None] / phases
    band = _PASSED * min(1.0, float(1 / ratio))
    window = np.i0(_KAISER * np.sqrt(1 - (t / half) ** 2)) / np.i0(_KAISER)
    return (band * np.sinc(band * t) * window).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Utterance:
    """The strongest utterance of a recording, and what else is in the recording.

    Attributes
    ----------
    clip : (L,) float32
        At 8 kHz, as `to_clip` makes it.
    start_s, end_s : float
        Where in the recording it lies.
    level_dbfs : float
        Of the recording's largest sample, its mean removed, in dB of full scale; -inf of zeros.
    is_speech : bool
        Whether anything rises above the background for longer than a click, and the level is
        -80 dBFS or more. A recording shorter than a long digit (1.2 s) may hold no background, and
        counts as speech whatever rises.
    utterances : int
        How many utterances as long and loud as digits the recording holds, at least: 2 or more are
        no single digit. Digits spoken without pauses may count as one.
    """

    clip: FloatArray
    start_s: float
    end_s: float
    level_dbfs: float
    is_speech: bool
    utterances: int


def find_speech(samples: FloatArray) -> tuple[int, int]:
    """Find the utterance of one digit in (L,) samples at 8 kHz; their level does not matter.

    A frame is active where one of four bands rises above its background, the quietest 100 ms of
    that band. Pauses below 0.3 s belong to an utterance; of several utterances, the one with the
    largest sum of amplitude over time is taken, so that neither a click nor a breath is. A
    recording shorter than a long digit (1.2 s) may hold no background at all: there only what is
    45 dB below the voice counts as silent.

    Returns
    -------
    start, stop : int
        Sample indices, with a margin of 60 ms on either side, in loud noise 140 ms at the end, at
        most 1.5 s apart.

    Raises
    ------
    AudioError
        When nothing exceeds -120 dBFS.
    """
    if np.abs(samples).max(initial=0) <= SILENCE:
        raise AudioError(_NO_SOUND)
    start, stop, *_ = _find(samples, counts=False)
    return max(0, start), min(len(samples), stop)


def find_utterance(samples: ArrayLike, sample_rate: float, name: str = "samples") -> Utterance:
    """Cut a recording as `to_clip` does, and count what else is in it; silence is no error here.

    `name` is what an error calls the recording.

    Raises
    ------
    AudioError
        When samples or rate are not what `to_clip` accepts.
    """
    return _find_utterance(samples, sample_rate, name, counts=True)


def _find_utterance(
    samples: ArrayLike, sample_rate: float, name: str, *, counts: bool
) -> Utterance:
    """Do what `find_utterance` does; `counts` says whether to count utterances, else 0 of them."""
    mono = to_mono(samples, sample_rate, name)
    check_duration(len(mono) / sample_rate, MAX_DURATION_S, name)
    centered = resample(mono - mono.mean(dtype=np.float64).astype(np.float32), sample_rate)
    peak = float(np.abs(centered).max(initial=0))
    level_dbfs = 20 * float(np.log10(peak)) if peak else -np.inf
    start, stop, rises, utterances = 0, 0, False, 0
    if peak > SILENCE:
        start, stop, rises, utterances = _find(centered, counts=counts)
    # A recording cut to the word gets the margin that others have, of zeros: a network recognizes
    # by the silence before it how a word begins.
    before, length = max(0, -start), stop - start
    start, stop = max(0, start), min(len(centered), stop)
    clip = np.zeros(max(length, round(MIN_CLIP_DURATION_S * SAMPLE_RATE)), np.float32)
    clip[before : before + stop - start] = centered[start:stop]
    return Utterance(
        clip=clip,
        start_s=start / SAMPLE_RATE,
        end_s=stop / SAMPLE_RATE,
        level_dbfs=level_dbfs,
        is_speech=rises and level_dbfs >= _MIN_LEVEL_DBFS,
        utterances=utterances,
    )


def cut_clip(
    samples: ArrayLike, sample_rate: float, name: str = "samples"
) -> tuple[FloatArray, float, float]:
    """Make a clip as `to_clip` does; return it with its start and end in the recording, in s.

    `name` is what an error calls the recording.

    Raises
    ------
    AudioError
        As of `to_clip`.
    """
    utterance = _find_utterance(samples, sample_rate, name, counts=False)
    if utterance.end_s == 0:
        raise AudioError(f"{name}: {_NO_SOUND}")
    return utterance.clip, utterance.start_s, utterance.end_s


def to_clip(samples: ArrayLike, sample_rate: float) -> FloatArray:
    """Make the input of a network from any samples: the one way, for training and for recognizing.

    Channels are averaged, the rate becomes 8 kHz, the mean is removed, and what is not speech is
    cut off (`find_speech`). The level stays: the front end does not depend on it.

    Parameters
    ----------
    samples : (L,) or (L, channels)
        uint8, int16, int32 or floats; finite, up to 8 channels and 30 s.
    sample_rate : float
        In Hz, 4,000 to 192,000.

    Returns
    -------
    clip : (L',) float32
        At 8 kHz, 0.1 s (with zeros up to there) to 1.5 s (the most energetic stretch).

    Raises
    ------
    AudioError
        When samples or rate are none of these, or the samples hold no sound.
    """
    return cut_clip(samples, sample_rate)[0]


def _find(samples: FloatArray, *, counts: bool) -> tuple[int, int, bool, int]:
    """Start and stop as of `find_speech`, whether anything rises above the background, utterances.

    Where the recording begins or ends too soon for the margin, start and stop lie outside it.
    """
    power = _band_power(samples / np.abs(samples).max())
    totals = np.sort(power.sum(axis=1))
    peak = max(totals[-min(_PEAK_FRAMES, len(totals))], 1e-9 * totals[-1])
    background = _moving_mean(power, _BACKGROUND_FRAMES).min(axis=0)
    threshold_db = np.maximum(_decibel(background / peak) + _RISE_DB, -_RANGE_DB)
    if len(samples) < _LONG_DIGIT:
        threshold_db = np.minimum(threshold_db, -_TRIMMED_RANGE_DB)
    excess_db = np.maximum(_decibel(power / peak) - threshold_db, 0).sum(axis=1)
    # Amplitude of what is more than background, 1 where it is as loud as the voice gets.
    loudness = np.sqrt(np.minimum(np.maximum(power - background, 0).sum(axis=1) / peak, 1))

    lasting = np.flatnonzero(_lasting(excess_db > 0, _ACTIVE_FRAMES))
    if len(lasting) == 0:
        return *_most_energetic(samples, 0, len(samples)), len(samples) < _LONG_DIGIT, 0
    utterances = _split(lasting, _PAUSE)
    utterance = max(utterances, key=lambda frames: float(loudness[frames].sum()))
    first, last = int(utterance[0]), int(utterance[-1]) + _ACTIVE_FRAMES - 1
    is_noisy = False
    if len(samples) >= _LONG_DIGIT:  # hum, in the first band, hides no end
        is_noisy = float(_decibel(background[1:].sum() / peak)) > _NOISY_DB
    start = first * _HOP - _MARGIN
    stop = last * _HOP + (_NOISY_END_MARGIN if is_noisy else _MARGIN)
    rises = len(samples) < _LONG_DIGIT or any(
        len(frames) >= _MIN_SPEECH_FRAMES and excess_db[frames].sum() >= _MIN_SPEECH_DB
        for frames in utterances
    )
    return (
        *_most_energetic(samples, start, stop),
        rises,
        _count(power / peak, background / peak) if counts and rises else 0,
    )


def _split(frames: NDArray[np.intp], pause: int) -> list[NDArray[np.intp]]:
    """Split ascending frame numbers where more than `pause` samples lie between two."""
    ends = np.flatnonzero((frames[1:] - frames[:-1]) * _HOP > pause) + 1
    return [frames[a:b] for a, b in pairwise([0, *ends.tolist(), len(frames)])]


def _count(power: NDArray[np.float64], background: NDArray[np.float64]) -> int:
    """Count what may be digits, long and loud enough: 1 or more.

    (T, 4) and (4,), where the voice's power is 1.
    """
    ordered = np.sort(power, axis=0)
    median = (ordered[(len(power) - 1) // 2] + ordered[len(power) // 2]) / 2
    noise = np.minimum(median, _MAX_UNSTEADY * background)
    noise *= _MAX_NOISE / max(noise.sum(), _MAX_NOISE)
    loudness = np.sqrt(np.minimum(np.maximum(power - noise, 0).sum(axis=1), 1))
    loud = np.flatnonzero(loudness >= max(_MIN_LOUDNESS, _ABOVE_NOISE * np.sqrt(noise.sum())))
    stretches = _split(loud, _MIN_GAP)
    if len(stretches) == 1:
        return 1 + int(1 + loud[-1] - loud[0] > _MAX_DIGIT_FRAMES)
    length = np.array([len(frames) for frames in stretches])
    strength = np.array([loudness[frames].sum() for frames in stretches])
    peak = np.array([loudness[frames].max() for frames in stretches])
    is_digit = (
        (length >= _MIN_DIGIT_FRAMES)
        & (strength >= _MIN_STRENGTH * strength.max())
        & (peak >= _MIN_PEAK * peak[strength.argmax()])
    )
    longest = max(1 + frames[-1] - frames[0] for frames in _split(loud, _PAUSE))
    return max(1 + int(longest > _MAX_DIGIT_FRAMES), int(is_digit.sum()))


def _band_power(samples: FloatArray) -> NDArray[np.float64]:
    """Power of (L,) samples in frames and bands, up to a factor: (T, 4), T = 1 + L // 80."""
    padded = np.zeros(len(samples) + _WINDOW, np.float32)
    padded[_WINDOW // 2 : -_WINDOW // 2] = samples
    # As sliding_window_view makes it, which takes a tenth of the time of recognizing.
    frames: FloatArray = np.ndarray(
        (1 + len(samples) // _HOP, _WINDOW), np.float32, padded, strides=(4 * _HOP, 4)
    )
    # The scale does not matter; numpy computes this norm in single precision, in two thirds of the
    # time (findings/numpy_fft_of_float32_is_computed_in_double.sh).
    spectrum = np.fft.rfft(frames * _window(), axis=1, norm="ortho")
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.add.reduceat(power, _BAND_EDGES[:-1], axis=1)
    return bands.astype(np.float64)


@lru_cache(maxsize=1)
def _window() -> FloatArray:
    return np.hanning(_WINDOW + 1)[:-1].astype(np.float32)


def _lasting(active: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Whether each `length` consecutive frames are all active, or all of them where fewer."""
    length = min(length, len(active))
    lasting = active[: len(active) - length + 1].copy()
    for k in range(1, length):
        lasting &= active[k : len(active) - length + 1 + k]
    return lasting


def _moving_mean(values: NDArray[np.generic], length: int) -> NDArray[np.float64]:
    """Mean over each `length` consecutive rows, or over all where there are fewer."""
    length = min(length, len(values))
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=sums[1:])
    return (sums[length:] - sums[:-length]) / length


def _decibel(power_ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return 10 * np.log10(np.maximum(power_ratio, 1e-9))


def _most_energetic(samples: FloatArray, start: int, stop: int) -> tuple[int, int]:
    """Narrow [start, stop) to the 1.5 s of most energy in it."""
    length = round(MAX_CLIP_DURATION_S * SAMPLE_RATE)
    if stop - start <= length:
        return start, stop
    start, stop = max(0, start), min(len(samples), stop)
    if stop - start <= length:
        return start, stop
    energy = _moving_mean(samples[start:stop].astype(np.float64) ** 2, length)
    start += int(energy.argmax())
    return start, start + length
