"""The pooled training set: what a split trains on, holds out and excludes; how it is drawn."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.data.corpora import DIGITS, Clip, CorpusError, read_corpus, read_synthetic
from spoken_digits.lab.data.pooled import (
    FOLDS,
    SYNTHETIC,
    PooledSet,
    held_out,
    is_held_out,
    noise_partition,
    partition,
    pooled_set,
)
from spoken_digits.lab.data.splits import SplitError

WORDS = ("cat", "dog", "go", "up")
pytestmark = pytest.mark.xdist_group("pooled")  # one worker prepares the clips once

# Clips that ship, and are always there.
FLITE_FESTIVAL, KOKORO = 5 * 10 * 4, 32 * 10 * 2
SPLITS = ("pooled", *(f"pooled:{fold}" for fold in (*range(FOLDS), "xsdr", "fsdd")))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clips are prepared once for all splits: a thousand that ship, and the made-up ones."""
    return tmp_path_factory.mktemp("prepared")


def gather(data: Path, split: str, cache: Path, oov_fraction: float = 0.25) -> PooledSet:
    return pooled_set(split, cache, data, data / "made", oov_fraction)


def people(clips: Iterable[Clip]) -> set[tuple[str, str]]:
    return {(clip.corpus, clip.speaker) for clip in clips}


def everyone(data: Path) -> list[Clip]:
    recorded = [*read_corpus("fsdd", data), *read_corpus("speech_commands", data)]
    return [*recorded, *read_synthetic(data / "made")]


def test_pooled_trains_on_everything_and_a_corpus_is_held_out_whole(
    pooled_corpora: Path, cache: Path
) -> None:
    everything = gather(pooled_corpora, "pooled", cache)
    assert len(everything.clips) == 60 + 6 * 14 + 24 + FLITE_FESTIVAL + KOKORO
    assert everything.test == everything.test_noises == ()
    without = gather(pooled_corpora, "pooled:fsdd", cache)
    assert {clip.corpus for clip in without.test} == {"fsdd"}
    assert {clip.corpus for clip in without.clips} == {"speech_commands", *SYNTHETIC}


def test_the_set_describes_what_it_trains_on(pooled_corpora: Path, cache: Path) -> None:
    described = gather(pooled_corpora, "pooled", cache).describe().to_dict()
    assert described["clips"] == 168 + FLITE_FESTIVAL + KOKORO
    assert described["corpora"] == {
        "fsdd": {"digits": 60, "other_words": 0, "speakers": 6},
        "speech_commands": {"digits": 60, "other_words": 24, "speakers": 6},
        "voices": {"digits": 20, "other_words": 4, "speakers": 2},
        "flite-festival": {"digits": FLITE_FESTIVAL, "other_words": 0, "speakers": 5},
        "kokoro": {"digits": KOKORO, "other_words": 0, "speakers": 32},
    }
    assert len(str(described["hash"])) == 64
    assert str(described["licence"]).startswith("CC BY-SA 4.0; CC BY 4.0; as the package")


@pytest.mark.parametrize("split", SPLITS)
def test_every_clip_is_trained_on_held_out_or_excluded_and_no_speaker_leaks(
    pooled_corpora: Path, split: str
) -> None:
    clips = everyone(pooled_corpora)
    train, test, excluded = partition(split, clips)
    assert Counter(train + test + excluded) == Counter(clips)
    assert not people(train) & people(test)
    assert not {clip.corpus for clip in test} & {*SYNTHETIC}
    tested_words = {clip.label for clip in test} - {*DIGITS}
    assert split in ("pooled", "pooled:xsdr") or not tested_words & {clip.label for clip in train}
    for clip in excluded:  # each for one of two reasons
        by_test_speaker = (clip.corpus, clip.speaker) in people(test)
        assert clip.label not in DIGITS
        assert by_test_speaker != (clip.label in tested_words)


