"""Where the sound of an encoded file lies: what decoders take on trust, or do not look for.

libsndfile believes a header's length, reads the first of chained streams only, and reads a
truncated file silently up to where it ends. So containers are walked here first, without decoding:
`find_parts` gives the parts that are to be decoded one after the other, as views of the file whose
headers say what is true.
"""

import io
import itertools
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Literal

__all__ = ["AudioError", "Layout", "Pcm", "Piece", "View", "find_parts", "has_header"]

Order = Literal["little", "big"]
Piece = bytes | tuple[int, int]  # bytes as they are, or from where to where of a file

_HEADER_BYTES = 44  # of a plain WAV: what a recorder counts as sound by mistake
_STREAMED = 0x7F00_0000  # what is written to a pipe declares this and more, in 32 bits
_WINDOW_BYTES = 1 << 18
_MAX_POSITION = 1 << 62  # of a view; libsndfile takes no more than 63 bits
_MAX_LEAD_BYTES = 1 << 16  # before an MP3's first frame

# Formats of chunks: identifier and size; the chunk that holds the sound.
_CHUNKED: dict[tuple[bytes, bytes], tuple[bytes, Order]] = {
    (b"RIFF", b"WAVE"): (b"data", "little"),
    (b"RIFX", b"WAVE"): (b"data", "big"),
    (b"RF64", b"WAVE"): (b"data", "little"),
    (b"BW64", b"WAVE"): (b"data", "little"),
    (b"FORM", b"AIFF"): (b"SSND", "big"),
    (b"FORM", b"AIFC"): (b"SSND", "big"),
    (b"FORM", b"8SVX"): (b"BODY", "big"),
    (b"FORM", b"16SV"): (b"BODY", "big"),
}
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_VOC = b"Creative Voice File\x1a"
_MAGICS = (_W64_RIFF, _VOC, b"caff", b".snd", b"dns.", b"NIST_1A", b"OggS", b"fLaC", b"ID3")
# Of NIST SPHERE: the fields of its header whose product is the sound's size.
_SPHERE_SOUND = (b"sample_count", b"sample_n_bytes", b"channel_count")
_SPHERE_SIZES = re.compile(rb"^(\w+) -i (\d+)\s*$", re.MULTILINE)
# What libsndfile prints about, instead of refusing it silently: a MIDI sample dump, and what begins
# as MPEG audio and holds no frame of it.
_NOISY = re.compile(rb"\xf0\x7e|\xff[\xe0-\xff]|ID3")
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # with the block that comes first, of 34 bytes

# Of formats that PyAV reads.
_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_MP4_BOXES = (*_MP4_FIRST, b"moof", b"mfra", b"sidx", b"meta", b"uuid", b"udta")
_EBML, _SEGMENT, _CLUSTER = (bytes.fromhex(each) for each in ("1a45dfa3", "18538067", "1f43b675"))
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_AMR = {  # bytes of a frame by its type: 3GPP TS 26.101 and 26.201
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 7, 6, 6, 1, 1, 1, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}

# MPEG audio: kbit/s by (MPEG 1?, layer), from index 1 on; Hz of MPEG 1, halved in 2, again in 2.5.
_MPEG_KBITS: dict[tuple[bool, int], tuple[int, ...]] = {
    (True, 1): tuple(range(32, 449, 32)),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44_100, 48_000, 32_000)
# What begins the header of a frame, less the values that are reserved.
_MPEG_SYNC = re.compile(
    rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]["
    + b"".join(re.escape(bytes([x])) for x in range(0x10, 0xF0) if x & 12 != 12)
    + b"]"
)
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what may follow the sound
_OGG_FIRST, _OGG_LAST = 2, 4  # flags of a page


class AudioError(ValueError):
    """A recording that cannot be read; the message says which, what was expected, the remedy."""


