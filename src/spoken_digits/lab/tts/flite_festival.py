"""English TTS voices of flite and festival: recordings of people, concatenated or modelled.

espeak-ng's voices are formant synthesis; these are made from people's recordings, and few. They
ship in the corpus ``voices``, see `shipped`, and to train on they count as a corpus of their own,
``flite-festival`` (`corpora.read_synthetic`). Both programs and the voices are Debian
packages. These voices may be used and passed on by anyone, unlike those of other languages, which
are under GPL: their output holds parts of their recordings.

Shapes: L samples, n digits of a text.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError
from spoken_digits.lab.runs import expect_free, whole_folder
from spoken_digits.lab.tts.espeak import to_corpus_clip

__all__ = [
    "FLITE_FESTIVAL_VOICES",
    "PACKAGES",
    "TAKES",
    "FliteFestivalVoice",
    "Prompt",
    "Synthesis",
    "make_flite_festival",
    "synthesize",
]

TAKES = 4
PACKAGES = "flite festival festvox-kdlpc16k"
_TEMPO_SPREAD = 0.3  # a take's tempo lies within +- this of the voice's, in natural logarithm
_PITCH_SPREAD = 0.15  # likewise its pitch, for a voice whose pitch can be set
_PAUSE = "pau"  # flite's name for a pause, in its list of sounds


@dataclass(frozen=True)
class FliteFestivalVoice:
    """One TTS voice.

    Attributes
    ----------
    speaker
        Its name in the corpus; begins with the program's name.
    voice
        The program's name for it.
    pitch_hz
        Its mean pitch in Hz; 0 where the program cannot set it.
    """

    speaker: str
    voice: str
    pitch_hz: float = 0.0


class Prompt(NamedTuple):
    """A text to synthesize: lower-case words, with or without commas between them.

    Attributes
    ----------
    text
        The words.
    tempo
        Relative to the voice's own: 2.0 speaks twice as fast.
    pitch_hz
        Mean pitch in Hz; ignored for a voice whose pitch cannot be set.
    """

    text: str
    tempo: float
    pitch_hz: float


class Synthesis(NamedTuple):
    """Speech that a TTS program made.

    Attributes
    ----------
    samples : (L,) int16
    sample_rate : int
        In Hz.
    bounds : (n, 2) int64
        The samples between which each digit, or word, is spoken.
    """

    samples: npt.NDArray[np.int16]
    sample_rate: int
    bounds: npt.NDArray[np.int64]


FLITE_FESTIVAL_VOICES = (
    FliteFestivalVoice("flite-kal", "kal16", 115),
    FliteFestivalVoice("flite-awb", "awb"),
    FliteFestivalVoice("flite-rms", "rms"),
    FliteFestivalVoice("flite-slt", "slt"),
    FliteFestivalVoice("festival-ked", "voice_ked_diphone", 115),
)


def make_flite_festival(
    output: Path | str,
    voices: Sequence[FliteFestivalVoice] = FLITE_FESTIVAL_VOICES,
    *,
    takes: int = TAKES,
    seed: int = 0,
) -> Path:
    """Synthesize the ten digits with every voice into `output/<digit>/<speaker>_<take>.flac`.

    The clips are as those of `espeak.make_voices`: 8 kHz, mono, 16 bit, trimmed, at one peak level,
    each with its own tempo and pitch.

    Parameters
    ----------
    output
        Folder to make; it must not exist, or be empty.
    voices
        Voices of flite and festival.
    takes
        Clips of each digit and voice.
    seed
        Key of tempos and pitches.

    Returns
    -------
    `output`, which appears whole or not at all.

    Raises
    ------
    CorpusError
        When a program or a voice is missing.
    OutputError
        When the folder exists and is not empty.
    """
    output = Path(output)
    expect_free(output)
    prompts = [
        _prompts(voice, takes, np.random.default_rng([seed, index]))
        for index, voice in enumerate(voices)
    ]
    speech = [synthesize(voice, own) for voice, own in zip(voices, prompts, strict=True)]
    with whole_folder(output) as folder:
        for voice, clips in zip(voices, speech, strict=True):
            names = product(DIGITS, range(takes))
            for (digit, take), (samples, rate, _) in zip(names, clips, strict=True):
                file = folder / digit / f"{voice.speaker}_{take}.flac"
                file.parent.mkdir(parents=True, exist_ok=True)
                clip = to_corpus_clip(samples, rate)
                sf.write(file, clip, SAMPLE_RATE, "PCM_16", compression_level=1)
    return output


def _prompts(voice: FliteFestivalVoice, takes: int, rng: np.random.Generator) -> list[Prompt]:
    """Draw tempo and pitch of every take, digit by digit."""
    prompts = []
    for word, take in product(DIGIT_WORDS, range(takes)):
        # Each take draws from its own part of the range of tempos, so that no two are alike.
        faster = 2 * (take + rng.uniform(0.2, 0.8)) / takes - 1
        tempo = float(np.exp(_TEMPO_SPREAD * faster))
        pitch_hz = voice.pitch_hz * float(np.exp(rng.uniform(-_PITCH_SPREAD, _PITCH_SPREAD)))
        prompts.append(Prompt(word, tempo, pitch_hz))
    return prompts


def synthesize(voice: FliteFestivalVoice, prompts: Sequence[Prompt]) -> list[Synthesis]:
    """Synthesize prompts, one after another.

    The `bounds` of a synthesis are those of its text's n digits, as the program reports them; n = 0
    unless all words of the text are digits.

    Raises
    ------
    CorpusError
        When a program or a voice is missing, or a digit's sounds differ from those it has alone.
    """
    if missing := [name for name in ("flite", "festival") if shutil.which(name) is None]:
        raise CorpusError(
            f"{' and '.join(missing)}: no such program; expected Debian's packages: "
            f"apt-get install {PACKAGES}"
        )
    run = _flite if voice.speaker.startswith("flite") else _festival
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"{index}.wav") for index, _ in enumerate(prompts)]
        bounds_of = run(voice, prompts, files)
        speech: list[Synthesis] = []
        for file, bounds_s in zip(files, bounds_of, strict=True):
            samples, rate = sf.read(file, dtype="int16")
            bounds = np.round(np.array(bounds_s).reshape(-1, 2) * rate).astype(np.int64)
            speech.append(Synthesis(samples, int(rate), bounds))
    return speech


def _digit_words(text: str) -> list[str]:
    """Return a text's words where all of them are digits, none otherwise."""
    words = text.replace(",", " ").split()
    return words if set(words) <= set(DIGIT_WORDS) else []


