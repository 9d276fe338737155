"""Words of one's own: from a folder of recordings to a model that recognizes them.

Any words of any language. How far to trust the result is measured by leaving speakers out; with one
speaker nothing can be said of other voices, and it says so. From few recordings, starting from the
shipped model's weights helps. N clips.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import spoken_digits
from spoken_digits.lab.data.corpora import Clip, data_hash
from spoken_digits.lab.data.dataset import Dataset, IntArray, balanced_probabilities, prepare
from spoken_digits.lab.evaluation.metrics import Predictions, evaluate
from spoken_digits.lab.export import export
from spoken_digits.lab.runs import commit, write_json
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import predict, train
from spoken_digits.recognize import SHIPPED_MODEL

__all__ = ["Trust", "own_config", "read_start", "train_own"]

MOST_FOLDS = 5  # with more speakers than these, they are left out in groups
EPOCHS, STARTED_EPOCHS = 20, 12
LEAST_CLIPS, MOST_CLIPS = 640, 4000  # an epoch's: few recordings are heard often, each time changed
STARTED_RATE = 1e-3  # gentle with weights that know much already


@dataclass(frozen=True)
class Trust:
    """How far to trust a model: `text` for people, and what speakers left out came to, or None."""

    text: str
    accuracy: float | None
    per_speaker: dict[str, float]


def read_start(start: str) -> tuple[TrainConfig, dict[str, Tensor]]:
    """Read weights to start from, and their recipe: ``shipped``, or a .safetensors file.

    The last layer, which knows other words, is left out.

    Raises
    ------
    ConfigError
        When there is no such file, or none that ``train --export`` wrote.
    """
    import tomllib

    path = SHIPPED_MODEL.with_suffix(".safetensors") if start == "shipped" else Path(start)
    try:
        with safe_open(path, framework="pt") as file:
            recipe = file.metadata()["config"]
            weights = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if not name.startswith("head.")
            }
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; expected 'shipped', or weights that spoken-digits train "
            "shipped --export wrote"
        ) from None
    except (SafetensorError, KeyError, TypeError):
        raise ConfigError(
            f"{path}: no weights with their recipe; take the .safetensors file that spoken-digits "
            "train shipped --export wrote"
        ) from None
    return TrainConfig.from_dict(tomllib.loads(recipe), str(path)), weights


def own_config(config: TrainConfig, given: Sequence[str], start: TrainConfig | None) -> TrainConfig:
    """Return the recipe for few recordings: of `config`, the keys that were `given` stand."""
    values: dict[str, object] = {
        "split": "own",
        "augmentation": "robust",
        "epochs": EPOCHS,
        "temperature": 0.7,
    }
    if start is not None:
        values |= {"model": start.model, "front_end": start.front_end}
        values |= {"epochs": STARTED_EPOCHS, "learning_rate": STARTED_RATE}
    kept = {key: value for key, value in values.items() if key not in given}
    return replace(config, **kept)  # type: ignore[arg-type]


def train_own(
    config: TrainConfig,
    clips: Sequence[Clip],
    directory: Path,
    command: str,
    initial: dict[str, Tensor] | None = None,
    quiet: bool = True,
) -> tuple[Path, Trust]:
    """Train on all clips, and find out how far to trust it; the exported model, and that.

    Parameters
    ----------
    config
        The recipe, see `own_config`.
    clips
        Recordings of two words or more.
    directory
        Of the run; made if it is missing.
    command
        What was called, for the model's metadata.
    initial
        Weights to start from.
    quiet
        No progress on standard error.

    Raises
    ------
    ConfigError
        When there are fewer than two words, or `directory` holds another run.
    """
    torch.set_num_threads(1)
    labels = sorted({clip.label for clip in clips})
    if len(labels) < 2:
        raise ConfigError(
            f"{', '.join(labels) or 'no word'}: one word, expected two or more to tell apart; add "
            "recordings of others, as <label>/<speaker>_<take>.wav"
        )
    dataset = prepare(clips, directory.parent / ".prepared")
    trust = _trust(config, dataset, directory, initial, quiet)
    rows = np.arange(len(clips))
    net = train(
        _sized(config, len(clips)),
        dataset,
        rows,
        directory,
        quiet=quiet,
        probabilities=_shares(dataset, rows),
        initial=initial,
    )
    speakers = sorted({clip.speaker for clip in clips})
    environment = {
        "command": command,
        "commit": commit(),
        "version": spoken_digits.__version__,
        "parameters": sum(p.numel() for p in net.parameters()),
        "labels": list(dataset.label_names),
        "data": {
            "corpus": clips[0].corpus,
            "clips": len(clips),
            "hash": data_hash(clips),
            "licence": "that of the recordings",
            "train_speakers": speakers,
            "accuracy_on_speakers_left_out": trust.accuracy,
        },
    }
    write_json(directory / "environment.json", environment)
    write_json(
        directory / "evaluation.json",
        {"trust": trust.text, "accuracy": trust.accuracy, "per_speaker": trust.per_speaker},
    )
    return export(directory), trust


def _sized(config: TrainConfig, clips: int) -> TrainConfig:
    return replace(config, clips_per_epoch=min(max(clips, LEAST_CLIPS), MOST_CLIPS))


def _shares(dataset: Dataset, rows: IntArray) -> np.ndarray:
    chosen = [dataset.clips[row] for row in rows]
    return balanced_probabilities(
        dataset.targets[rows], [c.corpus for c in chosen], [c.speaker for c in chosen], {}
    )


def _trust(
    config: TrainConfig,
    dataset: Dataset,
    directory: Path,
    initial: dict[str, Tensor] | None,
    quiet: bool,
) -> Trust:
    """Leave speakers out, each or in groups, train on the others, and see how they are heard."""
    names = np.array([clip.speaker for clip in dataset.clips])
    speakers = sorted(set(names))
    if len(speakers) == 1:
        return Trust(
            f"WARNING: one speaker, {speakers[0]}: how well it hears other voices cannot be told, "
            "and it is likely to be poor; record other people too",
            None,
            {},
        )
    folds = min(len(speakers), MOST_FOLDS)
    tested: list[IntArray] = []
    scores = []
    for fold in range(folds):
        held = np.isin(names, speakers[fold::folds])
        rows, test = np.flatnonzero(~held), np.flatnonzero(held)
        unheard = sorted(set(dataset.targets) - set(dataset.targets[rows]))
        if unheard:
            words = ", ".join(dataset.label_names[i] for i in unheard)
            return Trust(
                f"WARNING: {words}: said by speakers of one group only; how well it hears other "
                "voices cannot be told; have every word said by several people",
                None,
                {},
            )
        if not quiet:
            print(f"leaving speakers out, {fold + 1} of {folds}", file=sys.stderr, flush=True)
        net = train(
            _sized(config, len(rows)),
            dataset,
            rows,
            directory / f"left-out-{fold}",
            quiet=True,
            probabilities=_shares(dataset, rows),
            initial=initial,
        )
        scores.append(predict(net, dataset, test)[0])
        tested.append(test)
    test = np.concatenate(tested)
    clips = [dataset.clips[row] for row in test]
    judged = evaluate(Predictions.of(clips, np.concatenate(scores), dataset.label_names))
    shares = {name: score.accuracy for name, score in judged.per_speaker.items()}
    worst = min(shares, key=lambda name: shares[name])
    fewest = min(Counter(clip.label for clip in dataset.clips).values())
    low, high = judged.wilson
    text = (
        f"of voices it had not heard, {judged.accuracy:.1%} of {len(clips):,} recordings "
        f"({low:.1%} to {high:.1%}; {len(speakers)} speakers, left out "
        f"{'one at a time' if folds == len(speakers) else f'in {folds} groups'}; "
        f"the hardest {worst}, {shares[worst]:.1%})"
    )
    if len(speakers) < 5 or fewest < 10:
        text += (
            f"; WARNING: {len(speakers)} speakers and at least {fewest} recordings a word are few: "
            "expect other voices to be heard worse or better by many points"
        )
    return Trust(text, judged.accuracy, shares)
