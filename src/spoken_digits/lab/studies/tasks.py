"""Kinds of task: what is trained and tested, each leaving the same files in its run directory.

A task is a configuration class, a function that trains and tests, and a function that hashes the
recordings; `TASKS` at the foot lists them all. `run_task` does what they share: a run directory
belongs to one configuration, a finished run is left alone, `evaluation.json` is written last.

Shapes: N clips, L samples, K samples of a recording, C classes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.connected import pipeline
from spoken_digits.lab.data.corpora import CORPORA, Clip, data_hash, read_corpus
from spoken_digits.lab.data.dataset import Dataset, IntArray, prepare
from spoken_digits.lab.data.noise import find_noises, read_noise
from spoken_digits.lab.data.pooled import count_by_corpus
from spoken_digits.lab.data.prepared import note_checksums
from spoken_digits.lab.data.splits import Split, one_split
from spoken_digits.lab.data.synthetic import ENGINES, parse_extra, read_extra
from spoken_digits.lab.data.unlabelled import read_unlabelled
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.evaluation.schema import (
    Condition,
    ConditionResult,
    RunEvaluation,
    save_result,
)
from spoken_digits.lab.export import export
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.release import digits, finetune
from spoken_digits.lab.runs import (
    CorpusCounts,
    DataRecord,
    RunContext,
    begin,
    claim,
    finish,
    is_finished,
    read_json,
    write_environment,
)
from spoken_digits.lab.training.config import (
    ConfigError,
    TrainConfig,
    check_corpus_name,
    read_recipe,
)
from spoken_digits.lab.training.contrastive import (
    PretrainConfig,
    contrastive_scores,
    fit_probe,
    pretrain,
)
from spoken_digits.lab.training.supervised import (
    build_network,
    key_of,
    load_network,
    predict_scores,
    resolve_device,
    train,
)

__all__ = [
    "NOISES_DB",
    "TASKS",
    "Task",
    "add_condition",
    "corpus_of",
    "find_task",
    "load_noise",
    "read_task",
    "run_task",
]

NOISES_DB = (20, 10, 5, 0)
RT60_S = (0.3, 0.6)
DIRECT_TO_REVERBERANT_DB = (0.0, 6.0)

FloatArray = NDArray[np.float32]
Scores = dict[Condition, FloatArray]  # (N, C), logits of the test clips; the main condition first


@dataclass(frozen=True)
class SplitData:
    """A corpus divided by speaker, prepared.

    `extra` are clips of another corpus that join for training alone, `more` of speech without
    labels, for pre-training; `train`, `test` and `unlabelled`, those of `more`, are indices of
    clips of `dataset`.
    """

    clips: tuple[Clip, ...]
    extra: tuple[Clip, ...]
    more: tuple[Clip, ...]
    dataset: Dataset
    split: Split
    train: IntArray
    test: IntArray
    unlabelled: IntArray

    @property
    def heldout(self) -> IntArray | None:
        """Clips whose accuracy may be logged while training: never those of test speakers."""
        return self.test if self.split.name.startswith("inner") else None


def _train(config: TrainConfig, data: SplitData, context: RunContext) -> Scores:
    """Train, test."""
    net = _trained(config, data, context)
    return {Condition("clean"): predict_scores(net, data.dataset, data.test)}


def _noise(config: TrainConfig, data: SplitData, context: RunContext) -> Scores:
    """Train, then test on clips as they are, in noise, and in a room.

    Every network is tested with the same noise, which is added to the prepared clip: errors in
    finding the endpoints of noisy recordings are not in these numbers.
    """
    net = _trained(config, data, context)
    recording = load_noise(context.data)
    # Without recordings, noise between brown and white is made, under a name of its own.
    other = "made" if recording is None else "recorded"
    conditions = [Condition(kind, snr_db) for kind in ("white", other) for snr_db in NOISES_DB]
    scores = {Condition("clean"): predict_scores(net, data.dataset, data.test)}
    for condition in (*conditions, Condition("reverberation")):
        changed = add_condition(data.dataset, data.test, condition, recording)
        scores[condition] = predict_scores(net, changed, data.test)
    return scores


def _pretrain(config: PretrainConfig, data: SplitData, context: RunContext) -> Scores:
    """Pre-train without labels, then test a linear probe that is fitted with all labels."""
    net = pretrain(
        config, data.dataset, data.train, context.directory, context.quiet, data.unlabelled
    )
    fit_probe(config, net, data.dataset, data.train)
    return {Condition("probe"): predict_scores(net, data.dataset, data.test)}


def _contrastive(config: PretrainConfig, data: SplitData, context: RunContext) -> Scores:
    """Pre-train without labels, then test what few and many labels make of it."""
    named = contrastive_scores(
        config,
        data.dataset,
        data.train,
        data.test,
        context.directory,
        context.quiet,
        data.unlabelled,
    )
    return {_labelled(name): scores for name, scores in named.items()}


def _labelled(name: str) -> Condition:
    """Return the condition of a name of `contrastive_scores`, such as ``scratch-5``."""
    kind, _, count = name.partition("-")
    return Condition(kind, None if count in ("", "all") else float(count))


def _trained(config: TrainConfig, data: SplitData, context: RunContext) -> DigitNet:
    """Train, or load the network that an earlier call has finished in the run directory."""
    if (context.directory / "model.safetensors").exists():
        return load_network(context.directory)[1]
    drawn = np.full(len(data.train), 1 / len(data.train)) if config.clips_per_epoch else None
    return train(
        config,
        data.dataset,
        data.train,
        context.directory,
        data.heldout,
        context.quiet,
        probabilities=drawn,
    )


def add_condition(
    dataset: Dataset, indices: IntArray, condition: Condition, recording: Tensor | None = None
) -> Dataset:
    """Return the dataset with some clips degraded; the same clips are always degraded alike.

    Parameters
    ----------
    dataset, indices
        Prepared clips and which of them to degrade.
    condition
        ``white``, ``made`` (between brown and white) or ``recorded`` noise at the signal-to-noise
        ratio of its level over the clip; ``reverberation``, in made rooms with an RT60 of 0.3 to
        0.6 s.
    recording
        Noise (K,) for ``recorded``.
    """
    samples = _Changed(dataset, indices, condition, recording)
    return replace(dataset, samples=samples)


class _Changed:
    """The samples of a dataset, some of its clips degraded as they are asked for."""

    def __init__(
        self, dataset: Dataset, indices: IntArray, condition: Condition, recording: Tensor | None
    ) -> None:
        self._samples, self._condition, self._recording = dataset.samples, condition, recording
        starts = dataset.starts[indices].tolist()
        self._positions = {start: position for position, start in enumerate(starts)}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, part: slice) -> FloatArray:
        """Return the samples of one clip."""
        samples = self._samples[part]
        position = self._positions.get(part.start)
        return samples if position is None else self._change(samples, position)

    def _change(self, samples: FloatArray, position: int) -> FloatArray:
        generator = Generator().manual_seed(key_of(0, 6, position))
        condition, length = self._condition, len(samples)
        clip, lengths = torch.from_numpy(samples.copy())[None], torch.tensor([length])  # (1, L)
        if condition.kind == "reverberation":
            rt60_s, ratio_db = (
                low + (high - low) * torch.rand(1, generator=generator)
                for low, high in (RT60_S, DIRECT_TO_REVERBERANT_DB)
            )
            room = waveforms.make_responses(generator, rt60_s, ratio_db)
            changed = waveforms.reverberate(clip, lengths, room)
        else:
            assert condition.level is not None
            if condition.kind == "recorded":
                assert self._recording is not None
                noise = waveforms.random_stretches((1, length), generator, self._recording)
            else:
                steepest = -2.0 if condition.kind == "made" else 0.0
                exponent = steepest * torch.rand(1, generator=generator)
                noise = waveforms.colored_noise((1, length), generator, exponent)
            snr_db = torch.tensor([float(condition.level)])
            changed = waveforms.add_noise(clip, lengths, noise, snr_db)
        degraded: FloatArray = changed[0].numpy()
        return degraded


@lru_cache(maxsize=1)
def load_noise(data: Path | str | None = None) -> Tensor | None:
    """Load Speech Commands' background noises, end to end at 8 kHz (K,); None without them.

    No network of a study is trained on them.
    """
    noises = [read_noise(file) for file in find_noises(data)]
    return torch.from_numpy(np.concatenate(noises)) if noises else None


@lru_cache(maxsize=4)
def _read(corpus: str, extra: str, data: Path | None) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Read a corpus, and of others the clips that join for training.

    Once a process, for all the runs that it is given.
    """
    clips = read_corpus(corpus, data)
    labels = {clip.label for clip in clips}
    return clips, tuple(clip for clip in read_extra(extra, data) if clip.label in labels)


