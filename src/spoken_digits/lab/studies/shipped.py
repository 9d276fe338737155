"""The study of the recognizer that ships: how well its recipe does on what it holds out.

Runs of the task ``pooled``, of two networks, with everything and with each thing held out: each
corpus whole, then its speakers, the other words and the noise recordings in three folds. Its result
is made from the run directories alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spoken_digits.lab.data.corpora import DIGITS
from spoken_digits.lab.data.pooled import FOLDS
from spoken_digits.lab.evaluation.schema import (
    Condition,
    ConditionResult,
    RejectionResult,
    RunEvaluation,
)
from spoken_digits.lab.runs import RunError, read_environment, read_json
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.training.config import RECIPES, TrainConfig, read_recipe

__all__ = ["CORPORA", "MODELS", "SPLITS", "STUDY", "ShippedResult", "summarize_shipped"]

CORPORA = ("fsdd", "speech_commands")  # held out whole, then in folds of speakers
EVERYTHING = "pooled"  # the split that holds nothing out: the network that ships
FOLD_SPLITS = tuple(f"pooled:{fold}" for fold in range(FOLDS))
SPLITS = (EVERYTHING, "pooled:fsdd", *FOLD_SPLITS, "pooled:speech_commands")
MODELS = {"cnn-wide": "", "cnn-tiny": "tiny"}  # name: what its variants are called
PRECISIONS = ("float32", "int8")

# Of the recipe that ships, whatever lies in the current folder; the grid has models and splits.
_RECIPE = {
    key: value
    for key, value in read_recipe(RECIPES / "shipped.toml").items()
    if key not in ("task", "model", "split")
}

_SECTIONS: dict[str, Any] = {  # see `grid`
    "study": {"task": "pooled"},
    "defaults": _RECIPE,
    "models": {name: {} for name in MODELS},
    "grids": {
        "results": {"model": "cnn-wide", "split": list(SPLITS)},
        "tiny": {"model": "cnn-tiny", "split": list(SPLITS[1:])},
    },
    "quick": {"epochs_factor": 0.1},
}

_TITLES = {
    "undegraded": "as it is",
    "padded": "silence around",
    "room": "room, RT60 {:g} s",
    "telephone": "telephone",
    "clipped": "clipped by {:g} dB",
    "recorded": "noise {:g} dB",
}


@dataclass(frozen=True)
class HeldOut:
    """Accuracy on what was held out, which `held_out` names in words."""

    held_out: str
    clips: int
    speakers: int
    accuracy: float
    macro_f1: float
    ece: float


@dataclass(frozen=True)
class FSDDSpeaker:
    """Accuracy on a speaker of FSDD, held out with all of FSDD, and with one other speaker."""

    accuracy_corpus_held_out: float
    accuracy: float


@dataclass(frozen=True)
class DigitRecall:
    """Recall of a digit of a corpus, all folds together; None without a clip."""

    corpus: str
    digit: str
    clips: int
    recall: float | None


@dataclass(frozen=True)
class Degraded:
    """Accuracy on degraded recordings, all folds together; `condition` is a title for people."""

    corpus: str
    condition: str
    kind: str
    level: float | None
    clips: int
    accuracy: float


@dataclass(frozen=True)
class ScoreForRejection:
    """How well a score separates digits from words not trained on, the mean over folds."""

    score: str
    auroc: float
    eer: float


@dataclass(frozen=True)
class Variant:
    """A network in one precision; the sizes are those of the first run's file."""

    variant: str
    parameters: int
    file_bytes: int
    accuracy_fsdd_whole: float
    accuracy_fsdd_speakers: float
    accuracy_speech_commands_whole: float
    accuracy_speech_commands_speakers: float
    rejection_auroc: float | None
    rejection_eer: float | None


@dataclass(frozen=True)
class ShippedResult:
    """Everything that is published of the recognizer that ships, as `results/shipped.json`."""

    accuracy: tuple[HeldOut, ...]
    fsdd_speakers: dict[str, FSDDSpeaker]
    recall_by_digit: tuple[DigitRecall, ...]
    degraded_recordings: tuple[Degraded, ...]
    rejection_of_unseen_words: tuple[ScoreForRejection, ...]
    rejection_by_fold: tuple[RejectionResult, ...]
    variants: tuple[Variant, ...]
    study: str
    track: str
    command: str
    commit: str
    seeds: tuple[int, ...]
    recipe: str
    data: dict[str, Any]
    parameters: int
    versions: dict[str, str]


