"""The table of docs/protocol.md, and the rows of it that hold on every machine."""

import json
import sys
from dataclasses import asdict

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("its studies are run by tests.kill, for Linux", allow_module_level=True)

from tests import determinism
from tests.determinism import PAGE, RESULTS, Row, compare, once, trained, with_table


def test_the_page_shows_the_results_that_were_committed():
    text, results = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    assert with_table(text, results) == text, "run python -m tests.determinism --record"


def test_the_same_seed_and_an_interruption_give_the_same_bytes_and_another_seed_does_not():
    name = "temporal-cnn"
    for again in (trained(name), trained(name, killed=True)):
        equal, count, largest = compare(once(name), again)
        assert (equal, largest) == (count, 0)
    equal, count, largest = compare(once(name), trained(name, seed=1))
    assert equal < count / 2
    assert largest > 0.01


def test_a_clip_has_the_same_bytes_alone_and_in_a_batch_of_onnxruntime():
    (row,) = determinism.batches_of_onnxruntime()
    assert row.equal == row.of == len(determinism.LENGTHS)


def test_committed_rows_of_what_is_promised_are_equal():
    rows = json.loads(RESULTS.read_text("utf-8"))["rows"]
    assert rows["kills"] == [asdict(row) for row in determinism.kills()]
    for name in ("same-seed", "workers", "kills", "resumed"):
        assert rows[name]
        for row in (Row(**plain) for plain in rows[name]):
            assert row.equal == row.of, row
