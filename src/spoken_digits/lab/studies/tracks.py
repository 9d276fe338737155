"""The study of tracks: what synthetic speech adds to recorded speakers, by engine and by number.

Track 1 is trained on recordings of FSDD alone, track 2 on synthetic speech beside them; what ships
has further recordings, see `shipped`. The speech of the engines has to be made first, see
`synthetic.ENGINES`. Every run has as many steps, whatever its clips are drawn from.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spoken_digits.lab.data.splits import XSDR_TRAIN
from spoken_digits.lab.data.synthetic import parse_extra
from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    change_cell,
    change_note,
    comparison_sentence,
    listed,
    percent,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import number, speech_title

__all__ = ["ALL_ENGINES", "STUDY", "fit_errors", "worth_in_recorded"]

ALL_ENGINES = "kokoro:54+espeak-ng+flite-festival"
KOKORO = [f"kokoro:{count}" for count in (10, 30, 54, 100, 200)]  # beyond 54, mixtures of two
# The split that leaves recorded speakers out, by how many are left; of one, see `_recorded`.
FEW = {2: "xsdr-2", 3: "xsdr-3", 4: "xsdr"}
TESTED = ("xsdr", "single", "loso")  # splits of every track


def _reference(method: Method) -> Method:
    grid = "results" if method.split == "xsdr" else "recorded-alone"
    return replace(method, augmentation="basic", extra="none", grid=grid)


def _sentences(result: StudyResult) -> tuple[str, ...]:
    sentences = []
    for row in result.select(extra="none"):
        if row.method.split in TESTED:
            sentences.append(f"Accuracy, {_trained_on(row.method)}: {accuracy_words(row)}.")
    sentences += [
        comparison_sentence(c, _trained_on(c.method), "without synthetic speech")
        for c in sorted(result.comparisons, key=lambda c: c.method.extra != ALL_ENGINES)
    ]
    if worth := _worth(result):
        sentences.append(worth)
    return tuple(sentences)


def _trained_on(method: Method) -> str:
    """Return what a method was trained and tested on: "four speakers, Kokoro (10 voices)"."""
    who = {
        "single": "trained on one speaker, mean over six training speakers",
        "loso": "trained on five speakers, each of six left out in turn",
    }.get(method.split, f"trained on {number(method.training_speakers)} speakers")
    return who if method.extra == "none" else f"{who}, with {speech_title(method.extra)}"


def _worth(result: StudyResult) -> str:
    """Say how many recorded speakers synthetic ones stand for, by the fit of the recorded ones."""
    recorded = _recorded(result)
    rows = [row for row in _on_curve(result) if row.method.extra != "none"]
    if len(recorded) < 3 or not rows:
        return ""
    best = max(rows, key=lambda row: row.accuracy)
    scale, exponent = fit_errors(recorded)
    stands_for = worth_in_recorded(best.accuracy, scale, exponent)
    fitted = (
        f"Error over the number k of recorded speakers, {min(recorded)} to {max(recorded)} fitted: "
        f"{percent(scale)} % times k to the power of {-exponent:.2f}"
    )
    said = f"{speech_title(best.method.extra)} beside four: {percent(best.accuracy)} %"
    if best.accuracy <= recorded[4]:
        return f"{fitted}; {said}, no more than four alone."
    count = _synthetic_speakers(result, best.method.extra)
    each = count / (stands_for - 4)
    return (
        f"{fitted}; {said}, as of {stands_for:.1f} recorded speakers by this fit (beyond four it "
        f"is extrapolated): {each:.0f} synthetic speakers for each recorded one."
    )


def fit_errors(accuracies: dict[int, float]) -> tuple[float, float]:
    """Fit a power law to the error over the number k of speakers: error = scale k^-exponent.

    Least squares of logarithms; accuracies below 1.
    """
    counts = np.log(list(accuracies))
    errors = np.log([1 - accuracy for accuracy in accuracies.values()])
    slope, intercept = np.polyfit(counts, errors, 1)
    return float(np.exp(intercept)), float(-slope)


def worth_in_recorded(accuracy: float, scale: float, exponent: float) -> float:
    """Return the number of recorded speakers at which a fit of `fit_errors` has an accuracy."""
    return float((scale / (1 - accuracy)) ** (1 / exponent))


def _recorded(result: StudyResult) -> dict[int, float]:
    """Return the accuracy on lucas and yweweler by the number of recorded speakers alone."""
    found = {}
    for row in result.select(extra="none", split="single"):
        if row.sources:
            mine = [
                source.xsdr_accuracy
                for name, source in row.sources.items()
                if name in XSDR_TRAIN and source.xsdr_accuracy is not None
            ]
            if len(mine) == len(XSDR_TRAIN):
                found[1] = float(np.mean(mine))
    for count, split in FEW.items():
        for row in result.select(extra="none", split=split):
            found[count] = row.accuracy
    return dict(sorted(found.items()))


def _on_curve(result: StudyResult) -> list[Row]:
    """Return the rows of four recorded speakers with none and more and more of Kokoro's."""
    rows = [
        row
        for row in result.select(split="xsdr")
        if row.method.extra == "none" or row.method.extra.startswith("kokoro:")
        if "+" not in row.method.extra
    ]
    return sorted(rows, key=lambda row: _synthetic_speakers(result, row.method.extra))


