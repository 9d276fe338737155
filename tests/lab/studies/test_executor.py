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

SECTIONS = {
    "study": {},
    "models": {"temporal-cnn": {"epochs": 40}},
    "grids": {"results": {"seed": [0, 1], "augmentation": "none"}},
}


def jobs_in(folder: Path, data: Path) -> list[Job]:
    clips = read_corpus("fsdd", data)
    return plan(Study("tiny", "", SECTIONS), "fsdd", clips, data=data, study_dir=folder)


def wait_for(what, patience_s: float = 180.0) -> None:
    deadline = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def begun(jobs: list[Job]) -> list[Job]:
    """Return the jobs that have finished an epoch."""
    return [job for job in jobs if (job.directory / "checkpoint.safetensors").exists()]


def test_workers_keep_their_memory() -> None:
    # With dask's own setting training takes two to three times as long.
    with workers._client(1, None) as client:
        assert client.submit(os.environ.get, "MALLOC_TRIM_THRESHOLD_").result() is None
        assert client.submit(os.environ.get, "OMP_NUM_THREADS").result() == "1"


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


def fail_once(job: Job) -> str:
    """Kill the process, or raise, at the first call of a job; note every call."""
    calls = job.directory / "calls"
    calls.mkdir(parents=True, exist_ok=True)
    number = len(list(calls.iterdir()))
    (calls / f"{number}-{os.getpid()}").touch()
    if number == 0 and job.config.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 0:
        raise OSError("a file system that is away for a moment")
    return job.name


def test_a_run_whose_worker_dies_or_fails_once_is_given_to_another(
    made_up_fsdd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed, failed = jobs = jobs_in(tmp_path, made_up_fsdd)
    run_all(fail_once, jobs, [1.0, 1.0], 2)
    first, second = sorted((killed.directory / "calls").iterdir())
    assert first.name.split("-")[1] != second.name.split("-")[1]  # another process
    assert len(list((failed.directory / "calls").iterdir())) == 2
    assert "failed" not in capsys.readouterr().err


@pytest.fixture
def scheduler(tmp_path: Path):
    """Start a scheduler and two workers; give a client, and each worker's process by address."""
    from distributed import Client

    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--host", "127.0.0.1"]
    common += ["--dashboard-address", "127.0.0.1:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", *words, *common],
            env=environment,
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    processes = [start("distributed.cli.dask_scheduler", "--port", "0")]
    one = ["distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "60"]
    processes += [start(*one), start(*one)]
    try:
        wait_for(file.exists)
        with Client(json.loads(file.read_text())["address"]) as client:
            client.wait_for_workers(2, timeout=180)
            yield client, client.run(os.getpid)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_worker_that_is_killed_in_the_middle_changes_no_byte(
    scheduler, made_up_fsdd: Path, tmp_path: Path
) -> None:
    client, pids = scheduler
    jobs = jobs_in(tmp_path / "there", made_up_fsdd)
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
    plain = jobs_in(tmp_path / "here", made_up_fsdd)
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
    victim = min(pids.values())
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
