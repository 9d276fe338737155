"""Readers of transcribed utterances, on made-up trees in the published layouts."""

import dataclasses
import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from loopback import closed_port, serve
from made_utterances import AN4, sound, write_an4, write_wuw2

from spoken_digits.audio import Encoding
from spoken_digits.cli import main
from spoken_digits.lab.data.corpora import CORPORA, CorpusError, fetch_corpus, read_corpus
from spoken_digits.lab.data.splits import SplitError, UtteranceSplit, utterance_folds
from spoken_digits.lab.data.utterances import (
    TranscribedUtterance,
    read_samples,
    read_utterances,
    scan_utterances,
)
from spoken_digits.lab.data.validate import check_utterances, summarize_utterances


@pytest.fixture(autouse=True)
def _no_corpora_of_this_machine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "data_root" not in request.fixturenames:
        monkeypatch.delenv("SPOKEN_DIGITS_DATA", raising=False)
    monkeypatch.setenv("SPOKEN_DIGITS_CACHE", str(tmp_path / "cache"))


# AN4


def test_an4_gives_words_speaker_gender_and_content(tmp_path):
    write_an4(tmp_path / "an4")
    found = {u.file.stem: u for u in read_utterances("an4", tmp_path)}
    assert {name: (u.words, u.digits, u.content, u.gender) for name, u in found.items()} == {
        "an1-fabc-b": (("seven", "oh", "zero"), "700", "digits", "female"),
        "cen2-fabc-b": (("a", "b", "c"), "", "none", "female"),
        "an3-mxyz-b": (("enter", "nine"), "9", "mixed", "male"),
        "an4-mxyz2-b": (
            ("one", "two", "three", "four", "five", "six", "eight"),
            "1234568",
            "digits",
            "male",
        ),
    }
    assert {u.speaker for u in found.values()} == {"fabc", "mxyz", "mxyz2"}
    assert {(u.corpus, u.part, u.start_s, u.end_s) for u in found.values()} == {
        ("an4", "train", None, None)
    }


def test_sphere_is_read_to_the_bit(tmp_path):
    write_an4(tmp_path / "an4")
    utterance = read_utterances("an4", tmp_path)[0]
    index = [speaker for speaker, *_ in AN4].index(utterance.speaker)
    samples, rate = read_samples(utterance)
    assert rate == 16_000
    np.testing.assert_array_equal(samples, sound(index).astype(np.float32) / 2**15)
    assert utterance.duration_s == 2.0


@pytest.mark.parametrize("suffix", [".raw", ".little"])
def test_an4_without_headers_is_read_in_either_byte_order(tmp_path, suffix):
    write_an4(tmp_path / "an4", suffix=suffix)
    for utterance in read_utterances("an4", tmp_path):
        index = [name for _, name, _ in AN4].index(utterance.file.stem.partition("-")[0])
        samples, rate = read_samples(utterance)
        assert rate == 16_000
        np.testing.assert_array_equal(samples, sound(index).astype(np.float32) / 2**15)


def test_both_parts_of_an4_are_read_where_they_are_there(tmp_path):
    write_an4(tmp_path / "an4")
    # In the test part the marks of the sentence's ends may be missing.
    write_an4(tmp_path / "an4", "test", [("mtst", "cen8", "TWO TWO")])
    file = tmp_path / "an4" / "etc" / "an4_test.transcription"
    file.write_text("TWO TWO (cen8-mtst-b)\n")
    parts = Counter(u.part for u in read_utterances("an4", tmp_path))
    assert parts == {"train": 4, "test": 1}
    [test] = [u for u in read_utterances("an4", tmp_path) if u.part == "test"]
    assert (test.speaker, test.digits, test.content) == ("mtst", "22", "digits")