def _synthetic_speakers(result: StudyResult, extra: str) -> int:
    """Return the number of synthetic speakers, as the runs counted them."""
    if extra == "none":
        return 0
    known = result.provenance.extra.get(extra)
    return known.speakers if known else sum(s.count or 0 for s in parse_extra(extra))


def _tables(result: StudyResult) -> tuple[Table, ...]:
    tables = []
    if rows := sorted(result.select(split="xsdr"), key=lambda r: _order(result, r)):
        tables.append(_by_speech(result, rows))
    if rows := [row for split in TESTED[1:] for row in result.select(split=split)]:
        tables.append(_by_speaker(result, rows))
    return tuple(tables)


def _order(result: StudyResult, row: Row) -> tuple[int, int]:
    extra = row.method.extra
    rank = 0 if extra == "none" else 2 if extra.startswith("kokoro:") else 1
    return (3 if "+" in extra or extra == "voices" else rank), _synthetic_speakers(result, extra)


def _by_speech(result: StudyResult, rows: Sequence[Row]) -> Table:
    """Lay out four recorded speakers with the speech of each engine."""
    speakers = sorted(rows[0].per_speaker)
    columns = [Column("Synthetic speech beside four speakers", "left"), Column("speakers")]
    columns += [Column("accuracy, %"), *(Column(f"{name}, %") for name in speakers)]
    columns += [Column("test list (503 clips), %"), Column("change")]
    body = []
    for row in rows:
        extra, listed_ = row.method.extra, row.listed_accuracy
        body.append(
            (
                Cell(speech_title(extra)),
                Cell(str(_synthetic_speakers(result, extra))),
                accuracy_cell(row),
                *(Cell(percent(row.per_speaker[name].accuracy)) for name in speakers),
                Cell("-" if listed_ is None else percent(listed_)),
                change_cell(result.compared(row.method)),
            )
        )
    compared = [c for row in rows if (c := result.compared(row.method))]
    note = (
        "Mean over speakers ± standard deviation over seeds. Of Kokoro, subsets are nested; beyond "
        "54, mixtures of two of its voices."
    )
    note += f" {change_note(compared)}" if compared else ""
    return Table(f"Accuracy on {listed(speakers)}", tuple(columns), tuple(body), note)


