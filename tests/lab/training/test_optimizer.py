"""The training loop: what it does to weights, against closed forms and plain loops."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.optimizer import (
    Muon,
    Trainer,
    make_optimizer,
    make_schedule,
)

CONFIG = TrainConfig(learning_rate=0.02, weight_decay=0.5, ema_decay=0.9)
EPOCHS, BATCHES = 4, 10


class Toy(nn.Module):
    """A layer, a normalization with its statistics, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.layer(x)))


def toy() -> Toy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Toy()


class Task:
    """Batches of made-up numbers; records the learning rate and the weights of every step."""

    def __init__(self, net: Toy, run_dir: Path | None = None, scale: float = 1.0) -> None:
        self.net, self.scale = net, scale
        self.trainer = Trainer(CONFIG, net, net, EPOCHS, EPOCHS * BATCHES, run_dir)
        self.rates: list[float] = []
        self.before: list[dict[str, Tensor]] = []

    def batches(self, epoch: int) -> list[int]:
        return list(range(epoch * BATCHES, (epoch + 1) * BATCHES))

    def step(self, number: int) -> tuple[Tensor, dict[str, float], int]:
        self.rates.append(self.trainer.optimizer.param_groups[0]["lr"])
        self.before.append({k: v.clone() for k, v in self.net.state_dict().items()})
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        loss = self.net(x).square().sum() * self.scale
        return loss, {"number": float(number)}, 8

    def run(self) -> "Task":
        self.trainer.fit(self.batches, self.step)
        return self


def one_cycle(step: int, steps: int) -> float:
    """The fraction of the peak rate: 1 % to all over a quarter, back to 1 %, along cosines."""
    top = steps / 4 - 1
    x = step / top if step <= top else 1 - (step - top) / (steps - 1 - top)
    return 0.01 + 0.99 * (1 - math.cos(math.pi * x)) / 2


def test_the_learning_rate_rises_over_a_quarter_and_falls_to_a_hundredth() -> None:
    rates = Task(toy()).run().rates
    steps = EPOCHS * BATCHES
    assert rates == pytest.approx([0.02 * one_cycle(i, steps) for i in range(steps)], rel=1e-6)
    assert rates[0] == pytest.approx(0.0002)
    assert max(rates) == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0.0002)


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_schedule_has_any_length(steps: int) -> None:
    optimizer = make_optimizer(toy(), 1.0, 0.0)
    schedule = make_schedule(optimizer, 1.0, steps)
    for _ in range(steps):
        assert 0.01 - 1e-9 <= schedule.get_last_lr()[0] <= 1
        optimizer.step()
        schedule.step()


def test_matrices_alone_decay_by_the_rate_of_each_step() -> None:
    net = toy()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    rates = Task(net, scale=0.0).run().rates  # no gradient: decay is all that happens
    kept = math.prod(1 - rate * CONFIG.weight_decay for rate in rates)
    assert kept < 0.9
    torch.testing.assert_close(net.layer.weight.detach(), before["layer.weight"] * kept)
    for name in ("layer.bias", "norm.weight", "norm.bias"):
        torch.testing.assert_close(net.state_dict()[name], before[name], rtol=0, atol=0)


def test_the_average_is_exponential_with_a_warm_up_and_holds_statistics_as_well() -> None:
    task = Task(toy()).run()
    after = [*task.before[1:], task.net.state_dict()]
    for name in ("layer.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        expected = after[0][name].double()
        for t, values in enumerate(after[1:], start=1):
            decay = min(0.9, (1 + t) / (10 + t))
            expected = decay * expected + (1 - decay) * values[name].double()
        found = task.trainer.average.state_dict()[name]
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, after[-1][name], rtol=1e-3, atol=1e-4)
    assert not task.trainer.average.training


def test_the_log_holds_means_over_the_clips_of_an_epoch() -> None:
    task = Task(toy()).run()
    assert [row["epoch"] for row in task.trainer.log] == [1, 2, 3, 4]
    assert [row["number"] for row in task.trainer.log] == [4.5, 14.5, 24.5, 34.5]


class Killed(BaseException):
    """What a signal does to a run."""


def test_killed_anywhere_a_run_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    whole = Task(toy(), tmp_path / "whole").run()
    rates: list[float] = []
    for killed_at in (13, 20, 37):

        class Cut(Task):
            def step(self, number: int) -> tuple[Tensor, dict[str, float], int]:
                if number == killed_at:  # noqa: B023
                    raise Killed
                return super().step(number)

        cut = Cut(toy(), tmp_path / "cut")
        with pytest.raises(Killed):
            cut.run()
        done = len(cut.trainer.log) * BATCHES
        rates = rates[: done - len(cut.rates) // BATCHES * BATCHES] + cut.rates
        rates = rates[:done]
    last = Task(toy(), tmp_path / "cut").run()
    assert rates + last.rates == whole.rates
    for name, value in whole.trainer.average.state_dict().items():
        assert torch.equal(value, last.trainer.average.state_dict()[name])
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, last.net.state_dict()[name])
    files = [folder / "checkpoint.safetensors" for folder in (tmp_path / "whole", tmp_path / "cut")]
    logs = [[json.loads(x) for x in f.with_name("log.jsonl").open()] for f in files]
    assert [r["loss"] for r in logs[0]] == [r["loss"] for r in logs[1]]