@dataclass(frozen=True)
class Pcm:
    """Samples of 16 bits, as they are: no decoder is needed.

    Attributes
    ----------
    sample_rate, channels : int
        The rate in Hz.
    start, stop : int
        Where in the file they lie.
    """

    sample_rate: int
    channels: int
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """What a walk through a file found.

    Attributes
    ----------
    parts : tuple of tuple of Piece
        The streams in the file, each of pieces; libsndfile reads each as a file of its own.
    warnings : tuple of str
        What is odd about the file, and does not hinder reading.
    missing : str
        What the file lacks, "" where it is whole.
    pcm : Pcm, optional
        The one part, where it is a WAV of 16 bits.
    """

    parts: tuple[tuple[Piece, ...], ...]
    warnings: tuple[str, ...] = ()
    missing: str = ""
    pcm: Pcm | None = None


class View(io.RawIOBase):
    """Pieces of a file, one after the other, as a file: with nothing of its name, and no writing.

    Parameters
    ----------
    stream : BinaryIO
        May be shared with other views, but not with other threads.
    pieces : sequence of Piece
    """

    def __init__(self, stream: BinaryIO, pieces: tuple[Piece, ...]) -> None:
        self._stream = stream
        self._pieces: list[tuple[int, int, Piece]] = []  # from where to where of the view
        end = 0
        for piece in pieces:
            begin = end
            end += len(piece) if isinstance(piece, bytes) else max(0, piece[1] - piece[0])
            if end > begin:
                self._pieces.append((begin, end, piece))
        self._size, self._position, self._current = end, 0, 0

    def readable(self) -> bool:
        """Tell that it is."""
        return True

    def seekable(self) -> bool:
        """Tell that it is."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; nothing before the first byte, which a broken header may ask for."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(0, base + offset), _MAX_POSITION)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the view goes."""
        target, done = memoryview(buffer).cast("B"), 0
        while done < len(target) and (found := self._find()):
            begin, end, piece = found
            count = min(len(target) - done, end - self._position)
            skipped = self._position - begin
            if isinstance(piece, bytes):
                target[done : done + count] = piece[skipped : skipped + count]
            else:
                self._stream.seek(piece[0] + skipped)
                content = self._stream.read(count)
                if not content:  # the file became shorter
                    break
                count = len(content)
                target[done : done + count] = content
            done += count
            self._position += count
        return done

    def _find(self) -> tuple[int, int, Piece] | None:
        """Find the piece at the position; the last one is tried first."""
        if not self._pieces or self._position >= self._size:
            return None
        if self._pieces[self._current][0] > self._position:
            self._current = 0
        while self._pieces[self._current][1] <= self._position:
            self._current += 1
        return self._pieces[self._current]


def find_parts(stream: BinaryIO, start: int, size: int) -> Layout:
    """Walk through the file from `start` to `size`; nothing of it is held.

    A format that is not known here is one part, as it is.
    """
    file = _Window(stream, size)
    lead = start
    while size_id3 := _id3_size(file, lead):  # libsndfile skips one itself, if it has the file
        lead += size_id3
    for read in (_read_chunks, _read_w64, _read_caf, _read_au, _read_sphere):
        if sound := read(file, lead):
            layout = _layout(file, lead, sound)
            if sound.is_mpeg and len(layout.parts) == 1:
                end = sound.start + min(sound.declared or file.size, file.size - sound.start)
                inner = _walk_mpeg(_Window(stream, end), sound.start) or layout
                return Layout(inner.parts, layout.warnings + inner.warnings, inner.missing)
            return layout
    if file.at(lead, len(_VOC)) == _VOC:
        return _walk_voc(file, lead)
    if file.at(lead, 4) == b"OggS":
        return _walk_ogg(file, lead)
    if _FLAC.match(file.at(lead, 8)):
        starts = [*file.find(_FLAC, lead), size]
        return Layout(tuple(((a, b),) for a, b in itertools.pairwise(starts)))
    for walk in (_walk_mp4, _walk_matroska, _walk_asf, _walk_amr, _walk_adts, _walk_mpeg):
        found = walk(file, lead)
        if found and (found.parts or found.missing):  # of MPEG there may be no whole frame
            return found
    is_noisy = _NOISY.match(file.at(lead, 3))
    return Layout(((),) if is_noisy else (((lead, size),),))


