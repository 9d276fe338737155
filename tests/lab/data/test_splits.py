import dataclasses
from itertools import product
from pathlib import Path

import pytest
from made_corpora import published_side, write_speech_commands

from spoken_digits.lab.data.corpora import Clip, read_corpus
from spoken_digits.lab.data.splits import (
    AUDIOMNIST_GROUPS,
    SPLITS,
    Split,
    SplitError,
    named_splits,
    one_split,
    split_by_speaker,
)

FSDD = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def clips_of(*speakers: str, corpus: str = "fsdd") -> tuple[Clip, ...]:
    return tuple(
        Clip(Path(corpus, f"{digit}_{speaker}_0.wav"), digit, speaker, corpus)
        for digit, speaker in product("0123456789", speakers)
    )


def sides(name: str, clips: tuple[Clip, ...]) -> dict[str, tuple[tuple[str, ...], ...]]:
    splits = named_splits(name, clips)
    return {split.name: (split.train_speakers, split.test_speakers) for split in splits}


def test_split_by_speaker_puts_every_clip_on_one_side():
    clips = clips_of("anna", "bert", "carl")
    split = split_by_speaker(clips, ["bert"], "mine")
    assert (split.name, split.train_speakers, split.test_speakers) == (
        "mine",
        ("anna", "carl"),
        ("bert",),
    )
    assert len(split.train) + len(split.test) == len(clips)
    assert set(split.train + split.test) == set(clips)


def test_a_shared_speaker_raises_and_is_named():
    clips = clips_of("anna", "bert")
    with pytest.raises(SplitError, match="split 'leaky': bert on both sides"):
        Split("leaky", clips, clips_of("bert", "carl"))


def test_an_unknown_speaker_names_those_at_hand():
    with pytest.raises(SplitError, match=r"no clips of bret; .* are anna, bert"):
        split_by_speaker(clips_of("anna", "bert"), ["bret"])


@pytest.mark.parametrize(("held_out", "side"), [((), "test"), (("anna", "bert"), "training")])
def test_an_empty_side_raises_and_is_named(held_out, side):
    with pytest.raises(SplitError, match=f"the {side} side is empty"):
        split_by_speaker(clips_of("anna", "bert"), held_out)


def test_xsdr_tests_on_lucas_and_yweweler():
    assert sides("xsdr", clips_of(*FSDD)) == {
        "xsdr": (("george", "jackson", "nicolas", "theo"), ("lucas", "yweweler"))
    }


def test_xsdr_needs_all_six_speakers():
    with pytest.raises(SplitError, match="no clips of theo; use the whole corpus"):
        named_splits("xsdr", clips_of(*FSDD[:4], "yweweler"))


def test_fewer_of_the_training_speakers_are_tested_as_all_of_them():
    for count, folds in ((1, 4), (2, 6), (3, 4)):
        found = sides(f"xsdr-{count}", clips_of(*FSDD))
        assert len({train for train, _ in found.values()}) == len(found) == folds
        for train, test in found.values():
            assert len(train) == count
            assert {*train} <= {"george", "jackson", "nicolas", "theo"}
            assert test == ("lucas", "yweweler")
    assert found["xsdr-3:george+jackson+theo"][0] == ("george", "jackson", "theo")
    assert one_split("xsdr-2:jackson+theo", clips_of(*FSDD)).train_speakers == ("jackson", "theo")


def test_inner_never_sees_the_speakers_that_xsdr_tests_on():
    found = sides("inner", clips_of(*FSDD))
    assert list(found) == ["inner:george", "inner:jackson", "inner:nicolas", "inner:theo"]
    assert found["inner:theo"] == (("george", "jackson", "nicolas"), ("theo",))
    assert not {"lucas", "yweweler"} & {s for fold in found.values() for side in fold for s in side}


def test_single_trains_on_one_and_tests_on_the_five_others():
    found = sides("single", clips_of(*FSDD))
    assert len(found) == 6
    assert found["single:lucas"] == (
        ("lucas",),
        ("george", "jackson", "nicolas", "theo", "yweweler"),
    )


def test_loso_leaves_each_speaker_out_once():
    found = sides("loso", clips_of(*FSDD))
    assert [test for _, (test,) in found.values()] == list(FSDD)
    assert all(len(train) == 5 for train, _ in found.values())


def test_one_fold_can_be_named():
    assert list(sides("inner:theo", clips_of(*FSDD))) == ["inner:theo"]
    with pytest.raises(SplitError, match=r"'inner:lucas': no such fold, .* inner:george"):
        named_splits("inner:lucas", clips_of(*FSDD))


