"""Recordings without a header, and NIST SPHERE, whose header libsndfile does not hold it to."""

import numpy as np
import pytest

from spoken_digits.audio import AudioError, Encoding, read_audio

FIELDS = {
    "sample_count -i": 800,
    "sample_rate -i": 16_000,
    "sample_n_bytes -i": 2,
    "sample_byte_format -s2": "01",
    "channel_count -i": 1,
    "sample_coding -s3": "pcm",
}


def ramp(count: int = 800) -> np.ndarray:
    return (np.arange(count) * 37 % 20_000 - 10_000).astype(np.int16)


def sphere(fields: dict[str, object] = FIELDS, length: int = 1024) -> bytes:
    lines = ["NIST_1A", f"{length:7d}", *(f"{k} {v}" for k, v in fields.items()), "end_head", ""]
    return "\n".join(lines).encode().ljust(length) + ramp().astype("<i2").tobytes()


def g711_alaw(codes: np.ndarray) -> np.ndarray:
    """Decode A-law by ITU-T G.711, table 1a: values of 13 bits, as fractions of full scale."""
    codes = codes ^ 0x55
    exponent, mantissa = codes >> 4 & 7, (codes & 15).astype(int)
    magnitude = np.where(
        exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent, 1) - 1
    )
    return np.where(codes & 128, magnitude, -magnitude) * 8 / 2**15


def test_a_law_is_decoded_by_its_definition(tmp_path):
    codes = np.arange(256, dtype=np.uint8)
    (tmp_path / "a.al").write_bytes(codes.tobytes())
    samples, rate = read_audio(tmp_path / "a.al", encoding=Encoding("alaw", 8_000))
    assert rate == 8_000
    np.testing.assert_array_equal(samples, g711_alaw(codes).astype(np.float32))


@pytest.mark.parametrize(("order", "dtype"), [("little", "<i2"), ("big", ">i2")])
def test_16_bit_samples_are_read_in_the_order_that_is_named(tmp_path, order, dtype):
    (tmp_path / "a.raw").write_bytes(ramp().astype(dtype).tobytes())
    samples, rate = read_audio(tmp_path / "a.raw", encoding=Encoding("pcm_16", 16_000, order))
    assert rate == 16_000
    np.testing.assert_array_equal(samples, ramp().astype(np.float32) / 2**15)


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"", Encoding("ulaw", 8_000), "an empty file; expected a recording"),
        (b"abc", Encoding("pcm_16", 8_000), r"truncated, 3 bytes .* of 2 bytes \(1 too many\)"),
        (b"abcd", Encoding("ulaw", 800), "a sample rate of 800 Hz; expected 4,000"),
        (b"a" * 240_001, Encoding("ulaw", 8_000), r"30\.0 s long; expected"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_remedy(tmp_path, content, encoding, message):
    (tmp_path / "a.raw").write_bytes(content)
    with pytest.raises(AudioError, match=rf"a\.raw: {message}"):
        read_audio(tmp_path / "a.raw", encoding=encoding)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(AudioError, match=r"a\.ulaw: no such file"):
        read_audio(tmp_path / "a.ulaw", encoding=Encoding("ulaw", 8_000))
    with pytest.raises(AudioError, match="a folder; expected a recording"):
        read_audio(tmp_path, encoding=Encoding("ulaw", 8_000))


@pytest.mark.parametrize("length", [1024, 2048])
def test_a_whole_sphere_is_read_to_the_bit(tmp_path, length):
    (tmp_path / "a.sph").write_bytes(sphere(length=length))
    samples, rate = read_audio(tmp_path / "a.sph")
    assert rate == 16_000
    np.testing.assert_array_equal(samples, ramp().astype(np.float32) / 2**15)


@pytest.mark.parametrize("lost", [1, 2, 1_000])
def test_a_truncated_sphere_tells_how_many_bytes_are_missing(tmp_path, lost):
    (tmp_path / "a.sph").write_bytes(sphere()[:-lost])
    with pytest.raises(AudioError, match=f"truncated, {lost:,} of 1,600 bytes"):
        read_audio(tmp_path / "a.sph")


@pytest.mark.parametrize("head", [b"NIST_1A\n", b"NIST_1A\n   many\n", b"NIST_1A\n   1024\n"])
def test_a_broken_sphere_header_is_no_crash(tmp_path, head):
    (tmp_path / "a.sph").write_bytes(head)
    with pytest.raises(AudioError, match="cannot be read as audio"):
        read_audio(tmp_path / "a.sph")
