"""Contrastive pre-training: what can be learned without labels, and what it is worth.

A network learns to know a clip again in another voice: each clip is heard twice, changed in pitch,
formants, tempo and channel, and the two must lie nearer to each other than to other clips
(SimCLR, Chen et al. 2020). Then labels come in: a linear probe and nearest neighbours on the frozen
embedding, and fine-tuning with few labels, beside the same network trained from scratch with the
same labels.

What lies together after that is nearly always one word, but each voice has a corner of its own. So
the embeddings of each speaker are brought to one place and one spread, and divided into as many
clusters as there are words; a new network learns these as if they were labels, of all voices alike
(deep clustering, Caron et al. 2018), and is probed as well.

No digit's label is used before that, but where one asks for it (`positives`). Who speaks is: a clip
is told from others of its own speaker alone, so that a voice which the views did not change enough
is no help.

Shapes: B batch, N clips, D embedding, C classes.
"""

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor, nn

from spoken_digits.lab.augmentation.policies import POLICIES, augmented_log_mel
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.dataset import Dataset, IntArray, epoch_batches, prepare
from spoken_digits.lab.data.splits import one_split
from spoken_digits.lab.features import FRONT_ENDS, LogMel
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.losses import nt_xent, share_matched, supervised_contrastive
from spoken_digits.lab.training.optimizer import Descent, Progress
from spoken_digits.lab.training.supervised import (
    build_network,
    build_projection,
    claim,
    key_of,
    load_network,
    predict,
    resolve_device,
    set_head,
    start_from,
    train,
)

__all__ = [
    "LABELS",
    "PretrainConfig",
    "choose_labels",
    "cluster",
    "contrastive_scores",
    "fit_probe",
    "neighbor_scores",
    "pretrain",
    "run_pretraining",
]

_POSITIVES = ("clip", "digit")
LABELS = (1, 5, 20, 0)  # labels for each digit and speaker; 0 for all there are

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """What pre-training is made of: the keys of `TrainConfig`, some with other defaults.

    Of those keys `augmentation` is the policy that makes the views, `contrast_temperature` that of
    the loss; `objective` and `contrast_weight` say nothing here. `label_smoothing` and
    `temperature` are those of training with labels.

    Attributes
    ----------
    positives
        What is to lie near to a view: the other view of its ``clip`` (SimCLR, no labels), or all
        views of its ``digit`` (supervised contrastive learning, Khosla et al. 2020).
    probe_views, probe_strength
        How often the probe hears each clip, augmented as for supervised training (the linear
        evaluation of SimCLR augments too); scikit-learn's ``C`` of its logistic regression.
    neighbors
        How many of the nearest have a vote.
    clusters, cluster_rounds
        How many clusters are learned, and how often: from the second round on, those of the network
        that learned the clusters before. No round leaves them out.
    label_augmentation, label_epochs, label_steps
        Training with labels, from pre-trained weights or from scratch: its policy, its passes over
        the clips, and the fewest batches, for which few clips are passed over more often.
    label_learning_rate, label_batch_size
        Of that training.
    """

    augmentation: str = "views"
    epochs: int = 100
    batch_size: int = 64
    contrast_temperature: float = 0.2
    positives: str = "clip"
    probe_views: int = 6
    probe_strength: float = 0.1
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
        if self.positives not in _POSITIVES:
            raise ConfigError(
                f"positives = {self.positives!r}: expected one of {', '.join(_POSITIVES)}"
            )
        if self.cluster_rounds < 0:
            raise ConfigError(f"cluster_rounds = {self.cluster_rounds}: expected 0 or more")
        for key in (
            "neighbors",
            "probe_views",
            "probe_strength",
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
    rows: IntArray,
    test_rows: IntArray,
    run_dir: Path,
    quiet: bool = False,
) -> dict[str, FloatArray]:
    """Pre-train on some rows without their labels, then test what the labels make of it.

    Goes on where an earlier call in `run_dir` was cut off; what is finished there is read.

    Returns
    -------
    Scores of the test rows (N, C), logits, for each condition: ``probe`` and ``knn`` with all
    labels on the frozen embedding, ``untrained`` (the probe on a network that never learned), and,
    with 1, 5, 20 or all labels for each digit and speaker, ``clusters-1`` to ``clusters-all`` (the
    probe on a network that learned clusters), ``finetune-1`` to ``finetune-all``, and ``scratch-1``
    to ``scratch-all``.
    """
    net = pretrain(config, dataset, rows, run_dir / "pretrain", quiet)
    backbone = {k: v for k, v in net.state_dict().items() if k.startswith("backbone.")}
    scores = {}
    for condition, frozen in (
        ("probe", net),
        ("untrained", build_network(config, len(dataset.label_names))),
    ):
        fit_probe(config, frozen, dataset, rows)
        scores[condition], _ = predict(frozen, dataset, test_rows)
    scores["knn"] = neighbor_scores(config, net, dataset, rows, test_rows)
    grouped = _learn_clusters(config, net, dataset, rows, run_dir, quiet)
    for count in LABELS:
        chosen = choose_labels(dataset, rows, count, config.seed)
        if grouped is not net:
            fit_probe(config, grouped, dataset, chosen)
            scores[f"clusters-{count or 'all'}"], _ = predict(grouped, dataset, test_rows)
        for start, weights in (("finetune", backbone), ("scratch", None)):
            condition = f"{start}-{count or 'all'}"
            trained = _trained(config, dataset, chosen, run_dir / condition, quiet, weights)
            scores[condition], _ = predict(trained, dataset, test_rows)
    return scores


