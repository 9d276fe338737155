"""Prepared clips on disk: made in one pass over the recordings, and read clip by clip.

They lie in shards of `CLIPS_PER_SHARD` clips, of two files each, the second of which finishes it:

======================  ============================================================================
``<key>-<shard>.npy``   samples of its clips end to end, int16, without zeros before and behind them
``<key>-<shard>.csv``   a row for each clip: `_COLUMNS`
======================  ============================================================================

The key names the recordings' paths and the code that cuts clips. A clip is what `audio.to_clip`
makes of a recording, stored as integers k: it is k * scale - mean. A recording of 16 bit at 8 kHz
comes back to the last bit: scale is 2**-15, and mean what `to_clip` took off. Of any other one,
scale is the clip's peak / 32767, and no sample is off by more than half of that: 96 dB below the
peak.

Samples are read with the file's own calls and not mapped into memory: pages of a mapped file count
as memory of the process, and after an epoch all of them would be there.

Shapes: N clips, L samples of one of them.
"""

import csv
import hashlib
import io
import os
import re
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spoken_digits import audio, channels, reading
from spoken_digits.audio import SAMPLE_RATE, AudioError, AudioWarning, cut_clip, read_audio
from spoken_digits.lab.data.corpora import Clip, CorpusError
from spoken_digits.lab.data.parallel import map_in_order
from spoken_digits.lab.runs import whole_file
from spoken_digits.reading import NO_HEADER

__all__ = ["CLIPS_PER_SHARD", "PreparedSamples", "note_checksums", "prepare_samples"]

CLIPS_PER_SHARD = 4096  # what a kill loses at most; half a minute of one core
_FULL_SCALE = 2**15
_SAMPLE = np.dtype("<i2")
_COLUMNS = (
    *("file", "label", "speaker", "corpus"),
    *("samples", "before", "stored", "scale", "mean", "crc32"),  # how the clip lies in the .npy
    *("bytes", "modified_ns", "changed_ns", "sha256"),  # of the recording
)
_SETTLED_NS = 10**9  # a file may be written twice with one time, but not at times so far apart


