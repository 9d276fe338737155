"""The study of tracks: what synthetic speech adds to recorded speakers, by engine and by number.

Track 1 is trained on recordings of FSDD alone, track 2 on synthetic speech beside them; what ships
has further recordings, see `shipped`. The speech of the engines has to be made first, see
`synthetic.ENGINES`. Runs that are compared have as many steps, whatever their clips are drawn from.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

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
FEW = {1: "xsdr-1", 2: "xsdr-2", 3: "xsdr-3"}  # splits by the number of recorded speakers
# Grids of the tracks by split, without synthetic speech and with it. p-values are adjusted within a
# grid: one speaker and one left out are two questions.
ALONE = {"xsdr": "results", "single": "recorded-alone", "loso": "recorded-alone"}
BESIDE = {"xsdr": "all-engines", "single": "one-and-synthetic", "loso": "five-and-synthetic"}
CURVE, FEW_RECORDED = "curve", "few-recorded"
SHORT = 0.4  # of the epochs, for curves, whose points are many: 12 for each point


def _reference(method: Method) -> Method | None:
    if method.grid in (CURVE, FEW_RECORDED):
        return replace(method, extra="none")
    if method.split not in ALONE:
        return None
    return replace(method, augmentation="basic", extra="none", grid=ALONE[method.split])


def _sentences(result: StudyResult) -> tuple[str, ...]:
    sentences = []
    for split in ALONE:
        rows = [*result.select(split=split, grid=BESIDE[split])]
        for row in rows:
            if comparison := result.compared(row.method):
                condition = f"trained on {_trained_on(row.method)}"
                sentences.append(
                    comparison_sentence(comparison, condition, "without synthetic speech")
                )
        if not rows:
            sentences += [
                f"Accuracy, trained on {_trained_on(row.method)}: {accuracy_words(row)}."
                for row in result.select(split=split, grid=ALONE[split])
            ]
    curve = result.select(grid=CURVE)
    for title, rows in (
        ("Kokoro's speakers", _of_kokoro(curve)),
        ("one engine", [row for row in curve if "kokoro" not in row.method.extra]),
    ):
        if len(rows) > 1:
            points = ", ".join(
                f"{speech_title(row.method.extra)} {percent(row.accuracy)} %" for row in rows
            )
            sentences.append(
                f"Accuracy, trained on four speakers with {title} beside them, "
                f"{rows[0].epochs} epochs: {points}."
            )
    return (*sentences, *_worth(result))


def _trained_on(method: Method) -> str:
    """Return what a method was trained on: "four speakers, with Kokoro (10 voices)"."""
    who = {
        "single": "one speaker, mean over six training speakers",
        "loso": "five speakers, mean over six left out in turn",
    }.get(method.split, f"{number(method.training_speakers)} speakers")
    return who if method.extra == "none" else f"{who}, with {speech_title(method.extra)}"


def _worth(result: StudyResult) -> tuple[str, ...]:
    """Say how many recorded speakers Kokoro's stand for, by the fit of the recorded ones."""
    recorded = _recorded(result)
    rows = _of_kokoro(result.select(grid=CURVE))[1:]
    if 4 not in recorded or len(recorded) < 3 or not rows:
        return ()
    scale, exponent = fit_errors(recorded)
    fitted = (
        f"Error over the number k of recorded speakers, {min(recorded)} to 4 fitted: "
        f"{percent(scale)} % times k to the power of {-exponent:.2f}"
    )
    best = max(rows, key=lambda row: row.accuracy)
    said = f"four with {speech_title(best.method.extra)} reach {percent(best.accuracy)} %"
    if best.accuracy <= recorded[4]:
        return (f"{fitted}; {said}, no more than four alone.",)
    stands_for = worth_in_recorded(best.accuracy, scale, exponent)
    each = _speakers(result, best.method.extra) / (stands_for - 4)
    return (
        f"{fitted}; {said}, as {stands_for:.1f} recorded speakers would by this fit, extrapolated "
        f"beyond four: {each:.0f} synthetic speakers for each recorded one.",
    )


