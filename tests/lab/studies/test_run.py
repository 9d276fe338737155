import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.lab.data.splits import SplitError
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.evaluation.schema import RunEvaluation
from spoken_digits.lab.runs import RunError, read_json
from spoken_digits.lab.studies.run import StudyError, run_study
from spoken_digits.lab.training.config import ConfigError

# One worker runs them all: they share a finished study, which takes a while.
pytestmark = pytest.mark.xdist_group("study")

RECIPE = """
[study]
question = "Which one?"
[defaults]
epochs = 2
[models.sgd-pool]
weight_decay = 0.01
[models.temporal-cnn]
[grids.results]
split = "xsdr"
seed = [0, 1]
[grids.curves]
model = "temporal-cnn"
split = "inner:theo"
[quick]
seed = [0]
epochs_factor = 0.5
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(made_up_fsdd: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert run_study(str(recipe), made_up_fsdd, out, workers=2) == out
    return out


def test_a_study_leaves_complete_runs_and_a_report(finished: Path) -> None:
    names = sorted(path.name for path in finished.iterdir() if (path / "config.toml").exists())
    assert names == [
        "curves-temporal-cnn-ours-inner-theo-s0",
        "sgd-pool-ours-xsdr-s0",
        "sgd-pool-ours-xsdr-s1",
        "temporal-cnn-ours-xsdr-s0",
        "temporal-cnn-ours-xsdr-s1",
    ]
    run = finished / "temporal-cnn-ours-xsdr-s1"
    predictions = Predictions.load(run / "predictions.npz")
    assert sorted(set(predictions.speakers)) == ["lucas", "yweweler"]
    assert len(predictions) == 40
    evaluation = read_json(run / "evaluation.json", RunEvaluation)
    (test,) = evaluation.tests
    hits = predictions.scores.argmax(1) == predictions.labels
    assert test.metrics.accuracy == np.mean(hits)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["data"]["train_speakers"] == ["george", "jackson", "nicolas", "theo"]
    assert tomllib.loads((run / "config.toml").read_text())["seed"] == 1
    assert json.loads((finished / "summary.json").read_text())["rows"]


def test_only_left_out_training_speakers_are_watched(finished: Path) -> None:
    def logged(run: str) -> set[str]:
        return set(json.loads((finished / run / "log.jsonl").read_text().splitlines()[0]))

    assert "heldout_accuracy" in logged("curves-temporal-cnn-ours-inner-theo-s0")
    assert "heldout_accuracy" not in logged("temporal-cnn-ours-xsdr-s0")


def test_a_second_call_runs_only_what_is_missing_and_gives_the_same_bytes(
    finished: Path, made_up_fsdd: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path: path.read_bytes() for path in finished.glob("*/predictions.npz")}
    stamps = {path: path.stat().st_mtime_ns for path in files}
    removed = finished / "temporal-cnn-ours-xsdr-s0"
    for name in ("evaluation.json", "predictions.npz", "model.safetensors"):
        (removed / name).unlink()
    run_study(str(recipe), made_up_fsdd, finished, workers=1)
    assert "5 runs on fsdd, 4 of them finished" in capsys.readouterr().err
    for path, content in files.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == stamps[path]) == (path.parent != removed)


def test_other_recordings_and_other_recipes_are_refused(
    finished: Path, made_up_fsdd: Path, recipe: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(RunError, match="another recipe"):
        run_study(str(other), made_up_fsdd, finished)
    data = tmp_path / "data"
    (data / "fsdd" / "recordings").mkdir(parents=True)
    for i, path in enumerate(sorted((made_up_fsdd / "fsdd" / "recordings").iterdir())):
        samples, rate = soundfile.read(path)
        soundfile.write(data / "fsdd" / "recordings" / path.name, samples * (i > 0 or 0.5), rate)
    with pytest.raises(RunError, match="other recordings"):
        run_study(str(recipe), data, finished)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (RECIPE.replace("[quick]", "[fast]"), "'fast'"),
        (RECIPE.replace("[models.temporal-cnn]", "[models.resnet]"), "resnet"),
        (RECIPE.replace("weight_decay", "weight"), "'weight'; the keys are"),
        (RECIPE.replace("question", "quest"), "bad.toml, study: unknown key 'quest'; the keys"),
        (RECIPE.replace('"Which one?"', "7"), "bad.toml, study: question = 7: expected str"),
        (RECIPE.replace('"xsdr"', "7"), "split = 7: expected the name of a split"),
        (RECIPE.replace("seed = [0, 1]", "seed = []"), "grids.results: seed is empty; expected"),
        (RECIPE.replace("seed = [0, 1]", "seeds = [0]"), "unknown key 'seeds'; the keys are"),
        (RECIPE.replace("seed = [0, 1]", "epochs_factor = 0"), "epochs_factor = 0: expected a"),
        (RECIPE.replace("seed = [0, 1]", 'task = "sing"'), "'sing': expected one of train, noise"),
        (RECIPE.replace("seed = [0, 1]", 'model = "cnn"'), "model = 'cnn': expected one of [mod"),
        (RECIPE.replace("seed = [0, 1]", 'augmentation = "alone:x"'), "'alone:x': expected one"),
        ("[study]\n[grids.a]", "bad.toml: no models; expected"),
        ("[study]\n[models]\n[grids.a]", "bad.toml: no models; expected a section"),
        ("[study]\n[models.cnn]", "bad.toml: no grids; expected"),
        (RECIPE + "[models]\nrnn = 3", "bad.toml, models: rnn = 3: expected table"),
        ("study = 3", "bad.toml: study = 3: expected table"),
        (RECIPE.replace('"xsdr"', '"people"'), "split 'people': unknown, expected one of xsdr"),
        (RECIPE.replace("inner:theo", "inner:lucas"), "split 'inner:lucas': no such fold"),
    ],
)
def test_a_bad_study_is_named_before_anything_runs(
    made_up_fsdd: Path, tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises((ConfigError, SplitError), match=re.escape(named)):
        run_study(str(path), made_up_fsdd, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_failing_run_is_named_and_the_others_are_kept(
    made_up_fsdd: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    blocked = out / "temporal-cnn-ours-xsdr-s0" / "config.toml"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("seed = 99\n")
    with pytest.raises(StudyError, match=r"1 of 3 runs failed .temporal-cnn-ours-xsdr-s0"):
        run_study(str(recipe), made_up_fsdd, out, quick=True, workers=1)
    assert (out / "sgd-pool-ours-xsdr-s0" / "evaluation.json").exists()


def test_a_study_killed_at_any_moment_resumes_with_the_same_bytes(
    finished: Path, made_up_fsdd: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    command = [sys.executable, "-m", "spoken_digits", "study", str(recipe), "--workers", "2"]
    command += ["--data", str(made_up_fsdd), "--out", str(out)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*/log.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "summary.json").exists()
    run_study(str(recipe), made_up_fsdd, out, workers=1)
    for name in ("model.safetensors", "predictions.npz"):
        for whole in finished.glob(f"*/{name}"):
            assert (out / whole.parent.name / name).read_bytes() == whole.read_bytes()
