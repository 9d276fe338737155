"""Tables: the words and numbers of a summary, as Markdown for the README and as cells for the page.

Everything here is made from a summary alone, as it lies in results/: the same file gives the same
bytes.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.studies.summary import best_row, is_synthetic

__all__ = [
    "ORDER",
    "answer",
    "in_order",
    "kind",
    "listed_references",
    "percent",
    "question",
    "read_results",
    "readme_block",
    "readme_table",
    "short",
    "studies_in",
    "unhelpful",
    "update_readme",
    "verdict",
]

# A table of the README that would be longer leaves out what has one seed: hints, for the report.
_MOST_ROWS = 40

README_BEGIN, README_END = "<!-- results:begin -->", "<!-- results:end -->"

# The order in which a reader meets the studies; others come behind, by name.
ORDER = ("models", "augmentation", "one-voice", "contrastive", "leave-one-out", "noise")

# Published by others or measured with their models, on the original's TEST list of 503 clips.
REFERENCES = (
    ("The original study: SGD hinge, downsampled", 0.547),
    ("The original study: logistic regression, downsampled", 0.563),
    ("The original study: LSTM", 0.579),
    ("The original study: temporal 1D CNN", 0.648),
    ("PocketSphinx 5, a grammar of the ten digits, trained on other recordings", 0.825),
)


def kind(summary: Mapping[str, Any]) -> str:
    """Return the name of a summary's study, which its directory need not have."""
    return str(summary.get("recipe") or summary["study"])


