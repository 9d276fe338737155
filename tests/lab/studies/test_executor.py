"""Runs in processes and on a real scheduler with real workers, all on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.studies import executor as workers
from spoken_digits.lab.studies.executor import StudyError, run_all
from spoken_digits.lab.studies.grid import Job, plan
from spoken_digits.lab.studies.run import run_job
from spoken_digits.lab.studies.study import Study

pytest.importorskip("distributed")
pytestmark = pytest.mark.xdist_group("workers")


def jobs_in(folder: Path, data: Path, seeds: int = 2) -> list[Job]:
    sections = {
        "study": {},
        "models": {"temporal-cnn": {"epochs": 40}},
        "grids": {"results": {"seed": list(range(seeds)), "augmentation": "none"}},
    }
    clips = read_corpus("fsdd", data)
    return plan(Study("tiny", "", sections), "fsdd", clips, data=data, study_dir=folder)


def wait_for(what, patience_s: float = 180.0) -> None:
    deadline = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def begun(jobs: list[Job]) -> list[Job]:
    """Return the jobs that have finished an epoch."""
    return [job for job in jobs if (job.directory / "checkpoint.safetensors").exists()]


def threads_of(job: Job) -> str:
    return f"{job.name}: threads {torch.get_num_threads()}"


def test_workers_compute_on_one_thread_whatever_was_set_before(
    made_up_fsdd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from distributed import Client

    @contextmanager
    def here(*_: object) -> Iterator[Client]:
        with Client(n_workers=1, processes=False, dashboard_address=None) as client:
            client.run(torch.set_num_threads, 2)
            yield client

    monkeypatch.setattr(workers, "_client", here)
    run_all(threads_of, jobs_in(tmp_path, made_up_fsdd), [1.0, 1.0], 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("; ")[0][-9:] for line in lines] == ["threads 1"] * 2


SET = ("MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS")


def kill_or_fail(job: Job) -> str:
    """Note every call; kill the process at the first of seed 0, raise at that of 1, always at 2."""
    calls = job.directory / "calls"
    calls.mkdir(parents=True, exist_ok=True)
    number = len(list(calls.iterdir()))
    settings = {name: os.environ.get(name) for name in SET}
    (calls / f"{number}-{os.getpid()}").write_text(json.dumps(settings))
    if job.config.seed == 2:
        raise OSError("a disk that is full")
    if number == 0 and job.config.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 0:
        raise OSError("a file system that is away for a moment")
    return job.name


def test_a_run_whose_worker_dies_or_that_fails_is_tried_again_and_named_when_that_does_not_help(
    made_up_fsdd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_in(tmp_path, made_up_fsdd, seeds=3)
    with pytest.raises(StudyError, match=f"1 of 3 runs failed .{jobs[2].name}."):
        run_all(kill_or_fail, jobs, [1.0] * 3, 2)
    killed, failed, failing = (sorted((job.directory / "calls").iterdir()) for job in jobs)
    first, second = killed
    assert first.name.split("-")[1] != second.name.split("-")[1]  # another process
    assert (len(failed), len(failing)) == (2, 1 + workers.RETRIES)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "failed" in line)
    assert f"{jobs[2].name}: failed: a disk that is full" in line
    # With dask's own setting training takes two to three times as long; also in a worker that is
    # started again.
    for call in (*killed, *failed):
        assert json.loads(call.read_text()) == {SET[0]: None, SET[1]: "1"}


class Processes:
    """A scheduler and its workers; what a test has killed is started again for the next one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.all: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        common = ["--scheduler-file", str(self.file), "--host", "127.0.0.1"]
        common += ["--dashboard-address", "127.0.0.1:0"]
        process = subprocess.Popen(
            [sys.executable, "-m", *words, *common],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.all.append(process)
        return process

    def address(self) -> str:
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.file.unlink(missing_ok=True)
            self.scheduler = self.start("distributed.cli.dask_scheduler", "--port", "0")
        wait_for(self.file.exists)
        return json.loads(self.file.read_text())["address"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("scheduler"))
    yield started
    for process in started.all:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(processes: Processes):
    """A client of a scheduler with two workers, and their processes by address, the newest last."""
    from distributed import Client

    worker = ["distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny"]
    with Client(processes.address()) as client:
        for _ in range(2 - len(client.scheduler_info()["workers"])):
            processes.start(*worker, "--death-timeout", "60")
        client.wait_for_workers(2, timeout=180)
        age = {process.pid: number for number, process in enumerate(processes.all)}
        pids = client.run(os.getpid)
        yield client, dict(sorted(pids.items(), key=lambda item: age[item[1]]))


def test_a_worker_that_is_killed_in_the_middle_changes_no_byte(
    scheduler, made_up_fsdd: Path, tmp_path: Path
) -> None:
    client, pids = scheduler
    jobs = jobs_in(tmp_path / "there", made_up_fsdd, seeds=1)
    failures: list[BaseException] = []

    def go() -> None:
        try:
            run_all(run_job, jobs, [1.0] * len(jobs), 1, client.scheduler.address)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    wait_for(lambda: begun(jobs))
    (victim, *_) = begun(jobs)
    (owner,) = [a for a, keys in client.processing().items() if victim.name in " ".join(keys)]
    os.kill(pids[owner], signal.SIGKILL)
    assert not (victim.directory / "evaluation.json").exists()
    plain = jobs_in(tmp_path / "here", made_up_fsdd, seeds=1)
    run_all(run_job, plain, [1.0] * len(plain), 1)
    thread.join(180)
    assert not thread.is_alive()
    assert failures == []
    for there, here in zip(jobs, plain, strict=True):
        for name in ("config.toml", "model.safetensors", "predictions.npz", "evaluation.json"):
            assert (there.directory / name).read_bytes() == (here.directory / name).read_bytes()


def test_a_worker_that_is_killed_before_it_has_answered_anything_fails_no_run(
    scheduler, made_up_fsdd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, pids = scheduler
    *_, victim = pids.values()
    os.kill(victim, signal.SIGSTOP)
    killer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    killer.start()
    jobs = jobs_in(tmp_path, made_up_fsdd)
    run_all(lambda job: job.name, jobs, [1.0] * len(jobs), 1, client.scheduler.address)
    killer.join()
    assert "failed" not in capsys.readouterr().err


def test_a_scheduler_that_is_killed_fails_the_runs_with_the_remedy(
    scheduler, made_up_fsdd: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client, _ = scheduler
    jobs = jobs_in(tmp_path, made_up_fsdd)
    victim = client.run_on_scheduler(os.getpid)
    killer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with pytest.raises(StudyError, match="2 of 2 runs failed"):
        run_all(lambda job: time.sleep(60), jobs, [1.0] * 2, 1, client.scheduler.address)
    killer.join()
    shown = capfd.readouterr().err
    assert shown.count("failed: the connection to the scheduler is lost; start it again") == 2
    assert "Traceback" not in shown


def test_a_scheduler_that_does_not_answer_is_named_with_the_remedy(
    made_up_fsdd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CONNECT_S", 0.5)
    jobs = jobs_in(tmp_path, made_up_fsdd)
    for address in ("tcp://127.0.0.1:9", "nonsense://here"):
        with pytest.raises(StudyError, match=rf"no scheduler answers at {address}.*dask scheduler"):
            run_all(run_job, jobs, [1.0, 1.0], 1, address)


def test_without_dask_runs_go_one_after_another(
    made_up_fsdd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = []
    run_all(lambda job: done.append(job) or job.name, jobs_in(tmp_path, made_up_fsdd), [1, 3], 2)
    assert [job.config.seed for job in done] == [0, 1]
    lines = capsys.readouterr().err.splitlines()
    assert "pip install 'spoken-digits[train,report,study]'" in lines[0]
    assert lines[1].startswith("[1/2] temporal-cnn-ours-xsdr-s0; 1 left, about 1 min")
    assert lines[2] == "[2/2] temporal-cnn-ours-xsdr-s1"
    with pytest.raises(StudyError, match="which --cluster needs: pip install"):
        run_all(run_job, done, [1, 1], 2, "tcp://127.0.0.1:9")
