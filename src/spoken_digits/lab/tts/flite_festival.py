"""The readers: English voices of flite and festival, recordings of people, cut or modelled.

espeak-ng's voices are formants; these are people's, few as they are. They ship among the synthetic
voices, and to train on they count as a corpus of their own. Both programs and the voices are
Debian's packages; these voices may be used and passed on by anyone, unlike those of other
languages, which are under GPL: what those say holds parts of their recordings.

Shapes: L samples, n digits of a text.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError
from spoken_digits.lab.runs import expect_free
from spoken_digits.lab.tts.espeak import finish

__all__ = [
    "PACKAGES",
    "READERS",
    "TAKES",
    "Line",
    "Reader",
    "Saying",
    "make_readers",
    "say",
]

# A phrase to say: its text, its tempo relative to the voice's own, and its pitch in Hz.
Line = tuple[str, float, float]
# What an engine said: (L,) samples, their rate in Hz, and (n, 2) samples between which words are.
Saying = tuple[npt.NDArray[np.int16], int, npt.NDArray[np.int64]]

TAKES = 8
PACKAGES = "flite festival festvox-kdlpc16k"
_TEMPO_SPREAD = 0.3  # a take's tempo lies within +- this of the voice's, in natural logarithm
_PITCH_SPREAD = 0.15  # and its pitch, where the voice has one to set
_PAUSE = "pau"  # flite's name of it, among those of sounds


@dataclass(frozen=True)
class Reader:
    """One voice: its program's name for it, and its pitch in Hz; zero leaves it its own."""

    speaker: str
    voice: str
    pitch_hz: float = 0.0


READERS = (
    Reader("flite-kal", "kal16", 115),
    Reader("flite-awb", "awb"),
    Reader("flite-rms", "rms"),
    Reader("flite-slt", "slt"),
    Reader("festival-ked", "voice_ked_diphone", 115),
)


def make_readers(
    output: Path | str,
    readers: tuple[Reader, ...] = READERS,
    *,
    takes: int = TAKES,
    seed: int = 0,
) -> Path:
    """Let every voice say the ten digits into `output/<digit>/<speaker>_<take>.flac`.

    As the clips of `voices.make_voices`: 8 kHz, mono, 16 bit, trimmed, one peak level, each with a
    tempo and a pitch of its own.

    Parameters
    ----------
    output
        Folder to make; it must not exist, or be empty.
    readers
        Voices.
    takes
        Clips a digit and voice.
    seed
        Key of tempo, pitch and lengths.

    Returns
    -------
    `output`, which appears whole or not at all.

    Raises
    ------
    CorpusError
        When the folder is taken, or a program or a voice is missing.
    """
    output = Path(output)
    expect_free(output)
    plans = [
        _plan(reader, takes, np.random.default_rng([seed, index]))
        for index, reader in enumerate(readers)
    ]
    said = [say(reader, plan) for reader, plan in zip(readers, plans, strict=True)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        folder = Path(scratch, output.name)
        for reader, clips in zip(readers, said, strict=True):
            names = product(DIGITS, range(takes))
            for (digit, take), (samples, rate, _) in zip(names, clips, strict=True):
                file = folder / digit / f"{reader.speaker}_{take}.flac"
                file.parent.mkdir(parents=True, exist_ok=True)
                sf.write(file, finish(samples, rate), SAMPLE_RATE, "PCM_16", compression_level=1)
        folder.replace(output)
    return output


def _plan(reader: Reader, takes: int, rng: np.random.Generator) -> list[Line]:
    """Draw tempo and pitch of every take, digit by digit."""
    plan = []
    for word, take in product(DIGIT_WORDS, range(takes)):
        # Every take draws from a part of its own of the tempos, so that no two come out alike.
        faster = 2 * (take + rng.uniform(0.2, 0.8)) / takes - 1
        tempo = float(np.exp(_TEMPO_SPREAD * faster))
        pitch_hz = reader.pitch_hz * float(np.exp(rng.uniform(-_PITCH_SPREAD, _PITCH_SPREAD)))
        plan.append((word, tempo, pitch_hz))
    return plan


def say(reader: Reader, plan: Sequence[Line]) -> list[Saying]:
    """Let a voice say what a plan lists: (text, tempo, pitch in Hz).

    Parameters
    ----------
    reader
        The voice.
    plan
        Texts of lower-case words, with or without commas, each with a tempo relative to the voice's
        own, and a pitch, which a voice that has none to set leaves aside.

    Returns
    -------
    list of (L,) int16, their rate in Hz, and (n, 2) int64: the samples between which each of the
    text's n digits is spoken, by the program's own account; n = 0 unless all its words are digits

    Raises
    ------
    CorpusError
        When a program or a voice is missing, or a word is not spoken as it is by itself.
    """
    if missing := [name for name in ("flite", "festival") if shutil.which(name) is None]:
        raise CorpusError(
            f"{' and '.join(missing)}: no such program; expected Debian's packages: "
            f"apt-get install {PACKAGES}"
        )
    speak = _flite if reader.speaker.startswith("flite") else _festival
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"{index}.wav") for index, _ in enumerate(plan)]
        spoken_s = speak(reader, plan, files)
        said: list[Saying] = []
        for file, bounds_s in zip(files, spoken_s, strict=True):
            samples, rate = sf.read(file, dtype="int16")
            bounds = np.round(np.array(bounds_s).reshape(-1, 2) * rate).astype(np.int64)
            said.append((samples, int(rate), bounds))
    return said