def has_header(stream: BinaryIO, start: int) -> bool:
    """Return whether a file begins as one of a container known here, other than MP3."""
    stream.seek(start)
    head = stream.read(len(_VOC))
    magics = (*_MAGICS, _EBML, _ASF_HEADER, *_AMR, *{kind for kind, _ in _CHUNKED})
    return head.startswith(magics) or head[4:8] == b"ftyp"


class _Window:
    """Random access to a file through one window of it."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size
        self._start, self._content = 0, b""

    def at(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes, at most those of a window, from this position on."""
        if position >= self.size:
            return b""  # a system may not even seek to where a broken header points
        offset = position - self._start
        if not 0 <= offset <= offset + count <= len(self._content):
            self.stream.seek(position)
            self._start, offset = position, 0
            self._content = self.stream.read(max(count, min(_WINDOW_BYTES, self.size - position)))
        return self._content[offset : offset + count]

    def number(self, position: int, count: int, order: Order) -> int:
        """Return an unsigned number."""
        return int.from_bytes(self.at(position, count), order)

    def find(
        self, pattern: re.Pattern[bytes], start: int, stop: int | None = None
    ) -> Iterator[int]:
        """Yield where a pattern of at most 8 bytes stands from `start` to `stop`."""
        stop = self.size if stop is None else min(stop, self.size)
        while start < stop:
            content = self.at(start, min(_WINDOW_BYTES, stop - start))
            ahead = 0 if start + len(content) >= stop else 7
            yield from (
                start + found.start()
                for found in pattern.finditer(content)
                if found.start() < len(content) - ahead
            )
            start += max(1, len(content) - ahead)


def _id3_size(file: _Window, position: int) -> int:
    """Return the bytes of an ID3v2 tag, 0 where none begins."""
    head = file.at(position, 10)
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
        return 0
    size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return 10 + size + 10 * (head[5] >> 4 & 1)  # a footer


# Formats that declare the size of their sound


@dataclass(frozen=True)
class _Sound:
    """The sound of a file, and what its header says of it.

    Attributes
    ----------
    start : int
        Where it begins.
    declared : int or None
        Its bytes; None where the header leaves them open.
    fields : mapping of int to (int, int)
        By position, where the header declares them: bytes of the field, what it counts besides.
    order : "little" or "big"
        Of the bytes of numbers.
    chunks : bool
        Whether chunks may follow, padded to 2 bytes, of identifier and size.
    miscounted : bool
        Whether recorders are known that declare some bytes too many.
    is_mpeg : bool
        Whether it is frames of MPEG audio.
    pcm : (int, int), optional
        Rate and number of channels of samples of 16 bits, in a WAV of the usual order of bytes.
    """

    start: int
    declared: int | None
    fields: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    order: Order = "little"
    chunks: bool = False
    miscounted: bool = False
    is_mpeg: bool = False
    pcm: tuple[int, int] | None = None

    def lying(self, stop: int) -> Pcm | None:
        """Say where its samples lie, if it is of 16 bits and ends there."""
        return Pcm(*self.pcm, self.start, stop) if self.pcm else None


