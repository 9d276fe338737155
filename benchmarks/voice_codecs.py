"""What voice codecs do to the recognition of digits: `python -m benchmarks.voice_codecs`.

Recordings of people whom the networks did not learn from are sent through each codec, one after the
other as in a long call, and recognized before and after. docs/voice-codecs.md and
results/voice-codecs.json are written from it. Codecs: the package imageio-ffmpeg; on Debian,
`apt install sox libopus0 speex codec2 libbcg729-0 libvo-amrwbenc0`.

Shapes: L samples.
"""

import argparse
import ctypes
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.__main__ import REPOSITORY
from benchmarks.formats import amrwb_library, at_rate, delay, encode_amrwb, ffmpeg, version
from spoken_digits.audio import SAMPLE_RATE, read_audio, resample
from spoken_digits.lab.connected.evaluation import (
    Transcribe,
    at_thresholds,
    digit_strings,
    evaluation_clips,
    evaluation_utterances,
)
from spoken_digits.lab.connected.strings import DigitString, make_strings, read_words
from spoken_digits.lab.data.corpora import SHIPPED_VOICES, Clip, read_corpus
from spoken_digits.lab.data.splits import one_split
from spoken_digits.lab.data.utterances import read_samples
from spoken_digits.lab.evaluation.metrics import ratio_difference
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole
from spoken_digits.networks import StringNetwork
from spoken_digits.recognize import Recognizer, load

RESULTS = REPOSITORY / "results" / "voice-codecs.json"
PAGE = REPOSITORY / "docs" / "voice-codecs.md"
MARKER = "voice-codecs"

GAP_S = 0.2  # of digital silence between two recordings
FRAME_S = 0.02  # of AMR and Opus: what a lost packet takes away
MAX_CLIPS = 30  # of a digit, of Speech Commands, whose people say four of them far more often
TAKES = 10  # of each digit, of each of FSDD's test speakers
STRINGS = 60  # that are joined of the digits of Speech Commands
POINT = 0.01
UNCODED = "none"
AMR_RATES = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)  # kbit/s
AMR_NO_DATA = b"\x7c"  # a frame's header of type 15: nothing was received
UNTRIED = {
    "iLBC": "ffmpeg decodes it; no encoder in Debian or PyPI",
    "EVS": "no encoder in Debian or PyPI",
    "G.723.1 at 5.3 kbit/s": "ffmpeg encodes 6.3 kbit/s only",
    "AMR with pauses (DTX)": "the recordings lie in digital silence, which is no pause of a call",
    "losses in bursts": "each packet is lost independently here",
}

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Spoken:
    """A recording (L,) of a person: its set, the person, the digits said."""

    name: str
    speaker: str
    digits: str
    samples: FloatArray
    rate: int


@dataclass(frozen=True)
class Step:
    """One codec.

    Attributes
    ----------
    rate
        That it is given, in Hz.
    ending
        Of its file.
    encode, decode
        Shell commands with {ffmpeg}, {source}, {file}, {decoded}; or a function of the paths.
    needs
        The tool that must be installed.
    """

    rate: int
    ending: str
    encode: str | Callable[[Path, Path], None]
    decode: str | Callable[[Path, Path], None] = "{ffmpeg} -i {file} {decoded}"
    needs: str = "ffmpeg"


def by_ffmpeg(rate: int, ending: str, options: str, decoder: str = "", before: str = "") -> Step:
    return Step(
        rate,
        ending,
        f"{{ffmpeg}} -i {{source}} {options} {{file}}",
        f"{{ffmpeg}} {before} {decoder and f'-c:a {decoder}'} -i {{file}} -ar {rate} {{decoded}}",
    )


def amr(kbit_s: float, lost: float = 0, concealed: bool = True) -> Step:
    options = f"-c:a libopencore_amrnb -b:a {kbit_s}k"
    step = by_ffmpeg(8_000, ".amr", options, "libopencore_amrnb")
    if not lost:
        return step

    def decode(file: Path, decoded: Path) -> None:
        content, missing = lose_amr(file.read_bytes(), lost)
        file.write_bytes(content)
        run(str(step.decode), file=file, decoded=decoded)
        if not concealed:
            samples, rate = soundfile.read(decoded, dtype="int16")
            soundfile.write(decoded, silenced(samples, missing, rate), rate, subtype="PCM_16")

    return Step(step.rate, step.ending, step.encode, decode)


