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
from benchmarks.measures import read_results
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
MAX_CLIPS = 15  # of a digit, of Speech Commands, whose people say four of them far more often
TAKES = 5  # of each digit, of each of FSDD's test speakers
STRINGS = 30  # that are joined of the digits of Speech Commands
POINT = 0.01
ALIGNED = 60 * SAMPLE_RATE  # samples from which the delay is told
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
        received = opus_call(samples, rate, kbit_s, lost, concealed, fec)
        soundfile.write(file, received, rate, subtype="PCM_16")

    return Step(8_000, ".wav", encode, "cp {file} {decoded}", "libopus")


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
BAR = (
    *("GSM 06.10", "AMR-NB, 7.4", "AMR-NB, 7.95", "AMR-NB, 10.2", "AMR-NB, 12.2"),
    *(
        name
        for name in CODECS
        if name.startswith(("Opus, 8,", "Opus, 12,", "Opus, 24,"))
        and "lost" not in name
        and "then" not in name
    ),
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
        lambda r: "{:.1f} to {:.1f} ms".format(
            *(f([r[f"AMR-NB, {rate:g}"]["delay_ms"] for rate in AMR_RATES]) for f in (min, max))
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
        lambda r: (
            "; ".join(
                f"{name}: {row['gain_db']:+.1f} dB"
                for name, row in r.items()
                if "lost" not in name and abs(row["gain_db"]) > 0.5
            )
            or f"none; most {loudest(r)}"
        ),
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


# What is sent


def held_out_people(data: str | None = None) -> list[Spoken]:
    """Read people left out of training: AN4's fold 0, FSDD's two, Speech Commands' fifth."""
    found = []
    for utterance in evaluation_utterances("an4:0", data):
        if utterance.content == "digits":
            samples, rate = read_samples(utterance)
            found.append(Spoken("an4", utterance.speaker, utterance.digits, samples, round(rate)))
    joined = [t.string for t in digit_strings(None, data) if t.name == "speech_commands"]
    found += [of_string("joined", i, string) for i, string in enumerate(joined[:STRINGS])]
    fsdd = one_split("xsdr", read_corpus("fsdd", data)).test
    for corpus, clips, limit in (
        ("fsdd", fsdd, 2 * TAKES),
        ("speech_commands", evaluation_clips(None, data), MAX_CLIPS),
    ):
        found += [of_clip(corpus, clip) for clip in choose(clips, limit)]
    return found


def synthetic_voices() -> list[Spoken]:
    """Read the voices that ship, two of them, to see that all works."""
    files = sorted(SHIPPED_VOICES.glob("[0-9]/flite-*_0.flac"))
    clips = [Clip(file, file.parent.name, file.stem.rpartition("_")[0], "voices") for file in files]
    voices = sorted({clip.speaker for clip in clips})[:2]
    clips = [clip for clip in clips if clip.speaker in voices]
    strings = make_strings(read_words(clips), 4)
    return [
        *(of_string("joined", i, string) for i, string in enumerate(strings)),
        *(of_clip("speech_commands", clip) for clip in clips),
    ]


def of_string(name: str, number: int, string: DigitString) -> Spoken:
    """Take a string of many people's digits: it is resampled as if it were a person of its own."""
    return Spoken(name, f"{name}-{number}", string.digits, string.samples, SAMPLE_RATE)


def of_clip(name: str, clip: Clip) -> Spoken:
    samples, rate = read_audio(clip.file)
    return Spoken(name, clip.speaker, clip.label, np.asarray(samples, np.float32), round(rate))


def choose(clips: Sequence[Clip], limit: int) -> list[Clip]:
    """Choose at most so many clips of each digit, of every speaker as many as can be."""
    order = np.random.default_rng(0).permutation(len(clips))
    taken: Counter[tuple[str, ...]] = Counter()
    places = []
    for i in order:
        clip = clips[i]
        places.append((taken[clip.label, clip.speaker], clip.label, str(clip.file), i))
        taken[clip.label, clip.speaker] += 1
    chosen = []
    for _, label, _, i in sorted(places):
        if taken[label,] < limit:
            taken[label,] += 1
            chosen.append(clips[i])
    return chosen


@dataclass(frozen=True)
class Call:
    """Recordings one after the other, with silence between.

    Attributes
    ----------
    spoken
        The recordings.
    spans
        Of each, where it begins and ends in `samples` at 8 kHz.
    """

    spoken: tuple[Spoken, ...]
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, spoken: Iterable[Spoken]) -> "Call":
        """Place recordings one after the other."""
        spoken, spans, cursor = tuple(spoken), [], round(GAP_S * SAMPLE_RATE)
        for each in spoken:
            stop = cursor + round(len(each.samples) * SAMPLE_RATE / each.rate)
            spans.append((cursor, stop))
            cursor = stop + round(GAP_S * SAMPLE_RATE)
        return cls(spoken, tuple(spans))

    def samples(self, rate: int) -> FloatArray:
        """Return (L,) samples at this rate; what was recorded at a lower one has no more in it."""
        factor = rate // SAMPLE_RATE
        length = (self.spans[-1][1] + round(GAP_S * SAMPLE_RATE)) * factor
        samples = np.zeros(length, np.float32)
        for each, (start, stop) in zip(self.spoken, self.spans, strict=True):
            if rate == SAMPLE_RATE:
                sound = resample(each.samples, each.rate)
            else:
                sound = at_rate(each.samples, each.rate, rate)
            count = min(len(sound), (stop - start) * factor)
            samples[start * factor : start * factor + count] = sound[:count]
        return np.clip(samples, -1, 1 - 2**-15)


def run(command: str, **paths: Path) -> None:
    """Run a shell command.

    Raises
    ------
    RuntimeError
        When it fails.
    """
    quoted = {name: shlex.quote(str(path)) for name, path in paths.items()}
    program = f"{shlex.quote(ffmpeg())} -v error -y" if "{ffmpeg}" in command else ""
    line = command.format(ffmpeg=program, **quoted)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{line}: {done.stderr.strip() or done.returncode}")


def send(call: Call, steps: Sequence[Step], folder: Path) -> tuple[FloatArray, float]:
    """Encode and decode a call by one codec after the other.

    Returns
    -------
    Samples (L,) at 8 kHz, and the kbit/s of the last file.
    """
    source, decoded, size = folder / "source.wav", folder / "decoded.wav", 0
    samples, before = call.samples(steps[0].rate), steps[0].rate
    for step in steps:
        samples, before = at_rate(samples, before, step.rate), step.rate
        soundfile.write(source, samples, step.rate, subtype="PCM_16")
        file = folder / f"coded{step.ending}"
        if callable(step.encode):
            step.encode(source, file)
        else:
            run(step.encode, source=source, file=file)
        size = file.stat().st_size
        if callable(step.decode):
            step.decode(file, decoded)
        else:
            run(step.decode, file=file, decoded=decoded)
        samples, before = soundfile.read(decoded, dtype="float32")
    seconds = (call.spans[-1][1] / SAMPLE_RATE) + GAP_S
    return at_rate(samples, before, SAMPLE_RATE), 8 * size / seconds / 1_000


def parts(call: Call, samples: FloatArray, late: int) -> list[FloatArray]:
    """Cut the recordings out of what was received so many samples late."""
    length = call.spans[-1][1] + abs(late)
    padded = np.pad(samples, (max(0, -late), max(0, length - len(samples))))
    late = max(late, 0)
    return [padded[start + late : stop + late] for start, stop in call.spans]


# What is recognized


def recognize(
    call: Call, received: Sequence[FloatArray], transcribe: Transcribe, recognizer: Recognizer
) -> list[dict[str, Any]]:
    """Return, of each recording, its digits, and of single digits where the word lies, in ms."""
    rows = []
    for spoken, samples in zip(call.spoken, received, strict=True):
        row: dict[str, Any] = {
            "name": spoken.name, "speaker": spoken.speaker, "said": spoken.digits
        }  # fmt: skip
        if spoken.name in ("an4", "joined"):
            rows.append(row | {"found": transcribe(samples)[0]})
            continue
        answer = recognizer(samples, SAMPLE_RATE)
        ends = [1_000 * answer.start_s, 1_000 * answer.end_s]
        found = "" if answer.reason == "silence" else answer.label
        rows.append(row | {"found": found, "ends_ms": ends})
    return rows


def align(said: str, found: str) -> tuple[Counter[str], Counter[str]]:
    """Count errors by kind, and confusions: "59" is a five taken for nine, "5-" a missed five."""
    errors: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    if not said or not found:
        errors["deletions"], errors["insertions"] = len(said), len(found)
        return errors, Counter([*(f"{d}-" for d in said), *(f"-{d}" for d in found)])
    chunks = jiwer.process_words(" ".join(said), " ".join(found)).alignments[0]
    for chunk in chunks:
        before = said[chunk.ref_start_idx : chunk.ref_end_idx]
        after = found[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "substitute":
            errors["substitutions"] += len(before)
            pairs.update(a + b for a, b in zip(before, after, strict=True))
        elif chunk.type == "delete":
            errors["deletions"] += len(before)
            pairs.update(f"{d}-" for d in before)
        elif chunk.type == "insert":
            errors["insertions"] += len(after)
            pairs.update(f"-{d}" for d in after)
    return errors, pairs


def summarize(
    coded: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return digit errors and whole strings, and what they lose to uncoded, over speakers."""
    total: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    digits: dict[str, list[int]] = {}
    wholes: dict[str, list[int]] = {}
    for ours, theirs in zip(coded, plain, strict=True):
        errors, confused = align(ours["said"], ours["found"])
        before, _ = align(theirs["said"], theirs["found"])
        total.update(errors)
        pairs.update(confused)
        count = len(ours["said"])
        own = digits.setdefault(ours["speaker"], [0, 0, 0, 0])
        for i, n in enumerate((errors.total(), count, before.total(), count)):
            own[i] += n
        own = wholes.setdefault(ours["speaker"], [0, 0, 0, 0])
        for i, wrong in enumerate((ours, theirs)):
            own[2 * i] += wrong["said"] != wrong["found"]
            own[2 * i + 1] += 1
    difference, interval = ratio_difference(list(digits.values()), np.random.default_rng(0))
    whole, whole_interval = ratio_difference(list(wholes.values()), np.random.default_rng(0))
    count = sum(len(each["said"]) for each in coded)
    return {
        "speakers": len(digits),
        "recordings": len(coded),
        "digits": count,
        **{kind: total[kind] for kind in ("insertions", "deletions", "substitutions")},
        "digit_error": total.total() / count,
        "difference": difference,
        "interval": list(interval),
        "whole": sum(each["said"] == each["found"] for each in coded),
        "whole_lost": whole,
        "whole_lost_interval": list(whole_interval),
        "confusions": dict(pairs.most_common()),
    }


SETS = {
    "an4": ("an4",),
    "strings": ("an4", "joined"),
    "single": ("fsdd", "speech_commands"),
}


def row_of(
    coded: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a row of results, but for level, delay and rate: see `summarize`."""
    row: dict[str, Any] = {}
    for kind, names in SETS.items():
        own = [each for each in coded if each["name"] in names]
        if own:
            row[kind] = summarize(own, [each for each in plain if each["name"] in names])
    # FSDD's clips begin and end with the word: there is no room for an end to move.
    moved = [
        np.subtract(ours["ends_ms"], theirs["ends_ms"])
        for ours, theirs in zip(coded, plain, strict=True)
        if ours["name"] == "speech_commands"
    ]
    for name, values in zip(("start_ms", "end_ms"), np.transpose(moved), strict=True):
        row[name] = [float(v) for v in np.percentile(values, (5, 50, 95))]
    return row


def measure(
    call: Call,
    names: Sequence[str],
    transcribe: Transcribe,
    recognizer: Recognizer,
    folder: Path,
) -> dict[str, Any]:
    """Send a call through each codec and recognize it; answers are kept in a folder."""
    for name in (UNCODED, *names):
        if (kept := folder / f"{slug(name)}.json").exists():
            continue
        plain = call.samples(SAMPLE_RATE)
        samples, kbit_s = (plain, None) if name == UNCODED else received(call, name, folder)
        late = delay(samples[:ALIGNED], plain[:ALIGNED])
        own = parts(call, samples, late)
        power, before = (
            sum(float(np.square(part, dtype=np.float64).sum()) for part in each)
            for each in (own, parts(call, plain, 0))
        )
        signal = {
            "kbit_s": kbit_s,
            "gain_db": float(10 * np.log10(max(power, 1e-9) / before)),
            "delay_ms": 1_000 * late / SAMPLE_RATE,
        }
        write_json(kept, [signal, recognize(call, own, transcribe, recognizer)])
        print(f"{name}: {signal}", flush=True)
    return summaries(names, folder)


def summaries(names: Iterable[str], folder: Path) -> dict[str, Any]:
    """Return a row of results of each codec from the answers that a folder keeps."""
    rows: dict[str, Any] = {}
    uncoded: list[dict[str, Any]] = []
    for name in (UNCODED, *names):
        signal, answers = json.loads((folder / f"{slug(name)}.json").read_text("utf-8"))
        uncoded = uncoded or answers
        rows[name] = signal | row_of(answers, uncoded)
        print(f"{name}: {brief(rows[name])}", flush=True)
    return rows


def slug(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def received(call: Call, name: str, folder: Path) -> tuple[FloatArray, float]:
    """Send a call, or read what was received of it before."""
    kept = folder / f"{slug(name)}.npz"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as work:
            samples, kbit_s = send(call, CODECS[name], Path(work))
        np.savez(kept, samples=samples, kbit_s=kbit_s)
    with np.load(kept) as file:
        return file["samples"], float(file["kbit_s"])


def brief(row: Mapping[str, Any]) -> str:
    said = [f"{row['gain_db']:+.2f} dB, {row['delay_ms']:+.2f} ms"]
    for kind in ("an4", "strings", "single"):
        if kind in row:
            said.append(f"{kind} {100 * row[kind]['digit_error']:.2f} %")
    return ", ".join(said)


# The page


def table(results: Mapping[str, Any]) -> str:
    """Markdown: codecs, guesses, the bar, what was not tried."""
    if not results:
        return "Not measured yet: `python -m benchmarks.voice_codecs`."
    rows = results["rows"]
    lines = [
        "| codec | kbit/s | AN4, digit error, % | AN4 and joined strings, % | points lost (95 %) "
        "| whole strings, % | points lost (95 %) | single digits, % | points lost (95 %) "
        "| start, ms | end, ms | level, dB | delay, ms | more often than uncoded |",
        "|---|" + "---:|" * 12 + "---|",
    ]
    for name, row in rows.items():
        strings, single = row["strings"], row["single"]
        cells = [
            name,
            f"{row['kbit_s']:.1f}" if row["kbit_s"] else "",
            percent(row["an4"]["digit_error"]),
            percent(strings["digit_error"]),
            margin(strings["difference"], strings["interval"]),
            percent(strings["whole"] / strings["recordings"], 1),
            margin(strings["whole_lost"], strings["whole_lost_interval"]),
            percent(single["digit_error"]),
            margin(single["difference"], single["interval"]),
            *(moved(row[end]) for end in ("start_ms", "end_ms")),
            f"{row['gain_db']:+.1f}",
            f"{row['delay_ms']:.1f}",
            confusions(row, rows[UNCODED]),
        ]
        if name == UNCODED:
            cells = [*cells[:4], "", cells[5], "", cells[7], *[""] * 6]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n\n".join(
        ["\n".join(lines), bar(rows), costly(rows), guesses(rows), untried(results), place(results)]
    )


def percent(fraction: float, digits: int = 2) -> str:
    return f"{100 * fraction:.{digits}f}"


def margin(difference: float, interval: Sequence[float]) -> str:
    low, high = (f"{100 * value:+.1f}" for value in interval)
    return f"{100 * difference:+.1f} ({low} to {high})"


def moved(percentiles: Sequence[float]) -> str:
    low, median, high = (f"{value:+.0f}" for value in percentiles)
    return f"{median} ({low} to {high})"


def confusions(row: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    more: Counter[str] = Counter()
    for kind in ("strings", "single"):
        more += Counter(row[kind]["confusions"]) - Counter(plain[kind]["confusions"])
    names = {"-": "nothing"}
    return ", ".join(
        f"{names.get(a, a)} → {names.get(b, b)}: {n}" for (a, b), n in more.most_common(3)
    )


def bar(rows: Rows) -> str:
    said = []
    for what, key in (("Digit error on strings", "difference"), ("Whole strings", "whole_lost")):
        measured = {name: 100 * rows[name]["strings"][key] for name in BAR if name in rows}
        over = [f"{name} ({points:.1f})" for name, points in measured.items() if points > 2]
        verdict = "reached by all" if not over else f"missed by {'; '.join(over)}"
        said.append(
            f"{what}: at most 2 points lost at GSM, AMR-NB from 7.4 and Opus from 8 kbit/s: "
            f"{verdict} of {len(measured)}; the most is {max(measured.values()):.1f}."
        )
    return "\n\n".join(said)


def costly(rows: Rows) -> str:
    over = [name for name in rows if name != UNCODED and lost(rows, name) > 100 * POINT]
    sure = [name for name in over if rows[name]["strings"]["interval"][0] > 0]
    return (
        f"More than a point of digit error on strings is lost at {len(over)} of {len(rows) - 1}: "
        f"{'; '.join(over) or 'none'}. Of these the interval is above 0 at: "
        f"{'; '.join(sure) or 'none'}."
    )


def guesses(rows: Rows) -> str:
    lines = [
        "| question | guessed before the run | measured (points are of digit error on strings) | |",
        "|---|---|---|---|",
    ]
    verdicts: Counter[str] = Counter()
    for each in GUESSES:
        try:
            measured = each.measured(rows) if each.measured else points(rows, *each.names)
            verdict = "right" if each.is_right(rows) else "**wrong**"
        except KeyError:  # of a codec that was not tried
            measured, verdict = "", "not measured"
        verdicts[verdict] += 1
        lines.append(f"| {each.question} | {each.guess} | {measured} | {verdict} |")
    said = f"{len(GUESSES)} questions: {verdicts['right']} guessed right, "
    said += f"{verdicts['**wrong**']} wrong, {verdicts['not measured']} not measured."
    return "\n".join([said, "", *lines])


def untried(results: Mapping[str, Any]) -> str:
    said = [f"{name}: {why}" for name, why in results["untried"].items()]
    return f"Not tried. {'. '.join(said)}."


def place(results: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    sizes = results["rows"][UNCODED]
    people = "; ".join(
        f"{kind}: {sizes[kind]['recordings']} recordings, {sizes[kind]['digits']} digits, "
        f"{sizes[kind]['speakers']} people"
        for kind in SETS
    )
    return f"{people}. Commit {results['commit']}; {versions}."


def with_table(page: str, results: Mapping[str, Any]) -> str:
    return replace_between(page, MARKER, table(results), PAGE.name)


# The command


PACKAGES = {  # of Debian, of libraries and tools that do not say their version
    "sox": "sox",
    "libopus": "libopus0",
    "speexenc": "speex",
    "c2enc": "codec2",
    "bcg729": "libbcg729-0",
    "vo-amrwbenc": "libvo-amrwbenc0",
}


def installed(tool: str) -> str | None:
    """Return the version of a tool, None where it is not installed."""
    if tool == "ffmpeg":
        return version(tool)
    if tool == "vo-amrwbenc" and not amrwb_library():
        return None
    return debian_version(PACKAGES[tool])


def debian_version(package: str) -> str | None:
    """Return the version of a package of Debian, None where it is not installed."""
    if not shutil.which("dpkg-query"):
        return None
    query = ["dpkg-query", "-W", "-f", "${Version}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def main() -> int:
    """Measure, and write results and page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.voice_codecs", description=(__doc__ or "").partition("\n")[0]
    )
    text = "a network for strings that did not learn from AN4's fold 0 and FSDD's two test speakers"
    parser.add_argument("--strings", type=Path, help=text)
    text = "a network for single digits that did not learn from them; both: without, what ships, "
    text += "with --smoke only"
    parser.add_argument("--digits", type=Path, help=text)
    parser.add_argument("--only", default="", help="codecs that have this in their name")
    parser.add_argument("--work", type=Path, help="a folder that keeps answers, to go on later")
    text = "two synthetic voices, to see that it runs; writes nothing"
    parser.add_argument("--smoke", action="store_true", help=text)
    parser.add_argument("--page", action="store_true", help="write the page again, nothing else")
    text = "publish the answers that --work keeps, of however many codecs; recognize nothing"
    parser.add_argument("--kept", action="store_true", help=text)
    arguments = parser.parse_args()
    if arguments.page:
        write_whole(PAGE, with_table(PAGE.read_text("utf-8"), read_results(RESULTS)).encode())
        return 0
    if not (arguments.smoke or (arguments.strings and arguments.digits)):
        parser.error("--strings and --digits: expected networks that left the people out")
    if arguments.kept and not arguments.work:
        parser.error("--kept: expected --work FOLDER, which keeps them")
    tools = {step.needs: installed(step.needs) for steps in CODECS.values() for step in steps}
    names = [
        name
        for name, steps in CODECS.items()
        if arguments.only in name and all(tools[step.needs] for step in steps)
    ]
    if arguments.kept:
        names = [name for name in names if (arguments.work / f"{slug(name)}.json").exists()]
        return publish(summaries(names, arguments.work), tools, arguments)
    call = Call.of(synthetic_voices() if arguments.smoke else held_out_people())
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(exist_ok=True)
        transcribe = at_thresholds(StringNetwork(arguments.strings), ())
        recognizer = load(arguments.digits, threshold=0)
        rows = measure(call, names, transcribe, recognizer, folder)
    if arguments.smoke or arguments.only:
        return 0
    return publish(rows, tools, arguments)


def publish(
    rows: Mapping[str, Any], tools: Mapping[str, str | None], arguments: argparse.Namespace
) -> int:
    """Write results and page."""
    missing = {}
    for name, steps in CODECS.items():
        if name not in rows:
            absent = ", ".join(step.needs for step in steps if not tools[step.needs])
            missing[name] = f"{absent} is not installed" if absent else "not measured yet"
    results = {
        "benchmark": "voice-codecs",
        "command": "python -m benchmarks.voice_codecs --strings STRINGS --digits DIGITS",
        "commit": commit(),
        "networks": {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in (("strings", arguments.strings), ("digits", arguments.digits))
        },
        "versions": {tool: number for tool, number in tools.items() if number}
        | {"onnxruntime": metadata.version("onnxruntime")},
        "untried": missing | UNTRIED,
        "guesses": [{"question": each.question, "guess": each.guess} for each in GUESSES],
        "rows": rows,
    }
    write_json(RESULTS, results)
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
