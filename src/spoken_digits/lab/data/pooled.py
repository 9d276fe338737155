"""The pooled training set: digits of every corpus at hand, and out-of-vocabulary sound.

FSDD, Speech Commands and synthetic speech are drawn in proportions that balance classes, corpora
and speakers. The class after the ten digits holds out-of-vocabulary (OOV) sound: other words, noise
and fragments of digits (outlier exposure: Hendrycks, Mazeika and Dietterich 2019). What a split
holds out for validation is held out whole: a corpus, or, fold by fold, speakers, words and noise
recordings together.

Shapes: N clips, K samples of noise.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spoken_digits.audio import MAX_CLIP_DURATION_S, SAMPLE_RATE
from spoken_digits.lab.data.corpora import (
    CORPORA,
    DIGITS,
    Clip,
    CorpusError,
    data_hash,
    find_corpus,
    read_corpus,
    read_synthetic,
)
from spoken_digits.lab.data.dataset import (
    Dataset,
    IntArray,
    Joined,
    balanced_probabilities,
    prepare,
)
from spoken_digits.lab.data.noise import find_noises, read_noise
from spoken_digits.lab.data.splits import XSDR_TEST, SplitError
from spoken_digits.lab.runs import CorpusCounts, DataRecord

__all__ = [
    "FOLDS",
    "SYNTHETIC",
    "PooledSet",
    "count_by_corpus",
    "held_out",
    "is_held_out",
    "noise_partition",
    "partition",
    "pooled_set",
    "read_pooled",
]

FOLDS = 3
SYNTHETIC = ("voices", "flite-festival", "kokoro")  # never held out: no result is claimed for them
_RECORDED = ("fsdd", "speech_commands")
# The six speakers of FSDD, two a fold; the speakers of other corpora are dealt out in turn.
_FSDD_FOLDS = (("george", "lucas"), ("jackson", "theo"), ("nicolas", "yweweler"))
_STRINGS = "xsdr"  # the fold that holds out what strings of digits are evaluated on
_STRINGS_NOISES = ("exercise_bike", "pink_noise")
_CORPUS_WEIGHTS = {"noise": 0.3, "fragments": 0.3}  # 1 for every other corpus
_CLIPS_PER_NOISE = 150  # OOV clips cut from each noise recording
_NOISE_CLIP_S = (0.2, 1.0)  # minimum and maximum duration
_FRAGMENT_FRACTION = (0.25, 0.4)  # of a digit's duration: too short to be recognized as the digit
_MIN_FRAGMENT = 400  # samples, 50 ms
_COLORED_EXPONENTS = (0.0, -0.5, -1.0, -1.5, -2.0)  # of frequency in the power: white to brown
_COLORED_S = 30


@dataclass(frozen=True)
class PooledSet:
    """Clips to train on, how often to draw each, and what the split holds out.

    Attributes
    ----------
    dataset
        All clips; the target of OOV sound is the index after the last digit, 10.
    indices, probabilities
        Clips of `dataset` to train on, and the probability of drawing each: (N,), sum 1.
    background
        Noise to add to clips: (K,) at 8 kHz.
    test
        Recordings held out.
    test_noises
        Noise recordings held out.
    clips
        Recordings trained on; `indices` holds them first, then noise and fragments.
    """

    dataset: Dataset
    indices: IntArray
    probabilities: NDArray[np.float64]
    background: Tensor
    test: tuple[Clip, ...]
    test_noises: tuple[Path, ...]
    clips: tuple[Clip, ...]

    def describe(self) -> DataRecord:
        """Return counts by corpus, hash and licence of `clips`, for the records of a run."""
        counts = count_by_corpus(self.clips)
        licences = [CORPORA[name].licence for name in counts if name in CORPORA]
        return DataRecord(
            clips=len(self.clips),
            hash=data_hash(self.clips),
            licence="; ".join(dict.fromkeys(licences)),
            corpora=counts,
        )


def count_by_corpus(clips: Iterable[Clip]) -> dict[str, CorpusCounts]:
    """Count the clips of each corpus, by name, and their speakers."""
    by_corpus: dict[str, list[Clip]] = {}
    for clip in clips:
        by_corpus.setdefault(clip.corpus, []).append(clip)
    return {
        name: CorpusCounts(
            digits=sum(clip.label in DIGITS for clip in own),
            other_words=sum(clip.label not in DIGITS for clip in own),
            speakers=len({clip.speaker for clip in own}),
        )
        for name, own in sorted(by_corpus.items())
    }


def is_held_out(speaker: str) -> bool:
    """Return whether `pooled:xsdr` holds out a speaker of Speech Commands: one in five.

    The name's SHA-256 decides, so the answer does not depend on which speakers are at hand.
    """
    return hashlib.sha256(speaker.encode()).digest()[0] % 5 == 0


def partition(split: str, clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Partition clips into those trained on, those held out, and those excluded from both.

    ``pooled`` holds nothing out, ``pooled:fsdd`` one corpus, ``pooled:0`` to ``pooled:2`` one of
    the folds: a third of the speakers, of the OOV words and (`noise_partition`) of the noise
    recordings. ``pooled:xsdr`` holds out what strings of digits are evaluated on: the test speakers
    of the split xsdr, and the speakers of Speech Commands that `is_held_out` names. Synthetic
    speech is always trained on.

    Excluded are a training speaker's clips of a word held out, and a test speaker's clips of a word
    trained on.

    Raises
    ------
    SplitError
        When there is no such split.
    """
    family, _, fold = split.partition(":")
    corpora = sorted({clip.corpus for clip in clips} - {*SYNTHETIC})
    folds = [*map(str, range(FOLDS)), _STRINGS]
    if family != "pooled" or fold not in ("", *corpora, *folds):
        valid = ", ".join(["pooled", *(f"pooled:{name}" for name in (*corpora, *folds))])
        raise SplitError(f"split {split!r}: expected one of {valid}")
    if not fold:
        return list(clips), [], []
    if fold in corpora:
        others = [clip for clip in clips if clip.corpus != fold]
        return others, [clip for clip in clips if clip.corpus == fold], []
    speakers, words = _held_out_by(fold, clips)
    train, test, excluded = [], [], []
    for clip in clips:
        by_test_speaker = (clip.corpus, clip.speaker) in speakers
        if by_test_speaker and (clip.label in DIGITS or clip.label in words):
            test.append(clip)
        elif by_test_speaker or clip.label in words:
            excluded.append(clip)
        else:
            train.append(clip)
    return train, test, excluded


