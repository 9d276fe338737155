"""Recognize a spoken digit, or a string of them: a recording in, digits and probabilities out.

What is no digit is rejected, with a reason: silence, not a digit, unclear.
Shapes: L samples, M mel bands, T frames, C classes.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import (
    MAX_DURATION_S,
    AudioError,
    Encoding,
    Source,
    Utterance,
    find_utterance,
    open_audio,
)
from spoken_digits.connected import Transcriber, Transcript
from spoken_digits.networks import SHIPPED_MODEL, DigitNetwork, ModelError, absolute
from spoken_digits.probability import log_odds, log_softmax, sigmoid
from spoken_digits.spotting import DIGIT_WORDS

__all__ = [
    "SHIPPED_MODEL",
    "ModelError",
    "Reason",
    "Recognition",
    "Recognizer",
    "load",
    "rescore",
    "with_oh",
]

FloatArray = NDArray[np.float32]
Reason = Literal["silence", "not a digit", "unclear"]

_DIGITS = tuple("0123456789")
_SURE_LOG_P = -0.1  # of a digit: from here on, the network for strings is not asked
_MIN_STRING_LOG_P = -10.0  # of that network, which does not decide alone
# Of many recordings: as many are read before they are scored, or as many as this time allows, or
# until they are of so many samples.
_WINDOW, _WINDOW_S, _WINDOW_SAMPLES = 256, 0.2, 1 << 22


@dataclass(frozen=True)
class Recognition:
    """The digit of a recording.

    Attributes
    ----------
    label : str
        The most probable of `labels`.
    digit : int or None
        The label as a number; None where it is none of "0" to "9", or where there is a `reason`.
    word : str or None
        As which the digit was said: "zero" to "nine", or "oh"; None where there is no digit.
    probability : float
        Of `label`, 0 to 1.
    probabilities : tuple of float
        Of all `labels`, in their order; they sum to 1.
    labels : tuple of str
        The classes of the model.
    start_s, end_s : float
        Where in the recording the utterance lies.
    log_mel : (M, T) float32
        The spectrogram that is the network's input.
    score : float
        Probability that it is a digit at all, 0 to 1, which the threshold is compared with. The
        model's own estimate where it has one, otherwise `probability`; 0 for silence.
    reason : "silence", "not a digit", "unclear" or None
        Why no digit is given: nothing rises above the background, or the level is below -80 dBFS;
        the score is below the threshold; the probability, or its margin to the second best, is
        below what the model's file names. `label` is the most probable class all the same.
    utterances : int
        How many digits the recording holds, at least; the answer is for the strongest utterance.
        From 2 on, use `transcribe`. What is loud twice, or for long, counts; where both
        networks are asked, what `transcribe` finds there.
    warnings : tuple of str
        What is odd about the recording, though it was read.
    """

    label: str
    digit: int | None
    word: str | None
    probability: float
    probabilities: tuple[float, ...] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    start_s: float
    end_s: float
    log_mel: FloatArray = field(repr=False, compare=False)
    score: float = 1.0
    reason: Reason | None = None
    utterances: int = field(default=1, repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)


class _Read(NamedTuple):
    """A recording that is read: (L,) samples, their rate in Hz, and warnings as in the answer."""

    samples: FloatArray
    sample_rate: float
    warnings: tuple[str, ...]


class _Found(NamedTuple):
    """What of a recording is needed once it is read; utterances and warnings as in the answer."""

    utterance: Utterance
    utterances: int
    warnings: tuple[str, ...]

    @property
    def clip(self) -> FloatArray:
        return self.utterance.clip


class _Scored(NamedTuple):
    """What the networks say about a clip: (C,) log-probabilities, (M, T), two log-odds."""

    log_p: NDArray[np.float64]
    log_mel: FloatArray
    is_digit: float
    is_oh: float


class Recognizer(DigitNetwork):
    """Recognizes single digits with a `DigitNetwork`, and strings with a `Transcriber`.

    Where the model's file names a `string_weight`, the network for strings is asked as well which
    digit it is, if the one for single digits is not sure (`rescore`).

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits export`` wrote; without it, the model that ships.
    threshold : float, optional
        Smallest `score` of a digit, 0 to 1. With 0 nothing is rejected but silence, not even what
        is unclear. Without it, the threshold that the model's file names; 0 for a model that does
        not estimate whether a clip is a digit.
    strings_path : path, optional
        A file that ``spoken-digits strings train`` wrote; without it, the one that ships.

    Raises
    ------
    ModelError
        When a file is missing, or no model of this package.
    ValueError
        When the threshold is not within 0 to 1.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        threshold: float | None = None,
        strings_path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(model_path)
        self._arguments = (absolute(model_path), threshold, absolute(strings_path))
        self._log_odds_threshold = self.decision.rejection_threshold
        if threshold is not None:
            self._log_odds_threshold = _to_log_odds(threshold)
        self._asks_both = self.labels == _DIGITS and self.decision.string_weight > 0
        self._strings_path = strings_path
        self._opened: Transcriber | None = None
        if self._asks_both and strings_path:  # fails here; what ships is opened when it is asked
            self._transcriber()

    def __reduce__(self) -> tuple[type["Recognizer"], tuple[object, ...]]:
        """Pickle paths and settings: what runs the networks cannot be pickled."""
        return type(self), self._arguments

    @property
    def threshold(self) -> float:
        """Smallest score of a digit, 0 to 1, unless a call says otherwise."""
        return float(sigmoid(self._log_odds_threshold))

    @property
    def log_odds_threshold(self) -> float:
        """The threshold as it is compared: log-odds, -inf to reject nothing but silence."""
        return self._log_odds_threshold

    def __call__(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        threshold: float | None = None,
        oh: bool = True,
        channel: int | None = None,
        encoding: Encoding | None = None,
    ) -> Recognition:
        """Recognize the digit in a recording.

        Parameters
        ----------
        source : path or (L,) or (L, channels) samples
            A file or samples, as `open_audio` takes them.
        sample_rate : float
            Of samples, in Hz; a file states its own.
        threshold : float
            Smallest score of a digit, 0 to 1; left out, the recognizer's.
        oh : bool
            Whether "oh" is zero; if not, it is rejected.
        channel : int
            Which channel to take, 1 being the first; left out, the one with the most speech.
        encoding : Encoding
            Of a file without a header.

        Raises
        ------
        AudioError
            When the recording cannot be read; silence is an answer, with that reason.
        ValueError
            When the threshold is not within 0 to 1.
        """
        cut = self._cut(threshold)
        found = self._find(_read(source, sample_rate, channel, encoding), oh)
        (scored,) = self._score([found])
        return self._decide(found, scored, cut, oh)

    def recognize_many(
        self,
        sources: Iterable[Source],
        sample_rate: float | None = None,
        *,
        threshold: float | None = None,
        oh: bool = True,
        channel: int | None = None,
        encoding: Encoding | None = None,
    ) -> Generator[Recognition | AudioError, None, None]:
        """Recognize the digit in each of many recordings: as one at a time, but faster.

        Some are read ahead while others are scored in a thread, clips of one length together; what
        is held does not grow with their number. The answers are those of single calls, up to
        rounding.

        Parameters
        ----------
        sources : iterable of paths or (L,) or (L, channels) samples
            As many as you like; they are taken as they are needed.
        sample_rate, threshold, oh, channel, encoding
            As of a single call, for all of them.

        Yields
        ------
        Recognition or AudioError
            The answer to each source, in their order; the error of one that cannot be read.

        Raises
        ------
        ValueError
            When the threshold is not within 0 to 1.
        AudioError
            When there is one recording only: a path, or the bytes of a file.
        """
        if isinstance(sources, str | bytes | bytearray):
            raise AudioError(f"{sources[:80]!r}: one recording; expected several: list it")
        read = partial(_read, sample_rate=sample_rate, channel=channel, encoding=encoding)
        find = partial(self._find, oh=oh)
        decide = partial(self._decide, cut=self._cut(threshold), oh=oh)
        return self._recognize_many(iter(sources), read, find, decide)

    def _recognize_many(
        self,
        sources: Iterator[Source],
        read: Callable[[Source], "_Read"],
        find: Callable[["_Read"], "_Found"],
        decide: Callable[["_Found", "_Scored"], Recognition],
    ) -> Generator[Recognition | AudioError, None, None]:
        """Read a window of recordings here, while a thread scores those of the window before.

        One thread for either: more of them would wait for the interpreter's lock.
        """

        def take(count: int) -> list[_Found | AudioError]:
            window: list[_Read | AudioError] = []
            held, end_s = 0, time.perf_counter() + _WINDOW_S
            for source in islice(sources, count):
                try:
                    recording = read(source)
                    window.append(recording)
                    held += len(recording.samples)
                except AudioError as error:
                    window.append(error)
                if time.perf_counter() > end_s or held > _WINDOW_SAMPLES:
                    break
            # One step for all of them, then the next: the code of one fits into the cache.
            return [each if isinstance(each, AudioError) else find(each) for each in window]

        def score(window: list[_Found | AudioError]) -> list[_Scored]:
            return self._score([found for found in window if isinstance(found, _Found)])

        def answer(
            window: list[_Found | AudioError], scores: list[_Scored]
        ) -> Generator[Recognition | AudioError, None, None]:
            remaining = iter(scores)
            for found in window:
                yield decide(found, next(remaining)) if isinstance(found, _Found) else found

        first = take(1)  # alone: its answer comes at once, and one recording needs no thread
        yield from answer(first, score(first))
        if not (window := take(_WINDOW)):
            return

        from concurrent.futures import ThreadPoolExecutor  # late, for the same reason

        with ThreadPoolExecutor(1) as thread:
            while window:
                scores = thread.submit(score, window)
                following = take(_WINDOW)
                yield from answer(window, scores.result())
                window = following

    def transcribe(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        oh: bool = True,
        doubles: bool = True,
        channel: int | None = None,
        encoding: Encoding | None = None,
    ) -> Transcript:
        """Transcribe the digits in a recording of any length, with the model for strings.

        `Transcriber`, which this calls, also takes grammars, and gives alternatives and streams.

        Parameters
        ----------
        source, sample_rate, oh, doubles, channel, encoding
            As of `Transcriber.__call__`.

        Raises
        ------
        AudioError
            When the recording cannot be read, or holds no sound.
        """
        return self._transcriber()(
            source, sample_rate, oh=oh, doubles=doubles, channel=channel, encoding=encoding
        )

    def _cut(self, threshold: float | None) -> float:
        """Return the log-odds that a digit must reach."""
        return self._log_odds_threshold if threshold is None else _to_log_odds(threshold)

    def _find(self, recording: "_Read", oh: bool) -> "_Found":
        """Find the utterance in a recording, and count others."""
        samples, sample_rate, warnings = recording
        utterance = find_utterance(samples, sample_rate)
        utterances = utterance.utterances
        if utterances > 1 and self._asks_both:
            # What is loud twice may be a digit and a cough: the other network counts digits.
            found = self._transcriber()(samples, sample_rate, oh=oh)
            utterances = max(1, len(found.segments))
        return _Found(utterance, utterances, warnings)

    def _score(self, found: "list[_Found]") -> "list[_Scored]":
        """Run the networks on clips."""
        if not found:
            return []
        logits, log_mels, is_digit, is_oh = self.analyze_clips([each.clip for each in found])
        log_p = log_softmax(logits.astype(np.float64))
        if self._asks_both:
            for i in np.flatnonzero(log_p.max(axis=1) < _SURE_LOG_P):
                words = self._transcriber().network.score_clip(found[i].clip)
                log_p[i] = rescore(log_p[i], words, self.decision.string_weight)
        return [
            _Scored(*each)
            for each in zip(log_p, log_mels, is_digit.tolist(), is_oh.tolist(), strict=True)
        ]

    def _decide(self, found: "_Found", scored: "_Scored", cut: float, oh: bool) -> Recognition:
        """Make an answer of the networks' scores; the cut is in log-odds."""
        utterance = found.utterance
        log_p, is_digit_log_odds, is_oh = scored.log_p, scored.is_digit, False
        if oh and scored.is_oh >= self.decision.min_oh:
            log_p, is_digit_log_odds, is_oh = with_oh(log_p, is_digit_log_odds, scored.is_oh)
        probabilities = np.exp(log_p).tolist()
        if not utterance.is_speech:
            is_digit_log_odds = -np.inf
        reason: Reason | None = "silence"
        if utterance.is_speech:
            reason = self._reason(probabilities, is_digit_log_odds, cut)
        probability = max(probabilities)
        label = self.labels[probabilities.index(probability)]
        digit = int(label) if reason is None and label in _DIGITS else None
        return Recognition(
            label=label,
            digit=digit,
            word=None if digit is None else "oh" if is_oh else DIGIT_WORDS[digit],
            probability=probability,
            probabilities=tuple(probabilities),
            labels=self.labels,
            start_s=utterance.start_s,
            end_s=utterance.end_s,
            log_mel=scored.log_mel,
            score=float(sigmoid(is_digit_log_odds)),
            reason=reason,
            utterances=found.utterances,
            warnings=found.warnings,
        )

    def _transcriber(self) -> Transcriber:
        self._opened = self._opened or Transcriber(self._strings_path)
        return self._opened

    def _reason(
        self, probabilities: Sequence[float], is_digit: float, threshold: float
    ) -> Reason | None:
        """Say why the C probabilities give no answer; None when they do. In log-odds."""
        if threshold == -np.inf:
            return None
        if is_digit < threshold:
            return "not a digit"
        second, best = sorted((0.0, *probabilities))[-2:]
        is_clear = (
            best >= self.decision.min_probability and best - second >= self.decision.min_margin
        )
        return None if is_clear else "unclear"


