"""Rejection against counts of pairs, closed forms and made-up scores."""

import json

import numpy as np
import pytest
import soundfile
from scipy.stats import norm
from toy_model import write_toy_model

from spoken_digits.cli import main
from spoken_digits.lab.evaluation.rejection import (
    FALSE_REJECT_RATES,
    THRESHOLDS,
    WINDOW_S,
    ScoredClips,
    auroc,
    class_distance,
    compare_scores,
    describe_rejection,
    equal_error,
    evaluate_rejection,
)

RNG = np.random.default_rng(0)


def made_up(n_digits: int = 400, n_oov: int = 300) -> ScoredClips:
    n = n_digits + n_oov
    is_digit = np.arange(n) < n_digits
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(n, 10))
    truth = rng.integers(10, size=n)
    logits[is_digit, truth[is_digit]] += 2.5  # right nine times in ten
    embeddings = rng.normal(size=(n, 4))
    embeddings[is_digit, 0] += 3 * truth[is_digit]
    return ScoredClips(
        logits=logits,
        embeddings=embeddings,
        scores=np.clip(rng.normal(0.3 + 0.4 * is_digit, 0.15), 0, 1),
        is_digit=is_digit,
        correct=logits.argmax(axis=1) == truth,
        labels=np.where(is_digit, truth.astype(str), "cat"),
        speakers=np.array([f"s{k % 9}" for k in range(n)]),
        seconds=np.where(is_digit, 1.0, 2.0),
    )


@pytest.mark.parametrize("decimals", [1, 2, 12])  # with ties, and without
@pytest.mark.parametrize("sizes", [(1, 1), (5, 300), (400, 300)])
def test_auroc_is_the_fraction_of_pairs_in_order(sizes, decimals):
    digits = RNG.normal(1, 1, sizes[0]).round(decimals)
    oov = RNG.normal(0, 1, sizes[1]).round(decimals)
    pairs = np.sign(digits[:, None] - oov)
    expected = (1 + pairs.mean()) / 2  # a tie counts half
    assert auroc(digits, oov) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 12])
def test_the_equal_error_rate_is_where_the_roc_curve_crosses_the_diagonal(decimals):
    digits, oov = RNG.normal(1, 1, 400).round(decimals), RNG.normal(0, 1, 300).round(decimals)
    scores = np.unique([*digits, *oov])
    thresholds = np.append(scores, np.inf)[::-1]
    false = np.array([(oov >= t).mean() for t in thresholds])
    true = np.array([(digits >= t).mean() for t in thresholds])
    grid = np.linspace(0, 1, 200_001)
    expected = grid[np.argmin(np.abs(1 - np.interp(grid, false, true) - grid))]
    rate, threshold = equal_error(digits, oov)
    assert rate == pytest.approx(expected, abs=1e-4)
    step = max((digits == t).mean() + (oov == t).mean() for t in scores)
    assert abs((digits < threshold).mean() - rate) <= step
    assert abs((oov >= threshold).mean() - rate) <= step


def test_two_normal_scores_have_known_rates():
    grid = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    rate, threshold = equal_error(grid + 3, grid)
    assert rate == pytest.approx(norm.cdf(-1.5), abs=1e-4)
    assert threshold == pytest.approx(1.5, abs=1e-3)
    assert auroc(grid + 3, grid) == pytest.approx(norm.cdf(3 / np.sqrt(2)), abs=1e-4)


@pytest.mark.parametrize(
    ("digits", "oov", "area", "rate"),
    [
        ([2, 3], [0, 1], 1, 0),
        ([0, 1], [2, 3], 0, 1),
        ([1], [1], 0.5, 0.5),
        ([1, 1], [1, 0], 0.75, 1 / 3),
    ],
)
def test_extremes_are_exact(digits, oov, area, rate):
    assert auroc(digits, oov) == pytest.approx(area)
    found, threshold = equal_error(digits, oov)
    assert found == pytest.approx(rate)
    assert np.isfinite(threshold)


def test_an_operating_point_counts_what_it_says():
    scored, noise = made_up(), np.array([0.0, 0.2, 0.6, 0.7])
    evaluation = evaluate_rejection(scored, 0.55, noise)
    point = evaluation.default
    digits, oov = scored.scores[:400], scored.scores[400:]
    assert point.threshold == 0.55
    assert 0.7 < scored.correct[:400].mean() < 0.99
    assert point.false_reject_rate == (digits < 0.55).mean()
    assert point.false_accept_rate == (oov >= 0.55).mean()
    assert point.accuracy == ((digits >= 0.55) & scored.correct[:400]).mean()
    assert point.accepted_accuracy == pytest.approx(scored.correct[:400][digits >= 0.55].mean())
    assert point.word_false_alarms_per_hour == pytest.approx((oov >= 0.55).sum() / (300 * 2 / 3600))
    assert point.noise_false_alarms_per_hour == pytest.approx(2 / (4 * WINDOW_S / 3600))
    first = evaluation.operating_points[0]
    assert (first.threshold, first.false_reject_rate, first.false_accept_rate) == (0, 0, 1)
    # At a threshold of 0 even, the silent window is no alarm.
    assert first.noise_false_alarms_per_hour == pytest.approx(3 / (4 * WINDOW_S / 3600))
    assert [each.threshold for each in evaluation.operating_points] == list(THRESHOLDS)


def test_a_threshold_above_every_digit_accepts_none():
    point = evaluate_rejection(made_up(), 1.1).default
    assert (point.false_reject_rate, point.accuracy, point.accepted_accuracy) == (1, 0, None)


