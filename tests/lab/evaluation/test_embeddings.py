"""Embedding maps of points whose clusters are known."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy import optimize, special

from spoken_digits.lab.evaluation.embeddings import map_embeddings, probe

TAKES = 4
DIGITS = np.array([str(d) for d in range(10) for _ in range(3 * TAKES)])
PEOPLE = np.array([name for _ in range(10) for name in ("ann", "bob", "cid") for _ in range(TAKES)])


def points(digit_spread, speaker_spread, seed=0):
    """Put a clip at its digit's corner plus its speaker's, on axes of their own, plus noise."""
    rng = np.random.default_rng(seed)
    digits = np.eye(10)[DIGITS.astype(int)] * digit_spread
    people = np.eye(3)[np.unique(PEOPLE, return_inverse=True)[1]] * speaker_spread
    return np.hstack([digits, people]) + 0.1 * rng.standard_normal((len(DIGITS), 13))


def test_what_is_separable_is_found():
    both = map_embeddings("both", points(5, 5), DIGITS, PEOPLE)
    assert (both.digit_probe, both.digit_probe_by, both.speaker_probe) == (1.0, "speaker", 1.0)
    assert both.title == "both"
    assert both.numbers()["clips"] == len(DIGITS)
    # In two dimensions, too: the nearest neighbor of a clip is of the same digit.
    distance = np.linalg.norm(both.tsne[:, None] - both.tsne, axis=2) + 1e9 * np.eye(len(DIGITS))
    assert (both.labels[distance.argmin(1)] == both.labels).mean() > 0.95


def test_what_is_not_there_is_not_found():
    digits_only = map_embeddings("digits", points(5, 0), DIGITS, PEOPLE)
    assert digits_only.digit_probe == 1.0
    assert digits_only.speaker_probe < 0.5
    assert digits_only.digit_silhouette > 0.5 > 0.05 > digits_only.speaker_silhouette
    people_only = map_embeddings("people", points(0, 5), DIGITS, PEOPLE)
    assert people_only.digit_probe < 0.2
    assert people_only.speaker_probe == 1.0
    assert people_only.speaker_silhouette > 0.1 > 0.0 > people_only.digit_silhouette


def test_a_digit_that_each_speaker_says_in_another_place_is_not_predicted_for_a_new_speaker():
    rng = np.random.default_rng(0)
    pairs = np.unique([d + p for d, p in zip(DIGITS, PEOPLE, strict=True)], return_inverse=True)[1]
    x = 5 * np.eye(30)[pairs] + 0.1 * rng.standard_normal((len(DIGITS), 30))
    x = (x - x.mean(0)) / x.std(0)
    assert probe(x, DIGITS, PEOPLE) == (pytest.approx(0.1, abs=0.1), "speaker")
    assert probe(x, DIGITS, None) == (
        1.0,
        "clip",
    )  # the same speakers on both sides


def test_the_silhouette_is_that_of_the_paper():
    x = points(1, 1)
    scaled = (x - x.mean(0)) / x.std(0)
    distance = np.linalg.norm(scaled[:, None] - scaled, axis=2)
    widths = []
    for i, own in enumerate(DIGITS):  # Rousseeuw 1987, equations 1 to 3
        same = (own == DIGITS) & (np.arange(len(DIGITS)) != i)
        a = distance[i, same].mean()
        b = min(distance[i, other == DIGITS].mean() for other in set(DIGITS) - {own})
        widths.append((b - a) / max(a, b))
    found = map_embeddings("x", x, DIGITS, PEOPLE)
    assert found.digit_silhouette == pytest.approx(np.mean(widths))


def test_the_principal_components_are_the_singular_vectors():
    x = points(1, 1)
    found = map_embeddings("x", x, DIGITS, PEOPLE)
    u, s, _ = np.linalg.svd((x - x.mean(0)) / x.std(0), full_matrices=False)
    assert np.abs(found.pca) == pytest.approx(np.abs(u[:, :2] * s[:2]))
    assert found.explained == pytest.approx(s[:2] ** 2 / (s**2).sum())


def test_a_map_is_always_the_same_and_draws_a_part():
    first, second = (
        map_embeddings("x", points(1, 1), DIGITS, PEOPLE, max_drawn=40) for _ in range(2)
    )
    assert len(first.labels) == len(first.tsne) == len(first.pca) == 40
    assert first.clips == len(DIGITS)
    for name, value in asdict(first).items():
        assert np.array_equal(value, getattr(second, name))
    # What is measured is all of it.
    assert first.numbers() == map_embeddings("x", points(1, 1), DIGITS, PEOPLE).numbers()


def test_one_speaker_is_measured_by_clip():
    alone = map_embeddings("x", points(5, 0), DIGITS, ["ann"] * len(DIGITS))
    assert (alone.digit_probe, alone.digit_probe_by) == (1.0, "clip")
    assert alone.speaker_probe is None
    assert alone.speaker_silhouette is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:, :0].sum(1), "of shape"),
        (lambda x: x[:-1], "expected"),
        (lambda x: np.where(x == x.max(), np.nan, x), "finite"),
    ],
)
def test_bad_embeddings_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        map_embeddings("x", change(points(1, 1)), DIGITS, PEOPLE)


def test_too_few_clips_are_named():
    with pytest.raises(ValueError, match="9 clips of 1 digits: expected ten clips or more"):
        map_embeddings("x", points(1, 1)[:9], DIGITS[:9], PEOPLE[:9])


def test_the_probe_is_multinomial_regression_with_the_regularization_of_the_protocol():
    x = points(0.12, 0.3, seed=3)
    x = (x - x.mean(0)) / x.std(0)
    labels = DIGITS.astype(int)

    def predicted(fitted, tested, inverse_strength):
        """Minimize half the squared weights plus C times the negative log-likelihood."""
        truth = np.eye(10)[labels[fitted]]

        def loss(flat):
            weight, bias = flat[:-10].reshape(13, 10), flat[-10:]
            log_p = special.log_softmax(x[fitted] @ weight + bias, axis=1)
            error = inverse_strength * (np.exp(log_p) - truth)
            gradient = np.r_[(x[fitted].T @ error + weight).ravel(), error.sum(0)]
            return (weight**2).sum() / 2 - inverse_strength * (truth * log_p).sum(), gradient

        flat = optimize.minimize(loss, np.zeros(140), jac=True, options={"maxiter": 5_000}).x
        return (x[tested] @ flat[:-10].reshape(13, 10) + flat[-10:]).argmax(1)

    def accuracy(inverse_strength):
        right = [
            predicted(name != PEOPLE, name == PEOPLE, inverse_strength) == labels[name == PEOPLE]
            for name in np.unique(PEOPLE)
        ]
        return np.mean(right)

    assert probe(x, DIGITS, PEOPLE)[0] == pytest.approx(accuracy(0.1), abs=0.009)  # one clip
    assert abs(accuracy(0.1) - accuracy(100.0)) > 0.02
