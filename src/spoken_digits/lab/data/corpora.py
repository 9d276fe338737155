"""Corpora: recordings with their label and speaker; one reader for each layout.

A corpus is a tuple of `Clip` in an order that does not depend on the disk. The readers follow the
published layouts, so that a local copy, a fetched one and a made-up tree are read alike.
"""

import contextlib
import csv
import hashlib
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from spoken_digits.audio import AudioError, read_audio
from spoken_digits.lab.data.download import PATIENCE_S, download, unpack
from spoken_digits.lab.runs import whole_folder
from spoken_digits.spotting import DIGIT_WORDS

__all__ = [
    "CORPORA",
    "DIGITS",
    "DIGIT_WORDS",
    "Clip",
    "Corpus",
    "CorpusError",
    "Fault",
    "best_corpus",
    "data_hash",
    "data_root",
    "data_roots",
    "describe_left_out",
    "fetch_corpus",
    "find_corpus",
    "find_left_out",
    "read_corpus",
    "read_synthetic",
    "scan_corpus",
]

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
# Endings of recordings, also of formats that are not read: one such is to fail, not to be skipped.
SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
    *(".flac", ".voc", ".sph", ".nist", ".svx", ".ogg", ".oga", ".opus", ".mp1", ".mp2", ".mp3"),
    *(".mpga", ".m4a", ".m4b", ".mp4", ".aac", ".ac3", ".wma", ".asf", ".webm", ".weba", ".mka"),
    *(".mkv", ".amr", ".awb", ".3gp", ".3gpp", ".3g2", ".ulaw", ".ul", ".alaw", ".al", ".g711"),
    *(".gsm", ".vox", ".raw", ".pcm"),
)
# Endings of what lies beside recordings and is none, and names of such without an ending.
_DOCUMENTS = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".yaml"),
    *(".yml", ".toml", ".ini", ".pdf", ".doc", ".docx", ".png", ".jpg", ".svg", ".py", ".sh"),
    *(".lab", ".textgrid", ".eaf", ".trs", ".phn", ".wrd", ".ctm", ".srt", ".sha256", ".md5"),
    *(".log", ".ds_store"),
)
_DOCUMENT_NAMES = (
    *("readme", "license", "licence", "copying", "copyright", "notice", "authors", "credits"),
    *("contributors", "changelog", "changes", "citation", "version", "makefile", "md5sums"),
    *("sha1sums", "sha256sums"),
)
OWN_LAYOUT = "<label>/<speaker>_<take>.*"
AUDIOMNIST_SPEAKERS = tuple(f"{number:02}" for number in range(1, 61))
AUDIOMNIST_CLIPS = 500  # of each speaker
# Of the published split, by side; what is on neither list is for training.
SPEECH_COMMANDS_LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}
SHIPPED_VOICES = Path(__file__).parents[2] / "assets" / "voices"
FSDD_MANIFEST = Path(__file__).with_name("fsdd.sha256")
# Engines of synthetic speech, by the prefix of a speaker's name; all other names are espeak-ng's.
ENGINES = {"flite-": "flite-festival", "festival-": "flite-festival", "kokoro-": "kokoro"}
_MANIFEST_DIGITS = 4  # of a file's SHA-256, in hexadecimal


class CorpusError(ValueError):
    """A corpus that is missing, malformed or incomplete; the message names file and remedy."""


@dataclass(frozen=True)
class Fault:
    """What does not fit in a corpus: a file's name, files that are missing, a line of a table.

    Attributes
    ----------
    file
        The file, the folder that lacks files, or the table.
    detail
        What is wrong, and what was expected; of a table which line. Never a transcript's words.
    severe
        Whether it cannot be used: `read_corpus` and `utterances.read_utterances` raise. Others only
        `corpus check` names.
    kind
        ``name``, ``files`` or ``transcript``, as in `validate.Problem`.
    """

    file: Path
    detail: str
    severe: bool = True
    kind: Literal["name", "files", "transcript"] = "transcript"

    def __str__(self) -> str:
        return f"{self.file}{', ' if self.kind == 'transcript' else ': '}{self.detail}"


class _LeanPath:
    """A field of a dataclass: a path, kept as its name and the text of its folder, which is shared.

    A corpus may have a million of them, and a `Path` takes seven times the memory.
    """

    def __get__(self, clip: "Clip | None", owner: type | None = None) -> Path:
        if clip is None:
            raise AttributeError("file")  # there is no default
        return Path(clip.path)

    def __set__(self, clip: "Clip", file: Path) -> None:
        folder, separator, name = os.fspath(file).rpartition(os.sep)
        object.__setattr__(clip, "folder", sys.intern(folder + separator))
        object.__setattr__(clip, "name", name)


