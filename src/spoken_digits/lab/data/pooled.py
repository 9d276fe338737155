"""The open training set: digits of every corpus at hand, and what is no digit.

FSDD, Speech Commands and the synthetic voices, drawn so that neither class nor corpus nor speaker
has the say; beside them, as the class "none of these", other words, noise and fragments of digits
(outlier exposure: Hendrycks, Mazeika and Dietterich 2019). What is left out for validation is left
out whole: a corpus, or, fold by fold, speakers, words and noises together. Shapes: N clips, K
samples of noise.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spoken_digits.audio import MAX_CLIP_DURATION_S, SAMPLE_RATE, AudioError, read_audio, resample
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
from spoken_digits.lab.data.dataset import Dataset, IntArray, balanced_probabilities, prepare
from spoken_digits.lab.data.splits import XSDR_TEST, SplitError

__all__ = [
    "FOLDS",
    "SYNTHETIC",
    "OpenSet",
    "is_held_out",
    "left_out",
    "noise_files",
    "open_set",
    "parts",
]

FOLDS = 3
# The six people of FSDD, two a fold; the others of a corpus are dealt out in turn.
_FSDD_FOLDS = (("george", "lucas"), ("jackson", "theo"), ("nicolas", "yweweler"))
_STRINGS = "xsdr"  # what strings of digits are judged on
_HELD_NOISES = ("exercise_bike", "pink_noise")
# What the corpora weigh; 1 where nothing is said.
_WEIGHTS = {"noise": 0.3, "fragments": 0.3}
SYNTHETIC = ("voices", "readers")  # no claim rests on them: they are never left out
_NOISE_CLIPS = 150  # cut from each noise, as what is no digit
_FRAGMENT_SHARE = (0.25, 0.4)  # of a digit's length: too little of it to be heard as one
_NOISE_SECONDS = (0.2, 1.0)


@dataclass(frozen=True)
class OpenSet:
    """What to train on, and what was left out.

    Attributes
    ----------
    dataset
        All clips; what is no digit has the class after the last.
    rows, shares
        Which of them to train on, and how often each: (N,).
    background
        Noise to add to clips: (K,) at 8 kHz.
    test
        Recordings left out.
    test_noises
        Noises left out, by file.
    clips
        Recordings trained on.
    """

    dataset: Dataset
    rows: IntArray
    shares: NDArray[np.float64]
    background: Tensor
    test: tuple[Clip, ...]
    test_noises: tuple[Path, ...]
    clips: tuple[Clip, ...]

    def describe(self) -> dict[str, object]:
        """Say what it was trained on, for the metadata of a model."""
        corpora = sorted({clip.corpus for clip in self.clips})
        counts = {name: [c for c in self.clips if c.corpus == name] for name in corpora}
        licences = [CORPORA[name].licence for name in corpora if name in CORPORA]
        return {
            "corpora": {
                name: {
                    "digits": sum(clip.label in DIGITS for clip in clips),
                    "other_words": sum(clip.label not in DIGITS for clip in clips),
                    "speakers": len({clip.speaker for clip in clips}),
                }
                for name, clips in counts.items()
            },
            "clips": len(self.clips),
            "hash": data_hash(self.clips),
            "licence": "; ".join(dict.fromkeys(licences)),
        }


def is_held_out(speaker: str) -> bool:
    """Whether a speaker of Speech Commands is kept for strings: one in five, by the name's hash."""
    return hashlib.sha256(speaker.encode()).digest()[0] % 5 == 0