def _layout(file: _Window, start: int, sound: _Sound) -> Layout:
    present, declared = file.size - sound.start, sound.declared
    if declared == 0 and not (sound.chunks and _are_chunks(file, sound.start, sound.order)):
        declared = None
    if declared is None:
        fields = {
            at: max(0, min(present + besides, 256**width - 1)).to_bytes(width, sound.order)
            for at, (width, besides) in sound.fields.items()
        }
        return Layout((_patched(start, file.size, fields),), pcm=sound.lying(file.size))
    warnings: list[str] = []
    if (lacking := declared - present) > 0:
        header = sound.start - start
        is_header = lacking <= _HEADER_BYTES or lacking in (header, header - 8)
        if not (sound.miscounted and is_header):
            return Layout((), missing=f"{lacking:,} of {declared:,} bytes of sound are missing")
        warnings.append(f"declares {lacking:,} bytes of sound more than it holds; all are read")
    end = sound.start + min(declared, present)
    following = end + (end - start) % 2
    if sound.chunks and not _are_chunks(file, following, sound.order):
        if any(file.at(following, 4) == kind for kind, _ in _CHUNKED):  # another file
            rest = find_parts(file.stream, following, file.size)
            return Layout(
                (((start, following),), *rest.parts), (*warnings, *rest.warnings), rest.missing
            )
        warnings.append(
            f"holds {file.size - end:,} bytes behind the {declared:,} bytes of sound that its "
            "header declares; they are left out"
        )
    return Layout((((start, file.size),),), tuple(warnings), pcm=sound.lying(end))


def _patched(start: int, stop: int, fields: Mapping[int, bytes]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for at, content in sorted(fields.items()):
        pieces += [(start, at), content]
        start = at + len(content)
    return (*pieces, (start, stop))


def _are_chunks(file: _Window, position: int, order: Order) -> bool:
    """Return whether all from here on is chunks, or a tag, or zeros, or nothing."""
    while position < file.size:
        head = file.at(position, 11)
        if head.startswith((*_TAGS, b"ID3")):
            return True
        if len(head) < 8 or not head[:4].isascii() or not head[:4].decode().isprintable():
            rest = file.at(position, _WINDOW_BYTES)
            return not any(rest) and position + len(rest) == file.size
        if head[:4] in {kind for kind, _ in _CHUNKED}:
            return False
        size = int.from_bytes(head[4:8], order)
        position += 8 + size + size % 2
    return position <= file.size + 1


def _read_chunks(file: _Window, start: int) -> _Sound | None:
    """RIFF, RIFX, RF64 and AIFF, SVX."""
    head = file.at(start, 12)
    if (kind := (head[:4], head[8:])) not in _CHUNKED:
        return None
    wanted, order = _CHUNKED[kind]
    wave, long_size, fields, is_mpeg, pcm = kind[1] == b"WAVE", None, {}, False, None
    position = start + 12
    while len(chunk := file.at(position, 8)) == 8:
        declared: int | None = int.from_bytes(chunk[4:], order)
        assert declared is not None
        if chunk[:4] == b"ds64" and kind[0] in (b"RF64", b"BW64"):
            long_size = file.number(position + 16, 8, order)
            fields[position + 16] = (8, 0)
        if chunk[:4] == b"fmt " and wave:
            is_mpeg = file.number(position + 8, 2, order) in (0x50, 0x55)
            pcm = _pcm_format(file.at(position + 8, 16)) if kind[0] == b"RIFF" else None
        if chunk[:4] == wanted:
            fields[position + 4] = (4, 0)
            if long_size is not None and declared == 2**32 - 1:
                declared = long_size or None
                del fields[position + 4]
            elif declared >= _STREAMED and declared > file.size - position - 8:
                declared = None
            start = position + 8
            return _Sound(start, declared, fields, order, True, wave, is_mpeg, pcm)
        position += 8 + declared + declared % 2
    return None


def _pcm_format(chunk: bytes) -> tuple[int, int] | None:
    """Return rate and number of channels of samples of 16 bits, None of others."""
    if len(chunk) < 16:
        return None
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk)
    return (rate, channels) if (tag, bits) == (1, 16) and channels else None


