"""Valid files of every kind that is read, made in memory from the synthetic speech that ships."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tests.made_files import encoded, flac_of_unknown_length, mp3, mpeg_frames, replaced

import spoken_digits
from spoken_digits.reading import Encoding

REFUSED: tuple[type[Exception], ...] = (soundfile.SoundFileError, ValueError)
try:  # the extra `formats`
    import av

    REFUSED += (av.FFmpegError,)
except ImportError:
    av = None

VOICES = Path(spoken_digits.__file__).parent / "assets" / "voices"
SHAPES = ((8_000, 1), (16_000, 2), (48_000, 1))  # Hz, channels


@dataclass(frozen=True)
class Kind:
    """A container and codec.

    Attributes
    ----------
    name
        Container and codec, as libsndfile or FFmpeg name them, or what is special.
    suffix
        Of a file's name.
    make
        From samples (L,) or (L, C) and a rate in Hz to a file.
    encoding
        Of a file without a header, where its name does not tell it.
    """

    name: str
    suffix: str
    make: Callable[[np.ndarray, int], bytes]
    encoding: Encoding | None = None


@cache
def speech(rate: int, channels: int) -> np.ndarray:
    """Return (L,) or (L, C) float32: a digit, or a digit a channel."""
    clips = [soundfile.read(VOICES / digit / "rp-f2_0.flac")[0] for digit in "73"[:channels]]
    samples = np.stack([clip[400:4_000] for clip in clips], axis=1)
    return np.squeeze(soxr.resample(samples, 8_000, rate).astype(np.float32) * 0.9)


@cache
def valid_files(kind: Kind) -> tuple[bytes, ...]:
    """Return files of a kind: of the rates and channels that its codec knows."""
    found = []
    for rate, channels in SHAPES:
        try:
            found.append(kind.make(speech(rate, channels), rate))
        except REFUSED:  # the codec has no such rate
            continue
    return tuple(found)


# What libsndfile writes

SUFFIXES = {
    **{"AIFF": ".aiff", "AU": ".au", "CAF": ".caf", "FLAC": ".flac", "MP3": ".mp3", "OGG": ".ogg"},
    **{"RF64": ".rf64", "SVX": ".svx", "VOC": ".voc", "W64": ".w64", "NIST": ".sph"},
    **{"WAV": ".wav", "WAVEX": ".wav"},
}
_HEADERLESS = {"ULAW": (".ulaw", ".ul", ".g711"), "ALAW": (".al", ".g711"), "GSM610": (".gsm",)}
_RAW_NAMES = {"VOX_ADPCM": "vox"} | {
    name: name.lower() for name in ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")
}


def _libsndfile(name: str, **settings: object) -> Callable[[np.ndarray, int], bytes]:
    return lambda samples, rate: encoded(samples, name, rate, **settings)


def _headerless(name: str) -> Callable[[np.ndarray, int], bytes]:
    def make(samples: np.ndarray, rate: int) -> bytes:
        if rate != 8_000:
            raise ValueError(f"{rate} Hz: expected 8,000, which is what a name stands for")
        return encoded(samples, name, rate)

    return make


def _libsndfile_kinds() -> Iterator[Kind]:
    # SD2 keeps its header in another file.
    for container in sorted(set(soundfile.available_formats()) - {"RAW", "SD2"}):
        for codec in soundfile.available_subtypes(container):
            name = f"{container}/{codec}"
            suffix = ".opus" if codec == "OPUS" else SUFFIXES.get(container, ".wav")
            yield Kind(name, suffix, _libsndfile(name))
    for codec in ("PCM_16", "FLOAT"):
        name = f"WAV/{codec}"
        yield Kind(f"{name} big-endian", ".wav", _libsndfile(name, endian="BIG"))
        name = f"AU/{codec}"
        yield Kind(f"{name} little-endian", ".au", _libsndfile(name, endian="LITTLE"))
    for codec, suffixes in _HEADERLESS.items():
        for suffix in suffixes:
            yield Kind(f"{suffix} without a header", suffix, _headerless(f"RAW/{codec}"))
    for codec, subtype in _RAW_NAMES.items():
        encoding = Encoding(subtype, 8_000)  # type: ignore[arg-type]
        yield Kind(f"RAW/{codec}", ".raw", _headerless(f"RAW/{codec}"), encoding)


# What recorders, taggers and pipes make of them

_CONSTANT = {"bitrate_mode": "CONSTANT", "compression_level": 0.7}
ID3V2 = b"ID3\4\0\0\0\0\1\x20" + b"TIT2\0\0\0\6\0\0\3seven" + bytes(144)
ID3V1 = b"TAG" + b"seven".ljust(124, b"\0") + b"\x11"
CHUNKS = b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0a recorder 1.0cue \4\0\0\0\0\0\0\0"


def _without_index(samples: np.ndarray, rate: int) -> bytes:
    return b"".join(list(mpeg_frames(mp3(samples, rate)))[1:])


def _streamed_wav(samples: np.ndarray, rate: int) -> bytes:
    content = encoded(samples, "WAV", rate)
    return replaced(replaced(content, 40, b"\xff" * 4), 4, b"\xff" * 4)


def _with_chunks(samples: np.ndarray, rate: int) -> bytes:
    content = encoded(samples, "WAV", rate)
    return content[:36] + CHUNKS + content[36:] + CHUNKS


def _tagged(samples: np.ndarray, rate: int) -> bytes:
    return ID3V2 + mp3(samples, rate) + ID3V1


def _twice(name: str) -> Callable[[np.ndarray, int], bytes]:
    return lambda samples, rate: 2 * encoded(samples, name, rate)


def _open_caf(samples: np.ndarray, rate: int) -> bytes:
    content = encoded(samples, "CAF", rate)
    return replaced(content, content.index(b"data") + 4, b"\xff" * 8)


def _open_au(samples: np.ndarray, rate: int) -> bytes:
    return replaced(encoded(samples, "AU", rate), 8, b"\xff" * 4)


_RECORDED = (
    Kind("MP3 of constant rate", ".mp3", lambda x, rate: encoded(x, "MP3", rate, **_CONSTANT)),
    Kind("MP3 of variable rate", ".mp3", mp3),
    Kind("MP3 without its index", ".mp3", _without_index),
    Kind("MP3 with tags", ".mp3", _tagged),
    Kind("MP3 end to end", ".mp3", _twice("MP3")),
    Kind("Ogg Vorbis end to end", ".ogg", _twice("OGG/VORBIS")),
    Kind("Ogg Opus end to end", ".opus", _twice("OGG/OPUS")),
    Kind("FLAC of unknown length", ".flac", lambda x, rate: flac_of_unknown_length(x)),
    Kind("FLAC with a tag", ".flac", lambda x, rate: ID3V2 + encoded(x, "FLAC", rate)),
    Kind("WAV of unknown length", ".wav", _streamed_wav),
    Kind("WAV with chunks", ".wav", _with_chunks),
    Kind("CAF of unknown length", ".caf", _open_caf),
    Kind("AU of unknown length", ".au", _open_au),
)


# What FFmpeg writes: by name, the container, the codec, and the endings of files

_FFMPEG = {
    "m4a, AAC": ("ipod", "aac", ".m4a"),
    "m4a, ALAC": ("ipod", "alac", ".m4a"),
    "mp4, AAC": ("mp4", "aac", ".mp4"),
    "mov, PCM": ("mov", "pcm_s16le", ".mp4"),
    "ADTS, AAC": ("adts", "aac", ".aac"),
    "CAF, AAC": ("caf", "aac", ".caf"),
    "amr, AMR-NB": ("amr", "libopencore_amrnb", ".amr"),
    "3gp, AMR-NB": ("3gp", "libopencore_amrnb", ".3gp"),
    "3gp, AAC": ("3gp", "aac", ".3gp"),
    "WebM, Opus": ("webm", "libopus", ".webm"),
    "WebM, Vorbis": ("webm", "vorbis", ".webm"),
    "Matroska, Opus": ("matroska", "libopus", ".mka"),
    "Matroska, FLAC": ("matroska", "flac", ".mka"),
    "wma 1": ("asf", "wmav1", ".wma"),
    "wma 2": ("asf", "wmav2", ".wma"),
    "Ogg, FLAC": ("ogg", "flac", ".oga"),
    "WAV, G.726": ("wav", "adpcm_g726", ".wav"),
    "WAV, G.722": ("wav", "adpcm_g722", ".wav"),
    "WAV, MP3": ("wav", "libmp3lame", ".wav"),
    "MPEG, layer II": ("mp2", "mp2", ".mp2"),
}


_EXPERIMENTAL = {"strict": "experimental"}  # the Vorbis encoder


def _ffmpeg(container: str, codec: str) -> Callable[[np.ndarray, int], bytes]:
    def make(samples: np.ndarray, rate: int) -> bytes:
        layout = "stereo" if samples.ndim == 2 else "mono"
        file = io.BytesIO()
        with av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=rate, layout=layout, options=_EXPERIMENTAL)
            wanted = stream.codec_context.format.name
            planes = np.ascontiguousarray(np.atleast_2d(samples.T))
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=wanted, layout=layout, rate=rate)
            for ready in (*resampler.resample(frame), *resampler.resample(None)):
                output.mux(stream.encode(ready))
            output.mux(stream.encode(None))
        return file.getvalue()

    return make


def kinds(pattern: str = "*") -> dict[str, Kind]:
    """Return the kinds of which files can be made here and whose name matches, by name."""
    found = [*_libsndfile_kinds(), *_RECORDED]
    if av is not None:
        found += [
            Kind(name, suffix, _ffmpeg(container, codec))
            for name, (container, codec, suffix) in _FFMPEG.items()
        ]
    found = sorted((kind for kind in found if fnmatch(kind.name, pattern)), key=lambda k: k.name)
    return {kind.name: kind for kind in found if valid_files(kind)}