@lru_cache(maxsize=2)
def _read_more(unlabelled: str, data: Path | None) -> tuple[Clip, ...]:
    """Read the clips that join for pre-training without labels."""
    return () if unlabelled == "none" else read_unlabelled(data)


def _unlabelled(config: TrainConfig) -> str:
    return config.unlabelled if isinstance(config, PretrainConfig) else "none"


@lru_cache(maxsize=2)
def _prepared(corpus: str, extra: str, unlabelled: str, data: Path | None, cache: Path) -> Dataset:
    clips, added = _read(corpus, extra, data)
    names = sorted({clip.label for clip in clips})
    return prepare(clips + added + _read_more(unlabelled, data), cache, names)


def _split_data(config: TrainConfig, context: RunContext) -> SplitData:
    clips, added = _read(context.corpus, config.extra, context.data)
    more = _read_more(_unlabelled(config), context.data)
    split = _read_split(context.corpus, context.data, config.split)
    training = Split(split.name, split.train + added, split.test)  # raises where a name is on both
    dataset = _prepared(
        context.corpus, config.extra, _unlabelled(config), context.data, context.cache
    )
    train, test = dataset.indices(training.train), dataset.indices(split.test)
    return SplitData(clips, added, more, dataset, split, train, test, dataset.indices(more))


