"""Summaries: from the run directories of a study to every number that is published about it.

A study keeps its summary under results/; the report and the README's table are made from it.
Its rows are methods under a condition, averaged over seeds, and over the folds of a family of
splits, pooled by speaker. What was tested on training speakers left out (the splits `inner:*`)
serves choices and learning curves, and stands apart in ``inner``: it is no result.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spoken_digits.lab.data.splits import XSDR_TEST
from spoken_digits.lab.evaluation.metrics import Predictions, aggregate, speakers_note, wilson
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.studies.comparisons import FACTORS, answers, compare

__all__ = [
    "Run",
    "best_row",
    "is_synthetic",
    "predictions_file",
    "read_runs",
    "reference_row",
    "summarize",
]

STRONG = ("cnn", "ours")  # the model and front end that the others are compared with
SYNTHETIC = "voices"
VERSIONS = ("version", "python", "torch", "numpy", "platform", "device")
KEYS = (*FACTORS, "learning_rate", "weight_decay")  # of a row
ENVIRONMENT = (*VERSIONS, "commit", "command", "data", "parameters", "seconds")


# What a run has whose directory is older than these keys, or was made by hand.
DEFAULTS = {"augmentation": "basic", "extra": "none", "objective": "cross-entropy"}


@dataclass(frozen=True)
class Run:
    """One finished run directory.

    `predictions` are those of its main condition, `conditions` those of each, the main one first.
    `family` names the family of splits whose folds are pooled, or nothing.
    """

    model: str
    front_end: str
    split: str
    seed: int
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    log: tuple[Mapping[str, float], ...]
    predictions: Predictions
    directory: Path
    task: str = "train"
    grid: str = "results"
    family: str = ""
    conditions: Mapping[str, Predictions] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name of model and front end, for people."""
        kind = "flat " if self.front_end == "flat" else ""
        return f"{MODELS[self.model].title}, {FRONT_ENDS[self.front_end].n_mels} {kind}mels"

    @property
    def is_inner(self) -> bool:
        """Whether a training speaker was left out: only for choices and curves, never a result."""
        return self.split.startswith("inner")

    def factors(self, condition: str) -> dict[str, Any]:
        """Return what tells the rows of a study apart; a family stands for its folds."""
        config = {**DEFAULTS, **self.config}
        values = {
            **{key: config[key] for key in DEFAULTS},
            "grid": self.grid,
            "task": self.task,
            "model": self.model,
            "front_end": self.front_end,
            "split": self.family or self.split,
            "condition": condition,
        }
        return {
            **{factor: values[factor] for factor in FACTORS},
            **{key: config.get(key) for key in ("learning_rate", "weight_decay")},
        }


Method = dict[str, dict[int, Run]]  # by split, then by seed
Key = tuple[Any, ...]


def predictions_file(condition: str, main: str) -> str:
    """Return the name of the file that keeps a condition's predictions in a run directory."""
    return "predictions.npz" if condition == main else f"predictions-{condition}.npz"


