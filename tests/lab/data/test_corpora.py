import dataclasses
import hashlib
import io
import re
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from made_corpora import published_side, write_audiomnist, write_speech_commands

from spoken_digits.cli import main
from spoken_digits.lab.data.corpora import (
    CORPORA,
    DIGITS,
    Clip,
    CorpusError,
    best_corpus,
    data_hash,
    data_root,
    find_corpus,
    read_corpus,
    read_synthetic,
    scan_corpus,
)
from spoken_digits.lab.data.validate import check_corpus, summarize_corpus

FSDD_NAMES = [f"{digit}_{speaker}_0.wav" for digit in "012" for speaker in ("theo", "lucas")]


@pytest.fixture(autouse=True)
def _no_corpora_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPOKEN_DIGITS_DATA", raising=False)
    monkeypatch.setenv("SPOKEN_DIGITS_CACHE", str(tmp_path / "cache"))


def wav_bytes(seed: int = 0, rate: int = 8_000) -> bytes:
    noise = np.random.default_rng(seed).normal(0, 0.1, 800)
    stream = io.BytesIO()
    sf.write(stream, noise, rate, "PCM_16", format="WAV")
    return stream.getvalue()


def write(file: Path, content: bytes | str | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    file.write_bytes(wav_bytes(sum(map(ord, file.name))) if content is None else content)
    return file


def write_fsdd(folder: Path, names: list[str] = FSDD_NAMES) -> Path:
    for name in names:
        write(folder / "recordings" / name)
    return folder


# Readers


def test_fsdd_names_give_label_and_speaker(tmp_path):
    write_fsdd(tmp_path / "fsdd")
    clips = read_corpus("fsdd", tmp_path)
    assert [(c.label, c.speaker, c.corpus, c.split) for c in clips] == [
        (digit, speaker, "fsdd", None) for digit in "012" for speaker in ("lucas", "theo")
    ]


def test_fsdd_table_is_read_by_column_name_and_file_name(tmp_path):
    folder = write_fsdd(tmp_path / "fsdd")
    table = (
        "\tsplit\tlabel\tspeaker\tfile\n"
        "0\tTEST\t0\tlucas\tspeech_data/0_lucas_0.wav\n"
        "1\tTRAIN\t2\ttheo\tspeech_data/2_theo_0.wav\n"
    )
    write(folder / "SDR_metadata.tsv", table)
    splits = {clip.file.name: clip.split for clip in read_corpus("fsdd", tmp_path)}
    assert splits["0_lucas_0.wav"] == "TEST"
    assert splits["2_theo_0.wav"] == "TRAIN"
    assert splits["1_theo_0.wav"] is None


def test_data_may_point_at_the_corpus_itself(tmp_path):
    write_fsdd(tmp_path / "somewhere")
    assert len(read_corpus("fsdd", tmp_path / "somewhere")) == len(FSDD_NAMES)


def test_a_published_layout_is_known_by_its_path_too(tmp_path):
    write_fsdd(tmp_path / "copy of fsdd")
    assert {clip.corpus for clip in read_corpus(tmp_path / "copy of fsdd")} == {"fsdd"}


def test_speech_commands_words_are_digits_or_words_and_noise_is_neither(tmp_path):
    folder = tmp_path / "speech_commands"
    write(folder / "seven" / "0a1b_nohash_0.wav")
    write(folder / "seven" / "0a1b_nohash_1.wav")
    write(folder / "down" / "ffff_nohash_0.wav")
    write(folder / "_background_noise_" / "running_tap.wav")
    clips = read_corpus("speech_commands", tmp_path)
    found = Counter((c.label, c.speaker) for c in clips)
    assert found == {("7", "0a1b"): 2, ("down", "ffff"): 1}


def test_only_the_ten_words_are_digits_whatever_their_case(tmp_path):
    words = ["zero", "One", "TWO", "three", "four", "five", "six", "seven", "eight", "nine"]
    for word in [*words, "oh", "o", "ten", "nil", "for"]:
        write(tmp_path / "mine" / word / "anna_0.wav")
    labels = {c.file.parent.name: c.label for c in read_corpus(tmp_path / "mine")}
    assert {word: labels.pop(word) for word in words} == dict(zip(words, DIGITS, strict=True))
    assert labels == {word: word for word in ("oh", "o", "ten", "nil", "for")}


def test_synthetic_speech_is_three_corpora_wherever_its_files_lie(tmp_path):
    shipped = read_synthetic()
    count = Counter((clip.corpus, clip.speaker.partition("-")[0]) for clip in shipped)
    accents = {"us", "gb", "rp", "scotland", "nyc", "midlands", "caribbean", "lancaster"}
    assert count == {
        **{("voices", accent): 20 for accent in accents},
        ("flite-festival", "flite"): 160,
        ("flite-festival", "festival"): 40,
        ("kokoro", "kokoro"): 640,
    }
    write(tmp_path / "made" / "tree" / "us-x_0.wav")
    made = read_synthetic(tmp_path / "made")
    assert [(c.label, c.corpus) for c in made[:1]] == [("tree", "voices")]
    assert made[1:] == [clip for clip in shipped if clip.corpus != "voices"]


def test_audiomnist_has_a_folder_a_speaker(tmp_path):
    for speaker, digit, take in product(("01", "60"), "09", (0, 49)):
        write(tmp_path / "audiomnist" / "data" / speaker / f"{digit}_{speaker}_{take}.wav")
    write(tmp_path / "audiomnist" / "data" / "audioMNIST_meta.txt", "{}")
    clips = read_corpus("audiomnist", tmp_path)
    assert Counter((c.label, c.speaker) for c in clips) == {
        (digit, speaker): 2 for digit in "09" for speaker in ("01", "60")
    }


def test_audiomnist_refuses_a_clip_in_another_speakers_folder(tmp_path):
    write(tmp_path / "audiomnist" / "data" / "01" / "0_02_0.wav")
    with pytest.raises(CorpusError, match=r"0_02_0\.wav: unexpected name"):
        read_corpus("audiomnist", tmp_path)


def test_a_folder_of_ones_own_has_labels_as_folders_or_words(tmp_path):
    write(tmp_path / "mine" / "3" / "anna_0.wav")
    write(tmp_path / "mine" / "Three" / "mary_ann_12.FLAC")
    write(tmp_path / "mine" / "3" / "notes_about.txt", "not a recording")
    write(tmp_path / "mine" / ".trash" / "anna_9.wav")
    clips = read_corpus(tmp_path / "mine")
    assert [(c.label, c.speaker, c.corpus) for c in clips] == [
        ("3", "anna", "mine"),
        ("3", "mary_ann", "mine"),
    ]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fsdd", "recordings/11_theo_0.wav"),
        ("audiomnist", "data/01/x_01_0.wav"),
    ],
)
def test_a_label_outside_the_ten_names_file_and_expectation(tmp_path, name, file):
    write(tmp_path / name / file)
    source = name if name in CORPORA else tmp_path / name
    with pytest.raises(CorpusError, match=re.escape(Path(file).name) + ".*expected 0 to 9"):
        read_corpus(source, tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fsdd", "recordings/seven.wav"),
        ("speech_commands", "yes/a_nohash_x.wav"),
        ("mine", "7/anna.wav"),
    ],
)
def test_a_name_outside_the_layout_names_file_and_layout(tmp_path, name, file):
    write(tmp_path / name / file)
    source = name if name in CORPORA else tmp_path / name
    with pytest.raises(CorpusError, match=re.escape(Path(file).name) + ": unexpected name"):
        read_corpus(source, tmp_path)


