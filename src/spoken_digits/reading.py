"""Reading of recordings: from whatever holds one to blocks of mono samples.

`open_audio` is the one way in, for whole recordings and streams alike. Its promise: a recording is
read to its last sample, or an error says why not; what is odd about it and does not hinder reading
is a warning. Memory does not grow with its length. Shapes: L samples, C channels.
"""

import io
import math
import os
import re
import stat
import warnings as python_warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.channels import MAX_CHANNELS, ChannelComparison, Mix
from spoken_digits.containers import AudioError, Pcm, Piece, View, find_parts, has_header

__all__ = [
    "MAX_DURATION_S",
    "MAX_PIPED_BYTES",
    "MAX_SAMPLE_RATE",
    "MIN_SAMPLE_RATE",
    "AudioError",
    "AudioWarning",
    "Encoding",
    "Recording",
    "Source",
    "check_duration",
    "open_audio",
    "read_audio",
    "to_mono",
]

FloatArray = NDArray[np.float32]
# A file, the bytes of one, or samples (L,) or (L, C).
Source = str | os.PathLike[str] | IO[bytes] | bytes | bytearray | memoryview | ArrayLike

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 192_000  # Hz
MAX_DURATION_S = 30.0  # of a recording in which one digit is looked for
MAX_PIPED_BYTES = 1 << 32  # as much as a WAV holds

_MAX_AMPLITUDE = 2.0**32  # floats on the scale of integers pass; beyond, powers would overflow
_INTEGERS = {"uint8": (128, 128), "int16": (0, 2**15), "int32": (0, 2**31)}  # zero, full scale
_READ_FRAMES = 1 << 16
_BUFFER_BYTES = 1 << 16
_OPEN_LENGTH = 1 << 62  # libsndfile gives 2**63 - 1 frames where a header leaves the length open
_BLOCK_S = 10  # of samples at hand that one block holds
_SPOOLED_BYTES = 1 << 24  # of a pipe held in memory; more goes to a temporary file


Subtype = Literal[
    "ulaw", "alaw", "gsm", "vox", "pcm_u8", "pcm_s8", "pcm_16", "pcm_24", "pcm_32", "float"
]
_SAMPLE_BYTES: dict[Subtype, int] = {
    **{"ulaw": 1, "alaw": 1, "gsm": 33, "vox": 1},
    **{"pcm_u8": 1, "pcm_s8": 1, "pcm_16": 2, "pcm_24": 3, "pcm_32": 4, "float": 4},
}
_LIBSNDFILE_NAMES = {"gsm": "GSM610", "vox": "VOX_ADPCM"}
# Names by which exchanges and recorders leave files without a header: 8 kHz, one channel. .g711 is
# either law.
NO_HEADER = "has no header"  # of the warning that a file is read by its name
_HEADERLESS: dict[str, Subtype | None] = {
    **{".ulaw": "ulaw", ".ul": "ulaw", ".mulaw": "ulaw", ".alaw": "alaw", ".al": "alaw"},
    **{".gsm": "gsm", ".g711": None},
}
_HEADERLESS_RATE = 8_000
# Where Ogg has each channel of WAV's order (FL FR FC LFE BL BR SL SR), by their number: Vorbis I,
# 4.3.9; RFC 7845, 5.1.1.2. libsndfile gives them as they lie in the file; FFmpeg and browsers do
# not.
_OGG_ORDERS = {
    **{3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 5, 3, 4)},
    **{7: (0, 2, 1, 6, 5, 3, 4), 8: (0, 2, 1, 7, 5, 6, 3, 4)},
}


class AudioWarning(UserWarning):
    """A recording that is odd, and was read all the same."""