def _read_w64(file: _Window, start: int) -> _Sound | None:
    """Sony Wave64: as RIFF, with identifiers of 16 bytes and sizes of 8 that count all of it."""
    if file.at(start, 16) != _W64_RIFF:
        return None
    position = start + 40
    while len(chunk := file.at(position, 24)) == 24:
        size = int.from_bytes(chunk[16:], "little")
        if chunk[:16] == _W64_DATA:
            declared = size - 24 if 24 < size < 1 << 63 else None
            return _Sound(position + 24, declared, {position + 16: (8, 24)})
        position += max(24, size + -size % 8)
    return None


def _read_caf(file: _Window, start: int) -> _Sound | None:
    if file.at(start, 4) != b"caff":
        return None
    position = start + 8
    while len(chunk := file.at(position, 12)) == 12:
        size = int.from_bytes(chunk[4:], "big", signed=True)
        if chunk[:4] == b"data":
            declared = None if size == -1 else size
            return _Sound(position + 12, declared, {position + 4: (8, 0)}, "big")
        position += 12 + max(0, size)
    return None


def _read_au(file: _Window, start: int) -> _Sound | None:
    if (magic := file.at(start, 4)) not in (b".snd", b"dns."):
        return None
    order: Order = "big" if magic == b".snd" else "little"
    header, declared = file.number(start + 4, 4, order), file.number(start + 8, 4, order)
    is_open = declared in (0, 2**32 - 1)
    return _Sound(start + header, None if is_open else declared, {start + 8: (4, 0)}, order)


def _read_sphere(file: _Window, start: int) -> _Sound | None:
    head = file.at(start, 16)
    length = head[8:].strip()
    if not head.startswith(b"NIST_1A\n") or not length.isdigit():
        return None
    header = file.at(start, min(int(length), _WINDOW_BYTES))
    sizes = dict(_SPHERE_SIZES.findall(header))
    declared = math.prod(int(sizes.get(name, 0)) for name in _SPHERE_SOUND)
    if not declared or b",embedded" in header:  # compressed
        return None
    return _Sound(start + int(length), declared)


def _walk_voc(file: _Window, start: int) -> Layout:
    position = start + file.number(start + 20, 2, "little")
    while kind := file.at(position, 1):
        if kind == b"\0":
            return Layout((((start, file.size),),))
        field, size = position + 1, file.number(position + 1, 3, "little")
        position += 4 + size
        if kind == b"\x09" and file.size - position == 9:  # SoX 14.4.2, and a last block
            fields = {field: (size + 8).to_bytes(3, "little")}
            warning = "declares 8 bytes of sound less than it holds; all are read"
            return Layout((_patched(start, file.size, fields),), (warning,))
        if position > file.size:
            lacking = position - file.size
            return Layout((), missing=f"{lacking:,} of {size:,} bytes of sound are missing")
    return Layout((((start, file.size), b"\0"),))  # libsndfile wants the last block, which is empty


# Formats that libsndfile does not read, and PyAV does: files end to end, and what is missing


def _walk_mp4(file: _Window, start: int) -> Layout | None:
    """MP4, M4A, 3GP, QuickTime: boxes of size and type (ISO 14496-12); the index is one of them."""
    if file.at(start + 4, 4) not in _MP4_FIRST:
        return None
    starts, kinds, position = [start], set[bytes](), start
    while len(head := file.at(position, 16)) >= 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        elif size == 0:  # up to the end
            size = file.size - position
        if size < 8 or not (kind in _MP4_BOXES or (position > start and kind.isalnum())):
            break
        if kind == b"ftyp" and {b"moov", b"mdat"} <= kinds:
            starts.append(position)
            kinds = set()
        kinds.add(kind)
        position += size
        if position > file.size and kind in _MP4_BOXES:
            return _cut(position - file.size, size)
    if not kinds & {b"moov", b"meta"}:  # the latter of pictures
        return Layout((), missing="its index (moov), which is written last, is missing")
    return _end_to_end(starts, file.size)


