"""Fluent synthetic speech: what is said, where its words begin, and that it repeats."""

import numpy as np
import pytest

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.corpora import DIGIT_WORDS
from spoken_digits.lab.phrases import _WORDS, draw_voices, make_phrases
from spoken_digits.lab.strings import LEVEL_RMS
from spoken_digits.lab.voices import ESPEAK_RATE_HZ, Voice, say

pytest.importorskip("espeakng_loader", reason="needs the extra synth")


def test_words_begin_where_the_voice_says():
    voice = Voice("x", "en-us", "m3", 50, 160)
    (two, words), (one, _) = say(voice, [("seven seven", 50, 160), ("seven", 50, 160)])
    assert len(words) == 2
    # The second "seven" begins after about as long as a whole "seven" without its silence takes.
    assert 0.2 < words[1] / ESPEAK_RATE_HZ < len(one) / ESPEAK_RATE_HZ
    assert len(two) > len(one)


def test_phrases_are_digits_and_sentences(tmp_path):
    voices = draw_voices(2, 5)
    assert voices == draw_voices(2, 5) != draw_voices(2, 6)
    phrases = make_phrases(voices, tmp_path, strings=2, sentences=1)
    assert [bool(p.digits) for p in phrases] == [True, True, False] * 2
    for phrase in phrases:
        n = len(phrase.digits)
        assert len(phrase.starts) == len(phrase.ends) == n
        assert (np.diff(phrase.starts) > 0).all()
        assert (phrase.ends > phrase.starts).all()
        assert not n or phrase.ends[-1] == len(phrase.samples)
        assert 0.3 < len(phrase.samples) / SAMPLE_RATE < 8
        assert np.sqrt((phrase.samples**2).mean()) == pytest.approx(LEVEL_RMS, rel=0.1)
    again = make_phrases(voices, tmp_path, strings=2, sentences=1)  # from the cache
    for one, two in zip(phrases, again, strict=True):
        np.testing.assert_array_equal(one.samples, two.samples)


def test_no_sentence_holds_a_digit():
    assert not set(_WORDS.split()) & {*DIGIT_WORDS, "oh", "won", "ate"}
