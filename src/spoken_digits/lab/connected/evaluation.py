"""How well a transcriber does on strings of digits, and where there are none.

What it is evaluated on was not trained on: the test speakers of a split of FSDD, a fold of the
people of AN4 and of the calls of WUW II, one in five of the speakers of Speech Commands, words as
well as digits, two noise recordings, and synthesized handling noise.

A transcriber is run once over each recording. Of a `StringNetwork` the outputs are kept, so that
they can be decoded at many thresholds (`at_thresholds`); of anything else there are only the digits
(`decisions_of`).

Shapes: L samples, U steps, C classes. Everything is at 8 kHz.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, SILENCE, resample
from spoken_digits.connected import Stream
from spoken_digits.lab.augmentation.handling import HANDLING_NOISES
from spoken_digits.lab.connected.phrases import make_doubled_phrases
from spoken_digits.lab.connected.strings import (
    LEVEL_RMS,
    DigitString,
    StringStyle,
    make_strings,
    read_words,
    score,
)
from spoken_digits.lab.data.corpora import Clip, CorpusError, read_corpus
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import is_held_out, noise_partition
from spoken_digits.lab.data.splits import SplitError, one_split, utterance_folds
from spoken_digits.lab.data.utterances import (
    READERS,
    TranscribedUtterance,
    read_samples,
    read_utterances,
)
from spoken_digits.lab.evaluation.metrics import poisson_interval, ratio_difference
from spoken_digits.lab.evaluation.schema import (
    Delay,
    ErrorDifference,
    FalseDigits,
    StringsEvaluation,
    StringsResult,
    StringsScore,
    ThresholdCurve,
)
from spoken_digits.lab.tts.kokoro import Kokoro
from spoken_digits.networks import StringNetwork
from spoken_digits.spotting import Decoding, decode_whole

__all__ = [
    "ALL_SPEAKERS",
    "TEST_STYLE",
    "THRESHOLDS",
    "Outputs",
    "Transcribe",
    "Transcribed",
    "TranscriberLike",
    "Trial",
    "at_thresholds",
    "count_false_digits",
    "decisions_of",
    "describe_strings",
    "digit_strings",
    "evaluate_transcriber",
    "evaluation_clips",
    "evaluation_utterances",
    "handling_noise",
    "measure",
    "measure_delays_ms",
    "pool",
    "pool_results",
    "recordings_without_digits",
    "run_network",
    "synthetic_trials",
]

FloatArray = NDArray[np.float32]

# From (L,) samples to the digits transcribed: first as they are decided, then at each threshold of
# a curve, ascending.
Transcribe = Callable[[FloatArray], Sequence[str]]

ALL_SPEAKERS = "all"  # in place of a split: every speaker of FSDD is trained on
TEST_STYLE = StringStyle(min_digits=4, max_digits=7)
STRINGS_PER_SPEAKER = 100
THRESHOLDS = tuple(np.linspace(-6, 10, 33).tolist())  # log-odds
SPLIT_SET = "all of the split"
SPEECH = ("an4", "wuw2")  # continuous speech without digits: judged together, too
SPEECH_SET = "an4 and wuw2"
# Of the recordings that the most frequent digit has: a digit with fewer would repeat its few
# recordings in a tenth of all positions.
_MIN_FRACTION = 0.1
_PAUSE_S = 0.5  # between words that are no digits
_BACKGROUND = 1e-3  # RMS of the noise between words, over that of the words
_CHUNK_S = 0.01  # that a stream is fed at once, when delay is measured
_DELAYED = slice(0, None, 4)  # strings on which delay is measured
_RUN_S = 1.0  # that a network is run on at once
_HANDLING_S = 60.0  # of a piece
_HANDLING_DBFS = (-40.0, -6.0)  # of a piece's peak
# Parts of a set whose digit error rates are compared.
_COMPARED = (("doubled", "not doubled"), ("with oh", "without oh"), ("women", "men"))
_GENDERS = {"female": "women", "male": "men"}


class TranscriberLike(Protocol):
    """Anything that transcribes samples, such as `connected.Transcriber`, or a peer."""

    def __call__(self, samples: FloatArray, sample_rate: float, /) -> "HasDigits":
        """Transcribe (L,) samples."""
        ...


class HasDigits(Protocol):
    """An answer; "" where no digit is found."""

    @property
    def digits(self) -> str:
        """The digits transcribed."""
        ...


class Streaming(Protocol):
    """A transcriber whose delay can be measured."""

    def stream(self) -> Stream:
        """Begin a stream."""
        ...


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network gives for a whole recording: (U, C) log-probabilities and (U, 2) edges."""

    log_p: FloatArray
    edges: FloatArray


