"""The study of self-supervised pre-training: without labels, with few, and with all."""

from dataclasses import replace

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Comparison, Condition, Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    change_cell,
    change_note,
    comparison_sentence,
    percent,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import (
    augmentation_title,
    condition_title,
    labels_title,
    objective_title,
)

__all__ = ["STUDY"]

MAIN, SUPERVISED = "results", "supervised"  # in the latter, pairs are clips of one digit
# Grids by the loss of the views and by whose speech is pre-trained on: all without labels.
METHODS = {
    MAIN: "SimCLR",
    "vicreg": "VICReg",
    "more-people": "SimCLR, more people",
    "vicreg-more-people": "VICReg, more people",
}
# What is compared with training from scratch: condition, grid, title.
STARTS = (
    *(("finetune", grid, f"{name}, fine-tuned") for grid, name in METHODS.items()),
    ("clusters", MAIN, "SimCLR, then clusters, linear probe"),
)


def _reference(method: Method) -> Method | None:
    condition = method.condition
    if condition.kind in ("clusters", "finetune"):
        return replace(method, condition=Condition("scratch", condition.level))
    if condition.kind in ("probe", "knn"):
        return replace(method, condition=Condition("untrained"))
    if method.objective == "joint":
        return replace(method, objective="cross-entropy")
    return None


def _sentences(result: StudyResult) -> tuple[str, ...]:
    sentences = []
    embeddings = _embeddings(result)
    if embeddings:
        parts = [f"{name} {accuracy_words(row)}" for name, row in embeddings]
        sentences.append(
            f"Accuracy on unseen speakers of a linear probe with all labels: {'; '.join(parts)}."
        )
    return (*sentences, *(_sentence(c) for c in result.comparisons))


def _sentence(comparison: Comparison) -> str:
    method, reference = comparison.method, comparison.reference
    if method.task != "contrastive":
        where = f"all labels, {objective_title(method.objective)}"
        return comparison_sentence(
            comparison, where, f"with {objective_title(reference.objective)} alone"
        )
    by = ""
    if method.grid == SUPERVISED:
        by = " (supervised pairs)"
    elif method.grid != MAIN:
        by = f" ({METHODS[method.grid]})"
    untrained = reference.condition.kind == "untrained"
    against = "for a linear probe of the untrained network" if untrained else "from scratch"
    return comparison_sentence(comparison, f"{_labelled(method.condition)}{by}", against)


def _labelled(condition: Condition) -> str:
    """Return a condition in words, its labels spelled out where they are counted."""
    words = condition_title(condition)
    return f"{words} of each digit and speaker" if condition.level is not None else words


def _find(result: StudyResult, kind: str, grid: str = MAIN) -> Row | None:
    """Return the row of a condition with all labels."""
    rows = result.select(task="contrastive", grid=grid, condition=Condition(kind))
    return rows[0] if rows else None


def _embeddings(result: StudyResult) -> list[tuple[str, Row]]:
    """Name the embeddings that a linear probe was fitted on with all labels."""
    named = (
        ("untrained network", _find(result, "untrained")),
        *((name, _find(result, "probe", grid)) for grid, name in METHODS.items()),
        ("SimCLR, then clusters", _find(result, "clusters")),
        ("supervised pairs", _find(result, "probe", SUPERVISED)),
    )
    return [(name, row) for name, row in named if row]


def _tables(result: StudyResult) -> tuple[Table, ...]:
    tables = []
    if embeddings := _embeddings(result):
        body = []
        for name, row in embeddings:
            low, high = row.wilson_interval
            texts = f"{percent(low)} to {percent(high)}", str(len(row.seeds))
            body.append((Cell(name), accuracy_cell(row), *map(Cell, texts)))
        tables.append(
            Table(
                "Linear probe with all labels, by what the embedding was learned from",
                (
                    Column("Embedding", "left"),
                    Column("accuracy, %"),
                    Column("95 % over clips"),
                    Column("seeds"),
                ),
                tuple(body),
                _about_embeddings(result),
            )
        )
    if curve := _labels_table(result):
        tables.append(curve)
    joint = [c for c in result.comparisons if c.method.task != "contrastive"]
    if joint:
        body = []
        for c in joint:
            accuracies = percent(c.reference_accuracy), percent(c.accuracy)
            name = augmentation_title(c.method.augmentation)
            body.append((Cell(name), *map(Cell, accuracies), change_cell(c)))
        tables.append(
            Table(
                "The contrastive loss beside cross-entropy, all labels",
                (
                    Column("Augmentation", "left"),
                    Column("cross-entropy, %"),
                    Column("both losses, %"),
                    Column("change"),
                ),
                tuple(body),
                change_note(joint),
            )
        )
    return tuple(tables)


