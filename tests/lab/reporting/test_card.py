"""The model card holds what the model and results/ say, and nothing of another model."""

import hashlib
import json
from pathlib import Path

import pytest
from toy_model import write_toy_model

from spoken_digits.lab.evaluation.rejection import THRESHOLDS
from spoken_digits.lab.release import card
from spoken_digits.lab.release.card import model_card, update_card
from spoken_digits.recognize import SHIPPED_MODEL

ROOT = Path(__file__).parents[3]
CUT = {"digits_accepted": 0.97, "digits_right": 0.955, "others_accepted": 0.042}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    corpora = {"fsdd": {"digits": 3000, "other_words": 0}, "voices": {"digits": 320}}
    data = {"corpora": corpora, "speakers": [f"s{k}" for k in range(506)], "hours": 2}
    return write_toy_model(
        tmp_path_factory.mktemp("model") / "toy.onnx",
        rejection=True,
        rejection_threshold="0.8",
        parameters="12345",
        training_data=json.dumps(data),
    )


def put(folder: Path, name: str, result: dict) -> None:
    (folder / name).write_text(json.dumps(result))


def rejection(model: Path) -> dict:
    return {
        "command": "spoken-digits evaluate toy.onnx --rejection",
        "model": {"sha256": hashlib.sha256(model.read_bytes()).hexdigest()},
        "corpus": "speech_commands", "heard_before": 0, "digits": 2292, "others": 1156,
        "auroc": 0.9871, "eer": 0.0523,
        "cuts": [CUT | {"threshold": t, "noise_alarms_per_hour": 3.2} for t in THRESHOLDS],
    }  # fmt: skip


@pytest.mark.skipif(not SHIPPED_MODEL.exists(), reason="the model does not ship yet")
def test_the_card_that_is_committed_is_the_one_that_is_made():
    written = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert written == model_card(ROOT / "results"), "run `make card`"


def test_without_results_it_says_that_nothing_is_measured(toy, tmp_path):
    text = model_card(tmp_path, toy)
    assert "12,345 parameters" in text
    assert "- speakers: 506" in text
    assert "- fsdd: 3,000 digits, 0 other words\n- voices: 320 digits\n" in text
    assert "Not measured yet." in text
    assert "below a score of 0.69 it gives none" in text  # 1 / (1 + exp(-0.8))
    assert "evaluate src/spoken_digits/assets/toy.onnx --rejection" in text
    assert "no people" in text
    assert "Speech Commands was sent in" not in text
    assert "no woman" not in text


def test_a_model_that_cannot_say_no_is_called_so(tmp_path):
    data = json.dumps({"corpus": "fsdd", "train_speakers": ["theo", "george"]})
    text = model_card(tmp_path, write_toy_model(tmp_path / "a.onnx", training_data=data))
    assert "**This model was not taught to say no.**" in text
    assert "**This model learned from 2 men, and no woman.**" in text


def test_figures_of_this_model_stand_there_and_those_of_another_do_not(toy, tmp_path):
    put(tmp_path, "rejection.json", rejection(toy))
    text = model_card(tmp_path, toy)
    assert "2,292 digits against 1,156 other words of speech_commands: AUROC 98.7 %" in text
    assert "| 0.50 | 97.0 | 95.5 | 4.2 | 3 |" in text
    other = write_toy_model(tmp_path / "other.onnx", rejection=True, rejection_threshold="0")
    assert "AUROC" not in model_card(tmp_path, other)


def test_troubles_are_laid_side_by_side(toy, tmp_path):
    row = {"condition": "hum", "accuracy": 0.97, "ends_known": 0.98, "misplaced": 0.0}
    tables = {"fsdd": [row], "speech_commands": [row | {"accuracy": 0.9}]}
    digest = {"sha256": hashlib.sha256(toy.read_bytes()).hexdigest()}
    result = {"command": "python -m benchmarks.endpoints", "model": digest, "tables": tables}
    put(tmp_path, "endpoints.json", result)
    text = model_card(tmp_path, toy)
    assert "| recording | fsdd, % | speech commands, % |" in text
    assert "| hum | 97.0 (98.0) | 90.0 (98.0) |" in text


