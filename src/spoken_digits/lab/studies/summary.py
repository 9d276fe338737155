"""Summaries: from the run directories of a study to every number that is published about it.

Rows are methods under a condition, averaged over seeds and over the folds of a family of splits,
pooled by speaker. What was tested on training speakers left out (the splits `inner:*`) serves
choices and learning curves: it stands apart in `StudyResult.inner` and is no result.
"""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spoken_digits.lab.data.splits import XSDR_TEST
from spoken_digits.lab.evaluation.metrics import Predictions, aggregate, mcnemar, wilson
from spoken_digits.lab.evaluation.schema import RunEvaluation
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.runs import read_json
from spoken_digits.lab.studies.comparisons import Networks, compare
from spoken_digits.lab.studies.registry import find_study
from spoken_digits.lab.studies.results import (
    Comparison,
    Condition,
    ExtraSpeech,
    McNemarTest,
    Method,
    Provenance,
    Row,
    Source,
    StudyResult,
)
from spoken_digits.lab.studies.titles import title

__all__ = ["Run", "read_runs", "summarize"]

STRONG = ("cnn", "ours")  # model and front end that others are compared with by default
VERSIONS = ("version", "python", "torch", "numpy", "platform", "device")
ENVIRONMENT = (*VERSIONS, "commit", "command", "data", "parameters", "seconds")
# What a run has whose configuration leaves these out, such as one made by hand.
DEFAULTS = {"augmentation": "basic", "extra": "none", "objective": "cross-entropy"}


@dataclass(frozen=True)
class Run:
    """One finished run directory.

    `conditions` holds the predictions under each condition, the main one first. `family` names the
    family of splits whose folds are pooled, or nothing.
    """

    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    log: tuple[Mapping[str, float], ...]
    conditions: Mapping[Condition, Predictions]
    directory: Path
    task: str = "train"
    grid: str = "results"
    family: str = ""

    @property
    def model(self) -> str:
        """Name in `models.MODELS`."""
        return str(self.config["model"])

    @property
    def front_end(self) -> str:
        """Name in `features.FRONT_ENDS`."""
        return str(self.config["front_end"])

    @property
    def split(self) -> str:
        """Name of the split, one fold."""
        return str(self.config["split"])

    @property
    def seed(self) -> int:
        """Seed of everything random in the run."""
        return int(self.config["seed"])

    @property
    def predictions(self) -> Predictions:
        """Predictions under the main condition."""
        return next(iter(self.conditions.values()))

    @property
    def is_inner(self) -> bool:
        """Whether a training speaker was left out: only for choices and curves, never a result."""
        return self.split.startswith("inner")

    def method(self, condition: Condition) -> Method:
        """Return the method that the run is one seed and fold of; a family stands for its folds."""
        config = {**DEFAULTS, **self.config}
        return Method(
            model=self.model,
            front_end=self.front_end,
            split=self.family or self.split,
            augmentation=config["augmentation"],
            extra=config["extra"],
            objective=config["objective"],
            condition=condition,
            learning_rate=float(config["learning_rate"]),
            weight_decay=float(config["weight_decay"]),
            training_speakers=len(self.environment["data"]["train_speakers"]),
            task=self.task,
            grid=self.grid,
        )


Folds = dict[str, dict[int, Run]]  # by split, then by seed