def parts(split: str, clips: Sequence[Clip]) -> tuple[list[Clip], ...]:
    """Divide clips into those trained on, those left out, and those that are neither.

    ``open`` leaves nothing out, ``open:fsdd`` one corpus, ``open:0`` and so on one of the folds: a
    third of the speakers, of the other words, and (`noise_files`) of the noises. ``open:xsdr``
    leaves out what strings of digits are judged on: the test speakers of that split, and
    `is_held_out` of the crowd. A clip of a trained speaker that says a word left out is neither,
    nor is one of a speaker left out that says another word.

    Raises
    ------
    SplitError
        When there is no such split.
    """
    family, _, what = split.partition(":")
    corpora = sorted({clip.corpus for clip in clips})
    folds = [*(str(fold) for fold in range(FOLDS)), _STRINGS]
    if family != "open" or what not in ("", *corpora, *folds):
        valid = ", ".join(["open", *(f"open:{name}" for name in (*corpora, *folds))])
        raise SplitError(f"split {split!r}: expected one of {valid}")
    if not what:
        return list(clips), [], []
    if what in corpora:
        other = [clip for clip in clips if clip.corpus != what]
        return other, [clip for clip in clips if clip.corpus == what], []
    people, held_words = _held(clips, what)
    train, test, neither = [], [], []
    for clip in clips:
        is_held = (clip.corpus, clip.speaker) in people
        if is_held and (clip.label in DIGITS or clip.label in held_words):
            test.append(clip)
        elif is_held or clip.label in held_words:
            neither.append(clip)
        else:
            train.append(clip)
    return train, test, neither


def _held(clips: Iterable[Clip], what: str) -> tuple[set[tuple[str, str]], set[str]]:
    """Speakers, by corpus and name, and other words that a fold, or strings, keep."""
    names: dict[str, set[str]] = {}
    words: set[str] = set()
    for clip in clips:
        if clip.corpus not in SYNTHETIC:
            names.setdefault(clip.corpus, set()).add(clip.speaker)
            words |= {clip.label} - set(DIGITS)
    crowds = {corpus: sorted(names[corpus]) for corpus in names if corpus != "fsdd"}
    if what == _STRINGS:
        held = {(corpus, name) for corpus in crowds for name in filter(is_held_out, crowds[corpus])}
        return held | {("fsdd", name) for name in XSDR_TEST}, set()
    fold = int(what)
    held = {(corpus, name) for corpus in crowds for name in crowds[corpus][fold::FOLDS]}
    return held | {("fsdd", name) for name in _FSDD_FOLDS[fold]}, set(sorted(words)[fold::FOLDS])


def noise_files(split: str, data: Path | str | None = None) -> tuple[list[Path], list[Path]]:
    """Return the recorded noises to train with, and those left out; none where none are at hand."""
    folder = find_corpus("speech_commands", data)
    files = sorted((folder / "_background_noise_").glob("*.wav")) if folder else []
    what = split.partition(":")[2]
    held = files[int(what) :: FOLDS] if what.isdecimal() else []
    if what == _STRINGS:
        held = [file for file in files if file.stem in _HELD_NOISES]
    return [file for file in files if file not in held], held


def open_set(
    split: str,
    cache: Path,
    data: Path | str | None = None,
    voices: Path | str | None = None,
    oov_fraction: float = 0.0,
    seed: int = 0,
) -> OpenSet:
    """Gather the open training set.

    Parameters
    ----------
    split
        What is left out, see `parts`.
    cache
        Folder for prepared clips.
    data
        Folder of corpora.
    voices
        Folder of voices of espeak-ng; left out, those that ship.
    oov_fraction
        Share of an epoch that is no digit; 0 for digits alone.
    seed
        Key of where noises and fragments are cut.

    Raises
    ------
    CorpusError
        When no corpus of people is at hand.
    SplitError
        When there is no such split.
    """
    clips = [*_read_people(data), *read_synthetic(voices)]
    if not oov_fraction:
        clips = [clip for clip in clips if clip.label in DIGITS]
    noises, test_noises = noise_files(split, data)
    train, test, _ = parts(split, clips)
    dataset = prepare(clips, cache, DIGITS)
    rows = dataset.indices(train)
    background = _background(noises)
    names = [clip.corpus for clip in train]
    groups = [clip.speaker if clip.label in DIGITS else clip.label for clip in train]
    if oov_fraction:
        dataset, more = _with_others(dataset, rows, noises, np.random.default_rng([seed, 3]))
        added = np.arange(len(dataset.targets) - len(more), len(dataset.targets))
        rows = np.concatenate([rows, added])
        names += more
        groups += more
    shares = balanced_probabilities(dataset.targets[rows], names, groups, _WEIGHTS, oov_fraction)
    return OpenSet(
        dataset,
        rows,
        shares,
        torch.from_numpy(background),
        tuple(test),
        tuple(test_noises),
        tuple(train),
    )


