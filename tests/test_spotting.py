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


def decode_whole(log_p, edges, d: Decoding, oh: bool = True, doubles: bool = True) -> list[tuple]:
    """Digits, their words and probabilities, by the rules, each looked up in the whole recording.

    With `other_weight` 0.
    """
    p = np.exp(log_p.astype(float))
    oh_alone, into = p[:, OH].copy(), 0 if oh else OTHER
    p[:, into] += p[:, OH]
    p[:, OH] = 0
    best = [
        int(k) if row[k] >= d.min_step_probability else None
        for row, k in zip(p, p[:, :BLANK].argmax(axis=1), strict=True)
    ]
    runs, at = [], 0
    for word, group in groupby(best):
        steps = slice(at, at := at + len(list(group)))
        if word is not None:
            peak = steps.start + int(p[steps, word].argmax())
            here = 1 - np.prod(1 - p[steps, word])
            with np.errstate(divide="ignore"):
                odds = np.log(here / (1 - here))
            threshold = d.emission_threshold if word < OH else d.word_threshold
            now_s = (peak + 1) * STEP / 8_000
            start_s = max(0, now_s - float(edges[peak, 0]))
            end_s = max(start_s, now_s - float(edges[peak, 1]))
            runs.append((word, steps, odds, word != OTHER and odds >= threshold, start_s, end_s))
    found: list[tuple] = []
    kept: set[int] = set()
    for i, (digit, steps, odds, counts, start_s, end_s) in enumerate(runs):
        if digit >= OH:
            continue
        gain, is_echo = 0.0, False
        for side in (runs[:i][::-1], runs[i + 1 :]):
            is_later = side and side[0] is not runs[i - 1] if i else True
            if is_later and odds + gain - d.emission_threshold >= d.context_penalty:
                break  # no word after it could take it away
            for word, other, other_odds, shields, other_start_s, other_end_s in side:
                apart_s = abs(other.start - steps.start) * STEP / 8_000
                if word in (NUMBER, OTHER):
                    gain -= d.context_penalty * (apart_s <= d.context_s)
                    break
                if word < OH and other_odds > odds:
                    shared_s = min(end_s, other_end_s) - max(start_s, other_start_s)
                    shorter_s = min(end_s - start_s, other_end_s - other_start_s)
                    is_same = word == digit and shared_s > 0.5 * max(shorter_s, 1e-3)
                    is_echo = is_echo or apart_s <= 0.08 or is_same
                if shields:
                    gain += d.context_bonus * (word < OH and apart_s <= d.context_s)
                    break
        before = next((j for j in range(i)[::-1] if j in kept or runs[j][3]), None)
        before = runs[before] if before is not None else None
        after = next((run for run in runs[i + 1 :] if run[3]), None)
        emitted_s = before and (before[1].start + 1) * STEP / 8_000
        if odds + gain < d.emission_threshold or (is_echo and not counts) or odds < d.min_score:
            continue
        if before and before[0] == NUMBER and start_s - emitted_s <= d.number_before_s:
            continue
        after_s = after and (after[1].start + 1) * STEP / 8_000
        if after and after[0] == NUMBER and after_s - end_s <= d.number_after_s:
            continue
        times = 1
        if doubles and before and before[0] in (DOUBLE, TRIPLE):
            times = before[0] - DOUBLE + 2 if start_s - emitted_s <= d.double_s else 1
        zero = np.prod(1 - (p[steps, 0] - oh_alone[steps]))
        is_oh = oh and digit == 0 and np.prod(1 - oh_alone[steps]) < zero
        kept.add(i)
        odds += gain - d.emission_threshold
        found += [(digit, is_oh, 1 / (1 + np.exp(-odds)))] * times
    return found


CONTEXT = replace(DECODING, context_penalty=1.5, context_s=0.3)


