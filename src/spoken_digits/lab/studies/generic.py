"""Sentences, tables and pictures of a study without a file of its own: row by row."""

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    change_cell,
    change_note,
    comparison_sentence,
    percent,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import model_title, title

__all__ = ["GENERIC", "NOT_RUN", "open_table"]

NOT_RUN = "not run yet"


def open_table(study: Study) -> Table:
    """Return the table of a study that has no result yet: its models, and that they were not run.

    A study whose models are trained in several ways has a row for each model all the same.
    """
    columns = (Column("Method", "left"), Column("accuracy, %"))
    rows = tuple((Cell(model_title(name)), Cell(NOT_RUN)) for name in study.sections["models"])
    return Table("Accuracy on unseen speakers", columns, rows)


def _sentences(result: StudyResult) -> tuple[str, ...]:
    among = [row.method for row in result.rows]
    best = result.best
    worst = best.worst_speaker
    first = (
        f"Accuracy on unseen speakers, best of {len(result.rows)} methods: "
        f"{title(best.method, among)}, {accuracy_words(best)}; {worst}, the worst speaker, "
        f"{percent(best.per_speaker[worst].accuracy)} %."
    )
    others = (
        comparison_sentence(c, title(c.method, among), f"for {title(c.reference, among)}")
        for c in result.comparisons
    )
    return (first, *others)


def _tables(result: StudyResult) -> tuple[Table, ...]:
    among = [row.method for row in result.rows]
    columns = [Column("Method", "left"), Column("accuracy, %"), Column("worst speaker, %")]
    columns += [Column("change")] if result.comparisons else []
    body = []
    for row in result.rows:
        worst = row.worst_speaker
        text = f"{worst} {percent(row.per_speaker[worst].accuracy)}"
        line = [Cell(title(row.method, among)), accuracy_cell(row), Cell(text)]
        line += [change_cell(result.compared(row.method))] if result.comparisons else []
        body.append(tuple(line))
    note = "Mean over speakers ± standard deviation over seeds."
    if result.comparisons:
        reference = title(result.comparisons[0].reference, among)
        note += f" Against {reference}. {change_note(result.comparisons)}"
    return (Table("Accuracy on unseen speakers", tuple(columns), tuple(body), note),)


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    among = [row.method for row in result.rows]
    ranked = sorted(result.rows, key=lambda row: -row.accuracy)
    marks = tuple(
        Point(title(row.method, among), row.accuracy, *row.wilson_interval) for row in ranked
    )
    picture = Picture(
        kind="ranked",
        title="Accuracy of each method on unseen speakers",
        caption="Mean over seeds and speakers; lines: 95 % over clips, for these speakers only.",
        x_label="accuracy, %",
        y_label="method",
        series=(Series("accuracy", marks),),
        reference=1 / len(result.label_names),
        reference_label="chance",
    )
    return (picture,)


GENERIC = Study("", "", {}, sentences=_sentences, tables=_tables, pictures=_pictures)
