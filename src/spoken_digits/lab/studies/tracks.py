"""The study of tracks: what synthetic speech adds to recorded speakers, by engine and by number.

The speech of the engines has to be made first, see `synthetic.ENGINES`. Every run has as many
steps, whatever it draws its clips from.
"""

from dataclasses import replace

from spoken_digits.lab.studies.results import Method
from spoken_digits.lab.studies.study import Study

__all__ = ["ALL_ENGINES", "SPEAKERS", "STUDY"]

ALL_ENGINES = "kokoro:54+espeak-ng+flite-festival"
SPEAKERS = (10, 30, 54, 100, 200)  # of Kokoro; beyond 54, mixtures of two


def _reference(method: Method) -> Method:
    return replace(method, augmentation="basic", extra="none", grid="results")


STUDY = Study(
    name="tracks",
    question="What does synthetic speech add to four speakers, and to one?",
    sections={
        "defaults": {"clips_per_epoch": 2000},
        "models": {"cnn": {"epochs": 30, "temperature": 0.5}},
        "grids": {
            # Inside the training speakers: the policy with synthetic speech; without, it is known.
            "choice": {
                "split": "inner",
                "extra": "voices",
                "augmentation": ["basic", "trimmed"],
                "quick": False,
            },
            "results": {"seed": [0, 1, 2], "split": "xsdr", "augmentation": "basic"},
        },
        "quick": {"seed": [0], "epochs_factor": 0.1},
    },
    reference=_reference,
)
