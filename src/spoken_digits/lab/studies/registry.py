"""The studies that ship, and how one is found by name or read from a user's TOML file."""

from dataclasses import replace
from pathlib import Path

from spoken_digits.lab.studies import (
    augmentation,
    contrastive,
    leave_one_out,
    models,
    noise,
    one_speaker,
    shipped,
    tracks,
)
from spoken_digits.lab.studies.generic import GENERIC
from spoken_digits.lab.studies.grid import check_sections
from spoken_digits.lab.studies.results import StudyResult
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.training.config import ConfigError, read_recipe

__all__ = [
    "RELEASE_STUDIES",
    "STUDIES",
    "find_study",
    "in_order",
    "read_study",
    "studies",
    "study_of",
]


def studies() -> tuple[str, ...]:
    """Return the names of the studies that ship, in the order in which they are read."""
    return tuple(STUDIES)


def read_study(name: str) -> Study:
    """Return a study that ships, or read one from a TOML file of the form that `grid` describes.

    Raises
    ------
    ConfigError
        When there is none, or a section or key of the file is unknown or of the wrong type.
    """
    if study := find_study(name):
        return study
    path = Path(name)
    if not path.suffix and not path.exists():
        raise ConfigError(
            f"{name}: no such study; give a .toml file or the name of one that ships: "
            f"{', '.join((*STUDIES, *RELEASE_STUDIES))}"
        )
    sections = read_recipe(name)
    check_sections(name, sections)
    question = sections["study"].get("question", "")
    return replace(GENERIC, name=path.stem, question=question, sections=sections)


def find_study(name: str) -> Study | None:
    """Return the study of that name that ships, None where there is none."""
    return STUDIES.get(name) or RELEASE_STUDIES.get(name)


def study_of(result: StudyResult) -> Study:
    """Return the study that a result belongs to; a generic one where none of that name ships."""
    return find_study(result.study) or replace(GENERIC, name=result.study, question=result.question)


def in_order(results: tuple[StudyResult, ...]) -> tuple[StudyResult, ...]:
    """Sort results in the order of the studies that ship; others come last, by name."""
    places = {name: place for place, name in enumerate((*STUDIES, *RELEASE_STUDIES))}
    return tuple(sorted(results, key=lambda r: (places.get(r.study, len(places)), r.name)))


STUDIES: dict[str, Study] = {
    "models": models.STUDY,
    "augmentation": augmentation.STUDY,
    "one-speaker": one_speaker.STUDY,
    "contrastive": contrastive.STUDY,
    "leave-one-out": leave_one_out.STUDY,
    "noise": noise.STUDY,
}
# Measured for a release: they take hours, or need speech that has to be made first, and are not
# among `all`.
RELEASE_STUDIES: dict[str, Study] = {
    "shipped": shipped.STUDY,
    "tracks": tracks.STUDY,
}