def summarize(study_dir: Path | str) -> StudyResult:
    """Return all numbers of a study.

    Raises
    ------
    FileNotFoundError
        When the directory is missing or holds no finished run.
    ValueError
        When its runs do not belong together, being of several data.
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
    name = study_dir.resolve().name
    study = recipe.get("name", name)
    methods = _methods(results)
    rows = tuple(_row(method, folds) for method, folds in methods.items())
    inner = _methods(run for run in runs if run.is_inner)
    return StudyResult(
        study=study,
        name=name,
        question=recipe.get("question", ""),
        label_names=results[0].predictions.label_names,
        rows=rows,
        comparisons=_comparisons(study, rows, methods),
        inner=tuple(_row(method, folds) for method, folds in inner.items()),
        provenance=_provenance(runs, results),
        warnings=tuple(_warnings(rows, methods, results, unfinished)),
        missing=tuple(_missing(rows, runs, unfinished)),
    )


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
            "s<seed>/ with config.toml, environment.json, predictions.npz and evaluation.json); "
            "name the directory of a study, or run `spoken-digits study` first"
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
    for key in ("split", "seed", "learning_rate", "weight_decay"):
        config[key]  # a KeyError says what is missing
    evaluation = read_json(directory / "evaluation.json", RunEvaluation)
    return Run(
        config=config,
        environment={key: environment[key] for key in ENVIRONMENT}
        | {"extra": environment.get("extra")},
        log=tuple(map(json.loads, lines)),
        conditions={
            test.condition: Predictions.load(directory / test.predictions)
            for test in evaluation.tests
            if test.precision == "float32"
        },
        directory=directory,
        task=environment.get("task", "train"),
        grid=environment.get("grid", "results"),
        family=environment.get("family", ""),
    )


def _methods(runs: Iterable[Run]) -> dict[Method, Folds]:
    methods: dict[Method, Folds] = {}
    for run in runs:
        for condition in run.conditions:
            folds = methods.setdefault(run.method(condition), {})
            folds.setdefault(run.split, {})[run.seed] = run
    return methods


def _row(method: Method, folds: Folds) -> Row:
    first = next(iter(next(iter(folds.values())).values()))
    linear = MODELS[first.model].linear
    # A generator for each row, so that no row depends on which others there are.
    pooled = _pooled(method, folds)
    total = aggregate(list(pooled.items()), np.random.default_rng(0))
    files = next(iter(pooled.values())).files
    different = len(set(files.tolist()))  # several folds may test one clip
    return Row(
        method=method,
        accuracy=total.accuracy_mean,
        accuracy_sd=total.accuracy_sd,
        seeds=total.seeds,
        per_seed=total.per_seed,
        per_speaker=total.per_speaker,
        per_speaker_seed=total.per_speaker_seed,
        clips=total.clips,
        speaker_interval=total.speaker_interval,
        wilson_interval=wilson(total.accuracy_mean * different, different),
        listed_accuracy=total.listed_accuracy,
        macro_f1=total.macro_f1,
        ece=None if linear == "hinge" else total.ece,  # margins are no logits
        confusion=total.confusion,
        per_label=total.per_label,
        parameters=first.environment["parameters"],
        epochs=None if linear else first.config["epochs"],
        folds=tuple(sorted(folds)),
        sources=_sources(method, folds),
    )


def _pooled(method: Method, folds: Folds) -> dict[int, Predictions]:
    """Return the predictions of each seed that has all folds, or of the one that has most."""
    have = {seed: [s for s in sorted(folds) if seed in folds[s]] for seed in _seeds(folds)}
    most = max(map(len, have.values()))
    seeds = [seed for seed, splits in have.items() if len(splits) == most]
    if most < len(folds):
        seeds = seeds[:1]
    return {
        seed: _concatenated([folds[s][seed].conditions[method.condition] for s in have[seed]])
        for seed in seeds
    }


def _seeds(folds: Folds) -> list[int]:
    return sorted({seed for by_seed in folds.values() for seed in by_seed})


def _concatenated(networks: Sequence[Predictions]) -> Predictions:
    """Put the tests of several folds behind one another; the speaker stays the unit."""
    if len(networks) == 1:
        return networks[0]
    arrays = {
        name: np.concatenate([getattr(network, name) for network in networks])
        for name in ("scores", "labels", "speakers", "files", "listed")
    }
    return Predictions(**arrays, label_names=networks[0].label_names)


def _sources(method: Method, folds: Folds) -> dict[str, Source] | None:
    """Return, for each speaker trained on alone, the accuracy on the others."""
    sources = {}
    for split, by_seed in folds.items():
        family, _, source = split.partition(":")
        if family != "single":
            return None
        runs = [(seed, run.conditions[method.condition]) for seed, run in by_seed.items()]
        total = aggregate(runs, np.random.default_rng(0))
        accuracies = {name: score.accuracy for name, score in total.per_speaker.items()}
        tested = [accuracies[name] for name in XSDR_TEST if name in accuracies]
        sources[source] = Source(
            accuracy=total.accuracy_mean,
            accuracy_sd=total.accuracy_sd,
            per_speaker=accuracies,
            # The test of `xsdr` is one for a source that is not in it.
            xsdr_accuracy=float(np.mean(tested)) if len(tested) == len(XSDR_TEST) else None,
        )
    return sources


def _comparisons(
    study: str, rows: Sequence[Row], methods: Mapping[Method, Folds]
) -> tuple[Comparison, ...]:
    """Compare rows as their study says, with the paired predictions of their networks."""
    known = find_study(study)
    reference = known.reference if known else None
    pooled = {method: _pooled(method, folds) for method, folds in methods.items()}

    def networks(method: Method, other: Method) -> Networks:
        if method not in pooled or other not in pooled:
            return Networks()
        # Two fixed networks are compared where each side has one a seed.
        one_fold = len(methods[method]) == len(methods[other]) == 1
        return _networks(pooled[method], pooled[other], one_fold)

    return compare(rows, reference or _strong_reference(rows), networks)


def _strong_reference(rows: Sequence[Row]) -> Callable[[Method], Method]:
    """Compare with the strong model, or the most accurate one where it was not run."""
    known = {(row.method.model, row.method.front_end) for row in rows}
    best = max(rows, key=lambda row: row.accuracy).method
    model, front_end = STRONG if STRONG in known else (best.model, best.front_end)
    return lambda method: replace(method, model=model, front_end=front_end)


def _networks(
    first: Mapping[int, Predictions], second: Mapping[int, Predictions], one_fold: bool
) -> Networks:
    """Set the predictions of two methods side by side, clip by clip."""
    one, other = next(iter(first.values())), next(iter(second.values()))
    if not all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("files", "speakers")):
        return Networks()
    rates = [
        np.mean([network.correct for network in networks.values()], axis=0)
        for networks in (first, second)
    ]
    differences: dict[str, ArrayLike] = {
        str(speaker): (rates[0] - rates[1])[one.speakers == speaker]
        for speaker in np.unique(one.speakers)
    }
    shared = sorted(set(first) & set(second))
    if not shared or not one_fold:
        return Networks(differences)
    seed = shared[0]
    result = mcnemar(first[seed], second[seed])
    test = McNemarTest(seed, result.only_first, result.only_second, result.p)
    return Networks(differences, test)


def _provenance(runs: Sequence[Run], results: Sequence[Run]) -> Provenance:
    environment = results[0].environment
    data = environment["data"]
    trained = {name for run in results for name in run.environment["data"]["train_speakers"]}
    return Provenance(
        command=", ".join(_all("command", results)),
        commits=_all("commit", results),
        versions={key: environment[key] for key in VERSIONS},
        corpus=data["corpus"],
        clips=data["clips"],
        clips_tested=len({str(file) for run in results for file in run.predictions.files}),
        sha256=data["hash"],
        licence=data["licence"],
        training_speakers=tuple(sorted(trained)),
        test_speakers=tuple(
            sorted({str(name) for run in results for name in run.predictions.speakers})
        ),
        seeds=tuple(sorted({run.seed for run in results})),
        seconds=float(sum(run.environment["seconds"] for run in runs)),
        extra=_extra(results),
    )


def _extra(runs: Iterable[Run]) -> dict[str, ExtraSpeech]:
    """Return the speech that joined the training side, by its name in the recipe."""
    found: dict[str, set[ExtraSpeech]] = {}
    for run in runs:
        record = run.environment.get("extra")
        if record and record["clips"]:
            speakers = sum(counts["speakers"] for counts in record.get("corpora", {}).values())
            speech = ExtraSpeech(record["clips"], speakers, record["hash"])
            found.setdefault(record["corpus"], set()).add(speech)
    for name, different in found.items():
        if len(different) > 1:
            hashes = ", ".join(sorted(each.sha256 for each in different))
            raise ValueError(
                f"{name}: runs with different synthetic speech (SHA-256 {hashes}), expected one; "
                "delete the older runs and call `spoken-digits study` again"
            )
    return {name: speech for name, (speech,) in sorted(found.items())}


def _warnings(
    rows: Sequence[Row],
    methods: Mapping[Method, Folds],
    results: Sequence[Run],
    unfinished: Mapping[str, str],
) -> list[str]:
    """Say what a reader must know before any number; nothing of what is normal."""
    provenance, warnings = _provenance(results, results), []
    titles = {row.method: title(row.method, methods) for row in rows}
    if provenance.is_synthetic:
        warnings.append(
            "Synthetic speech: what was tested comes from a program. Nothing here is a claim about "
            "people; for that, run the study on recordings."
        )
    if provenance.is_quick:
        warnings.append("A quick run, with fewer seeds and epochs than the study asks for.")
    if len(provenance.seeds) == 1:
        warnings.append("One seed only: how much another one would differ is unknown.")
    for row in rows:
        planned = {seed for r in rows if r.method.grid == row.method.grid for seed in r.seeds}
        if set(row.seeds) != planned:
            seeds = ", ".join(map(str, row.seeds))
            warnings.append(f"{titles[row.method]} has finished seeds {seeds} only.")
    for row in rows:
        folds = methods[row.method]
        if any(sorted(by_seed) != _seeds(folds) for by_seed in folds.values()):
            warnings.append(f"{titles[row.method]} lacks folds; only seeds with all of them count.")
        settings = {
            json.dumps({**run.config, "seed": None, "split": None})
            for by_seed in folds.values()
            for run in by_seed.values()
        }
        if len(settings) > 1:
            warnings.append(
                f"The seeds of {titles[row.method]} were trained with different settings."
            )
    if any("unknown" in commit or "dirty" in commit for commit in provenance.commits):
        warnings.append(f"Made from source that is in no commit ({', '.join(provenance.commits)}).")
    if any(row.method.condition.kind == "made" for row in rows):
        warnings.append(
            "No recorded noise was at hand (the corpus speech_commands brings it): the noise of "
            "these tests is made, between brown and white."
        )
    if unfinished:
        warnings.append(f"Left out, as unfinished or unreadable: {', '.join(unfinished)}.")
    return warnings


def _missing(rows: Sequence[Row], runs: Sequence[Run], unfinished: Mapping[str, str]) -> list[str]:
    """Say what a full report would have and this one has not."""
    missing = [f"Run {name}: {reason}" for name, reason in unfinished.items()]
    if all(row.listed_accuracy is None for row in rows):
        missing.append(
            "Accuracy on the original study's test list (503 clips): no clip tested is on it."
        )
    trained = [run for run in runs if MODELS[run.model].linear is None]
    unlogged = sorted({MODELS[run.model].title for run in trained if not run.log})
    if unlogged:
        missing.append(f"Learning curves of {'; '.join(unlogged)}: nothing was logged.")
    if not any("heldout_accuracy" in epoch for run in trained for epoch in run.log):
        missing.append("Learning curves of a held-out training speaker: no run left one out.")
    return missing


def _order(run: Run) -> tuple[int, int, int]:
    # Sorting is stable: what is equal here keeps the order of the directories' names.
    return list(MODELS).index(run.model), list(FRONT_ENDS).index(run.front_end), run.seed


def _all(key: str, runs: Iterable[Run]) -> tuple[str, ...]:
    return tuple(sorted({str(run.environment[key]) for run in runs}))
