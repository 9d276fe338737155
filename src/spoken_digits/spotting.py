"""From a network's scores, step by step, to digits: each is spotted, judged and emitted.

Shapes: U steps, C = 16 classes, those of `LABELS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.probability import log_odds

__all__ = [
    "BLANK",
    "DIGIT_WORDS",
    "DOUBLE",
    "LABELS",
    "NUMBER",
    "OH",
    "OTHER",
    "TRIPLE",
    "Decoding",
    "Segment",
    "Spotter",
    "merge_oh",
    "score_run",
    "single_word",
]

FloatArray = NDArray[np.float32]

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# "oh" is zero, said as the letter. "double" and "triple" repeat the digit after them. "number" is a
# word that makes a digit beside it part of a number: ten to nineteen, twenty to ninety, hundred,
# thousand, million. "other" is any other word.
LABELS = (*"0123456789", "oh", "double", "triple", "number", "other", "blank")
OH, DOUBLE, TRIPLE, NUMBER, OTHER, BLANK = range(10, 16)
_DIGITS = slice(10)


@dataclass(frozen=True)
class Decoding:
    """The constants of decoding. They are fitted to a network, and stand in its file's metadata.

    Attributes
    ----------
    emission_threshold : float
        Score, as `score_run` gives it, that a digit must reach to be emitted.
    word_threshold : float
        Log-odds that "double", "triple" or a number word must reach to have an effect.
    other_weight : float
        Of other words against a digit, 0 or more, in `score_run`.
    min_step_probability : float
        Of a word at a step; below, the word's run has ended.
    min_overlap : float
        Fraction of the shorter of two segments; with so much in common, both claim one word.
    settling_s : float
        After a digit's end, in seconds, no other claims its place any more.
    number_before_s : float
        Seconds from a number word's emission to a digit's start: in less, the digit is rejected.
    number_after_s : float
        Seconds from a digit's end to a number word's emission: in less, the digit is rejected. It
        must hold the longest of these words, and by how much the network emits it late. A digit
        that no other follows is final only after this time.
    double_s : float
        Seconds from the emission of "double" or "triple" to a digit's start: in more, it does
        nothing.
    """

    emission_threshold: float
    word_threshold: float
    other_weight: float
    min_step_probability: float
    min_overlap: float
    settling_s: float
    number_before_s: float
    number_after_s: float
    double_s: float

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Decoding":
        """Read the metadata of a model file.

        Raises
        ------
        KeyError, ValueError
            When an entry is missing, or no number.
        """
        return cls(*(float(metadata[field.name]) for field in fields(cls)))

    def to_metadata(self) -> dict[str, str]:
        """Write the entries that `from_metadata` reads."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True)
class Segment:
    """One digit of a string.

    Attributes
    ----------
    digit : int
    word : str
        As which it was said: "zero" to "nine", or "oh".
    start_s, end_s : float
        Where in the recording it is spoken, to some hundredths of a second. Where "double" or
        "triple" repeats a digit, equal parts of the time of the digit's word.
    probability : float
        That it is there and is this digit, 0 to 1.
    """

    digit: int
    word: str
    start_s: float
    end_s: float
    probability: float

    def divided(self, count: int) -> "list[Segment]":
        """Repeat the digit `count` times, each in an equal part of its time."""
        edges = np.linspace(self.start_s, self.end_s, count + 1).tolist()
        return [
            Segment(self.digit, self.word, start_s, end_s, self.probability)
            for start_s, end_s in pairwise(edges)
        ]


def merge_oh(probabilities: NDArray[np.float64], oh: bool) -> NDArray[np.float64]:
    """Count "oh" as "0", or, where it is not to be one, as another word: (..., C) to (..., C).

    Of the CTC this changes what a repetition is: zero and "oh" without a blank between them are one
    digit. The network emits words at least some steps apart, with blanks between.
    """
    merged = probabilities.copy()
    merged[..., 0 if oh else OTHER] += merged[..., OH]
    merged[..., OH] = 0
    return np.minimum(merged, 1)  # single precision can add to a little more


def score_run(p: float, p_other: float, other_weight: float) -> float:
    """Score a run of steps: the logarithm of a digit's odds, against none and other words.

    Parameters
    ----------
    p
        Probability that any of the steps emits the digit.
    p_other
        Probability that any of the steps emits another word that is no digit.
    other_weight
        With 0 the score is the log-odds of p; the larger it is, the more the score is the
        log-likelihood ratio of the digit and other words, less the logarithm of the weight.

    Returns
    -------
    log(p / (1 - p + other_weight * p_other)): -inf for p = 0, inf for a certain digit
    """
    against = 1 - p + other_weight * p_other
    with np.errstate(divide="ignore"):
        return float(np.log(p) - np.log(against))


