"""Fuzzing: ``python -m tests.fuzz --count N --seed S``.

Valid files of every kind, mutated, through `recognize`, `transcribe`, `corpus check` and the page's
reader of WAV, and with `--browser` through the page in Chromium; tables of them through `corpus
check` and `evaluate`; recipes. Asked for: only answers and the package's own errors, no crash, no
more than 2 s of processor time a file and a hundredth of its length, no file left behind, nothing
on standard error, memory bounded. A file is made from the seed, its index and the kinds that are
installed, and exists only while it is read. Needs a Unix; node for the page, the extra `train` for
tables and recipes.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN = 1_000  # files that one child takes
BATCH = 25  # of these, that a command takes at once


@dataclass
class Report:
    """What came of a range of files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)
    processor_s: float = 0.0


def fuzz(indices: range, seed: int = 0, kinds: str = "*", *, browser: bool = False) -> Report:
    """Take the files of these indices, in as many children as it needs."""
    report, start = Report(), indices.start
    while start < indices.stop:
        start = _run_child(range(start, indices.stop), seed, kinds, report, browser)
    return report


def _run_child(indices: range, seed: int, kinds: str, report: Report, browser: bool) -> int:
    """Run one child; return the index from which to go on."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        paths = os.pathsep.join(
            [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        ).rstrip(os.pathsep)
        command = [sys.executable, "-m", "tests.fuzz.child", f"--seed={seed}", f"--kinds={kinds}"]
        command += ["--browser"] * browser
        child = subprocess.Popen(
            [*command, f"--start={indices.start}", f"--stop={indices.stop}", f"--batch={BATCH}"],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": folder, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert child.stdout is not None
        at, stage = indices.start, "start"
        for line in child.stdout:
            row: dict[str, Any] = json.loads(line)
            if "found" in row:
                report.findings.append((row["at"], row["found"]))
            else:
                at, stage = row["at"], row["stage"]
            report.outcomes.update(row.get("outcomes", {}))
            report.processor_s += row.get("processor_s", 0)
        status = child.wait()
        if status == 0:
            return indices.stop
        errors.seek(0)
        said = errors.read()[-2_000:].decode(errors="replace")
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    how = {"SIGPROF": "too long", "SIGALRM": "waits for something"}.get(how, how)
    report.findings.append((at, f"{stage}: the process ended: {how}: {said}"))
    if stage == "start":
        raise RuntimeError(f"the child does not start: {said}")
    return at + (1 if stage == "file" else BATCH)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _record(file: Path, command: str, count: int, seconds: float, report: Report) -> None:
    """Add a run to those in a file."""
    import soundfile

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    versions = {name: _version(name) for name in ("soundfile", "numpy", "onnxruntime", "av")}
    versions |= {
        "python": platform.python_version(),
        "libsndfile": soundfile.__libsndfile_version__,
    }
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    runs.append(
        {
            "command": command,
            "commit": commit,
            "versions": {name: version for name, version in versions.items() if version},
            "mutations": count,
            "findings": len(report.findings),
            "processor_s": round(report.processor_s),
            "wall_s": round(seconds),
            "outcomes": dict(sorted(report.outcomes.items())),
        }
    )
    total = sum(run["mutations"] for run in runs if not run["findings"])
    file.write_text(json.dumps({"clean_mutations": total, "runs": runs}, indent=1) + "\n")


def main() -> int:
    """Run the command; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="files (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--start", type=int, default=0, help="first index (%(default)s)")
    parser.add_argument("--only", metavar="INDEX", type=int, help="this one alone, as it was found")
    parser.add_argument("--kinds", default="*", help="those whose name matches, such as 'MP3*'")
    text = "also read them in the page in Chromium, those of WAV aside"
    parser.add_argument("--browser", action="store_true", help=text)
    parser.add_argument("--jobs", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--record", metavar="JSON", type=Path, help="add the run to this file")
    arguments = parser.parse_args()
    start, stop = arguments.start, arguments.start + arguments.count
    if arguments.only is not None:
        start, stop = arguments.only, arguments.only + 1
    if not shutil.which("node"):
        print("node is not installed: without the page's reader", file=sys.stderr)
    begun, report = time.monotonic(), Report()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        pieces = [range(first, min(stop, first + RUN)) for first in range(start, stop, RUN)]
        run = partial(fuzz, seed=arguments.seed, kinds=arguments.kinds, browser=arguments.browser)
        for indices, part in zip(pieces, pool.map(run, pieces), strict=True):
            report.outcomes += part.outcomes
            report.findings += part.findings
            report.processor_s += part.processor_s
            for index, found in part.findings:
                print(f"{found}\n    again: --seed {arguments.seed} --only {index}", flush=True)
            milliseconds = 1_000 * report.processor_s / (indices.stop - start)
            print(
                f"{indices.stop - start:,} of {stop - start:,}: {len(report.findings)} findings, "
                f"{milliseconds:.1f} ms of processor time each; next: --start {indices.stop}",
                file=sys.stderr,
                flush=True,
            )
    seconds = time.monotonic() - begun
    if arguments.record:
        command = shlex.join(["python", "-m", "tests.fuzz", *sys.argv[1:]])
        _record(arguments.record, command, stop - start, seconds, report)
    print(json.dumps(dict(sorted(report.outcomes.items())), indent=1))
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
