"""Prepared clips with their classes, and the batches drawn from them.

Shapes: N clips, B batch, L samples. Every recording passes through `spoken_digits.audio.to_clip`,
the same door that a recording to be recognized passes through. Their samples stay on disk
(`prepared`): of N clips, only a few numbers each are held in memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.prepared import prepare_samples

__all__ = [
    "Dataset",
    "Joined",
    "Samples",
    "balanced_probabilities",
    "draw_indices",
    "epoch_batches",
    "prepare",
]

IntArray = NDArray[np.int64]

# Batches are cut from pools of this many batches sorted by length: half the padding of a plain
# shuffle, while a batch still mixes speakers and digits.
_POOL_BATCHES = 8


class Samples(Protocol):
    """Samples end to end, in memory or not."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        """Return some of them, float32."""


class Joined:
    """Samples, then more of them: (K,), in memory. A slice lies in one of both."""

    def __init__(self, samples: Samples, more: NDArray[np.float32]) -> None:
        self._samples, self._more = samples, more
        self._first = len(samples)

    def __len__(self) -> int:
        return self._first + len(self._more)

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        """Return some of them."""
        start, stop, _ = part.indices(len(self))
        if start < self._first:
            return self._samples[start:stop]
        return self._more[start - self._first : stop - self._first]


@dataclass(frozen=True)
class Dataset:
    """Prepared clips.

    Attributes
    ----------
    clips
        The rows, in order.
    samples
        All clips end to end at 8 kHz: (sum of L,) float32, an array or what is sliced like one.
    starts, lengths
        Where each clip begins in `samples` and how many samples it has: (N,).
    label_names
        Names of the classes, sorted: C of them.
    targets
        Index of each clip's label in `label_names`, or C for what is none of these: (N,).
    """

    clips: tuple[Clip, ...]
    samples: Samples
    starts: IntArray
    lengths: IntArray
    label_names: tuple[str, ...]
    targets: IntArray

    def indices(self, clips: Sequence[Clip]) -> IntArray:
        """Return the rows of these clips, in their order."""
        rows: dict[str, dict[str, int]] = {}  # by folder, then name
        for row, clip in enumerate(self.clips):
            rows.setdefault(clip.folder, {})[clip.name] = row
        found = (rows[clip.folder][clip.name] for clip in clips)
        return np.fromiter(found, np.int64, len(clips))

    def clip(self, row: int) -> NDArray[np.float32]:
        """Return the samples of one row: (L,)."""
        start = self.starts[row]
        return np.asarray(self.samples[start : start + self.lengths[row]])

    def batch(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Return clips zero-padded to the longest (B, L) and their lengths (B,)."""
        lengths = self.lengths[rows]
        waveform = np.zeros((len(rows), int(lengths.max())), np.float32)
        for i, row in enumerate(rows):
            waveform[i, : lengths[i]] = self.clip(int(row))
        return torch.from_numpy(waveform), torch.from_numpy(lengths)


def prepare(
    clips: Sequence[Clip],
    folder: Path,
    label_names: Sequence[str] = (),
    workers: int | None = None,
) -> Dataset:
    """Read every clip once, or take what an earlier call with the same recordings left in `folder`.

    Parameters
    ----------
    clips
        Recordings to prepare.
    folder
        Where they are kept, see `prepared`; neither a recording nor the code that cuts clips can
        change unseen.
    label_names
        Names of the classes, any other label being none of them; left out, the labels of the clips,
        sorted.
    workers
        Processes; by default as many as cores.

    Raises
    ------
    AudioError
        When a recording cannot be read.
    CorpusError
        When a worker was killed; what is finished is kept.
    """
    clips = tuple(clips)
    samples = prepare_samples(clips, folder, workers)
    names = tuple(label_names) or tuple(sorted({clip.label for clip in clips}))
    classes = {name: index for index, name in enumerate(names)}
    targets = (classes.get(clip.label, len(names)) for clip in clips)
    return Dataset(
        clips=clips,
        samples=samples,
        starts=samples.starts,
        lengths=samples.lengths,
        label_names=names,
        targets=np.fromiter(targets, np.int64, len(clips)),
    )


def balanced_probabilities(
    targets: IntArray,
    corpora: Sequence[str],
    groups: Sequence[str],
    weights: Mapping[str, float],
    oov_fraction: float = 0.0,
) -> NDArray[np.float64]:
    """Probabilities to draw each of N clips with, balanced by class, corpus and speaker: (N,).

    The classes are drawn evenly; within a class the corpora, by their weights; within a corpus the
    groups (speakers, or other words), by the square root of how many clips they have; within a
    group the clips, evenly. A corpus has the same weight in every class: where it has 550 clips of
    one digit and 10 of another, its microphones would otherwise predict the former.

    Parameters
    ----------
    targets
        Class of each clip, the highest of which is out-of-vocabulary where `oov_fraction` is given.
    corpora, groups
        Where each clip comes from.
    weights
        Of the corpora; 1 for one that is not named.
    oov_fraction
        Probability of out-of-vocabulary clips together.
    """

    def names() -> Iterable[tuple[int, str, str]]:
        return zip(targets.tolist(), corpora, groups, strict=True)

    clips = Counter(names())
    members: dict[tuple[int, str], set[str]] = {}
    for target, corpus, group in clips:
        members.setdefault((target, corpus), set()).add(group)
    corpus_weight = {key: weights.get(key[1], 1.0) for key in members}
    in_class: dict[int, float] = {}
    for (target, _), weight in corpus_weight.items():
        in_class[target] = in_class.get(target, 0) + weight
    group_sum = {
        key: sum(clips[(*key, group)] ** 0.5 for group in groups_there)
        for key, groups_there in members.items()
    }
    classes, other = sorted(in_class), max(in_class)
    probability: dict[tuple[int, str, str], float] = {}
    for (target, corpus, group), count in clips.items():
        if oov_fraction:
            p = oov_fraction if target == other else (1 - oov_fraction) / (len(classes) - 1)
        else:
            p = 1 / len(classes)
        p *= corpus_weight[target, corpus] / in_class[target]
        probability[target, corpus, group] = p / group_sum[target, corpus] / count**0.5
    return np.fromiter((probability[name] for name in names()), np.float64, len(targets))


def draw_indices(
    probabilities: NDArray[np.float64], count: int, generator: np.random.Generator
) -> IntArray:
    """Draw `count` indices of N, each `count` times its probability, give or take one.

    Systematic sampling: the probabilities (N,) need not sum to one.
    """
    order = generator.permutation(len(probabilities))
    edges = np.cumsum(probabilities[order])
    points = (np.arange(count) + generator.random()) / count * edges[-1]
    rows: IntArray = order[np.searchsorted(edges, points, side="right").clip(max=len(order) - 1)]
    return rows


def epoch_batches(
    lengths: IntArray, batch_size: int, generator: np.random.Generator
) -> list[IntArray]:
    """Shuffle N clips into batches of similar length, in random order; each clip comes once.

    Parameters
    ----------
    lengths
        Samples of each clip: (N,).
    batch_size
        Clips in a batch; the last of each pool may be smaller, but holds at least half as many
        where there are that many, since batch normalization needs company.
    generator
        Source of the shuffle.
    """
    shuffled = generator.permutation(len(lengths))
    batches = []
    for pool in np.array_split(
        shuffled, max(1, round(len(shuffled) / (batch_size * _POOL_BATCHES)))
    ):
        by_length = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.array_split(by_length, -(-len(by_length) // batch_size))
    return [batches[i] for i in generator.permutation(len(batches))]
