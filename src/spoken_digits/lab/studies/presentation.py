"""Tables and pictures as a study describes them: plain data that reporting renders and draws.

A study's file makes these from its result; `reporting` turns a `Table` into Markdown or HTML and a
`Picture` into SVG, and knows no study by name. Needs no torch.
"""

from dataclasses import dataclass
from typing import Literal

from spoken_digits.lab.studies.results import Verdict

__all__ = ["Cell", "Column", "Picture", "Point", "Series", "Table"]


@dataclass(frozen=True)
class Column:
    """Heading of a column; numbers are aligned right, words left."""

    title: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Cell:
    """Text of one cell, plain; `verdict` where the cell holds a comparison, for a color."""

    text: str
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Table:
    """A table: a title, columns, rows of as many cells, and a note below with units.

    Raises
    ------
    ValueError
        When a row has another number of cells than there are columns.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: a row of {len(row)} cells, expected {len(self.columns)}"
                )


@dataclass(frozen=True)
class Point:
    """A value at `x` with its interval, as fractions; None where there is no value or interval."""

    x: float | str
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points under one name: a curve, a set of bars, or a row of a heat map."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Picture:
    """What to draw.

    Attributes
    ----------
    kind
        ``curve``: a line a series over numbers `x`. ``bars``: groups of bars over words `x`.
        ``ranked``: a mark with its interval a point, in the order given, `x` the words beside it.
        ``heatmap``: a row a series, a column for each `x`.
    title, caption
        What it shows; how to read it.
    x_label, y_label
        Names of the axes with units; values are fractions and are drawn in percent or points.
    series
        What is drawn.
    ticks
        Words for places on the horizontal axis of a curve, in order.
    is_log
        Whether that axis is logarithmic.
    reference
        A level to mark: chance, or no change.
    reference_label
        What that level is.
    """

    kind: Literal["curve", "bars", "ranked", "heatmap"]
    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    is_log: bool = False
    reference: float | None = None
    reference_label: str = ""
