"""Work on many files, shared among processes: threads would wait for the interpreter's lock."""

import os
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["count_processes", "share"]

Answer = TypeVar("Answer")
Work = Callable[[Sequence[str]], Iterable[Answer]]

_CHUNK = 128  # files that a process works on before another one is due
_FIRST_CHUNK = 256  # as many as are recognized while another process starts
_MIN_FILES = 500  # for each process
_MAX_PROCESSES = 4  # of 90 MB each


def count_processes(files: Sequence[str]) -> int:
    """Return how many processes these files are worth, this one counted.

    What a device is named for, standard input above all, no other process has.
    """
    if any(file.startswith(("-", "/dev/", "/proc/")) for file in files):
        return 1
    is_known = hasattr(os, "sched_getaffinity")  # not on all systems
    processors = len(os.sched_getaffinity(0)) if is_known else os.cpu_count() or 1
    return max(1, min(len(files) // _MIN_FILES, processors, _MAX_PROCESSES))


def share(
    work: "Work[Answer]", files: Sequence[str], processes: int
) -> Generator[Answer, None, None]:
    """Yield what `work` gives for each file, in their order.

    Every n-th chunk of files is worked on here, the others in n - 1 processes that are started for
    it. What these have found waits in a pipe, which holds no more of it than two chunks or so.

    Parameters
    ----------
    work
        Gives an answer for each of the files; both it and the answers can be pickled.
    files
    processes : int
        How many, this one counted.
    """
    starts = [0, *range(_FIRST_CHUNK, len(files), _CHUNK)]
    chunks = [files[start:stop] for start, stop in zip_longest(starts, starts[1:])]
    import multiprocessing  # late: a few files need none

    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        receivers: list[Connection | None] = [None]
        for k in range(1, processes):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(
                target=_send, args=(work, chunks[k::processes], sender), daemon=True
            )
            process.start()
            sender.close()  # here: so the pipe ends with the other process
            stack.callback(process.join)
            stack.callback(process.terminate)
            receivers.append(receiver)
        for i, chunk in enumerate(chunks):
            yield from _receive(receivers[i % processes]) or work(chunk)


def _receive(receiver: "Connection | None") -> list[Answer]:
    """Return what another process found for a chunk: nothing where there is none, or none left."""
    try:
        return receiver.recv() if receiver else []
    except (EOFError, OSError):  # it was ended, for want of memory perhaps
        return []


def _send(work: "Work[Answer]", chunks: Sequence[Sequence[str]], sender: "Connection") -> None:
    """Work on chunks of files, and send what is found; end when nobody waits for it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one is told, too
    for chunk in chunks:
        answers = list(work(chunk))
        try:
            sender.send(answers)
        except BrokenPipeError:
            return
