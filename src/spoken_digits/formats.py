"""Compressed formats of telephones, messengers and browsers, read by PyAV: FFmpeg's libraries.

What libsndfile declines comes here. PyAV is the optional extra `formats`; it is imported when such
a file is opened, and not before. Shapes: L samples, C channels.
"""

import itertools
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.channels import MAX_CHANNELS
from spoken_digits.containers import AudioError

__all__ = ["Decoder", "open_compressed"]

FloatArray = NDArray[np.float32]

INSTALL = 'pip install "spoken-digits[formats]"'

# Demuxers of FFmpeg that are used. Others open further files that a recording names (playlists), or
# take anything for sound (raw formats).
_DEMUXERS = (
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dss", "eac3", "flac", "flv"),
    *("loas", "matroska", "mov", "mp3", "mpegts", "nistsphere", "ogg", "qcp", "tta", "voc", "w64"),
    *("wav", "wv"),
)
# Their first samples are no encoder's delay. FFmpeg drops two blocks of any WMA, of which its own
# encoder adds but one; of ALAC in CAF, whose last block is short, it drops the missing part again.
_WITHOUT_DELAY = ("wmav1", "wmav2", "alac")
# FFmpeg's own decoders of AMR stop where a recorder saved bits in a pause (DTX); OpenCORE's do not.
_DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
_SKIP_MANUAL = 1 << 29  # AV_CODEC_FLAG2_SKIP_MANUAL
_TYPES = {"dbl": "f8", "flt": "f4", "s32": "i4", "s16": "i2", "u8": "u1"}
_MAX_PADDING = 2  # blocks of an AAC encoder behind the sound
_MAGIC_BYTES = 4_096
_MAGICS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb".{4}(ftyp|moov|mdat|wide|free|skip)", "MP4, M4A, 3GP or QuickTime"),
        (rb"\x1a\x45\xdf\xa3", "WebM or Matroska"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA or WMV"),
        (rb"#!AMR", "AMR"),
        (rb"OggS.{24,279}\x7fFLAC", "FLAC in Ogg"),
        (rb"OggS.{24,279}Speex ", "Speex in Ogg"),
        (rb"caff.{16}(?!lpcm|alaw|ulaw)", "CAF with compressed sound"),
        (rb"NIST_1A\n.*,embedded-", "NIST SPHERE with compressed sound"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", "AAC without a container (ADTS)"),
        (rb"\x0b\x77", "AC-3"),
        (rb"wvpk", "WavPack"),
        (rb"TTA1", "True Audio"),
        (rb"MAC ", "Monkey's Audio"),
        (rb"\x02dss|\x03ds2", "DSS, of a dictation machine"),
        (rb"RIFF.{4}QLCM", "QCP"),
        (rb"FLV\x01", "Flash video"),
        (rb"RIFF.{4}AVI ", "AVI"),
        (rb"\x47.{187}\x47", "MPEG transport stream"),
    )
)
# Codecs of WAV by the tag of its header; those that libsndfile reads are not among them.
_WAV_CODECS = {
    **{0x14: "G.723", 0x20: "Yamaha ADPCM", 0x28F: "G.722", 0x40: "G.726", 0x45: "G.726"},
    **{0x57: "AMR", 0x58: "AMR", 0x64: "G.726", 0x65: "G.722", 0x111: "G.723.1", 0xFF: "AAC"},
    **{0x160: "WMA", 0x161: "WMA", 0x162: "WMA", 0x1610: "AAC", 0x2000: "AC-3", 0xF1AC: "FLAC"},
    **{0x4143: "AAC", 0x706D: "AAC", 0x566F: "Vorbis", 0x704F: "Opus", 0xA106: "AAC"},
}


