"""The network of strings from made-up corpora to its file, and its judgement, by the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.cli import main
from spoken_digits.lab.connected import pipeline as transcripts
from spoken_digits.lab.connected.pipeline import unheard_clips
from spoken_digits.lab.data.corpora import DIGIT_WORDS
from spoken_digits.lab.data.pooled import is_held_out
from spoken_digits.lab.data.splits import XSDR_TEST, XSDR_TRAIN
from spoken_digits.lab.tts.flite_festival import PACKAGES

CROWD = [f"{i:08x}" for i in range(8)]


def word(number: int, rng: np.random.Generator, rate: int) -> np.ndarray:
    t = np.arange(int(rate * rng.uniform(0.2, 0.3))) / rate
    chord = np.sin(2 * np.pi * (300 + 120 * number) * t) + np.sin(2 * np.pi * 2_200 * t)
    return 0.2 * chord + 0.001 * rng.standard_normal(len(t))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of FSDD and Speech Commands."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def write(path: Path, samples: np.ndarray, rate: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)

    for speaker in XSDR_TRAIN + XSDR_TEST:
        for digit in range(10):
            file = root / "fsdd" / "recordings" / f"{digit}_{speaker}_0.wav"
            write(file, word(digit, rng, 8_000), 8_000)
    for speaker in CROWD:
        for digit, name in [(12, "bed"), (13, "cat"), *enumerate(DIGIT_WORDS)]:
            file = root / "speech_commands" / name / f"{speaker}_nohash_0.wav"
            write(file, word(digit, rng, 16_000), 16_000)
    for name in ("pink_noise", "running_tap"):
        noise = 0.02 * rng.standard_normal(16_000 * 12)
        write(root / "speech_commands" / "_background_noise_" / f"{name}.wav", noise, 16_000)
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transcripts, "PHRASE_VOICES", 1)
    monkeypatch.setattr(transcripts, "READER_STRINGS", 2)
    monkeypatch.setattr(transcripts, "READER_SENTENCES", 1)
    monkeypatch.setattr(transcripts, "STRINGS_PER_SPEAKER", 4)


def test_one_in_five_is_held_out():
    names = [f"{i:08x}" for i in range(5_000)]
    assert sum(map(is_held_out, names)) == pytest.approx(1_000, abs=100)
    assert any(map(is_held_out, CROWD))


def test_what_is_judged_on_was_not_heard(data):
    assert {clip.speaker for clip in unheard_clips("xsdr", data)} == set(XSDR_TEST)
    crowd = unheard_clips(None, data)
    assert {clip.speaker for clip in crowd} == set(filter(is_held_out, CROWD))
    assert {clip.label for clip in crowd} == set("0123456789")


def test_the_command_trains_judges_and_makes_strings(data, flite_festival_voices, capsys, tmp_path):
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    where = ["--data", str(data)]
    train = ["strings", "train", "-o", "s.onnx", "--split", "xsdr", "--steps", "2", *where]
    assert main(train) == 0
    assert capsys.readouterr().out == "s.onnx\n"
    judge = ["strings", "score", "s.onnx", "--split", "xsdr", "-o", "results/strings.json", *where]
    assert main(judge) == 0
    results = json.loads(Path("results/strings.json").read_text())
    assert results == json.loads(capsys.readouterr().out)
    assert results["command"].startswith("spoken-digits strings score s.onnx")
    assert set(results["strings"]) == {*XSDR_TEST, "all of the split", "speech_commands"}
    assert results["strings"]["all of the split"]["strings"] == 8
    trained_on = json.loads(results["model"]["training_data"])
    assert trained_on["fsdd_speakers"] == list(XSDR_TRAIN)
    assert trained_on["flite_festival_voices"] == [v.speaker for v in flite_festival_voices]
    assert trained_on["phrases"] == 12 + 4 + 3 * len(flite_festival_voices)
    assert set(results["false_digits"]) == {
        f"{2 * sum(map(is_held_out, CROWD))} words",
        "pink_noise",
    }

    make = ["corpus", "make", "strings", "made", "--corpus", "fsdd", "--count", "3", *where]
    assert main(make) == 0
    assert capsys.readouterr().out == f"{Path('made', 'strings.tsv')}\n"
    speakers = [f.stem.partition("_")[2] for f in sorted(Path("made").glob("*.flac"))]
    assert speakers == ["lucas", "yweweler", "lucas"]
    assert main(["strings", "score", "s.onnx", "--table", "made/strings.tsv"]) == 0
    assert json.loads(capsys.readouterr().out)["strings"] == 3


def test_without_the_corpora_the_remedy_is_told(tmp_path, capsys):
    assert main(["strings", "train", "--data", str(tmp_path)]) == 1
    assert "corpus fetch" in capsys.readouterr().err


def test_the_help_names_the_packages_of_flite_and_festival(capsys):
    with pytest.raises(SystemExit):
        main(["strings", "train", "--help"])
    assert PACKAGES in " ".join(capsys.readouterr().out.split())