def left_out(split: str, data: Path | str | None = None, others: bool = True) -> list[Clip]:
    """Return the recordings that a split leaves out, as `OpenSet.test`, with nothing prepared.

    Parameters
    ----------
    split
        What is left out, see `parts`.
    data
        Folder of corpora.
    others
        Whether words that are no digits are among them.

    Raises
    ------
    CorpusError
        When no corpus of people is at hand.
    SplitError
        When there is no such split.
    """
    # Synthetic voices are never left out, and no word of theirs alone is: people's clips suffice.
    clips = [clip for clip in _read_people(data) if others or clip.label in DIGITS]
    return parts(split, clips)[1]


def _read_people(data: Path | str | None) -> list[Clip]:
    clips = [
        clip
        for name in ("fsdd", "speech_commands")
        if find_corpus(name, data)
        for clip in read_corpus(name, data)
    ]
    if not clips:
        raise CorpusError(
            "neither fsdd nor speech_commands is at hand; fetch them with 'spoken-digits corpus "
            "fetch NAME', or point SPOKEN_DIGITS_DATA or --data at copies"
        )
    return clips


def read_noise(file: Path) -> NDArray[np.float32]:
    """Read a noise at 8 kHz, at a power of 1: (K,)."""
    samples, rate = read_audio(file, max_duration_s=600)
    noise = resample(samples - samples.mean(), rate)
    level = np.sqrt((noise**2).mean())
    if level == 0:
        raise AudioError(f"{file}: silence; expected noise")
    scaled: NDArray[np.float32] = (noise / level).astype(np.float32)
    return scaled


def _background(files: Sequence[Path]) -> NDArray[np.float32]:
    """Join the noises, and noise between white and brown as of fans and traffic, end to end."""
    made = np.random.default_rng(0)
    pieces = [read_noise(file) for file in files]
    for exponent in (0.0, -0.5, -1.0, -1.5, -2.0):
        spectrum = np.fft.rfft(made.standard_normal(30 * SAMPLE_RATE))
        frequency = np.arange(len(spectrum)).clip(100)  # flat below 3 Hz
        noise = np.fft.irfft(spectrum * frequency ** (exponent / 2))
        pieces.append((noise / noise.std()).astype(np.float32))
    return np.concatenate(pieces)


def _with_others(
    dataset: Dataset, rows: IntArray, noises: Sequence[Path], rng: np.random.Generator
) -> tuple[Dataset, list[str]]:
    """Add clips of noise, and fragments of digits, as none of the classes; return what they are."""
    recorded = [read_noise(file) for file in noises]
    recorded.append(_background([]))
    longest = round(MAX_CLIP_DURATION_S * SAMPLE_RATE)
    pieces, starts, lengths = [], [], []
    end = len(dataset.samples)
    for noise in recorded:
        for _ in range(_NOISE_CLIPS):
            length = min(round(rng.uniform(*_NOISE_SECONDS) * SAMPLE_RATE), longest, len(noise))
            first = int(rng.integers(0, len(noise) - length + 1))
            pieces.append(noise[first : first + length])
            starts.append(end)
            lengths.append(length)
            end += length
    digits = rows[dataset.targets[rows] < len(dataset.label_names)]
    fragments = rng.choice(digits, len(digits) // 4, replace=False)
    for row in fragments:
        length = max(round(float(dataset.lengths[row]) * rng.uniform(*_FRAGMENT_SHARE)), 400)
        offset = int(dataset.lengths[row]) - length if rng.random() < 0.5 else 0
        starts.append(int(dataset.starts[row]) + max(offset, 0))
        lengths.append(min(length, int(dataset.lengths[row])))
    n_noises = len(pieces)
    other = np.full(len(starts), len(dataset.label_names), np.int64)
    extended = replace(
        dataset,
        samples=np.concatenate([dataset.samples, *pieces]),
        starts=np.concatenate([dataset.starts, np.array(starts, np.int64)]),
        lengths=np.concatenate([dataset.lengths, np.array(lengths, np.int64)]),
        targets=np.concatenate([dataset.targets, other]),
    )
    return extended, ["noise"] * n_noises + ["fragments"] * len(fragments)
