import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from spoken_digits.lab.data.corpora import DIGIT_WORDS, CorpusError
from spoken_digits.lab.runs import OutputError
from spoken_digits.lab.tts import espeak
from spoken_digits.lab.tts.espeak import ALL_VOICES, OOV_WORDS, VOICES, Voice, make_voices
from spoken_digits.lab.tts.flite_festival import make_flite_festival

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="needs espeak-ng: pip install 'spoken-digits[synth]'",
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.flac")}


@needs_espeak
def test_two_voices_made_twice_are_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        make_voices(tmp_path / folder, VOICES[:2], takes=1)
    assert len(contents(tmp_path / "one")) == 20
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_there_are_voices_enough_and_each_has_a_name_of_its_own():
    assert len(VOICES) >= 40
    assert len({voice.speaker for voice in ALL_VOICES}) == len(ALL_VOICES) >= 80
    assert ALL_VOICES[: len(VOICES)] == VOICES
    assert len({voice.accent for voice in ALL_VOICES}) == 8
    assert not set(OOV_WORDS) & {*DIGIT_WORDS, "won", "to", "too", "for", "ate", "oh"}


@needs_espeak
def test_other_words_leave_the_digits_as_they_are(tmp_path):
    make_voices(tmp_path / "digits", VOICES[:1], takes=1)
    make_voices(tmp_path / "both", VOICES[:1], takes=1, oov_words=3)
    digits, both = contents(tmp_path / "digits"), contents(tmp_path / "both")
    assert digits.items() < both.items()
    others = {Path(name).parent.name for name in both.keys() - digits.keys()}
    assert len(others) == 3
    assert others <= set(OOV_WORDS)
    make_voices(tmp_path / "oh", VOICES[:1], takes=2, oov_words=3, oh=True)
    make_voices(tmp_path / "none", VOICES[:1], takes=2, oov_words=3)
    without, more = contents(tmp_path / "none"), contents(tmp_path / "oh")
    assert without.items() < more.items()
    said = sorted(name for name in more.keys() - without.keys())
    assert said == [f"oh/{VOICES[0].speaker}_{take}.flac" for take in range(2)]
    assert len({more[name] for name in said}) == 2


@needs_espeak
def test_a_voice_does_not_depend_on_its_neighbors(tmp_path):
    make_voices(tmp_path / "pair", VOICES[:2], takes=1)
    make_voices(tmp_path / "alone", VOICES[:1], takes=1)
    assert contents(tmp_path / "alone").items() <= contents(tmp_path / "pair").items()


@needs_espeak
def test_another_seed_speaks_otherwise(tmp_path):
    for seed in (0, 1):
        make_voices(tmp_path / str(seed), VOICES[:1], takes=1, seed=seed)
    assert not set(contents(tmp_path / "0").values()) & set(contents(tmp_path / "1").values())


@needs_espeak
@pytest.mark.parametrize(
    ("voice", "message"),
    [
        (Voice("odd", "en-us", "m33", 50, 150), "voice odd: no variant 'm33', expected one of"),
        (Voice("odd", "en-gb", "m3", 50, 150), "voice odd: no accent 'en-gb', expected a language"),
    ],
)
def test_an_unknown_voice_is_refused_and_leaves_nothing(tmp_path, voice, message):
    with pytest.raises(CorpusError, match=message):
        make_voices(tmp_path / "odd", [voice])
    assert list(tmp_path.iterdir()) == []


@needs_espeak
def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        make_voices(tmp_path, VOICES[:1])
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


# flite and festival


def test_a_voice_of_flite_is_reproducible_and_its_takes_differ(flite_festival_voices, tmp_path):
    for name in ("one", "other"):
        make_flite_festival(tmp_path / name, flite_festival_voices[:1], takes=2)
    one, other = (contents(tmp_path / name) for name in ("one", "other"))
    assert one == other
    assert len(one) == len(set(one.values())) == 20


def test_without_flite_the_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="apt-get install flite festival"):
        make_flite_festival(tmp_path / "made")


def test_every_other_word_can_be_drawn_and_each_at_most_once():
    drawn = espeak._draw_oov_words(len(OOV_WORDS), [0, 0])
    assert Counter(drawn) == Counter(OOV_WORDS)


@needs_espeak
def test_more_other_words_than_there_are_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(CorpusError, match=f"9999 out-of-vocab.*: expected 0 to {len(OOV_WORDS)}"):
        make_voices(tmp_path / "odd", VOICES[:1], oov_words=9_999)
    assert list(tmp_path.iterdir()) == []
