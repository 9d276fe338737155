"""The study of the models: the original study's first, with our front end and two-dimensional CNN.

Learning rate and weight decay are swept inside the training speakers.
"""

from dataclasses import replace

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    comparison_sentence,
    listed,
    percent,
    tally,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import (
    front_end_title,
    model_title,
    number,
    title,
    training_title,
)

__all__ = ["STUDY"]

FRONT_ENDS = ("ours", "flat", "original")  # columns of the table
# Accuracy that the original study published on its test list, the model of ours that is alike.
ORIGINAL = {
    "sgd-interpolate": 0.547,
    "logistic-interpolate": 0.563,
    "lstm": 0.579,
    "temporal-cnn": 0.648,
}
# Grids whose runs leave training speakers out, by the setting that they vary.
SWEEPS = {"learning_rate": "learning-rate", "weight_decay": "weight-decay"}


def _reference(method: Method) -> Method:
    return replace(method, model="cnn", front_end="ours", grid="results")


def _sentences(result: StudyResult) -> tuple[str, ...]:
    best = result.best
    among = [row.method for row in result.rows]
    name = title(best.method, among)
    worst = best.worst_speaker
    sentences = [
        f"Accuracy on unseen speakers, trained on {training_title(best.method)}, best of "
        f"{len(result.rows)} methods: {name}, {accuracy_words(best)}; {worst}, the worst speaker, "
        f"{percent(best.per_speaker[worst].accuracy)} %."
    ]
    compared = [c for c in result.comparisons if c.reference == best.method]
    if compared:
        nearest = max(compared, key=lambda c: c.difference)
        sentences.append(comparison_sentence(nearest, title(nearest.method, among), f"for {name}"))
        others = [(title(c.method, among), c) for c in compared if c is not nearest]
        worse = [c for _, c in others if c.verdict == "worsens"]
        if others and len(worse) == len(others):
            speakers = number(nearest.speakers)
            scope = f" for these {speakers} speakers" if nearest.p_holm is None else ""
            sentences.append(f"Each of the {len(others)} others is worse than {name}{scope}.")
        elif others:
            sentences.append(f"Against {name}. {tally(others)}")
    return tuple(sentences)


def _tables(result: StudyResult) -> tuple[Table, ...]:
    cells: dict[str, dict[str, Row]] = {}
    for row in result.rows:
        cells.setdefault(row.method.model, {})[row.method.front_end] = row
    front_ends = [f for f in FRONT_ENDS if any(f in rows for rows in cells.values())]
    on_list = any(row.listed_accuracy is not None for row in result.rows)
    columns = [Column("Model", "left"), *(Column(f"{front_end_title(f)}, %") for f in front_ends)]
    rows = [
        [Cell(model_title(model)), *(accuracy_cell(by.get(f)) for f in front_ends)]
        for model, by in cells.items()
    ]
    note = "Mean over speakers ± standard deviation over seeds."
    if on_list:
        columns += [Column("test list (503 clips), %"), Column("original study, same list, %")]
        for line, (model, by) in zip(rows, cells.items(), strict=True):
            best = max(by.values(), key=lambda row: row.accuracy)
            on_test_list = best.listed_accuracy
            original = ORIGINAL.get(model)
            line.append(Cell("-" if on_test_list is None else percent(on_test_list)))
            line.append(Cell("-" if original is None else percent(original)))
        note += (
            " Of the test list, the figure of the best front end. 13 mel bands: as in the original "
            "study, whose figures are published ones."
        )
    chance = Cell(percent(1 / len(result.label_names)))
    rows.append([Cell("Chance"), *[chance] * (len(columns) - 2), Cell("-") if on_list else chance])
    named = f"Accuracy on {listed(result.provenance.test_speakers)}"
    return (Table(named, tuple(columns), tuple(map(tuple, rows)), note),)


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    series = []
    for front_end in FRONT_ENDS:
        rows = [row for row in result.rows if row.method.front_end == front_end]
        marks = tuple(
            Point(model_title(row.method.model), row.accuracy, *row.wilson_interval) for row in rows
        )
        if marks:
            series.append(Series(front_end_title(front_end), marks))
    bars = Picture(
        kind="bars",
        title="Accuracy of each model on unseen speakers",
        caption="Mean over seeds and speakers; lines: 95 % over clips, for these speakers only.",
        x_label="model",
        y_label="accuracy, %",
        series=tuple(series),
        reference=1 / len(result.label_names),
        reference_label="chance",
    )
    sweeps = (_sweep(result, key, grid) for key, grid in SWEEPS.items())
    return (bars, *(picture for picture in sweeps if picture))


