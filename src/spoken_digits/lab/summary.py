"""Summaries: from the run directories of a study to every number that is published about it.

A study keeps its summary under results/; the report and the README's table are made from it.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.lab.evaluate import (
    Predictions,
    aggregate,
    holm,
    mcnemar,
    sign_flip,
    speakers_note,
)
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS

__all__ = ["Run", "best_row", "is_synthetic", "read_runs", "reference_row", "summarize"]

STRONG = ("cnn", "ours")  # the model and front end that the others are compared with
SYNTHETIC = "voices"
VERSIONS = ("version", "python", "torch", "numpy", "platform", "device")
ENVIRONMENT = (*VERSIONS, "commit", "command", "data", "parameters", "seconds")


@dataclass(frozen=True)
class Run:
    """One finished run directory."""

    model: str
    front_end: str
    split: str
    seed: int
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    log: tuple[Mapping[str, float], ...]
    predictions: Predictions
    directory: Path

    @property
    def title(self) -> str:
        """Name of model and front end, for people."""
        return f"{MODELS[self.model].title}, {FRONT_ENDS[self.front_end].n_mels} mels"

    @property
    def is_inner(self) -> bool:
        """Whether a training speaker was left out: only for learning curves, never a result."""
        return self.split.startswith("inner")


Methods = dict[tuple[str, str], dict[int, Run]]  # by model and front end, then by seed


def summarize(study_dir: Path | str) -> dict[str, Any]:
    """Return all numbers of a study as plain values, for JSON: shares 0 to 1, times in seconds.

    Raises
    ------
    FileNotFoundError
        When the directory is missing or holds no finished run.
    ValueError
        When its runs do not belong together: several splits or data.
    """
    runs, unfinished = read_runs(study_dir)
    results = [run for run in runs if not run.is_inner]
    if len(splits := sorted({run.split for run in results})) > 1:
        raise ValueError(f"{study_dir}: runs on the splits {', '.join(splits)}, expected one split")
    if len(hashes := sorted({run.environment["data"]["hash"] for run in results})) > 1:
        raise ValueError(
            f"{study_dir}: runs on different data (SHA-256 {', '.join(hashes)}), expected one; "
            "delete the older runs and call `spoken-digits study` again"
        )
    methods: Methods = {}
    for run in results:
        methods.setdefault((run.model, run.front_end), {})[run.seed] = run
    rows = [_row(by_seed) for by_seed in methods.values()]
    environment, clips = results[0].environment, results[0].predictions
    summary: dict[str, Any] = {
        "study": Path(study_dir).resolve().name,
        "split": splits[0],
        "command": _all("command", results),
        "quick": "--quick" in _all("command", results),
        "commit": _all("commit", results),
        "versions": {key: environment[key] for key in VERSIONS},
        "data": {**environment["data"], "clips_tested": len(clips)},
        "seeds": tuple(sorted({run.seed for run in results})),
        "seconds_total": sum(run.environment["seconds"] for run in runs),
        "label_names": list(clips.label_names),
        "note": speakers_note(len(np.unique(clips.speakers))),
        "rows": rows,
        "comparisons": _comparisons(methods, rows),
    }
    summary["warnings"] = _warnings(summary, methods, unfinished)
    summary["missing"] = _missing(summary, runs, unfinished)
    plain: dict[str, Any] = json.loads(json.dumps(summary, allow_nan=False))
    return plain


def read_runs(study_dir: Path | str) -> tuple[list[Run], dict[str, str]]:
    """Return the finished runs in the order of the tables, and what is wrong with the others.

    Raises
    ------
    FileNotFoundError
        When the directory is missing or holds no finished run.
    """
    study_dir = Path(study_dir)
    if not study_dir.is_dir():
        raise FileNotFoundError(
            f"{study_dir}: no such directory; expected one of runs, as `spoken-digits study` makes"
        )
    runs, unfinished = [], {}
    for directory in sorted(study_dir.iterdir()):
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        try:
            runs.append(_read_run(directory))
        except FileNotFoundError as error:
            unfinished[directory.name] = f"no {Path(str(error.filename)).name}"
        except KeyError as error:
            unfinished[directory.name] = f"no {error} in config.toml or environment.json"
        except ValueError as error:
            unfinished[directory.name] = str(error)
    if all(run.is_inner for run in runs):
        raise FileNotFoundError(
            f"{study_dir}: no finished run (expected directories <model>-<front_end>-<split>-"
            "s<seed>/ with config.toml, environment.json and predictions.npz); name the directory "
            "of a study, or run `spoken-digits study` first"
        )
    return sorted(runs, key=_order), unfinished


def _read_run(directory: Path) -> Run:
    config = tomllib.loads((directory / "config.toml").read_text(encoding="utf-8"))
    log_file = directory / "log.jsonl"
    lines = log_file.read_text(encoding="utf-8").splitlines() if log_file.exists() else []
    environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    for key, known in (("model", MODELS), ("front_end", FRONT_ENDS)):
        if config[key] not in known:
            raise ValueError(f"{key} {config[key]!r} in config.toml is none of {', '.join(known)}")
    return Run(
        model=config["model"],
        front_end=config["front_end"],
        split=config["split"],
        seed=config["seed"],
        config=config,
        environment={key: environment[key] for key in ENVIRONMENT},
        log=tuple(map(json.loads, lines)),
        predictions=Predictions.load(directory / "predictions.npz"),
        directory=directory,
    )


def best_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the most accurate of a summary's rows."""
    return max(rows, key=lambda row: row["accuracy_mean"])


