"""The study of augmentation: policies with four training speakers and with one, and transforms."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Comparison, Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    change_cell,
    change_note,
    comparison_sentence,
    tally,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import (
    augmentation_title,
    model_title,
    training_title,
    transform_title,
)

__all__ = ["STUDY"]

POLICIES = ("original", "light", "basic", "speaker", "strong")  # by strength, the original's first
CLAIMS = ("results", "one-speaker")  # grids of several seeds
TRANSFORMS = ("transforms", "transforms-one-speaker")  # grids of single transforms, one seed
BY_SPEAKER = "leave-one-out"


def _reference(method: Method) -> Method | None:
    return None if method.augmentation == "none" else replace(method, augmentation="none")


def _sentences(result: StudyResult) -> tuple[str, ...]:
    blocks = _blocks(c for c in result.comparisons if c.method.grid in CLAIMS)
    # The most accurate model's first, and of it what one speaker gains.
    blocks.sort(key=lambda block: (-_most(result, block), block[0].method.training_speakers))
    sentences = [_sentence(block) for block in blocks]
    sentences += [
        comparison_sentence(
            c, f"{_where(c)}, each speaker left out in turn, {_policy(c)}", _WITHOUT
        )
        for c in result.comparisons
        if c.method.grid == BY_SPEAKER
    ]
    for block in _blocks(c for c in result.comparisons if c.method.grid in TRANSFORMS):
        alone = [c for c in block if c.method.augmentation.startswith("alone:")]
        if alone:
            sentences.append(_transforms_sentence(alone))
    return tuple(sentences)


def _sentence(block: Sequence[Comparison]) -> str:
    best = max(block, key=lambda c: c.difference)
    first = comparison_sentence(best, f"{_where(best)}, {_policy(best)}", _WITHOUT)
    rest = tally((c.method.augmentation, c) for c in block if c is not best)
    return f"{first} Of the other policies: {rest[:1].lower()}{rest[1:]}" if rest else first


def _transforms_sentence(block: Sequence[Comparison]) -> str:
    best = max(block, key=lambda c: c.difference)
    above = sum(c.verdict == "improves" for c in block)
    below = sum(c.verdict == "worsens" for c in block)
    first = comparison_sentence(best, f"{_where(best)}, {_policy(best)}", _WITHOUT)
    return (
        f"{first} Of {len(block)} single transforms, {above} have an interval above zero and "
        f"{below} one below it, not adjusted for their number."
    )


_WITHOUT = "without augmentation"


def _where(comparison: Comparison) -> str:
    method = comparison.method
    return f"{model_title(method.model)}, {training_title(method)}"


def _policy(comparison: Comparison) -> str:
    return augmentation_title(comparison.method.augmentation)


def _blocks(comparisons: Iterable[Comparison]) -> list[list[Comparison]]:
    """Gather the comparisons that have one reference."""
    blocks: dict[Method, list[Comparison]] = {}
    for comparison in comparisons:
        blocks.setdefault(comparison.reference, []).append(comparison)
    return list(blocks.values())


def _most(result: StudyResult, block: Sequence[Comparison]) -> float:
    """Return the highest accuracy of the block's model in the claims."""
    model = block[0].method.model
    return max(row.accuracy for row in result.select(model=model) if row.method.grid in CLAIMS)


def _tables(result: StudyResult) -> tuple[Table, ...]:
    rows = [row for row in result.rows if row.method.grid in CLAIMS]
    plain = [row for row in rows if row.method.augmentation == "none"]
    if not plain:
        return ()
    several = sorted(plain, key=lambda row: (-_model_best(rows, row), row.method.training_speakers))
    columns = [
        Column(f"{model_title(row.method.model)}, {training_title(row.method)}") for row in several
    ]
    found = {row.method.augmentation for row in rows}
    policies = [p for p in POLICIES if p in found] + sorted(found - {*POLICIES, "none"})
    body = [(Cell("no augmentation: accuracy, %"), *(accuracy_cell(row) for row in several))]
    used: list[Comparison] = []
    for policy in policies:
        made = [result.compared(replace(row.method, augmentation=policy)) for row in several]
        used += [comparison for comparison in made if comparison]
        body.append((Cell(policy), *map(change_cell, made)))
    table = Table(
        "Change of accuracy on unseen speakers by augmentation",
        (Column("Policy", "left"), *columns),
        tuple(body),
        change_note(used) if used else "",
    )
    return (table,)


def _model_best(rows: Iterable[Row], row: Row) -> float:
    return max(other.accuracy for other in rows if other.method.model == row.method.model)


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    return tuple(picture for grid in TRANSFORMS if (picture := _ranked(result, grid)))


def _ranked(result: StudyResult, grid: str) -> Picture | None:
    """Rank the single transforms by their mean change over the models; None where none was run."""
    found = [
        c
        for c in result.comparisons
        if c.method.grid == grid and c.method.augmentation.startswith("alone:")
    ]
    if not found:
        return None
    changes: dict[str, dict[str, Comparison]] = {}
    for comparison in found:
        by_model = changes.setdefault(comparison.method.augmentation, {})
        by_model[comparison.method.model] = comparison
    ranked = sorted(
        changes, key=lambda a: -sum(c.difference for c in changes[a].values()) / len(changes[a])
    )
    series = []
    for model in dict.fromkeys(c.method.model for c in found):
        marks = []
        for name in ranked:
            if one := changes[name].get(model):
                word = transform_title(name.removeprefix("alone:"))
                marks.append(Point(word, one.difference, *one.interval))
        series.append(Series(model_title(model), tuple(marks)))
    return Picture(
        kind="ranked",
        title=f"Each transform alone, trained on {training_title(found[0].method)}",
        caption=(
            "Change against no augmentation, ordered by the mean over models; one seed, few "
            "epochs. Lines: 95 % over clips, for these speakers and networks only."
        ),
        x_label="change of accuracy, points",
        y_label="transform",
        series=tuple(series),
        reference=0.0,
        reference_label="no augmentation",
    )


_ALL_POLICIES = ["none", *POLICIES]

STUDY = Study(
    name="augmentation",
    question="What does augmentation bring, with four training speakers and with one?",
    sections={
        "models": {
            "temporal-cnn": {"epochs": 25},
            "lstm": {"epochs": 25},
            "cnn-single": {"epochs": 30, "temperature": 0.5},
        },
        "grids": {
            # Claims, three seeds. One speaker has a quarter of the clips, hence more epochs.
            "results": {
                "augmentation": _ALL_POLICIES,
                "split": "xsdr",
                "seed": [0, 1, 2],
                "epochs_factor": 0.5,
            },
            "one-speaker": {
                "augmentation": _ALL_POLICIES,
                "split": "single:george",
                "seed": [0, 1, 2],
                "epochs_factor": 1.5,
            },
            # With more training speakers: three of the four, and five of all.
            BY_SPEAKER: {
                "model": "cnn-single",
                "augmentation": ["none", "basic"],
                "split": ["inner", "loso"],
                "epochs_factor": 0.5,
                "quick": False,
            },
            # Hints: each transform alone, one seed and few epochs.
            "transforms": {
                "augmentation": ["none", "alone", "basic"],
                "split": "xsdr",
                "epochs_factor": 0.25,
                "quick": False,
            },
            "transforms-one-speaker": {
                "augmentation": ["none", "alone", "basic"],
                "split": "single:george",
                "epochs_factor": 0.8,
                "quick": {"model": "temporal-cnn"},
            },
        },
        "quick": {"seed": [0], "epochs_factor": 0.12},
        "synthetic": {"epochs_factor": 4.0},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