def opus(kbit_s: int, application: str, rate: int) -> Step:
    options = f"-c:a libopus -b:a {kbit_s}k -application {application}"
    return by_ffmpeg(rate, ".opus", options, "libopus")


def lossy_opus(kbit_s: int, lost: float, concealed: bool = True, fec: bool = False) -> Step:
    """Opus by its own library, packet by packet, voice mode at 8 kHz."""

    def encode(source: Path, file: Path) -> None:
        samples, rate = soundfile.read(source, dtype="int16")
        file.write_bytes(soundfile_free(opus_call(samples, rate, kbit_s, lost, concealed, fec)))

    def decode(file: Path, decoded: Path) -> None:
        samples = np.frombuffer(file.read_bytes(), np.int16)
        soundfile.write(decoded, samples, 8_000, subtype="PCM_16")

    return Step(8_000, ".call", encode, decode, "libopus")


def soundfile_free(samples: NDArray[np.int16]) -> bytes:
    return samples.tobytes()


def opus_call(
    samples: NDArray[np.int16], rate: int, kbit_s: int, lost: float, concealed: bool, fec: bool
) -> NDArray[np.int16]:
    """Encode and decode (L,) samples, with packets lost on the way."""
    library = ctypes.CDLL("libopus.so.0")
    library.opus_encoder_create.restype = ctypes.c_void_p
    library.opus_decoder_create.restype = ctypes.c_void_p
    error = ctypes.c_int()
    voip, bitrate, with_fec, expected = 2048, 4002, 4012, 4014  # opus_defines.h
    encoder = ctypes.c_void_p(library.opus_encoder_create(rate, 1, voip, ctypes.byref(error)))
    decoder = ctypes.c_void_p(library.opus_decoder_create(rate, 1, ctypes.byref(error)))
    library.opus_encoder_ctl(encoder, bitrate, ctypes.c_int(kbit_s * 1_000))
    if fec:
        library.opus_encoder_ctl(encoder, with_fec, ctypes.c_int(1))
        library.opus_encoder_ctl(encoder, expected, ctypes.c_int(round(100 * lost)))
    length = round(FRAME_S * rate)
    frames = np.pad(samples, (0, -len(samples) % length)).reshape(-1, length)
    packets = []
    for frame in frames:
        out = ctypes.create_string_buffer(1_500)
        count = library.opus_encode(encoder, pointer(frame), length, out, len(out))
        packets.append(out.raw[:count])
    missing = draw_lost(len(packets), lost)
    decoded = np.zeros_like(frames)
    for i, packet in enumerate(packets):
        if not missing[i]:
            library.opus_decode(decoder, packet, len(packet), pointer(decoded[i]), length, 0)
        elif fec and i + 1 < len(packets) and not missing[i + 1]:
            after = packets[i + 1]
            library.opus_decode(decoder, after, len(after), pointer(decoded[i]), length, 1)
        else:
            library.opus_decode(decoder, None, 0, pointer(decoded[i]), length, 0)
    library.opus_encoder_destroy(encoder)
    library.opus_decoder_destroy(decoder)
    flat = decoded.reshape(-1)
    return flat if concealed else silenced(flat, missing, rate)


def pointer(samples: NDArray[np.int16]) -> ctypes.c_void_p:
    return samples.ctypes.data_as(ctypes.c_void_p)


def encode_g729(source: Path, file: Path) -> None:
    """Write frames of 10 bytes, 10 ms each, by bcg729."""
    library = ctypes.CDLL("libbcg729.so.0")
    library.initBcg729EncoderChannel.restype = ctypes.c_void_p
    channel = ctypes.c_void_p(library.initBcg729EncoderChannel(ctypes.c_uint8(0)))
    samples, _ = soundfile.read(source, dtype="int16")
    content = b""
    for frame in np.pad(samples, (0, -len(samples) % 80)).reshape(-1, 80):
        out, count = ctypes.create_string_buffer(10), ctypes.c_uint8()
        library.bcg729Encoder(channel, pointer(frame), out, ctypes.byref(count))
        content += out.raw[: count.value]
    library.closeBcg729EncoderChannel(channel)
    file.write_bytes(content)


