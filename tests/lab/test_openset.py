from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.lab.corpora import DIGIT_WORDS, DIGITS, Clip, CorpusError
from spoken_digits.lab.openset import FOLDS, OpenSet, noise_files, open_set, parts
from spoken_digits.lab.splits import XSDR_TEST, XSDR_TRAIN, SplitError

PEOPLE = XSDR_TRAIN + XSDR_TEST
WORDS = ("cat", "dog", "go", "up")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up tones in the layouts of FSDD, Speech Commands and a folder of voices."""
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)

    def write(path: Path, seconds: float = 0.3) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(round(8000 * seconds)) / 8000
        tone = np.sin(2 * np.pi * rng.uniform(300, 2000) * t) + 0.1 * rng.standard_normal(len(t))
        soundfile.write(path, 0.2 * tone, 8000)

    for name in PEOPLE:
        for digit in DIGITS:
            write(root / "fsdd" / "recordings" / f"{digit}_{name}_0.wav")
    commands = root / "speech_commands"
    for number in range(6):
        for word in (*DIGIT_WORDS, *WORDS):
            write(commands / word / f"s{number}_nohash_0.wav")
    for noise in ("a", "b", "c"):
        write(commands / "_background_noise_" / f"{noise}.wav", 3)
    for voice in ("v", "w"):
        for label in (*DIGITS, "cat", "tree"):
            write(root / "made" / label / f"{voice}_0.wav")
    return root


def gather(corpora: Path, split: str, tmp_path: Path, share: float = 0.25) -> OpenSet:
    return open_set(split, tmp_path, corpora, corpora / "made", share)


def people(clips: Iterable[Clip]) -> set[tuple[str, str]]:
    return {(clip.corpus, clip.speaker) for clip in clips}


def test_open_trains_on_everything_and_a_corpus_is_left_out_whole(
    corpora: Path, tmp_path: Path
) -> None:
    everything = gather(corpora, "open", tmp_path)
    assert len(everything.clips) == 60 + 6 * 14 + 24
    assert everything.test == everything.test_noises == ()
    without = gather(corpora, "open:fsdd", tmp_path)
    assert {clip.corpus for clip in without.test} == {"fsdd"}
    assert {clip.corpus for clip in without.clips} == {"speech_commands", "voices"}
    described = everything.describe()
    assert described["clips"] == 168
    assert len(str(described["hash"])) == 64


def test_folds_share_no_speaker_no_word_and_no_noise_with_what_is_trained_on(
    corpora: Path, tmp_path: Path
) -> None:
    tested: list[Clip] = []
    noises: list[Path] = []
    for fold in range(FOLDS):
        gathered = gather(corpora, f"open:{fold}", tmp_path)
        assert not people(gathered.test) & people(gathered.clips)
        words = {clip.label for clip in gathered.test} - set(DIGITS)
        assert words
        assert not words & {clip.label for clip in gathered.clips}
        assert not set(gathered.test_noises) & set(noise_files(f"open:{fold}", corpora)[0])
        tested += gathered.test
        noises += gathered.test_noises
    digits = [clip for clip in tested if clip.label in DIGITS]
    assert len(digits) == len({clip.file for clip in digits}) == 120  # each is left out once
    assert {clip.label for clip in tested} - set(DIGITS) == set(WORDS)
    assert len(noises) == len(set(noises)) == 3


def test_what_is_no_digit_is_other_words_noise_and_too_little_of_a_digit(
    corpora: Path, tmp_path: Path
) -> None:
    gathered = gather(corpora, "open", tmp_path)
    dataset, rows = gathered.dataset, gathered.rows
    other = dataset.targets[rows] == 10
    assert gathered.shares.sum() == pytest.approx(1)
    assert gathered.shares[other].sum() == pytest.approx(0.25)
    for digit in range(10):
        assert gathered.shares[dataset.targets[rows] == digit].sum() == pytest.approx(0.075)
    added = rows[len(gathered.clips) :]
    assert other[len(gathered.clips) :].all()
    fragments = [r for r in added if dataset.starts[r] < dataset.starts[len(dataset.clips) - 1]]
    assert len(fragments) == (60 + 60 + 20) // 4
    assert max(dataset.lengths[r] for r in fragments) < 0.41 * max(dataset.lengths[:60])
    assert gathered.background.abs().max() > 0
    assert len(gather(corpora, "open", tmp_path, share=0.0).rows) == 60 + 60 + 20


def test_an_unknown_split_names_the_known(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"'open:7': expected one of open, open:fsdd, .*open:2"):
        gather(corpora, "open:7", tmp_path)
    with pytest.raises(SplitError, match="'xsdr'"):
        parts("xsdr", [])


def test_without_people_there_is_no_open_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="neither fsdd nor speech_commands is at hand"):
        open_set("open", tmp_path, tmp_path / "empty")
