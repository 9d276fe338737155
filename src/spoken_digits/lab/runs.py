"""The run directory: what every kind of task leaves, whole or not at all, and where it came from.

Whatever is trained, a run directory holds the same files:

=====================  =============================================================================
``config.toml``        the configuration, resolved: `claim`, before anything is computed
``begun.json``         the kind of task and the hash of its recordings, until the run is finished
``log.jsonl``          a line for each epoch
``checkpoint``         ``.safetensors``, while training: a run that was killed goes on from it
``model.safetensors``  the weights
``environment.json``   an `Environment`: command, commit, versions, device, data
``predictions.npz``    what the network answered on the test clips, a file for each condition
``evaluation.json``    the `RunEvaluation`, written last: with it the run is finished
=====================  =============================================================================

A kind of task that exports adds its ONNX file. Needs no torch.
"""

import dataclasses
import errno
import functools
import glob
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

import spoken_digits

__all__ = [
    "Config",
    "CorpusCounts",
    "DataRecord",
    "OutputError",
    "RunContext",
    "RunError",
    "begin",
    "claim",
    "commit",
    "expect_free",
    "expect_writable",
    "finish",
    "is_finished",
    "read_environment",
    "read_json",
    "versions",
    "whole_file",
    "whole_folder",
    "write_environment",
    "write_json",
    "write_whole",
]

T = TypeVar("T")


class OutputError(ValueError):
    """An output that cannot be written, or is in use; the message names it and the remedy."""


class RunError(ValueError):
    """A run directory with another run, or without a finished one; the message names the remedy."""


class Config(Protocol):
    """A configuration: anything that can be written as TOML, every key resolved."""

    def to_toml(self) -> str:
        """Return every key as TOML."""


@dataclass(frozen=True)
class CorpusCounts:
    """Clips of one corpus in a training set: digits, out-of-vocabulary words, and speakers."""

    digits: int
    other_words: int
    speakers: int


