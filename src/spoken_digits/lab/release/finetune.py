"""Custom words: from a folder of recordings to a model that recognizes them.

Any words of any language. What to expect of it is measured by cross-validation over speakers; with
one speaker nothing can be measured, and the result says so. With few recordings, starting from the
shipped model's weights helps. Shapes: N clips, C classes.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spoken_digits.lab.data.corpora import CORPORA, Clip, data_hash, read_corpus
from spoken_digits.lab.data.dataset import Dataset, IntArray, balanced_probabilities, prepare
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.evaluation.schema import (
    Condition,
    ConditionResult,
    CrossValidationResult,
    RunEvaluation,
    save_result,
)
from spoken_digits.lab.export import export
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.runs import DataRecord, RunContext, write_environment
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import load_network, predict, resolve_device, train
from spoken_digits.lab.weights import WeightsError, read_weights
from spoken_digits.recognize import SHIPPED_MODEL

__all__ = [
    "CustomWordsConfig",
    "custom_words_config",
    "hash_custom_words",
    "prepare_custom_words",
    "read_custom_words",
    "read_start",
    "run_custom_words",
]

MAX_FOLDS = 5  # with more speakers, they are held out in groups
EPOCHS, STARTED_EPOCHS = 20, 12
MIN_CLIPS, MAX_CLIPS = 640, 4000  # per epoch: few recordings are repeated, each time augmented
STARTED_RATE = 1e-3  # low, so that pre-trained weights are kept


@dataclass(frozen=True)
class CustomWordsConfig(TrainConfig):
    """What training on custom words is made of: the keys of `TrainConfig`, and one more.

    Attributes
    ----------
    start
        Weights to start from: ``none``, ``shipped``, or the path of a .safetensors file.
    """

    split: str = "custom"
    start: str = "none"


def read_start(start: str) -> tuple[TrainConfig, dict[str, Tensor]]:
    """Read weights to start from, and their recipe: ``shipped``, or a .safetensors file.

    The last layer, which is for other words, is omitted.

    Raises
    ------
    ConfigError
        When there is no such file, or none that ``train --export`` wrote.
    """
    path = SHIPPED_MODEL.with_suffix(".safetensors") if start == "shipped" else Path(start)
    try:
        tensors, metadata = read_weights(path)
        recipe = tomllib.loads(metadata["config"])
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; expected 'shipped', or weights that spoken-digits train "
            "shipped --export wrote"
        ) from None
    except (WeightsError, KeyError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ") if isinstance(error, WeightsError) else "none"
        raise ConfigError(
            f"{path}: no weights with their recipe ({reason}); take the .safetensors file that "
            "spoken-digits train shipped --export wrote"
        ) from None
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    return TrainConfig.from_dict(recipe, str(path)), weights


def custom_words_config(
    config: CustomWordsConfig, given: Sequence[str], n_clips: int, start: TrainConfig | None = None
) -> CustomWordsConfig:
    """Return the configuration for few recordings: of `config`, the keys that were `given` stand.

    Parameters
    ----------
    config
        What was asked for.
    given
        Keys that are not to be changed.
    n_clips
        Recordings to train on.
    start
        Recipe of the weights that training starts from, see `read_start`; None for random ones.
    """
    values: dict[str, object] = {
        "split": "custom",
        "augmentation": "robust",
        "epochs": EPOCHS,
        "temperature": 0.7,
        "clips_per_epoch": _clips_per_epoch(n_clips),
    }
    if start is not None:
        values |= {"model": start.model, "front_end": start.front_end}
        values |= {"epochs": STARTED_EPOCHS, "learning_rate": STARTED_RATE}
    kept = {key: value for key, value in values.items() if key not in given}
    return replace(config, **kept)  # type: ignore[arg-type]


@lru_cache(maxsize=2)
def read_custom_words(corpus: str, data: Path | str | None = None) -> tuple[Clip, ...]:
    """Read recordings of two words or more.

    Raises
    ------
    CorpusError
        When there is no such corpus, folder or table.
    ConfigError
        When there are fewer than two words.
    """
    clips = read_corpus(corpus, data)
    labels = sorted({clip.label for clip in clips})
    if len(labels) < 2:
        raise ConfigError(
            f"{', '.join(labels) or 'no word'}: one word, expected two or more to tell apart; add "
            "recordings of others, as <label>/<speaker>_<take>.wav"
        )
    return clips


def hash_custom_words(_: CustomWordsConfig, context: RunContext) -> str:
    """Return one SHA-256 of the recordings."""
    return data_hash(read_custom_words(context.corpus, context.data))


def prepare_custom_words(_: CustomWordsConfig, context: RunContext) -> None:
    """Prepare the recordings in the cache that runs share."""
    prepare(read_custom_words(context.corpus, context.data), context.cache)


def run_custom_words(config: CustomWordsConfig, context: RunContext) -> RunEvaluation:
    """Cross-validate over speakers, then train on all recordings and export.

    Raises
    ------
    CorpusError, ConfigError
        As `read_custom_words` and `read_start`.
    """
    clips = read_custom_words(context.corpus, context.data)
    dataset = prepare(clips, context.cache)
    start = None if config.start == "none" else read_start(config.start)[1]
    results, validation = _cross_validate(config, dataset, context, start)
    net = _train(config, dataset, np.arange(len(clips)), context.directory, start, context.quiet)
    corpus = clips[0].corpus
    write_environment(
        context,
        "custom-words",
        DataRecord(
            corpus=corpus,
            clips=len(clips),
            hash=data_hash(clips),
            licence=CORPORA[corpus].licence if corpus in CORPORA else "that of the recordings",
            train_speakers=tuple(sorted({clip.speaker for clip in clips})),
            accuracy_held_out_speakers=validation.accuracy,
        ),
        labels=dataset.label_names,
        device=resolve_device(config.device).type,
        parameters=sum(p.numel() for p in net.parameters()),
    )
    export(context.directory)
    return RunEvaluation("custom-words", results, cross_validation=validation)


def _clips_per_epoch(n_clips: int) -> int:
    return min(max(n_clips, MIN_CLIPS), MAX_CLIPS)


def _train(
    config: TrainConfig,
    dataset: Dataset,
    indices: IntArray,
    directory: Path,
    start: dict[str, Tensor] | None,
    quiet: bool,
) -> DigitNet:
    """Train on some clips, words and speakers balanced; or load what an earlier call finished."""
    if (directory / "model.safetensors").exists():
        return load_network(directory)[1]
    chosen = [dataset.clips[index] for index in indices]
    probabilities: NDArray[np.float64] = balanced_probabilities(
        dataset.targets[indices], [c.corpus for c in chosen], [c.speaker for c in chosen], {}
    )
    return train(
        config,
        dataset,
        indices,
        directory,
        quiet=quiet,
        probabilities=probabilities,
        initial=start,
    )


def _cross_validate(
    config: CustomWordsConfig,
    dataset: Dataset,
    context: RunContext,
    start: dict[str, Tensor] | None,
) -> tuple[tuple[ConditionResult, ...], CrossValidationResult]:
    """Hold speakers out, each or in groups, train on the others, and test on them."""
    names = np.array([clip.speaker for clip in dataset.clips])
    speakers = sorted(set(names))
    if len(speakers) == 1:
        return (), CrossValidationResult(
            f"WARNING: one speaker, {speakers[0]}: the accuracy on other speakers cannot be "
            "measured, and is likely to be low; record other speakers too"
        )
    n_folds = min(len(speakers), MAX_FOLDS)
    tested: list[IntArray] = []
    scores = []
    for fold in range(n_folds):
        held = np.isin(names, speakers[fold::n_folds])
        indices, test = np.flatnonzero(~held), np.flatnonzero(held)
        untrained = sorted(set(dataset.targets) - set(dataset.targets[indices]))
        if untrained:
            words = ", ".join(dataset.label_names[i] for i in untrained)
            return (), CrossValidationResult(
                f"WARNING: {words}: said by speakers of one group only; the accuracy on other "
                "speakers cannot be measured; record every word from several speakers"
            )
        if not context.quiet:
            print(f"cross-validation, {fold + 1} of {n_folds}", file=sys.stderr, flush=True)
        sized = replace(config, clips_per_epoch=_clips_per_epoch(len(indices)))
        folder = context.directory / f"held-out-{fold}"
        net = _train(sized, dataset, indices, folder, start, quiet=True)
        scores.append(predict(net, dataset, test)[0])
        tested.append(test)
    clips = [dataset.clips[index] for index in np.concatenate(tested)]
    predictions = Predictions.of(clips, np.concatenate(scores), dataset.label_names)
    result = save_result(
        context.directory, "predictions.npz", predictions, clips[0].corpus, Condition("clean")
    )
    return (result,), _summarize(result, dataset, len(speakers), n_folds)


def _summarize(
    result: ConditionResult, dataset: Dataset, n_speakers: int, n_folds: int
) -> CrossValidationResult:
    metrics = result.metrics
    by_speaker = {name: score.accuracy for name, score in metrics.per_speaker.items()}
    worst = metrics.worst_speaker
    min_clips = min(Counter(clip.label for clip in dataset.clips).values())
    low, high = metrics.wilson
    how = "one at a time" if n_folds == n_speakers else f"in {n_folds} groups"
    text = (
        f"accuracy on speakers held out from training, {metrics.accuracy:.1%} of "
        f"{metrics.clips:,} recordings ({low:.1%} to {high:.1%}; {n_speakers} speakers, held out "
        f"{how}; lowest {worst}, {by_speaker[worst]:.1%})"
    )
    if n_speakers < 5 or min_clips < 10:
        text += (
            f"; WARNING: {n_speakers} speakers and at least {min_clips} recordings of a word are "
            "few: for other speakers expect an accuracy that differs by many points"
        )
    return CrossValidationResult(text, metrics.accuracy, by_speaker)
