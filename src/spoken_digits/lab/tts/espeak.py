"""TTS voices of espeak-ng; some ship in the corpus ``voices``, see `shipped`.

A voice is an accent of English times a vocal tract ("variant") times pitch and rate. The same call
gives the same samples; for that, espeak-ng needs a fresh process for each voice, its random numbers
seeded, and the words in one order. `ALL_VOICES`, three times as many as `VOICES`, train the
recognizer that ships.

Shapes: L samples.
"""

import ctypes
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError
from spoken_digits.lab.runs import expect_free, whole_folder

__all__ = [
    "ALL_VOICES",
    "ESPEAK_SAMPLE_RATE",
    "OOV_WORDS",
    "TAKES",
    "VOICES",
    "Prompt",
    "Voice",
    "make_voices",
    "speech_bounds",
    "synthesize",
    "to_corpus_clip",
]

TAKES = 2
ESPEAK_SAMPLE_RATE = 22_050
PITCH_SPREAD = 10  # a take's pitch lies within +- this of the voice's, on a scale of 0 to 100
RATE_SPREAD = 0.18  # a take's rate lies within +- this fraction of the voice's
PEAK = 0.03  # of full scale: lower than necessary, for files half as large
TRIM_RATIO = 0.01  # of the peak, -40 dB: what is quieter before and after is trimmed ...
MARGIN_S = 0.015  # ... except for this margin


@dataclass(frozen=True)
class Voice:
    """One TTS voice.

    Attributes
    ----------
    speaker
        Its name in the corpus.
    accent, variant
        espeak-ng's names of the language and of the vocal tract.
    pitch
        On espeak-ng's scale of 0 to 100.
    rate_wpm
        Words per minute.
    """

    speaker: str
    accent: str
    variant: str
    pitch: int
    rate_wpm: int


class Prompt(NamedTuple):
    """A text to synthesize, at a pitch (0 to 100) and a rate (words per minute)."""

    text: str
    pitch: int
    rate_wpm: int


def make_voices(
    output: Path | str,
    voices: Sequence[Voice] | None = None,
    *,
    takes: int = TAKES,
    seed: int = 0,
    oov_words: int = 0,
    oh: bool = False,
) -> Path:
    """Synthesize the ten digits with every voice into `output/<digit>/<speaker>_<take>.flac`.

    The clips are 8 kHz, mono, 16 bit, trimmed, at one peak level. Every take has its own pitch and
    rate, drawn from `seed`; the same call gives the same samples.

    Parameters
    ----------
    output : Path or str
        Folder to make; it must not exist, or be empty.
    voices : sequence of Voice, optional
        TTS voices, by default `VOICES`.
    takes : int
        Clips of each digit and voice.
    seed : int
        Key of the pitches and rates, and of the out-of-vocabulary words.
    oov_words : int
        How many of `OOV_WORDS`, drawn for each voice, to synthesize as well, once each, into
        `output/<word>/<speaker>_0.flac`: 0 to all of them.
    oh
        Whether to synthesize zero said as "oh" as well, as often as the digits, into `output/oh`.

    Returns
    -------
    Path
        `output`, which appears whole or not at all.

    Raises
    ------
    CorpusError
        When espeak-ng has no such accent or variant, or `oov_words` is out of range.
    ImportError
        Without the extra `synth`.
    OutputError
        When the folder exists and is not empty.
    """
    import espeakng_loader  # noqa: F401  the child processes need it: fail here rather than there

    voices, output = VOICES if voices is None else voices, Path(output)
    expect_free(output)
    with whole_folder(output) as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = [[seed, index] for index, _ in enumerate(voices)]
        words_of = [_draw_oov_words(oov_words, key) for key in keys]
        prompts_of = [
            _prompts(voice, takes, words, key, oh)
            for voice, words, key in zip(voices, words_of, keys, strict=True)
        ]
        speech = pool.map(synthesize, voices, prompts_of)
        for voice, words, clips in zip(voices, words_of, speech, strict=True):
            names = [(digit, take) for take, digit in product(range(takes), DIGITS)]
            names += [(word, 0) for word in words]
            names += [("oh", take) for take in range(takes * oh)]
            for (label, take), (samples, _) in zip(names, clips, strict=True):
                file = folder / label / f"{voice.speaker}_{take}.flac"
                file.parent.mkdir(parents=True, exist_ok=True)
                sf.write(
                    file,
                    to_corpus_clip(samples, ESPEAK_SAMPLE_RATE),
                    SAMPLE_RATE,
                    "PCM_16",
                    compression_level=1,
                )
    return output


def _draw_oov_words(count: int, key: list[int]) -> list[str]:
    """Draw some of `OOV_WORDS` for a voice, each at most once."""
    if not 0 <= count <= len(OOV_WORDS):
        raise CorpusError(f"{count} out-of-vocabulary words: expected 0 to {len(OOV_WORDS)}")
    # A random stream of its own: the digits are the same, however many words follow them.
    rng = np.random.default_rng([*key, 1])
    return [OOV_WORDS[i] for i in rng.choice(len(OOV_WORDS), count, replace=False)]


