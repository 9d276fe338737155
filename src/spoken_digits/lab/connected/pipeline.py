"""The network for strings, from the corpora at hand to its file, and how well that file does.

What it is judged on, it has not heard: the test speakers of a split of FSDD, one in five of the
speakers of Speech Commands, words as well as digits, and two recordings of noise.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.connected import Transcriber
from spoken_digits.lab.connected.network import StringNet, export_strings
from spoken_digits.lab.connected.phrases import (
    draw_voices,
    make_espeak_phrases,
    make_flite_festival_phrases,
)
from spoken_digits.lab.connected.strings import (
    LEVEL_RMS,
    DigitString,
    StringStyle,
    make_strings,
    read_words,
    score,
)
from spoken_digits.lab.connected.training import Material, StringConfig, train_strings
from spoken_digits.lab.data.corpora import Clip, data_hash, read_corpus, read_synthetic
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import is_held_out, noise_partition
from spoken_digits.lab.data.splits import one_split
from spoken_digits.lab.runs import commit, write_whole
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES

__all__ = ["TEST_STYLE", "judge_transcriber", "train_transcriber", "unheard_clips"]

THRESHOLD = 0.2  # probability that a digit must reach; chosen on speakers left out
TEST_STYLE = StringStyle(min_digits=4, max_digits=7)
STRINGS_PER_SPEAKER = 100
PHRASE_VOICES = 90
READER_STRINGS, READER_SENTENCES = 60, 15  # of each: there are fewer readers than voices
# Of the recordings that the most frequent digit has: what has fewer would lend its few recordings a
# tenth of all that is said.
_LEAST_SHARE = 0.1
_PAUSE_S = 0.5  # between words that are no digits


def unheard_clips(split: str | None, data: Path | str | None = None) -> tuple[Clip, ...]:
    """Return the digits that made strings are to be judged on: nobody's that the network heard.

    Those of the split's test speakers; without a split, of the speakers of Speech Commands that are
    held out.
    """
    if split:
        return one_split(split, read_corpus("fsdd", data)).test
    clips = read_corpus("speech_commands", data)
    return tuple(c for c in clips if is_held_out(c.speaker) and c.label.isdecimal())


def train_transcriber(
    output: Path | str,
    split: str | None = None,
    data: Path | str | None = None,
    config: StringConfig | None = None,
    command: str = "",
    cache: Path = Path("runs", "prepared"),
    progress: Callable[[int, float, StringNet], None] = lambda *_: None,
) -> Path:
    """Train on all that is open and at hand, and write the network as ONNX.

    Parameters
    ----------
    output
        File to write.
    split
        Split of FSDD whose training speakers are learned from; left out, all six.
    data
        Folder of corpora with FSDD and Speech Commands.
    config
        Sizes and rates of the training.
    command
        What was called, for the file's metadata.
    cache
        Folder where synthetic speech is kept.
    progress
        As of `train_strings`.

    Raises
    ------
    CorpusError
        When a corpus, or a program of the readers, is not at hand.
    ExportError
        When ONNX and torch disagree.
    ImportError
        Without the extra `synth`.
    """
    config = config or StringConfig()
    recorded = read_corpus("fsdd", data)
    if split:
        recorded = one_split(split, recorded).train
    crowd = tuple(c for c in read_corpus("speech_commands", data) if not is_held_out(c.speaker))
    clips = (*recorded, *crowd, *read_synthetic())
    phrases = make_espeak_phrases(draw_voices(PHRASE_VOICES, config.seed), cache, seed=config.seed)
    phrases += make_flite_festival_phrases(
        cache, strings=READER_STRINGS, sentences=READER_SENTENCES, seed=config.seed
    )
    spoken = read_words(clips)
    noises = [read_noise(file) for file in noise_partition("pooled:xsdr", data)[0]]
    material = Material(
        [s for s in spoken if s.digits], phrases, [s for s in spoken if not s.digits], noises
    )
    net = train_strings(material, config, progress)
    training_data = {
        "corpora": ["fsdd", "speech_commands", "voices", "flite-festival", "phrases"],
        "split": split,
        "hash": data_hash(clips),
        "fsdd_speakers": sorted({clip.speaker for clip in recorded}),
        "clips": len(clips),
        "phrases": len(phrases),
        "flite_festival_voices": [voice.speaker for voice in FLITE_FESTIVAL_VOICES],
    }
    metadata = {
        "threshold": str(THRESHOLD),
        "hear_again": "true",
        "recipe": json.dumps(asdict(config)),
        "training_data": json.dumps(training_data),
        "licence": "CC BY-SA 4.0, as FSDD, from which it is learned, with Speech Commands "
        "(CC BY 4.0) and synthetic voices",
        "command": command,
        "commit": commit(),
    }
    write_whole(output, export_strings(net, metadata))
    return Path(output)


def judge_transcriber(
    transcriber: Transcriber,
    split: str | None = None,
    data: Path | str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge a model file on strings, latency and false digits; plain values, for JSON.

    Parameters
    ----------
    transcriber
        The model.
    split
        Split of FSDD whose test speakers' strings are heard.
    data
        Folder of corpora with FSDD and Speech Commands.
    seed
        Key of the strings.
    """
    results: dict[str, Any] = {"model": {k: transcriber.metadata.get(k) for k in _ABOUT}}
    if recognizer := transcriber.recognizer:
        results["digits_model"] = {k: recognizer.metadata.get(k) for k in _ABOUT}
    results["split"], results["seed"] = split, seed
    sets: dict[str, list[DigitString]] = {}
    if split:
        spoken = read_words(unheard_clips(split, data))
        for speaker in sorted({s.speaker for s in spoken}):
            own = [s for s in spoken if s.speaker == speaker]
            sets[speaker] = make_strings(own, STRINGS_PER_SPEAKER, TEST_STYLE, seed)
    # Of each of these people there are a few digits only: strings are made of all of them.
    clips = unheard_clips(None, data)
    counts = Counter(clip.label for clip in clips)
    fewest = _LEAST_SHARE * max(counts.values())
    crowd = [
        DigitString(s.samples, s.digits, s.starts, s.ends, "crowd", s.corpus)
        for s in read_words(clip for clip in clips if counts[clip.label] >= fewest)
    ]
    results["strings"], delays_ms = {}, []
    all_references: list[str] = []
    all_heard: list[str] = []
    mixed = make_strings(crowd, STRINGS_PER_SPEAKER, TEST_STYLE, seed)
    for name, strings in (sets | {"speech_commands": mixed}).items():
        heard = [transcriber(string.samples, SAMPLE_RATE).digits for string in strings]
        references = [string.digits for string in strings]
        results["strings"][name] = score(references, heard).to_dict()
        if name in sets:
            all_references += references
            all_heard += heard
        for string, digits in zip(strings[::4], heard[::4], strict=True):
            if string.digits == digits:
                delays_ms += _delays_ms(transcriber, string)
    if sets:
        results["strings"]["all of the split"] = score(all_references, all_heard).to_dict()
    if delays_ms:
        results["delay_ms"] = {
            "of": len(delays_ms),
            "median": float(np.median(delays_ms)),
            "95 %": float(np.percentile(delays_ms, 95)),
            "most": float(np.max(delays_ms)),
        }
    results["false_digits"] = _false_digits(transcriber, data)
    return results