def replace_line(file: Path, line: int, text: str | None) -> None:
    lines = file.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("transcription", 2, "<s> A B </s>", r"line 2: expected '<s> WORDS </s> \(utterance\)'"),
        ("transcription", 2, "<s> A </s> (cen3-fabc-b)", r"line 2 \(cen3-fabc-b\): .* cen2-fabc-b"),
        ("transcription", 2, "<s> </s> (cen2-fabc-b)", r"line 2 \(cen2-fabc-b\): no words"),
        ("transcription", 2, None, "3 lines, expected 4, one for each line of an4_train.fileids"),
        ("fileids", 4, "an4_clstk/mxyz2/an4-mxyz-b", r"line 4 .* has an4-mxyz-b there"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, name, line, text, message):
    folder = write_an4(tmp_path / "an4")
    replace_line(folder / "etc" / f"an4_train.{name}", line, text)
    with pytest.raises(CorpusError, match=rf"an4_train\.transcription, {message}"):
        read_utterances("an4", tmp_path)
    assert [fault.severe for fault in scan_utterances("an4", tmp_path)[1]][:1] == [True]


def test_a_speaker_whose_folder_and_file_differ_is_named(tmp_path):
    folder = write_an4(tmp_path / "an4")
    replace_line(folder / "etc/an4_train.fileids", 1, "an4_clstk/mxyz/an1-fabc-b")
    with pytest.raises(CorpusError, match=r"line 1 \(an1-fabc-b\): .*expected <folder>/<speaker>"):
        read_utterances("an4", tmp_path)


def test_a_recording_that_is_missing_and_one_without_a_line_are_named(tmp_path):
    folder = write_an4(tmp_path / "an4")
    (folder / "wav/an4_clstk/fabc/an1-fabc-b.sph").rename(folder / "wav/an4_clstk/fabc/an9.sph")
    with pytest.raises(CorpusError, match=r"line 1 \(an1-fabc-b\): no recording .*an1-fabc-b\.sph"):
        read_utterances("an4", tmp_path)
    utterances, faults = scan_utterances("an4", tmp_path)
    assert len(utterances) == 3
    assert "no line for wav/an4_clstk/fabc/an9.sph" in faults[1].detail
    assert not faults[1].severe


def test_several_faults_are_counted_and_one_is_named(tmp_path):
    folder = write_an4(tmp_path / "an4")
    for line in (1, 2, 4):
        replace_line(folder / "etc/an4_train.transcription", line, "<s> A </s> (other)")
    with pytest.raises(CorpusError, match=r"line 1 \(other\).*\(and 2 more: see 'spoken-digits"):
        read_utterances("an4", tmp_path)


def test_more_words_than_anyone_can_say_do_not_fit_their_recording(tmp_path):
    write_an4(tmp_path / "an4", rows=[("fabc", "an1", "ONE " * 16), ("fabc", "an2", "ONE " * 17)])
    utterances, [fault] = scan_utterances("an4", tmp_path)
    assert len(utterances) == 2
    assert fault.detail.startswith("line 2 (an2-fabc-b): 17 words in 2.00 s, expected 8")
    assert len(read_utterances("an4", tmp_path)) == 2


def test_a_listing_that_is_missing_is_named(tmp_path):
    folder = write_an4(tmp_path / "an4")
    (folder / "etc/an4_train.fileids").unlink()
    with pytest.raises(CorpusError, match=r"an4_train\.fileids: missing"):
        read_utterances("an4", tmp_path)


# WUW II


def test_wuw2_gives_session_times_and_what_the_table_says(tmp_path):
    write_wuw2(tmp_path / "wuw2", {"00007/A_001": "Hello, eight of THEM."})
    [utterance] = read_utterances("wuw2", tmp_path)
    assert utterance == TranscribedUtterance(
        file=tmp_path / "wuw2/calls/00007/A_001.ulaw",
        words=("hello", "eight", "of", "them"),
        speaker="00007",
        corpus="wuw2",
        gender="female",
        start_s=0.25,
        end_s=1.5,
        native=True,
        phone="cellphone",
        encoding=Encoding("ulaw", 8_000),
    )
    assert (utterance.digits, utterance.content, utterance.duration_s) == ("8", "mixed", 2.0)


@pytest.mark.parametrize(
    ("transcript", "words", "background"),
    [
        ("[noise] yes {breath} no [[click] it's", "yes no it's", "noise breath click"),
        ("((maybe)) vo- ^Name *wrod _Place_ a-b @x", "maybe vo name wrod place a b x", ""),
        ("[talk/] so [/talk] {lip smack]", "so", "talk talk lip smack"),
        ("<as> I</as> don\ufffdt - ' .", "i don't", ""),
    ],
)
def test_marks_of_noises_are_no_words(tmp_path, transcript, words, background):
    write_wuw2(tmp_path / "wuw2", {"1/A": transcript})
    [utterance] = read_utterances("wuw2", tmp_path)
    assert " ".join(utterance.words) == words
    assert " ".join(utterance.background) == background


