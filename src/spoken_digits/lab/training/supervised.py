"""Training with labels: a recipe and clips in, a run directory with a network out.

Everything random is keyed by (seed, epoch), so a run that was killed resumes from its last epoch
and ends, on a CPU, with the same bytes as one that was not. On a GPU all of it runs there, with
augmentation; its random numbers differ from a CPU's.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.preprocessing import StandardScaler
from torch import Generator, Tensor, nn
from torch.nn import functional

from spoken_digits.lab.augmentation.policies import augmented_log_mel
from spoken_digits.lab.augmentation.spectrogram import mixup
from spoken_digits.lab.data.dataset import Dataset, IntArray, draw_indices, epoch_batches
from spoken_digits.lab.features import FRONT_ENDS, LogMel
from spoken_digits.lab.models import MODELS, DigitNet, Output
from spoken_digits.lab.runs import claim, write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig, read_recipe
from spoken_digits.lab.training.losses import Projection, supervised_contrastive
from spoken_digits.lab.training.optimizer import Progress, Step, Trainer
from spoken_digits.lab.weights import WeightsError, read_weights

__all__ = [
    "build_network",
    "build_projection",
    "fit_head",
    "fit_linear_probe",
    "initial_weights",
    "key_of",
    "load_network",
    "predict",
    "predict_all",
    "predict_scores",
    "resolve_device",
    "start_from",
    "train",
]

_EVALUATION_BATCH = 128

_MAX_CLASSES = 10_000


def build_network(config: TrainConfig, n_classes: int) -> DigitNet:
    """Build the network of a recipe with the initial weights of its seed."""
    front_end = FRONT_ENDS[config.front_end]
    with initial_weights(config.seed, 0):
        backbone = MODELS[config.model].backbone(front_end.n_mels)
        return DigitNet(front_end, backbone, n_classes, rejects=config.oov_fraction > 0)


def build_projection(config: TrainConfig, dimension: int, projected: int = 64) -> Projection:
    """Build what stands between embeddings (B, D) and a loss of pairs, as its seed has it."""
    with initial_weights(config.seed, 3):
        return Projection(dimension, projected)


@contextmanager
def initial_weights(*key: int) -> Iterator[None]:
    """Key the initial weights of the networks that are built in this block."""
    # Modules draw their initial weights from torch's global generator: seeded for this block, and
    # put back, so that a caller's own stream is not touched.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key_of(*key))
        yield


def train(
    config: TrainConfig,
    dataset: Dataset,
    indices: IntArray,
    run_dir: Path,
    heldout: IntArray | None = None,
    quiet: bool = False,
    *,
    probabilities: NDArray[np.float64] | None = None,
    background: Tensor | None = None,
    initial: Mapping[str, Tensor] | None = None,
) -> DigitNet:
    """Train on some clips of a dataset, or resume where an earlier call was killed.

    Writes `config.toml`, `log.jsonl` (a line an epoch), `checkpoint.safetensors` while training and
    `model.safetensors` at the end, each whole or not at all.

    Parameters
    ----------
    config
        The recipe, resolved.
    dataset, indices
        Prepared clips and which of them to train on.
    run_dir
        Where the files go; made if it is missing.
    heldout
        Indices of clips whose accuracy is logged every epoch. They steer nothing; give held-out
        training speakers, never test speakers.
    quiet
        No progress on standard error.
    probabilities
        How often each of `indices` is drawn for an epoch; left out, each comes once.
    background
        Recorded noise (K,), for policies that add noise to samples.
    initial
        Weights to start from, by name, of those that fit; the others start from the seed.

    Raises
    ------
    ConfigError
        When the checkpoint in `run_dir` is damaged.
    RunError
        When `run_dir` holds a run of another recipe.
    """
    device = resolve_device(config.device)
    claim(run_dir, config)
    net = build_network(config, len(dataset.label_names))
    if config.is_linear:
        _fit_linear(config, net, dataset, indices)
        write_whole(run_dir / "log.jsonl", b"")
    else:
        if initial is not None:
            start_from(net, initial)
        task = _Supervised(config, net.to(device), dataset, indices, probabilities, background)
        net = _optimize(config, task, dataset, run_dir, heldout, quiet)
    with torch.no_grad():
        net.head.weight.div_(config.temperature)
        net.head.bias.div_(config.temperature)
    write_whole(run_dir / "model.safetensors", save(net.state_dict()))
    (run_dir / "checkpoint.safetensors").unlink(missing_ok=True)
    return net.eval()


class _Supervised:
    """The batches and the loss of training with labels."""

    def __init__(
        self,
        config: TrainConfig,
        net: DigitNet,
        dataset: Dataset,
        indices: IntArray,
        probabilities: NDArray[np.float64] | None,
        background: Tensor | None,
    ) -> None:
        self.config, self.net, self.dataset = config, net, dataset
        self.policy = config.policy
        self.indices, self.probabilities = indices, probabilities
        self.device = net.head.weight.device
        self.background = None if background is None else background.to(self.device)
        self.front_end = LogMel(FRONT_ENDS[config.front_end]).to(self.device)
        self.draws = Generator(self.device)
        self.learner = nn.ModuleList([net])
        if config.objective == "joint":
            projection = build_projection(config, net.backbone.dimension)
            self.learner.append(projection.to(self.device))

    def batches(self, epoch: int) -> list[IntArray]:
        """Draw the batches of an epoch, and key the augmentation by it."""
        order = np.random.default_rng([self.config.seed, 1, epoch])
        self.draws.manual_seed(key_of(self.config.seed, 2, epoch))
        chosen = self.indices
        if self.probabilities is not None:
            count = self.config.clips_per_epoch or len(chosen)
            chosen = chosen[draw_indices(self.probabilities, count, order)]
        lengths = self.dataset.lengths[chosen]
        return [chosen[batch] for batch in epoch_batches(lengths, self.config.batch_size, order)]

    def step(self, batch: IntArray) -> Step:
        """Compute loss and accuracy of a batch."""
        config, policy = self.config, self.policy
        labels = torch.from_numpy(self.dataset.targets[batch]).to(self.device)
        waveform, lengths = (part.to(self.device) for part in self.dataset.batch(batch))
        targets = labels
        with torch.no_grad(), self.device:  # augmentation makes its tensors on that device
            log_mel, mask = augmented_log_mel(
                self.front_end, waveform, lengths, policy, self.draws, self.background
            )
            if policy.mixup_alpha:
                targets = functional.one_hot(labels, self.net.head.out_features).float()
                alpha = policy.mixup_alpha
                log_mel, mask, targets = mixup(log_mel, mask, targets, self.draws, alpha)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            embedding = self.net.backbone(log_mel, mask)
        # Each member of an ensemble has a loss of its own: their errors differ more that way.
        members = self.net.member_scores(embedding)  # (members, B, C or C + 1)
        loss = functional.cross_entropy(
            members.flatten(0, 1),
            torch.cat([targets] * len(members)),
            label_smoothing=config.label_smoothing,
        )
        if config.objective == "joint":
            contrastive = supervised_contrastive(
                self.learner[1](embedding), labels, config.contrastive_temperature
            )
            loss = loss + config.contrastive_weight * contrastive
        hits = members.detach().mean(0).argmax(1) == labels
        return loss, {"accuracy": float(hits.float().mean())}, len(batch)


def _optimize(
    config: TrainConfig,
    task: _Supervised,
    dataset: Dataset,
    run_dir: Path,
    heldout: IntArray | None,
    quiet: bool,
) -> DigitNet:
    steps = config.epochs * len(task.batches(0))
    trainer = Trainer(config, task.net, task.learner, config.epochs, steps, run_dir)

    def heldout_accuracy() -> dict[str, float]:
        if heldout is None:
            return {}
        scores = predict_scores(_average(trainer), dataset, heldout)
        hits = scores.argmax(1) == dataset.targets[heldout]
        return {"heldout_accuracy": float(hits.mean())}

    title, done = f"{config.model} {config.split}", len(trainer.log)
    with Progress(title, config.epochs, done, quiet, "accuracy") as progress:
        trainer.fit(task.batches, task.step, progress, heldout_accuracy)
    return _average(trainer).cpu()


def _average(trainer: Trainer) -> DigitNet:
    average = trainer.average
    assert isinstance(average, DigitNet)
    return average


def predict(
    net: DigitNet, dataset: Dataset, indices: IntArray
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute scores (N, C) and embeddings (N, D) of some clips of a dataset, in their order."""
    scores, embeddings, _ = predict_all(net, dataset, indices)
    return scores, embeddings


