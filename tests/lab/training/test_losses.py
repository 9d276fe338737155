import math

import pytest
import torch
from torch import Tensor

from spoken_digits.lab.training.losses import (
    Projection,
    matched_fraction,
    nt_xent,
    supervised_contrastive,
    vicreg,
)


def vectors(n: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


@pytest.mark.parametrize("groups", [None, [0, 1, 1, 0, 1]])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_nt_xent_is_the_papers_double_loop(temperature: float, groups: list[int] | None) -> None:
    first, second = vectors(5), vectors(5, seed=1)
    z, B = [*first, *second], 5
    losses = []
    for i in range(2 * B):
        j = (i + B) % (2 * B)
        bottom = 0.0
        for k in range(2 * B):
            if k != i and (groups is None or groups[k % B] == groups[i % B]):
                bottom += math.exp(cosine(z[i], z[k]) / temperature)
        losses.append(-math.log(math.exp(cosine(z[i], z[j]) / temperature) / bottom))
    given = None if groups is None else torch.tensor(groups)
    loss = nt_xent(first, second, temperature, given)
    assert float(loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_nt_xent_of_orthogonal_and_of_identical_clips_is_what_the_formula_gives() -> None:
    B, tau = 6, 0.3
    apart = torch.eye(8)[:B]
    expected = math.log(1 + (2 * B - 2) * math.exp(-1 / tau))
    assert float(nt_xent(apart, 2 * apart, tau)) == pytest.approx(expected, rel=1e-5)
    alike = torch.ones(B, 8)
    assert float(nt_xent(alike, alike, tau)) == pytest.approx(math.log(2 * B - 1), rel=1e-5)
    alone = torch.arange(B)  # a group for each: nothing to tell a partner from
    assert float(nt_xent(alike, alike, tau, alone)) == 0
    assert matched_fraction(apart, apart) == 1
    # The partner of the first two is the other's.
    assert matched_fraction(apart, apart[[1, 0, 2, 3, 4, 5]]) == pytest.approx(4 / 6)


@pytest.mark.parametrize("groups", [None, [0, 1, 1, 0, 1, 7]])
def test_vicreg_is_the_papers_sums(groups: list[int] | None) -> None:
    first, second = 0.2 * vectors(6), 0.2 * vectors(6, seed=1)
    n, d = first.shape
    expected = 25 * sum(
        float((a - b) ** 2) for a, b in zip(first.ravel(), second.ravel(), strict=True)
    )
    expected /= n * d
    for z in (first.double(), second.double()):
        deviations = [[0.0] * d for _ in range(n)]
        for i in range(n):
            own = [k for k in range(n) if groups is None or groups[k] == groups[i]]
            for j in range(d):
                deviations[i][j] = float(z[i, j]) - sum(float(z[k, j]) for k in own) / len(own)
        for a in range(d):
            for b in range(d):
                covariance = sum(row[a] * row[b] for row in deviations) / (n - 1)
                if a == b:
                    expected += 25 * max(0.0, 1 - math.sqrt(covariance + 1e-4)) / d
                else:
                    expected += covariance**2 / d
    given = None if groups is None else torch.tensor(groups)
    assert float(vicreg(first, second, given)) == pytest.approx(expected, rel=1e-5)


def test_vicreg_costs_nothing_where_clips_are_spread_and_all_where_they_are_one() -> None:
    # Four clips, two components: uncorrelated, of a variance of 4/3.
    spread = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert float(vicreg(spread, spread)) == 0
    one = torch.ones(4, 2)
    assert float(vicreg(one, one)) == pytest.approx(2 * 25 * (1 - 0.01))
    # Two speakers, each of whom says one thing: spread over the clips, and yet nothing.
    voices = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]])
    speakers = torch.tensor([0, 0, 1, 1])
    assert float(vicreg(voices, voices, speakers)) == pytest.approx(2 * 25 * (1 - 0.01))
    with pytest.raises(ValueError, match="expected one shape"):
        vicreg(one, one[:3])


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_supervised_contrastive_is_the_papers_double_loop(temperature: float) -> None:
    z, labels = vectors(9), [0, 0, 1, 1, 1, 2, 3, 3, 0]  # 2 stands alone
    losses = []
    for i in range(9):
        positives = [p for p in range(9) if p != i and labels[p] == labels[i]]
        others = [a for a in range(9) if a != i]
        if not positives:
            continue
        bottom = sum(math.exp(cosine(z[i], z[a]) / temperature) for a in others)
        pulls = [math.log(math.exp(cosine(z[i], z[p]) / temperature) / bottom) for p in positives]
        losses.append(-sum(pulls) / len(pulls))
    loss = supervised_contrastive(z, torch.tensor(labels), temperature)
    assert float(loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_supervised_contrastive_of_identical_and_of_separated_classes() -> None:
    labels, tau = torch.tensor([0, 0, 0, 1, 1, 1]), 0.2
    assert float(supervised_contrastive(torch.ones(6, 4), labels, tau)) == pytest.approx(
        math.log(5), rel=1e-5
    )
    separated = torch.eye(4)[labels]
    expected = math.log(2 + 3 * math.exp(-1 / tau))
    assert float(supervised_contrastive(separated, labels, tau)) == pytest.approx(
        expected, rel=1e-5
    )


def test_with_two_views_and_no_class_shared_the_two_losses_are_one() -> None:
    first, second = vectors(5), vectors(5, seed=1)
    supervised = supervised_contrastive(
        torch.cat([first, second]), torch.arange(5).repeat(2), temperature=0.3
    )
    assert float(supervised) == pytest.approx(float(nt_xent(first, second, 0.3)), rel=1e-6)


@pytest.mark.parametrize(
    "z",
    [vectors(6), torch.zeros(6, 8), torch.full((6, 8), 1e4), vectors(6).half()],
    ids=["any", "zero", "large", "half"],
)
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 1]])
def test_losses_and_gradients_stay_finite(z: Tensor, labels: list[int]) -> None:
    for scores in (
        lambda x: supervised_contrastive(x, torch.tensor(labels), 0.01),
        lambda x: nt_xent(x, x.flip(0), 0.01, torch.tensor(labels)),
        lambda x: supervised_contrastive(x[:1], torch.tensor([0]), 0.01),
        lambda x: nt_xent(x[:1], x[:1], 0.01),
        lambda x: vicreg(x, x.flip(0), torch.tensor(labels)),
        lambda x: vicreg(x[:1], x[:1]),
    ):
        x = z.clone().requires_grad_()
        loss = scores(x)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(x.grad).all()


def test_a_batch_of_classes_that_stand_alone_costs_nothing() -> None:
    z = vectors(4).requires_grad_()
    loss = supervised_contrastive(z, torch.arange(4), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not z.grad.any()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_named(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature = {temperature}: expected"):
        nt_xent(vectors(2), vectors(2), temperature)
    with pytest.raises(ValueError, match=f"temperature = {temperature}: expected"):
        supervised_contrastive(vectors(2), torch.zeros(2), temperature)


def test_views_of_unlike_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 8\) and \(3, 8\): expected one shape"):
        nt_xent(vectors(2), vectors(3), 0.1)


def test_a_projection_has_the_width_asked_for() -> None:
    assert Projection(12, 5)(torch.zeros(3, 12)).shape == (3, 5)
