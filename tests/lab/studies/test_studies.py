"""The studies that ship: their registry, and the tables and pictures that they describe."""

import importlib
import json
import math
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_rows import SIX, TWO, result, row

from spoken_digits.lab import studies
from spoken_digits.lab.evaluation.schema import Condition
from spoken_digits.lab.studies.comparisons import compare
from spoken_digits.lab.studies.registry import RELEASE_STUDIES, STUDIES, in_order, study_of
from spoken_digits.lab.studies.results import Source, read_result

RESULTS = Path(__file__).parents[3] / "results"
TOLD = [name for name, study in STUDIES.items() if study.reference]


def published(name):
    return read_result(RESULTS / f"{name}.json")


def test_every_file_of_a_study_is_in_the_registry():
    modules = [
        importlib.import_module(f"{studies.__name__}.{found.name}")
        for found in pkgutil.iter_modules(studies.__path__)
    ]
    files = {module.STUDY.name: module.STUDY for module in modules if hasattr(module, "STUDY")}
    assert files == STUDIES | RELEASE_STUDIES


def test_results_are_ordered_as_the_studies_are():
    shuffled = tuple(replace(published(name), name=name) for name in sorted(TOLD))
    mine = result([row({s: [0.9] for s in TWO})])
    assert [each.study for each in in_order((mine, *shuffled))] == [*TOLD, "mine"]
    assert study_of(mine).question == "Which one?"


@pytest.mark.parametrize("name", TOLD)
def test_tables_are_for_people(name):
    tables = STUDIES[name].tables(published(name))
    assert tables
    grids = set(STUDIES[name].sections["grids"]) - {"results", "joint", "supervised", "one-speaker"}
    for table in tables:
        assert table.rows
        assert len(table.rows) <= 12
        words = [table.title, *(c.title for c in table.columns)]
        words += [cell.text for line in table.rows for cell in line]
        for text in words:
            assert text
            assert not re.search(r"\b[0-9a-f]{7,}\b|xsdr|_|:none", text)
            assert not any(grid in text for grid in grids)


@pytest.mark.parametrize("name", TOLD)
def test_cells_of_changes_are_comparisons(name):
    shown = published(name)
    cells = {
        f"{100 * c.difference:+.1f} ({100 * c.interval[0]:+.1f} to {100 * c.interval[1]:+.1f})": (
            c.verdict
        )
        for c in shown.comparisons
    }
    found = 0
    for table in STUDIES[name].tables(shown):
        for line in table.rows:
            for cell in line:
                if cell.verdict:
                    assert cells[cell.text] == cell.verdict
                    found += 1
    expected = {"models": 0, "augmentation": 30, "one-speaker": 5, "contrastive": 9, "noise": 40}
    assert found == expected.get(name, 1)


@pytest.mark.parametrize("name", TOLD)
def test_pictures_hold_fractions_inside_their_intervals(name):
    pictures = STUDIES[name].pictures(published(name))
    assert pictures
    for picture in pictures:
        assert picture.series
        for series in picture.series:
            assert series.points
            for point in series.points:
                if point.y is None:
                    continue
                assert math.isfinite(point.y)
                assert abs(point.y) <= 1
                if point.low is not None:
                    assert point.low - 1e-9 <= point.y <= point.high + 1e-9


def test_the_curve_of_contrastive_learning_goes_over_labels():
    (curve,) = STUDIES["contrastive"].pictures(published("contrastive"))
    rows = json.loads((RESULTS / "contrastive.json").read_text())["rows"]
    accuracies = {
        (r["method"]["condition"]["kind"], r["method"]["condition"]["level"]): r["accuracy"]
        for r in rows
        if r["method"]["grid"] == "results"
    }
    assert curve.kind == "curve"
    assert [text for _, text in curve.ticks] == ["1", "5", "20", "all"]
    for series, kind in zip(curve.series, ("scratch", "finetune", "clusters"), strict=True):
        assert [point.x for point in series.points] == [1, 5, 20, 40]
        assert [p.y for p in series.points] == [accuracies[kind, n] for n in (1, 5, 20, None)]


