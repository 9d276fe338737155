"""Processes of a trial: forked with the libraries loaded, killed at a moment, and what is left.

A trial's process leads a session of its own, to which all that it starts belongs: so they are found
in /proc, whoever their parent is by then.
"""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.02
TICKS = os.sysconf("SC_CLK_TCK")
# What a program asks of the file system before it changes a name or a file; `os.open` as well.
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


class Child:
    """A forked process that calls `run` in a folder, its output going to a file.

    `die_at` is the number of the change to the file system before which it kills itself, `limit`
    the most bytes that a file may have; a child that ends by itself leaves the number of its
    changes in `changes`.
    """

    def __init__(
        self,
        run: Callable[[], int],
        folder: Path,
        output: Path,
        *,
        die_at: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.output, self._counted = output, output.with_suffix(".changes")
        self._counted.unlink(missing_ok=True)
        self.status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._be_child(run, folder, die_at, limit)

    def _be_child(
        self, run: Callable[[], int], folder: Path, die_at: int | None, limit: int | None
    ) -> None:
        status = 70
        try:
            os.setsid()
            os.chdir(folder)
            descriptor = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            if limit is not None:
                import resource

                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            changes = _count_changes(folder, die_at)
            status = run()
            self._counted.write_text(str(changes[0]))
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    @property
    def changes(self) -> int:
        return int(self._counted.read_text())

    @property
    def has_ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; return whether it has."""
        return wait_for(lambda: self.has_ended, seconds)

    def members(self) -> list[int]:
        """Return the processes of its session, itself among them while it lives."""
        return [pid for pid in session(self.pid) if pid != self.pid or not self.has_ended]

    def cpu_s(self) -> float:
        """Return the processor time of it and its descendants; those that have ended have none."""
        return sum(processor_s(pid) for pid in (self.pid, *descendants(self.pid)))

    def kill_all(self) -> None:
        for pid in self.members():
            kill(pid)
        self.wait(30)


def _count_changes(folder: Path, die_at: int | None) -> list[int]:
    """Count this process' changes of files below a folder from now on, or die at one of them."""
    count, here, inside = [0], str(folder), False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal inside
        if inside or not (event in _CHANGES or (event == "open" and _writes(arguments))):
            return
        inside = True
        try:
            path = os.path.abspath(os.fsdecode(arguments[0]))  # type: ignore[arg-type]  # noqa: PTH100
        except (TypeError, ValueError):  # a descriptor
            path = here
        finally:
            inside = False
        if path.startswith(here):
            if count[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(hook)
    return count


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def wait_for(is_true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true; return whether it is."""
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def session(leader: int) -> list[int]:
    """Return the processes of a session that run, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        fields = _stat(int(folder.name)) if folder.name.isdigit() else []
        if fields and fields[0] != "Z" and int(fields[3]) == leader:
            found.append(int(folder.name))
    return found


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs: cheaper than to look at all processes."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def processor_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name; the first is the state."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
