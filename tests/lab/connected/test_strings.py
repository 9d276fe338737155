"""Made strings: where each digit lies, the same from the same seed, and how transcripts score."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.connected.strings import (
    LEVEL_RMS,
    MAX_OVERLAP_S,
    MAX_PAUSE_S,
    DigitString,
    StringStyle,
    by_speaker,
    draw_gap,
    join,
    make_strings,
    read_references,
    read_words,
    score,
    trim_to_word,
    write_strings,
)
from spoken_digits.lab.data.corpora import Clip, CorpusError, read_corpus
from spoken_digits.lab.runs import OutputError

PLAIN = StringStyle(tempo=(1, 1), noise_snr_db=None, level_drift_db=0)


def tone(digit: int, speaker: str = "ann", length: int = 2_400) -> DigitString:
    """A digit that a Fourier transform tells: 300 Hz, and 200 Hz more for each."""
    t = np.arange(length) / SAMPLE_RATE
    samples = (0.1 * np.sin(2 * np.pi * (300 + 200 * digit) * t)).astype(np.float32)
    return DigitString.of_clip(samples, Clip(Path("x.wav"), str(digit), speaker, "tones"))


def digit_in(samples: np.ndarray) -> int:
    peak = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax()
    return round((peak * SAMPLE_RATE / len(samples) - 300) / 200)


def corpus(*speakers: str) -> list[DigitString]:
    return [tone(d, s, 2_000 + 100 * d) for s in speakers for d in range(10) for _ in range(2)]


def test_pieces_stand_where_the_gaps_put_them():
    joined = join([tone(1), tone(2), tone(3)], [100, 400, -240], [1, 0.5, 2])
    assert joined.digits == "123"
    assert joined.starts.tolist() == [100, 2_900, 5_060]
    assert joined.ends.tolist() == [2_500, 5_300, 7_460]
    assert len(joined.samples) == 7_460
    np.testing.assert_array_equal(joined.samples[100:2_500], tone(1).samples)
    assert not joined.samples[2_500:2_900].any()
    np.testing.assert_array_equal(joined.samples[2_900:5_060], 0.5 * tone(2).samples[:2_160])
    # An overlap fades one into the other, linearly.
    rise = (np.arange(240) + 0.5) / 240
    blended = 0.5 * tone(2).samples[2_160:] * (1 - rise) + 2 * tone(3).samples[:240] * rise
    np.testing.assert_allclose(joined.samples[5_060:5_300], blended, atol=1e-6)


def test_gaps_are_overlaps_and_pauses_within_their_bounds():
    rng = np.random.default_rng(0)
    gaps = [draw_gap(tone(1), tone(2), 0.5, rng) / SAMPLE_RATE for _ in range(2_000)]
    overlaps = [-gap for gap in gaps if gap <= 0]
    assert len(overlaps) == pytest.approx(1_000, abs=100)
    assert max(overlaps) == pytest.approx(MAX_OVERLAP_S, abs=0.002)
    assert max(gaps) == pytest.approx(MAX_PAUSE_S, abs=0.01)
    short = tone(3, length=400)
    assert min(draw_gap(short, tone(2), 1, rng) for _ in range(200)) >= -120


def test_strings_say_what_their_tables_tell():
    for string in make_strings(corpus("ann", "bob"), 12, PLAIN):
        assert 2 <= len(string.digits) <= 13
        for digit, start, end in zip(string.digits, string.starts, string.ends, strict=True):
            middle = string.samples[start + 640 : end - 640]
            assert digit_in(middle) == int(digit)
    speakers = [string.speaker for string in make_strings(corpus("ann", "bob"), 4, PLAIN)]
    assert speakers == ["ann", "bob", "ann", "bob"]


@pytest.mark.parametrize("tempo", [0.7, 1.6])
def test_tempo_changes_time_and_not_pitch(tempo):
    styles = (StringStyle(3, 3, 0, (t, t), 0, None) for t in (tempo, 1.0))
    fast, plain = (make_strings(corpus("ann"), 1, style)[0] for style in styles)
    assert fast.digits == plain.digits
    assert len(fast.samples) == pytest.approx(len(plain.samples) / tempo, rel=0.01)
    np.testing.assert_allclose(fast.starts, plain.starts / tempo, atol=1)
    for digit, start, end in zip(fast.digits, fast.starts, fast.ends, strict=True):
        quarter = (end - start) // 4
        assert digit_in(fast.samples[start + quarter : end - quarter]) == int(digit)


def test_the_noise_has_the_ratio_that_was_asked_for():
    quiet, noisy = (
        make_strings(corpus("ann"), 1, StringStyle(5, 5, tempo=(1, 1), noise_snr_db=snr))[0]
        for snr in (None, (20.0, 20.0))
    )
    noise = noisy.samples - quiet.samples
    ratio = 20 * np.log10(quiet.samples.std() / noise.std())
    assert ratio == pytest.approx(20, abs=0.2)


def test_the_same_seed_gives_the_same_samples():
    first, again, other = (make_strings(corpus("ann"), 3, seed=seed) for seed in (1, 1, 2))
    assert [s.digits for s in first] == [s.digits for s in again] != [s.digits for s in other]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.samples, two.samples)


def test_strings_need_digits():
    with pytest.raises(CorpusError, match="no digits"):
        make_strings([DigitString.without_digits(np.zeros(800, np.float32))], 1)


def test_trimming_cuts_what_is_quiet_and_sets_the_level():
    samples = np.zeros(16_000, np.float32)
    samples[6_000:9_000] = 3 * tone(2, length=3_000).samples
    samples += 1e-5 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    cut = trim_to_word(samples)
    assert len(cut) == pytest.approx(3_000, abs=300)
    assert np.sqrt((cut**2).mean()) == pytest.approx(LEVEL_RMS, rel=1e-3)


@pytest.mark.parametrize("below_db", [15, 25, 35])
def test_trimming_finds_the_word_in_a_background(below_db):
    rng = np.random.default_rng(below_db)
    samples = 0.1 * 10 ** (-below_db / 20) * rng.standard_normal(SAMPLE_RATE)
    word = slice(2400, 5600)  # 0.4 s
    samples[word] += 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 500 * np.arange(3200) / SAMPLE_RATE)
    cut = trim_to_word(samples.astype(np.float32))
    assert 3200 <= len(cut) <= 3200 + 0.16 * SAMPLE_RATE


def test_clips_that_ship_are_read_by_speaker():
    clips = [clip for clip in read_corpus("voices") if clip.speaker in ("us-diogo", "us-f1")]
    pools = by_speaker(read_words(clips))
    assert sorted(pools) == ["us-diogo", "us-f1"]
    assert all(sorted(pool) == list("0123456789") for pool in pools.values())
    assert all(0.1 < len(p.samples) / SAMPLE_RATE < 1 for p in pools["us-f1"]["7"])


def test_a_table_is_read_as_it_was_written(tmp_path):
    strings = make_strings(corpus("ann", "bob"), 3)
    table = write_strings(strings, tmp_path / "out")
    rows = read_references(table)
    assert [digits for _, digits in rows] == [string.digits for string in strings]
    for (file, _), string in zip(rows, strings, strict=True):
        samples, rate = soundfile.read(file, dtype="float32")
        assert rate == SAMPLE_RATE
        np.testing.assert_allclose(samples, string.samples, atol=2**-14)
    assert table.read_text().splitlines()[0] == "file\tdigits\tspeaker\tsegments"
    with pytest.raises(OutputError, match="new or empty folder"):
        write_strings(strings, tmp_path / "out")
    (tmp_path / "bad.tsv").write_text("name\tdigits\na.wav\t1\n")
    with pytest.raises(CorpusError, match="columns file and digits"):
        read_references(tmp_path / "bad.tsv")


def edits(a: str, b: str) -> int:
    """Levenshtein's distance, by its recursion."""
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[1:], b[1:]) + (a[0] != b[0]), edits(a[1:], b) + 1, edits(a, b[1:]) + 1)