def test_transforms_are_ranked_by_their_mean_change():
    pictures = STUDIES["augmentation"].pictures(published("augmentation"))
    assert [picture.kind for picture in pictures] == ["ranked", "ranked"]
    for picture in pictures:
        assert picture.reference == 0
        names = [[point.x for point in series.points] for series in picture.series]
        assert names[0] == names[1] == names[2]
        means = np.mean([[p.y for p in series.points] for series in picture.series], axis=0)
        assert list(means) == sorted(means, reverse=True)
        assert len(means) == 21


def test_noise_is_drawn_over_its_ratio():
    white, recorded = STUDIES["noise"].pictures(published("noise"))
    for picture in (white, recorded):
        assert [text for _, text in picture.ticks] == ["clean", "20", "10", "5", "0"]
        assert len(picture.series) == 6
        for series in picture.series:
            assert [point.x for point in series.points] == [0, 1, 2, 3, 4]
            if "CNN" in series.name and "no augmentation" in series.name:
                levels = [point.y for point in series.points]
                assert levels == sorted(levels, reverse=True)


def test_no_speaker_is_tested_on_himself():
    (picture,) = STUDIES["one-speaker"].pictures(published("one-speaker"))
    assert picture.kind == "heatmap"
    for series in picture.series:
        assert [point.x for point in series.points] == list(SIX)
        assert [point.x for point in series.points if point.y is None] == [series.name]


def test_the_table_of_models_has_the_originals_figures_beside_ours():
    (table,) = STUDIES["models"].tables(published("models"))
    assert len(table.rows) == 9  # eight models and chance
    cells = {line[0].text: [cell.text for cell in line[1:]] for line in table.rows}
    assert cells["LSTM"][-1] == "57.9"
    assert cells["Temporal 1D CNN"][-1] == "64.8"
    assert cells["Logistic regression, 25 frames interpolated"][-1] == "56.3"
    assert cells["RNN"][-1] == "-"


# What a quick study, or one of synthetic speech, has of each


def few(name):
    """Results of a study with as little as a quick run leaves."""
    one = row({s: [0.9] for s in TWO}, split="synthetic", training_speakers=66)
    rows = {
        "models": [one],
        "augmentation": [one, row({s: [0.8] for s in TWO}, augmentation="none")],
        "one-speaker": [one],
        "contrastive": [
            row({s: [0.9] for s in TWO}, task="contrastive", condition=Condition("probe"))
        ],
        "leave-one-out": [one],
        "noise": [replace(one, method=replace(one.method, task="noise"))],
    }[name]
    return result(rows, compare(rows, STUDIES[name].reference), study=name)


@pytest.mark.parametrize("name", TOLD)
def test_little_is_told_and_shown_without_an_error(name):
    made = few(name)
    study = STUDIES[name]
    for sentence in study.sentences(made):
        assert sentence.endswith(".")
    for table in study.tables(made):
        assert table.rows
    for picture in study.pictures(made):
        assert picture.series


def test_a_study_of_ones_own_is_told_row_by_row():
    rows = [
        row({s: [0.9, 0.9] for s in TWO}),
        row({s: [0.8, 0.8] for s in TWO}, model="lstm"),
    ]
    made = result(rows, compare(rows, lambda m: replace(m, model="cnn")))
    study = study_of(made)
    first, second = study.sentences(made)
    assert "best of 2 methods" in first
    assert "90.0 % (mean of 2 seeds" in first
    assert "80.0 % against 90.0 %" in second
    assert second.endswith("worsens for these two speakers.")
    (table,) = study.tables(made)
    assert [line[1].text for line in table.rows] == ["90.0 ± 0.0", "80.0 ± 0.0"]
    (picture,) = study.pictures(made)
    assert [point.y for point in picture.series[0].points] == pytest.approx([0.9, 0.8])


def test_sources_without_seeds_are_told():
    sources = {s: Source(0.7, None, {t: 0.7 for t in SIX if t != s}, None) for s in SIX}
    made = result(
        [row({s: [0.7] for s in SIX}, 2500, sources, split="single", training_speakers=1)],
        study="one-speaker",
    )
    sentence, conversion = STUDIES["one-speaker"].sentences(made)
    assert conversion == "Voice conversion inside the training speaker's voice: not run yet."
    assert "mean over 6 training speakers: 70.0 % (one seed" in sentence
    (table,) = STUDIES["one-speaker"].tables(made)
    assert len(table.rows) == 7