def test_a_log_that_a_kill_kept_from_being_written_comes_out_of_the_checkpoint(
    tmp_path: Path,
) -> None:
    # Killed behind the checkpoint of the last epoch, before the log of one epoch or of them all.
    task = Task(toy(), tmp_path)
    task.trainer.fit(task.batches, task.step)
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    assert len(whole.splitlines()) == EPOCHS
    for behind in (None, whole.partition("\n")[0] + "\n"):
        log.unlink()
        if behind:
            log.write_text(behind)
        again = Task(toy(), tmp_path)
        again.trainer.fit(again.batches, again.step)
        assert not again.rates  # no step was left
        assert log.read_text() == whole


@pytest.mark.parametrize("content", [b"half", b""])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"checkpoint\.safetensors: damaged; remove it"):
        Task(toy(), tmp_path)


def test_a_callers_random_stream_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    Task(toy()).run()
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("scale", "clipped"), [(1e6, True), (1e-6, False)])
def test_the_gradient_of_all_parameters_together_has_a_norm_of_5_at_most(
    scale: float, clipped: bool
) -> None:
    net = Task(toy(), scale=scale).run().net
    gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    assert (float(gradient.norm()) == pytest.approx(5, rel=1e-3)) == clipped
    assert 0 < float(gradient.norm()) < 5.01


def test_the_log_holds_the_learning_rate_of_the_last_step_of_an_epoch() -> None:
    task = Task(toy()).run()
    found = [row["learning_rate"] for row in task.trainer.log]
    assert found == pytest.approx(task.rates[BATCHES - 1 :: BATCHES], abs=1e-8)


def test_the_moments_decay_as_asked() -> None:
    groups = Trainer(CONFIG, toy(), toy(), 1, 5).optimizer.param_groups
    assert {group["betas"] for group in groups} == {(0.9, 0.99)}


def test_muon_moves_a_matrix_by_all_its_directions_alike() -> None:
    net = nn.Linear(40, 12)
    optimizer = Muon(net, learning_rate=0.01, weight_decay=0.0)
    before = net.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    # The gradient's singular values span a factor of 1,000.
    u, v = (torch.linalg.qr(torch.randn(n, 12, generator=generator))[0] for n in (12, 40))
    net.weight.grad = u @ torch.diag(torch.logspace(0, -3, 12)) @ v.T
    net.bias.grad = torch.linspace(-1, 1, 12)
    bias = net.bias.detach().clone()
    optimizer.step()
    change = (before - net.weight.detach()) / (0.01 * 0.2 * math.sqrt(40))
    values = torch.linalg.svdvals(change)
    assert values[-4] > 0.65
    assert values[0] < 1.25
    assert values[-1] > 0.05  # of the smallest, which has a thousandth of the gradient
    # The directions are those of the gradient: U V^T is the nearest orthogonal matrix.
    assert float((change * (u @ v.T)).sum()) / 12 > 0.7
    # Adam's first step is the learning rate, whatever the gradient.
    torch.testing.assert_close(
        bias - net.bias.detach(), 0.01 * net.bias.grad.sign(), rtol=1e-4, atol=1e-7
    )


def test_muon_decays_matrices_alone() -> None:
    net = nn.Linear(5, 3)
    optimizer = Muon(net, learning_rate=0.1, weight_decay=0.5)
    weight, bias = (p.detach().clone() for p in net.parameters())
    net.weight.grad, net.bias.grad = torch.zeros(3, 5), torch.zeros(3)
    optimizer.step()
    torch.testing.assert_close(net.weight.detach(), 0.95 * weight)
    torch.testing.assert_close(net.bias.detach(), bias)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_killed_run_of_muon_ends_with_the_same_bytes(tmp_path: Path, killed_after: int) -> None:
    def train(epochs: int, run_dir: Path | None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        optimizer = Muon(net, CONFIG.learning_rate, CONFIG.weight_decay)
        trainer = Trainer(CONFIG, net, net, 3, 12, run_dir, optimizer)
        trainer.epochs = epochs

        def step(number: int) -> tuple[Tensor, dict[str, float], int]:
            x = torch.randn(8, 6, generator=torch.Generator().manual_seed(number))
            return net(x).square().mean(), {}, 8

        trainer.fit(lambda epoch: range(4 * epoch, 4 * epoch + 4), step)
        return net.state_dict()

    train(killed_after, tmp_path)
    resumed, whole = train(3, tmp_path), train(3, None)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


def test_random_draws_are_keyed_by_seed_and_epoch() -> None:
    def draws(seed: int) -> list[float]:
        net, found = toy(), []
        trainer = Trainer(replace(CONFIG, seed=seed), net, net, EPOCHS, EPOCHS)

        def step(_: int) -> tuple[Tensor, dict[str, float], int]:
            found.append(float(torch.rand(())))
            return net(torch.ones(8, 3)).sum(), {}, 8

        trainer.fit(lambda _: [0], step)
        return found

    assert draws(0) == draws(0)
    assert len({*draws(0), *draws(1)}) == 2 * EPOCHS
