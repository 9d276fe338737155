"""Figures: what is drawn of a picture is what the picture says, read back from the SVG."""

import re
from dataclasses import replace

import numpy as np
import pytest

from spoken_digits.lab.evaluation import rejection
from spoken_digits.lab.reporting import figures
from spoken_digits.lab.studies.presentation import Picture, Point, Series


def point(x, y, spread=0.02):
    return Point(x, y, y - spread, y + spread)


def picture(kind, series, **more):
    made = tuple(Series(name, tuple(points)) for name, points in series.items())
    axes = ("accuracy, %", "what") if kind == "ranked" else ("what", "accuracy, %")
    return Picture(kind, "A title", "A caption.", *axes, made, **more)


def words(svg):
    return re.findall(r">([^<>\n]+)</text>", svg)


CURVE = picture(
    "curve",
    {
        "fine-tuned": [point(1, 0.776), point(5, 0.867), point(40, 0.916)],
        "from scratch": [point(1, 0.787), Point(5, None), point(40, 0.942)],
    },
    ticks=((1, "1"), (5, "5"), (40, "all")),
    is_log=True,
    reference=0.1,
    reference_label="chance",
)
RANKED = picture(
    "ranked",
    {
        "one speaker": [point("freq mask", 0.051), point("jitter", -0.27)],
        "four speakers": [point("noise", 0.02), point("jitter", -0.11)],
    },
    reference=0.0,
    reference_label="no change",
)
BARS = picture(
    "bars",
    {
        "40 mel bands": [point("LSTM", 0.843), point("2-D CNN", 0.938)],
        "original study": [Point("LSTM", 0.579), Point("2-D CNN", None)],
    },
)
HEAT = picture(
    "heatmap",
    {"george": [Point("lucas", 0.73), Point("george", None)], "theo": [Point("george", 0.84)]},
)


@pytest.mark.parametrize("shown", [CURVE, RANKED, BARS, HEAT])
def test_every_kind_is_told_in_words_and_the_same_each_time(shown):
    svg = figures.draw(shown, "name")
    told = re.search(r'aria-label="([^"]*)"', svg)[1]
    assert told.startswith("A title; accuracy, %: ")
    for series in shown.series:
        assert series.name in told
        for p in series.points:
            assert (f"{100 * p.y:.1f}" if p.y is not None else "not measured") in told
    assert figures.draw(shown, "name") == svg
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert not ids & set(re.findall(r'\bid="([^"]+)"', figures.draw(shown, "other")))


def test_a_curve_names_its_places_its_lines_and_a_level_that_is_near():
    found = words(figures.draw(CURVE, "c"))
    assert {"1", "5", "all", "fine-tuned", "from scratch"} <= set(found)
    assert {"80", "90"} <= set(found)  # the vertical axis, in percent
    assert "dotted: chance" not in found  # 10 % is far below: the curves would lie flat
    near = replace(CURVE, reference=0.7, reference_label="untrained")
    assert "dotted: untrained" in words(figures.draw(near, "c"))


def test_bars_bear_their_numbers_and_nothing_where_nothing_was_measured():
    found = words(figures.draw(BARS, "b"))
    assert {"84.3", "93.8", "57.9"} <= set(found)
    assert found.count("LSTM") == 1


def test_a_ranked_picture_has_the_words_of_each_panel_in_order():
    found = words(figures.draw(RANKED, "r"))
    assert [w for w in found if w in ("freq mask", "noise", "jitter")] == [
        "freq mask", "jitter", "noise", "jitter"
    ]  # fmt: skip
    together = picture("ranked", {"a": [point("x", 0.1)], "b": [point("x", 0.2)]})
    assert words(figures.draw(together, "t")).count("x") == 1


def test_marks_lie_where_their_values_are():
    """Reads the places of the marks back: affine in the value, by three known values."""
    values = (0.2, 0.5, 0.6)
    shown = picture("ranked", {"a": [Point(f"w{k}", v) for k, v in enumerate(values)]})
    svg = figures.draw(shown, "m")
    marks = re.findall(
        r'<use xlink:href="#m-[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: #0072b2', svg
    )
    x, y = np.array(marks, float).T
    assert len(x) == 3
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(0.3 / 0.4, abs=0.01)
    assert y[0] < y[1] < y[2]


def test_a_heat_map_leaves_empty_what_has_no_value():
    found = words(figures.draw(HEAT, "h"))
    assert found.count("73") == 1
    assert found.count("84") == 1
    assert "nan" not in " ".join(found)


def test_a_confusion_matrix_bears_its_counts():
    counts = [[9, 1], [0, 10]]
    svg = figures.confusion_matrix("m", counts, ("a", "b"))
    assert "95.0 % of clips lie on the diagonal" in svg
    assert sorted(w for w in words(svg) if w.isdigit()) == ["1", "10", "9"]


def test_rejection_curves_tell_auroc_and_threshold():
    rng = np.random.default_rng(0)
    digits, others = rng.normal(2, 1, 200), rng.normal(0, 1, 100)
    evaluation = {
        "auroc": rejection.auroc(digits, others),
        "eer": rejection.equal_error(digits, others)[0],
        "roc_curve": [[x, x**0.2] for x in np.linspace(0, 1, 101)],
        "operating_points": [
            {"threshold": t, "false_reject_rate": t, "accuracy": 0.9 - 0.9 * t,
             "false_accept_rate": (1 - t) ** 3} for t in (0.0, 0.5, 1.0)
        ],
        "default": {"threshold": 0.5},
    }  # fmt: skip
    svg = figures.rejection_curves(evaluation)
    assert f"AUROC {100 * evaluation['auroc']:.1f} %" in words(svg)
    assert any(
        w.strip() == f"equal error rate, {100 * evaluation['eer']:.1f} %" for w in words(svg)
    )