def _sweep(result: StudyResult, key: str, grid: str) -> Picture | None:
    """Return the curve of a setting over training speakers left out; None where it was not run."""
    rows = [row for row in result.inner if row.method.grid == grid]
    values = sorted({float(getattr(row.method, key)) for row in rows})
    if len(values) < 2:
        return None
    series = []
    for model in dict.fromkeys(row.method.model for row in rows):
        marks = []
        for value in values:
            mine = [
                row.accuracy
                for row in rows
                if row.method.model == model and getattr(row.method, key) == value
            ]
            marks.append(Point(value, sum(mine) / len(mine) if mine else None))
        series.append(Series(model_title(model), tuple(marks)))
    words = key.replace("_", " ")
    left_out = listed(sorted({name for row in rows for name in row.per_speaker}))
    return Picture(
        kind="curve",
        title=f"Sweep of the {words}",
        caption=f"Mean over {left_out}, training speakers, each left out in turn; few epochs.",
        x_label=words,
        y_label="accuracy, %",
        series=tuple(series),
        ticks=tuple((value, f"{value:g}") for value in values),
        is_log=True,
    )


STUDY = Study(
    name="models",
    question="Which model recognizes the digits of unseen speakers best?",
    sections={
        "quick": {"seed": [0], "epochs_factor": 0.2},
        # An eighth of FSDD's clips make an eighth of the steps.
        "synthetic": {"epochs_factor": 3.0},
        "defaults": {"epochs": 30},
        "models": {
            "sgd-interpolate": {"weight_decay": 0.01},
            "sgd-pool": {"weight_decay": 0.01},
            "logistic-interpolate": {"weight_decay": 0.01},
            "logistic-pool": {"weight_decay": 0.01},
            "rnn": {"learning_rate": 3e-3},
            "temporal-cnn": {},
            "lstm": {},
            "cnn": {"temperature": 0.5},
        },
        "grids": {
            "results": {
                "split": "xsdr",
                "front_end": ["ours", "original"],
                "seed": [0, 1, 2, 3, 4],
            },
            # What networks along time alone are best with; see features.FRONT_ENDS.
            "flat": {
                "model": ["rnn", "temporal-cnn", "lstm"],
                "split": "xsdr",
                "front_end": "flat",
                "seed": [0, 1, 2, 3, 4],
            },
            # Learning curves of a training speaker left out.
            "curves": {"model": ["rnn", "temporal-cnn", "lstm", "cnn"], "split": "inner:theo"},
            # The original's sweeps, inside the training speakers: two of them, the easy and the
            # hard, with few epochs.
            "learning-rate": {
                "model": ["rnn", "temporal-cnn", "lstm", "cnn"],
                "split": ["inner:nicolas", "inner:theo"],
                "learning_rate": [1e-3, 2e-3, 4e-3, 8e-3],
                "epochs_factor": 0.15,
                "quick": False,
            },
            "weight-decay": {
                "model": ["rnn", "temporal-cnn", "lstm", "cnn"],
                "split": ["inner:nicolas", "inner:theo"],
                "weight_decay": [1e-3, 1e-2, 1e-1],
                "epochs_factor": 0.15,
                "quick": False,
            },
        },
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
