"""The study of augmentation: policies with four training speakers and with one, and transforms.

Single transforms are ranked by what they change; of the three best all eight combinations are
trained. Which three is a rule, `best_three`, that sees training speakers alone, and is written into
`BEST` before the combinations are run.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from spoken_digits.lab.augmentation.policies import ALONE, own_fields
from spoken_digits.lab.data.splits import XSDR_TRAIN
from spoken_digits.lab.studies.comparisons import Contrast, contrast
from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Comparison, Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    change_cell,
    change_note,
    comparison_sentence,
    listed,
    points,
    tally,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import (
    augmentation_title,
    model_title,
    number,
    training_title,
    transform_title,
)

__all__ = ["BEST", "STUDY", "best_three", "inner_effects"]

POLICIES = ("original", "light", "basic", "speaker", "strong")  # by strength, the original's first
CLAIMS = ("results", "one-speaker")  # grids of several seeds
TRANSFORMS = ("transforms", "transforms-one-speaker")  # grids of single transforms
CHOICE = "transforms-inner"  # the same, a training speaker left out in turn
INTERACTIONS = {grid: grid.replace("transforms", "interactions") for grid in TRANSFORMS}
# The three best by `best_three`, by grid of single transforms; empty until those were run.
BEST: dict[str, tuple[str, ...]] = {"transforms": (), "transforms-one-speaker": ()}
FACTORIAL_MODEL = "cnn-single"  # of which effects are ranked and combined
BY_SPEAKER = "leave-one-out"


def _reference(method: Method) -> Method | None:
    if method.augmentation == "none":
        return None
    # Combinations share the reference, and the single transforms, of the grid they were chosen in.
    alone = {both: grid for grid, both in INTERACTIONS.items()}
    grid = alone.get(method.grid, method.grid)
    return replace(method, augmentation="none", grid=grid)


def inner_effects(result: StudyResult, grid: str) -> dict[str, float]:
    """Return what each single transform changes on training speakers who were left out.

    With four speakers: trained on three of them, tested on the fourth, the mean over the four. With
    one: trained on one of the four, tested on the three others, the mean over all twelve pairs. No
    other speaker is looked at. Empty where that was not run.

    Parameters
    ----------
    result
        Of the study.
    grid
        One of `TRANSFORMS`.
    """
    rows = result.inner if grid == "transforms" else result.rows
    named = CHOICE if grid == "transforms" else grid
    mine = [r for r in rows if (r.method.grid, r.method.model) == (named, FACTORIAL_MODEL)]
    accuracies = {row.method.augmentation: mean for row in mine if (mean := _inner_accuracy(row))}
    if "none" not in accuracies:
        return {}
    return {
        name.removeprefix("alone:"): accuracy - accuracies["none"]
        for name, accuracy in accuracies.items()
        if name.startswith("alone:")
    }


def _inner_accuracy(row: Row) -> float | None:
    """Return the mean accuracy on training speakers of `xsdr` trained without; None if not all."""
    if row.sources is None:
        found = [score.accuracy for name, score in row.per_speaker.items() if name in XSDR_TRAIN]
        return sum(found) / 4 if len(found) == 4 else None
    found = [
        accuracy
        for source, tested in row.sources.items()
        for name, accuracy in tested.per_speaker.items()
        if source in XSDR_TRAIN and name in XSDR_TRAIN
    ]
    return sum(found) / 12 if len(found) == 12 else None


def best_three(effects: Mapping[str, float]) -> tuple[str, ...]:
    """Return the three transforms with the largest effects, the largest first; () without all.

    One that sets what a better one sets already is passed over: they cannot be combined. Equal ones
    are taken in the order of `ALONE`.
    """
    if set(effects) != set(ALONE):
        return ()
    taken: list[str] = []
    for name in sorted(ALONE, key=lambda name: -effects[name]):
        used = {field for other in taken for field in own_fields(other)}
        if not used & set(own_fields(name)):
            taken.append(name)
    return tuple(taken[:3])


def _cells(result: StudyResult, grid: str) -> dict[tuple[int, ...], Row]:
    """Return the row of each combination of the three: on is 1; {} where one was not run."""
    if not BEST[grid]:
        return {}
    cells = {}
    for levels in itertools.product((0, 1), repeat=3):
        used = [name for name, on in zip(BEST[grid], levels, strict=True) if on]
        rows = result.select(
            grid=INTERACTIONS[grid] if len(used) > 1 else grid,
            model=FACTORIAL_MODEL,
            augmentation=f"alone:{'+'.join(used)}" if used else "none",
        )
        if not rows:
            return {}
        cells[levels] = rows[0]
    return cells


def _contrasts(result: StudyResult, grid: str) -> list[tuple[str, Contrast]]:
    """Return main effects and interactions of the three, by name; [] where they were not run.

    A main effect is the mean change over the four combinations of the others. An interaction of two
    is what one changes with the other, less what it changes without, the mean over the third; that
    of three is how much that differs with the third and without.
    """
    if not (cells := _cells(result, grid)):
        return []
    found = []
    for size in (1, 2, 3):
        for chosen in itertools.combinations(range(3), size):
            terms = [
                (math.prod(1 if levels[i] else -1 for i in chosen) / 2 ** (3 - size), row)
                for levels, row in cells.items()
            ]
            name = " x ".join(transform_title(BEST[grid][place]) for place in chosen)
            found.append((name, contrast(terms)))
    return found


def _contrast_words(one: Contrast) -> str:
    low, high = one.interval
    return f"{points(one.value)} ({points(low)} to {points(high)})"


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
    return (*sentences, *(_interactions_sentence(result, grid) for grid in TRANSFORMS))


def _interactions_sentence(result: StudyResult, grid: str) -> str:
    who = "four speakers" if grid == "transforms" else "one speaker"
    effects = inner_effects(result, grid)
    best = best_three(effects)
    where = f"Interactions of the three best transforms, trained on {who}"
    if not best:
        return f"{where}: not run yet."
    named = listed(f"{transform_title(name)} {points(effects[name])}" for name in best)
    chosen = f"chosen by what they change on training speakers left out, in points: {named}"
    if not (found := _contrasts(result, grid)):
        return f"{where}: not run yet; {chosen}."
    _, one = found[0]
    told = "; ".join(f"{name} {_contrast_words(each)}" for name, each in found)
    return (
        f"{where}, main effects and differences of effects (95 % interval over {one.over}): "
        f"{told}; {chosen}."
    )


def _sentence(block: Sequence[Comparison]) -> str:
    best = max(block, key=lambda c: c.difference)
    first = comparison_sentence(best, f"{_where(best)}, {_policy(best)}", _WITHOUT)
    rest = tally((c.method.augmentation, c) for c in block if c is not best)
    return f"{first} Of the other policies: {rest[:1].lower()}{rest[1:]}" if rest else first


def _transforms_sentence(block: Sequence[Comparison]) -> str:
    best = max(block, key=lambda c: c.difference)
    above = sum(c.interval[0] > 0 for c in block)
    below = sum(c.interval[1] < 0 for c in block)
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
    tables = (_policies(result), *(_factorial(result, grid) for grid in TRANSFORMS))
    return tuple(table for table in tables if table)


def _policies(result: StudyResult) -> Table | None:
    rows = [row for row in result.rows if row.method.grid in CLAIMS]
    plain = [row for row in rows if row.method.augmentation == "none"]
    if not plain:
        return None
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
    return Table(
        "Change of accuracy on unseen speakers by augmentation",
        (Column("Policy", "left"), *columns),
        tuple(body),
        change_note(used) if used else "",
    )


def _factorial(result: StudyResult, grid: str) -> Table | None:
    """Lay out main effects and interactions; None where they were not run."""
    found = _contrasts(result, grid)
    if not found:
        return None
    body = [(Cell(name), Cell(_contrast_words(each))) for name, each in found]
    _, one = found[0]
    who = "four speakers" if grid == "transforms" else "one speaker"
    whom = "" if one.over.startswith("speakers") else ", for these speakers only"
    return Table(
        f"The three best transforms together, trained on {who}",
        (Column("Effect", "left"), Column("change, points")),
        tuple(body),
        "Main effects: mean change over the four combinations of the others. Interactions: "
        "how much more one changes with the other than without; of three, how much that differs "
        f"with the third. In brackets 95 % intervals over {one.over} ({one.speakers} speakers, "
        f"{one.seeds} seeds){whom}.",
    )


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
        caption=_ranked_caption(found),
        x_label="change of accuracy, points",
        y_label="transform",
        series=tuple(series),
        reference=0.0,
        reference_label="no augmentation",
    )


def _ranked_caption(found: Sequence[Comparison]) -> str:
    seeds = min(c.seeds for c in found)
    many = "one seed" if seeds == 1 else f"{number(seeds)} seeds"
    over = found[0].over
    only = {
        "clips": ", for these speakers and networks only",
        "clips and seeds": ", for these speakers only",
        "speakers": "",
    }[over]
    return (
        f"Change against no augmentation, ordered by the mean over models; {many}, few epochs. "
        f"Lines: 95 % over {over}{only}."
    )


def _combined(grid: str) -> dict[str, dict[str, object]]:
    """Return the grid of the combinations of two and three of the best, once they are chosen."""
    if not BEST[grid]:
        return {}
    several = [c for size in (2, 3) for c in itertools.combinations(BEST[grid], size)]
    return {
        INTERACTIONS[grid]: {
            **_SINGLE[grid],
            "model": FACTORIAL_MODEL,
            "augmentation": [f"alone:{'+'.join(names)}" for names in several],
            "quick": False,
        }
    }


_SINGLE: dict[str, dict[str, object]] = {
    # Each transform alone, three seeds and few epochs; in all six single speakers one model.
    "transforms": {
        "augmentation": ["none", "alone", "basic"],
        "split": "xsdr",
        "seed": [0, 1, 2],
        "epochs_factor": 0.25,
        "quick": False,
    },
    "transforms-one-speaker": {
        "model": FACTORIAL_MODEL,
        "augmentation": ["none", "alone", "basic"],
        "split": "single",
        "seed": [0, 1, 2],
        "epochs_factor": 0.8,
        "quick": {"model": "temporal-cnn", "split": "single:george"},
    },
}

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
            # The choice of the three best: inside the training speakers.
            CHOICE: {
                **_SINGLE["transforms"],
                "model": FACTORIAL_MODEL,
                "augmentation": ["none", "alone"],
                "split": "inner",
            },
            **_SINGLE,
            **_combined("transforms"),
            **_combined("transforms-one-speaker"),
        },
        "quick": {"seed": [0], "epochs_factor": 0.12},
        "synthetic": {"epochs_factor": 4.0},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