def _walk_matroska(file: _Window, start: int) -> Layout | None:
    """WebM and Matroska: elements of identifier and size (RFC 8794), the size of some left open."""
    if file.at(start, 4) != _EBML:
        return None
    starts, position = [start], start
    while len(head := file.at(position, 12)) == 12:
        id_bytes = 9 - head[0].bit_length()
        identifier, size_bytes = head[:id_bytes], 9 - head[min(id_bytes, 11)].bit_length()
        if id_bytes > 4 or size_bytes > 8:
            return _end_to_end(starts, file.size, (_damaged(position),))
        if identifier == _EBML and position > start:
            starts.append(position)
        content = position + id_bytes + size_bytes
        field = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big")
        size = field & (1 << 7 * size_bytes) - 1
        is_open = size == (1 << 7 * size_bytes) - 1
        if not is_open and content + size > file.size:
            return _cut(content + size - file.size, size)
        enters = identifier == _SEGMENT or (is_open and identifier == _CLUSTER)
        position = content if enters else content + size
    return _end_to_end(starts, file.size)


def _walk_asf(file: _Window, start: int) -> Layout | None:
    """WMA: objects of identifier and size; those of the sound may be left open."""
    if file.at(start, 16) != _ASF_HEADER:
        return None
    starts, position = [start], start
    while len(head := file.at(position, 24)) == 24:
        size = int.from_bytes(head[16:], "little")
        if head[:16] == _ASF_HEADER and position > start:
            starts.append(position)
        if size < 24 or (head[:16] == _ASF_DATA and size == 50):  # no packets yet: a stream
            break
        position += size
        if position > file.size:
            return _cut(position - file.size, size)
    return _end_to_end(starts, file.size)


def _walk_amr(file: _Window, start: int) -> Layout | None:
    """AMR (RFC 4867, section 5): frames of 20 ms, whose first byte tells their size."""
    sizes: tuple[int, ...] = ()
    starts, position, stop = list[int](), start, start
    while position < file.size:
        head = file.at(position, 9)
        if magic := next((m for m in _AMR if head.startswith(m)), b""):
            starts.append(position)
            sizes, position = _AMR[magic], position + len(magic)
        elif not sizes:
            return None
        else:
            position += sizes[head[0] >> 3 & 15]
        if position <= file.size:
            stop = position
    warnings = ("ends within a frame; 20 ms are lost",) if position > stop else ()
    return _end_to_end(starts, stop, warnings)


def _walk_adts(file: _Window, start: int) -> Layout | None:
    """AAC without a container: frames whose header tells their size (ISO 14496-3, 1.A.2)."""
    count, position = 0, start
    while len(head := file.at(position, 6)) == 6 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        size = int.from_bytes(head[3:], "big") >> 5 & 0x1FFF
        if size < 7:
            break
        if count and position + size > file.size:
            warnings = ("ends within a frame; up to 0.3 s is lost",)
            return Layout((((start, position),),), warnings)
        count, position = count + 1, position + size
    return Layout((((start, file.size),),)) if count > 1 else None


def _cut(lacking: int, size: int) -> Layout:
    return Layout((), missing=f"{lacking:,} of {size:,} bytes are missing")


def _damaged(position: int) -> str:
    return f"is damaged at byte {position:,}; what was said there may be lost"


def _end_to_end(starts: list[int], stop: int, warnings: tuple[str, ...] = ()) -> Layout:
    pairs = itertools.pairwise((*starts, stop))
    return Layout(tuple(((a, b),) for a, b in pairs), warnings)


# Streams: of packets or frames, without a size