def _prompts(
    voice: Voice, takes: int, oov_words: Sequence[str], key: list[int], oh: bool
) -> list[Prompt]:
    """Draw pitch and rate of what a voice is to say: digits, other words, "oh", take by take."""
    rng = np.random.default_rng(key)
    # Each take draws from its own part of [-1, 1], so that no two are alike.
    words = [(word, take, takes) for take, word in product(range(takes), DIGIT_WORDS)]
    words += [(word, 0, 1) for word in oov_words]
    words += [("oh", take, takes) for take in range(takes * oh)]
    prompts = []
    for word, part, parts in words:
        higher, faster = 2 * (part + rng.uniform(0.2, 0.8, size=2)) / parts - 1
        pitch = round(np.clip(voice.pitch + PITCH_SPREAD * higher, 0, 100))
        prompts.append(Prompt(word, pitch, round(voice.rate_wpm * (1 + RATE_SPREAD * faster))))
    return prompts


def speech_bounds(samples: npt.NDArray[np.float32], ratio: float) -> tuple[int, int]:
    """Return first and stop of what exceeds `ratio` times the peak of (L,) samples.

    A synthesizer's silence is digital, so single samples tell speech from it; recordings need
    `augmentation.waveform.trim` or `audio.find_speech`.
    """
    level = np.abs(samples)
    loud = np.flatnonzero(level > ratio * level.max())
    return int(loud[0]), int(loud[-1]) + 1


def to_corpus_clip(samples: npt.NDArray[np.int16], sample_rate: int) -> npt.NDArray[np.float32]:
    """Return (L,) samples of a synthesizer as a clip of the corpus: 8 kHz, trimmed, peak `PEAK`."""
    # Not audio.to_clip: the clips that ship must not change when its endpoint detection does.
    clip = resample(samples.astype(np.float32), sample_rate)
    clip = clip * np.float32(PEAK / np.abs(clip).max())
    first, stop = speech_bounds(clip, TRIM_RATIO)
    margin = round(MARGIN_S * SAMPLE_RATE)
    return clip[max(0, first - margin) : stop - 1 + margin]


def synthesize(
    voice: Voice, prompts: Sequence[Prompt]
) -> list[tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]]:
    """Synthesize prompts, one after another, in a fresh process.

    Returns
    -------
    list of (L,) int16 at `ESPEAK_SAMPLE_RATE`, and (n,) int64, the samples where its n words begin

    Raises
    ------
    CorpusError
        When espeak-ng has no such accent or variant.
    """
    job = json.dumps({"accent": voice.accent, "variant": voice.variant, "prompts": prompts})
    child = subprocess.run(
        [sys.executable, "-m", __name__], input=job.encode(), capture_output=True, check=False
    )
    if child.returncode:
        reason = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CorpusError(f"voice {voice.speaker}: {reason}")
    with np.load(io.BytesIO(child.stdout)) as arrays:
        return [(arrays[f"clip{i}"], arrays[f"words{i}"]) for i in range(len(prompts))]


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h: what it reports beside the samples."""

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


def _synthesize_here(accent: str, variant: str, prompts: Sequence[tuple[str, int, int]]) -> None:
    """Synthesize in this process, and write an npz archive to standard output.

    Its arrays are clip0, (L,) int16, words0, the samples where words begin, clip1, and so on. Names
    are those of espeak-ng's speak_lib.h.
    """
    import espeakng_loader

    synchronous_output, position_character, utf8, rate, pitch = 2, 1, 1, 1, 3
    data = Path(espeakng_loader.get_data_path())
    # For an unknown variant espeak-ng falls back to its plain voice without a warning.
    if variant not in (known := sorted(file.name for file in (data / "voices" / "!v").iterdir())):
        raise SystemExit(f"no variant {variant!r}, expected one of {', '.join(known)}")
    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    if espeak.espeak_Initialize(synchronous_output, 0, str(data).encode(), 0) != ESPEAK_SAMPLE_RATE:
        raise SystemExit(f"espeak-ng does not start at {ESPEAK_SAMPLE_RATE:,} Hz; install it anew")
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
                words.append(event.audio_position_ms * ESPEAK_SAMPLE_RATE // 1000)
            position += 1
        return 0

    callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )(collect)
    espeak.espeak_SetSynthCallback(callback)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for index, (word, pitch_value, rate_wpm) in enumerate(prompts):
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
    """Give each variant, in turn, one of the accents (by short name), with a pitch and a rate."""
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
# Variants that sound human: no robots, whispers or jokes.
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
# Of voices with the same name, the first.
ALL_VOICES = tuple(
    voice for i, voice in enumerate(_MANY) if voice.speaker not in {v.speaker for v in _MANY[:i]}
)
# Words that are no digits, many of which are easily confused with one ("tree", "fine", "sick"). No
# homophones of a digit ("won", "for", "ate").
_OOV_WORDS = """
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
OOV_WORDS = tuple(_OOV_WORDS.split())

if __name__ == "__main__":
    _synthesize_here(**json.load(sys.stdin))