def test_a_threshold_is_found_for_a_false_reject_rate():
    evaluation = evaluate_rejection(made_up(), 0.5)
    digits = made_up().scores[:400]
    for rate, point in zip(FALSE_REJECT_RATES, evaluation.at_false_reject_rate, strict=True):
        assert (digits < point.threshold).mean() <= rate
        assert (digits <= point.threshold).mean() > rate  # any higher threshold rejects more
        assert point.false_reject_rate == (digits < point.threshold).mean()


def test_the_curve_encloses_the_area():
    evaluation = evaluate_rejection(made_up(), 0.5)
    x, y = np.array(evaluation.roc_curve).T
    assert len(x) == 101
    assert (np.diff(y) >= 0).all()
    assert (x[0], x[-1], y[-1]) == (0, 1, 1)
    digits, oov = made_up().scores[:400], made_up().scores[400:]
    assert y[0] == (digits > oov.max()).mean()  # the best of the points without a false accept
    assert np.trapezoid(y, x) == pytest.approx(evaluation.auroc, abs=0.01)
    assert evaluation.default.noise_false_alarms_per_hour is None
    plain = json.loads(json.dumps(evaluation.to_dict()))
    assert plain["auroc"] == evaluation.auroc
    assert plain["scores"]["own"] == {"auroc": evaluation.auroc, "eer": evaluation.eer}
    text = describe_rejection(evaluation)
    assert text.startswith(f"AUROC              {evaluation.auroc:6.1%}  of 400 digits against 300")
    assert text.count("the model's own") == 1
    assert "false rejects at most 2%" in text


def test_scores_are_compared_by_what_any_network_gives():
    scored = made_up()
    scores = compare_scores(scored)
    assert list(scores) == [
        "own", "largest probability", "largest logit", "energy", "class distance"
    ]  # fmt: skip
    exponentials = np.exp(scored.logits)
    np.testing.assert_allclose(
        scores["largest probability"], (exponentials.T / exponentials.sum(axis=1)).max(axis=0)
    )
    np.testing.assert_allclose(scores["energy"], np.log(exponentials.sum(axis=1)))
    np.testing.assert_array_equal(scores["largest logit"], scored.logits.max(axis=1))


def test_classes_are_fitted_on_other_speakers_than_are_scored():
    scored = made_up()
    first = np.isin(scored.speakers, ["s0", "s2", "s4", "s6", "s8"])  # every second of nine
    found = compare_scores(scored)["class distance"]
    for half in (first, ~first):
        fitted = ~half & scored.is_digit
        expected = class_distance(
            scored.embeddings[fitted], scored.labels[fitted], scored.embeddings[half]
        )
        np.testing.assert_allclose(found[half], expected)


def test_class_distance_is_mahalanobis_by_the_loop():
    learned, labels = RNG.normal(size=(60, 3)) * [1, 2, 5], np.repeat(["a", "b"], 30)
    learned[30:] += 4
    asked = RNG.normal(size=(7, 3))
    within = np.concatenate(
        [learned[:30] - learned[:30].mean(0), learned[30:] - learned[30:].mean(0)]
    )
    spread = within.T @ within / 60
    spread = 0.9 * spread + 0.1 * np.trace(spread) / 3 * np.eye(3)
    for x, found in zip(asked, class_distance(learned, labels, asked), strict=True):
        ways = [x - learned[labels == name].mean(0) for name in "ab"]
        assert found == pytest.approx(-min(d @ np.linalg.inv(spread) @ d for d in ways))


@pytest.mark.parametrize("keep", [slice(0, 400), slice(400, 700)])
def test_digits_alone_and_others_alone_are_no_test(keep):
    scored = made_up()
    part = ScoredClips(
        **{name: getattr(scored, name)[keep] for name in ScoredClips.__dataclass_fields__}
    )
    with pytest.raises(ValueError, match="expected some of both: take a corpus with other words"):
        evaluate_rejection(part, 0.5)


def test_scores_must_be_finite():
    with pytest.raises(ValueError, match=r"scores of OOV .* finite"):
        auroc([1.0], [np.nan])


def test_the_command_evaluates_a_corpus_with_other_words(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data" / "speech_commands"
    rng = np.random.default_rng(2)
    for word, gain in (("one", 0.5), ("nine", 0.3), ("cat", 0.05), ("dog", 0.03)):
        (folder / word).mkdir(parents=True)
        for k in range(4):
            samples = gain * np.hanning(4_000) * rng.standard_normal(4_000)
            soundfile.write(folder / word / f"ab{k}_nohash_0.wav", samples, 16_000)
    (folder / "_background_noise_").mkdir()
    hiss = 0.01 * rng.standard_normal(80_000)
    soundfile.write(folder / "_background_noise_" / "hiss.wav", hiss, 16_000)
    model = str(write_toy_model(tmp_path / "toy.onnx", rejection=True, rejection_threshold="-0.95"))
    data = ["--data", str(tmp_path / "data")]
    assert main(["evaluate", model, "--rejection", "--json", *data]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert (evaluation["digits"], evaluation["oov"]) == (8, 8)
    assert evaluation["auroc"] == 1  # the toy accepts what is loud
    assert evaluation["noise_s"] == 4.5
    assert evaluation["default"]["threshold"] == pytest.approx(1 / (1 + np.exp(0.95)))
    figure = tmp_path / "curves.svg"
    assert main(["evaluate", model, "--rejection", "--figure", str(figure), *data]) == 0
    svg = figure.read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "AUROC 1.000, EER 0.000" in svg
    assert "xmlns=" in svg
    assert "AUROC              100.0%  of 8 digits against 8 other words, 4 speakers" in (
        capsys.readouterr().out
    )