class PreparedSamples:
    """All samples of prepared clips, end to end at 8 kHz; a slice of them is read when asked for.

    Attributes
    ----------
    lengths, starts
        Samples of each clip, and where it begins: (N,) int64.
    """

    def __init__(self, shards: "Sequence[_Shard]", rows: "Sequence[_Rows]") -> None:
        self._files = [shard.array for shard in shards]
        self._rows = _Rows(*(np.concatenate(column) for column in zip(*rows, strict=True)))
        self.lengths = self._rows.samples
        self.starts = np.cumsum(self.lengths) - self.lengths
        self._length = int(self.lengths.sum())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        """Return samples, float32; of each clip that lies in the slice, all are read.

        Raises
        ------
        CorpusError
            When a file is missing or damaged.
        """
        start, stop, _ = part.indices(len(self))
        if start >= stop:
            return np.empty(0, np.float32)
        first, last = np.searchsorted(self.starts, (start, stop - 1), side="right") - 1
        clips = [self._read(row) for row in range(int(first), int(last) + 1)]
        offset = int(self.starts[first])
        whole = clips[0] if len(clips) == 1 else np.concatenate(clips)
        return whole[start - offset : stop - offset]

    def _read(self, row: int) -> NDArray[np.float32]:
        """Read one clip: (L,)."""
        rows, file = self._rows, self._files[row // CLIPS_PER_SHARD]
        before, count = int(rows.before[row]), int(rows.stored[row])
        try:
            with file.open("rb", buffering=0) as stream:
                stream.seek(int(rows.position[row]))
                content = stream.read(count * _SAMPLE.itemsize)
        except FileNotFoundError:
            raise CorpusError(f"{file}: missing; start again, and it is made anew") from None
        if zlib.crc32(content) != rows.crc32[row]:
            raise CorpusError(
                f"{file}: damaged (clip {row % CLIPS_PER_SHARD}, by its CRC-32); delete it and "
                "start again: it is made anew"
            )
        clip = np.zeros(int(rows.samples[row]), np.float32)
        integers = np.frombuffer(content, _SAMPLE).astype(np.float32)
        clip[before : before + count] = integers * rows.scale[row] - rows.mean[row]
        return clip


def prepare_samples(
    clips: Sequence[Clip], folder: Path, workers: int | None = None
) -> PreparedSamples:
    """Read every recording once, or take what earlier calls left in `folder`.

    Shards that are there are kept if size and times of their recordings are the same, or else
    their contents. The bytes of a shard do not depend on `workers`, nor on where earlier calls were
    killed. Checksums of the recordings are found on the way, and kept with the clips.

    Parameters
    ----------
    clips
        Recordings to prepare: N, one or more.
    folder
        Where the shards are kept.
    workers
        Processes; by default as many as cores.

    Raises
    ------
    AudioError
        When a recording cannot be read; shards before it are kept.
    CorpusError
        When a worker was killed.
    """
    shards = _shards(clips, folder)
    found = [shard.read() for shard in shards]
    missing = [shard for shard, rows in zip(shards, found, strict=True) if rows is None]
    if missing:
        _tell_of_old_files(folder)
        paths = [clip.path for shard in missing for clip in shard.clips]
        with tqdm(desc="prepare", total=len(paths), unit=" clips", disable=None) as bar:
            encoded = map_in_order(_encode, paths, workers)
            for shard in missing:
                shard.write(_counted(islice(encoded, len(shard.clips)), bar))
        found = [
            shard.read() if rows is None else rows
            for shard, rows in zip(shards, found, strict=True)
        ]
    for shard, rows in zip(shards, found, strict=True):
        if rows is None:
            raise CorpusError(
                f"{shard.array}: its recordings changed while they were being prepared; expected "
                "them to stay as they are: start again"
            )
    return PreparedSamples(shards, [rows for rows in found if rows is not None])


def note_checksums(clips: Sequence[Clip], folder: Path) -> None:
    """Take the checksums of recordings that are prepared already, so that none is read for it."""
    for shard in _shards(clips, folder):
        shard.read()


def _shards(clips: Sequence[Clip], folder: Path) -> "list[_Shard]":
    key = _key(clips)
    return [
        _Shard(folder / f"{key}-{number:04}.npy", clips[start : start + CLIPS_PER_SHARD])
        for number, start in enumerate(range(0, len(clips), CLIPS_PER_SHARD))
    ]


def _key(clips: Sequence[Clip]) -> str:
    key = hashlib.sha256()
    for module in (audio, channels, reading):
        key.update(Path(str(module.__file__)).read_bytes())
    for clip in clips:
        key.update(os.fsencode(clip.path) + b"\n")
    return key.hexdigest()[:16]


def _tell_of_old_files(folder: Path) -> None:
    """Name files of earlier versions, which kept all samples in one array of float32."""
    old = [file.name for file in folder.glob("*.npy") if re.fullmatch("[0-9a-f]{16}", file.stem)]
    if old:
        print(
            f"{folder}: {', '.join(old)}: prepared by an earlier version, not used any more; "
            "delete them, and the .csv files of the same names",
            file=sys.stderr,
        )


def _counted(encoded: "Iterator[_Encoded]", bar: tqdm) -> "Iterator[_Encoded]":
    for each in encoded:
        yield each
        bar.update()


# Recordings


class _Recording(io.BytesIO):
    """A recording's bytes, with the name that messages call it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Encoded(NamedTuple):
    """A clip as it is stored, and the recording that it was made of."""

    samples: int  # L
    before: int  # zeros, of these
    content: bytes  # then int16 samples
    scale: np.float32
    mean: np.float32
    state: tuple[int, int, int]  # of the recording: size, times of its content and its entry
    sha256: bytes


def _encode(path: str) -> _Encoded:
    """Read a recording, once, and make its clip."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123, making a Path takes longer
            state = _state(os.fstat(file.fileno()))
            content = file.read()
    except OSError:
        read_audio(path)  # says what is wrong
        raise
    try:
        with warnings.catch_warnings():  # that it has none is how a corpus is published
            warnings.filterwarnings("ignore", f".*{NO_HEADER}", AudioWarning)
            samples, sample_rate = read_audio(_Recording(content, path))
        clip, *_ = cut_clip(samples, sample_rate, path)
    except AudioError as error:
        raise AudioError(
            f"{error}; 'spoken-digits corpus check' names all such recordings: mend them, or move "
            "them out of the corpus"
        ) from error
    taken_off = samples.mean(dtype=np.float64) if sample_rate == SAMPLE_RATE else None
    before, integers, scale, mean = _to_integers(clip, taken_off)
    return _Encoded(
        samples=len(clip),
        before=before,
        content=integers.tobytes(),
        scale=scale,
        mean=mean,
        state=state,
        sha256=hashlib.sha256(content).digest(),
    )


def _to_integers(
    clip: NDArray[np.float32], taken_off: np.float64 | None
) -> tuple[int, NDArray[np.int16], np.float32, np.float32]:
    """Return how many zeros a clip (L,) begins with, then integers, their scale and mean.

    `taken_off` is the mean that samples at 8 kHz had; they may be of 16 bit. None of any others.
    """
    sounding = clip != 0
    before = int(sounding.argmax())
    sound = clip[before : len(clip) - int(sounding[::-1].argmax())]
    if taken_off is not None:
        scale, mean = np.float32(1 / _FULL_SCALE), np.float32(taken_off)
        whole = np.rint((sound + mean) / scale)
        if whole.min() >= -_FULL_SCALE and whole.max() < _FULL_SCALE:
            integers = whole.astype(_SAMPLE)
            if np.array_equal(integers.astype(np.float32) * scale - mean, sound):
                return before, integers, scale, mean
    largest = _FULL_SCALE - 1
    scale = np.float32(np.abs(sound).max() / largest)
    integers = np.rint(sound / scale).clip(-largest, largest).astype(_SAMPLE)
    return before, integers, scale, np.float32(0)


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


# Shards


class _Rows(NamedTuple):
    """How the clips of a shard, or of all of them, lie in the arrays: (N,) each."""

    samples: NDArray[np.int64]
    before: NDArray[np.int32]
    stored: NDArray[np.int32]
    position: NDArray[np.int64]  # bytes, in the shard's file
    scale: NDArray[np.float32]
    mean: NDArray[np.float32]
    crc32: NDArray[np.uint32]


class _Shard:
    """The two files of one shard."""

    def __init__(self, array: Path, clips: Sequence[Clip]) -> None:
        self.array, self.clips = array, clips
        self.table = array.with_suffix(".csv")

    def write(self, encoded: Iterator[_Encoded]) -> None:
        """Write the shard, whole or not at all."""
        content, rows = bytearray(), []
        for clip, each in zip(self.clips, encoded, strict=True):
            clip.note_checksum(each.sha256)
            content += each.content
            rows.append(
                (
                    *(clip.name, clip.label, clip.speaker, clip.corpus),
                    *(each.samples, each.before, len(each.content) // _SAMPLE.itemsize),
                    *(float(each.scale), float(each.mean), zlib.crc32(each.content)),
                    *(*each.state, each.sha256.hex()),
                )
            )
        # Two processes may prepare the same corpus at once: each writes its own file, the last
        # rename wins, and both hold the same bytes.
        with whole_file(self.array) as part, part.open("wb") as binary:
            np.save(binary, np.frombuffer(content, _SAMPLE))
        with whole_file(self.table) as part, part.open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(rows)

    def read(self) -> _Rows | None:
        """Read the table; return None where the shard is to be made, or to be made anew."""
        if not (self.table.exists() and self.array.exists()):
            return None
        try:
            written_ns = self.table.stat().st_mtime_ns
            with self.table.open(newline="", encoding="utf-8") as text:
                rows = list(csv.DictReader(text))
            array = np.load(self.array, mmap_mode="r")
            stored = np.array([row["stored"] for row in rows], np.int32)
            ends = _SAMPLE.itemsize * np.cumsum(stored, dtype=np.int64)
            if array.dtype != _SAMPLE or array.shape != (stored.sum(),):
                raise ValueError(f"{array.shape} {array.dtype}")
            found = _Rows(
                samples=np.array([row["samples"] for row in rows], np.int64),
                before=np.array([row["before"] for row in rows], np.int32),
                stored=stored,
                position=array.offset + ends - _SAMPLE.itemsize * stored,
                scale=np.array([row["scale"] for row in rows], np.float32),
                mean=np.array([row["mean"] for row in rows], np.float32),
                crc32=np.array([row["crc32"] for row in rows], np.uint32),
            )
            if not all(
                _is_current(clip, row, written_ns)
                for clip, row in zip(self.clips, rows, strict=True)
            ):
                return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error) as error:
            print(f"{self.array}: damaged ({error}); it is made anew", file=sys.stderr)
            return None
        return found


def _is_current(clip: Clip, row: dict[str, str], written_ns: int) -> bool:
    """Return whether a recording is still the one that a row was made of; note its checksum."""
    checksum = bytes.fromhex(row["sha256"])
    try:
        state = _state(os.stat(clip.path))  # noqa: PTH116, making a Path takes longer
    except OSError:
        return False  # reading it says why
    noted = (int(row["bytes"]), int(row["modified_ns"]), int(row["changed_ns"]))
    if state == noted and max(state[1:]) < written_ns - _SETTLED_NS:
        clip.note_checksum(checksum)
        return True
    return clip.checksum == checksum.hex()
