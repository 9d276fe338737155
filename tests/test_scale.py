"""The command of benchmarks/scale.py at a tiny size, and its fits and bars against made numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from benchmarks import scale
from benchmarks.scale import PAGE, RESULTS, STAGES, bars, fit, table, with_table

from spoken_digits.lab.data.corpora import read_corpus


def test_the_page_shows_the_results_that_were_committed() -> None:
    text, results = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    assert with_table(text, results) == text, "run python -m benchmarks.scale --page"


def test_recordings_are_of_many_speakers_and_no_two_are_equal(tmp_path: Path) -> None:
    scale.make_corpus(tmp_path / "corpus", 120)
    clips = read_corpus(tmp_path / "corpus")
    assert len({clip.checksum for clip in clips}) == len(clips) == 120
    assert {clip.speaker for clip in clips} == {"s00000", "s00001", "s00002"}
    assert {clip.label for clip in clips} == set("0123456789")
    assert {soundfile.info(clip.file).samplerate for clip in clips} == {16_000}


def test_stages_run_and_what_is_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "RESULTS", tmp_path / "scale.json")
    results = {"rows": {"100": {"check": {"wall_s": 1.0}}}}
    scale.measure(100, tmp_path, None, results)
    row = json.loads((tmp_path / "scale.json").read_text())["rows"]["100"]
    assert list(row) == list(STAGES)
    assert row.pop("check") == {"wall_s": 1.0}
    for found in row.values():
        assert found["wall_s"] > 0
        assert found["cpu_s"] > 0
        assert 100 < found["peak_mib"] < 2_000
    monkeypatch.setattr(scale, "make_corpus", None)
    scale.measure(100, tmp_path, None, results)


def made(*counts: int, mib_a_clip: float = 1e-4) -> dict:
    row = {
        count: {
            stage: {
                "wall_s": 3 + count / 1e3,
                "cpu_s": count / 500,
                "peak_mib": 400 + mib_a_clip * count,
            }
            for stage in STAGES
        }
        for count in counts
    }
    rows = {str(count): found for count, found in row.items()}
    return {"rows": rows, "commit": "abc", "processor": "P", "cores": 2}


def test_lines_are_fitted_and_extrapolated() -> None:
    results = made(3_000, 30_000)
    assert fit(results["rows"], "epoch", "wall_s") == pytest.approx((3, 1e-3))
    shown = table(results)
    assert "| 3,000 | check | 6.0 s | 2.00 ms | 400 MiB |" in shown
    assert "| 300,000 | prepare, extrapolated | 5.0 min | 2.00 ms | 430 MiB |" in shown
    assert "| 1,000,000 | evaluation, extrapolated | 16.7 min | 2.00 ms | 500 MiB |" in shown


def test_bars_are_said_with_what_was_reached() -> None:
    (said,) = bars(made(3_000, 30_000, 300_000))
    assert "300,000 clips: 430 MiB, 1.07 times that of 30,000;" in said
    assert said.endswith(": reached.")
    (said,) = bars(made(3_000, 30_000, 300_000, mib_a_clip=1e-3))
    assert said.endswith(": **missed**.")
    results = made(3_000)
    results["against"] = {"clips": 3_000, "cores": 2} | {
        f"{name}_{key}": values
        for key in ("wall_s", "cpu_s")
        for name, values in (("ours", [1.0, 2.0, 1.0]), ("theirs", [4.0, 2.0, 6.0]))
    }
    (said,) = bars(results)
    assert "median of 3: 4.0 times the clips a second" in said
    assert said.endswith("reached.")
    results["against"]["theirs_wall_s"] = list(np.array([3.9, 2.0, 6.0]))
    assert bars(results)[0].endswith("**missed**.")
