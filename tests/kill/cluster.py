"""A dask scheduler and two workers, each a process that may be killed and started again."""

import json
from pathlib import Path

from tests.kill.processes import Child, kill, wait_for

WORKERS = 2
START_S = 60.0


class Cluster:
    """Processes as `dask scheduler` and `dask worker ADDRESS --nthreads 1` start them, forked."""

    def __init__(self, inputs: Path, logs: Path) -> None:
        self.file, self.logs = inputs / "scheduler.json", logs
        self.scheduler: Child | None = None
        self.workers: list[Child] = []
        self.old: list[Child] = []

    def complete(self) -> None:
        """Start what does not run; after a scheduler's death also workers, as the old ones end."""
        if self.scheduler is None or self.scheduler.has_ended:
            self.old += self.workers
            self.workers = []
            self.file.unlink(missing_ok=True)
            self.scheduler = self._start("scheduler", self._schedule)
            if not wait_for(lambda: self.file.exists() and self.file.stat().st_size > 0, START_S):
                raise RuntimeError(f"no scheduler: {self.scheduler.output.read_text()}")
        self.workers = [worker for worker in self.workers if not worker.has_ended]
        while len(self.workers) < WORKERS:
            self.workers.append(self._start("worker", self._work))

    def kill_worker(self, index: int) -> None:
        kill(self.workers[index].pid)

    def kill_scheduler(self) -> None:
        if self.scheduler:
            kill(self.scheduler.pid)

    def stop(self) -> None:
        for child in [*self.old, *self.workers, self.scheduler]:
            if child:
                child.kill_all()
        self.old, self.workers, self.scheduler = [], [], None

    def cpu_s(self) -> float:
        return sum(child.cpu_s() for child in (*self.workers, self.scheduler) if child)

    def _start(self, name: str, run: object) -> Child:
        number = len(list(self.logs.glob(f"{name}-*.out")))
        return Child(run, self.logs, self.logs / f"{name}-{number}.out")  # type: ignore[arg-type]

    def _schedule(self) -> int:
        from distributed.cli.dask_scheduler import main

        where = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        return main([*where, "--scheduler-file", str(self.file)], standalone_mode=False) or 0

    def _work(self) -> int:
        from distributed.cli.dask_worker import main

        address = json.loads(self.file.read_text())["address"]
        how = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        return (
            main([address, *how, "--local-directory", str(self.logs)], standalone_mode=False) or 0
        )
