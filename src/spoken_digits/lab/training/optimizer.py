"""The way down that training and pre-training share: steps, their average, checkpoint and log."""

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig

__all__ = ["Descent", "Progress", "make_optimizer", "move_average", "one_cycle"]


class Descent:
    """A network on its way down a loss, and all that a run which was cut off goes on from.

    Parameters
    ----------
    config
        The recipe: the rate and its schedule, weight decay, averaging.
    net
        The network that is averaged.
    learner
        What learns: that network or parts of it, and what is thrown away after training.
    run_dir
        Where checkpoint and log go; from a checkpoint that lies there, training goes on.

    Attributes
    ----------
    average
        The moving average of `net`, ready to evaluate.
    log
        A row for each epoch done.

    Raises
    ------
    ConfigError
        When the checkpoint is damaged.
    """

    def __init__(
        self, config: TrainConfig, net: DigitNet, learner: nn.Module, run_dir: Path
    ) -> None:
        self.config, self.net, self.learner = config, net, learner
        self.average = copy.deepcopy(net).eval()
        self.optimizer = make_optimizer(learner, config.learning_rate, config.weight_decay)
        self.path, self.log_path = run_dir / "checkpoint.safetensors", run_dir / "log.jsonl"
        self.log: list[dict[str, Any]] = self._load() if self.path.exists() else []

    @property
    def learning_rate(self) -> float:
        """That of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, loss: Tensor, step: int, steps: int) -> None:
        """Go down the gradient of a loss: step number `step` of `steps` in this epoch."""
        epoch = len(self.log)
        done = (epoch + step / steps) / self.config.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * one_cycle(done)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 5.0)
        self.optimizer.step()
        taken = epoch * steps + step
        # Faster at first.
        decay = min(self.config.averaging, (1 + taken) / (10 + taken))
        move_average(self.average, self.net, decay)

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Log an epoch, and write the checkpoint from which the next one starts."""
        self.log.append(row)
        # The log rides in the checkpoint as well: the two never disagree after a kill.
        lines = "".join(json.dumps(row) + "\n" for row in self.log)
        tensors = {key: value.contiguous() for key, value in self._tensors().items()}
        write_whole(self.path, save(tensors, {"log": lines}))
        write_whole(self.log_path, lines.encode())

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"net.{k}": v for k, v in self.learner.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.learner.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = value
        return tensors

    def _load(self) -> list[dict[str, Any]]:
        try:
            with safe_open(self.path, framework="pt") as file:
                lines = file.metadata()["log"]
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError):
            raise ConfigError(f"{self.path}: damaged; remove it, and the run starts anew") from None
        networks: dict[str, nn.Module] = {"net.": self.learner, "average.": self.average}
        for prefix, net in networks.items():
            net.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        for name, parameter in self.learner.named_parameters():
            self.optimizer.state[parameter] = {
                key: tensors[f"optimizer.{key}.{name}"].to(
                    parameter.device if key != "step" else "cpu"
                )
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return [json.loads(line) for line in lines.splitlines()]


def one_cycle(done: float) -> float:
    """Share of the peak learning rate when this share of the training is done.

    Smith and Topin 2018: up over the first quarter, then down, along cosines; never below 1 %.
    """
    rising = 0.25
    phase = done / rising if done < rising else 1 - (done - rising) / (1 - rising)
    return 0.01 + 0.99 * (0.5 - 0.5 * math.cos(math.pi * phase))


def make_optimizer(
    learner: nn.Module,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.99),
) -> torch.optim.AdamW:
    """Build AdamW of all parameters of `learner`; matrices alone decay."""
    matrices = [p for p in learner.parameters() if p.ndim > 1]
    vectors = [p for p in learner.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, weight_decay=weight_decay)


def move_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the average of a network's weights towards the network (Polyak and Juditsky 1992)."""
    values = net.state_dict()
    with torch.no_grad():
        for name, mean in average.state_dict().items():
            if mean.is_floating_point():  # not what counts batches
                mean.lerp_(values[name], 1 - decay)


class Progress:
    """A bar on a terminal, a plain line now and then elsewhere, nothing when quiet."""

    def __init__(
        self, config: TrainConfig, done: int, quiet: bool, measure: str = "accuracy"
    ) -> None:
        self.measure = measure
        terminal = sys.stderr.isatty()
        self.lines = not quiet and not terminal
        self.every = max(1, config.epochs // 10)
        self.bar = tqdm(
            total=config.epochs,
            initial=done,
            desc=f"{config.model} {config.split}",
            unit="epoch",
            disable=quiet or not terminal,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def tell(self, row: dict[str, Any]) -> None:
        """Show one line of the log."""
        self.bar.set_postfix(
            {"loss": f"{row['loss']:.3f}", self.measure: f"{row[self.measure]:.1%}"}
        )
        self.bar.update()
        if self.lines and (row["epoch"] % self.every == 0 or row["epoch"] == self.bar.total):
            print(
                f"epoch {row['epoch']}/{self.bar.total}: loss {row['loss']:.3f}, "
                f"training {self.measure} {row[self.measure]:.1%}, {row['seconds']:.1f} s",
                file=sys.stderr,
                flush=True,
            )
