"""Whole or not at all."""

from pathlib import Path

import pytest

from spoken_digits.lab.runs import OutputError, expect_free, whole_file, write_whole


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
