"""The spotter alone: what a rescorer is asked, when, and what its answer weighs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.spotting import BLANK, Decoding, Segment, Spotter

STEP = 240  # 30 ms
DECODING = Decoding(
    emission_threshold=0.0,
    min_step_probability=0.1,
    min_overlap=0.5,
    settling_s=0.25,
    margin_s=0.06,
    first_pass_weight=0.5,
    second_pass_weight=0.25,
    probability_floor=1e-3,
    max_log_odds=7.0,
)


def spotter(threshold: float, *rest) -> Spotter:
    """Make a spotter that emits digits of this probability or more."""
    log_odds = math.log(threshold / (1 - threshold))
    return Spotter(replace(DECODING, emission_threshold=log_odds), STEP, *rest)


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


def rescorer_of(digit: int, p: float, log_odds: float, asked: list[tuple[float, float]]):
    """Make a rescorer that gives `digit` probability p, the others alike, and notes the calls."""
    probabilities = np.full(10, (1 - p) / 9)
    probabilities[digit] = p

    def rescore(start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        asked.append((start_s, end_s))
        return np.log(probabilities), log_odds

    return rescore


def spot(spotter: Spotter, *parts: tuple[np.ndarray, np.ndarray]) -> list[Segment]:
    return [s for part in parts for s in spotter.add(*part)] + spotter.end()


def test_without_a_rescorer_a_run_has_the_probability_of_its_steps():
    (segment,) = spot(spotter(0.5), steps((7, 0.6, 0.03, 0.0), (7, 0.5, 0.06, 0.0)))
    assert segment.digit == 7
    assert segment.probability == pytest.approx(1 - 0.4 * 0.5, abs=1e-6)
    assert segment.start_s == pytest.approx(0, abs=1e-6)
    assert segment.end_s == pytest.approx(0.03, abs=1e-6)


def test_both_passes_are_added_with_their_weights():
    p, q, log_odds = 0.6, 0.9, 2.0
    (segment,) = spot(spotter(0.1, rescorer_of(7, q, log_odds, [])), steps((7, p, 0.03, 0.0)))
    others = 9 * (1 - q) / 9 * 1e-3**0.5
    digit = q * p**0.5 / (q * p**0.5 + others)
    there = 1 / (1 + math.exp(-(math.log(p / (1 - p)) + log_odds / 4)))
    assert segment.probability == pytest.approx(there * digit, abs=1e-6)


def test_a_certain_rescorer_corrects_the_digit_and_an_uncertain_one_does_not():
    spotted = steps((7, 0.6, 0.03, 0.0))
    assert spot(spotter(0.1, rescorer_of(1, 0.999, 5, [])), spotted)[0].digit == 1
    assert spot(spotter(0.1, rescorer_of(1, 0.3, 5, [])), spotted)[0].digit == 7


@pytest.mark.parametrize("sign", [1, -1])
def test_no_network_decides_alone_however_certain_it_is(sign):
    # A rescorer's log-odds of 7 or 1,000, and a run's of 20 or 7, count alike.
    spotted = steps((7, 0.6, 0.03, 0.0))
    (limit,) = spot(spotter(0.01, rescorer_of(7, 0.9, sign * 7.0, [])), spotted)
    (beyond,) = spot(spotter(0.01, rescorer_of(7, 0.9, sign * 1_000.0, [])), spotted)
    there = 1 / (1 + math.exp(-(math.log(0.6 / 0.4) + sign * 7 / 4)))
    assert beyond == limit
    assert limit.probability == pytest.approx(there, rel=0.01)  # times that of the digit
    certain = steps((7, 1 - 1e-8, 0.03, 0.0))
    (rejected,) = spot(spotter(0.01, rescorer_of(7, 1 - 1e-9, -7.0, [])), certain)
    assert rejected.probability == pytest.approx(1 / (1 + math.exp(-(7 - 7 / 4))), abs=1e-5)


def test_what_the_rescorer_takes_for_no_digit_is_not_emitted():
    spotted = steps((7, 0.6, 0.03, 0.0))
    assert spot(spotter(0.5, rescorer_of(7, 0.9, -6, [])), spotted) == []
    assert len(spot(spotter(0.5, rescorer_of(7, 0.9, 6, [])), spotted)) == 1


def test_an_improbable_run_that_the_rescorer_is_certain_of_is_emitted():
    spotted = steps((7, 0.3, 0.03, 0.0))
    assert spot(spotter(0.5), spotted) == []
    assert [s.digit for s in spot(spotter(0.5, rescorer_of(7, 0.999, 7, [])), spotted)] == [7]


def test_a_run_is_rescored_once_when_it_and_its_margin_have_come():
    asked: list[tuple[float, float]] = []
    one = spotter(0.2, rescorer_of(4, 0.9, 3, asked))
    # At 30 ms the network predicts that the digit will end 100 ms later.
    assert one.add(*steps((4, 0.9, 0.03, -0.1))) == []
    assert one.partial is not None
    for step in range(2, 30):
        one.add(*silence(1))
        assert bool(asked) == (step * STEP / SAMPLE_RATE >= 0.13 + DECODING.margin_s)
    assert asked == [(pytest.approx(0, abs=1e-6), pytest.approx(0.13, abs=1e-6))]


def test_all_that_waits_is_rescored_at_the_end():
    asked: list[tuple[float, float]] = []
    one = spotter(0.2, rescorer_of(4, 0.9, 3, asked))
    assert one.add(*steps((4, 0.9, 0.03, -0.1))) == []
    assert asked == []
    assert [segment.digit for segment in one.end()] == [4]
    assert len(asked) == 1
    assert one.end() == []


def test_of_two_runs_in_one_place_the_rescorer_decides():
    def rescore(start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        return np.log(np.full(10, 0.1)), 6.0 if end_s < 0.1 else -6.0

    both = steps((5, 0.5, 0.09, 0.0), (8, 0.6, 0.12, 0.0))  # ends of 30 and 60 ms
    assert [s.digit for s in spot(spotter(0.1), silence(2), both)] == [8]
    assert [s.digit for s in spot(spotter(0.1, rescore), silence(2), both)] == [5]


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

    def rescore(start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        scores = np.random.default_rng(round(1e6 * end_s)).normal(size=10)
        return scores, float(scores[0])

    whole = spot(spotter(0.3, rescore), (log_p, edges))
    parts = spot(spotter(0.3, rescore), *((log_p[i : i + 1], edges[i : i + 1]) for i in range(300)))
    assert whole == parts
    assert len(whole) > 30


def test_a_digit_is_final_when_nothing_can_claim_its_place_any_more():
    one = spotter(0.5)
    assert one.add(*steps((7, 0.9, 0.03, 0.0))) == []
    emitted = [step for step in range(2, 20) if one.add(*silence(1))]
    # It ends at 0.03 s and settles for 0.25 s: the first step after 0.28 s is the tenth, 0.30 s.
    assert emitted == [10]


def test_a_digit_is_not_final_while_a_run_may_still_become_one():
    one = spotter(0.5)
    one.add(*steps((7, 0.9, 0.03, 0.0)))
    one.add(*silence(5))
    # A faint run far behind: improbable, so that it claims nothing yet, and holds the other back.
    for _ in range(3):
        assert one.add(*steps((2, 0.15, 0.03, 0.0))) == []
    (segment,) = one.add(*steps((2, 0.9, 0.03, 0.0)))
    assert segment.digit == 7


def test_what_is_below_the_threshold_is_not_shown():
    one = spotter(0.5)
    one.add(*steps((7, 0.3, 0.03, 0.0)))
    assert one.partial is None
    one.add(*steps((7, 0.6, 0.03, 0.0)))
    assert one.partial is not None
    assert one.partial.digit == 7


def test_a_segment_begins_in_the_recording_and_ends_after_its_beginning():
    (early,) = spot(spotter(0.5), steps((7, 0.9, 0.2, 0.0)))
    assert (early.start_s, early.end_s) == (0.0, pytest.approx(0.03))
    (crossed,) = spot(spotter(0.5), silence(9), steps((7, 0.9, 0.1, 0.2)))
    assert crossed.start_s == crossed.end_s == pytest.approx(0.2)


def test_edges_are_those_of_the_most_probable_step():
    (segment,) = spot(
        spotter(0.5), silence(9), steps((7, 0.4, 0.1, 0.05), (7, 0.9, 0.2, 0.0), (7, 0.3, 0.5, 0.4))
    )
    assert (segment.start_s, segment.end_s) == (pytest.approx(0.13), pytest.approx(0.33))


def test_what_rescoring_changes_is_told_with_its_steps_and_leaves_the_sum():
    told = []
    p = 0.6
    one = spotter(0.1, rescorer_of(7, 0.9, 2.0, []), lambda *change: told.append(change))
    spot(one, silence(3), steps((7, p, 0.03, 0.0), (7, p, 0.06, 0.0)), silence(4))
    ((first, stop, factors),) = told
    assert (first, stop) == (3, 5)
    # Of the first pass the digit has 1 - 0.4 ** 2, the others the floor of 1e-3.
    passed = np.full(10, 1e-3)
    passed[7] = 1 - (1 - p) ** 2
    assert (np.exp(factors) * passed).sum() == pytest.approx(passed.sum(), rel=1e-5)
    assert factors[7] - factors[0] == pytest.approx(math.log(0.9 / (0.1 / 9)))
