"""The training loop of all networks: optimizer, schedule, averaged weights, checkpoint and log.

A checkpoint is written after every epoch and holds all of the state. A run that was killed at any
moment resumes from its last epoch and ends, on a CPU, with the same bytes as one that was not.
"""

import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.training.config import ConfigError
from spoken_digits.lab.weights import read_weights

__all__ = [
    "Hyperparameters",
    "Muon",
    "Progress",
    "Trainer",
    "ema",
    "make_optimizer",
    "make_schedule",
]

_CLIP_NORM = 5.0  # largest norm of the gradient of all parameters together
_MOMENTUM = 0.95  # of Muon
_ADAM_BETAS = (0.9, 0.999)  # of Muon's other parameters

Batch = TypeVar("Batch")
# Loss and metrics of a batch (the metrics are means over it), and how many clips it has.
Step = tuple[Tensor, dict[str, float], int]


class Hyperparameters(Protocol):
    """What `Trainer` reads of a recipe."""

    @property
    def seed(self) -> int:
        """Key of everything random."""

    @property
    def learning_rate(self) -> float:
        """Peak of the schedule."""

    @property
    def weight_decay(self) -> float:
        """AdamW's, of matrices."""

    @property
    def ema_decay(self) -> float:
        """Decay per step of the moving average of the weights."""


