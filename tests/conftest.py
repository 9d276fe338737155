"""Fixtures shared by the tests of both wings."""

import os
from pathlib import Path

import pytest

# Hundreds of processes are started: where Python is told to keep no compiled modules, each of them
# would compile those of the package again, 0.1 s to recognize and 0.5 s to train.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real corpora that SPOKEN_DIGITS_DATA names; a test that needs it is skipped."""
    folder = Path(os.environ.get("SPOKEN_DIGITS_DATA", ""))
    if not (folder / "fsdd" / "recordings").is_dir():
        pytest.skip("needs recordings: let SPOKEN_DIGITS_DATA name a folder that holds fsdd/")
    return folder
