"""The measures of load.py, each for about a second: that they run, and what they are to reach."""

import json
import sys

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("memory and threads are read in /proc", allow_module_level=True)

from tests.load import FAST, PAGE, RESULTS, SLOW, WAYS, serve, stream, threads, with_table


def test_the_page_shows_the_results_that_were_committed():
    text, rows = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    assert with_table(text, rows) == text, "run python -m tests.load ... --record"
    assert all(row["reached"] for row in rows.values())


def test_a_crowd_at_the_pages_server():
    result = serve(1.0)
    assert result["reached"], result
    assert result["answered"] >= FAST
    assert len(result["misused"]) == len(WAYS)
    assert sum(result["misused"].values()) >= SLOW


def test_eight_threads_at_one_recognizer():
    result = threads(1)
    assert not result["errors"]
    assert not result["unequal"]
    assert result["answers_of_slowest_thread"] > 0


def test_a_stream_answers_the_same_again_and_again():
    result = stream(36, period_s=12)
    assert (result["unequal_periods"], result["digits_in_a_period"]) == (0, 7)
    assert result["digits"] == 21
    assert result["drift_s"] < 1e-9
