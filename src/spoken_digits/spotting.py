"""From what a network says step by step to digits: each is spotted, heard again, and settled.

Shapes: U steps, C = 11 classes, the ten digits and the blank.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE

__all__ = ["BLANK", "MARGIN_S", "Ear", "Segment", "Spotter"]

FloatArray = NDArray[np.float32]

BLANK = 10
MARGIN_S = 0.06  # around a digit that is heard again, as around a clip
_FAINTEST = 0.1  # probability of a digit at a step, below which it is not being announced
_ONE_WORD = 0.5  # of the shorter of two segments, in common: they claim one word
_SETTLED_S = 0.25  # after a digit's end no other is announced in its place
# What the network that spots says beside the ear, chosen on speakers that neither had heard.
_SPOTTER_WEIGHT = 0.5  # of its logarithms, in which digit it is
_EAR_WEIGHT = 0.25  # of the ear's log-odds, in whether it is one
_LEAST = 1e-3  # probability that is not thought impossible

# From start_s and end_s to scores (10,), logits, and the log-odds of a digit's being there at all.
Ear = Callable[[float, float], tuple[NDArray[np.floating], float]]


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
    """Steps on end at which one digit is announced."""

    def __init__(self, digit: int, first: int) -> None:
        self.digit, self.first = digit, first
        self.steps = 0
        self.start_s = self.end_s = self._peak = 0.0
        self._missed = np.ones(BLANK)  # probability of each digit that no step announces it

    def add(self, probabilities: NDArray[np.float64], now_s: float, edges: FloatArray) -> None:
        self.steps += 1
        self._missed *= 1 - probabilities
        if probabilities[self.digit] > self._peak:
            self._peak = float(probabilities[self.digit])
            self.start_s = max(0.0, now_s - float(edges[0]))
            self.end_s = max(self.start_s, now_s - float(edges[1]))

    @property
    def heard(self) -> NDArray[np.float64]:
        """Probability of each digit that any of the steps announces it."""
        return 1 - self._missed

    @property
    def segment(self) -> Segment:
        return Segment(self.digit, self.start_s, self.end_s, float(self.heard[self.digit]))


class Spotter:
    """Makes segments of steps: a run of steps at which one digit is not improbable.

    The best-path decoding of CTC (Graves et al. 2006, section 3.2), but for this: the network may
    be sure of a digit and not of the step to announce it at, so that at each of two or three steps
    the blank is more probable. Therefore a run goes on while its digit has a probability of a
    tenth, and its own probability is that the digit is announced at any of its steps.

    A network that hears words whole knows them better than one that must speak while they go on:
    where there is such an ear, each run is heard again when all of it is there, and both have a
    say in which digit it is, and whether.

    Nor may the network be sure which digit a word is, and announce one after the other. Of two
    runs that claim one stretch of time the more probable is kept, so that a run is final when none
    can claim its place any more.

    Parameters
    ----------
    threshold
        Probability that a digit must reach.
    step
        Samples of a step.
    ear
        What hears a stretch again, up to `MARGIN_S` beyond it.
    weigh
        Is told what the ear makes of each run: its first step, the step after its last, and for
        each digit the logarithm of a factor (10,) by which it is more or less probable there.
    """

    def __init__(
        self,
        threshold: float,
        step: int,
        ear: Ear | None = None,
        weigh: Callable[[int, int, NDArray[np.float64]], None] = lambda *_: None,
    ) -> None:
        self._threshold, self._step, self._ear, self._weigh = threshold, step, ear, weigh
        self._steps = 0
        self._run: _Run | None = None
        self._waiting: list[_Run] = []  # have ended, and are to be heard again
        self._held: Segment | None = None  # has been, and may still be replaced

    @property
    def partial(self) -> Segment | None:
        """What is heard already, and may still change."""
        heard = [self._held, *(run.segment for run in self._claims)]
        counts = [s for s in heard if s and s.probability >= self._threshold]
        return reduce(_likelier, counts) if counts else None

    def add(self, log_p: FloatArray, edges: FloatArray) -> list[Segment]:
        """Hear the next steps, (U, C) and (U, 2); return what is final now."""
        segments: list[Segment] = []
        for row, edge in zip(log_p, edges, strict=True):
            self._steps += 1
            now_s = self._steps * self._step / SAMPLE_RATE
            probabilities = np.exp(row[:BLANK]).astype(np.float64)
            digit = int(row[:BLANK].argmax())
            announced = probabilities[digit] >= _FAINTEST
            if self._run and not (announced and digit == self._run.digit):
                self._end_run()
            if announced:
                self._run = self._run or _Run(digit, self._steps - 1)
                self._run.add(probabilities, now_s, edge)
            while self._waiting and (not self._ear or self._waiting[0].end_s + MARGIN_S <= now_s):
                segments += self._place(self._judge(self._waiting.pop(0)))
            if self._held and self._is_settled(self._held, now_s):
                segments.append(self._held)
                self._held = None
        return segments

    def end(self) -> list[Segment]:
        """End the run that is going on; return what counts and is not final yet."""
        self._end_run()
        segments = [s for run in self._waiting for s in self._place(self._judge(run))]
        segments += [self._held] if self._held else []
        self._waiting, self._held = [], None
        return segments

    @property
    def _claims(self) -> list[_Run]:
        return [*self._waiting, *([self._run] if self._run else [])]

    def _is_settled(self, held: Segment, now_s: float) -> bool:
        """Whether nothing can claim the place of what is held."""
        claims = [run.segment for run in self._claims]
        if not claims:
            return now_s > held.end_s + _SETTLED_S
        return all(
            claim.probability >= self._threshold and not _is_one_word(held, claim)
            for claim in claims
        )

    def _end_run(self) -> None:
        if self._run:
            self._waiting.append(self._run)
        self._run = None

    def _place(self, segment: Segment) -> list[Segment]:
        """Hold a segment, if it counts; return what was held before it, and is another word."""
        held = self._held
        if segment.probability < self._threshold:
            return []
        if held and _is_one_word(held, segment):
            self._held = _likelier(held, segment)
            return []
        self._held = segment
        return [held] if held else []

    def _judge(self, run: _Run) -> Segment:
        if not self._ear:
            return run.segment
        scores, log_odds = self._ear(run.start_s, run.end_s)
        again, heard = _log_softmax(scores), np.log(np.maximum(run.heard, _LEAST))
        # So that together they are as probable as before.
        together = np.exp(again + _log_softmax(heard)).sum()
        self._weigh(run.first, run.first + run.steps, again - np.log(together))
        digits = np.exp(_log_softmax(again + _SPOTTER_WEIGHT * heard))
        log_odds = _log_odds(run.segment.probability) + _EAR_WEIGHT * log_odds
        digit = int(digits.argmax())
        is_there = 1 / (1 + np.exp(-log_odds))
        return Segment(digit, run.start_s, run.end_s, float(is_there * digits[digit]))


def _is_one_word(a: Segment, b: Segment) -> bool:
    """Whether two segments have half of the shorter of them in common."""
    common_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    return common_s >= _ONE_WORD * min(a.end_s - a.start_s, b.end_s - b.start_s)


def _likelier(a: Segment, b: Segment) -> Segment:
    return b if b.probability > a.probability else a


def _log_odds(p: float) -> float:
    p = min(max(p, _LEAST), 1 - _LEAST)
    return float(np.log(p / (1 - p)))


def _log_softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = scores.astype(np.float64) - scores.max()
    log_p: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return log_p