@pytest.mark.parametrize("options", [{}, {"oh": False}, {"doubles": False}])
@pytest.mark.parametrize("seed", range(5))
def test_digits_are_those_of_the_whole_recording(seed, options):
    for context_s, number_after_s in ((0.3, 0.25), (0.06, 0.25), (0.6, 0.1)):
        decoding = replace(CONTEXT, context_s=context_s, number_after_s=number_after_s)
        log_p, edges = random_steps(seed)
        expected = decode_whole(log_p, edges, decoding, **options)
        found = spot(Spotter(decoding, STEP, **options), (log_p, edges))
        assert [(s.digit, s.word == "oh") for s in found] == [each[:2] for each in expected]
        probabilities = [each[2] for each in expected]
        assert [s.probability for s in found] == pytest.approx(probabilities, abs=1e-6)
        assert len(found) > 15
        strict = replace(decoding, emission_threshold=1.5)
        generous = replace(strict, context_bonus=1.2, min_score=-0.3)
        expected = decode_whole(log_p, edges, generous, **options)
        more = spot(Spotter(generous, STEP, **options), (log_p, edges))
        assert [(s.digit, s.word == "oh") for s in more] == [each[:2] for each in expected]
        fewer = spot(Spotter(strict, STEP, **options), (log_p, edges))
        assert len(more) > len(fewer) + (0 if context_s > 0.1 else -1)
        free = spot(
            Spotter(replace(decoding, context_penalty=0.0), STEP, **options), (log_p, edges)
        )
        assert len(found) < len(free) - 3


@pytest.mark.parametrize("options", [{}, {"oh": False}, {"doubles": False}])
@pytest.mark.parametrize("seed", range(5))
def test_portions_make_no_difference(seed, options):
    log_p, edges = random_steps(seed)
    decoding = replace(CONTEXT, other_weight=0.3, context_bonus=0.8)
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
    told: list[tuple[int, int, int, float]] = []
    one = spotter(0.5, on_penalty=lambda *word: told.append(word))
    words = [silence(2), steps((DOUBLE, 0.9, 0, 0)), silence(3)]
    words += [steps((7, 0.9, 0.09, 0.03), (7, 0.9, 0.12, 0.06)), silence(4)]
    assert spot(one, *words, steps((NUMBER, 0.9, 0, 0)), silence(40)) == []
    assert told == [(7, 6, 8, math.inf), (DOUBLE, 2, 3, math.inf)]
    told.clear()
    one = spotter(0.5, on_penalty=lambda *word: told.append(word))
    assert len(spot(one, *words, silence(40), steps((TRIPLE, 0.9, 0, 0)), silence(1))) == 2
    assert told == [(TRIPLE, 52, 53, math.inf)]  # no digit follows


def test_penalties_of_other_words_are_told():
    told: list[tuple[int, int, int, float]] = []
    other = steps((OTHER, 0.9, 0, 0))

    def spotted(*parts) -> int:
        told.clear()
        one = spotter(0.5, CONTEXT, on_penalty=lambda *word: told.append(word))
        return len(spot(one, *parts, silence(20)))

    double, seven = steps((DOUBLE, 0.9, 0, 0)), steps((7, 0.9, 0.03, 0))
    assert spotted(other, seven) == 1  # of odds 9 to 1, 2 to 1 are left
    assert told == [(7, 1, 2, 1.5)]
    assert spotted(double, seven, other) == 2  # where 2 to 1 would be left, nothing is lost
    assert told == []
    assert spotted(other, double, steps((7, 0.8, 0.03, 0)), other) == 0
    assert told == [(7, 2, 3, 1.5), (DOUBLE, 1, 2, math.inf)]  # 0.9 to 1: nothing to be repeated


FINE = 80  # samples of a step of 10 ms


def probability_beside(*parts, context_s: float = 0.5, word_threshold: float = 9.0) -> float:
    """Return the probability that its neighbours leave the only digit, at steps of 10 ms.

    Number words do not reject it, and nothing repeats it.
    """
    decoding = Decoding(
        emission_threshold=0.0,
        word_threshold=word_threshold,
        other_weight=0.0,
        min_step_probability=0.1,
        number_before_s=-9.0,
        number_after_s=-9.0,
        double_s=0.0,
        context_penalty=2.0,
        context_s=context_s,
    )
    lost: list[float] = []
    one = Spotter(
        decoding, FINE, doubles=False,
        on_penalty=lambda word, _, __, penalty: lost.append(penalty) if word < OH else None,
    )  # fmt: skip
    segments = spot(one, *parts)
    assert len(segments) <= 1
    odds = 4 * math.exp(-sum(lost))
    if segments:
        assert segments[0].probability == pytest.approx(odds / (1 + odds), abs=1e-6)
    return odds / (1 + odds)


def without_prior(segment: Segment | None, decoding: Decoding) -> float:
    """Return the probability of a segment where a lone digit is as probable as none."""
    assert segment is not None
    odds = segment.probability / (1 - segment.probability) * math.exp(decoding.emission_threshold)
    return odds / (1 + odds)