def test_folds_hold_out_each_speaker_word_and_noise_once(pooled_corpora: Path, cache: Path) -> None:
    tested: list[Clip] = []
    noises: list[Path] = []
    for fold in range(FOLDS):
        gathered = gather(pooled_corpora, f"pooled:{fold}", cache)
        assert not people(gathered.test) & people(gathered.clips)
        words = {clip.label for clip in gathered.test} - set(DIGITS)
        assert words
        assert not words & {clip.label for clip in gathered.clips}
        trained_with, held = noise_partition(f"pooled:{fold}", pooled_corpora)
        assert gathered.test_noises == tuple(held)
        assert len(held) == 1
        assert len(trained_with) == 2
        assert not set(held) & set(trained_with)
        tested += gathered.test
        noises += gathered.test_noises
    digits = [clip for clip in tested if clip.label in DIGITS]
    assert len(digits) == len({clip.file for clip in digits}) == 120  # each is held out once
    assert {clip.label for clip in tested} - set(DIGITS) == set(WORDS)
    assert len(noises) == len(set(noises)) == 3


def test_the_folds_of_fsdd_are_three_pairs_with_a_test_speaker_in_two() -> None:
    names = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    clips = [Clip(Path(f"1_{name}_0.wav"), "1", name, "fsdd") for name in names]
    pairs = [{clip.speaker for clip in partition(f"pooled:{k}", clips)[1]} for k in range(FOLDS)]
    # As published in results/shipped.json: each of the six in one fold.
    assert pairs == [{"george", "lucas"}, {"jackson", "theo"}, {"nicolas", "yweweler"}]


def test_a_word_of_synthetic_speech_that_a_fold_holds_out_is_excluded(
    pooled_corpora: Path,
) -> None:
    clips = everyone(pooled_corpora)
    train, test, excluded = partition("pooled:0", clips)
    assert {clip.label for clip in test} >= {"cat"}  # the first of the sorted words
    made = [clip for clip in clips if clip.corpus == "voices" and clip.label == "cat"]
    assert made
    assert set(made) <= set(excluded)
    assert {clip.label for clip in train if clip.corpus == "voices"} == {*DIGITS, "tree"}


def test_what_strings_are_evaluated_on_is_held_out_as_one_split(
    pooled_corpora: Path, cache: Path
) -> None:
    gathered = gather(pooled_corpora, "pooled:xsdr", cache)
    fsdd = {name for corpus, name in people(gathered.test) if corpus == "fsdd"}
    assert fsdd == {"lucas", "yweweler"}
    tested = {name for corpus, name in people(gathered.test) if corpus == "speech_commands"}
    assert tested
    assert all(map(is_held_out, tested))
    trained = {name for corpus, name in people(gathered.clips) if corpus == "speech_commands"}
    assert trained
    assert not any(map(is_held_out, trained))
    assert not people(gathered.test) & people(gathered.clips)


def test_strings_are_evaluated_in_two_noises_that_are_not_trained_with(tmp_path: Path) -> None:
    write = tmp_path / "speech_commands" / "_background_noise_"
    write.mkdir(parents=True)
    (tmp_path / "speech_commands" / "one").mkdir()
    soundfile.write(tmp_path / "speech_commands" / "one" / "a_nohash_0.wav", np.ones(9) / 9, 8_000)
    for name in ("doing_the_dishes", "exercise_bike", "pink_noise", "running_tap"):
        soundfile.write(write / f"{name}.wav", np.ones(9) / 9, 8_000)
    train, held = noise_partition("pooled:xsdr", tmp_path)
    assert [file.stem for file in held] == ["exercise_bike", "pink_noise"]
    assert [file.stem for file in train] == ["doing_the_dishes", "running_tap"]
    assert noise_partition("pooled", tmp_path)[1] == []
    assert noise_partition("pooled:fsdd", tmp_path)[1] == []


def test_one_speaker_in_five_is_held_out_by_the_hash_of_the_name() -> None:
    names = [f"{i:08x}" for i in range(2_000)]
    expected = [int(hashlib.sha256(name.encode()).hexdigest()[:2], 16) % 5 == 0 for name in names]
    assert [is_held_out(name) for name in names] == expected
    assert np.mean(expected) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("oov_fraction", [0.25, 0.0])
@pytest.mark.parametrize("split", [*SPLITS, "pooled:speech_commands"])
def test_what_is_held_out_is_found_without_preparing_anything(
    pooled_corpora: Path, cache: Path, split: str, oov_fraction: float
) -> None:
    found = held_out(split, pooled_corpora, oov=oov_fraction > 0)
    assert tuple(found) == gather(pooled_corpora, split, cache, oov_fraction).test


