"""Results of studies made up by hand, for documents and pages to be made of."""

from dataclasses import replace

import numpy as np

from spoken_digits.lab.evaluation.metrics import LabelScore, SpeakerScore
from spoken_digits.lab.studies.results import (
    Condition,
    Method,
    Provenance,
    Row,
    Source,
    StudyResult,
)

PAIR = ("lucas", "yweweler")
DIGITS = tuple("0123456789")
METHOD = Method(
    model="cnn",
    front_end="ours",
    split="xsdr",
    augmentation="basic",
    extra="none",
    objective="cross-entropy",
    condition=Condition("clean"),
    learning_rate=0.004,
    weight_decay=0.02,
    training_speakers=4,
)
ORIGIN = Provenance(
    command="spoken-digits study models",
    commits=("0123456789abcdef0123456789abcdef01234567",),
    versions={"version": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
    corpus="fsdd",
    clips=3000,
    clips_tested=1000,
    sha256="ab" * 32,
    licence="CC BY-SA 4.0",
    training_speakers=("george", "jackson", "nicolas", "theo"),
    test_speakers=PAIR,
    seeds=(0, 1),
    seconds=786.5,
)


def row(accuracy, speakers=PAIR, sources=None, **factors):
    """Return a row of two seeds; the first speaker is a point worse, the last one better."""
    method = replace(METHOD, **factors)
    offsets = np.linspace(-0.01, 0.01, len(speakers))
    scores = {
        name: SpeakerScore(accuracy + float(offset), 500, "6", accuracy - 0.2)
        for name, offset in zip(speakers, offsets, strict=True)
    }
    right = 100 * accuracy
    confusion = np.full((10, 10), (100 - right) / 9) + np.eye(10) * (right - (100 - right) / 9)
    return Row(
        method=method,
        accuracy=accuracy,
        accuracy_sd=0.01,
        seeds=(0, 1),
        per_seed=(accuracy - 0.005, accuracy + 0.005),
        per_speaker=scores,
        per_speaker_seed={n: (s.accuracy - 0.005, s.accuracy + 0.005) for n, s in scores.items()},
        clips=500 * len(speakers),
        speaker_interval=(accuracy - 0.01, accuracy + 0.01),
        wilson_interval=(accuracy - 0.02, accuracy + 0.02),
        listed_accuracy=accuracy + 0.005,
        macro_f1=accuracy,
        ece=0.02,
        confusion=tuple(tuple(map(float, line)) for line in confusion),
        per_label={d: LabelScore(accuracy, accuracy, accuracy, 100) for d in DIGITS},
        parameters=64_123,
        epochs=30,
        folds=("xsdr",),
        sources=sources,
    )


def source(accuracy, on_the_pair):
    """Return what one training speaker is worth."""
    return Source(accuracy, 0.01, {"lucas": on_the_pair, "theo": accuracy}, on_the_pair)


def result(study, rows, **changes):
    """Return the result of a study; `changes` replace its fields, those of its origin too."""
    fields = {"question": f"What does {study} ask?", "comparisons": (), "inner": ()}
    fields |= {"name": study, "label_names": DIGITS, "rows": tuple(rows)}
    own = {key: value for key, value in changes.items() if key in StudyResult.__annotations__}
    origin = {key: value for key, value in changes.items() if key not in own}
    provenance = replace(ORIGIN, **{"command": f"spoken-digits study {study}", **origin})
    return StudyResult(**{"study": study, "provenance": provenance, **fields, **own})


# The models of a study whose strong one reaches 93.8 %, and one speaker beside synthetic speech.
MODELS = result(
    "models",
    [
        row(0.586, model="logistic-pool", front_end="original"),
        row(0.843, model="lstm"),
        row(0.938),
    ],
)
ONE_SPEAKER = result(
    "one-speaker",
    [
        row(0.767, split="single", training_speakers=1, sources={"george": source(0.75, 0.7508)}),
        row(
            0.925,
            split="single:george",
            training_speakers=1,
            extra="voices",
            augmentation="trimmed",
            sources={"george": source(0.91, 0.9498)},
        ),
    ],
)
