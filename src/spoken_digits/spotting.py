"""From a network's scores, step by step, to digits: each is spotted, judged and emitted.

Shapes: U steps, C = 16 classes, those of `LABELS`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
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
    number_before_s : float
        Seconds from a number word's emission to a digit's start: in less, the digit is rejected.
    number_after_s : float
        Seconds from a digit's end to a number word's emission: in less, the digit is rejected. It
        must hold the longest of these words, and by how much the network emits it late. A digit
        that no other follows is final only after this time.
    double_s : float
        Seconds from the emission of "double" or "triple" to a digit's start: in more, it does
        nothing.
    context_penalty : float
        Log-odds, 0 or more, that a digit loses for each side, before and after, on which its
        neighbour is a number word or another word.
    context_s : float
        Seconds between the emissions of a digit and of its neighbour, 0 or more: if they are
        further apart, the digit loses nothing.
    """

    emission_threshold: float
    word_threshold: float
    other_weight: float
    min_step_probability: float
    number_before_s: float
    number_after_s: float
    double_s: float
    context_penalty: float = 0.0
    context_s: float = 0.0

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Decoding":
        """Read the metadata of a model file; one without the context's entries has no penalty.

        Raises
        ------
        KeyError, ValueError
            When another entry is missing, or one is no number.
        """
        named = (f.name for f in fields(cls) if f.default is MISSING or f.name in metadata)
        return cls(**{name: float(metadata[name]) for name in named})

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
        That it is there and is this digit, 0 to 1; other words beside it make it less.
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


