"""The command of benchmarks/workers.py: its ratios and bars against made numbers."""

import json

import pytest
from benchmarks import workers
from benchmarks.workers import PAGE, RESULTS, ratio, table

from spoken_digits.lab.reporting.readme import replace_between

MADE = {
    "runs": 8,
    "epochs": 15,
    # Of two workers against one process 2, 1.8 and 1.6, against two plain ones 1, 0.9 and 1.1.
    "seconds": {"one": [200, 180, 160], "workers": [100, 100, 100], "plain": [100, 90, 110]},
    "commit": "abc",
    "processor": "P",
    "cores": 2,
}


@pytest.mark.skipif(not RESULTS.exists(), reason="not measured yet")
def test_the_page_shows_the_results_that_were_committed():
    text, results = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    assert replace_between(text, workers.MARKER, table(results), PAGE.name) == text


def test_ratios_are_medians_of_rounds_and_bars_are_said():
    assert ratio(MADE, "one") == pytest.approx(1.8)
    assert ratio(MADE, "plain") == pytest.approx(1.0)
    text = table(MADE)
    assert "1.80 times those of one process, to be at least 1.8: reached" in text
    slower = table(MADE | {"seconds": MADE["seconds"] | {"plain": [90, 94, 94]}})
    assert "0.94 times those of two plain processes, to be at least 0.95: **missed**" in slower


def test_networks_are_found_by_run_and_told_apart(tmp_path):
    for folder, content in (("a/runs/x", b"1"), ("b/runs/y", b"1"), ("b/runs/z", b"2")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.safetensors").write_bytes(content)
    found = workers.networks(tmp_path)
    assert sorted(found) == ["x", "y", "z"]
    assert found["x"] == found["y"] != found["z"]
