"""Reports: from a study's runs to one HTML page, and from results/ to the README's table.

The page asks the network for nothing. Every number in it comes from `summary.summarize`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import read_audio, to_clip
from spoken_digits.lab import figures
from spoken_digits.lab.corpora import read_corpus
from spoken_digits.lab.features import FRONT_ENDS, log_mel, mel_filter_bank
from spoken_digits.lab.files import write_whole
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.summary import (
    Run,
    best_row,
    is_synthetic,
    read_runs,
    reference_row,
    summarize,
)

__all__ = ["readme_table", "update_readme", "verdict", "write_report"]

README_BEGIN, README_END = "<!-- results:begin -->", "<!-- results:end -->"

# Published by others or measured with their models, on the original's TEST list of 503 clips.
REFERENCES = (
    ("The original study: SGD hinge, downsampled", 0.547),
    ("The original study: logistic regression, downsampled", 0.563),
    ("The original study: LSTM", 0.579),
    ("The original study: temporal 1D CNN", 0.648),
    ("PocketSphinx 5, a grammar of the ten digits, trained on other recordings", 0.825),
)


def verdict(summary: Mapping[str, Any]) -> str:
    """Say in a sentence what came out."""
    best = best_row(summary["rows"])
    n_seeds = len(best["seeds"])
    networks = f"mean of {n_seeds} networks" if n_seeds > 1 else "one network only"
    worst = best["worst_speaker"]
    hardest = best["per_speaker"][worst]["accuracy"]
    return (
        f"{'On synthetic speech, the' if is_synthetic(summary) else 'The'} best model, "
        f"{best['title']}, recognizes {_percent(best['accuracy_mean'])} % of the digits spoken by "
        f"voices it has never heard ({networks}), and of those of the hardest voice, {worst}, "
        f"{_percent(hardest)} %."
    )


def readme_table(summary: Mapping[str, Any]) -> str:
    """Return a study's results as Markdown."""
    data, seeds = summary["data"], ", ".join(map(str, summary["seeds"]))
    rows = [
        [
            row["title"],
            f"{row['parameters']:,}" if row["parameters"] else "",
            _mean_and_sd(row),
            _range(row["speaker_interval"]),
            _range(row["wilson_interval"]),
            f"{row['worst_speaker']} "
            f"{_percent(row['per_speaker'][row['worst_speaker']]['accuracy'])}",
            f"{row['macro_f1']:.3f}",
            _percent(row["listed_accuracy"]),
        ]
        for row in summary["rows"]
    ]
    head = ["model", "parameters", "accuracy, % (± sd over seeds)"]
    head += ["95 % over speakers", "95 % over clips, these speakers only"]
    head += ["worst speaker", "macro F1", "list of 503"]
    parts = [verdict(summary), "", *_markdown(head, rows, left=1), ""]
    parts += [f"**{warning}**\n" for warning in summary["warnings"]]
    parts.append(
        f"Trained on {', '.join(data['train_speakers'])}; tested on {data['clips_tested']:,} clips "
        f"of {', '.join(data['test_speakers'])}. {summary['note'] or ''} "
        f"Track {data['corpus']}-only ({data['licence']}), SHA-256 `{data['hash'][:12]}`; "
        f"seeds {seeds}; commit `{summary['commit']}`; made by `{summary['command']}`; "
        f"all numbers in [results/{summary['study']}.json](results/{summary['study']}.json)."
    )
    if references := _references(summary):
        head = ["other people's figures, published, on the list of 503 clips", "accuracy, %"]
        cells = [[name, _percent(share)] for name, share in references]
        parts += ["", *_markdown(head, cells, left=1)]
    return "\n".join(parts)


def update_readme(readme: Path | str, results_dir: Path | str) -> bool:
    """Rewrite the README between its markers from the studies in results/; say if it changed."""
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not begin or not end:
        raise ValueError(f"{readme}: expected a line {README_BEGIN} and, below it, {README_END}")
    loaded = [
        json.loads(file.read_text("utf-8")) for file in sorted(Path(results_dir).glob("*.json"))
    ]
    tables = [readme_table(summary) for summary in loaded if "rows" in summary]
    new = f"{before}{begin}\n" + "".join(f"\n{table}\n" for table in tables) + f"\n{end}{after}"
    if new != text:
        write_whole(readme, new.encode())
    return new != text


