"""From a network's scores, step by step, to digits: each is spotted, rescored and emitted.

Shapes: U steps, C = 11 classes, the ten digits and the blank.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.probability import log_odds, log_softmax, sigmoid

__all__ = ["BLANK", "Decoding", "Rescorer", "Segment", "Spotter"]

FloatArray = NDArray[np.float32]

BLANK = 10

# From start_s and end_s to scores (10,), logits, and the log-odds that a digit is there at all.
Rescorer = Callable[[float, float], tuple[NDArray[np.floating], float]]


@dataclass(frozen=True)
class Decoding:
    """The constants of decoding. They are fitted to a network, and stand in its file's metadata.

    Attributes
    ----------
    emission_threshold : float
        Log-odds that a digit must reach to be emitted.
    min_step_probability : float
        Of a digit at a step; below, the digit's run has ended.
    min_overlap : float
        Fraction of the shorter of two segments; with so much in common, both claim one word.
    settling_s : float
        After a digit's end, in seconds, no other claims its place any more.
    margin_s : float
        Seconds that rescoring takes on either side of a segment.
    first_pass_weight : float
        Of this network's log-probabilities in which digit it is; the rescorer's weigh 1.
    second_pass_weight : float
        Of the rescorer's log-odds in whether it is a digit; this network's weigh 1.
    probability_floor : float
        Floor under this network's probability of each digit.
    max_log_odds : float
        Limit of both networks' log-odds that a digit is there, so that neither decides alone.
    """

    emission_threshold: float
    min_step_probability: float
    min_overlap: float
    settling_s: float
    margin_s: float
    first_pass_weight: float
    second_pass_weight: float
    probability_floor: float
    max_log_odds: float

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
    start_s, end_s : float
        Where in the recording it is spoken, to some hundredths of a second.
    probability : float
        That it is there and is this digit, 0 to 1.
    """

    digit: int
    start_s: float
    end_s: float
    probability: float