def test_every_table_of_the_shipped_results_is_shown(toy, tmp_path):
    shipped = {
        "command": "spoken-digits study shipped", "commit": "abc", "seeds": [0, 1],
        "accuracy": [
            {"left_out": "fsdd", "clips": 3000, "accuracy": 0.9612, "confusion": [[1]]},
            {"left_out": "speech_commands", "clips": 2292, "accuracy": 0.973, "confusion": [[2]]},
        ],
        "noise": {"10 dB": {"accuracy": 0.96}, "0 dB": {"accuracy": 0.88, "note": "loud"}},
        "calibration": {"ece": 0.021, "temperature": 0.8, "curve": [1, 2]},
        "data": {"hash": "ab"}, "empty": [], "numbers": [1, 2],
        "runs": {"open:0": {"clean": [{"accuracy": 0.9}]}, "open:1": {"clean": []}},
        "fsdd_speakers": {"theo": {"left_out_with_the_corpus": 0.95, "accuracy": 0.97}},
    }  # fmt: skip
    put(tmp_path, "shipped.json", shipped)
    text = model_card(tmp_path, toy)
    assert "### Accuracy\n\n| left out | clips | accuracy, % |\n| --- | ---: | ---: |\n" in text
    assert "| fsdd | 3,000 | 96.1 |\n| speech_commands | 2,292 | 97.3 |\n" in text
    assert "### Noise\n\n| noise | accuracy, % | note |" in text
    assert "| 0 dB | 88.0 | loud |" in text
    assert "| ece | 2.1 % |" in text
    assert "| temperature | 0.8 |" in text
    assert "| fsdd speakers | left out with the corpus, % | accuracy, % |" in text
    assert "| theo | 95.0 | 97.0 |" in text
    assert "### Runs" not in text
    assert "### Data" not in text
    assert "### Numbers" not in text
    assert "Not measured yet." not in text
    assert "Made by `spoken-digits study shipped`" in text


def test_variants_stand_side_by_side_and_leave_no_trace_where_there_are_none(toy, tmp_path):
    shipped = {"command": "spoken-digits study shipped", "noise": {"10 dB": {"accuracy": 0.96}}}
    put(tmp_path, "shipped.json", shipped)
    without = model_card(tmp_path, toy)
    assert "Smaller" not in without
    row = {"variant": "float", "parameters": 162239, "file_bytes": 956212}
    row |= {"accuracy_fsdd_whole": 0.915, "rejection_auroc": 0.964}
    variants = [row, row | {"variant": "tiny int8", "parameters": 9747, "file_bytes": 337120}]
    put(tmp_path, "shipped.json", shipped | {"variants": variants})
    text = model_card(tmp_path, toy)
    assert (
        "| variant | parameters | file bytes | accuracy fsdd whole, % | rejection auroc, % |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| float | 162,239 | 956,212 | 91.5 | 96.4 |\n"
        "| tiny int8 | 9,747 | 337,120 | 91.5 | 96.4 |\n"
    ) in text
    start, stop = text.index("## Smaller"), text.index("## Limits")
    assert text[:start] + text[stop:] == without  # a section of its own, and nothing else


def test_strings_are_told_by_voice_with_what_is_heard_where_no_digit_is(toy, tmp_path):
    assert "strings.onnx" not in model_card(tmp_path, toy)
    ann = {"strings": 100, "digits": 562, "digit_error": 0.0712, "whole_right": 0.61}
    judged = {
        "command": "spoken-digits strings score",
        "strings": {"ann": ann, "all of the split": ann},
        "delay_ms": {"95 %": 98.7},
        "false_digits": {"pink_noise": {"digits": "77", "seconds": 60.0}},
    }
    put(tmp_path, "strings.json", judged)
    text = model_card(tmp_path, toy)
    assert "| ann | 100 | 7.1 | 61.0 |" in text
    assert "without ann;" in text
    assert "noise: 2 in 60 s of pink noise." in text
    assert "99 ms after its end" in text


def test_words_of_ones_own_are_told_by_number_of_recordings(toy, tmp_path):
    without = model_card(tmp_path, toy)
    assert "Words of your own" not in without
    row = {"recordings_a_word": 3, "training": "from shipped"}
    row |= {"accuracy": 0.8125, "lowest": 0.7, "highest": 0.9}
    judged = {"words": ["cat", "go"], "draws": 3, "command": "python -m b", "rows": [row]}
    put(tmp_path, "own_words.json", judged)
    text = model_card(tmp_path, toy)
    assert "Tried on cat, go," in text
    assert "| 3 | from shipped | 81.2 | 70.0 to 90.0 |" in text
    start, stop = text.index("## Words of your own"), text.index("## Limits")
    assert text[:start] + text[stop:] == without


def test_the_card_is_written_only_when_it_changes(toy, tmp_path):
    path = tmp_path / "MODEL_CARD.md"
    assert update_card(path, tmp_path, toy)
    assert not update_card(path, tmp_path, toy)
    put(tmp_path, "rejection.json", rejection(toy))
    assert update_card(path, tmp_path, toy)


def test_it_is_made_in_the_source_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="made in the source tree: run it there"):
        card.main()