def write_report(study_dir: Path | str, path: Path | str, data: Path | str | None = None) -> None:
    """Write the report of a study, one HTML file.

    Parameters
    ----------
    study_dir
        Directory of runs.
    path
        File to write.
    data
        Folder of corpora, for the spectrograms; left out, as in `corpora.data_root`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `summarize`.
    """
    import jinja2

    summary = summarize(study_dir)
    rows, chance = summary["rows"], 1 / len(summary["label_names"])
    missing = list(summary["missing"])
    spectrograms = None
    try:
        spectrograms = _spectrograms(summary["data"], summary["label_names"], data)
    except (OSError, ValueError) as error:
        missing.append(f"Spectrograms: {error}")
    curves = _curves(read_runs(study_dir)[0])
    labels, reference = summary["label_names"], reference_row(rows)
    confusions = [
        {
            "title": row["title"],
            "figure": figures.confusion_matrix(row["title"], row["confusion"], labels),
            "most": _confused(row["confusion"], labels),
        }
        for row in rows
        if row["front_end"] == reference["front_end"]
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spoken_digits.lab"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "range": _range,
        "mean_and_sd": _mean_and_sd,
        "p_value": _p_value,
    }
    page = environment.get_template("report.html.j2").render(
        **summary | {"missing": missing},
        verdict=verdict(summary),
        synthetic=is_synthetic(summary),
        best=best_row(rows),
        reference=reference,
        chance=chance,
        references=_references(summary),
        strip=figures.speaker_strip(rows, chance),
        confusions=confusions,
        curves=figures.learning_curves(curves) if curves else None,
        heldout=any(curve.heldout_accuracy for curve in curves),
        spectrograms=spectrograms,
        duration=_duration(summary["seconds_total"]),
    )
    write_whole(path, page.encode())


def _curves(runs: Sequence[Run]) -> list[figures.Curves]:
    """Gather training curves, and from the runs that left one out, a held-out speaker's."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.log:
            groups.setdefault((run.model, run.front_end), []).append(run)

    def lines(runs: Iterable[Run], key: str) -> tuple[NDArray[np.float64], ...]:
        logged = [[epoch[key] for epoch in run.log if key in epoch] for run in runs]
        return tuple(np.array(line) for line in logged if line)

    return [
        figures.Curves(
            MODELS[model].title,
            FRONT_ENDS[front_end].n_mels,
            loss=lines((run for run in group if not run.is_inner), "loss"),
            accuracy=lines((run for run in group if not run.is_inner), "accuracy"),
            heldout_accuracy=lines((run for run in group if run.is_inner), "heldout_accuracy"),
        )
        for (model, front_end), group in groups.items()
    ]


def _spectrograms(corpus: Mapping[str, Any], labels: Sequence[str], data: Path | str | None) -> str:
    """Draw a clip of each label, spoken by the first training speaker."""
    front_end, speaker = FRONT_ENDS["ours"], corpus["train_speakers"][0]
    clips = [clip for clip in read_corpus(corpus["corpus"], data) if clip.speaker == speaker]
    pictures = []
    for label in labels:
        if clip := next((clip for clip in clips if clip.label == label), None):
            spectrogram = log_mel(to_clip(*read_audio(clip.file)), front_end)
            pictures.append(figures.Spectrogram(f"{label} ({clip.file.name})", spectrogram))
    if not pictures:
        raise ValueError(f"{corpus['corpus']}: no clip of {speaker} has one of the labels")
    peaks = mel_filter_bank(front_end).argmax(axis=1)
    band_hz = peaks * front_end.sample_rate_hz / front_end.n_fft
    return figures.spectrograms(pictures, band_hz, front_end.hop_ms)


def _confused(counts: Sequence[Sequence[float]], labels: Sequence[str]) -> str:
    """Name the most frequent confusion."""
    table = np.array(counts)
    table[np.diag_indices_from(table)] = 0
    spoken, heard = map(int, np.unravel_index(table.argmax(), table.shape))
    if not table.any():
        return "No clip is confused."
    return (
        f"Most often {labels[spoken]} is heard as {labels[heard]}: {table.max():g} of "
        f"{np.sum(counts[spoken]):g} clips."
    )


def _references(summary: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Give other people's figures where they can be set beside ours: some clips are on the list."""
    return REFERENCES if any(row["listed_accuracy"] for row in summary["rows"]) else ()


# Words


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _range(interval: Sequence[float]) -> str:
    return f"{_percent(min(interval))} to {_percent(max(interval))}"


def _mean_and_sd(row: Mapping[str, Any]) -> str:
    spread = "" if row["accuracy_sd"] is None else f" ± {_percent(row['accuracy_sd'])}"
    return f"{_percent(row['accuracy_mean'])}{spread}"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
    )


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a table whose first columns are aligned left."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