def draw_lost(count: int, fraction: float) -> BoolArray:
    """Draw which packets are lost, each independently; the same call gives the same."""
    drawn: BoolArray = np.random.default_rng(0).random(count) < fraction
    return drawn


def lose_amr(content: bytes, fraction: float) -> tuple[bytes, BoolArray]:
    """Mark frames of an AMR-NB file as not received; also return which."""
    sizes = (13, 14, 16, 18, 20, 21, 27, 32, 6, *[1] * 7)  # by type, with the header
    magic, at, frames = b"#!AMR\n", 6, list[bytes]()
    while at < len(content):
        size = sizes[content[at] >> 3 & 15]
        frames.append(content[at : at + size])
        at += size
    missing = draw_lost(len(frames), fraction)
    kept = (AMR_NO_DATA if gone else frame for frame, gone in zip(frames, missing, strict=True))
    return magic + b"".join(kept), missing


def silenced(samples: NDArray[np.int16], missing: BoolArray, rate: int) -> NDArray[np.int16]:
    """Put silence in the place of lost packets, as a receiver without concealment does."""
    gone = np.repeat(missing, round(FRAME_S * rate))[: len(samples)]
    return np.where(np.pad(gone, (0, len(samples) - len(gone))), np.int16(0), samples)


A_LAW = by_ffmpeg(8_000, ".wav", "-c:a pcm_alaw")
GSM = Step(8_000, ".gsm", "sox {source} {file}", "sox {file} {decoded}", "sox")
AMR_WB = {"6.6": 0, "12.65": 2, "23.85": 8}  # kbit/s, and its number in the standard
RAW = "sox -t raw -r 8000 -e signed -b 16 -c 1 - {decoded}"
LOSSES = (0.01, 0.03, 0.10)
CODECS: dict[str, tuple[Step, ...]] = {
    "G.711 A-law": (A_LAW,),
    "G.711 µ-law": (by_ffmpeg(8_000, ".wav", "-c:a pcm_mulaw"),),
    **{
        f"G.726, {rate}": (by_ffmpeg(8_000, ".wav", f"-c:a g726 -b:a {rate}k"),)
        for rate in (40, 32, 24, 16)
    },
    "G.722, 64": (by_ffmpeg(16_000, ".wav", "-c:a g722"),),
    "GSM 06.10": (GSM,),
    "G.729, 8": (
        Step(
            *(8_000, ".g729", encode_g729, "{ffmpeg} -f g729 -i {file} {decoded}"),
            needs="bcg729",
        ),
    ),
    "G.723.1, 6.3": (by_ffmpeg(8_000, ".wav", "-c:a g723_1"),),
    **{f"AMR-NB, {rate:g}": (amr(rate),) for rate in reversed(AMR_RATES)},
    **{
        f"AMR-WB, {rate}": (
            Step(
                16_000,
                ".awb",
                partial(encode_amrwb, mode=number),
                "{ffmpeg} -i {file} {decoded}",
                "vo-amrwbenc",
            ),
        )
        for rate, number in reversed(AMR_WB.items())
    },
    **{
        f"Opus, {rate}, {words}, {khz} kHz": (opus(rate, application, 1_000 * khz),)
        for rate in (24, 12, 8, 6)
        for application, words in (("voip", "voice"), ("audio", "audio"))
        for khz in (8, 16)
    },
    **{
        f"Speex, {rate}": (
            Step(
                *(8_000, ".spx", f"speexenc --quiet -n --quality {quality} {{source}} {{file}}"),
                *("speexdec {file} {decoded}", "speexenc"),
            ),
        )
        for rate, quality in (("15", 8), ("8", 4), ("4", 1))
    },
    **{
        f"Codec 2, {rate / 1000:g}": (
            Step(
                *(8_000, ".c2", f"sox {{source}} -t raw - | c2enc {rate} - {{file}}"),
                *(f"c2dec {rate} {{file}} - | {RAW}", "c2enc"),
            ),
        )
        for rate in (3200, 1200)
    },
    **{
        f"{name}, {khz} kHz": (by_ffmpeg(1_000 * khz, ending, options),)
        for name, ending, options in (
            ("MP3, 16", ".mp3", "-c:a libmp3lame -b:a 16k"),
            ("AAC, 16", ".m4a", "-c:a aac -b:a 16k"),
            ("Vorbis, q-1", ".ogg", "-c:a libvorbis -q:a -1"),
        )
        for khz in (8, 16)
    },
    "AMR-NB, 12.2, then G.711 A-law": (amr(12.2), A_LAW),
    "AMR-NB, 4.75, then G.711 A-law": (amr(4.75), A_LAW),
    "GSM 06.10 twice": (GSM, GSM),
    "Opus, 8, voice, then AMR-NB, 4.75": (opus(8, "voip", 8_000), amr(4.75)),
    **{
        f"{name}, {100 * lost:.0f} % lost, {words}": (make(lost, concealed),)
        for name, make in (
            ("AMR-NB, 12.2", partial(amr, 12.2)),
            ("Opus, 12, voice", partial(lossy_opus, 12)),
        )
        for lost in LOSSES
        for concealed, words in ((True, "concealed"), (False, "silence"))
    },
    "Opus, 12, voice, 10 % lost, repeated in the next packet (FEC)": (
        lossy_opus(12, 0.1, fec=True),
    ),
}
BAR = ("GSM 06.10", "AMR-NB, 7.4", "AMR-NB, 7.95", "AMR-NB, 10.2", "AMR-NB, 12.2") + tuple(
    name for name in CODECS if name.startswith(("Opus, 8,", "Opus, 12,", "Opus, 24,")) and
    "lost" not in name and "then" not in name
)  # at most two points are to be lost at these


