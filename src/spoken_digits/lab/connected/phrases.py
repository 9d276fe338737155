"""Fluent synthetic speech: strings of digits, and sentences without any digit.

Unlike clips put together, it is coarticulated: each word is shaped by its neighbours. The TTS
voices are many of espeak-ng, drawn from accents times vocal tracts times pitch and rate, and a few
of flite and festival, which are made from recordings of people.

Shapes: L samples, n digits of a phrase.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.connected.strings import LEVEL_RMS, DigitString
from spoken_digits.lab.data.corpora import DIGIT_WORDS
from spoken_digits.lab.runs import whole_file
from spoken_digits.lab.tts import espeak, flite_festival, kokoro
from spoken_digits.lab.tts.espeak import Voice
from spoken_digits.lab.tts.flite_festival import (
    FLITE_FESTIVAL_VOICES,
    FliteFestivalVoice,
    Synthesis,
)
from spoken_digits.lab.tts.phonemes import spoken_digits_of, words_of
from spoken_digits.lab.tts.texts import (
    draw_letters,
    draw_made_up_words,
    draw_mixed_sentence,
    draw_sentence,
    draw_string,
    draw_words,
    labels_of,
)

__all__ = [
    "ACCENTS",
    "VARIANTS",
    "PhraseKind",
    "draw_voices",
    "make_doubled_phrases",
    "make_espeak_phrases",
    "make_flite_festival_phrases",
    "make_kokoro_phrases",
    "synthesize_espeak",
    "synthesize_phrases",
]

AnyVoice = TypeVar("AnyVoice", Voice, FliteFestivalVoice, kokoro.KokoroVoice)
AnyPrompt = TypeVar("AnyPrompt", espeak.Prompt, flite_festival.Prompt, kokoro.Prompt)
PhraseKind = Literal["strings", "sentences", "mixed", "words"]

ACCENTS = (
    *("en-us", "en-us", "en-us-nyc", "en", "en-gb-x-rp"),
    *("en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-scotland", "en-029"),
)
# Variants that sound human: no robots, no whispers.
VARIANTS = (
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique"),
    *("Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed", "Storm"),
    *("adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed"),
    *("edward", "f1", "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "ian", "iven"),
    *("john", "kaukovalta", "klatt", "klatt2", "klatt3", "klatt4", "linda", "m1", "m2", "m3"),
    *("m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michel", "miguel", "norbert", "pablo"),
    *("paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor"),
)
# Words of the sentences. "to" and "for" are among them: in a sentence they are unstressed.
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
_SPOKEN_AS_DIGITS = ("for",)  # by flite and festival; espeak-ng does not stress it
_TRIM_RATIO = 0.02  # of the peak, -34 dB: what is quieter before and after is trimmed
_TEMPO_SPREAD = 0.35  # a phrase's tempo lies within +- this of the voice's, in natural logarithm
_PITCH_SPREAD = 0.2  # likewise its pitch, for a voice whose pitch can be set
_LAYOUT = ("samples", "bounds")  # arrays of a phrase in the cache
_DOUBLED_VOICES, _DOUBLED_KEY = 12, 1_000  # of espeak-ng; voices that no training draws
_DOUBLED = 0.15  # of the digits of Kokoro's strings repeat the one before
_MULTIPLIED = 0.15  # of its digits have "double" or "triple" before them, in a third of the strings


def draw_voices(count: int, seed: int) -> list[Voice]:
    """Draw voices of espeak-ng: accent, variant, pitch 25 to 80, 120 to 240 words per minute."""
    voices = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        accent, variant = str(rng.choice(ACCENTS)), str(rng.choice(VARIANTS))
        pitch, rate_wpm = int(rng.integers(25, 81)), int(rng.integers(120, 241))
        voices.append(Voice(f"{accent}-{variant}-{i}", accent, variant, pitch, rate_wpm))
    return voices


def make_espeak_phrases(
    voices: Sequence[Voice],
    cache: Path,
    *,
    strings: int = 12,
    sentences: int = 4,
    spelled: int = 0,
    made_up: int = 0,
    seed: int = 0,
) -> list[DigitString]:
    """Synthesize strings of 3 to 9 digits, and sentences, spelling and words without any digit.

    Zero is said as "zero" or as "oh". A digit ends where the next word begins, or the phrase ends.

    Parameters
    ----------
    voices
        Voices of espeak-ng; the same voices and seed give the same phrases.
    cache
        Folder where phrases are cached; made if missing.
    strings, sentences, spelled, made_up
        How many each voice speaks: sentences of 6 to 14 words; spellings of 3 to 9 letters, some of
        which sound like digits; 2 to 5 single words, most of them made up, some near words.
    seed
        Key of the words.

    Raises
    ------
    CorpusError
        When espeak-ng has no such accent or variant.
    ImportError
        Without the extra `synth`.
    """
    prompts = []
    for i, voice in enumerate(voices):
        rng = np.random.default_rng([seed, i])
        prompts.append(
            [
                espeak.Prompt(
                    text,
                    int(np.clip(voice.pitch + rng.integers(-10, 11), 0, 99)),
                    round(voice.rate_wpm * rng.uniform(0.85, 1.2)),
                )
                for text in (
                    *_texts(strings, sentences, _WORDS.split(), rng, (*DIGIT_WORDS, "0")),
                    *(draw_letters(rng) for _ in range(spelled)),
                    *(draw_made_up_words(rng) for _ in range(made_up)),
                )
            ]
        )
    return _cached(cache, voices, prompts, _synthesize_espeak)


def make_flite_festival_phrases(
    cache: Path,
    voices: Sequence[FliteFestivalVoice] = FLITE_FESTIVAL_VOICES,
    *,
    strings: int = 60,
    sentences: int = 15,
    seed: int = 0,
) -> list[DigitString]:
    """Synthesize phrases as `make_espeak_phrases` does, with voices of flite and festival.

    A digit ends with its last sound, not where the next begins: there may be a pause in between.

    Parameters
    ----------
    cache
        Folder where phrases are cached; made if missing.
    voices
        Voices of flite and festival.
    strings, sentences
        How many each voice speaks, each at its own tempo and, where that can be set, pitch.
    seed
        Key of the words, tempos and pitches.

    Raises
    ------
    CorpusError
        When a program or a voice is missing.
    """
    words = [word for word in _WORDS.split() if word not in _SPOKEN_AS_DIGITS]
    prompts = []
    for i, voice in enumerate(voices):
        rng = np.random.default_rng([seed, i, 1])  # other texts than those of espeak-ng's voices
        prompts.append(
            [
                flite_festival.Prompt(
                    text,
                    float(np.exp(rng.uniform(-_TEMPO_SPREAD, _TEMPO_SPREAD))),
                    voice.pitch_hz * float(np.exp(rng.uniform(-_PITCH_SPREAD, _PITCH_SPREAD))),
                )
                for text in _texts(strings, sentences, words, rng)
            ]
        )
    return _cached(cache, voices, prompts, flite_festival.synthesize)


def make_kokoro_phrases(
    engine: kokoro.Kokoro | Callable[[], kokoro.Kokoro],
    cache: Path,
    voices: Sequence[kokoro.KokoroVoice] = kokoro.KOKORO_VOICES,
    *,
    strings: int = 12,
    sentences: int = 4,
    mixed: int = 4,
    words: int = 0,
    seed: int = 0,
) -> list[DigitString]:
    """Synthesize phrases with voices of Kokoro, at rates of 0.7 to 1.6, drawn on a log scale.

    Zero is said as "zero" or as "oh". A digit's times are those of its phonemes, to 25 ms; there
    may be a pause before the next.

    Parameters
    ----------
    engine
        The synthesizer, or what returns it when the cache lacks a phrase.
    cache
        Folder where phrases are cached; made if missing.
    voices
        Voices of Kokoro; the same voices and seed give the same phrases.
    strings, sentences, mixed, words
        How many each voice speaks: strings of 3 to 9 digits; sentences without digits, half of them
        with near words; sentences with digits or numbers among other words; single words, most of
        them near ones, with pauses between.
    seed
        Key of the texts and rates.

    Raises
    ------
    CorpusError
        As of `kokoro.Kokoro.synthesize`.
    ImportError
        Without the extra `synth`.
    """
    counts: dict[PhraseKind, int] = {
        "strings": strings,
        "sentences": sentences,
        "mixed": mixed,
        "words": words,
    }
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    prompts = []
    for i, _ in enumerate(voices):
        rng = np.random.default_rng([seed, i, 2])  # other texts than those of the other engines
        prompts.append([_kokoro_prompt(kind, rng) for kind in kinds])
    return _cached(
        cache,
        voices,
        prompts,
        lambda *asked: (engine if isinstance(engine, kokoro.Kokoro) else engine()).synthesize(
            *asked
        ),
    )


def make_doubled_phrases(
    cache: Path, count: int, seed: int = 0, kokoro_engine: kokoro.Kokoro | None = None
) -> list[DigitString]:
    """Synthesize strings of 4 to 7 digits with a doubled or tripled one, and others without.

    They come in pairs: the same voice says the same string once with a digit repeated, once with
    other digits in place of the repetitions, at the same rate. The engines share them equally.

    Parameters
    ----------
    cache
        Folder where phrases are cached; made if missing.
    count
        Pairs.
    seed
        Key of voices, digits and rates.
    kokoro_engine
        Speaks a third of them; None leaves them to espeak-ng, flite and festival.

    Raises
    ------
    CorpusError
        When a program or a voice is missing.
    ImportError
        Without the extra `synth`.
    """
    engines = 2 if kokoro_engine is None else 3
    phrases: list[DigitString] = []
    for engine in range(engines):
        pairs = [
            _doubled_pair(np.random.default_rng([seed, engine, i, 4]))
            for i in range(len(range(engine, count, engines)))
        ]
        if engine == 0:
            espeak_voices = draw_voices(_DOUBLED_VOICES, seed + _DOUBLED_KEY)
            phrases += _cached(
                cache,
                espeak_voices,
                _dealt(
                    pairs,
                    espeak_voices,
                    lambda text, tempo, v: espeak.Prompt(text, v.pitch, round(v.rate_wpm * tempo)),
                ),
                _synthesize_espeak,
            )
        elif engine == 1:
            phrases += _cached(
                cache,
                FLITE_FESTIVAL_VOICES,
                _dealt(
                    pairs,
                    FLITE_FESTIVAL_VOICES,
                    lambda text, tempo, v: flite_festival.Prompt(text, tempo, v.pitch_hz),
                ),
                flite_festival.synthesize,
            )
        else:
            assert kokoro_engine is not None
            phrases += _cached(
                cache,
                kokoro.KOKORO_VOICES,
                _dealt(
                    pairs,
                    kokoro.KOKORO_VOICES,
                    lambda text, tempo, _: kokoro.Prompt(text, tempo),
                ),
                kokoro_engine.synthesize,
            )
    return phrases


def _doubled_pair(rng: np.random.Generator) -> tuple[str, str, float]:
    """Draw a string with a repetition, one without, as texts, and their tempo."""
    n, repeats = int(rng.integers(4, 8)), int(rng.choice([1, 2], p=[0.7, 0.3]))
    groups = [int(rng.integers(10))]
    while len(groups) < n - repeats:  # never two alike beside each other
        groups.append((groups[-1] + int(rng.integers(1, 10))) % 10)
    at = int(rng.integers(len(groups)))
    doubled = groups[: at + 1] + [groups[at]] * repeats + groups[at + 1 :]
    plain = doubled.copy()
    for k in range(at + 1, at + 1 + repeats):
        taken = {groups[at], *plain[k - 1 : k], *plain[k + 1 : k + 2]}
        plain[k] = int(rng.choice(sorted({*range(10)} - taken)))
    tempo = float(np.exp(rng.uniform(-_TEMPO_SPREAD, _TEMPO_SPREAD)))
    with_repetition, without = (
        " ".join(DIGIT_WORDS[d] for d in digits) for digits in (doubled, plain)
    )
    return with_repetition, without, tempo


def _dealt(
    pairs: Sequence[tuple[str, str, float]],
    voices: Sequence[AnyVoice],
    prompt: Callable[[str, float, AnyVoice], AnyPrompt],
) -> list[list[AnyPrompt]]:
    """Deal pairs out to voices in turn: the prompts of each."""
    return [
        [
            prompt(text, tempo, voice)
            for doubled, plain, tempo in pairs[v :: len(voices)]
            for text in (doubled, plain)
        ]
        for v, voice in enumerate(voices)
    ]


def synthesize_phrases(
    engine: kokoro.Kokoro,
    voices: Sequence[kokoro.KokoroVoice],
    kinds: Sequence[PhraseKind],
    *,
    min_digits: int = 3,
    max_digits: int = 9,
    seed: int = 0,
) -> Iterator[DigitString]:
    """Yield a phrase of each kind, spoken by the voices in turn; see `make_kokoro_phrases`.

    Raises
    ------
    CorpusError
        As of `kokoro.Kokoro.synthesize`.
    ImportError
        Without the extra `synth`.
    """

    def speak(index: int) -> DigitString:
        voice, rng = voices[index % len(voices)], np.random.default_rng([seed, index, 3])
        prompt = _kokoro_prompt(kinds[index], rng, min_digits, max_digits)
        [synthesis] = engine.synthesize(voice, [prompt])
        return _to_phrase(*_normalize(synthesis), prompt.text, voice.speaker)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(speak, range(len(kinds)))


def _kokoro_prompt(
    kind: PhraseKind, rng: np.random.Generator, min_digits: int = 3, max_digits: int = 9
) -> kokoro.Prompt:
    if kind == "strings":
        multiplied = _MULTIPLIED if rng.random() < 1 / 3 else 0.0
        text = draw_string(rng, min_digits, max_digits, _DOUBLED, multiplied)
    elif kind == "mixed":
        text = draw_mixed_sentence(rng)
    elif kind == "words":
        text = draw_words(rng, _WORDS.split())
    else:
        text = draw_sentence(rng, _WORDS.split())
    return kokoro.Prompt(text, kokoro.draw_rate(rng))


def _texts(
    strings: int,
    sentences: int,
    words: Sequence[str],
    rng: np.random.Generator,
    digit_words: Sequence[str] = DIGIT_WORDS,
) -> list[str]:
    """Draw strings of digits, some with commas, then sentences of other words."""
    texts = []
    for _ in range(strings):
        digits = rng.choice(digit_words, rng.integers(3, 10))
        groups = rng.random(len(digits)) < rng.choice([0.0, 0.3])
        texts.append(" ".join(w + "," * bool(g) for w, g in zip(digits, groups, strict=True)))
    for _ in range(sentences):
        texts.append(" ".join(rng.choice(words, rng.integers(6, 15)).tolist()))
    return texts


def _synthesize_espeak(voice: Voice, prompts: Sequence[espeak.Prompt]) -> list[Synthesis]:
    # The digit zero said as "oh" is written 0, which espeak-ng would read as "zero".
    return synthesize_espeak(
        voice, [prompt._replace(text=prompt.text.replace("0", "oh")) for prompt in prompts]
    )


def synthesize_espeak(voice: Voice, prompts: Sequence[espeak.Prompt]) -> list[Synthesis]:
    """Synthesize as `flite_festival.synthesize`; each word ends where the next begins."""
    speech: list[Synthesis] = []
    for samples, starts in espeak.synthesize(voice, prompts):
        edges = np.append(starts, len(samples))
        bounds = np.stack([edges[:-1], edges[1:]], axis=1)
        speech.append(Synthesis(samples, espeak.ESPEAK_SAMPLE_RATE, bounds))
    return speech


def _cached(
    cache: Path,
    voices: Sequence[AnyVoice],
    prompts: Sequence[Sequence[AnyPrompt]],
    synthesize: Callable[[AnyVoice, Sequence[AnyPrompt]], list[Synthesis]],
) -> list[DigitString]:
    """Synthesize every voice's prompts into a file of the cache, unless it is there; read it."""
    # The layout is part of the key: a file of another layout is not read as one of this.
    key = hashlib.sha256(repr((_LAYOUT, voices, prompts)).encode()).hexdigest()[:16]
    file = cache / f"phrases-{key}.npz"
    if not file.exists():
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # A voice may have nothing to say.
            speech_of = list(
                pool.map(lambda v, own: synthesize(v, own) if own else [], voices, prompts)
            )
        arrays: dict[str, NDArray[np.generic]] = {}
        for v, speech in enumerate(speech_of):
            for p, synthesis in enumerate(speech):
                arrays[f"{v}-{p}-samples"], arrays[f"{v}-{p}-bounds"] = _normalize(synthesis)
        with whole_file(file) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    phrases = []
    with np.load(file) as stored:
        for v, (voice, own) in enumerate(zip(voices, prompts, strict=True)):
            for p, prompt in enumerate(own):
                samples, bounds = stored[f"{v}-{p}-samples"], stored[f"{v}-{p}-bounds"]
                if not (digits := spoken_digits_of(prompt.text)):
                    bounds = np.empty((0, 2), np.int64)
                if len(bounds) != len(digits):
                    continue  # espeak-ng reported fewer words than the text has
                phrases.append(_to_phrase(samples, bounds, prompt.text, voice.speaker))
    return phrases


def _to_phrase(
    samples: NDArray[np.int16], bounds: NDArray[np.int64], text: str, speaker: str
) -> DigitString:
    starts, ends = bounds.T
    sound = samples.astype(np.float32) / np.float32(2**15)
    # The exclamation is no digit; the digit is written 0.
    words = ["oh" if word == "0" else {"oh": "other"}.get(word, word) for word in words_of(text)]
    digits = spoken_digits_of(text)
    return DigitString(sound, digits, starts, ends, speaker, "phrases", labels_of(words))


def _normalize(synthesis: Synthesis) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return 8 kHz samples without silence around them, at an RMS of `LEVEL_RMS`, and bounds."""
    sound = resample(synthesis.samples.astype(np.float32), synthesis.sample_rate)
    first, stop = espeak.speech_bounds(sound, _TRIM_RATIO)
    sound = sound[first:stop]
    sound *= LEVEL_RMS / np.sqrt((sound**2).mean())
    bounds = synthesis.bounds * SAMPLE_RATE // synthesis.sample_rate - first
    samples = np.round(sound.clip(-1, 1) * (2**15 - 1)).astype(np.int16)
    return samples, np.clip(bounds, 0, len(sound))
