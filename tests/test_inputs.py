"""What the command line and the recognizers take besides the path of a file with a header."""

import copy
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from made_files import RATE, encoded, syllables

from spoken_digits.audio import AudioError, Encoding, read_audio
from spoken_digits.cli import main
from spoken_digits.connected import Transcriber
from spoken_digits.networks import SHIPPED_STRINGS
from spoken_digits.reading import open_audio
from spoken_digits.recognize import SHIPPED_MODEL, load

VOICES = SHIPPED_MODEL.parent / "voices"


@pytest.fixture(scope="module")
def seven() -> np.ndarray:
    """A clip of synthetic speech, (L,), with silence around it."""
    samples, _ = read_audio(next(iter(sorted((VOICES / "7").glob("*.flac")))))
    return np.pad(samples, 4_000)


def rows(capsys) -> tuple[list[dict], str]:
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize("verb", ["recognize", "transcribe"])
def test_a_hyphen_is_standard_input(verb, seven, monkeypatch, capsys):
    content = encoded(seven, "WAV")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert main([verb, "--json", "-"]) == 0
    (row,), err = rows(capsys)
    assert (row["file"], row.get("digit", row.get("digits")), err) == ("-", 7, "") or (
        row["digits"] == "7"
    )


@pytest.mark.parametrize("verb", ["recognize", "transcribe"])
def test_two_speakers_on_two_channels_are_warned_of_and_told_apart(verb, seven, tmp_path, capsys):
    other, _ = read_audio(next(iter(sorted((VOICES / "2").glob("*.flac")))))
    other = 0.5 * np.pad(other, (4_000, len(seven)))[: len(seven)]
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([other, seven], axis=1), RATE)
    key = "digit" if verb == "recognize" else "digits"
    assert main([verb, "--json", str(path)]) == 0
    (row,), err = rows(capsys)
    assert str(row[key]) == "7"
    assert "channel 2 of 2 is taken" in err
    assert err.strip().endswith(row["warnings"][0])
    for channel, digit in (("1", "2"), ("2", "7")):
        assert main([verb, "--json", "--channel", channel, str(path)]) == 0
        (row,), err = rows(capsys)
        assert (str(row[key]), err) == (digit, "")


def headerless(samples: np.ndarray, subtype: str, endian: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="RAW", subtype=subtype, endian=endian)
    return file.getvalue()


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("ulaw", "ULAW"),
        ("ul", "ULAW"),
        ("alaw", "ALAW"),
        ("al", "ALAW"),
        ("g711", "ULAW"),
        ("g711", "ALAW"),
        ("gsm", "GSM610"),
    ],
)
def test_a_telephone_recording_without_a_header_is_known_by_its_name(tmp_path, suffix, subtype):
    samples = syllables()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(headerless(samples, subtype))
    with open_audio(path) as recording:
        found = recording.read()
    assert recording.sample_rate == 8_000
    assert np.corrcoef(found[: len(samples)], samples)[0, 1] > (0.5 if suffix == "gsm" else 0.9)
    (warning,) = recording.warnings
    name = {"ULAW": "ulaw", "ALAW": "alaw", "GSM610": "gsm"}[subtype]
    assert f"has no header; taken as {name},8000,1" in warning
    # One with a header is read by that.
    path.write_bytes(encoded(samples, "WAV", 16_000))
    assert read_audio(path)[1] == 16_000


