"""Tables of every document: one writer for Markdown and HTML, and formats of numbers in them.

Fractions, differences and p-values are written as in `studies.sentences`.
"""

import html
from collections.abc import Iterable, Sequence

from spoken_digits.lab.studies.presentation import Cell, Column, Table
from spoken_digits.lab.studies.sentences import percent

__all__ = [
    "count",
    "duration",
    "interval",
    "percent_or_blank",
    "seconds",
    "table",
    "to_html",
    "to_markdown",
]


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    title: str = "",
    note: str = "",
) -> Table:
    """Return a table of plain words whose first `left` columns hold words, the others numbers.

    Raises
    ------
    ValueError
        When a row has more or fewer cells than there are titles.
    """
    columns = tuple(
        Column(words, "left" if number < left else "right") for number, words in enumerate(head)
    )
    return Table(title, columns, tuple(tuple(map(Cell, row)) for row in rows), note)


def to_markdown(written: Table) -> str:
    """Write a table in Markdown, its title above and its note below where it has them."""
    rows = [
        [column.title for column in written.columns],
        ["---:" if column.align == "right" else "---" for column in written.columns],
        *([cell.text.replace("|", "/") for cell in row] for row in written.rows),
    ]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return "\n\n".join(filter(None, [_sentence(written.title, "**"), lines, written.note]))


def to_html(written: Table) -> str:
    """Write a table in HTML; what stands in its cells is text, never markup."""
    lines = ['<div class="wide"><table>']
    if written.title or written.note:
        said = " ".join(
            filter(None, [_sentence(html.escape(written.title), "<b>"), html.escape(written.note)])
        )
        lines.append(f"<caption>{said}</caption>")
    titles = "".join(
        f'<th scope="col"{_side(column)}>{html.escape(column.title)}</th>'
        for column in written.columns
    )
    lines += [f"<thead><tr>{titles}</tr></thead>", "<tbody>"]
    for row in written.rows:
        cells = "".join(
            _html_cell(cell, column, is_head=number == 0)
            for number, (cell, column) in enumerate(zip(row, written.columns, strict=True))
        )
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</tbody>", "</table></div>"])


def _html_cell(cell: Cell, column: Column, is_head: bool) -> str:
    words = html.escape(cell.text)
    if is_head:
        return f'<th scope="row">{words}</th>'
    mark = f' data-verdict="{cell.verdict}"' if cell.verdict else ""
    return f"<td{_side(column)}{mark}>{words}</td>"


def _side(column: Column) -> str:
    return "" if column.align == "right" else ' class="left"'


def _sentence(words: str, mark: str) -> str:
    """Set a title in bold, with a full stop where it has none."""
    if not words:
        return ""
    stop = "" if words[-1] in ".?!" else "."
    return f"{mark}{words}{stop}{mark.replace('<', '</')}"


# Numbers


def percent_or_blank(fraction: float | None) -> str:
    """Write a fraction in percent, without the sign; nothing for None."""
    return "" if fraction is None else percent(fraction)


def interval(limits: Sequence[float] | None) -> str:
    """Write the two ends of an interval of fractions in percent; nothing for None."""
    return f"{percent(min(limits))} to {percent(max(limits))}" if limits else ""


def count(number: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{number:,}"


def seconds(value: float) -> str:
    """Write a short time with two digits: "1.0 ms", "1.1 s"."""
    number, unit = (1000 * value, "ms") if value < 0.1 else (value, "s")
    return f"{f'{number:#.2g}'.rstrip('.')} {unit}"


def duration(value: float) -> str:
    """Write a time in seconds as hours and minutes."""
    hours, minutes = divmod(round(value / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{value:.0f} s"
    )
