"""The one writer of tables, and the formats of numbers."""

from html.parser import HTMLParser

import pytest

from spoken_digits.lab.reporting import tables
from spoken_digits.lab.studies.presentation import Cell, Column, Table

TABLE = Table(
    "Change in points",
    (Column("policy", "left"), Column("one speaker"), Column("four")),
    (
        (Cell("none | 1"), Cell("63.7"), Cell("91.4")),
        (Cell("<b>strong</b>"), Cell("+12.4", "improves"), Cell("-3.8", "worsens")),
    ),
    "95 % intervals.",
)


def test_markdown_has_a_title_a_rule_and_a_cell_for_every_column():
    assert tables.to_markdown(TABLE).splitlines() == [
        "**Change in points.**",
        "",
        "| policy | one speaker | four |",
        "| --- | ---: | ---: |",
        "| none / 1 | 63.7 | 91.4 |",
        "| <b>strong</b> | +12.4 | -3.8 |",
        "",
        "95 % intervals.",
    ]


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.cells, self.verdicts, self.tags = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("th", "td", "caption"):
            self.cells.append("")
            if verdict := dict(attrs).get("data-verdict"):
                self.verdicts[len(self.cells) - 1] = verdict

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data.strip("\n")


def test_html_holds_the_same_cells_as_text_with_their_verdicts():
    found = Cells(tables.to_html(TABLE))
    words = [cell.text for line in TABLE.rows for cell in line]
    assert found.cells == [
        "Change in points. 95 % intervals.", "policy", "one speaker", "four", *words
    ]  # fmt: skip
    assert {found.cells[k]: v for k, v in found.verdicts.items()} == {
        "+12.4": "improves",
        "-3.8": "worsens",
    }
    assert found.tags.count("b") == 1  # that of the title


def test_a_table_of_words_aligns_its_first_columns_left():
    made = tables.table(("a", "b", "c"), [("1", "2", "3")], left=2)
    assert [column.align for column in made.columns] == ["left", "left", "right"]
    with pytest.raises(ValueError, match="2 cells, expected 3"):
        tables.table(("a", "b", "c"), [("1", "2")])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (tables.percent_or_blank(0.93849), "93.8"),
        (tables.percent_or_blank(None), ""),
        (tables.interval((0.9, 0.857)), "85.7 to 90.0"),
        (tables.interval(None), ""),
        (tables.count(19_648), "19,648"),
        (tables.seconds(0.0010158), "1.0 ms"),
        (tables.seconds(0.0119), "12 ms"),
        (tables.seconds(1.1), "1.1 s"),
        (tables.duration(45), "1 min"),
        (tables.duration(20), "20 s"),
        (tables.duration(3 * 3600 + 240), "3 h 4 min"),
    ],
)
def test_numbers_have_one_format(written, expected):
    assert written == expected
