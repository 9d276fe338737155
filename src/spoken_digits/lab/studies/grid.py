"""Grids: from a study's sections to the list of its runs.

A study asks one question. It has these sections, in Python or in a TOML file of the same form;
every other key is one of `TrainConfig` (for the task ``contrastive`` of `PretrainConfig`), and the
later section wins:

``[study]``
    ``question``, the ``task`` of its runs where that is not ``train`` (see `tasks.TASKS`), and the
    name of the ``corpus`` that it is about, where that is not the best at hand.
``[defaults]``
    What differs from the defaults in every run.
``[models.NAME]``
    The models, each with what differs for it alone.
``[grids.NAME]``
    One or more sets of runs. A key with a list of values makes an axis, and a grid has a run for
    every combination: ``seed = [0, 1, 2]``. A family of splits stands for its folds, which are
    pooled in the tables (``split = "loso"``), and the augmentation ``alone`` for each single
    transform. ``model`` left out means all of ``[models]``. Other keys: ``task``, and
    ``epochs_factor``, what all epochs are multiplied by.
``[quick]``, ``[grids.NAME.quick]``
    What is different with ``--quick``; ``quick = false`` in a grid leaves it out.
``[synthetic]``
    ``epochs_factor`` where FSDD is not at hand and synthetic speech takes its place: fewer clips
    make fewer steps.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spoken_digits.lab.augmentation.policies import ALONE
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.splits import SPLITS, SplitError, named_splits
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.tasks import TASKS
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.contrastive import PretrainConfig

__all__ = ["Job", "check_sections", "count_clips", "plan"]

MAIN = "results"  # the grid whose name needs no mention
SYNTHETIC = "voices"  # the corpus of synthetic speech that ships
# Of one epoch of 2,000 clips on one core, about: for the order of runs and the time left.
_SECONDS = {"cnn": 4.0, "lstm": 0.8, "temporal-cnn": 0.6, "rnn": 0.6}
_OTHER_SECONDS, _LINEAR_SECONDS, _FIXED_SECONDS = 4.0, 4.0, 2.0
_SECTIONS: dict[str, dict[str, type | tuple[type, ...]] | None] = {  # None: TrainConfig's keys
    "study": {"question": str, "task": str, "corpus": str},
    "quick": None,
    "synthetic": {"epochs_factor": (float, int)},
    "defaults": None,
    "models": None,
    "grids": None,
}


@dataclass(frozen=True)
class Job:
    """One run of a study, everything that a worker process needs.

    `grid` is the one that it belongs to, `family` the family of splits whose folds are pooled or
    nothing, `axes` the keys of its recipe that its directory's name must tell.
    """

    config: TrainConfig
    corpus: str
    data: Path | None
    study_dir: Path
    command: str
    task: str = "train"
    grid: str = MAIN
    family: str = ""
    axes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run's name within its study."""
        config = self.config
        words = [] if self.grid == MAIN else [self.grid]
        words += [config.model, config.front_end, config.split]
        for key in self.axes:
            value = getattr(config, key)
            words.append(value if isinstance(value, str) else f"{key.replace('_', '-')}-{value:g}")
        return "-".join([*words, f"s{config.seed}"]).replace(":", "-")

    @property
    def directory(self) -> Path:
        """Where the run's files go."""
        return self.study_dir / self.name

    def seconds(self, n_clips: int) -> float:
        """Estimate the seconds that it takes on one core, from the number of training clips."""
        config = self.config
        n_clips = config.clips_per_epoch or n_clips
        if config.is_linear:
            return _LINEAR_SECONDS * n_clips / 2000
        epoch = _SECONDS.get(config.model, _OTHER_SECONDS) * n_clips / 2000
        epoch *= FRONT_ENDS[config.front_end].n_mels / 40
        if isinstance(config, PretrainConfig):
            # Two views; then clusters, and labels, eight times, few at first; and probes.
            labelled = (3.5 + config.cluster_rounds) * config.label_epochs
            return _FIXED_SECONDS + epoch * (2.2 * config.epochs + labelled)
        return _FIXED_SECONDS + epoch * config.epochs + (20.0 if self.task == "noise" else 0.0)


def check_sections(name: str, sections: Mapping[str, Any]) -> None:
    """Make sure that sections and keys are known and of their type.

    Raises
    ------
    ConfigError
        When one is not; the message names section and key.
    """
    _check(name, sections, dict.fromkeys(_SECTIONS, dict), ("study", "models", "grids"))
    for section, keys in _SECTIONS.items():
        if keys is not None:
            _check(f"{name}, {section}", sections.get(section, {}), keys)
    for section in ("models", "grids"):
        _check(f"{name}, {section}", sections[section], dict.fromkeys(sections[section], dict))
        if not sections[section]:
            raise ConfigError(f"{name}: no {section}; expected a section [{section}.NAME] for each")