@lru_cache(maxsize=64)
def _read_split(corpus: str, data: Path | None, split: str) -> Split:
    return one_split(split, _read(corpus, "none", data)[0])


@lru_cache(maxsize=4)
def _hash(corpus: str, extra: str, unlabelled: str, data: Path | None, cache: Path) -> str:
    parts = (*_read(corpus, extra, data), _read_more(unlabelled, data))
    note_checksums(tuple(clip for part in parts for clip in part), cache)
    return "+".join(map(data_hash, filter(None, parts)))


def _hash_of_corpus(config: TrainConfig, context: RunContext) -> str:
    return _hash(context.corpus, config.extra, _unlabelled(config), context.data, context.cache)


def _prepare_corpus(config: TrainConfig, context: RunContext) -> None:
    _prepared(context.corpus, config.extra, _unlabelled(config), context.data, context.cache)


def _run_on_split(
    config: Any, context: RunContext, *, name: str, score: Callable[..., Scores]
) -> RunEvaluation:
    """Train and test on a corpus that is divided by speaker."""
    data = _split_data(config, context)
    scores = score(config, data, context)
    results: list[ConditionResult] = []
    names = data.dataset.label_names
    for condition, given in scores.items():
        file = f"predictions-{condition.name}.npz" if results else "predictions.npz"
        predictions = Predictions.of(data.split.test, given, names)
        results.append(save_result(context.directory, file, predictions, context.corpus, condition))
    write_environment(
        context,
        name,
        DataRecord(
            corpus=context.corpus,
            clips=len(data.clips),
            hash=data_hash(data.clips),
            licence=_licence(context.corpus),
            split=data.split.name,
            train_speakers=data.split.train_speakers,
            test_speakers=data.split.test_speakers,
        ),
        labels=names,
        device=resolve_device(config.device).type,
        parameters=sum(p.numel() for p in build_network(config, len(names)).parameters()),
        conditions=[condition.name for condition in scores],
        extra=DataRecord(
            corpus=config.extra,
            clips=len(data.extra),
            hash=data_hash(data.extra),
            corpora=count_by_corpus(data.extra),
            licence="; ".join(
                dict.fromkeys(_licence(each.corpus) for each in parse_extra(config.extra))
            ),
        ),
        unlabelled=_record(data.more) if data.more else None,
    )
    return RunEvaluation(name, tuple(results))


def _record(clips: Sequence[Clip]) -> DataRecord:
    """Return how many recordings of which corpora there are; what is said in them is not known."""
    counts = Counter(clip.corpus for clip in clips)
    return DataRecord(
        clips=len(clips),
        hash=data_hash(clips),
        licence="; ".join(_licence(name) for name in counts),
        corpora={name: CorpusCounts(0, count, 0) for name, count in counts.items()},
    )


def _licence(corpus: str) -> str:
    corpus = "voices" if corpus in ENGINES else corpus  # made as what ships
    return CORPORA[corpus].licence if corpus in CORPORA else ""


def _name_by_model(config: TrainConfig, _: str) -> str:
    return f"{config.model}-{config.front_end}-{config.split}-s{config.seed}"


@dataclass(frozen=True)
class Task:
    """A kind of task, an entry of the registry.

    Attributes
    ----------
    recipe
        Class of its configurations.
    data_hash
        One SHA-256 of the recordings of a configuration; cheap once they were read.
    run
        Train, test, and leave in the run directory all but `config.toml` and `evaluation.json`. A
        run that was killed goes on from what it finds there.
    prepare
        Fill the cache that runs share, before several processes need it at once.
    export
        Write the network of a finished run as ONNX to a file; None where there is none to export.
    name
        Of a run directory, from a configuration and a corpus.
    needs_corpus
        Whether it works on one corpus, which the context names.
    """

    recipe: Any
    data_hash: Callable[[Any, RunContext], str]
    run: Callable[[Any, RunContext], RunEvaluation]
    prepare: Callable[[Any, RunContext], None]
    export: Callable[[Path, Path], Path] | None = None
    name: Callable[[Any, str], str] = _name_by_model
    needs_corpus: bool = False


