"""How recordings sound: measured on what is made to have a property, and on what has not."""

import numpy as np
import pytest
import soundfile as sf
import soxr
from scipy.signal import butter, sosfilt

from spoken_digits.cli import main
from spoken_digits.lab.data.acoustics import Spoken, cut_off_hz, describe, remark
from spoken_digits.lab.data.corpora import read_synthetic
from spoken_digits.reading import read_audio

RATE = 16_000


def speech_like(seed: int, rate: int = RATE) -> np.ndarray:
    """Noise that falls by 12 dB an octave from 500 Hz on, fading in and out: (L,)."""
    noise = np.random.default_rng(seed).normal(0, 0.3, rate).astype(np.float32)
    faded = sosfilt(butter(2, 500, fs=rate, output="sos"), noise) * np.hanning(rate)
    return faded - faded.mean()


def telephone(samples: np.ndarray) -> np.ndarray:
    """Pass samples through 8 kHz, and store them in 16 bits."""
    narrow = soxr.resample(soxr.resample(samples, RATE, 8_000), 8_000, RATE)
    return np.round(narrow * 2**15) / 2**15


def remarks(recordings: dict[str, list[np.ndarray]], rate: int = RATE) -> dict[str, str]:
    pairs = ((name, each) for name, some in recordings.items() for each in some)
    return dict(remark([Spoken(name, describe(np.float32(each), rate)) for name, each in pairs]))


def test_offset_and_levels_of_the_ends_are_those_that_were_made():
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    tone[: RATE // 10] *= 0.1  # 20 dB less
    tone[-RATE // 10 :] *= 0.01
    found = describe(np.float32(tone + 0.02), RATE)
    assert found.offset == pytest.approx(0.02, abs=1e-6)
    power = 0.125 + 0.02**2  # of the loudest 30 ms, the offset included
    for level_db, amplitude in ((found.start_db, 0.05), (found.end_db, 0.005)):
        expected = 10 * np.log10((amplitude**2 / 2 + 0.02**2) / power)
        assert level_db == pytest.approx(expected, abs=0.1)
    assert not found.is_cut
    assert describe(np.float32(tone[: RATE // 2]), RATE).is_cut


def test_the_spectrum_is_in_bands_of_125_hz_at_any_rate():
    for rate in (8_000, 11_025, 16_000, 44_100):
        tone = np.float32(np.sin(2 * np.pi * 1_812 * np.arange(rate) / rate))
        spectrum = describe(tone, rate).spectrum_db
        assert int(spectrum.argmax()) == 1_812 // 125
        assert len(spectrum) == round(rate / 2 / 125)


def test_a_cut_off_is_found_where_it_is_and_a_slope_is_none():
    full = speech_like(0)
    assert cut_off_hz(describe(np.float32(full), RATE).spectrum_db) is None
    found = cut_off_hz(describe(np.float32(telephone(full)), RATE).spectrum_db)
    assert found == pytest.approx(3_800, abs=300)


def test_a_gap_below_something_louder_is_no_cut_off():
    spectrum = np.full(64, -60, np.float32)
    spectrum[20:26] = -100
    assert cut_off_hz(spectrum) is None
    spectrum[20:] = -100
    assert cut_off_hz(spectrum) == pytest.approx(20 * 125, abs=375)


def test_loud_vowels_over_quiet_noise_are_no_cut_off():
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE) / RATE
    vowel = sum(np.sin(2 * np.pi * 150 * k * time_s) for k in range(1, 21))  # up to 3 kHz
    samples = 0.02 * vowel * (time_s < 0.2) + rng.normal(0, 1e-3, RATE)
    assert cut_off_hz(describe(np.float32(samples), RATE).spectrum_db) is None
    always = 0.02 * vowel + rng.normal(0, 1e-5, RATE)
    found = cut_off_hz(describe(np.float32(always), RATE).spectrum_db)
    assert found == pytest.approx(3_000, abs=300)


def test_speakers_with_a_property_are_named_and_others_are_not():
    fine = [speech_like(i) for i in range(5)]
    assert remarks({"a": fine, "b": fine}) == {}
    found = remarks(
        {
            "a": fine,
            "narrow": [telephone(each) for each in fine],
            "offset": [each + 0.012 for each in fine],
            "cut": [*fine, *(each[RATE // 2 :] for each in fine)],
        }
    )
    assert found == {
        "cut": "within 12 dB of the loudest 30 ms at either end, as if cut within speech: "
        "5 of 25 clips, cut 50%",
        "offset": "a mean of 0.5% of full scale or more: 1 of 4 speakers, offset 1.2%",
        "bandwidth": "nothing in the upper 25% of the band or more: 1 of 4 speakers, narrow "
        + found["bandwidth"].rpartition(" ")[2],
    }
    assert 0.5 <= float(found["bandwidth"].rpartition(" ")[2].rstrip("%")) / 100 <= 0.56


def test_nothing_is_said_of_a_few_recordings():
    assert remarks({"cut": [speech_like(i)[RATE // 2 :] for i in range(4)]}) == {}
    assert remarks({"narrow": [telephone(speech_like(i)) for i in range(4)]}) == {}


def test_at_most_three_are_named():
    loud = {f"s{i}": [speech_like(0) + 0.01 + 0.001 * i] for i in range(5)}
    found = remarks(loud)["offset"]
    assert found.endswith("5 of 5 speakers, s4 1.4%, s3 1.3%, s2 1.2%, ...")


@pytest.mark.parametrize("length", [1, 7, 100])
def test_short_and_silent_recordings_are_measured(length):
    for samples in (np.zeros(length, np.float32), np.ones(length, np.float32)):
        found = describe(samples, RATE)
        assert np.isfinite([found.offset, found.start_db, found.end_db, *found.spectrum_db]).all()


def test_synthetic_speech_that_ships_raises_no_remark_on_sound():
    clips = read_synthetic()[::4]
    found = [Spoken(clip.speaker, describe(*read_audio(clip.file))) for clip in clips]
    assert list(remark(found)) == []


def test_remarks_are_printed_and_leave_the_status_alone(tmp_path, capsys):
    for digit in range(10):
        (tmp_path / str(digit)).mkdir()
        for take in range(2):
            file = tmp_path / str(digit) / f"ann_{take}.wav"
            sf.write(file, speech_like(2 * digit + take, 8_000) + 0.01, 8_000)
    assert main(["corpus", "check", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(
        "offset: a mean of 0.5% of full scale or more: 1 of 1 speakers, ann 1.0%"
    )
    assert lines[-1].endswith("; no problems")
