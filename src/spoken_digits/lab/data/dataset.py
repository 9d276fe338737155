"""Clips prepared once into a memory-mapped array and its table, and the batches drawn from them.

Shapes: N clips, B batch, L samples. Every recording passes through `spoken_digits.audio.to_clip`,
the same door that a recording to be recognized passes through.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spoken_digits import audio
from spoken_digits.audio import read_audio, to_clip
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.runs import whole_file

__all__ = ["Dataset", "balanced_probabilities", "draw_indices", "epoch_batches", "prepare"]

IntArray = NDArray[np.int64]

# Batches are cut from pools of this many batches sorted by length: half the padding of a plain
# shuffle, while a batch still mixes speakers and digits.
_POOL_BATCHES = 8


@dataclass(frozen=True)
class Dataset:
    """Prepared clips.

    Attributes
    ----------
    clips
        The rows, in order.
    samples
        All clips end to end at 8 kHz: (sum of L,) float32, memory-mapped.
    starts, lengths
        Where each clip begins in `samples` and how many samples it has: (N,).
    label_names
        Names of the classes, sorted: C of them.
    targets
        Index of each clip's label in `label_names`, or C for what is none of these: (N,).
    """

    clips: tuple[Clip, ...]
    samples: NDArray[np.float32]
    starts: IntArray
    lengths: IntArray
    label_names: tuple[str, ...]
    targets: IntArray

    def indices(self, clips: Sequence[Clip]) -> IntArray:
        """Return the rows of these clips, in their order."""
        rows = {clip.file: row for row, clip in enumerate(self.clips)}
        return np.array([rows[clip.file] for clip in clips], dtype=np.int64)

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


def prepare(clips: Sequence[Clip], folder: Path, label_names: Sequence[str] = ()) -> Dataset:
    """Read every clip once, or take what an earlier call with the same recordings left in `folder`.

    Parameters
    ----------
    clips
        Recordings to prepare.
    folder
        Where the array (`<key>.npy`) and its table (`<key>.csv`) are kept; the key names the
        recordings' contents and the code of `audio.py`, so neither can change unseen.
    label_names
        Names of the classes, any other label being none of them; left out, the labels of the clips,
        sorted.

    Raises
    ------
    AudioError
        When a recording cannot be read.
    """
    key = hashlib.sha256(Path(audio.__file__).read_bytes())
    for clip in clips:
        key.update(f"{clip.checksum}\n".encode())
    array = folder / f"{key.hexdigest()[:16]}.npy"
    table = array.with_suffix(".csv")
    if not (array.exists() and table.exists()):
        _write(clips, array, table)
    with table.open(newline="", encoding="utf-8") as file:
        lengths = np.array([int(row["samples"]) for row in csv.DictReader(file)], dtype=np.int64)
    names = tuple(label_names) or tuple(sorted({clip.label for clip in clips}))
    return Dataset(
        clips=tuple(clips),
        samples=np.load(array, mmap_mode="r"),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        label_names=names,
        targets=np.array(
            [names.index(clip.label) if clip.label in names else len(names) for clip in clips],
            dtype=np.int64,
        ),
    )


def _write(clips: Sequence[Clip], array: Path, table: Path) -> None:
    samples = [to_clip(*read_audio(clip.file)) for clip in clips]
    # Two processes may prepare the same corpus at once: each writes its own file, the last rename
    # wins, and both hold the same bytes.
    with whole_file(array) as part, part.open("wb") as binary:
        np.save(binary, np.concatenate(samples))
    with whole_file(table) as part, part.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "label", "speaker", "corpus", "samples"])
        for clip, x in zip(clips, samples, strict=True):
            writer.writerow([clip.file.name, clip.label, clip.speaker, clip.corpus, len(x)])


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
    names = list(zip(targets.tolist(), corpora, groups, strict=True))
    clips = Counter(names)
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
    probabilities = np.empty(len(names))
    for i, (target, corpus, group) in enumerate(names):
        if oov_fraction:
            p = oov_fraction if target == other else (1 - oov_fraction) / (len(classes) - 1)
        else:
            p = 1 / len(classes)
        p *= corpus_weight[target, corpus] / in_class[target]
        probabilities[i] = p / group_sum[target, corpus] / clips[target, corpus, group] ** 0.5
    return probabilities


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