def _walk_ogg(file: _Window, start: int) -> Layout:
    """Split chained streams (RFC 3533, section 4); each must have its last page."""
    starts, position, is_head, gaps = [start], start, True, 0
    opened: set[bytes] = set()  # serial numbers of streams that have not ended
    numbers: dict[bytes, int] = {}  # of the next page, by stream
    while position < file.size:
        page = file.at(position, 27)
        if page[:4] != b"OggS" or len(page) < 27:
            again = next(file.find(re.compile(b"OggS"), position + 1), file.size)
            gaps += page[:3] != b"TAG" and any(page)
            position = again
            continue
        flags, serial, number = page[5], page[14:18], int.from_bytes(page[18:22], "little")
        if flags & _OGG_FIRST:
            if not is_head:
                if opened:
                    break
                starts.append(position)
            is_head, numbers[serial] = True, number
            opened.add(serial)
        else:
            is_head = False
        gaps += number != numbers.get(serial, number)
        numbers[serial] = number + 1
        end = position + 27 + page[26] + sum(file.at(position + 27, page[26]))
        if end > file.size:
            break
        if flags & _OGG_LAST:
            opened.discard(serial)
        position = end
    if opened:
        return Layout((), missing="the last page of its stream is missing")
    ends = [*starts[1:], file.size]
    warnings = ("lacks pages in the middle; what was said there is lost",) if gaps else ()
    return Layout(tuple(((a, b),) for a, b in zip(starts, ends, strict=True)), warnings)


@dataclass(frozen=True)
class _Frame:
    """What the header of a frame of MPEG audio says.

    Attributes
    ----------
    size : int
        In bytes.
    samples : int
        Of each channel.
    stream : bytes
        What is the same in all frames of a stream: version, layer, rate, whether it is mono.
    index : int
        Where the index would lie that is in place of sound in the first frame of a stream.
    """

    size: int
    samples: int
    stream: bytes
    index: int


