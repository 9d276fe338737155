"""The suite itself: what its plugins promise is kept by the releases that are installed."""

import subprocess
import sys
from pathlib import Path

GROUP = """
import os, time, pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_group(number):
    time.sleep(0.05)
    with open({workers!r}, "a") as file:
        print(os.environ["PYTEST_XDIST_WORKER"], file=file)
"""


def test_a_group_of_tests_stays_on_one_worker(tmp_path: Path) -> None:
    # Slow fixtures, browsers and ports are shared within groups; pytest 9.2 ignores them silently.
    workers = tmp_path / "workers"
    (tmp_path / "test_group.py").write_text(GROUP.format(workers=str(workers)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2"]
    subprocess.run(
        [*command, "--dist=loadgroup", "test_group.py"], cwd=tmp_path, check=True, timeout=60
    )
    assert len(workers.read_text().split()) == 8
    assert len(set(workers.read_text().split())) == 1
