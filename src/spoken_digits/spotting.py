"""From a network's scores, step by step, to digits: each is spotted, judged and emitted.

Shapes: U steps, C = 16 classes, those of `LABELS`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    "decode_whole",
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
_LONGEST_DIGIT_S = 2.0  # from its beginning to its emission
_ECHO_S, _ECHO_OVERLAP = 0.08, 0.5


@dataclass(frozen=True)
class Decoding:
    """The constants of decoding. They are fitted to a network, and stand in its file's metadata.

    Attributes
    ----------
    emission_threshold : float
        Score, as `score_run` gives it, that a digit must reach to be emitted, where nothing is
        beside it. So its negative is the log-odds of the prior probability of a lone digit.
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
        further apart, the digit loses nothing, and gains nothing. A digit that no other follows is
        final only after this time, if a word in it could take it away.
    context_bonus : float
        Log-odds, 0 or more, that a digit gains for each side on which its neighbour is a digit.
    min_score : float
        Score that a digit must reach by itself, whatever it gains.
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
    context_bonus: float = 0.0
    min_score: float = -99.0

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Decoding":
        """Read the metadata of a model file; those of the context may be missing.

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
        That it is there and is this digit, 0.5 to 1: other words beside it make it less, digits
        beside it make it more.
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
    """Return the probability whose log-odds are less by the penalty than those of p, or more."""
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
    start_s, end_s
        Of a digit, where it is spoken.
    score
        Of `score_run`, so far.
    is_kept
        Whether it is a digit that was emitted.
    is_used
        Whether it is a "double" or "triple" that repeats a digit.
    """

    def __init__(self, word: int, first: int, now_s: float, other_weight: float) -> None:
        self.word, self.first, self.stop, self.emitted_s = word, first, first, now_s
        self.score, self._other_weight = -math.inf, other_weight
        self.is_kept = self.is_used = False
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
        self.score = score_run(self.probability, float(1 - self._absent_other), self._other_weight)

    @property
    def is_digit(self) -> bool:
        return self.word < OH

    @property
    def probability(self) -> float:
        """Probability that any of the steps emits the word."""
        return float(1 - self._absent[self.word])

    def overlap(self, other: "_Run") -> float:
        """Return which part of the shorter one's place lies in the other's: 0 to 1."""
        shared_s = min(self.end_s, other.end_s) - max(self.start_s, other.start_s)
        shorter_s = min(self.end_s - self.start_s, other.end_s - other.start_s)
        return max(0.0, shared_s) / max(shorter_s, 1e-3)

    def segment(self, penalty: float) -> Segment:
        """Make the segment of a digit that loses some of its log-odds."""
        is_oh = self.word == 0 and self._absent_oh < self._absent_zero
        word = "oh" if is_oh else DIGIT_WORDS[self.word]
        probability = _weaken(self.probability, penalty)
        return Segment(self.word, word, self.start_s, self.end_s, probability)


class _Tracker:
    """Finds runs: consecutive steps at which one word is the most probable, and not improbable."""

    def __init__(self, decoding: Decoding, step: int, oh: bool) -> None:
        self._decoding, self._step, self._oh = decoding, step, oh
        self.steps = 0
        self.run: _Run | None = None  # the one that goes on

    def add(self, log_p: FloatArray, edges: FloatArray) -> Iterator[_Run | None]:
        """Take the next steps, (U, C) and (U, 2); yield for each the run that ends before it."""
        rows = np.exp(log_p).astype(np.float64)
        for row, merged, edge in zip(rows, merge_oh(rows, self._oh), edges, strict=True):
            self.steps += 1
            now_s = self.steps * self._step / SAMPLE_RATE
            word = int(merged[:BLANK].argmax())
            is_emitted = merged[word] >= self._decoding.min_step_probability
            ended = None
            if self.run and not (is_emitted and word == self.run.word):
                ended = self.end()
            if is_emitted:
                if self.run is None:
                    self.run = _Run(word, self.steps - 1, now_s, self._decoding.other_weight)
                self.run.add(merged, row[OH] if self._oh else 0.0, now_s, edge)
            yield ended

    def end(self) -> _Run | None:
        """End the run that goes on, if there is one, and return it."""
        ended, self.run = self.run, None
        return ended


@dataclass(frozen=True)
class _Judgement:
    """What becomes of a digit: whether it is emitted, and the log-odds that it loses."""

    is_kept: bool
    penalty: float
    repeated_by: _Run | None = None

    @property
    def times(self) -> int:
        """How often the digit is said."""
        return {None: 1, DOUBLE: 2, TRIPLE: 3}[self.repeated_by.word if self.repeated_by else None]


