"""The run directory: written whole or not at all, and finished as one run only."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from spoken_digits.lab.runs import (
    DataRecord,
    OutputError,
    RunContext,
    RunError,
    begin,
    claim,
    expect_free,
    finish,
    is_finished,
    read_json,
    whole_file,
    whole_folder,
    write_environment,
    write_json,
    write_whole,
)


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.txt", b"whole")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"whole"


def test_what_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway() -> None:
        with whole_file(path) as part:
            part.write_text("half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import os, signal, sys
from pathlib import Path
from spoken_digits.lab.runs import whole_file, whole_folder
writers = {"file": whole_file, "folder": whole_folder}
with writers[sys.argv[1]](Path(sys.argv[2])) as part:
    if sys.argv[1] == "folder":
        part.mkdir()
        part = part / "clip.wav"
    part.write_text("half")
    print("half", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks: files of killed processes stay")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_goes_and_what_another_one_writes_stays(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "some[1].npy"
    (tmp_path / ".some[1].npy.swp").touch()  # of another program

    def write() -> None:
        if kind == "file":
            write_whole(path, b"whole")
            return
        with whole_folder(path) as part:
            part.mkdir()
            (part / "clip.wav").write_bytes(b"whole")

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WRITER, kind, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.read(4) == b"half"
        return process

    other = start()
    try:
        theirs = tmp_path / f".some[1].npy.{other.pid}"
        write()
        assert {p.name for p in tmp_path.iterdir()} == {path.name, ".some[1].npy.swp", theirs.name}
    finally:
        other.kill()
        other.communicate()
    assert theirs.exists()  # nobody has written since
    if kind == "folder":
        shutil.rmtree(path)
    write()
    assert {p.name for p in tmp_path.iterdir()} == {path.name, ".some[1].npy.swp"}


def test_files_of_an_unfinished_run_go_with_the_next_look_after_a_kill(tmp_path: Path) -> None:
    claim(tmp_path, Recipe())
    begin(tmp_path, "train", "abc")
    write_environment(
        RunContext(tmp_path, tmp_path), "train", DataRecord(1, "abc"),
        labels=(), device="cpu", parameters=1,
    )  # fmt: skip
    left = ("begun.json", "checkpoint.safetensors")
    left += (".model.safetensors.99999999",)
    for name in left[1:]:
        (tmp_path / name).touch()
    assert not is_finished(tmp_path, "train", Recipe(), "abc")
    assert all((tmp_path / name).exists() for name in left)
    write_json(tmp_path / "evaluation.json", {})  # killed here, in the middle of `finish`
    assert is_finished(tmp_path, "train", Recipe(), "abc")
    assert not any((tmp_path / name).exists() for name in left)


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        write_whole(tmp_path / "folder", b"bytes")
    assert caught.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_only_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    expect_free(tmp_path / "new")
    expect_free(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(OutputError, match=f"{taken.name}: exists, expected a new or empty"):
            expect_free(taken)


@dataclass(frozen=True)
class Inner:
    counts: dict[str, int]
    interval: tuple[float, float]


@dataclass(frozen=True)
class Outer:
    name: str
    inners: tuple[Inner, ...]
    one: Inner | None
    shares: tuple[float, ...] = ()


def test_a_dataclass_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    inner = Inner({"a": 1}, (0.0, 1.5))
    for value in (Outer("x", (inner, inner), inner, (0.25, 1.0)), Outer("y", (), None)):
        write_json(tmp_path / "value.json", value)
        assert read_json(tmp_path / "value.json", Outer) == value


def test_json_that_holds_something_else_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    with pytest.raises(RunError, match=r"value\.json: missing; run the task again"):
        read_json(path, Outer)
    for text in ("{", "[]", '{"name": "x"}', '{"name": "x", "inners": [3], "one": null}'):
        path.write_text(text)
        with pytest.raises(RunError, match=r"value\.json: not a Outer as JSON .*; remove"):
            read_json(path, Outer)
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"accuracy": float("nan")})


class Recipe:
    def __init__(self, text: str = "seed = 0\n") -> None:
        self.text = text

    def to_toml(self) -> str:
        return self.text


def test_a_directory_belongs_to_one_recipe(tmp_path: Path) -> None:
    run = tmp_path / "run"
    claim(run, Recipe())
    claim(run, Recipe())
    with pytest.raises(RunError, match=r"run: holds a run of another recipe; remove it, or give"):
        claim(run, Recipe("seed = 1\n"))


def test_an_unfinished_run_goes_on_with_its_own_recordings_only(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(run, "train", "abc")
    begin(run, "train", "abc")
    for task, data_hash, what in (
        ("train", "abd", "other recordings"),
        ("noise", "abc", "another kind of task"),
    ):
        with pytest.raises(RunError, match=f"run: begun with {what}; remove it, or give --out"):
            begin(run, task, data_hash)
    finish(run, Inner({}, (0.0, 1.0)))
    assert [path.name for path in run.iterdir()] == ["evaluation.json"]


def test_a_run_is_finished_by_its_last_file_and_only_as_the_run_asked_for(tmp_path: Path) -> None:
    context = RunContext(tmp_path / "run", tmp_path / "cache", command="made up", grid="g")
    record = DataRecord(clips=3, hash="abc", corpus="fsdd")
    claim(context.directory, Recipe())
    write_environment(
        context,
        "train",
        record,
        labels=["0", "1"],
        device="cpu",
        parameters=5,
        conditions=["clean"],
    )
    assert not is_finished(context.directory, "train", Recipe(), "abc")
    finish(context.directory, record)
    assert is_finished(context.directory, "train", Recipe(), "abc")
    environment = json.loads((context.directory / "environment.json").read_text())
    assert environment["data"] == {"clips": 3, "hash": "abc", "corpus": "fsdd"}
    assert (environment["grid"], environment["task"]) == ("g", "train")
    for task, recipe, data_hash, other in (
        ("noise", Recipe(), "abc", "another kind of task"),
        ("train", Recipe("seed = 1\n"), "abc", "another recipe"),
        ("train", Recipe(), "abd", "other recordings"),
    ):
        with pytest.raises(RunError, match=f"run: finished with {other}; remove it, or give"):
            is_finished(context.directory, task, recipe, data_hash)
    (context.directory / "environment.json").write_text("{")
    with pytest.raises(RunError, match=r"environment\.json: missing or damaged in a finished run"):
        is_finished(context.directory, "train", Recipe(), "abc")