def test_a_digit_in_the_background_makes_no_example_of_speech_without_digits(tmp_path):
    write_wuw2(tmp_path / "wuw2", {"1/A": "hello [oh well]", "1/B": "[noise]", "1/C": "seventeen"})
    contents = [utterance.content for utterance in read_utterances("wuw2", tmp_path)]
    assert contents == ["mixed", "none", "none"]


def test_headerless_mu_law_is_decoded_by_its_definition(tmp_path):
    folder = write_wuw2(tmp_path / "wuw2", {"1/A": "hello"})
    codes = np.arange(256, dtype=np.uint8)
    (folder / "calls/1/A.ulaw").write_bytes(codes.tobytes())
    samples, rate = read_samples(read_utterances("wuw2", tmp_path)[0])
    inverted = ~codes  # ITU-T G.711: sign, exponent of three bits, mantissa of four
    exponent, mantissa = inverted >> 4 & 7, (inverted & 15).astype(int)
    magnitude = ((2 * mantissa + 33) << exponent) - 33
    expected = np.where(inverted & 128, -magnitude, magnitude) * 4 / 2**15
    assert rate == 8_000
    np.testing.assert_array_equal(samples, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"session": "2"}, r"line 2 \(calls/1/A\.ulaw\): session 2, expected its folder's name"),
        ({"gender": "x"}, r"line 2 .*: gender 'x', expected female or male"),
        ({"file": "calls/1/B.ulaw"}, r"line 2 .*: no such recording"),
        ({"transcript": "..."}, r"line 2 .*: no transcript"),
        ({"end_s": "late"}, r"line 2 .*: times '0\.25' and 'late', expected seconds"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, cells, message):
    write_wuw2(tmp_path / "wuw2", {"1/A": "hello"}, **cells)
    with pytest.raises(CorpusError, match=rf"utterances\.tsv, {message}"):
        read_utterances("wuw2", tmp_path)


@pytest.mark.parametrize(
    ("start", "end", "reported"),
    [("0", "0", False), ("0.0", "2.0", None), ("1.5", "1.2", True), ("1", "2.001", True)],
)
def test_times_outside_the_recording_are_reported_and_left_out(tmp_path, start, end, reported):
    write_wuw2(tmp_path / "wuw2", {"1/A": "hello"}, start_s=start, end_s=end)
    [utterance], faults = scan_utterances("wuw2", tmp_path)
    assert len(faults) == bool(reported)
    times = (utterance.start_s, utterance.end_s)
    assert times == ((0.0, 2.0) if reported is None else (None, None))


def test_a_recording_on_two_rows_and_one_on_none_are_named(tmp_path):
    folder = write_wuw2(tmp_path / "wuw2", {"1/A": "hello", "1/B": "no"})
    table = folder / "utterances.tsv"
    replace_line(table, 3, table.read_text().splitlines()[1])
    _, faults = scan_utterances("wuw2", tmp_path)
    assert "line 3 (calls/1/A.ulaw): on line 2 already" in faults[0].detail
    assert faults[1].detail == "no row for calls/1/B.ulaw"
    table.unlink()
    with pytest.raises(CorpusError, match=r"utterances\.tsv: missing"):
        read_utterances("wuw2", tmp_path)


# Finding them


def test_a_layout_is_known_by_its_path_too(tmp_path):
    write_an4(tmp_path / "a copy")
    write_wuw2(tmp_path / "calls of ours", {"1/A": "hello"})
    assert read_utterances(tmp_path / "a copy")[0].corpus == "an4"
    assert read_utterances(tmp_path / "calls of ours")[0].corpus == "wuw2"
    with pytest.raises(CorpusError, match="no transcribed utterances; expected an4 or wuw2"):
        read_utterances(tmp_path)


def test_what_is_not_at_hand_names_places_and_remedy(tmp_path):
    with pytest.raises(CorpusError, match=r"an4: not at hand.*corpus fetch an4'.*--data"):
        read_utterances("an4", tmp_path)
    with pytest.raises(CorpusError, match=r"wuw2: not at hand") as raised:
        read_utterances("wuw2", tmp_path)
    assert "fetch" not in str(raised.value)