class _Run:
    """Consecutive steps at which one digit is the most probable."""

    def __init__(self, digit: int, first: int) -> None:
        self.digit, self.first = digit, first
        self.steps = 0
        self.start_s = self.end_s = self._peak = 0.0
        self._absent = np.ones(BLANK)  # probability of each digit that no step emits it

    def add(self, probabilities: NDArray[np.float64], now_s: float, edges: FloatArray) -> None:
        self.steps += 1
        self._absent *= 1 - probabilities
        if probabilities[self.digit] > self._peak:
            self._peak = float(probabilities[self.digit])
            self.start_s = max(0.0, now_s - float(edges[0]))
            self.end_s = max(self.start_s, now_s - float(edges[1]))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each digit (10,) that any of the steps emits it."""
        return 1 - self._absent

    @property
    def segment(self) -> Segment:
        probability = float(self.probabilities[self.digit])
        return Segment(self.digit, self.start_s, self.end_s, probability)


class Spotter:
    """Makes segments of steps: a run of steps at which one digit is not improbable.

    The best-path decoding of CTC (Graves et al. 2006, section 3.2), with one difference: the
    network may be certain of a digit and not of the step that emits it, so that at each of two or
    three steps the blank is more probable. Therefore a run lasts while its digit has a probability
    of `min_step_probability`, and the run's probability is that any of its steps emits the digit.

    Second-pass rescoring: a network that sees a word whole classifies it better than one that must
    answer while it goes on. With a rescorer, each run is scored again once all of it has come, and
    the log-probabilities and log-odds of both networks are added, weighted.

    Overlapping runs: where the network emits two digits for one word, the more probable is kept. A
    run is final when no other can claim its place any more.

    Parameters
    ----------
    decoding
        Thresholds and weights.
    step
        Samples of a step.
    rescorer
        Scores a stretch again, with `margin_s` on either side.
    on_rescored
        Is called with what rescoring changes in each run: its first step, the step after its last,
        and for each digit the logarithm of a factor (10,) by which it becomes more probable there.
    """

    def __init__(
        self,
        decoding: Decoding,
        step: int,
        rescorer: Rescorer | None = None,
        on_rescored: Callable[[int, int, NDArray[np.float64]], None] = lambda *_: None,
    ) -> None:
        self._decoding, self._step = decoding, step
        self._rescorer, self._on_rescored = rescorer, on_rescored
        self._steps = 0
        self._run: _Run | None = None
        self._waiting: list[_Run] = []  # have ended, and are to be rescored
        self._held: Segment | None = None  # has been scored, and may still be replaced

    @property
    def partial(self) -> Segment | None:
        """The most probable digit that is not final yet; its probability and end may change."""
        open_segments = [self._held, *(run.segment for run in self._open_runs)]
        candidates = [s for s in open_segments if s and self._counts(s)]
        return reduce(_more_probable, candidates) if candidates else None

    def add(self, log_p: FloatArray, edges: FloatArray) -> list[Segment]:
        """Take the next steps, (U, C) and (U, 2); return the segments that are final now."""
        segments: list[Segment] = []
        for row, edge in zip(log_p, edges, strict=True):
            self._steps += 1
            now_s = self._steps * self._step / SAMPLE_RATE
            probabilities = np.exp(row[:BLANK]).astype(np.float64)
            digit = int(row[:BLANK].argmax())
            is_emitted = probabilities[digit] >= self._decoding.min_step_probability
            if self._run and not (is_emitted and digit == self._run.digit):
                self._end_run()
            if is_emitted:
                self._run = self._run or _Run(digit, self._steps - 1)
                self._run.add(probabilities, now_s, edge)
            while self._waiting and self._is_complete(self._waiting[0], now_s):
                segments += self._place(self._score(self._waiting.pop(0)))
            if self._held and self._is_settled(self._held, now_s):
                segments.append(self._held)
                self._held = None
        return segments

    def end(self) -> list[Segment]:
        """End the current run; return the segments that were not final yet."""
        self._end_run()
        segments = [s for run in self._waiting for s in self._place(self._score(run))]
        segments += [self._held] if self._held else []
        self._waiting, self._held = [], None
        return segments

    @property
    def _open_runs(self) -> list[_Run]:
        return [*self._waiting, *([self._run] if self._run else [])]

    def _counts(self, segment: Segment) -> bool:
        return bool(log_odds(segment.probability) >= self._decoding.emission_threshold)

    def _is_complete(self, run: _Run, now_s: float) -> bool:
        """Whether all samples that rescoring takes have come."""
        return not self._rescorer or run.end_s + self._decoding.margin_s <= now_s

    def _is_settled(self, held: Segment, now_s: float) -> bool:
        """Whether nothing can claim the place of the held segment."""
        claims = [run.segment for run in self._open_runs]
        if not claims:
            return now_s > held.end_s + self._decoding.settling_s
        return all(self._counts(claim) and not self._is_one_word(held, claim) for claim in claims)

    def _end_run(self) -> None:
        if self._run:
            self._waiting.append(self._run)
        self._run = None

    def _place(self, segment: Segment) -> list[Segment]:
        """Hold a segment, if it counts; return the one before it, if that is another word."""
        held = self._held
        if not self._counts(segment):
            return []
        if held and self._is_one_word(held, segment):
            self._held = _more_probable(held, segment)
            return []
        self._held = segment
        return [held] if held else []

    def _score(self, run: _Run) -> Segment:
        """Make the segment of a run, after rescoring where there is a rescorer."""
        if not self._rescorer:
            return run.segment
        d = self._decoding
        scores, second_log_odds = self._rescorer(run.start_s, run.end_s)
        second = log_softmax(scores.astype(np.float64))
        first = np.log(np.maximum(run.probabilities, d.probability_floor))
        # The factors are normalized: all digits together stay as probable as they were.
        total = np.exp(second + log_softmax(first)).sum()
        self._on_rescored(run.first, run.first + run.steps, second - np.log(total))
        digits = np.exp(log_softmax(second + d.first_pass_weight * first))
        is_there = sigmoid(
            self._limited(float(log_odds(run.segment.probability)))
            + d.second_pass_weight * self._limited(second_log_odds)
        )
        digit = int(digits.argmax())
        return Segment(digit, run.start_s, run.end_s, float(is_there * digits[digit]))

    def _limited(self, log_odds: float) -> float:
        """Clamp log-odds to what is told apart."""
        limit = self._decoding.max_log_odds
        return min(max(log_odds, -limit), limit)

    def _is_one_word(self, a: Segment, b: Segment) -> bool:
        common_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
        shorter_s = min(a.end_s - a.start_s, b.end_s - b.start_s)
        return common_s >= self._decoding.min_overlap * shorter_s


def _more_probable(a: Segment, b: Segment) -> Segment:
    return b if b.probability > a.probability else a
