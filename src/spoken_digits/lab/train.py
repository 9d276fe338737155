"""Training: a recipe and clips in, a run directory with a network out.

Everything random is keyed by (seed, epoch), and a checkpoint is written after every epoch, so a run
that was killed goes on from its last epoch and ends, on a CPU, with the same bytes as one that was
not.
"""

import copy
import json
import math
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from spoken_digits.lab.augment import ALONE, POLICIES, Policy, augmented_log_mel, find_policy
from spoken_digits.lab.corpora import CORPORA
from spoken_digits.lab.dataset import Dataset, IntArray, draw_rows, epoch_batches
from spoken_digits.lab.features import FRONT_ENDS, LogMel
from spoken_digits.lab.files import write_whole
from spoken_digits.lab.losses import Projection, supervised_contrastive
from spoken_digits.lab.models import MODELS, DigitNet
from spoken_digits.lab.spectrograms import mixup

__all__ = [
    "RECIPES",
    "ConfigError",
    "TrainConfig",
    "build_network",
    "build_projection",
    "load_network",
    "predict",
    "predict_all",
    "read_recipe",
    "start_from",
    "train",
]

RECIPES = Path(__file__).parent / "recipes"
_EVALUATION_BATCH = 128
_OBJECTIVES = ("cross-entropy", "joint")


class ConfigError(ValueError):
    """A recipe or a run directory that asks for what there is not; the message names the key."""