def test_oov_is_other_words_noise_and_fragments_in_the_proportion_asked_for(
    pooled_corpora: Path, cache: Path
) -> None:
    gathered = gather(pooled_corpora, "pooled", cache)
    dataset, indices, p = gathered.dataset, gathered.indices, gathered.probabilities
    oov = dataset.targets[indices] == 10
    assert p.sum() == pytest.approx(1)
    assert p[oov].sum() == pytest.approx(0.25)
    for digit in range(10):
        assert p[dataset.targets[indices] == digit].sum() == pytest.approx(0.075)
    n_clips = len(gathered.clips)
    assert oov[n_clips:].all()
    # Words of two corpora weigh 1 each, noise and fragments 0.3 each.
    starts, ends = dataset.starts[indices], dataset.starts[indices] + dataset.lengths[indices]
    end_of_clips = dataset.starts[len(dataset.clips) - 1] + dataset.lengths[len(dataset.clips) - 1]
    noise = starts >= end_of_clips
    fragments = ~noise & (np.arange(len(indices)) >= n_clips)
    assert p[noise].sum() == pytest.approx(0.25 * 0.3 / 2.6)
    assert p[fragments].sum() == pytest.approx(0.25 * 0.3 / 2.6)
    assert noise.sum() == 150 * 4  # three recordings, and made noise
    seconds = dataset.lengths[indices[noise]] / SAMPLE_RATE
    assert 0.2 <= seconds.min() < 0.22
    assert 0.98 < seconds.max() <= 1.0
    # A fragment is the beginning or the end of one digit, a quarter to two fifths of it.
    assert fragments.sum() == (60 + 60 + 20 + FLITE_FESTIVAL + KOKORO) // 4
    at_the_start = 0
    for start, end in zip(starts[fragments], ends[fragments], strict=True):
        whole = int(np.searchsorted(dataset.starts[: len(dataset.clips)], start, "right")) - 1
        assert dataset.clips[whole].label in DIGITS
        first, last = dataset.starts[whole], dataset.starts[whole] + dataset.lengths[whole]
        assert start == first or end == last
        at_the_start += start == first
        assert end - start == 400 or 0.249 < (end - start) / (last - first) < 0.401
    assert 0.3 < at_the_start / fragments.sum() < 0.7
    digits_alone = gather(pooled_corpora, "pooled", cache, 0.0)
    assert len(digits_alone.indices) == 60 + 60 + 20 + FLITE_FESTIVAL + KOKORO
    assert (digits_alone.dataset.targets[digits_alone.indices] < 10).all()


def test_background_is_the_noises_trained_with_and_made_noise_all_at_one_level(
    pooled_corpora: Path, cache: Path
) -> None:
    for split, recorded in (("pooled", 3), ("pooled:1", 2)):
        background = gather(pooled_corpora, split, cache).background.double().numpy()
        lengths = [3 * SAMPLE_RATE] * recorded + [30 * SAMPLE_RATE] * 5
        assert len(background) == sum(lengths)
        pieces = np.split(background, np.cumsum(lengths)[:-1])
        assert [np.sqrt((x**2).mean()) for x in pieces] == pytest.approx(
            [1] * len(pieces), rel=1e-3
        )
        # The made ones fall by 0, 1.5, 3, 4.5 and 6 dB an octave, from white to brown.
        slopes = []
        for piece in pieces[recorded:]:
            power = np.abs(np.fft.rfft(piece)) ** 2
            hz = np.fft.rfftfreq(len(piece), 1 / SAMPLE_RATE)
            octaves = [power[(hz >= f) & (hz < 2 * f)].mean() for f in (125, 250, 500, 1000, 2000)]
            slopes.append(np.polyfit(np.arange(5), 10 * np.log10(octaves), 1)[0])
        assert slopes == pytest.approx([0, -1.5, -3, -4.5, -6], abs=0.25)


def test_an_unknown_split_names_the_known(pooled_corpora: Path, cache: Path) -> None:
    valid = r"'pooled:7': expected one of pooled, pooled:fsdd, .*pooled:2, pooled:xsdr$"
    with pytest.raises(SplitError, match=valid):
        gather(pooled_corpora, "pooled:7", cache)
    with pytest.raises(SplitError, match="'pooled:voices'"):  # no result is claimed for them
        gather(pooled_corpora, "pooled:voices", cache)
    with pytest.raises(SplitError, match="'xsdr'"):
        partition("xsdr", [])


