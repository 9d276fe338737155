"""Fluent synthetic speech: its words, where they are, and that it is reproducible."""

import subprocess

import numpy as np
import pytest

import spoken_digits as sd
from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.connected.phrases import (
    _SPOKEN_AS_DIGITS,
    _WORDS,
    draw_voices,
    make_espeak_phrases,
    make_flite_festival_phrases,
)
from spoken_digits.lab.connected.strings import LEVEL_RMS, DigitString
from spoken_digits.lab.data.corpora import DIGIT_WORDS, CorpusError
from spoken_digits.lab.tts import espeak as espeak_tts
from spoken_digits.lab.tts import flite_festival
from spoken_digits.lab.tts.espeak import ESPEAK_SAMPLE_RATE, Prompt, Voice, synthesize
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES


@pytest.fixture
def espeak() -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")


@pytest.mark.usefixtures("espeak")
def test_words_begin_where_espeak_reports():
    voice = Voice("x", "en-us", "m3", 50, 160)
    (two, words), (one, _) = synthesize(
        voice, [Prompt("seven seven", 50, 160), Prompt("seven", 50, 160)]
    )
    assert len(words) == 2
    # The second "seven" begins after about as long as a whole "seven" without its silence takes.
    assert 0.2 < words[1] / ESPEAK_SAMPLE_RATE < len(one) / ESPEAK_SAMPLE_RATE
    assert len(two) > len(one)


def check(phrases: list[DigitString]) -> None:
    """What holds of two strings and a sentence of each of two speakers."""
    assert [bool(p.digits) for p in phrases] == [True, True, False] * 2
    for phrase in phrases:
        n = len(phrase.digits)
        assert len(phrase.starts) == len(phrase.ends) == n
        assert (np.diff(phrase.starts) > 0).all()
        assert (phrase.ends > phrase.starts).all()
        assert (phrase.ends[:-1] <= phrase.starts[1:]).all()
        assert not n or phrase.ends[-1] == len(phrase.samples)
        assert not n or 3 <= n <= 9
        assert 0.3 < len(phrase.samples) / SAMPLE_RATE < 8
        assert np.sqrt((phrase.samples**2).mean()) == pytest.approx(LEVEL_RMS, rel=0.1)
        assert phrase.corpus == "phrases"


@pytest.mark.usefixtures("espeak")
def test_phrases_are_digits_and_sentences(tmp_path):
    voices = draw_voices(2, 5)
    assert voices == draw_voices(2, 5) != draw_voices(2, 6)
    phrases = make_espeak_phrases(voices, tmp_path, strings=2, sentences=1)
    check(phrases)
    again = make_espeak_phrases(voices, tmp_path, strings=2, sentences=1)  # from the cache
    for one, two in zip(phrases, again, strict=True):
        np.testing.assert_array_equal(one.samples, two.samples)


def test_no_sentence_holds_a_digit():
    assert not set(_WORDS.split()) & {*DIGIT_WORDS, "oh", "won", "ate"}


def test_flite_and_festival_speak_them_too_and_once_only(
    flite_festival_voices, tmp_path, monkeypatch
):
    two = (flite_festival_voices[0], flite_festival_voices[-1])  # one of each program
    phrases = make_flite_festival_phrases(tmp_path, two, strings=2, sentences=1)
    check(phrases)
    assert [p.speaker for p in phrases] == [two[0].speaker] * 3 + [two[1].speaker] * 3
    monkeypatch.setattr(flite_festival, "synthesize", lambda *_: pytest.fail("spoken again"))
    again = make_flite_festival_phrases(tmp_path, two, strings=2, sentences=1)
    for one, other in zip(phrases, again, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.ends, other.ends)