@pytest.mark.parametrize("by_name", [True, False])
def test_whoever_reads_single_words_is_told_that_these_are_utterances(tmp_path, by_name):
    write_an4(tmp_path / "an4")
    with pytest.raises(CorpusError, match=r"an4 holds transcribed utterances.*read_utterances"):
        read_corpus("an4" if by_name else tmp_path / "an4", tmp_path)


# Splits


def made_up(speakers: int, corpus: str = "an4") -> list[TranscribedUtterance]:
    return [
        TranscribedUtterance(Path(f"{k}-{take}.sph"), ("one",), f"m{k:02}", corpus)
        for k in range(speakers)
        for take in range(k % 3 + 1)
    ]


def test_folds_deal_out_the_sorted_speakers_in_turn():
    folds = utterance_folds(reversed(made_up(12)))
    assert [fold.name for fold in folds] == [f"an4:{k}" for k in range(5)]
    assert [fold.test_speakers for fold in folds] == [
        ("m00", "m05", "m10"),
        ("m01", "m06", "m11"),
        ("m02", "m07"),
        ("m03", "m08"),
        ("m04", "m09"),
    ]
    for fold in folds:
        assert sorted((*fold.train, *fold.test), key=lambda u: u.file) == sorted(
            made_up(12), key=lambda u: u.file
        )


def test_a_split_that_shares_a_speaker_is_refused():
    a, b = made_up(2)[0], made_up(2)[1]
    with pytest.raises(SplitError, match="m01 on both sides, expected no speaker on both"):
        UtteranceSplit("mine", (a, b), (dataclasses.replace(b, file=Path("other.sph")),))
    with pytest.raises(SplitError, match="the test side is empty"):
        UtteranceSplit("mine", (a,), ())


def test_folds_of_too_few_speakers_or_two_corpora_are_refused():
    with pytest.raises(SplitError, match="folds of an4: 4 speakers, expected one corpus with at"):
        utterance_folds(made_up(4))
    with pytest.raises(SplitError, match="folds of an4, wuw2"):
        utterance_folds([*made_up(5), *made_up(5, "wuw2")])
    with pytest.raises(SplitError, match="folds of no utterances"):
        utterance_folds([])


# corpus list, check, fetch


