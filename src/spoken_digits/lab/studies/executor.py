"""Workers: many runs at once, in processes here or on the machines of a dask scheduler.

Both go through dask.distributed, by the same code. A run is keyed by its resolved recipe and writes
all its files to its own directory, so a worker may die at any moment: the scheduler gives its run
to another one, which resumes from the last epoch.
"""

import hashlib
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spoken_digits.lab.studies.grid import Job

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["StudyError", "compute_on_one_thread", "run_all", "say"]

CONNECT_S = 8.0
RETRIES = 2
INSTALL = "pip install 'spoken-digits[train,report,study]'"


class StudyError(RuntimeError):
    """Some runs of a study failed, or there are no workers; finished runs are kept."""


def run_all(
    run: Callable[[Job], str],
    jobs: Sequence[Job],
    costs: Sequence[float],
    workers: int,
    cluster: str | None = None,
) -> None:
    """Do every job; progress and the time left go to standard error.

    Parameters
    ----------
    run
        What to do with a job; returns a line on the result.
    jobs, costs
        The jobs, in the order in which they are begun, and about how long each takes.
    workers
        Processes of one thread each; one needs no dask.
    cluster
        Address of a scheduler whose workers do them instead.

    Raises
    ------
    StudyError
        When jobs failed, every other one being done, or the scheduler cannot be reached.
    """
    tell = _Progress(jobs, costs)
    workers = min(workers, len(jobs))
    if cluster is not None and not _has_dask():
        raise StudyError(f"distributed is not installed, which --cluster needs: {INSTALL}")
    if cluster is None and workers > 1 and not _has_dask():
        say(f"distributed is not installed: one run after another; for more at once, {INSTALL}")
        workers = 1
    if cluster is None and workers == 1:
        failed = _in_turn(run, jobs, tell)
    else:
        with _client(workers, cluster) as client:
            failed = _at_once(client, run, jobs, tell)
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(jobs)} runs failed ({', '.join(failed)}), see above; the "
            "others are kept, and calling the study again tries only what is missing"
        )


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def _in_turn(run: Callable[[Job], str], jobs: Sequence[Job], tell: "_Progress") -> list[str]:
    failed = []
    for job in jobs:
        try:
            line = run(job)
        except Exception as error:
            failed.append(job.name)
            line = f"{job.name}: failed: {error}"
        tell(job, line)
    return failed


def compute_on_one_thread() -> None:
    """Have torch compute on one thread; to be called where a process starts.

    Two torch threads on a busy core are many times slower than one.
    """
    import torch

    torch.set_num_threads(1)


def _on_one_thread(run: Callable[[Job], str], job: Job) -> str:
    """Do a job on one thread.

    Said with every job: a plugin of the workers would fail the study with a worker that is killed
    while it starts.
    """
    compute_on_one_thread()
    return run(job)


def _at_once(
    client: "Client", run: Callable[[Job], str], jobs: Sequence[Job], tell: "_Progress"
) -> list[str]:
    from distributed import KilledWorker, as_completed
    from distributed.client import FutureCancelledError

    keys = {_key(job): job for job in jobs}
    futures = [
        client.submit(
            _on_one_thread, run, job, key=key, retries=RETRIES, pure=False, priority=-rank
        )
        for rank, (key, job) in enumerate(keys.items())
    ]
    failed = []
    for future in as_completed(futures):
        job = keys[future.key]
        try:
            line = future.result()
        except KilledWorker:
            failed.append(job.name)
            line = (
                f"{job.name}: failed: every worker that was given it was killed, perhaps for want "
                "of memory; try again with fewer --workers"
            )
        except FutureCancelledError:
            failed.append(job.name)
            line = (
                f"{job.name}: failed: the connection to the scheduler is lost; start it again, "
                "with its workers"
            )
        except Exception as error:
            failed.append(job.name)
            line = f"{job.name}: failed: {error}"
        tell(job, line)
    return failed


@contextmanager
def _client(workers: int, cluster: str | None) -> Iterator["Client"]:
    """Connect to a scheduler, or start one with its workers; at an error nothing is waited for."""
    import dask
    from distributed import Client, LocalCluster

    before = set(multiprocessing.active_children())
    if cluster is None:
        # dask has its workers return freed memory to the system at once; networks, which allocate
        # as much again with every batch, then train two to three times slower.
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            ) as local,
            Client(local) as client,
        ):
            try:
                yield client
            except BaseException:
                # Runs are killed, not waited for: they resume from their last epoch.
                for process in set(multiprocessing.active_children()) - before:
                    process.kill()
                raise
        return
    remedy = (
        "start one with `dask scheduler` and `dask worker ADDRESS --nthreads 1`, and give the "
        "address that it prints, as in --cluster tcp://10.0.0.1:8786"
    )
    # It would report a lost connection as a traceback; here the runs that fail are named.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = Client(cluster, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"no scheduler answers at {cluster} ({reason}); {remedy}") from None
    with client:
        if not client.scheduler_info()["workers"]:
            say(f"{cluster} has no workers yet; waiting for `dask worker {cluster} --nthreads 1`")
        try:
            yield client
        except BaseException:
            # A run that a worker has begun ends with its worker; no other one is begun.
            client.cancel(list(client.futures), force=True)
            raise


def _key(job: Job) -> str:
    recipe = f"{job.directory}\n{job.task}\n{job.corpus}\n{job.config.to_toml()}"
    return f"{job.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"


def _has_dask() -> bool:
    try:
        import distributed  # noqa: F401
    except ImportError:
        return False
    return True


class _Progress:
    """Prints what is done and left, and estimates the time left from what the others took."""

    def __init__(self, jobs: Sequence[Job], costs: Sequence[float]) -> None:
        self.costs = {job.name: cost for job, cost in zip(jobs, costs, strict=True)}
        self.total, self.left, self.began = len(jobs), sum(costs), time.monotonic()
        self.all = self.left

    def __call__(self, job: Job, line: str) -> None:
        self.left -= self.costs.pop(job.name)
        done = self.total - len(self.costs)
        taken = time.monotonic() - self.began
        more = ""
        if self.costs:
            minutes = taken * self.left / max(self.all - self.left, 1e-9) / 60
            more = f"; {len(self.costs)} left, about {max(1, round(minutes))} min"
        say(f"[{done}/{self.total}] {line}{more}")
