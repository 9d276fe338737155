"""Digit strings made from recordings of single digits, and the error rates of transcripts.

A string concatenates clips of one speaker: some overlap, as words in fluent speech do, others have
a pause between them; tempo and level are drawn. All draws come from the generator that is given.

Shapes: L samples, n digits of a string. Everything is at 8 kHz.
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
from spoken_digits.lab.augmentation.waveform import add_noise, change_tempo
from spoken_digits.lab.data.corpora import DIGITS, Clip, CorpusError
from spoken_digits.lab.runs import expect_free, whole_folder

__all__ = [
    "LEVEL_RMS",
    "MAX_OVERLAP_S",
    "MAX_PAUSE_S",
    "DigitString",
    "Score",
    "StringStyle",
    "by_speaker",
    "draw_gap",
    "join",
    "make_string",
    "make_strings",
    "read_references",
    "read_words",
    "score",
    "trim_to_word",
    "write_strings",
]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

MAX_OVERLAP_S, MAX_PAUSE_S = 0.08, 0.6
MAX_OVERLAP_FRACTION = 0.3  # of the shorter of two neighbours, so that both stay intelligible
LEVEL_RMS = 0.05  # of full scale, of every clip before its level is drawn
_FRAME = SAMPLE_RATE // 100  # samples, 10 ms
_TRIM_DB, _TRIM_MARGIN_S = -40.0, 0.01  # relative to the loudest frame
_MAX_WORD_S = 0.6  # of a longer recording at least a fifth is background
_ABOVE_BACKGROUND_DB, _NOISY_MARGIN_S = 8.0, 0.03
_MAX_THRESHOLD_DB = -10.0  # relative to the loudest frame, however loud the background
_TABLE = "strings.tsv"
_COLUMNS = ("file", "digits", "speaker", "segments")


@dataclass(frozen=True)
class DigitString:
    """A stretch of sound and the digits in it: one, several, or none.

    Attributes
    ----------
    samples : (L,) float32
        At 8 kHz.
    digits : str
        The n digits spoken; "" for other words, or noise.
    starts, ends : (n,) int64
        The samples between which each digit is spoken.
    speaker, corpus : str
        Of the recording; "" where it has none.
    words : tuple of str, optional
        All that is said, as labels of `spotting.LABELS`: n of them are digits or "oh", in the order
        of `digits`. Left out, the digits alone.
    is_aligned : (n,) bool, optional
        Whether the times of each digit are known; where not, they are those of the recording. Left
        out, all are.
    """

    samples: FloatArray
    digits: str
    starts: IntArray
    ends: IntArray
    speaker: str
    corpus: str
    words: tuple[str, ...] | None = None
    is_aligned: NDArray[np.bool_] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """All that is said."""
        return tuple(self.digits) if self.words is None else self.words

    @property
    def aligned(self) -> NDArray[np.bool_]:
        """Whether the times of each digit are known: (n,)."""
        return np.ones(len(self.digits), bool) if self.is_aligned is None else self.is_aligned

    @classmethod
    def without_digits(cls, samples: FloatArray, words: tuple[str, ...] = ()) -> "DigitString":
        """Wrap (L,) samples that hold no digit."""
        return cls(samples, "", np.empty(0, np.int64), np.empty(0, np.int64), "", "", words)

    @classmethod
    def of_clip(cls, samples: FloatArray, clip: Clip) -> "DigitString":
        """Wrap the (L,) samples of a clip of one word, all of which are the word's."""
        digits = clip.label if clip.label in DIGITS else ""
        bounds = np.array([0, len(samples)])[:, None][:, : len(digits)]
        words = (digits or "other",)
        return cls(samples, digits, bounds[0], bounds[1], clip.speaker, clip.corpus, words)


@dataclass(frozen=True)
class StringStyle:
    """How strings are made.

    Attributes
    ----------
    min_digits, max_digits
        Digits in a string.
    overlap_probability
        Probability that two neighbours overlap, by 0 to 80 ms; else there is a pause of 0 to 600
        ms between them.
    tempo
        Minimum and maximum, of the whole string; the logarithm is drawn uniformly.
    level_drift_db
        Standard deviation of the step in level from one digit to the next.
    noise_snr_db
        Minimum and maximum signal-to-noise ratio of white noise over the string; None for none.
    """

    min_digits: int = 2
    max_digits: int = 13
    overlap_probability: float = 0.5
    tempo: tuple[float, float] = (0.7, 1.6)
    level_drift_db: float = 1.5
    noise_snr_db: tuple[float, float] | None = (20.0, 50.0)


