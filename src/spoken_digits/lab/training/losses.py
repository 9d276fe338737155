"""Losses of pairs of views, and the projection that they are taken behind.

Shapes: B batch, N vectors, D embedding, P projection. Vectors of any length are brought to length
one, so that a product is the cosine of an angle; a temperature divides it. All is computed in
float32, whatever comes in.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Projection", "matched_fraction", "nt_xent", "supervised_contrastive", "vicreg"]

# Of VICReg: weights of its three terms (Bardes et al. 2022, section 4.2), and what is added to a
# variance before the root.
_INVARIANCE, _VARIANCE, _COVARIANCE, _EPSILON = 25.0, 25.0, 1.0, 1e-4


class Projection(nn.Sequential):
    """The small network between embedding and contrastive loss: (B, D) to (B, P).

    One hidden layer as wide as the embedding (Chen et al. 2020, section 4.2): what the loss makes
    the last layer forget, the embedding before it may keep. Used in training alone.
    """

    def __init__(self, dimension: int, projected: int = 64) -> None:
        super().__init__(
            nn.Linear(dimension, dimension),
            nn.ReLU(),
            nn.Linear(dimension, projected),
        )


def nt_xent(
    first: Tensor, second: Tensor, temperature: float, groups: Tensor | None = None
) -> Tensor:
    r"""Tell the two views of each clip from all others (NT-Xent, Chen et al. 2020).

    Normalized temperature-scaled cross-entropy, equation 1 of SimCLR: the mean over all 2B vectors
    i, with partner j and cosines s, of

    .. math:: -\log \frac{\exp(s_{ij} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}

    Parameters
    ----------
    first, second
        The views, row by row of the same clips: (B, P) each.
    temperature
        The tau above, positive.
    groups
        (B,), whole numbers; where given, the sum runs over vectors of the same group alone. Groups
        of one speaker each: then the voice does not tell a partner from the others. A vector that
        has only its partner in the sum costs nothing.

    Raises
    ------
    ValueError
        When the temperature is not positive, or the views are not of one shape.
    """
    _check_temperature(temperature)
    cosines, partner = _candidates(first, second, groups)
    return functional.cross_entropy(cosines / temperature, partner)


def matched_fraction(first: Tensor, second: Tensor, groups: Tensor | None = None) -> float:
    """Share of vectors that are nearest to their partner, of the candidates in `nt_xent`.

    It tells how training goes, and is no measure of what was learned.
    """
    cosines, partner = _candidates(first.detach(), second.detach(), groups)
    return float((cosines.argmax(1) == partner).float().mean())


def supervised_contrastive(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    r"""Pull a class together, push the others away (Khosla et al. 2020, equation 2, L_out).

    Supervised contrastive loss: the mean over the vectors i that have others of their class, P(i),
    in the batch:

    .. math:: \frac{-1}{|P(i)|} \sum_{p \in P(i)}
              \log \frac{\exp(s_{ip} / \tau)}{\sum_{a \ne i} \exp(s_{ia} / \tau)}

    A vector whose class stands alone pulls nothing, and still pushes as one of the others; a batch
    of such vectors gives zero.

    Parameters
    ----------
    z
        (N, P).
    labels
        (N,).
    temperature
        The tau above, positive.

    Raises
    ------
    ValueError
        When the temperature is not positive.
    """
    _check_temperature(temperature)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    same = (labels[:, None] == labels) & ~own
    n_same = same.sum(1)
    if not n_same.any():
        return z.float().sum() * 0  # a zero that a gradient can go through
    logits = _cosines(z) / temperature  # (N, N)
    total = torch.logsumexp(logits.masked_fill(own, -math.inf), 1, keepdim=True)
    pull = ((logits - total) * same).sum(1)[n_same > 0] / n_same[n_same > 0]
    return -pull.mean()


def vicreg(first: Tensor, second: Tensor, groups: Tensor | None = None) -> Tensor:
    r"""Learn from pairs of views alone, without negatives (VICReg, Bardes et al. 2022, equation 6).

    Variance-invariance-covariance regularization: the views Z, Z' of a clip are to be near to each
    other, while each of the P components keeps a standard deviation of 1 over the clips, and no two
    components say the same,

    .. math:: 25 \, s(Z, Z') + 25 \, (v(Z) + v(Z')) + c(Z) + c(Z')

    with s the mean squared difference, v the mean over components of max(0, 1 - standard
    deviation), and c the sum of squared covariances of different components over P.

    Parameters
    ----------
    first, second
        The views, row by row of the same clips: (B, P) each, of any length.
    groups
        (B,), whole numbers; where given, v and c are those about the mean of a clip's group. Groups
        of one speaker each: then it does not suffice that the speakers differ. A clip that is
        alone in its group lies at its mean.

    Raises
    ------
    ValueError
        When the views are not of one shape.
    """
    _check_views(first, second)
    views = first.float(), second.float()
    loss = _INVARIANCE * (views[0] - views[1]).square().mean()
    for view in views:
        centered = view - _group_means(view, groups)
        B, P = centered.shape
        covariance = centered.T @ centered / max(B - 1, 1)  # (P, P)
        variance = covariance.diagonal()
        spread = (variance + _EPSILON).sqrt()
        between = (covariance.square().sum() - variance.square().sum()) / P
        loss = loss + _VARIANCE * (1 - spread).relu().mean() + _COVARIANCE * between
    return loss


def _group_means(z: Tensor, groups: Tensor | None) -> Tensor:
    """Return for each row of (B, P) the mean of its group, of all rows without groups."""
    if groups is None:
        return z.mean(0, keepdim=True)
    numbers, position = torch.unique(groups, return_inverse=True)
    member = functional.one_hot(position, len(numbers)).to(z.dtype)  # (B, groups)
    return (member / member.sum(0)) @ (member.T @ z)


def _candidates(first: Tensor, second: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cosines of 2B vectors to all they are compared with, -inf elsewhere, and their partners."""
    _check_views(first, second)
    B = len(first)
    cosines = _cosines(torch.cat([first, second]))  # (2B, 2B)
    barred = torch.eye(2 * B, dtype=torch.bool, device=cosines.device)
    if groups is not None:
        both = groups.repeat(2)
        barred |= both[:, None] != both
    partner = torch.arange(2 * B, device=cosines.device).roll(B)
    return cosines.masked_fill(barred, -math.inf), partner


def _cosines(z: Tensor) -> Tensor:
    # Far above the default eps: the gradient at a vector of zeros stays small.
    z = functional.normalize(z.float(), dim=1, eps=1e-6)
    return z @ z.T


def _check_views(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"views of shapes {tuple(first.shape)} and {tuple(second.shape)}: "
            "expected one shape, a row a clip"
        )


def _check_temperature(temperature: float) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature = {temperature}: expected a finite number more than zero")