def reference_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row that the others are compared with: the strong model's, else the best."""
    return next((row for row in rows if _key(row) == STRONG), best_row(rows))


def is_synthetic(summary: Mapping[str, Any]) -> bool:
    """Whether no person spoke what was tested."""
    return bool(summary["data"]["corpus"] == SYNTHETIC)


def _row(by_seed: Mapping[int, Run]) -> dict[str, Any]:
    first = next(iter(by_seed.values()))
    linear = MODELS[first.model].linear
    # A generator for each row, so that no row depends on which others there are.
    generator = np.random.default_rng(0)
    total = asdict(aggregate([(s, run.predictions) for s, run in by_seed.items()], generator))
    del total["label_names"], total["note"]  # the summary's
    return {
        "title": first.title,
        "model": first.model,
        "front_end": first.front_end,
        "parameters": first.environment["parameters"],
        "epochs": None if linear else first.config["epochs"],
        **total,
        "ece": None if linear == "hinge" else total["ece"],  # margins are no logits
    }


def _comparisons(methods: Methods, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare the strong model with each other: two networks of a seed, and the two methods."""
    reference = reference_row(rows)
    seed = reference["seeds"][0]
    strong = methods[_key(reference)][seed].predictions
    others = [row for row in rows if row is not reference and seed in row["seeds"]]
    tests = [mcnemar(strong, methods[_key(row)][seed].predictions) for row in others]
    p_holm = holm([test.p for test in tests])

    differences = [_by_speaker(reference) - _by_speaker(row) for row in others]
    flips: Sequence[float | None] = [None] * len(others)
    if speakers_note(len(reference["per_speaker"])) is None:
        generator = np.random.default_rng(0)
        flips = holm([sign_flip(difference, generator) for difference in differences])
    return [
        {
            "title": row["title"],
            "model": row["model"],
            "front_end": row["front_end"],
            "seed": seed,
            "only_reference": test.only_first,
            "only_other": test.only_second,
            "p": test.p,
            "p_holm": p_holm[i],
            "difference": float(differences[i].mean()),
            "sign_flip_p_holm": flips[i],
        }
        for i, (row, test) in enumerate(zip(others, tests, strict=True))
    ]


def _warnings(
    summary: Mapping[str, Any], methods: Methods, unfinished: Mapping[str, str]
) -> list[str]:
    """Say what a reader must know before any number."""
    rows, warnings = summary["rows"], []
    if is_synthetic(summary):
        warnings.append(
            "Synthetic speech: these voices come from a program. Nothing here is a claim about "
            "people; for that, run the study on recordings."
        )
    if summary["quick"]:
        warnings.append("A quick run, with fewer seeds and epochs than the study proper.")
    if len(summary["seeds"]) == 1:
        warnings.append("One seed only: how far another one would differ is unknown.")
    for row in rows:
        if row["seeds"] != summary["seeds"]:
            seeds = ", ".join(map(str, row["seeds"]))
            warnings.append(f"{row['title']} has finished seeds {seeds} only.")
    for row in rows:
        settings = {json.dumps({**run.config, "seed": None}) for run in methods[_key(row)].values()}
        if len(settings) > 1:
            warnings.append(f"The seeds of {row['title']} were trained with different settings.")
    if "unknown" in summary["commit"] or "dirty" in summary["commit"]:
        warnings.append(f"Made from source that is in no commit ({summary['commit']}).")
    elif "," in summary["commit"]:
        warnings.append(f"The runs come from different commits: {summary['commit']}.")
    if unfinished:
        warnings.append(f"Left out, as unfinished or unreadable: {', '.join(unfinished)}.")
    return warnings


def _missing(
    summary: Mapping[str, Any], runs: Sequence[Run], unfinished: Mapping[str, str]
) -> list[str]:
    """Say what a full report would have and this one has not."""
    missing = [f"Run {name}: {reason}" for name, reason in unfinished.items()]
    if all(row["listed_accuracy"] is None for row in summary["rows"]):
        missing.append("Accuracy on the original study's list of 503: no clip tested is on it.")
    trained = [run for run in runs if MODELS[run.model].linear is None]
    if unlogged := sorted({run.title for run in trained if not run.log}):
        missing.append(f"Learning curves of {'; '.join(unlogged)}: nothing was logged.")
    if not any("heldout_accuracy" in epoch for run in trained for epoch in run.log):
        missing.append("Learning curves of a held-out training speaker: no run left one out.")
    return missing


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["model"], row["front_end"]


def _by_speaker(row: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.array([score["accuracy"] for score in row["per_speaker"].values()])


def _order(run: Run) -> tuple[int, int, int]:
    return list(MODELS).index(run.model), list(FRONT_ENDS).index(run.front_end), run.seed


def _all(key: str, runs: Iterable[Run]) -> str:
    return ", ".join(sorted({run.environment[key] for run in runs}))