class _Judge:
    """Decides by its score and the words beside it what becomes of a digit: see `Spotter`."""

    def __init__(self, decoding: Decoding, step: int, doubles: bool) -> None:
        self._decoding, self._step, self._doubles = decoding, step, doubles

    def counts(self, run: _Run) -> bool:
        """Whether a digit, by itself, or a word that is none has an effect."""
        if run.is_digit:
            return run.score >= self._decoding.emission_threshold
        if run.word == OTHER:
            return False
        return bool(log_odds(run.probability) >= self._decoding.word_threshold)

    def is_near(self, one: _Run, step: int) -> bool:
        """Whether a word that begins at this step may be the neighbour of another."""
        apart_s = abs(step - one.first) * self._step / SAMPLE_RATE
        return apart_s <= self._decoding.context_s

    def is_sure(self, runs: Sequence[_Run], index: int) -> bool:
        """Whether no word after a digit could take it away, but a number."""
        penalty, _ = self._before(runs, index)
        return runs[index].score >= penalty + self._decoding.context_penalty

    def _before(self, runs: Sequence[_Run], index: int) -> tuple[float, bool]:
        """Return what a digit loses by all but what comes after it, and whether it echoes one."""
        loss, echoes = self._beside(runs[index], map(runs.__getitem__, range(index - 1, -1, -1)))
        return self._decoding.emission_threshold + loss, echoes

    def _beside(self, digit: _Run, side: Iterable[_Run]) -> tuple[float, bool]:
        """Return what a digit loses by its neighbour on a side, and whether it echoes one there."""
        echoes = False
        for other in side:
            if other.word in (NUMBER, OTHER):
                return self._decoding.context_penalty * self.is_near(digit, other.first), echoes
            echoes = echoes or (other.is_digit and _is_echo(digit, other))
            if self.counts(other):
                is_neighbour = other.is_digit and self.is_near(digit, other.first)
                return -self._decoding.context_bonus * is_neighbour, echoes
        return 0.0, echoes

    def __call__(self, runs: Sequence[_Run], index: int) -> _Judgement:
        """Judge the digit at this index of all runs, those before it having been judged."""
        d, digit = self._decoding, runs[index]
        earlier, later = range(index - 1, -1, -1), range(index + 1, len(runs))
        penalty, echoes = self._before(runs, index)
        if digit.score < penalty + d.context_penalty:
            loss, echoes_later = self._beside(digit, map(runs.__getitem__, later))
            penalty, echoes = penalty + loss, echoes or echoes_later
        before = next((runs[i] for i in earlier if runs[i].is_kept or self.counts(runs[i])), None)
        after = next((runs[i] for i in later if self.counts(runs[i])), None)
        since_s = digit.start_s - before.emitted_s if before else math.inf
        until_s = after.emitted_s - digit.end_s if after else math.inf
        if (before and before.word == NUMBER and since_s <= d.number_before_s) or (
            after and after.word == NUMBER and until_s <= d.number_after_s
        ):
            return _Judgement(False, math.inf)
        if digit.score < d.min_score or (echoes and not self.counts(digit)):
            return _Judgement(False, max(penalty, d.emission_threshold))
        is_kept = digit.score >= penalty
        is_double = before and before.word in (DOUBLE, TRIPLE) and since_s <= d.double_s
        repeated = before if is_double and is_kept and self._doubles else None
        return _Judgement(is_kept, penalty, repeated)


def _is_echo(digit: _Run, other: _Run) -> bool:
    """Whether a digit seems to be another, more probable one, emitted once more.

    That is, at about the same time, or the same digit at the same place. Of other digits the places
    of neighbours may overlap in fluent speech.
    """
    if other.score <= digit.score:
        return False
    if abs(other.emitted_s - digit.emitted_s) <= _ECHO_S:
        return True
    return digit.word == other.word and digit.overlap(other) > _ECHO_OVERLAP


def decode_whole(
    log_p: FloatArray, edges: FloatArray, decodings: Sequence[Decoding], step: int
) -> list[str]:
    """Decode a whole recording with several constants: the digits that a `Spotter` gives with each.

    Parameters
    ----------
    log_p, edges
        (U, C) and (U, 2) of all its steps.
    decodings
        Those that agree in `min_step_probability` and `other_weight` share most of the work.
    step
        Samples of a step.
    """
    found: dict[tuple[float, float], list[_Run]] = {}
    answers = []
    for decoding in decodings:
        key = (decoding.min_step_probability, decoding.other_weight)
        if key not in found:
            tracker = _Tracker(decoding, step, oh=True)
            ended = [*tracker.add(log_p, edges), tracker.end()]
            found[key] = [run for run in ended if run]
        runs, judge, digits = found[key], _Judge(decoding, step, doubles=True), ""
        for run in runs:
            run.is_kept = False
        for i, run in enumerate(runs):
            if run.is_digit:
                judgement = judge(runs, i)
                run.is_kept = judgement.is_kept
                digits += str(run.word) * (judgement.times * judgement.is_kept)
        answers.append(digits)
    return answers


