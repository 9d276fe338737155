"""The word "oh", zero said as the letter, for a network that was trained without it.

A row of the last layer is fitted to the network's embeddings: a logistic regression of "oh" against
everything else. The network itself, and what it says of the ten digits, stay as they are; of sound
that is no digit, "oh" takes its part.

Shapes: N clips, D embedding.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from spoken_digits.lab.data.corpora import DIGITS, Clip
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.supervised import build_network, predict_all

__all__ = ["LABELS", "add_oh", "fit_row"]

FloatArray = NDArray[np.float64]

LABELS = (*DIGITS, "oh")
_P_OH = 0.07  # of all clips together, about that of a digit in training
_PENALTY = 1e-3  # of the squared weights, of standardized embeddings


def add_oh(config: TrainConfig, net: DigitNet, clips: Sequence[Clip], cache: Path) -> DigitNet:
    """Return the network with a class for "oh" after the ten digits.

    Parameters
    ----------
    config, net
        Recipe and network, of the ten digits, that rejects.
    clips
        Of which those with the label "oh" are to be told from all others, see `fit_row`.
    cache
        Folder for prepared clips.

    Raises
    ------
    AudioError
        When a recording cannot be read.
    """
    dataset = prepare(clips, cache, LABELS)
    scores, embeddings, rejections = predict_all(net, dataset, np.arange(len(clips)))
    any_digit = np.logaddexp.reduce(scores.astype(np.float64), axis=1)
    weight, bias = fit_row(
        embeddings.astype(np.float64),
        np.logaddexp(any_digit, any_digit - rejections),
        np.array([clip.label == "oh" for clip in clips]),
        [clip.corpus for clip in clips],
    )
    grown = build_network(config, len(LABELS))
    grown.backbone.load_state_dict(net.backbone.state_dict())
    with torch.no_grad():
        for new, old, row in (
            (grown.head.weight, net.head.weight, weight[None]),
            (grown.head.bias, net.head.bias, [bias]),
        ):
            added = torch.tensor(row, dtype=old.dtype)
            new.copy_(torch.cat([old[: len(DIGITS)], added, old[len(DIGITS) :]]))
    return grown.eval()


def fit_row(
    embeddings: FloatArray,
    other_scores: FloatArray,
    is_oh: NDArray[np.bool_],
    corpora: Sequence[str],
) -> tuple[FloatArray, float]:
    """Fit weights and bias of the score of "oh", a logistic regression with a given offset.

    Parameters
    ----------
    embeddings
        (N, D).
    other_scores
        Logarithm of the summed exponentials of all other classes' scores: (N,).
    is_oh
        Which clips are "oh": (N,), some of each.
    corpora
        Of each clip. Those of one side weigh alike, whatever their number of clips; all clips of
        "oh" together weigh `_P_OH`, all others the rest.

    Returns
    -------
    (D,), and the bias.
    """
    weights = np.zeros(len(is_oh))
    for side, share in ((is_oh, _P_OH), (~is_oh, 1 - _P_OH)):
        names = np.array(corpora)
        for name in (found := np.unique(names[side])):
            rows = side & (names == name)
            weights[rows] = share / len(found) / rows.sum()
    mean, std = embeddings.mean(0), embeddings.std(0) + 1e-6
    x = torch.from_numpy((embeddings - mean) / std)
    target, offset, p = map(torch.from_numpy, (is_oh.astype(float), other_scores, weights))
    row = torch.zeros(x.shape[1] + 1, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([row], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        log_odds = x @ row[:-1] + row[-1] - offset
        value = functional.binary_cross_entropy_with_logits(log_odds, target, p, reduction="sum")
        value = value + _PENALTY * row[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    fitted = row.detach().numpy()
    return fitted[:-1] / std, float(fitted[-1] - (fitted[:-1] / std) @ mean)