class _Run:
    """Consecutive steps at which one word is the most probable.

    Attributes
    ----------
    word
        The index of its label.
    first, stop
        Its first step, and the step after its last.
    emitted_s
        When its first step ended.
    """

    def __init__(self, word: int, first: int, now_s: float) -> None:
        self.word, self.first, self.stop, self.emitted_s = word, first, first, now_s
        self.start_s = self.end_s = self._peak = 0.0
        self._absent = np.ones(BLANK)  # probability of each word that no step emits it
        self._absent_oh = self._absent_zero = self._absent_other = 1.0

    def add(
        self, probabilities: NDArray[np.float64], p_oh: float, now_s: float, edges: FloatArray
    ) -> None:
        """Take a step: (C,) probabilities after `merge_oh`, "oh" alone, the (2,) edges."""
        self.stop += 1
        self._absent *= 1 - probabilities[:BLANK]
        self._absent_oh *= 1 - p_oh
        self._absent_zero *= 1 - (probabilities[0] - p_oh)
        self._absent_other *= 1 - min(1.0, probabilities[NUMBER] + probabilities[OTHER])
        if probabilities[self.word] > self._peak:
            self._peak = float(probabilities[self.word])
            self.start_s = max(0.0, now_s - float(edges[0]))
            self.end_s = max(self.start_s, now_s - float(edges[1]))

    @property
    def is_digit(self) -> bool:
        return self.word < OH

    @property
    def probability(self) -> float:
        """Probability that any of the steps emits the word."""
        return float(1 - self._absent[self.word])

    @property
    def p_other(self) -> float:
        """Probability that any of the steps emits a word that is no digit."""
        return float(1 - self._absent_other)

    @property
    def segment(self) -> Segment:
        is_oh = self.word == 0 and self._absent_oh < self._absent_zero
        word = "oh" if is_oh else DIGIT_WORDS[self.word]
        return Segment(self.word, word, self.start_s, self.end_s, self.probability)


