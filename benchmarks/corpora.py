"""What is in the corpora, beside what their papers say: `python -m benchmarks.corpora`.

Every recording that is at hand is measured, compared with every other, and recognized by networks
that did not learn from it (`--networks`, files of `spoken-digits train` and `strings train`; each
says in its recipe what it left out). What they do not recognize was looked at, as waveform and
spectrogram, and is named in `JUDGED`. docs/corpora.md and results/corpora.json are written from it.

Shapes: L samples, N recordings.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from benchmarks.measures import REPOSITORY, read_results
from spoken_digits.audio import SAMPLE_RATE, AudioError, resample, to_clip
from spoken_digits.connected import Transcriber
from spoken_digits.lab.connected.evaluation import evaluation_utterances
from spoken_digits.lab.data.acoustics import MIN_RECORDINGS, Acoustics, cut_off_hz, describe
from spoken_digits.lab.data.corpora import DIGITS, data_hash, find_corpus, read_corpus
from spoken_digits.lab.data.pooled import partition
from spoken_digits.lab.data.utterances import read_samples, read_utterances
from spoken_digits.lab.data.validate import CLIPPED_FRACTION, CLIPPED_RUN, FULL_SCALE
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole
from spoken_digits.networks import DigitNetwork, StringNetwork
from spoken_digits.reading import read_audio

RESULTS = REPOSITORY / "results" / "corpora.json"
PAGE = REPOSITORY / "docs" / "corpora.md"
MARKER = "corpora"

NAMES = {
    "fsdd": "FSDD",
    "speech_commands": "Speech Commands",
    "an4": "AN4",
    "wuw2": "WUW II",
}
UTTERANCES = ("an4", "wuw2")
FSDD_TEST = ("lucas", "yweweler")
FRAME_S = 0.02  # of levels
ZEROS_S = 0.01  # of samples that are exactly zero, at an end
NARROW = 0.75  # of half the sample rate
OFFSET = 0.005  # of full scale
COARSE = 2.0**-7  # a step of 8 bits
SAME = 0.95  # correlation of the loudest seconds of one recording
DOUBTFUL = 0.02  # probability of the label, below which a network that did not learn a clip doubts
TAKES, FIRST_TAKES = 50, 5  # of a digit, of each of FSDD's people
MAX_NEIGHBORS, MIN_NEIGHBOR = 8, 0.4  # pairs that are correlated, of each recording

FloatArray = NDArray[np.float32]
Row = dict[str, Any]


@dataclass(frozen=True)
class Guess:
    """A question that a number answers, and what an expert would say: from `low` to `high`.

    All were written before anything was measured.
    """

    key: str
    question: str
    low: float
    high: float
    unit: str


# A clip is clipped if at least 3 samples in a row, and 0.1 % of all, are at full scale (0.99); its
# tops are flat if as many are at its own largest value, below full scale. It is cut where its first
# or last 10 ms are within 12 dB of its loudest 30 ms. A cut-off is a fall of 15 dB or more between
# neighbouring 500 Hz, 250 Hz apart, with nothing louder above it. A floor is the quietest tenth of
# 20 ms frames, the level the loudest tenth.
GUESSES = (
    Guess("fsdd pairs", "FSDD: pairs of files that are one recording", 0, 0, "pairs"),
    Guess("speech_commands pairs", "Speech Commands: the same", 0, 0, "pairs"),
    Guess("an4 pairs", "AN4: the same", 0, 0, "pairs"),
    Guess("wuw2 pairs", "WUW II: the same", 0, 0, "pairs"),
    Guess("pairs across", "pairs of files of two corpora that are one recording", 0, 0, "pairs"),
    Guess("fsdd labels", "FSDD: clips that say another word than their label", 1, 5, "clips"),
    Guess(
        "speech_commands labels",
        "Speech Commands: digits that say another word, or none",
        0.5,
        2,
        "%",
    ),
    Guess("speech_commands empty", "Speech Commands: digits with no speech in them", 0.1, 1, "%"),
    Guess("an4 transcripts", "AN4: transcripts that do not fit", 0, 3, "of 948"),
    Guess("wuw2 transcripts", "WUW II: transcripts that do not fit", 5, 20, "of 1,100"),
    Guess("fsdd clipped", "FSDD: clipped", 0, 0.5, "%"),
    Guess("speech_commands clipped", "Speech Commands: clipped", 1, 5, "%"),
    Guess("an4 clipped", "AN4: clipped", 0, 1, "%"),
    Guess("wuw2 clipped", "WUW II: clipped", 0, 2, "%"),
    Guess("fsdd flat", "FSDD: tops flat below full scale", 0, 1, "%"),
    Guess("speech_commands flat", "Speech Commands: tops flat below full scale", 1, 5, "%"),
    Guess("fsdd cut", "FSDD: cut at either end", 2, 10, "%"),
    Guess("speech_commands cut", "Speech Commands: cut at either end", 1, 5, "%"),
    Guess("an4 cut", "AN4: cut at either end", 0, 1, "%"),
    Guess("wuw2 cut", "WUW II: cut at either end", 0, 2, "%"),
    Guess("speech_commands short", "Speech Commands: not exactly one second long", 8, 12, "%"),
    Guess("speech_commands zeros", "Speech Commands: 10 ms of zeros at either end", 1, 5, "%"),
    Guess(
        "speech_commands narrow",
        "Speech Commands (16 kHz): people most of whose clips have a cut-off at 6 kHz or below",
        2,
        10,
        "%",
    ),
    Guess("an4 narrow", "AN4 (16 kHz): the same", 0, 0, "%"),
    Guess("fsdd narrow", "FSDD (8 kHz): people, at 3 kHz or below", 0, 0, "people"),
    Guess("wuw2 narrow", "WUW II (8 kHz): calls, at 3 kHz or below", 0, 5, "%"),
    Guess(
        "fsdd coarse", "FSDD: people whose samples have 8 bits or less (nicolas)", 1, 1, "people"
    ),
    Guess("fsdd range", "FSDD: from least to most dB of level over floor, people", 15, 30, "dB"),
    Guess("speech_commands range", "Speech Commands: level over floor, median", 30, 40, "dB"),
    Guess("an4 range", "AN4: level over floor, median", 35, 50, "dB"),
    Guess("landline", "WUW II: level over floor, landline more than cellphone", 3, 10, "dB"),
    Guess("fsdd offset", "FSDD: people with an offset of 0.5 % of full scale", 0, 0, "people"),
    Guess("speech_commands offset", "Speech Commands: the same", 0, 2, "%"),
    Guess("an4 offset", "AN4: the same", 0, 0, "%"),
    Guess(
        "fsdd takes",
        "FSDD: people whose takes 0 to 4, the official test part, differ from the others by 3 dB "
        "or more in level",
        0,
        0,
        "people",
    ),
    Guess(
        "fsdd gain",
        "FSDD's test speakers: accuracy gained when faulty clips are left out",
        0,
        0.1,
        "points",
    ),
    Guess("speech_commands gain", "Speech Commands, people held out: the same", 0.3, 1, "points"),
)


# What was looked at


OTHER = "another word than the label or transcript"
EMPTY = "no word"
PART = "the word cut off by an end"
MORE = "other speech beside the word"
PROMPT = "the prompt of the telephone system, and no caller"
MISSING = "words said that are not transcribed"
GLUED = "two words written as one, a digit among them"
FAULTY = (OTHER, EMPTY)  # nobody could recognize the label in these
JUDGED: dict[str, dict[str, tuple[str, ...]]] = {
    "fsdd": {OTHER: ("recordings/6_yweweler_14.wav",)},
    "speech_commands": {
        OTHER: (
            "zero/2da58b32_nohash_2.wav",
            "zero/179a61b7_nohash_1.wav",
            "zero/39999a0f_nohash_0.wav",
            "one/190821dc_nohash_2.wav",
            "eight/39a12648_nohash_0.wav",
        ),
        EMPTY: (
            "zero/190821dc_nohash_0.wav",
            "zero/190821dc_nohash_1.wav",
            "zero/190821dc_nohash_3.wav",
            "zero/190821dc_nohash_4.wav",
            "one/264f471d_nohash_3.wav",
            "one/35d1b6ee_nohash_4.wav",
            "one/190821dc_nohash_4.wav",
            "one/190821dc_nohash_1.wav",
            "one/122c5aa7_nohash_3.wav",
            "five/190821dc_nohash_2.wav",
            "eight/122c5aa7_nohash_1.wav",
            "eight/3bfd30e6_nohash_4.wav",
            "eight/3c257192_nohash_1.wav",
            "eight/2b3f509b_nohash_0.wav",
        ),
        PART: (
            "zero/0132a06d_nohash_0.wav",
            "zero/0132a06d_nohash_3.wav",
            "zero/36050ef3_nohash_1.wav",
            "one/099d52ad_nohash_0.wav",
            "one/2b3f509b_nohash_0.wav",
            "five/190821dc_nohash_3.wav",
            "five/39a12648_nohash_0.wav",
            "five/122c5aa7_nohash_1.wav",
            "eight/179a61b7_nohash_4.wav",
        ),
        MORE: (
            "one/3e31dffe_nohash_3.wav",
            "eight/190821dc_nohash_0.wav",
            "eight/25132942_nohash_1.wav",
            "five/28460a60_nohash_0.wav",
        ),
    },
    "wuw2": {
        OTHER: ("00054/WUWII00054_002.ulaw", "00060/WUWII00060_005.ulaw"),
        PROMPT: (
            "00048/WUWII00048_005.ulaw",
            "00050/WUWII00050_005.ulaw",
        ),
        MISSING: (
            "00192/WUWII00192_009.ulaw",
            "00122/WUWII00122_010.ulaw",
        ),
        GLUED: ("00002/WUWII00002_010.ulaw",),
    },
}


# Recordings


@dataclass(frozen=True)
class Measured:
    """One recording: what it is, and what was measured in it; `loudest` is (8,000,), at 8 kHz."""

    corpus: str
    file: str
    speaker: str
    label: str
    phone: str | None
    duration_s: float
    acoustics: Acoustics
    floor_dbfs: float
    level_dbfs: float
    is_clipped: bool
    at_full_scale: bool
    is_flat: bool
    has_zeros: bool
    step: float
    loudest: FloatArray

    @property
    def range_db(self) -> float:
        """Level over floor."""
        return self.level_dbfs - self.floor_dbfs


def recordings(corpus: str) -> Iterator[Measured]:
    """Read and measure a corpus."""
    if corpus in UTTERANCES:
        for said in read_utterances(corpus):
            samples, rate = read_samples(said)
            name = f"{said.file.parent.name}/{said.file.name}"
            yield measured(corpus, name, said.speaker, said.content, samples, rate, said.phone)
        return
    for clip in read_corpus(corpus):
        samples, rate = read_audio(clip.file)
        name = f"{clip.file.parent.name}/{clip.file.name}"
        yield measured(corpus, name, clip.speaker, clip.label, samples, rate, None)


def measured(
    corpus: str,
    file: str,
    speaker: str,
    label: str,
    samples: FloatArray,
    rate: float,
    phone: str | None,
) -> Measured:
    length = min(len(samples), round(FRAME_S * rate))
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    powers = np.sort(np.square(frames, dtype=float).mean(axis=1)) + 1e-12
    tenth = max(1, len(powers) // 10)
    floor, level = 10 * np.log10([powers[:tenth].mean(), powers[-tenth:].mean()])
    peak = float(np.abs(samples).max())
    run, fraction = at_extremes(samples)
    is_flat = run >= CLIPPED_RUN and fraction >= CLIPPED_FRACTION
    sounding = np.flatnonzero(samples)
    around = (sounding[0], len(samples) - 1 - sounding[-1]) if len(sounding) else (len(samples),)
    return Measured(
        corpus=corpus,
        file=file,
        speaker=speaker,
        label=label,
        phone=phone,
        duration_s=len(samples) / rate,
        acoustics=describe(samples, rate),
        floor_dbfs=float(floor),
        level_dbfs=float(level),
        is_clipped=is_flat and peak >= FULL_SCALE,
        at_full_scale=peak >= FULL_SCALE,
        is_flat=is_flat and peak < FULL_SCALE,
        has_zeros=max(around) >= ZEROS_S * rate,
        step=float(np.gcd.reduce(np.round(samples * 2**15).astype(int))) / 2**15,
        loudest=loudest_second(samples, rate),
    )


def at_extremes(samples: FloatArray) -> tuple[int, float]:
    """Return the longest run of samples (L,) at their maximum or minimum, and such a fraction.

    The fraction is of all samples in runs of `CLIPPED_RUN` or more.
    """
    longest, count = 0, 0
    for extreme in (samples.max(), samples.min()):
        at = samples == extreme
        edges = np.flatnonzero(np.diff(at, prepend=False, append=False))
        runs = edges[1::2] - edges[::2]
        longest = max(longest, int(runs.max()))
        count += int(runs[runs >= CLIPPED_RUN].sum())
    return longest, count / len(samples)


def loudest_second(samples: FloatArray, rate: float) -> FloatArray:
    """Return the second about the loudest 0.2 s, at 8 kHz, differentiated: (8,000,).

    It is the same however much silence stands around it, and at whatever level.
    """
    x = resample(samples, rate, SAMPLE_RATE)
    x = np.diff(x - x.mean(), prepend=0)
    power = fftconvolve(np.square(x, dtype=float), np.ones(SAMPLE_RATE // 5), "same")
    first = int(power.argmax()) - SAMPLE_RATE // 2
    low, high = max(0, first), min(len(x), first + SAMPLE_RATE)
    found = np.zeros(SAMPLE_RATE, np.float32)
    found[low - first : high - first] = x[low:high]
    return found


def same_recordings(sounds: FloatArray) -> list[tuple[int, int, float]]:
    """Return pairs of (N, L) sounds that correlate by `SAME` or more at some shift, and how.

    Compared first are fine structures of spectra, which hardly change with a shift, and of each
    sound's nearest neighbours then the sounds themselves.
    """
    size = 2 * sounds.shape[1]
    spectra = np.fft.rfft(sounds, size)
    fine = np.sqrt(np.abs(spectra[:, : size // 2]).reshape(len(sounds), -1, 4).mean(axis=2))
    fine /= fftconvolve(fine, np.ones((1, 41)) / 41, "same", axes=1) + 1e-6
    fine -= fine.mean(axis=1, keepdims=True)
    fine = (fine / (np.linalg.norm(fine, axis=1, keepdims=True) + 1e-9)).astype(np.float32)
    norms = np.linalg.norm(sounds, axis=1) + 1e-9
    found = []
    for first in range(0, len(sounds), 256):
        alike = fine[first : first + 256] @ fine.T
        for a, row in enumerate(alike, first):
            row[: a + 1] = -1
            for b in np.argsort(-row)[:MAX_NEIGHBORS]:
                if row[b] < MIN_NEIGHBOR:
                    break
                products = np.fft.irfft(
                    spectra[a] * np.conj(spectra[b]), 4 * size
                )  # quarter shifts
                correlation = float(4 * np.abs(products).max() / (norms[a] * norms[b]))
                if correlation >= SAME:
                    found.append((a, int(b), correlation))
    return found


def hissless() -> dict[str, list[str]]:
    """Return FSDD's clips of six and seven, by person, that have no "s" before their vowel.

    There is one if two frames of 20 ms before the loudest, not 40 dB below it, have more power
    above 2.5 kHz than from 0.1 to 1 kHz.
    """
    found: dict[str, list[str]] = {}
    hz = np.fft.rfftfreq(160, 1 / SAMPLE_RATE)
    for clip in read_corpus("fsdd"):
        if clip.label not in "67":
            continue
        samples, rate = read_audio(clip.file)
        padded = np.pad(resample(samples, rate, SAMPLE_RATE), (0, 160))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 160)[::80] * np.hanning(160)
        power = np.square(np.abs(np.fft.rfft(frames)))
        whole = power.sum(axis=1)
        before = slice(0, int(whole.argmax()) + 1)
        high = power[before, hz >= 2_500].sum(axis=1)
        low = power[before, (hz >= 100) & (hz < 1_000)].sum(axis=1)
        if ((high > low) & (whole[before] > 1e-4 * whole.max())).sum() < 2:
            found.setdefault(clip.speaker, []).append(name_of(clip))
    return found


def percent(values: Iterable[bool]) -> float:
    return 100 * float(np.mean(list(values)))


def by_speaker(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {}
    for row in rows:
        found.setdefault(row.speaker, []).append(row)
    return found


def summary(rows: Sequence[Measured]) -> Row:
    """Return what a corpus, or a speaker, has; %, dB and s."""
    offsets, cut_offs = [], []
    for some in by_speaker(rows).values():
        offsets.append(abs(float(np.mean([row.acoustics.offset for row in some]))))
        spectra = [row.acoustics.spectrum_db for row in some]
        half = some[0].acoustics.sample_rate / 2
        found = cut_off_hz(np.mean(spectra, axis=0)) if len(some) >= MIN_RECORDINGS else None
        cut_offs.append(found is not None and found <= NARROW * half)
    return {
        "recordings": len(rows),
        "speakers": len(offsets),
        "duration_s": float(np.median([row.duration_s for row in rows])),
        "clipped": percent(row.is_clipped for row in rows),
        "full_scale": percent(row.at_full_scale for row in rows),
        "flat": percent(row.is_flat for row in rows),
        "cut": percent(row.acoustics.is_cut for row in rows),
        "cut_start": percent(row.acoustics.start_db > row.acoustics.end_db and row.acoustics.is_cut
                             for row in rows),
        "zeros": percent(row.has_zeros for row in rows),
        "not_a_second": percent(row.duration_s != 1 for row in rows),
        "floor_dbfs": float(np.median([row.floor_dbfs for row in rows])),
        "level_dbfs": float(np.median([row.level_dbfs for row in rows])),
        "range_db": float(np.median([row.range_db for row in rows])),
        "offset": percent(offset >= OFFSET for offset in offsets),
        "largest_offset": max(offsets),
        "narrow": percent(cut_offs),
        "coarse": percent(row.step >= COARSE for row in rows),
    }  # fmt: skip


# Networks


def left_out(recipe: Mapping[str, Any], clips: Sequence[Any]) -> list[Any]:
    """Return the digits that a network did not learn from, by its recipe."""
    if not recipe["split"].startswith("pooled:"):
        return []
    return [clip for clip in partition(recipe["split"], clips)[1] if clip.label in DIGITS]


def probabilities(network: DigitNetwork, clips: Sequence[Any]) -> dict[str, list[float]]:
    """Return ten probabilities for each clip, by its name; clips of silence are left out."""
    found = {}
    for clip in clips:
        try:
            waveform = to_clip(*read_audio(clip.file))
        except AudioError:
            continue
        scores, _ = network.score(waveform[None])
        likely = np.exp(scores[0, :10] - scores[0, :10].max())
        found[name_of(clip)] = [float(each) for each in likely / likely.sum()]
    return found


def name_of(clip: Any) -> str:
    return f"{clip.corpus}/{clip.file.parent.name}/{clip.file.name}"


def recognized(networks: Iterable[Path]) -> dict[str, Row]:
    """Return what each network makes of recordings that it did not learn from."""
    rows = {}
    clips = [clip for name in ("fsdd", "speech_commands") for clip in read_corpus(name)]
    for file in networks:
        recipe = json.loads(
            (DigitNetwork if is_digits(file) else StringNetwork)(file).metadata["recipe"]
        )
        row: Row = {"split": recipe["split"], "sha256": sha256(file.read_bytes()).hexdigest()}
        if is_digits(file):
            held = left_out(recipe, clips)
            row |= compare(held, probabilities(DigitNetwork(file), held))
        else:
            row |= transcripts(Transcriber(file), recipe["fluent"])
        rows[file.stem if "fluent" not in recipe else f"strings {recipe['fluent']}"] = row
        print(f"{file}: { ({k: v for k, v in row.items() if k != 'doubtful'}) }", flush=True)
    return rows


def is_digits(file: Path) -> bool:
    """Return whether a file is a network for single digits, and not for strings."""
    import onnx

    return any(each.key == "rejection_threshold" for each in onnx.load(file).metadata_props)


def compare(clips: Sequence[Any], likely: Mapping[str, Sequence[float]]) -> Row:
    """Return accuracies by corpus, with and without what was judged faulty, and what is doubted."""
    row: Row = {"doubtful": [], "wrong": [], "accuracy": {}}
    for corpus in ("fsdd", "speech_commands"):
        judged = JUDGED.get(corpus, {})
        faulty = {f"{corpus}/{file}" for kind in FAULTY for file in judged.get(kind, ())}
        held = [clip for clip in clips if clip.corpus == corpus and name_of(clip) in likely]
        right = {name_of(c): int(np.argmax(likely[name_of(c)])) == int(c.label) for c in held}
        kept = [right[name] for name in right if name not in faulty]
        if held:
            row["accuracy"][corpus] = {
                "clips": len(right),
                "all": percent(right.values()),
                "faulty": len(right) - len(kept),
                "without_faulty": percent(kept),
            }
        row["wrong"] += [name for name, is_right in right.items() if not is_right]
        row["doubtful"] += [name_of(c) for c in held if likely[name_of(c)][int(c.label)] < DOUBTFUL]
    return row


def transcripts(transcriber: Transcriber, fold: str) -> Row:
    """Return digit strings of a fold that are not recognized as transcribed, and false digits."""
    row: Row = {"doubtful": [], "strings": 0, "without_digits": 0}
    for corpus in UTTERANCES:
        for said in evaluation_utterances(f"{corpus}:{fold}"):
            if said.content == "mixed":
                continue
            row["strings" if said.content == "digits" else "without_digits"] += 1
            samples, rate = read_samples(said)
            if transcriber(samples, sample_rate=rate).digits != said.digits:
                row["doubtful"].append(f"{corpus}/{said.file.parent.name}/{said.file.name}")
    return row


# Answers


def answers(results: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured, by the keys of the guesses; without those that need networks."""
    corpora, people = results.get("corpora", {}), results.get("fsdd_people", {})
    found: dict[str, float] = {}
    for name, row in corpora.items():
        inside = [
            pair for pair in results["pairs"] if all(f.startswith(f"{name}/") for f in pair[:2])
        ]
        found[f"{name} pairs"] = len(inside)
        found |= {
            f"{name} {key}": row[key] for key in ("clipped", "flat", "cut", "narrow", "offset")
        }
        found[f"{name} zeros"], found[f"{name} short"] = row["zeros"], row["not_a_second"]
        found[f"{name} range"] = row["range_db"]
        judged = JUDGED.get(name, {})
        found[f"{name} labels"] = sum(len(judged.get(kind, ())) for kind in FAULTY)
        found[f"{name} transcripts"] = sum(map(len, judged.values()))
        found[f"{name} empty"] = len(judged.get(EMPTY, ()))
    found["pairs across"] = len(results.get("pairs", ())) - sum(
        found[f"{n} pairs"] for n in corpora
    )
    if digits := results.get("speech_commands_digits"):
        for key in ("labels", "empty"):
            found[f"speech_commands {key}"] *= 100 / digits
    if people:
        ranges = [row["range_db"] for row in people.values()]
        found["fsdd range"] = max(ranges) - min(ranges)
        for key, column in (("narrow", "narrow"), ("offset", "offset"), ("coarse", "coarse")):
            found[f"fsdd {key}"] = sum(row[column] > 50 for row in people.values())
        takes = [abs(row["first_takes_db"]) >= 3 for row in people.values()]
        found["fsdd takes"] = sum(takes)
    if phones := results.get("phones"):
        found["landline"] = phones["landlinephone"] - phones["cellphone"]
    for row in results.get("networks", {}).values():
        if row["split"] == "pooled:xsdr" and row.get("accuracy"):
            for name, accuracy in row["accuracy"].items():
                found[f"{name} gain"] = accuracy["without_faulty"] - accuracy["all"]
    return found


