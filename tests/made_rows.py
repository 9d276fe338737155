"""Rows made by hand, for tests of comparisons and sentences."""

import numpy as np

from spoken_digits.lab.evaluation.metrics import LabelScore, SpeakerScore, cluster_bootstrap, wilson
from spoken_digits.lab.evaluation.schema import Condition
from spoken_digits.lab.studies.results import Method, Provenance, Row, StudyResult

TWO = ("lucas", "yweweler")
SIX = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def method(**changes):
    factors = {
        "model": "cnn",
        "front_end": "ours",
        "split": "xsdr",
        "augmentation": "basic",
        "extra": "none",
        "objective": "cross-entropy",
        "condition": Condition(),
        "learning_rate": 4e-3,
        "weight_decay": 0.02,
        "training_speakers": 4,
    }
    return Method(**(factors | changes))


def row(by_speaker, clips=500, sources=None, folds=("xsdr",), **changes):
    """A row of accuracies: for each speaker one a seed."""
    table = np.array(list(by_speaker.values()), float)  # (K, S)
    mean, n = float(table.mean()), clips * len(by_speaker)
    seeds = table.shape[1]
    return Row(
        method=method(**changes),
        accuracy=mean,
        accuracy_sd=float(table.mean(axis=0).std(ddof=1)) if seeds > 1 else None,
        seeds=tuple(range(seeds)),
        per_seed=tuple(map(float, table.mean(axis=0))),
        per_speaker={
            name: SpeakerScore(float(np.mean(values)), clips, "3", 0.5)
            for name, values in by_speaker.items()
        },
        per_speaker_seed={name: tuple(map(float, v)) for name, v in by_speaker.items()},
        clips=n,
        speaker_interval=cluster_bootstrap(table.mean(axis=1), np.random.default_rng(0)),
        wilson_interval=wilson(mean * n, n),
        listed_accuracy=None,
        macro_f1=mean,
        ece=0.05,
        confusion=((1.0, 0.0), (0.5, 0.5)),
        per_label={"0": LabelScore(0.5, 0.5, 0.5, clips)},
        parameters=1000,
        epochs=30,
        folds=folds,
        sources=sources,
    )


def result(rows, comparisons=(), study="mine", inner=(), question="Which one?"):
    speakers = tuple(sorted({name for each in rows for name in each.per_speaker}))
    return StudyResult(
        study=study,
        name=study,
        question=question,
        label_names=tuple("0123456789"),
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        inner=tuple(inner),
        provenance=Provenance(
            command=f"spoken-digits study {study}",
            commits=("0123456789abcdef", "fedcba9876543210"),
            versions={"torch": "2"},
            corpus="fsdd",
            clips=3000,
            clips_tested=1000,
            sha256="ab" * 32,
            licence="CC BY-SA 4.0",
            training_speakers=tuple(sorted(set(SIX) - set(speakers))),
            test_speakers=speakers,
            seeds=(0, 1, 2),
            seconds=60.0,
        ),
    )