def plan(
    study: Study,
    corpus: str,
    clips: Sequence[Clip],
    quick: bool = False,
    data: Path | None = None,
    study_dir: Path = Path(),
    command: str = "",
) -> list[Job]:
    """Return the runs of a study on the clips of a corpus, the longest first.

    Raises
    ------
    ConfigError, SplitError
        When the study asks for what there is not; the message names section and key.
    """
    jobs = []
    for grid in study.sections["grids"]:
        jobs += [
            Job(config, corpus, data, study_dir, command, task, grid, family, axes)
            for config, task, family, axes in _grid(study, grid, corpus, clips, quick)
        ]
    if not jobs:
        raise ConfigError(
            f"{study.name}: nothing to run on {corpus}; it needs the speakers of "
            f"{study.corpus or 'FSDD'}"
        )
    by_name: dict[str, Job] = {}
    for job in jobs:
        if by_name.setdefault(job.name, job) is not job:
            raise ConfigError(f"{study.name}, grids.{job.grid}: two runs called {job.name}")
    sizes = count_clips(jobs, clips)
    return sorted(jobs, key=lambda job: -job.seconds(sizes[job.config.split]))


def count_clips(jobs: Iterable[Job], clips: Sequence[Clip]) -> dict[str, int]:
    """Return the number of training clips of each split, of a corpus or drawn for an epoch."""
    sizes: dict[str, int] = {}
    for job in jobs:
        split = job.config.split
        if split in sizes:
            continue
        if TASKS[job.task].needs_corpus:
            (found,) = named_splits(split, clips)
            sizes[split] = len(found.train)
        else:
            sizes[split] = job.config.clips_per_epoch
    return sizes


def _grid(
    study: Study, grid: str, corpus: str, clips: Sequence[Clip], quick: bool
) -> Iterator[tuple[TrainConfig, str, str, tuple[str, ...]]]:
    sections, where = study.sections, f"{study.name}, grids.{grid}"
    given = dict(sections["grids"][grid])
    change = given.pop("quick", {})
    if quick:
        if change is False:
            return
        given |= {**sections.get("quick", {}), **change}
    task = given.pop("task", sections.get("study", {}).get("task", "train"))
    if task not in TASKS:
        raise ConfigError(f"{where}: task = {task!r}: expected one of {', '.join(TASKS)}")
    factor = given.pop("epochs_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, float | int) or factor <= 0:
        raise ConfigError(f"{where}: epochs_factor = {factor!r}: expected a number above zero")
    if corpus == SYNTHETIC:
        factor *= sections.get("synthetic", {}).get("epochs_factor", 1.0)
    lists = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    for key, values in lists.items():
        if not values:
            raise ConfigError(f"{where}: {key} is empty; expected one or more")
    models = lists.pop("model", list(sections["models"]))
    splits = list(_folds(lists.pop("split", ["xsdr"]), corpus, clips))
    lists["augmentation"] = [
        name
        for value in lists.get("augmentation", [])
        for name in ([f"alone:{each}" for each in ALONE] if value == "alone" else [value])
    ]
    lists = {key: values for key, values in lists.items() if values}
    axes = [key for key, values in lists.items() if len(values) > 1]
    named = tuple(key for key in axes if key not in ("front_end", "seed"))
    for model, (split, family) in itertools.product(models, splits):
        if model not in sections["models"]:
            known = ", ".join(sections["models"])
            raise ConfigError(f"{where}: model = {model!r}: expected one of [models]: {known}")
        base = {"model": model, **sections.get("defaults", {}), **sections["models"][model]}
        for chosen in itertools.product(*lists.values()):
            delta = {**base, **dict(zip(lists, chosen, strict=True)), "split": split}
            if delta.get("extra") == corpus:
                continue  # nothing is added to itself
            yield _resolve(task, delta, factor, where), task, family, named


def _resolve(task: str, delta: dict[str, Any], factor: float, where: str) -> TrainConfig:
    recipe: type[TrainConfig] = TASKS[task].recipe
    full = recipe.from_dict(delta, where)
    for key in ("epochs", "label_epochs", "label_steps"):
        if hasattr(full, key):
            delta = {**delta, key: max(1, round(getattr(full, key) * factor))}
    return recipe.from_dict(delta, where)


def _folds(names: Iterable[Any], corpus: str, clips: Sequence[Clip]) -> Iterator[tuple[str, str]]:
    """Yield each fold's name, with the family that it is pooled in or nothing."""
    yielded: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"split = {name!r}: expected the name of a split")
        family, _, fold = name.partition(":")
        if family == "pooled":  # not of one corpus
            yield name, ""
            continue
        # Without FSDD there are no named speakers: TTS voices are held out instead.
        if corpus == SYNTHETIC and (name == "xsdr" or (fold and family in ("single", "loso"))):
            name = "synthetic"
        if corpus == SYNTHETIC and family == "inner":
            continue
        if family not in SPLITS:
            raise SplitError(f"split {name!r}: unknown, expected one of {', '.join(SPLITS)}")
        found = named_splits(name, clips)
        for split in found:
            if split.name not in yielded:
                yield split.name, family if len(found) > 1 else ""
            yielded.add(split.name)


def _check(
    where: str,
    given: Mapping[str, Any],
    kinds: Mapping[str, type | tuple[type, ...]],
    needed: Iterable[str] = (),
) -> None:
    for key, value in given.items():
        if key not in kinds:
            raise ConfigError(f"{where}: unknown key {key!r}; the keys are {', '.join(kinds)}")
        kind = kinds[key]
        if isinstance(value, bool) or not isinstance(value, kind):
            word = "table" if kind is dict else "str" if kind is str else "number"
            raise ConfigError(f"{where}: {key} = {value!r}: expected {word}")
    if missing := [key for key in needed if key not in given]:
        raise ConfigError(f"{where}: no {missing[0]}; expected {', '.join(needed)}")