@dataclass(frozen=True)
class TrainConfig:
    """What a run is made of. The defaults are those of our strong model.

    Attributes
    ----------
    model, front_end, augmentation
        Names in `MODELS`, `FRONT_ENDS` and `POLICIES`; ``alone:<name>`` is one of `ALONE`.
    extra
        A corpus whose clips join the training side: ``voices``; ``none``.
    split
        A named split, one that has a single fold: ``xsdr``, ``inner:theo``.
    seed
        Key of everything random in the run.
    epochs, batch_size
        Passes over the training clips, and clips in a batch.
    learning_rate, weight_decay
        AdamW's (Loshchilov and Hutter 2019): the peak of a schedule that rises over the first
        quarter and falls to zero along a cosine; decay of matrices alone. For the linear baselines
        ``weight_decay`` is scikit-learn's ``alpha``.
    label_smoothing
        Share of the target spread over all classes (Szegedy et al. 2016).
    objective
        ``cross-entropy``, or ``joint``: `contrast_weight` times the supervised contrastive loss of
        the batch is added, behind a projection that is thrown away after training (as CLAR does
        with a contrastive loss of views, Al-Tahan and Mohsenzadeh 2021).
    contrast_weight, contrast_temperature
        Weight and temperature of that loss.
    averaging
        Decay a step of the moving average of the weights, the network that is kept.
    temperature
        What the scores are divided by at the end (Guo et al. 2017); chosen on left-out training
        speakers.
    device
        ``auto``, or a name torch knows.
    clips_an_epoch
        How many clips make an epoch where they are drawn by shares; 0 for as many as there are.
    other_share
        Share of them that is none of the labels. Above zero, the network has a class for these.
    rejection_threshold
        What an exported model says to reject below: log-odds of being one of the labels.
    """

    model: str = "cnn"
    front_end: str = "ours"
    augmentation: str = "basic"
    extra: str = "none"
    split: str = "xsdr"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    objective: str = "cross-entropy"
    contrast_weight: float = 0.5
    contrast_temperature: float = 0.1
    averaging: float = 0.99
    temperature: float = 1.0
    device: str = "auto"
    clips_an_epoch: int = 0
    other_share: float = 0.0
    rejection_threshold: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            # TOML writes 1 where 1.0 is meant; true and false are never numbers here.
            if isinstance(value, bool) or not isinstance(
                value, (kind, int) if kind is float else kind
            ):
                raise ConfigError(f"{field.name} = {value!r}: expected {kind.__name__}")
            if kind is float and not math.isfinite(float(getattr(self, field.name))):
                raise ConfigError(f"{field.name} = {value!r}: expected a finite number")
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed}: expected 0 or more")
        for key, valid in (
            ("model", MODELS),
            ("front_end", FRONT_ENDS),
            ("augmentation", (*POLICIES, *(f"alone:{name}" for name in ALONE))),
            ("extra", ("none", *CORPORA)),
            ("objective", _OBJECTIVES),
        ):
            if getattr(self, key) not in valid:
                raise ConfigError(
                    f"{key} = {getattr(self, key)!r}: expected one of {', '.join(valid)}"
                )
        for key in (
            "epochs",
            "batch_size",
            "learning_rate",
            "temperature",
            "contrast_temperature",
        ):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{key} = {getattr(self, key)}: expected more than zero")
        for key, below in (
            ("label_smoothing", 1),
            ("averaging", 1),
            ("weight_decay", math.inf),
            ("contrast_weight", math.inf),
            ("clips_an_epoch", math.inf),
            ("other_share", 1),
        ):
            if not 0 <= getattr(self, key) < below:
                raise ConfigError(f"{key} = {getattr(self, key)}: expected 0 to below {below}")
        if self.objective == "joint" and self.policy.mixup_alpha:
            raise ConfigError(
                f"objective = 'joint' with augmentation = {self.augmentation!r}: mixup leaves no "
                "clip of one class; choose a policy without it"
            )

    @property
    def policy(self) -> Policy:
        """What `augmentation` names."""
        policy = find_policy(self.augmentation)
        assert policy is not None  # checked when the recipe was made
        return policy

    @property
    def is_linear(self) -> bool:
        """Whether scikit-learn fits the model at once, without epochs."""
        return MODELS[self.model].linear is not None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> "TrainConfig":
        """Build from keys and values; `where` names their source in errors."""
        valid = [field.name for field in fields(cls)]
        if unknown := [key for key in values if key not in valid]:
            raise ConfigError(
                f"{where}: unknown key {', '.join(map(repr, unknown))}; "
                f"the keys are {', '.join(valid)}"
            )
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    @classmethod
    def from_toml(cls, recipe: Path | str, **overrides: Any) -> "TrainConfig":
        """Read a recipe: a file, or the name of one that ships; `overrides` win over it."""
        values = read_recipe(recipe)
        if "study" in values:
            raise ConfigError(
                f"{recipe}: a study, not the recipe of one run; use spoken-digits study"
            )
        return cls.from_dict({**values, **overrides}, str(recipe))

    def to_toml(self) -> str:
        """Return every key, resolved, as TOML."""
        # JSON's strings and numbers are TOML's.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(self).items())


def read_recipe(recipe: Path | str) -> dict[str, Any]:
    """Read a TOML file, or the recipe of that name that ships.

    Raises
    ------
    ConfigError
        When there is none, or it is not TOML.
    """
    path = Path(recipe)
    if not path.suffix and not path.exists():
        path = RECIPES / f"{recipe}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(
            f"{recipe}: no such recipe; give a .toml file or the name of one that ships: {names}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{recipe}: not a TOML file: {error}") from None


def build_network(config: TrainConfig, n_classes: int) -> DigitNet:
    """Build the network of a recipe with the initial weights of its seed."""
    front_end = FRONT_ENDS[config.front_end]
    with _initial_weights(config.seed, 0):
        backbone = MODELS[config.model].backbone(front_end.n_mels)
        return DigitNet(front_end, backbone, n_classes, rejects=config.other_share > 0)


def build_projection(config: TrainConfig, dimension: int) -> Projection:
    """Build what stands between embeddings (B, D) and a contrastive loss, as its seed has it."""
    with _initial_weights(config.seed, 3):
        return Projection(dimension)


@contextmanager
def _initial_weights(*key: int) -> Iterator[None]:
    # Modules draw their initial weights from torch's global generator: seeded for this block, and
    # put back, so that a caller's own stream is not touched.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key_of(*key))
        yield


