"""The readers: voices of flite and festival, recordings of people, cut and joined or modelled.

espeak-ng's voices are formants; these are people's, few as they are. They ship among the synthetic
voices, and to train on they count as a corpus of their own. The English ones read the
words. Those of other languages speak them sound by sound, with the sounds that their language has:
English as learned late, which half of those who use it speak. Both programs and all the voices are
Debian's packages, free as Debian understands it; what ships is what they said.
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

TAKES = 4
PACKAGES = (
    "flite festival festvox-kdlpc16k festvox-italp16k festvox-itapc16k festival-czech "
    "festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph "
    "festvox-suopuhe-lj festvox-suopuhe-mv"
)
_TEMPO_SPREAD = 0.3  # a take's tempo lies within +- this of the voice's, in natural logarithm
_PITCH_SPREAD = 0.15  # and its pitch, where the voice has one to set
_SOUND_SPREAD = 0.2  # and each sound's length
_FALL = (0.7, 1.1)  # pitch at the end over that at the beginning

# The ten digits, sound by sound, as a language's own sounds come nearest.
_ITALIAN = "dz e1 r o|w a1 n|t u1|t r i1|f O1 r|f a1 i v|s i1 k s|s E1 v e n|e1 i t|n a1 i n"
_CZECH = "z i r o u|u a n|t u:|t r i:|f o: r|f a j v|s i k s|s e v e n|e j t|n a j n"
_FINNISH = "s i r o u|w a n|t u:|T r i:|f o: r|f a i v|s i k s|s e v e n|e i t|n a i n"
_LENGTH_S = (
    dict.fromkeys(["a", "e", "E", "i", "o", "O", "u"], 0.13)
    | dict.fromkeys(["f", "s", "z", "T", "dz"], 0.12)
    | dict.fromkeys(["j", "w"], 0.07)
    | {"t": 0.085, "k": 0.085, "v": 0.08, "n": 0.1, "r": 0.06}
)
_LAST = 1.25  # times as long is the last sound of a word
_LONG = 1.3  # and a long vowel


@dataclass(frozen=True)
class Reader:
    """One voice: its program's name for it, its pitch in Hz, and the digits' sounds if it needs.

    A pitch of zero leaves the voice its own.
    """

    speaker: str
    voice: str
    pitch_hz: float = 0.0
    sounds: str = ""


READERS = (
    Reader("flite-kal", "kal16", 115),
    Reader("flite-awb", "awb"),
    Reader("flite-rms", "rms"),
    Reader("flite-slt", "slt"),
    Reader("festival-ked", "voice_ked_diphone", 115),
    Reader("italy-lp", "voice_lp_diphone", 200, _ITALIAN),
    Reader("italy-pc", "voice_pc_diphone", 115, _ITALIAN),
    Reader("czech-dita", "voice_czech_dita", 190, _CZECH),
    Reader("czech-krb", "voice_czech_krb", 200, _CZECH),
    Reader("czech-machac", "voice_czech_machac", 105, _CZECH),
    Reader("czech-ph", "voice_czech_ph", 110, _CZECH),
    Reader("finland-lj", "voice_suo_fi_lj_diphone", 190, _FINNISH),
    Reader("finland-mv", "voice_hy_fi_mv_diphone", 105, _FINNISH),
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
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CorpusError(f"{output}: exists, expected a new or empty folder; name another one")
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
        if reader.sounds:
            sounds = reader.sounds.split("|")[digit].split()
            said = f"(Utterance Segments ({_segments(sounds, tempo, pitch_hz, rng)}))"
        else:
            said = f'(Utterance Text "{word}")'
        script = (
            f"({reader.voice}) (Parameter.set 'Duration_Stretch {1 / tempo:.3f}) "
            f"(set! int_lr_params '((target_f0_mean {pitch_hz:.1f}) (target_f0_std 14) "
            f"(model_f0_mean 170) (model_f0_std 34))) "
            f'(utt.save.wave (utt.synth {said}) "{file}" \'riff)'
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


def _segments(sounds: list[str], tempo: float, pitch_hz: float, rng: np.random.Generator) -> str:
    """Return festival's list of sounds, each with its length and its pitch at the middle."""
    fall = rng.uniform(*_FALL)
    parts = ["(# 0.1)"]
    for i, sound in enumerate(sounds):
        length_s = _LENGTH_S[sound.rstrip("1:")] / tempo
        length_s *= np.exp(rng.uniform(-_SOUND_SPREAD, _SOUND_SPREAD))
        length_s *= _LONG if sound.endswith(":") else 1
        length_s *= _LAST if i == len(sounds) - 1 else 1
        hz = pitch_hz * (1 + (fall - 1) * (i + 0.5) / len(sounds))
        parts.append(f"({sound} {length_s:.3f} ({length_s / 2:.3f} {hz:.1f}))")
    return " ".join([*parts, "(# 0.1)"])
