"""Files shared among processes: every answer once, in order, whatever becomes of the others."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_model import write_toy_model

from spoken_digits.cli import main, processes
from spoken_digits.cli.processes import count_processes, share

FILES = [f"{i}" for i in range(processes._FIRST_CHUNK + 7 * processes._CHUNK + 5)]


def name_process(files: Sequence[str]) -> list[tuple[str, int]]:
    return [(file, os.getpid()) for file in files]


def fail_elsewhere(files: Sequence[str], here: int) -> list[str]:
    if os.getpid() != here:
        os._exit(1)  # as a process that the system ends
    return list(files)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_come_in_the_order_of_files_from_all_processes(count):
    answers = list(share(name_process, FILES, count))
    assert [file for file, _ in answers] == FILES
    assert len({process for _, process in answers}) == count
    assert answers[0][1] == os.getpid()  # the first answer waits for no process to start


@pytest.mark.parametrize("length", [0, 1, processes._FIRST_CHUNK, processes._FIRST_CHUNK + 1])
def test_few_files_are_shared_as_well(length):
    assert [file for file, _ in share(name_process, FILES[:length], 2)] == FILES[:length]


def test_what_a_process_that_ends_early_leaves_is_done_here():
    assert list(share(partial(fail_elsewhere, here=os.getpid()), FILES, 3)) == FILES


CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")


def children() -> set[str]:
    """Return the ids of this process's children."""
    return set(CHILDREN.read_text().split())


@pytest.mark.skipif(not CHILDREN.exists(), reason="needs Linux, which lists children")
def test_no_process_is_left_when_it_is_left_early():
    answers = share(name_process, FILES, 2)
    next(answers)
    before = children()
    answers.close()
    assert len(before - children()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    code = (
        "import os, sys\n"
        "from test_processes import FILES, name_process\n"
        "from spoken_digits.cli.processes import share\n"
        "if __name__ == '__main__':\n"
        "    answers = share(name_process, FILES * 9, 2)\n"
        "    found = {process for _, process in (next(answers) for _ in range(400))}\n"
        "    other = found - {os.getpid()}\n"
        "    print(*other, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    paths = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    other = Path("/proc", done.stdout.strip())
    deadline = time.monotonic() + 20
    while other.exists() and "Z" not in (other / "stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_devices_are_read_in_this_process(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    many = ["a.wav"] * 10_000
    assert count_processes(many) == processes._MAX_PROCESSES
    assert count_processes(many[: 2 * processes._MIN_FILES]) == 2
    assert count_processes(many[: 2 * processes._MIN_FILES - 1]) == 1
    assert count_processes([]) == 1
    for device in ("-", "/dev/stdin", "/proc/self/fd/0", "/dev/fd/63"):
        assert count_processes([*many, device]) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert count_processes(many) == 1


def test_recognize_prints_the_same_from_two_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = str(write_toy_model(tmp_path / "toy.onnx"))
    sound = 0.1 * np.random.default_rng(0).standard_normal(2_000) * np.hanning(2_000)
    soundfile.write("a.wav", sound, 8_000)
    soundfile.write("two.wav", np.stack([sound, 0.5 * sound[::-1]], 1), 8_000)  # a warning
    files = [["a.wav", "two.wav", "missing.wav"][i % 7 % 3] for i in range(400)]
    for style in ([], ["--json"]):
        printed = []
        for count in (1, 2):
            monkeypatch.setattr(
                "spoken_digits.cli.recognizing.count_processes", lambda _, count=count: count
            )
            assert main(["recognize", "--model", model, *style, *files]) == 1
            printed.append(capsys.readouterr())
        assert printed[0] == printed[1]
        assert len(printed[0].out.splitlines()) == sum(
            1 for file in files if style or file != "missing.wav"
        )
    rows = [json.loads(line) for line in printed[0].out.splitlines()]
    assert [row["file"] for row in rows] == files