@pytest.mark.parametrize(("word", "threshold"), [(OTHER, 0.0), (NUMBER, 9.0), (NUMBER, 0.0)])
def test_a_digit_between_other_words_loses_on_each_side(word, threshold):
    digit, other = steps((7, 0.8, 0.03, 0)), steps((word, 0.6, 0, 0))
    once, twice = (4 * math.exp(-2 * sides) for sides in (1, 2))  # odds of 4 to 1
    near, rest = silence(48), silence(100)
    assert probability_beside(digit, rest) == pytest.approx(0.8)
    for parts in ((other, near, digit, rest), (digit, near, other, rest)):
        assert probability_beside(*parts, word_threshold=threshold) == pytest.approx(
            once / (1 + once), abs=1e-6
        )
    parts = (other, near, digit, near, other, near, other, rest)
    assert probability_beside(*parts, word_threshold=threshold) == pytest.approx(
        twice / (1 + twice), abs=1e-6
    )
    parts = (other, other, near, digit, rest)  # a word of two steps begins at its first
    assert probability_beside(*parts, context_s=0.49, word_threshold=threshold) == pytest.approx(
        0.8
    )


@pytest.mark.parametrize(("apart", "loses"), [(49, True), (50, True), (51, False)])
@pytest.mark.parametrize("before", [0, 37, 1_003])  # in floating point 0.5 s is not always 50 steps
def test_only_a_near_word_makes_a_digit_less_probable(apart, loses, before):
    digit, other = steps((7, 0.8, 0.03, 0)), steps((OTHER, 0.9, 0, 0))
    left, between, right = silence(before), silence(apart - 1), silence(100)
    for a, b in ((digit, other), (other, digit)):
        found = probability_beside(left, a, between, b, right)
        assert (found < 0.4) == loses
        assert loses or found == pytest.approx(0.8)


@pytest.mark.parametrize(("p", "loses"), [(0.09, False), (0.11, True)])
def test_another_word_is_as_improbable_as_a_run_may_be(p, loses):
    digit, other = steps((7, 0.8, 0.03, 0)), steps((OTHER, p, 0, 0))
    for parts in ((digit, other), (other, digit)):
        assert (probability_beside(*parts, silence(100)) < 0.4) == loses


def test_a_digit_between_digits_gains_on_each_side_and_one_alone_must_be_sure():
    decoding = replace(CONTEXT, emission_threshold=2.0, context_bonus=3.0, context_s=0.6)
    sure, faint = steps((3, 0.95, 0.03, 0)), steps((7, 0.3, 0.03, 0))  # log-odds 2.9 and -0.8
    pause, rest = silence(9), silence(60)
    for parts, digits in (
        ((sure,), "3"),
        ((steps((3, 0.85, 0.03, 0)),), ""),
        ((faint,), ""),
        ((sure, pause, faint), "37"),
        ((faint, pause, sure), "73"),
        ((faint, pause, faint), ""),  # neither is a neighbour by itself
        ((faint, silence(30), sure), "3"),
        ((sure, pause, faint, pause, faint, pause, sure), "3773"),
    ):
        found = spot(Spotter(decoding, STEP), *parts, rest)
        assert "".join(str(segment.digit) for segment in found) == digits
    (first, middle, last) = spot(Spotter(decoding, STEP), sure, pause, faint, pause, sure, rest)
    gains = {s: 0.95 / 0.05 * math.exp(3 - 2) for s in (first, last)}
    gains[middle] = 0.3 / 0.7 * math.exp(2 * 3 - 2)
    for segment, expected in gains.items():
        assert segment.probability == pytest.approx(expected / (1 + expected), abs=1e-6)


def test_what_is_too_faint_by_itself_gains_nothing():
    decoding = replace(CONTEXT, emission_threshold=2.0, context_bonus=5.0, context_s=0.6)
    sure, faint = steps((3, 0.95, 0.03, 0)), steps((7, 0.3, 0.03, 0))  # log-odds 2.9 and -0.8
    for least, digits in ((-1.0, "373"), (-0.8, "33"), (0.0, "33")):
        one = Spotter(replace(decoding, min_score=least), STEP)
        found = spot(one, sure, silence(9), faint, silence(9), sure, silence(60))
        assert "".join(str(segment.digit) for segment in found) == digits


