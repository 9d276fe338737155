"""Validation of recordings and corpora: unreadable files, silence, clipping, duplicates, labels.

Shapes: L samples.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import (
    MAX_DURATION_S,
    SAMPLE_RATE,
    AudioError,
    Encoding,
    open_audio,
)
from spoken_digits.lab.data.acoustics import Acoustics, Spoken, describe, remark
from spoken_digits.lab.data.corpora import (
    CORPORA,
    DIGITS,
    Clip,
    Fault,
    describe_left_out,
    find_left_out,
    holds,
)
from spoken_digits.lab.data.parallel import map_in_order
from spoken_digits.lab.data.utterances import MAX_UTTERANCE_S, Content, TranscribedUtterance

__all__ = [
    "Problem",
    "SoundCheck",
    "Summary",
    "UtteranceSummary",
    "check_corpus",
    "check_files",
    "check_recording",
    "check_utterances",
    "summarize_corpus",
    "summarize_utterances",
]

SILENCE_DBFS = -50.0  # a clip without a frame of this level holds hardly any speech
FRAME_S = 0.03
FULL_SCALE = 0.99  # 127/128, the largest 8-bit sample, counts as full scale
CLIPPED_RUN = 3  # clipped: so many samples in a row at full scale, and ...
CLIPPED_FRACTION = 1e-3  # ... this fraction of all; a peak at full scale alone has fewer
RARE_FRACTION = 0.1  # of the most frequent label's clips: a label with fewer is reported


@dataclass(frozen=True)
class SoundCheck:
    """What was found in one recording.

    Attributes
    ----------
    sample_rate
        In Hz; None if the file cannot be read.
    content
        SHA-256 of sample rate and samples; b"" if the file cannot be read.
    problems
        Pairs of kind (unreadable, truncated, header, channels, silence or clipping) and detail.
    acoustics
        None if the file cannot be read.
    """

    sample_rate: int | None
    content: bytes
    problems: tuple[tuple[str, str], ...]
    acoustics: Acoustics | None = None


@dataclass(frozen=True)
class Problem:
    """A problem of a corpus; `file` is None where it concerns the corpus as a whole.

    `kind` is unreadable, truncated, header, rate, channels, silence, clipping, duplicate, labels,
    name, files or transcript; with the latter, `file` is the table of the transcripts. Those that
    are not `severe` are remarks on the sound of all recordings: cut, offset or bandwidth.
    """

    file: Path | None
    kind: str
    detail: str
    severe: bool = True


@dataclass(frozen=True)
class Summary:
    """Counts of a corpus, and seconds of audio in the files whose header can be read."""

    clips: int
    speakers: int
    labels: dict[str, int]
    duration_s: float

    def __str__(self) -> str:
        return (
            f"{self.clips:,} clips, {self.speakers:,} speakers, {len(self.labels)} labels, "
            f"{self.duration_s / 60:.1f} minutes"
        )


@dataclass(frozen=True)
class UtteranceSummary:
    """Counts of transcribed utterances, by what they hold, and seconds of audio in them."""

    utterances: int
    speakers: int
    contents: dict[Content, int]
    duration_s: float

    def __str__(self) -> str:
        return (
            f"{self.utterances:,} utterances, {self.speakers:,} speakers, "
            f"{self.duration_s / 60:.1f} minutes: {self.contents['digits']:,} digit strings, "
            f"{self.contents['mixed']:,} with digits among other words, "
            f"{self.contents['none']:,} without a digit"
        )


def check_recording(
    file: Path, encoding: Encoding | None = None, *, max_duration_s: float = MAX_DURATION_S
) -> SoundCheck:
    """Read a whole recording and return its problems; an unreadable file is one, not an error.

    `encoding` is that of a recording without a header.
    """
    try:
        with open_audio(file, encoding=encoding, max_duration_s=max_duration_s) as recording:
            samples = recording.read()
    except AudioError as error:
        detail = str(error).removeprefix(f"{file}: ")
        kind = "truncated" if detail.startswith("truncated") else "unreadable"
        return SoundCheck(None, b"", ((kind, detail),))
    sample_rate = int(recording.sample_rate)  # a file states a whole number
    problems = [("header", each.removeprefix(f"{file}: ")) for each in recording.warnings]
    problems += _sound_problems(samples, sample_rate)
    if (count := recording.channel_count) > 1:
        taken = ", ".join(map(str, recording.channels))
        mixed = "they" if len(recording.channels) == count else f"of these, {taken}"
        fate = f"{mixed} will be averaged" if len(recording.channels) > 1 else f"{taken} is taken"
        problems.append(("channels", f"{count} channels, expected 1 ({fate})"))
    content = hashlib.sha256(sample_rate.to_bytes(4) + samples.tobytes()).digest()
    return SoundCheck(sample_rate, content, tuple(problems), describe(samples, sample_rate))


def _sound_problems(
    samples: npt.NDArray[np.float32], sample_rate: int
) -> Iterator[tuple[str, str]]:
    """Yield kind and detail of the problems of (L,) samples, L > 0, full scale 1."""
    frame = min(len(samples), round(FRAME_S * sample_rate))
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    loudest_dbfs = 10 * np.log10(np.square(frames).mean(axis=1).max() + 1e-12)
    if loudest_dbfs < SILENCE_DBFS:
        yield "silence", f"nowhere louder than {loudest_dbfs:.0f} dBFS"
    full = np.abs(samples) >= FULL_SCALE
    edges = np.flatnonzero(np.diff(full, prepend=False, append=False))
    longest = (edges[1::2] - edges[::2]).max(initial=0)
    if longest >= CLIPPED_RUN and full.mean() >= CLIPPED_FRACTION:
        yield "clipping", f"{longest} samples in a row at full scale, {full.mean():.2%} of the clip"


def summarize_corpus(clips: Iterable[Clip]) -> Summary:
    """Count clips, speakers and labels, and sum the durations that the headers state."""
    clips = tuple(clips)
    duration_s = 0.0
    for clip in clips:
        try:
            with open_audio(clip.file) as recording:
                duration_s += recording.duration_s or len(recording.read()) / recording.sample_rate
        except AudioError:
            continue  # check_corpus names it
    labels = Counter(clip.label for clip in clips)
    speakers = {clip.speaker for clip in clips}
    return Summary(len(clips), len(speakers), dict(sorted(labels.items())), duration_s)


def summarize_utterances(utterances: Iterable[TranscribedUtterance]) -> UtteranceSummary:
    """Count utterances, speakers and contents, and sum the durations that the headers state."""
    utterances = tuple(utterances)
    counts = Counter(each.content for each in utterances)
    duration_s = 0.0
    for each in utterances:
        try:
            duration_s += each.duration_s
        except (OSError, sf.LibsndfileError):
            continue  # check_utterances names it
    speakers = {each.speaker for each in utterances}
    contents: dict[Content, int] = {content: counts[content] for content in get_args(Content)}
    return UtteranceSummary(len(utterances), len(speakers), contents, duration_s)


def check_corpus(clips: Iterable[Clip], faults: Iterable[Fault] = ()) -> tuple[Problem, ...]:
    """Read every clip and return all problems: of files, of sample rates, of labels, of sound.

    `faults` are those that `corpora.scan_corpus` found; they come before what is said of sound.
    """
    clips = tuple(clips)
    paths = [clip.path for clip in clips]
    sounds: list[Acoustics | None] = []
    checks = zip(paths, _noting(map_in_order(_check_path, paths), sounds), strict=True)
    problems = (*_check_recordings(checks), *_check_labels(clips), *map(_problem, faults))
    return (*problems, *_remarks([clip.speaker for clip in clips], sounds, "clips"))


def _problem(fault: Fault) -> Problem:
    return Problem(fault.file, fault.kind, fault.detail)


def _check_path(path: str) -> SoundCheck:
    return check_recording(Path(path))


def check_utterances(
    utterances: Iterable[TranscribedUtterance], faults: Iterable[Fault] = ()
) -> tuple[Problem, ...]:
    """Read every utterance; return all problems: of files, of rates, of transcripts, of sound.

    `faults` are those that `utterances.scan_utterances` found.
    """
    utterances = tuple(utterances)
    found = (
        check_recording(each.file, each.encoding, max_duration_s=MAX_UTTERANCE_S)
        for each in utterances
    )
    sounds: list[Acoustics | None] = []
    paths = (str(each.file) for each in utterances)
    problems = _check_recordings(zip(paths, _noting(found, sounds), strict=True))
    speakers = [each.speaker for each in utterances]
    return (*problems, *map(_problem, faults), *_remarks(speakers, sounds, "utterances"))


def _noting(checks: Iterable[SoundCheck], sounds: list[Acoustics | None]) -> Iterator[SoundCheck]:
    """Yield what is given, and note how each recording sounds."""
    for check in checks:
        sounds.append(check.acoustics)
        yield check


def _remarks(
    speakers: Iterable[str], sounds: Iterable[Acoustics | None], noun: str
) -> Iterator[Problem]:
    pairs = zip(speakers, sounds, strict=True)
    spoken = [Spoken(speaker, sound) for speaker, sound in pairs if sound is not None]
    return (Problem(None, kind, detail, severe=False) for kind, detail in remark(spoken, noun))


def _check_recordings(checks: Iterable[tuple[str, SoundCheck]]) -> list[Problem]:
    problems: list[Problem] = []
    sample_rates: dict[str, int] = {}
    first_with: dict[bytes, str] = {}
    for path, check in checks:
        problems += [Problem(Path(path), kind, detail) for kind, detail in check.problems]
        if check.sample_rate is None:
            continue
        sample_rates[path] = check.sample_rate
        if (other := first_with.setdefault(check.content, path)) != path:
            problems.append(Problem(Path(path), "duplicate", f"the same samples as {other}"))
    return [*problems, *_check_rates(sample_rates)]


def _check_rates(sample_rates: dict[str, int]) -> Iterator[Problem]:
    usual = Counter(sample_rates.values()).most_common(1)[0][0] if sample_rates else 0
    for path, rate in sample_rates.items():
        if rate != usual:
            detail = f"{rate:,} Hz, most clips have {usual:,} Hz"
            yield Problem(Path(path), "rate", detail)
        elif rate < SAMPLE_RATE:
            detail = f"{rate:,} Hz, expected {SAMPLE_RATE:,} Hz or more"
            yield Problem(Path(path), "rate", detail)


def _check_labels(clips: tuple[Clip, ...]) -> Iterator[Problem]:
    counts = Counter(clip.label for clip in clips)
    maximum = max(counts.values(), default=0)
    for digit in DIGITS if set(DIGITS) & set(counts) else ():  # else: custom words
        if digit not in counts:
            yield Problem(None, "labels", f"no clip of {digit}")
    for label, count in sorted(counts.items()):
        if count < RARE_FRACTION * maximum:
            detail = f"{count:,} clips of {label}, others have up to {maximum:,}"
            yield Problem(None, "labels", detail)
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts):
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    for alike in spellings.values():
        if len(alike) > 1:
            detail = (
                f"{' and '.join(alike)} are {len(alike)} labels; expected one spelling of a word"
            )
            yield Problem(None, "labels", detail)


def check_files(name_or_path: str | Path) -> tuple[Problem, ...]:
    """Return, as one problem, the files of a folder of one's own that are not read."""
    folder = Path(name_or_path)
    is_own = name_or_path not in CORPORA and folder.is_dir()
    if not is_own or any(holds(folder, corpus) for corpus in CORPORA.values()):
        return ()
    left_out = find_left_out(folder)
    return (Problem(None, "files", describe_left_out(folder, left_out)),) if left_out else ()
