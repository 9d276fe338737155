"""Scores, log-odds and probabilities: the one place where each becomes another.

Decisions compare log-odds, which do not round to certainty; probabilities are for showing.
Shape: C classes.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["log_odds", "log_softmax", "sigmoid"]

Scores = TypeVar("Scores", bound=NDArray[Any])


def log_softmax(scores: Scores) -> Scores:
    """Turn (..., C) logits into log-probabilities (..., C), in the precision of the scores."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    log_p: Scores = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    """Turn probabilities, 0 to 1, into log-odds; -inf for 0, inf for 1."""
    p = np.asarray(probability, np.float64)
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return odds


def sigmoid(log_odds: ArrayLike) -> NDArray[np.float64]:
    """Turn log-odds, also infinite ones, into probabilities."""
    p: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(0.5 * np.asarray(log_odds, np.float64))
    return p
