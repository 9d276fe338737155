"""A small form of `python -m tests.kill`, and that it finds what it is to find."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("processes are found in /proc", allow_module_level=True)

from tests.kill.__main__ import PAGE, RESULTS, WAYS, with_table

ROOT = Path(__file__).parents[1]


def run(*command: str) -> str:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_the_results_that_were_committed():
    text, rows = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    assert with_table(text, rows) == text, "run python -m tests.kill ... --record"
    assert list(rows) == list(WAYS)
    for row in rows.values():
        assert row["survived"] == row["count"] == sum(row["killed"].values())
        assert not row["repeated"]


def test_a_study_and_a_download_survive():
    shown = run("-m", "tests.kill", "--count", "3", "--way", "process", "--way", "fetch")
    assert "process: 3 of 3 survived" in shown
    assert "fetch: 3 of 3 survived" in shown
    assert shown.splitlines()[-1] == "6 of 6 trials survived"


CARELESS = """
import json, subprocess, sys, time
from pathlib import Path
from tests.kill import __main__ as kill
from tests.kill.ways import Way

def write_whole(name, text):
    Path(name + ".part").write_text(text)
    Path(name + ".part").rename(name)

def careful(_):
    if not Path("a").exists():
        write_whole("a", "first")
    write_whole("b", "second")
    return 0

def halves(_):  # a file that is there is taken for whole
    if not Path("a").exists():
        with open("a", "w") as file:
            file.write("fir")
            file.flush()
            Path("b").touch()
            file.write("st")
    Path("b").touch()
    return 0

def litters(_):
    Path("scratch-%d" % time.monotonic_ns()).mkdir()
    write_whole("a", "first")
    for path in Path().glob("scratch-*"):
        if len(list(Path().glob("scratch-*"))) == 1:
            path.rmdir()
    return 0

def repeats(_):
    write_whole("a", "first")
    write_whole("b", "second")
    return 0

def starts(_):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
    write_whole("a", "first")
    write_whole("b", "second")
    return 0

kill.LEFT_S = 2.0
found = {}
for run in (careful, halves, litters, repeats, starts):
    way = Way(lambda _: None, run, ("change",), ("a",))
    kill.WAYS = {"careless": way}
    try:
        report = kill.try_way("careless", 4, 0)
        found[run.__name__] = [text.partition(": ")[2] for _, text in report.failures]
    except RuntimeError as error:
        found[run.__name__] = [str(error)]
print(json.dumps(found))
"""


def test_what_is_careless_is_found():
    found = json.loads(run("-c", CARELESS))
    assert found["careful"] == []
    assert any(text.startswith("other bytes: ['a']") for text in found["halves"])
    assert any(text.startswith("left over: ['scratch-") for text in found["litters"])
    assert any(text == "made again: ['a']" for text in found["repeats"])
    assert all("processes left over" in text for text in found["starts"])
    assert found["starts"]