# Guesses: written before anything was measured

Rows = Mapping[str, Any]


def lost(rows: Rows, name: str, kind: str = "strings") -> float:
    """Return the points of digit error that a codec adds."""
    return float(100 * rows[name][kind]["difference"])


def points(rows: Rows, *names: str) -> str:
    return "; ".join(f"{name}: {lost(rows, name):+.1f}" for name in names)


@dataclass(frozen=True)
class Guess:
    """A question, what an expert would answer, and what was measured.

    Points are of digit error on strings. `names` are the codecs whose points answer the question,
    unless `measured` says it in other words.
    """

    question: str
    guess: str
    names: tuple[str, ...]
    is_right: Callable[[Rows], bool]
    measured: Callable[[Rows], str] | None = None


def costly_amr(rows: Rows) -> list[float]:
    return [rate for rate in AMR_RATES if lost(rows, f"AMR-NB, {rate:g}") > 1]


def new_confusions(rows: Rows) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows.values():
        for kind in ("strings", "single"):
            own, plain = row[kind]["confusions"], rows[UNCODED][kind]["confusions"]
            for pair, count in own.items():
                if len(pair) == 2 and count > plain.get(pair, 0):
                    found["".join(sorted(pair))] += count - plain.get(pair, 0)
    return found


def loudest(rows: Rows) -> str:
    return max(rows, key=lambda name: abs(rows[name]["gain_db"]))


