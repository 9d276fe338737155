"""The studies of AudioMNIST and Speech Commands, from fetching to the report, on made-up trees."""

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_corpora import published_side, speakers_of, write_audiomnist, write_speech_commands

from spoken_digits.cli import main
from spoken_digits.lab.data.splits import AUDIOMNIST_GROUPS
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.reporting.exhibits import Exhibits, merged
from spoken_digits.lab.reporting.html import write_report
from spoken_digits.lab.reporting.readme import results_document, study_lines
from spoken_digits.lab.runs import read_json
from spoken_digits.lab.studies import registry
from spoken_digits.lab.studies.registry import STUDIES
from spoken_digits.lab.studies.results import StudyResult, read_result
from spoken_digits.lab.studies.run import run_study

pytestmark = pytest.mark.xdist_group("own corpora")
TINY = {"cnn-tiny": {"epochs": 2, "learning_rate": 0.02}, "sgd-pool": {"weight_decay": 0.01}}
SIDES = {"validation": 1, "testing": 2, "training": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_audiomnist(folder / "audiomnist")
    write_speech_commands(folder / "speech_commands", **SIDES)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("audiomnist", "speech-commands"):
            sections = {**STUDIES[name].sections, "models": TINY, "quick": {"seed": [0]}}
            patch.setitem(registry.STUDIES, name, replace(STUDIES[name], sections=sections))
        return {
            name: run_study(name, data, out / name, quick=True, workers=1)
            for name in ("audiomnist", "speech-commands")
        }


def result_of(folder: Path) -> StudyResult:
    return read_json(folder / "summary.json", StudyResult)


def test_every_speaker_of_audiomnist_is_tested_once_by_the_published_folds(finished):
    folder, result = finished["audiomnist"], result_of(finished["audiomnist"])
    assert result.provenance.corpus == "audiomnist"
    for row in result.rows:
        assert row.clips == 600
        assert len(row.per_speaker) == 60
        assert row.folds == tuple(f"audiomnist:{fold}" for fold in range(5))
    # The table's folds, from the predictions of each.
    (table,) = STUDIES["audiomnist"].tables(result)
    for row, line in zip(result.rows, table.rows, strict=True):
        for fold in range(5):
            run = folder / f"{row.method.model}-ours-audiomnist-{fold}-s0"
            tested = Predictions.load(run / "predictions.npz")
            assert {*tested.speakers} == {*AUDIOMNIST_GROUPS[(fold + 4) % 5]}
            assert line[2 + fold].text == f"{100 * np.mean(tested.correct):.1f}"
            environment = json.loads((run / "environment.json").read_text())
            assert len(environment["data"]["train_speakers"]) == 36


def test_speech_commands_is_tested_on_its_list_for_testing(finished):
    folder, result = finished["speech-commands"], result_of(finished["speech-commands"])
    assert len(result.label_names) == 35
    names = speakers_of(SIDES)
    for side, found in (
        ("testing", result.provenance.test_speakers),
        ("training", result.provenance.training_speakers),
    ):
        assert found == tuple(name for name in names if published_side(name) == side)
    (table,) = STUDIES["speech-commands"].tables(result)
    for row, line in zip(result.rows, table.rows, strict=True):
        run = Predictions.load(
            folder / f"{row.method.model}-ours-speech_commands-s0" / "predictions.npz"
        )
        is_digit = np.array([run.label_names[label].isdigit() for label in run.labels])
        assert is_digit.sum() == 20
        assert line[1].text == f"{100 * run.correct.mean():.1f}"
        assert line[3].text == f"{100 * run.correct[is_digit].mean():.1f}"
        hardest, recall = line[4].text.split(": ")
        by_word = {
            name: run.correct[run.labels == index].mean()
            for index, name in enumerate(run.label_names)
        }
        assert 100 * min(by_word.values()) == 100 * by_word[hardest] == float(recall)
    assert "35 words, best of 2 methods: " in STUDIES["speech-commands"].sentences(result)[0]


@pytest.mark.parametrize("name", ["audiomnist", "speech-commands"])
def test_a_study_of_its_own_corpus_learns_and_has_a_report(finished, data, tmp_path, name):
    result = result_of(finished[name])
    assert result.name == name
    assert result.best.accuracy > 5 / len(result.label_names)
    shown = write_report(finished[name], tmp_path / "report.html", data)
    assert shown.of.endswith(f" on {STUDIES[name].corpus}")
    published = Exhibits(of=shown.of.removesuffix(f" on {STUDIES[name].corpus}"), curves="of FSDD")
    assert merged(published, shown) == published  # another corpus' errors replace nothing
    page = html.unescape((tmp_path / "report.html").read_text())
    assert STUDIES[name].question in page
    assert ("hardest word" in page) == (name == "speech-commands")
    speakers = len(result.provenance.test_speakers)
    assert ("of 60 speakers tested" in page) == (speakers == 60)


def test_a_study_whose_corpus_is_not_at_hand_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "audiomnist", "--data", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "audiomnist: not at hand, expected data/<speaker>/<digit>_<speaker>_<take>.wav" in err
    assert "spoken-digits corpus fetch audiomnist" in err
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_a_part_without_lists_says_what_is_missing(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    part = tmp_path / "data" / "speech_commands" / "yes"
    part.mkdir(parents=True)
    for file in sorted((data / "speech_commands" / "yes").iterdir())[:2]:
        (part / file.name).write_bytes(file.read_bytes())
    assert main(["study", "speech-commands", "--data", "data"]) == 1
    err = capsys.readouterr().err
    assert "no recording is on the list of those for testing" in err
    assert "testing_list.txt" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("recipe", "run"),
    [
        ("audiomnist", "cnn-tiny-ours-audiomnist-0-s0"),
        ("speech-commands", "cnn-tiny-ours-speech_commands-s0"),
    ],
)
def test_the_recipes_train_on_their_corpora(data, tmp_path, capsys, recipe, run):
    verb = ["train", recipe, "--data", str(data), "--model", "cnn-tiny", "--epochs", "1"]
    assert main([*verb, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / run}\n"
    environment = json.loads((tmp_path / run / "environment.json").read_text())
    assert environment["data"]["corpus"] == recipe.replace("-", "_")


def test_a_recipe_of_an_unknown_corpus_is_refused(tmp_path, capsys):
    (tmp_path / "r.toml").write_text('corpus = "audiomnst"\n')
    assert main(["train", str(tmp_path / "r.toml")]) == 1
    assert "corpus = 'audiomnst': expected one of fsdd, speech_commands" in capsys.readouterr().err


def test_what_was_not_run_stays_open_in_the_documents(finished, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    text = results_document(results)
    for name in ("audiomnist", "speech-commands"):
        _, _, section = text.partition(f"## {STUDIES[name].question}\n")
        section = section.partition("\n## ")[0]
        assert f"Not run yet: it needs the corpus {STUDIES[name].corpus} (" in section
        assert f"`spoken-digits study {name}`" in section
        assert "| 2-D CNN (ensemble of two) | not run yet |" in section
        assert f"- **{name}**: *{STUDIES[name].question}* Not run yet." in study_lines(())
    (results / "audiomnist.json").write_bytes(
        (finished["audiomnist"] / "summary.json").read_bytes()
    )
    text = results_document(results)
    assert text.count("Not run yet") == 1
    assert "| fold 4, % |" in text
    result = read_result(results / "audiomnist.json")
    assert "**audiomnist**" in study_lines((result,))
    assert study_lines((result,)).count("Not run yet") == 1