def test_a_second_run_of_one_digit_is_none():
    decoding = replace(DECODING, emission_threshold=2.0, context_bonus=3.0, context_s=1.0)
    sure, gap = steps((3, 0.95, 0.3, 0.03)), silence(4)
    rest = silence(60)
    here, later = steps((3, 0.3, 0.42, 0.06)), steps((3, 0.3, 0.1, 0.0))  # it began 0.3 s before
    for second, digits in ((here, "3"), (later, "33")):
        found = spot(Spotter(decoding, STEP), silence(9), sure, gap, second, rest)
        assert "".join(str(segment.digit) for segment in found) == digits
    # Another digit may lie at the same place, in fluent speech, but is not emitted so soon.
    for second, pause, digits in ((8, 4, "38"), (8, 2, "38"), (8, 1, "3")):
        another = steps((second, 0.3, 0.42, 0.06))
        found = spot(Spotter(decoding, STEP), silence(9), sure, silence(pause), another, rest)
        assert "".join(str(segment.digit) for segment in found) == digits
        found = spot(Spotter(decoding, STEP), silence(9), another, silence(pause), sure, rest)
        assert "".join(str(segment.digit) for segment in found) == digits[::-1]


def test_what_lies_between_is_the_neighbour():
    other, double = steps((OTHER, 0.9, 0, 0)), steps((DOUBLE, 1 - 1e-6, 0, 0))
    weak_double, number = steps((DOUBLE, 0.9, 0, 0)), steps((NUMBER, 0.9, 0, 0))
    digit, rest = steps((7, 0.8, 0.03, 0)), silence(100)
    for between, loses in ((double, False), (weak_double, True), (number, True)):
        for parts in ((other, between, digit), (digit, between, other)):
            found = probability_beside(*parts, rest)
            assert (found < 0.4) == loses
            assert not loses or found > 0.3  # on one side, so once
    # A digit is the neighbour where it would itself be emitted, if nothing were beside it.
    for p, count in ((0.6, 2), (0.4, 1)):
        other_digit = steps((3, p, 0.03, 0))
        parts = [silence(9), digit, other_digit, other, rest]
        kept = [s for s in spot(Spotter(CONTEXT, FINE), *parts) if s.digit == 7]
        assert [s.probability > 0.7 for s in kept] == [True] * (count - 1)
        parts = [other, other_digit, digit, rest]
        kept = [s for s in spot(Spotter(CONTEXT, FINE), *parts) if s.digit == 7]
        assert [s.probability > 0.7 for s in kept] == [True] * (count - 1)


def test_at_the_end_of_a_stream_the_words_so_far_count():
    digit, other = steps((7, 0.8, 0.03, 0)), steps((OTHER, 0.15, 0, 0))
    assert probability_beside(digit) == pytest.approx(0.8)
    assert probability_beside(digit, silence(3), other) < 0.4
    assert probability_beside(other, digit) < 0.4
    decoding = replace(CONTEXT, emission_threshold=-9.0)
    one = Spotter(decoding, STEP)
    spot(one, other)
    assert without_prior(spot(one, digit)[0], decoding) == pytest.approx(
        0.8
    )  # what is ended is no neighbour


def test_a_digit_waits_for_a_word_only_where_that_could_take_it_away():
    decoding = replace(CONTEXT, number_after_s=0.06)
    for p, expected in ((0.8, 11), (0.85, 3)):  # log-odds of 1.4 and 1.7; the penalty is 1.5
        one = Spotter(decoding, STEP)
        one.add(*steps((7, p, 0.03, 0.0)))
        emitted = [step for step in range(1, 20) if one.add(*silence(1))]
        # The tenth step after it is 0.3 s later, and may be a neighbour's.
        assert emitted == [expected]
    one = Spotter(decoding, STEP)
    one.add(*steps((7, 0.8, 0.03, 0.0)))
    one.add(*silence(9))
    assert one.partial is not None
    assert one.partial.probability == pytest.approx(0.8)
    one.add(*steps((OTHER, 0.15, 0.0, 0.0)))
    assert one.partial is None
    assert one.add(*silence(20)) == one.end() == []
    # After another word the same digit is less probable, and may be taken away.
    one = Spotter(decoding, STEP)
    one.add(*steps((OTHER, 0.15, 0.0, 0.0)))
    one.add(*steps((7, 0.85, 0.03, 0.0)))
    assert one.partial is not None
    expected = 0.85 / 0.15 * math.exp(-1.5)
    assert one.partial.probability == pytest.approx(expected / (1 + expected), abs=1e-6)
    assert [step for step in range(1, 20) if one.add(*silence(1))] == [11]


