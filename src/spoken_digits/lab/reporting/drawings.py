"""Drawings: which figures a study gets, made from its summary alone.

What tells rows apart are the factors that a summary gives each: `grid`, `model`, `augmentation`,
`condition` (a word like white-10 or finetune-5) and so on, see `comparisons.FACTORS`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spoken_digits.lab.models import MODELS
from spoken_digits.lab.reporting import figures
from spoken_digits.lab.reporting.readme import kind
from spoken_digits.lab.studies.comparisons import FACTORS

__all__ = ["DRAWINGS", "SWEEPS", "Drawing", "draw"]

Summary = Mapping[str, Any]
Row = Mapping[str, Any]
Drawing = tuple[str, str, str]  # figure, title, caption

# Grids of a study whose runs leave training speakers out, by the key that they vary.
SWEEPS = {"learning_rate": "learning-rate", "weight_decay": "weight-decay"}

INTERVALS = "Intervals are bootstrapped over test speakers."
SHADED = "Shaded: 95 % over speakers. Dotted: chance."


def draw(summary: Summary) -> list[Drawing]:
    """Draw what fits a study: every speaker, where it is none of `DRAWINGS`."""
    return DRAWINGS.get(kind(summary), _speakers)(summary)


def _speakers(summary: Summary) -> list[Drawing]:
    rows, name = summary["rows"], f"{summary['study']} strip"
    drawn = figures.speaker_strip(rows, _chance(summary), name)
    caption = (
        "Large marks are a speaker's mean over seeds, small ones single networks, the black bar is "
        "the mean over speakers. Marks far apart in a row say that some voices are heard much "
        "better than others."
    )
    return [(drawn, "Accuracy for each test speaker.", caption)]


def _models(summary: Summary) -> list[Drawing]:
    """Draw every speaker, and the sweeps that were done on training speakers left out."""
    drawings = _speakers(summary)
    for key, grid in SWEEPS.items():
        rows = [row for row in summary.get("inner", ()) if row["grid"] == grid]
        values = sorted({row[key] for row in rows})
        if len(values) < 2:
            continue
        curves = [
            _mean_line(MODELS[model].title, mine, key)
            for model in MODELS
            if (mine := [row for row in rows if row["model"] == model])
        ]
        ticks = {value: f"{value:g}" for value in values}
        words = key.replace("_", " ")
        drawn = figures.line_plot(grid, curves, words, ticks, log_x=True)
        left_out = sorted({name for row in rows for name in row["per_speaker_seed"]})
        caption = f"Mean over {', '.join(left_out)}, each left out in turn; few epochs."
        drawings.append((drawn, f"Sweep of the {words}.", caption))
    return drawings


def _augmentation(summary: Summary) -> list[Drawing]:
    """Draw each block of rows that differ in augmentation alone, a line where nothing is done."""
    drawings = []
    for rows in _alike(summary["rows"], "augmentation"):
        plain = next((row for row in rows if row["augmentation"] == "none"), rows[0])
        ranked = sorted(rows, key=lambda row: float(row["accuracy_mean"]))
        name = f"augmentation {plain['title']}"
        drawn = figures.interval_strip(name, ranked, _chance(summary), plain["title"])
        caption = f"Dotted: {plain['title']}. {INTERVALS}"
        drawings.append((drawn, f"{_stem(plain, 'augmentation')}.", caption))
    return drawings


def _one_voice(summary: Summary) -> list[Drawing]:
    """Draw a map for each row, which voice was learned from and which were heard."""
    drawings = []
    for row in summary["rows"]:
        if sources := row["sources"]:
            heard = [source["per_speaker"] for source in sources.values()]
            targets = sorted({name for shares in heard for name in shares})
            table = [[shares.get(target, np.nan) for target in targets] for shares in heard]
            drawn = figures.heat_map(row["title"], list(sources), targets, table)
            drawings.append((drawn, f"{row['title']}.", "No voice is tested on itself."))
    drawn = figures.interval_strip("one-voice", summary["rows"], _chance(summary))
    return [*drawings, (drawn, "All of it.", INTERVALS)]


def _contrastive(summary: Summary) -> list[Drawing]:
    """Draw accuracy over the number of labels, and every row with its interval."""
    chance, drawings = _chance(summary), []
    starts = {
        "clusters": "clusters learned, probed",
        "finetune": "pre-trained, fine-tuned",
        "scratch": "from scratch",
    }
    labeled: dict[str, dict[str, Row]] = {}
    for row in summary["rows"]:
        start, _, labels = row["condition"].partition("-")
        if start in starts:  # those of the first grid; others are variations of it
            labeled.setdefault(starts[start], {}).setdefault(labels, row)
    if counts := sorted({int(n) for rows in labeled.values() for n in rows if n != "all"}):
        everything = 2.0 * counts[-1]  # all labels, a step to the right of the most counted
        ticks = {float(n): str(n) for n in counts} | {everything: "all"}
        curves = [
            _line(name, list(rows.values()), [everything if n == "all" else int(n) for n in rows])
            for name, rows in labeled.items()
        ]
        label = "labels for each digit and training speaker"
        drawn = figures.line_plot("labels", curves, label, ticks, chance, log_x=True)
        drawings.append((drawn, "What pre-training is worth with few labels.", SHADED))
    drawn = figures.interval_strip("contrastive", summary["rows"], chance)
    return [*drawings, (drawn, "Every condition.", INTERVALS)]


def _noise(summary: Summary) -> list[Drawing]:
    """Draw accuracy over the ratio of speech to noise, a figure for each noise, and the room."""
    chance = _chance(summary)
    conditions = [row["condition"].rpartition("-") for row in summary["rows"]]
    levels = sorted({int(level) for _, dash, level in conditions if dash}, reverse=True)
    ticks = {0.0: "clean"} | {float(x): str(level) for x, level in enumerate(levels, 1)}
    drawings = []
    for noise in dict.fromkeys(noise for noise, dash, _ in conditions if dash):
        words = ["clean", *(f"{noise}-{level}" for level in levels)]
        curves = []
        for rows in _alike(summary["rows"], "condition"):
            mine = [row for row in rows if row["condition"] in words]
            places = [words.index(row["condition"]) for row in mine]
            curves.append(_line(_stem(rows[0], "condition"), mine, places))
        label = "signal-to-noise ratio, dB"
        drawn = figures.line_plot(f"noise {noise}", curves, label, ticks, chance)
        drawings.append((drawn, f"{noise.capitalize()} noise.", SHADED))
    room = [row for row in summary["rows"] if row["condition"] in ("clean", "reverberation")]
    if room:
        drawn = figures.interval_strip("reverberation", room, chance)
        drawings.append((drawn, "In a room, and clean.", INTERVALS))
    return drawings


def _chance(summary: Summary) -> float:
    return 1 / len(summary["label_names"])


def _alike(rows: Sequence[Row], factor: str) -> list[list[Row]]:
    """Gather the rows that differ in this factor alone."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        rest = tuple(row[name] for name in FACTORS if name != factor)
        groups.setdefault(rest, []).append(row)
    return list(groups.values())


