"""The study of tracks: its runs, and what is told of results made up by hand."""

from dataclasses import replace

import numpy as np
import pytest
from made_rows import SIX, TWO, result, row

from spoken_digits.lab.data.splits import XSDR_TRAIN
from spoken_digits.lab.studies.comparisons import compare
from spoken_digits.lab.studies.registry import read_study, studies
from spoken_digits.lab.studies.results import ExtraSpeech, Source, read_result, write_result
from spoken_digits.lab.studies.tracks import ALL_ENGINES, STUDY, fit_errors, worth_in_recorded

COUNTS = {"kokoro:10": 10, "kokoro:54": 54, "flite-festival": 5, ALL_ENGINES: 103}


def recorded(count):
    """Accuracy of `count` recorded speakers alone, by error = 0.24 / count ** 0.75."""
    return 1 - 0.24 / count**0.75


def sources(on_xsdr):
    return {
        name: Source(
            on_xsdr,
            0.0,
            {t: on_xsdr for t in SIX if t != name},
            on_xsdr if name in XSDR_TRAIN else None,
        )
        for name in SIX
    }


def of_two(accuracy, **changes):
    return row({s: [accuracy, accuracy] for s in TWO}, **changes)


def made(*more):
    """Four recorded speakers without and with speech, fewer, one alone, and each left out."""
    rows = [
        of_two(recorded(4)),
        of_two(recorded(6), extra="kokoro:10", grid="kokoro-curve"),
        of_two(recorded(9), extra="kokoro:54", grid="kokoro-curve"),
        of_two(0.85, extra="flite-festival", grid="single-engines"),
        of_two(0.97, extra=ALL_ENGINES, grid="all-engines"),
        of_two(recorded(3), split="xsdr-3", training_speakers=3, grid="few-recorded"),
        of_two(recorded(2), split="xsdr-2", training_speakers=2, grid="few-recorded"),
        *more,
    ]
    told = result(rows, compare(rows, STUDY.reference), study="tracks")
    speech = {name: ExtraSpeech(20 * n, n, "ab" * 32) for name, n in COUNTS.items()}
    return replace(told, provenance=replace(told.provenance, extra=speech))


def of_six(accuracy, split, **changes):
    one = {"training_speakers": 1, "sources": sources(recorded(1))} if split == "single" else {}
    return row({s: [accuracy, accuracy] for s in SIX}, 2500, split=split, **(one | changes))


SINGLE = of_six(recorded(1), "single", grid="recorded-alone")
SINGLE_ALL = of_six(0.95, "single", grid="with-synthetic", extra=ALL_ENGINES)
LOSO = of_six(0.95, "loso", grid="recorded-alone", training_speakers=5)
LOSO_ALL = of_six(0.96, "loso", grid="with-synthetic", extra=ALL_ENGINES, training_speakers=5)
EVERYTHING = made(SINGLE, SINGLE_ALL, LOSO, LOSO_ALL)


def test_runs_differ_in_what_they_are_trained_on_alone():
    grids = STUDY.sections["grids"]
    assert STUDY.sections["defaults"] == {"clips_per_epoch": 2000}
    assert {key for grid in grids.values() for key in grid} <= {
        *("split", "extra", "augmentation", "seed", "quick")
    }
    assert grids["choice"]["split"] == "inner"  # nothing is chosen on test speakers
    assert all(
        "inner" not in grid.get("split", "") for name, grid in grids.items() if name != "choice"
    )
    curve = [int(extra.partition(":")[2]) for extra in grids["kokoro-curve"]["extra"]]
    assert curve == [10, 30, 54, 100, 200]


def test_it_is_run_by_name_alone():
    assert read_study("tracks") is STUDY
    assert "tracks" not in studies()


def test_every_row_with_speech_is_compared_with_the_same_people_without():
    assert len(EVERYTHING.comparisons) == 6
    for comparison in EVERYTHING.comparisons:
        assert comparison.reference.extra == "none"
        assert comparison.reference.split == comparison.method.split
        assert comparison.method.extra != "none"


