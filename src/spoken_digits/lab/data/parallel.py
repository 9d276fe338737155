"""Work on many files in several processes: results in order, memory bounded."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import TypeVar

from spoken_digits.lab.data.corpora import CorpusError

__all__ = ["map_in_order"]

T = TypeVar("T")
R = TypeVar("R")

_CHUNK = 32  # items given to a worker at once
_AHEAD = 4  # chunks a worker, of which results may wait for those before them


def map_in_order(
    function: Callable[[T], R], items: Sequence[T], workers: int | None = None
) -> Iterator[R]:
    """Yield `function` of each item, in their order, computed by several workers.

    On Linux the workers are processes: a clip is a hundred short calls of numpy between which
    Python's lock is held, so that two threads are hardly faster than one. Elsewhere, where a
    process cannot be forked safely, they are threads. Items and results must be picklable.

    Parameters
    ----------
    function
        What to do with an item; the first error that it raises, by the order of items, is raised.
    items
        Few items are worked on here.
    workers
        How many; by default as many as cores.

    Raises
    ------
    CorpusError
        When a worker was killed.
    """
    workers = min(workers or os.cpu_count() or 1, -(-len(items) // _CHUNK))
    if workers <= 1 or multiprocessing.current_process().daemon:  # such may start no processes
        yield from map(function, items)
        return
    pool = _pool(workers)
    pending: deque[Future[list[R]]] = deque()
    try:
        for start in range(0, len(items), _CHUNK):
            pending.append(pool.submit(_apply, function, items[start : start + _CHUNK]))
            if len(pending) > _AHEAD * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenExecutor:
        raise CorpusError(
            "a worker process was killed, perhaps for want of memory; call again: what is finished "
            "is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


def _pool(workers: int) -> Executor:
    if sys.platform != "linux":
        return ThreadPoolExecutor(workers)
    context = multiprocessing.get_context("fork")  # spawned ones would run a caller's script again
    return ProcessPoolExecutor(workers, context, _begin_worker)


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end with it, even where it is killed."""
    gc.freeze()  # or each worker would make pages of its own of all that the parent holds
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
