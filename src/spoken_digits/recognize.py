"""Recognize a spoken digit, or a string of them: a recording in, digits and probabilities out.

What is no digit is rejected, with a reason: silence, not a digit, unclear.
Shapes: L samples, M mel bands, T frames, C classes.
"""

import os
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import MAX_DURATION_S, Encoding, Source, find_utterance, open_audio
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
        if self._asks_both:
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
        cut = self._log_odds_threshold if threshold is None else _to_log_odds(threshold)
        with open_audio(
            source,
            sample_rate,
            channel=channel,
            encoding=encoding,
            max_duration_s=MAX_DURATION_S,
        ) as recording:
            samples, sample_rate = recording.read(), recording.sample_rate
        utterance = find_utterance(samples, sample_rate)
        scores, log_mel, is_digit, letter = self.analyze(utterance.clip[None])
        log_p = log_softmax(scores[0].astype(np.float64))
        is_digit_log_odds, is_oh = float(is_digit[0]), False
        if self._asks_both and log_p.max() < _SURE_LOG_P:
            words = self._transcriber().network.score_clip(utterance.clip)
            log_p = rescore(log_p, words, self.decision.string_weight)
        if oh and letter[0] >= self.decision.min_oh:
            log_p, is_digit_log_odds, is_oh = with_oh(log_p, is_digit_log_odds, float(letter[0]))
        utterances = utterance.utterances
        if utterances > 1 and self._asks_both:
            # What is loud twice may be a digit and a cough: the other network counts digits.
            found = self._transcriber()(samples, sample_rate, oh=oh)
            utterances = max(1, len(found.segments))
        probabilities = np.exp(log_p)
        if not utterance.is_speech:
            is_digit_log_odds = -np.inf
        reason: Reason | None = "silence"
        if utterance.is_speech:
            reason = self._reason(probabilities, is_digit_log_odds, cut)
        best = int(probabilities.argmax())
        label = self.labels[best]
        digit = int(label) if reason is None and label in _DIGITS else None
        return Recognition(
            label=label,
            digit=digit,
            word=None if digit is None else "oh" if is_oh else DIGIT_WORDS[digit],
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            labels=self.labels,
            start_s=utterance.start_s,
            end_s=utterance.end_s,
            log_mel=log_mel[0],
            score=float(sigmoid(is_digit_log_odds)),
            reason=reason,
            utterances=utterances,
            warnings=tuple(recording.warnings),
        )

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

    def _transcriber(self) -> Transcriber:
        self._opened = self._opened or Transcriber(self._strings_path)
        return self._opened

    def _reason(
        self, probabilities: NDArray[np.float64], is_digit: float, threshold: float
    ) -> Reason | None:
        """Say why (C,) probabilities give no answer; None when they do. In log-odds."""
        if threshold == -np.inf:
            return None
        if is_digit < threshold:
            return "not a digit"
        second, best = np.sort(np.append(probabilities, 0))[-2:]
        is_clear = (
            best >= self.decision.min_probability and best - second >= self.decision.min_margin
        )
        return None if is_clear else "unclear"


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
