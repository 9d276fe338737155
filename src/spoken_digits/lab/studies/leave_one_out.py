"""The study of leaving one speaker out, each of FSDD's six in turn."""

from dataclasses import replace

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Method, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    change_cell,
    change_note,
    comparison_sentence,
    percent,
    points,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import model_title, objective_title, title

__all__ = ["STUDY"]


def _reference(method: Method) -> Method:
    return replace(method, objective="cross-entropy")


def _sentences(result: StudyResult) -> tuple[str, ...]:
    sentences = []
    for row in result.rows:
        worst = row.worst_speaker
        sentences.append(
            f"Accuracy on each of {len(row.per_speaker)} speakers left out in turn, "
            f"{model_title(row.method.model)}, {objective_title(row.method.objective)}: "
            f"{accuracy_words(row)}; {worst}, the worst speaker, "
            f"{percent(row.per_speaker[worst].accuracy)} %."
        )
    sentences += [
        comparison_sentence(
            c,
            objective_title(c.method.objective),
            f"with {objective_title(c.reference.objective)} alone",
        )
        for c in result.comparisons
    ]
    return tuple(sentences)


def _tables(result: StudyResult) -> tuple[Table, ...]:
    among = [row.method for row in result.rows]
    columns = [Column("Speaker left out", "left")]
    columns += [Column(f"{title(method, among)}, %") for method in among]
    pair = result.comparisons[0] if len(result.rows) == 2 and result.comparisons else None
    columns += [Column("change")] if pair else []
    speakers = sorted({name for row in result.rows for name in row.per_speaker})
    body = []
    for name in speakers:
        scores = [row.per_speaker[name].accuracy for row in result.rows]
        line = [Cell(name), *(Cell(percent(score)) for score in scores)]
        if pair:
            first, second = (result.row(m) for m in (pair.reference, pair.method))
            assert first is not None
            assert second is not None
            change = second.per_speaker[name].accuracy - first.per_speaker[name].accuracy
            line.append(Cell(points(change)))
        body.append(tuple(line))
    mean = [Cell("mean"), *(accuracy_cell(row) for row in result.rows)]
    body.append((*mean, change_cell(pair)) if pair else tuple(mean))
    note = "Mean over seeds; of the mean, ± standard deviation over seeds."
    if pair:
        note += f" {change_note([pair])}"
    return (Table("Accuracy on the speaker left out", tuple(columns), tuple(body), note),)


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    among = [row.method for row in result.rows]
    series = []
    for row in result.rows:
        marks = []
        for name, score in sorted(row.per_speaker.items()):
            by_seed = row.per_speaker_seed[name]
            marks.append(Point(name, score.accuracy, min(by_seed), max(by_seed)))
        series.append(Series(title(row.method, among), tuple(marks)))
    picture = Picture(
        kind="bars",
        title="Accuracy on each speaker left out",
        caption="Mean over seeds; lines: from the lowest to the highest seed.",
        x_label="speaker left out",
        y_label="accuracy, %",
        series=tuple(series),
        reference=1 / len(result.label_names),
        reference_label="chance",
    )
    return (picture,)


STUDY = Study(
    name="leave-one-out",
    question="How well is each of the six speakers recognized after training on the other five?",
    sections={
        "models": {"cnn": {"epochs": 20, "temperature": 0.5}},
        "grids": {
            "results": {
                "split": "loso",
                "objective": ["cross-entropy", "joint"],
                "seed": [0, 1, 2, 3, 4],
            }
        },
        "quick": {"seed": [0], "epochs_factor": 0.1},
        "synthetic": {"epochs_factor": 2.0},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
