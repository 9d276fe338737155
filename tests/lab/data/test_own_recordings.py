"""Folders and tables of people's own recordings: nothing is left out in silence."""

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from made_files import encoded, replaced, syllables

from spoken_digits.cli import main
from spoken_digits.lab.data.corpora import CorpusError, find_left_out, read_corpus
from spoken_digits.lab.data.validate import check_recording, summarize_corpus
from spoken_digits.lab.runs import OutputError, expect_writable

WAV = encoded(syllables(1), "WAV")


def write(file: Path, content: bytes = WAV) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.fixture(autouse=True)
def _no_corpora_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("SPOKEN_DIGITS_DATA", raising=False)
    monkeypatch.setenv("SPOKEN_DIGITS_CACHE", str(tmp_path / "cache"))


def labels(path: Path) -> set[str]:
    return {clip.label for clip in read_corpus(path)}


# Endings and layouts


ENDINGS = ("wav", "sph", "aifc", "snd", "amr", "3gp", "mp4", "ulaw", "alaw", "gsm", "WAV", "M4A")


@pytest.mark.parametrize("suffix", ENDINGS)
def test_a_recording_is_one_whatever_its_ending(tmp_path, suffix, capsys):
    write(tmp_path / "mine" / "7" / f"anna_0.{suffix}")
    assert labels(tmp_path / "mine") == {"7"}
    assert capsys.readouterr().err == ""


def test_files_of_other_endings_are_counted_and_named(tmp_path, capsys):
    folder = tmp_path / "mine"
    write(folder / "7" / "anna_0.wav")
    for k in range(3):
        write(folder / "7" / f"anna_{k}.xyz")
    write(folder / "7" / "anna_9.q")
    write(folder / "7" / "anna_0.txt", b"seven")  # documents, and what is hidden, are none
    write(folder / "README")
    write(folder / ".git" / "7" / "anna_0.xyz")
    assert len(read_corpus(folder)) == 1
    said = rf"4 files are left out \(3 \.xyz, 1 \.q\), the first {folder}/7/anna_0\.xyz"
    assert re.search(f"WARNING: {folder}: {said}", capsys.readouterr().err)
    assert main(["corpus", "check", str(folder)]) == 1
    assert re.search(f"{folder}: files: {said}", capsys.readouterr().out)


def test_a_file_without_an_ending_is_named_unless_it_is_a_document(tmp_path, capsys):
    folder = tmp_path / "mine"
    for name in ("7/anna_0.wav", "7/anna_1", "README", "7/License", "8/SHA256SUMS"):
        write(folder / name)
    assert find_left_out(folder) == (folder / "7" / "anna_1",)
    assert main(["corpus", "check", str(folder)]) == 1
    said = f"{folder}: files: 1 files are left out (1 no ending), the first {folder}/7/anna_1"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "layout"),
    [
        ("7/anna/0.wav", "<label>/<speaker>/<take>.*"),
        ("7_anna_0.wav", "<file>"),
        ("a/7/anna/0.wav", "<folder>/<folder>/<folder>/<file>"),
    ],
)
def test_another_layout_is_named_with_the_one_that_fits(tmp_path, file, layout, capsys):
    folder = tmp_path / "mine"
    write(folder / file)
    said = rf"1 files are left out \(1 \.wav\).*; they lie as {re.escape(layout)}, expected <label>"
    with pytest.raises(CorpusError, match=f"no recordings, .*{said}.*rename them, or name each in"):
        read_corpus(folder)
    write(folder / "7" / "anna_0.wav")
    assert len(read_corpus(folder)) == 1
    assert re.search(said, capsys.readouterr().err)
    assert find_left_out(folder) == (folder / file,)


# Labels


@pytest.mark.parametrize("spelling", ["7", "07", "7.0", "7.", "Seven ", " seven", "SEVEN", "007"])
def test_spellings_of_a_digit_are_one_label(tmp_path, spelling):
    write(tmp_path / "a.wav")
    table = tmp_path / "table.tsv"
    table.write_text(f"file\tlabel\tspeaker\na.wav\t{spelling}\tanna\n", encoding="utf-8")
    assert labels(table) == {"7"}


@pytest.mark.parametrize("word", ["10", "7.5", "70", "-7", "seventh", "7a", "\u0667"])
def test_what_is_no_digit_for_certain_stays_a_word(tmp_path, word):
    write(tmp_path / "mine" / word / "anna_0.wav")
    assert labels(tmp_path / "mine") == {word}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.wav\t7\tan\x1b[2Jna", r"line 2: speaker 'an\\x1b\[2Jna' holds control characters"),
        ("a.wav\t\x007\tanna", "line 2: label .* holds control characters"),
        (f"{'a' * 300}.wav\t7\tanna", r"line 2: .*aaa\.\.\. does not exist"),
    ],
)
def test_what_is_no_name_is_refused_with_its_line(tmp_path, row, said):
    write(tmp_path / "a.wav")
    (tmp_path / "t.tsv").write_text(f"file\tlabel\tspeaker\n{row}\n")
    with pytest.raises(CorpusError, match=said):
        read_corpus(tmp_path / "t.tsv")