@dataclass(frozen=True)
class Clip:
    """One recording of one utterance.

    Attributes
    ----------
    file
        The recording; `path` is its text: `folder`, which ends with a separator, and `name`.
    label
        "0" to "9" for a digit, else the word itself.
    speaker, corpus
        Names; a speaker's is unique within the corpus.
    split
        Side of the split in the corpus' own table (FSDD: TRAIN, DEV or TEST of the original study;
        Speech Commands: training, validation or testing), None without a table.
    """

    if TYPE_CHECKING:
        file: Path
    else:
        file: Path = _LeanPath()
    label: str
    speaker: str
    corpus: str
    split: str | None = None

    folder: ClassVar[str]
    name: ClassVar[str]
    _checksum: ClassVar[bytes | None] = None

    @property
    def path(self) -> str:
        """The text of `file`."""
        return self.folder + self.name

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal; read once, when first asked for."""
        if self._checksum is None:
            self.note_checksum(hashlib.sha256(self.file.read_bytes()).digest())
        assert self._checksum is not None
        return self._checksum.hex()

    def note_checksum(self, sha256: bytes) -> None:
        """Take note of the file's SHA-256, for who has read it anyway."""
        object.__setattr__(self, "_checksum", sha256)


@dataclass(frozen=True)
class Corpus:
    """A published corpus: what it is, how it lies on disk and where it comes from.

    Attributes
    ----------
    name, licence, citation
        As users see them.
    layout
        Paths below its folder, for messages.
    mark
        A glob that matches in its folder and in no other corpus'.
    read
        Returns the clips in a folder, in any order, and what does not fit; None for transcribed
        utterances, which `utterances.read_utterances` reads.
    clips
        How many recordings the published corpus has; None where it is not known.
    url, wanted
        Archive, and the pattern of the files to take from it: its first group is the path below the
        corpus' folder. None for a corpus that cannot be fetched.
    archive_sha256
        SHA-256 of the archive, in hexadecimal, where its publisher names one.
    hash
        `data_hash` of the published corpus; None where it is not known, and only the number of
        recordings and that each can be read are checked.
    manifest
        Table of the published recordings' SHA-256, abbreviated, to name those that differ.
    tables
        Files beside the recordings that belong to the published corpus; paths below its folder.
    """

    name: str
    layout: str
    mark: str
    licence: str
    citation: str
    read: Callable[[Path], "Scan"] | None
    clips: int | None
    url: str | None = None
    wanted: re.Pattern[str] | None = None
    archive_sha256: str | None = None
    hash: str | None = None
    manifest: Path | None = None
    tables: tuple[str, ...] = ()


Scan = Iterable[Clip | Fault]


def data_root(given: Path | str | None = None) -> Path | None:
    """Return the folder of corpora: `given`, else SPOKEN_DIGITS_DATA, else the cache if it exists.

    The cache, where `fetch_corpus` writes to, is SPOKEN_DIGITS_CACHE or ~/.cache/spoken-digits.

    Raises
    ------
    CorpusError
        When `given`, or SPOKEN_DIGITS_DATA, names no folder.
    """
    return next((root for root in data_roots(given) if root.is_dir()), None)


def read_corpus(name_or_path: str | Path, data: Path | str | None = None) -> tuple[Clip, ...]:
    """Read a corpus of `CORPORA` by name, or a custom folder or table by path.

    A folder holds `<label>/<speaker>_<take>.*`, or a published corpus in its layout. A table (.tsv
    or .csv) has the columns file (relative to the table), label, speaker and optionally split. A
    label may be a digit (also 07, 7.0), its word, or any other word. Files that a folder holds
    besides, other than documents, are counted on standard error (`find_left_out` names them).

    Parameters
    ----------
    name_or_path : str or Path
        A name in `CORPORA`, a folder, or a table.
    data : Path or str, optional
        Folder of corpora, or the named corpus' folder itself. See `data_root` for the default.

    Returns
    -------
    tuple of Clip
        N clips, sorted by path.

    Raises
    ------
    CorpusError
        When the corpus is not at hand or empty, or a file or row does not fit the layout.
    """
    clips, faults = scan_corpus(name_or_path, data)
    raise_severe(faults)
    return clips


