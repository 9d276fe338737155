"""The spotter alone: what an ear is asked, when, and what its answer weighs."""

import math

import numpy as np
import pytest

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.spotting import BLANK, MARGIN_S, Segment, Spotter

STEP = 240  # 30 ms


def steps(*rows: tuple[int, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and edges of steps: digit, its probability, seconds since start and end."""
    probabilities = np.full((len(rows), BLANK + 1), 1e-9)
    for row, (digit, p, _, _) in zip(probabilities, rows, strict=True):
        row[digit] = p
        row[BLANK] = 1 - p
    edges = np.array([row[2:] for row in rows], np.float32)
    return np.log(probabilities).astype(np.float32), edges


def silence(count: int) -> tuple[np.ndarray, np.ndarray]:
    return steps(*[(0, 1e-9, 0.0, 0.0)] * count)


def ear_that_says(digit: int, p: float, log_odds: float, asked: list[tuple[float, float]]):
    """Make an ear that hears `digit` with probability p, the others alike, and notes the places."""
    probabilities = np.full(10, (1 - p) / 9)
    probabilities[digit] = p

    def ear(start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        asked.append((start_s, end_s))
        return np.log(probabilities), log_odds

    return ear


def hear(spotter: Spotter, *parts: tuple[np.ndarray, np.ndarray]) -> list[Segment]:
    return [s for part in parts for s in spotter.add(*part)] + spotter.end()


def test_without_an_ear_a_run_is_what_it_seems():
    (segment,) = hear(Spotter(0.5, STEP), steps((7, 0.6, 0.03, 0.0), (7, 0.5, 0.06, 0.0)))
    assert segment.digit == 7
    assert segment.probability == pytest.approx(1 - 0.4 * 0.5, abs=1e-6)
    assert segment.start_s == pytest.approx(0, abs=1e-6)
    assert segment.end_s == pytest.approx(0.03, abs=1e-6)


def test_what_the_ear_says_is_weighed_as_told():
    p, q, log_odds = 0.6, 0.9, 2.0
    (segment,) = hear(
        Spotter(0.1, STEP, ear_that_says(7, q, log_odds, [])), steps((7, p, 0.03, 0.0))
    )
    others = 9 * (1 - q) / 9 * 1e-3**0.5
    digit = q * p**0.5 / (q * p**0.5 + others)
    there = 1 / (1 + math.exp(-(math.log(p / (1 - p)) + log_odds / 4)))
    assert segment.probability == pytest.approx(there * digit, abs=1e-6)


def test_a_sure_ear_corrects_the_digit_and_an_unsure_one_does_not():
    spotted = steps((7, 0.6, 0.03, 0.0))
    assert hear(Spotter(0.1, STEP, ear_that_says(1, 0.999, 5, [])), spotted)[0].digit == 1
    assert hear(Spotter(0.1, STEP, ear_that_says(1, 0.3, 5, [])), spotted)[0].digit == 7


def test_what_the_ear_takes_for_no_digit_does_not_count():
    spotted = steps((7, 0.6, 0.03, 0.0))
    assert hear(Spotter(0.5, STEP, ear_that_says(7, 0.9, -6, [])), spotted) == []
    assert len(hear(Spotter(0.5, STEP, ear_that_says(7, 0.9, 6, [])), spotted)) == 1


def test_a_faint_run_that_the_ear_is_sure_of_counts():
    spotted = steps((7, 0.3, 0.03, 0.0))
    assert hear(Spotter(0.5, STEP), spotted) == []
    assert [s.digit for s in hear(Spotter(0.5, STEP, ear_that_says(7, 0.999, 7, [])), spotted)] == [
        7
    ]


def test_the_ear_is_asked_once_when_all_of_the_digit_and_its_margin_is_there():
    asked: list[tuple[float, float]] = []
    spotter = Spotter(0.2, STEP, ear_that_says(4, 0.9, 3, asked))
    # At 30 ms it is announced that the digit will end 100 ms later.
    assert spotter.add(*steps((4, 0.9, 0.03, -0.1))) == []
    assert spotter.partial is not None
    for step in range(2, 30):
        spotter.add(*silence(1))
        assert bool(asked) == (step * STEP / SAMPLE_RATE >= 0.13 + MARGIN_S)
    assert asked == [(pytest.approx(0, abs=1e-6), pytest.approx(0.13, abs=1e-6))]


def test_all_that_waits_is_heard_at_the_end():
    asked: list[tuple[float, float]] = []
    spotter = Spotter(0.2, STEP, ear_that_says(4, 0.9, 3, asked))
    assert spotter.add(*steps((4, 0.9, 0.03, -0.1))) == []
    assert asked == []
    assert [segment.digit for segment in spotter.end()] == [4]
    assert len(asked) == 1
    assert spotter.end() == []


def test_of_two_runs_in_one_place_the_ear_decides():
    def ear(start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        return np.log(np.full(10, 0.1)), 6.0 if end_s < 0.1 else -6.0

    both = steps((5, 0.5, 0.09, 0.0), (8, 0.6, 0.12, 0.0))  # ends of 30 and 60 ms
    assert [s.digit for s in hear(Spotter(0.1, STEP), silence(2), both)] == [8]
    assert [s.digit for s in hear(Spotter(0.1, STEP, ear), silence(2), both)] == [5]


def test_portions_make_no_difference_and_order_is_kept():
    rng = np.random.default_rng(0)
    rows = [
        (
            int(rng.integers(10)),
            float(rng.choice([1e-9, 0.05, 0.4, 0.9])),
            0.2,
            rng.uniform(-0.1, 0.1),
        )
        for _ in range(300)
    ]
    log_p, edges = steps(*rows)

    def ear(start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        scores = np.random.default_rng(round(1e6 * end_s)).normal(size=10)
        return scores, float(scores[0])

    whole = hear(Spotter(0.3, STEP, ear), (log_p, edges))
    parts = hear(
        Spotter(0.3, STEP, ear), *((log_p[i : i + 1], edges[i : i + 1]) for i in range(300))
    )
    assert whole == parts
    assert len(whole) > 30