def train(
    config: TrainConfig,
    dataset: Dataset,
    rows: IntArray,
    run_dir: Path,
    heldout_rows: IntArray | None = None,
    quiet: bool = False,
    *,
    shares: NDArray[np.float64] | None = None,
    background: Tensor | None = None,
    initial: Mapping[str, Tensor] | None = None,
) -> DigitNet:
    """Train on some rows of a dataset, or go on where an earlier call was cut off.

    Writes `config.toml`, `log.jsonl` (a line an epoch), `checkpoint.safetensors` while training and
    `model.safetensors` at the end, each whole or not at all.

    Parameters
    ----------
    config
        The recipe, resolved.
    dataset, rows
        Prepared clips and which of them to train on.
    run_dir
        Where the files go; made if it is missing.
    heldout_rows
        Clips whose accuracy is logged every epoch. They steer nothing; give training speakers left
        out, never test speakers.
    quiet
        No progress on standard error.
    shares
        How often each of `rows` is drawn for an epoch; left out, each comes once.
    background
        Recorded noise (K,), for policies that add noise to samples.
    initial
        Weights to start from, by name, of those that fit; the others start from the seed.

    Raises
    ------
    ConfigError
        When `run_dir` holds a run of another recipe.
    """
    device = resolve_device(config.device)
    claim(run_dir, config)
    net = build_network(config, len(dataset.label_names))
    if config.is_linear:
        _fit_linear(config, net, dataset, rows)
        write_whole(run_dir / "log.jsonl", b"")
    else:
        net.to(device)
        if initial is not None:
            start_from(net, initial)
        drawn = rows, shares
        net = _descend(config, net, dataset, drawn, run_dir, heldout_rows, quiet, background)
    with torch.no_grad():
        net.head.weight.div_(config.temperature)
        net.head.bias.div_(config.temperature)
    write_whole(run_dir / "model.safetensors", save(net.state_dict()))
    (run_dir / "checkpoint.safetensors").unlink(missing_ok=True)
    return net.eval()


def _descend(
    config: TrainConfig,
    net: DigitNet,
    dataset: Dataset,
    drawn: tuple[IntArray, NDArray[np.float64] | None],
    run_dir: Path,
    heldout_rows: IntArray | None,
    quiet: bool,
    background: Tensor | None,
) -> DigitNet:
    device = net.head.weight.device
    average = copy.deepcopy(net).eval()
    all_rows, shares = drawn
    learner: nn.ModuleList = nn.ModuleList([net])
    joint = config.objective == "joint"
    if joint:
        learner.append(build_projection(config, net.backbone.dimension).to(device))
    optimizer = make_optimizer(config, learner)
    state = Checkpoint(learner, average, optimizer)
    log = state.load(run_dir)
    front_end = LogMel(FRONT_ENDS[config.front_end])  # augmentation stays on the CPU: same draws
    policy = config.policy

    with Progress(config, len(log), quiet) as progress:
        for epoch in range(len(log), config.epochs):
            began = time.perf_counter()
            order = np.random.default_rng([config.seed, 1, epoch])
            draws = torch.Generator().manual_seed(key_of(config.seed, 2, epoch))
            rows = all_rows
            if shares is not None:
                rows = all_rows[draw_rows(shares, config.clips_an_epoch or len(all_rows), order)]
            batches = epoch_batches(dataset.lengths[rows], config.batch_size, order)
            total_loss, right = 0.0, 0
            net.train()
            for step, batch in enumerate(batches):
                targets = torch.from_numpy(dataset.targets[rows[batch]]).to(device)
                waveform, lengths = dataset.batch(rows[batch])
                log_mel, mask = augmented_log_mel(
                    front_end, waveform, lengths, policy, draws, background
                )
                goals = targets
                if policy.mixup_alpha:
                    classes = net.head.out_features
                    goals = functional.one_hot(targets, classes).float().cpu()
                    log_mel, mask, goals = mixup(log_mel, mask, goals, draws, policy.mixup_alpha)
                output = net.classify(log_mel.to(device), mask.to(device))
                # Each member of a committee learns alone: what they get wrong differs the more.
                members = net.member_scores(output.embedding)  # (members, B, C or C + 1)
                loss = functional.cross_entropy(
                    members.flatten(0, 1),
                    torch.cat([goals.to(device)] * len(members)),
                    label_smoothing=config.label_smoothing,
                )
                if joint:
                    contrast = supervised_contrastive(
                        learner[1](output.embedding), targets, config.contrast_temperature
                    )
                    loss = loss + config.contrast_weight * contrast
                done = (epoch + step / len(batches)) / config.epochs
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * one_cycle(done)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
                optimizer.step()
                move_average(average, net, config.averaging, epoch * len(batches) + step)
                total_loss += loss.item() * len(batch)
                right += int((members.mean(0).argmax(1) == targets).sum())
            row: dict[str, Any] = {
                "epoch": epoch + 1,
                "loss": round(total_loss / len(rows), 5),
                "accuracy": round(right / len(rows), 5),
                "learning_rate": round(optimizer.param_groups[0]["lr"], 8),
                "seconds": round(time.perf_counter() - began, 2),
            }
            if heldout_rows is not None:
                scores_heldout, _ = predict(average, dataset, heldout_rows)
                hits = scores_heldout.argmax(1) == dataset.targets[heldout_rows]
                row["heldout_accuracy"] = round(float(hits.mean()), 5)
            log.append(row)
            state.save(run_dir, log)
            progress.tell(row)
    return average.cpu()


