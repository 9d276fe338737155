"""The synthetic voices: the corpus that ships, the default where no recordings are at hand.

espeak-ng speaks them: accents of English, times vocal tracts ("variants"), times pitch and rate.
The same call gives the same samples, for which espeak-ng needs a fresh process a voice, its
random numbers seeded, and the words in one order. `VOICES` ship; `ALL_VOICES` are three times as
many, and help to train the recognizer that ships.
"""

import ctypes
import io
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError
from spoken_digits.lab.runs import expect_free

__all__ = [
    "ALL_VOICES",
    "ESPEAK_RATE_HZ",
    "OTHER_WORDS",
    "TAKES",
    "VOICES",
    "Voice",
    "finish",
    "make_voices",
    "say",
]

TAKES = 2
ESPEAK_RATE_HZ = 22_050
PITCH_SPREAD = 10  # a take's pitch lies within +- this of the voice's, on a scale of 0 to 100
RATE_SPREAD = 0.18  # a take's rate lies within +- this share of the voice's
PEAK = 0.03  # of full scale: quieter than it could be, for files half as large
TRIM_DB = -40.0  # relative to the peak; quieter beginnings and ends are cut ...
MARGIN_S = 0.015  # ... but for this


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker: accent and variant by espeak-ng's names, pitch 0 to 100, words/min."""

    speaker: str
    accent: str
    variant: str
    pitch: int
    rate_wpm: int


