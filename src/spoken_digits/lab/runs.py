"""Files written whole or not at all, and the provenance of results: versions and commit."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import spoken_digits

__all__ = [
    "OutputError",
    "commit",
    "expect_free",
    "versions",
    "whole_file",
    "write_json",
    "write_whole",
]


class OutputError(ValueError):
    """A place to write to that is taken; the message names it and the remedy."""


def expect_free(folder: Path) -> None:
    """Raise an `OutputError` unless a folder is missing or empty; it is not made here."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists, expected a new or empty folder; name another one")


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside `path` to write under; renamed at the end, removed on failure.

    The file's folder is made if it is missing. An `OSError` names `path` itself.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path | str, content: bytes) -> None:
    """Write a file's bytes under a temporary name, then rename it; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path | str, value: Mapping[str, Any]) -> None:
    """Write an object as JSON, indented, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def versions() -> dict[str, str]:
    """Say what computes here: the commit of the source tree, the libraries, the machine."""
    return {
        "commit": commit(),
        "version": spoken_digits.__version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def commit() -> str:
    """Return the commit of the source tree, with -dirty behind it if it was changed, or unknown."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
