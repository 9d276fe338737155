"""Grids: which runs the sections of a study mean."""

from itertools import product
from pathlib import Path

import pytest

from spoken_digits.lab.augmentation.policies import ALONE
from spoken_digits.lab.data.corpora import Clip, read_corpus
from spoken_digits.lab.data.splits import Split, SplitError, one_split
from spoken_digits.lab.studies.grid import check_sections, plan
from spoken_digits.lab.studies.registry import STUDIES, read_study, studies
from spoken_digits.lab.studies.study import Study
from spoken_digits.lab.studies.tasks import TASKS
from spoken_digits.lab.training.config import ConfigError

PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
FSDD = [
    Clip(Path(f"{digit}_{speaker}_{take}.wav"), str(digit), speaker, "fsdd")
    for digit in range(10)
    for speaker in PEOPLE
    for take in range(50)
]


def planned(grid, models=None, quick=False, corpus="fsdd", clips=FSDD, **sections):
    sections |= {
        "quick": {"epochs_factor": 0.5},
        "study": {},
        "models": models or {"cnn": {}},
        "grids": {"results": grid},
    }
    return plan(Study("mine", "", sections), corpus, clips, quick)


def test_lists_are_axes_and_families_are_folds_that_are_pooled():
    jobs = planned({"split": ["xsdr", "loso"], "seed": [0, 1], "learning_rate": [1e-3, 2e-3]})
    assert len(jobs) == (1 + 6) * 2 * 2
    assert {job.family for job in jobs if job.config.split == "xsdr"} == {""}
    assert {job.family for job in jobs if job.config.split.startswith("loso:")} == {"loso"}
    assert len({job.name for job in jobs}) == len(jobs)
    assert "cnn-ours-loso-theo-learning-rate-0.002-s1" in {job.name for job in jobs}


def test_alone_is_every_single_transform():
    jobs = planned({"augmentation": ["none", "alone"]})
    assert {job.config.augmentation for job in jobs} == {"none", *(f"alone:{a}" for a in ALONE)}
    for job in jobs:
        if job.config.augmentation != "none":
            assert job.config.policy == ALONE[job.config.augmentation.removeprefix("alone:")]


def test_the_later_section_wins():
    sections = {"defaults": {"epochs": 10, "batch_size": 8}}
    grid = {"batch_size": 16, "quick": {"seed": [5]}}
    (job,) = planned(grid, {"lstm": {"epochs": 20}}, quick=True, **sections)
    assert (job.config.epochs, job.config.batch_size, job.config.seed) == (10, 16, 5)
    (job,) = planned(grid, {"lstm": {"epochs": 20}}, **sections)
    assert (job.config.epochs, job.config.seed) == (20, 0)


def test_the_longest_come_first():
    jobs = planned({"seed": [0, 1]}, {"temporal-cnn": {}, "cnn": {}})
    assert [job.config.model for job in jobs] == ["cnn", "cnn", "temporal-cnn", "temporal-cnn"]


def test_without_fsdd_synthetic_voices_are_held_out():
    clips = read_corpus("voices")
    jobs = planned({"split": ["xsdr", "single:george"]}, corpus="voices", clips=clips)
    assert [job.config.split for job in jobs] == ["synthetic"]
    jobs = planned({"extra": ["none", "voices"], "split": "xsdr"}, corpus="voices", clips=clips)
    assert [job.config.extra for job in jobs] == ["none"]


def test_fewer_clips_of_synthetic_speech_are_passed_over_more_often():
    clips = read_corpus("voices")
    factor = {"synthetic": {"epochs_factor": 3.0}}
    grid = {"split": "xsdr", "epochs_factor": 0.5}
    (job,) = planned(grid, {"cnn": {"epochs": 20}}, corpus="voices", clips=clips, **factor)
    assert job.config.epochs == 30
    (job,) = planned(grid, {"cnn": {"epochs": 20}}, **factor)
    assert job.config.epochs == 10


MINE = """
[study]
question = "Which one?"
[models.cnn]
[grids.results]
split = "xsdr"
seed = [0, 1]
"""


def test_a_study_of_ones_own_is_read_from_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    study = read_study(str(path))
    assert (study.name, study.question) == ("mine", "Which one?")
    assert [job.config.seed for job in plan(study, "fsdd", FSDD)] == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[models.cnn]", "[models]"), r"mine.toml: no models; expected a section \[models.NAME\]"),
        (("question", "wondering"), "mine.toml, study: unknown key 'wondering'"),
        (("[study]", "[studying]"), "mine.toml: unknown key 'studying'"),
    ],
)
def test_a_study_that_is_wrong_is_refused_by_section_and_key(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(*change))
    with pytest.raises(ConfigError, match=message):
        read_study(str(path))


