"""The benchmark of corpora: what it measures, on recordings that are made to have it; its page."""

import numpy as np
import pytest
import soxr
from benchmarks import corpora
from benchmarks.corpora import GUESSES, PAGE, RESULTS, Guess, Measured, with_table
from benchmarks.measures import read_results

from spoken_digits.lab.data.corpora import Clip

RATE = 8_000


def word(seed: int, duration_s: float = 0.5) -> np.ndarray:
    """Harmonics of a gliding pitch, with noise, fading in and out: (L,)."""
    rng = np.random.default_rng(seed)
    n = round(duration_s * RATE)
    phase = 2 * np.pi * np.cumsum(rng.uniform(90, 220) * np.linspace(1, rng.uniform(0.7, 1.4), n))
    voice = sum(rng.normal() * np.sin(k * phase / RATE) for k in range(1, 12))
    return np.float32(0.05 * (voice + rng.normal(0, 0.3, n)) * np.hanning(n))


def measured(samples: np.ndarray, rate: float = RATE, speaker: str = "ann") -> Measured:
    return corpora.measured("own", "a.wav", speaker, "7", np.float32(samples), rate, None)


def test_the_page_is_what_the_results_say():
    text = PAGE.read_text("utf-8")
    assert with_table(text, read_results(RESULTS)) == text, (
        "run `python -m benchmarks.corpora --page`"
    )


def test_the_guesses_of_the_results_are_those_that_are_judged():
    if not (results := read_results(RESULTS)):
        pytest.skip("not measured yet")
    assert results["guesses"] == [[each.key, each.low, each.high] for each in GUESSES]
    assert len({each.key for each in GUESSES}) == len(GUESSES)
    assert results["answers"].keys() >= {each.key for each in GUESSES}


def test_one_recording_is_found_at_another_place_level_and_rate():
    sounds = [word(seed) for seed in range(20)]
    pause = np.random.default_rng(1).normal(0, 1e-4, 3_000)
    copy = np.concatenate([pause, 0.2 * sounds[3], pause[:700]])
    twice = soxr.resample(sounds[5], RATE, 2 * RATE)[1:]  # half a sample earlier
    windows = [corpora.loudest_second(each, RATE) for each in [*sounds, copy]]
    windows.append(corpora.loudest_second(twice, 2 * RATE))
    found = corpora.same_recordings(np.stack(windows))
    assert [(a, b) for a, b, _ in found] == [(3, 20), (5, 21)]
    assert all(correlation >= 0.98 for *_, correlation in found)


def test_clipping_is_told_from_flat_tops_and_from_a_peak():
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    for samples, is_clipped, is_flat in (
        (np.clip(1.2 * tone, -1, 1), True, False),
        (0.5 * np.clip(1.2 * tone, -1, 1), False, True),
        (np.where(np.arange(RATE) == 10, 1, 0.5 * tone), False, False),
    ):
        found = measured(samples)
        assert (found.is_clipped, found.is_flat) == (is_clipped, is_flat)


def test_floor_and_level_are_those_of_noise_and_tone():
    rng = np.random.default_rng(0)
    tone = 0.5 * np.sin(2 * np.pi * 400 * np.arange(RATE) / RATE)
    tone[RATE // 4 :] = rng.normal(0, 0.001, RATE - RATE // 4)
    found = measured(tone)
    assert found.level_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)
    assert found.floor_dbfs == pytest.approx(-60, abs=1.5)  # the quietest tenth of noise
    assert found.range_db == found.level_dbfs - found.floor_dbfs


def test_steps_and_zeros_are_found():
    coarse = np.round(word(0) * 2**7) / 2**7
    assert measured(coarse).step == 2**-7
    assert measured(np.round(word(0) * 2**15) / 2**15).step == 2**-15
    padded = np.concatenate([word(0)[1:], np.zeros(RATE // 50)])
    assert (measured(padded).has_zeros, measured(word(0)).has_zeros) == (True, False)


def test_a_summary_counts_recordings_and_speakers():
    rows = [measured(word(i) + 0.01 * (i == 0), speaker=f"s{i}") for i in range(4)]
    rows.append(measured(word(4)[: RATE // 4], speaker="s3"))
    found = corpora.summary(rows)
    assert (found["recordings"], found["speakers"], found["duration_s"]) == (5, 4, 0.5)
    assert (found["cut"], found["cut_start"], found["offset"]) == (20, 0, 25)
    assert found["largest_offset"] == pytest.approx(0.01, abs=1e-3)


def test_what_is_judged_faulty_is_left_out_of_one_of_two_accuracies(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "JUDGED", {"fsdd": {corpora.OTHER: ("7/b.wav",)}})
    clips = [
        Clip(tmp_path / label / f"{name}.wav", label, "ann", "fsdd")
        for label, name in (("7", "a"), ("7", "b"), ("3", "c"), ("3", "d"))
    ]

    def likely(digit: int) -> list[float]:
        return [0.91 if each == digit else 0.01 for each in range(10)]

    answers = {"fsdd/7/a.wav": likely(7), "fsdd/7/b.wav": likely(3), "fsdd/3/c.wav": likely(7)}
    row = corpora.compare(clips, answers)  # d was not answered
    assert row["doubtful"] == ["fsdd/7/b.wav", "fsdd/3/c.wav"]
    accuracy = {"clips": 3, "all": pytest.approx(100 / 3), "faulty": 1, "without_faulty": 50}
    assert row["accuracy"] == {"fsdd": accuracy}


def test_guesses_are_judged_by_their_bounds():
    guesses = (
        Guess("a", "one", 1, 2, "%"),
        Guess("b", "two", 1, 2, "%"),
        Guess("c", "three", 0, 0, "pairs"),
        Guess("d", "four", 0, 1, "clips"),
    )
    text = corpora.verdicts({"a": 2.004, "b": 2.01, "c": 0}, guesses)
    assert text.startswith("4 questions: 2 guessed right, 1 wrong, 1 not measured.")
    assert "| two | 1 to 2 % | 2.01 % | **wrong** |" in text
    assert "| three | 0 pairs | 0 pairs | right |" in text