@dataclass(frozen=True)
class _Run:
    directory: Path
    config: TrainConfig
    environment: Mapping[str, Any]
    evaluation: RunEvaluation

    def test(
        self, corpus: str, condition: Condition, precision: str = "float32"
    ) -> ConditionResult | None:
        """Return the result on a corpus under a condition, None where it was not tested."""
        for test in self.evaluation.tests:
            if (test.corpus, test.condition, test.precision) == (corpus, condition, precision):
                return test
        return None

    def rejection(self, precision: str = "float32") -> RejectionResult | None:
        """Return how well it rejects, None where no words were held out."""
        return next((r for r in self.evaluation.rejection if r.precision == precision), None)


def summarize_shipped(study_dir: Path | str) -> ShippedResult:
    """Make the result of the study from its run directories.

    Raises
    ------
    RunError
        When a run that the result needs is missing or unfinished.
    """
    runs = _read_runs(Path(study_dir))
    first, *_ = MODELS
    by_split = {split: _find(runs, study_dir, first, split) for split in SPLITS}
    shipped = by_split[EVERYTHING]
    environment = shipped.environment
    folds = [by_split[split] for split in FOLD_SPLITS]
    variants = [
        variant
        for model, title in MODELS.items()
        for precision in PRECISIONS
        if (variant := _variant(runs, study_dir, model, title, precision))
    ]
    return ShippedResult(
        accuracy=tuple(_held_out(by_split)),
        fsdd_speakers=_fsdd_speakers(by_split),
        recall_by_digit=tuple(_recall_by_digit(folds)),
        degraded_recordings=tuple(_degraded(folds)),
        rejection_of_unseen_words=tuple(_scores_for_rejection(folds)),
        rejection_by_fold=tuple(result for run in folds if (result := run.rejection())),
        variants=tuple(variants),
        study="shipped",
        track="open",
        command=environment["command"],
        commit=environment["commit"],
        seeds=(shipped.config.seed,),
        recipe=shipped.config.to_toml(),
        data=environment["data"],
        parameters=environment["parameters"],
        versions={key: environment[key] for key in ("python", "torch", "numpy", "version")},
    )


def _read_runs(study_dir: Path) -> dict[tuple[str, str], _Run]:
    runs = {}
    for path in sorted(study_dir.glob("*/evaluation.json")):
        config = TrainConfig.from_toml(path.with_name("config.toml"))
        runs[config.model, config.split] = _Run(
            path.parent,
            config,
            read_environment(path.parent),
            read_json(path, RunEvaluation),
        )
    return runs


def _find(
    runs: Mapping[tuple[str, str], _Run], study_dir: Path | str, model: str, split: str
) -> _Run:
    if (model, split) not in runs:
        raise RunError(
            f"{study_dir}: no finished run of {model} on the split {split}; run spoken-digits "
            "study shipped again"
        )
    return runs[model, split]


def _clean(run: _Run, corpus: str, precision: str = "float32") -> ConditionResult | None:
    return run.test(corpus, Condition("clean"), precision)


def _held_out(by_split: Mapping[str, _Run], precision: str = "float32") -> list[HeldOut]:
    """Lay out what was held out: each corpus whole, then its speakers in groups."""
    rows = []
    for corpus in CORPORA:
        whole = [_clean(by_split[f"pooled:{corpus}"], corpus, precision)]
        folds = [_clean(by_split[split], corpus, precision) for split in FOLD_SPLITS]
        for title, results in (
            (f"{corpus}, the whole corpus", whole),
            (f"{corpus}, speakers in {FOLDS} groups", folds),
        ):
            metrics = [result.metrics for result in results if result]
            if len(metrics) < len(results):
                raise RunError(f"{corpus}, {precision}: not tested in every run that holds it out")
            clips = sum(m.clips for m in metrics)
            rows.append(
                HeldOut(
                    title,
                    clips,
                    sum(len(m.per_speaker) for m in metrics),
                    accuracy=sum(m.accuracy * m.clips for m in metrics) / clips,
                    macro_f1=float(np.mean([m.macro_f1 for m in metrics])),
                    ece=float(np.mean([m.ece for m in metrics])),
                )
            )
    return rows


