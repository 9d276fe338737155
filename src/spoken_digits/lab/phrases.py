"""Fluent synthetic speech: strings of digits, and sentences without any, spoken by espeak-ng.

What clips put together lack, this has: each word is shaped by its neighbours. The voices are drawn
from accents times vocal tracts times pitch and rate.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.corpora import DIGIT_WORDS
from spoken_digits.lab.files import whole_file
from spoken_digits.lab.strings import LEVEL_RMS, Spoken
from spoken_digits.lab.voices import ESPEAK_RATE_HZ, Voice, say

__all__ = ["ACCENTS", "VARIANTS", "draw_voices", "make_phrases"]

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
    "thought through time to together told too took top toward town travel tree true try turn "
    "under until up us use very voice walk want war warm was watch water way we week went were "
    "west what wheel when where which while white who whole why will wind with wonder wood word "
    "work world would write year yes yet you young your "
)
_QUIETEST = 0.02  # of the peak: what espeak-ng puts before and after is quieter


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
    plans = [
        _plan(voice, strings, sentences, np.random.default_rng([seed, i]))
        for i, voice in enumerate(voices)
    ]
    key = hashlib.sha256(repr((voices, plans)).encode()).hexdigest()[:16]
    file = cache / f"phrases-{key}.npz"
    if not file.exists():
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            spoken = list(pool.map(say, voices, plans))
        arrays: dict[str, NDArray[np.generic]] = {}
        for v, sayings in enumerate(spoken):
            for p, (samples, words) in enumerate(sayings):
                sound, starts = _finish(samples, words)
                arrays[f"{v}-{p}-sound"], arrays[f"{v}-{p}-starts"] = sound, starts
        with whole_file(file) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    phrases = []
    with np.load(file) as stored:
        for v, (voice, plan) in enumerate(zip(voices, plans, strict=True)):
            for p, (text, _, _) in enumerate(plan):
                sound, starts = stored[f"{v}-{p}-sound"], stored[f"{v}-{p}-starts"]
                said = text.replace(",", "").split()
                digits = "".join(str(DIGIT_WORDS.index(w)) for w in said if w in DIGIT_WORDS)
                if digits and len(starts) != len(digits):
                    continue  # espeak-ng told of fewer words than it was given
                ends = np.append(starts[1:], len(sound))
                if not digits:
                    starts = ends = np.empty(0, np.int64)
                samples = sound.astype(np.float32) / 2**15
                phrases.append(Spoken(samples, digits, starts, ends, voice.speaker, "phrases"))
    return phrases


def _plan(
    voice: Voice, strings: int, sentences: int, rng: np.random.Generator
) -> list[tuple[str, int, int]]:
    texts = []
    for _ in range(strings):
        words = rng.choice(DIGIT_WORDS, rng.integers(3, 10))
        groups = rng.random(len(words)) < rng.choice([0.0, 0.3])
        texts.append(" ".join(w + "," * bool(g) for w, g in zip(words, groups, strict=True)))
    for _ in range(sentences):
        texts.append(" ".join(rng.choice(_WORDS.split(), rng.integers(6, 15)).tolist()))
    return [
        (
            text,
            int(np.clip(voice.pitch + rng.integers(-10, 11), 0, 99)),
            round(voice.rate_wpm * rng.uniform(0.85, 1.2)),
        )
        for text in texts
    ]


def _finish(
    samples: NDArray[np.int16], words: NDArray[np.int64]
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Bring a phrase to 8 kHz and one level, cut the silence around it off; move the words too."""
    sound = resample(samples.astype(np.float32), ESPEAK_RATE_HZ)
    loud = np.flatnonzero(np.abs(sound) > _QUIETEST * np.abs(sound).max())
    first, last = int(loud[0]), int(loud[-1]) + 1
    sound = sound[first:last]
    sound *= LEVEL_RMS / np.sqrt((sound**2).mean())
    starts = np.maximum(words * SAMPLE_RATE // ESPEAK_RATE_HZ - first, 0)
    return np.round(sound.clip(-1, 1) * (2**15 - 1)).astype(np.int16), starts
