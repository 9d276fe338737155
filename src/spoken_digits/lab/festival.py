"""The readers: English voices of flite and festival, recordings of people, cut or modelled.

espeak-ng's voices are formants; these are people's, few as they are. They ship among the synthetic
voices, and to train on they count as a corpus of their own. Both programs and the voices are
Debian's packages; these voices may be used and passed on by anyone, unlike those of other
languages, which are under GPL: what those say holds parts of their recordings.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.corpora import DIGIT_WORDS, Clip, CorpusError, read_corpus
from spoken_digits.lab.files import expect_free
from spoken_digits.lab.voices import finish

__all__ = [
    "PACKAGES",
    "READERS",
    "SPEAKERS",
    "TAKES",
    "Reader",
    "make_readers",
    "read_synthetic",
]

TAKES = 8
PACKAGES = "flite festival festvox-kdlpc16k"
_TEMPO_SPREAD = 0.3  # a take's tempo lies within +- this of the voice's, in natural logarithm
_PITCH_SPREAD = 0.15  # and its pitch, where the voice has one to set


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
SPEAKERS = frozenset(reader.speaker for reader in READERS)


def read_synthetic(folder: Path | str | None = None) -> list[Clip]:
    """Return the corpora ``voices`` and ``readers``.

    Parameters
    ----------
    folder
        Where voices of espeak-ng are, to be taken instead of those that ship.
    """
    shipped = [
        replace(clip, corpus="readers" if clip.speaker in SPEAKERS else "voices")
        for clip in read_corpus("voices")
    ]
    if folder is None:
        return shipped
    made = [replace(clip, corpus="voices") for clip in read_corpus(folder)]
    return made + [clip for clip in shipped if clip.corpus == "readers"]


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
    if missing := [name for name in ("flite", "festival") if shutil.which(name) is None]:
        raise CorpusError(
            f"{' and '.join(missing)}: no such program; expected Debian's packages: "
            f"apt-get install {PACKAGES}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        folder = Path(scratch, output.name)
        for index, reader in enumerate(readers):
            rng = np.random.default_rng([seed, index])
            for digit in range(10):
                for take in range(takes):
                    samples, rate = _read(
                        reader, digit, take, takes, Path(scratch, "said.wav"), rng
                    )
                    file = folder / str(digit) / f"{reader.speaker}_{take}.flac"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    clip = finish(samples, rate)
                    sf.write(file, clip, SAMPLE_RATE, "PCM_16", compression_level=1)
        folder.replace(output)
    return output


def _read(
    reader: Reader, digit: int, take: int, takes: int, file: Path, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int16], int]:
    """Let a voice say a digit once: (L,) samples, their rate."""
    # Every take draws from a part of its own of the tempos, so that no two come out alike.
    faster = 2 * (take + rng.uniform(0.2, 0.8)) / takes - 1
    tempo = float(np.exp(_TEMPO_SPREAD * faster))
    pitch_hz = reader.pitch_hz * float(np.exp(rng.uniform(-_PITCH_SPREAD, _PITCH_SPREAD)))
    word = DIGIT_WORDS[digit]
    if reader.speaker.startswith("flite"):
        features = {"duration_stretch": 1 / tempo}
        if pitch_hz:
            features |= {"int_f0_target_mean": pitch_hz}
        settings = [x for k, v in features.items() for x in ("--setf", f"{k}={v:.3f}")]
        command = ["flite", "-voice", reader.voice, *settings, "-t", word, "-o", str(file)]
    else:
        script = (
            f"({reader.voice}) (Parameter.set 'Duration_Stretch {1 / tempo:.3f}) "
            f"(set! int_lr_params '((target_f0_mean {pitch_hz:.1f}) (target_f0_std 14) "
            f"(model_f0_mean 170) (model_f0_std 34))) "
            f'(utt.save.wave (utt.synth (Utterance Text "{word}")) "{file}" \'riff)'
        )
        source = file.with_suffix(".scm")
        source.write_text(script, encoding="utf-8")
        command = ["festival", "-b", str(source)]
    file.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not file.exists():
        reason = done.stderr.strip().rpartition("\n")[2]
        raise CorpusError(
            f"voice {reader.speaker}: {reason or 'said nothing'}; expected Debian's packages: "
            f"apt-get install {PACKAGES}"
        )
    samples, rate = sf.read(file, dtype="int16")
    return samples, int(rate)