def test_a_study_may_name_its_corpus(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace("[models", 'corpus = "audiomnist"\n[models', 1))
    assert read_study(str(path)).corpus == "audiomnist"
    path.write_text(MINE.replace("[models", 'corpus = "an4"\n[models', 1))
    message = r"mine.toml, study: corpus = 'an4': expected one of fsdd, speech_commands, audiomni"
    with pytest.raises(ConfigError, match=message):
        read_study(str(path))


def test_an_unknown_study_is_told_which_ship():
    with pytest.raises(ConfigError, match=r"model: no such study; .* models, augmentation"):
        read_study("model")


def test_a_name_on_both_sides_is_refused_when_voices_join():
    split = one_split("xsdr", FSDD)
    stranger = Clip(Path("0_lucas_99.wav"), "0", "lucas", "voices")
    with pytest.raises(SplitError, match="lucas on both sides"):
        Split(split.name, (*split.train, stranger), split.test)


def hours_of(jobs):
    """Hours of two cores."""
    sizes = {s: len(one_split(s, FSDD).train) for s in {job.config.split for job in jobs}}
    return sum(job.seconds(sizes[job.config.split]) for job in jobs) / 2 / 3600


# Their own corpora, by speaker and label alone.
OWN = {
    "audiomnist": [
        Clip(Path(f"{digit}_{speaker:02}_{take}.wav"), str(digit), f"{speaker:02}", "audiomnist")
        for digit, speaker, take in product(range(10), range(1, 61), range(50))
    ],
    "speech_commands": [
        Clip(Path(f"{index}.wav"), str(index % 35), f"{side}{index // 40}", "speech_commands", side)
        for side, count in (("training", 84_843), ("validation", 9_981), ("testing", 11_005))
        for index in range(count)
    ],
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.corpus])
def test_every_study_of_a_corpus_of_its_own_can_be_run(name, quick):
    study = read_study(name)
    assert (study.name, study.question[-1]) == (name, "?")
    check_sections(name, {"study": {}, **study.sections})
    jobs = plan(study, study.corpus, OWN[study.corpus], quick)
    folds = {"audiomnist": [f"audiomnist:{fold}" for fold in range(5)]}
    assert sorted({job.config.split for job in jobs}) == folds.get(name, [study.corpus])
    assert {job.family for job in jobs} == {"audiomnist" if name in folds else ""}
    assert {job.config.seed for job in jobs} == ({0} if quick else {0, 1, 2})
    sizes = {"audiomnist": 18_000, "speech_commands": 84_843}  # training clips of a fold
    seconds = sum(job.seconds(sizes[study.corpus]) for job in jobs) / 2  # two cores
    assert seconds < (3 * 60 if quick else 2 * 3600)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", studies())
def test_every_study_that_ships_can_be_run(name, quick):
    study = read_study(name)
    assert study.name == name
    assert study.question.endswith("?")
    check_sections(name, {"study": {}, **study.sections})
    jobs = plan(study, "fsdd", FSDD, quick)
    assert not quick or hours_of(jobs) < 4 / 60
    for job in jobs:
        assert isinstance(job.config, TASKS[job.task].recipe)
        # What is chosen is chosen inside the training speakers.
        if job.grid in ("learning-rate", "weight-decay", "curves"):
            assert job.config.split.startswith("inner:")


@pytest.mark.parametrize(("quick", "hours"), [(False, 12), (True, 1 / 3)])
def test_all_studies_together_fit_their_time_on_two_cores(quick, hours):
    assert sum(hours_of(plan(read_study(name), "fsdd", FSDD, quick)) for name in studies()) < hours


def test_the_studies_that_ship():
    assert studies() == tuple(STUDIES)[:6]
    assert tuple(STUDIES)[6:] == ("audiomnist", "speech-commands")  # of corpora of their own
    results = [job for job in plan(read_study("models"), "fsdd", FSDD) if job.grid == "results"]
    assert {job.config.front_end for job in results} == {"ours", "original"}
    assert {job.config.seed for job in results} == {0, 1, 2, 3, 4}
    assert len({job.config.model for job in results}) == 8
    sources = plan(read_study("one-speaker"), "fsdd", FSDD)
    assert {job.config.split for job in sources} == {f"single:{name}" for name in PEOPLE}
    assert {job.config.extra for job in sources} == {"none", "voices"}