def open_compressed(file: IO[bytes], name: str, warnings: list[str]) -> "Decoder | None":
    """Open a file that libsndfile declines; None where it is not known here either.

    Parameters
    ----------
    file
        From its first byte on; it is read while blocks are taken.
    name
        As messages call it.
    warnings
        What is odd about the file is appended, also while blocks are taken.

    Raises
    ------
    AudioError
        When the format is known, and PyAV is missing or cannot read the file.
    """
    file.seek(0)
    kind = _kind(file.read(_MAGIC_BYTES))
    file.seek(0)
    try:
        import av  # noqa: F401
    except ImportError:
        if kind is None:
            return None
        raise AudioError(
            f"{name}: {kind}, which is not read without PyAV; expected WAV, FLAC, OGG, MP3 or "
            f"AIFF: {INSTALL}, or convert it"
        ) from None
    try:
        return Decoder(file, name, warnings)
    except _DeclinedError as error:
        if kind is None:
            return None
        raise AudioError(
            f"{name}: {kind}, which cannot be read ({error}); expected a whole file with sound: "
            "copy it again, or convert it (ffmpeg -i FILE FILE.flac)"
        ) from None


def _kind(head: bytes) -> str | None:
    """Name the format of a file by its first bytes."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        at = head.find(b"fmt ", 12)
        tag = int.from_bytes(head[at + 8 : at + 10], "little") if at >= 0 else 0
        return f"WAV with {_WAV_CODECS[tag]}" if tag in _WAV_CODECS else None
    return next((kind for pattern, kind in _MAGICS if pattern.match(head)), None)


class _DeclinedError(Exception):
    """FFmpeg knows no sound in a file."""


class Decoder:
    """The sound of a file, taken block by block, with the names of `soundfile.SoundFile`.

    Attributes
    ----------
    samplerate : int
        In Hz, of what is decoded: of Opus always 48,000.
    channels : int
    subtype : str
        The codec, as FFmpeg calls it.
    frames : int
        More than a file can hold: what a header declares is not relied on.
    """

    frames = 1 << 63

    def __init__(self, file: IO[bytes], name: str, warnings: list[str]) -> None:
        import av  # late: it takes a quarter of a second

        self._name, self._warnings, self._error = name, warnings, av.FFmpegError
        options = {"format_whitelist": ",".join(_DEMUXERS), "protocol_whitelist": "none"}
        try:
            self._file = av.open(file, "r", container_options=options, metadata_errors="replace")
        except av.FFmpegError as error:
            raise _DeclinedError(error.strerror) from None
        try:
            tracks = self._file.streams.audio
            if not tracks:
                raise _DeclinedError("it holds no sound")
            if len(tracks) > 1:
                self._warn(f"holds {len(tracks)} tracks of sound; the first is taken")
            self._track: Any = tracks[0]
            self._codec: Any = self._track.codec_context
            if self._codec is None:
                raise _DeclinedError("no decoder of its sound is known")
            self.subtype: str = self._codec.name
            if (other := _DECODERS.get(self.subtype)) in av.codecs_available:
                self._codec = av.CodecContext.create(other, "r")
                self._codec.sample_rate = self._track.codec_context.sample_rate
                self._codec.layout = self._track.codec_context.layout
            self._codec.thread_count = 1
            if self.subtype in _WITHOUT_DELAY:
                self._codec.flags2 |= _SKIP_MANUAL
            self.samplerate, self.channels = 0, 0
            blocks = self._decode()
            first = next(blocks, None)
            if first is None:
                raise _DeclinedError("it holds no sound that can be decoded")
            self._blocks = self._trim(itertools.chain((first,), blocks))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what FFmpeg holds; the file itself stays open."""
        self._file.close()

    def read(self, count: int, **_: object) -> FloatArray:
        """Return the next samples, (L, C), a block more than `count` at most; none at the end."""
        parts, length = [np.empty((0, self.channels), np.float32)], 0
        while length < count and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            length += len(block)
        return np.concatenate(parts)

    def _warn(self, text: str) -> None:
        if (warning := f"{self._name}: {text}") not in self._warnings:  # channels: read twice
            self._warnings.append(warning)

    def _decode(self) -> Iterator[FloatArray]:
        """Yield (L, C) blocks as FFmpeg decodes them."""
        length, damaged = 0, False
        try:
            packets = self._file.demux(self._track)
            for frame in itertools.chain.from_iterable(map(self._codec.decode, packets)):
                count = len(frame.layout.channels)
                if not self.samplerate:  # that of the header may be half of it, in HE-AAC
                    self.samplerate, self.channels = frame.sample_rate, count
                if (frame.sample_rate, count) != (self.samplerate, self.channels):
                    raise AudioError(
                        f"{self._name}: changes from {self.samplerate:,} Hz and {self.channels} "
                        f"channels to {frame.sample_rate:,} Hz and {count} after "
                        f"{length / self.samplerate:.1f} s; expected one rate: split it"
                    )
                if frame.is_corrupt and not damaged:
                    damaged = True
                    at = f"{length / self.samplerate:.1f} s"
                    self._warn(f"is damaged at {at}; what was said there may be lost")
                if count > MAX_CHANNELS:
                    raise AudioError(
                        f"{self._name}: {count} channels; expected 1 to {MAX_CHANNELS}: "
                        "keep the one with the speech"
                    )
                block = _to_float(_samples(frame, count))
                length += len(block)
                yield block
        except self._error as error:
            if not length:
                raise _DeclinedError(error.strerror) from None
            raise AudioError(
                f"{self._name}: cannot be decoded after {length / self.samplerate:.1f} s "
                f"({error.strerror}); expected a whole file: copy or record it again, or convert it"
            ) from None

    def _trim(self, blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
        """Cut what an AAC encoder padded behind the sound, where MP4 declares it to the sample.

        FFmpeg 8 leaves it there; FFmpeg 9 does not. A length that is further from what is decoded
        than padding is not believed.
        """
        rest, beyond, maximum = self._declared(), list[FloatArray](), 0
        for block in blocks:
            if rest is None:
                yield block
                continue
            if rest:
                yield block[:rest]
            if len(block) > rest:
                beyond.append(block[rest:])
            rest = max(0, rest - len(block))
            maximum = max(maximum, _MAX_PADDING * len(block))
            if sum(map(len, beyond)) > maximum:
                yield from beyond
                rest = None

    def _declared(self) -> int | None:
        """Return the samples that an edit list leaves; None where a header does not count them."""
        track = self._track
        if self.subtype != "aac" or "mp4" not in self._file.format.name:
            return None
        base, duration = track.time_base, track.duration
        ratio = self.samplerate / base.denominator if base and base.numerator == 1 else 0
        return int(duration * ratio) if duration and ratio in (1, 2) else None  # 2 of HE-AAC


def _samples(frame: Any, count: int) -> NDArray[Any]:
    """Return what a frame of so many channels holds, (L, C), of FFmpeg's type.

    Not by PyAV's `to_ndarray`, which takes one plane too many where there are eight (18.1.0): the
    process ends.
    """
    kind = frame.format.packed.name
    if kind not in _TYPES:  # integers of 64 bits
        raise _DeclinedError(f"samples of FFmpeg's kind {frame.format.name} are not read")
    is_planar = frame.format.is_planar
    size = frame.samples if is_planar else frame.samples * count
    planes = frame.planes[: count if is_planar else 1]
    values = np.stack([np.frombuffer(plane, _TYPES[kind], size) for plane in planes])
    return values.T if is_planar else values.reshape(-1, count)


def _to_float(samples: NDArray[Any]) -> FloatArray:
    """Convert samples of FFmpeg's type to float32, full scale 1."""
    floats: FloatArray
    # Of 64 bits: what is infinite or no number is refused by who reads it, without a warning here.
    with np.errstate(over="ignore", invalid="ignore"):
        floats = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        floats = (floats - 128) / np.float32(128)
    elif samples.dtype.kind == "i":
        floats /= 2.0 ** (8 * samples.itemsize - 1)
    return floats