@dataclass(frozen=True)
class Encoding:
    """How a recording without a header is encoded; nothing in the file says so.

    Attributes
    ----------
    subtype
        "ulaw" or "alaw" (ITU-T G.711, 8 bit), "gsm" (GSM 06.10), "vox" (Dialogic ADPCM), "pcm_u8",
        "pcm_s8", "pcm_16", "pcm_24", "pcm_32", or "float" (32 bit).
    sample_rate
        In Hz.
    byte_order
        Of samples of more than 8 bit.
    channels
        How many there are, 1 to 8.

    Raises
    ------
    ValueError
        When it is none of these.
    """

    subtype: Subtype
    sample_rate: int
    byte_order: Literal["little", "big"] = "little"
    channels: int = 1

    def __post_init__(self) -> None:
        expected = {
            "subtype": (self.subtype in _SAMPLE_BYTES, f"one of {', '.join(_SAMPLE_BYTES)}"),
            "sample_rate": (isinstance(self.sample_rate, int), "a whole number, in Hz"),
            "byte_order": (self.byte_order in ("little", "big"), "little or big"),
            "channels": (self.channels in range(1, MAX_CHANNELS + 1), f"1 to {MAX_CHANNELS}"),
        }
        for name, (is_valid, said) in expected.items():
            if not is_valid:
                raise ValueError(f"{name} {getattr(self, name)!r} of an encoding; expected {said}")

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all channels; of GSM, of a frame."""
        return _SAMPLE_BYTES[self.subtype] * self.channels

    @classmethod
    def parse(cls, text: str) -> "Encoding":
        """Read an encoding such as "ulaw,8000,1" or "pcm_16be,16000,2".

        Raises
        ------
        ValueError
            When it is none.
        """
        name, _, numbers = text.partition(",")
        order: Literal["little", "big"] = "big" if name.endswith("be") else "little"
        found = re.fullmatch(r"(\d{4,6}),([1-8])", numbers)
        for subtype in _SAMPLE_BYTES:
            if found and name.removesuffix("be") == subtype:
                return cls(subtype, int(found[1]), order, int(found[2]))
        raise ValueError(
            f"{text}: expected an encoding, a rate in Hz and a number of channels, such as "
            f"ulaw,8000,1 or pcm_16be,16000,2: the first one of {', '.join(_SAMPLE_BYTES)}, with "
            "be for the other byte order"
        )

    def __str__(self) -> str:
        order = "be" if self.byte_order == "big" else ""
        return f"{self.subtype}{order},{self.sample_rate},{self.channels}"


class Recording:
    """A recording that is open: iterate over it, once, for blocks of (L,) float32.

    Errors of a header are raised by `open_audio`; of a file that ends early or holds NaN, while
    blocks are being taken, the blocks before that being yielded first.

    Attributes
    ----------
    name : str
        As messages call it.
    sample_rate : float
        In Hz.
    duration_s : float or None
        As a header states it; None where none does.
    channel_count : int
    warnings : list of str
        What is odd about it, each beginning with its name; complete after the last block.
    channels : tuple of int
        Those that are averaged, the first being 1; known with the first block.
    """

    def __init__(
        self, name: str, sample_rate: float, duration_s: float | None, channel_count: int
    ) -> None:
        self.name = name
        self.sample_rate = sample_rate
        self.duration_s = duration_s
        self.channel_count = channel_count
        self.warnings: list[str] = []
        self.channels: tuple[int, ...] = (1,)
        self._blocks: Iterator[FloatArray] = iter(())

    def __iter__(self) -> Iterator[FloatArray]:
        return self._blocks

    def read(self) -> FloatArray:
        """Return all of it, (L,) float32."""
        return np.concatenate(list(self))

    def _take(self, mix: Mix) -> Mix:
        """Note which channels are taken, and doubts about it."""
        self.channels = mix.channels
        if mix.is_doubtful:
            warning = (
                f"{self.name}: its channels differ; channel {mix.channels[0]} of {mix.count} is "
                "taken, the loudest: for another one, --channel N or channel=N"
            )
            if warning not in self.warnings:
                self.warnings.append(warning)
        return mix


@contextmanager
def open_audio(
    source: Source,
    sample_rate: float | None = None,
    *,
    channel: int | None = None,
    encoding: Encoding | None = None,
    max_duration_s: float = math.inf,
) -> Iterator[Recording]:
    """Open a recording; within the context, iterate over what it gives.

    Parameters
    ----------
    source : path, binary file, bytes, or (L,) or (L, C) samples
        A file in any format of libsndfile (WAV, FLAC, OGG, Opus, MP3, AIFF, AU, ...), with the
        extra `formats` also M4A, 3GP, AMR, WebM, WMA and others, by its path, open for reading, or
        as its bytes; also a pipe or FIFO, of which up to 4 GiB are copied to a temporary file. Or
        samples of type uint8, int16, int32 or float, finite, of up to 8 channels.
    sample_rate : float
        Of samples, in Hz, 4,000 to 192,000; a file states its own.
    channel : int
        Which channel to take, 1 being the first. Left out, channels that are the same are averaged;
        of others, the one with the most speech is taken, with a warning where another one holds
        another sound.
    encoding : Encoding
        Of a file without a header. Left out, files named .ulaw, .alaw, .al, .g711 or .gsm are taken
        as 8 kHz, one channel, with a warning.
    max_duration_s : float
        A longer recording raises; a file does by its header, before any of it is read.

    Raises
    ------
    AudioError
        When a file is missing, a folder, unreadable, empty, no audio, or truncated; when the
        recording is too long, at a rate outside 4 to 192 kHz, without samples, or holds NaN or
        infinite ones; when samples come without their rate.
    """
    if channel is not None and (not isinstance(channel, int | np.integer) or channel < 1):
        raise AudioError(f"channel {channel!r}; expected 1, the first one, or more")
    if encoding is not None and not isinstance(encoding, Encoding):
        raise AudioError(
            f"encoding {encoding!r}; expected an Encoding, such as Encoding('ulaw', 8_000): "
            "make one, or read it by Encoding.parse"
        )
    if not _is_file(source):
        yield _at_hand(source, sample_rate, channel, max_duration_s)
        return
    name = _name(source)
    with ExitStack() as stack:
        with _system_errors(name):
            stream = _open_file(source, name, stack)
            recording = _read_file(stream, name, channel, encoding, max_duration_s, stack)
        yield recording


def read_audio(
    source: Source,
    sample_rate: float | None = None,
    *,
    channel: int | None = None,
    encoding: Encoding | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> tuple[FloatArray, float]:
    """Read a whole recording: a file, or samples at hand.

    Its parameters are those of `open_audio`. What is odd about the recording is an `AudioWarning`.

    Returns
    -------
    samples : (L,) float32
        Full scale is 1.
    sample_rate : float
        In Hz.

    Raises
    ------
    AudioError
        As of `open_audio`.
    """
    with open_audio(
        source, sample_rate, channel=channel, encoding=encoding, max_duration_s=max_duration_s
    ) as recording:
        samples = recording.read()
    for warning in recording.warnings:
        python_warnings.warn(warning, AudioWarning, stacklevel=2)
    return samples, recording.sample_rate


def to_mono(
    samples: ArrayLike, sample_rate: float, name: str = "samples", *, average: bool = False
) -> FloatArray:
    """Check samples and rate as `open_audio` does, and make one channel of them: (L,) float32.

    With `average`, whatever the channels hold: of a chunk of a stream, no choice can be made.

    Raises
    ------
    AudioError
        When they are not what `open_audio` accepts.
    """
    checked = _to_float(np.asarray(samples), name)
    _check_rate(sample_rate, name)
    if checked.ndim == 1:
        return checked
    if average:
        mono: FloatArray = checked.mean(axis=1)
        return mono
    return _choose(_cut(checked, sample_rate), checked.shape[1], sample_rate).apply(checked)


def check_duration(duration_s: float, max_duration_s: float, name: str) -> None:
    """Raise an `AudioError` where a recording of one digit is too long."""
    if duration_s > max_duration_s:
        raise AudioError(
            f"{name}: {duration_s:,.1f} s long; expected one spoken digit, at most "
            f"{max_duration_s:g} s: cut the digit out"
        )


def _at_hand(
    source: Any, sample_rate: float | None, channel: int | None, max_duration_s: float
) -> Recording:
    """Open samples at hand."""
    if (
        isinstance(source, tuple)
        and len(source) == 2
        and sorted(np.ndim(each) > 0 for each in source) == [False, True]
    ):
        raise AudioError(
            "samples: a pair of samples and rate; expected them as two arguments: "
            "pass the samples first and sample_rate= after them"
        )
    if isinstance(source, list | tuple) and any(map(_is_file, source[:1])):
        raise AudioError(
            f"samples: a {type(source).__name__} of recordings; expected one: take one after the "
            "other, or recognize_many"
        )
    try:
        array = np.asarray(source)
    except ValueError:  # rows of several lengths
        array = np.empty((), object)
    if array.dtype == object or isinstance(source, int | float):
        raise AudioError(
            f"samples: {type(source).__name__}; expected a path, a file that is open for reading "
            "in binary mode ('rb'), its bytes, or samples with their rate"
        )
    if sample_rate is None:
        raise AudioError(
            "samples: no sample rate; expected it beside them: pass sample_rate=44_100, or "
            "whatever it is"
        )
    if not isinstance(sample_rate, int | float | np.number):
        raise AudioError(
            f"samples: sample rate {sample_rate!r}; expected a number, in Hz: convert it"
        )
    samples = _to_float(array, "samples")
    _check_rate(sample_rate, "samples")
    check_duration(len(samples) / sample_rate, max_duration_s, "samples")
    count = samples.shape[1] if samples.ndim == 2 else 1
    recording = Recording("samples", sample_rate, len(samples) / sample_rate, count)
    _check_channel(channel, count, "samples")
    if samples.ndim == 2:
        blocks = _cut(samples, sample_rate)
        mix = Mix((channel,), count) if channel else _choose(blocks, count, sample_rate)
        samples = recording._take(mix).apply(samples)
    recording._blocks = _cut(samples, sample_rate)
    return recording


def _cut(samples: FloatArray, sample_rate: float) -> Iterator[FloatArray]:
    """Yield samples at hand in blocks."""
    length = round(_BLOCK_S * sample_rate)
    return (samples[start : start + length] for start in range(0, len(samples), length))


def _choose(blocks: Iterator[FloatArray], count: int, sample_rate: float) -> Mix:
    """Choose among the channels of a recording in (L, C) blocks."""
    if count == 1:
        return Mix((1,), 1)
    comparison = ChannelComparison(count, sample_rate)
    for block in blocks:
        comparison.add(block)
    return comparison.mix()


def _check_channel(channel: int | None, count: int, name: str) -> None:
    if channel is not None and channel > count:
        expected = f"1 to {count}" if count > 1 else "1, the only one"
        raise AudioError(f"{name}: no channel {channel}; expected {expected}")


# Files: opened


def _is_file(source: object) -> bool:
    is_path_or_bytes = isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)
    return is_path_or_bytes or (hasattr(source, "read") and not isinstance(source, io.TextIOBase))


def _name(source: Any) -> str:
    """Return what messages call a file."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source) or "''"
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "file"