@dataclass(frozen=True)
class Score:
    """Errors of transcripts in digits, and how many strings (`whole`) have none."""

    strings: int
    digits: int
    insertions: int
    deletions: int
    substitutions: int
    whole: int

    @property
    def digit_error(self) -> float:
        """Digit error rate: insertions, deletions and substitutions over digits spoken."""
        return (self.insertions + self.deletions + self.substitutions) / max(self.digits, 1)

    def to_dict(self) -> dict[str, float | int]:
        """Return counts and rates as plain values, for JSON."""
        whole = self.whole / max(self.strings, 1)
        return vars(self) | {"digit_error": self.digit_error, "whole_right": whole}


def trim_to_word(samples: FloatArray) -> FloatArray:
    """Trim (L,) samples to the word in them, closer than `to_clip`, and set its RMS to `LEVEL_RMS`.

    The word reaches from the first to the last frame of 10 ms within 40 dB of the loudest, 10 ms
    more on either side. Where a recording is longer than a word and its background exceeds that
    threshold, the threshold is 8 dB above the background, and the margin 30 ms: a weak fricative
    that the background masks is not cut off. `augmentation.waveform.trim` is no substitute: it
    imitates tools that estimate no background.

    Raises
    ------
    AudioError
        When nothing exceeds -120 dBFS.
    """
    start, stop = find_speech(samples)
    samples = samples[start:stop] - samples[start:stop].mean()
    frames = np.pad(samples, (0, -len(samples) % _FRAME)).reshape(-1, _FRAME)
    power = (frames.astype(np.float64) ** 2).mean(axis=1) + 1e-12
    threshold, margin_s = power.max() * 10 ** (_TRIM_DB / 10), _TRIM_MARGIN_S
    if len(samples) > _MAX_WORD_S * SAMPLE_RATE:
        smooth = np.convolve(power, np.ones(5) / 5, "same")
        above_background = np.percentile(smooth, 20) * 10 ** (_ABOVE_BACKGROUND_DB / 10)
        above_background = min(above_background, smooth.max() * 10 ** (_MAX_THRESHOLD_DB / 10))
        if above_background > threshold:
            power, threshold, margin_s = smooth, above_background, _NOISY_MARGIN_S
    loud = np.flatnonzero(power > threshold)
    margin = round(margin_s * SAMPLE_RATE)
    samples = samples[max(0, loud[0] * _FRAME - margin) : (loud[-1] + 1) * _FRAME + margin]
    rms = float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
    return (samples * (LEVEL_RMS / max(rms, 1e-9))).astype(np.float32)


def read_words(clips: Iterable[Clip]) -> list[DigitString]:
    """Read recordings of single words, digits or others, each trimmed to the word.

    Raises
    ------
    AudioError
        When a recording cannot be read or is silent.
    """
    trimmed = ((clip, trim_to_word(resample(*read_audio(clip.file)))) for clip in clips)
    return [DigitString.of_clip(samples, clip) for clip, samples in trimmed]


