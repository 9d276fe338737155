"""The spotter alone: how probable a run is, what it is judged by, and when a digit is final."""

import math
from dataclasses import replace
from itertools import groupby, product

import numpy as np
import pytest

from spoken_digits.spotting import (
    BLANK,
    DOUBLE,
    LABELS,
    NUMBER,
    OH,
    OTHER,
    TRIPLE,
    Decoding,
    Segment,
    Spotter,
    score_run,
    single_word,
)

STEP = 240  # 30 ms
DECODING = Decoding(
    emission_threshold=0.0,
    word_threshold=0.0,
    other_weight=0.0,
    min_step_probability=0.1,
    min_overlap=0.5,
    settling_s=0.25,
    number_before_s=0.35,
    number_after_s=0.25,
    double_s=0.5,
)


def spotter(threshold: float, decoding: Decoding = DECODING, **options) -> Spotter:
    """Make a spotter that emits digits of this probability or more."""
    log_odds = math.log(threshold / (1 - threshold))
    return Spotter(replace(decoding, emission_threshold=log_odds), STEP, **options)


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


def spot(spotter: Spotter, *parts: tuple[np.ndarray, np.ndarray]) -> list[Segment]:
    return [s for part in parts for s in spotter.add(*part)] + spotter.end()


def test_a_run_has_the_probability_of_its_steps():
    (segment,) = spot(spotter(0.5), steps((7, 0.6, 0.03, 0.0), (7, 0.5, 0.06, 0.0)))
    assert segment.digit == 7
    assert segment.probability == pytest.approx(1 - 0.4 * 0.5, abs=1e-6)
    assert segment.start_s == pytest.approx(0, abs=1e-6)
    assert segment.end_s == pytest.approx(0.03, abs=1e-6)


