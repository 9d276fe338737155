"""What is told of the network for strings: tables and the curve of results/strings.json.

An evaluation here is the dict of a `StringsEvaluation`, as it stands in the file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spoken_digits.lab.reporting import figures
from spoken_digits.lab.reporting.tables import count, interval, table
from spoken_digits.lab.studies.presentation import Table
from spoken_digits.lab.studies.sentences import percent

__all__ = ["draw_curve", "read_strings", "title_of"]

Result = Mapping[str, Any]

_TITLES = {
    "an4": "AN4",
    "wuw2": "WUW II",
    "an4 and wuw2": "AN4 and WUW II",
    "all of the split": "FSDD, joined digits",
    "speech_commands": "Speech Commands, joined digits",
    "synthetic": "synthetic voices",
    "other words": "isolated other words",
    "rustle": "handling noise: rustle",
    "knocks": "handling noise: knocks",
    "scrapes": "handling noise: scrapes",
    "puffs": "handling noise: puffs",
    "creaks": "handling noise: creaks",
}


def title_of(name: str) -> str:
    """Return a set as a reader knows it: of ``an4, women`` "AN4, women"."""
    whole, comma, part = name.partition(", ")
    return f"{_TITLES.get(whole, whole.replace('_', ' '))}{comma}{part}"


def read_strings(path: Path) -> dict[str, Any] | None:
    """Return what documents tell of a file that `strings score` or `strings pool` wrote.

    Keys: tables `errors`, `false_digits`, and `differences` (None without any); `has_curve`, see
    `draw_curve`; `delay_ms`, `folds` (names), `command` and `networks` (their commands). None where
    there is no such file.

    Raises
    ------
    KeyError, ValueError
        When the file holds something else.
    """
    if not path.is_file():
        return None
    result: Result = json.loads(path.read_text(encoding="utf-8"))
    evaluation: Result = result["evaluation"]
    folds: Mapping[str, Result] = result.get("folds", {})
    return {
        "errors": _errors(evaluation, folds),
        "differences": _differences(evaluation),
        "false_digits": _false_digits(evaluation, folds),
        "has_curve": evaluation.get("curve") is not None,
        "delay_ms": evaluation["delay_ms"],
        "folds": tuple(folds),
        "command": result["command"],
        "networks": tuple(
            dict.fromkeys(
                model["command"] for model in result["models"].values() if model.get("command")
            )
        ),
    }


def draw_curve(path: Path) -> str:
    """Draw false digits over digits missed, as SVG, of a file that has a curve.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        When there is no such file, or it holds something else.
    """
    evaluation: Result = json.loads(path.read_text(encoding="utf-8"))["evaluation"]
    names = (*evaluation["strings"], *evaluation["false_digits"])
    return figures.false_digit_curves(evaluation, {name: title_of(name) for name in names})


def _errors(evaluation: Result, folds: Mapping[str, Result]) -> Table:
    """Return a row a set of strings, with the range over folds where there are several."""
    kinds = ("deletions", "insertions", "substitutions")
    head = ("strings of", "strings", "digits", "digit error, %")
    rows = []
    for name, row in evaluation["strings"].items():
        spoken = max(row["digits"], 1)
        rates = [f["strings"][name]["digit_error"] for f in folds.values() if name in f["strings"]]
        rows.append(
            (
                title_of(name),
                count(row["strings"]),
                count(row["digits"]),
                percent(row["digit_error"]),
                *((interval((min(rates), max(rates))) if rates else "",) if folds else ()),
                *(percent(row[kind] / spoken) for kind in kinds),
                percent(row["whole_right"]),
            )
        )
    over_folds = ("lowest to highest fold, %",) if folds else ()
    tail = ("missed, %", "inserted, %", "substituted, %", "strings entirely right, %")
    return table((*head, *over_folds, *tail), rows)


def _differences(evaluation: Result) -> Table | None:
    """Return a row a comparison of two parts of a set; None without any."""
    found: Mapping[str, Result] = evaluation.get("differences", {})
    if not found:
        return None
    return table(
        ("strings of", "speakers", "difference in digit error, points", "95 % interval"),
        tuple(
            (
                title_of(name),
                count(len(row["speakers"])),
                f"{100 * row['difference']:+.1f}",
                "{:+.1f} to {:+.1f}".format(*(100 * end for end in row["interval"])),
            )
            for name, row in found.items()
        ),
    )


def _false_digits(evaluation: Result, folds: Mapping[str, Result]) -> Table:
    """Return a row a set without digits; over folds the same sound counts once for each."""
    head = ("sound without digits", "hours", "false digits", "an hour", "95 % interval")
    rows = []
    for name, row in evaluation["false_digits"].items():
        rates = [
            f["false_digits"][name]["per_hour"] for f in folds.values() if name in f["false_digits"]
        ]
        rows.append(
            (
                title_of(name),
                f"{row['seconds'] / 3600:.2f}",
                count(row["count"]),
                _rate(row["per_hour"]),
                " to ".join(map(_rate, row["interval"])),
                *(
                    (f"{_rate(min(rates))} to {_rate(max(rates))}" if rates else "",)
                    if folds
                    else ()
                ),
            )
        )
    return table((*head, *(("lowest to highest fold",) if folds else ())), rows)


def _rate(per_hour: float) -> str:
    """Write a rate an hour, with a digit behind the point where it is below ten."""
    return f"{per_hour:.1f}" if per_hour < 10 else f"{per_hour:,.0f}"
