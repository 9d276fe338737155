"""Recordings of several channels: the one that carries the speech is heard."""

import io

import numpy as np
import pytest
import soundfile
from made_files import CHANNELS, HISS, OTHER, RATE, SPEECH, encoded

from spoken_digits.audio import SAMPLE_RATE, find_utterance
from spoken_digits.reading import AudioError, open_audio, read_audio, to_mono


@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize(("channels", "taken", "is_doubtful"), CHANNELS.values(), ids=CHANNELS)
def test_the_channel_with_the_speech_is_taken(channels, taken, is_doubtful, as_file):
    samples = np.stack(channels, axis=1)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    source = (file.getvalue(), None) if as_file else (samples, RATE)
    with open_audio(*source) as recording:
        found = recording.read()
    assert recording.channels == taken
    expected = np.mean([channels[k - 1] for k in taken], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    said = f"its channels differ; channel {taken[0]} of {len(channels)} is taken"
    assert [said in warning for warning in recording.warnings] == [True] * is_doubtful
    np.testing.assert_allclose(to_mono(samples, RATE), expected, atol=1e-7)


def test_speech_that_begins_late_in_its_channel_is_found():
    # The choice is made over all of the recording, which is longer than a block.
    long = [np.tile(x, 8) for x in (HISS, SPEECH)]
    long[1][: len(long[1]) // 2] = 0
    file = io.BytesIO()
    soundfile.write(file, np.stack(long, axis=1), RATE, format="FLAC")
    assert len(long[0]) > 1 << 16
    samples, _ = read_audio(file.getvalue())
    np.testing.assert_allclose(samples, long[1], atol=1 / 2**15)


@pytest.mark.parametrize("rest", [1, 7, 1_800])
def test_a_last_block_that_is_shorter_than_a_delay_is_taken(rest):
    rate, length = 44_100, (1 << 16) + rest  # 0.05 s are 2,205 samples
    samples = np.resize(SPEECH, length)
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, -samples], axis=1), rate, format="WAV")
    with open_audio(file.getvalue()) as recording:
        np.testing.assert_allclose(recording.read(), samples, atol=1 / 2**14)
    short = samples[:rest]
    np.testing.assert_array_equal(to_mono(np.stack([short, -short], axis=1), rate), short)


@pytest.mark.parametrize("channel", [1, 2])
def test_a_channel_may_be_named(channel):
    samples = np.stack([SPEECH, OTHER], axis=1)
    with open_audio(samples, RATE, channel=channel) as recording:
        np.testing.assert_array_equal(recording.read(), samples[:, channel - 1])
    assert recording.warnings == []


@pytest.mark.parametrize(
    ("samples", "channel", "said"),
    [
        (np.stack([SPEECH, OTHER], axis=1), 3, "no channel 3; expected 1 to 2"),
        (SPEECH, 2, "no channel 2; expected 1, the only one"),
        (SPEECH, 0, "channel 0; expected 1, the first one"),
        (SPEECH, "left", "channel 'left'; expected 1"),
    ],
)
def test_a_channel_that_is_not_there_is_refused(samples, channel, said):
    with pytest.raises(AudioError, match=said):
        read_audio(samples, RATE, channel=channel)
    if isinstance(channel, int) and channel > 0:
        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format="WAV")
        with pytest.raises(AudioError, match=said):
            read_audio(file.getvalue(), channel=channel)


def test_an_utterance_in_antiphase_is_no_silence():
    found = find_utterance(np.stack([SPEECH, -SPEECH], axis=1), SAMPLE_RATE)
    assert found.is_speech


@pytest.mark.parametrize("count", [1, 50, 65_536 + 50])  # of samples; 65,536 are read at a time
def test_a_block_may_be_shorter_than_the_longest_delay(count):
    samples = np.random.default_rng(0).standard_normal(count).astype(np.float32) / 9
    content = encoded(np.stack([samples, samples], 1), "WAV/FLOAT")
    np.testing.assert_array_equal(read_audio(content)[0], samples)