def random_steps(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Make steps at which one or two of all words have some probability, with pauses between."""
    rng = np.random.default_rng(seed)
    words = [*range(10), OH, OH, DOUBLE, TRIPLE, NUMBER, NUMBER, OTHER, OTHER]
    p = np.full((count, BLANK + 1), 1e-9)
    for row in p:
        if rng.random() < 0.5:
            first, second = rng.choice(words, 2)
            row[first] += rng.choice([0.05, 0.3, 0.6, 0.95])
            row[second] += rng.uniform(0, 1 - row.sum()) * rng.choice([0, 1])
        row[BLANK] = max(1e-9, 1 - row[:BLANK].sum())
    end_s = rng.uniform(-0.1, 0.1, count)
    edges = np.stack([end_s + rng.uniform(0.05, 0.4, count), end_s], axis=1)
    return np.log(p).astype(np.float32), edges.astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"oh": False}, {"doubles": False}])
@pytest.mark.parametrize("seed", range(5))
def test_portions_make_no_difference(seed, options):
    log_p, edges = random_steps(seed)
    decoding = replace(DECODING, other_weight=0.3)
    whole = spot(spotter(0.3, decoding, **options), (log_p, edges))
    rng, parts, position = np.random.default_rng(seed), [], 0
    while position < len(log_p):
        stop = position + int(rng.integers(1, 9))
        parts.append((log_p[position:stop], edges[position:stop]))
        position = stop
    assert spot(spotter(0.3, decoding, **options), *parts) == whole
    assert len(whole) > 20
    assert ("oh" in {segment.word for segment in whole}) == options.get("oh", True)


def test_what_is_taken_back_is_told():
    told: list[tuple[int, int, int]] = []
    one = spotter(0.5, on_rejected=lambda *word: told.append(word))
    words = [silence(2), steps((DOUBLE, 0.9, 0, 0)), silence(3)]
    words += [steps((7, 0.9, 0.09, 0.03), (7, 0.9, 0.12, 0.06)), silence(4)]
    assert spot(one, *words, steps((NUMBER, 0.9, 0, 0)), silence(40)) == []
    assert told == [(DOUBLE, 2, 3), (7, 6, 8)]
    told.clear()
    one = spotter(0.5, on_rejected=lambda *word: told.append(word))
    assert len(spot(one, *words, silence(40), steps((TRIPLE, 0.9, 0, 0)), silence(1))) == 2
    assert told == [(TRIPLE, 52, 53)]  # no digit follows


@pytest.mark.parametrize(("p", "counts"), [(0.45, 0), (0.55, 1)])
def test_a_word_has_an_effect_from_its_threshold_on(p, counts):
    digit = steps((7, 0.99, 0.09, 0.03))
    segments = spot(spotter(0.5), silence(2), steps((DOUBLE, p, 0, 0)), silence(2), digit)
    assert len(segments) == 1 + counts
    segments = spot(spotter(0.5), silence(2), digit, silence(2), steps((NUMBER, p, 0, 0)))
    assert len(segments) == 1 - counts


def test_a_digit_waits_for_a_number_only_while_it_may_come():
    decoding = replace(DECODING, number_after_s=0.6)
    for then, expected in ((silence(1), 22), (steps((3, 0.9, 0.03, 0.0)), 13)):
        one = spotter(0.5, decoding)
        one.add(*steps((7, 0.9, 0.03, 0.0)))  # ends at 0.03 s
        one.add(*silence(11))
        assert one.partial is not None
        one.add(*then)
        emitted = [step for step in range(14, 30) if one.add(*silence(1))]
        # Alone it is final at the first step after 0.63 s; another digit makes it final at once.
        assert (emitted or [13])[0] == expected


def test_a_digit_that_is_part_of_a_number_is_not_shown():
    one = spotter(0.5, replace(DECODING, number_after_s=0.6))
    one.add(*silence(4))
    one.add(*steps((7, 0.9, 0.03, 0.0)))
    assert one.partial is not None
    one.add(*steps((NUMBER, 0.9, 0, 0)))
    one.add(*silence(1))
    assert one.partial is None
    one.add(*steps((7, 0.9, 0.03, 0.0)))  # right after the number
    assert one.partial is None


def test_zero_and_oh_at_one_step_are_one_digit():
    log_p, edges = steps((0, 0.5, 0.03, 0.0))
    log_p[0, [0, OH, BLANK]] = np.log([0.25, 0.45, 0.3])
    (segment,) = spot(spotter(0.65), (log_p, edges))
    assert (segment.digit, segment.word) == (0, "oh")
    assert segment.probability == pytest.approx(0.7, abs=1e-6)
    assert spot(spotter(0.65, oh=False), (log_p, edges)) == []
    log_p[0, [0, OH]] = np.log([0.45, 0.25])
    assert spot(spotter(0.65), (log_p, edges))[0].word == "zero"


def test_other_words_weigh_against_a_digit():
    log_p, edges = steps((7, 0.6, 0.06, 0.03), (7, 0.6, 0.09, 0.06))
    log_p[:, [7, OTHER, NUMBER, BLANK]] = np.log([0.5, 0.2, 0.1, 0.2])
    p, other = 1 - 0.5**2, 1 - 0.7**2
    assert score_run(p, other, 0) == pytest.approx(math.log(p / (1 - p)))
    assert score_run(p, other, 1e6) + math.log(1e6) == pytest.approx(math.log(p / other), abs=1e-5)
    assert score_run(0.0, 0.5, 1) == -math.inf
    assert score_run(1.0, 0.0, 1) == math.inf
    odds = p / (1 - p + 2 * other)
    for factor, count in ((0.99, 1), (1.01, 0)):
        decoding = replace(DECODING, other_weight=2.0)
        found = spot(spotter(factor * odds / (1 + factor * odds), decoding), (log_p, edges))
        assert len(found) == count


@pytest.mark.parametrize("seed", range(4))
def test_a_single_word_is_all_paths_that_read_so(seed):
    scores = 2 * np.random.default_rng(seed).standard_normal((6, 4))
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = np.zeros(4)
    for path in product(range(4), repeat=6):
        words = [k for k, _ in groupby(path) if k != 3]
        if len(words) <= 1:
            expected[words[0] if words else 3] += np.exp(log_p[range(6), path].sum())
    np.testing.assert_allclose(np.exp(single_word(log_p)), expected, rtol=1e-9)
    assert expected.sum() < 1


def test_labels_have_the_indices_that_are_named():
    named = {"oh": OH, "double": DOUBLE, "triple": TRIPLE, "number": NUMBER, "other": OTHER}
    assert {label: LABELS.index(label) for label in named} == named
    assert LABELS.index("blank") == BLANK == len(LABELS) - 1


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
