"""Fluent synthetic speech: strings of digits, and sentences without any.

What clips put together lack, this has: each word is shaped by its neighbours. The voices are those
of espeak-ng, many, drawn from accents times vocal tracts times pitch and rate, and the readers of
flite and festival, few, but recorded from people.

Shapes: L samples, n digits of a phrase.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.connected.strings import LEVEL_RMS, Spoken
from spoken_digits.lab.data.corpora import DIGIT_WORDS
from spoken_digits.lab.runs import whole_file
from spoken_digits.lab.tts import flite_festival as festival
from spoken_digits.lab.tts.espeak import ESPEAK_RATE_HZ, Voice, say
from spoken_digits.lab.tts.flite_festival import READERS, Reader, Saying

__all__ = ["ACCENTS", "VARIANTS", "draw_voices", "make_phrases", "read_phrases"]

Speaker = TypeVar("Speaker", Voice, Reader)
Rate = TypeVar("Rate", int, float)

ACCENTS = (
    *("en-us", "en-us", "en-us-nyc", "en", "en-gb-x-rp"),
    *("en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-scotland", "en-029"),
)
# Those that sound like people: no robots, no whispers.
VARIANTS = (
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique"),
    *("Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed", "Storm"),
    *("adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed"),
    *("edward", "f1", "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "ian", "iven"),
    *("john", "kaukovalta", "klatt", "klatt2", "klatt3", "klatt4", "linda", "m1", "m2", "m3"),
    *("m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michel", "miguel", "norbert", "pablo"),
    *("paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor"),
)
# What is said between digits or instead of them. "to" and "for", spoken as in a sentence, are here.
_WORDS = (
    "about above after again air all along also always and animal answer any are around ask "
    "away back because been before began below better bird black blue boat body book both box "
    "boy bring build busy but buy call came can car carry change city clear close cold come "
    "could country cry cut dark day did different do does done door down draw dry each early "
    "earth eat end enough even ever every eye face fall family far farm fast father feel feet "
    "few find fire first fish follow food foot for found friend from full game gave get girl "
    "give go good great green ground group grow half hand happy hard has have he head hear help "
    "her here high him his hold home horse hot hour house how hundred idea if important in inch "
    "is it just keep kind king knew know land large last late laugh lead learn leave left less "
    "let letter life light like line list listen little live long look made main make man many "
    "map may me mean measure men might mile mind minute miss money month moon more morning most "
    "mother mountain move much music must my name near never next night no north not note "
    "nothing notice now number of off often old on only open or order other our out over own "
    "page paper part pass pattern people perhaps person phone picture piece place plain plan "
    "plant play please point poor press problem pull put question quick rain ran reach read "
    "ready real red rest right river road rock room round rule run said same saw say school sea "
    "second see seem sentence serve set several shape she ship short should show side sing size "
    "sleep slow small snow so some song soon sound south space spell stand star start state "
    "stay step still stood stop story street strong study such sun sure surface system table "
    "take talk teach tell than that the their them then there these they thing think this those "
    "thought through time to together told took top toward town travel tree true try turn "
    "under until up us use very voice walk want war warm was watch water way we week went were "
    "west what wheel when where which while white who whole why will wind with wonder wood word "
    "work world would write year yes yet you young your "
)
_SAID_AS_DIGITS = ("for",)  # by the readers; espeak-ng does not stress it
_QUIETEST = 0.02  # of the peak: what an engine puts before and after is quieter
_TEMPO_SPREAD = 0.35  # a phrase's tempo lies within +- this of a reader's, in natural logarithm
_PITCH_SPREAD = 0.2  # and its pitch, where the reader has one to set
_LAYOUT = ("sound", "bounds")  # of a phrase in the cache


def draw_voices(count: int, seed: int) -> list[Voice]:
    """Draw synthetic speakers: accent, variant, pitch 25 to 80, 120 to 240 words a minute."""
    voices = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        accent, variant = str(rng.choice(ACCENTS)), str(rng.choice(VARIANTS))
        pitch, rate_wpm = int(rng.integers(25, 81)), int(rng.integers(120, 241))
        voices.append(Voice(f"{accent}-{variant}-{i}", accent, variant, pitch, rate_wpm))
    return voices


def make_phrases(
    voices: Sequence[Voice], cache: Path, *, strings: int = 12, sentences: int = 4, seed: int = 0
) -> list[Spoken]:
    """Let every voice say strings of 3 to 9 digits, and sentences of 6 to 14 words without any.

    Parameters
    ----------
    voices
        Speakers; the same ones say the same words with every call.
    cache
        Folder where what was spoken is kept; made if missing.
    strings, sentences
        Of each voice.
    seed
        Key of the words.

    Raises
    ------
    CorpusError
        When espeak-ng has no such accent or variant.
    ImportError
        Without the extra `synth`.
    """
    plans = []
    for i, voice in enumerate(voices):
        rng = np.random.default_rng([seed, i])
        plans.append(
            [
                (
                    text,
                    int(np.clip(voice.pitch + rng.integers(-10, 11), 0, 99)),
                    round(voice.rate_wpm * rng.uniform(0.85, 1.2)),
                )
                for text in _texts(strings, sentences, _WORDS.split(), rng)
            ]
        )
    return _keep(cache, voices, plans, _espeak)


def read_phrases(
    cache: Path,
    readers: Sequence[Reader] = READERS,
    *,
    strings: int = 60,
    sentences: int = 15,
    seed: int = 0,
) -> list[Spoken]:
    """Let every reader say such phrases as `make_phrases` lets espeak-ng say.

    Where a digit ends there is the end of its last sound, not the next digit's beginning: there may
    be a pause between them.

    Parameters
    ----------
    cache
        Folder where what was spoken is kept; made if missing.
    readers
        Voices of flite and festival.
    strings, sentences
        Of each reader, each at a tempo and, where the reader has one to set, a pitch of its own.
    seed
        Key of the words, tempos and pitches.

    Raises
    ------
    CorpusError
        When a program or a voice is missing.
    """
    words = [word for word in _WORDS.split() if word not in _SAID_AS_DIGITS]
    plans = []
    for i, reader in enumerate(readers):
        rng = np.random.default_rng([seed, i, 1])  # other words than the voices have
        plans.append(
            [
                (
                    text,
                    float(np.exp(rng.uniform(-_TEMPO_SPREAD, _TEMPO_SPREAD))),
                    reader.pitch_hz * float(np.exp(rng.uniform(-_PITCH_SPREAD, _PITCH_SPREAD))),
                )
                for text in _texts(strings, sentences, words, rng)
            ]
        )
    return _keep(cache, readers, plans, festival.say)


def _texts(
    strings: int, sentences: int, words: Sequence[str], rng: np.random.Generator
) -> list[str]:
    """Draw strings of digits, some with commas, then sentences of words that are none."""
    texts = []
    for _ in range(strings):
        digits = rng.choice(DIGIT_WORDS, rng.integers(3, 10))
        groups = rng.random(len(digits)) < rng.choice([0.0, 0.3])
        texts.append(" ".join(w + "," * bool(g) for w, g in zip(digits, groups, strict=True)))
    for _ in range(sentences):
        texts.append(" ".join(rng.choice(words, rng.integers(6, 15)).tolist()))
    return texts


def _espeak(voice: Voice, plan: list[tuple[str, int, int]]) -> list[Saying]:
    """As `festival.say`; espeak-ng tells where words begin: each ends where the next begins."""
    sayings: list[Saying] = []
    for samples, starts in say(voice, plan):
        edges = np.append(starts, len(samples))
        sayings.append((samples, ESPEAK_RATE_HZ, np.stack([edges[:-1], edges[1:]], axis=1)))
    return sayings


def _keep(
    cache: Path,
    speakers: Sequence[Speaker],
    plans: list[list[tuple[str, Rate, Rate]]],
    speak: Callable[[Speaker, list[tuple[str, Rate, Rate]]], list[Saying]],
) -> list[Spoken]:
    """Have every speaker's plan spoken, unless that is in the cache; read it from there."""
    # The layout is part of the key: what an older version kept is not taken for ours.
    key = hashlib.sha256(repr((_LAYOUT, speakers, plans)).encode()).hexdigest()[:16]
    file = cache / f"phrases-{key}.npz"
    if not file.exists():
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            spoken = list(pool.map(speak, speakers, plans))
        arrays: dict[str, NDArray[np.generic]] = {}
        for s, sayings in enumerate(spoken):
            for p, saying in enumerate(sayings):
                arrays[f"{s}-{p}-sound"], arrays[f"{s}-{p}-bounds"] = _finish(*saying)
        with whole_file(file) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    phrases = []
    with np.load(file) as stored:
        for s, (speaker, plan) in enumerate(zip(speakers, plans, strict=True)):
            for p, (text, _, _) in enumerate(plan):
                sound, bounds = stored[f"{s}-{p}-sound"], stored[f"{s}-{p}-bounds"]
                said = text.replace(",", "").split()
                digits = "".join(str(DIGIT_WORDS.index(w)) for w in said if w in DIGIT_WORDS)
                if not digits:
                    bounds = np.empty((0, 2), np.int64)
                if len(bounds) != len(digits):
                    continue  # espeak-ng told of fewer words than it was given
                samples = sound.astype(np.float32) / 2**15
                starts, ends = bounds.T
                phrases.append(Spoken(samples, digits, starts, ends, speaker.speaker, "phrases"))
    return phrases


def _finish(
    samples: NDArray[np.int16], rate_hz: int, bounds: NDArray[np.int64]
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Bring a phrase to 8 kHz and one level, cut the silence around it off; move the words too."""
    sound = resample(samples.astype(np.float32), rate_hz)
    loud = np.flatnonzero(np.abs(sound) > _QUIETEST * np.abs(sound).max())
    first, last = int(loud[0]), int(loud[-1]) + 1
    sound = sound[first:last]
    sound *= LEVEL_RMS / np.sqrt((sound**2).mean())
    bounds = np.clip(bounds * SAMPLE_RATE // rate_hz - first, 0, len(sound))
    return np.round(sound.clip(-1, 1) * (2**15 - 1)).astype(np.int16), bounds