def scan_corpus(
    name_or_path: str | Path, data: Path | str | None = None
) -> tuple[tuple[Clip, ...], tuple[Fault, ...]]:
    """Read what can be read of a corpus as `read_corpus` does, and return all that does not fit.

    Raises
    ------
    CorpusError
        When the corpus is not at hand or empty, or a row of a table does not fit.
    """
    left_out: tuple[Path, ...] = ()
    if isinstance(name_or_path, str) and name_or_path in CORPORA:
        corpus = CORPORA[name_or_path]
        folder = find_corpus(name_or_path, data)
        if folder is None:
            raise CorpusError(not_at_hand(corpus, data))
        scanned = _scan(corpus, folder)
        expected = corpus.layout
    else:
        path = Path(name_or_path)
        if path.is_dir():
            known = [c for c in CORPORA.values() if c.name != "voices" and holds(path, c)]
            scanned = _scan(known[0], path) if known else _read_folder(path)
            expected = OWN_LAYOUT
            left_out = () if known else find_left_out(path)
        elif path.suffix.lower() in (".tsv", ".csv") and path.is_file():
            scanned = _read_table(path)
            expected = "one row for each recording"
        else:
            raise CorpusError(
                f"{name_or_path}: no such corpus, folder or table; expected one of "
                f"{', '.join(CORPORA)}, a folder {OWN_LAYOUT}, or a .tsv or .csv table"
            )
        folder = path
    clips, faults = _sorted(scanned)
    said = describe_left_out(folder, left_out) if left_out else ""
    if not clips and not faults:
        remedy = said or "check the path"
        raise CorpusError(f"{folder}: no recordings, expected {expected}; {remedy}")
    if said:
        print(f"WARNING: {folder}: {said}", file=sys.stderr)
    return clips, faults


def raise_severe(faults: Iterable[Fault]) -> None:
    """Raise a `CorpusError` of the first fault that is severe, if there is one."""
    if severe := [fault for fault in faults if fault.severe]:
        more = f" (and {len(severe) - 1:,} more: see 'spoken-digits corpus check')"
        raise CorpusError(f"{severe[0]}{more * (len(severe) > 1)}")


def _sorted(scanned: Scan) -> tuple[tuple[Clip, ...], tuple[Fault, ...]]:
    """Part clips, by path, from faults: those of files by path, then what else is wrong."""
    clips: list[Clip] = []
    faults: list[Fault] = []
    for item in scanned:
        (clips if isinstance(item, Clip) else faults).append(item)  # type: ignore[arg-type]
    faults.sort(key=lambda fault: str(fault.file) if fault.kind == "name" else "\U0010ffff")
    return tuple(sorted(clips, key=_by_path)), tuple(faults)


def _by_path(clip: Clip) -> str:
    """Sort as paths are sorted, folder by folder, without making any."""
    return clip.path.replace(os.sep, "\0")


def find_left_out(folder: Path) -> tuple[Path, ...]:
    """Return the files in a folder of one's own that `read_corpus` does not read, sorted.

    Documents, and what is hidden or begins with an underscore, are not among them.
    """
    return tuple(
        sorted(
            file
            for file in folder.rglob("*")
            if not _is_document(file)
            and file.is_file()
            and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
            and not _fits(folder, file)
        )
    )


def describe_left_out(folder: Path, files: Iterable[Path]) -> str:
    """Say how many files are left out, of which endings, and where they would be read."""
    files = list(files)
    counts = Counter(file.suffix.lower() or "no ending" for file in files)
    endings = ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common(5))
    said = f"{len(files):,} files are left out ({endings}), the first {files[0]}"
    misplaced = [file for file in files if file.suffix.lower() in SUFFIXES]
    if misplaced:
        depth = len(misplaced[0].relative_to(folder).parts)
        layouts = {1: "<file>", 3: "<label>/<speaker>/<take>.*"}
        found = layouts.get(depth, "/".join(["<folder>"] * (depth - 1) + ["<file>"]))
        said += (
            f"; they lie as {found}, expected {OWN_LAYOUT}: rename them, or name each in a .tsv "
            "table with the columns file, label and speaker"
        )
    return said


