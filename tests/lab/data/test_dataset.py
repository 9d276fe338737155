from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import AudioError, to_clip
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.dataset import (
    balanced_probabilities,
    draw_indices,
    epoch_batches,
    prepare,
)


def test_each_row_holds_what_the_recording_gives(tone_corpus: Path, tmp_path: Path) -> None:
    clips = read_corpus(tone_corpus)
    dataset = prepare(clips, tmp_path)
    assert dataset.label_names == tuple("0123456789")
    for row in (0, 57, 119):
        expected = to_clip(*soundfile.read(clips[row].file, dtype="float32"))
        np.testing.assert_array_equal(dataset.clip(row), expected)
        assert dataset.label_names[dataset.targets[row]] == clips[row].label
    waveform, lengths = dataset.batch(np.array([57, 0]))
    assert waveform.shape == (2, int(lengths.max()))
    np.testing.assert_array_equal(waveform[1, : lengths[1]].numpy(), dataset.clip(0))
    assert not waveform[1, lengths[1] :].any()


def test_a_second_call_reads_no_recording(
    tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = read_corpus(tone_corpus)
    first = prepare(clips, tmp_path)
    monkeypatch.setattr("spoken_digits.lab.data.prepared.read_audio", None)
    second = prepare(clips, tmp_path)
    np.testing.assert_array_equal(first.samples[:], second.samples[:])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".npy"]


def test_a_changed_recording_is_prepared_anew(tone_corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "0" / "ann_0.wav"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((tone_corpus / "0" / "ann_0.wav").read_bytes())
    before = prepare(read_corpus(tmp_path / "copy"), tmp_path / "cache").clip(0)
    copy.write_bytes((tone_corpus / "1" / "ann_0.wav").read_bytes())
    after = prepare(read_corpus(tmp_path / "copy"), tmp_path / "cache").clip(0)
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_a_bad_recording_is_named_and_nothing_is_left(tone_corpus: Path, tmp_path: Path) -> None:
    bad = tmp_path / "copy" / "0" / "ann_0.wav"
    bad.parent.mkdir(parents=True)
    bad.write_text("not sound")
    with pytest.raises(AudioError, match="ann_0"):
        prepare(read_corpus(tmp_path / "copy"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("n_clips", "batch_size"), [(3, 64), (100, 16), (2000, 64)])
def test_an_epoch_holds_each_clip_once_in_even_batches(n_clips: int, batch_size: int) -> None:
    lengths = np.random.default_rng(0).integers(1000, 9000, n_clips)
    batches = epoch_batches(lengths, batch_size, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n_clips))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert min(sizes) >= min(n_clips, batch_size // 2)
    again = epoch_batches(lengths, batch_size, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_batches_of_similar_length_halve_the_padding() -> None:
    lengths = np.random.default_rng(0).integers(1000, 9000, 2000)

    def padded(batches: list[np.ndarray]) -> float:
        return sum(len(b) * lengths[b].max() for b in batches) / lengths.sum() - 1

    shuffled = np.array_split(np.random.default_rng(1).permutation(2000), 31)
    assert padded(epoch_batches(lengths, 64, np.random.default_rng(1))) < 0.5 * padded(shuffled)


def test_a_label_that_is_no_class_is_none_of_them(tone_corpus: Path, tmp_path: Path) -> None:
    dataset = prepare(read_corpus(tone_corpus), tmp_path, ("0", "1"))
    assert set(dataset.targets) == {0, 1, 2}
    assert (dataset.targets == 2).sum() == 8 * 12


def test_classes_and_corpora_are_drawn_by_weight_and_speakers_by_their_roots() -> None:
    # Class 0: 16 clips of corpus a by one speaker, 1 of b; class 1: a, 4 clips by one speaker and
    # 1 by another; class 2 is none of these.
    rows = [(0, "a", "x")] * 16 + [(0, "b", "y")] + [(1, "a", "x")] * 4 + [(1, "a", "z")]
    rows += [(2, "a", "down")] * 3
    targets, corpora, speakers = zip(*rows, strict=True)
    shares = balanced_probabilities(
        np.array(targets), corpora, speakers, {"b": 0.5}, oov_fraction=0.2
    )
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares[:16], 0.4 / 1.5 / 16)  # 1 against 0.5
    assert shares[16] == pytest.approx(0.4 * 0.5 / 1.5)
    np.testing.assert_allclose(shares[17:21], 0.4 * (2 / 3) / 4)  # 4 ** 0.5 = 2 against 1
    assert shares[21] == pytest.approx(0.4 / 3)
    np.testing.assert_allclose(shares[22:], 0.2 / 3)


def test_rows_are_drawn_as_often_as_their_shares_say() -> None:
    shares = np.random.default_rng(0).random(50)
    shares /= shares.sum()
    drawn = draw_indices(shares, 1000, np.random.default_rng(1))
    assert np.abs(np.bincount(drawn, minlength=50) - 1000 * shares).max() < 1
    assert np.array_equal(drawn, draw_indices(shares, 1000, np.random.default_rng(1)))
