"""The study of Speech Commands: all its words, trained and tested on its published lists."""

from dataclasses import replace

import numpy as np

from spoken_digits.lab.data.corpora import DIGITS
from spoken_digits.lab.studies.generic import GENERIC
from spoken_digits.lab.studies.presentation import Cell, Column, Table
from spoken_digits.lab.studies.results import Row, StudyResult
from spoken_digits.lab.studies.sentences import accuracy_cell, comparison_sentence, percent
from spoken_digits.lab.studies.titles import title

__all__ = ["STUDY"]


def _over_clips(row: Row) -> float:
    """Return the accuracy over clips, as it is published for this corpus, mean over seeds."""
    counts = np.array(row.confusion)
    return float(counts.trace() / counts.sum())


def _of_digits(row: Row) -> float | None:
    """Return the fraction of each digit that is recognized among all words, mean over the digits.

    None where no digit is among the words.
    """
    found = [score.recall for label, score in row.per_label.items() if label in DIGITS]
    return float(np.mean(found)) if found else None


def _hardest(row: Row) -> str:
    return min(row.per_label, key=lambda label: row.per_label[label].recall)


def _sentences(result: StudyResult) -> tuple[str, ...]:
    among = [row.method for row in result.rows]
    best = result.best
    digits = _of_digits(best)
    low, high = best.speaker_interval
    hardest = _hardest(best)
    seeds = f"mean of {len(best.seeds)} seeds" if len(best.seeds) > 1 else "one seed"
    first = (
        f"Accuracy over {best.clips:,} clips of {len(best.per_speaker):,} unseen speakers, "
        f"{len(result.label_names)} words, best of {len(result.rows)} methods: "
        f"{title(best.method, among)}, {percent(_over_clips(best))} % ({seeds}); mean over "
        f"speakers {percent(best.accuracy)} % (95 % interval over speakers {percent(low)} to "
        f"{percent(high)}); {hardest}, the hardest word, "
        f"{percent(best.per_label[hardest].recall)} %."
    )
    if digits is not None:
        first = f"{first[:-1]}; the digits among them {percent(digits)} %."
    others = (
        comparison_sentence(c, title(c.method, among), f"for {title(c.reference, among)}")
        for c in result.comparisons
    )
    return (first, *others)


def _tables(result: StudyResult) -> tuple[Table, ...]:
    among = [row.method for row in result.rows]
    columns = (
        Column("Model", "left"),
        Column("over clips, %"),
        Column("over speakers, %"),
        Column("digits, %"),
        Column("hardest word, %"),
    )
    body = []
    for row in result.rows:
        digits, hardest = _of_digits(row), _hardest(row)
        body.append(
            (
                Cell(title(row.method, among)),
                Cell(percent(_over_clips(row))),
                accuracy_cell(row),
                Cell("-" if digits is None else percent(digits)),
                Cell(f"{hardest}: {percent(row.per_label[hardest].recall)}"),
            )
        )
    note = (
        "Of all clips on the published list for testing; mean over speakers ± standard deviation "
        "over seeds; mean recall of the digits among all words. The list for validation is not "
        "used."
    )
    return (Table("Accuracy on unseen speakers", columns, tuple(body), note),)


STUDY = replace(
    GENERIC,
    name="speech-commands",
    question="How well are the words of Speech Commands recognized, on its published lists?",
    corpus="speech_commands",
    sections={
        "models": {
            "cnn": {"epochs": 10},
            "temporal-cnn": {"epochs": 15},
            "lstm": {"epochs": 15},
        },
        "grids": {"results": {"split": "speech_commands", "seed": [0, 1, 2]}},
        "quick": {"seed": [0], "epochs_factor": 0.1},
    },
    sentences=_sentences,
    tables=_tables,
)