@pytest.mark.parametrize("number", range(len(FLITE_FESTIVAL_VOICES)))
def test_between_two_digits_the_pauses_are_silent(flite_festival_voices, number):
    """The sound itself falls silent where a digit is said to end, and rises where one begins."""
    # All of it voiced, without the silence that is in a stop.
    text = "one, nine, one, nine, one"
    prompts = [flite_festival.Prompt(text, tempo, 115.0) for tempo in (0.75, 1.3)]
    errors_s: list[float] = []
    for samples, rate, bounds in flite_festival.synthesize(flite_festival_voices[number], prompts):
        assert len(bounds) == 5
        assert 0 < len(samples) - bounds[-1, 1] < 0.5 * rate
        hop = rate // 200  # 5 ms
        frames = samples[: len(samples) // hop * hop].astype(float).reshape(-1, hop)
        level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-9)
        loud = level_db > level_db.max() - 20
        for end, start in zip(bounds[:-1, 1] / hop, bounds[1:, 0] / hop, strict=True):
            if start == end:  # not after every comma does festival make one
                continue
            middle = round((end + start) / 2)
            assert not loud[middle]
            falls = np.flatnonzero(loud[:middle])[-1] + 1
            rises = middle + np.flatnonzero(loud[middle:])[0]
            errors_s += [abs(falls - end) * hop / rate, abs(rises - start) * hop / rate]
    assert len(errors_s) >= 4
    assert max(errors_s) < 0.06  # an "n" may be weak
    assert np.median(errors_s) < 0.03


@pytest.mark.parametrize("number", range(len(FLITE_FESTIVAL_VOICES)))
def test_what_is_cut_out_of_fluent_speech_is_the_digit(flite_festival_voices, number, tmp_path):
    """The recognizer gets each digit right, but not when it is cut 100 ms too early or late."""
    recognizer = sd.load()
    strings = make_flite_festival_phrases(
        tmp_path, flite_festival_voices[number : number + 1], strings=12, sentences=0
    )

    def heard(shift: int) -> float:
        right = [
            recognizer(
                np.pad(s.samples, 800)[800 + start + shift :][: end - start], SAMPLE_RATE
            ).label
            == digit
            for s in strings
            for digit, start, end in zip(s.digits, s.starts, s.ends, strict=True)
        ]
        return float(np.mean(right))

    assert heard(0) > 0.85
    assert heard(0) > max(heard(-800), heard(800)) + 0.15


def test_no_word_of_the_sentences_is_pronounced_as_a_digit(flite_festival_voices):
    def sounds(words: list[str]) -> list[str]:
        command = [
            "flite",
            "-voice",
            flite_festival_voices[0].voice,
            "-ps",
            "-o",
            "none",
            "-t",
            ", ".join(words),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [sounds.strip() for sounds in said.split("pau") if sounds.strip()]

    words = _WORDS.split()
    digits = sounds(list(DIGIT_WORDS))
    said = {w for w, s in zip(words, sounds(words), strict=True) if s in digits}
    assert said == set(_SPOKEN_AS_DIGITS)


def test_without_flite_and_festival_the_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="apt-get install flite festival"):
        make_flite_festival_phrases(tmp_path)


def test_phrases_are_trimmed_with_their_bounds_and_of_their_prompts(tmp_path, monkeypatch):
    """A synthesizer made up: 0.5 s of silence, each word 0.2 s, 0.5 s of silence."""
    rate, asked = ESPEAK_SAMPLE_RATE, []

    def speak(voice, prompts):
        asked.extend(prompts)
        speech = []
        for prompt in prompts:
            n = len(prompt.text.split())
            length = rate // 5
            sound = 8_000 * np.sin(2 * np.pi * 440 * np.arange(n * length) / rate)
            samples = np.pad(sound, rate // 2).astype(np.int16)
            speech.append((samples, rate // 2 + length * np.arange(n)))
        return speech

    monkeypatch.setattr(espeak_tts, "synthesize", speak)
    (voice,) = draw_voices(1, 0)
    phrases = make_espeak_phrases([voice], tmp_path, strings=12, sentences=0)
    for phrase in phrases:
        expected = 0.2 * SAMPLE_RATE * np.arange(len(phrase.digits))
        np.testing.assert_allclose(phrase.starts, expected, atol=40)  # 5 ms
    assert len({prompt.rate_wpm for prompt in asked}) > 4
    assert all(0.84 < prompt.rate_wpm / voice.rate_wpm < 1.21 for prompt in asked)
    assert all(abs(prompt.pitch - voice.pitch) <= 10 for prompt in asked)
    # Other prompts are other phrases, with the same folder for what was synthesized.
    others = make_espeak_phrases([voice], tmp_path, strings=12, sentences=0, seed=1)
    assert len(phrases) == len(others) == 12
    assert [p.digits for p in others] != [p.digits for p in phrases]
    for phrase in others:
        assert len(phrase.samples) == pytest.approx(0.2 * SAMPLE_RATE * len(phrase.digits), abs=80)