def _by_speaker(result: StudyResult, rows: Sequence[Row]) -> Table:
    """Lay out training on one speaker, and leaving one out, by that speaker."""
    columns = [Column("Speaker", "left")]
    for row in rows:
        what = "trained on alone" if row.method.split == "single" else "left out"
        speech = "" if row.method.extra == "none" else f", with {speech_title(row.method.extra)}"
        columns.append(Column(f"{what}{speech}, %"))
    names = sorted({name for row in rows for name in (row.sources or row.per_speaker)})
    body = []
    for name in names:
        line = [Cell(name)]
        for row in rows:
            score = (row.sources or row.per_speaker).get(name)
            line.append(Cell("-" if score is None else percent(score.accuracy)))
        body.append(tuple(line))
    body.append((Cell("mean"), *(accuracy_cell(row) for row in rows)))
    compared = [c for row in rows if (c := result.compared(row.method))]
    if compared:
        changes = (change_cell(result.compared(row.method)) for row in rows)
        body.append((Cell("change"), *changes))
    note = (
        "Trained on alone: accuracy on the five others. Left out: accuracy on that speaker, "
        "trained on the five others. Mean over seeds; of the mean, ± standard deviation over seeds."
    )
    note += f" {change_note(compared)}" if compared else ""
    title = "Accuracy by the speaker trained on alone, or left out"
    return Table(title, tuple(columns), tuple(body), note)


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    series = []
    recorded = _recorded(result)
    if recorded:
        marks = tuple(Point(count, accuracy) for count, accuracy in recorded.items())
        series.append(Series("recorded speakers alone", marks))
    rows = _on_curve(result)
    if len(rows) > 1:
        series.append(Series("four recorded, then Kokoro's", _marks(result, rows)))
    for row in sorted(result.select(split="xsdr"), key=lambda row: _order(result, row)):
        if row not in rows:
            name = f"four recorded and {speech_title(row.method.extra)}"
            series.append(Series(name, _marks(result, [row])))
    if not series:
        return ()
    places = sorted({float(point.x) for each in series[:2] for point in each.points})
    picture = Picture(
        kind="curve",
        title="Accuracy over the number of speakers trained on, recorded and synthetic",
        caption="On lucas and yweweler, mean over seeds and speakers; shaded: 95 % over clips, for "
        "these speakers only. Beyond 58, mixtures of two of Kokoro's voices.",
        x_label="speakers, recorded and synthetic",
        y_label="accuracy, %",
        series=tuple(series),
        ticks=tuple((place, f"{place:g}") for place in places),
        is_log=True,
    )
    return (picture,)


def _marks(result: StudyResult, rows: Sequence[Row]) -> tuple[Point, ...]:
    return tuple(
        Point(4 + _synthetic_speakers(result, row.method.extra), row.accuracy, *row.wilson_interval)
        for row in rows
    )


POLICY = "basic"  # with synthetic speech; see the grid "choice"
THREE, FIVE = [0, 1, 2], [0, 1, 2, 3, 4]

STUDY = Study(
    name="tracks",
    question="What does synthetic speech add to recorded speakers, by engine and by number?",
    sections={
        "defaults": {"clips_per_epoch": 2000},
        "models": {"cnn": {"epochs": 30, "temperature": 0.5}},
        "grids": {
            # Inside the training speakers: the policy with synthetic speech; without, it is known.
            "choice": {
                "split": "inner",
                "extra": "voices",
                "augmentation": ["basic", "trimmed"],
                "quick": False,
            },
            "results": {"split": "xsdr", "augmentation": "basic", "seed": FIVE},
            "all-engines": {
                "split": "xsdr",
                "extra": ALL_ENGINES,
                "augmentation": POLICY,
                "seed": FIVE,
            },
            "kokoro-curve": {"seed": THREE, "extra": KOKORO, "augmentation": POLICY},
            "single-engines": {
                "seed": THREE,
                "extra": ["voices", "espeak-ng", "flite-festival"],
                "augmentation": POLICY,
            },
            "recorded-alone": {
                "split": ["single", "loso"],
                "augmentation": "basic",
                "seed": FIVE,
                "quick": False,
            },
            "with-synthetic": {
                "split": ["single", "loso"],
                "extra": ALL_ENGINES,
                "augmentation": POLICY,
                "seed": FIVE,
                "quick": False,
            },
            "few-recorded": {
                "split": ["xsdr-2", "xsdr-3"],
                "augmentation": "basic",
                "seed": THREE,
                "quick": False,
            },
        },
        "quick": {"seed": [0], "epochs_factor": 0.1},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
    in_all=False,
)
