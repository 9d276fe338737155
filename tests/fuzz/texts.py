"""Tables of recordings, and recipes: valid text of every kind, which is mutated as files are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tests.fuzz.mutations import mutate

from spoken_digits.lab.training.config import RECIPES

__all__ = ["make_recipe", "make_table"]

_LABELS = ("7", "07", "7.0", "Seven ", "seven", "oh", "F\u00fcnf", "Fu\u0308nf", "8", "9")
_COLUMNS = (
    ("file", "label", "speaker"),
    ("label", "file", "speaker", "start_s", "end_s"),
    ("speaker", "file", "label", "note"),
)
_CODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")
_ODD = (
    *("", " ", "-1", "0", "nan", "inf", "1e999", "9" * 400, "7" * 200_000, "label", "a\0b", "."),
    *("..", "/", "~", "*", '"', "'", "\u202e7", "\u0667", "\u3000", "\x1b[2J", "\v", "=1+1"),
)


def _table(rng: np.random.Generator, files: Sequence[str]) -> tuple[bytes, str, str]:
    """Make a table of recordings, with some odd cells: also its name's ending, and those."""
    columns = _COLUMNS[rng.integers(len(_COLUMNS))]
    separator, suffix = (",", ".csv") if rng.integers(2) else ("\t", ".tsv")
    rows = [list(columns)]
    for file in files:
        value = {
            "file": file,
            "label": _LABELS[rng.integers(len(_LABELS))],
            "speaker": ("anna", "Bob", "\u674e")[rng.integers(3)],
            "start_s": "0.01",
            "end_s": "0.3",
            "note": '"said, twice"',
        }
        rows.append([value[name] for name in columns])
    done = []
    for _ in range(rng.integers(3)):
        row, column = rng.integers(len(rows)), rng.integers(len(columns))
        rows[row][column] = _ODD[rng.integers(len(_ODD))]
        done.append(f"row {row}, column {column}: {rows[row][column][:9]!r}")
    end = "\r\n" if rng.integers(3) == 0 else "\n"
    text = end.join(separator.join(row) for row in rows) + end
    coding = _CODINGS[rng.integers(len(_CODINGS))]
    return text.encode(coding, errors="replace"), suffix, "; ".join([*done, coding])


def make_table(seed: int, index: int, files: Sequence[str]) -> tuple[bytes, str, str]:
    """Make a mutated table of files: its bytes, its name's ending, and what was done."""
    rng = np.random.default_rng([seed, index, 1])
    content, suffix, said = _table(rng, files)
    if rng.integers(2):
        content, more = mutate(content, rng, (content, *(path.read_bytes() for path in _recipes())))
        said = f"{said}; {more}"
    return content, suffix, said


def make_recipe(seed: int, index: int) -> tuple[bytes, str]:
    """Make a mutated recipe: its bytes, and what was done."""
    rng = np.random.default_rng([seed, index, 2])
    contents = tuple(path.read_bytes() for path in _recipes())
    return mutate(contents[rng.integers(len(contents))], rng, contents)


def _recipes() -> list[Path]:
    return sorted(RECIPES.glob("*.toml"))