OPUS_6 = tuple(f"Opus, 6, {mode}, {khz} kHz" for mode in ("voice", "audio") for khz in (8, 16))
TANDEM = ("Opus, 8, voice, 8 kHz", "AMR-NB, 4.75", "Opus, 8, voice, then AMR-NB, 4.75")
GUESSES = (
    Guess(
        "GSM 06.10: what does it cost?",
        "0.5 to 2 points",
        ("GSM 06.10",),
        lambda r: 0.5 <= lost(r, "GSM 06.10") <= 2,
    ),
    Guess(
        "AMR-NB: from which rate down does it cost more than a point?",
        "from 5.15 kbit/s down",
        (),
        lambda r: costly_amr(r) == [4.75, 5.15],
        lambda r: "at " + (", ".join(f"{rate:g}" for rate in costly_amr(r)) or "none"),
    ),
    Guess(
        "AMR-NB at 12.2 kbit/s?",
        "0.3 points or less",
        ("AMR-NB, 12.2",),
        lambda r: lost(r, "AMR-NB, 12.2") <= 0.3,
    ),
    Guess(
        "G.711: A-law or µ-law?",
        "neither costs more than 0.2 points",
        ("G.711 A-law", "G.711 µ-law"),
        lambda r: max(lost(r, "G.711 A-law"), lost(r, "G.711 µ-law")) <= 0.2,
    ),
    Guess(
        "G.726 at 16 kbit/s or AMR-NB at 4.75: which costs more?",
        "G.726: two bits a sample are noise, the other has a model of speech",
        ("G.726, 16", "AMR-NB, 4.75"),
        lambda r: lost(r, "G.726, 16") > lost(r, "AMR-NB, 4.75"),
    ),
    Guess(
        "Opus at 6 kbit/s: voice or audio mode?",
        "audio mode costs a point more at either rate",
        OPUS_6,
        lambda r: min(lost(r, OPUS_6[i + 2]) - lost(r, OPUS_6[i]) for i in (0, 1)) >= 1,
    ),
    Guess(
        "Opus at 6 kbit/s, voice mode: given 8 or 16 kHz?",
        "8 kHz costs less: no bits go to what is above 4 kHz",
        OPUS_6[:2],
        lambda r: lost(r, OPUS_6[0]) < lost(r, OPUS_6[1]),
    ),
    Guess(
        "Opus at 12 kbit/s, voice mode, 8 kHz?",
        "0.3 points or less",
        ("Opus, 12, voice, 8 kHz",),
        lambda r: lost(r, "Opus, 12, voice, 8 kHz") <= 0.3,
    ),
    Guess(
        "MP3 or AAC, both at 16 kbit/s and 8 kHz?",
        "AAC costs less",
        ("MP3, 16, 8 kHz", "AAC, 16, 8 kHz"),
        lambda r: lost(r, "AAC, 16, 8 kHz") < lost(r, "MP3, 16, 8 kHz"),
    ),
    Guess(
        "Vorbis, q-1, 8 kHz?",
        "less than half a point",
        ("Vorbis, q-1, 8 kHz",),
        lambda r: lost(r, "Vorbis, q-1, 8 kHz") < 0.5,
    ),
    Guess(
        "Opus at 8, then AMR-NB at 4.75 kbit/s?",
        "costs more than the sum of both alone",
        TANDEM,
        lambda r: lost(r, TANDEM[2]) > lost(r, TANDEM[0]) + lost(r, TANDEM[1]),
    ),
    Guess(
        "GSM twice?",
        "costs 1.5 to 3 times as much as once",
        ("GSM 06.10", "GSM 06.10 twice"),
        lambda r: (
            1.5 * lost(r, "GSM 06.10") <= lost(r, "GSM 06.10 twice") <= 3 * lost(r, "GSM 06.10")
        ),
    ),
    Guess(
        "10 % of Opus packets lost: what does concealment bring?",
        "more than half of what silence in their place costs",
        ("Opus, 12, voice, 10 % lost, silence", "Opus, 12, voice, 10 % lost, concealed"),
        lambda r: (
            lost(r, "Opus, 12, voice, 10 % lost, concealed")
            < lost(r, "Opus, 12, voice, 10 % lost, silence") / 2
        ),
    ),
    Guess(
        "3 % of packets lost and concealed?",
        "less than a point, AMR-NB as well as Opus",
        ("AMR-NB, 12.2, 3 % lost, concealed", "Opus, 12, voice, 3 % lost, concealed"),
        lambda r: (
            max(
                lost(r, f"{name}, 3 % lost, concealed")
                for name in ("AMR-NB, 12.2", "Opus, 12, voice")
            )
            < 1
        ),
    ),
    Guess(
        "10 % of Opus packets lost: what does forward error correction bring at 12 kbit/s?",
        "more than half of what concealment alone costs",
        (
            "Opus, 12, voice, 10 % lost, concealed",
            "Opus, 12, voice, 10 % lost, repeated in the next packet (FEC)",
        ),
        lambda r: (
            lost(r, "Opus, 12, voice, 10 % lost, repeated in the next packet (FEC)")
            < lost(r, "Opus, 12, voice, 10 % lost, concealed") / 2
        ),
    ),
    Guess(
        "Which two digits are confused most by codecs, that are not without?",
        "5 and 9",
        (),
        lambda r: new_confusions(r).most_common(1)[0][0] == "59" if new_confusions(r) else False,
        lambda r: (
            ", ".join(
                f"{pair[0]} and {pair[1]}: {n}" for pair, n in new_confusions(r).most_common(3)
            )
            or "none"
        ),
    ),
    Guess(
        "AMR-NB at 4.75 kbit/s: where does the word end?",
        "10 to 30 ms later (median)",
        (),
        lambda r: 10 <= r["AMR-NB, 4.75"]["end_ms"][1] <= 30,
        lambda r: f"{r['AMR-NB, 4.75']['end_ms'][1]:+.0f} ms",
    ),
    Guess(
        "AMR-NB: how late is the decoded file?",
        "5 ms, its look-ahead, at every rate",
        (),
        lambda r: all(4 <= r[f"AMR-NB, {rate:g}"]["delay_ms"] <= 6 for rate in AMR_RATES),
        lambda r: (
            "{:.1f} to {:.1f} ms".format(
                *(f([r[f"AMR-NB, {rate:g}"]["delay_ms"] for rate in AMR_RATES]) for f in (min, max))
            )
        ),
    ),
    Guess(
        "Which codec changes the level by more than 0.5 dB?",
        "none, but for lost packets and Codec 2",
        (),
        lambda r: all(
            abs(row["gain_db"]) <= 0.5
            for name, row in r.items()
            if "lost" not in name and not name.startswith("Codec 2")
        ),
        lambda r: "; ".join(
            f"{name}: {row['gain_db']:+.1f} dB"
            for name, row in r.items()
            if "lost" not in name and abs(row["gain_db"]) > 0.5
        )
        or f"none; most {loudest(r)}",
    ),
    Guess(
        "AMR-WB at 6.6 or AMR-NB at 6.7 kbit/s, for a recognizer that takes 8 kHz?",
        "AMR-NB costs less",
        ("AMR-WB, 6.6", "AMR-NB, 6.7"),
        lambda r: lost(r, "AMR-NB, 6.7") < lost(r, "AMR-WB, 6.6"),
    ),
    Guess(
        "G.723.1 at 6.3 or AMR-NB at 6.7 kbit/s?",
        "alike, within half a point",
        ("G.723.1, 6.3", "AMR-NB, 6.7"),
        lambda r: abs(lost(r, "G.723.1, 6.3") - lost(r, "AMR-NB, 6.7")) <= 0.5,
    ),
    Guess(
        "G.729?",
        "less than a point",
        ("G.729, 8",),
        lambda r: lost(r, "G.729, 8") < 1,
    ),
    Guess(
        "Codec 2 at 1.2 kbit/s?",
        "more than five points",
        ("Codec 2, 1.2",),
        lambda r: lost(r, "Codec 2, 1.2") > 5,
    ),
    Guess(
        "AMR-NB at 4.75 kbit/s: are digits confused, or missed?",
        "more confused than missed",
        (),
        lambda r: (
            r["AMR-NB, 4.75"]["strings"]["substitutions"]
            > r["AMR-NB, 4.75"]["strings"]["deletions"]
        ),
        lambda r: "{substitutions} confused, {deletions} missed".format(
            **r["AMR-NB, 4.75"]["strings"]
        ),
    ),
    Guess(
        "Which lose more at AMR-NB 4.75 kbit/s, single digits or strings?",
        "single digits",
        (),
        lambda r: lost(r, "AMR-NB, 4.75", "single") > lost(r, "AMR-NB, 4.75"),
        lambda r: (
            f"single {lost(r, 'AMR-NB, 4.75', 'single'):+.1f}, "
            f"strings {lost(r, 'AMR-NB, 4.75'):+.1f}"
        ),
    ),
)
