"""Speech codecs, against another decoder of the same standard and the figures of the codecs."""

import io

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.augmentation.codecs import gsm, opus, random_codec
from spoken_digits.lab.data.corpora import read_synthetic
from spoken_digits.reading import read_audio

# Seven synthetic digits.
SPEECH = np.concatenate([resample(*read_audio(clip.file)) for clip in read_synthetic()[:7]])


def snr_db(coded: np.ndarray, samples: np.ndarray) -> float:
    return float(10 * np.log10(np.square(samples).sum() / np.square(coded - samples).sum()))


def test_gsm_is_what_another_decoder_makes_of_the_same_frames() -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (the extra formats)")
    file = io.BytesIO()
    soundfile.write(file, SPEECH, SAMPLE_RATE, format="WAV", subtype="GSM610")
    file.seek(0)
    with av.open(file) as container:
        frames = [f.to_ndarray()[0] for f in container.decode(audio=0)]
    # GSM 06.10 is specified to the last bit.
    expected = np.concatenate(frames)[: len(SPEECH)] / 2**15
    np.testing.assert_array_equal(gsm(SPEECH)[: len(expected)], expected.astype(np.float32))
    assert len(expected) > 0.95 * len(SPEECH)


@pytest.mark.parametrize("coded", [gsm, lambda x: opus(x, 1.0), lambda x: opus(x, 0.97)])
@pytest.mark.parametrize("length", [1, 319, 8_000, len(SPEECH)])
def test_a_coded_recording_has_its_length_and_is_not_late(coded: object, length: int) -> None:
    samples = SPEECH[:length]
    found = coded(samples)  # type: ignore[operator]
    assert found.shape == (length,)
    assert found.dtype == np.float32
    if length == len(SPEECH):
        overlap = np.correlate(found, samples, "full")
        assert overlap.argmax() == length - 1


def test_noise_follows_the_speech_and_is_as_loud_as_each_rate_makes_it() -> None:
    twice, once = snr_db(gsm(gsm(SPEECH)), SPEECH), snr_db(gsm(SPEECH), SPEECH)
    low, high = (snr_db(opus(SPEECH, level), SPEECH) for level in (1.0, 0.8))
    assert 3 < twice < once - 1 < 20
    assert 1 < low < once
    assert high > low + 10
    # Modelled, not added: what is left out is silent where the speech is.
    half, later = len(SPEECH) // 2, len(SPEECH) // 2 + 1_600
    quiet = SPEECH.copy()
    quiet[half:] = 0
    for coded in (gsm(quiet), opus(quiet, 1.0)):  # GSM's silence is a small constant
        assert coded[later:].var() < 1e-4 * coded[:half].var()


def test_codecs_are_drawn_by_the_generator_alone() -> None:
    drawn = [random_codec(SPEECH, np.random.default_rng(seed)) for seed in range(12)]
    for seed, found in enumerate(drawn):
        np.testing.assert_array_equal(found, random_codec(SPEECH, np.random.default_rng(seed)))
    kinds = [np.array_equal(found, gsm(SPEECH)) for found in drawn]
    twice = [np.array_equal(found, gsm(gsm(SPEECH))) for found in drawn]
    assert any(kinds)
    assert any(twice)
    assert sum(kinds) + sum(twice) < len(drawn)
