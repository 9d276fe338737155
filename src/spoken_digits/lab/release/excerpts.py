"""Excerpts: what "oh", zero said as the letter, is learned from.

Digits cut out of AN4's fluent strings, pieces of AN4's and WUW II's utterances without digits,
handling noise, and of Kokoro's voices words that sound like digits, each as a folder
`<corpus>/<label>/<speaker>_<n>.*` of 8 kHz. No result is claimed for any of them.

They were tried as training data of the whole network as well, see EXPERIMENTS.md.

Shapes: L samples.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from spoken_digits.audio import MAX_CLIP_DURATION_S, SAMPLE_RATE, resample
from spoken_digits.connected import Transcriber
from spoken_digits.lab.augmentation.handling import HANDLING_NOISES
from spoken_digits.lab.data.corpora import find_corpus
from spoken_digits.lab.data.utterances import READERS, read_samples, read_utterances
from spoken_digits.lab.runs import expect_free, whole_folder
from spoken_digits.lab.tts.kokoro import Kokoro, make_kokoro_voices
from spoken_digits.lab.tts.shipped import SHIPPED_KOKORO

__all__ = ["make_excerpts"]

FloatArray = NDArray[np.float32]
Excerpt = tuple[str, str, FloatArray]  # label, speaker, samples (L,) at 8 kHz

_MARGIN_S = 0.06  # kept on either side of a digit, at most half of what separates it from the next
_PIECE_S = (0.3, MAX_CLIP_DURATION_S)  # minimum and maximum duration
_HANDLING_CLIPS = 600  # of each kind
_NEAR_WORDS = 10  # of each voice
_SPEECH = "speech"  # label of pieces of utterances without digits


def make_excerpts(
    output: Path,
    data: Path | str | None = None,
    without: Collection[str] = (),
    engine: Kokoro | None = None,
    seed: int = 0,
) -> Path:
    """Make excerpts of the corpora at hand, handling noise, and near words.

    Parameters
    ----------
    output
        Folder to make, which appears whole or not at all; it must not exist, or be empty.
    data
        Folder of corpora, as in `corpora.data_root`.
    without
        Words; utterances that hold one of them give no piece. What is held out of a corpus of
        single words is then not trained on here.
    engine
        Of the voices that ship: near words and "oh". None for no such words.
    seed
        Key of where pieces are cut, of the handling noise, and of the near words.

    Raises
    ------
    AudioError, CorpusError
        When a recording or a table cannot be read.
    OutputError
        When the folder exists and is not empty.
    """
    expect_free(output)
    sources = {"handling": _handling_noise(np.random.default_rng([seed, 0]))}
    for k, name in enumerate(READERS):
        if find_corpus(name, data):
            rng = np.random.default_rng([seed, 1, k])
            sources[name] = _excerpts(name, data, frozenset(without), rng)
    with whole_folder(output) as folder:
        for name, excerpts in sources.items():
            for n, (label, speaker, samples) in enumerate(excerpts):
                file = folder / name / label / f"{speaker}_{n}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                sf.write(file, samples, SAMPLE_RATE, "PCM_16")
        if engine:
            make_kokoro_voices(
                folder / "near-words",
                SHIPPED_KOKORO,
                engine=engine,
                near_words=_NEAR_WORDS,
                oh=True,
                digits=False,
                seed=seed,
            )
    return output


def _excerpts(
    corpus: str, data: Path | str | None, without: frozenset[str], rng: np.random.Generator
) -> Iterator[Excerpt]:
    transcriber = Transcriber()
    for utterance in read_utterances(corpus, data):
        samples = resample(*read_samples(utterance))
        if utterance.content == "digits":
            for word, digit in _digits(transcriber, samples, utterance.words, utterance.digits):
                yield word, utterance.speaker, digit
        elif utterance.content == "none" and without.isdisjoint(utterance.words):
            for piece in _pieces(samples, rng):
                yield _SPEECH, utterance.speaker, piece


def _digits(
    transcriber: Transcriber, samples: FloatArray, words: tuple[str, ...], digits: str
) -> Iterator[tuple[str, FloatArray]]:
    """Cut a string into its digits, where the transcriber reads it right; "oh" is a word apart."""
    found = transcriber(samples, SAMPLE_RATE, doubles=False)
    if found.digits != digits or len(words) != len(digits):
        return
    starts = [segment.start_s for segment in found.segments]
    ends = [segment.end_s for segment in found.segments]
    gaps = np.maximum(np.subtract([*starts, np.inf], [-np.inf, *ends]), 0)
    margins = np.minimum(gaps / 2, _MARGIN_S)
    for i, word in enumerate(words):
        edges_s = starts[i] - margins[i], ends[i] + margins[i + 1]
        first, stop = (max(round(edge_s * SAMPLE_RATE), 0) for edge_s in edges_s)
        yield word if word == "oh" else digits[i], samples[first:stop]


def _pieces(samples: FloatArray, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Cut pieces of log-uniform durations, as many as seconds, at random places."""
    for _ in range(max(1, round(len(samples) / SAMPLE_RATE))):
        length = round(np.exp(rng.uniform(*np.log(_PIECE_S))) * SAMPLE_RATE)
        first = int(rng.integers(0, max(len(samples) - length, 0) + 1))
        piece = samples[first : first + length]
        if piece.any():
            yield piece


def _handling_noise(rng: np.random.Generator) -> Iterator[Excerpt]:
    for kind, synthesize in HANDLING_NOISES.items():
        for _ in range(_HANDLING_CLIPS):
            length = round(rng.uniform(0.3, MAX_CLIP_DURATION_S) * SAMPLE_RATE)
            yield kind, kind, 0.5 * synthesize(length, rng)
