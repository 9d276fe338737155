"""The benchmark of readers: how places and tones are measured; its page."""

import numpy as np
import pytest
from benchmarks import readers, readers_table
from benchmarks.measures import read_results
from benchmarks.readers import DOCUMENT, RESULTS, place, tone_levels, tones
from benchmarks.readers_table import edges_of, with_tables


def test_the_page_is_what_the_results_say():
    text = DOCUMENT.read_text("utf-8")
    assert with_tables(text, read_results(RESULTS)) == text, (
        "run `python -m benchmarks.readers --page`"
    )


def test_the_guesses_of_the_results_are_those_that_are_judged():
    assert [(g["question"], g["guess"]) for g in read_results(RESULTS)["guesses"]] == [
        (g.question, g.guess) for g in readers_table.GUESSES
    ]


@pytest.mark.parametrize(("late", "gain"), [(0, 1.0), (37, 0.5), (-12, 2.0)])
def test_a_source_is_found_where_it_was_put(late, gain):
    source = np.random.default_rng(0).standard_normal(3_000).astype(np.float32)
    samples = gain * np.pad(source, (max(0, late), 50))[max(0, -late) :]
    at, found = place(samples, source)
    assert at == pytest.approx(late, abs=0.05)
    assert found == pytest.approx(gain * (1 + min(0, late) / 3_000), rel=0.02)


def test_a_source_is_found_between_samples():
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(4_000))
    spectrum[800:] = 0  # as speech has little of high sounds
    source = np.fft.irfft(spectrum) * np.hanning(4_000)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(4_000) * 10.3)  # of the shift theorem
    at, _ = place(np.fft.irfft(np.fft.rfft(source) * turn, 4_000), source)
    assert at == pytest.approx(10.3, abs=0.05)


def test_levels_of_tones_are_those_that_were_made():
    made = tones(8_000)
    found = tone_levels(0.5 * made, 8_000)
    for hz in (1_000, 2_000, 3_000, 3_400):
        assert found[str(hz)]["level_db"] == pytest.approx(-6.02, abs=0.01)
        assert found[str(hz)]["rest_db"] < -60
    # At 8 kHz a tone of 5 kHz cannot be told from one of 3 kHz: all of it is left over.
    assert found["5000"]["level_db"] is None
    assert found["5000"]["rest_db"] == pytest.approx(-6.02, abs=0.01)


def test_edges_are_told_in_words():
    reading = {"start_ms": 0.004, "end_ms": -0.001, "level_db": 0.0}
    late = {"start_ms": 12.0, "end_ms": -5.0, "level_db": -3.0}
    assert edges_of([{"refused": "no"}]) == "no"
    assert edges_of([reading]) == "0; 0"
    assert edges_of([late, {"refused": "no"}]) == "1 of 2: +12.0; -5.0; -3.0 dB"


def test_what_is_shown_of_a_reader_is_measured():
    assert set(readers_table.FOUR) <= set(readers.READERS)
