"""The studies that ship, and how one is found by name or read from a user's TOML file."""

from dataclasses import replace
from pathlib import Path

from spoken_digits.lab.studies import (
    audiomnist,
    augmentation,
    contrastive,
    leave_one_out,
    models,
    noise,
    one_speaker,
    shipped,
    speech_commands,
    tracks,
)
from spoken_digits.lab.studies.generic import GENERIC
from spoken_digits.lab.studies.grid import check_sections
from spoken_digits.lab.studies.results import StudyResult
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.training.config import ConfigError, check_corpus_name, read_recipe

__all__ = [
    "RELEASE_STUDIES",
    "STUDIES",
    "find_study",
    "in_order",
    "not_run",
    "read_study",
    "studies",
    "study_of",
]


def studies() -> tuple[str, ...]:
    """Return the names of the studies that ship and need no corpus of their own, in their order."""
    return tuple(name for name, study in STUDIES.items() if study.corpus is None)


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
    about = sections["study"]
    corpus = about.get("corpus")
    if corpus is not None:
        check_corpus_name(corpus, f"{name}, study")
    question = about.get("question", "")
    return replace(GENERIC, name=path.stem, question=question, sections=sections, corpus=corpus)


def find_study(name: str) -> Study | None:
    """Return the study of that name that ships, None where there is none."""
    return STUDIES.get(name) or RELEASE_STUDIES.get(name)


def study_of(result: StudyResult) -> Study:
    """Return the study that a result belongs to; a generic one where none of that name ships."""
    return find_study(result.study) or replace(GENERIC, name=result.study, question=result.question)


def not_run(results: tuple[StudyResult, ...]) -> tuple[Study, ...]:
    """Return the studies of a corpus of their own that have no result yet, in their order."""
    found = {result.study for result in results}
    return tuple(study for study in STUDIES.values() if study.corpus and study.name not in found)


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
    "audiomnist": audiomnist.STUDY,
    "speech-commands": speech_commands.STUDY,
}
# Measured for a release: they take hours, or need speech that has to be made first, and are not
# among `all`.
RELEASE_STUDIES: dict[str, Study] = {
    "shipped": shipped.STUDY,
    "tracks": tracks.STUDY,
}
