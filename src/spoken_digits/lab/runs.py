"""Files that are written whole or not at all, into folders that are free."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spoken_digits.lab.data.corpora import CorpusError

__all__ = ["expect_free", "whole_file", "write_json", "write_whole"]


def expect_free(folder: Path) -> None:
    """Raise a `CorpusError` unless a folder is missing or empty; it is not made here."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder}: exists, expected a new or empty folder; name another one")


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