def make_voices(
    output: Path | str,
    voices: Sequence[Voice] | None = None,
    *,
    takes: int = TAKES,
    seed: int = 0,
    others: int = 0,
) -> Path:
    """Speak the ten digits with every voice into `output/<digit>/<speaker>_<take>.flac`.

    The clips are 8 kHz, mono, 16 bit, trimmed, and have one peak level. Every take has a pitch and
    a rate of its own, drawn from `seed`; the same call gives the same samples.

    Parameters
    ----------
    output : Path or str
        Folder to make; it must not exist, or be empty.
    voices : sequence of Voice, optional
        Speakers, by default `VOICES`.
    takes : int
        Clips a digit and voice.
    seed : int
        Key of the pitches and rates, and of the other words.
    others : int
        How many of `OTHER_WORDS`, drawn anew for each voice, it says as well, once each:
        `output/<word>/<speaker>_0.flac`. They are what is no digit.

    Returns
    -------
    Path
        `output`, which appears whole or not at all.

    Raises
    ------
    CorpusError
        When the folder is taken, or espeak-ng has no such accent or variant.
    ImportError
        Without the extra `synth`.
    """
    import espeakng_loader  # noqa: F401  the children need it; better missed here than there

    voices, output = VOICES if voices is None else voices, Path(output)
    expect_free(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        folder = Path(scratch, output.name)
        keys = [[seed, index] for index, _ in enumerate(voices)]
        words = [_other_words(others, key) for key in keys]
        plans = [
            _plan(voice, takes, said, key)
            for voice, said, key in zip(voices, words, keys, strict=True)
        ]
        spoken = pool.map(say, voices, plans)
        for voice, said, clips in zip(voices, words, spoken, strict=True):
            names = [(digit, take) for take, digit in product(range(takes), DIGITS)]
            names += [(word, 0) for word in said]
            for (label, take), (samples, _) in zip(names, clips, strict=True):
                file = folder / label / f"{voice.speaker}_{take}.flac"
                file.parent.mkdir(parents=True, exist_ok=True)
                sf.write(
                    file,
                    finish(samples, ESPEAK_RATE_HZ),
                    SAMPLE_RATE,
                    "PCM_16",
                    compression_level=1,
                )
        folder.replace(output)
    return output


def _other_words(count: int, key: list[int]) -> list[str]:
    """Draw some of `OTHER_WORDS` for a voice, each at most once."""
    if not 0 <= count <= len(OTHER_WORDS):
        raise CorpusError(f"{count} other words: expected 0 to {len(OTHER_WORDS)}")
    # A stream of its own: the digits sound the same, whatever else is said.
    rng = np.random.default_rng([*key, 1])
    return [OTHER_WORDS[i] for i in rng.choice(len(OTHER_WORDS), count, replace=False)]


def _plan(
    voice: Voice, takes: int, others: Sequence[str], key: list[int]
) -> list[tuple[str, int, int]]:
    """Return (word, pitch, rate) of every utterance of a voice, take by take."""
    rng = np.random.default_rng(key)
    # Every take draws from a part of its own of [-1, 1], so that no two come out alike.
    said = [(word, take, takes) for take, word in product(range(takes), DIGIT_WORDS)]
    plan = []
    for word, part, parts in [*said, *((word, 0, 1) for word in others)]:
        higher, faster = 2 * (part + rng.uniform(0.2, 0.8, size=2)) / parts - 1
        pitch = np.clip(voice.pitch + PITCH_SPREAD * higher, 0, 100)
        plan.append((word, round(pitch), round(voice.rate_wpm * (1 + RATE_SPREAD * faster))))
    return plan


def finish(samples: npt.NDArray[np.int16], sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """Return (L,) samples of a synthesizer at 8 kHz, trimmed, at the level of all clips."""
    # Not audio.to_clip: what ships must not change whenever that learns to cut better.
    clip = resample(samples.astype(np.float32), sample_rate_hz)
    clip = clip * np.float32(PEAK / np.abs(clip).max())
    loud = np.flatnonzero(np.abs(clip) > PEAK * 10 ** (TRIM_DB / 20))
    margin = round(MARGIN_S * SAMPLE_RATE)
    return clip[max(0, loud[0] - margin) : loud[-1] + margin]


def say(
    voice: Voice, plan: Sequence[tuple[str, int, int]]
) -> list[tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]]:
    """Let a voice say what a plan lists, (text, pitch, words/min), in a fresh process.

    Returns
    -------
    list of (L,) int16 at `ESPEAK_RATE_HZ`, and (words,) int64, the samples at which words begin

    Raises
    ------
    CorpusError
        When espeak-ng has no such accent or variant.
    """
    job = json.dumps({"accent": voice.accent, "variant": voice.variant, "plan": plan})
    child = subprocess.run(
        [sys.executable, "-m", __name__], input=job.encode(), capture_output=True, check=False
    )
    if child.returncode:
        reason = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CorpusError(f"voice {voice.speaker}: {reason}")
    with np.load(io.BytesIO(child.stdout)) as arrays:
        return [(arrays[f"clip{i}"], arrays[f"words{i}"]) for i in range(len(plan))]


class _Event(ctypes.Structure):
    """What espeak-ng tells beside the samples: its speak_lib.h, espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_LAST_EVENT, _WORD_EVENT = 0, 1


def _speak(accent: str, variant: str, plan: Sequence[tuple[str, int, int]]) -> None:
    """Write what espeak-ng says to standard output, as an npz archive.

    Its arrays are clip0, (L,) int16, words0, the samples at which words begin, clip1, and so on.
    Runs in a process of its own. Names are those of espeak-ng's speak_lib.h.
    """
    import espeakng_loader

    synchronous_output, position_character, utf8, rate, pitch = 2, 1, 1, 1, 3
    data = Path(espeakng_loader.get_data_path())
    # Asked for an unknown variant, espeak-ng takes its plain voice and says nothing.
    if variant not in (known := sorted(file.name for file in (data / "voices" / "!v").iterdir())):
        raise SystemExit(f"no variant {variant!r}, expected one of {', '.join(known)}")
    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    if espeak.espeak_Initialize(synchronous_output, 0, str(data).encode(), 0) != ESPEAK_RATE_HZ:
        raise SystemExit(f"espeak-ng does not start at {ESPEAK_RATE_HZ:,} Hz; install it anew")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    if espeak.espeak_SetVoiceByName(f"{accent}+{variant}".encode()):
        raise SystemExit(f"no accent {accent!r}, expected a language of espeak-ng such as en-us")
    pieces: list[npt.NDArray[np.int16]] = []
    words: list[int] = []

    def collect(
        samples: "ctypes._Pointer[ctypes.c_short]",
        count: int,
        events: "ctypes._Pointer[_Event]",
    ) -> int:
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        position = 0
        while (event := events[position]).type != _LAST_EVENT:
            if event.type == _WORD_EVENT:
                words.append(event.audio_position_ms * ESPEAK_RATE_HZ // 1000)
            position += 1
        return 0

    callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )(collect)
    espeak.espeak_SetSynthCallback(callback)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for index, (word, pitch_value, rate_wpm) in enumerate(plan):
        pieces.clear()
        words.clear()
        espeak.espeak_SetParameter(pitch, pitch_value, 0)
        espeak.espeak_SetParameter(rate, rate_wpm, 0)
        text = word.encode() + b"\0"
        size = ctypes.c_size_t(len(text))
        espeak.espeak_Synth(text, size, 0, position_character, 0, utf8, None, None)
        espeak.espeak_Synchronize()
        arrays[f"clip{index}"] = np.concatenate(pieces)
        arrays[f"words{index}"] = np.array(words, np.int64)
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **arrays)
    sys.stdout.buffer.write(archive.getvalue())


def _cast(accents: dict[str, str], variants: str) -> tuple[Voice, ...]:
    """Give each variant, in turn, one of the accents (by short name), and a pitch and a rate."""
    voices = []
    for index, variant in enumerate(variants.split()):
        name = list(accents)[index % len(accents)]
        speaker = f"{name}-{variant.lower()}"
        rng = np.random.default_rng(zlib.crc32(speaker.encode()))
        pitch, rate_wpm = int(rng.integers(35, 66)), int(rng.integers(130, 186))
        voices.append(Voice(speaker, accents[name], variant, pitch, rate_wpm))
    return tuple(voices)


_ACCENTS = {
    "us": "en-us",
    "gb": "en",
    "rp": "en-gb-x-rp",
    "scotland": "en-gb-scotland",
    "nyc": "en-us-nyc",
    "midlands": "en-gb-x-gbcwmd",
    "caribbean": "en-029",
    "lancaster": "en-gb-x-gbclan",
}
# Variants that sound like people; the robots, whispers and jokes are left out.
_SHIPPED_VARIANTS = (
    "m1 f2 Alex Alicia m2 Andrea m3 f3 Henrique linda Michael steph m8 Gene f4 aunty Lee belinda "
    "edward f1 Mario Nguyen paul f5 rob steph2 travis Hugo"
)
_MORE_VARIANTS = (
    "Andy Jacky Marco Mike Reed antonio benjamin boris caleb david ed gustave ian iven iven2 iven3 "
    "john kaukovalta klatt klatt2 klatt3 klatt4 marcelo max michel miguel norbert pablo pedro "
    "quincy robert sandro shelby steph3 victor zac Denis Gene2 edward2 grandpa mike2 anika adam"
)
VOICES = (
    Voice("caribbean-f3", "en-029", "f3", 45, 160),
    Voice("caribbean-m4", "en-029", "m4", 55, 150),
    Voice("gb-f5", "en", "f5", 50, 175),
    Voice("gb-m1", "en", "m1", 40, 145),
    Voice("lancaster-annie", "en-gb-x-gbclan", "Annie", 40, 155),
    Voice("lancaster-m6", "en-gb-x-gbclan", "m6", 60, 165),
    Voice("midlands-adam", "en-gb-x-gbcwmd", "adam", 45, 170),
    Voice("midlands-f4", "en-gb-x-gbcwmd", "f4", 55, 160),
    Voice("nyc-grandma", "en-us-nyc", "grandma", 50, 135),
    Voice("nyc-klatt", "en-us-nyc", "klatt", 35, 180),
    Voice("rp-f2", "en-gb-x-rp", "f2", 40, 150),
    Voice("rp-m7", "en-gb-x-rp", "m7", 65, 160),
    Voice("scotland-anika", "en-gb-scotland", "anika", 45, 130),
    Voice("scotland-m3", "en-gb-scotland", "m3", 35, 155),
    Voice("us-diogo", "en-us", "Diogo", 50, 160),
    Voice("us-f1", "en-us", "f1", 60, 170),
    *_cast(_ACCENTS, _SHIPPED_VARIANTS),
)
_REVERSED = dict(reversed(_ACCENTS.items()))
_MANY = (
    *VOICES,
    *_cast(_ACCENTS, _MORE_VARIANTS),
    *_cast(_REVERSED, f"{_SHIPPED_VARIANTS} Diogo grandma Annie"),
    *_cast(_REVERSED, _MORE_VARIANTS),
)
# One voice a name: the first of it.
ALL_VOICES = tuple(
    voice for i, voice in enumerate(_MANY) if voice.speaker not in {v.speaker for v in _MANY[:i]}
)
# Words that are no digits: such as sound like one ("tree", "fine", "sick"), and others. None that
# sounds the same ("won", "for", "ate").
_OTHER_WORDS = """
    tree free thread threw through they there see me be key tea bee knee
    do you who new blue true food tune tooth
    wine fine mine nice night line dine time knife pine
    fire find fight life hive drive dive alive rival
    sick sit sex fix mix kicks stick sing section city seeks
    heaven sever several eleven second send severe clever lesson
    hate late wait gate date great rate bait make day say
    hero near hear clear zebra zoo year nearly serious real yellow
    fork form force fall far more door store floor before
    wonder want when run fun son once woman on off
    bed bird cat dog down go happy house left marvin no right sheila stop up wow yes
    backward forward follow learn visual
    apple bottle water music window table paper people open close play pause start continue
    hello goodbye please thanks okay sorry maybe never always today tomorrow morning evening
    red green black white orange purple silver
    north south east west above under over between inside outside
    mother father sister brother friend family child baby doctor teacher
    lamp light kitchen garden bathroom volume louder softer heating channel
    call message email phone number name street country hundred thousand million
    ten twelve thirteen fourteen fifteen sixteen twenty thirty forty fifty sixty
    jump walk sleep think speak listen write read cook buy sell
    computer keyboard television radio camera battery internet
    a the and but or because very about
"""
OTHER_WORDS = tuple(_OTHER_WORDS.split())

if __name__ == "__main__":
    _speak(**json.load(sys.stdin))
