"""Files as telephones, recorders and pipes leave them: heard whole, or refused with the reason."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_files import (
    RATE,
    decoded,
    encoded,
    flac_of_unknown_length,
    mp3,
    mpeg_frames,
    replaced,
    syllables,
)

from spoken_digits import containers, reading
from spoken_digits.containers import View
from spoken_digits.reading import AudioError, AudioWarning, Encoding, open_audio, read_audio


def read(content: bytes) -> np.ndarray:
    """Read a file that is to give no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples, rate = read_audio(content)
    assert rate == RATE
    return samples


# Two decoders of one MP3 differ in the last bit: there, and only there, 1e-6 is allowed.


def read_with_warnings(content: bytes) -> tuple[np.ndarray, str]:
    with open_audio(content) as recording:
        samples = np.concatenate(list(recording))
    return samples, "; ".join(recording.warnings)


# Lengths that are unknown, or wrong


def test_flac_of_unknown_length_is_read_to_its_last_sample():
    samples = syllables(14)  # more than one block
    assert len(samples) > 65_536
    np.testing.assert_array_equal(
        read(flac_of_unknown_length(samples)), decoded(encoded(samples, "FLAC"))
    )


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
def test_an_mp3_of_variable_rate_without_its_index_is_read_whole(rate):
    samples = syllables(12, rate)
    _index, *frames = mpeg_frames(mp3(samples, rate))
    found, found_rate = read_audio(b"".join(frames))
    assert found_rate == rate
    per_frame = 1152 if rate == 44_100 else 576
    assert 0 <= len(frames) * per_frame - len(found) < per_frame  # less the decoder's delay
    # As libsndfile decodes the same frames with their index, but for a shift of the start; the
    # first of them need bits of frames before.
    whole = decoded(mp3(samples, rate))
    delay = np.correlate(found[4_000:12_000], whole[6_000:8_000]).argmax() - 2_000
    both = min(len(whole), len(found) - delay)
    np.testing.assert_allclose(found[delay:][4_000:both], whole[4_000:both], atol=1e-4)
    assert len(whole) - both < per_frame  # to the last frame