@dataclass(frozen=True, eq=False)
class Trial:
    """A string to transcribe, the set that it is of, and the parts of the set, such as "women"."""

    string: DigitString
    name: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transcribed:
    """What was spoken in a trial, and what was transcribed, at each threshold, too."""

    name: str
    parts: tuple[str, ...]
    speaker: str
    reference: str
    transcript: str
    at_thresholds: tuple[str, ...] = ()


# A transcriber, run once over each recording


def run_network(network: StringNetwork, samples: FloatArray) -> Outputs:
    """Run a network over (L,) samples, followed by as much silence as it looks ahead."""
    padded = np.concatenate([samples, network.silence_after(len(samples))])
    at_once = max(1, round(_RUN_S * SAMPLE_RATE / network.block)) * network.block
    state, log_p, edges = network.first_state(), [], []
    for begin in range(0, len(padded), at_once):
        step_log_p, step_edges, state = network.run(padded[begin : begin + at_once], state)
        log_p.append(step_log_p)
        edges.append(step_edges)
    return Outputs(np.concatenate(log_p), np.concatenate(edges))


def at_thresholds(
    network: StringNetwork,
    thresholds: Sequence[float] = THRESHOLDS,
    decoding: Decoding | None = None,
) -> Transcribe:
    """Make of a network what is evaluated, at its own threshold and at each of the others.

    Raises
    ------
    ValueError
        When the thresholds do not ascend.
    """
    if any(b <= a for a, b in pairwise(thresholds)):
        raise ValueError(f"thresholds {list(thresholds)}: expected each above the one before")
    own = decoding or network.decoding

    decodings = [own, *(replace(own, emission_threshold=each) for each in thresholds)]

    def transcribe(samples: FloatArray) -> Sequence[str]:
        outputs = run_network(network, samples)
        return decode_whole(outputs.log_p, outputs.edges, decodings, network.step)

    return transcribe


def decisions_of(transcriber: TranscriberLike) -> Transcribe:
    """Make of any transcriber what is evaluated, without a curve; silence has no digits."""

    def transcribe(samples: FloatArray) -> Sequence[str]:
        if np.abs(samples).max(initial=0) <= SILENCE:
            return ("",)
        return (transcriber(samples, SAMPLE_RATE).digits,)

    return transcribe


# What is transcribed


def evaluation_clips(split: str | None, data: Path | str | None = None) -> tuple[Clip, ...]:
    """Return the digits that test strings are made of, of speakers that were not trained on.

    Those of the split's test speakers; without a split, of the held-out speakers of Speech
    Commands.
    """
    if split and split != ALL_SPEAKERS:
        return one_split(split, read_corpus("fsdd", data)).test
    clips = read_corpus("speech_commands", data)
    return tuple(c for c in clips if is_held_out(c.speaker) and c.label.isdecimal())


def evaluation_utterances(
    name: str, data: Path | str | None = None
) -> tuple[TranscribedUtterance, ...]:
    """Return the utterances of a fold, such as ``an4:0``, or of a whole corpus, such as ``wuw2``.

    Raises
    ------
    CorpusError
        When the corpus is not at hand.
    SplitError
        When there is no such fold.
    """
    corpus, _, fold = name.partition(":")
    utterances = read_utterances(corpus, data)
    if not fold:
        return utterances
    folds = {each.name: each.test for each in utterance_folds(utterances)}
    if name not in folds:
        raise SplitError(f"split {name!r}: no such fold, expected one of {', '.join(folds)}")
    return folds[name]


