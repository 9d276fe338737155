from collections.abc import Iterable
from pathlib import Path

import pytest

from spoken_digits.lab.data.corpora import DIGITS, Clip, CorpusError
from spoken_digits.lab.data.pooled import (
    FOLDS,
    OpenSet,
    is_held_out,
    left_out,
    noise_files,
    open_set,
    parts,
)
from spoken_digits.lab.data.splits import SplitError

WORDS = ("cat", "dog", "go", "up")
READERS = 5 * 10 * 8  # they ship, and are always there


def gather(pooled_corpora: Path, split: str, tmp_path: Path, share: float = 0.25) -> OpenSet:
    return open_set(split, tmp_path, pooled_corpora, pooled_corpora / "made", share)


def people(clips: Iterable[Clip]) -> set[tuple[str, str]]:
    return {(clip.corpus, clip.speaker) for clip in clips}


def test_open_trains_on_everything_and_a_corpus_is_left_out_whole(
    pooled_corpora: Path, tmp_path: Path
) -> None:
    everything = gather(pooled_corpora, "open", tmp_path)
    assert len(everything.clips) == 60 + 6 * 14 + 24 + READERS
    assert everything.test == everything.test_noises == ()
    without = gather(pooled_corpora, "open:fsdd", tmp_path)
    assert {clip.corpus for clip in without.test} == {"fsdd"}
    assert {clip.corpus for clip in without.clips} == {
        "speech_commands",
        "voices",
        "flite-festival",
    }
    described = everything.describe()
    assert described["clips"] == 168 + READERS
    assert len(str(described["hash"])) == 64


def test_folds_share_no_speaker_no_word_and_no_noise_with_what_is_trained_on(
    pooled_corpora: Path, tmp_path: Path
) -> None:
    tested: list[Clip] = []
    noises: list[Path] = []
    for fold in range(FOLDS):
        gathered = gather(pooled_corpora, f"open:{fold}", tmp_path)
        assert not people(gathered.test) & people(gathered.clips)
        words = {clip.label for clip in gathered.test} - set(DIGITS)
        assert words
        assert not words & {clip.label for clip in gathered.clips}
        assert not set(gathered.test_noises) & set(noise_files(f"open:{fold}", pooled_corpora)[0])
        tested += gathered.test
        noises += gathered.test_noises
    digits = [clip for clip in tested if clip.label in DIGITS]
    assert len(digits) == len({clip.file for clip in digits}) == 120  # each is left out once
    assert {clip.label for clip in tested} - set(DIGITS) == set(WORDS)
    assert len(noises) == len(set(noises)) == 3


def test_what_strings_are_judged_on_is_left_out_as_one_split(
    pooled_corpora: Path, tmp_path: Path
) -> None:
    gathered = gather(pooled_corpora, "open:xsdr", tmp_path)
    fsdd = {name for corpus, name in people(gathered.test) if corpus == "fsdd"}
    assert fsdd == {"lucas", "yweweler"}
    crowd = {name for corpus, name in people(gathered.test) if corpus == "speech_commands"}
    assert crowd
    assert all(map(is_held_out, crowd))
    heard = {name for corpus, name in people(gathered.clips) if corpus == "speech_commands"}
    assert heard
    assert not any(map(is_held_out, heard))
    assert not people(gathered.test) & people(gathered.clips)
    assert {file.stem for file in gathered.test_noises} <= {"exercise_bike", "pink_noise"}


@pytest.mark.parametrize("share", [0.25, 0.0])
@pytest.mark.parametrize(
    "split", ["open", "open:0", "open:xsdr", "open:fsdd", "open:speech_commands"]
)
def test_what_is_left_out_is_found_without_preparing_anything(
    pooled_corpora: Path, tmp_path: Path, split: str, share: float
) -> None:
    found = left_out(split, pooled_corpora, others=share > 0)
    assert tuple(found) == gather(pooled_corpora, split, tmp_path, share).test


def test_what_is_no_digit_is_other_words_noise_and_too_little_of_a_digit(
    pooled_corpora: Path, tmp_path: Path
) -> None:
    gathered = gather(pooled_corpora, "open", tmp_path)
    dataset, rows = gathered.dataset, gathered.rows
    other = dataset.targets[rows] == 10
    assert gathered.shares.sum() == pytest.approx(1)
    assert gathered.shares[other].sum() == pytest.approx(0.25)
    for digit in range(10):
        assert gathered.shares[dataset.targets[rows] == digit].sum() == pytest.approx(0.075)
    added = rows[len(gathered.clips) :]
    assert other[len(gathered.clips) :].all()
    fragments = [r for r in added if dataset.starts[r] < dataset.starts[len(dataset.clips) - 1]]
    assert len(fragments) == (60 + 60 + 20 + READERS) // 4
    assert max(dataset.lengths[r] for r in fragments) < 0.41 * max(dataset.lengths)
    assert gathered.background.abs().max() > 0
    assert len(gather(pooled_corpora, "open", tmp_path, share=0.0).rows) == 60 + 60 + 20 + READERS


def test_an_unknown_split_names_the_known(pooled_corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"'open:7': expected one of open, open:fsdd, .*open:2"):
        gather(pooled_corpora, "open:7", tmp_path)
    with pytest.raises(SplitError, match="'xsdr'"):
        parts("xsdr", [])


def test_without_people_there_is_no_open_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="neither fsdd nor speech_commands is at hand"):
        open_set("open", tmp_path, tmp_path / "empty")