def summarize(study_dir: Path | str) -> dict[str, Any]:
    """Return all numbers of a study as plain values, for JSON: shares 0 to 1, times in seconds.

    Raises
    ------
    FileNotFoundError
        When the directory is missing or holds no finished run.
    ValueError
        When its runs do not belong together: several data.
    """
    study_dir = Path(study_dir)
    runs, unfinished = read_runs(study_dir)
    results = [run for run in runs if not run.is_inner]
    if len(hashes := sorted({run.environment["data"]["hash"] for run in results})) > 1:
        raise ValueError(
            f"{study_dir}: runs on different data (SHA-256 {', '.join(hashes)}), expected one; "
            "delete the older runs and call `spoken-digits study` again"
        )
    about = study_dir / "study.json"
    recipe = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    name = recipe.get("name", study_dir.resolve().name)
    methods = _methods(results)
    rows = [_row(key, method) for key, method in methods.items()]
    _entitle(rows)
    inner = [_row(key, method) for key, method in _methods(r for r in runs if r.is_inner).items()]
    _entitle(inner, "grid")

    def networks(row: Mapping[str, Any], seed: int) -> Predictions | None:
        (*_, by_seed), *others = methods[_key(row)].items()
        return None if others else by_seed[seed].conditions[row["condition"]]

    comparisons = compare(name, rows, reference_row(rows), networks) if rows else []
    environment = results[0].environment
    people = [set(run.environment["data"]["train_speakers"]) for run in results]
    tested = {str(speaker) for run in results for speaker in run.predictions.speakers}
    summary: dict[str, Any] = {
        "study": study_dir.resolve().name,
        "recipe": name,
        "question": recipe.get("question", ""),
        "answer": answers(name, rows, comparisons),
        "split": ", ".join(dict.fromkeys(row["split"] for row in rows)),
        "command": _all("command", results),
        "quick": "--quick" in _all("command", results),
        "commit": _all("commit", results),
        "versions": {key: environment[key] for key in VERSIONS},
        "data": {
            **environment["data"],
            "train_speakers": sorted(set().union(*people)),
            "test_speakers": sorted(tested),
            "clips_tested": len({str(file) for run in results for file in run.predictions.files}),
        },
        "seeds": tuple(sorted({run.seed for run in results})),
        "seconds_total": sum(run.environment["seconds"] for run in runs),
        "label_names": list(results[0].predictions.label_names),
        "note": speakers_note(min(len(row["per_speaker"]) for row in rows)),
        "rows": rows,
        "comparisons": comparisons,
        "inner": inner,
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
    main, *_ = names = environment.get("conditions", ["test"])
    conditions = {
        name: Predictions.load(directory / predictions_file(name, main)) for name in names
    }
    return Run(
        model=config["model"],
        front_end=config["front_end"],
        split=config["split"],
        seed=config["seed"],
        config=config,
        environment={key: environment[key] for key in ENVIRONMENT},
        log=tuple(map(json.loads, lines)),
        predictions=conditions[main],
        directory=directory,
        task=environment.get("task", "train"),
        grid=environment.get("grid", "results"),
        family=environment.get("family", ""),
        conditions=conditions,
    )


def best_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the most accurate of a summary's rows."""
    return max(rows, key=lambda row: row["accuracy_mean"])


def reference_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row that the others are compared with: the strong model's, else the best."""
    return next((row for row in rows if (row["model"], row["front_end"]) == STRONG), best_row(rows))


def is_synthetic(summary: Mapping[str, Any]) -> bool:
    """Whether no person spoke what was tested."""
    return bool(summary["data"]["corpus"] == SYNTHETIC)


def _methods(runs: Iterable[Run]) -> dict[Key, Method]:
    methods: dict[Key, Method] = {}
    for run in runs:
        for condition in run.conditions:
            key = _key(run.factors(condition))
            methods.setdefault(key, {}).setdefault(run.split, {})[run.seed] = run
    return methods


def _row(key: Key, method: Method) -> dict[str, Any]:
    runs = next(iter(method.values()))
    first = next(iter(runs.values()))
    linear = MODELS[first.model].linear
    factors = dict(zip(KEYS, key, strict=True))
    condition = factors["condition"]
    # A seed counts when all of its folds are there; where none has, the one that has most.
    have = {seed: [s for s in sorted(method) if seed in method[s]] for seed in _seeds(method)}
    most = max(map(len, have.values()))
    seeds = [seed for seed, splits in have.items() if len(splits) == most]
    if most < len(method):
        seeds = seeds[:1]
    pooled = [
        (seed, _pool([method[split][seed].conditions[condition] for split in have[seed]]))
        for seed in seeds
    ]
    # A generator for each row, so that no row depends on which others there are.
    total = asdict(aggregate(pooled, np.random.default_rng(0)))
    del total["label_names"]  # the summary's
    different = len(set(pooled[0][1].files.tolist()))  # a clip may be heard by several networks
    total["wilson_interval"] = wilson(total["accuracy_mean"] * different, different)
    extra = factors["extra"]
    return {
        "title": first.title,
        **factors,
        "track": f"{first.environment['data']['corpus']}-only" if extra == "none" else f"+{extra}",
        "parameters": first.environment["parameters"],
        "epochs": None if linear else first.config["epochs"],
        **total,
        "ece": None if linear == "hinge" else total["ece"],  # margins are no logits
        "folds": sorted(method),
        "sources": _sources(method, condition),
    }


def _seeds(method: Method) -> list[int]:
    return sorted({seed for by_seed in method.values() for seed in by_seed})


def _pool(networks: Sequence[Predictions]) -> Predictions:
    """Put the tests of several folds behind one another; the speaker stays the unit."""
    if len(networks) == 1:
        return networks[0]
    arrays = {
        name: np.concatenate([getattr(network, name) for network in networks])
        for name in ("scores", "labels", "speakers", "files", "listed")
    }
    return Predictions(**arrays, label_names=networks[0].label_names)


def _sources(method: Method, condition: str) -> dict[str, Any] | None:
    """Return, for each voice that was learned from alone, how the others were heard."""
    sources = {}
    for split, by_seed in method.items():
        family, _, source = split.partition(":")
        if family != "single":
            return None
        runs = [(seed, run.conditions[condition]) for seed, run in by_seed.items()]
        total = aggregate(runs, np.random.default_rng(0))
        shares = {name: score.accuracy for name, score in total.per_speaker.items()}
        heard = [shares[name] for name in XSDR_TEST if name in shares]
        sources[source] = {
            "accuracy": total.accuracy_mean,
            "accuracy_sd": total.accuracy_sd,
            "worst_speaker": total.worst_speaker,
            "per_speaker": shares,
            # The test of `xsdr` is one for a source that is not in it.
            "xsdr_accuracy": float(np.mean(heard)) if len(heard) == len(XSDR_TEST) else None,
        }
    return sources


def _entitle(rows: Sequence[dict[str, Any]], *more: str) -> None:
    """Add to each title what tells it from the others: the factors that vary."""
    varied = [
        key
        for key in KEYS
        if key not in ("model", "front_end", "task") and len({row[key] for row in rows}) > 1
    ]
    base = {id(row): row["title"] for row in rows}
    for row in rows:
        words = [base[id(row)]]
        for key in varied:
            if key in ("learning_rate", "weight_decay"):
                # Each model has its own; what is one axis only within a model says so.
                mine = {
                    r[key] for r in rows if (r["model"], r["grid"]) == (row["model"], row["grid"])
                }
                if len(mine) > 1:
                    words.append(f"{key.replace('_', ' ')} {row[key]:g}")
            elif key == "extra":
                words += [f"+{row[key]}"] * (row[key] != "none")
            elif key == "grid":
                same = [r for r in rows if _key(r)[1:] == _key(row)[1:]]
                words += [row[key]] * (len(same) > 1 or key in more)
            else:
                words.append(row[key])
        row["title"] = ", ".join(words)


def _warnings(
    summary: Mapping[str, Any], methods: Mapping[Key, Method], unfinished: Mapping[str, str]
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
        planned = {seed for r in rows if r["grid"] == row["grid"] for seed in r["seeds"]}
        if set(row["seeds"]) != planned:
            seeds = ", ".join(map(str, row["seeds"]))
            warnings.append(f"{row['title']} has finished seeds {seeds} only.")
    for row in rows:
        method = methods[_key(row)]
        if any(sorted(by_seed) != _seeds(method) for by_seed in method.values()):
            warnings.append(f"{row['title']} lacks folds; only seeds that have all of them count.")
        settings = {
            json.dumps({**run.config, "seed": None, "split": None})
            for by_seed in method.values()
            for run in by_seed.values()
        }
        if len(settings) > 1:
            warnings.append(f"The seeds of {row['title']} were trained with different settings.")
    if "unknown" in summary["commit"] or "dirty" in summary["commit"]:
        warnings.append(f"Made from source that is in no commit ({summary['commit']}).")
    elif "," in summary["commit"]:
        warnings.append(f"The runs come from different commits: {summary['commit']}.")
    if any(row["condition"].startswith("made-") for row in rows):
        warnings.append(
            "No recorded noise was at hand (the corpus speech_commands brings it): the noise of "
            "these tests is made, between brown and white."
        )
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


def _key(row: Mapping[str, Any]) -> Key:
    return tuple(row[key] for key in KEYS)


def _order(run: Run) -> tuple[int, int, int]:
    # Sorting is stable: what is equal here keeps the order of the directories' names.
    return list(MODELS).index(run.model), list(FRONT_ENDS).index(run.front_end), run.seed


def _all(key: str, runs: Iterable[Run]) -> str:
    return ", ".join(sorted({run.environment[key] for run in runs}))
