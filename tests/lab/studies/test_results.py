"""Results to JSON and back, and the titles made of their fields."""

import json

import pytest
from made_rows import TWO, method, result, row

from spoken_digits.lab.evaluation.schema import Condition
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.runs import RunError
from spoken_digits.lab.studies.comparisons import compare
from spoken_digits.lab.studies.results import Source, read_result, read_results, write_result
from spoken_digits.lab.studies.titles import condition_title, title


def made():
    rows = [
        row({s: [0.9, 0.8] for s in TWO}, condition=Condition("white", 10.0)),
        row({s: [0.95] for s in TWO}, sources={"theo": Source(0.9, None, {"lucas": 0.9}, None)}),
    ]
    wanted = method(condition=Condition("white", 10.0))
    return result(rows, compare(rows, lambda _: wanted), inner=rows[:1])


def test_a_result_survives_json_exactly(tmp_path):
    write_result(tmp_path / "mine.json", made())
    assert read_result(tmp_path / "mine.json") == made()
    first = (tmp_path / "mine.json").read_bytes()
    write_result(tmp_path / "mine.json", read_result(tmp_path / "mine.json"))
    assert (tmp_path / "mine.json").read_bytes() == first


def test_json_has_one_list_of_numbers_a_line_and_no_titles():
    text = made().to_json()
    assert '"seeds": [0, 1],' in text
    assert '"title"' not in text
    json.loads(text, parse_constant=pytest.fail)


def test_only_results_of_studies_are_read_from_a_folder(tmp_path):
    write_result(tmp_path / "mine.json", made())
    (tmp_path / "other.json").write_text('{"rows": []}')
    (tmp_path / "list.json").write_text("[1]")
    assert [each.name for each in read_results(tmp_path)] == ["mine"]


@pytest.mark.parametrize("text", ["{", '{"study": "mine"}', "[]"])
def test_a_file_that_holds_no_result_is_named(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(RunError, match=r"bad.json: not a StudyResult"):
        read_result(tmp_path / "bad.json")


def test_rows_and_comparisons_are_found_by_method():
    found = made()
    noisy, clean = found.rows
    assert found.row(clean.method) is clean
    assert found.row(method(model="rnn")) is None
    assert found.select(condition=Condition("white", 10.0)) == (noisy,)
    assert found.select(model="cnn", front_end="ours") == found.rows
    assert found.compared(clean.method) is found.comparisons[0]
    assert found.compared(noisy.method) is None
    assert found.best is clean


def test_a_title_names_what_varies_and_nothing_else():
    one = method(model="cnn-single", augmentation="none")
    cnn = MODELS["cnn-single"].title
    assert title(one) == title(one, [one]) == cnn
    assert title(one, [one, method(model="cnn-single")]) == f"{cnn}, no augmentation"
    other = method(model="cnn-single", augmentation="none", split="single", training_speakers=1)
    beside = [one, other, method(model="cnn-single")]
    assert title(one, beside) == f"{cnn}, no augmentation, four speakers"
    assert title(other, beside) == f"{cnn}, no augmentation, one speaker"


def test_titles_tell_methods_apart():
    methods = [
        method(),
        method(front_end="original"),
        method(augmentation="alone:freq_mask"),
        method(extra="voices"),
        method(objective="joint"),
        method(condition=Condition("white", 10.0)),
        method(condition=Condition("white", 5.0)),
        method(condition=Condition("finetune")),
        method(condition=Condition("finetune", 5.0)),
        method(learning_rate=1e-3),
        method(weight_decay=1e-3),
        method(split="single:theo", training_speakers=1),
        method(split="single:george", training_speakers=1),
        method(grid="hints"),
        method(model="lstm"),
    ]
    assert len({title(each, methods) for each in methods}) == len(methods)


def test_a_rate_that_each_model_has_of_its_own_is_not_named():
    one, other = method(), method(model="rnn", learning_rate=3e-3)
    assert "rate" not in title(one, [one, other])
    assert title(one, [one, other, method(learning_rate=1e-3)]).endswith("learning rate 0.004")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition(), "clean"),
        (Condition("white", 10.0), "white noise at 10 dB"),
        (Condition("recorded", 0.0), "recorded noise at 0 dB"),
        (Condition("reverberation"), "reverberation"),
        (Condition("finetune", 1.0), "fine-tuned, 1 label"),
        (Condition("scratch"), "from scratch, all labels"),
    ],
)
def test_conditions_in_words(condition, expected):
    assert condition_title(condition) == expected