@lru_cache(maxsize=1024)
def _mpeg_frame(header: bytes) -> _Frame | None:
    bits = int.from_bytes(header, "big")
    version, layer = bits >> 19 & 3, 4 - (bits >> 17 & 3)
    kbits, rate = bits >> 12 & 15, bits >> 10 & 3
    if len(header) < 4 or bits >> 21 != 2047 or version == 1 or layer == 4:
        return None
    if kbits in (0, 15) or rate == 3:  # of 0, the size is not known from the header
        return None
    is_mpeg1, is_mono = version == 3, bits >> 6 & 3 == 3
    bit_rate = 1000 * _MPEG_KBITS[is_mpeg1, layer][kbits - 1]
    hz = _MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = bits >> 9 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_mpeg1 else 1152
    slot = 4 if layer == 1 else 1  # bytes, of which a frame's size is a multiple
    size = (samples // 8 // slot * bit_rate // hz + padding) * slot
    side = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    return _Frame(size, samples, bytes([version, layer, rate, is_mono]), 4 + side)


class _Mpeg:
    """A stream of MPEG audio as it is being found: one index at most, then frames."""

    def __init__(self, start: int, header: bytes, frame: _Frame, declared: int | None) -> None:
        self.header, self.frame, self.declared = header, frame, declared
        self.count, self.pieces, self.index = 0, list[tuple[int, int]](), (start, start)

    def add(self, start: int, stop: int) -> None:
        """Take the next frame."""
        self.count += 1
        if self.pieces and self.pieces[-1][1] == start:
            start = self.pieces.pop()[0]
        self.pieces.append((start, stop))

    def part(self) -> tuple[Piece, ...]:
        """Return it with an index that declares its true number of frames."""
        if self.declared == self.count:
            return (self.index, *self.pieces)
        if self.frame.stream[1] != 3:
            return tuple(self.pieces)
        # libmpg123 estimates a length without one, and stops there. The same format as the first
        # frame, 9 or more of 16 bit rates, which has room for it, and no checksum.
        bits = int.from_bytes(self.header, "big") | 1 << 16
        header = (bits & ~(15 << 12) | 9 << 12).to_bytes(4, "big")
        size = _mpeg_frame(header)
        assert size is not None
        content = header.ljust(self.frame.index, b"\0") + b"Xing" + (1).to_bytes(4, "big")
        return ((content + self.count.to_bytes(4, "big")).ljust(size.size, b"\0"), *self.pieces)


def _walk_mpeg(file: _Window, start: int) -> Layout | None:
    """Split streams of MPEG audio end to end; count their frames, and skip tags between."""
    syncs = file.find(_MPEG_SYNC, start, start + _MAX_LEAD_BYTES)
    position = next((at for at in syncs if _is_mpeg(file, at)), file.size)
    if position == file.size:
        return None
    streams: list[_Mpeg] = []
    skipped = sum(map(bool, file.at(start, position - start)))
    incomplete = False
    while position < file.size:
        header = file.at(position, 4)
        frame = _mpeg_frame(header)
        if frame is None:
            tag = _tag_size(file, position)
            after = position + tag
            if not tag:
                syncs = file.find(_MPEG_SYNC, position + 1)
                after = next((at for at in syncs if _is_mpeg(file, at)), file.size)
                skipped += any(file.at(position, min(after - position, _WINDOW_BYTES)))
            position = after
            continue
        end = position + frame.size
        if end > file.size:
            incomplete = True
            break
        last = streams[-1] if streams else None
        index = _mpeg_index(file, position, frame)
        if last is None or index or last.frame.stream != frame.stream:
            streams.append(_Mpeg(position, header, frame, index))
        if index:
            streams[-1].index = (position, end)
        else:
            streams[-1].add(position, end)
        position = end
    warnings = []
    if skipped:
        warnings.append("holds bytes between its MP3 frames that are none; they are left out")
    for stream in streams:
        lacking = (stream.declared or stream.count) - stream.count
        if lacking > 1:
            counts = (stream.count, stream.declared or 0)
            held, wanted = (f"{count * stream.frame.samples:,}" for count in counts)
            return Layout((), tuple(warnings), f"it holds {held} of {wanted} samples")
        if lacking == 1 or (incomplete and stream is streams[-1]):
            warnings.append("ends within an MP3 frame; up to 0.1 s is lost")
        if lacking < 0:
            warnings.append(
                f"declares {stream.declared:,} MP3 frames and holds {stream.count:,}; all are read"
            )
    return Layout(tuple(stream.part() for stream in streams if stream.count), tuple(warnings))


def _is_mpeg(file: _Window, position: int) -> bool:
    """Return whether three frames of one format follow, or fewer up to the end of the file."""
    first = _mpeg_frame(file.at(position, 4))
    frame = first
    for count in range(3):
        if first is None or frame is None or frame.stream != first.stream:
            at_end = position == file.size or file.at(position, 3) == b"TAG"
            return count > 0 and at_end
        position += frame.size
        frame = _mpeg_frame(file.at(position, 4))
    return True


def _mpeg_index(file: _Window, position: int, frame: _Frame) -> int | None:
    """Return the number of frames that a stream's first frame declares, None if it is none."""
    content = file.at(position, min(frame.size, frame.index + 12))
    tag = content[frame.index :]
    if tag[:4] in (b"Xing", b"Info") and tag[7:8] and tag[7] & 1:
        return int.from_bytes(tag[8:12], "big")
    if file.at(position + 36, 4) == b"VBRI":
        return file.number(position + 50, 4, "big")
    return None


def _tag_size(file: _Window, position: int) -> int:
    """Return the bytes of a tag between or behind frames, 0 where there is none."""
    head = file.at(position, 32)
    if head.startswith(b"TAG"):
        return 128
    if head.startswith(b"APETAGEX"):
        return 32 + int.from_bytes(head[12:16], "little")
    if head.startswith(b"LYRICSBEGIN"):
        ends = file.find(re.compile(b"LYRICS(?:END|20)"), position + 11)
        return next(ends, file.size - 9) + 9 - position
    return _id3_size(file, position)