def test_check_names_recordings_and_lines(tmp_path, capsys):
    folder = write_an4(tmp_path / "an4")
    file = folder / "wav/an4_clstk/fabc/an1-fabc-b.sph"
    file.write_bytes(file.read_bytes()[:4_000])
    replace_line(folder / "etc/an4_train.transcription", 2, "<s> A </s> (other)")
    write_wuw2(tmp_path / "wuw2", {"1/A": "hello", "1/B": "no one"}, end_s="9")
    assert main(["corpus", "check", "an4", "wuw2", "--data", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{file}: truncated: ")
    table = folder / "etc" / "an4_train.transcription"
    assert lines[1].startswith(f"{table}: transcript: line 1 (an1-fabc-b): 3 words in 0.09 s")
    assert lines[2].startswith(f"{table}: transcript: line 2 (other): ")
    assert [line for line in lines if line.startswith(("an4:", "wuw2:"))] == [
        "an4: 3 utterances, 3 speakers, 0.1 minutes: 2 digit strings, 1 with digits among other "
        "words, 0 without a digit; 4 problems",
        "wuw2: 2 utterances, 1 speakers, 0.1 minutes: 0 digit strings, 1 with digits among other "
        "words, 1 without a digit; 2 problems",
    ]


def test_check_of_what_is_sound_finds_nothing_and_takes_a_folder(tmp_path, capsys):
    folder = write_an4(tmp_path / "mine")
    assert main(["corpus", "check", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("1 without a digit; no problems\n")


def test_the_list_says_what_cannot_be_fetched(tmp_path, capsys):
    write_wuw2(tmp_path / "wuw2", {"1/A": "hello"})
    main(["corpus", "list", "--data", str(tmp_path)])
    listed = capsys.readouterr().out
    assert f"wuw2: {tmp_path / 'wuw2'}\n    CC BY-SA 4.0\n" in listed
    assert "an4: not at hand (spoken-digits corpus fetch an4)\n" in listed
    (tmp_path / "empty").mkdir()
    main(["corpus", "list", "--data", str(tmp_path / "empty")])
    assert "wuw2: not at hand (no address is known)" in capsys.readouterr().out
    with pytest.raises(CorpusError, match="wuw2: cannot be fetched, no address is known"):
        fetch_corpus("wuw2", tmp_path)


def archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(folder, "an4")
    return stream.getvalue()


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    def fetch_from(url: str) -> Path:
        known = dataclasses.replace(CORPORA["an4"], url=url, clips=5)
        monkeypatch.setitem(CORPORA, "an4", known)
        return fetch_corpus("an4", tmp_path / "data", patience_s=0.5)

    return fetch_from


@pytest.fixture
def published(tmp_path) -> Path:
    """The archive's tree: both parts, and files that are not needed."""
    folder = write_an4(tmp_path / "published")
    write_an4(folder, "test", [("mtst", "cen8", "TWO TWO")])
    (folder / "README").write_text("about")
    (folder / "etc" / "an4.dic").write_text("A AH")
    (folder / "wav" / "an4_clstk" / "fabc" / "an1-fabc-b.wav").write_bytes(b"twice")
    return folder


def test_a_fetched_an4_holds_both_parts_and_no_other_file(fetch, published, tmp_path):
    with serve(archive(published)) as server:
        folder = fetch(server.url)
    assert folder == tmp_path / "data" / "an4"
    assert Counter(u.part for u in read_utterances("an4", tmp_path / "data")) == {
        "train": 4,
        "test": 1,
    }
    assert not list(folder.rglob("*.wav"))
    assert not list(folder.rglob("*.dic"))
    assert (folder / "README").is_file()


@pytest.mark.parametrize("missing", ["etc/an4_test.fileids", "wav/an4_clstk/fabc/an1-fabc-b.sph"])
def test_an_archive_that_lacks_a_part_leaves_nothing(fetch, published, tmp_path, missing):
    (published / missing).unlink()
    message = "no etc/an4_test.fileids" if "etc" in missing else "4 recordings, expected 5"
    with serve(archive(published)) as server, pytest.raises(CorpusError, match=message):
        fetch(server.url)
    assert not list((tmp_path / "data").glob("*"))


def test_a_server_that_is_not_there_names_address_and_remedy(fetch):
    with pytest.raises(CorpusError, match=r"an4: could not be fetched .* by other means"):
        fetch(f"http://127.0.0.1:{closed_port()}/an4_sphere.tar.gz")


# The real recordings


def real(data_root: Path, name: str) -> tuple[TranscribedUtterance, ...]:
    if not (data_root / name).is_dir():
        pytest.skip(f"needs recordings: let SPOKEN_DIGITS_DATA name a folder that holds {name}/")
    return read_utterances(name, data_root)


def test_the_training_part_of_an4_has_the_counts_of_the_protocol(data_root):
    utterances = [u for u in real(data_root, "an4") if u.part == "train"]
    assert len(utterances) == 948
    speakers = {(u.speaker, u.gender) for u in utterances}
    assert Counter(gender for _, gender in speakers) == {"female": 21, "male": 53}
    assert summarize_utterances(utterances).contents == {"digits": 181, "mixed": 359, "none": 408}
    strings = [u for u in utterances if u.content == "digits"]
    assert {len(u.digits) for u in strings} <= set(range(3, 11))
    assert sum("oh" in u.words for u in strings) == 44
    folds = utterance_folds(utterances)
    assert [len(fold.test_speakers) for fold in folds] == [15, 15, 15, 15, 14]


def test_the_local_part_of_wuw2_has_the_counts_of_the_protocol(data_root):
    utterances = real(data_root, "wuw2")
    assert summarize_utterances(utterances).contents == {"digits": 0, "mixed": 26, "none": 1_074}
    assert len({u.speaker for u in utterances}) == 111


@pytest.mark.parametrize("name", ["an4", "wuw2"])
def test_real_recordings_can_be_read(data_root, name):
    problems = check_utterances(real(data_root, name)[::40])
    assert not problems
