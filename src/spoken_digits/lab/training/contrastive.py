"""Pre-training on pairs of views: learning without labels, and its evaluation with few and many.

Two views of each clip, changed in pitch, formants, tempo and channel, must be nearer to each other
than to other clips (SimCLR, Chen et al. 2020), or near to each other while the components of the
embedding stay spread and uncorrelated (VICReg, Bardes et al. 2022, without negatives). Labels are
used afterwards: a linear probe and nearest neighbors on the frozen embedding, and fine-tuning with
few labels, compared with the same network trained from scratch with the same labels.

After pre-training, neighbors nearly always share a word, but each speaker has a region of its own.
So the embeddings of each speaker are standardized, and divided into as many clusters as there are
words; a new network learns the clusters as if they were labels (deep clustering, Caron et al. 2018)
and is probed as well.

No label of a digit is used before that, unless `positives` asks for it. The labels of speakers are:
a clip is compared with others of its own speaker alone, so that the speaker's voice, where the
views leave it recognizable, does not help to match them. Speech of other people, in which no digit
is said, may join (`unlabelled`): each of its corpora counts as one speaker there.

Shapes: B batch, N clips, D embedding, C classes.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize
from torch import Generator, Tensor, nn

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.augmentation.policies import POLICIES, augmented_log_mel
from spoken_digits.lab.data.dataset import Dataset, IntArray, epoch_batches
from spoken_digits.lab.evaluation.embeddings import PROBE_C
from spoken_digits.lab.features import FRONT_ENDS, LogMel
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.runs import claim, write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.losses import (
    matched_fraction,
    nt_xent,
    supervised_contrastive,
    vicreg,
)
from spoken_digits.lab.training.optimizer import Progress, Step, Trainer
from spoken_digits.lab.training.supervised import (
    build_network,
    build_projection,
    fit_linear_probe,
    key_of,
    load_network,
    predict,
    predict_scores,
    resolve_device,
    start_from,
    train,
)
from spoken_digits.lab.weights import read_weights

__all__ = [
    "LABELS",
    "PretrainConfig",
    "choose_labels",
    "cluster",
    "contrastive_scores",
    "fit_probe",
    "neighbor_scores",
    "pretrain",
]

_POSITIVES = ("clip", "digit")
_METHODS = {"simclr": 64, "vicreg": 256}  # and how many components their projection has
_UNLABELLED = ("none", "speech")
# Of unlabelled recordings of several words, as much as a word is long.
_MIN_PIECE_S, _MAX_PIECE_S = 0.4, 0.8
LABELS = (1, 5, 20, 0)  # labels for each digit and speaker; 0 for all there are

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """What pre-training is made of: the keys of `TrainConfig`, some with other defaults.

    Of those keys `augmentation` is the policy of the views, `contrastive_temperature` that of the
    loss; `objective` and `contrastive_weight` have no effect. `label_smoothing` and `temperature`
    are those of training with labels.

    Attributes
    ----------
    method
        ``simclr`` or ``vicreg``, the loss of the views.
    unlabelled
        Recordings that join for pre-training alone: ``speech`` of other people, without a digit
        word (`unlabelled.read_unlabelled`); ``none``.
    positives
        Of ``simclr``, positives of a view: the other view of its ``clip`` (no labels), or all views
        of its ``digit`` (supervised contrastive learning, Khosla et al. 2020).
    probe_views, probe_c
        Augmented views of each clip that the probe is fitted to, as for supervised training (the
        linear evaluation of SimCLR augments too); scikit-learn's ``C`` of its logistic regression.
    neighbors
        Number of nearest neighbors that vote.
    clusters, cluster_rounds
        Number of clusters, and rounds of learning them: from the second round on, they are found in
        the embedding of the round before. 0 rounds for none.
    label_augmentation, label_epochs, label_steps
        Training with labels, from pre-trained weights or from scratch: its policy, its passes over
        the clips, and the fewest batches, for which few clips are passed over more often.
    label_learning_rate, label_batch_size
        Of that training.
    """

    augmentation: str = "views"
    epochs: int = 100
    batch_size: int = 64
    contrastive_temperature: float = 0.2
    method: str = "simclr"
    unlabelled: str = "none"
    positives: str = "clip"
    probe_views: int = 6
    probe_c: float = PROBE_C
    neighbors: int = 10
    clusters: int = 10
    cluster_rounds: int = 3
    label_augmentation: str = "basic"
    label_epochs: int = 30
    label_steps: int = 300
    label_learning_rate: float = 4e-3
    label_batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_linear:
            raise ConfigError(f"model = {self.model!r}: has no weights to pre-train")
        for key, valid in (
            ("method", _METHODS),
            ("unlabelled", _UNLABELLED),
            ("positives", _POSITIVES),
        ):
            if getattr(self, key) not in valid:
                raise ConfigError(
                    f"{key} = {getattr(self, key)!r}: expected one of {', '.join(valid)}"
                )
        if self.method == "vicreg" and self.positives != "clip":
            raise ConfigError(
                f"positives = {self.positives!r} with method = 'vicreg': expected 'clip', views of "
                "one clip"
            )
        if self.cluster_rounds < 0:
            raise ConfigError(f"cluster_rounds = {self.cluster_rounds}: expected 0 or more")
        for key in (
            "neighbors",
            "probe_views",
            "probe_c",
            "clusters",
            "label_epochs",
            "label_steps",
            "label_batch_size",
        ):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{key} = {getattr(self, key)}: expected more than zero")
        self.with_labels(1)

    def with_labels(self, n_clips: int) -> TrainConfig:
        """Return the recipe of training with the labels of some clips."""
        n_batches = math.ceil(n_clips / self.label_batch_size)
        shared = {field.name: getattr(self, field.name) for field in fields(TrainConfig)}
        return TrainConfig(
            **{
                **shared,
                "augmentation": self.label_augmentation,
                "epochs": max(self.label_epochs, math.ceil(self.label_steps / n_batches)),
                "learning_rate": self.label_learning_rate,
                "batch_size": self.label_batch_size,
                "objective": "cross-entropy",
            }
        )


def contrastive_scores(
    config: PretrainConfig,
    dataset: Dataset,
    indices: IntArray,
    test_indices: IntArray,
    run_dir: Path,
    quiet: bool = False,
    unlabelled: IntArray | None = None,
) -> dict[str, FloatArray]:
    """Pre-train on some clips without their labels, then evaluate with labels.

    `unlabelled` are more clips, for pre-training alone. Resumes where an earlier call in `run_dir`
    was killed; what is finished there is read.

    Returns
    -------
    Scores of the test clips (N, C), logits, for each condition: ``probe`` and ``knn`` with all
    labels on the frozen embedding, ``untrained`` (the probe on a network that never learned), and,
    with 1, 5, 20 or all labels for each digit and speaker, ``clusters-1`` to ``clusters-all`` (the
    probe on a network that learned clusters), ``finetune-1`` to ``finetune-all``, and ``scratch-1``
    to ``scratch-all``.
    """
    net = pretrain(config, dataset, indices, run_dir / "pretrain", quiet, unlabelled)
    backbone = {k: v for k, v in net.state_dict().items() if k.startswith("backbone.")}
    scores = {}
    for condition, frozen in (
        ("probe", net),
        ("untrained", build_network(config, len(dataset.label_names))),
    ):
        fit_probe(config, frozen, dataset, indices)
        scores[condition] = predict_scores(frozen, dataset, test_indices)
    scores["knn"] = neighbor_scores(config, net, dataset, indices, test_indices)
    grouped = _learn_clusters(config, net, dataset, indices, run_dir, quiet)
    for count in LABELS:
        chosen = choose_labels(dataset, indices, count, config.seed)
        if grouped is not net:
            fit_probe(config, grouped, dataset, chosen)
            scores[f"clusters-{count or 'all'}"] = predict_scores(grouped, dataset, test_indices)
        for start, weights in (("finetune", backbone), ("scratch", None)):
            condition = f"{start}-{count or 'all'}"
            trained = _trained(config, dataset, chosen, run_dir / condition, quiet, weights)
            scores[condition] = predict_scores(trained, dataset, test_indices)
    return scores


def _trained(
    config: PretrainConfig,
    dataset: Dataset,
    indices: IntArray,
    folder: Path,
    quiet: bool,
    initial: Mapping[str, Tensor] | None = None,
) -> DigitNet:
    """Train with the labels of some clips, or take what an earlier call has finished."""
    recipe = config.with_labels(len(indices))
    if (folder / "model.safetensors").exists():
        claim(folder, recipe)
        return load_network(folder)[1]
    return train(recipe, dataset, indices, folder, quiet=quiet, initial=initial)


def _learn_clusters(
    config: PretrainConfig,
    net: DigitNet,
    dataset: Dataset,
    indices: IntArray,
    run_dir: Path,
    quiet: bool,
) -> DigitNet:
    """Train new networks on the clusters of the one before; return the last, its head untrained."""
    for number in range(1, config.cluster_rounds + 1):
        targets = np.full_like(dataset.targets, config.clusters)
        targets[indices] = cluster(net, dataset, indices, config.clusters, config.seed)
        names = tuple(map(str, range(config.clusters)))
        grouped = replace(dataset, targets=targets, label_names=names)
        learned = _trained(config, grouped, indices, run_dir / f"clusters-{number}", quiet)
        net = build_network(config, len(dataset.label_names))
        start_from(net, {k: v for k, v in learned.state_dict().items() if "backbone." in k})
    return net


def cluster(net: DigitNet, dataset: Dataset, indices: IntArray, count: int, seed: int) -> IntArray:
    """Cluster clips by their embeddings, standardized per speaker: indices (N,) to clusters (N,).

    k-means (Lloyd 1982, the best of ten starts) of embeddings of unit length, after those of each
    speaker were brought to zero mean and unit variance. Labels of speakers are used, of digits
    not.
    """
    _, embedding = predict(net, dataset, indices)
    standardized = embedding.astype(np.float64)
    speakers = np.array([dataset.clips[row].speaker for row in indices])
    for speaker in np.unique(speakers):
        own = speakers == speaker
        standardized[own] = StandardScaler().fit_transform(standardized[own])
    directions = normalize(standardized)
    means = KMeans(min(count, len(indices)), n_init=10, random_state=seed)
    found: IntArray = means.fit_predict(directions).astype(np.int64)
    return found


def pretrain(
    config: PretrainConfig,
    dataset: Dataset,
    indices: IntArray,
    run_dir: Path,
    quiet: bool = False,
    unlabelled: IntArray | None = None,
) -> DigitNet:
    """Pre-train a network by a loss of pairs of views, or resume where an earlier call was killed.

    Labels are not used, unless `positives` asks for digits, but for speakers: `nt_xent` compares
    each clip with others of its speaker, `vicreg` with their mean. A batch holds clips of `indices`
    or of `unlabelled`, never of both. Writes the files that `train` writes; in the log,
    ``pairs_matched`` is the fraction of views nearest to their partner, a training curve and no
    result.

    Returns
    -------
    The network with averaged weights, its head untrained: see `fit_probe`.

    Raises
    ------
    RunError
        When `run_dir` holds a run of another recipe.
    """
    device = resolve_device(config.device)
    claim(run_dir, config)
    net = build_network(config, len(dataset.label_names))
    model = run_dir / "model.safetensors"
    if model.exists():
        net.load_state_dict(read_weights(model).tensors)
        return net.eval()
    task = _Contrastive(config, net.to(device), dataset, indices, unlabelled)
    steps = config.epochs * len(task.batches(0))
    trainer = Trainer(config, net, task.learner, config.epochs, steps, run_dir)
    title, done = f"{config.model} {config.split}", len(trainer.log)
    with Progress(title, config.epochs, done, quiet, "pairs_matched") as progress:
        trainer.fit(task.batches, task.step, progress)
    average = trainer.average.cpu()
    assert isinstance(average, DigitNet)
    write_whole(model, save(average.state_dict()))
    (run_dir / "checkpoint.safetensors").unlink(missing_ok=True)
    return average


class _Contrastive:
    """The batches and the loss of pre-training."""

    def __init__(
        self,
        config: PretrainConfig,
        net: DigitNet,
        dataset: Dataset,
        indices: IntArray,
        unlabelled: IntArray | None = None,
    ) -> None:
        self.config, self.net, self.dataset = config, net, dataset
        self.parts = [rows for rows in (indices, unlabelled) if rows is not None and len(rows)]
        self.is_unlabelled = np.zeros(len(dataset.clips), bool)
        if unlabelled is not None:
            self.is_unlabelled[unlabelled] = True
        self.device = net.head.weight.device
        projection = build_projection(config, net.backbone.dimension, _METHODS[config.method])
        self.projection = projection.to(self.device)
        self.learner = nn.ModuleList([net.backbone, self.projection])
        self.front_end = LogMel(FRONT_ENDS[config.front_end]).to(self.device)
        self.draws = Generator(self.device)
        speakers = [clip.speaker for clip in dataset.clips]
        self.speakers = torch.from_numpy(np.unique(speakers, return_inverse=True)[1])

    def batches(self, epoch: int) -> list[IntArray]:
        """Draw the batches of an epoch, and key the augmentation by it."""
        order = np.random.default_rng([self.config.seed, 1, epoch])
        self.draws.manual_seed(key_of(self.config.seed, 2, epoch))
        batches = []
        for rows in self.parts:
            drawn = epoch_batches(self.dataset.lengths[rows], self.config.batch_size, order)
            batches += [rows[batch] for batch in drawn]
        if len(self.parts) > 1:
            batches = [batches[i] for i in order.permutation(len(batches))]
        return batches

    def step(self, batch: IntArray) -> Step:
        """Compute the loss of two views of each clip, and the fraction of pairs matched."""
        config = self.config
        speakers = self.speakers[torch.from_numpy(batch)].to(self.device)
        twice = np.concatenate([batch, batch])
        waveform, lengths = self.dataset.batch(batch)
        if self.is_unlabelled[batch].any():
            waveform, lengths = _cut_pieces(waveform, lengths, self.draws)
        waveform, lengths = waveform.repeat(2, 1).to(self.device), lengths.repeat(2).to(self.device)
        with torch.no_grad(), self.device:  # augmentation makes its tensors on that device
            log_mel, mask = augmented_log_mel(
                self.front_end, waveform, lengths, config.policy, self.draws
            )
        embedding = self.net.backbone(log_mel, mask)  # (2B, D)
        first, second = self.projection(embedding).chunk(2)
        if config.method == "vicreg":
            loss = vicreg(first, second, speakers)
        elif config.positives == "clip":
            loss = nt_xent(first, second, config.contrastive_temperature, speakers)
        else:
            digits = torch.from_numpy(self.dataset.targets[twice]).to(self.device)
            both = torch.cat([first, second])
            loss = supervised_contrastive(both, digits, config.contrastive_temperature)
        matched = matched_fraction(first, second, speakers)
        return loss, {"pairs_matched": matched}, len(batch)


def _cut_pieces(waveform: Tensor, lengths: Tensor, draws: Generator) -> tuple[Tensor, Tensor]:
    """Cut from each recording that is longer than a word a piece of a word's length, at random.

    (B, L) and (B,) to the same, of fewer samples.
    """
    B = len(lengths)
    low, high = _MIN_PIECE_S * SAMPLE_RATE, _MAX_PIECE_S * SAMPLE_RATE
    wanted = low + (high - low) * torch.rand(B, generator=draws, device=draws.device).cpu()
    pieces = torch.where(lengths > round(high), wanted.long(), lengths)
    starts = torch.rand(B, generator=draws, device=draws.device).cpu() * (lengths - pieces + 1)
    steps = torch.arange(int(pieces.max()))
    index = (starts.long()[:, None] + steps).clamp(max=waveform.shape[1] - 1)
    return waveform.gather(1, index) * (steps < pieces[:, None]), pieces


def fit_probe(config: PretrainConfig, net: DigitNet, dataset: Dataset, indices: IntArray) -> None:
    """Fit the head alone, by logistic regression on standardized embeddings that stay as they are.

    Each clip gives `probe_views` augmented views.
    """
    front_end, policy = LogMel(FRONT_ENDS[config.front_end]), POLICIES[config.label_augmentation]
    draws = torch.Generator().manual_seed(key_of(config.seed, 5))
    embeddings, targets = [], []
    net.eval()
    with torch.inference_mode():
        for view in range(config.probe_views):
            order = np.random.default_rng([config.seed, 5, view])
            for batch in epoch_batches(dataset.lengths[indices], config.batch_size, order):
                waveform, lengths = dataset.batch(indices[batch])
                log_mel, mask = augmented_log_mel(front_end, waveform, lengths, policy, draws)
                embeddings.append(net.backbone(log_mel, mask).numpy())
                targets.append(dataset.targets[indices[batch]])
    fit_linear_probe(net, np.concatenate(embeddings), np.concatenate(targets), config.probe_c)


def neighbor_scores(
    config: PretrainConfig,
    net: DigitNet,
    dataset: Dataset,
    indices: IntArray,
    test_indices: IntArray,
) -> FloatArray:
    """Classify by nearest neighbors, by the cosine of standardized embeddings: (N, C).

    The logarithm of each digit's fraction of votes, with one vote more for every digit (Laplace's
    rule of succession), so that none is impossible.
    """
    features, test_features = (predict(net, dataset, some)[1] for some in (indices, test_indices))
    scaler = StandardScaler().fit(features)
    voters = KNeighborsClassifier(min(config.neighbors, len(indices)), metric="cosine")
    voters.fit(scaler.transform(features), dataset.targets[indices])
    n_classes = len(dataset.label_names)
    votes = np.zeros((len(test_indices), n_classes))
    votes[:, voters.classes_] = voters.predict_proba(scaler.transform(test_features))
    votes *= voters.n_neighbors
    scores: FloatArray = np.log((votes + 1) / (voters.n_neighbors + n_classes)).astype(np.float32)
    return scores


def choose_labels(dataset: Dataset, indices: IntArray, count: int, seed: int) -> IntArray:
    """Choose `count` clips per digit and speaker, or all where there are fewer or `count` is 0.

    With the same seed, a smaller choice is a subset of a larger one.
    """
    if count == 0:
        return indices
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in indices:
        groups[dataset.clips[row].speaker, int(dataset.targets[row])].append(int(row))
    generator = np.random.default_rng([seed, 4])
    chosen = [generator.permutation(groups[key])[:count] for key in sorted(groups)]
    return np.sort(np.concatenate(chosen))
