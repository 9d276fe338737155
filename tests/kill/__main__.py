"""Kill anything, anywhere: ``python -m tests.kill --count N --seed S``.

What is run (a study in one process, in two workers, over a dask scheduler; a download, synthesis,
prepared clips, an export, a network of strings) is killed with SIGKILL, or finds its disk full, at
moments that are spread over the whole of it, and is started again until it is finished. Asked for:
the bytes of an uninterrupted run, nothing finished made again, nothing else left in its folder, no
process left over, no traceback. Needs Linux; where a tmpfs cannot be mounted, files are limited in
size instead.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.kill.cluster import Cluster
from tests.kill.processes import Child, command_of, kill, wait_for
from tests.kill.ways import MAY_DIFFER, WAYS, Way, empty, finished, tree

from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_whole

ROOT = Path(__file__).parents[2]
RESULTS, PAGE, MARKER = ROOT / "results" / "kill.json", ROOT / "CONTRIBUTING.md", "kill"
ATTEMPT_S = 300.0  # after which an attempt is said to hang; the machine may be busy
LEFT_S = 30.0  # within which children of a killed process are to end
MAX_ATTEMPTS = 5


@dataclass
class Report:
    """What came of the trials of one way."""

    way: str
    count: int = 0
    survived: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    restarts: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.killed.items()))
        text = f"{self.way}: {self.survived} of {self.count} survived ({kinds}), "
        return f"{text}{self.repeated} finished runs repeated, {self.seconds:.0f} s"


class Bench:
    """The folders of one way: inputs, the working folder, logs; and what is to come out."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name, self.way = name, WAYS[name]
        self.inputs, self.folder, self.logs = (scratch / x for x in ("inputs", "work", "logs"))
        for folder in (self.inputs, self.folder, self.logs):
            folder.mkdir()
        self.cluster = Cluster(self.inputs, self.logs) if name == "dask" else None
        # What is made must not leave threads here: processes are forked of this one.
        maker = Child(partial(_make, self.way, self.inputs), scratch, scratch / "make.out")
        if not maker.wait(ATTEMPT_S) or maker.status:
            raise RuntimeError(f"{name}: inputs: {maker.output.read_text()}")

    def start(self, **how: Any) -> Child:
        if self.cluster:
            self.cluster.complete()
        run = partial(self.way.run, self.inputs)
        return Child(run, self.folder, self.logs / "run.out", **how)

    def measure(self) -> None:
        """Run without interruption: what comes out, and how long it takes."""
        before = self.cluster.cpu_s() if self.cluster else 0.0
        child = self.start()
        used: list[float] = []

        def is_over() -> bool:
            used.append(child.cpu_s())
            return child.has_ended

        begun = time.monotonic()
        wait_for(is_over, ATTEMPT_S)
        if child.status != 0:
            raise RuntimeError(f"{self.name}, uninterrupted: {child.output.read_text()}")
        self.seconds, self.cpu_s = time.monotonic() - begun, max(used) - before
        self.changes = child.changes
        self.expected = tree(self.folder)
        self.bytes = sum(map(len, self.expected.values()))
        self.largest = max(map(len, self.expected.values()))
        empty(self.folder)


def _make(way: Way, inputs: Path) -> int:
    way.make(inputs)
    return 0


def try_way(
    name: str,
    count: int,
    seed: int,
    start: int = 0,
    keep: Callable[[Report], object] = lambda report: None,
) -> Report:
    """Do the trials `start` to `start + count` of one way; `keep` is given what came so far."""
    report = Report(name)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(name, Path(scratch))
        with bench.way.around(bench.inputs):
            try:
                bench.measure()
                for index in range(start, start + count):
                    rng = random.Random(f"{name} {seed} {index}")
                    fault = bench.way.faults[index % len(bench.way.faults)]
                    # Over as many trials as there are, moments are spread evenly.
                    where = (_scattered(index) + rng.random() / 16) % 1.0
                    problem = _try(bench, fault, where, rng, report)
                    report.count += 1
                    report.survived += problem is None
                    text = f"{fault} at {where:.3f}: {problem or 'survived'}"
                    print(f"{name} {index}: {text}", file=sys.stderr, flush=True)
                    if problem:
                        report.failures.append((index, text))
                    empty(bench.folder)
                    report.seconds = time.monotonic() - begun
                    keep(report)
            finally:
                if bench.cluster:
                    bench.cluster.stop()
    return report


def _scattered(index: int) -> float:
    """Return the van der Corput sequence: the fractions of 1 evenly, whatever their number."""
    return sum((index >> bit & 1) / 2 ** (bit + 1) for bit in range(16))


