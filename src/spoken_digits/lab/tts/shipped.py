"""The synthetic speech that ships: which voices of each engine, and how many takes.

Kokoro's are most like people, espeak-ng's least: of these only the first take of 16 voices ships.
flite and festival have five voices in all.
"""

from pathlib import Path

from spoken_digits.lab.runs import expect_free, whole_folder
from spoken_digits.lab.tts.espeak import VOICES, make_voices
from spoken_digits.lab.tts.flite_festival import make_flite_festival
from spoken_digits.lab.tts.kokoro import KOKORO_VOICES, Kokoro, KokoroVoice, make_kokoro_voices

__all__ = ["SHIPPED_ESPEAK", "SHIPPED_KOKORO", "make_shipped"]

SHIPPED_ESPEAK = VOICES[:16]  # of each accent a woman and a man


def _first(gender: str, count: int) -> tuple[KokoroVoice, ...]:
    return tuple(voice for voice in KOKORO_VOICES if voice.gender == gender)[:count]


# The first are native speakers of English.
SHIPPED_KOKORO = (*_first("female", 16), *_first("male", 16))


def make_shipped(output: Path | str, *, engine: Kokoro | None = None, seed: int = 0) -> Path:
    """Synthesize the ten digits with every voice into `output/<digit>/<speaker>_<take>.flac`.

    The clips are those of `espeak.make_voices`, `flite_festival.make_flite_festival` and
    `kokoro.make_kokoro_voices`; seed 0 makes the clips that ship. It takes about ten minutes.

    Parameters
    ----------
    output
        Folder to make; it must not exist, or be empty.
    engine
        Kokoro; by default that of the packages that are installed.
    seed
        Key of pitches, tempos and rates.

    Returns
    -------
    `output`, which appears whole or not at all.

    Raises
    ------
    CorpusError
        When a program, a voice or a part of a model is missing.
    ImportError
        Without the extra `synth`.
    OutputError
        When the folder exists and is not empty.
    """
    output = Path(output)
    expect_free(output)
    engine = engine or Kokoro()
    with whole_folder(output) as folder:
        scratch = folder.parent
        made = (
            make_voices(Path(scratch, "espeak"), SHIPPED_ESPEAK, seed=seed).glob("*/*_0.flac"),
            make_flite_festival(Path(scratch, "people"), seed=seed).glob("*/*"),
            make_kokoro_voices(
                Path(scratch, "kokoro"), SHIPPED_KOKORO, engine=engine, seed=seed
            ).glob("*/*"),
        )
        for file in (file for files in made for file in list(files)):
            target = folder / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    return output
