import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spoken_digits.audio import AudioError, to_clip
from spoken_digits.lab.data import prepared
from spoken_digits.lab.data.corpora import Clip, CorpusError, read_corpus
from spoken_digits.lab.data.dataset import Joined, prepare
from spoken_digits.lab.data.parallel import map_in_order
from spoken_digits.lab.data.prepared import note_checksums, prepare_samples

KILLED = """
import os, signal, sys
from itertools import islice
from pathlib import Path
from spoken_digits.lab.data import prepared
from spoken_digits.lab.data.corpora import read_corpus

whole = prepared._Shard.write

def write(shard, encoded):
    if shard.array.stem.endswith("0001"):
        list(islice(encoded, 7))
        os.kill(os.getpid(), signal.SIGKILL)
    whole(shard, encoded)

prepared.CLIPS_PER_SHARD = 50
prepared._Shard.write = write
prepared.prepare_samples(read_corpus(sys.argv[1]), Path(sys.argv[2]), workers=2)
"""


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "CLIPS_PER_SHARD", 50)


@pytest.fixture
def one_clip(tone_corpus: Path, tmp_path: Path) -> Clip:
    """A recording of 16 bit at 8 kHz, long ago, in a folder of its own."""
    file = tmp_path / "own" / "0" / "ann_0.wav"
    file.parent.mkdir(parents=True)
    file.write_bytes((tone_corpus / "0" / "ann_0.wav").read_bytes())
    return Clip(file, "0", "ann", "own")


def sound(rate: int) -> np.ndarray:
    """A tone between silences with noise, off zero, 1 s at that rate."""
    t = np.arange(rate) / rate
    tone = 0.01 * np.sin(2 * np.pi * 440 * t) * ((t > 0.3) & (t < 0.7))
    return tone + 1e-4 * np.random.default_rng(0).standard_normal(rate) + 0.003


@pytest.mark.parametrize(
    ("rate", "subtype"),
    [(8_000, "PCM_24"), (8_000, "FLOAT"), (16_000, "PCM_16"), (48_000, "PCM_16")],
)
def test_what_is_not_of_16_bit_at_8_khz_is_off_by_half_a_step_of_its_peak(
    rate: int, subtype: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, sound(rate), rate, subtype)
    read, _ = soundfile.read(file, dtype="float32")
    expected = to_clip(read, rate)
    found = prepare_samples([Clip(file, "0", "ann", "own")], tmp_path / "cache")[:]
    assert len(found) == len(expected)
    assert 0 < np.abs(found - expected).max() <= 0.51 * np.abs(expected).max() / 32767


@pytest.mark.parametrize("offset", [0, 411])
def test_16_bits_at_8_khz_come_back_to_the_last_bit(offset: int, tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    integers = np.round(sound(8_000) * 32768).astype(np.int16) + np.int16(offset)
    soundfile.write(file, integers[2_000:6_000], 8_000, "PCM_16")  # cut, so that zeros are added
    found = prepare_samples([Clip(file, "0", "ann", "own")], tmp_path / "cache")[:]
    np.testing.assert_array_equal(found, to_clip(soundfile.read(file, dtype="float32")[0], 8_000))


@pytest.mark.usefixtures("small_shards")
def test_bytes_do_not_depend_on_workers_or_a_kill(tone_corpus: Path, tmp_path: Path) -> None:
    clips = read_corpus(tone_corpus)
    for workers in (1, 2):
        prepare_samples(clips, tmp_path / str(workers), workers)
    expected = files_in(tmp_path / "1")
    assert len(expected) == 6
    assert files_in(tmp_path / "2") == expected

    folder = tmp_path / "killed"
    # Its workers hold the pipe of its output: this returns when they have ended, too.
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tone_corpus), str(folder)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    finished = files_in(folder)
    assert sorted(finished) == sorted(expected)[:2]
    inodes = {name: (folder / name).stat().st_ino for name in finished}
    prepare_samples(clips, folder)
    assert files_in(folder) == expected
    assert {name: (folder / name).stat().st_ino for name in finished} == inodes