def test_an_mp3_that_declares_too_few_frames_is_read_whole_with_a_warning():
    content = mp3(syllables(6))
    at = content.index(b"Xing") + 8
    count = int.from_bytes(content[at : at + 4], "big")
    found, said = read_with_warnings(replaced(content, at, (count // 2).to_bytes(4, "big")))
    assert len(found) >= len(decoded(content))
    assert said == f"bytes: declares {count // 2} MP3 frames and holds {count}; all are read"


# Streams end to end


@pytest.mark.parametrize("kind", ["MP3", "OGG/VORBIS", "OGG/OPUS", "FLAC", "WAV", "AIFF"])
def test_streams_end_to_end_are_all_read(kind):
    first, second, third = (encoded(syllables(2, seed=k), kind) for k in range(3))
    expected = np.concatenate([decoded(each) for each in (first, second, third)])
    np.testing.assert_allclose(read(first + second + third), expected, atol=1e-6)


def test_mp3_streams_with_tags_between_and_around_them_are_all_read():
    id3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    first, second = mp3(syllables(2)), mp3(syllables(3, seed=1))
    content = id3 + first + b"TAG" + bytes(125) + id3 + second + b"TAG" + bytes(125)
    np.testing.assert_allclose(
        read(content), np.concatenate([decoded(first), decoded(second)]), atol=1e-6
    )


def test_streams_end_to_end_at_two_rates_are_refused():
    content = encoded(syllables(), "OGG/VORBIS") + encoded(syllables(), "OGG/VORBIS", 16_000)
    with pytest.raises(AudioError, match=r"end to end, at 8,000 and 16,000 Hz; .* split them"):
        read_audio(content)


# Files that are cut

CONTAINERS = ["RF64", "W64", "AU", "VOC", "NIST", "CAF", "AIFF", "SVX", "WAV", "WAVEX"]


@pytest.mark.parametrize("kind", [*CONTAINERS, "RIFX", "OGG/VORBIS", "OGG/OPUS"])
def test_a_cut_file_is_truncated_and_a_whole_one_is_not(kind):
    settings = {"endian": "BIG"} if kind == "RIFX" else {}
    content = encoded(syllables(5), kind.replace("RIFX", "WAV"), **settings)
    np.testing.assert_array_equal(read(content), decoded(content))
    for keep in (0.6, 0.7, 0.9):
        with pytest.raises(AudioError, match=r"truncated, .* missing; expected a whole file"):
            read_audio(content[: round(keep * len(content))])


@pytest.mark.parametrize("declared", [44, 2, 1])
def test_a_wav_that_declares_a_little_too_much_is_read_with_a_warning(declared):
    content = encoded(syllables(), "WAV")
    size = len(content) - 44
    found, said = read_with_warnings(replaced(content, 40, (size + declared).to_bytes(4, "little")))
    np.testing.assert_array_equal(found, decoded(content))
    assert said == f"bytes: declares {declared} bytes of sound more than it holds; all are read"


def test_a_voc_of_sox_which_declares_8_bytes_too_few_is_read_whole():
    content = encoded(syllables(), "VOC")
    assert content[26] == 9  # a block of 16 bit samples, and its size in 3 bytes
    size = int.from_bytes(content[27:30], "little")
    content = content[: 30 + size] + b"\0"
    found, said = read_with_warnings(replaced(content, 27, (size - 8).to_bytes(3, "little")))
    np.testing.assert_array_equal(found, decoded(content))
    assert said == "bytes: declares 8 bytes of sound less than it holds; all are read"


def test_the_warning_of_a_file_is_one_of_python_too():
    content = encoded(syllables(), "WAV")
    with pytest.warns(AudioWarning, match="2 bytes of sound more"):
        read_audio(replaced(content, 40, (len(content) - 42).to_bytes(4, "little")))


def test_sound_behind_what_a_header_declares_is_warned_of():
    content = encoded(syllables(), "WAV")
    found, said = read_with_warnings(replaced(content, 40, (4_000).to_bytes(4, "little")))
    assert len(found) == 2_000
    assert f"holds {len(content) - 4_044:,} bytes behind the 4,000 bytes of sound" in said


# Headers that were not finished


def unfinished(kind: str, content: bytes) -> bytes:
    if kind == "CAF":
        return replaced(content, content.index(b"data") + 4, b"\xff" * 8)
    if kind == "RF64":
        return replaced(content, content.index(b"ds64") + 8, bytes(24))
    if kind == "W64":
        return replaced(content, content.index(b"data\xf3") + 16, bytes(8))
    if kind.startswith("AU"):
        return replaced(content, 8, bytes(4) if kind == "AU 0" else b"\xff" * 4)
    return replaced(replaced(content, 40, bytes(4)), 4, bytes(4))


@pytest.mark.parametrize("kind", ["CAF", "RF64", "W64", "AU 0", "AU -1", "WAV"])
def test_a_header_that_was_not_finished_is_read_to_the_end(kind):
    content = encoded(syllables(), kind.partition(" ")[0])
    np.testing.assert_array_equal(read(unfinished(kind, content)), decoded(content))


def test_a_wav_without_sound_but_with_a_comment_is_empty():
    content = encoded(np.zeros(0), "WAV") + b"LIST\4\0\0\0INFO"
    with pytest.raises(AudioError, match="no samples"):
        read_audio(content)


# What stands before the sound; names


@pytest.mark.parametrize("before", [b"ID3\3\0\0\0\0\0\x20" + bytes(32), b""])
@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_tag_before_the_sound_is_skipped(before, kind):
    content = encoded(syllables(), kind)
    np.testing.assert_array_equal(read(before + content), decoded(content))


@pytest.mark.parametrize("zeros", [1, 417, 5_000])
def test_zeros_before_an_mp3_are_skipped(zeros):
    content = mp3(syllables())
    np.testing.assert_allclose(read(bytes(zeros) + content), decoded(content), atol=1e-6)


def test_a_wav_is_read_whatever_its_name(tmp_path):
    content = encoded(syllables(), "WAV")
    for name in ("x.raw", "x.mp3", "x", "x.txt"):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_audio(tmp_path / name)[0], decoded(content))


# Sources


@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, io.BytesIO], ids=lambda m: m.__name__
)
def test_the_bytes_of_a_file_are_read(make):
    content = encoded(syllables(), "WAV")
    np.testing.assert_array_equal(read_audio(make(content))[0], decoded(content))


