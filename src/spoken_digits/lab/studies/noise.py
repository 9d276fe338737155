"""The study of noise and reverberation, with and without augmentation."""

from collections.abc import Sequence
from dataclasses import replace

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Comparison, Condition, Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    change_cell,
    change_note,
    comparison_sentence,
    tally,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import augmentation_title, condition_title, model_title, title

__all__ = ["STUDY"]

NOISES = ("white", "recorded", "made")
HEADLINE_DB = 10.0


def _reference(method: Method) -> Method | None:
    return None if method.augmentation == "none" else replace(method, augmentation="none")


def _sentences(result: StudyResult) -> tuple[str, ...]:
    sentences = []
    lines = _lines(result.rows)
    if lines:
        best = max(lines, key=lambda line: sum(row.accuracy for row in line) / len(line))
        for noise in NOISES:
            condition = Condition(noise, HEADLINE_DB)
            one = result.compared(replace(best[0].method, condition=condition))
            if one:
                sentences.append(_sentence(one))
    blocks: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in result.comparisons:
        key = comparison.method.model, comparison.method.augmentation
        blocks.setdefault(key, []).append(comparison)
    for (model, policy), block in blocks.items():
        named = [(condition_title(c.method.condition), c) for c in block]
        better = sum(c.verdict == "improves" for c in block)
        rest = tally((name, c) for name, c in named if c.verdict != "improves")
        sentences.append(
            f"{model_title(model)}, {augmentation_title(policy)} against none: improves in "
            f"{better} of {len(block)} conditions.{f' {rest}' if rest else ''}"
        )
    return tuple(sentences)


def _sentence(comparison: Comparison) -> str:
    method = comparison.method
    where = f"{condition_title(method.condition)}, {model_title(method.model)}"
    policy = augmentation_title(method.augmentation)
    return comparison_sentence(comparison, f"{where}, {policy}", "without augmentation")


def _lines(rows: Sequence[Row]) -> list[list[Row]]:
    """Gather the rows of each method, its conditions in their order."""
    lines: dict[Method, list[Row]] = {}
    for row in rows:
        lines.setdefault(replace(row.method, condition=Condition()), []).append(row)
    return list(lines.values())


def _tables(result: StudyResult) -> tuple[Table, ...]:
    tables = []
    conditions = list(dict.fromkeys(row.method.condition for row in result.rows))
    for model in dict.fromkeys(row.method.model for row in result.rows):
        rows = result.select(model=model)
        policies = list(dict.fromkeys(row.method.augmentation for row in rows))
        policies.sort(key=lambda policy: policy != "none")
        body, used = [], []
        for condition in conditions:
            line = [Cell(condition_title(condition))]
            for policy in policies:
                method = replace(rows[0].method, augmentation=policy, condition=condition)
                if policy == "none":
                    line.append(accuracy_cell(result.row(method)))
                else:
                    one = result.compared(method)
                    used += [one] if one else []
                    line.append(change_cell(one))
            body.append(tuple(line))
        headings = [
            Column(augmentation_title(policy) + (", %" if policy == "none" else ": change"))
            for policy in policies
        ]
        tables.append(
            Table(
                f"Accuracy under noise and reverberation, {model_title(model)}",
                (Column("Condition", "left"), *headings),
                tuple(body),
                change_note(used) if used else "",
            )
        )
    return tuple(tables)


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    kinds = {row.method.condition.kind for row in result.rows}
    return tuple(_curve(result, noise) for noise in NOISES if noise in kinds)


def _curve(result: StudyResult, noise: str) -> Picture:
    """Return the accuracy over the signal-to-noise ratio, clean speech at the left end."""
    levels = sorted(
        {
            level
            for row in result.rows
            if row.method.condition.kind == noise
            and (level := row.method.condition.level) is not None
        },
        reverse=True,
    )
    places = {Condition(): 0.0}
    places |= {Condition(noise, level): float(x) for x, level in enumerate(levels, 1)}
    lines = _lines(result.rows)
    among = [replace(line[0].method, condition=Condition()) for line in lines]
    series = []
    for line, method in zip(lines, among, strict=True):
        marks = tuple(
            Point(places[row.method.condition], row.accuracy, *row.wilson_interval)
            for row in sorted(line, key=lambda row: places.get(row.method.condition, -1))
            if row.method.condition in places
        )
        series.append(Series(title(method, among), marks))
    ticks = {0.0: "clean"} | {float(x): f"{level:g}" for x, level in enumerate(levels, 1)}
    return Picture(
        kind="curve",
        title=f"Accuracy in {condition_title(Condition(noise))}",
        caption="Shaded: 95 % over clips, for these speakers only.",
        x_label="signal-to-noise ratio, dB",
        y_label="accuracy, %",
        series=tuple(series),
        ticks=tuple(ticks.items()),
        reference=1 / len(result.label_names),
        reference_label="chance",
    )


STUDY = Study(
    name="noise",
    question="How do noise and reverberation affect accuracy, and does augmentation help?",
    sections={
        "study": {"task": "noise"},
        "models": {"lstm": {"epochs": 25}, "cnn": {"epochs": 40, "temperature": 0.5}},
        "grids": {
            "results": {
                "split": "xsdr",
                "augmentation": ["none", "basic", "strong"],
                "seed": [0, 1, 2],
                "epochs_factor": 0.6,
            }
        },
        "quick": {"seed": [0], "augmentation": ["none", "basic"], "epochs_factor": 0.2},
        "synthetic": {"epochs_factor": 4.0},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