def test_oh_is_an_exclamation_among_other_words():
    oh, other, seven = (steps((word, 0.85, 0.03, 0)) for word in (OH, OTHER, 7))
    decoding, rest = replace(CONTEXT, context_penalty=2.0), silence(40)
    for parts, said in (
        ((oh, rest), "0"),
        ((oh, silence(5), other, rest), ""),
        ((other, silence(5), oh, silence(5), other, rest), ""),
        ((seven, silence(5), oh, silence(5), seven, rest), "707"),
        ((other, silence(20), seven, silence(5), oh, silence(20), other, rest), "70"),
    ):
        segments = spot(Spotter(decoding, STEP), *parts)
        assert "".join(str(segment.digit) for segment in segments) == said
        assert {s.word for s in segments if s.digit == 0} <= {"oh"}


def test_files_without_a_context_have_no_penalty_and_old_entries_are_left_aside():
    entries = CONTEXT.to_metadata()
    assert Decoding.from_metadata(entries) == CONTEXT
    old = {key: value for key, value in entries.items() if not key.startswith("context")}
    assert Decoding.from_metadata(old | {"min_overlap": "0.5", "settling_s": "x"}) == DECODING
    with pytest.raises(KeyError, match="double_s"):
        Decoding.from_metadata({key: old[key] for key in old if key != "double_s"})
    with pytest.raises(ValueError, match="near"):
        Decoding.from_metadata(old | {"context_s": "near"})


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


@pytest.mark.parametrize(("word", "digits"), [(DOUBLE, [7]), (NUMBER, [])])
def test_a_digit_is_final_when_double_or_a_number_follows(word, digits):
    one = spotter(0.5, CONTEXT)
    one.add(*steps((7, 0.9, 0.03, 0.0)))
    one.add(*silence(3))
    assert one.add(*steps((word, 0.9, 0.0, 0.0))) == []
    assert [segment.digit for segment in one.add(*silence(1))] == digits
    assert one.partial is None


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


def test_a_number_that_begins_in_time_is_waited_for():
    # The digit ends at 0.03 s; the number is emitted from 0.27 s on, and goes on beyond 0.28 s.
    number = steps(*[(NUMBER, 0.4, 0.0, 0.0)] * 5)
    assert spot(spotter(0.5), steps((7, 0.9, 0.03, 0.0)), silence(7), number, silence(30)) == []
    late = spot(spotter(0.5), steps((7, 0.9, 0.03, 0.0)), silence(8), number, silence(30))
    assert [segment.digit for segment in late] == [7]


def test_only_the_next_word_after_a_digit_counts():
    digit, double, number = (steps((word, 0.9, 0.03, 0.0)) for word in (7, DOUBLE, NUMBER))
    assert len(spot(spotter(0.5), digit, double, number, silence(30))) == 1
    assert len(spot(spotter(0.5), digit, number, double, silence(30))) == 0


@pytest.mark.filterwarnings("error")
def test_what_adds_to_more_than_certain_in_single_precision_is_certain():
    log_p, edges = steps((0, 0.5, 0.03, 0.0))
    log_p[0, [0, OH, BLANK]] = np.log([0.9, 0.1 + 1e-6, 1e-9])
    (segment,) = spot(spotter(0.5), (log_p, edges))
    assert segment.probability == 1
    log_p[0, [0, OH, NUMBER, OTHER]] = np.log([1e-3, 1e-9, 0.5, 0.5 + 1e-6])
    assert spot(spotter(0.5, replace(DECODING, other_weight=1.0)), (log_p, edges)) == []


def test_zero_and_oh_at_one_step_are_one_digit():
    log_p, edges = steps((0, 0.5, 0.03, 0.0))
    log_p[0, [0, OH, BLANK]] = np.log([0.25, 0.45, 0.3])
    (segment,) = spot(spotter(0.65), (log_p, edges))
    assert (segment.digit, segment.word) == (0, "oh")
    prior = replace(DECODING, emission_threshold=math.log(0.65 / 0.35))
    assert without_prior(segment, prior) == pytest.approx(0.7, abs=1e-6)
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


def test_a_digit_is_final_when_no_number_can_reject_it_any_more():
    one = spotter(0.5)
    assert one.add(*steps((7, 0.9, 0.03, 0.0))) == []
    emitted = [step for step in range(2, 20) if one.add(*silence(1))]
    # It ends at 0.03 s, and waits for 0.25 s: the first step after 0.28 s is the tenth, 0.30 s.
    assert emitted == [10]


def test_a_digit_is_not_final_while_a_run_may_still_become_one():
    one = spotter(0.5)
    one.add(*steps((7, 0.9, 0.03, 0.0)))
    one.add(*silence(5))
    # A faint run far behind: improbable, so that it is no digit yet, and holds the other back.
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