def test_scores_are_least_edits():
    pytest.importorskip("jiwer")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("123"), rng.integers(0, 6))) for _ in range(60)]
    references, transcripts = words[:30], words[30:]
    result = score(references, transcripts)
    errors = result.insertions + result.deletions + result.substitutions
    assert errors == sum(map(edits, references, transcripts))
    assert result.digits == sum(map(len, references))
    assert result.digit_error == errors / result.digits
    assert result.whole == sum(a == b for a, b in zip(references, transcripts, strict=True))


def test_scores_tell_the_kinds_of_errors_apart():
    pytest.importorskip("jiwer")
    result = score(["123", "45", "", "6"], ["1234", "5", "7", "8"])
    assert (result.insertions, result.deletions, result.substitutions) == (2, 1, 1)
    assert result.to_dict()["whole_right"] == 0
    assert score([""], [""]).to_dict()["digit_error"] == 0


def test_the_level_drifts_from_digit_to_digit_by_the_deviation_asked_for():
    style = StringStyle(8, 8, 0, (1, 1), level_drift_db=3, noise_snr_db=None)
    steps_db = []
    for string in make_strings(corpus("ann"), 60, style):
        levels = [
            20 * np.log10(string.samples[start:end].std())
            for start, end in zip(string.starts, string.ends, strict=True)
        ]
        steps_db += np.diff(levels).tolist()
    assert np.std(steps_db) == pytest.approx(3, rel=0.1)
    assert np.mean(steps_db) == pytest.approx(0, abs=0.4)


def test_no_two_strings_of_a_seed_are_alike():
    strings = make_strings(corpus("ann", "bob"), 20, StringStyle(6, 6))
    assert len({string.digits for string in strings}) == 20
    # No speaker's strings are the other's: neither the digits nor the lengths of what is drawn.
    assert len({len(string.samples) for string in strings}) == 20


def test_a_trimmed_word_keeps_10_ms_on_either_side():
    samples = np.zeros(12_000, np.float32)
    samples[4_000:7_200] = tone(5, length=3_200).samples  # whole frames of 80 samples
    trimmed = trim_to_word(samples)
    loud = np.flatnonzero(np.abs(trimmed) > 1e-3 * np.abs(trimmed).max())
    for margin in (loud[0], len(trimmed) - 1 - loud[-1]):
        assert 70 <= margin <= 160  # 10 ms, and up to a frame that the word enters


def test_a_word_in_noise_keeps_30_ms_on_either_side_and_its_weak_end():
    rng = np.random.default_rng(0)
    samples = 0.004 * rng.standard_normal(SAMPLE_RATE)  # 25 dB below the word
    t = np.arange(3_200)
    word = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 500 * t / SAMPLE_RATE)
    word[2_400:] *= 10 ** (-12 / 20)  # its last 0.1 s is only 13 dB above the noise
    samples[2_400:5_600] += word
    trimmed = trim_to_word(samples.astype(np.float32))
    assert 3_200 + 2 * 240 <= len(trimmed) <= 3_200 + 2 * 240 + 4 * 80


def test_strings_have_from_the_minimum_to_the_maximum_of_digits_alike():
    style = StringStyle(3, 5, tempo=(1, 1), noise_snr_db=None)
    lengths = [len(string.digits) for string in make_strings(corpus("ann"), 90, style)]
    assert set(lengths) == {3, 4, 5}
    assert min(lengths.count(n) for n in (3, 4, 5)) > 18  # 30 of each, give or take 12