def predict(
    net: DigitNet, dataset: Dataset, rows: IntArray
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores (N, C) and embeddings (N, D) of some rows of a dataset, in their order."""
    scores, embeddings, _ = predict_all(net, dataset, rows)
    return scores, embeddings


def predict_all(
    net: DigitNet, dataset: Dataset, rows: IntArray
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """As `predict`, and the rejection scores (N,): NaN of a network that rejects nothing."""
    device = net.head.weight.device
    by_length = np.argsort(dataset.lengths[rows], kind="stable")
    scores, embeddings, rejections = [], [], []
    net.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), _EVALUATION_BATCH):
            waveform, lengths = dataset.batch(rows[by_length[start : start + _EVALUATION_BATCH]])
            output = net(waveform.to(device), lengths.to(device))
            scores.append(output.scores.cpu().numpy())
            embeddings.append(output.embedding.cpu().numpy())
            rejection = torch.full((len(lengths),), torch.nan)
            if output.rejection is not None:
                rejection = output.rejection.cpu()
            rejections.append(rejection.numpy())
    back = np.argsort(by_length, kind="stable")
    return (
        np.concatenate(scores)[back],
        np.concatenate(embeddings)[back],
        np.concatenate(rejections)[back],
    )


def start_from(net: DigitNet, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network wherever name and shape fit; the rest stays as it is."""
    own = net.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    net.load_state_dict({**own, **fitting})


def load_network(run_dir: Path) -> tuple[TrainConfig, DigitNet]:
    """Return the recipe and the trained network of a run directory, ready to evaluate.

    Raises
    ------
    ConfigError
        When the folder holds no finished run.
    """
    model = run_dir / "model.safetensors"
    if not model.exists():
        raise ConfigError(
            f"{run_dir}: no model.safetensors, expected the folder of a finished run; "
            "train it first, or name one below runs/"
        )
    config = TrainConfig.from_toml(run_dir / "config.toml")
    try:
        weights = load_file(model)
        net = build_network(config, len(weights["head.bias"]) - (config.other_share > 0))
        net.load_state_dict(weights)
    except (SafetensorError, KeyError, RuntimeError):
        raise ConfigError(
            f"{model}: damaged, or not of the network that config.toml names; train the run again"
        ) from None
    return config, net.eval()


def claim(run_dir: Path, config: TrainConfig) -> None:
    """Write `config.toml`, or make sure that what lies there is the same recipe."""
    path = run_dir / "config.toml"
    if path.exists():
        if path.read_text(encoding="utf-8") != config.to_toml():
            raise ConfigError(
                f"{run_dir}: holds a run of another recipe; remove it or choose another folder"
            )
        return
    write_whole(path, config.to_toml().encode())


def key_of(*parts: int) -> int:
    """One 63-bit seed of several numbers, far from that of any others."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def resolve_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device = {name!r}: {reason}; use auto or cpu") from None


def one_cycle(done: float) -> float:
    """Share of the peak learning rate when this share of the training is done.

    Smith and Topin 2018: up over the first quarter, then down, along cosines; never below 1 %.
    """
    rising = 0.25
    phase = done / rising if done < rising else 1 - (done - rising) / (1 - rising)
    return 0.01 + 0.99 * (0.5 - 0.5 * math.cos(math.pi * phase))


def make_optimizer(config: TrainConfig, learner: nn.Module) -> torch.optim.AdamW:
    """Build the recipe's optimizer of all parameters of `learner`."""
    matrices = [p for p in learner.parameters() if p.ndim > 1]
    vectors = [p for p in learner.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=config.weight_decay,
    )


def move_average(average: DigitNet, net: DigitNet, decay: float, step: int) -> None:
    """Move the average towards the network, faster at first (Polyak and Juditsky 1992)."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(
            average.state_dict().values(), net.state_dict().values(), strict=True
        ):
            mean.lerp_(value, 1 - decay)


def _fit_linear(config: TrainConfig, net: DigitNet, dataset: Dataset, rows: IntArray) -> None:
    """Fit the head with scikit-learn, and fold the scaling of the features into its weights."""
    _, features = predict(net, dataset, rows)
    scaler = StandardScaler().fit(features)
    if MODELS[config.model].linear == "hinge":
        classifier = SGDClassifier(
            loss="hinge", alpha=config.weight_decay, random_state=config.seed
        )
    else:
        C = 1 / (config.weight_decay * len(rows))  # the same meaning as SGD's alpha
        classifier = LogisticRegression(C=C, max_iter=1000, random_state=config.seed)
    classifier.fit(scaler.transform(features), dataset.targets[rows])
    set_head(net, scaler, classifier)


def set_head(
    net: DigitNet, scaler: StandardScaler, classifier: SGDClassifier | LogisticRegression
) -> None:
    """Make a linear classifier of scaled embeddings the head of a network."""
    weight = classifier.coef_ / scaler.scale_
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(weight))
        net.head.bias.copy_(torch.from_numpy(classifier.intercept_ - weight @ scaler.mean_))


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


class Checkpoint:
    """What a checkpoint holds: what learns, its average, the optimizer's moments, the log."""

    def __init__(self, net: nn.Module, average: DigitNet, optimizer: torch.optim.Optimizer) -> None:
        self.net, self.average, self.optimizer = net, average, optimizer

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = value
        return tensors

    def save(self, run_dir: Path, log: list[dict[str, Any]]) -> None:
        # The log rides in the checkpoint as well: the two never disagree after a kill.
        lines = "".join(json.dumps(row) + "\n" for row in log)
        tensors = {key: value.contiguous() for key, value in self._tensors().items()}
        write_whole(run_dir / "checkpoint.safetensors", save(tensors, {"log": lines}))
        write_whole(run_dir / "log.jsonl", lines.encode())

    def load(self, run_dir: Path) -> list[dict[str, Any]]:
        path = run_dir / "checkpoint.safetensors"
        if not path.exists():
            return []
        try:
            with safe_open(path, framework="pt") as file:
                lines = file.metadata()["log"]
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError):
            raise ConfigError(f"{path}: damaged; remove it, and the run starts anew") from None
        networks: dict[str, nn.Module] = {"net.": self.net, "average.": self.average}
        for prefix, net in networks.items():
            net.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        for name, parameter in self.net.named_parameters():
            self.optimizer.state[parameter] = {
                key: tensors[f"optimizer.{key}.{name}"].to(
                    parameter.device if key != "step" else "cpu"
                )
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return [json.loads(line) for line in lines.splitlines()]