def _digit_words(text: str) -> list[str]:
    """Return a text's words where all of them are digits, none otherwise."""
    words = text.replace(",", " ").split()
    return words if set(words) <= set(DIGIT_WORDS) else []


def _flite(
    reader: Reader, plan: Sequence[Line], files: Sequence[Path]
) -> list[list[tuple[float, float]]]:
    """Speak a plan into files; return the seconds between which each digit of each is spoken."""
    voice = ["flite", "-voice", reader.voice]
    # It tells of sounds, not of words: those of each digit by itself, between pauses, are counted.
    listing = _run(reader, [*voice, "-ps", "-t", ", ".join(DIGIT_WORDS), "-o", "none"])
    alone = [sounds.split() for sounds in listing.split(_PAUSE) if sounds.strip()]
    if len(alone) != len(DIGIT_WORDS):
        raise CorpusError(f"voice {reader.speaker}: {listing}; expected ten digits between pauses")
    sounds_of = dict(zip(DIGIT_WORDS, alone, strict=True))
    spoken = []
    for (text, tempo, pitch_hz), file in zip(plan, files, strict=True):
        features = {"duration_stretch": 1 / tempo}
        if pitch_hz:
            features |= {"int_f0_target_mean": pitch_hz}
        settings = [x for k, v in features.items() for x in ("--setf", f"{k}={v:.3f}")]
        listing = _run(reader, [*voice, *settings, "-psdur", "-t", text, "-o", str(file)], file)
        pairs = [entry.rsplit(":", 1) for entry in listing.split()]
        names, ends_s = [name for name, _ in pairs], [float(end) for _, end in pairs]
        heard = [x for x in zip(names, [0.0, *ends_s], ends_s, strict=False) if x[0] != _PAUSE]
        words = _digit_words(text)
        if words and [x[0] for x in heard] != [x for word in words for x in sounds_of[word]]:
            raise CorpusError(
                f"voice {reader.speaker}: {text!r} is {listing.strip()}; expected each digit as "
                f"by itself"
            )
        joints = np.cumsum([0, *(len(sounds_of[word]) for word in words)])
        spoken.append([(heard[i][1], heard[j - 1][2]) for i, j in pairwise(joints)])
    return spoken


def _festival(
    reader: Reader, plan: Sequence[Line], files: Sequence[Path]
) -> list[list[tuple[float, float]]]:
    """Speak a plan into files; return the seconds between which each digit of each is spoken."""
    script = [f"({reader.voice})"]
    for (text, tempo, pitch_hz), file in zip(plan, files, strict=True):
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
    source = files[0].with_name("plan.scm")
    source.write_text("\n".join(script), encoding="utf-8")
    listing = _run(reader, ["festival", "-b", str(source)], *files)
    spoken = []
    for (text, _, _), part in zip(plan, listing.split("\n\n"), strict=False):
        rows = [line.split() for line in part.splitlines()]
        words = _digit_words(text)
        if words and [row[0] for row in rows] != words:
            raise CorpusError(f"voice {reader.speaker}: {text!r} is {part!r}; expected its words")
        spoken.append([(float(row[1]), float(row[2])) for row in rows[: len(words)]])
    return spoken


def _run(reader: Reader, command: list[str], *files: Path) -> str:
    """Run a program that is to write `files`; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not all(file.exists() for file in files):
        reason = done.stderr.strip().rpartition("\n")[2]
        raise CorpusError(
            f"voice {reader.speaker}: {reason or 'said nothing'}; expected Debian's packages: "
            f"apt-get install {PACKAGES}"
        )
    return done.stdout