@dataclass(frozen=True)
class DataRecord:
    """The recordings of a run, for `environment.json` and the metadata of an exported file.

    Attributes
    ----------
    clips, hash, licence
        How many recordings, one SHA-256 of all of them (`data_hash`), and their licences.
    corpus
        Its name, where all of them come from one corpus.
    corpora
        Counts by corpus, where they come from several.
    train_speakers, test_speakers
        Their names, where they are few enough to be named.
    accuracy_held_out_speakers
        Of custom words: the accuracy of cross-validation over speakers, 0 to 1.
    """

    clips: int
    hash: str
    licence: str = ""
    corpus: str = ""
    corpora: dict[str, CorpusCounts] = field(default_factory=dict)
    split: str = ""
    train_speakers: tuple[str, ...] = ()
    test_speakers: tuple[str, ...] = ()
    tts_voices: tuple[str, ...] = ()
    phrases: int = 0
    accuracy_held_out_speakers: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set as plain values, for JSON."""
        plain = dataclasses.asdict(self)
        kept = ("clips", "hash")
        return {
            k: v
            for k, v in plain.items()
            if k in kept or (v is not None and v not in ("", 0, {}, ()))
        }


@dataclass(frozen=True)
class RunContext:
    """What a task is given beside its configuration.

    Attributes
    ----------
    directory
        Of the run; made when the first file is written.
    cache
        Folder shared by runs: prepared clips, synthetic speech.
    data
        Folder of corpora; None for SPOKEN_DIGITS_DATA or the cache of ``corpus fetch``.
    corpus
        Name or path of the corpus, for tasks that work on a single one.
    command
        The command that was called, for the records.
    grid, family
        Of a run of a study: the grid that it belongs to, and the family of splits that its split is
        one fold of, or nothing.
    quiet
        No progress on standard error.
    started
        `time.perf_counter` when the task began.
    """

    directory: Path
    cache: Path
    data: Path | None = None
    corpus: str = ""
    command: str = ""
    grid: str = "results"
    family: str = ""
    quiet: bool = True
    started: float = field(default_factory=time.perf_counter, compare=False)


def claim(directory: Path, config: Config) -> None:
    """Write `config.toml`, or make sure that the directory belongs to the same configuration.

    Raises
    ------
    RunError
        When it holds a run of another configuration.
    """
    path = directory / "config.toml"
    if not path.exists():
        write_whole(path, config.to_toml().encode())
    elif path.read_text(encoding="utf-8") != config.to_toml():
        raise RunError(
            f"{directory}: holds a run of another recipe; remove it, or give --out another folder"
        )


def begin(directory: Path, task: str, data_hash: str) -> None:
    """Write `begun.json`, or make sure that an unfinished run is of this task and recordings.

    What is trained of other recordings may have seen those that this run is tested on.

    Raises
    ------
    RunError
        When the directory holds an unfinished run of another task, or of other recordings.
    """
    path = directory / "begun.json"
    wanted = {"task": task, "data_hash": data_hash}
    begun = json.loads(path.read_text(encoding="utf-8")) if path.exists() else wanted
    for what, key in (("another kind of task", "task"), ("other recordings", "data_hash")):
        if begun[key] != wanted[key]:
            raise RunError(
                f"{directory}: begun with {what}; remove it, or give --out another folder"
            )
    if not path.exists():
        write_json(path, wanted)


def is_finished(directory: Path, task: str, config: Config, data_hash: str) -> bool:
    """Return whether the run is complete; raise where it is not the run that is asked for.

    Files that only an unfinished run needs are removed from a complete one.

    Parameters
    ----------
    directory
        Of the run.
    task
        Its kind.
    config
        Its configuration.
    data_hash
        SHA-256 of its recordings; behind a +, of those that join for training, or pre-training.

    Raises
    ------
    RunError
        When it is finished, but by another task, recipe or with other recordings.
    """
    if not (directory / "evaluation.json").exists():
        return False
    environment = read_environment(directory)
    data, *joined = (environment.get(name, {}) for name in ("data", "extra", "unlabelled"))
    hashes = [data.get("hash"), *(part["hash"] for part in joined if part.get("clips"))]
    found = {
        "recipe": (directory / "config.toml").read_text(encoding="utf-8"),
        "kind of task": environment.get("task"),
        "recordings": "+".join(hashes) if len(hashes) > 1 else hashes[0],
    }
    wanted = {"recipe": config.to_toml(), "kind of task": task, "recordings": data_hash}
    for what, value in wanted.items():
        if found[what] != value:
            other = "other" if what == "recordings" else "another"
            raise RunError(
                f"{directory}: finished with {other} {what}; remove it, or give --out another "
                "folder"
            )
    _remove_working_files(directory)
    return True


def write_environment(
    context: RunContext,
    task: str,
    data: DataRecord,
    *,
    labels: typing.Sequence[str],
    device: str,
    parameters: int,
    conditions: typing.Sequence[str] = (),
    extra: DataRecord | None = None,
    unlabelled: DataRecord | None = None,
) -> None:
    """Write `environment.json`: what was computed, from what, by what, where and for how long.

    Parameters
    ----------
    context
        Of the run.
    task
        Its kind.
    data, extra, unlabelled
        Its recordings, those that joined for training, and those that joined for pre-training.
    labels
        Names of the network's classes, in their order.
    device
        That torch computed on, such as ``cpu``.
    parameters
        Number of the network's weights.
    conditions
        Names of the conditions that it was tested under, the main one first.
    """
    write_json(
        context.directory / "environment.json",
        {
            "command": context.command,
            **versions(),
            "device": device,
            "parameters": parameters,
            "seconds": round(time.perf_counter() - context.started, 1),
            "labels": list(labels),
            "task": task,
            "grid": context.grid,
            "family": context.family,
            "conditions": list(conditions),
            "data": data.to_dict(),
            **({"extra": extra.to_dict()} if extra else {}),
            **({"unlabelled": unlabelled.to_dict()} if unlabelled else {}),
        },
    )


def finish(directory: Path, evaluation: Any) -> None:
    """Write `evaluation.json` of a dataclass: the last file, which makes the run complete."""
    write_json(directory / "evaluation.json", evaluation)
    _remove_working_files(directory)


def _remove_working_files(directory: Path) -> None:
    """Remove what only an unfinished run needs; a kill may have kept an earlier call from it.

    `environment.json` says from now on what `begun.json` said.
    """
    for name in ("begun.json", "checkpoint.safetensors"):
        (directory / name).unlink(missing_ok=True)
    _remove_abandoned(directory, "*")  # of a worker that did the same run


def expect_free(folder: Path) -> None:
    """Raise an `OutputError` unless a folder is missing or empty; it is not made here."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists, expected a new or empty folder; name another one")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give the name of a temporary folder to make; it becomes `folder` at the end, or goes.

    It lies alone in a hidden folder beside `folder`, which may hold other work and goes as well.
    """
    with _hidden(folder, Path.mkdir) as scratch:
        part = scratch / folder.name
        yield part
        part.replace(folder)


def expect_writable(file: Path | str) -> None:
    """Raise an `OutputError` unless a file can be written; its folder is made if it is missing.

    For what takes long to make.
    """
    file = Path(file)
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"{file}: {error.strerror or error}; expected a file that can be written: name another"
        ) from None


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside `path` to write under; renamed at the end, removed on failure.

    The file's folder is made if it is missing. An `OSError` names `path` itself.
    """
    path = Path(path)
    with _hidden(path, Path.touch) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def _hidden(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Make a hidden file or folder beside `path`, named after it and this process; it goes.

    A process that is killed leaves it: the next one that writes `path` removes what is not locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent, glob.escape(path.name))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _remove(temporary)  # of an earlier process of that number, where there are no locks
    lock = None
    try:
        make(temporary)
        lock = _lock(temporary)
        yield temporary
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        _remove(temporary)
        if lock is not None:
            os.close(lock)