def find_task(name: str) -> Task:
    """Return the kind of task of that name.

    Raises
    ------
    ConfigError
        When there is none.
    """
    if name not in TASKS:
        raise ConfigError(f"task = {name!r}: expected one of {', '.join(TASKS)}")
    return TASKS[name]


def read_task(
    recipe: Path | str | None, default: str, overrides: Mapping[str, Any]
) -> tuple[str, Any]:
    """Read a recipe: its kind of task, and its configuration; its corpus is `corpus_of` it.

    Parameters
    ----------
    recipe
        A TOML file, or the name of one that ships; None for the defaults.
    default
        The kind where the recipe names none as ``task``.
    overrides
        Keys of the configuration that win over the recipe's.

    Raises
    ------
    ConfigError
        When there is no such recipe, kind or key.
    """
    values = {} if recipe is None else read_recipe(recipe)
    if "study" in values:
        raise ConfigError(f"{recipe}: a study, not the recipe of one run; use spoken-digits study")
    values.pop("corpus", None)
    name = values.pop("task", default)
    where = "options" if recipe is None else str(recipe)
    return name, find_task(name).recipe.from_dict({**values, **overrides}, where)


def corpus_of(recipe: Path | str | None) -> str:
    """Return the name of the corpus that a recipe names as ``corpus``; "" where it names none.

    Raises
    ------
    ConfigError
        When there is no such recipe, or no such corpus of single words.
    """
    values = {} if recipe is None else read_recipe(recipe)
    if "corpus" not in values:
        return ""
    check_corpus_name(values["corpus"], str(recipe))
    return str(values["corpus"])


def run_task(name: str, config: Any, context: RunContext) -> RunEvaluation:
    """Do a task in its run directory, or read what an earlier call has finished there.

    Raises
    ------
    ConfigError
        When there is no such kind of task.
    RunError
        When the directory holds another run.
    """
    task = find_task(name)
    data_hash = task.data_hash(config, context)
    if is_finished(context.directory, name, config, data_hash):
        return read_json(context.directory / "evaluation.json", RunEvaluation)
    claim(context.directory, config)
    begin(context.directory, name, data_hash)
    evaluation = task.run(config, context)
    finish(context.directory, evaluation)
    return evaluation


def _on_split(
    name: str,
    score: Callable[..., Scores],
    recipe: type[TrainConfig] = TrainConfig,
    exports: Callable[[Path, Path], Path] | None = None,
) -> Task:
    """Make a kind of task that trains and tests on one corpus, divided by speaker."""
    prefix = "" if name == "train" else f"{name}-"
    return Task(
        recipe=recipe,
        data_hash=_hash_of_corpus,
        run=partial(_run_on_split, name=name, score=score),
        prepare=_prepare_corpus,
        export=exports,
        name=lambda config, corpus: f"{prefix}{_name_by_model(config, corpus)}",
        needs_corpus=True,
    )


TASKS: dict[str, Task] = {
    "train": _on_split("train", _train, exports=export),
    "noise": _on_split("noise", _noise, exports=export),
    "pretrain": _on_split("pretrain", _pretrain, PretrainConfig),
    "contrastive": _on_split("contrastive", _contrastive, PretrainConfig),
    "pooled": Task(
        recipe=TrainConfig,
        data_hash=digits.hash_pooled,
        run=digits.run_pooled,
        prepare=digits.prepare_pooled,
        export=digits.ship,
    ),
    "custom-words": Task(
        recipe=finetune.CustomWordsConfig,
        data_hash=finetune.hash_custom_words,
        run=finetune.run_custom_words,
        prepare=finetune.prepare_custom_words,
        export=export,
        name=lambda config, corpus: f"{Path(corpus).stem}-s{config.seed}",
        needs_corpus=True,
    ),
    "strings": Task(
        recipe=pipeline.StringsConfig,
        data_hash=pipeline.hash_strings,
        run=pipeline.run_strings,
        prepare=pipeline.prepare_strings,
        export=pipeline.export_run,
        name=lambda config, _: f"strings-{config.split}-{config.fluent}-s{config.seed}",
    ),
}
