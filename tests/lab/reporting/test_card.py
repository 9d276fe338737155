"""The model card holds what the model and results/ say, and nothing of another model."""

import hashlib
import json
from pathlib import Path

import pytest
from made_strings import scored_strings
from toy_model import write_toy_model

from spoken_digits.lab.evaluation.rejection import THRESHOLDS
from spoken_digits.lab.reporting.card import model_card, update_card

POINT = {"false_reject_rate": 0.03, "accuracy": 0.955, "false_accept_rate": 0.042}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    corpora = {
        "fsdd": {"digits": 3000, "other_words": 0, "speakers": 6},
        "voices": {"digits": 320, "other_words": 12, "speakers": 4},
    }
    data = {"corpora": corpora, "clips": 3332, "hash": "cd" * 32, "licence": "CC BY-SA 4.0"}
    return write_toy_model(
        tmp_path_factory.mktemp("model") / "toy.onnx",
        rejection=True,
        rejection_threshold="0.8",
        parameters="12345",
        training_data=json.dumps(data),
    )


def put(folder: Path, name: str, result: dict) -> None:
    (folder / name).write_text(json.dumps(result))


def of(model: Path) -> dict:
    return {"sha256": hashlib.sha256(model.read_bytes()).hexdigest()}


def rejection(model: Path) -> dict:
    return {
        "command": "spoken-digits evaluate toy.onnx --rejection",
        "model": of(model), "corpus": "speech_commands", "seen_speakers": 0,
        "digits": 2292, "oov": 1156, "auroc": 0.9871, "eer": 0.0523,
        "operating_points": [
            POINT | {"threshold": t, "noise_false_alarms_per_hour": 3.2} for t in THRESHOLDS
        ],
    }  # fmt: skip


def shipped() -> dict:
    row = {"clips": 3000, "speakers": 6, "accuracy": 0.9612, "macro_f1": 0.95, "ece": 0.025}
    recall = {"corpus": "fsdd", "clips": 300}
    words = {"corpus": "speech_commands"}
    return {
        "command": "spoken-digits study shipped",
        "accuracy": [row | {"held_out": "fsdd, the whole corpus"}],
        "fsdd_speakers": {
            "theo": {"accuracy_corpus_held_out": 0.95, "accuracy": 0.97},
            "ann": {"accuracy_corpus_held_out": 0.9, "accuracy": 0.91},
        },
        "recall_by_digit": [
            recall | {"digit": "0", "recall": 0.997}, recall | {"digit": "6", "recall": 0.887},
            words | {"digit": "0", "recall": 0.968, "clips": 558},
            words | {"digit": "6", "recall": 0.8, "clips": 10},
        ],
        "degraded_recordings": [
            {"corpus": "fsdd", "condition": "noise 10 dB", "accuracy": 0.921},
            {"corpus": "speech_commands", "condition": "noise 10 dB", "accuracy": 0.959},
        ],
        "rejection_of_unseen_words": [
            {"score": "own", "auroc": 0.971, "eer": 0.072},
            {"score": "energy", "auroc": 0.963, "eer": 0.088},
        ],
    }  # fmt: skip


def lines(text: str, heading: str) -> list[str]:
    """Return the rows of the tables below a heading, up to the next one."""
    start = text.index(heading) + len(heading)
    stop = text.find("\n#", start)
    return [line for line in text[start:stop].splitlines() if line.startswith("|")]


def test_without_results_it_says_that_nothing_is_measured(toy, tmp_path):
    text = model_card(tmp_path, toy)
    assert text.startswith("---\nlanguage: en\nlicense: cc-by-sa-4.0\n")
    assert "12,345 parameters" in text
    assert lines(text, "## Training data") == [
        "| corpus | digits | other words | speakers |",
        "| --- | ---: | ---: | ---: |",
        "| Free Spoken Digit Dataset | 3,000 | 0 | 6 |",
        "| eSpeak NG (synthetic) | 320 | 12 | 4 |",
    ]
    assert "3,332 clips, SHA-256 of the data `cdcdcdcdcdcd`.\nLicences: CC BY-SA 4.0." in text
    assert "Not measured yet." in text
    assert "below a score of 0.69 no digit is returned" in text  # 1 / (1 + exp(-0.8))
    assert "evaluate src/spoken_digits/assets/toy.onnx --rejection" in text
    assert "it is not people" in text
    assert "Speech Commands was contributed" not in text
    assert "no woman" not in text


@pytest.mark.parametrize(
    "heading",
    [
        "Model details",
        "Intended use",
        "Training data",
        "Evaluation",
        "Limitations and bias",
        "Licence",
    ],
)
def test_it_has_the_sections_of_a_model_card(toy, tmp_path, heading):
    assert f"\n## {heading}\n" in model_card(tmp_path, toy)


def test_a_model_that_was_not_trained_to_reject_is_called_so(tmp_path):
    data = json.dumps({"corpus": "fsdd", "train_speakers": ["theo", "george"]})
    text = model_card(tmp_path, write_toy_model(tmp_path / "a.onnx", training_data=data))
    assert "**This model was not trained to reject.**" in text
    assert "**This model learned from 2 men, and no woman.**" in text
    assert "fsdd, 2 speakers." in text


