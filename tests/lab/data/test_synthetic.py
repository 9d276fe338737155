"""Synthetic speech in a training set: engines, numbers of speakers, nested subsets."""

import random
from collections import Counter

import numpy as np
import pytest
import soundfile as sf

from spoken_digits.lab.data.corpora import CorpusError, data_hash
from spoken_digits.lab.data.synthetic import Selection, in_order, parse_extra, read_extra
from spoken_digits.lab.tts.kokoro import KOKORO_VOICES, draw_mixtures

# The voices of the command that the error messages name: 54, and 146 mixtures of seed 0.
VOICES = {voice.speaker: voice for voice in (*KOKORO_VOICES, *draw_mixtures(146, 0))}
SMALL = [voice.speaker for voice in KOKORO_VOICES[8:14]]  # af_river af_sarah af_sky am_...


@pytest.fixture
def data(tmp_path):
    """A folder of corpora: six speakers of Kokoro, two of espeak-ng, two digits and a word."""
    rng = np.random.default_rng(0)
    for engine, speakers in (("kokoro", SMALL), ("espeak-ng", ["gb-f5", "gb-m1"])):
        for speaker in speakers:
            for label in ("3", "7", "heaven"):
                file = tmp_path / engine / label / f"{speaker}_0.flac"
                file.parent.mkdir(parents=True, exist_ok=True)
                sf.write(file, rng.uniform(-0.1, 0.1, 800), 8000)
    return tmp_path


def test_what_a_recipe_names():
    assert parse_extra("none") == ()
    assert parse_extra("voices") == (Selection("voices"),)
    assert parse_extra("kokoro:54+espeak-ng") == (Selection("kokoro", 54), Selection("espeak-ng"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("robots", "expected none or one of fsdd, .*voices, espeak-ng, flite-festival, kokoro"),
        ("an4", "expected none or one of"),  # utterances, no single words
        ("", "expected none or one of"),
        ("kokoro:0", "'kokoro:0': expected a number of speakers above zero"),
        ("kokoro:ten", "'kokoro:ten': expected a number of speakers above zero"),
        ("kokoro:", "'kokoro:': expected a number of speakers above zero"),
        ("espeak-ng:10", "no number behind another name"),
        ("kokoro:10+kokoro:30", "expected each name once"),
    ],
)
def test_what_no_recipe_may_name(extra, message):
    with pytest.raises(ValueError, match=message):
        parse_extra(extra)


def test_there_are_200_speakers_in_an_order_that_nothing_else_decides():
    order = in_order(VOICES)
    assert len(order) == len(VOICES) == 200
    # By SHA-256, as sha256sum gives it: women and men in turn, accents as they come.
    assert order[:4] == ("kokoro-af_river", "kokoro-am_onyx", "kokoro-hf_alpha", "kokoro-zm_yunxi")
    shuffled = list(VOICES)
    random.Random(1).shuffle(shuffled)
    assert in_order(shuffled) == order
    # Without some, the others keep their order.
    assert in_order(order[:100]) == order[:100]
    without = [name for name in order[:54] if name not in order[4:9]]
    assert [name for name in in_order(without) if "af_" in name] == [
        name for name in without if "af_" in name
    ]


def test_subsets_hold_as_many_women_as_men_and_mixtures_come_last():
    order = [VOICES[name] for name in in_order(VOICES)]
    for count in (10, 30, 50):
        genders = Counter(voice.gender for voice in order[:count])
        assert genders == {"female": count // 2, "male": count // 2}
    assert Counter(voice.gender for voice in order[:54]) == {"female": 29, "male": 25}
    assert Counter(voice.gender for voice in order[54:100]) == {"female": 23, "male": 23}
    assert [len(voice.mixture) for voice in order] == [1] * 54 + [2] * 146


def test_names_of_other_engines_are_not_put_in_order():
    with pytest.raises(CorpusError, match=r"gb-f5: no speaker of Kokoro; .*--mixtures 146"):
        in_order(["kokoro-af_sky", "gb-f5"])


def test_the_first_speakers_are_read_digits_alone(data):
    few, more = read_extra("kokoro:2", data), read_extra("kokoro:4", data)
    assert {clip.speaker for clip in few} == {*in_order(SMALL)[:2]}
    assert {clip.label for clip in more} == {"3", "7"}
    assert {clip.corpus for clip in more} == {"kokoro"}
    assert {*few} < {*more}
    assert len(more) == 8
    everyone = read_extra("kokoro+espeak-ng", data)
    assert Counter(clip.corpus for clip in everyone) == {"kokoro": 12, "espeak-ng": 4}
    assert data_hash(read_extra("kokoro:4", data)) == data_hash(more) != data_hash(few)
    assert read_extra("none", data) == ()
    assert len(read_extra("voices", data)) == 1000


def test_speech_that_is_not_at_hand_says_how_it_is_made(data):
    with pytest.raises(CorpusError, match="kokoro:7: 6 speakers at hand; make them with 'spoken-"):
        read_extra("kokoro:7", data)
    with pytest.raises(CorpusError, match=r"flite-festival: .*not at hand, expected in .*--set fl"):
        read_extra("flite-festival", data)