def _about_embeddings(result: StudyResult) -> str:
    names = {name for name, _ in _embeddings(result)}
    without = "SimCLR, VICReg" if METHODS["vicreg"] in names else "SimCLR"
    more = ""
    if any(METHODS[grid] in names for grid in ("more-people", "vicreg-more-people")):
        more = " more people: speech without a digit word, of AN4, WUW II and Speech Commands;"
    return (
        "Mean over speakers ± standard deviation over seeds; the interval (Wilson) holds for these "
        f"speakers only. {without} and clusters use no label;{more} supervised pairs are two clips "
        "of one digit."
    )


def _labels_table(result: StudyResult) -> Table | None:
    scratch = _started(result, "scratch", MAIN)
    if not scratch:
        return None
    starts = [start for start in STARTS if _started(result, *start[:2])]
    body, used = [], []
    for row in scratch:
        line = [Cell(labels_title(row.method.condition)), accuracy_cell(row)]
        for kind, grid, _ in starts:
            condition = Condition(kind, row.method.condition.level)
            found = result.select(task="contrastive", grid=grid, condition=condition)
            one = result.compared(found[0].method) if found else None
            used += [one] if one else []
            line.append(change_cell(one))
        body.append(tuple(line))
    return Table(
        "Few labels: change of accuracy against training from scratch",
        (
            Column("Labels of each digit and training speaker", "left"),
            Column("from scratch, %"),
            *(Column(f"{title}: change") for _, _, title in starts),
        ),
        tuple(body),
        change_note(used) if used else "",
    )


def _started(result: StudyResult, kind: str, grid: str) -> list[Row]:
    """Return the rows of a condition, fewest labels first and all labels last."""
    rows = [
        row
        for row in result.select(task="contrastive", grid=grid)
        if row.method.condition.kind == kind
    ]
    return sorted(rows, key=lambda row: row.method.condition.level or float("inf"))


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    starts = (("scratch", MAIN, "from scratch"), *STARTS)
    found = {title: rows for kind, grid, title in starts if (rows := _started(result, kind, grid))}
    counts = sorted(
        {
            level
            for rows in found.values()
            for row in rows
            if (level := row.method.condition.level) is not None
        }
    )
    if not counts:
        return ()
    everything = 2.0 * counts[-1]  # all labels, a step to the right of the largest number
    series = []
    for title, rows in found.items():
        marks = tuple(
            Point(row.method.condition.level or everything, row.accuracy, *row.wilson_interval)
            for row in rows
        )
        series.append(Series(title, marks))
    ticks = {count: f"{count:g}" for count in counts} | {everything: "all"}
    picture = Picture(
        kind="curve",
        title="Accuracy over the number of labels",
        caption="Mean over seeds and speakers. Shaded: 95 % over clips, for these speakers only.",
        x_label="labels of each digit and training speaker",
        y_label="accuracy, %",
        series=tuple(series),
        ticks=tuple(ticks.items()),
        is_log=True,
        reference=1 / len(result.label_names),
        reference_label="chance",
    )
    return (picture,)


# Clusters stay with SimCLR alone.
_OTHERS = {
    "task": "contrastive",
    "cluster_rounds": 0,
    "split": "xsdr",
    "epochs": 200,
    "seed": [0, 1, 2, 3, 4],
    "quick": False,
}

STUDY = Study(
    name="contrastive",
    question="What does contrastive pre-training bring without labels, with few, and with all?",
    sections={
        "models": {"cnn-single": {}},
        "grids": {
            MAIN: {
                "task": "contrastive",
                "split": "xsdr",
                "epochs": 200,
                "seed": [0, 1, 2, 3, 4],
                "quick": {"cluster_rounds": 1, "epochs": 60, "probe_views": 1},
            },
            # Without negatives.
            "vicreg": {"method": "vicreg", **_OTHERS},
            # With speech of other people, as many steps.
            "more-people": {"unlabelled": "speech", **_OTHERS, "epochs": 80},
            "vicreg-more-people": {
                "method": "vicreg",
                "unlabelled": "speech",
                **_OTHERS,
                "epochs": 80,
            },
            # Pre-training with labels, by the same means; one seed, a hint.
            SUPERVISED: {
                "task": "contrastive",
                "positives": "digit",
                "cluster_rounds": 0,
                "split": "xsdr",
                "seed": 0,
                "quick": {"epochs": 60, "probe_views": 1},
            },
            # The loss beside cross-entropy, with all labels.
            "joint": {
                "split": "xsdr",
                "objective": ["cross-entropy", "joint"],
                "epochs": 30,
                "temperature": 0.5,
                "seed": [0, 1, 2],
            },
        },
        "quick": {"seed": [0], "epochs_factor": 0.05},
        "synthetic": {"epochs_factor": 4.0},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