def test_figures_of_this_model_stand_there_and_those_of_another_do_not(toy, tmp_path):
    put(tmp_path, "rejection.json", rejection(toy))
    text = model_card(tmp_path, toy)
    assert "2,292 digits against 1,156 other words of speech_commands: AUROC 98.7 %" in text
    assert "| 0.50 | 3.0 | 95.5 | 4.2 | 3 |" in text
    other = write_toy_model(tmp_path / "other.onnx", rejection=True, rejection_threshold="0")
    assert "AUROC" not in model_card(tmp_path, other)


def test_difficult_recordings_stand_side_by_side(toy, tmp_path):
    row = {"condition": "hum", "accuracy": 0.97, "ends_known": 0.98, "misplaced": 0.0}
    tables = {"fsdd": [row], "speech_commands": [row | {"accuracy": 0.9}]}
    put(tmp_path, "endpoints.json", {"command": "python -m b", "model": of(toy), "tables": tables})
    assert lines(model_card(tmp_path, toy), "### Difficult recordings")[2] == (
        "| hum | 97.0 (98.0) | 90.0 (98.0) |"
    )


def test_what_was_held_out_is_told_by_corpus_speaker_digit_and_condition(toy, tmp_path):
    put(tmp_path, "shipped.json", shipped())
    text = model_card(tmp_path, toy)
    rows = lines(text, "### Accuracy on unseen speakers")
    assert "| Free Spoken Digit Dataset, the whole corpus | 3,000 | 6 | 96.1 | 95.0 | 2.5 |" in rows
    assert rows.index("| ann | 90.0 | 91.0 |") < rows.index("| theo | 95.0 | 97.0 |")
    assert "| Free Spoken Digit Dataset | 99.7 | 88.7 |" in rows
    assert "| Speech Commands | 96.8 | 80.0 (10 clips) |" in rows
    assert lines(text, "### Degraded recordings")[2] == "| noise 10 dB | 92.1 | 95.9 |"
    assert lines(text, "### Rejection of words that were in no training")[2:] == [
        "| output for rejection (in use) | 97.1 | 7.2 |",
        "| energy | 96.3 | 8.8 |",
    ]
    assert "Not measured yet." not in text
    assert "Smaller" not in text


def test_variants_have_a_section_of_their_own(toy, tmp_path):
    put(tmp_path, "shipped.json", shipped())
    without = model_card(tmp_path, toy)
    row = {"variant": "float", "parameters": 162239, "file_bytes": 956212}
    row |= {"accuracy_fsdd_whole": 0.915, "rejection_auroc": 0.964}
    variants = [row, row | {"variant": "tiny int8", "parameters": 9747, "file_bytes": 337120}]
    put(tmp_path, "shipped.json", shipped() | {"variants": variants})
    text = model_card(tmp_path, toy)
    assert lines(text, "### Smaller variants") == [
        "| variant | parameters | file, MB | FSDD, whole, % | rejection AUROC, % |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| float | 162,239 | 0.96 | 91.5 | 96.4 |",
        "| tiny int8 | 9,747 | 0.34 | 91.5 | 96.4 |",
    ]
    start, stop = text.index("### Smaller variants"), text.index("## Limitations")
    assert text[:start] + text[stop:] == without


def test_strings_are_told_by_set_with_digits_found_where_none_are(toy, tmp_path):
    assert "strings.onnx" not in model_card(tmp_path, toy)
    put(tmp_path, "strings.json", scored_strings())
    text = model_card(tmp_path, toy)
    assert "the folds an4:0 and an4:1, their counts added up." in text
    assert lines(text, "### Strings of digits")[:4] == [
        "| strings of | strings | digits | digit error, % | lowest to highest fold, % | missed, % "
        "| inserted, % | substituted, % | strings entirely right, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| AN4 | 200 | 1,000 | 3.0 | 2.0 to 4.0 | 1.0 | 0.5 | 1.5 | 90.0 |",
        "| AN4, doubled | 200 | 1,000 | 3.0 |  | 1.0 | 0.5 | 1.5 | 90.0 |",
    ]
    assert "| AN4, doubled less not doubled | 2 | +0.5 | -0.2 to +1.2 |" in text
    assert "| AN4 and WUW II | 1.50 | 12 | 8.0 | 4.1 to 14 |  |" in text
    assert "| handling noise: rustle | 1.00 | 2,000 | 2,000 | 1,913 to 2,090 | 9.0 to 11 |" in text
    assert "[results/report.html](results/report.html#strings)" in text
    assert "at most 99 ms after its end" in text
    assert "with networks from `train 0` and `train 1`" in text


def test_words_of_ones_own_are_told_by_number_of_recordings(toy, tmp_path):
    without = model_card(tmp_path, toy)
    row = {"recordings_a_word": 3, "training": "from shipped"}
    row |= {"accuracy": 0.8125, "lowest": 0.7, "highest": 0.9}
    put(tmp_path, "own_words.json",
        {"words": ["cat", "go"], "draws": 3, "command": "python -m b", "rows": [row]})  # fmt: skip
    text = model_card(tmp_path, toy)
    assert "Tried on cat, go," in text
    assert "| 3 | from shipped | 81.2 | 70.0 to 90.0 |" in text
    start, stop = text.index("### Words of your own"), text.index("## Limitations")
    assert text[:start] + text[stop:] == without


def test_the_card_is_written_only_when_it_changes(toy, tmp_path):
    path = tmp_path / "MODEL_CARD.md"
    assert update_card(path, tmp_path, toy)
    assert not update_card(path, tmp_path, toy)
    put(tmp_path, "rejection.json", rejection(toy))
    assert update_card(path, tmp_path, toy)
