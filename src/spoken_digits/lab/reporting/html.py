"""Reports: from the runs of one study, or of several, to one HTML page.

The page asks the network for nothing. Every number in it comes from `summary.summarize`; what needs
the recordings or the networks themselves comes from `exhibits`.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.lab.data.corpora import CORPORA, Clip, read_corpus
from spoken_digits.lab.evaluation.embeddings import EmbeddingMap
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.reporting import exhibits, figures
from spoken_digits.lab.reporting import readme as tables
from spoken_digits.lab.reporting.drawings import DRAWINGS, SWEEPS, draw
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.studies.comparisons import FACTORS
from spoken_digits.lab.studies.summary import (
    Run,
    best_row,
    is_synthetic,
    read_runs,
    reference_row,
    summarize,
)

__all__ = ["publish", "study_tables", "write_report"]

Summary = Mapping[str, Any]
# What lies in the directory of a contrastive run; of several that fit, the last.
PRETRAINED = {
    "Pre-trained without labels": "pretrain",
    "Clusters learned without labels": "clusters-*",
    "Pre-trained, then fine-tuned with all labels": "finetune-all",
    "From scratch with all labels": "scratch-all",
}
ERRORS = 12  # of the worst that are shown
MAPPED = ("models", "contrastive")  # studies whose embeddings are worth a picture

# By name and label: where each word has a folder, as in the synthetic voices, names repeat.
Recordings = Mapping[tuple[str, str], Clip]


def write_report(
    studies: Path | str | Sequence[Path | str],
    path: Path | str,
    data: Path | str | None = None,
    sound: bool = True,
    maps: Sequence[EmbeddingMap] | None = None,
    shipped: Path | str | None = None,
) -> Sequence[EmbeddingMap]:
    """Write the report of one study or of several, one HTML file.

    Parameters
    ----------
    studies
        Directories of runs; a summary in JSON, as it lies in results/, will do as well, without
        what needs the runs.
    path
        File to write.
    data
        Folder of corpora, for what is seen and heard of recordings; left out, as in
        `corpora.data_root`.
    sound
        Whether the worst errors can be played. The recordings lie in the page then: it is under
        their licence, too, and belongs in no repository that does not hold recordings.
    maps
        What an earlier call with the same studies returned; left out, made anew.
    shipped
        What ``spoken-digits study shipped`` wrote, for a section on words that are no digit.

    Returns
    -------
    The embeddings that were drawn, for their numbers to be published.

    Raises
    ------
    FileNotFoundError, ValueError
        As `summarize`.
    """
    sources = [studies] if isinstance(studies, Path | str) else list(studies)
    loaded = [_load(Path(source)) for source in sources]
    summaries = tables.in_order([summary for summary, _ in loaded])
    runs_of = {summary["study"]: runs for summary, runs in loaded}
    several, first = len(summaries) > 1, summaries[0]

    missing = [f"{_named(s, several)}{line}" for s in summaries for line in s["missing"]]
    recordings: Recordings = {}
    spectrograms = None
    try:
        clips = read_corpus(first["data"]["corpus"], data)
        recordings = {(clip.file.name, clip.label): clip for clip in clips}
        pictures = exhibits.digit_spectrograms(first["data"], clips, first["label_names"])
        spectrograms = figures.spectrograms(pictures, exhibits.band_hz(), exhibits.FRONT_END.hop_ms)
    except (OSError, ValueError) as error:
        missing.append(f"Spectrograms: {error}")
    if maps is None:
        maps = list(_maps(summaries, runs_of, recordings)) if recordings else []
    if not maps:
        missing.append("Embeddings on a plane: they need the runs' networks and the recordings.")
    parts = [_part(summary, runs_of[summary["study"]], several) for summary in summaries]
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            parts=parts,
            several=several,
            first=parts[0],
            missing=missing,
            mistakes=_mistakes(parts[0], runs_of[first["study"]], recordings, sound),
            sound=sound,
            attribution=CORPORA[first["data"]["corpus"]].citation,
            maps=[(drawn, figures.embedding_map(drawn)) for drawn in maps],
            spectrograms=spectrograms,
            unhelpful=[part for part in parts if part["unhelpful"]],
            refusal=_refusal(Path(shipped)) if shipped else None,
        )
    )
    write_whole(path, page.encode())
    return maps


def publish(
    studies: Sequence[Path],
    maps: Sequence[EmbeddingMap],
    results_dir: Path | str,
    readme: Path | str,
    data: Path | str | None = None,
) -> list[Path]:
    """Write what is published of studies; return the paths.

    A summary of each study, the numbers of its embeddings, a page of everything that lies in
    `results_dir` then, without recordings, and the README's tables.
    """
    results_dir = Path(results_dir)
    written = []
    for study in studies:
        summary = summarize(study)
        written.append(results_dir / f"{summary['study']}.json")
        _write_json(written[-1], summary)
    if maps:
        written.append(results_dir / "embeddings.json")
        origin = {key: summarize(studies[0])[key] for key in ("command", "commit", "data")}
        numbers = [drawn.numbers() for drawn in maps]
        _write_json(written[-1], {**origin, "embeddings": numbers})
    at_hand = {study.resolve().name: study for study in studies}
    everything = [
        at_hand.get(summary["study"], results_dir / f"{summary['study']}.json")
        for summary in tables.read_results(results_dir)
    ]
    written.append(results_dir / "report.html")
    shipped = results_dir / "shipped.json"
    write_report(
        everything,
        written[-1],
        data,
        sound=False,
        maps=maps,
        shipped=shipped if shipped.exists() else None,
    )
    tables.update_readme(readme, results_dir)
    return written


def study_tables(summary: Summary) -> str:
    """Return the tables of a study as they stand in its report, made from its summary alone."""
    macros = _environment().get_template("study.html.j2").module
    return str(macros.results(_part(summary, [], False, drawn=False)))


def _refusal(shipped: Path) -> dict[str, Any]:
    """Return the folds of the network that ships: words never trained on, people never heard."""
    summary = json.loads(shipped.read_text(encoding="utf-8"))
    folds = [fold for fold in summary["left_out"].values() if "rejection" in fold]
    log_odds = tomllib.loads(summary["recipe"])["rejection_threshold"]
    in_use = {"threshold": 1 / (1 + math.exp(-log_odds))}
    return {
        "figures": [
            figures.rejection_curves({**fold["rejection"], "default": in_use}) for fold in folds[:1]
        ],
        "folds": folds,
        "scores": summary["rejection_of_words_never_trained_on"],
        "command": summary["command"],
        "commit": summary["commit"],
    }


def _load(source: Path) -> tuple[Summary, list[Run]]:
    if source.suffix == ".json":
        return json.loads(source.read_text(encoding="utf-8")), []
    return summarize(source), read_runs(source)[0]


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spoken_digits.lab.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": tables.percent,
        "range": tables.span,
        "mean_and_sd": tables.mean_and_sd,
        "p_value": tables.p_value,
        "duration": tables.duration,
    }
    return environment


def _named(summary: Summary, several: bool) -> str:
    return f"{summary['study']}: " if several else ""


def _part(
    summary: Summary, runs: Sequence[Run], several: bool, drawn: bool = True
) -> dict[str, Any]:
    """Gather what the template shows of a study; without `drawn`, what its tables need."""
    rows, labels = summary["rows"], summary["label_names"]
    reference, chance = reference_row(rows), 1 / len(labels)
    part = {
        **summary,
        "prefix": f"{summary['study']}-" if several else "",
        "question": tables.question(summary),
        "answer": tables.answer(summary),
        "short": tables.short(tables.answer(summary)),
        "kind": tables.kind(summary),
        "best": best_row(rows),
        "reference": reference,
        "chance": chance,
        "synthetic": is_synthetic(summary),
        "unhelpful": tables.unhelpful(summary),
        "references": tables.listed_references(summary),
    }
    if not drawn:
        return part
    only_best = part["kind"] in DRAWINGS and part["kind"] != "models"  # the others are too alike
    curves = [] if only_best else _curves(runs)
    shown = [best_row(rows)] if only_best else rows
    return part | {
        "drawings": draw(summary),
        "confusions": [
            {
                "title": row["title"],
                "figure": figures.confusion_matrix(
                    f"{part['prefix']}{row['title']}", row["confusion"], labels
                ),
                "most": _confused(row["confusion"], labels),
            }
            for row in shown
            if row["front_end"] == reference["front_end"] and row.get("confusion")
        ],
        "curves": figures.learning_curves(curves, f"{part['prefix']}curves") if curves else None,
        "heldout": any(curve.heldout_accuracy for curve in curves),
    }


def _maps(
    summaries: Sequence[Summary], runs_of: Mapping[str, Sequence[Run]], clips: Recordings
) -> Iterator[EmbeddingMap]:
    """Map one network, the first seed's, of each row whose front end is the strong model's."""
    for summary in summaries:
        runs = [run for run in runs_of[summary["study"]] if not run.is_inner]
        if tables.kind(summary) not in MAPPED or not runs:
            continue
        front_end = reference_row(summary["rows"])["front_end"]
        chosen: dict[str, Path] = {}
        for run in runs:
            if run.task == "contrastive":
                for title, part in PRETRAINED.items():
                    for last in sorted(run.directory.glob(part))[-1:]:
                        chosen.setdefault(title, last)
            elif run.front_end == front_end:
                title = run.title
                if MODELS[run.model].linear:  # its vectors, whatever classifier is fitted on them
                    title = f"Baseline, {title.split(', ', 1)[1]}"
                chosen.setdefault(title, run.directory)
        tests = runs[0].predictions
        named = zip(tests.files, (tests.label_names[label] for label in tests.labels), strict=True)
        tested = [clips[key] for key in named if key in clips]
        cache = runs[0].directory.parent / ".prepared"
        yield from exhibits.embedding_maps(chosen, tested, summary["label_names"], cache)


def _mistakes(
    part: Mapping[str, Any], runs: Sequence[Run], clips: Recordings, sound: bool
) -> list[dict[str, Any]]:
    """Gather the worst errors of the best row, each with its picture and, if wanted, its sound."""
    best = part["best"]
    by_split: dict[str, list[Predictions]] = {}
    for run in runs:
        factors = run.factors(best["condition"])
        if all(factors[name] == best[name] for name in FACTORS):
            by_split.setdefault(run.split, []).append(run.conditions[best["condition"]])
    found = [
        (mistake, len(networks))
        for networks in by_split.values()
        for mistake in exhibits.worst_mistakes(networks, ERRORS)
    ]
    found.sort(key=lambda pair: -pair[0].confidence)
    shown = []
    for mistake, n_networks in found[:ERRORS]:
        clip = clips.get((mistake.file, mistake.spoken))
        shown.append(
            {
                "mistake": mistake,
                "networks": n_networks,
                "sound": exhibits.sound(clip.file) if clip and sound else None,
                "figure": figures.small_spectrogram(
                    mistake.file,
                    exhibits.spectrogram(clip.file, mistake.file),
                    exhibits.band_hz(),
                    exhibits.FRONT_END.hop_ms,
                )
                if clip
                else None,
            }
        )
    return shown


def _curves(runs: Sequence[Run]) -> list[figures.Curves]:
    """Gather training curves, and from the runs that left one out, a held-out speaker's."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.log and run.grid not in SWEEPS.values():
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