class Spotter:
    """Makes segments of steps: a run of steps at which one word is not improbable.

    The best-path decoding of CTC (Graves et al. 2006, section 3.2), with one difference: the
    network may be certain of a word and not of the step that emits it, so that at each of two or
    three steps the blank is more probable. Therefore a run lasts while its word has a probability
    of `min_step_probability`, and the run's probability is that any of its steps emits the word.

    A digit's place is what the network's edges say. Where it emits two digits for one word, their
    places overlap, and the more probable is kept. Of words that are no digits the network does not
    tell the place, only the order: "double" and "triple" repeat the digit after them, and a number
    word rejects the digits before and after it, if they are near. Any other word only takes its
    steps, and enters the score of a digit.

    A digit is final when no other can claim its place, and when the next word is known, or a number
    word would come too late. So the answers do not depend on how the steps arrive.

    Parameters
    ----------
    decoding
        Thresholds and times.
    step
        Samples of a step.
    oh
        Whether "oh" is zero; if not, it is another word.
    doubles
        Whether "double" and "triple" repeat digits; if not, they do nothing.
    on_rejected
        Is called with each word that is taken back: the index of its label, its first step, and the
        step after its last. These are digits beside numbers, and "double" without a digit.
    """

    def __init__(
        self,
        decoding: Decoding,
        step: int,
        *,
        oh: bool = True,
        doubles: bool = True,
        on_rejected: Callable[[int, int, int], None] = lambda *_: None,
    ) -> None:
        self._decoding, self._step, self._on_rejected = decoding, step, on_rejected
        self._oh, self._doubles = oh, doubles
        self._steps = 0
        self._run: _Run | None = None
        self._held: _Run | None = None  # a digit that may still be replaced, or rejected
        # Words that are neither digits nor of the kind "other": the last before the digit that is
        # held, the first after it, and the last that was emitted.
        self._before: _Run | None = None
        self._after: _Run | None = None
        self._last: _Run | None = None

    @property
    def partial(self) -> Segment | None:
        """The most probable digit that is not final yet; its probability and end may change.

        It may also turn out to be no digit; and it is one, even if "double" will repeat it.
        """
        candidates = []
        if self._held and not self._is_rejected(self._held, self._before, self._after):
            candidates.append(self._held)
        run = self._run
        if run and run.is_digit and self._counts(run) and not self._is_rejected(run, self._last):
            candidates.append(run)
        return max(candidates, key=lambda run: run.probability).segment if candidates else None

    def add(self, log_p: FloatArray, edges: FloatArray) -> list[Segment]:
        """Take the next steps, (U, C) and (U, 2); return the segments that are final now."""
        segments: list[Segment] = []
        rows = np.exp(log_p).astype(np.float64)
        for row, merged, edge in zip(rows, merge_oh(rows, self._oh), edges, strict=True):
            self._steps += 1
            now_s = self._steps * self._step / SAMPLE_RATE
            word = int(merged[:BLANK].argmax())
            is_emitted = merged[word] >= self._decoding.min_step_probability
            if self._run and not (is_emitted and word == self._run.word):
                segments += self._end_run()
            if is_emitted:
                self._run = self._run or _Run(word, self._steps - 1, now_s)
                self._run.add(merged, row[OH] if self._oh else 0.0, now_s, edge)
            if self._held and self._is_settled(self._held, now_s):
                segments += self._release()
        return segments

    def end(self) -> list[Segment]:
        """End the current run; return the segments that were not final yet."""
        segments = [*self._end_run(), *self._release()]
        self._drop_double(self._last)
        self._last = None
        return segments

    def _counts(self, run: _Run) -> bool:
        d = self._decoding
        if run.is_digit:
            return score_run(run.probability, run.p_other, d.other_weight) >= d.emission_threshold
        return bool(log_odds(run.probability) >= d.word_threshold)

    def _is_settled(self, held: _Run, now_s: float) -> bool:
        """Whether nothing can claim the place of the digit, or reject it."""
        run = self._run
        if run and run.is_digit:
            return self._counts(run) and not self._is_one_word(held, run)
        if run and run.word == NUMBER and self._after is None:
            return False
        d = self._decoding
        wait_s = d.settling_s if self._after else max(d.settling_s, d.number_after_s)
        return now_s > held.end_s + wait_s

    def _end_run(self) -> list[Segment]:
        """End the current run; return the segments that are final by it."""
        run, self._run = self._run, None
        if not run or run.word == OTHER or not self._counts(run):
            return []
        if run.is_digit:
            return self._place(run)
        self._drop_double(self._last)
        self._last = run
        if self._held and self._after is None:
            self._after = run
        return []

    def _place(self, run: _Run) -> list[Segment]:
        """Hold a digit; return the one before it, if that is another word."""
        if self._held and self._is_one_word(self._held, run):
            if run.probability > self._held.probability:
                self._held = run
            return []
        segments = self._release()
        self._held, self._before, self._last = run, self._last, None
        return segments

    def _release(self) -> list[Segment]:
        """Release the digit that is held, unless a number rejects it; repeat it after "double"."""
        held, before = self._held, self._before
        if held is None:
            return []
        is_rejected = self._is_rejected(held, before, self._after)
        self._held = self._before = self._after = None
        times = 1
        if before and before.word in (DOUBLE, TRIPLE):
            is_near = held.start_s - before.emitted_s <= self._decoding.double_s
            if is_near and not is_rejected and self._doubles:
                times = 2 if before.word == DOUBLE else 3
            else:
                self._drop_double(before)
        if is_rejected:
            self._on_rejected(held.word, held.first, held.stop)
            return []
        return held.segment.divided(times) if times > 1 else [held.segment]

    def _is_rejected(self, digit: _Run, before: _Run | None, after: _Run | None = None) -> bool:
        """Whether a digit is part of a number, by the words beside it."""
        d = self._decoding
        return bool(
            before
            and before.word == NUMBER
            and digit.start_s - before.emitted_s <= d.number_before_s
        ) or bool(
            after and after.word == NUMBER and after.emitted_s - digit.end_s <= d.number_after_s
        )

    def _drop_double(self, word: _Run | None) -> None:
        """Take back a "double" or "triple" that repeats no digit."""
        if word and word.word in (DOUBLE, TRIPLE):
            self._on_rejected(word.word, word.first, word.stop)

    def _is_one_word(self, a: _Run, b: _Run) -> bool:
        common_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
        shorter_s = min(a.end_s - a.start_s, b.end_s - b.start_s)
        return common_s >= self._decoding.min_overlap * shorter_s


def single_word(log_p: FloatArray) -> NDArray[np.float64]:
    """Score how probable it is that one word is said, once, and nothing else.

    The forward algorithm of the CTC (Graves et al. 2006, section 4.1) for the transcripts of one
    label: blanks, then steps of the label, then blanks.

    Parameters
    ----------
    log_p
        (U, C) log-probabilities, the blank last; U is 1 or more.

    Returns
    -------
    (C,) log-probabilities of these transcripts, last that of the empty one. They sum to less than
    1: the rest are transcripts of several labels.
    """
    steps = log_p.astype(np.float64)
    silence = 0.0  # of all paths so far
    said, after = np.full((2, steps.shape[1] - 1), -np.inf)
    for row in steps:
        after = np.logaddexp(after, said) + row[-1]
        said = np.logaddexp(silence, said) + row[:-1]
        silence += row[-1]
    return np.append(np.logaddexp(said, after), silence)
