"""The benchmark of synthesizers: what it counts and measures; its page."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks import synthesizers
from benchmarks.measures import read_results
from benchmarks.synthesizers import PAGE, RECORDED, RESULTS, answers, with_table

from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.tts.flite_festival import Synthesis


@pytest.fixture
def results():
    if not (found := read_results(RESULTS)):
        pytest.skip("not measured yet")
    return found


def test_the_page_is_what_the_results_say(results):
    text = PAGE.read_text("utf-8")
    assert with_table(text, results) == text, "run `python -m benchmarks.synthesizers --page`"


def test_the_guesses_of_the_results_are_those_that_are_judged(results):
    judged = [[g.key, g.low, g.high] for g in synthesizers.GUESSES]
    assert results["guesses"] == judged
    assert results["answers"] == pytest.approx(answers(results))
    assert results["answers"].keys() >= {g.key for g in synthesizers.GUESSES}


def test_the_sentences_above_the_tables_are_what_the_results_say(results):
    text = " ".join(PAGE.read_text("utf-8").partition("<!--")[0].split())
    found = results["answers"]
    sets = results["networks"][RECORDED]["sets"]
    for name in ("espeak-ng", "flite-festival", "kokoro"):
        assert f"{sets[name]['mean']:.0f} % of {sets[name]['clips']}" in text
    assert f"{sets['speech_commands']['mean']:.0f} % of people" in text
    six, eight = (f"{sets['kokoro']['digits'][d]:.0f} %" for d in "68")
    assert f"its sixes {six}, its eights {eight}" in text
    assert f"{found['foreign']:.0f} points less often than those of native" in text
    assert f"{found['women']:.0f} points less often than men" in text
    ranks = [found[f"rank {name}"] for name in ("espeak-ng", "flite-festival", "kokoro")]
    assert f"Spearman {min(ranks):.2f} to {max(ranks):.2f}" in text
    for name in ("kokoro", "flite", "espeak-ng", "festival"):
        assert f"{name} {found[f'middle {name}']:.2f}" in text
    assert f"lose {found['fast lost']:.0f} points" in text


def test_each_digit_follows_each_other_digit_once_and_is_once_in_each_place():
    orders = synthesizers.orders()
    assert Counter(pair for order in orders for pair in pairwise(order)) == Counter(
        (a, b) for a in range(10) for b in range(10) if a != b
    )
    assert all(sorted(column) == list(range(10)) for column in zip(*orders, strict=True))


def test_silence_at_the_ends_of_a_text_is_no_part_of_its_digits():
    samples = np.zeros(8_000, np.int16)
    samples[1_000:3_000] = 5_000
    said = Synthesis(samples, 8_000, np.array([[0, 2_000], [2_000, 8_000]]))
    assert synthesizers.seconds(said) == pytest.approx([1_000 / 8_000, 1_000 / 8_000])


def test_the_spread_is_within_digits_only():
    rng = np.random.default_rng(0)
    groups = [[rng.normal(mean, 3.0, (40, 4)) for _ in range(200)] for mean in (-40, 0)]
    assert synthesizers.spread(groups) == pytest.approx(3.0, rel=0.01)


def test_rare_words_of_a_voice_weigh_as_much_as_frequent_ones():
    def clip(digit: str, speaker: str, take: int) -> Clip:
        return Clip(Path(f"{digit}/{speaker}_{take}.flac"), digit, speaker, "made", None)

    clips = [clip("0", "a", k) for k in range(4)] + [clip("1", "a", 0), clip("0", "b", 0)]
    rates = synthesizers.rates_of(clips, [True, True, True, False, False, True])
    assert rates["words"] == {"a 0": 75, "a 1": 0, "b 0": 100}
    assert rates["voices"] == {"a": 37.5, "b": 100}
    assert rates["digits"] == {"0": 87.5, "1": 0}
    assert rates["mean"] == 43.75
    assert rates["takes"]["0"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("extra", "engine", "expected"),
    [
        ("none", "kokoro", False),
        ("kokoro:30+espeak-ng", "kokoro", True),
        ("kokoro:30", "espeak-ng", False),
        ("voices", "flite-festival", True),
    ],
)
def test_a_network_is_asked_only_about_engines_that_it_never_heard(extra, engine, expected):
    assert synthesizers.heard(extra, engine) is expected
