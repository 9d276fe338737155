"""Comparisons of rows made by hand, whose answers are known: better, worse, neither, a tie."""

from dataclasses import replace

import numpy as np
import pytest
from made_rows import SIX, TWO, method, row
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from spoken_digits.lab.studies.comparisons import Networks, compare, verdict
from spoken_digits.lab.studies.results import McNemarTest, Source


def against_none(each):
    return None if each.augmentation == "none" else replace(each, augmentation="none")


def compared(ours, plain, clips=500):
    """Compare accuracies by speaker with those of a reference."""
    rows = [row(ours, clips), row(plain, clips, augmentation="none")]
    (comparison,) = compare(rows, against_none)
    return comparison


@pytest.mark.parametrize("speakers", [TWO, SIX])
@pytest.mark.parametrize(
    ("ours", "plain", "expected"),
    [
        ((0.95, 0.94), (0.85, 0.86), "improves"),
        ((0.85, 0.86), (0.95, 0.94), "worsens"),
        ((0.91, 0.90), (0.90, 0.91), "no significant difference"),
    ],
)
def test_a_verdict_goes_the_way_of_the_accuracies(speakers, ours, plain, expected):
    # Each speaker has some accuracy of his own, on both sides.
    own = dict(zip(speakers, np.linspace(-0.03, 0.03, len(speakers)), strict=True))
    better = {name: [a + own[name] for a in ours] for name in speakers}
    comparison = compared(better, {name: [a + own[name] for a in plain] for name in speakers})
    assert comparison.verdict == expected
    assert comparison.difference == pytest.approx(np.mean(ours) - np.mean(plain))
    assert comparison.accuracy == pytest.approx(np.mean(ours))
    assert comparison.reference_accuracy == pytest.approx(np.mean(plain))
    assert (comparison.p_holm is None) == (speakers == TWO)
    low, high = comparison.interval
    assert low - 1e-12 <= comparison.difference <= high + 1e-12


def test_a_tie_is_no_difference():
    both = {name: [0.9, 0.92] for name in SIX}
    comparison = compared(both, both)
    assert (comparison.difference, comparison.p) == (0.0, 1.0)
    assert comparison.verdict == "no significant difference"
    two = {name: [0.9] for name in TWO}
    assert compared(two, two).verdict == "no significant difference"


def test_a_verdict_is_by_p_where_there_is_one():
    assert verdict(0.1, (-0.1, 0.3), 0.04) == "improves"
    assert verdict(-0.1, (-0.3, 0.1), 0.04) == "worsens"
    assert verdict(0.1, (0.05, 0.15), 0.06) == "no significant difference"
    assert verdict(0.1, (0.05, 0.15), None) == "improves"
    assert verdict(-0.1, (-0.15, -0.05), None) == "worsens"
    assert verdict(0.1, (-0.01, 0.2), None) == "no significant difference"
    assert verdict(0.1, (0.0, 0.2), None) == "no significant difference"


def test_one_seed_has_an_interval_over_clips_alone():
    # One speaker and 100 clips: Newcombe's interval, of statsmodels.
    comparison = compared({"lucas": [0.9]}, {"lucas": [0.8]}, clips=100)
    expected = confint_proportions_2indep(90, 100, 80, 100, method="newcomb", compare="diff")
    assert comparison.interval == pytest.approx(expected)
    assert (comparison.over, comparison.seeds) == ("clips", 1)
    assert not comparison.paired


def test_seeds_that_differ_widen_the_interval():
    plain = {name: [0.8, 0.8, 0.8] for name in TWO}
    steady = compared({name: [0.9, 0.9, 0.9] for name in TWO}, plain)
    spread = compared({name: [0.75, 0.9, 1.05] for name in TWO}, plain)
    assert steady.over == spread.over == "clips and seeds"
    assert steady.difference == pytest.approx(spread.difference) == pytest.approx(0.1)
    assert steady.verdict == "improves"
    assert spread.verdict == "no significant difference"
    # The margins add in squares: of Welch's t with two degrees of freedom.
    over_seeds = 4.3026527 * 0.15 / np.sqrt(3)
    for end in (0, 1):
        margin = abs(steady.difference - steady.interval[end])
        widened = abs(spread.difference - spread.interval[end])
        assert widened == pytest.approx(np.hypot(margin, over_seeds))


def test_p_is_adjusted_over_the_comparisons_of_its_grid():
    rng = np.random.default_rng(0)
    rows = []
    for grid, policies in (("results", ("a", "b", "c")), ("hints", ("d",))):
        rows.append(row({s: [0.8] for s in SIX}, grid=grid, augmentation="none"))
        rows += [
            row({s: [0.8 + rng.normal(0.02, 0.02)] for s in SIX}, grid=grid, augmentation=policy)
            for policy in policies
        ]
    tests = compare(rows, against_none)
    first = [test for test in tests if test.method.grid == "results"]
    expected = multipletests([test.p for test in first], method="holm")[1]
    assert [test.p_holm for test in first] == pytest.approx(list(expected))
    assert {test.family_size for test in first} == {3}
    (alone,) = (test for test in tests if test.method.grid == "hints")
    assert (alone.p_holm, alone.family_size) == (alone.p, 1)