def _read(
    source: Source, sample_rate: float | None, channel: int | None, encoding: Encoding | None
) -> _Read:
    """Read a recording of one digit."""
    with open_audio(
        source, sample_rate, channel=channel, encoding=encoding, max_duration_s=MAX_DURATION_S
    ) as recording:
        samples = recording.read()
    return _Read(samples, recording.sample_rate, tuple(recording.warnings))


def rescore(
    log_p: NDArray[np.float64], words: NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    """Rescore the digits of one clip by the network for strings: a product of experts.

    Which digit it is, not whether it is one: there, it is no better than the network for single
    digits.

    Parameters
    ----------
    log_p
        (10,) log-probabilities of the digits, by the network for single digits.
    words
        (C,) log-probabilities of the network for strings, as `StringNetwork.score_clip` gives them.
    weight
        Of these; the others weigh 1.

    Returns
    -------
    (10,) log-probabilities.
    """
    return log_softmax(log_p + weight * np.maximum(words[:10], _MIN_STRING_LOG_P))


def with_oh(
    log_p: NDArray[np.float64], is_digit: float, is_oh: float
) -> tuple[NDArray[np.float64], float, bool]:
    """Count "oh" as zero.

    Parameters
    ----------
    log_p, is_digit, is_oh
        (10,) log-probabilities of the digits' words, if it is one of them; log-odds that it is one,
        and that it is "oh".

    Returns
    -------
    log_p, is_digit, is_oh
        (10,) log-probabilities of the digits, of which 0 counts both its words; the log-odds that
        the clip is a digit at all; whether the most probable digit was said as "oh".
    """
    there, absent = -np.logaddexp(0, [-is_digit, is_digit])
    letter = -np.logaddexp(0, -is_oh)
    totals = there + log_p
    is_letter = letter > totals[0]
    totals[0] = np.logaddexp(totals[0], letter)
    # What is neither: absent counts "oh", which is taken out of it.
    nothing = absent + np.log1p(-min(float(np.exp(letter - absent)), 1 - 1e-9))
    is_zero = totals.argmax() == 0
    return (
        log_softmax(totals),
        float(np.logaddexp.reduce(totals) - nothing),
        bool(is_letter and is_zero),
    )


def load(
    model_path: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    strings_path: str | os.PathLike[str] | None = None,
) -> Recognizer:
    """Load a model, by default the one that ships: no download, no torch. See `Recognizer`.

    Raises
    ------
    ModelError, ValueError
        As of `Recognizer`.
    """
    return Recognizer(model_path, threshold, strings_path)


def _to_log_odds(threshold: float) -> float:
    if not 0 <= threshold <= 1:  # so written, NaN fails as well
        raise ValueError(f"threshold {threshold}: expected 0 (reject nothing) to 1")
    return float(log_odds(threshold))
