import io
from pathlib import Path

import numpy as np
import soundfile as sf

from spoken_digits.lab.data.validate import check_recording

TONE = (0.3 * np.sin(np.arange(1_600) / 3)).astype(np.float32)


def problems(file: Path, samples: np.ndarray) -> list[tuple[str, str]]:
    sf.write(file, samples, 8_000)
    return list(check_recording(file).problems)


def test_a_sound_recording_has_no_problem(tmp_path):
    sf.write(tmp_path / "a.wav", TONE, 16_000)
    check = check_recording(tmp_path / "a.wav")
    assert (check.sample_rate, check.problems) == (16_000, ())


def test_clipping_is_found_and_a_full_scale_peak_is_not(tmp_path):
    peak, square = TONE.copy(), TONE.copy()
    peak[800] = 1
    square[800:808] = -1
    assert problems(tmp_path / "peak.wav", peak) == []
    assert problems(tmp_path / "square.wav", square) == [
        ("clipping", "8 samples in a row at full scale, 0.50% of the clip")
    ]


def test_peaks_apart_from_each_other_are_no_clipping_however_many(tmp_path):
    pairs, triple = TONE.copy(), TONE.copy()
    for start in range(100, 1_600, 200):
        pairs[start : start + 2] = 1  # 1 % of the samples, two at a time
    triple[100:103] = 1
    assert problems(tmp_path / "pairs.wav", pairs) == []
    assert [kind for kind, _ in problems(tmp_path / "triple.wav", triple)] == ["clipping"]


def test_silence_is_judged_by_the_loudest_moment(tmp_path):
    word = np.zeros(8_000)
    word[:800] = TONE[:800]
    rms_dbfs = 20 * np.log10(0.3 / np.sqrt(2) / 300)
    assert problems(tmp_path / "word.wav", word) == []
    assert problems(tmp_path / "hush.wav", word / 300) == [
        ("silence", f"nowhere louder than {rms_dbfs:.0f} dBFS")
    ]


def test_a_recording_shorter_than_a_frame_is_heard_too(tmp_path):
    assert problems(tmp_path / "click.wav", TONE[:100]) == []


def test_more_than_one_channel_is_reported(tmp_path):
    stereo = np.stack([TONE, TONE / 3], axis=1)
    assert problems(tmp_path / "stereo.wav", stereo) == [
        ("channels", "2 channels, expected 1 (they will be averaged)")
    ]


def test_truncated_and_unreadable_files_are_told_apart(tmp_path):
    stream = io.BytesIO()
    sf.write(stream, TONE, 8_000, format="WAV")
    contents = {"cut": stream.getvalue()[:-100], "text": b"seven", "empty": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    kinds = {name: check_recording(tmp_path / name).problems[0][0] for name in contents}
    assert kinds == {"cut": "truncated", "text": "unreadable", "empty": "unreadable"}
    assert check_recording(tmp_path / "missing").problems[0][0] == "unreadable"
    assert check_recording(tmp_path / "cut").sample_rate is None


def test_equal_samples_have_equal_content_whatever_the_container(tmp_path):
    samples = (TONE * 2**15).astype(np.int16)
    sf.write(tmp_path / "a.wav", samples, 8_000)
    sf.write(tmp_path / "b.flac", samples, 8_000)
    sf.write(tmp_path / "c.wav", samples, 16_000)
    a, b, c = (check_recording(tmp_path / name).content for name in ("a.wav", "b.flac", "c.wav"))
    assert a == b != c
