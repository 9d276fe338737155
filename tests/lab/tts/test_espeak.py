import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from scipy.fft import next_fast_len

from spoken_digits.lab.data.corpora import (
    CORPORA,
    DIGIT_WORDS,
    DIGITS,
    CorpusError,
    find_corpus,
    read_corpus,
)
from spoken_digits.lab.data.validate import check_corpus
from spoken_digits.lab.runs import OutputError
from spoken_digits.lab.tts import espeak, flite_festival
from spoken_digits.lab.tts.espeak import (
    ALL_VOICES,
    OOV_WORDS,
    TAKES,
    VOICES,
    Voice,
    make_voices,
)
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES, make_flite_festival

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="needs espeak-ng: pip install 'spoken-digits[synth]'",
)

RECORDED = frozenset(voice.speaker for voice in FLITE_FESTIVAL_VOICES)


@pytest.fixture(scope="module")
def clips():
    return {clip: sf.read(clip.file, dtype="float64")[0] for clip in read_corpus("voices")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.flac")}


# The voices that ship


def test_every_voice_says_every_digit_and_flite_and_festival_more_often(clips):
    takes = {voice.speaker: TAKES for voice in VOICES} | dict.fromkeys(
        RECORDED, flite_festival.TAKES
    )
    assert Counter((clip.label, clip.speaker) for clip in clips) == {
        (digit, speaker): count for digit in DIGITS for speaker, count in takes.items()
    }
    assert len(clips) == CORPORA["voices"].clips


def test_the_files_are_small_and_in_the_format_of_telephones(clips):
    infos = {sf.info(clip.file) for clip in clips}
    assert {(i.format, i.subtype, i.samplerate, i.channels) for i in infos} == {
        ("FLAC", "PCM_16", 8_000, 1)
    }
    assert sum(clip.file.stat().st_size for clip in clips) < 5_000_000


def test_the_corpus_check_finds_nothing(clips):
    assert check_corpus(clips) == ()


def test_a_digit_takes_a_fifth_of_a_second_to_a_second(clips):
    durations_s = [len(samples) / 8_000 for samples in clips.values()]
    assert min(durations_s) > 0.18
    assert max(durations_s) < 1.0


def test_every_clip_has_one_level_and_no_offset(clips):
    peaks = [np.abs(samples).max() for samples in clips.values()]
    assert np.ptp(peaks) < 1e-4
    assert max(abs(samples.mean()) for samples in clips.values()) < 0.01


def test_no_two_clips_of_a_digit_sound_alike(clips):
    for digit in DIGITS[::3]:
        formants = {clip: x for clip, x in clips.items() if clip.speaker not in RECORDED}
        same_word = [samples for clip, samples in formants.items() if clip.label == digit]
        size = next_fast_len(2 * max(map(len, same_word)), real=True)
        spectra = [np.fft.rfft(x / np.linalg.norm(x), size) for x in same_word]
        spectra = np.array(spectra)
        for i, one in enumerate(spectra[:-1]):
            assert np.abs(np.fft.irfft(one * spectra[i + 1 :].conj(), size)).max() < 0.95


def test_no_voice_of_flite_or_festival_repeats_itself(clips):
    read = [samples.tobytes() for clip, samples in clips.items() if clip.speaker in RECORDED]
    assert len(set(read)) == len(read) == 10 * len(RECORDED) * flite_festival.TAKES


def test_the_voices_differ_in_pitch_and_timbre(clips):
    pitches_hz, centroids_hz = [], []
    for voice in VOICES:
        own = [samples for clip, samples in clips.items() if clip.speaker == voice.speaker]
        pitches_hz.append(np.median([pitch_hz(samples) for samples in own]))
        power = sum(np.abs(np.fft.rfft(samples, 8_192)) ** 2 for samples in own)
        centroids_hz.append(power @ np.fft.rfftfreq(8_192, 1 / 8_000) / power.sum())
    assert min(pitches_hz) < 100
    assert max(pitches_hz) > 200
    assert max(centroids_hz) > 2 * min(centroids_hz)


def pitch_hz(samples: np.ndarray) -> float:
    """The strongest period of 4 to 15 ms in the loudest 50 ms."""
    loudest = np.convolve(samples**2, np.ones(400), "valid").argmax()
    frame = samples[loudest : loudest + 400]
    periodicity = np.correlate(frame, frame, "full")[399:]
    return 8_000 / (32 + periodicity[32:120].argmax())


def test_voices_need_no_folder_of_corpora(tmp_path, monkeypatch):
    monkeypatch.setenv("SPOKEN_DIGITS_DATA", str(tmp_path / "gone"))
    assert len(read_corpus("voices")) == CORPORA["voices"].clips


# Making voices


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
def test_what_ships_is_what_the_maker_makes(tmp_path):
    make_voices(tmp_path / "again", VOICES[:2])
    shipped = find_corpus("voices")
    for made in (tmp_path / "again").rglob("*.flac"):
        again, _ = sf.read(made, dtype="int16")
        ships, _ = sf.read(shipped / made.relative_to(tmp_path / "again"), dtype="int16")
        # One step of 16 bits: resampling may round otherwise on another processor.
        np.testing.assert_allclose(again.astype(int), ships, atol=1)


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


def test_people_of_flite_speak_lower_or_higher_as_they_do(clips):
    """rms is a man, slt a woman (CMU Arctic)."""
    median_hz = {
        speaker: np.median([pitch_hz(x) for clip, x in clips.items() if clip.speaker == speaker])
        for speaker in ("flite-rms", "flite-slt")
    }
    assert median_hz["flite-slt"] > 1.4 * median_hz["flite-rms"]


def test_every_other_word_can_be_drawn_and_each_at_most_once():
    drawn = espeak._draw_oov_words(len(OOV_WORDS), [0, 0])
    assert Counter(drawn) == Counter(OOV_WORDS)


@needs_espeak
def test_more_other_words_than_there_are_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(CorpusError, match=f"9999 out-of-vocab.*: expected 0 to {len(OOV_WORDS)}"):
        make_voices(tmp_path / "odd", VOICES[:1], oov_words=9_999)
    assert list(tmp_path.iterdir()) == []
