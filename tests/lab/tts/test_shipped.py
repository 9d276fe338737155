"""The synthetic speech that ships, and that `make_shipped` makes it."""

import importlib.util
from collections import Counter
from functools import partial

import numpy as np
import pytest
import soundfile as sf
from scipy.fft import next_fast_len
from toy_kokoro import write_toy_kokoro

from spoken_digits.lab.data.corpora import CORPORA, DIGITS, SHIPPED_VOICES, read_corpus
from spoken_digits.lab.data.validate import check_corpus
from spoken_digits.lab.tts import flite_festival, kokoro, shipped
from spoken_digits.lab.tts.espeak import ALL_VOICES, make_voices, to_corpus_clip
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES, make_flite_festival
from spoken_digits.lab.tts.kokoro import Kokoro
from spoken_digits.lab.tts.shipped import SHIPPED_ESPEAK, SHIPPED_KOKORO, make_shipped

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="needs espeak-ng: pip install 'spoken-digits[synth]'",
)
RECORDED = frozenset(voice.speaker for voice in FLITE_FESTIVAL_VOICES)


@pytest.fixture(scope="module")
def clips():
    return {clip: sf.read(clip.file, dtype="float64")[0] for clip in read_corpus("voices")}


def test_every_voice_says_every_digit_and_more_often_the_more_it_is_like_people(clips):
    takes = dict.fromkeys((voice.speaker for voice in SHIPPED_ESPEAK), 1)
    takes |= dict.fromkeys((voice.speaker for voice in FLITE_FESTIVAL_VOICES), flite_festival.TAKES)
    takes |= dict.fromkeys((voice.speaker for voice in SHIPPED_KOKORO), kokoro.TAKES)
    assert Counter((clip.label, clip.speaker) for clip in clips) == {
        (digit, speaker): count for digit in DIGITS for speaker, count in takes.items()
    }
    assert len(clips) == CORPORA["voices"].clips


def test_as_many_women_as_men_and_every_accent():
    genders = Counter(voice.gender for voice in SHIPPED_KOKORO)
    assert genders["female"] == genders["male"] >= 15
    assert len({voice.speaker for voice in SHIPPED_KOKORO}) == genders.total()
    women = {"f1", "f2", "f3", "f4", "f5", "Annie", "anika", "grandma"}
    of_accent = Counter((voice.accent, voice.variant in women) for voice in SHIPPED_ESPEAK)
    accents = {voice.accent for voice in ALL_VOICES}
    assert of_accent == {(accent, woman): 1 for accent in accents for woman in (False, True)}


def test_the_files_are_small_and_in_the_format_of_telephones(clips):
    infos = {sf.info(clip.file) for clip in clips}
    assert {(i.format, i.subtype, i.samplerate, i.channels) for i in infos} == {
        ("FLAC", "PCM_16", 8_000, 1)
    }
    assert sum(clip.file.stat().st_size for clip in clips) < 4_000_000


def test_the_corpus_check_finds_nothing(clips):
    assert check_corpus(clips) == ()


def test_a_digit_takes_a_fifth_of_a_second_to_a_second(clips):
    durations_s = [len(samples) / 8_000 for samples in clips.values()]
    assert min(durations_s) > 0.18
    assert max(durations_s) < 1.1


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
    for voice in (*SHIPPED_ESPEAK, *SHIPPED_KOKORO):
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


def test_people_of_flite_speak_lower_or_higher_as_they_do(clips):
    """rms is a man, slt a woman (CMU Arctic)."""
    median_hz = {
        speaker: np.median([pitch_hz(x) for clip, x in clips.items() if clip.speaker == speaker])
        for speaker in ("flite-rms", "flite-slt")
    }
    assert median_hz["flite-slt"] > 1.4 * median_hz["flite-rms"]


# Making it


def assert_ships(label: str, name: str, samples: np.ndarray) -> None:
    ships, _ = sf.read(SHIPPED_VOICES / label / name, dtype="int16")
    # One step of 16 bits: resampling may round otherwise on another processor.
    np.testing.assert_allclose(samples.astype(int), ships, atol=1)


@needs_espeak
def test_what_ships_of_espeak_is_what_the_maker_makes(tmp_path):
    for file in make_voices(tmp_path / "again", SHIPPED_ESPEAK[:2]).glob("*/*_0.flac"):
        assert_ships(file.parent.name, file.name, sf.read(file, dtype="int16")[0])


def test_what_ships_of_flite_is_what_the_maker_makes(flite_festival_voices, tmp_path):
    for file in make_flite_festival(tmp_path / "again", flite_festival_voices[:1]).glob("*/*"):
        assert_ships(file.parent.name, file.name, sf.read(file, dtype="int16")[0])


def test_what_ships_of_kokoro_is_what_the_published_model_says(published_kokoro):
    last = len(SHIPPED_KOKORO) - 1
    plan = kokoro._plan(kokoro.TAKES, 0, False, [0, last])[9:11]
    assert [(label, take) for label, take, _ in plan] == [("9", 0), ("0", 1)]
    speech = published_kokoro.synthesize(SHIPPED_KOKORO[last], [prompt for *_, prompt in plan])
    for (label, take, _), (samples, rate, _) in zip(plan, speech, strict=True):
        clip = np.round(to_corpus_clip(samples, rate) * 2**15)
        assert_ships(label, f"{SHIPPED_KOKORO[last].speaker}_{take}.flac", clip)


@needs_espeak
def test_all_engines_are_put_into_one_folder_or_none_is(
    flite_festival_voices, tmp_path, monkeypatch
):
    engine = Kokoro(*write_toy_kokoro(tmp_path / "kokoro"))
    few = partial(make_flite_festival, voices=flite_festival_voices[:1])
    monkeypatch.setattr(shipped, "make_flite_festival", few)
    monkeypatch.setattr(shipped, "SHIPPED_ESPEAK", SHIPPED_ESPEAK[:1])
    monkeypatch.setattr(shipped, "SHIPPED_KOKORO", SHIPPED_KOKORO[:1])
    clips = read_corpus(make_shipped(tmp_path / "out", engine=engine))
    names = {(clip.label, clip.file.name) for clip in clips}
    some = SHIPPED_ESPEAK[0].speaker, flite_festival_voices[0].speaker, SHIPPED_KOKORO[0].speaker
    assert names == {
        (clip.label, clip.file.name) for clip in read_corpus("voices") if clip.speaker in some
    }
    monkeypatch.setattr(engine, "synthesize", None)
    with pytest.raises(TypeError):
        make_shipped(tmp_path / "broken", engine=engine)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kokoro", "out"]