def _remove_abandoned(folder: Path, name: str) -> None:
    """Remove what killed processes left of files and folders whose names match a pattern."""
    for other in folder.glob(f".{name}.*"):
        if other.name.rpartition(".")[2].isdigit() and (lock := _lock(other)) is not None:
            _remove(other)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Lock a file or folder until the descriptor is closed or the process ends.

    None where another process has it, or where there are no such locks (Windows, some networks).
    """
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path | str, content: bytes) -> None:
    """Write a file's bytes under a temporary name, then rename it; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path | str, value: Any) -> None:
    """Write a mapping or a dataclass as JSON, indented, whole or not at all.

    Raises
    ------
    ValueError
        When a number in it is infinite or NaN, which JSON has not.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    write_whole(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path | str, kind: type[T]) -> T:
    """Read what `write_json` wrote of a dataclass of that type.

    Raises
    ------
    RunError
        When the file is missing, or does not hold such a dataclass.
    """
    path = Path(path)
    try:
        result: T = _rebuild(kind, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(f"{path}: missing; run the task again") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{path}: not a {kind.__name__} as JSON ({error}); remove its folder and run the task "
            "again"
        ) from None
    return result


_type_hints = functools.cache(typing.get_type_hints)  # evaluates annotations each time it is called


def _rebuild(kind: Any, value: Any) -> Any:
    """Rebuild a value of an annotated type from what JSON made of it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _type_hints(kind)
        return kind(**{name: _rebuild(hints[name], inner) for name, inner in value.items()})
    if origin in (typing.Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not types.NoneType)
        return None if value is None else _rebuild(inner, value)
    if origin is tuple and arguments[1:] == (...,):
        return tuple(_rebuild(arguments[0], inner) for inner in value)
    if origin is tuple:
        return tuple(_rebuild(k, inner) for k, inner in zip(arguments, value, strict=True))
    if origin is dict:
        return {key: _rebuild(arguments[1], inner) for key, inner in value.items()}
    return value


def read_environment(directory: Path) -> dict[str, Any]:
    """Read what `write_environment` wrote.

    Raises
    ------
    RunError
        When it is missing or damaged.
    """
    path = directory / "environment.json"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        plain = None
    if not isinstance(plain, dict):
        raise RunError(
            f"{path}: missing or damaged in a finished run; remove its folder and run the task "
            "again"
        )
    return plain


def versions() -> dict[str, str]:
    """Return what computes here: the commit of the source tree, the libraries, the machine."""
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
