"""Tasks: what a run of a study does with its clips, and under which conditions it is tested.

A task is a function of a recipe and rows of a dataset that works in a run directory and returns the
scores of the test rows under each of its conditions, the main one first. Whatever it trains, it
leaves in the run directory, so that a run that was killed goes on from there.

Shapes: N clips, L samples, K samples of a recording, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.data.dataset import Dataset, IntArray
from spoken_digits.lab.data.noise import find_noises, read_noise
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.contrastive import PretrainConfig, contrastive_scores
from spoken_digits.lab.training.supervised import claim, key_of, load_network, predict, train

__all__ = ["NOISES_DB", "TASKS", "Bench", "Task", "disturbed", "recorded_noise"]

NOISES_DB = (20, 10, 5, 0)
RT60_S = (0.3, 0.6)
DIRECT_TO_REVERBERANT_DB = (0.0, 6.0)

FloatArray = NDArray[np.float32]
Scores = dict[str, FloatArray]


@dataclass(frozen=True)
class Bench:
    """What a run works on.

    `rows` are trained on, `test_rows` tested; `data` is the folder of corpora. Whether training
    speakers were left out, who may be watched while training, is `may_watch`.
    """

    dataset: Dataset
    rows: IntArray
    test_rows: IntArray
    run_dir: Path
    data: Path | None = None
    may_watch: bool = False
    quiet: bool = True


def _train(config: TrainConfig, bench: Bench) -> Scores:
    """Train, test."""
    return {"test": predict(_trained(config, bench), bench.dataset, bench.test_rows)[0]}


def _contrastive(config: TrainConfig, bench: Bench) -> Scores:
    """Pre-train without labels, then test what few and many labels make of it."""
    assert isinstance(config, PretrainConfig)
    claim(bench.run_dir, config)
    return contrastive_scores(
        config, bench.dataset, bench.rows, bench.test_rows, bench.run_dir, bench.quiet
    )


def _noise(config: TrainConfig, bench: Bench) -> Scores:
    """Train on the recipe's terms, then test on clips as they are, in noise, and in a room.

    Every network meets the same noise. Noise comes over the prepared clip: what finding the
    speech in noise would cost is not in these numbers.
    """
    net = _trained(config, bench)
    scores = {"clean": predict(net, bench.dataset, bench.test_rows)[0]}
    recording = recorded_noise(bench.data)
    # Without the recordings, noise between brown and white is made, and never called recorded.
    other = "made" if recording is None else "recorded"
    conditions = [f"{kind}-{snr_db}" for kind in ("white", other) for snr_db in NOISES_DB]
    for condition in (*conditions, "reverberation"):
        changed = disturbed(bench.dataset, bench.test_rows, condition, recording)
        scores[condition] = predict(net, changed, bench.test_rows)[0]
    return scores


def _trained(config: TrainConfig, bench: Bench) -> DigitNet:
    """Train, or take the network that an earlier call has finished in the run directory."""
    if (bench.run_dir / "model.safetensors").exists():
        claim(bench.run_dir, config)
        return load_network(bench.run_dir)[1]
    watched = bench.test_rows if bench.may_watch else None
    return train(config, bench.dataset, bench.rows, bench.run_dir, watched, bench.quiet)


def disturbed(
    dataset: Dataset, rows: IntArray, condition: str, recording: Tensor | None = None
) -> Dataset:
    """Return the dataset with some rows disturbed; the same rows are always disturbed alike.

    Parameters
    ----------
    dataset, rows
        Prepared clips and which of them to disturb.
    condition
        ``white-<dB>``, ``made-<dB>`` (between brown and white) or ``recorded-<dB>``, at that
        signal-to-noise ratio over the clip; ``reverberation``, in made rooms with an RT60 of 0.3 to
        0.6 s.
    recording
        Noise (K,) for ``recorded``.
    """
    kind, _, snr_db = condition.partition("-")
    samples = np.array(dataset.samples)
    for position, row in enumerate(rows):
        generator = Generator().manual_seed(key_of(0, 6, position))
        start, length = int(dataset.starts[row]), int(dataset.lengths[row])
        clip = torch.from_numpy(samples[start : start + length].copy())[None]  # (1, L)
        lengths = torch.tensor([length])
        if kind == "reverberation":
            rt60_s, ratio_db = (
                low + (high - low) * torch.rand(1, generator=generator)
                for low, high in (RT60_S, DIRECT_TO_REVERBERANT_DB)
            )
            room = waveforms.make_responses(generator, rt60_s, ratio_db)
            changed = waveforms.reverberate(clip, lengths, room)
        else:
            if kind == "recorded":
                assert recording is not None
                noise = waveforms.random_stretches((1, length), generator, recording)
            else:
                steepest = -2.0 if kind == "made" else 0.0
                exponent = steepest * torch.rand(1, generator=generator)
                noise = waveforms.colored_noise((1, length), generator, exponent)
            changed = waveforms.add_noise(clip, lengths, noise, torch.tensor([float(snr_db)]))
        samples[start : start + length] = changed[0].numpy()
    return replace(dataset, samples=samples)


@lru_cache(maxsize=1)
def recorded_noise(data: Path | str | None = None) -> Tensor | None:
    """Read Speech Commands' background noises, end to end at 8 kHz (K,); None without them.

    Nothing here is trained on them.
    """
    noises = [read_noise(file) for file in find_noises(data)]
    return torch.from_numpy(np.concatenate(noises)) if noises else None


@dataclass(frozen=True)
class Task:
    """An entry of the registry: what runs, and the class of its recipes."""

    run: Callable[[TrainConfig, Bench], Scores]
    recipe: type[TrainConfig] = TrainConfig


TASKS: dict[str, Task] = {
    "train": Task(_train),
    "noise": Task(_noise),
    "contrastive": Task(_contrastive, PretrainConfig),
}
