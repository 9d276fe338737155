"""Every kind of recording that people bring, good and bad, and where the speech in it lies."""

import math
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from spoken_digits import audio
from spoken_digits.audio import (
    MAX_CLIP_DURATION_S,
    SAMPLE_RATE,
    AudioError,
    Resampler,
    cut_clip,
    find_speech,
    find_utterance,
    read_audio,
    resample,
    to_clip,
)

MARGIN = 480  # 60 ms


def tone(duration_s: float = 0.5, rate_hz: int = SAMPLE_RATE, frequency_hz: float = 440.0):
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def voice(duration_s: float = 0.5, seed: int = 0) -> np.ndarray:
    """Return noise shaped like a syllable, 8 kHz."""
    n = round(duration_s * SAMPLE_RATE)
    noise = np.random.default_rng(seed).standard_normal(n)
    return (0.1 * np.hanning(n) ** 0.5 * noise).astype(np.float32)


def in_silence(samples: np.ndarray, snr_db: float | None = None, pad_s: float = 1.0) -> np.ndarray:
    """Put `pad_s` before and after the samples, and noise on all of it."""
    padded = np.pad(samples, round(pad_s * SAMPLE_RATE)).astype(np.float32)
    if snr_db is None:
        return padded
    noise = np.random.default_rng(1).standard_normal(len(padded))
    return (padded + noise * samples.std() * 10 ** (-snr_db / 20)).astype(np.float32)