def test_both_unicode_forms_of_a_word_are_one_label_and_of_a_speaker_one(tmp_path):
    for form in ("NFC", "NFD"):
        word, name = (unicodedata.normalize(form, text) for text in ("fünf", "jörg"))
        write(tmp_path / "mine" / word / f"{name}_{form}.wav")
    clips = read_corpus(tmp_path / "mine")
    assert {(clip.label, clip.speaker) for clip in clips} == {("f\u00fcnf", "j\u00f6rg")}
    assert len(clips) == 2


def test_labels_that_differ_in_case_alone_are_reported(tmp_path, capsys):
    for k, word in enumerate(("Links", "links", "rechts")):
        write(tmp_path / "mine" / word / "anna_0.wav", encoded(syllables(1, seed=k), "WAV"))
    assert main(["corpus", "check", str(tmp_path / "mine")]) == 1
    out = capsys.readouterr().out
    assert "labels: Links and links are 2 labels; expected one spelling" in out
    assert "1 problem\n" in out


# Problems of recordings


@pytest.mark.parametrize("kind", ["RF64", "AU", "CAF", "OGG/OPUS"])
def test_a_cut_recording_is_listed_as_truncated(tmp_path, kind):
    content = encoded(syllables(), kind)
    file = write(tmp_path / "a", content[: round(0.7 * len(content))])
    assert [problem for problem, _ in check_recording(file).problems] == ["truncated"]


def test_a_wrong_header_is_listed(tmp_path):
    file = write(tmp_path / "a.wav", replaced(WAV, 40, (len(WAV) - 42).to_bytes(4, "little")))
    assert check_recording(file).problems == (
        ("header", "declares 2 bytes of sound more than it holds; all are read"),
    )


def test_a_channel_that_is_taken_is_named(tmp_path):
    speech = syllables(1)
    content = encoded(np.stack([0 * speech, speech], axis=1), "WAV")
    file = write(tmp_path / "a.wav", content)
    assert check_recording(file).problems == (("channels", "2 channels, expected 1 (2 is taken)"),)


def test_durations_are_those_of_what_is_read(tmp_path):
    sizes = [replaced(WAV, 40, bytes(4)), WAV + WAV, b"ID3\3\0\0\0\0\0\0" + WAV]
    for k, content in enumerate(sizes):
        write(tmp_path / "mine" / "7" / f"anna_{k}.wav", content)
    assert summarize_corpus(read_corpus(tmp_path / "mine")).duration_s == pytest.approx(4 * 0.7)


# Surroundings


@pytest.mark.skipif(sys.platform == "win32", reason="of POSIX")
def test_without_a_home_what_needs_no_cache_works(tmp_path):
    write(tmp_path / "mine" / "7" / "anna_0.wav")
    write(tmp_path / "mine" / "8" / "anna_0.wav", encoded(syllables(1, seed=1), "WAV"))
    # As in a container: no HOME, and a user id without a name.
    code = (
        "import pwd, sys\n"
        "def unknown(_): raise KeyError('uid')\n"
        "pwd.getpwuid = unknown\n"
        "from spoken_digits.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    hidden = ("HOME", "SPOKEN_DIGITS_CACHE", "SPOKEN_DIGITS_DATA")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "corpus", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    checked = run("check", str(tmp_path / "mine"))
    assert checked.stderr == ""
    assert "2 clips, 1 speakers, 2 labels" in checked.stdout
    fetched = run("fetch", "fsdd")
    assert fetched.returncode == 1
    assert "set SPOKEN_DIGITS_CACHE to a folder" in fetched.stderr


def test_a_file_that_cannot_be_written_is_refused_before_it_is_made(tmp_path):
    write(tmp_path / "a.txt")
    with pytest.raises(OutputError, match=r"a\.txt/m\.onnx: .*; expected a file that can be writ"):
        expect_writable(tmp_path / "a.txt" / "m.onnx")
    with pytest.raises(OutputError, match=r": a folder; expected a file that can be written"):
        expect_writable(tmp_path)
    expect_writable(tmp_path / "new" / "m.onnx")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    "verb",
    [
        ["train", "--export"],
        ["strings", "train", "--output"],
        ["strings", "score", "no.onnx", "--output"],
        ["evaluate", "no.onnx", "--rejection", "--figure"],
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path, capsys, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt")
    assert main([*verb, "a.txt/m.onnx"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("spoken-digits: a.txt/m.onnx: ")
    assert (out, (tmp_path / "runs").exists()) == ("", False)