def _stem(row: Row, factor: str) -> str:
    """Return a row's title without the word that tells this factor."""
    return str(row["title"]).replace(f", {row[factor]}", "", 1)


def _line(title: str, rows: Sequence[Row], x: Sequence[float]) -> figures.Line:
    """Return the curve through the means of rows at `x`."""
    order = np.argsort(x, kind="stable")
    ranked = [rows[i] for i in order]
    return figures.Line(
        title,
        tuple(float(x[i]) for i in order),
        tuple(row["accuracy_mean"] for row in ranked),
        tuple(row["speaker_interval"][0] for row in ranked),
        tuple(row["speaker_interval"][1] for row in ranked),
    )


def _mean_line(title: str, rows: Sequence[Row], key: str) -> figures.Line:
    """Return the curve over the values of `key` through the means of the rows that have each."""
    values = sorted({float(row[key]) for row in rows})
    means = [np.mean([r["accuracy_mean"] for r in rows if r[key] == value]) for value in values]
    return figures.Line(title, tuple(values), tuple(map(float, means)))


DRAWINGS: dict[str, Callable[[Summary], list[Drawing]]] = {
    "models": _models,
    "augmentation": _augmentation,
    "one-voice": _one_voice,
    "contrastive": _contrastive,
    "leave-one-out": _speakers,
    "noise": _noise,
}
