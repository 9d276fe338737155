"""Strings of digits, made from recordings of single ones, and how well a transcript fits them.

Shapes: L samples, n digits of a string. Everything is at 8 kHz. A string joins clips of one
speaker: some overlap, as words do when one speaks on; between others there is a pause; tempo and
level are drawn. All draws come from the generator that is given.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, find_speech, read_audio, resample
from spoken_digits.lab.augmentation.waveform import change_tempo
from spoken_digits.lab.data.corpora import DIGITS, Clip, CorpusError
from spoken_digits.lab.runs import expect_free

__all__ = [
    "LONGEST_OVERLAP_S",
    "LONGEST_PAUSE_S",
    "Score",
    "Spoken",
    "StringStyle",
    "by_speaker",
    "draw_gap",
    "join",
    "make_string",
    "make_strings",
    "read_references",
    "read_spoken",
    "score",
    "tighten",
    "write_strings",
]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

LONGEST_OVERLAP_S, LONGEST_PAUSE_S = 0.08, 0.6
MOST_OVERLAP = 0.3  # of the shorter of two neighbours: what is left of a word must be heard
LEVEL_RMS = 0.05  # of full scale, of every clip before its level is drawn
_TRIM_DB, _TRIM_MARGIN_S = -40.0, 0.01
_LONGEST_WORD_S = 0.6  # in a longer recording a fifth of it is background
_ABOVE_BACKGROUND_DB, _NOISY_MARGIN_S = 8.0, 0.03
_LEAST_ABOVE_DB = -10.0  # of the loudest: however loud the background, this is the word
_TABLE = "strings.tsv"
_COLUMNS = ("file", "digits", "speaker", "segments")


@dataclass(frozen=True)
class Spoken:
    """Something said: a digit, a string of them, or words that are none.

    Attributes
    ----------
    samples : (L,) float32
    digits : str
        The n digits in it, "" where it holds none.
    starts, ends : (n,) int64
        The samples between which each digit is spoken.
    speaker, corpus : str
        Who said it, and where that is from.
    """

    samples: FloatArray
    digits: str
    starts: IntArray
    ends: IntArray
    speaker: str
    corpus: str

    @classmethod
    def nothing(cls, samples: FloatArray) -> "Spoken":
        """Take sound without digits."""
        return cls(samples, "", np.empty(0, np.int64), np.empty(0, np.int64), "", "")

    @classmethod
    def of_clip(cls, samples: FloatArray, clip: Clip) -> "Spoken":
        """Take a clip of one word, from its first sample to its last."""
        digits = clip.label if clip.label in DIGITS else ""
        bounds = np.array([0, len(samples)])[:, None][:, : len(digits)]
        return cls(samples, digits, bounds[0], bounds[1], clip.speaker, clip.corpus)


@dataclass(frozen=True)
class StringStyle:
    """How strings are made.

    Attributes
    ----------
    fewest, most
        Digits in a string.
    overlapped
        Share of the joins where two digits overlap, by 0 to 80 ms; at the others is a pause of 0 to
        600 ms.
    tempo
        Least and most, of the whole string; the logarithm is drawn uniformly.
    level_drift_db
        Deviation of the step in level from one digit to the next.
    noise_snr_db
        Least and most ratio of white noise, None for none at all.
    """

    fewest: int = 2
    most: int = 13
    overlapped: float = 0.5
    tempo: tuple[float, float] = (0.7, 1.6)
    level_drift_db: float = 1.5
    noise_snr_db: tuple[float, float] | None = (20.0, 50.0)


@dataclass(frozen=True)
class Score:
    """How transcripts differ from references, in digits, and how many strings are wholly right."""

    strings: int
    digits: int
    insertions: int
    deletions: int
    substitutions: int
    whole: int

    @property
    def digit_error(self) -> float:
        """Insertions, deletions and substitutions, a digit of the references."""
        return (self.insertions + self.deletions + self.substitutions) / max(self.digits, 1)

    def to_dict(self) -> dict[str, float | int]:
        """As plain values."""
        whole = self.whole / max(self.strings, 1)
        return vars(self) | {"digit_error": self.digit_error, "whole_right": whole}


def tighten(samples: FloatArray) -> FloatArray:
    """Cut (L,) samples to the word in them, closer than `to_clip` does, and give it one level.

    The word reaches from the first to the last 10 ms within 40 dB of the loudest. Where a recording
    is longer than a word and its background is louder than that, the word is what stands 8 dB above
    the background, and 30 ms on either side: a hiss that the background hides is not cut off.
    """
    start, stop = find_speech(samples)
    samples = samples[start:stop] - samples[start:stop].mean()
    hop = SAMPLE_RATE // 100
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop)
    power = (frames.astype(np.float64) ** 2).mean(axis=1) + 1e-12
    least, margin_s = power.max() * 10 ** (_TRIM_DB / 10), _TRIM_MARGIN_S
    if len(samples) > _LONGEST_WORD_S * SAMPLE_RATE:
        smooth = np.convolve(power, np.ones(5) / 5, "same")
        background = np.percentile(smooth, 20) * 10 ** (_ABOVE_BACKGROUND_DB / 10)
        background = min(background, smooth.max() * 10 ** (_LEAST_ABOVE_DB / 10))
        if background > least:
            power, least, margin_s = smooth, background, _NOISY_MARGIN_S
    loud = np.flatnonzero(power > least)
    margin = round(margin_s * SAMPLE_RATE)
    samples = samples[max(0, loud[0] * hop - margin) : (loud[-1] + 1) * hop + margin]
    rms = float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
    return (samples * (LEVEL_RMS / max(rms, 1e-9))).astype(np.float32)


def read_spoken(clips: Iterable[Clip]) -> list[Spoken]:
    """Read recordings of single words, each cut to the word."""
    return [
        Spoken.of_clip(tighten(resample(*read_audio(clip.file))), clip) for clip in clips
    ]  # fmt: skip


def join(pieces: Sequence[Spoken], gaps: Sequence[int], gains: Sequence[float]) -> Spoken:
    """Put pieces one after another.

    Parameters
    ----------
    pieces
        At least one.
    gaps
        Samples before each; negative where it overlaps the one before: they are faded into each
        other. The first must not be negative.
    gains
        Factor of each.
    """
    begins, cursor = [], 0
    for piece, gap in zip(pieces, gaps, strict=True):
        begins.append(cursor + gap)
        cursor = begins[-1] + len(piece.samples)
    samples = np.zeros(cursor, np.float32)
    for piece, gap, gain, begin in zip(pieces, gaps, gains, begins, strict=True):
        sound = piece.samples * np.float32(gain)
        if gap < 0:
            ramp = (np.arange(-gap, dtype=np.float32) + 0.5) / -gap
            samples[begin : begin - gap] *= 1 - ramp
            sound[:-gap] *= ramp
        samples[begin : begin + len(sound)] += sound
    return Spoken(
        samples,
        "".join(piece.digits for piece in pieces),
        np.concatenate([p.starts + b for p, b in zip(pieces, begins, strict=True)]),
        np.concatenate([p.ends + b for p, b in zip(pieces, begins, strict=True)]),
        pieces[0].speaker,
        pieces[0].corpus,
    )


def draw_gap(
    before: Spoken, after: Spoken, overlapped: float, generator: np.random.Generator
) -> int:
    """Draw the samples between two pieces, negative for an overlap."""
    if generator.random() < overlapped:
        longest = MOST_OVERLAP * min(len(before.samples), len(after.samples))
        overlap = generator.uniform(0, LONGEST_OVERLAP_S) * SAMPLE_RATE
        return -round(min(overlap, longest))
    return round(generator.uniform(0, LONGEST_PAUSE_S) * SAMPLE_RATE)


def by_speaker(spoken: Iterable[Spoken]) -> dict[str, dict[str, list[Spoken]]]:
    """Sort single digits: speaker, then digit, then what there is of it."""
    pools: dict[str, dict[str, list[Spoken]]] = {}
    for piece in spoken:
        if piece.digits:
            pools.setdefault(piece.speaker, {}).setdefault(piece.digits, []).append(piece)
    return pools


def make_string(
    pool: Mapping[str, Sequence[Spoken]], style: StringStyle, generator: np.random.Generator
) -> Spoken:
    """Make a string of one speaker's digits, drawn alike from all that the speaker has."""
    count = int(generator.integers(style.fewest, style.most + 1))
    digits = generator.choice(sorted(pool), count)
    pieces = [pool[digit][int(generator.integers(len(pool[digit])))] for digit in digits]
    gaps = [round(generator.uniform(0.1, 0.4) * SAMPLE_RATE)] + [
        draw_gap(*pair, style.overlapped, generator) for pair in pairwise(pieces)
    ]
    level_db = np.cumsum(style.level_drift_db * generator.standard_normal(count))
    string = join(pieces, gaps, 10 ** ((level_db - level_db.mean()) / 20))
    tempo = float(np.exp(generator.uniform(*np.log(style.tempo))))
    samples = np.pad(string.samples, (0, round(generator.uniform(0.1, 0.4) * SAMPLE_RATE)))
    changed, _ = change_tempo(
        torch.from_numpy(samples)[None], torch.tensor([len(samples)]), torch.tensor([tempo])
    )
    samples = changed[0].numpy()
    if style.noise_snr_db:
        ratio = 10 ** (generator.uniform(*style.noise_snr_db) / 20)
        rms = float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
        noise = generator.standard_normal(len(samples)).astype(np.float32)
        samples = samples + np.float32(rms / ratio) * noise
    samples = samples * np.float32(min(1.0, 0.9 / np.abs(samples).max()))
    starts, ends = (np.round(x / tempo).astype(np.int64) for x in (string.starts, string.ends))
    return Spoken(samples, string.digits, starts, ends, string.speaker, string.corpus)