def _weaken(p: float, penalty: float) -> float:
    """Return the probability whose log-odds are less by the penalty than those of p."""
    left = p * np.exp(-penalty)
    return float(left / (left + 1 - p)) if p < 1 else p


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
    is_after_other, is_before_other
        Whether its neighbour on this side is a number word or another word, and near.
    """

    def __init__(self, word: int, first: int, now_s: float) -> None:
        self.word, self.first, self.stop, self.emitted_s = word, first, first, now_s
        self.is_after_other = self.is_before_other = False
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

    def segment(self, penalty: float) -> Segment:
        """Make the segment of a digit that loses some of its log-odds."""
        is_oh = self.word == 0 and self._absent_oh < self._absent_zero
        word = "oh" if is_oh else DIGIT_WORDS[self.word]
        probability = _weaken(self.probability, penalty)
        return Segment(self.word, word, self.start_s, self.end_s, probability)


class Spotter:
    """Makes segments of steps: a run of steps at which one word is not improbable.

    The best-path decoding of CTC (Graves et al. 2006, section 3.2), with one difference: the
    network may be certain of a word and not of the step that emits it, so that at each of two or
    three steps the blank is more probable. Therefore a run lasts while its word has a probability
    of `min_step_probability`, and the run's probability is that any of its steps emits the word.

    A digit's place is what the network's edges say. Of words that are no digits the network does
    not tell the place, only the order: "double" and "triple" repeat the digit after them, and a
    number word rejects the digits before and after it, if they are near.

    What seems a digit in the middle of other speech is seldom one. So a digit loses
    `context_penalty` of its score for each side on which its neighbour is a number word or another
    word. Its neighbour is the next of these words, however improbable, unless a digit that reaches
    the emission threshold without its own penalty, or "double" or "triple", lies between.

    A digit is final when the next word is known, or would come too late to be its neighbour, or a
    number that rejects it. So the answers do not depend on how the steps arrive.

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
    on_penalty
        Is called with each word that loses log-odds: the index of its label, its first step, the
        step after its last, and how many it loses. These are digits beside other words and, with an
        infinite penalty, digits beside numbers, and "double" without a digit.
    """

    def __init__(
        self,
        decoding: Decoding,
        step: int,
        *,
        oh: bool = True,
        doubles: bool = True,
        on_penalty: Callable[[int, int, int, float], None] = lambda *_: None,
    ) -> None:
        self._decoding, self._step, self._on_penalty = decoding, step, on_penalty
        self._oh, self._doubles = oh, doubles
        self._steps = 0
        self._run: _Run | None = None
        self._held: _Run | None = None  # a digit that may still be rejected
        # Words that are neither digits nor of the kind "other": the last before the digit that is
        # held, the first after it, and the last that was emitted.
        self._before: _Run | None = None
        self._after: _Run | None = None
        self._last: _Run | None = None
        self._other: _Run | None = None  # a number or other word, the next digit's neighbour

    @property
    def partial(self) -> Segment | None:
        """The most probable digit that is not final yet; its probability and end may change.

        It may also turn out to be no digit; and it is one, even if "double" will repeat it.
        """
        candidates = []
        if self._held and self._is_kept(self._held, self._before, self._after):
            candidates.append(self._held)
        run = self._run
        if run and run.is_digit and self._is_kept(run, self._last):
            candidates.append(run)
        segments = [run.segment(self._penalty(run)) for run in candidates]
        return max(segments, key=lambda segment: segment.probability, default=None)

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
                self._run = self._run or self._begin_run(word, now_s)
                self._run.add(merged, row[OH] if self._oh else 0.0, now_s, edge)
            if self._held and self._is_settled(self._held, now_s):
                segments += self._release()
        return segments

    def end(self) -> list[Segment]:
        """End the current run; return the segments that were not final yet."""
        segments = [*self._end_run(), *self._release()]
        self._drop_double(self._last)
        self._last = self._other = None
        return segments

    def _score(self, digit: _Run) -> float:
        return score_run(digit.probability, digit.p_other, self._decoding.other_weight)

    def _penalty(self, digit: _Run) -> float:
        return self._decoding.context_penalty * (digit.is_after_other + digit.is_before_other)

    def _counts(self, run: _Run) -> bool:
        """Whether a digit, without a penalty, or a word that is none has an effect."""
        if run.is_digit:
            return self._score(run) >= self._decoding.emission_threshold
        return bool(log_odds(run.probability) >= self._decoding.word_threshold)

    def _is_kept(self, digit: _Run, before: _Run | None, after: _Run | None = None) -> bool:
        """Whether a digit is emitted, by its score and the words beside it."""
        threshold = self._decoding.emission_threshold
        is_probable = self._score(digit) - self._penalty(digit) >= threshold
        return is_probable and not self._is_rejected(digit, before, after)

    def _begin_run(self, word: int, now_s: float) -> _Run:
        """Begin a run of the word; see whether it is a digit's neighbour, or has one."""
        run = _Run(word, self._steps - 1, now_s)
        if run.is_digit and self._other:
            run.is_after_other = self._is_near(self._other, run.first)
        if word in (NUMBER, OTHER):
            self._other = run
            if self._held and self._after is None and self._is_near(self._held, run.first):
                self._held.is_before_other = True
        return run

    def _is_near(self, before: _Run, step: int) -> bool:
        """Whether a word that begins at this step is the neighbour of the one before."""
        return (step - before.first) * self._step / SAMPLE_RATE <= self._decoding.context_s

    def _is_settled(self, held: _Run, now_s: float) -> bool:
        """Whether nothing that comes can change what becomes of the digit."""
        run = self._run
        if run and run.is_digit:
            return self._counts(run)
        if self._after:
            return True
        if run and run.word == NUMBER:
            return False
        is_past = now_s > held.end_s + self._decoding.number_after_s
        return is_past and not self._is_near(held, self._steps - 1)

    def _end_run(self) -> list[Segment]:
        """End the current run; return the segments that are final by it."""
        run, self._run = self._run, None
        if not run or run.word == OTHER or not self._counts(run):
            return []
        if run.word != NUMBER:
            self._other = None
        if run.is_digit:
            segments = self._release()
            self._held, self._before, self._last = run, self._last, None
            return segments
        self._drop_double(self._last)
        self._last = run
        if self._held and self._after is None:
            self._after = run
        return []

    def _release(self) -> list[Segment]:
        """Release the digit that is held, if it is kept; repeat it after "double"."""
        held, before, after = self._held, self._before, self._after
        self._held = self._before = self._after = None
        if held is None:
            return []
        is_kept, times = self._is_kept(held, before, after), 1
        if before and before.word in (DOUBLE, TRIPLE):
            is_near = held.start_s - before.emitted_s <= self._decoding.double_s
            if is_near and is_kept and self._doubles:
                times = 2 if before.word == DOUBLE else 3
            else:
                self._drop_double(before)
        is_rejected = self._is_rejected(held, before, after)
        penalty = math.inf if is_rejected else self._penalty(held)
        if penalty:
            self._on_penalty(held.word, held.first, held.stop, penalty)
        if not is_kept:
            return []
        segment = held.segment(penalty)
        return segment.divided(times) if times > 1 else [segment]

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
            self._on_penalty(word.word, word.first, word.stop, math.inf)


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