def in_order(summaries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Sort summaries by `ORDER`, the others behind them by name."""
    return sorted(
        summaries,
        key=lambda s: (ORDER.index(kind(s)) if kind(s) in ORDER else len(ORDER), s["study"]),
    )


def verdict(summary: Mapping[str, Any]) -> str:
    """Say in a sentence what came out best."""
    best = best_row(summary["rows"])
    n_seeds = len(best["seeds"])
    networks = f"mean of {n_seeds} networks" if n_seeds > 1 else "one network only"
    worst = best["worst_speaker"]
    hardest = best["per_speaker"][worst]["accuracy"]
    return (
        f"{'On synthetic speech, the' if is_synthetic(summary) else 'The'} best model, "
        f"{best['title']}, recognizes {percent(best['accuracy_mean'])} % of the digits spoken by "
        f"voices it has never heard ({networks}), and of those of the hardest voice, {worst}, "
        f"{percent(hardest)} %."
    )


def question(summary: Mapping[str, Any]) -> str:
    """Return what a study asks."""
    return str(summary.get("question") or "Which model hears a voice it has never heard?")


def answer(summary: Mapping[str, Any]) -> str:
    """Return what a study answers, a line for each thing that it asked."""
    said = str(summary.get("answer") or verdict(summary))
    synthetic = is_synthetic(summary) and not said.startswith("On synthetic speech")
    return f"On synthetic speech: {said}" if synthetic else said


def short(text: str, most: int = 240) -> str:
    """Return the first sentences of a text, one at least and up to so many characters."""
    kept, *others = re.split(r"\n|(?<=[.]) (?=[A-Z])", text)
    for sentence in others:
        if len(kept) + len(sentence) >= most:
            break
        kept += f" {sentence}"
    return kept


def unhelpful(summary: Mapping[str, Any]) -> list[str]:
    """Name what is not shown to be better than what it was set against, a sentence each.

    In the study of the models everything is set against the best, and nothing is to be helped.
    """
    lines = []
    for test in summary["comparisons"] if kind(summary) != "models" else ():
        if test["shown"] and test["difference"] < 0:
            continue
        p = test["sign_flip_p_holm"] if test["sign_flip_p_holm"] is not None else test["p_holm"]
        lines.append(
            f"{test['title']}, set against {test['reference']}: "
            f"{-100 * test['difference']:+.1f} points, "
            f"{'a loss' if test['shown'] else 'no difference shown'}, p {p_value(p)}."
        )
    return lines


def listed_references(summary: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Give other people's figures where they can be set beside ours: some clips are on the list."""
    listed = any(row.get("listed_accuracy") for row in summary["rows"])
    return REFERENCES if listed and kind(summary) == "models" else ()


def readme_table(summary: Mapping[str, Any]) -> str:
    """Return a study's results as Markdown: the question, a compact table, where they come from."""
    data, rows = summary["data"], summary["rows"]
    n_rows, hints = len(rows), ""
    claims = [row for row in rows if len(row["seeds"]) > 1]
    if n_rows > _MOST_ROWS and claims:
        rows = claims
        hints = (
            f"{n_rows - len(rows)} rows of one seed, hints, are left out here and stand in "
            "[results/report.html](results/report.html). "
        )
    listed = any(row.get("listed_accuracy") for row in rows)
    head = ["", "accuracy, % (± sd over seeds)", "95 % over speakers", "worst speaker"]
    head += ["list of 503"] * listed
    cells = [
        [
            row["title"],
            mean_and_sd(row),
            span(row["speaker_interval"]),
            f"{row['worst_speaker']} "
            f"{percent(row['per_speaker'][row['worst_speaker']]['accuracy'])}",
            *[percent(row["listed_accuracy"])] * listed,
        ]
        for row in rows
    ]
    name, seeds = summary["study"], ", ".join(map(str, summary["seeds"]))
    tracks = dict.fromkeys(row.get("track", f"{data['corpus']}-only") for row in rows)
    parts = ["<details>", f"<summary>{question(summary)} ({name}, {n_rows} rows)</summary>", ""]
    lines = answer(summary).splitlines()
    parts += [f"- {line}" for line in lines] if len(lines) > 1 else lines
    parts += ["", *_markdown(head, cells, left=1), ""]
    parts += [f"**{warning}**\n" for warning in summary["warnings"]]
    trained = f"Trained on {', '.join(data['train_speakers'])}; tested"
    if set(data["train_speakers"]) & set(data["test_speakers"]):
        trained = "Each network tested on voices that it has not heard: in all,"
    parts.append(
        f"{hints}{trained} on {data['clips_tested']:,} clips "
        f"of {', '.join(data['test_speakers'])}. {summary['note'] or ''} "
        f"Track {', '.join(tracks)} ({data['licence']}), SHA-256 `{data['hash'][:12]}`; "
        f"seeds {seeds}; commit `{summary['commit']}`; made by `{summary['command']}`; "
        f"all numbers in [results/{name}.json](results/{name}.json)."
    )
    if references := listed_references(summary):
        head = ["other people's figures, published, on the list of 503 clips", "accuracy, %"]
        cells = [[who, percent(share)] for who, share in references]
        parts += ["", *_markdown(head, cells, left=1)]
    return "\n".join([*parts, "", "</details>"])


def readme_block(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Return what stands between the README's markers: the answers first, then each table."""
    ordered = in_order(summaries)
    if not ordered:
        return ""
    answers = [[question(summary), short(answer(summary))] for summary in ordered]
    lines = _markdown(["question", "answer"], answers, left=2)
    return "\n\n".join(["\n".join(lines), *map(readme_table, ordered)])


def studies_in(folder: Path | str) -> list[Path]:
    """Return the directories in `folder` that hold a study of `ORDER` in full, in that order.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    found = [path for name in ORDER if (path := Path(folder, name)).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no study here, expected one of {', '.join(ORDER)}; run "
            "`spoken-digits study` first, or name the directories"
        )
    return found


def read_results(results_dir: Path | str) -> list[Mapping[str, Any]]:
    """Read the summaries of studies that lie in a folder, in the order of the page."""
    files = sorted(Path(results_dir).glob("*.json"))
    loaded = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return in_order(summary for summary in loaded if "rows" in summary and "study" in summary)


def update_readme(readme: Path | str, results_dir: Path | str) -> bool:
    """Rewrite the README between its markers from the studies in results/; say if it changed."""
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not begin or not end:
        raise ValueError(f"{readme}: expected a line {README_BEGIN} and, below it, {README_END}")
    block = readme_block(read_results(results_dir))
    new = f"{before}{begin}\n\n{block}\n\n{end}{after}"
    if new != text:
        write_whole(readme, new.encode())
    return new != text


# Words


def percent(share: float | None) -> str:
    """Write a share, 0 to 1, in percent; nothing for None."""
    return "" if share is None else f"{100 * share:.1f}"


def p_value(p: float | None) -> str:
    """Write a p-value; a dash for None."""
    return "-" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def span(interval: Sequence[float] | None) -> str:
    """Write the lowest and the highest of some shares in percent."""
    return f"{percent(min(interval))} to {percent(max(interval))}" if interval else ""


def mean_and_sd(row: Mapping[str, Any]) -> str:
    """Write a row's accuracy, and its deviation over seeds where there are several."""
    spread = "" if row.get("accuracy_sd") is None else f" ± {percent(row['accuracy_sd'])}"
    return f"{percent(row['accuracy_mean'])}{spread}"


def duration(seconds: float) -> str:
    """Write a time in hours and minutes."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
    )


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a table whose first columns are aligned left."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