def fit_errors(accuracies: dict[int, float]) -> tuple[float, float]:
    """Fit a power law to the error over the number k of speakers: error = scale k^-exponent.

    Least squares of logarithms; accuracies below 1.
    """
    errors = [1 - accuracy for accuracy in accuracies.values()]
    slope, intercept = np.polyfit(np.log(list(accuracies)), np.log(errors), 1)
    return float(np.exp(intercept)), float(-slope)


def worth_in_recorded(accuracy: float, scale: float, exponent: float) -> float:
    """Return the number of recorded speakers at which a fit of `fit_errors` has an accuracy."""
    return float((scale / (1 - accuracy)) ** (1 / exponent))


def _recorded(result: StudyResult) -> dict[int, float]:
    """Return the accuracy on lucas and yweweler by the number of recorded speakers alone."""
    found = [
        *((count, result.select(grid=FEW_RECORDED, split=split)) for count, split in FEW.items()),
        (4, result.select(grid=CURVE, extra="none")),
    ]
    return {count: row.accuracy for count, rows in found for row in rows}


def _of_kokoro(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without synthetic speech, and with more and more of Kokoro's speakers."""
    counts = {extra: count for count, extra in enumerate(["none", *KOKORO])}
    mine = [row for row in rows if row.method.extra in counts]
    return sorted(mine, key=lambda row: counts[row.method.extra])


def _speakers(result: StudyResult, extra: str) -> int:
    """Return the number of synthetic speakers, as the runs counted them."""
    if extra in result.provenance.extra:
        return result.provenance.extra[extra].speakers
    return sum(each.count or 0 for each in parse_extra(extra))


def _tables(result: StudyResult) -> tuple[Table, ...]:
    tables = []
    tracks = [*result.select(grid="results"), *result.select(grid="all-engines")]
    if tracks:
        tables.append(_by_speech(result, tracks, "Tracks"))
    if curve := result.select(grid=CURVE):
        kokoro = _of_kokoro(curve)
        rows = [*kokoro, *(row for row in curve if row not in kokoro)]
        tables.append(_by_speech(result, rows, "Engines and numbers of speakers"))
    grids = [(split, grid) for split in ("single", "loso") for grid in (ALONE, BESIDE)]
    if rows := [row for split, by in grids for row in result.select(split=split, grid=by[split])]:
        tables.append(_by_speaker(result, rows))
    return tuple(tables)


def _by_speech(result: StudyResult, rows: list[Row], title: str) -> Table:
    """Lay out four recorded speakers with synthetic speech beside them."""
    speakers = sorted(rows[0].per_speaker)
    columns = [Column("Synthetic speech", "left"), Column("its speakers")]
    columns += [Column("accuracy, %"), *(Column(f"{name}, %") for name in speakers)]
    columns += [Column("test list (503 clips), %"), Column("change")]
    body = []
    for row in rows:
        on_list = row.listed_accuracy
        body.append(
            (
                Cell(speech_title(row.method.extra)),
                Cell(str(_speakers(result, row.method.extra))),
                accuracy_cell(row),
                *(Cell(percent(row.per_speaker[name].accuracy)) for name in speakers),
                Cell("-" if on_list is None else percent(on_list)),
                change_cell(result.compared(row.method)),
            )
        )
    note = (
        f"Trained on four speakers, {rows[0].epochs} epochs of as many clips each. Mean over "
        "speakers ± standard deviation over seeds."
    )
    if any(row.method.extra in KOKORO for row in rows):
        note += " Kokoro's subsets are nested; beyond 54, mixtures of two voices."
    return Table(
        f"{title}: accuracy on {listed(speakers)}",
        tuple(columns),
        tuple(body),
        _with_changes(note, result, rows),
    )


def _by_speaker(result: StudyResult, rows: list[Row]) -> Table:
    """Lay out training on one speaker, and on all others, by that speaker."""
    columns = [Column("Speaker", "left")]
    for row in rows:
        what = "trained on alone" if row.method.split == "single" else "left out"
        speech = "" if row.method.extra == "none" else f", with {speech_title(row.method.extra)}"
        columns.append(Column(f"{what}{speech}, %"))
    body = []
    for name in sorted({name for row in rows for name in row.sources or row.per_speaker}):
        line = [Cell(name)]
        for row in rows:
            scores = row.sources or row.per_speaker
            line.append(Cell(percent(scores[name].accuracy) if name in scores else "-"))
        body.append(tuple(line))
    body.append((Cell("mean"), *(accuracy_cell(row) for row in rows)))
    if any(result.compared(row.method) for row in rows):
        changes = (change_cell(result.compared(row.method)) for row in rows)
        body.append((Cell("change"), *changes))
    note = (
        "Trained on alone: accuracy on the five others. Left out: accuracy on that speaker. Mean "
        "over seeds; of the mean, ± standard deviation over seeds."
    )
    title = "Accuracy by the speaker trained on alone, or left out"
    return Table(title, tuple(columns), tuple(body), _with_changes(note, result, rows))


def _with_changes(note: str, result: StudyResult, rows: Iterable[Row]) -> str:
    compared = [c for row in rows if (c := result.compared(row.method))]
    return f"{note} {change_note(compared)}" if compared else note


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    recorded, curve = _recorded(result), result.select(grid=CURVE)
    kokoro = _of_kokoro(curve)
    alone = tuple(Point(count, accuracy) for count, accuracy in recorded.items())
    series = [
        Series("recorded speakers alone", alone),
        Series("four recorded, then Kokoro's", _marks(result, kokoro)),
    ]
    series += [
        Series(f"four recorded and {speech_title(row.method.extra)}", _marks(result, [row]))
        for row in curve
        if row not in kokoro
    ]
    series = [each for each in series if each.points]
    if not series:
        return ()
    picture = Picture(
        kind="curve",
        title="Accuracy over the number of speakers trained on, recorded and synthetic",
        caption="On lucas and yweweler, mean over seeds and speakers; shaded: 95 % over clips, for "
        "these speakers only. Beyond 58, mixtures of two of Kokoro's voices.",
        x_label="speakers, recorded and synthetic",
        y_label="accuracy, %",
        series=tuple(series),
        ticks=tuple((place, str(place)) for place in (1, 2, 4, 14, 34, 58, 104, 204)),
        is_log=True,
    )
    return (picture,)


def _marks(result: StudyResult, rows: Iterable[Row]) -> tuple[Point, ...]:
    return tuple(
        Point(4 + _speakers(result, row.method.extra), row.accuracy, *row.wilson_interval)
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
            # Inside the training speakers, the easy and the hard: the policy with synthetic speech.
            "choice": {
                "split": ["inner:nicolas", "inner:theo"],
                "extra": "voices",
                "augmentation": ["basic", "trimmed"],
                "epochs_factor": SHORT,
                "quick": False,
            },
            "results": {"split": "xsdr", "augmentation": "basic", "seed": FIVE},
            "all-engines": {
                "split": "xsdr",
                "extra": [ALL_ENGINES, "voices"],
                "augmentation": POLICY,
                "seed": FIVE,
                "quick": {"extra": "voices"},  # no other speech need be made for it
            },
            "curve": {
                "seed": THREE,
                "extra": ["none", ALL_ENGINES, *KOKORO, "espeak-ng", "flite-festival"],
                "augmentation": POLICY,
                "epochs_factor": SHORT,
                "quick": False,
            },
            "few-recorded": {
                "split": list(FEW.values()),
                "seed": THREE,
                "augmentation": POLICY,
                "epochs_factor": SHORT,
                "quick": False,
            },
            "recorded-alone": {
                "split": ["single", "loso"],
                "augmentation": "basic",
                "seed": FIVE,
                "quick": False,
            },
            **{
                BESIDE[split]: {
                    "split": split,
                    "extra": ALL_ENGINES,
                    "augmentation": POLICY,
                    "seed": FIVE,
                    "quick": False,
                }
                for split in ("single", "loso")
            },
        },
        "quick": {"seed": [0], "epochs_factor": 0.1},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
