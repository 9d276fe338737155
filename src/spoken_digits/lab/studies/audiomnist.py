"""The study of AudioMNIST: its published five folds, twelve people tested in each."""

from dataclasses import replace

import numpy as np

from spoken_digits.lab.data.splits import AUDIOMNIST_GROUPS
from spoken_digits.lab.studies.generic import GENERIC
from spoken_digits.lab.studies.presentation import Cell, Column, Table
from spoken_digits.lab.studies.results import Row, StudyResult
from spoken_digits.lab.studies.sentences import accuracy_cell, percent
from spoken_digits.lab.studies.titles import title

__all__ = ["STUDY"]


def _folds(row: Row) -> list[Cell]:
    """Return the accuracy of each fold: fold k tests on group k - 1."""
    cells = []
    for fold in range(len(AUDIOMNIST_GROUPS)):
        tested = [row.per_speaker.get(name) for name in AUDIOMNIST_GROUPS[fold - 1]]
        scores = [score.accuracy for score in tested if score]
        cells.append(Cell(percent(float(np.mean(scores))) if scores else "-"))
    return cells


def _tables(result: StudyResult) -> tuple[Table, ...]:
    among = [row.method for row in result.rows]
    columns = [Column("Model", "left"), Column("accuracy, %")]
    columns += [Column(f"fold {fold}, %") for fold in range(len(AUDIOMNIST_GROUPS))]
    columns += [Column("worst speaker, %")]
    body = []
    for row in result.rows:
        worst = f"{row.worst_speaker}: {percent(row.per_speaker[row.worst_speaker].accuracy)}"
        head = Cell(title(row.method, among))
        body.append((head, accuracy_cell(row), *_folds(row), Cell(worst)))
    note = (
        "Mean over speakers ± standard deviation over seeds. Each fold trains on 36 people and "
        "tests on 12; the 12 that it is published with for validation are not used."
    )
    return (Table("Accuracy on unseen speakers", tuple(columns), tuple(body), note),)


STUDY = replace(
    GENERIC,
    name="audiomnist",
    question="How well are the digits of 60 people recognized, on AudioMNIST's published folds?",
    corpus="audiomnist",
    sections={
        "models": {
            "cnn": {"epochs": 10},
            "temporal-cnn": {"epochs": 15},
            "lstm": {"epochs": 15},
        },
        "grids": {"results": {"split": "audiomnist", "seed": [0, 1, 2]}},
        "quick": {"seed": [0], "epochs_factor": 0.1},
    },
    tables=_tables,
)