def _try(bench: Bench, fault: str, where: float, rng: random.Random, report: Report) -> str | None:
    """Interrupt one run, and start it again until it is finished; return what is wrong."""
    done: dict[str, tuple[int, int]] = {}
    with contextlib.ExitStack() as stack:
        for attempt in range(MAX_ATTEMPTS):
            report.restarts += attempt > 0
            if attempt == 0:
                child, problem = _interrupt(bench, fault, where, rng, report, stack)
            else:
                child, problem = bench.start(), None
                child.wait(ATTEMPT_S)
            if not child.has_ended:
                child.kill_all()
                return f"hangs: {_last(child)}"
            if problem:
                return problem
            if not wait_for(lambda child=child: not child.members(), LEFT_S):
                left = [command_of(pid) for pid in child.members()]
                child.kill_all()
                return f"processes left over: {left}"
            if "Traceback" in child.output.read_text():
                return f"a traceback: {_last(child)}"
            # What was finished when it was interrupted is as it was.
            now = finished(bench.way, bench.folder)
            changed = [name for name, stamp in done.items() if now.get(name) != stamp]
            if changed:
                report.repeated += 1
                return f"made again: {changed}"
            done = now
            if child.status == 0:
                return _end_of_cluster(bench, done) or _difference(bench)
        return f"not finished after {MAX_ATTEMPTS} attempts: {_last(child)}"


def _end_of_cluster(bench: Bench, done: dict[str, tuple[int, int]]) -> str | None:
    """Kill what may still compute a run that another worker has finished; look once more."""
    if not bench.cluster:
        return None
    bench.cluster.stop()
    child = Child(partial(WAYS["process"].run, bench.inputs), bench.folder, bench.logs / "end.out")
    child.wait(ATTEMPT_S)
    if child.status != 0:
        return f"not found to be finished: {_last(child)}"
    now = finished(bench.way, bench.folder)
    missing = sorted(done.keys() - now.keys())
    return f"gone: {missing}" if missing else None


def _difference(bench: Bench) -> str | None:
    found = tree(bench.folder)
    more, less = sorted(set(found) - set(bench.expected)), sorted(set(bench.expected) - set(found))
    other = sorted(name for name in set(found) & set(bench.expected)
                   if found[name] != bench.expected[name])  # fmt: skip
    named = {"left over": more, "missing": less, "other bytes": other}
    return "; ".join(f"{what}: {names}" for what, names in named.items() if names) or None


def _interrupt(
    bench: Bench, fault: str, where: float, rng: random.Random, report: Report,
    stack: contextlib.ExitStack,
) -> tuple[Child, str | None]:  # fmt: skip
    """Start a run and interrupt it; return it, ended, and what is wrong."""
    if fault == "full":
        return _fill(bench, where, report)
    if fault == "change":
        child = bench.start(die_at=int(where * bench.changes))
        child.wait(ATTEMPT_S)
        report.killed["change" if child.status == -9 else "none"] += 1
        return child, None
    child = bench.start()
    if bench.name == "fetch":  # most of which is waiting
        wait_for(lambda: child.has_ended, where * bench.seconds)
        runs = not child.has_ended
    else:
        used = bench.cluster.cpu_s if bench.cluster else lambda: 0.0
        runs = _wait_for_moment(child, used, where * bench.cpu_s)
    if not runs:
        report.killed["none"] += 1
    elif fault == "moment":
        kill(child.pid)
        report.killed["process"] += 1
    elif fault == "scheduler" and bench.cluster:
        bench.cluster.kill_scheduler()
        report.killed["scheduler"] += 1
    elif bench.cluster:
        bench.cluster.kill_worker(rng.randrange(len(bench.cluster.workers)))
        report.killed["worker"] += 1
    else:
        workers = [pid for pid in child.members() if "--multiprocessing-fork" in command_of(pid)]
        kill(rng.choice(workers or [child.pid]))
        report.killed["worker" if workers else "process"] += 1
    child.wait(ATTEMPT_S)
    return child, None


def _wait_for_moment(child: Child, others: Callable[[], float], cpu_s: float) -> bool:
    before, highest = others(), 0.0

    def is_reached() -> bool:
        nonlocal highest
        highest = max(highest, child.cpu_s() + others() - before)
        return child.has_ended or highest >= cpu_s

    wait_for(is_reached, ATTEMPT_S)
    return not child.has_ended


def _fill(bench: Bench, where: float, report: Report) -> tuple[Child, str | None]:
    """Run where there is too little space: on a small tmpfs, or with files of a limited size."""
    mounted = _mount(bench.folder, max(4096, int(where * bench.bytes)))
    try:
        child = bench.start(limit=None if mounted else int(where * bench.largest))
        child.wait(ATTEMPT_S)
        report.killed["full" if child.status else "none"] += 1
        if child.status and child.status < 0:
            return child, f"a full disk ends it by signal {-child.status}"
        left = [name for name in tree(bench.folder) if name not in bench.expected]
        left = [name for name in left if re.search(r"/\..+\.\d+(/|$)", f"/{name}")]
        return child, f"half-written after a full disk: {left}" if left else None
    finally:
        if mounted:  # its files go on in the folder itself
            copy = bench.folder.with_name("copy")
            shutil.copytree(bench.folder, copy)
            # Workers whose parent has ended go on for a moment, in this folder.
            if not wait_for(lambda: _unmount(bench.folder), LEFT_S):
                raise RuntimeError(f"{bench.folder}: still in use {LEFT_S:g} s after the study")
            shutil.copytree(copy, bench.folder, dirs_exist_ok=True)
            shutil.rmtree(copy)