def _fsdd_speakers(by_split: Mapping[str, _Run]) -> dict[str, FSDDSpeaker]:
    whole = _clean(by_split["pooled:fsdd"], "fsdd")
    speakers = {}
    for split in FOLD_SPLITS:
        fold = _clean(by_split[split], "fsdd")
        if whole and fold:
            for name, score in sorted(fold.metrics.per_speaker.items()):
                speakers[name] = FSDDSpeaker(
                    whole.metrics.per_speaker[name].accuracy, score.accuracy
                )
    return speakers


def _recall_by_digit(folds: Sequence[_Run]) -> list[DigitRecall]:
    rows = []
    for corpus in CORPORA:
        results = [result for run in folds if (result := _clean(run, corpus))]
        confusion = sum(np.array(result.metrics.confusion) for result in results)
        for digit, counts in zip(DIGITS, np.asarray(confusion), strict=True):
            clips = int(counts.sum())
            recall = float(counts[int(digit)] / clips) if clips else None
            rows.append(DigitRecall(corpus, digit, clips, recall))
    return rows


def _degraded(folds: Sequence[_Run]) -> list[Degraded]:
    results: dict[tuple[str, Condition], list[ConditionResult]] = {}
    for run in folds:
        for test in run.evaluation.tests:
            if test.condition.kind in _TITLES:
                results.setdefault((test.corpus, test.condition), []).append(test)
    rows = []
    for (corpus, condition), tests in results.items():
        clips = sum(test.metrics.clips for test in tests)
        hits = sum(test.metrics.accuracy * test.metrics.clips for test in tests)
        title = _TITLES[condition.kind].format(condition.level)
        rows.append(Degraded(corpus, title, condition.kind, condition.level, clips, hits / clips))
    return rows


def _scores_for_rejection(
    folds: Sequence[_Run], precision: str = "float32"
) -> list[ScoreForRejection]:
    found = [result for run in folds if (result := run.rejection(precision))]
    if len(found) < len(folds):
        return []
    return [
        ScoreForRejection(
            name,
            auroc=float(np.mean([result.metrics.scores[name].auroc for result in found])),
            eer=float(np.mean([result.metrics.scores[name].eer for result in found])),
        )
        for name in found[0].metrics.scores
    ]


def _variant(
    runs: Mapping[tuple[str, str], _Run],
    study_dir: Path | str,
    model: str,
    title: str,
    precision: str,
) -> Variant | None:
    """Lay out a network in one precision; None where a run could not be exported in it."""
    by_split = {s: _find(runs, study_dir, model, s) for s in SPLITS if s != EVERYTHING}
    if any(
        _clean(run, corpus, precision) is None
        for split, run in by_split.items()
        for corpus in CORPORA
        if split in (f"pooled:{corpus}", *FOLD_SPLITS)
    ):
        return None
    run = by_split["pooled:fsdd"]  # the files of the others differ in their metadata alone
    file = run.directory / ("digits.onnx" if precision == "float32" else "digits-int8.onnx")
    accuracy = [row.accuracy for row in _held_out(by_split, precision)]
    folds = [by_split[split] for split in FOLD_SPLITS]
    own = next((s for s in _scores_for_rejection(folds, precision) if s.score == "own"), None)
    words = [title, "" if precision == "float32" else precision]
    return Variant(
        " ".join(filter(None, words)) or "float",
        run.environment["parameters"],
        file.stat().st_size,
        *accuracy,
        *((own.auroc, own.eer) if own else (None, None)),
    )


STUDY = Study(
    name="shipped",
    question="How accurate is the recognizer that ships on speakers, corpora, words and noise that "
    "it was not trained on?",
    sections=_SECTIONS,
    summarize=summarize_shipped,
)
