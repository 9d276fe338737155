"""A made-up corpus, small enough to train on in a second."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError
from spoken_digits.lab.data.splits import XSDR_TEST, XSDR_TRAIN
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES, PACKAGES, FliteFestivalVoice
from spoken_digits.lab.tts.kokoro import Kokoro

SPEAKERS = {"ann": 1.0, "bob": 0.96, "cid": 1.04, "dora": 1.02}  # name: pitch

XSDR = ("george", "jackson", "nicolas", "theo", "lucas", "yweweler")


@pytest.fixture(scope="session")
def flite_festival_voices() -> tuple[FliteFestivalVoice, ...]:
    """TTS voices of flite and festival; a test that needs them is skipped without the programs."""
    if not (shutil.which("flite") and shutil.which("festival")):
        pytest.skip(f"needs flite and festival: apt-get install {PACKAGES}")
    return FLITE_FESTIVAL_VOICES


@pytest.fixture(scope="session")
def published_kokoro() -> Kokoro:
    """Kokoro's published model: installed, or in the folders that two variables name."""
    packages, voices = (os.environ.get(f"KOKORO_{name}") for name in ("PACKAGES", "VOICES"))
    try:
        return Kokoro(packages, voices)
    except CorpusError as error:
        pytest.skip(f"needs Kokoro's model and voices: {error}")


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder <label>/<speaker>_<take>.wav: a chord per digit, shifted for each speaker."""
    folder = tmp_path_factory.mktemp("tones")
    for number, (speaker, pitch) in enumerate(SPEAKERS.items()):
        for digit in range(10):
            for take in range(3):
                rng = np.random.default_rng([number, digit, take])
                t = np.arange(int(8000 * rng.uniform(0.2, 0.4))) / 8000
                low = 300 + 120 * (digit % 5)
                high = 1500 if digit < 5 else 2600
                tone = np.sin(2 * np.pi * low * pitch * t) + np.sin(2 * np.pi * high * pitch * t)
                samples = 0.2 * tone + 0.001 * rng.standard_normal(len(t))
                path = folder / str(digit) / f"{speaker}_{take}.wav"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, samples, 8000)
    return folder


@pytest.fixture(scope="session")
def pooled_corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up tones in the layouts of FSDD, Speech Commands, a folder of TTS voices, excerpts."""
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)

    def write(path: Path, seconds: float = 0.3) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(round(8000 * seconds)) / 8000
        tone = np.sin(2 * np.pi * rng.uniform(300, 2000) * t) + 0.1 * rng.standard_normal(len(t))
        soundfile.write(path, 0.2 * tone, 8000)

    for name in XSDR_TRAIN + XSDR_TEST:
        for digit in DIGITS:
            write(root / "fsdd" / "recordings" / f"{digit}_{name}_0.wav")
    commands = root / "speech_commands"
    for number in range(6):
        for word in (*DIGIT_WORDS, "cat", "dog", "go", "up"):
            write(commands / word / f"s{number}_nohash_0.wav")
    for noise in ("a", "b", "c"):
        write(commands / "_background_noise_" / f"{noise}.wav", 3)
    for voice in ("v", "w"):
        for label in (*DIGITS, "cat", "tree"):
            write(root / "made" / label / f"{voice}_0.wav")
    for label in ("3", "oh", "speech"):
        write(root / "excerpts" / "an4" / label / "p_0.wav")
    return root


@pytest.fixture(scope="session")
def made_up_fsdd(tone_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an FSDD of six made-up people, two takes a digit."""
    data = tmp_path_factory.mktemp("data")
    recordings = data / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for digit in range(10):
        for i, speaker in enumerate(XSDR):
            for take in range(2):
                source = (
                    tone_corpus / str(digit) / f"{('ann', 'bob', 'cid', 'dora')[i % 4]}_{take}.wav"
                )
                samples, rate = soundfile.read(source)
                path = recordings / f"{digit}_{speaker}_{take}.wav"
                soundfile.write(path, samples * (0.5 + 0.05 * i), rate)
    return data