def make_strings(
    spoken: Iterable[Spoken], count: int, style: StringStyle | None = None, seed: int = 0
) -> list[Spoken]:
    """Make strings of each speaker in turn; the same call gives the same samples.

    Raises
    ------
    CorpusError
        When there is no digit among `spoken`.
    """
    pools = by_speaker(spoken)
    if not pools:
        raise CorpusError("no digits to make strings of; expected clips with labels 0 to 9")
    names = sorted(pools)
    return [
        make_string(
            pools[names[i % len(names)]], style or StringStyle(), np.random.default_rng([seed, i])
        )
        for i in range(count)
    ]


def write_strings(strings: Iterable[Spoken], folder: Path) -> Path:
    """Write strings as FLAC files and their table, `strings.tsv`; return the table's path.

    The table has the columns file, digits, speaker and segments, the latter as pairs "start-end" in
    seconds.

    Raises
    ------
    CorpusError
        When the folder is taken.
    """
    expect_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, string in enumerate(strings):
        name = f"{index:04d}_{string.speaker}.flac"
        sf.write(folder / name, string.samples, SAMPLE_RATE, "PCM_16")
        bounds = zip(string.starts / SAMPLE_RATE, string.ends / SAMPLE_RATE, strict=True)
        segments = " ".join(f"{start:.3f}-{end:.3f}" for start, end in bounds)
        rows.append((name, string.digits, string.speaker, segments))
    table = folder / _TABLE
    with table.open("w", newline="", encoding="utf-8") as file:  # last: with it, all is there
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([_COLUMNS, *rows])
    return table