def predict_scores(net: DigitNet, dataset: Dataset, indices: IntArray) -> NDArray[np.float32]:
    """Compute scores (N, C) alone, as `predict`: embeddings of a large corpus take much memory."""
    return _collect(net, dataset, indices, lambda output: (output.scores,))[0]


def predict_all(
    net: DigitNet, dataset: Dataset, indices: IntArray
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """As `predict`, and the rejection scores (N,): NaN of a network without that output."""

    def parts(output: Output) -> tuple[Tensor, ...]:
        rejection = output.rejection
        if rejection is None:
            rejection = torch.full((len(output.scores),), torch.nan)
        return output.scores, output.embedding, rejection

    scores, embeddings, rejections = _collect(net, dataset, indices, parts)
    return scores, embeddings, rejections


def _collect(
    net: DigitNet,
    dataset: Dataset,
    indices: IntArray,
    parts: Callable[[Output], tuple[Tensor, ...]],
) -> list[NDArray[np.float32]]:
    """Compute parts of the output, (N, ...) each, in batches of similar length."""
    device = net.head.weight.device
    by_length = np.argsort(dataset.lengths[indices], kind="stable")
    collected: list[NDArray[np.float32]] = []
    net.eval()
    with torch.inference_mode():
        for start in range(0, len(indices), _EVALUATION_BATCH):
            rows = by_length[start : start + _EVALUATION_BATCH]
            waveform, lengths = dataset.batch(indices[rows])
            found = [x.cpu().numpy() for x in parts(net(waveform.to(device), lengths.to(device)))]
            if not collected:
                collected = [np.empty((len(indices), *x.shape[1:]), np.float32) for x in found]
            for whole, part in zip(collected, found, strict=True):
                whole[rows] = part
    return collected


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
    # A kind of task may add keys of its own, which the network does not depend on.
    keys = {field.name for field in fields(TrainConfig)}
    values = read_recipe(run_dir / "config.toml")
    known = {key: value for key, value in values.items() if key in keys}
    config = TrainConfig.from_dict(known, str(run_dir / "config.toml"))
    try:
        weights = read_weights(model).tensors
        classes = len(weights["head.bias"])
        if classes > _MAX_CLASSES:  # or a network would be made of as many, whatever the file holds
            raise WeightsError(f"{classes:,} classes; expected up to {_MAX_CLASSES:,}")
        net = build_network(config, classes - (config.oov_fraction > 0))
        net.load_state_dict(weights)
    except (WeightsError, KeyError, TypeError, RuntimeError):
        raise ConfigError(
            f"{model}: damaged, or not of the network that config.toml names; train the run again"
        ) from None
    return config, net.eval()


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


def _fit_linear(config: TrainConfig, net: DigitNet, dataset: Dataset, indices: IntArray) -> None:
    """Fit the head of a network that has no other weights."""
    _, features = predict(net, dataset, indices)
    if MODELS[config.model].linear == "hinge":
        classifier = SGDClassifier(
            loss="hinge", alpha=config.weight_decay, random_state=config.seed
        )
        fit_head(net, features, dataset.targets[indices], classifier)
    else:
        # scikit-learn's C of the same regularization as SGDClassifier's alpha.
        C = 1 / (config.weight_decay * len(indices))
        fit_linear_probe(net, features, dataset.targets[indices], C)


def fit_linear_probe(
    net: DigitNet, features: NDArray[np.float32], targets: IntArray, C: float
) -> None:
    """Make the head of a network a logistic regression of embeddings that stay as they are.

    Parameters
    ----------
    net
        The network; its head is overwritten.
    features, targets
        Embeddings (N, D), standardized here, and their classes (N,).
    C
        scikit-learn's inverse strength of the regularization.
    """
    fit_head(net, features, targets, LogisticRegression(C=C, max_iter=1000))


def fit_head(
    net: DigitNet,
    features: NDArray[np.float32],
    targets: IntArray,
    classifier: SGDClassifier | LogisticRegression,
) -> None:
    """Fit a linear classifier to standardized features, and make it the head of a network.

    The scaling of the features is folded into the weights.
    """
    scaler = StandardScaler().fit(features)
    classifier.fit(scaler.transform(features), targets)
    weight = classifier.coef_ / scaler.scale_
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(weight))
        net.head.bias.copy_(torch.from_numpy(classifier.intercept_ - weight @ scaler.mean_))