def test_rows_without_a_reference_are_not_compared():
    rows = [row({s: [0.9] for s in TWO}), row({s: [0.9] for s in TWO}, model="lstm")]
    assert compare(rows, against_none) == ()
    assert compare(rows, lambda each: each) == ()


def test_a_reference_may_have_a_learning_rate_of_its_own():
    strong = row({s: [0.9] for s in TWO})
    other = row({s: [0.8] for s in TWO}, model="rnn", learning_rate=3e-3)
    (comparison,) = compare([strong, other], lambda each: replace(each, model="cnn"))
    assert comparison.reference == strong.method
    assert comparison.difference == pytest.approx(-0.1)


def test_of_several_learning_rates_the_same_one_is_the_reference():
    slow, fast = (
        row({s: [0.8 + 10 * r] for s in TWO}, augmentation="none", learning_rate=r)
        for r in (1e-3, 2e-3)
    )
    ours = row({s: [0.9] for s in TWO}, learning_rate=2e-3)
    (comparison,) = compare([slow, fast, ours], against_none)
    assert comparison.reference == fast.method


def test_one_source_of_pooled_single_speakers_is_a_reference():
    others = [name for name in SIX if name != "george"]
    sources = {name: Source(0.7, 0.02, {s: 0.7 for s in SIX if s != name}, None) for name in SIX}
    pooled = row({s: [0.7, 0.7] for s in SIX}, 2500, sources, split="single", training_speakers=1)
    more = row(
        {s: [0.9, 0.9] for s in others}, split="single:george", training_speakers=1, extra="voices"
    )
    (comparison,) = compare([pooled, more], lambda each: replace(each, extra="none"))
    assert comparison.reference == method(split="single:george", training_speakers=1)
    assert comparison.difference == pytest.approx(0.2)
    assert (comparison.speakers, comparison.verdict) == (5, "improves")
    # The same as against a row of that source alone, with 500 clips and its spread over seeds.
    spread = 0.02 / np.sqrt(2)
    alone = row(
        {s: [0.7 - spread, 0.7 + spread] for s in others},
        500,
        split="single:george",
        training_speakers=1,
    )
    (direct,) = compare([alone, more], lambda each: replace(each, extra="none"))
    assert comparison.interval == pytest.approx(direct.interval)
    # Its clips are those of one source, a fifth of the pooled row's, fewer than the other side's.
    wider = replace(
        more, per_speaker={k: replace(v, clips=2500) for k, v in more.per_speaker.items()}
    )
    (again,) = compare([pooled, wider], lambda each: replace(each, extra="none"))
    assert again.interval == comparison.interval


def test_other_speakers_are_not_compared():
    rows = [row({"lucas": [0.9]}), row({"theo": [0.9]}, augmentation="none")]
    with pytest.raises(ValueError, match="tested on lucas, its reference on theo"):
        compare(rows, against_none)


def test_predictions_at_hand_are_paired():
    rng = np.random.default_rng(0)
    plain = {s: (rng.random(500) < 0.9).astype(float) for s in TWO}
    ours = {s: np.maximum(plain[s], rng.random(500) < 0.2) for s in TWO}
    differences = {s: ours[s] - plain[s] for s in TWO}
    rows = [
        row({s: [v.mean()] for s, v in ours.items()}),
        row({s: [v.mean()] for s, v in plain.items()}, augmentation="none"),
    ]
    test = McNemarTest(0, 20, 0, 1e-6)
    (paired,) = compare(rows, against_none, lambda _, __: Networks(differences, test))
    (unpaired,) = compare(rows, against_none)
    assert (paired.paired, unpaired.paired) == (True, False)
    assert paired.difference == pytest.approx(unpaired.difference)
    assert np.ptp(paired.interval) < np.ptp(unpaired.interval) / 2
    assert paired.networks == test
    assert unpaired.networks is None


def test_mcnemar_decides_nothing():
    rows = [row({s: [0.9] for s in TWO}), row({s: [0.895] for s in TWO}, augmentation="none")]
    sure = Networks(None, McNemarTest(0, 100, 0, 1e-20))
    (comparison,) = compare(rows, against_none, lambda _, __: sure)
    assert comparison.verdict == "no significant difference"


def test_a_verdict_is_by_the_adjusted_p():
    # Six speakers who agree: p = 2 / 64; of two such tests each is multiplied by two.
    better = {name: [0.9 + 0.01 * i] for i, name in enumerate(SIX)}
    plain = row({name: [0.8] for name in SIX}, augmentation="none")
    rows = [plain, *(row(better, augmentation=policy) for policy in ("a", "b"))]
    (alone,) = compare(rows[:2], against_none)
    assert (alone.p, alone.p_holm, alone.verdict) == (1 / 32, 1 / 32, "improves")
    for each in compare(rows, against_none):
        assert (each.p, each.p_holm) == (1 / 32, 1 / 16)
        assert each.verdict == "no significant difference"


def test_a_comparison_has_the_seeds_of_the_side_with_fewer():
    three, two = {s: [0.9, 0.91, 0.92] for s in TWO}, {s: [0.8, 0.81] for s in TWO}
    assert compared(three, two).seeds == compared(two, three).seeds == 2