# Where several files do not fit


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("fsdd", "recordings/1_theo_0.wav", ["recordings/1-theo.wav", "recordings/x_theo_0.wav"]),
        ("audiomnist", "data/01/1_01_0.wav", ["data/01/1_02_0.wav", "data/01/ten_01_0.wav"]),
        ("speech_commands", "yes/a_nohash_0.wav", ["no/a_0.wav", "yes/a_nohash_x.wav"]),
        ("mine", "7/anna_0.wav", ["7/anna.wav", "8/bert.flac"]),
    ],
)
def test_check_names_every_odd_file_and_reads_the_others(tmp_path, capsys, name, good, bad):
    folder = tmp_path / name
    for file in (good, *bad):
        write(folder / file)
    with pytest.raises(CorpusError, match=re.escape(f"{folder}/{bad[0]}: ") + r".* \(and 1 more"):
        read_corpus(folder)
    assert main(["corpus", "check", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    named = [line for line in lines if ": name: " in line]
    assert [line.split(": ")[0] for line in named] == [str(folder / file) for file in bad]
    assert all(re.search(r"expected .*; rename it or", line) for line in named)
    assert lines[-1].startswith(f"{folder}: 1 clips, 1 speakers, 1 labels")


def test_check_lists_a_folder_in_which_nothing_fits(tmp_path, capsys):
    write(tmp_path / "mine" / "7" / "anna.wav")
    assert main(["corpus", "check", str(tmp_path / "mine")]) == 1
    out = capsys.readouterr().out
    assert "7/anna.wav: name: unexpected name, expected <label>/<speaker>_<take>" in out
    assert "0 clips" in out


# Published corpora that are incomplete


def test_the_sides_of_speech_commands_are_those_of_its_lists(tmp_path):
    write_speech_commands(tmp_path / "speech_commands")
    clips, faults = scan_corpus("speech_commands", tmp_path)
    assert len(clips) == 35 * 8
    assert {clip.split for clip in clips} == {"training", "validation", "testing"}
    assert all(clip.split == published_side(clip.speaker) for clip in clips)
    (size,) = faults
    assert (size.kind, size.severe) == ("files", False)
    assert size.detail.startswith("280 recordings, expected 105,829")


@pytest.mark.parametrize("missing", [["testing"], ["validation", "testing"]])
def test_without_both_lists_no_side_is_known_and_check_says_so(tmp_path, capsys, missing):
    folder = write_speech_commands(tmp_path / "speech_commands", 0, 1, 1)
    for side in missing:
        (folder / f"{side}_list.txt").unlink()
    assert {clip.split for clip in read_corpus(folder)} == {None}
    assert main(["corpus", "check", "speech_commands", "--data", str(tmp_path)]) == 1
    names = " and no ".join(f"{side}_list.txt" for side in missing)
    said = f"{folder}: files: no {names}, expected beside the folders of words"
    assert said in capsys.readouterr().out


def test_what_lists_name_and_is_not_there_is_counted(tmp_path):
    folder = write_speech_commands(tmp_path / "speech_commands")
    tested = sorted((folder / "testing_list.txt").read_text().split())
    for path in tested[3:5]:
        (folder / path).unlink()
    missing, _ = scan_corpus(folder)[1]
    both = sum(
        len((folder / f"{s}_list.txt").read_text().split()) for s in ("testing", "validation")
    )
    said = f"2 of the {both} recordings on its lists are missing, the first {tested[3]}; "
    assert missing.detail.startswith(said)


def test_a_list_that_is_no_text_is_named(tmp_path):
    folder = write_speech_commands(tmp_path / "speech_commands", 0, 0, 1)
    (folder / "testing_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match=r"testing_list\.txt: no text .*expected UTF-8"):
        read_corpus(folder)


def test_missing_and_incomplete_speakers_of_audiomnist_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("spoken_digits.lab.data.corpora.AUDIOMNIST_CLIPS", 10)
    folder = write_audiomnist(tmp_path / "audiomnist")
    assert [fault.detail[:30] for fault in scan_corpus(folder)[1]] == [
        "600 recordings, expected 30,00"
    ]
    for file in (folder / "data" / "17").iterdir():
        file.unlink()
    (folder / "data" / "03" / "0_03_0.wav").unlink()
    absent, short, _ = scan_corpus("audiomnist", tmp_path)[1]
    assert (absent.file, short.file) == (folder / "data", folder / "data" / "03")
    assert absent.detail == "no recordings of 1 speakers of 60: 17"
    assert short.detail.startswith("9 recordings, expected 10")
    assert not absent.severe
    assert not short.severe


def test_a_table_of_ones_own_finds_files_beside_it(tmp_path):
    write(tmp_path / "sounds" / "a.wav")
    write(tmp_path / "sounds" / "b.wav")
    text = "label,file,speaker,split\nfour,sounds/a.wav,anna,TEST\n9,sounds/b.wav,bert,\n"
    table = write(tmp_path / "mine.csv", "\ufeff" + text)
    assert read_corpus(table) == (
        Clip(tmp_path / "sounds/a.wav", "4", "anna", "mine", "TEST"),
        Clip(tmp_path / "sounds/b.wav", "9", "bert", "mine", None),
    )
    tabs = write(tmp_path / "tabs.tsv", text.replace(",", "\t"))
    assert [clip.label for clip in read_corpus(tabs)] == ["4", "9"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.wav,1\n", "no column speaker; expected the first line to name"),
        ("file;label;speaker\n", "no column file, label, speaker; .* separated by commas"),
        ("", "no column file, label, speaker"),
        ("file,label,speaker\na.wav,,anna\n", "line 2: no label; fill it in"),
        ("file,label,speaker\na.wav,1\n", "line 2: no speaker"),
        ("file,label,speaker\na.wav,1,anna\n./a.wav,2,anna\n", "line 3: .* on line 2 already"),
        ("file,label,speaker\nb.wav,1,anna\n", r"line 2: .*b\.wav does not exist"),
        (b"file,label,speaker\n\xff\xfe,1,a\n", "save it as UTF-8"),
        ("file,label,speaker\n", "no recordings"),
    ],
)
def test_a_broken_table_names_line_and_remedy(tmp_path, text, message):
    write(tmp_path / "a.wav")
    with pytest.raises(CorpusError, match=message):
        read_corpus(write(tmp_path / "mine.csv", text))


def test_an_empty_folder_and_an_unknown_name_say_what_was_expected(tmp_path):
    with pytest.raises(CorpusError, match="no recordings, expected <label>/<speaker>_<take>"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="no such corpus, folder or table; expected one of fsdd"):
        read_corpus("fssd")


def test_a_corpus_not_at_hand_names_places_and_command(tmp_path):
    with pytest.raises(CorpusError, match=r"cache/fsdd; fetch it with 'spoken-digits corpus fetch"):
        read_corpus("fsdd")
    with pytest.raises(CorpusError, match=r"nowhere: no such folder.* --data"):
        read_corpus("fsdd", tmp_path / "nowhere")


def test_data_root_prefers_the_argument_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    assert data_root() is None
    (tmp_path / "cache").mkdir()
    assert data_root() == tmp_path / "cache"
    monkeypatch.setenv("SPOKEN_DIGITS_DATA", str(tmp_path))
    assert data_root() == tmp_path
    assert data_root(tmp_path / "cache") == tmp_path / "cache"
    monkeypatch.setenv("SPOKEN_DIGITS_DATA", str(tmp_path / "gone"))
    with pytest.raises(CorpusError, match=r"gone: no such folder.* SPOKEN_DIGITS_DATA"):
        data_root()


def test_what_was_fetched_is_found_beside_other_data(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SPOKEN_DIGITS_DATA", str(tmp_path / "data"))
    write_fsdd(tmp_path / "cache" / "fsdd")
    assert find_corpus("fsdd") == tmp_path / "cache" / "fsdd"


# Identity of the data


def test_checksum_is_the_sha256_of_the_file(tmp_path):
    file = write(tmp_path / "a.wav")
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert Clip(file, "1", "anna", "mine").checksum == expected


def test_data_hash_ignores_order_and_folder_but_not_content_or_label(tmp_path):
    write_fsdd(tmp_path / "here" / "fsdd")
    write_fsdd(tmp_path / "there" / "fsdd")
    clips = read_corpus("fsdd", tmp_path / "here")
    assert data_hash(reversed(clips)) == data_hash(read_corpus("fsdd", tmp_path / "there"))
    relabelled = (dataclasses.replace(clips[0], label="9"), *clips[1:])
    assert data_hash(relabelled) != data_hash(clips)
    write(tmp_path / "there" / "fsdd" / "recordings" / FSDD_NAMES[0], wav_bytes(99))
    assert data_hash(read_corpus("fsdd", tmp_path / "there")) != data_hash(clips)


# Validation of a whole corpus


def test_problems_come_file_by_file_then_rates_then_labels(tmp_path):
    for take, rate in enumerate((16_000, 16_000, 8_000)):
        write(tmp_path / f"anna_{take}.wav", wav_bytes(take, rate))
    write(tmp_path / "anna_3.wav", wav_bytes(0, 16_000))
    write(tmp_path / "anna_4.wav", "no recording")
    clips = [Clip(tmp_path / f"anna_{take}.wav", "0", "anna", "mine") for take in range(5)]
    duplicate, unreadable, rate, *labels = check_corpus(clips)
    assert (duplicate.file, duplicate.kind) == (clips[3].file, "duplicate")
    assert duplicate.detail == f"the same samples as {clips[0].file}"
    assert (unreadable.file, unreadable.kind) == (clips[4].file, "unreadable")
    assert (rate.file, rate.kind) == (clips[2].file, "rate")
    assert rate.detail == "8,000 Hz, most clips have 16,000 Hz"
    assert {(problem.file, problem.kind) for problem in labels} == {(None, "labels")}


def test_missing_and_rare_labels_are_reported(tmp_path):
    write(tmp_path / "a.wav")
    clip = Clip(tmp_path / "a.wav", "0", "anna", "mine")
    labels = [*DIGITS[:8], *["0"] * 30]
    clips = [dataclasses.replace(clip, label=label) for label in labels]
    details = [p.detail for p in check_corpus(clips) if p.kind == "labels"]
    assert details[:3] == ["no clip of 8", "no clip of 9", "1 clips of 1, others have up to 31"]


def test_words_of_ones_own_are_labels_and_need_no_digits(tmp_path):
    write(tmp_path / "mine" / "Ja" / "anna_0.wav")
    write(tmp_path / "mine" / "nein" / "anna_0.wav")
    clips = read_corpus(tmp_path / "mine")
    assert [clip.label for clip in clips] == ["Ja", "nein"]
    assert not [p for p in check_corpus(clips) if p.kind == "labels"]


def test_the_summary_adds_up(tmp_path):
    folder = write_fsdd(tmp_path / "fsdd")
    write(folder / "recordings" / "9_theo_0.wav", "no recording")
    summary = summarize_corpus(read_corpus(folder))
    assert (summary.clips, summary.speakers) == (7, 2)
    assert summary.labels == {"0": 2, "1": 2, "2": 2, "9": 1}
    assert summary.duration_s == pytest.approx(6 * 0.1)


# The recordings themselves


def test_fsdd_is_whole_and_sound(data_root):
    clips = read_corpus("fsdd", data_root)
    assert Counter((c.label, c.speaker) for c in clips) == {
        (digit, speaker): 50
        for digit in DIGITS
        for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    }
    found = check_corpus(clips)
    assert [each for each in found if each.severe] == []
    assert {each.kind: each.detail.rpartition(": ")[2] for each in found} == {
        "cut": "453 of 3,000 clips, nicolas 27%, theo 25%, jackson 20%, ...",
        "offset": "1 of 6 speakers, nicolas 0.7%",
    }


def test_the_original_split_tests_on_503_clips(data_root):
    clips = read_corpus("fsdd", data_root)
    if not (find_corpus("fsdd", data_root) / "SDR_metadata.tsv").is_file():
        pytest.skip("needs the original study's SDR_metadata.tsv beside the recordings")
    assert Counter(c.split for c in clips) == {"TRAIN": 2_000, "DEV": 497, "TEST": 503}
    assert {c.speaker for c in clips if c.split != "TRAIN"} == {"lucas", "yweweler"}


def test_speech_commands_speakers_are_hashes(data_root):
    if find_corpus("speech_commands", data_root) is None:
        pytest.skip("needs speech_commands/ in SPOKEN_DIGITS_DATA")
    clips = read_corpus("speech_commands", data_root)
    assert set(DIGITS) < {clip.label for clip in clips}
    assert all(re.fullmatch("[0-9a-f]{8}", clip.speaker) for clip in clips)


# The best corpus at hand


def test_fsdd_on_disk_is_the_best_corpus(tmp_path):
    write_fsdd(tmp_path / "fsdd")
    name, clips = best_corpus(tmp_path)
    assert (name, len(clips)) == ("fsdd", len(FSDD_NAMES))


def test_without_a_connection_the_voices_are_taken_and_said_loudly(monkeypatch, capsys):
    nowhere = dataclasses.replace(CORPORA["fsdd"], url="http://127.0.0.1:9/fsdd.tar.gz")
    monkeypatch.setitem(CORPORA, "fsdd", nowhere)
    monkeypatch.setenv("no_proxy", "*")
    name, clips = best_corpus()
    assert (name, clips) == ("voices", read_corpus("voices"))
    assert "SYNTHETIC SPEECH" in capsys.readouterr().err