def _split_names(split: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Divide names with commas between into a split of FSDD and names of utterances."""
    names = [name.strip() for name in split.split(",")] if split else []
    utterances = tuple(name for name in names if name.partition(":")[0] in READERS)
    others = [name for name in names if name not in utterances]
    if len(others) > 1:
        raise SplitError(
            f"split {split!r}: {' and '.join(others)}, expected at most one of FSDD, and folds of "
            f"{' and '.join(READERS)}, such as an4:0"
        )
    return (others[0] if others else None), utterances


def digit_strings(
    split: str | None, data: Path | str | None = None, seed: int = 0
) -> Iterator[Trial]:
    """Yield strings of digits: of AN4's people, of FSDD's speakers, of Speech Commands' crowd.

    Parameters
    ----------
    split
        Names with commas between: a fold of AN4 (or of WUW II, which has hardly a string), and a
        split of FSDD, whose test speakers each get `STRINGS_PER_SPEAKER` strings of their digits.
    data
        Folder of corpora.
    seed
        Key of the strings that are made.

    Raises
    ------
    AudioError
        When a recording cannot be read.
    CorpusError, SplitError
        As `evaluation_clips` and `evaluation_utterances`.
    """
    fsdd_split, names = _split_names(split)
    for utterance in chain.from_iterable(evaluation_utterances(name, data) for name in names):
        if utterance.content == "digits":
            yield _trial_of(utterance)
    if fsdd_split and fsdd_split != ALL_SPEAKERS:
        spoken = read_words(evaluation_clips(fsdd_split, data))
        for speaker in sorted({s.speaker for s in spoken}):
            own = [s for s in spoken if s.speaker == speaker]
            for string in make_strings(own, STRINGS_PER_SPEAKER, TEST_STYLE, seed):
                yield Trial(string, SPLIT_SET, (speaker,))
    for string in _strings_of_crowd(data, seed):
        yield Trial(string, "speech_commands")


def _trial_of(utterance: TranscribedUtterance) -> Trial:
    samples, digits = resample(*read_samples(utterance)), utterance.digits
    parts = [_GENDERS[utterance.gender]] if utterance.gender else []
    parts.append("with oh" if "oh" in utterance.words else "without oh")
    parts.append(_doubled(digits))
    bounds = np.zeros(len(digits), np.int64), np.full(len(digits), len(samples), np.int64)
    string = DigitString(samples, digits, *bounds, utterance.speaker, utterance.corpus)
    return Trial(string, utterance.corpus, tuple(parts))


def _doubled(digits: str) -> str:
    """Whether a digit of a string is said twice or more in a row, as the name of a part."""
    return "doubled" if any(a == b for a, b in pairwise(digits)) else "not doubled"


def _strings_of_crowd(data: Path | str | None, seed: int) -> list[DigitString]:
    """Make strings of digits of all held-out speakers of Speech Commands, who have few each."""
    clips = evaluation_clips(None, data)
    counts = Counter(clip.label for clip in clips)
    min_clips = _MIN_FRACTION * max(counts.values(), default=0)
    crowd = [
        replace(spoken, speaker="crowd")
        for spoken in read_words(clip for clip in clips if counts[clip.label] >= min_clips)
    ]
    return make_strings(crowd, STRINGS_PER_SPEAKER, TEST_STYLE, seed)


def synthetic_trials(
    count: int, cache: Path, seed: int = 0, kokoro: Kokoro | None = None
) -> list[Trial]:
    """Synthesize strings with a doubled or tripled digit, and as many without: see the phrases.

    Raises
    ------
    CorpusError, ImportError
        As `phrases.make_doubled_phrases`.
    """
    phrases = make_doubled_phrases(cache, count, seed, kokoro)
    return [Trial(phrase, "synthetic", (_doubled(phrase.digits),)) for phrase in phrases]


def recordings_without_digits(
    split: str | None,
    data: Path | str | None = None,
    seed: int = 0,
    hours: float = 1.0,
    words: Container[str] | None = None,
    handling_seen: Container[str] = (),
) -> dict[str, Iterable[FloatArray]]:
    """Return recordings in which there is no digit, by set; they are read one after the other.

    Parameters
    ----------
    split
        As of `digit_strings`: of the folds of AN4 and WUW II the utterances without a digit word.
    data
        Folder of corpora.
    seed
        Key of the handling noise.
    hours
        Of each kind of handling noise; 0 for none.
    words
        Other words that were not trained on; None for all.
    handling_seen
        Kinds of handling noise that were trained on: ``rustle, trained on`` is a set of its own.

    Raises
    ------
    CorpusError, SplitError
        As `evaluation_utterances`; when no such word is at hand.
    """
    sets: dict[str, Iterable[FloatArray]] = {}
    for name in _split_names(split)[1]:
        none = (u for u in evaluation_utterances(name, data) if u.content == "none")
        sets[name.partition(":")[0]] = (resample(*read_samples(u)) for u in none)
    sets["other words"] = [_other_words(data, words)]
    for file in noise_partition("pooled:xsdr", data)[1]:
        sets[file.stem] = [read_noise(file)]
    if hours:
        for kind in HANDLING_NOISES:
            name = f"{kind}, trained on" if kind in handling_seen else kind
            sets[name] = handling_noise(kind, hours, seed)
    return sets


def _other_words(data: Path | str | None, words: Container[str] | None) -> FloatArray:
    """Read the words of the held-out speakers of Speech Commands that are no digits: (L,)."""
    clips = [
        clip
        for clip in read_corpus("speech_commands", data)
        if is_held_out(clip.speaker)
        and not clip.label.isdecimal()
        and (words is None or clip.label in words)
    ]
    if not clips:
        raise CorpusError(
            "speech_commands: no other words of the speakers held out, expected some: take the "
            "whole corpus, or all words"
        )
    pause = round(_PAUSE_S * SAMPLE_RATE)
    said = np.concatenate([np.pad(s.samples, (0, pause)) for s in read_words(clips)])
    noise = np.random.default_rng(0).standard_normal(len(said))
    return said + (_BACKGROUND * LEVEL_RMS * noise).astype(np.float32)


def handling_noise(kind: str, hours: float, seed: int = 0) -> Iterator[FloatArray]:
    """Yield a kind of `HANDLING_NOISES` in pieces of a minute, their peaks at -40 to -6 dBFS."""
    total, length = round(hours * 3600 * SAMPLE_RATE), round(_HANDLING_S * SAMPLE_RATE)
    kinds = sorted(HANDLING_NOISES)
    for index, begin in enumerate(range(0, total, length)):
        rng = np.random.default_rng([seed, kinds.index(kind), index])
        gain = np.float32(10 ** (rng.uniform(*_HANDLING_DBFS) / 20))
        yield HANDLING_NOISES[kind](min(length, total - begin), rng) * gain


# Counting


def evaluate_transcriber(
    transcribe: Transcribe,
    split: str | None = None,
    data: Path | str | None = None,
    seed: int = 0,
    *,
    hours: float = 1.0,
    thresholds: Sequence[float] = (),
    streaming: Streaming | None = None,
    words: Container[str] | None = None,
    handling_seen: Container[str] = (),
    extra: Iterable[Trial] = (),
) -> tuple[StringsEvaluation, tuple[Transcribed, ...]]:
    """Evaluate on everything that a split holds out.

    Parameters
    ----------
    transcribe
        `at_thresholds` of a network, or `decisions_of` any transcriber.
    split
        As of `digit_strings`: ``an4:0,wuw2:0,xsdr``.
    data
        Folder of corpora with FSDD and Speech Commands.
    seed
        Key of the strings and noises that are made.
    hours
        Of each kind of handling noise.
    thresholds
        Those that `transcribe` decodes at.
    streaming
        A transcriber on which delay is measured; None measures none.
    words, handling_seen
        As of `recordings_without_digits`.
    extra
        More strings.

    Returns
    -------
    The evaluation, and every string that it rests on.
    """
    trials = [*digit_strings(split, data, seed), *extra]
    quiet = recordings_without_digits(split, data, seed, hours, words, handling_seen)
    evaluation, transcribed = measure(transcribe, trials, quiet, thresholds)
    if streaming:
        delays_ms: list[float] = []
        # Of made strings alone it is known when a digit ends.
        made = [(t, s) for t, s in zip(trials, transcribed, strict=True) if t.name not in READERS]
        for trial, found in made[_DELAYED]:
            if found.transcript == found.reference:
                delays_ms += measure_delays_ms(streaming, trial.string)
        evaluation = replace(evaluation, delay_ms=_summarize_delays(delays_ms))
    return evaluation, transcribed


def measure(
    transcribe: Transcribe,
    trials: Iterable[Trial],
    quiet: Mapping[str, Iterable[FloatArray]],
    thresholds: Sequence[float] = (),
) -> tuple[StringsEvaluation, tuple[Transcribed, ...]]:
    """Count digit errors in strings, and digits in recordings that have none.

    Parameters
    ----------
    transcribe
        Is called once for each recording.
    trials
        The strings.
    quiet
        Recordings without digits, by set.
    thresholds
        Those that `transcribe` decodes at; empty for no curve.

    Raises
    ------
    ValueError
        When `transcribe` decodes at another number of thresholds.
    """
    transcribed = tuple(_transcribe(transcribe, trial, len(thresholds)) for trial in trials)
    names = list(dict.fromkeys(each.name for each in transcribed))
    strings: dict[str, StringsScore] = {}
    differences: dict[str, ErrorDifference] = {}
    for name in names:
        own = [each for each in transcribed if each.name == name]
        parts = list(dict.fromkeys(part for each in own for part in each.parts))
        # A split of FSDD is known by its speakers.
        for part in parts:
            title = part if name == SPLIT_SET else f"{name}, {part}"
            strings[title] = _score([each for each in own if part in each.parts])
        strings[name] = _score(own)
        for part, other in _COMPARED:
            if part in parts and other in parts:
                differences[f"{name}, {part} less {other}"] = _compare(own, part, other)
    false_digits: dict[str, FalseDigits] = {}
    false_at: dict[str, tuple[int, ...]] = {}
    for name, recordings in quiet.items():
        found = [(transcribe(samples), len(samples) / SAMPLE_RATE) for samples in recordings]
        seconds = sum(duration for _, duration in found)
        false_digits[name] = count_false_digits([digits[0] for digits, _ in found], seconds)
        false_at[name] = tuple(
            sum(len(digits[1 + i]) for digits, _ in found) for i in range(len(thresholds))
        )
    curve = None
    if thresholds:
        curve = ThresholdCurve(
            thresholds=tuple(thresholds),
            missed={name: _at_each(transcribed, name, "deletions") for name in names},
            errors={name: _at_each(transcribed, name, "errors") for name in names},
            digits={name: strings[name].digits for name in names},
            false_digits=false_at,
            seconds={name: each.seconds for name, each in false_digits.items()},
        )
    evaluation = StringsEvaluation(strings, None, false_digits, differences, curve)
    return _with_speech_together(evaluation), transcribed


def _transcribe(transcribe: Transcribe, trial: Trial, n_thresholds: int) -> Transcribed:
    string = trial.string
    first, *others = transcribe(string.samples)
    if len(others) != n_thresholds:
        raise ValueError(
            f"{len(others)} transcripts at thresholds, not {n_thresholds}: name the thresholds "
            "that they are of"
        )
    return Transcribed(trial.name, trial.parts, string.speaker, string.digits, first, tuple(others))


def _score(transcribed: Sequence[Transcribed]) -> StringsScore:
    found = score([t.reference for t in transcribed], [t.transcript for t in transcribed])
    return _to_score(
        found.strings,
        found.digits,
        found.insertions,
        found.deletions,
        found.substitutions,
        found.whole,
    )


def _to_score(
    strings: int, digits: int, insertions: int, deletions: int, substitutions: int, whole: int
) -> StringsScore:
    return StringsScore(
        strings,
        digits,
        insertions,
        deletions,
        substitutions,
        whole,
        digit_error=(insertions + deletions + substitutions) / max(digits, 1),
        whole_right=whole / max(strings, 1),
    )


def _errors(found: StringsScore) -> int:
    return found.insertions + found.deletions + found.substitutions


def _at_each(transcribed: Sequence[Transcribed], name: str, what: str) -> tuple[int, ...]:
    """Count deletions, or all errors, of a set at each threshold."""
    own = [each for each in transcribed if each.name == name]
    references = [each.reference for each in own]
    counts = []
    for transcripts in zip(*(each.at_thresholds for each in own), strict=True):
        found = score(references, transcripts)
        deletions = found.deletions
        total = found.insertions + found.deletions + found.substitutions
        counts.append(deletions if what == "deletions" else total)
    return tuple(counts)


def _compare(own: Sequence[Transcribed], part: str, other: str) -> ErrorDifference:
    counts = {}
    for speaker in sorted({each.speaker for each in own}):
        row: list[int] = []
        for side in (part, other):
            said = [each for each in own if each.speaker == speaker and side in each.parts]
            found = _score(said)
            row += [_errors(found), found.digits]
        counts[speaker] = (row[0], row[1], row[2], row[3])
    return _to_difference(counts)


def _to_difference(speakers: dict[str, tuple[int, int, int, int]]) -> ErrorDifference:
    difference, interval = ratio_difference(list(speakers.values()), np.random.default_rng(0))
    return ErrorDifference(difference, interval, speakers)


def count_false_digits(transcripts: Sequence[str], seconds: float) -> FalseDigits:
    """Count digits transcribed from recordings without any, so many seconds in all."""
    found = Counter("".join(transcripts))
    return _to_false_digits(len(transcripts), [found[str(d)] for d in range(10)], seconds)


def _to_false_digits(recordings: int, by_digit: Sequence[int], seconds: float) -> FalseDigits:
    count, hours = sum(by_digit), seconds / 3600
    return FalseDigits(
        recordings,
        tuple(by_digit),
        count,
        seconds,
        per_hour=count / hours,
        interval=poisson_interval(count, hours),
    )


def _with_speech_together(evaluation: StringsEvaluation) -> StringsEvaluation:
    """Add the sum of the corpora of continuous speech, where several were evaluated on."""
    speech = [evaluation.false_digits[name] for name in SPEECH if name in evaluation.false_digits]
    if len(speech) < 2:
        return evaluation
    added = {SPEECH_SET: _add_false_digits(speech)}
    return replace(evaluation, false_digits=evaluation.false_digits | added)


def _add_false_digits(parts: Sequence[FalseDigits]) -> FalseDigits:
    by_digit = np.sum([each.by_digit for each in parts], axis=0).tolist()
    seconds = sum(each.seconds for each in parts)
    return _to_false_digits(sum(each.recordings for each in parts), by_digit, seconds)


def pool(folds: Sequence[StringsEvaluation]) -> StringsEvaluation:
    """Add up the counts of several networks, each evaluated on what it did not see.

    Raises
    ------
    ValueError
        When there is no fold, or curves are at different thresholds.
    """
    if not folds:
        raise ValueError("no folds to pool: expected at least one evaluation")
    strings = {
        name: _to_score(
            *(
                sum(getattr(fold.strings[name], count) for fold in folds if name in fold.strings)
                for count in (
                    "strings", "digits", "insertions", "deletions", "substitutions", "whole"
                )
            )
        )
        for name in _names(fold.strings for fold in folds)
    }  # fmt: skip
    false_digits = {
        name: _add_false_digits(
            [fold.false_digits[name] for fold in folds if name in fold.false_digits]
        )
        for name in _names(fold.false_digits for fold in folds)
    }
    differences = {}
    for name in _names(fold.differences for fold in folds):
        counts: dict[str, tuple[int, int, int, int]] = {}
        for fold in folds:
            if name in fold.differences:
                for speaker, row in fold.differences[name].speakers.items():
                    before = counts.get(speaker, (0, 0, 0, 0))
                    a, b, c, d = (x + y for x, y in zip(before, row, strict=True))
                    counts[speaker] = (a, b, c, d)
        differences[name] = _to_difference(counts)
    delays_ms = [float(v) for fold in folds if fold.delay_ms for v in fold.delay_ms.values]
    curves = [fold.curve for fold in folds if fold.curve]
    return StringsEvaluation(
        strings,
        _summarize_delays(delays_ms),
        false_digits,
        differences,
        _add_curves(curves) if curves else None,
    )


def pool_results(results: Sequence[StringsResult], command: str) -> StringsResult:
    """Add up what `strings score` wrote of each fold, and keep each.

    Raises
    ------
    ValueError
        When there is none, two are of one split, or curves are at different thresholds.
    """
    folds = {str(result.split): result.evaluation for result in results}
    if len(folds) < len(results):
        raise ValueError(
            f"{len(results)} results of {', '.join(folds)}: expected each of another split"
        )
    return StringsResult(
        command=command,
        models={
            f"{result.split}: {name}": model
            for result in results
            for name, model in result.models.items()
        },
        split=None,
        seed=results[0].seed if results else 0,
        evaluation=pool(list(folds.values())),
        folds=folds,
    )


def _add_curves(curves: Sequence[ThresholdCurve]) -> ThresholdCurve:
    if len({curve.thresholds for curve in curves}) > 1:
        raise ValueError("curves at different thresholds: expected the same in every fold")

    def add(parts: Sequence[dict[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(np.sum([part[name] for part in parts if name in part], axis=0).tolist())
            for name in _names(parts)
        }

    digits = _names(curve.digits for curve in curves)
    seconds = _names(curve.seconds for curve in curves)
    return ThresholdCurve(
        curves[0].thresholds,
        missed=add([curve.missed for curve in curves]),
        errors=add([curve.errors for curve in curves]),
        digits={name: sum(curve.digits.get(name, 0) for curve in curves) for name in digits},
        false_digits=add([curve.false_digits for curve in curves]),
        seconds={name: sum(curve.seconds.get(name, 0.0) for curve in curves) for name in seconds},
    )


def _names(parts: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


# Delay


def measure_delays_ms(transcriber: Streaming, string: DigitString) -> list[float]:
    """Feed a string in chunks of 10 ms: the time from each digit's end until it is emitted, in ms.

    Negative where a digit is emitted, as one that may still change, before it has ended.
    """
    chunk = round(_CHUNK_S * SAMPLE_RATE)
    stream = transcriber.stream()
    emitted: list[int] = []  # samples that had been fed
    final = 0
    samples = np.pad(string.samples, (0, SAMPLE_RATE))
    for begin in range(0, len(samples), chunk):
        update = stream.feed(samples[begin : begin + chunk])
        final += len(update.segments)
        while len(emitted) < final + (update.partial is not None):
            emitted.append(begin + chunk)
    pairs = zip(emitted, string.ends, strict=False)
    return [float(1000 * (now - end) / SAMPLE_RATE) for now, end in pairs]


def _summarize_delays(delays_ms: Sequence[float]) -> Delay | None:
    if not delays_ms:
        return None
    return Delay(
        count=len(delays_ms),
        median=float(np.median(delays_ms)),
        p95=float(np.percentile(delays_ms, 95)),
        max=float(np.max(delays_ms)),
        values=tuple(round(each) for each in delays_ms),
    )


# As text


def describe_strings(evaluation: StringsEvaluation) -> str:
    """Format an evaluation as text: strings, differences, false digits, delay, the curve."""
    width = max(map(len, (*evaluation.strings, *evaluation.false_digits)), default=0) + 2
    lines = [
        f"{'strings':{width}}{'number':>8}{'digits':>8}{'error':>9}{'missed':>9}{'whole':>9}",
        *(
            f"{name:{width}}{each.strings:8,}{each.digits:8,}{each.digit_error:9.2%}"
            f"{each.deletions / max(each.digits, 1):9.2%}{each.whole_right:9.1%}"
            for name, each in evaluation.strings.items()
        ),
    ]
    if evaluation.differences:
        lines += ["", "digit error, points, with 95 % intervals over speakers"]
    for name, each in evaluation.differences.items():
        low, high = each.interval
        lines.append(
            f"{name}: {100 * each.difference:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        )
    lines += [
        "",
        f"{'without digits':{width}}{'number':>8}{'hours':>8}{'digits':>8}{'an hour':>9}  95 %",
        *(
            f"{name:{width}}{each.recordings:8,}{each.seconds / 3600:8.3f}{each.count:8,}"
            f"{each.per_hour:9.1f}  {each.interval[0]:.1f} to {each.interval[1]:.1f}"
            for name, each in evaluation.false_digits.items()
        ),
    ]
    if delay := evaluation.delay_ms:
        lines += [
            "",
            f"delay of {delay.count:,} digits, ms: median {delay.median:.0f}, 95th percentile "
            f"{delay.p95:.0f}, largest {delay.max:.0f}",
        ]
    if curve := evaluation.curve:
        columns = [f"missed: {name}" for name in curve.missed]
        columns += [f"an hour: {name}" for name in curve.false_digits]
        lines += ["", "  ".join(["threshold", *columns])]
        for i, threshold in enumerate(curve.thresholds):
            cells = [f"{n[i] / max(curve.digits[k], 1):.2%}" for k, n in curve.missed.items()]
            cells += [
                f"{3600 * n[i] / curve.seconds[k]:.1f}" for k, n in curve.false_digits.items()
            ]
            padded = (f"{c:>{len(column)}}" for c, column in zip(cells, columns, strict=True))
            lines.append("  ".join([f"{threshold:9.2f}", *padded]))
    return "\n".join(lines)