_ABOUT = ("training_data", "recipe", "parameters", "threshold", "command", "commit", "version")


def _delays_ms(transcriber: Transcriber, string: DigitString) -> list[float]:
    """Feed a string in chunks of 10 ms; the time from each digit's end to when it is shown."""
    chunk = SAMPLE_RATE // 100
    stream = transcriber.stream()
    shown: list[int] = []
    final = 0
    samples = np.pad(string.samples, (0, SAMPLE_RATE))
    for begin in range(0, len(samples), chunk):
        update = stream.feed(samples[begin : begin + chunk])
        final += len(update.segments)
        while len(shown) < final + (update.partial is not None):
            shown.append(begin + chunk)
    pairs = zip(shown, string.ends, strict=False)
    return [float(1000 * (now - end) / SAMPLE_RATE) for now, end in pairs]


def _false_digits(transcriber: Transcriber, data: Path | str | None) -> dict[str, Any]:
    """Count digits heard in words that are none, and in noise, all held out."""
    words = [
        clip
        for clip in read_corpus("speech_commands", data)
        if is_held_out(clip.speaker) and not clip.label.isdecimal()
    ]
    pause = round(_PAUSE_S * SAMPLE_RATE)
    said = np.concatenate([np.pad(s.samples, (0, pause)) for s in read_words(words)])
    rng = np.random.default_rng(0)
    said = said + (1e-3 * LEVEL_RMS * rng.standard_normal(len(said))).astype(np.float32)
    sounds = {f"{len(words)} words": said}
    sounds |= {file.stem: read_noise(file) for file in noise_partition("pooled:xsdr", data)[1]}
    rows: dict[str, Any] = {}
    for name, samples in sounds.items():
        digits = transcriber(samples, SAMPLE_RATE).digits
        hours = len(samples) / SAMPLE_RATE / 3600
        rows[name] = {"digits": digits, "seconds": 3600 * hours, "an_hour": len(digits) / hours}
    return rows
