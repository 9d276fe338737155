"""What a study is: a question, its runs, and the sentences, tables and pictures of its result.

A study that ships is one file of this folder and one line in `registry.STUDIES`. Needs no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spoken_digits.lab.studies.presentation import Picture, Table
from spoken_digits.lab.studies.results import Method, StudyResult

__all__ = ["Study"]


def _nothing(_: StudyResult) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Study:
    """A study: its question, its runs, and how its result is described and shown.

    Attributes
    ----------
    name
        Name on the command line, and of the file under results/.
    question
        What it asks, one sentence.
    sections
        Its runs, in the form of a TOML file; see `grid`.
    corpus
        Name in `corpora.CORPORA` of the corpus that it is about; None for the best at hand.
    reference
        The method that another is compared with; None where there is none, and None in place of
        the function for the strong model of the same study.
    sentences
        The answer: sentences with measure, condition, number and interval, the first one alone
        enough for a list of studies.
    tables, pictures
        What is shown below, in this order; the first of each is enough for an overview.
    summarize
        From the study's folder, a dataclass of its results, where they have a form of their own:
        such a study has no report. None for rows of methods, a `StudyResult`.
    """

    name: str
    question: str
    sections: Mapping[str, Any]
    corpus: str | None = None
    reference: Callable[[Method], Method | None] | None = None
    sentences: Callable[[StudyResult], tuple[str, ...]] = _nothing
    tables: Callable[[StudyResult], tuple[Table, ...]] = _nothing
    pictures: Callable[[StudyResult], tuple[Picture, ...]] = _nothing
    summarize: Callable[[Path], Any] | None = None