def read_references(table: Path | str) -> list[tuple[Path, str]]:
    """Read files and digits from a table with the columns file and digits, by tabs or commas.

    Raises
    ------
    CorpusError
        When a column is missing.
    """
    table = Path(table)
    delimiter = "," if table.suffix.lower() == ".csv" else "\t"
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    if not rows or not {"file", "digits"} <= set(rows[0]):
        raise CorpusError(f"{table}: expected a line a string, with the columns file and digits")
    return [(table.parent / row["file"], row["digits"]) for row in rows]


def score(references: Sequence[str], transcripts: Sequence[str]) -> Score:
    """Compare strings of digits by their least edits (jiwer)."""
    import jiwer  # late: an extra

    # One "word" a digit. A reference without digits has no words, which jiwer does not take.
    pairs = list(zip(references, transcripts, strict=True))
    spoken = [(" ".join(a), " ".join(b)) for a, b in pairs if a]
    extra = sum(len(b) for a, b in pairs if not a)
    whole = sum(a == b for a, b in pairs)
    if not spoken:
        return Score(len(pairs), 0, extra, 0, 0, whole)
    edits = jiwer.process_words([a for a, _ in spoken], [b for _, b in spoken])
    return Score(
        strings=len(pairs),
        digits=sum(len(a) for a in references),
        insertions=edits.insertions + extra,
        deletions=edits.deletions,
        substitutions=edits.substitutions,
        whole=whole,
    )
