"""Tables and numbers of every document: one writer for Markdown and HTML, one format a quantity.

Fractions are 0 to 1 and are written in percent with one decimal; differences of two of them in
percentage points, with their sign.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "Table",
    "count",
    "duration",
    "interval",
    "listed",
    "milliseconds",
    "p_value",
    "percent",
    "percent_sd",
    "points",
    "points_interval",
    "to_html",
    "to_markdown",
]


@dataclass(frozen=True)
class Table:
    """A table of finished words.

    Attributes
    ----------
    head
        Titles of the columns.
    rows
        Cells, row by row, as many as there are titles.
    left
        How many columns are aligned left, the first ones; the others hold numbers.
    best
        Index of the row that is set in bold, if any.

    Raises
    ------
    ValueError
        When a row has more or fewer cells than there are titles.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    best: int | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(
                    f"row {row}: {len(row)} cells, expected {len(self.head)}: {self.head}"
                )


def to_markdown(table: Table) -> str:
    """Write a table in Markdown."""
    rule = ["---"] * table.left + ["---:"] * (len(table.head) - table.left)
    rows = [[cell.replace("|", "/") for cell in row] for row in table.rows]
    if table.best is not None:
        rows[table.best] = [f"**{cell}**" if cell else "" for cell in rows[table.best]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table.head, rule, *rows))


def to_html(table: Table, caption: str = "") -> str:
    """Write a table in HTML; what stands in its cells is text, never markup."""
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{html.escape(caption)}</caption>")
    titles = "".join(
        f'<th scope="col"{_side(k, table)}>{html.escape(title)}</th>'
        for k, title in enumerate(table.head)
    )
    lines += [f"<thead><tr>{titles}</tr></thead>", "<tbody>"]
    for number, row in enumerate(table.rows):
        cells = "".join(
            f'<th scope="row">{html.escape(cell)}</th>'
            if k == 0
            else f"<td{_side(k, table)}>{html.escape(cell)}</td>"
            for k, cell in enumerate(row)
        )
        mark = ' class="best"' if number == table.best else ""
        lines.append(f"<tr{mark}>{cells}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def _side(column: int, table: Table) -> str:
    return ' class="left"' if 0 < column < table.left else ""


def percent(fraction: float | None, decimals: int = 1) -> str:
    """Write a fraction in percent, without the sign; nothing for None."""
    return "" if fraction is None else f"{100 * fraction:.{decimals}f}"


def percent_sd(mean: float, sd: float | None) -> str:
    """Write a mean, and its standard deviation where there is one, in percent."""
    return percent(mean) if sd is None else f"{percent(mean)} ± {percent(sd)}"


def interval(limits: Sequence[float] | None) -> str:
    """Write the two ends of an interval of fractions in percent; nothing for None."""
    return f"{percent(min(limits))} to {percent(max(limits))}" if limits else ""


def points(difference: float) -> str:
    """Write a difference of two fractions in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def points_interval(limits: Sequence[float] | None) -> str:
    """Write the two ends of an interval of a difference in points; nothing for None."""
    return f"{points(min(limits))} to {points(max(limits))}" if limits else ""


def p_value(p: float | None) -> str:
    """Write a p-value; a dash for None."""
    return "–" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def count(number: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{number:,}"


def milliseconds(seconds: float) -> str:
    """Write a time below a second in milliseconds, a longer one in seconds."""
    return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{seconds:.2g} s"


def duration(seconds: float) -> str:
    """Write a time in hours and minutes."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
    )


def listed(words: Iterable[str]) -> str:
    """Join words with commas and an "and"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