@contextmanager
def _system_errors(name: str) -> Iterator[None]:
    """Make what the system refuses, while a file is opened or read, an `AudioError`."""
    try:
        yield
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file; expected a recording: check its name") from None
    except OSError as error:
        raise AudioError(
            f"{name}: {error.strerror or error}; expected a file that may be read: "
            "check its permissions"
        ) from None


def _open_file(source: Any, name: str, stack: ExitStack) -> BinaryIO:
    """Open a file such that it can be sought; a pipe is copied to a temporary file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise AudioError("'': an empty path; expected that of a recording: name one")
        if "\0" in name:
            raise AudioError(f"{name!r}: no path, it holds a null character; expected a recording")
        path = Path(source)
        try:
            source = stack.enter_context(path.open("rb"))
        except (IsADirectoryError, PermissionError):  # Windows raises the latter for a folder
            if not path.is_dir():
                raise
            raise AudioError(
                f"{name}: a folder; expected a recording: name the files in it"
            ) from None
    stream: BinaryIO = source
    if getattr(stream, "closed", False):
        raise AudioError(f"{name}: a closed file; expected one that is open: open it again")
    try:
        is_seekable = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError):  # no file of the system
        is_seekable = True
    if is_seekable and hasattr(stream, "seekable") and stream.seekable():
        return stream
    import tempfile  # late: a pipe alone needs it

    copy: Any = stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED_BYTES))  # noqa: SIM115
    given: IO[Any] = stream  # may turn out to be text
    while content := given.read(_READ_FRAMES):
        if isinstance(content, str):
            raise AudioError(f"{name}: text; expected a file that is open in binary mode, 'rb'")
        copy.write(content)
        if copy.tell() > MAX_PIPED_BYTES:
            raise AudioError(
                f"{name}: more than {MAX_PIPED_BYTES >> 30} GiB from a pipe; expected a recording "
                "that ends: write it to a file"
            )
    copy.seek(0)
    spooled: BinaryIO = copy
    return spooled


# Files: read


def _read_file(
    stream: BinaryIO,
    name: str,
    channel: int | None,
    encoding: Encoding | None,
    max_duration_s: float,
    stack: ExitStack,
) -> Recording:
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    if start >= size:
        if start:
            raise AudioError(
                f"{name}: nothing is left to read; expected its position at the start of a "
                "recording: seek(0)"
            )
        raise AudioError(f"{name}: an empty file; expected a recording: copy or record it again")
    warnings: list[str] = []
    pcm: Pcm | None = None
    if encoding is None and (encoding := _encoding_by_name(stream, name, start)):
        warnings.append(
            f"{name}: {NO_HEADER}; taken as {encoding} by its name: for others, --raw or encoding="
        )
    if encoding:
        parts: tuple[tuple[Piece, ...], ...] = (((start, size),),)
        _check_headerless(size - start, name, encoding)
    else:
        layout = find_parts(stream, start, size)
        if layout.missing:
            raise AudioError(
                f"{name}: truncated, {layout.missing}; expected a whole file: "
                "copy or record it again"
            )
        parts, pcm = layout.parts, layout.pcm
        warnings += [f"{name}: {warning}" for warning in layout.warnings]

    def decoder(pieces: tuple[Piece, ...]) -> Any:
        if pcm:
            return _PcmReader(stream, pcm)
        return _decoder(View(stream, pieces), encoding, name, warnings)

    with _decoding(name):
        first = decoder(parts[0])
    stack.callback(first.close)
    rate = int(first.samplerate)
    _check_rate(rate, name)
    is_known = len(parts) == 1 and first.frames < _OPEN_LENGTH
    if first.frames < _OPEN_LENGTH:
        check_duration(first.frames / rate, max_duration_s, name)
    recording = Recording(name, rate, first.frames / rate if is_known else None, first.channels)
    recording.warnings = warnings

    def read() -> Iterator[FloatArray]:
        file, total = first, 0
        with _system_errors(name), _decoding(name):
            for k, pieces in enumerate(parts):
                if k:
                    file = decoder(pieces)
                with file:
                    if file.samplerate != rate:
                        raise AudioError(
                            f"{name}: several recordings end to end, at {rate:,} and "
                            f"{int(file.samplerate):,} Hz; expected one rate: split them"
                        )
                    mix = None
                    for block in _read_part(file, name):
                        total += len(block)
                        check_duration(total / rate, max_duration_s, name)
                        if mix is None:
                            _check_channel(channel, file.channels, name)
                            mix = Mix((channel or 1,), file.channels)
                            if channel is None and file.channels > 1:
                                # Reads all of it, beside what is being read.
                                with decoder(pieces) as again:
                                    mix = _choose(_read_part(again, name), file.channels, rate)
                            recording._take(mix)
                        yield mix.apply(block)

    recording._blocks = read()
    return recording


def _encoding_by_name(stream: BinaryIO, name: str, start: int) -> Encoding | None:
    """Return the encoding of a file without a header, if its name tells it."""
    suffix = name[max(name.rfind("."), 0) :].lower()
    if suffix not in _HEADERLESS or has_header(stream, start):
        return None
    subtype = _HEADERLESS[suffix]
    if (
        subtype is None
    ):  # what is nearly silent is most frequent: 0xFF of one law, 0xD5 of the other
        stream.seek(start)
        codes = np.frombuffer(stream.read(_READ_FRAMES), np.uint8) & 0x7F
        subtype = "ulaw" if np.sum(codes >= 0x78) >= np.sum((codes ^ 0x55) < 8) else "alaw"
    return Encoding(subtype, _HEADERLESS_RATE)


def _check_headerless(count: int, name: str, encoding: Encoding) -> None:
    _check_rate(encoding.sample_rate, name)
    if lacking := count % encoding.sample_bytes:
        raise AudioError(
            f"{name}: truncated, {count:,} bytes are no whole number of samples of "
            f"{encoding.sample_bytes} bytes ({lacking} too many); expected {encoding.subtype}: "
            "copy it again, or name the right encoding"
        )


class _PcmReader:
    """Reads samples of 16 bits, with as much of soundfile's interface as is used here.

    In a tenth of libsndfile's time. The stream may be shared with others.
    """

    subtype = "PCM_16"

    def __init__(self, stream: BinaryIO, pcm: Pcm) -> None:
        self._stream, self._position, self._frame_bytes = stream, pcm.start, 2 * pcm.channels
        self.channels, self.samplerate = pcm.channels, pcm.sample_rate
        self.frames = (pcm.stop - pcm.start) // self._frame_bytes

    def read(self, frames: int, **_: object) -> FloatArray:
        self._stream.seek(self._position)
        content = self._stream.read(frames * self._frame_bytes)
        count = len(content) // self._frame_bytes
        self._position += count * self._frame_bytes
        samples = np.frombuffer(content, "<i2", count * self.channels).astype(np.float32)
        samples *= 2**-15
        return samples.reshape(count, self.channels)

    def close(self) -> None:
        """Leave the stream to whoever opened it."""

    def __enter__(self) -> "_PcmReader":
        return self

    def __exit__(self, *_: object) -> None: ...


def _decoder(view: View, encoding: Encoding | None, name: str, warnings: list[str]) -> Any:
    """Open what can be decoded; frames are taken one after the other."""
    buffered = io.BufferedReader(view, _BUFFER_BYTES)  # libsndfile reads headers byte by byte
    import soundfile  # late: it takes a tenth of a second, and not all need it

    order = None
    if encoding is None:
        head = buffered.peek()
        try:
            file = soundfile.SoundFile(buffered)
        except soundfile.LibsndfileError:
            from spoken_digits.formats import open_compressed  # late: most files do not need it

            if compressed := open_compressed(buffered, name, warnings):
                return compressed
            raise
        if file.format == "OGG" and not _is_without_order(head):
            order = _OGG_ORDERS.get(file.channels)
    else:
        file = soundfile.SoundFile(
            buffered,
            format="RAW",
            subtype=_LIBSNDFILE_NAMES.get(encoding.subtype, encoding.subtype.upper()),
            endian=encoding.byte_order.upper(),
            channels=encoding.channels,
            samplerate=encoding.sample_rate,
        )
    # soundfile would seek after each block, which fails at the end of a FLAC of unknown length.
    file.seekable = lambda: False
    if order:
        file.order = list(order)
    return file


def _is_without_order(head: bytes) -> bool:
    """Return whether the first page of Ogg is of Opus whose channels are no places of loudspeakers.

    Its mapping family tells: of 0 and 1 they are (RFC 7845, 5.1.1).
    """
    at = head.find(b"OpusHead") + 18
    return at >= 18 and head[at : at + 1] > b"\1"


def _read_part(file: Any, name: str) -> Iterator[FloatArray]:
    """Yield checked (L, C) blocks up to the end; where a header states the length, that many."""
    count, frames = 0, int(file.frames)
    order = getattr(file, "order", None)
    if file.subtype.startswith("MPEG"):  # estimated; `find_parts` has counted what the file holds
        frames = _OPEN_LENGTH
    # Not file.blocks: where a file ends early, it yields memory that was never written.
    while wanted := min(_READ_FRAMES, frames - count):
        block = file.read(wanted, dtype="float32", always_2d=True)
        if not len(block):
            break
        count += len(block)
        yield _to_float(block if order is None else block[:, order], name)
    if not count:
        _to_float(np.empty(0, np.float32), name)  # raises
    if count < frames < _OPEN_LENGTH:
        raise AudioError(
            f"{name}: truncated, it holds {count:,} of {frames:,} samples; "
            "expected a whole file: copy or record it again"
        )


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Make an error of libsndfile an `AudioError`."""
    try:
        yield
    except RuntimeError as error:  # a LibsndfileError; to name it, its module would be imported
        if not hasattr(error, "error_string"):
            raise
        reason = error.error_string.removeprefix("Error : ").rstrip(".")
        if reason == "flac decoder lost sync":  # as at the end of a file that is cut
            raise AudioError(
                f"{name}: truncated or damaged ({reason}); expected a whole file: "
                "copy or record it again"
            ) from None
        remedy = "copy it again, or convert it (ffmpeg -i FILE FILE.flac)"
        if reason == "Format not recognised":
            reason = "no header that is known"
            remedy += ", or name its encoding if it has no header (--raw ulaw,8000,1)"
        from importlib.util import find_spec  # late: seldom needed

        known = "MP3, AIFF, M4A, AMR, WebM or WMA" if find_spec("av") else "MP3 or AIFF"
        raise AudioError(
            f"{name}: cannot be read as audio ({reason}); expected WAV, FLAC, OGG, {known}: "
            f"{remedy}"
        ) from None