@pytest.mark.parametrize("verb", ["recognize", "transcribe"])
def test_of_many_recordings_without_a_header_one_is_named_and_the_rest_counted(
    tmp_path, capsys, seven, verb
):
    paths = [tmp_path / f"{name}.ulaw" for name in "abc"]
    for path in paths:
        path.write_bytes(headerless(seven, "ULAW"))
    assert main([verb, *map(str, paths)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    first, last = err.splitlines()
    assert f"{paths[0]}: has no header" in first
    assert last.endswith("2 more files have no header: taken by name as well; for others, --raw")
    assert main([verb, str(paths[0])]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["recognize", "transcribe"])
def test_of_files_that_are_no_recordings_each_is_named(tmp_path, capsys, seven, verb):
    (tmp_path / "a.ulaw").write_bytes(headerless(seven, "ULAW"))
    for name in ("b.raw", "c.txt", "d.raw"):
        (tmp_path / name).write_bytes(b"no recording at all" * 99)
    names = ("a.ulaw", "b.raw", "c.txt", "d.raw")
    assert main([verb, *(str(tmp_path / name) for name in names)]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert [Path(line.split(": ")[1]).name for line in err.splitlines()] == [*names]
    assert "more file" not in err


@pytest.mark.parametrize("verb", ["recognize", "transcribe"])
def test_a_closed_standard_input_is_an_empty_file(verb, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main([verb, "-"]) == 1
    assert "an empty file" in capsys.readouterr().err


def test_a_short_recording_without_digits_points_at_recognize(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for seconds, hinted in ((1, True), (5, False)):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, 0.01 * rng.standard_normal(8_000 * seconds), 8_000)
        assert main(["transcribe", str(path)]) == 0
        out, err = capsys.readouterr()
        assert out == f"{path}: no digits\n"
        assert (f"for one digit run: spoken-digits recognize {path}" in err) == hinted
        assert main(["transcribe", "--json", str(path)]) == 0
        assert not capsys.readouterr().err


def test_what_can_be_read_is_said_as_it_is_installed(tmp_path, monkeypatch):
    path = tmp_path / "notes.wav"
    path.write_bytes(b"no recording at all" * 99)
    for spec, named in ((None, "expected WAV, FLAC, OGG, MP3 or AIFF"), (True, "M4A, AMR, WebM")):
        monkeypatch.setattr("importlib.util.find_spec", lambda _, spec=spec: spec)
        with pytest.raises(AudioError, match=named):
            read_audio(path)


def test_raw_names_an_encoding(tmp_path, capsys, seven):
    path = tmp_path / "a.raw"
    path.write_bytes(headerless(seven, "PCM_16", "BIG"))
    assert main(["recognize", str(path)]) == 1
    assert "name its encoding if it has no header (--raw ulaw,8000,1)" in rows(capsys)[1]
    assert main(["recognize", "--json", "--raw", "pcm_16be,8000,1", str(path)]) == 0
    assert rows(capsys)[0][0]["digit"] == 7


@pytest.mark.parametrize("text", ["ulaw", "ulaw,8000", "mp3,8000,1", "ulaw,8000,9", "gsm,8,1"])
def test_an_encoding_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        main(["recognize", "--raw", text, "a.raw"])
    assert f"{text}: expected an encoding, a rate in Hz and" in capsys.readouterr().err


def test_an_encoding_is_read_as_it_is_written():
    for encoding in (
        Encoding("ulaw", 8_000),
        Encoding("pcm_16", 16_000, "big", 2),
        Encoding("float", 48_000),
    ):
        assert Encoding.parse(str(encoding)) == encoding


def test_two_channels_without_a_header_are_told_apart(tmp_path):
    samples = np.stack([syllables(), syllables(seed=1)], axis=1)
    (tmp_path / "a").write_bytes(headerless(samples, "PCM_16", "LITTLE"))
    found, _ = read_audio(tmp_path / "a", encoding=Encoding("pcm_16", RATE, channels=2), channel=2)
    np.testing.assert_allclose(found, samples[:, 1], atol=1 / 2**15)
    with pytest.raises(AudioError, match="truncated"):
        read_audio(b"abc", encoding=Encoding("pcm_16", RATE, channels=2))


def answer(recognizer, samples: np.ndarray) -> object:
    return recognizer(samples, RATE)


@pytest.mark.parametrize("relative", [True, False])
def test_a_recognizer_is_pickled_by_its_paths_and_settings(relative, seven, tmp_path, monkeypatch):
    path = tmp_path / "own.onnx"
    path.write_bytes(SHIPPED_MODEL.read_bytes())
    monkeypatch.chdir(tmp_path)
    recognizer = load(Path("own.onnx") if relative else path, 0.25, SHIPPED_STRINGS)
    content = pickle.dumps(recognizer)
    monkeypatch.chdir("/")
    for other in (pickle.loads(content), copy.deepcopy(recognizer)):
        assert other.threshold == recognizer.threshold
        assert other.path.samefile(path)
        assert answer(other, seven) == answer(recognizer, seven)


def test_recognizer_and_transcriber_go_to_a_spawned_process(seven):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for recognizer in (load(), Transcriber()):
            found = pool.apply(answer, (recognizer, seven))
            assert found == answer(recognizer, seven)


# Damaged files


@pytest.mark.parametrize("verb", [["recognize"], ["transcribe"], ["corpus", "check"], ["evaluate"]])
def test_what_libraries_print_about_a_damaged_file_is_kept_from_the_user(tmp_path, verb):
    content = bytearray(encoded(syllables(4), "MP3"))
    for at in range(len(content) // 2, len(content), 40):
        content[at] ^= 0xFF
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "me_1.mp3").write_bytes(content)
    (tmp_path / "7" / "me_2.mp3").write_text("no sound")
    folders = {"corpus": ["."], "evaluate": [str(SHIPPED_MODEL), "--corpus", "."]}
    names = folders.get(verb[0], ["7/me_1.mp3", "7/me_2.mp3"])
    command = [sys.executable, "-m", "spoken_digits", *verb, *names]
    settings = {"cwd": tmp_path, "capture_output": True, "text": True}
    environment = os.environ | {"PYTHONDEVMODE": "1"}
    assert "libmpg123" in subprocess.run(command, env=environment, **settings).stderr
    run = subprocess.run(command, **settings)
    assert "libmpg123" not in run.stderr
    assert "me_2.mp3: " in run.stderr + run.stdout  # what concerns the user is there
    assert run.returncode == 1


def test_standard_error_may_be_closed(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(syllables(), "WAV"))
    command = f"exec {sys.executable} -m spoken_digits recognize a.wav 2>&-"
    run = subprocess.run(["sh", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert (run.returncode, run.stdout[:7]) == (0, "a.wav: ")