def test_an_open_file_is_read_from_where_it_stands_and_stays_open(tmp_path):
    content = encoded(syllables(), "FLAC")
    (tmp_path / "a").write_bytes(b"before" + content)
    with (tmp_path / "a").open("rb") as file:
        file.seek(6)
        np.testing.assert_array_equal(read_audio(file)[0], decoded(content))
        assert not file.closed
        file.seek(0, os.SEEK_END)
        with pytest.raises(AudioError, match=r"a: nothing is left to read; .* seek\(0\)"):
            read_audio(file)


def test_a_fifo_is_read(tmp_path):
    content, path = encoded(syllables(), "WAV"), tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    np.testing.assert_array_equal(read_audio(path)[0], decoded(content))
    writer.join()


@pytest.mark.parametrize("source", ["'/dev/stdin'", "sys.stdin.buffer"])
def test_a_pipe_is_read(source):
    content = encoded(syllables(), "WAV")
    code = f"import sys; from spoken_digits import read_audio; print(read_audio({source})[0].sum())"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, input=content, capture_output=True, check=True).stdout
    assert float(found) == pytest.approx(decoded(content).sum(), abs=1e-3)


def test_a_pipe_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(reading, "MAX_PIPED_BYTES", 1 << 20)
    with pytest.raises(AudioError, match=r"^/dev/zero: more than .* a recording that ends"):
        read_audio("/dev/zero")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ((RATE, np.zeros(9)), "a pair of samples and rate; expected them as two arguments"),
        ((np.zeros(9), RATE), "a pair of samples and rate"),
        (None, "NoneType; expected a path"),
        (io.StringIO("seven"), "StringIO; expected a path, a file .* in binary mode"),
        ({}, "dict; expected a path"),
        ("", "an empty path; expected that of a recording"),
        (b"", "bytes: an empty file"),
        (b"\1\2" * 99, "bytes: cannot be read as audio"),
        ("a\0b", r"'a\\x00b': no path, it holds a null character"),
        (["a.wav", Path("b.wav")], "a list of recordings; expected one"),
        (("a.wav", "b.wav"), "a tuple of recordings; expected one"),
        ([[1.0, 2.0], [3.0]], "list; expected a path"),
        (7, "int; expected a path"),
        (object(), "object; expected a path"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_reason(source, said):
    with pytest.raises(AudioError, match=said):
        read_audio(source)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_wav_of_16_bits_is_read_to_the_bit(channels):
    rng = np.random.default_rng(channels)
    samples = rng.integers(-(2**15), 2**15, (65_536 + 77, channels)).astype(np.int16)
    content = encoded(samples, "WAV")
    for channel in range(1, channels + 1):
        found, _ = read_audio(content, channel=channel)
        np.testing.assert_array_equal(found, samples[:, channel - 1] / np.float32(2**15))


@pytest.mark.parametrize(
    ("at", "value"), [(20, 3), (20, 0xFFFE), (22, 0), (22, 2), (32, 0), (32, 4), (34, 12), (34, 8)]
)
def test_a_wav_whose_header_contradicts_itself_is_read_as_by_libsndfile(at, value):
    content = replaced(encoded(syllables(1), "WAV"), at, value.to_bytes(2, "little"))
    try:
        expected = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0][:, 0]
    except soundfile.LibsndfileError:
        with pytest.raises(AudioError, match="cannot be read as audio"):
            read_audio(content)
    else:
        np.testing.assert_array_equal(read_audio(content, channel=1)[0], expected)