def _held_out_by(fold: str, clips: Iterable[Clip]) -> tuple[set[tuple[str, str]], set[str]]:
    """Return the speakers, as (corpus, name), and the OOV words that a fold holds out."""
    speakers: dict[str, set[str]] = {}
    words: set[str] = set()
    for clip in clips:
        if clip.corpus not in SYNTHETIC:
            speakers.setdefault(clip.corpus, set()).add(clip.speaker)
            words |= {clip.label} - set(DIGITS)
    others = {corpus: sorted(names) for corpus, names in speakers.items() if corpus != "fsdd"}
    if fold == _STRINGS:
        held = {(corpus, name) for corpus in others for name in filter(is_held_out, others[corpus])}
        return held | {("fsdd", name) for name in XSDR_TEST}, set()
    k = int(fold)
    held = {(corpus, name) for corpus in others for name in others[corpus][k::FOLDS]}
    return held | {("fsdd", name) for name in _FSDD_FOLDS[k]}, set(sorted(words)[k::FOLDS])


def noise_partition(split: str, data: Path | str | None = None) -> tuple[list[Path], list[Path]]:
    """Return the noise recordings to train with, and those held out; none where none are at hand.

    A fold of `partition` holds out every third, ``pooled:xsdr`` two by name, other splits none.
    """
    files = find_noises(data)
    fold = split.partition(":")[2]
    held = list(files[int(fold) :: FOLDS]) if fold.isdecimal() else []
    if fold == _STRINGS:
        held = [file for file in files if file.stem in _STRINGS_NOISES]
    return [file for file in files if file not in held], held


def pooled_set(
    split: str,
    cache: Path,
    data: Path | str | None = None,
    voices: Path | str | None = None,
    oov_fraction: float = 0.0,
    seed: int = 0,
) -> PooledSet:
    """Read, prepare and balance the pooled training set.

    Parameters
    ----------
    split
        What to hold out, see `partition`.
    cache
        Folder for prepared clips.
    data
        Folder of corpora, as in `corpora.data_root`.
    voices
        Folder of espeak-ng's clips; by default those that ship.
    oov_fraction
        Fraction of an epoch that is OOV, 0 to below 1; 0 for digits alone.
    seed
        Key of where noises and fragments are cut.

    Raises
    ------
    AudioError
        When a recording cannot be read, or a noise recording is silent.
    CorpusError
        When neither FSDD nor Speech Commands is at hand, or `voices` is malformed.
    SplitError
        When there is no such split.
    """
    clips = read_pooled(data, voices, oov_fraction > 0)
    noises, test_noises = noise_partition(split, data)
    train, test, _ = partition(split, clips)
    dataset = prepare(clips, cache, DIGITS)
    indices = dataset.indices(train)
    background = _background(noises)
    corpora = [clip.corpus for clip in train]
    groups = [clip.speaker if clip.label in DIGITS else clip.label for clip in train]
    if oov_fraction:
        dataset, kinds = _with_oov(dataset, indices, noises, np.random.default_rng([seed, 3]))
        added = np.arange(len(dataset.targets) - len(kinds), len(dataset.targets))
        indices = np.concatenate([indices, added])
        corpora += kinds
        groups += kinds
    return PooledSet(
        dataset=dataset,
        indices=indices,
        probabilities=balanced_probabilities(
            dataset.targets[indices], corpora, groups, _CORPUS_WEIGHTS, oov_fraction
        ),
        background=torch.from_numpy(background),
        test=tuple(test),
        test_noises=tuple(test_noises),
        clips=tuple(train),
    )