# Samples


def _to_float(samples: NDArray[np.generic], name: str) -> FloatArray:
    """Check (L,) or (L, C) samples of any accepted type; return them as float32."""
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS):
        raise AudioError(
            f"{name}: samples of shape {samples.shape}; expected (L,) or (L, channels) with "
            f"1 to {MAX_CHANNELS} channels: transpose them?"
        )
    if samples.size == 0:
        raise AudioError(f"{name}: no samples; expected a recording of speech: record it again")
    if samples.dtype.kind != "f":
        if samples.dtype.name not in _INTEGERS:
            raise AudioError(
                f"{name}: samples of type {samples.dtype}; expected floats, int16, int32 or uint8: "
                "convert them with astype"
            )
        zero, full_scale = _INTEGERS[samples.dtype.name]
        samples = (samples.astype(np.float32) - zero) / full_scale
    if samples.dtype != np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            samples = samples.astype(np.float32)
    floats: FloatArray = samples.astype(np.float32, copy=False)
    if not np.abs(floats).max() <= _MAX_AMPLITUDE:  # so written, NaN fails as well
        raise AudioError(
            f"{name}: samples that are NaN, infinite or beyond {_MAX_AMPLITUDE:.0e}; expected "
            "numbers with 1.0 as full scale: record or convert it again"
        )
    return floats


def _check_rate(sample_rate: float, name: str) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name}: a sample rate of {sample_rate:,} Hz; expected {MIN_SAMPLE_RATE:,} to "
            f"{MAX_SAMPLE_RATE:,} Hz: resample it, or name the right rate"
        )
