"""Training: a recipe and clips in, a run directory with a network out.

Everything random is keyed by (seed, epoch), and a checkpoint is written after every epoch, so a run
that was killed goes on from its last epoch and ends, on a CPU, with the same bytes as one that was
not. On a GPU all of it, augmentation too, runs there; the draws are others than a CPU's.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from spoken_digits.lab.augmentation.policies import augmented_log_mel
from spoken_digits.lab.augmentation.spectrogram import mixup
from spoken_digits.lab.data.dataset import Dataset, IntArray, draw_rows, epoch_batches
from spoken_digits.lab.features import FRONT_ENDS, LogMel
from spoken_digits.lab.models import MODELS, DigitNet
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.losses import Projection, supervised_contrastive
from spoken_digits.lab.training.optimizer import Descent, Progress

__all__ = [
    "build_network",
    "build_projection",
    "claim",
    "key_of",
    "load_network",
    "predict",
    "predict_all",
    "resolve_device",
    "set_head",
    "start_from",
    "train",
]

_EVALUATION_BATCH = 128


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
    all_rows, shares = drawn
    learner: nn.ModuleList = nn.ModuleList([net])
    joint = config.objective == "joint"
    if joint:
        learner.append(build_projection(config, net.backbone.dimension).to(device))
    descent = Descent(config, net, learner, run_dir)
    front_end = LogMel(FRONT_ENDS[config.front_end]).to(device)
    policy = config.policy
    if background is not None:
        background = background.to(device)

    begun = len(descent.log)
    with Progress(config, begun, quiet) as progress:
        for epoch in range(begun, config.epochs):
            began = time.perf_counter()
            order = np.random.default_rng([config.seed, 1, epoch])
            draws = torch.Generator(device).manual_seed(key_of(config.seed, 2, epoch))
            rows = all_rows
            if shares is not None:
                rows = all_rows[draw_rows(shares, config.clips_an_epoch or len(all_rows), order)]
            batches = epoch_batches(dataset.lengths[rows], config.batch_size, order)
            total_loss, right = 0.0, 0
            net.train()
            for step, batch in enumerate(batches):
                targets = torch.from_numpy(dataset.targets[rows[batch]]).to(device)
                waveform, lengths = (part.to(device) for part in dataset.batch(rows[batch]))
                goals = targets
                with device:  # what augmentation makes is made where the clips are
                    log_mel, mask = augmented_log_mel(
                        front_end, waveform, lengths, policy, draws, background
                    )
                    if policy.mixup_alpha:
                        goals = functional.one_hot(targets, net.head.out_features).float()
                        alpha = policy.mixup_alpha
                        log_mel, mask, goals = mixup(log_mel, mask, goals, draws, alpha)
                output = net.classify(log_mel, mask)
                # Each member of a committee learns alone: what they get wrong differs the more.
                members = net.member_scores(output.embedding)  # (members, B, C or C + 1)
                loss = functional.cross_entropy(
                    members.flatten(0, 1),
                    torch.cat([goals] * len(members)),
                    label_smoothing=config.label_smoothing,
                )
                if joint:
                    contrast = supervised_contrastive(
                        learner[1](output.embedding), targets, config.contrast_temperature
                    )
                    loss = loss + config.contrast_weight * contrast
                descent.step(loss, step, len(batches))
                total_loss += loss.item() * len(batch)
                right += int((members.mean(0).argmax(1) == targets).sum())
            row: dict[str, Any] = {
                "epoch": epoch + 1,
                "loss": round(total_loss / len(rows), 5),
                "accuracy": round(right / len(rows), 5),
                "learning_rate": round(descent.learning_rate, 8),
                "seconds": round(time.perf_counter() - began, 2),
            }
            if heldout_rows is not None:
                scores_heldout, _ = predict(descent.average, dataset, heldout_rows)
                hits = scores_heldout.argmax(1) == dataset.targets[heldout_rows]
                row["heldout_accuracy"] = round(float(hits.mean()), 5)
            descent.end_epoch(row)
            progress.tell(row)
    return descent.average.cpu()


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
    """Return the device of that name, or the best at hand for ``auto``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device = {name!r}: {reason}; use auto or cpu") from None


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