def _mount(folder: Path, size: int) -> bool:
    if os.geteuid():
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _unmount(folder: Path) -> bool:
    command = ["umount", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _last(child: Child) -> str:
    return f"status {child.status}, ...{child.output.read_text()[-1500:]}"


# --- Results


def with_table(page: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Put the last results between their markers of a page."""
    lines = ["| what | survived | interrupted by | finished runs repeated | commit |"]
    lines += ["| --- | ---: | --- | ---: | --- |"]
    for way, row in rows.items():
        killed = row["killed"]
        kinds = ", ".join(
            f"{text} {killed[kind]}" for kind, text in KINDS.items() if kind in killed
        )
        cells = (
            f"{WAY_TEXTS[way]}: `{row['command']}`",
            f"{row['survived']} of {row['count']}",
            kinds,
            str(row["repeated"]),
            row["commit"][:7],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return replace_between(page, MARKER, "\n".join(lines), PAGE.name)


KINDS = {
    "process": "SIGKILL of the process",
    "worker": "of a worker",
    "scheduler": "of the scheduler",
    "change": "before a change of a file",
    "full": "a full disk",
    "none": "nothing",
}
WAY_TEXTS = {
    "process": "a study in one process",
    "workers": "a study in two workers",
    "dask": "a study over a dask scheduler and two workers",
    "fetch": "`corpus fetch`",
    "make": "`corpus make`, voices and strings",
    "prepare": "prepared clips",
    "export": "`export`",
    "strings": "`strings train`",
}


def record(report: Report, seed: int, measured: str) -> None:
    rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    rows[report.way] = {
        "command": f"python -m tests.kill --count {report.count} --seed {seed} --way {report.way}",
        "count": report.count,
        "survived": report.survived,
        "killed": {kind: report.killed[kind] for kind in KINDS if kind in report.killed},
        "repeated": report.repeated,
        "restarts": report.restarts,
        "seconds": round(report.seconds, 1),
        "seed": seed,
        "may_differ": MAY_DIFFER,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": measured,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("distributed", "torch", "spoken-digits")},
        },
    }
    rows = {way: rows[way] for way in WAYS if way in rows}
    write_whole(RESULTS, f"{json.dumps(rows, indent=2)}\n".encode())
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), rows).encode())


def _load(ways: Iterable[str]) -> None:
    """Import what the ways need, once: a trial is forked with it."""
    import spoken_digits.lab.export
    import spoken_digits.lab.studies.run  # noqa: F401
    from spoken_digits.lab.studies.executor import compute_on_one_thread

    if {"dask", "workers"} & set(ways):
        import distributed.cli.dask_scheduler
        import distributed.cli.dask_worker  # noqa: F401
    compute_on_one_thread()


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Keep what programs leave in a temporary folder, or in a user's cache, together.

    They find no repository: while a study is tried, somebody may commit.
    """
    before = {key: os.environ.get(key) for key in ("TMPDIR", "SPOKEN_DIGITS_CACHE", "GIT_DIR")}
    with tempfile.TemporaryDirectory() as scratch:
        own = {"SPOKEN_DIGITS_CACHE": f"{scratch}/cache", "GIT_DIR": f"{scratch}/none"}
        os.environ |= {"TMPDIR": scratch, **own}
        os.environ.pop("SPOKEN_DIGITS_DATA", None)
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        tempfile.tempdir = None
        try:
            yield
        finally:
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})
            tempfile.tempdir = None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--count", type=int, required=True, help="trials of each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=WAYS, action="append", help="default: all of them")
    parser.add_argument("--start", type=int, default=0, help="index of the first trial")
    parser.add_argument(
        "--record", action="store_true", help="write results/kill.json, trial by trial"
    )
    arguments = parser.parse_args()
    _load(arguments.way or WAYS)
    reports, measured = [], commit()
    with _environment():
        for way in arguments.way or WAYS:
            keep = partial(record, seed=arguments.seed, measured=measured)
            wanted = (way, arguments.count, arguments.seed, arguments.start)
            reports.append(try_way(*wanted, keep) if arguments.record else try_way(*wanted))
            print(reports[-1].line(), flush=True)
    failed = [f"{r.way} {index}: {text}" for r in reports for index, text in r.failures]
    total, survived = sum(r.count for r in reports), sum(r.survived for r in reports)
    first = f"; the first that did not, --seed {arguments.seed}: {failed[0]}" if failed else ""
    print(f"{survived} of {total} trials survived{first}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
