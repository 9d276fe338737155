"""The choice of the constants of decoding: by hand on made counts, and what is published of it."""

import json
from dataclasses import asdict

import onnx
import pytest
from benchmarks.decoding import (
    GRID,
    HANDLING,
    LONE,
    RESULTS,
    SENTENCES,
    SPEECH,
    STRINGS,
    WORDS,
    choose,
    grid,
    summarize,
    write_with,
)

from spoken_digits.connected import Transcriber
from spoken_digits.lab.connected.pipeline import DECODING

from .toy_strings import write_toy_strings


def counted(errors: int, false: int, others: int = 0, words: int = 0) -> dict:
    """Make the counts of some constants: 100 digits of each kind, half an hour without any."""
    return {
        STRINGS: (errors, 100), SENTENCES: (others, 100), LONE: (others, 100),
        SPEECH: (false, 0.5), WORDS: (words, 0.5), HANDLING: (0, 0.5),
    }  # fmt: skip


def test_the_fewest_errors_within_the_limits_are_chosen():
    assert choose([[counted(5, 0), counted(3, 30), counted(2, 31)]]) == 1  # 60 an hour, and 62
    assert choose([[counted(5, 0), counted(3, 0, words=31)]]) == 0
    assert choose([[counted(3, 9, others=4), counted(3, 30, others=3)]]) == 1
    assert choose([[counted(3, 9), counted(3, 8), counted(3, 8)]]) == 1
    assert choose([[counted(3, 40), counted(9, 35), counted(1, 90)]]) == 1  # none is within them
    # Folds are added up: 20 and 50 in an hour are within 60 an hour, 50 in half an hour not.
    folds = [[counted(9, 10), counted(3, 50)], [counted(9, 10), counted(3, 10)]]
    assert choose(folds) == 1
    assert choose(folds[:1]) == 0


def test_each_fold_is_judged_with_what_the_others_choose():
    n = len(grid())
    folds = []
    for fold in range(3):  # the constants of index `fold` are best on that fold, and bad elsewhere
        counts = [counted(8, 0)] * n
        counts[:3] = [counted(1 if index == fold else 20, 0) for index in range(3)]
        counts[9] = counted(5, 0)
        folds.append(counts)
    found = summarize(folds)
    constants = {name: getattr(grid()[9], name) for name in GRID}
    assert [row["constants"] for row in found["folds"]] == [constants] * 3
    assert found["cross-fitted"][STRINGS] == (15, 300)
    assert found["chosen"]["constants"] == constants


def test_a_network_is_written_with_other_constants(tmp_path):
    model = write_toy_strings(tmp_path / "toy.onnx")
    write_with(model, {"emission_threshold": 3.25, "context_bonus": 1.5}, tmp_path / "out")
    before, after = (Transcriber(path).network for path in (model, tmp_path / "out" / "toy.onnx"))
    expected = asdict(before.decoding) | {"emission_threshold": 3.25, "context_bonus": 1.5}
    assert asdict(after.decoding) == expected
    graphs = [onnx.load(path).graph for path in (model, tmp_path / "out" / "toy.onnx")]
    assert graphs[0] == graphs[1]


def test_what_is_published_follows_from_its_counts():
    stored = json.loads(RESULTS.read_text("utf-8"))
    assert {name: list(values) for name, values in GRID.items()} == stored["grid"]
    folds = [
        [{name: (row[name][i], sizes[name]) for name in sizes} for i in range(len(grid()))]
        for row, sizes in zip(stored["counts"], stored["sizes"], strict=True)
    ]
    found = json.loads(json.dumps(summarize(folds)))
    for key in ("folds", "cross-fitted", "chosen"):
        assert found[key] == stored[key]
    chosen = stored["chosen"]["constants"]
    assert asdict(DECODING) == asdict(DECODING) | chosen
    assert asdict(Transcriber().network.decoding) == asdict(DECODING)


@pytest.mark.parametrize("name", [STRINGS, SPEECH, WORDS, HANDLING])
def test_the_sizes_published_are_those_of_the_corpora(name):
    stored = json.loads(RESULTS.read_text("utf-8"))
    total = sum(sizes[name] for sizes in stored["sizes"])
    # AN4 and WUW II as in the strings' evaluation; a quarter of an hour of handling noise a fold.
    pooled = json.loads((RESULTS.parent / "strings.json").read_text("utf-8"))["evaluation"]
    expected = {
        STRINGS: pooled["strings"]["an4"]["digits"],
        SPEECH: pooled["false_digits"]["an4 and wuw2"]["seconds"] / 3600,
        WORDS: pooled["false_digits"]["other words"]["seconds"] / 3600,
        HANDLING: 5 * 0.25,
    }
    assert total == pytest.approx(expected[name], rel=1e-3)
