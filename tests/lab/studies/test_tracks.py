"""The study of tracks: its runs, and what is told of results made up by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_rows import SIX, TWO, result, row

from spoken_digits.lab.data.corpora import Clip, data_hash
from spoken_digits.lab.data.synthetic import read_extra
from spoken_digits.lab.runs import RunError
from spoken_digits.lab.studies import tasks
from spoken_digits.lab.studies.comparisons import compare
from spoken_digits.lab.studies.grid import check_sections, plan
from spoken_digits.lab.studies.registry import RELEASE_STUDIES, read_study, studies
from spoken_digits.lab.studies.results import ExtraSpeech, Source, read_result, write_result
from spoken_digits.lab.studies.run import run_study
from spoken_digits.lab.studies.tracks import ALL_ENGINES, STUDY, fit_errors, worth_in_recorded

COUNTS = {"kokoro:10": 10, "kokoro:54": 54, "flite-festival": 5, ALL_ENGINES: 103, "voices": 53}
FEW = {"grid": "few-recorded", "epochs": 12}
CURVE = {"grid": "curve", "epochs": 12}


def recorded(count):
    """Accuracy of `count` recorded speakers alone, by error = 0.24 / count ** 0.75."""
    return 1 - 0.24 / count**0.75


def of(speakers, accuracy, epochs=30, **changes):
    made = row({s: [accuracy, accuracy] for s in speakers}, **changes)
    return replace(made, epochs=epochs)


def alone(accuracy):
    """Rows of one speaker trained on, each of six in turn."""
    sources = {s: Source(accuracy, 0.0, {t: accuracy for t in SIX if t != s}, None) for s in SIX}
    return {"split": "single", "training_speakers": 1, "sources": sources, "clips": 2500}


TRACKS = [
    of(TWO, 0.92),
    of(TWO, 0.97, extra=ALL_ENGINES, grid="all-engines"),
    of(TWO, 0.96, extra="voices", grid="all-engines"),
]
CURVES = [
    of(TWO, recorded(9), extra="kokoro:54", **CURVE),
    of(TWO, recorded(4), **CURVE),
    of(TWO, 0.85, extra="flite-festival", **CURVE),
    of(TWO, recorded(6), extra="kokoro:10", **CURVE),
    of(TWO, recorded(3), split="xsdr-3", training_speakers=3, **FEW),
    of(TWO, recorded(2), split="xsdr-2", training_speakers=2, **FEW),
    of(TWO, recorded(1), split="xsdr-1", training_speakers=1, **FEW),
]
SPEAKERS = [
    of(SIX, 0.76, grid="recorded-alone", **alone(0.76)),
    of(SIX, 0.95, grid="one-and-synthetic", extra=ALL_ENGINES, **alone(0.95)),
    of(SIX, 0.94, grid="recorded-alone", split="loso", training_speakers=5),
    of(SIX, 0.96, grid="five-and-synthetic", split="loso", training_speakers=5, extra=ALL_ENGINES),
]


def clips_of_fsdd():
    return [Clip(Path(f"{d}_{s}_0.wav"), str(d), s, "fsdd") for d in range(10) for s in SIX]


def told(rows):
    made = result(rows, compare(rows, STUDY.reference), study="tracks")
    speech = {name: ExtraSpeech(20 * n, n, "ab" * 32) for name, n in COUNTS.items()}
    return replace(made, provenance=replace(made.provenance, extra=speech))


EVERYTHING = told([*TRACKS, *CURVES, *SPEAKERS])


def test_runs_differ_in_what_they_are_trained_on_alone():
    grids = STUDY.sections["grids"]
    assert STUDY.sections["defaults"] == {"clips_per_epoch": 2000}
    keys = {key for grid in grids.values() for key in grid}
    assert keys == {"split", "extra", "augmentation", "seed", "epochs_factor", "quick"}
    # What is set against each other has as many steps.
    assert grids["curve"]["epochs_factor"] == grids["few-recorded"]["epochs_factor"]
    assert not any("epochs_factor" in grids[name] for name in ("results", "all-engines"))
    # Nothing is chosen on test speakers.
    assert all(split.startswith("inner:") for split in grids["choice"]["split"])
    assert grids["curve"]["extra"][2:7] == [f"kokoro:{n}" for n in (10, 30, 54, 100, 200)]


@pytest.mark.parametrize("quick", [False, True])
def test_it_can_be_run_by_name_alone(quick):
    assert read_study("tracks") is STUDY
    assert "tracks" not in studies()
    check_sections("tracks", {"study": {}, **STUDY.sections})
    jobs = plan(STUDY, "fsdd", clips_of_fsdd(), quick)
    assert {job.config.seed for job in jobs} == ({0} if quick else {0, 1, 2, 3, 4})
    assert {job.grid for job in jobs} == (
        {"results", "all-engines"} if quick else set(STUDY.sections["grids"])
    )
    if quick:  # runs everywhere
        assert {job.config.extra for job in jobs} == {"none", "voices"}
    assert all(job.config.clips_per_epoch == 2000 for job in jobs)
    # The quick one takes minutes, by the grid's own estimate.
    assert not quick or sum(job.seconds(2000) for job in jobs) / 2 < 4 * 60


def test_every_row_with_speech_is_compared_with_the_same_people_and_steps_without():
    assert len(EVERYTHING.comparisons) == 2 + 3 + 2
    epochs = {each.method: each.epochs for each in EVERYTHING.rows}
    for comparison in EVERYTHING.comparisons:
        assert (comparison.method.extra != "none") > (comparison.reference.extra != "none")
        assert comparison.reference.split == comparison.method.split
        assert epochs[comparison.reference] == epochs[comparison.method]


def test_tables_are_in_the_order_of_engines_and_numbers():
    tracks, curve, speakers = STUDY.tables(EVERYTHING)
    assert [line[0].text for line in tracks.rows] == [
        "none",
        "Kokoro (54 voices), espeak-ng, flite and festival",
        "the synthetic speech that ships",
    ]
    assert [line[1].text for line in tracks.rows] == ["0", "103", "53"]
    assert [line[2].text for line in tracks.rows] == ["92.0 ± 0.0", "97.0 ± 0.0", "96.0 ± 0.0"]
    assert [line[-1].text[:4] for line in tracks.rows] == ["-", "+5.0", "+4.0"]
    assert "30 epochs" in tracks.note
    assert [line[1].text for line in curve.rows] == ["0", "10", "54", "5"]
    assert [line[-1].verdict for line in curve.rows] == [
        None,
        "no significant difference",
        "improves",
        "worsens",
    ]
    assert "12 epochs" in curve.note
    assert [line[0].text for line in speakers.rows] == [*SIX, "mean", "change"]
    assert [cell.text for cell in speakers.rows[0][1:]] == ["76.0", "95.0", "94.0", "96.0"]
    means = ["76.0 ± 0.0", "95.0 ± 0.0", "94.0 ± 0.0", "96.0 ± 0.0"]
    assert [cell.text for cell in speakers.rows[-2][1:]] == means
    assert [cell.verdict for cell in speakers.rows[-1][1:]] == [None, "improves", None, "improves"]


def test_sentences_name_the_measure_the_condition_and_the_number():
    sentences = STUDY.sentences(EVERYTHING)
    assert sentences[0].startswith(
        "Accuracy, trained on four speakers, with Kokoro (54 voices), espeak-ng, flite and "
        "festival: 97.0 % against 92.0 % without synthetic speech, +5.0 points"
    )
    assert sentences[2].startswith(
        "Accuracy, trained on one speaker, mean over six training speakers, with Kokoro (54 "
        "voices), espeak-ng, flite and festival: 95.0 % against 76.0 %"
    )
    assert "mean over six left out in turn" in sentences[3]
    assert sentences[4] == (
        "Accuracy, trained on four speakers with Kokoro's speakers beside them, 12 epochs: none "
        "91.5 %, Kokoro (10 voices) 93.7 %, Kokoro (54 voices) 95.4 %."
    )
    assert sentences[5].endswith("12 epochs: none 91.5 %, flite and festival 85.0 %.")
    assert len(sentences) == 7
    assert all(sentence.endswith(".") for sentence in sentences)


def test_what_a_recorded_speaker_is_worth_is_read_off_the_fit():
    # By construction 54 speakers of Kokoro stand for five: nine recorded are as good as 4 + 54.
    last = STUDY.sentences(EVERYTHING)[-1]
    assert "1 to 4 fitted: 24.0 % times k to the power of -0.75" in last
    assert "four with Kokoro (54 voices) reach 95.4 %, as 9.0 recorded speakers would" in last
    assert "11 synthetic speakers for each recorded one" in last
    # Where speech does not help, nothing is read off.
    worse = [of(TWO, 0.9, extra="kokoro:30", **CURVE), *CURVES[1:3], *CURVES[4:]]
    assert STUDY.sentences(told(worse))[-1].endswith("90.0 %, no more than four alone.")
    # Nor without a curve of recorded speakers.
    assert "fitted" not in " ".join(STUDY.sentences(told(CURVES[:5])))


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
    people, kokoro, flite = picture.series
    assert [point.x for point in people.points] == [1, 2, 3, 4]
    assert [p.y for p in people.points] == pytest.approx([recorded(k) for k in (1, 2, 3, 4)])
    assert [point.x for point in kokoro.points] == [4, 14, 58]
    assert [p.y for p in kokoro.points] == pytest.approx([recorded(k) for k in (4, 6, 9)])
    assert [(point.x, point.y) for point in flite.points] == [(9, 0.85)]
    assert {x for each in picture.series for x in (p.x for p in each.points)} - {3, 9} <= {
        place for place, _ in picture.ticks
    }


def test_what_was_not_run_is_left_out():
    few = told(TRACKS[:1])
    (sentence,) = STUDY.sentences(few)
    assert sentence.startswith("Accuracy, trained on four speakers: 92.0 % (mean of 2 seeds; 95 %")
    (table,) = STUDY.tables(few)
    assert len(table.rows) == 1
    assert STUDY.pictures(few) == ()
    (picture,) = STUDY.pictures(told(CURVES[1:2]))
    assert [[point.x for point in each.points] for each in picture.series] == [[4], [4]]


def test_runs_on_made_up_speech_are_summarized(made_up_fsdd, tone_corpus, tmp_path, monkeypatch):
    data = tmp_path / "data"
    (data / "kokoro").mkdir(parents=True)
    (data / "fsdd").symlink_to(made_up_fsdd / "fsdd")
    for file in tone_corpus.glob("*/*_0.wav"):
        name = {"ann": "af_sky", "bob": "am_adam", "cid": "bf_emma", "dora": "bm_lewis"}
        copy = data / "kokoro" / file.parent.name / f"kokoro-{name[file.stem[:-2]]}_0.wav"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    grids = {
        "results": {"split": "xsdr"},
        "all-engines": {"split": "xsdr", "extra": "kokoro:2"},
        "curve": {"extra": ["none", "kokoro:2", "kokoro:3"]},
    }
    sections = {**STUDY.sections, "models": {"sgd-pool": {}}, "grids": grids}
    monkeypatch.setitem(RELEASE_STUDIES, "tracks", replace(STUDY, sections=sections))
    folder = run_study("tracks", data, tmp_path / "runs", workers=1)
    found = read_result(folder / "summary.json")
    assert {n: (s.clips, s.speakers) for n, s in found.provenance.extra.items()} == {
        "kokoro:2": (20, 2),
        "kokoro:3": (30, 3),
    }
    two = read_extra("kokoro:2", data)
    assert found.provenance.extra["kokoro:2"].sha256 == data_hash(two)
    assert len({clip.speaker for clip in two} & {"kokoro-af_sky", "kokoro-bf_emma"}) == 1
    assert [(c.method.grid, c.method.extra) for c in found.comparisons] == [
        ("all-engines", "kokoro:2"),
        ("curve", "kokoro:2"),
        ("curve", "kokoro:3"),
    ]
    assert len(STUDY.tables(found)) == 2
    # Finished runs are left alone, and belong to the speech that joined.
    models = {file: file.stat().st_mtime_ns for file in folder.glob("*/model.safetensors")}
    assert len(models) == 5
    run_study("tracks", data, tmp_path / "runs", workers=1)
    assert {file: file.stat().st_mtime_ns for file in models} == models
    changed = two[0].file
    changed.write_bytes(changed.read_bytes() + b"\0")
    tasks._hash.cache_clear()
    tasks._read.cache_clear()
    with pytest.raises(RunError, match="s0: finished with other recordings"):
        run_study("tracks", data, tmp_path / "runs", workers=1)


def test_the_speech_that_joined_survives_a_file(tmp_path):
    write_result(tmp_path / "tracks.json", EVERYTHING)
    assert read_result(tmp_path / "tracks.json") == EVERYTHING