# Files


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1 / 127),
        ("wav", "PCM_16", 1 / 32767),
        ("wav", "PCM_24", 1 / 2**22),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("wav", "ULAW", 0.02),
        ("flac", "PCM_16", 1 / 32767),
        ("aiff", "PCM_24", 1 / 2**22),
        ("au", "PCM_16", 1 / 32767),
        ("w64", "PCM_16", 1 / 32767),
        ("rf64", "PCM_16", 1 / 32767),
        ("ogg", "VORBIS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_format_reads_as_what_was_written(tmp_path, suffix, subtype, tolerance):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(1.0, 16_000), 16_000, subtype=subtype)
    samples, rate = read_audio(path)
    assert rate == 16_000
    assert samples.dtype == np.float32
    middle = slice(2_000, 14_000)  # lossy codecs ring at the ends
    np.testing.assert_allclose(samples[middle], tone(1.0, 16_000)[middle], atol=tolerance)


@pytest.mark.parametrize("channels", range(1, 7))
def test_channels_are_averaged(tmp_path, channels):
    gains = np.arange(1, channels + 1) / channels
    soundfile.write(tmp_path / "a.wav", tone()[:, None] * gains, 8000, subtype="FLOAT")
    samples, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(samples, tone() * gains.mean(), atol=1e-6)
    np.testing.assert_allclose(to_clip(tone()[:, None] * gains, 8000), to_clip(samples, 8000))


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_becomes_8_khz_at_the_same_pitch(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(0.5, rate), rate)
    clip = to_clip(*read_audio(tmp_path / "a.wav"))
    assert len(clip) == 4_000 + 2 * MARGIN
    clip = clip[MARGIN:-MARGIN]
    spectrum = np.abs(np.fft.rfft(clip))
    assert spectrum.argmax() * SAMPLE_RATE / len(clip) == 440
    # Away from the ends, where the band is limited by the tone's edges, it is the tone itself.
    np.testing.assert_allclose(clip[400:-400], tone()[400:-400], atol=2e-3)


def test_resampling_up_and_down_gives_back_the_samples():
    there = resample(voice(0.5), 8_000, 44_100)
    assert len(there) == 22_050
    back = resample(there, 44_100, 8_000)
    slow = np.fft.rfft(voice(0.5))[: 2_000 * 3_000 // 4_000]  # up to 3 kHz
    np.testing.assert_allclose(np.fft.rfft(back)[: len(slow)], slow, atol=0.02)


# Streams at any rate

RATES = [4_000, 11_025, 12_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 44_101.37]


def streamed(samples: np.ndarray, rate: float, sizes: list[int]) -> np.ndarray:
    """Resample in chunks of these sizes, over and over."""
    resampler, parts, at = Resampler(rate), [], 0
    while at < len(samples):
        size = sizes[len(parts) % len(sizes)]
        parts.append(resampler.add(samples[at : at + size].astype(np.float32)))
        at += size
    return np.concatenate([*parts, resampler.finish()])


@pytest.mark.parametrize("rate", RATES)
def test_a_stream_is_resampled_as_by_soxr_whatever_the_chunks(rate):
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(round(0.7 * rate)).astype(np.float32)
    whole = streamed(samples, rate, [len(samples)])
    assert whole.dtype == np.float32
    assert len(whole) == round(len(samples) * 8_000 / rate)
    for sizes in ([round(rate) // 50, 1, 7, round(rate) // 9], [333], [1, round(rate)]):
        np.testing.assert_array_equal(streamed(samples, rate, sizes), whole)
    # White noise: the spectra agree up to where the filter's slope begins.
    expected = resample(samples, rate)[: len(whole)]
    assert abs(len(expected) - len(whole)) <= 1
    window = np.hanning(len(expected))
    passed = round(min(3_400, 0.42 * rate) / 8_000 * len(expected))
    here, there = (np.fft.rfft(x[: len(expected)] * window)[:passed] for x in (whole, expected))
    assert np.abs(here - there).max() < 2e-3 * np.abs(there).max()


@pytest.mark.parametrize("rate", [11_025, 16_000, 44_100, 48_000])
def test_what_is_above_4_khz_is_50_db_down_and_3_4_khz_is_passed(rate):
    for frequency_hz in (4_001, 4_030, 4_200, 5_000, 0.49 * rate):
        folded = streamed(tone(1.0, rate, frequency_hz), rate, [rate])[400:-400]
        assert 20 * np.log10(folded.std() / (0.5 / np.sqrt(2))) < -50
    passed = streamed(tone(1.0, rate, 3_400), rate, [rate])
    np.testing.assert_allclose(passed[400:-400], tone(1.0, 8_000, 3_400)[400:-400], atol=1e-3)


@pytest.mark.parametrize("rate", [4_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_a_stream_is_not_held_back(rate):
    # An impulse comes out where it was, as soon as 4.5 ms (of 4 kHz: 9) and a group have followed.
    at, ahead_s = rate // 2, max(0.0045, 36 / rate)
    samples = np.zeros(rate, np.float32)
    samples[at] = 1
    resampler = Resampler(rate)
    known = resampler.add(samples[: at + math.ceil((ahead_s + 0.0101) * rate)])
    assert np.abs(known).argmax() == round(at * 8_000 / rate)
    # After 60 ms and the filter's length, a block of 60 ms is there.
    resampler = Resampler(rate)
    assert len(resampler.add(samples[: math.floor((0.06 + ahead_s) * rate) + 1])) == 480
    later = [len(resampler.add(samples[: rate // 100])) for _ in range(20)]
    assert max(later) <= 160


def wav(samples: np.ndarray, **format: str) -> Callable[[Path], object]:
    return lambda path: soundfile.write(path, samples, 8000, format="WAV", **format)


def cut(suffix: str, keep: float) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        whole = path.with_name(f"whole.{suffix}")
        soundfile.write(whole, voice(3), 8000)
        path.write_bytes(whole.read_bytes()[: round(keep * whole.stat().st_size)])

    return write


NAN = np.where(np.arange(4000) == 7, np.nan, tone())
INF = np.where(np.arange(4000) == 7, np.inf, tone())


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("text.wav", lambda p: p.write_text("seven\n" * 99), "cannot be read.*WAV.*ffmpeg"),
        ("binary.wav", lambda p: p.write_bytes(bytes(range(256)) * 9), "cannot be read.*ffmpeg"),
        ("sound.raw", lambda p: p.write_bytes(b"\1\2" * 999), "no header.*expected WAV.*ffmpeg"),
        ("empty.wav", lambda p: p.touch(), "empty file; expected.*copy or record"),
        ("head.wav", lambda p: p.write_bytes(b"RIFF\0\0\0\0WAVEfmt "), "cannot be read.*copy it"),
        ("no.wav", wav(np.zeros(0)), "no samples; expected.*record it again"),
        ("nan.wav", wav(NAN, subtype="FLOAT"), "NaN.*expected numbers.*again"),
        ("inf.wav", wav(INF, subtype="FLOAT"), "infinite.*expected numbers.*again"),
        ("folder", lambda p: p.mkdir(), "a folder; expected a recording: name the files"),
        ("missing.wav", lambda p: None, "no such file; expected.*check its name"),
        ("cut.flac", cut("flac", 0.5), "truncated or damaged.*copy or record"),
        ("cut.mp3", cut("mp3", 0.5), "truncated, it holds .* samples.*whole file: copy"),
        ("cut.ogg", cut("ogg", 0.02), "truncated, the last page of its stream.*copy"),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected_and_the_remedy(tmp_path, name, write, said):
    path = tmp_path / name
    write(path)
    with pytest.raises(AudioError, match=said) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", [45, 4_000, 8_000])
def test_a_truncated_wav_tells_how_many_bytes_are_missing(tmp_path, lost):
    path = tmp_path / "cut.wav"
    soundfile.write(path, voice(0.5), 8000)  # 8,000 bytes of sound
    os.truncate(path, path.stat().st_size - lost)
    with pytest.raises(AudioError, match=f"truncated, {lost:,} of 8,000 bytes.*whole file: copy"):
        read_audio(path)


def test_a_truncated_aiff_tells_how_many_bytes_are_missing(tmp_path):
    path = tmp_path / "cut.aiff"
    soundfile.write(path, voice(0.5), 8000)  # 8,000 bytes of sound, and 8 of its chunk's own
    expected, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(read_audio(path)[0], expected)
    os.truncate(path, path.stat().st_size - 4_000)
    with pytest.raises(AudioError, match=r"truncated, [34],\d+ of 8,008 bytes.*whole file: copy"):
        read_audio(path)


@pytest.mark.parametrize("declared", [0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_wav_from_a_pipe_declares_no_true_size_and_is_read_whole(tmp_path, declared, capfd):
    path = tmp_path / "piped.wav"
    soundfile.write(path, voice(0.5), 8000)
    expected, _ = read_audio(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", declared)
    path.write_bytes(content)
    samples, _ = read_audio(path)
    np.testing.assert_array_equal(samples, expected)
    assert path.read_bytes() == bytes(content)
    assert capfd.readouterr().err == ""


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    path = tmp_path / "locked.wav"
    soundfile.write(path, voice(), 8000)

    def refuse(self: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"locked.wav: Permission denied.*check its permissions"):
        read_audio(path)


def test_a_file_name_that_is_no_text_is_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xe9.wav"
    try:
        with open(path, "wb") as stream:  # noqa: PTH123 (bytes are no Path)
            soundfile.write(stream, voice(), 8000, format="WAV")
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    assert len(read_audio(os.fsdecode(path))[0]) == 4_000


def test_an_hour_is_refused_by_its_header_and_never_held(tmp_path):
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(0), 192_000)
    size = 3_600 * 192_000 * 2
    with path.open("r+b") as stream:  # a sparse file: it takes no room
        stream.seek(-4, os.SEEK_END)
        stream.write(struct.pack("<I", size))
        stream.truncate(stream.tell() + size)
    tracemalloc.start()
    with pytest.raises(AudioError, match=r"hour.wav: 3,600.0 s long; expected .* at most 30 s"):
        read_audio(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_longer_limit_may_be_given(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(40 * 8000), 8000)
    assert len(read_audio(tmp_path / "a.wav", max_duration_s=60)[0]) == 320_000


# Samples


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        (np.round(voice() * 2**15).astype(np.int16), 1 / 2**15),
        (np.round(voice().astype(float) * 2**31).astype(np.int32), 1e-7),
        (np.round(voice() * 127 + 128).astype(np.uint8), 1.5 / 128),
        (voice().astype(np.float64), 0),
        (voice().astype(np.float16), 1e-3),
        (voice().tolist(), 0),
        (voice()[:, None].repeat(8, axis=1), 1e-7),
    ],
)
def test_samples_of_every_type_sound_the_same(samples, tolerance):
    np.testing.assert_allclose(
        to_clip(samples, 8000), to_clip(voice(), 8000), atol=tolerance, rtol=0
    )


@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        ([], 8000, "no samples"),
        (np.zeros((0, 2)), 8000, "no samples"),
        (NAN, 8000, "NaN"),
        (INF, 8000, "infinite"),
        (np.stack([INF, -INF], axis=1), 8000, "infinite"),
        (tone() * 1e12, 8000, "beyond"),
        (tone().astype(float) * 1e300, 8000, "beyond"),
        (tone() > 0, 8000, "type bool; expected floats, int16, int32 or uint8: convert"),
        (np.arange(4000), 8000, "type int64; expected floats"),
        (tone() * 1j, 8000, "type complex"),
        (np.zeros((2, 4000)), 8000, r"shape \(2, 4000\); expected .* transpose"),
        (np.zeros((4, 4, 4)), 8000, "shape"),
        (np.float32(1), 8000, "shape"),
        (tone(), 3_999, r"3,999 Hz; expected 4,000 to 192,000 Hz"),
        (tone(), 192_001, "192,001 Hz"),
        (tone(), -8000, "-8,000 Hz"),
        (tone(), float("nan"), "nan Hz"),
        (np.zeros(4000), 8000, "no sound in it; expected speech: check the microphone"),
        (np.full(4000, 0.3), 8000, "no sound"),
        (np.full(4000, 128, np.uint8), 8000, "no sound"),
        ([0.5], 8000, "no sound"),
        ([0.5], 192_000, "no sound"),
        (np.zeros(31 * 8000), 8000, r"31.0 s long; expected .* at most 30 s: cut"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_samples_are_refused_in_words(samples, rate, said):
    with pytest.raises(AudioError, match=f"^samples: .*{said}"):
        to_clip(samples, rate)


def test_the_recording_is_called_by_the_name_given():
    with pytest.raises(AudioError, match=r"^seven.wav: no sound"):
        cut_clip(np.zeros(4000), 8000, "seven.wav")


# Speech


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(100, 60_000),
    rate=st.sampled_from([4_000, 8_000, 11_025, 16_000, 48_000]),
    level_db=st.floats(-100, 60),
    seed=st.integers(0, 9),
)
def test_any_noise_becomes_a_clip_of_legal_length(length, rate, level_db, seed):
    samples = np.random.default_rng(seed).standard_normal(length) * 10 ** (level_db / 20)
    clip, start_s, end_s = cut_clip(samples, rate)
    assert clip.dtype == np.float32
    assert np.isfinite(clip).all()
    assert 0.1 * SAMPLE_RATE <= len(clip) <= MAX_CLIP_DURATION_S * SAMPLE_RATE
    assert 0 <= start_s < end_s <= length / rate + 1 / SAMPLE_RATE
    heard = round((end_s - start_s) * SAMPLE_RATE)
    assert max(800, heard) <= len(clip) <= max(800, heard + 2 * MARGIN + 160)


def test_a_recording_cut_to_the_word_gets_the_margin_of_others():
    clip, start_s, end_s = cut_clip(voice(0.5), 8000)
    assert (start_s, end_s) == (0, 0.5)
    expected = np.pad(voice(0.5) - voice(0.5).mean(), MARGIN)
    np.testing.assert_allclose(clip, expected, atol=1e-7)
    # One that begins 20 ms too soon lacks 40 ms.
    late = np.pad(voice(0.5), (160, 8_000))
    clip, start_s, _ = cut_clip(late, 8000)
    assert start_s == 0
    assert len(clip) == pytest.approx(4_000 + 2 * MARGIN, abs=160)


@pytest.mark.parametrize("level_db", [-50, -20, 0, 30])
def test_the_level_decides_nothing_and_stays(level_db):
    gain = np.float32(10 ** (level_db / 20))
    noisy = in_silence(voice(), snr_db=30)
    expected, *bounds = cut_clip(noisy, 8000)
    clip, *scaled_bounds = cut_clip(noisy * gain, 8000)
    assert scaled_bounds == bounds
    np.testing.assert_allclose(clip, expected * gain, rtol=1e-4, atol=1e-6 * gain)


@pytest.mark.parametrize("snr_db", [None, 60, 30, 20, 10])
def test_speech_is_found_to_a_tenth_of_a_second(snr_db):
    start, stop = find_speech(in_silence(voice(0.5), snr_db))
    assert 7_200 <= start <= 8_000
    latest = 13_200 if snr_db == 10 else 12_800  # where a weak end may be lost in noise
    assert 12_000 <= stop <= latest


@pytest.mark.parametrize(("snr_db", "margin_s"), [(40, 0.06), (25, 0.06), (12, 0.14), (8, 0.14)])
def test_in_loud_noise_the_margin_at_the_end_is_longer(snr_db, margin_s):
    # A tone that ends at once: where it is found to end, without its margin, is known to a frame.
    samples = in_silence(tone(0.5, frequency_hz=1_000), snr_db)
    start, stop = find_speech(samples)
    assert stop - 12_000 == pytest.approx(margin_s * SAMPLE_RATE, abs=200)
    assert 8_000 - start == pytest.approx(MARGIN, abs=200)


HUM = 0.1 * np.sin(2 * np.pi * 50 * np.arange(20_000) / 8000)
CLICK = np.where(np.arange(20_000) // 20 == 100, 1.0, 0.0)  # 2.5 ms at full scale, 0.25 s in
BREATH = np.pad(0.018 * np.hanning(3_200) * np.sign(voice(0.4, seed=5)), (2_000, 14_800))
COUGH = np.pad(voice(0.1, seed=3), (2_000, 17_200))


@pytest.mark.parametrize(
    "trouble", [0.3, HUM, CLICK, COUGH, BREATH], ids=["offset", "hum", "click", "cough", "breath"]
)
def test_trouble_is_not_taken_for_speech(trouble):
    clip, start_s, end_s = cut_clip(in_silence(voice(0.5), 40) + trouble, 8000)
    assert start_s == pytest.approx(1.0, abs=0.1)
    assert end_s == pytest.approx(1.5, abs=0.1)
    assert abs(clip.mean()) < 0.01


def test_a_long_breath_is_not_taken_for_a_short_word():
    word, breath = voice(0.2), 0.18 * voice(0.5, seed=5)  # 15 dB below
    samples = np.concatenate([breath, np.zeros(4_000), word, np.zeros(4_000), breath])
    start, stop = find_speech(in_silence(samples, 45))
    assert start == pytest.approx(8_000 + 4_000 + 4_000, abs=800)
    assert stop - start < 0.4 * SAMPLE_RATE


COLORS = {"white": 0, "pink": 1, "brown": 2}


@pytest.mark.parametrize("duration_s", [1.3, 5, 29])
@pytest.mark.parametrize("color", COLORS)
def test_steady_noise_is_no_speech(color, duration_s):
    spectrum = np.fft.rfft(np.random.default_rng(6).standard_normal(round(duration_s * 8_000)))
    frequency = np.maximum(np.fft.rfftfreq(round(duration_s * 8_000), 1 / 8_000), 20)
    noise = np.fft.irfft(spectrum * frequency ** (-COLORS[color] / 2))
    noise *= 0.1 / noise.std()
    found = find_utterance(noise, 8_000)
    assert (found.is_speech, found.utterances) == (False, 0)
    assert found.level_dbfs == pytest.approx(20 * np.log10(np.abs(noise).max()), abs=0.5)
    at = len(noise) // 2
    noise[at : at + 2_400] += 0.3 * np.random.default_rng(7).standard_normal(2_400)  # 10 dB
    found = find_utterance(noise, 8_000)
    assert (found.is_speech, found.utterances) == (True, 1)
    assert found.start_s * 8_000 == pytest.approx(at, abs=800)


def test_silence_is_no_speech_and_cannot_be_cut():
    for samples in (np.zeros(4_000), [0.3], np.full(9, 0.3)):
        found = find_utterance(samples, 8_000)
        assert found.level_dbfs <= -120
        assert (found.is_speech, found.utterances, found.end_s) == (False, 0, 0)
        assert len(found.clip) == 800
        assert not found.clip.any()


@pytest.mark.parametrize(
    ("pauses_s", "least"), [([], 1), ([0.1], 1), ([0.3], 2), ([1.0], 2), ([0.4] * 3, 4)]
)
def test_digits_are_counted_where_pauses_part_them(pauses_s, least):
    samples = voice(0.4)
    for k, pause_s in enumerate(pauses_s):
        word = (1, 0.6)[k % 2] * voice(0.3, seed=k)
        samples = np.concatenate([samples, np.zeros(round(8_000 * pause_s)), word])
    for snr_db in (None, 40, 20):
        assert find_utterance(in_silence(samples, snr_db), 8_000).utterances == least


def test_speech_longer_than_any_digit_is_more_than_one():
    assert find_utterance(in_silence(voice(1.1), 40), 8_000).utterances == 1
    assert find_utterance(in_silence(voice(1.8), 40), 8_000).utterances == 2


def test_clipped_speech_is_found():
    start, stop = find_speech(np.clip(50 * in_silence(voice(0.5), 30), -1, 1))
    assert 7_200 <= start <= 8_000
    assert 12_000 <= stop <= 12_800


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("length", [1, 20, 400, 30_000])
def test_a_lone_impulse_is_found(length):
    samples = np.zeros(length, np.float32)
    samples[length // 2] = 1
    start, stop = find_speech(samples)
    assert start <= length // 2 < stop


def test_a_closure_within_a_word_is_bridged():
    word = np.concatenate([voice(0.2), np.zeros(1_600), 0.1 * voice(0.1)])  # "eight": a t at last
    start, stop = find_speech(in_silence(word, 50))
    assert start <= 8_000
    assert stop >= 8_000 + len(word) - 100


@pytest.mark.parametrize("background_db", [-10, -20, -35])
def test_a_trimmed_recording_is_left_whole(background_db):
    quiet = 10 ** (background_db / 20) * np.random.default_rng(2).standard_normal(1_600)
    samples = np.concatenate([quiet, np.random.default_rng(3).standard_normal(3_200), quiet])
    assert find_speech(samples.astype(np.float32)) == (0, len(samples))


def test_of_endless_speech_the_most_energetic_stretch_is_taken():
    samples = np.random.default_rng(4).standard_normal(40_000).astype(np.float32)
    samples[20_000:32_000] *= 2
    start, stop = find_speech(samples)
    assert stop - start == 12_000
    assert abs(start - 20_000) < 50


def fsdd(data_root: Path, step: int) -> list[Path]:
    files = sorted((data_root / "fsdd" / "recordings").glob("*.wav"))[::step]
    if not files:
        pytest.skip(f"needs recordings: no fsdd/recordings below {data_root}")
    return files


def test_real_clips_keep_their_energy_and_lose_only_silence(data_root):
    kept_energy, kept_duration = [], []
    for file in fsdd(data_root, 7):
        samples, rate = read_audio(file)
        samples = samples - samples.mean()
        start, stop = find_speech(samples)
        if len(samples) < 1.2 * rate:  # longer ones of this corpus hold more than one word
            kept_energy.append((samples[start:stop] ** 2).sum() / (samples**2).sum())
            kept_duration.append((stop - start) / len(samples))
    assert min(kept_energy) >= 0.995
    assert np.mean(kept_duration) > 0.96


def test_real_clips_are_found_in_a_quiet_room(data_root):
    found = []
    for file in fsdd(data_root, 29):
        samples, _ = read_audio(file)
        samples = samples - samples.mean()
        start, stop = find_speech(in_silence(samples, snr_db=30))
        share = np.cumsum(samples**2) / (samples**2).sum()
        loud = 8_000 + np.searchsorted(share, [0.01, 0.99])  # what must not be cut off
        found.append(7_200 <= start <= loud[0] and loud[1] <= stop <= 8_800 + len(samples))
    assert np.mean(found) >= 0.98


def test_audio_errors_are_value_errors():
    assert issubclass(AudioError, ValueError)
    assert set(audio.__all__) <= set(vars(audio))
