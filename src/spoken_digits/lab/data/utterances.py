"""Transcribed utterances: recordings of several words, what was said in them, and by whom.

`corpora` reads recordings of single words; these corpora hold digit strings, and speech without
digits, in which a recognizer must report none. The readers follow the published layouts, so that a
local copy, a fetched one and a made-up tree are read alike.

AN4 (Carnegie Mellon University) has a list of recordings and a list of transcripts, line by line,
for its training part and for its test part. The local copy of a part is enough. WUW II has a table.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import Encoding, read_audio
from spoken_digits.lab.data.corpora import (
    CORPORA,
    DIGIT_WORDS,
    CorpusError,
    Fault,
    find_corpus,
    holds,
    not_at_hand,
    raise_severe,
    read_lines,
    read_rows,
)

__all__ = [
    "MAX_UTTERANCE_S",
    "MAX_WORDS_PER_S",
    "WORD_DIGITS",
    "Content",
    "TranscribedUtterance",
    "find_transcribed",
    "is_transcribed",
    "read_samples",
    "read_utterances",
    "scan_utterances",
]

Content = Literal["digits", "mixed", "none"]

# "oh" is 0 wherever it stands: an exclamation cannot be told from a digit by the transcript.
WORD_DIGITS = {word: str(digit) for digit, word in enumerate(DIGIT_WORDS)} | {"oh": "0"}
MAX_UTTERANCE_S = 120.0
MAX_WORDS_PER_S = 8.0  # no one speaks faster: such a transcript belongs to another recording
_AN4_PARTS = {"train": "an4_clstk", "test": "an4test_clstk"}
_AN4_SUFFIXES = (".sph", ".raw")
_AN4_SAMPLE_RATE = 16_000  # Hz, of the headerless variant
_ULAW_8K = Encoding("ulaw", 8_000)
_GENDERS = ("female", "male")
_MARK = re.compile(r"[\[{]+([^\[\]{}]*)[\]}]+")  # [noise], {breath}, [[click] ...
_TAG = re.compile(r"</?[^<>]*>")  # <as> ... </as>
_WORD = re.compile(r"[a-z']*[a-z][a-z']*")


@dataclass(frozen=True)
class TranscribedUtterance:
    """One recording of several words.

    Attributes
    ----------
    file
        The recording; `read_samples` reads it.
    words
        What was said: lower case, without punctuation, in order.
    speaker
        Of AN4 the person, of WUW II the telephone call: the unit of every split.
    corpus
        Name in `corpora.CORPORA`.
    gender
        "female" or "male", None where it is not known.
    part
        Of AN4 "train" or "test", the parts in which it is published; else None.
    start_s, end_s
        Of WUW II: the times that its table gives, in seconds of the recording; None where it gives
        none, or none that lie in the recording.
    background
        Words inside marks, such as names of noises, and what others say in the background.
    native, phone
        Of WUW II: whether English is the speaker's first language, and landlinephone, cellphone or
        speakerphone; else None.
    encoding
        Of a recording without a header, None for others.
    """

    file: Path
    words: tuple[str, ...]
    speaker: str
    corpus: str
    gender: str | None = None
    part: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    background: tuple[str, ...] = ()
    native: bool | None = None
    phone: str | None = None
    encoding: Encoding | None = None

    @property
    def label(self) -> str:
        """The words, as `corpora.data_hash` reads the label of a clip."""
        return " ".join(self.words)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal; read once, when first asked for."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    @cached_property
    def duration_s(self) -> float:
        """Seconds, by the header or the file's size.

        Raises
        ------
        OSError, soundfile.LibsndfileError
            When the file cannot be read.
        """
        if self.encoding:
            size = self.file.stat().st_size
            return size / self.encoding.sample_bytes / self.encoding.sample_rate
        return float(sf.info(self.file).duration)

    @cached_property
    def digits(self) -> str:
        """The digits among the words, in order: "" for none."""
        return "".join(WORD_DIGITS.get(word, "") for word in self.words)

    @cached_property
    def content(self) -> Content:
        """What is said: "digits" alone, digits among other words ("mixed"), or "none".

        A digit that is said in the background alone counts as "mixed": such a recording is no
        example of speech without digits.
        """
        if self.words and len(self.digits) == len(self.words):
            return "digits"
        said = (*self.words, *self.background)
        return "mixed" if any(word in WORD_DIGITS for word in said) else "none"


Scan = Iterator[TranscribedUtterance | Fault]


def read_utterances(
    name_or_path: str | Path, data: Path | str | None = None
) -> tuple[TranscribedUtterance, ...]:
    """Read a corpus of transcribed utterances: ``an4`` or ``wuw2``, or a folder in such a layout.

    Parameters
    ----------
    name_or_path
        Name, or folder.
    data
        Folder of corpora, or the named corpus' folder itself. See `corpora.data_root` for the
        default.

    Returns
    -------
    Sorted by path.

    Raises
    ------
    CorpusError
        When the corpus is not at hand or empty, or a line does not fit its recording.
    """
    utterances, faults = scan_utterances(name_or_path, data)
    raise_severe(faults)
    return utterances


def scan_utterances(
    name_or_path: str | Path, data: Path | str | None = None
) -> tuple[tuple[TranscribedUtterance, ...], tuple[Fault, ...]]:
    """Read what can be read of a corpus, and return all lines that do not fit; see `Fault`.

    Raises
    ------
    CorpusError
        When the corpus is not at hand or empty, or a table has not the columns that it needs.
    """
    name, folder = find_transcribed(name_or_path, data)
    scanned = list(READERS[name](folder))
    utterances = [item for item in scanned if isinstance(item, TranscribedUtterance)]
    faults = tuple(item for item in scanned if isinstance(item, Fault))
    if not utterances and not faults:
        raise CorpusError(f"{folder}: no utterances, expected {CORPORA[name].layout}")
    return tuple(sorted(utterances, key=lambda utterance: utterance.file)), faults


def find_transcribed(name_or_path: str | Path, data: Path | str | None = None) -> tuple[str, Path]:
    """Return name and folder of a corpus of transcribed utterances.

    Raises
    ------
    CorpusError
        When it is not at hand, or is no corpus of this kind.
    """
    if name_or_path in READERS:
        name = str(name_or_path)
        if (folder := find_corpus(name, data)) is None:
            raise CorpusError(not_at_hand(CORPORA[name], data))
        return name, folder
    folder = Path(name_or_path)
    for name in READERS:
        if holds(folder, CORPORA[name]):
            return name, folder
    layouts = ", or ".join(CORPORA[name].layout for name in READERS)
    raise CorpusError(
        f"{name_or_path}: no transcribed utterances; expected {' or '.join(READERS)}, or a folder "
        f"with {layouts}"
    )


def is_transcribed(name_or_path: str | Path) -> bool:
    """Return whether a name, or a folder by its layout, is of such a corpus."""
    return name_or_path in READERS or any(
        holds(Path(name_or_path), CORPORA[name]) for name in READERS
    )


def read_samples(utterance: TranscribedUtterance) -> tuple[npt.NDArray[np.float32], float]:
    """Read an utterance's recording: (L,) float32, full scale 1, and the sample rate in Hz.

    Raises
    ------
    AudioError
        When it cannot be read, or is longer than 120 s.
    """
    return read_audio(utterance.file, encoding=utterance.encoding, max_duration_s=MAX_UTTERANCE_S)


def _read_an4(folder: Path) -> Scan:
    """Read the parts of AN4 that are there."""
    tables = {part: folder / "etc" / f"an4_{part}.transcription" for part in _AN4_PARTS}
    at_hand = {
        part: table
        for part, table in tables.items()
        if (folder / "wav" / _AN4_PARTS[part]).is_dir()
    }
    for part, table in at_hand.items():
        listing = table.with_suffix(".fileids")
        if missing := [str(file) for file in (table, listing) if not file.is_file()]:
            raise CorpusError(f"{' and '.join(missing)}: missing, expected beside the recordings")
        yield from _read_an4_part(folder, part, read_lines(table), read_lines(listing))


def _read_an4_part(folder: Path, part: str, transcripts: list[str], listed: list[str]) -> Scan:
    table = folder / "etc" / f"an4_{part}.transcription"
    if len(transcripts) != len(listed):
        yield Fault(
            table,
            f"{len(transcripts):,} lines, expected {len(listed):,}, one for each line of "
            f"{table.stem}.fileids",
        )
        return
    encoding: Encoding | None = None
    known = set()
    for line, (transcript, path) in enumerate(zip(transcripts, listed, strict=True), 1):
        where = f"line {line:,}"
        found = re.fullmatch(r"(?:<s>\s)?\s*(.*?)\s*(?:</s>)?\s*\((\S+)\)\s*", transcript)
        if not found:
            yield Fault(table, f"{where}: expected '<s> WORDS </s> (utterance)'")
            continue
        where, name = f"{where} ({found[2]})", path.rpartition("/")[2]
        if found[2] != name:
            yield Fault(table, f"{where}: {table.stem}.fileids has {name} there, expected the same")
            continue
        speaker = Path(path).parent.name
        if not re.fullmatch(rf"[a-z]+\d+-{re.escape(speaker)}-b", name) or speaker[0] not in "fm":
            yield Fault(
                table,
                f"{where}: {path}, expected <folder>/<speaker>/<utterance>-<speaker>-b, and "
                "a speaker's name that begins with f or m",
            )
            continue
        stem = folder / "wav" / path
        known.add(name)
        files = [file for suffix in _AN4_SUFFIXES if (file := Path(f"{stem}{suffix}")).is_file()]
        if not files:
            yield Fault(table, f"{where}: no recording {stem}.sph (or .raw)")
            continue
        words = tuple(found[1].lower().split())
        if not words:
            yield Fault(table, f"{where}: no words, expected what was said")
            continue
        if files[0].suffix == ".raw" and encoding is None:
            encoding = Encoding("pcm_16", _AN4_SAMPLE_RATE, _byte_order(files[0]))
        headerless = encoding if files[0].suffix == ".raw" else None
        utterance = TranscribedUtterance(
            file=files[0],
            words=words,
            speaker=speaker,
            corpus="an4",
            gender="female" if speaker.startswith("f") else "male",
            part=part,
            encoding=headerless,
        )
        yield utterance
        if fault := _too_fast(utterance):
            yield Fault(table, f"{where}: {fault}", severe=False)
    recordings = folder.glob(f"wav/{_AN4_PARTS[part]}/*/*")
    for file in sorted(file for file in recordings if file.suffix in _AN4_SUFFIXES):
        if file.stem not in known:
            yield Fault(table, f"no line for {file.relative_to(folder)}", severe=False)


def _read_wuw2(folder: Path) -> Scan:
    """Read WUW II by its table."""
    table = folder / "utterances.tsv"
    if not table.is_file():
        raise CorpusError(f"{table}: missing, expected beside the folder calls")
    columns = ("file", "session", "gender", "dialect", "phone", "start_s", "end_s", "transcript")
    known: dict[str, int] = {}
    for line, row in read_rows(table, columns):
        where = f"line {line:,} ({row['file']})"
        file = folder / row["file"]
        if (first := known.setdefault(row["file"], line)) != line:
            yield Fault(table, f"{where}: on line {first:,} already, expected a row a recording")
            continue
        if not file.is_file():
            yield Fault(table, f"{where}: no such recording, paths are relative to the table")
            continue
        if file.parent.name != row["session"]:
            yield Fault(table, f"{where}: session {row['session']}, expected its folder's name")
            continue
        if row["gender"] not in _GENDERS:
            expected = " or ".join(_GENDERS)
            yield Fault(table, f"{where}: gender {row['gender']!r}, expected {expected}")
            continue
        words, background = _transcript(row["transcript"])
        if not words and not background:
            yield Fault(table, f"{where}: no transcript, expected what was said")
            continue
        try:
            start_s, end_s = float(row["start_s"]), float(row["end_s"])
        except ValueError:
            times = f"{row['start_s']!r} and {row['end_s']!r}"
            yield Fault(table, f"{where}: times {times}, expected seconds")
            continue
        utterance = TranscribedUtterance(
            file=file,
            words=words,
            speaker=row["session"],
            corpus="wuw2",
            gender=row["gender"],
            background=background,
            native=row["dialect"] == "native",
            phone=row["phone"],
            encoding=_ULAW_8K,
        )
        if 0 <= start_s < end_s <= utterance.duration_s:
            utterance = replace(utterance, start_s=start_s, end_s=end_s)
        elif start_s or end_s:  # 0 and 0: not marked
            expected = f"expected start_s < end_s within its {utterance.duration_s:.3f} s"
            yield Fault(table, f"{where}: times {start_s:g} and {end_s:g}, {expected}", False)
        yield utterance
        if fault := _too_fast(utterance):
            yield Fault(table, f"{where}: {fault}", severe=False)
    for file in sorted(folder.glob("calls/*/*.ulaw")):
        if (path := file.relative_to(folder).as_posix()) not in known:
            yield Fault(table, f"no row for {path}", severe=False)


def _transcript(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a transcript's words, and those inside its marks.

    [noise] and {breath} are marks, <as> a tag; ((unclear)) words are words, and so are fragments
    (``vo-``) and what has a sign before it (``^name``, ``*mispronounced``).
    """
    text = _TAG.sub(" ", text.lower().replace("\ufffd", "'"))  # U+FFFD: an apostrophe, miscoded
    background = " ".join(_MARK.findall(text))
    return tuple(_WORD.findall(_MARK.sub(" ", text))), tuple(_WORD.findall(background))


def _too_fast(utterance: TranscribedUtterance) -> str | None:
    try:
        duration_s = utterance.duration_s
    except sf.LibsndfileError:
        return None  # reading it says so
    if len(utterance.words) <= MAX_WORDS_PER_S * duration_s:
        return None
    return (
        f"{len(utterance.words)} words in {duration_s:.2f} s, expected {MAX_WORDS_PER_S:g} in a "
        "second at most"
    )


def _byte_order(file: Path) -> Literal["little", "big"]:
    """Return the byte order of 16-bit samples: in the wrong one, speech is white noise.

    AN4 is published without headers in both orders.
    """
    content = file.read_bytes()
    big, little = (
        np.frombuffer(content, dtype, len(content) // 2).astype(np.float64)
        for dtype in (">i2", "<i2")
    )
    return "little" if np.abs(np.diff(little)).sum() < np.abs(np.diff(big)).sum() else "big"


READERS: dict[str, Callable[[Path], Scan]] = {"an4": _read_an4, "wuw2": _read_wuw2}