def read_pooled(
    data: Path | str | None = None, voices: Path | str | None = None, oov: bool = True
) -> list[Clip]:
    """Read all recordings that `pooled_set` draws from, with OOV words or without; see there."""
    clips = [*_read_recorded(data), *read_synthetic(voices)]
    return [clip for clip in clips if oov or clip.label in DIGITS]


def held_out(split: str, data: Path | str | None = None, oov: bool = True) -> list[Clip]:
    """Return the recordings that a split holds out, as `PooledSet.test`, without preparing them.

    Parameters
    ----------
    split
        What to hold out, see `partition`.
    data
        Folder of corpora, as in `corpora.data_root`.
    oov
        Whether to include OOV words.

    Raises
    ------
    CorpusError
        When neither FSDD nor Speech Commands is at hand.
    SplitError
        When there is no such split.
    """
    # Synthetic speech is never held out and adds no word to the folds: recorded speech suffices.
    clips = [clip for clip in _read_recorded(data) if oov or clip.label in DIGITS]
    return partition(split, clips)[1]


def _read_recorded(data: Path | str | None) -> list[Clip]:
    clips = [
        clip for name in _RECORDED if find_corpus(name, data) for clip in read_corpus(name, data)
    ]
    if not clips:
        raise CorpusError(
            f"neither {' nor '.join(_RECORDED)} is at hand; fetch one with 'spoken-digits corpus "
            "fetch NAME', or point SPOKEN_DIGITS_DATA or --data at a copy"
        )
    return clips


def _background(files: Sequence[Path]) -> NDArray[np.float32]:
    """Join noise recordings, then made noise from white to brown, each at an RMS of 1: (K,)."""
    rng = np.random.default_rng(0)
    pieces = [read_noise(file, rms=1.0) for file in files]
    for exponent in _COLORED_EXPONENTS:
        spectrum = np.fft.rfft(rng.standard_normal(_COLORED_S * SAMPLE_RATE))
        frequency = np.arange(len(spectrum)).clip(100)  # flat below 3 Hz
        noise = np.fft.irfft(spectrum * frequency ** (exponent / 2))
        pieces.append((noise / noise.std()).astype(np.float32))
    return np.concatenate(pieces)


def _with_oov(
    dataset: Dataset, indices: IntArray, noises: Sequence[Path], rng: np.random.Generator
) -> tuple[Dataset, list[str]]:
    """Append OOV clips to a dataset: stretches of noise, then fragments of a quarter of the digits.

    Parameters
    ----------
    dataset, indices
        Prepared clips, and those of them that are trained on.
    noises
        Noise recordings to cut; made noise is cut as well.
    rng
        Source of lengths and places.

    Returns
    -------
    The longer dataset, and "noise" or "fragments" for each clip appended.
    """
    recordings = [read_noise(file, rms=1.0) for file in noises]
    recordings.append(_background([]))
    max_length = round(MAX_CLIP_DURATION_S * SAMPLE_RATE)
    pieces, starts, lengths = [], [], []
    end = len(dataset.samples)
    for noise in recordings:
        for _ in range(_CLIPS_PER_NOISE):
            drawn = round(rng.uniform(*_NOISE_CLIP_S) * SAMPLE_RATE)
            length = min(drawn, max_length, len(noise))
            first = int(rng.integers(0, len(noise) - length + 1))
            pieces.append(noise[first : first + length])
            starts.append(end)
            lengths.append(length)
            end += length
    digits = indices[dataset.targets[indices] < len(dataset.label_names)]
    fragments = rng.choice(digits, len(digits) // 4, replace=False)
    for index in fragments:
        whole = int(dataset.lengths[index])
        length = max(round(whole * rng.uniform(*_FRAGMENT_FRACTION)), _MIN_FRAGMENT)
        offset = whole - length if rng.random() < 0.5 else 0  # a digit's end, or its beginning
        starts.append(int(dataset.starts[index]) + max(offset, 0))
        lengths.append(min(length, whole))
    oov = np.full(len(starts), len(dataset.label_names), np.int64)
    extended = replace(
        dataset,
        samples=Joined(dataset.samples, np.concatenate(pieces)),
        starts=np.concatenate([dataset.starts, np.array(starts, np.int64)]),
        lengths=np.concatenate([dataset.lengths, np.array(lengths, np.int64)]),
        targets=np.concatenate([dataset.targets, oov]),
    )
    return extended, ["noise"] * len(pieces) + ["fragments"] * len(fragments)