def join(pieces: Sequence[DigitString], gaps: Sequence[int], gains: Sequence[float]) -> DigitString:
    """Concatenate pieces; speaker and corpus are those of the first.

    Parameters
    ----------
    pieces
        At least one.
    gaps
        Samples before each; negative where it overlaps the one before, with a linear crossfade.
        The first must not be negative.
    gains
        Factor of each piece's amplitude.
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
    return DigitString(
        samples,
        "".join(piece.digits for piece in pieces),
        np.concatenate([p.starts + b for p, b in zip(pieces, begins, strict=True)]),
        np.concatenate([p.ends + b for p, b in zip(pieces, begins, strict=True)]),
        pieces[0].speaker,
        pieces[0].corpus,
        tuple(label for piece in pieces for label in piece.labels),
        np.concatenate([piece.aligned for piece in pieces]),
    )


def draw_gap(
    before: DigitString,
    after: DigitString,
    overlap_probability: float,
    generator: np.random.Generator,
) -> int:
    """Draw the samples between two pieces, negative for an overlap."""
    if generator.random() < overlap_probability:
        max_overlap = MAX_OVERLAP_FRACTION * min(len(before.samples), len(after.samples))
        overlap = generator.uniform(0, MAX_OVERLAP_S) * SAMPLE_RATE
        return -round(min(overlap, max_overlap))
    return round(generator.uniform(0, MAX_PAUSE_S) * SAMPLE_RATE)


def by_speaker(pieces: Iterable[DigitString]) -> dict[str, dict[str, list[DigitString]]]:
    """Group single digits by speaker, then by digit; pieces without digits are left out."""
    pools: dict[str, dict[str, list[DigitString]]] = {}
    for piece in pieces:
        if piece.digits:
            pools.setdefault(piece.speaker, {}).setdefault(piece.digits, []).append(piece)
    return pools


def make_string(
    pool: Mapping[str, Sequence[DigitString]], style: StringStyle, generator: np.random.Generator
) -> DigitString:
    """Make a string of one speaker's digits, each drawn uniformly from those in the pool."""
    count = int(generator.integers(style.min_digits, style.max_digits + 1))
    digits = generator.choice(sorted(pool), count)
    pieces = [pool[digit][int(generator.integers(len(pool[digit])))] for digit in digits]
    gaps = [round(generator.uniform(0.1, 0.4) * SAMPLE_RATE)] + [
        draw_gap(*pair, style.overlap_probability, generator) for pair in pairwise(pieces)
    ]
    level_db = np.cumsum(style.level_drift_db * generator.standard_normal(count))
    string = join(pieces, gaps, 10 ** ((level_db - level_db.mean()) / 20))
    tempo = float(np.exp(generator.uniform(*np.log(style.tempo))))
    samples = np.pad(string.samples, (0, round(generator.uniform(0.1, 0.4) * SAMPLE_RATE)))
    waveform, lengths = change_tempo(
        torch.from_numpy(samples)[None], torch.tensor([len(samples)]), torch.tensor([tempo])
    )
    if style.noise_snr_db:
        snr_db = torch.tensor([generator.uniform(*style.noise_snr_db)])
        noise = torch.from_numpy(generator.standard_normal(waveform.shape))
        waveform = add_noise(waveform, lengths, noise, snr_db)
    samples = waveform[0].numpy()
    samples = samples * np.float32(min(1.0, 0.9 / np.abs(samples).max()))
    starts, ends = (np.round(x / tempo).astype(np.int64) for x in (string.starts, string.ends))
    return DigitString(samples, string.digits, starts, ends, string.speaker, string.corpus)


def make_strings(
    words: Iterable[DigitString], count: int, style: StringStyle | None = None, seed: int = 0
) -> list[DigitString]:
    """Make strings of each speaker in turn; the same call gives the same samples.

    Parameters
    ----------
    words
        Single digits, as of `read_words`; other words are ignored.
    count
        Strings to make.
    style
        Lengths, gaps, tempo, level and noise.
    seed
        Key of the strings: the i-th has its own generator.

    Raises
    ------
    CorpusError
        When there is no digit among `words`.
    """
    pools = by_speaker(words)
    if not pools:
        raise CorpusError("no digits to make strings of; expected clips with labels 0 to 9")
    names = sorted(pools)
    return [
        make_string(
            pools[names[i % len(names)]], style or StringStyle(), np.random.default_rng([seed, i])
        )
        for i in range(count)
    ]


def write_strings(strings: Iterable[DigitString], folder: Path) -> Path:
    """Write strings as FLAC files and their table, `strings.tsv`; return the table's path.

    The table has the columns file, digits, speaker and segments, the latter as pairs "start-end" in
    seconds. The folder appears whole or not at all.

    Raises
    ------
    OutputError
        When the folder exists and is not empty.
    """
    expect_free(folder)
    with whole_folder(folder) as whole:
        whole.mkdir()
        rows = []
        for index, string in enumerate(strings):
            name = f"{index:04d}_{string.speaker}.flac"
            sf.write(whole / name, string.samples, SAMPLE_RATE, "PCM_16")
            bounds = zip(string.starts / SAMPLE_RATE, string.ends / SAMPLE_RATE, strict=True)
            segments = " ".join(f"{start:.3f}-{end:.3f}" for start, end in bounds)
            rows.append((name, string.digits, string.speaker, segments))
        with (whole / _TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerows([_COLUMNS, *rows])
    return folder / _TABLE


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
        raise CorpusError(
            f"{table}: expected one row for each recording, with the columns file and digits"
        )
    return [(table.parent / row["file"], row["digits"]) for row in rows]


def score(references: Sequence[str], transcripts: Sequence[str]) -> Score:
    """Compare strings of digits by their minimum edit distance (jiwer).

    Parameters
    ----------
    references, transcripts
        N strings of digits each; either may be "".

    Raises
    ------
    ImportError
        Without jiwer, which the extras `score` and `bench` bring.
    """
    import jiwer  # late: an extra

    # jiwer counts words: each digit is one. It does not accept a reference without words.
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
