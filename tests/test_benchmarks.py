"""The benchmarks' own logic; their timings are taken by `make bench`, never by a test."""

import json
import statistics
from pathlib import Path

import pytest
from benchmarks import formats
from benchmarks.__main__ import PAGE, RESULTS, table, with_table
from benchmarks.measures import MEASURES, Row, against, training_rows


def test_the_page_shows_the_benchmarks_that_were_committed() -> None:
    text = PAGE.read_text("utf-8")
    assert with_table(text, json.loads(RESULTS.read_text("utf-8"))) == text, "run `make bench`"


def test_the_page_of_formats_shows_the_files_that_were_committed() -> None:
    text, results = formats.PAGE.read_text("utf-8"), json.loads(formats.RESULTS.read_text("utf-8"))
    assert formats.with_table(text, results) == text, "run `python -m benchmarks.formats --page`"


def test_sound_that_is_missing_is_told_from_sound_that_is_late() -> None:
    row = {"formats": "", "warnings": [], "rate": 8_000, "start_samples": [160, 512]}
    row |= {"end_samples": [-160, 3], "first_20_ms_db": -3.0, "last_20_ms_db": -19.0}
    assert not formats.is_silent_loss(row)
    for worse in ({"end_samples": [-161, 3]}, {"start_samples": [-161, 0]}):
        assert formats.is_silent_loss(row | worse)
    assert formats.is_silent_loss(row | {"last_20_ms_db": -21.0})
    assert not formats.is_silent_loss(row | {"last_20_ms_db": -21.0, "warnings": ["cut"]})
    assert not formats.is_silent_loss(row | {"last_20_ms_db": -21.0, "formats": "refused"})


def test_what_is_said_of_training_is_what_its_runs_hold() -> None:
    results = json.loads((RESULTS.parent / "training.json").read_text("utf-8"))
    runs = results["runs"]
    assert len({(run["held_out"], run["seed"]) for run in runs}) == len(runs) == 12
    ratio = statistics.median(run["before"]["cpu_s"] / run["now"]["cpu_s"] for run in runs)
    before, now = (
        100 * statistics.mean(run[when]["accuracy"] for run in runs) for when in ("before", "now")
    )
    text = PAGE.read_text("utf-8")
    assert f"took {ratio:.2f} times less CPU time than at {results['commits']['before']}" in text
    assert f"a mean accuracy of {now:.1f} % against {before:.1f} %" in text


def test_a_ratio_is_the_peers_median_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 9.0, 1.0, 20.0, 3.0, 10.0, 2.0, 30.0])  # ours, peer; the first do not count
    monkeypatch.setattr("benchmarks.measures.seconds", lambda _work: next(times))
    row = against("x", 8, lambda: None, lambda: None, rounds=3)
    assert (row.ours, row.peer, row.ratio) == (2.0, 20.0, 10.0)
    assert row.reached
    assert row.rounds == [[1.0, 20.0], [3.0, 10.0], [2.0, 30.0]]


def test_training_is_compared_by_cpu_time_of_the_same_turn() -> None:
    turns = [[[5.0, 2.0], [9.0, 6.0]], [[8.0, 4.0], [8.0, 8.0]], [[4.0, 3.0], [4.0, 9.0]]]
    cpu, wall = training_rows("x", 2.0, turns, "/nowhere/else")
    assert (cpu.ours, cpu.peer, cpu.ratio, cpu.reached) == (3.0, 8.0, 3.0, True)
    assert (wall.ours, wall.peer, wall.ratio, wall.bar) == (5.0, 8.0, 1.0, None)
    assert cpu.what.endswith("CPU time, against else")
    alone = training_rows("x", 2.0, [[turn[0]] for turn in turns], None)
    assert [(row.ours, row.peer, row.reached) for row in alone] == [
        (3.0, None, True), (5.0, None, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row("without a peer less is better", 1.9, "ms", 2), True),
        (Row("without a peer more is worse", 2.1, "ms", 2), False),
        (Row("with one the ratio counts", 5.0, "s", 8, peer=39.0, ratio=7.8), False),
    ],
)
def test_a_bar_is_reached_or_missed(row: Row, reached: bool) -> None:
    assert row.reached is reached


def test_the_table_names_what_was_missed() -> None:
    environment = {
        "date": "2026-01-01", "processor": "P", "cores": 2, "python": "3.11", "versions": {"a": "1"}
    }  # fmt: skip
    rows = [
        {"what": "speed", "ours": 0.5, "unit": "s", "bar": 8, "peer": 3, "ratio": 6, "reached": 0},
        {"what": "size", "ours": 0.25, "unit": "MB", "bar": 1, "peer": None, "reached": True},
    ]
    assert table({"m": {"environment": environment, "rows": rows}}).splitlines()[2:] == [
        "| speed | 0.5 s | 3 s | 6.0 | ≥ 8 | **missed** |",
        "| size | 0.25 MB |  |  | ≤ 1 MB | reached |",
        "",
        "2026-01-01, P, 2 cores; Python 3.11, a 1.",
    ]


def test_the_tables_go_between_the_markers_and_nowhere_else() -> None:
    begins, ends = ([f"<!-- {k}:{at} -->" for k in ("peers", "bench")] for at in ("begin", "end"))
    text = "\n".join(
        ["above", begins[0], "old", ends[0], "between", begins[1], "old", ends[1], "below", ""]
    )
    new = with_table(text, {})
    assert new.startswith(f"above\n{begins[0]}\nNot measured yet")
    assert f"\n{ends[0]}\nbetween\n{begins[1]}\n| measure |" in new
    assert new.endswith(f"\n{ends[1]}\nbelow\n")
    assert "old" not in new


def test_no_measure_uses_more_threads_than_a_small_machine_has() -> None:
    assert all(1 <= measure.threads <= 2 for measure in MEASURES.values())


def test_pocketsphinx_hears_the_same_digits_in_the_same_run(data_root: Path) -> None:
    pytest.importorskip("pocketsphinx", reason="needs the extra bench")
    rows = MEASURES["pocketsphinx"].run(True)
    assert [row.unit for row in rows] == ["%", "ms"] * (len(rows) // 2)
    assert rows[0].what.startswith("20 digits of FSDD's list")
    for accuracy, time in zip(rows[::2], rows[1::2], strict=True):
        assert accuracy.ours >= 50
        assert accuracy.peer is not None
        assert accuracy.peer >= 50  # a tenth would be chance
        assert time.ratio == pytest.approx(time.peer / time.ours)
