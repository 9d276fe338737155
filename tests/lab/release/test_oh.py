"""The row for "oh": fitted as scikit-learn does, and the rest of a network stays as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from spoken_digits.lab.data.corpora import DIGITS, read_corpus
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.release import oh
from spoken_digits.lab.release.oh import LABELS, add_oh, fit_row
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.supervised import build_network, predict_all


def rows(n: int = 400) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    is_oh = rng.random(n) < 0.2
    embeddings = rng.normal(3, 2, (n, 5)) + is_oh[:, None] * np.array([1, 0, 0, -2, 0])
    return embeddings, is_oh, ["b" if x else "a" for x in rng.random(n) < 0.1]


def test_without_an_offset_it_is_scikit_learns_logistic_regression() -> None:
    embeddings, is_oh, corpora = rows()
    weight, bias = fit_row(embeddings, np.zeros(len(is_oh)), is_oh, corpora)
    # Both corpora weigh alike on either side; "oh" weighs 7 % of all.
    sides = list(zip(is_oh, corpora, strict=True))
    share = {True: 0.07 / 2, False: 0.93 / 2}
    p = [share[bool(side[0])] / sides.count(side) for side in sides]
    assert sum(p) == pytest.approx(1)
    mean, std = embeddings.mean(0), embeddings.std(0)
    peer = LogisticRegression(C=1 / (2 * oh._PENALTY), tol=1e-10, max_iter=10_000)
    peer.fit((embeddings - mean) / std, is_oh, sample_weight=p)
    np.testing.assert_allclose(weight * std, peer.coef_[0], atol=2e-3, rtol=2e-3)
    assert bias + weight @ mean == pytest.approx(float(peer.intercept_[0]), abs=2e-3)


def test_the_score_of_oh_is_set_against_those_of_all_other_classes() -> None:
    embeddings, is_oh, corpora = rows()
    plain = fit_row(embeddings, np.zeros(len(is_oh)), is_oh, corpora)
    shifted = fit_row(embeddings, np.full(len(is_oh), 4.0), is_oh, corpora)
    np.testing.assert_allclose(shifted[0], plain[0], atol=5e-3)
    assert shifted[1] - plain[1] == pytest.approx(4, abs=0.02)
    # What the embeddings say is said already: nothing is left to learn.
    odds = embeddings @ plain[0] + plain[1]
    told = fit_row(embeddings, -odds, is_oh, corpora)
    assert (
        np.abs(told[0] * embeddings.std(0)).max() < 0.3 * np.abs(plain[0] * embeddings.std(0)).max()
    )


def test_a_network_keeps_its_scores_and_tells_oh_from_the_rest(
    pooled_corpora: Path, tmp_path: Path
) -> None:
    config = TrainConfig(model="cnn-tiny", oov_fraction=0.25)
    net = build_network(config, len(DIGITS)).eval()
    clips = [replace(c, corpus="made") for c in read_corpus(pooled_corpora / "made")]
    clips += [replace(c, corpus="an4") for c in read_corpus(pooled_corpora / "excerpts" / "an4")]
    grown = add_oh(config, net, clips, tmp_path)
    dataset = prepare(clips, tmp_path, LABELS)
    everything = np.arange(len(clips))
    before, _, is_digit = predict_all(net, dataset, everything)
    after, _, is_any = predict_all(grown, dataset, everything)
    np.testing.assert_allclose(after[:, :10], before, atol=1e-5)
    other = np.logaddexp.reduce(after, axis=1) - is_any
    np.testing.assert_allclose(other, np.logaddexp.reduce(before, axis=1) - is_digit, atol=1e-4)
    said = np.array([clip.label == "oh" for clip in clips])
    odds = after[:, 10] - np.logaddexp(np.logaddexp.reduce(before, axis=1), other)
    assert odds[said].min() > odds[~said].max()
