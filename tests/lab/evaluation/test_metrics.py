"""Each number of an evaluation against a closed form, a naive loop or another library."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from spoken_digits.lab.evaluation import metrics as ev
from spoken_digits.lab.runs import read_json, write_json

DIGITS = tuple("0123456789")


def made_up(seed=0, n_clips=300, skill=2.0, speakers=("ann", "bob", "cem"), names=DIGITS):
    """Predictions that are right more often the higher `skill` is; the last clips have no say."""
    rng = np.random.default_rng([seed, n_clips])
    clips = np.random.default_rng(n_clips)
    labels = clips.integers(len(names), size=n_clips)
    scores = rng.normal(size=(n_clips, len(names)))
    scores[np.arange(n_clips), labels] += skill
    return ev.Predictions(
        scores=scores,
        labels=labels,
        speakers=clips.choice(speakers, n_clips),
        files=[f"{i}.wav" for i in range(n_clips)],
        label_names=names,
        listed=np.arange(n_clips) % 2 == 0,
    )


def scripted(truth, predicted, speakers=None, names=("a", "b")):
    """Predictions whose highest score is where `predicted` says."""
    return ev.Predictions(
        scores=np.eye(len(names))[predicted],
        labels=truth,
        speakers=speakers or ["ann"] * len(truth),
        files=[str(i) for i in range(len(truth))],
        label_names=names,
        listed=[False] * len(truth),
    )


# One network


@pytest.mark.parametrize("skill", [0.0, 1.0, 3.0])
def test_scores_of_labels_agree_with_counting(skill):
    predictions = made_up(skill=skill)
    evaluation = ev.evaluate(predictions)
    truth, predicted = predictions.labels, predictions.predicted
    for c, score in enumerate(evaluation.per_label.values()):
        right, spoken, said = (truth == c) & (predicted == c), truth == c, predicted == c
        assert score.precision == pytest.approx(right.sum() / max(said.sum(), 1))
        assert score.recall == pytest.approx(right.sum() / max(spoken.sum(), 1))
        assert score.f1 == pytest.approx(2 * right.sum() / max(spoken.sum() + said.sum(), 1))
        assert score.support == spoken.sum()
    assert evaluation.accuracy == metrics.accuracy_score(truth, predicted)
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    counted = [[((truth == t) & (predicted == p)).sum() for p in range(10)] for t in range(10)]
    np.testing.assert_array_equal(evaluation.confusion, counted)


def test_macro_f1_leaves_out_labels_neither_spoken_nor_predicted():
    truth, predicted = [0, 0, 1, 1], [0, 1, 1, 1]
    evaluation = ev.evaluate(scripted(truth, predicted, names=("a", "b", "c")))
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert evaluation.per_label["c"] == ev.LabelScore(0.0, 0.0, 0.0, 0)


def test_a_speaker_has_his_own_accuracy_and_his_worst_digit():
    # ann: a right, b right, b wrong; bob: a wrong, a wrong, b right.
    predictions = scripted([0, 1, 1, 0, 0, 1], [0, 1, 0, 1, 1, 1], ["ann"] * 3 + ["bob"] * 3)
    evaluation = ev.evaluate(predictions)
    assert evaluation.per_speaker == {
        "ann": ev.SpeakerScore(2 / 3, 3, "b", 1 / 2),
        "bob": ev.SpeakerScore(1 / 3, 3, "a", 0.0),
    }
    assert evaluation.worst_speaker == "bob"


def test_listed_accuracy_counts_listed_clips_only():
    predictions = made_up()
    right = [
        c for c, on_list in zip(predictions.correct, predictions.listed, strict=True) if on_list
    ]
    assert ev.evaluate(predictions).listed_accuracy == pytest.approx(sum(right) / len(right))
    assert ev.evaluate(scripted([0], [0])).listed_accuracy is None


def test_an_evaluation_survives_json_exactly(tmp_path):
    evaluation = ev.evaluate(made_up(n_clips=97))
    write_json(tmp_path / "evaluation.json", evaluation)
    assert read_json(tmp_path / "evaluation.json", ev.Evaluation) == evaluation


def test_predictions_survive_the_disk_and_give_the_same_bytes(tmp_path):
    predictions = made_up()
    predictions.save(tmp_path / "one.npz")
    loaded = ev.Predictions.load(tmp_path / "one.npz")
    loaded.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert loaded.label_names == DIGITS
    assert loaded.scores.dtype == np.float32
    for name in ("scores", "labels", "speakers", "files", "listed"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(predictions, name))
    assert {file.name for file in tmp_path.iterdir()} == {"one.npz", "two.npz"}


def test_a_file_that_holds_no_predictions_is_named(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", scores=np.zeros((2, 2)))
    for file in tmp_path.iterdir():
        with pytest.raises(ValueError, match=rf"{file.name}: not a file of predictions"):
            ev.Predictions.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.zeros((0, 2))}, "no predictions"),
        ({"scores": np.zeros((2, 3))}, r"shape \(2, 3\): expected \(2, 2\)"),
        ({"speakers": ["ann"]}, r"speakers of shape \(1,\): expected \(2,\)"),
        ({"files": ["x", "y", "z"]}, r"files of shape \(3,\)"),
        ({"listed": [True]}, r"listed of shape \(1,\)"),
        ({"scores": [[0.0, 1.0], [np.nan, 0.0]]}, "two.wav: scores .*nan.* not all finite"),
        ({"scores": [[0.0, np.inf], [0.0, 0.0]]}, "one.wav: scores .*inf.* not all finite"),
        ({"labels": [0, 2]}, "two.wav: label 2 is outside 0 to 1"),
        ({"labels": [-1, 0]}, "one.wav: label -1 is outside 0 to 1"),
        ({"labels": [0.5, 1.0]}, "labels of type float64"),
    ],
)
def test_bad_predictions_are_refused_by_name(change, message):
    good = {
        "scores": np.zeros((2, 2)),
        "labels": [0, 1],
        "speakers": ["ann", "ann"],
        "files": ["one.wav", "two.wav"],
        "label_names": ("a", "b"),
        "listed": [True, False],
    }
    ev.Predictions(**good)
    with pytest.raises(ValueError, match=message):
        ev.Predictions(**(good | change))


# Calibration


def naive_calibration_error(scores, labels):
    """Guo et al. 2017, equation 3, bin by bin and clip by clip."""
    total = 0.0
    for m in range(15):
        inside = []
        for z, label in zip(scores, labels, strict=True):
            p = [math.exp(v - max(z)) for v in z]
            confidence = max(p) / sum(p)
            if m / 15 < confidence <= (m + 1) / 15:
                inside.append((p.index(max(p)) == label, confidence))
        if inside:
            accuracy = sum(right for right, _ in inside) / len(inside)
            confidence = sum(c for _, c in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


def test_calibration_error_agrees_with_a_naive_loop():
    predictions = made_up(skill=1.0)
    scores = predictions.scores.astype(float)
    expected = naive_calibration_error(scores.tolist(), predictions.labels.tolist())
    assert ev.expected_calibration_error(scores, predictions.labels) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Confidence 0.8 on four clips, three right: a gap of 0.05. Certain and right: no gap.
    sure = np.log([0.8, 0.2])
    assert ev.expected_calibration_error([sure] * 4, [0, 0, 0, 1]) == pytest.approx(0.05)
    assert ev.expected_calibration_error([[50.0, -50.0]], [0]) == pytest.approx(0.0)


# Intervals and tests


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (987, 1000), (986.6, 1000)])
def test_wilson_agrees_with_statsmodels(successes, trials):
    expected = proportion_confint(successes, trials, method="wilson")
    assert ev.wilson(successes, trials) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5), (math.nan, 5)])
def test_wilson_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} of {trials}"):
        ev.wilson(successes, trials)


def test_bootstrap_over_two_speakers_spans_the_two():
    # Each speaker alone is drawn twice with probability 1/4, more than the 2.5 % cut off.
    interval = ev.cluster_bootstrap([0.9, 0.98], np.random.default_rng(0))
    assert interval == pytest.approx((0.9, 0.98))


def test_bootstrap_agrees_with_all_resamples_enumerated():
    values = np.array([0.1, 0.25, 0.5, 0.55, 0.9])
    means = [np.mean(draw) for draw in itertools.product(values, repeat=5)]
    expected = np.quantile(means, [0.025, 0.975])
    interval = ev.cluster_bootstrap(values, np.random.default_rng(1))
    assert interval == pytest.approx(expected, abs=0.02)


def test_bootstrap_agrees_with_plain_resampling_and_repeats_with_its_seed():
    values = np.random.default_rng(3).uniform(0.7, 1.0, 40)
    draws = np.random.default_rng(4).integers(40, size=(20_000, 40))
    expected = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    interval = ev.cluster_bootstrap(values, np.random.default_rng(5))
    assert interval == pytest.approx(expected, abs=2e-3)
    assert interval == ev.cluster_bootstrap(values, np.random.default_rng(5))


def test_bootstrap_of_one_speaker_is_that_speaker():
    assert ev.cluster_bootstrap([0.9], np.random.default_rng(0)) == (0.9, 0.9)


def test_fewer_than_six_speakers_carry_a_note():
    assert "2 test speakers" in ev.speakers_note(2)
    assert "p is 0.5:" in ev.speakers_note(2)
    assert "1 test speaker " in ev.speakers_note(1)
    assert ev.speakers_note(5)
    assert ev.speakers_note(6) is None  # 2 / 64 = 0.031


@pytest.mark.parametrize("skill", [0.5, 1.9, 2.0])
def test_mcnemar_agrees_with_statsmodels(skill):
    first, second = made_up(seed=1), made_up(seed=2, skill=skill)
    a, b = first.correct, second.correct
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    result = ev.mcnemar(first, second)
    assert (result.only_first, result.only_second) == (table[0][1], table[1][0])
    assert result.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)


def test_networks_that_never_differ_are_not_told_apart():
    assert ev.mcnemar(made_up(), made_up()) == ev.McNemar(0, 0, 1.0)


def test_networks_on_different_clips_are_not_compared():
    with pytest.raises(ValueError, match="files of 300 and 299 predictions differ"):
        ev.mcnemar(made_up(), made_up(n_clips=299))


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.9], [0.2], []])
def test_holm_agrees_with_statsmodels(p):
    expected = multipletests(p, method="holm")[1] if p else []
    assert ev.holm(p) == pytest.approx(tuple(expected))


def test_holm_refuses_what_is_no_probability():
    for p in ([0.1, math.nan], [1.1]):
        with pytest.raises(ValueError, match="expected each from 0 to 1"):
            ev.holm(p)


@pytest.mark.parametrize("n_speakers", [2, 6, 9, 13])
def test_sign_flip_agrees_with_all_signs_enumerated(n_speakers):
    differences = np.random.default_rng(n_speakers).normal(0.3, 1, n_speakers)
    signs = np.array(list(itertools.product([1, -1], repeat=n_speakers)))
    sums = np.abs(signs @ differences)
    expected = (sums >= abs(differences.sum()) - 1e-12).mean()
    assert ev.sign_flip(differences, np.random.default_rng(0)) == pytest.approx(expected)


def test_six_speakers_who_agree_reach_the_smallest_p():
    assert ev.sign_flip([0.1] * 6, np.random.default_rng(0)) == 2 / 64
    assert ev.sign_flip([0.0] * 6, np.random.default_rng(0)) == 1.0
    assert ev.sign_flip([0.1], np.random.default_rng(0)) == 1.0


def test_sign_flip_over_many_speakers_is_sampled_and_never_zero():
    differences = np.random.default_rng(7).normal(0.35, 1, 40)
    p = ev.sign_flip(differences, np.random.default_rng(8))
    # For many speakers the test approaches the normal one with the uncentered variance.
    z = differences.sum() / math.sqrt((differences**2).sum())
    assert p == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.01)
    assert ev.sign_flip([1.0] * 40, np.random.default_rng(9)) == 1 / ev.RESAMPLES


@pytest.mark.parametrize("values", [[], [0.5, math.nan]])
def test_statistics_over_speakers_refuse_nothing_and_nan(values):
    for statistic in (ev.cluster_bootstrap, ev.sign_flip):
        with pytest.raises(ValueError, match="expected at least one finite number"):
            statistic(values, np.random.default_rng(0))


# Differences over clips and seeds


@pytest.mark.parametrize(("first", "second", "clips"), [(90, 80, 100), (500, 480, 500), (3, 3, 9)])
def test_unpaired_margins_of_one_speaker_are_newcombes(first, second, clips):
    low, high = confint_proportions_2indep(
        first, clips, second, clips, method="newcomb", compare="diff"
    )
    below, above = ev.unpaired_margins([first / clips], [second / clips], [clips])
    difference = (first - second) / clips
    assert (difference - below, difference + above) == pytest.approx((low, high))


def test_unpaired_margins_of_speakers_alike_shrink_with_their_root():
    alone = ev.unpaired_margins([0.9], [0.8], [100])
    four = ev.unpaired_margins([0.9] * 4, [0.8] * 4, [100] * 4)
    assert four == pytest.approx(tuple(margin / 2 for margin in alone))


def test_unpaired_margins_hold_the_difference_of_correlated_errors_95_times_in_100():
    rng = np.random.default_rng(0)
    clips, truth = np.array([60, 200]), np.array([[0.9, 0.7], [0.8, 0.75]])
    held = 0
    for _ in range(1000):
        # The same uniform number decides both sides: hard clips are hard for both.
        draws = [rng.random(n) for n in clips]
        rates = [[(d < p).mean() for d, p in zip(draws, side, strict=True)] for side in truth]
        difference = np.mean(np.subtract(*rates))
        below, above = ev.unpaired_margins(*rates, clips)
        held += difference - below <= np.mean(truth[0] - truth[1]) <= difference + above
    assert held > 950


def test_paired_margins_hold_the_difference_and_are_narrower():
    rng = np.random.default_rng(1)
    held, n = 0, 200
    for _ in range(1000):
        draws = {name: rng.random(n) for name in ("ann", "bob")}
        pairs = {k: ((d < 0.9).astype(float), (d < 0.8).astype(float)) for k, d in draws.items()}
        differences = {k: a - b for k, (a, b) in pairs.items()}
        below, above = ev.paired_margins(differences)
        difference = np.mean([d.mean() for d in differences.values()])
        held += difference - below <= 0.1 <= difference + above
    assert 920 <= held <= 980
    rates = [[pair[side].mean() for pair in pairs.values()] for side in (0, 1)]
    assert below < ev.unpaired_margins(*rates, [n, n])[0]


def test_seed_margin_is_welchs():
    first, second = np.random.default_rng(2).normal(0.9, 0.02, 5), np.array([0.85, 0.86, 0.81])
    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    sds = float(first.std(ddof=1)), float(second.std(ddof=1))
    assert ev.seed_margin(sds, (5, 3)) == pytest.approx((high - low) / 2)
    # With spread on one side alone, Student's t of its degrees of freedom: 4.303 for two.
    assert ev.seed_margin((0.03, 0.0), (3, 4)) == pytest.approx(4.3026527 * 0.03 / math.sqrt(3))


def test_seeds_without_spread_and_one_seed_alone():
    assert ev.seed_margin((0.0, 0.0), (2, 3)) == 0.0
    assert ev.seed_margin((None, 0.1), (1, 3)) is None


# Several seeds


def test_aggregate_averages_within_a_speaker_first():
    # ann speaks four clips and bob one, so clips and speakers weigh differently.
    speakers = ["ann"] * 4 + ["bob"]
    runs = [
        (7, scripted([0] * 5, [0, 0, 0, 1, 1], speakers)),  # ann 3/4, bob 0
        (3, scripted([0] * 5, [0, 0, 0, 0, 0], speakers)),  # ann 1, bob 1
    ]
    total = ev.aggregate(runs, np.random.default_rng(0))
    assert total.seeds == (3, 7)
    assert total.per_seed == (1.0, 0.375)
    assert total.accuracy_mean == (7 / 8 + 1 / 2) / 2
    assert total.accuracy_sd == pytest.approx(np.std([1.0, 0.375], ddof=1))
    assert total.per_speaker["ann"] == ev.SpeakerScore(7 / 8, 4, "a", 7 / 8)
    assert total.per_speaker_seed == {"ann": (1.0, 0.75), "bob": (1.0, 0.0)}
    assert total.worst_speaker == "bob"
    assert total.speaker_interval == pytest.approx((0.5, 0.875))
    assert total.wilson_interval == pytest.approx(
        proportion_confint(5 * 11 / 16, 5, method="wilson")
    )
    assert total.confusion == ((4.0, 1.0), (0.0, 0.0))
    assert "2 test speakers" in total.note


def test_aggregate_is_the_mean_of_the_evaluations():
    runs = [(seed, made_up(seed)) for seed in range(3)]
    total = ev.aggregate(runs, np.random.default_rng(0))
    evaluations = [ev.evaluate(predictions) for _, predictions in runs]
    for name in ("macro_f1", "ece", "listed_accuracy"):
        mean = sum(getattr(e, name) for e in evaluations) / 3
        assert getattr(total, name) == pytest.approx(mean)
    recalls = [e.per_label["4"].recall for e in evaluations]
    assert total.per_label["4"].recall == pytest.approx(sum(recalls) / 3)


def test_one_seed_has_no_spread():
    total = ev.aggregate([(0, made_up())], np.random.default_rng(0))
    assert total.accuracy_sd is None
    assert total.per_seed == (total.accuracy_mean,)


def test_aggregate_refuses_what_does_not_belong_together():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no runs"):
        ev.aggregate([], generator)
    with pytest.raises(ValueError, match=r"seeds \(1, 1\): expected each once"):
        ev.aggregate([(1, made_up()), (1, made_up())], generator)
    with pytest.raises(ValueError, match="differ: expected the same test set"):
        ev.aggregate([(0, made_up()), (1, made_up(n_clips=299))], generator)


@pytest.mark.parametrize(("count", "exposure"), [(0, 1.0), (1, 2.5), (17, 0.5), (400, 3.0)])
def test_the_poisson_interval_is_where_the_count_is_one_in_forty(count, exposure):
    low, high = ev.poisson_interval(count, exposure)
    assert stats.poisson.cdf(count, high * exposure) == pytest.approx(0.025, abs=1e-9)
    if count:
        assert stats.poisson.sf(count - 1, low * exposure) == pytest.approx(0.025, abs=1e-9)
    else:
        assert low == 0
    with pytest.raises(ValueError, match="-1 events in 1: expected"):
        ev.poisson_interval(-1)
    with pytest.raises(ValueError, match="in more than 0"):
        ev.poisson_interval(3, 0.0)


def test_the_difference_of_pooled_rates_is_bootstrapped_over_whole_speakers():
    rng = np.random.default_rng(0)
    rows = np.stack([rng.binomial(20, 0.1, 30), np.full(30, 20), rng.binomial(10, 0.3, 30),
                     np.full(30, 10)], axis=1)  # fmt: skip
    rows[3, :2] = 0  # has nothing on one side
    value, (low, high) = ev.ratio_difference(rows, np.random.default_rng(1))
    assert value == pytest.approx(rows[:, 0].sum() / 580 - rows[:, 2].sum() / 300)
    drawn = []
    for _ in range(4_000):  # naively
        e, d, other_e, other_d = rows[rng.integers(0, 30, 30)].sum(axis=0)
        drawn.append(e / d - other_e / other_d)
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.006)
    assert ev.ratio_difference([[1, 4, 0, 2]], rng) == (0.25, (0.25, 0.25))
    with pytest.raises(ValueError, match="4 and 0 digits: expected some on either side"):
        ev.ratio_difference([[1, 4, 0, 0]], rng)