def _is_document(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in _DOCUMENTS if suffix else file.name.lower() in _DOCUMENT_NAMES


def _fits(folder: Path, file: Path) -> bool:
    """Return whether a file lies as `OWN_LAYOUT` has it, and has an ending of recordings."""
    return file.parent.parent == folder and file.suffix.lower() in SUFFIXES


def find_corpus(name: str, data: Path | str | None = None) -> Path | None:
    """Return the folder that holds a corpus of `CORPORA`, or None where it is not at hand.

    Raises
    ------
    CorpusError
        When `data`, or SPOKEN_DIGITS_DATA, names no folder.
    """
    if name == "voices":
        return SHIPPED_VOICES
    candidates = (folder for root in data_roots(data) for folder in (root / name, root))
    return next((folder for folder in candidates if holds(folder, CORPORA[name])), None)


def best_corpus(data: Path | str | None = None) -> tuple[str, tuple[Clip, ...]]:
    """Return name and clips of the best corpus at hand: FSDD, fetched if need be, else "voices".

    Falling back to the synthetic speech that ships is said, with the reason, on standard error.

    Raises
    ------
    CorpusError
        When the corpus at hand is malformed.
    """
    if find_corpus("fsdd", data) is None:
        try:
            fetch_corpus("fsdd", data)
        except CorpusError as error:
            print(
                f"WARNING: FSDD is not at hand ({error}).\n"
                "WARNING: using the SYNTHETIC SPEECH that ships with the package instead: "
                "results on it say little about people.",
                file=sys.stderr,
            )
            return "voices", read_corpus("voices")
    return "fsdd", read_corpus("fsdd", data)


def read_synthetic(folder: Path | str | None = None) -> list[Clip]:
    """Read synthetic speech: corpora ``voices`` of espeak-ng, ``flite-festival`` and ``kokoro``.

    All ship in one folder; the prefix of a speaker's name tells them apart.

    Parameters
    ----------
    folder
        espeak-ng's clips to read instead of those that ship, as `read_corpus` reads a folder.

    Raises
    ------
    CorpusError
        When `folder` is missing, empty or malformed.
    """
    clips: dict[str, list[Clip]] = {"voices": [], "flite-festival": [], "kokoro": []}
    for clip in read_corpus("voices"):
        prefix = clip.speaker.partition("-")[0] + "-"
        corpus = ENGINES.get(prefix, "voices")
        clips[corpus].append(replace(clip, corpus=corpus))
    if folder:
        clips["voices"] = [replace(clip, corpus="voices") for clip in read_corpus(folder)]
    return [clip for own in clips.values() for clip in own]


class Recording(Protocol):
    """What `data_hash` reads of a recording."""

    @property
    def file(self) -> Path:
        """Where it lies."""

    @property
    def label(self) -> str:
        """What is said."""

    @property
    def speaker(self) -> str:
        """Who speaks."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal."""


def data_hash(clips: Iterable[Recording]) -> str:
    """Return one SHA-256 for a set of clips, whatever their order and the folder they lie in.

    It covers each clip's file name, label, speaker and checksum.
    """
    found, separator = hashlib.sha256(), ""
    # Sorted by name first, and only then by the rest: of a million clips no million rows are held.
    for name, same in groupby(sorted(clips, key=_file_name), key=_file_name):
        for row in sorted((name, clip.label, clip.speaker, clip.checksum) for clip in same):
            found.update((separator + "\t".join(row)).encode())
            separator = "\n"
    return found.hexdigest()


def _file_name(recording: Recording) -> str:
    return recording.name if isinstance(recording, Clip) else recording.file.name


def fetch_corpus(
    name: str,
    data: Path | str | None = None,
    *,
    mirror: str | None = None,
    sha256: str | None = None,
    progress: bool | None = None,
    patience_s: float = PATIENCE_S,
) -> Path:
    """Download a published corpus, check it and return its folder.

    Of FSDD the SHA-256 of every recording is checked, of Speech Commands that of the archive; of
    all, that the number of recordings is that of the published corpus and that each can be read
    whole. The corpus appears whole or not at all. An interrupted attempt leaves only `<name>.part`,
    with which the next one continues. A corpus that is there already is checked and not fetched.

    Parameters
    ----------
    name
        A corpus of `CORPORA` that has an address.
    data
        Folder to make `<name>` in; by default the cache, see `data_root`.
    mirror
        Address of the same archive elsewhere, http or https. The proxies that the variables
        ``http_proxy``, ``https_proxy`` and ``no_proxy`` name are used for any address.
    sha256
        Of the archive, in hexadecimal; by default the published one where there is one. Without
        either, it is told on standard error, so that the next copy can be compared with it.
    progress
        Whether to draw a bar on standard error; by default on a terminal only.
    patience_s
        Seconds without an answer or data after which to give up.

    Raises
    ------
    CorpusError
        When the corpus cannot be fetched, or what arrived, or is there, is not the published one.
    """
    corpus = CORPORA.get(name)
    if corpus is None or corpus.url is None or corpus.wanted is None:
        names = ", ".join(c.name for c in CORPORA.values() if c.url)
        why = "no address is known, point SPOKEN_DIGITS_DATA or --data at a copy; " * bool(corpus)
        raise CorpusError(f"{name}: cannot be fetched, {why}expected one of {names}")
    url = mirror or corpus.url
    if not re.match(r"https?://[^/]", url):
        raise CorpusError(
            f"mirror {url!r}: expected an address that begins with http:// or https://"
        )
    expected = (sha256 or corpus.archive_sha256 or "").lower()
    if expected and not re.fullmatch("[0-9a-f]{64}", expected):
        raise CorpusError(
            f"SHA-256 {sha256!r}: expected 64 hexadecimal digits, as sha256sum prints"
        )
    root = Path(data) if data is not None else _cache()
    folder, part = root / name, root / f"{name}.part"
    if holds(folder, corpus):
        if fault := _fault(corpus, folder):
            raise CorpusError(f"{folder}: {fault}; move the folder away and fetch the corpus again")
        part.unlink(missing_ok=True)  # of an attempt that was killed once the corpus was there
        return folder
    by_hand = (
        f"fetch {url} by other means, unpack it as {folder}, "
        "or point SPOKEN_DIGITS_DATA or --data at a copy"
    )
    try:
        download(url, part, patience_s=patience_s, progress=progress)
        with part.open("rb") as archive:
            found = hashlib.file_digest(archive, "sha256").hexdigest()
        if expected and found != expected:
            raise ValueError(f"its SHA-256 is {found}, expected {expected}")
        with whole_folder(folder) as whole:
            unpack(part, whole, corpus.wanted)
            if fault := _fault(corpus, whole):
                raise ValueError(fault)
    except OSError as error:
        raise CorpusError(
            f"{name}: could not be fetched ({error}); try again to continue where it stopped, "
            f"take another address by --mirror, or {by_hand}"
        ) from error
    except ValueError as error:
        part.unlink(missing_ok=True)
        raise CorpusError(
            f"{name}: the download is not the published corpus ({error}); try again from the "
            f"start, take another address by --mirror, or {by_hand}"
        ) from error
    part.unlink()
    if not expected and corpus.hash is None:
        print(
            f"{name}: no SHA-256 is published; that of this archive is {found}: --sha256 compares "
            "another copy with it",
            file=sys.stderr,
        )
    return folder


def _fault(corpus: Corpus, folder: Path) -> str | None:
    """Return how the folder differs from the published corpus, or None; see `fetch_corpus`."""
    clips, faults = _sorted(corpus.read(folder)) if corpus.read else ((), ())
    if severe := [fault for fault in faults if fault.severe]:
        return _below(folder, str(severe[0]))
    files = [clip.file for clip in clips] if corpus.read else sorted(folder.glob(corpus.mark))
    if corpus.clips is not None and len(files) != corpus.clips:
        return f"{len(files):,} recordings, expected {corpus.clips:,}"
    if missing := [table for table in corpus.tables if not (folder / table).is_file()]:
        return f"no {', '.join(missing)}"
    for file in files:
        try:
            read_audio(file)
        except AudioError as error:
            return _below(folder, str(error))
    if corpus.hash is None or data_hash(clips) == corpus.hash:
        return None
    published = _read_manifest(corpus.manifest) if corpus.manifest else {}
    others = [
        clip.file.name
        for clip in clips
        if clip.checksum[:_MANIFEST_DIGITS] != published.get(clip.file.name)
    ]
    which = f"{len(others):,} recordings, the first {others[0]}," if others else "some recordings"
    return f"{which} differ from the published ones by SHA-256"


def _below(folder: Path, message: str) -> str:
    """Name the files of a folder that will have another name by their paths in it."""
    return message.replace(f"{folder}{os.sep}", "")


def _read_manifest(file: Path) -> dict[str, str]:
    """Return the first digits of the SHA-256 of <group>_<take>.wav; a line holds a group."""
    lines = file.read_text(encoding="ascii").splitlines()
    groups = (line.split() for line in lines if not line.startswith("#"))
    return {f"{group}_{k}.wav": digits for group, *row in groups for k, digits in enumerate(row)}


def _cache() -> Path:
    """Return the folder that corpora are fetched to; it may not exist."""
    if named := os.environ.get("SPOKEN_DIGITS_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "spoken-digits"
    except RuntimeError:  # a user without a name and a home, as in containers
        raise CorpusError(
            "no home folder to keep corpora in; expected one: set SPOKEN_DIGITS_CACHE to a folder, "
            "or SPOKEN_DIGITS_DATA or --data to one that holds corpora"
        ) from None


def data_roots(given: Path | str | None) -> tuple[Path, ...]:
    """Return the folders to look for corpora in; one that was named must exist."""
    named = given if given is not None else os.environ.get("SPOKEN_DIGITS_DATA")
    if named and not Path(named).is_dir():
        source = "--data" if given is not None else "SPOKEN_DIGITS_DATA"
        raise CorpusError(f"{named}: no such folder, expected one that holds corpora; see {source}")
    if given is not None:
        return (Path(given),)
    roots = [Path(named)] if named else []
    with contextlib.suppress(CorpusError):  # who wants to fetch a corpus is told
        roots.append(_cache())
    return tuple(roots)


def not_at_hand(corpus: Corpus, data: Path | str | None) -> str:
    """Return the message of a corpus that is missing: where it was expected, and the remedy."""
    places = (
        " or ".join(str(root / corpus.name) for root in data_roots(data)) or "a folder of corpora"
    )
    fetch = f"fetch it with 'spoken-digits corpus fetch {corpus.name}', or " * bool(corpus.url)
    return (
        f"{corpus.name}: not at hand, expected {corpus.layout} in {places}; "
        f"{fetch}point SPOKEN_DIGITS_DATA or --data at a copy"
    )


def _scan(corpus: Corpus, folder: Path) -> Scan:
    """Read a published corpus, whole or a part of it; of the latter, its size is a fault."""
    if corpus.read is None:
        raise CorpusError(
            f"{folder}: {corpus.name} holds transcribed utterances, expected recordings of single "
            "words; read it with spoken_digits.lab.data.utterances.read_utterances"
        )
    count = 0
    for item in corpus.read(folder):
        count += isinstance(item, Clip)
        yield item
    if corpus.clips is not None and count != corpus.clips:
        detail = f"{count:,} recordings, expected {corpus.clips:,}: those of the published corpus"
        yield Fault(folder, f"{detail}{_anew(corpus)}", severe=False, kind="files")


def _anew(corpus: Corpus) -> str:
    fetch = f"; 'spoken-digits corpus fetch {corpus.name}' into an empty folder brings it whole"
    return fetch * bool(corpus.url)


def holds(folder: Path, corpus: Corpus) -> bool:
    """Return whether the folder has recordings in the corpus' layout."""
    return any(folder.glob(corpus.mark))


def _each(files: Iterable[Path], read: Callable[[Path], Clip]) -> Iterator[Clip | Fault]:
    """Read the name of each file; one that does not fit is a fault, and the next one is read."""
    for file in files:
        try:
            yield read(file)
        except CorpusError as error:
            yield Fault(file, str(error), kind="name")


def _digit(label: str) -> str:
    digit = _label(label)
    if digit not in DIGITS:
        raise CorpusError(
            f"label {label!r}, expected 0 to 9 or zero to nine; rename it or leave it out"
        )
    return digit


def _label(word: str) -> str:
    """Return the digit that a label certainly names, or any other word in one Unicode form."""
    word = unicodedata.normalize("NFC", word).strip()
    if number := re.fullmatch(r"0*([0-9])(?:\.0*)?", word):  # 07, 7.0 of a spreadsheet
        return number[1]
    lowered = word.lower()
    return DIGITS[DIGIT_WORDS.index(lowered)] if lowered in DIGIT_WORDS else word


def _parse(file: Path, pattern: str, layout: str) -> dict[str, str]:
    if found := re.fullmatch(pattern, file.stem):
        return {key: sys.intern(text) for key, text in found.groupdict().items()}
    raise CorpusError(f"unexpected name, expected {layout}; rename it or move it away")


def _read_fsdd(folder: Path) -> Scan:
    layout, table = CORPORA["fsdd"].layout, folder / "SDR_metadata.tsv"
    rows = read_rows(table, ("file", "split")) if table.is_file() else ()
    # The table's paths are those of the original study; only the file names are the corpus'.
    sides = {row["file"].rpartition("/")[2]: row["split"] for _, row in rows}

    def read(file: Path) -> Clip:
        name = _parse(file, r"(?P<label>[^_]+)_(?P<speaker>.+)_\d+", layout)
        return Clip(file, _digit(name["label"]), name["speaker"], "fsdd", sides.get(file.name))

    return _each(folder.glob("recordings/[!.]*.wav"), read)


def _read_audiomnist(folder: Path) -> Scan:
    layout = CORPORA["audiomnist"].layout

    def read(file: Path) -> Clip:
        speaker = sys.intern(file.parent.name)
        name = _parse(file, rf"(?P<label>[^_]+)_{re.escape(speaker)}_\d+", layout)
        return Clip(file, _digit(name["label"]), speaker, "audiomnist")

    counts = dict.fromkeys(AUDIOMNIST_SPEAKERS, 0)
    for item in _each(folder.glob("data/[!.]*/[!.]*.wav"), read):
        if isinstance(item, Clip) and item.speaker in counts:
            counts[item.speaker] += 1
        yield item
    if missing := [speaker for speaker, count in counts.items() if not count]:
        detail = f"no recordings of {len(missing)} speakers of 60: {', '.join(missing)}"
        yield Fault(folder / "data", detail, severe=False, kind="files")
    for speaker, count in counts.items():
        if count not in (0, AUDIOMNIST_CLIPS):
            detail = f"{count:,} recordings, expected {AUDIOMNIST_CLIPS}: 50 of each digit"
            yield Fault(folder / "data" / speaker, detail, severe=False, kind="files")


def _read_speech_commands(folder: Path) -> Scan:
    corpus = CORPORA["speech_commands"]
    if missing := [
        name for name in SPEECH_COMMANDS_LISTS.values() if not (folder / name).is_file()
    ]:
        detail = (
            f"no {' and no '.join(missing)}, expected beside the folders of words: without both "
            f"lists no recording is on a side of the published split{_anew(corpus)}"
        )
        yield Fault(folder, detail, severe=False, kind="files")
    sides = {} if missing else _read_lists(folder)
    listed = set(sides)

    def read(file: Path) -> Clip:
        word = file.parent.name
        name = _parse(file, r"(?P<speaker>.+)_nohash_\d+", corpus.layout)
        path = f"{word}/{file.name}"
        listed.discard(path)
        side = None if missing else sides.get(path, "training")
        return Clip(file, sys.intern(_label(word)), name["speaker"], corpus.name, side)

    yield from _each(folder.glob("[!_.]*/[!.]*.wav"), read)
    if listed:
        which = f"{len(listed):,} of the {len(sides):,} recordings on its lists are missing"
        detail = f"{which}, the first {min(listed)}{_anew(corpus)}"
        yield Fault(folder, detail, severe=False, kind="files")


def _read_lists(folder: Path) -> dict[str, str]:
    """Return the side of each recording that is on a list of Speech Commands, by its path."""
    return {
        line.strip(): side
        for side, name in SPEECH_COMMANDS_LISTS.items()
        for line in read_lines(folder / name)
    }


def _read_folder(folder: Path) -> Scan:
    def read(file: Path) -> Clip:
        name = _parse(file, r"(?P<speaker>.+)_[^_]+", OWN_LAYOUT)
        speaker = unicodedata.normalize("NFC", name["speaker"])
        return Clip(file, _label(file.parent.name), speaker, folder.name)

    files = folder.glob("[!_.]*/[!.]*")
    return _each((file for file in files if file.suffix.lower() in SUFFIXES), read)


def _read_table(table: Path) -> Iterator[Clip]:
    lines: dict[Path, int] = {}
    for line, row in read_rows(table, ("file", "label", "speaker")):
        where = f"{table}, line {line}"
        for column in ("file", "label", "speaker"):
            if not row[column]:
                raise CorpusError(f"{where}: no {column}; fill it in or delete the row")
            if any(unicodedata.category(character) == "Cc" for character in row[column]):
                raise CorpusError(
                    f"{where}: {column} {row[column][:100]!r} holds control characters; retype it"
                )
        file = table.parent / row["file"]
        try:
            is_file = file.is_file()
        except OSError:  # a name that is too long, for instance
            is_file = False
        if not is_file:
            shown = f"{str(file)[:200]}{'...' * (len(str(file)) > 200)}"
            raise CorpusError(f"{where}: {shown} does not exist; paths are relative to the table")
        if (first := lines.setdefault(file.resolve(), line)) != line:
            raise CorpusError(f"{where}: {row['file']} is on line {first} already; delete one")
        label, speaker = _label(row["label"]), unicodedata.normalize("NFC", row["speaker"])
        yield Clip(file, label, speaker, table.stem, row.get("split") or None)


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that hold something."""
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file}: no text ({error}), expected UTF-8") from error


def read_rows(table: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and stripped cells of a table that must have the required columns."""
    delimiter, word = ("\t", "tabs") if table.suffix.lower() == ".tsv" else (",", "commas")
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, delimiter=delimiter, restval="", restkey="")
            if missing := [name for name in required if name not in (rows.fieldnames or ())]:
                raise CorpusError(
                    f"{table}: no column {', '.join(missing)}; expected the first line to name "
                    f"{', '.join(required)}, separated by {word}"
                )
            for row in rows:
                yield rows.line_num, {name: str(cell).strip() for name, cell in row.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table}: no text table ({error}); save it as UTF-8") from error


CORPORA: dict[str, Corpus] = {
    "fsdd": Corpus(
        name="fsdd",
        layout="recordings/<digit>_<speaker>_<take>.wav",
        mark="recordings/*.wav",
        licence="CC BY-SA 4.0",
        citation="Z. Jackson and others: Free Spoken Digit Dataset, v1.0.10",
        read=_read_fsdd,
        clips=3_000,
        url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/"
        "v1.0.10.tar.gz",
        # Matches 3,000 names, so 3,000 recordings are all of them.
        wanted=re.compile(
            r"/(recordings/\d_(?:george|jackson|lucas|nicolas|theo|yweweler)_[1-4]?\d\.wav)$"
        ),
        hash="83d8f10c5b42852c1e60791fa03757af350a82d15733ea99e3f17350a7b3cda8",
        manifest=FSDD_MANIFEST,
    ),
    "speech_commands": Corpus(
        name="speech_commands",
        layout="<word>/<speaker>_nohash_<n>.wav",
        mark="*/*_nohash_*.wav",
        licence="CC BY 4.0",
        citation="P. Warden: Speech Commands, v0.02, arXiv:1804.03209",
        read=_read_speech_commands,
        clips=105_829,
        url="http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        wanted=re.compile(
            r"^(?:\./)?((?:[a-z]+|_background_noise_)/\w+\.wav|LICENSE|README\.md"
            r"|(?:validation|testing)_list\.txt)$"
        ),
        # Named by its publisher, Google, in the list of checksums of TensorFlow Datasets.
        archive_sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        tables=tuple(SPEECH_COMMANDS_LISTS.values()),
    ),
    "audiomnist": Corpus(
        name="audiomnist",
        layout="data/<speaker>/<digit>_<speaker>_<take>.wav",
        mark="data/*/*.wav",
        licence="MIT",
        citation="S. Becker and others: AudioMNIST, arXiv:1807.03418",
        read=_read_audiomnist,
        clips=30_000,
        url="https://github.com/soerenab/AudioMNIST/archive/refs/heads/master.tar.gz",
        # Matches 30,000 names of recordings, so 30,000 recordings are all of them.
        wanted=re.compile(
            r"^[^/]+/(data/(0[1-9]|[1-5]\d|60)/\d_\2_[1-4]?\d\.wav|data/audioMNIST_meta\.txt"
            r"|LICENSE)$"
        ),
    ),
    "an4": Corpus(
        name="an4",
        layout="wav/an4_clstk/<speaker>/<utterance>-<speaker>-b.sph and "
        "etc/an4_train.transcription",
        mark="wav/an4*_clstk/*/*-b.[sr][pa][hw]",  # .sph or .raw
        licence="free for any purpose, with its notice (LICENSE)",
        citation="Carnegie Mellon University: AN4 (Census), 1991; A. Acero: Acoustical and "
        "Environmental Robustness in Automatic Speech Recognition, 1993",
        read=None,
        clips=1_078,  # 948 of the training part, 130 of the test part
        # The address that the corpus was published at, www.speech.cs.cmu.edu, is gone.
        url="https://huggingface.co/datasets/espnet/an4/resolve/main/an4_sphere.tar.gz",
        wanted=re.compile(
            r"^(?:\./)?an4/(LICENSE|README|etc/an4_(?:train|test)\.(?:transcription|fileids)"
            r"|wav/an4(?:test)?_clstk/[a-z]+\d*/[a-z]+\d+-[a-z]+\d*-b\.sph)$"
        ),
        tables=(
            *("etc/an4_train.transcription", "etc/an4_train.fileids"),
            *("etc/an4_test.transcription", "etc/an4_test.fileids"),
        ),
    ),
    "wuw2": Corpus(
        name="wuw2",
        layout="calls/<session>/<utterance>.ulaw and utterances.tsv",
        mark="calls/*/*.ulaw",
        licence="CC BY-SA 4.0",
        citation="V. Këpuska and others: WUW corpus II",
        read=None,
        clips=None,
        tables=("utterances.tsv",),
    ),
    "voices": Corpus(
        name="voices",
        layout="<digit>/<speaker>_<take>.flac",
        mark="[0-9]/*.flac",
        licence="as the package: made by its authors with espeak-ng, a program under GPL 3.0 whose "
        "output it does not cover, and with free voices of flite, festival and Kokoro",
        citation="spoken-digits: synthetic speech",
        read=_read_folder,
        clips=1_000,
    ),
}