class Trainer:
    """A network in training, its averaged weights, and the state that a killed run resumes from.

    Parameters
    ----------
    config
        The recipe: seed, learning rate, weight decay, decay of the averaged weights.
    net
        The network whose weights are averaged.
    learner
        What is optimized: that network or parts of it, and what is thrown away after training.
    epochs, steps
        Length of the training, of which `steps` is the sum over all epochs; an epoch ends with a
        line in the log and a checkpoint.
    run_dir
        Folder of `checkpoint.safetensors`, from which training resumes where it exists, and of
        `log.jsonl`; None to write neither.
    optimizer
        What updates the learner; None for that of `make_optimizer`.

    Attributes
    ----------
    average
        The network with averaged weights, in evaluation mode.
    log
        A row for each epoch done.

    Raises
    ------
    ConfigError
        When the checkpoint is damaged.
    """

    def __init__(
        self,
        config: Hyperparameters,
        net: nn.Module,
        learner: nn.Module,
        epochs: int,
        steps: int,
        run_dir: Path | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.config, self.net, self.learner = config, net, learner
        self.epochs = epochs
        self.optimizer = optimizer or make_optimizer(
            learner, config.learning_rate, config.weight_decay
        )
        self.averaged = ema(net, config.ema_decay)
        self.log: list[dict[str, Any]] = []
        self.run_dir = run_dir
        self.path = run_dir / "checkpoint.safetensors" if run_dir else None
        if self.path and self.path.exists():
            self._load(self.path)
            self._write_log()  # a kill may have come between the two
        steps_taken = int(self.averaged.n_averaged)
        self.schedule = make_schedule(self.optimizer, config.learning_rate, steps, steps_taken)

    @property
    def average(self) -> nn.Module:
        """The network with averaged weights, in evaluation mode."""
        return self.averaged.module.eval()

    def fit(
        self,
        batches: Callable[[int], Sequence[Batch]],
        step: Callable[[Batch], Step],
        progress: "Progress | None" = None,
        watch: Callable[[], dict[str, float]] = dict,
    ) -> None:
        """Train until all epochs are done.

        Parameters
        ----------
        batches
            From the number of an epoch, its batches; called when the epoch begins, so that what
            `step` draws can be keyed by the epoch.
        step
            From a batch, its loss, its metrics and its number of clips.
        progress
            Where each line of the log is shown.
        watch
            More columns of the log, measured after each epoch.
        """
        for epoch in range(len(self.log), self.epochs):
            began = time.perf_counter()
            drawn = batches(epoch)
            sums: defaultdict[str, float] = defaultdict(float)
            clips = 0
            self.learner.train()
            # Dropout draws from torch's global generator: keyed here, and restored afterwards.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.config.seed * 1_000_003 + epoch)
                for batch in drawn:
                    loss, metrics, n = step(batch)
                    self.optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_(self.learner.parameters(), _CLIP_NORM)
                    learning_rate = self.schedule.get_last_lr()[0]
                    self.optimizer.step()
                    self.schedule.step()
                    self.averaged.update_parameters(self.net)
                    for name, value in {"loss": float(loss.detach()), **metrics}.items():
                        sums[name] += value * n
                    clips += n
            row: dict[str, Any] = {"epoch": epoch + 1}
            row |= {name: round(total / clips, 5) for name, total in sums.items()}
            row["learning_rate"] = round(float(learning_rate), 8)
            row["seconds"] = round(time.perf_counter() - began, 2)
            row |= {name: round(value, 5) for name, value in watch().items()}
            self._end_epoch(row)
            if progress:
                progress.show(row)

    def _end_epoch(self, row: dict[str, Any]) -> None:
        self.log.append(row)
        if self.run_dir is None or self.path is None:
            return
        tensors = {f"net.{k}": v for k, v in self.learner.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.averaged.state_dict().items()}
        state = self.optimizer.state_dict()
        for index, moments in state["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        # The groups hold the learning rates that the schedule goes on from.
        # With the log, as the two must not disagree after a kill.
        about = {"log": self._lines(), "optimizer": json.dumps(state["param_groups"])}
        write_whole(self.path, save(contiguous, about))
        self._write_log()

    def _lines(self) -> str:
        return "".join(json.dumps(row) + "\n" for row in self.log)

    def _write_log(self) -> None:
        if self.run_dir:
            write_whole(self.run_dir / "log.jsonl", self._lines().encode())

    def _load(self, path: Path) -> None:
        try:
            tensors, about = read_weights(path)
            self.log = [json.loads(line) for line in about["log"].splitlines()]
            groups = json.loads(about["optimizer"])
            for prefix, module in (("net.", self.learner), ("average.", self.averaged)):
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                kind, _, rest = key.partition(".")
                if kind == "optimizer":
                    index, _, name = rest.partition(".")
                    moments.setdefault(int(index), {})[name] = value
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise ConfigError(f"{path}: damaged; remove it, and the run starts anew") from None


def make_optimizer(
    learner: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov and Hutter 2019) of all parameters; only matrices decay."""
    return torch.optim.AdamW(
        _groups(learner, weight_decay), lr=learning_rate, betas=(0.9, 0.99), fused=True
    )


def _groups(learner: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters that are matrices, and the others, which do not decay."""
    parameters = [p for p in learner.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for matrices, Adam for biases and normalization.

    A matrix is updated by its averaged gradient with all singular values brought near 1, so that
    rare directions move as far as frequent ones. The update is scaled to the root mean square of
    AdamW's, 0.2 (Liu et al. 2025), so that AdamW's learning rates fit. A kernel of a convolution is
    a matrix with a row for each output channel.

    Parameters
    ----------
    learner
        Its parameters are updated.
    learning_rate, weight_decay
        As AdamW's; only matrices decay.
    """

    def __init__(self, learner: nn.Module, learning_rate: float, weight_decay: float) -> None:
        super().__init__(_groups(learner, weight_decay), {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; `closure` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradient before the step")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = self._matrix_update if p.ndim > 1 else self._adam_update
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update(p.grad, self.state[p]), alpha=-group["lr"])

    @staticmethod
    def _matrix_update(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
        average = state.setdefault("momentum", torch.zeros_like(gradient))
        average.lerp_(gradient, 1 - _MOMENTUM)
        matrix = gradient.lerp(average, _MOMENTUM).flatten(1)  # Nesterov's
        scale = 0.2 * math.sqrt(max(matrix.shape))
        return scale * orthogonalize(matrix).reshape(gradient.shape)

    @staticmethod
    def _adam_update(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
        mean = state.setdefault("mean", torch.zeros_like(gradient))
        square = state.setdefault("square", torch.zeros_like(gradient))
        count = state.setdefault("count", torch.zeros(()))
        count += 1
        mean.lerp_(gradient, 1 - _ADAM_BETAS[0])
        square.lerp_(gradient.square(), 1 - _ADAM_BETAS[1])
        first, second = (1 - math.pow(beta, float(count)) for beta in _ADAM_BETAS)
        return mean / first / ((square / second).sqrt() + 1e-8)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix (M, N) near 1, to 0.7 to 1.2; those near 0 less so.

    Five steps of a Newton-Schulz iteration, whose coefficients raise small singular values fast
    rather than let all converge (Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    norm: Tensor = torch.linalg.matrix_norm(x)
    x = x / norm.clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x


def make_schedule(
    optimizer: torch.optim.Optimizer, learning_rate: float, steps: int, steps_taken: int = 0
) -> OneCycleLR:
    """Build the one-cycle schedule (Smith and Topin 2018), after `steps_taken` of `steps`.

    From 1 % of `learning_rate` to all of it over the first quarter of the steps, and back to 1 %
    over the others, along cosines.
    """
    return OneCycleLR(
        optimizer,
        max_lr=learning_rate,
        total_steps=max(5, steps),  # a quarter of four steps has no length: torch divides by it
        pct_start=0.25,
        anneal_strategy="cos",
        cycle_momentum=False,
        div_factor=100.0,
        final_div_factor=1.0,
        last_epoch=steps_taken - 1,
    )


def ema(net: nn.Module, decay: float) -> AveragedModel:
    """Average weights and buffers exponentially (Polyak and Juditsky 1992).

    The decay of update t is min(decay, (1 + t) / (10 + t)): short at first, while the weights move
    fast.
    """

    def update(averages: Any, values: Any, t: Any) -> None:
        n = int(t)
        mean = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        mean(averages, values, t)

    averaged = AveragedModel(net, multi_avg_fn=update, use_buffers=True)
    averaged.eval()
    return averaged


class Progress:
    """A bar on a terminal, a line per tenth of the epochs elsewhere, nothing when quiet."""

    def __init__(
        self, title: str, epochs: int, done: int, quiet: bool, metric: str | None = None
    ) -> None:
        self.metric = metric
        terminal = sys.stderr.isatty()
        self.lines = not quiet and not terminal
        self.every = max(1, epochs // 10)
        self.bar = tqdm(
            total=epochs,
            initial=done,
            desc=title,
            unit="epoch",
            disable=quiet or not terminal,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def show(self, row: dict[str, Any]) -> None:
        """Show one line of the log."""
        shown = f"loss {row['loss']:.3f}"
        if self.metric:
            shown += f", training {self.metric} {row[self.metric]:.1%}"
        self.bar.set_postfix_str(shown)
        self.bar.update()
        if self.lines and (row["epoch"] % self.every == 0 or row["epoch"] == self.bar.total):
            text = f"epoch {row['epoch']}/{self.bar.total}: {shown}, {row['seconds']:.1f} s"
            print(text, file=sys.stderr, flush=True)
