"""Log-odds and probabilities, against scipy's; and where they are certain."""

import numpy as np
import pytest
from scipy import special

from spoken_digits.probability import log_odds, log_softmax, sigmoid


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_is_that_of_scipy_in_the_same_precision(dtype):
    scores = (50 * np.random.default_rng(0).standard_normal((3, 4, 11))).astype(dtype)
    found = log_softmax(scores)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, special.log_softmax(scores, axis=-1), rtol=1e-5, atol=1e-5)


def test_log_odds_and_sigmoid_are_those_of_scipy():
    p = np.random.default_rng(0).uniform(size=100) ** 4
    np.testing.assert_allclose(log_odds(p), special.logit(p), rtol=1e-12)
    x = np.linspace(-800, 800, 1_001)
    np.testing.assert_allclose(sigmoid(x), special.expit(x), atol=1e-15)
    np.testing.assert_allclose(sigmoid(log_odds(p)), p, rtol=1e-9, atol=1e-15)


@pytest.mark.filterwarnings("error")
def test_certainty_is_infinite_and_comes_back():
    assert log_odds([0, 0.5, 1]).tolist() == [-np.inf, 0, np.inf]
    assert sigmoid([-np.inf, 0, np.inf]).tolist() == [0, 0.5, 1]
