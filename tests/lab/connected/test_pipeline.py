"""The network of strings from made-up corpora to its file, and its evaluation, by the command."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.cli import main
from spoken_digits.lab.connected import evaluation, pipeline
from spoken_digits.lab.connected.evaluation import evaluation_clips
from spoken_digits.lab.data.corpora import DIGIT_WORDS
from spoken_digits.lab.data.pooled import is_held_out
from spoken_digits.lab.data.splits import XSDR_TEST, XSDR_TRAIN
from spoken_digits.lab.evaluation.schema import RunEvaluation
from spoken_digits.lab.runs import read_json
from spoken_digits.lab.training.config import ConfigError
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
    monkeypatch.setattr(pipeline, "PHRASE_VOICES", 1)
    monkeypatch.setattr(pipeline, "READER_STRINGS", 2)
    monkeypatch.setattr(pipeline, "READER_SENTENCES", 1)
    monkeypatch.setattr(pipeline, "HANDLING_HOURS", 0.001)
    monkeypatch.setattr(evaluation, "STRINGS_PER_SPEAKER", 4)


def test_one_in_five_is_held_out():
    names = [f"{i:08x}" for i in range(5_000)]
    assert sum(map(is_held_out, names)) == pytest.approx(1_000, abs=100)
    assert any(map(is_held_out, CROWD))


def test_test_speakers_were_not_trained_on(data):
    assert {clip.speaker for clip in evaluation_clips("xsdr", data)} == set(XSDR_TEST)
    for split in (None, evaluation.ALL_SPEAKERS):
        crowd = evaluation_clips(split, data)
        assert {clip.speaker for clip in crowd} == set(filter(is_held_out, CROWD))
        assert {clip.label for clip in crowd} == set("0123456789")


def test_the_command_trains_evaluates_and_makes_strings(
    data, flite_festival_voices, capsys, tmp_path
):
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    where = ["--data", str(data)]
    train = ["strings", "train", "-o", "s.onnx", "--split", "xsdr", "--steps", "2", *where]
    assert main(train) == 0
    assert capsys.readouterr().out == "s.onnx\n"
    run = Path("runs", "strings-xsdr-none-s0")
    assert {path.name for path in run.iterdir()} == {
        "config.toml",
        "environment.json",
        "evaluation.json",
        "log.jsonl",
        "model.safetensors",
        "predictions.npz",
        "strings.onnx",
    }
    assert run.joinpath("strings.onnx").read_bytes() == Path("s.onnx").read_bytes()
    found = read_json(run / "evaluation.json", RunEvaluation)
    assert found.task == "strings"
    assert found.strings is not None
    assert found.strings.curve is not None
    saved = np.load(run / "predictions.npz", allow_pickle=False)
    for name, each in found.strings.strings.items():
        mine = saved["speakers" if name in XSDR_TEST else "names"] == name
        assert each.strings == mine.sum()
        assert each.whole == (saved["references"] == saved["transcripts"])[mine].sum()
        assert each.digits == sum(map(len, saved["references"][mine]))
    before = run.joinpath("model.safetensors").stat().st_mtime_ns
    assert main(train) == 0  # finished: nothing is trained again
    assert run.joinpath("model.safetensors").stat().st_mtime_ns == before
    assert main([*train[:5], "xsdr", "--steps", "3", *where]) == 1
    assert "strings-xsdr-none-s0: finished with another recipe" in capsys.readouterr().err

    judge = ["strings", "score", "s.onnx", "--split", "xsdr", "-o", "results/strings.json", *where]
    judge += ["--hours", "0.001", "--doubled", "2"]
    assert main(judge) == 0
    results = json.loads(Path("results/strings.json").read_text())
    assert results == json.loads(capsys.readouterr().out)
    assert results["command"].startswith("spoken-digits strings score s.onnx")
    scored = results["evaluation"]
    synthetic = ("synthetic", "synthetic, doubled", "synthetic, not doubled")
    assert set(scored["strings"]) == {
        *XSDR_TEST, "all of the split", "speech_commands", *synthetic,
    }  # fmt: skip
    assert scored["strings"]["all of the split"]["strings"] == 8
    assert [scored["strings"][name]["strings"] for name in synthetic] == [4, 2, 2]
    trained_on = json.loads(results["models"]["model"]["training_data"])
    assert trained_on["train_speakers"] == list(XSDR_TRAIN)
    assert trained_on["tts_voices"] == [v.speaker for v in flite_festival_voices]
    assert trained_on["phrases"] == 12 + 4 + 3 * len(flite_festival_voices)
    assert set(scored["false_digits"]) == {
        "other words", "pink_noise", "rustle", "knocks", "scrapes", "puffs", "creaks",
    }  # fmt: skip
    assert main(["evaluate", "s.onnx", "--rejection", "--hours", "0.001", *where]) == 0
    assert "rustle" in capsys.readouterr().out
    assert main(["evaluate", "s.onnx", *where]) == 1
    assert "here only --rejection evaluates one" in capsys.readouterr().err

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


def test_a_fold_is_left_out_of_all_that_is_trained_on(data):
    shared = os.environ.get("SPOKEN_DIGITS_DATA")
    if not shared or not Path(shared, "an4").is_dir() or not Path(shared, "wuw2").is_dir():
        pytest.skip("needs AN4 and WUW II: SPOKEN_DIGITS_DATA")
    trained = [pipeline._training_utterances(str(fold), None) for fold in range(5)]
    everything = pipeline._training_utterances("all", None)
    for corpus in ("an4", "wuw2"):
        speakers = {u.speaker for u in everything if u.corpus == corpus}
        left_out = [speakers - {u.speaker for u in fold} for fold in trained]
        assert set().union(*left_out) == speakers
        assert sum(map(len, left_out)) == len(speakers)  # each is left out once
    assert pipeline._training_utterances("none", None) == ()


def test_words_and_handling_noise_are_left_out_by_fold(data):
    clips = [pipeline._training_clips("xsdr", fluent, data) for fluent in ("none", "0", "1", "all")]
    words = [
        {clip.label for clip in fold if clip.corpus == "speech_commands"} - set("0123456789")
        for fold in clips
    ]
    assert words == [set(), {"cat"}, {"bed"}, {"bed", "cat"}]
    assert [pipeline.held_out_words(fold, data) for fold in "012"] == [("bed",), ("cat",), ()]
    kinds = [pipeline.held_out_handling(str(fold)) for fold in range(5)]
    assert len(set(kinds)) == 5


def test_what_the_recipes_begin_from_can_be_read_and_fits_the_network():
    folder = Path(__file__).parents[3] / "results" / "strings-base"
    network = pipeline.StringNet()
    network.load_state_dict(pipeline._read_initial(str(folder)))


def test_weights_that_there_are_not_are_named(data, flite_festival_voices, capsys):
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    missing = ["strings", "train", "--initial", "nowhere", "--steps", "1", "--data", str(data)]
    assert main(missing) == 1
    assert "initial = 'nowhere': no model.safetensors in it" in capsys.readouterr().err


def test_a_fold_that_there_is_not_is_named(data):
    with pytest.raises(ConfigError, match="fluent = '5': expected none, all, or a fold"):
        pipeline.StringsConfig(fluent="5")


def test_the_help_names_the_packages_of_flite_and_festival(capsys):
    with pytest.raises(SystemExit):
        main(["strings", "train", "--help"])
    assert PACKAGES in " ".join(capsys.readouterr().out.split())