def _trained(
    config: PretrainConfig,
    dataset: Dataset,
    rows: IntArray,
    folder: Path,
    quiet: bool,
    initial: Mapping[str, Tensor] | None = None,
) -> DigitNet:
    """Train with the labels of some rows, or take what an earlier call has finished."""
    recipe = config.with_labels(len(rows))
    if (folder / "model.safetensors").exists():
        claim(folder, recipe)
        return load_network(folder)[1]
    return train(recipe, dataset, rows, folder, quiet=quiet, initial=initial)


def _learn_clusters(
    config: PretrainConfig,
    net: DigitNet,
    dataset: Dataset,
    rows: IntArray,
    run_dir: Path,
    quiet: bool,
) -> DigitNet:
    """Teach new networks the clusters of the one before; return the last, its head untaught."""
    for number in range(1, config.cluster_rounds + 1):
        targets = np.full_like(dataset.targets, config.clusters)
        targets[rows] = cluster(net, dataset, rows, config.clusters, config.seed)
        names = tuple(map(str, range(config.clusters)))
        grouped = replace(dataset, targets=targets, label_names=names)
        learned = _trained(config, grouped, rows, run_dir / f"clusters-{number}", quiet)
        net = build_network(config, len(dataset.label_names))
        start_from(net, {k: v for k, v in learned.state_dict().items() if "backbone." in k})
    return net


def cluster(net: DigitNet, dataset: Dataset, rows: IntArray, count: int, seed: int) -> IntArray:
    """Divide clips by what lies together, of all speakers alike: rows (N,) to clusters (N,).

    k-means (Lloyd 1982, the best of ten starts) of embeddings of length one, after those of each
    speaker were brought to zero mean and unit deviation: what is left is the word. No label is
    looked at, but who speaks.
    """
    _, embedding = predict(net, dataset, rows)
    standardized = embedding.astype(np.float64)
    speakers = np.array([dataset.clips[row].speaker for row in rows])
    for speaker in np.unique(speakers):
        own = speakers == speaker
        standardized[own] = StandardScaler().fit_transform(standardized[own])
    directions = normalize(standardized)
    means = KMeans(min(count, len(rows)), n_init=10, random_state=seed)
    found: IntArray = means.fit_predict(directions).astype(np.int64)
    return found


def run_pretraining(
    config: PretrainConfig, clips: Sequence[Clip], out: Path, quiet: bool = False
) -> tuple[Path, str]:
    """Pre-train on a corpus and probe; its run directory below `out`, and a line on the result."""
    torch.set_num_threads(1)  # two on a busy machine are many times slower than one
    split = one_split(config.split, clips)
    dataset = prepare(clips, out / ".prepared")
    rows, test_rows = dataset.indices(split.train), dataset.indices(split.test)
    name = f"pretrain-{config.model}-{config.front_end}-{split.name}-s{config.seed}"
    run_dir = out / name.replace(":", "-")
    net = pretrain(config, dataset, rows, run_dir, quiet)
    fit_probe(config, net, dataset, rows)
    hits = predict(net, dataset, test_rows)[0].argmax(1) == dataset.targets[test_rows]
    people = ", ".join(split.test_speakers)
    return run_dir, f"{run_dir.name}: linear probe with all labels {hits.mean():.1%} ({people})"