class Spotter:
    """Makes segments of steps: a run of steps at which one word is not improbable.

    The best-path decoding of CTC (Graves et al. 2006, section 3.2), with one difference: the
    network may be certain of a word and not of the step that emits it, so that at each of two or
    three steps the blank is more probable. Therefore a run lasts while its word has a probability
    of `min_step_probability`, and the run's probability is that any of its steps emits the word.

    A digit's place is what the network's edges say. Of words that are no digits the network does
    not tell the place, only the order: "double" and "triple" repeat the digit after them, and a
    number word rejects the digits before and after it, if they are near.

    What seems a digit in the middle of other speech is seldom one, and between digits there is
    seldom anything else. So a digit loses `context_penalty` of its score for each side on which its
    neighbour is a number word or another word, and gains `context_bonus` for each on which it is a
    digit. The neighbour is the next of these that is near: a word however improbable, a digit only
    if it counts, that is, reaches the emission threshold by itself; "double" or "triple" in between
    leave no neighbour. A digit that does not count is not emitted where it echoes a more probable
    one, see `_is_echo`: for one word the network now and then has a second run. What comes after a
    digit neither adds nor takes anything where it could not take the digit away: then it need not
    be waited for.

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
        Is called with each word that loses log-odds, or gains some: the index of its label, its
        first step, the step after its last, and how many it loses. These are all digits, by the
        emission threshold less what their neighbours give, and with an infinite penalty digits
        beside numbers, and "double" without a digit.
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
        self._tracker = _Tracker(decoding, step, oh)
        self._judge = _Judge(decoding, step, doubles)
        # Those that have ended. The first `_final` of them are kept as what is before the others.
        self._runs: list[_Run] = []
        self._final = 0
        self._memory_s = _LONGEST_DIGIT_S + max(
            decoding.context_s, decoding.double_s, decoding.number_before_s
        )

    @property
    def partial(self) -> Segment | None:
        """The most probable digit that is not final yet; its probability and end may change.

        It may also turn out to be no digit; and it is one, even if "double" will repeat it.
        """
        runs = self._all_runs()
        segments = []
        for i in range(self._final, len(runs)):
            if runs[i].is_digit and (judgement := self._judge(runs, i)).is_kept:
                segments.append(runs[i].segment(judgement.penalty))
        return max(segments, key=lambda segment: segment.probability, default=None)

    def add(self, log_p: FloatArray, edges: FloatArray) -> list[Segment]:
        """Take the next steps, (U, C) and (U, 2); return the segments that are final now."""
        segments: list[Segment] = []
        for ended in self._tracker.add(log_p, edges):
            if ended:
                self._runs.append(ended)
            if self._final < len(self._runs):
                segments += self._release()
        return segments

    def end(self) -> list[Segment]:
        """End the current run; return the segments that were not final yet."""
        if ended := self._tracker.end():
            self._runs.append(ended)
        segments = self._release(at_end=True)
        self._forget(len(self._runs))
        return segments

    def _all_runs(self) -> list[_Run]:
        return [*self._runs, self._tracker.run] if self._tracker.run else self._runs

    def _release(self, at_end: bool = False) -> list[Segment]:
        """Return the segments of the digits that are final, in order; forget what is long past."""
        segments: list[Segment] = []
        while self._final < len(self._runs):
            run = self._runs[self._final]
            if run.is_digit:
                if not (at_end or self._is_settled(self._final)):
                    break
                segments += self._finish(self._final)
            self._final += 1
        is_open = self._final < len(self._runs)
        first = self._runs[self._final] if is_open else self._tracker.run
        step = first.first if first else self._tracker.steps
        self._forget(
            sum(
                (step - run.first) * self._step / SAMPLE_RATE > self._memory_s for run in self._runs
            )
        )
        return segments

    def _forget(self, count: int) -> None:
        """Forget the first runs; take back each "double" and "triple" that repeats no digit."""
        for run in self._runs[:count]:
            if run.word in (DOUBLE, TRIPLE) and self._judge.counts(run) and not run.is_used:
                self._on_penalty(run.word, run.first, run.stop, math.inf)
        del self._runs[:count]
        self._final -= count

    def _is_settled(self, index: int) -> bool:
        """Whether nothing that comes can change what becomes of the digit."""
        d, digit, current = self._decoding, self._runs[index], self._tracker.run
        if digit.score < max(d.emission_threshold - 2 * d.context_bonus, d.min_score):
            return True
        if any(self._judge.counts(after) for after in self._runs[index + 1 :]):
            return True
        if current and current.is_digit:
            # Its place, which decides whether the other echoes it, is known only when it ends.
            return self._judge.counts(digit) and self._judge.counts(current)
        if current and current.word == NUMBER:
            return False
        now_s = self._tracker.steps * self._step / SAMPLE_RATE
        if now_s <= digit.end_s + d.number_after_s:
            return False
        is_far = not self._judge.is_near(digit, self._tracker.steps - 1)
        return is_far or self._judge.is_sure(self._runs, index)

    def _finish(self, index: int) -> list[Segment]:
        """Make the segments of a digit that is settled."""
        digit, judgement = self._runs[index], self._judge(self._all_runs(), index)
        if judgement.penalty:
            self._on_penalty(digit.word, digit.first, digit.stop, judgement.penalty)
        if not judgement.is_kept:
            return []
        digit.is_kept = True
        segment = digit.segment(judgement.penalty)
        if not judgement.repeated_by:
            return [segment]
        judgement.repeated_by.is_used = True
        return segment.divided(judgement.times)


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