def test_checksums_come_from_the_same_reading(
    one_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Clip(one_clip.file, "0", "ann", "own").checksum
    again = Clip(one_clip.file, "0", "ann", "own")
    monkeypatch.setattr(prepared, "_SETTLED_NS", -(10**12))  # as if it were old
    with monkeypatch.context() as patch:
        patch.setattr(Clip, "checksum", None)
        prepare_samples([one_clip], tmp_path / "cache")
        note_checksums([again], tmp_path / "cache")
    one_clip.file.unlink()
    assert one_clip.checksum == again.checksum == expected


def test_a_recording_that_was_only_touched_is_not_prepared_again(
    one_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_samples([one_clip], tmp_path / "cache")
    os.utime(one_clip.file, (1e9, 1e9))
    monkeypatch.setattr(prepared, "read_audio", None)
    prepare_samples([Clip(one_clip.file, "0", "ann", "own")], tmp_path / "cache")


def test_damage_is_named_with_its_remedy(
    one_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = prepare_samples([one_clip], tmp_path / "cache")
    (array,) = (tmp_path / "cache").glob("*.npy")
    good = array.read_bytes()
    array.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    with pytest.raises(CorpusError, match=rf"^{array}: damaged .*; delete it and start again"):
        samples[:]
    array.unlink()
    with pytest.raises(CorpusError, match=rf"^{array}: missing; start again"):
        samples[:]
    for broken in (good[:-2], b"", b"not an array"):
        array.write_bytes(broken)
        prepare_samples([one_clip], tmp_path / "cache")
        assert f"{array}: damaged" in capsys.readouterr().err
        assert array.read_bytes() == good
    table = array.with_suffix(".csv")
    lines = table.read_text().splitlines()
    for text in ("", "file,label\n", f"{lines[0]}\n", "\n".join([*lines, lines[1], ""])):
        table.write_text(text)
        prepare_samples([one_clip], tmp_path / "cache")
        assert f"{array}: damaged" in capsys.readouterr().err
        assert table.read_text().splitlines() == lines


def test_files_of_earlier_versions_are_named(
    one_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    np.save(cache / "0123456789abcdef.npy", np.zeros(9, np.float32))
    prepare_samples([one_clip], cache)
    said = capsys.readouterr().err
    assert "0123456789abcdef.npy: prepared by an earlier version" in said
    assert "delete them" in said
    prepare_samples([one_clip], cache)
    assert capsys.readouterr().err == ""


def test_the_first_bad_recording_is_named_as_it_would_be_read(tmp_path: Path) -> None:
    silent, missing = tmp_path / "silent.wav", tmp_path / "missing.wav"
    soundfile.write(silent, np.zeros(8_000), 8_000)
    named = "no sound in it.*'spoken-digits corpus check' names all such recordings"
    for file, reason in ((silent, named), (missing, "no such file")):
        with pytest.raises(AudioError, match=f"^{file}: {reason}"):
            prepare_samples([Clip(file, "0", "ann", "own")], tmp_path / "cache")


def test_memory_of_a_batch_does_not_grow_with_the_corpus(tone_corpus: Path, tmp_path: Path) -> None:
    clips = read_corpus(tone_corpus)
    peaks = []
    for times in (1, 6):
        dataset = prepare(clips * times, tmp_path / "cache")
        rows = np.arange(16) * (len(dataset.clips) // 16)
        dataset.batch(rows)
        tracemalloc.start()
        dataset.batch(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[0] < 16 * 4 * dataset.lengths.max() + 100_000


def test_a_clip_takes_little_memory() -> None:
    tracemalloc.start()
    clips = [Clip(Path(f"/data/corpus/7/ann_{n:06}.wav"), "7", "ann", "own") for n in range(1_000)]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken / len(clips) < 300  # a Path alone takes more
    assert clips[5].file == Path("/data/corpus/7/ann_000005.wav")
    assert clips[5] == Clip(clips[5].file, "7", "ann", "own") != clips[6]


def test_samples_in_memory_follow_those_on_disk() -> None:
    joined = Joined(np.arange(10, dtype=np.float32), np.arange(10, 15, dtype=np.float32))
    assert len(joined) == 15
    assert joined[7:10].tolist() == [7, 8, 9]
    assert joined[10:15].tolist() == [10, 11, 12, 13, 14]
    assert joined[12:13].tolist() == [12]


def square(number: int) -> int:
    if number == 700:
        raise ValueError("700")
    return number**2


def killed(number: int) -> int:
    if number == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order_up_to_the_first_error(workers: int) -> None:
    assert list(map_in_order(square, range(650), workers)) == [n**2 for n in range(650)]
    results = map_in_order(square, range(5_000), workers)
    found = []
    with pytest.raises(ValueError, match=r"^700$"):
        found.extend(results)
    assert found == [n**2 for n in range(len(found))]
    assert len(found) > 600


@pytest.mark.skipif(sys.platform != "linux", reason="threads elsewhere")
def test_a_killed_worker_is_said() -> None:
    with pytest.raises(CorpusError, match=r"a worker process was killed, .*; call again"):
        list(map_in_order(killed, range(200), 2))