# The page


def table(results: Mapping[str, Any]) -> str:
    """Markdown: corpora, FSDD's people, what is faulty, guesses, where it was measured."""
    if not results.get("corpora"):
        return "Not measured yet: `python -m benchmarks.corpora`."
    parts = [
        summaries("corpus", {NAMES[name]: row for name, row in results["corpora"].items()}),
        summaries("FSDD", results["fsdd_people"]),
        judgements(),
        accuracies(results),
        without_s(results),
        offsets(results),
        verdicts(results["answers"], GUESSES),
    ]
    versions = ", ".join(f"{NAMES[n]} {row['hash'][:12]}" for n, row in results["corpora"].items())
    return "\n\n".join([*parts, f"Data: {versions}. Commit {results['commit']}."])


def summaries(what: str, rows: Mapping[str, Row]) -> str:
    columns = (
        ("recordings", "recordings", "{:,}"),
        ("speakers", "speakers", "{:,}"),
        ("duration, s", "duration_s", "{:.2f}"),
        ("level, dBFS", "level_dbfs", "{:.0f}"),
        ("floor, dBFS", "floor_dbfs", "{:.0f}"),
        ("level over floor, dB", "range_db", "{:.0f}"),
        ("at full scale, %", "full_scale", "{:.1f}"),
        ("clipped, %", "clipped", "{:.1f}"),
        ("flat tops, %", "flat", "{:.1f}"),
        ("cut, %", "cut", "{:.1f}"),
        ("of these at the start, %", "cut_start", "{:.1f}"),
        ("zeros at an end, %", "zeros", "{:.1f}"),
        ("speakers with an offset, %", "offset", "{:.1f}"),
        ("largest offset, % of full scale", "largest_offset", "{:.2%}"),
        ("speakers without the upper band, %", "narrow", "{:.1f}"),
        ("8 bits, %", "coarse", "{:.0f}"),
    )
    lines = [f"| {what} | {' | '.join(name for name, _, _ in columns)} |"]
    lines.append("|---" + "|---:" * len(columns) + "|")
    for name, row in rows.items():
        cells = (form.format(row[key]).rstrip("%") for _, key, form in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judgements() -> str:
    lines = ["| corpus | what was found | files |", "|---|---|---|"]
    for corpus, kinds in JUDGED.items():
        for kind, files in kinds.items():
            listed = ", ".join(f"`{file}`" for file in files)
            lines.append(f"| {NAMES[corpus]} | {kind}: {len(files)} | {listed} |")
    return "\n".join(lines)


def accuracies(results: Mapping[str, Any]) -> str:
    lines = [
        "| network | left out of its training | corpus | clips | accuracy, % | faulty clips "
        "| without them, % |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for name, row in results.get("networks", {}).items():
        for corpus, each in row.get("accuracy", {}).items():
            numbers = f"{each['clips']:,} | {each['all']:.2f} | {each['faulty']}"
            cells = f"{name} | {row['split']} | {NAMES[corpus]} | {numbers}"
            lines.append(f"| {cells} | {each['without_faulty']:.2f} |")
    return "\n".join(lines)


def without_s(results: Mapping[str, Any]) -> str:
    """Say how often FSDD's people's sixes and sevens lack their "s", and who is not recognized."""
    lines = ["| FSDD | 6 without s | 7 without s | 6 wrong with s | 6 wrong without s |"]
    lines.append("|---|---:|---:|---:|---:|")
    asked = (r for r in results.get("networks", {}).values() if r["split"] == "pooled:fsdd")
    wrong = set(next(asked, {"wrong": ()})["wrong"])
    for person in results["fsdd_people"]:
        files = results.get("hissless", {}).get(person, ())
        counts = {digit: sum(f"/{digit}_" in file for file in files) for digit in "67"}
        missed = {f for f in wrong if f"/6_{person}_" in f}
        bare = sum(f in missed for f in files)
        with_s = f"{len(missed) - bare} of {TAKES - counts['6']}"
        cells = f"{counts['6']} of {TAKES} | {counts['7']} of {TAKES} | {with_s}"
        lines.append(f"| {person} | {cells} | {bare} of {counts['6']} |")
    return "\n".join(lines)


def offsets(results: Mapping[str, Any]) -> str:
    if not (row := results.get("offsets")):
        return ""
    return (
        f"Offset: of {row['clips']} recordings with one of {OFFSET:.1%} of full scale or more (of "
        f"nicolas, the first {FIRST_TAKES} takes only), {row['other_digits']} are recognized as "
        "another digit when their mean is taken away; a probability changes by "
        f"{row['largest_change']:.2g} at most."
    )


def verdicts(found: Mapping[str, float], guesses: Sequence[Guess]) -> str:
    """Say which guesses were right, by what was found for their keys."""
    lines = ["| question | guessed before the run | measured | |", "|---|---:|---:|---|"]
    counts = dict.fromkeys(("right", "**wrong**", "not measured"), 0)
    for each in guesses:
        value, verdict = found.get(each.key), "not measured"
        if value is not None:
            verdict = "right" if each.low <= round(value, 2) <= each.high else "**wrong**"
        counts[verdict] += 1
        guess = f"{each.low:g}" if each.low == each.high else f"{each.low:g} to {each.high:g}"
        shown = "" if value is None else f"{value:.3g} {each.unit}"
        lines.append(f"| {each.question} | {guess} {each.unit} | {shown} | {verdict} |")
    said = (
        f"{len(guesses)} questions: {counts['right']} guessed right, {counts['**wrong**']} wrong, "
    )
    return "\n".join([f"{said}{counts['not measured']} not measured.", "", *lines])


def with_table(page: str, results: Mapping[str, Any]) -> str:
    return replace_between(page, MARKER, table(results), PAGE.name)


# The command


def measure(corpora: Iterable[str]) -> Row:
    """Measure corpora, and compare all their recordings with each other."""
    rows = [row for corpus in corpora for row in recordings(corpus)]
    pairs = same_recordings(np.stack([row.loudest for row in rows]))
    results: Row = {"corpora": {}, "fsdd_people": {}}
    for corpus in corpora:
        own = [row for row in rows if row.corpus == corpus]
        read = read_utterances if corpus in UTTERANCES else read_corpus
        results["corpora"][corpus] = summary(own) | {"hash": data_hash(read(corpus))}
    results["pairs"] = [
        [f"{rows[i].corpus}/{rows[i].file}" for i in (a, b)] + [round(correlation, 3)]
        for a, b, correlation in pairs
    ]
    for person, own in by_speaker(row for row in rows if row.corpus == "fsdd").items():
        first = [row.level_dbfs for row in own if int(row.file.split("_")[-1][:-4]) < FIRST_TAKES]
        others = [row.level_dbfs for row in own if int(row.file.split("_")[-1][:-4]) >= FIRST_TAKES]
        difference = float(np.median(first) - np.median(others))
        results["fsdd_people"][person] = summary(own) | {"first_takes_db": difference}
    phones = {row.phone for row in rows if row.phone}
    results["phones"] = {
        phone: float(np.median([row.range_db for row in rows if row.phone == phone]))
        for phone in sorted(phones)
    }
    digits = [row for row in rows if row.corpus == "speech_commands" and row.label in DIGITS]
    results["speech_commands_digits"] = len(digits)
    return results


def ask(networks: Sequence[Path]) -> Row:
    """Ask networks, and find what explains their answers."""
    both = all(map(find_corpus, ("fsdd", "speech_commands")))
    explained = {"hissless": hissless(), "offsets": without_offset()} if both else {}
    return {"networks": recognized(networks), **explained}


def without_offset() -> Row:
    """Recognize recordings that have an offset, by the network that ships, and without it."""
    network, row = DigitNetwork(), {"clips": 0, "other_digits": 0, "largest_change": 0.0}
    own = (clip for clip in read_corpus("fsdd") if clip.speaker == "nicolas")
    first = [clip for clip in own if int(clip.file.stem.split("_")[-1]) < FIRST_TAKES]
    for clip in [*first, *(c for c in read_corpus("speech_commands") if c.label in DIGITS)]:
        samples, rate = read_audio(clip.file)
        if abs(offset := samples.mean(dtype=float)) < OFFSET:
            continue
        likely = []
        for each in (samples, samples - np.float32(offset)):
            scores, _ = network.score(to_clip(each, rate)[None])
            likely.append(np.exp(scores[0, :10]) / np.exp(scores[0, :10]).sum())
        row["clips"] += 1
        row["other_digits"] += int(likely[0].argmax() != likely[1].argmax())
        row["largest_change"] = max(
            row["largest_change"], float(np.abs(np.subtract(*likely)).max())
        )
    return row


def publish(results: Row) -> None:
    """Write results and page."""
    results["answers"] = answers(results)
    write_json(RESULTS, results)
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())


def main() -> int:
    """Measure, and write results and page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpora", description=(__doc__ or "").partition("\n")[0]
    )
    text = "networks that did not learn from some of the recordings; without them, as before"
    parser.add_argument("--networks", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    text = "keep what was measured of recordings, and ask the networks alone"
    parser.add_argument("--keep", action="store_true", help=text)
    parser.add_argument("--page", action="store_true", help="write the page again, nothing else")
    arguments = parser.parse_args()
    asked = {} if arguments.page else ask(arguments.networks)
    found = {} if arguments.page or arguments.keep else measure(list(filter(find_corpus, NAMES)))
    results = read_results(RESULTS)  # as it is now: two parts may be measured side by side
    networks = results.get("networks", {}) | asked.get("networks", {})
    if not arguments.page:
        results |= (
            found
            | asked
            | {
                "benchmark": "corpora",
                "command": "python -m benchmarks.corpora --networks ...",
                "commit": commit(),
                "guesses": [[each.key, each.low, each.high] for each in GUESSES],
                "networks": dict(sorted(networks.items())),
            }
        )
    publish(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