def pretrain(
    config: PretrainConfig, dataset: Dataset, rows: IntArray, run_dir: Path, quiet: bool = False
) -> DigitNet:
    """Teach a network to know clips again in other voices, or go on where a call was cut off.

    Labels are not looked at, unless `positives` asks for digits. Who speaks is known: `nt_xent`
    compares each clip with others of its speaker. Writes the files that `train` writes; in the log,
    ``pairs_matched`` is the share of views nearest to their partner, which tells how training goes
    and not what was learned.

    Returns
    -------
    The network, its moving average, with a head that has learned nothing: see `fit_probe`.

    Raises
    ------
    ConfigError
        When `run_dir` holds a run of another recipe.
    """
    device = resolve_device(config.device)
    claim(run_dir, config)
    net = build_network(config, len(dataset.label_names))
    model = run_dir / "model.safetensors"
    if model.exists():
        net.load_state_dict(load_file(model))
        return net.eval()
    net.to(device)
    projection = build_projection(config, net.backbone.dimension).to(device)
    learner: nn.ModuleList = nn.ModuleList([net.backbone, projection])
    descent = Descent(config, net, learner, run_dir)
    front_end = LogMel(FRONT_ENDS[config.front_end]).to(device)
    policy = config.policy
    _, speaker_of = np.unique([dataset.clips[row].speaker for row in rows], return_inverse=True)

    begun = len(descent.log)
    with Progress(config, begun, quiet, "pairs_matched") as progress:
        for epoch in range(begun, config.epochs):
            began = time.perf_counter()
            order = np.random.default_rng([config.seed, 1, epoch])
            draws = torch.Generator(device).manual_seed(key_of(config.seed, 2, epoch))
            batches = epoch_batches(dataset.lengths[rows], config.batch_size, order)
            total_loss, matched = 0.0, 0.0
            learner.train()
            for step, batch in enumerate(batches):
                speakers = torch.from_numpy(speaker_of[batch]).to(device)
                twice = np.concatenate([rows[batch], rows[batch]])
                waveform, lengths = (part.to(device) for part in dataset.batch(twice))
                with device:  # what augmentation makes is made where the clips are
                    log_mel, mask = augmented_log_mel(front_end, waveform, lengths, policy, draws)
                embedding = net.backbone(log_mel, mask)  # (2B, D)
                first, second = projection(embedding).chunk(2)
                if config.positives == "clip":
                    loss = nt_xent(first, second, config.contrast_temperature, speakers)
                else:
                    digits = torch.from_numpy(dataset.targets[twice]).to(device)
                    both = torch.cat([first, second])
                    loss = supervised_contrastive(both, digits, config.contrast_temperature)
                descent.step(loss, step, len(batches))
                total_loss += loss.item() * len(batch)
                matched += share_matched(first, second, speakers) * len(batch)
            row: dict[str, Any] = {
                "epoch": epoch + 1,
                "loss": round(total_loss / len(rows), 5),
                "pairs_matched": round(matched / len(rows), 5),
                "learning_rate": round(descent.learning_rate, 8),
                "seconds": round(time.perf_counter() - began, 2),
            }
            descent.end_epoch(row)
            progress.tell(row)
    average = descent.average.cpu()
    write_whole(model, save(average.state_dict()))
    (run_dir / "checkpoint.safetensors").unlink(missing_ok=True)
    return average


def fit_probe(config: PretrainConfig, net: DigitNet, dataset: Dataset, rows: IntArray) -> None:
    """Fit the head alone, by logistic regression on standardized embeddings that stay as they are.

    Each clip is heard `probe_views` times, augmented.
    """
    front_end, policy = LogMel(FRONT_ENDS[config.front_end]), POLICIES[config.label_augmentation]
    draws = torch.Generator().manual_seed(key_of(config.seed, 5))
    embeddings, targets = [], []
    net.eval()
    with torch.inference_mode():
        for view in range(config.probe_views):
            order = np.random.default_rng([config.seed, 5, view])
            for batch in epoch_batches(dataset.lengths[rows], config.batch_size, order):
                waveform, lengths = dataset.batch(rows[batch])
                log_mel, mask = augmented_log_mel(front_end, waveform, lengths, policy, draws)
                embeddings.append(net.backbone(log_mel, mask).numpy())
                targets.append(dataset.targets[rows[batch]])
    features = np.concatenate(embeddings)
    scaler = StandardScaler().fit(features)
    classifier = LogisticRegression(C=config.probe_strength, max_iter=1000)
    classifier.fit(scaler.transform(features), np.concatenate(targets))
    set_head(net, scaler, classifier)


def neighbor_scores(
    config: PretrainConfig,
    net: DigitNet,
    dataset: Dataset,
    rows: IntArray,
    test_rows: IntArray,
) -> FloatArray:
    """Let the nearest training clips vote, by the cosine of standardized embeddings: (N, C).

    The logarithm of each digit's share of votes, one more vote given to every digit (Laplace's rule
    of succession), so that none is impossible.
    """
    features, test_features = (predict(net, dataset, some)[1] for some in (rows, test_rows))
    scaler = StandardScaler().fit(features)
    voters = KNeighborsClassifier(min(config.neighbors, len(rows)), metric="cosine")
    voters.fit(scaler.transform(features), dataset.targets[rows])
    n_classes = len(dataset.label_names)
    votes = np.zeros((len(test_rows), n_classes))
    votes[:, voters.classes_] = voters.predict_proba(scaler.transform(test_features))
    votes *= voters.n_neighbors
    scores: FloatArray = np.log((votes + 1) / (voters.n_neighbors + n_classes)).astype(np.float32)
    return scores


def choose_labels(dataset: Dataset, rows: IntArray, count: int, seed: int) -> IntArray:
    """Choose so many rows of each digit and speaker, or all where there are fewer or `count` is 0.

    Fewer are always among the more of the same seed.
    """
    if count == 0:
        return rows
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in rows:
        groups[dataset.clips[row].speaker, int(dataset.targets[row])].append(int(row))
    generator = np.random.default_rng([seed, 4])
    chosen = [generator.permutation(groups[key])[:count] for key in sorted(groups)]
    return np.sort(np.concatenate(chosen))