def test_a_file_that_was_closed_is_refused(tmp_path):
    with (tmp_path / "a.wav").open("wb") as file:
        pass
    with pytest.raises(AudioError, match=r"a\.wav: a closed file; expected one that is open"):
        read_audio(file)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"subtype": "mp3"}, "subtype 'mp3' of an encoding; expected one of ulaw, alaw"),
        ({"sample_rate": "8000"}, "sample_rate '8000' of an encoding; expected a whole number"),
        ({"byte_order": "middle"}, "byte_order 'middle' of an encoding; expected little or big"),
        ({"channels": 0}, "channels 0 of an encoding; expected 1 to 8"),
    ],
)
def test_an_encoding_that_is_none_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Encoding(**{"subtype": "ulaw", "sample_rate": RATE} | settings)


def test_an_encoding_is_no_text():
    with pytest.raises(AudioError, match="encoding 'ulaw,8000,1'; expected an Encoding"):
        read_audio(bytes(99), encoding="ulaw,8000,1")


@pytest.mark.parametrize("rate", ["8000", None, [8_000]])
def test_a_rate_that_is_no_number_is_refused(rate):
    with pytest.raises(AudioError, match=r"sample.rate.* expected"):
        read_audio(np.zeros(9), rate)


def test_memory_does_not_grow_with_the_length(tmp_path):
    for minutes in (1, 8):
        (tmp_path / f"{minutes}.flac").write_bytes(
            flac_of_unknown_length(np.zeros(minutes * 60 * RATE, np.float32))
        )
    peaks = []
    for minutes in (1, 8):
        tracemalloc.start()
        with open_audio(tmp_path / f"{minutes}.flac") as recording:
            assert sum(len(block) for block in recording) == minutes * 60 * RATE
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 5e6


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs the list of open files")
def test_a_file_is_closed_whatever_happens(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(syllables(), "WAV"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with open_audio(tmp_path / "a.wav") as recording:
            next(iter(recording))
        with pytest.raises(AudioError):
            read_audio(tmp_path / "a.wav", max_duration_s=0.1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Headers that point nowhere, sound that is none


@pytest.mark.parametrize("size", [2**63 - 1, 2**62])
def test_a_chunk_that_ends_beyond_any_file_is_refused(size, tmp_path):
    content = encoded(syllables(), "CAF")
    at = content.index(b"data")
    content = content[:at] + b"free" + size.to_bytes(8, "big") + content[at:]
    (tmp_path / "a.caf").write_bytes(content)
    with pytest.raises(AudioError, match="cannot be read"):
        read_audio(tmp_path / "a.caf")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_two_channels_with_values_that_are_no_samples_are_refused(value):
    samples = np.stack([syllables(), syllables()], axis=1)
    samples[1_000, 1] = value
    content = encoded(samples, "WAV/FLOAT")
    with pytest.raises(AudioError, match="NaN, infinite"):  # before numpy warns of averages
        read(content)


@pytest.mark.parametrize("whence", [os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
@pytest.mark.parametrize("offset", [2**63 - 1, -(2**63)])
def test_a_view_has_a_position_of_63_bits(whence, offset):
    view = View(io.BytesIO(b"seven"), ((0, 5),))
    view.seek(3)
    assert 0 <= view.seek(offset, whence) < 2**63
    assert view.read(1) in (b"", b"s")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: encoded(syllables(), "SDS"), id="MIDI sample dump"),
        pytest.param(lambda: b"ID3\4\0\0\xff\0\0\0" + bytes(99_000), id="a broken tag"),
        pytest.param(lambda: b"\xff\xfb" + bytes(99_000), id="no frame"),
    ],
)
def test_what_libsndfile_would_print_about_is_refused_silently(content, capfd):
    with pytest.raises(AudioError, match="no header that is known"):
        read_audio(content()[:-9])
    assert capfd.readouterr() == ("", "")


def test_headers_of_mpeg_audio_are_found_by_a_pattern_for_all_that_are_valid():
    for middle in range(1 << 16):
        header = b"\xff" + middle.to_bytes(2, "big") + b"\0"
        is_header = containers._mpeg_frame(header) is not None
        assert is_header == bool(containers._MPEG_SYNC.match(header))


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF])
def test_sound_that_would_begin_behind_the_end_is_none(declared):
    # Of the 4,000 bytes before the sound most are not there.
    header = b".snd" + struct.pack(">5I", 4_000, declared, 3, 8_000, 1)
    with pytest.raises(AudioError, match="expected"):
        read_audio(header + bytes(20))