def test_the_table_is_in_the_order_of_engines_and_numbers():
    table, by_speaker = STUDY.tables(EVERYTHING)
    assert [line[0].text for line in table.rows] == [
        "none",
        "flite and festival",
        "Kokoro (10 voices)",
        "Kokoro (54 voices)",
        "Kokoro (54 voices), espeak-ng, flite and festival",
    ]
    assert [line[1].text for line in table.rows] == ["0", "5", "10", "54", "103"]
    assert table.rows[0][2].text == f"{100 * recorded(4):.1f} ± 0.0"
    assert table.rows[0][-1].text == "-"
    assert table.rows[1][-1].verdict == "worsens"
    assert table.rows[4][-1].text.startswith("+5.5 (")
    assert [line[0].text for line in by_speaker.rows] == [*SIX, "mean", "change"]
    assert [len(line) for line in by_speaker.rows] == [5] * 8
    # George alone, with all engines; left out, with all engines.
    assert [cell.text for cell in by_speaker.rows[0][1:]] == ["76.0", "76.0", "95.0", "96.0"]
    assert [cell.text for cell in by_speaker.rows[-2][1:]] == [
        "76.0 ± 0.0",
        "95.0 ± 0.0",
        "95.0 ± 0.0",
        "96.0 ± 0.0",
    ]


def test_sentences_name_the_measure_the_condition_and_the_number():
    sentences = STUDY.sentences(EVERYTHING)
    assert sentences[0].startswith("Accuracy, trained on four speakers: 91.5 % (mean of 2 seeds")
    assert sentences[1].startswith(
        "Accuracy, trained on one speaker, mean over six training speakers: 76.0 %"
    )
    assert sentences[3].startswith(
        "Accuracy, trained on four speakers, with Kokoro (54 voices), espeak-ng, flite and "
        "festival: 97.0 % against 91.5 % without synthetic speech, +5.5 points"
    )
    assert len(sentences) == 3 + 6 + 1
    assert all(sentence.endswith(".") for sentence in sentences)


def test_what_a_recorded_speaker_is_worth_is_read_off_the_fit():
    # By construction 54 speakers of Kokoro stand for five: nine recorded are as good as 4 + 54.
    last = STUDY.sentences(EVERYTHING)[-1]
    assert "1 to 4 fitted: 24.0 % times k to the power of -0.75" in last
    assert "Kokoro (54 voices) beside four: 95.4 %, as of 9.0 recorded speakers" in last
    assert "11 synthetic speakers for each recorded one" in last
    # Where speech does not help, nothing is read off.
    worse = replace(
        EVERYTHING,
        rows=tuple(r for r in EVERYTHING.rows if r.method.extra in ("none", "flite-festival")),
    )
    assert "recorded speakers" not in STUDY.sentences(worse)[-1]
    none = made(SINGLE, of_two(0.9, extra="kokoro:30", grid="kokoro-curve"))
    rows = [r for r in none.rows if r.method.extra in ("none", "kokoro:30")]
    assert "no more than four alone" in STUDY.sentences(replace(none, rows=tuple(rows)))[-1]


def test_the_fit_is_the_power_law_that_was_put_in():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scale, exponent = rng.uniform(0.1, 0.5), rng.uniform(0.2, 1.5)
        accuracies = {k: 1 - scale * k**-exponent for k in (1, 2, 3, 4)}
        assert fit_errors(accuracies) == pytest.approx((scale, exponent))
        k = rng.uniform(1, 50)
        assert worth_in_recorded(1 - scale * k**-exponent, scale, exponent) == pytest.approx(k)


def test_the_picture_goes_over_recorded_and_synthetic_speakers_together():
    (picture,) = STUDY.pictures(EVERYTHING)
    assert picture.kind == "curve"
    assert picture.is_log
    alone, kokoro, *others = picture.series
    assert [(p.x, p.y) for p in alone.points] == [
        (k, pytest.approx(recorded(k))) for k in (1, 2, 3, 4)
    ]
    assert [p.x for p in kokoro.points] == [4, 14, 58]
    assert [p.y for p in kokoro.points] == pytest.approx([recorded(k) for k in (4, 6, 9)])
    assert [[p.x for p in each.points] for each in others] == [[9], [107]]
    assert [place for place, _ in picture.ticks] == [1, 2, 3, 4, 14, 58]


def test_little_is_told_without_an_error():
    few = result([of_two(0.9)], study="tracks")
    assert len(STUDY.sentences(few)) == 1
    (table,) = STUDY.tables(few)
    assert len(table.rows) == 1
    (picture,) = STUDY.pictures(few)
    assert [point.x for point in picture.series[0].points] == [4]


def test_the_speech_that_joined_survives_a_file(tmp_path):
    write_result(tmp_path / "tracks.json", EVERYTHING)
    assert read_result(tmp_path / "tracks.json") == EVERYTHING