def test_without_recorded_speech_there_is_no_pooled_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="neither fsdd nor speech_commands is at hand"):
        pooled_set("pooled", tmp_path, tmp_path / "empty")


def test_the_seed_decides_where_noises_and_fragments_are_cut(
    pooled_corpora: Path, cache: Path
) -> None:
    def cut(seed: int) -> np.ndarray:
        made = pooled_corpora / "made"
        gathered = pooled_set("pooled", cache, pooled_corpora, made, 0.25, seed)
        return gathered.dataset.starts[len(gathered.dataset.clips) :]

    np.testing.assert_array_equal(cut(1), cut(1))
    assert (cut(1) != cut(2)).any()


def test_digits_are_balanced_by_speaker_and_other_words_by_word(
    pooled_corpora: Path, cache: Path
) -> None:
    gathered = gather(pooled_corpora, "pooled", cache)
    p_of: dict[tuple[str, str, str], float] = Counter()
    n_of: dict[tuple[str, str, str], int] = Counter()
    for clip, p in zip(gathered.clips, gathered.probabilities, strict=False):
        group = clip.speaker if clip.label in DIGITS else "all"
        p_of[clip.corpus, clip.label, group] += p
        n_of[clip.corpus, clip.label, group] += 1
    # The voices of flite and festival have four clips of a digit, Kokoro's two, all others one:
    # a group weighs by the square root of its clips, and the groups of a corpus sum to its share.
    speakers_of = {"fsdd": 6, "speech_commands": 6, "flite-festival": 5, "kokoro": 32}
    for digit in DIGITS:
        for corpus, speakers in speakers_of.items():
            shares = [p for (c, d, _), p in p_of.items() if (c, d) == (corpus, digit)]
            assert shares == pytest.approx([0.075 / 5 / speakers] * speakers)
    # One clip by each of six speakers: four words of Speech Commands weigh alike.
    words = [p for (c, label, _), p in p_of.items() if c == "speech_commands" and label in WORDS]
    assert words == pytest.approx([0.25 / 2.6 / 4] * 4)


def test_speakers_and_words_weigh_by_the_square_root_of_their_clips(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(2_400) / SAMPLE_RATE
        soundfile.write(path, 0.2 * np.sin(2 * np.pi * 500 * t), SAMPLE_RATE)

    data = tmp_path / "data"
    # george says each digit four times, the five others once.
    for digit in DIGITS:
        for name in ("jackson", "lucas", "nicolas", "theo", "yweweler"):
            write(data / "fsdd" / "recordings" / f"{digit}_{name}_0.wav")
        for take in range(4):
            write(data / "fsdd" / "recordings" / f"{digit}_george_{take}.wav")
        write(data / "made" / digit / "v_0.wav")
    # Four speakers say "cat", one of them "dog" as well.
    commands = data / "speech_commands"
    for number in range(4):
        write(commands / "cat" / f"s{number}_nohash_0.wav")
    write(commands / "dog" / "s0_nohash_0.wav")
    write(commands / "zero" / "s0_nohash_0.wav")
    gathered = gather(data, "pooled", tmp_path / "cache")
    shares: dict[tuple[str, str], float] = Counter()
    for clip, p in zip(gathered.clips, gathered.probabilities, strict=False):
        if clip.label == "7" and clip.corpus == "fsdd":
            shares["7", clip.speaker] += p
        if clip.label in WORDS:
            shares["word", clip.label] += p
    # Three corpora have a seven; george counts twice, so that all six count seven times.
    assert shares["7", "george"] == pytest.approx(0.075 / 4 * 2 / 7)
    assert shares["7", "theo"] == pytest.approx(0.075 / 4 * 1 / 7)
    # Beside words there are noise and fragments, which weigh 0.3 each.
    assert shares["word", "cat"] == pytest.approx(0.25 / 1.6 * 2 / 3)
    assert shares["word", "dog"] == pytest.approx(0.25 / 1.6 * 1 / 3)