def test_one_split_is_one_fold_and_several_are_named():
    assert one_split("inner:theo", clips_of(*FSDD)).test_speakers == ("theo",)
    assert one_split("xsdr", clips_of(*FSDD)).test_speakers == ("lucas", "yweweler")
    with pytest.raises(SplitError, match=r"'inner': 4 folds, .* inner:george, .* inner:theo$"):
        one_split("inner", clips_of(*FSDD))


def test_an_unknown_split_names_the_known():
    with pytest.raises(SplitError, match=f"unknown, expected one of {', '.join(SPLITS)}"):
        named_splits("xdsr", clips_of(*FSDD))


def test_audiomnist_folds_are_disjoint_and_test_on_each_of_sixty_once():
    everyone = tuple(f"{number:02d}" for number in range(1, 61))
    found = sides("audiomnist", clips_of(*everyone, corpus="audiomnist"))
    assert list(found) == [f"audiomnist:{fold}" for fold in range(5)]
    assert sorted(speaker for _, test in found.values() for speaker in test) == list(everyone)
    assert all(len(train) == 36 and len(test) == 12 for train, test in found.values())


def test_audiomnist_folds_are_those_published():
    # Becker et al.: the first fold trains on the first three groups, keeps the fourth for choices.
    everyone = [speaker for group in AUDIOMNIST_GROUPS for speaker in group]
    train, test = sides("audiomnist", clips_of(*everyone, corpus="audiomnist"))["audiomnist:0"]
    assert test == ("05", "13", "18", "22", "26", "32", "33", "42", "45", "51", "52", "60")
    assert not {"12", "47", "59", "15", "27", "41", "04", "11", "21", "31", "44", "50"} & {*train}


def test_audiomnist_needs_all_sixty():
    with pytest.raises(SplitError, match="split 'audiomnist': no clips of"):
        named_splits("audiomnist", clips_of("01", "02", corpus="audiomnist"))


def test_speech_commands_trains_and_tests_on_its_published_sides(tmp_path):
    clips = read_corpus(write_speech_commands(tmp_path / "speech_commands"))
    split = one_split("speech_commands", clips)
    for side, of in (("training", split.train_speakers), ("testing", split.test_speakers)):
        assert of == tuple(sorted({c.speaker for c in clips if published_side(c.speaker) == side}))
        assert len(of) >= 2
    assert len(split.train) + len(split.test) < len(clips)  # those for validation are on no side


def test_a_part_of_speech_commands_without_lists_has_no_published_split(tmp_path):
    folder = write_speech_commands(tmp_path / "speech_commands", 0, 1, 1)
    (folder / "testing_list.txt").unlink()
    with pytest.raises(SplitError, match=r"'speech_commands': no recording .* testing_list\.txt: "):
        one_split("speech_commands", read_corpus(folder))


# Names that stand on the published lists of v0.02, eight of each: the rule gives their sides.
LISTED = {
    "testing": "8769c34c 8fe67225 189cbabe f9643d42 d5b963aa 0cb74144 63f7a489 e0c782d5",
    "validation": "257e17e0 f84762e5 ccca5655 8a90cf67 96c67073 1a9afd33 4e6902d0 fa52ddf6",
}


@pytest.mark.parametrize("side", LISTED)
def test_the_rule_that_made_the_lists_gives_what_stands_on_them(side):
    assert {published_side(speaker) for speaker in LISTED[side].split()} == {side}


def test_synthetic_holds_out_every_fourth_tts_voice():
    (split,) = named_splits("synthetic", read_corpus("voices"))
    names = sorted({clip.speaker for clip in read_corpus("voices")})
    assert split.name == "synthetic"
    assert split.test_speakers == tuple(names[3::4])
    assert len(split.test_speakers) == 13
    assert len(split.train_speakers) == 40
    accents = {name.partition("-")[0] for name in split.test_speakers}
    assert len(accents) >= 6


def test_every_split_of_fsdd_keeps_speakers_apart_and_loses_no_test_clip(data_root):
    clips = read_corpus("fsdd", data_root)
    for name in ("xsdr", "inner", "single", "loso"):
        for split in named_splits(name, clips):
            assert not {c.speaker for c in split.train} & {c.speaker for c in split.test}
            assert len(split.test) == 500 * len(split.test_speakers)
    (xsdr,) = named_splits("xsdr", clips)
    assert (len(xsdr.train), len(xsdr.test)) == (2_000, 1_000)


def test_a_split_cannot_be_changed():
    split = split_by_speaker(clips_of("anna", "bert"), ["bert"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.train = split.test
