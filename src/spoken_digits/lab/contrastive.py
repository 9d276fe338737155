"""Contrastive pre-training: what can be learned without labels, and what it is worth.

A network learns to know a clip again in another voice: each clip is heard twice, changed in pitch,
formants, tempo and channel, and the two must lie nearer to each other than to other clips
(SimCLR, Chen et al. 2020). Then labels come in: a linear probe and nearest neighbours on the frozen
embedding, and fine-tuning with few labels, beside the same network trained from scratch with the
same labels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spoken_digits.lab.dataset import Dataset, IntArray
from spoken_digits.lab.train import TrainConfig

__all__ = ["PretrainConfig", "contrastive_scores"]


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """What pre-training is made of: the keys of `TrainConfig`, some with other defaults.

    `augmentation` names the policy that makes the views.
    """

    batch_size: int = 256


def contrastive_scores(
    config: PretrainConfig,
    dataset: Dataset,
    rows: IntArray,
    test_rows: IntArray,
    run_dir: Path,
    quiet: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Pre-train on some rows without their labels, then test what the labels make of it.

    Goes on where an earlier call in `run_dir` was cut off.

    Returns
    -------
    Scores of the test rows (N, C) for each condition, higher for the likelier digit (logits, or
    shares of neighbours): ``probe`` and ``knn`` with all labels on the frozen embedding,
    ``untrained`` (the probe on a network that never learned), and, with 1, 5, 20 or all labels for
    each digit and speaker, ``finetune-1`` to ``finetune-all`` beside ``scratch-1`` to
    ``scratch-all``.
    """
    raise NotImplementedError