def _flite(
    voice: FliteFestivalVoice, prompts: Sequence[Prompt], files: Sequence[Path]
) -> list[list[tuple[float, float]]]:
    """Synthesize prompts into files; return the seconds between which each digit is spoken."""
    command = ["flite", "-voice", voice.voice]
    # flite reports sounds, not words: the sounds of each digit alone, between pauses, are counted.
    listing = _run(voice, [*command, "-ps", "-t", ", ".join(DIGIT_WORDS), "-o", "none"])
    alone = [sounds.split() for sounds in listing.split(_PAUSE) if sounds.strip()]
    if len(alone) != len(DIGIT_WORDS):
        raise CorpusError(f"voice {voice.speaker}: {listing}; expected ten digits between pauses")
    sounds_of = dict(zip(DIGIT_WORDS, alone, strict=True))
    spoken = []
    for (text, tempo, pitch_hz), file in zip(prompts, files, strict=True):
        features = {"duration_stretch": 1 / tempo}
        if pitch_hz:
            features |= {"int_f0_target_mean": pitch_hz}
        settings = [x for k, v in features.items() for x in ("--setf", f"{k}={v:.3f}")]
        listing = _run(voice, [*command, *settings, "-psdur", "-t", text, "-o", str(file)], file)
        pairs = [entry.rsplit(":", 1) for entry in listing.split()]
        names, ends_s = [name for name, _ in pairs], [float(end) for _, end in pairs]
        sounds = [x for x in zip(names, [0.0, *ends_s], ends_s, strict=False) if x[0] != _PAUSE]
        words = _digit_words(text)
        if words and [x[0] for x in sounds] != [x for word in words for x in sounds_of[word]]:
            raise CorpusError(
                f"voice {voice.speaker}: {text!r} is {listing.strip()}; expected each digit as "
                f"by itself"
            )
        joints = np.cumsum([0, *(len(sounds_of[word]) for word in words)])
        spoken.append([(sounds[i][1], sounds[j - 1][2]) for i, j in pairwise(joints)])
    return spoken


def _festival(
    voice: FliteFestivalVoice, prompts: Sequence[Prompt], files: Sequence[Path]
) -> list[list[tuple[float, float]]]:
    """Synthesize prompts into files; return the seconds between which each digit is spoken."""
    script = [f"({voice.voice})"]
    for (text, tempo, pitch_hz), file in zip(prompts, files, strict=True):
        script += [
            f"(Parameter.set 'Duration_Stretch {1 / tempo:.3f})",
            f"(set! int_lr_params '((target_f0_mean {pitch_hz:.1f}) (target_f0_std 14) "
            "(model_f0_mean 170) (model_f0_std 34)))",
            f'(set! said (utt.synth (Utterance Text "{text}")))',
            f'(utt.save.wave said "{file}" \'riff)',
            '(mapcar (lambda (word) (format t "%s %f %f\\n" (item.name word)'
            " (item.feat word 'word_start) (item.feat word 'word_end)))"
            " (utt.relation.items said 'Word))",
            '(format t "\\n")',  # an empty line after each
        ]
    source = files[0].with_name("prompts.scm")
    source.write_text("\n".join(script), encoding="utf-8")
    listing = _run(voice, ["festival", "-b", str(source)], *files)
    spoken = []
    for (text, _, _), part in zip(prompts, listing.split("\n\n"), strict=False):
        rows = [line.split() for line in part.splitlines()]
        words = _digit_words(text)
        if words and [row[0] for row in rows] != words:
            raise CorpusError(f"voice {voice.speaker}: {text!r} is {part!r}; expected its words")
        spoken.append([(float(row[1]), float(row[2])) for row in rows[: len(words)]])
    return spoken


def _run(voice: FliteFestivalVoice, command: list[str], *files: Path) -> str:
    """Run a program that is to write `files`; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not all(file.exists() for file in files):
        reason = done.stderr.strip().rpartition("\n")[2]
        raise CorpusError(
            f"voice {voice.speaker}: {reason or 'no speech'}; expected Debian's packages: "
            f"apt-get install {PACKAGES}"
        )
    return done.stdout
