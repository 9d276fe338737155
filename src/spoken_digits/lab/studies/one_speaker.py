"""The study of a single training speaker: which one, which augmentation, synthetic speech."""

from dataclasses import replace

from spoken_digits.lab.studies.presentation import Cell, Column, Picture, Point, Series, Table
from spoken_digits.lab.studies.results import Comparison, Method, Row, StudyResult
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    change_cell,
    change_note,
    comparison_sentence,
    percent,
)
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.titles import augmentation_title, model_title

__all__ = ["STUDY"]

CONVERSION = "conversion"


def _reference(method: Method) -> Method:
    return replace(method, augmentation="basic", extra="none", grid="results")


def _sentences(result: StudyResult) -> tuple[str, ...]:
    sentences = []
    if row := _main(result):
        sources = row.sources or {}
        worst, best = (pick(sources, key=lambda s: sources[s].accuracy) for pick in (min, max))
        sentences.append(
            f"Accuracy on unseen speakers, {model_title(row.method.model)} trained on one speaker, "
            f"mean over {len(sources)} training speakers: {accuracy_words(row)}; from "
            f"{percent(sources[worst].accuracy)} % ({worst}) to "
            f"{percent(sources[best].accuracy)} % ({best})."
        )
    ordered = sorted(result.comparisons, key=lambda c: (c.method.extra == "none", -c.difference))
    sentences += [_sentence(c) for c in ordered]
    if not result.select(grid=CONVERSION):
        sentences.append("Voice conversion inside the training speaker's voice: not run yet.")
    return tuple(sentences)


def _sentence(comparison: Comparison) -> str:
    reference = comparison.reference
    against = f"with {augmentation_title(reference.augmentation)}"
    if comparison.method.extra != reference.extra:
        against += " and no synthetic speech"
    return comparison_sentence(comparison, f"trained on {_method(comparison.method)}", against)


def _method(method: Method) -> str:
    _, _, source = method.split.partition(":")
    extra = " and synthetic speech" if method.extra == "voices" else ""
    return f"{source or 'one speaker'}{extra}, {augmentation_title(method.augmentation)}"


def _main(result: StudyResult) -> Row | None:
    """Return the row of each speaker trained on in turn with the reference's augmentation."""
    rows = [row for row in result.rows if len(row.sources or {}) > 1]
    return next((row for row in rows if _reference(row.method) == row.method), None)


def _tables(result: StudyResult) -> tuple[Table, ...]:
    tables = []
    if row := _main(result):
        tables.append(_sources_table(row))
    if result.comparisons:
        body = []
        for c in result.comparisons:
            values = percent(c.reference_accuracy), percent(c.accuracy)
            body.append((Cell(_method(c.method)), *map(Cell, values), change_cell(c)))
        tables.append(
            Table(
                "Other augmentation, and synthetic speech beside the speaker",
                (
                    Column("Trained on", "left"),
                    Column("basic augmentation, no synthetic speech, %"),
                    Column("this, %"),
                    Column("change"),
                ),
                tuple(body),
                change_note(result.comparisons),
            )
        )
    return tuple(tables)


def _sources_table(row: Row) -> Table:
    body = []
    for name, source in (row.sources or {}).items():
        spread = "" if source.accuracy_sd is None else f" ± {percent(source.accuracy_sd)}"
        worst = source.worst_speaker
        xsdr = "-" if source.xsdr_accuracy is None else percent(source.xsdr_accuracy)
        texts = (
            name,
            f"{percent(source.accuracy)}{spread}",
            xsdr,
            f"{worst} {percent(source.per_speaker[worst])}",
        )
        body.append(tuple(map(Cell, texts)))
    body.append((Cell("mean"), accuracy_cell(row), Cell("-"), Cell("-")))
    return Table(
        "Accuracy on all other speakers, by training speaker",
        (
            Column("Trained on", "left"),
            Column("five other speakers, %"),
            Column("lucas and yweweler, %"),
            Column("worst speaker, %"),
        ),
        tuple(body),
        f"{augmentation_title(row.method.augmentation).capitalize()}. Mean over test speakers ± "
        "standard deviation over seeds.",
    )


def _pictures(result: StudyResult) -> tuple[Picture, ...]:
    row = _main(result)
    if row is None:
        return ()
    sources = row.sources or {}
    targets = sorted({name for source in sources.values() for name in source.per_speaker})
    series = tuple(
        Series(name, tuple(Point(target, source.per_speaker.get(target)) for target in targets))
        for name, source in sources.items()
    )
    picture = Picture(
        kind="heatmap",
        title="Accuracy by training speaker and test speaker",
        caption="Mean over seeds. No network is tested on its own training speaker.",
        x_label="test speaker",
        y_label="training speaker",
        series=series,
    )
    return (picture,)


STUDY = Study(
    name="one-speaker",
    question="How far does a single training speaker go, and does it matter which?",
    sections={
        "models": {"cnn": {"epochs": 30, "temperature": 0.5}},
        "grids": {
            "results": {"split": "single", "augmentation": "basic", "seed": [0, 1, 2, 3, 4]},
            # Hints, one seed.
            "policies": {
                "split": "single",
                "augmentation": ["none", "speaker", "strong"],
                "quick": {"augmentation": "none"},
            },
            # Conversion inside the training speaker's voice, beside the rest of basic and alone.
            CONVERSION: {
                "split": "single",
                "augmentation": ["conversion", "alone:conversion"],
                "seed": [0, 1, 2, 3, 4],
                "quick": False,
            },
            "with-synthetic": {
                "split": "single:george",
                "augmentation": ["basic", "trimmed"],  # the latter, as FSDD was
                "extra": "voices",
                "epochs_factor": 0.5,  # there are four times as many clips
                "seed": [0, 1, 2, 3, 4],
            },
        },
        "quick": {"seed": [0], "epochs_factor": 0.2},
        "synthetic": {"epochs_factor": 4.0},
    },
    reference=_reference,
    sentences=_sentences,
    tables=_tables,
    pictures=_pictures,
)
