"""Files as recorders, pipes and cut downloads leave them, and what reading each is to give.

`test_table.py` walks Python through them, `test_page.py` the page. Each is heard whole, with a
warning where something is odd, or refused with the reason; where the page rightly gives something
else, its row says why.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from made_files import (
    RATE,
    encoded,
    flac_of_unknown_length,
    mp3,
    mpeg_frames,
    replaced,
)

import spoken_digits as sd

VOICES = Path(sd.__file__).parent / "assets" / "voices"
NOT_DECODED = "a browser decodes what the web uses; Chromium knows no such file"


@dataclass(frozen=True)
class File:
    """A file, and what reading it is to give.

    Attributes
    ----------
    content
        Its bytes.
    digits
        That are heard; None where it is refused.
    seconds
        Of sound in it; 0 where that is not checked.
    said
        Of the one warning, or of the error, after the file's name; "" where there is no warning.
    page
        With which the page refuses the file, where it differs.
    why
        It rightly does.
    """

    content: bytes
    digits: str | None
    seconds: float = 0.0
    said: str = ""
    page: str | None = None
    why: str = ""

    def is_whole(self, seconds: float) -> bool:
        """Return whether as much was read as is in it; a codec may add to it."""
        return not self.seconds or self.seconds - 1e-3 <= seconds <= self.seconds + 0.2


def spoken(digits: str, rate: int = RATE, voice: str = "gb-f5_0") -> np.ndarray:
    """Return digits with pauses, (L,) float32, in noise that no codec leaves out."""
    pause = np.zeros(round(0.3 * RATE), np.float32)
    parts = [pause]
    for digit in digits:
        parts += [sd.read_audio(VOICES / digit / f"{voice}.flac")[0], pause]
    samples = np.concatenate(parts)
    samples += np.random.default_rng(0).normal(0, 3e-4, len(samples)).astype(np.float32)
    return samples if rate == RATE else np.repeat(samples, rate // RATE)


def wav_field(content: bytes, data_size: int) -> bytes:
    """Return a plain WAV with another size of its sound."""
    assert content[36:40] == b"data"
    return replaced(content, 40, data_size.to_bytes(4, "little"))


def cut(content: bytes, keep: float = 0.6) -> bytes:
    return content[: round(keep * len(content))]


@cache
def files() -> dict[str, File]:
    """Return the table, by names that say what is odd."""
    x, y = spoken("47"), spoken("05")
    long, short = len(x) / RATE, len(y) / RATE
    both = long + short
    wav, size = encoded(x, "WAV"), 2 * len(x)
    flac, opus, vorbis = (encoded(x, kind) for kind in ("FLAC", "OGG/OPUS", "OGG/VORBIS"))
    mp3_x, mp3_y = mp3(x), mp3(y)
    _index, *frames = mpeg_frames(mp3_x)
    declared = mp3_x.index(b"Xing") + 8
    table: dict[str, File] = {}

    # WAV
    subtypes = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    for subtype in subtypes:
        table[f"WAV {subtype}"] = File(encoded(x, f"WAV/{subtype}"), "47", long)
    for kind in ("WAVEX/PCM_24", "RF64/PCM_16"):
        table[kind] = File(encoded(x, kind), "47", long)
    for subtype in ("PCM_16", "PCM_24", "FLOAT", "DOUBLE"):
        big = encoded(x, f"WAV/{subtype}", endian="BIG")
        assert big[:4] == b"RIFX"
        table[f"RIFX {subtype}"] = File(big, "47", long)
    for more in (44, 36, 2, 1):
        said = f"declares {more} bytes of sound more than it holds; all are read"
        table[f"WAV that declares {more} bytes too many"] = File(
            wav_field(wav, size + more), "47", long, said
        )
    for name, value in {"0": 0, "-1": 2**32 - 1, "that of a pipe": 0x7FFF_FFFF}.items():
        table[f"WAV of data size {name}"] = File(wav_field(wav, value), "47", long)
    ulaw = encoded(x, "WAV/ULAW")
    at = ulaw.index(b"data") + 4
    table["WAV ULAW of data size -1"] = File(replaced(ulaw, at, b"\xff" * 4), "47", long)
    rf64 = encoded(x, "RF64")
    table["RF64 with an empty ds64"] = File(
        replaced(rf64, rf64.index(b"ds64") + 8, bytes(24)), "47", long
    )
    table["WAV after ID3"] = File(b"ID3\3\0\0\0\0\0\x20" + bytes(32) + wav, "47", long)
    behind = f"holds 99 bytes behind the {size:,} bytes of sound that its header declares; they are"
    table["WAV with more behind"] = File(wav + b"\1" * 99, "47", long, behind)
    table["WAV with a comment behind"] = File(wav + b"LIST\4\0\0\0INFO", "47", long)
    table["WAV of a comment"] = File(
        encoded(x[:0], "WAV") + b"LIST\4\0\0\0INFO", None, said="no samples; expected a recording"
    )
    table["WAV at 2 kHz"] = File(
        encoded(x, "WAV", 2_000), None, said="a sample rate of 2,000 Hz; expected 4,000 to 192,000"
    )
    broken = np.array(x)
    broken[500] = np.nan
    table["WAV with NaN"] = File(
        encoded(broken, "WAV/FLOAT"), None, said="samples that are NaN, infinite or beyond 4e+09"
    )
    table["no bytes"] = File(b"", None, said="an empty file; expected a recording")
    table["no audio"] = File(
        b"no sound" * 99,
        None,
        said="cannot be read as audio (no header that is known)",
        page="no audio that is known; expected WAV, FLAC, MP3 or Ogg",
        why="the page cannot tell what a browser knows",
    )

    # Cut
    for kind in ("WAV", "WAVEX", "RF64", "WAV/ULAW", "WAV/FLOAT"):
        table[f"{kind}, cut"] = File(
            cut(encoded(x, kind)), None, said="bytes of sound are missing; expected a whole file"
        )
    table["RIFX, cut"] = File(
        cut(encoded(x, "WAV", endian="BIG")), None, said="bytes of sound are missing; expected"
    )
    for name, content in {"Opus": opus, "Vorbis": vorbis}.items():
        for keep in (0.6, 0.7, 0.9):
            table[f"Ogg {name}, cut at {keep}"] = File(
                cut(content, keep), None, said="truncated, the last page of its stream is missing"
            )
    table["MP3, cut"] = File(cut(mp3_x), None, said=f"of {576 * len(frames):,} samples")
    for keep in (0.6, 0.9):
        table[f"FLAC, cut at {keep}"] = File(cut(flac, keep), None, said="truncated")
        table[f"FLAC of unknown length, cut at {keep}"] = File(
            cut(flac_of_unknown_length(x), keep), None, said="truncated"
        )

    # Lengths that are unknown, or wrong; streams end to end; what stands before
    table["FLAC"] = File(flac, "47", long)
    table["FLAC of unknown length"] = File(flac_of_unknown_length(x), "47", long)
    table["MP3"] = File(mp3_x, "47", long)
    table["MP3 without its index"] = File(b"".join(frames), "47", long)
    table["MP3 that declares half of its frames"] = File(
        replaced(mp3_x, declared, (len(frames) // 2).to_bytes(4, "big")),
        "47",
        long,
        f"declares {len(frames) // 2} MP3 frames and holds {len(frames)}; all are read",
    )
    table["MP3 after zeros"] = File(bytes(417) + mp3_x, "47", long)
    table["Opus"], table["Vorbis"] = File(opus, "47", long), File(vorbis, "47", long)
    for kind in ("WAV", "WAV/ULAW", "FLAC", "OGG/OPUS", "OGG/VORBIS"):
        ends = encoded(x, kind) + encoded(y, kind)
        table[f"{kind}, two end to end"] = File(ends, "4705", both)
    table["MP3, two end to end"] = File(mp3_x + mp3_y, "4705", both)
    table["WAV at two rates end to end"] = File(
        wav + encoded(spoken("05", 16_000), "WAV", 16_000),
        None,
        said="several recordings end to end, at 8,000 and 16,000 Hz; expected one rate: split them",
    )

    # Channels
    other = np.zeros_like(x)
    other[: len(y)] = 0.4 * spoken("05", voice="gb-m1_0")[: len(x)]
    quiet = np.zeros_like(x)
    for name, channels in {
        "in antiphase": [x, -x],
        "of which one is silent": [quiet, x],
        "of which one is late": [x, np.roll(x, 40)],
    }.items():
        for kind in ("WAV", "FLAC"):
            stereo = encoded(np.stack(channels, axis=1), kind)
            table[f"{kind}, two channels {name}"] = File(stereo, "47", long)
    for kind in ("WAV", "FLAC"):
        table[f"{kind}, two speakers on two channels"] = File(
            encoded(np.stack([other, x], axis=1), kind),
            "47",
            long,
            "its channels differ; channel 2 of 2 is taken, the loudest: for another one, ",
        )

    # What libsndfile knows and the web does not
    for kind, name in {
        **{"AIFF": "AIFF", "AU": "AU", "AU/ULAW": "AU", "CAF": "CAF", "W64": "Wave64"},
        **{"NIST": "NIST SPHERE", "VOC": "VOC", "WAV/GSM610": "compressed WAV"},
        **{"WAV/IMA_ADPCM": "compressed WAV", "WAV/MS_ADPCM": "compressed WAV"},
    }.items():
        page = f"{name}, which this browser cannot read; expected WAV, FLAC, MP3 or Ogg: convert"
        table[kind] = File(encoded(x, kind), "47", long, "", page, why=NOT_DECODED)
    return table
