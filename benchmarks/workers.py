"""A study in two workers against one process, and against two plain processes: the same runs.

    python -m benchmarks.workers

Trains the same networks in three ways, in turns: one after another in one process; in two workers
of `study --workers 2`, which dask gives them to; and in two processes without dask, half of the
runs each. Time is that of the whole command, starting included, without the report. All three must
leave the same networks, byte for byte. To be run on two idle cores: eight runs of a minute and a
half of processor time each take 80 minutes, with --runs 6 --epochs 7 they take 20. Rows go to
results/workers.json, the table to docs/benchmarks.md.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.__main__ import processor
from benchmarks.scale import REPOSITORY, say, verdict
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole

RESULTS = REPOSITORY / "results" / "workers.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
MARKER = "workers"
WAYS = {
    "one": "one process",
    "workers": "`study --workers 2`",
    "plain": "two processes, half of the runs each",
}
MIN_OF_ONE, MIN_OF_PLAIN = 1.8, 0.95  # bars: runs an hour, against one process and two plain ones
STUDY = """[study]
question = "How long does it take?"
[models.cnn-single]
epochs = {epochs}
[grids.results]
split = "xsdr"
seed = {seeds}
"""


def begin(folder: Path, seeds: list[int], epochs: int, workers: int) -> "subprocess.Popen[bytes]":
    """Start a study of these seeds in a process of its own."""
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY.format(epochs=epochs, seeds=seeds))
    code = (
        "import sys\n"
        "from spoken_digits.lab.studies.executor import compute_on_one_thread\n"
        "from spoken_digits.lab.studies.run import run_study\n"
        "if __name__ == '__main__':\n"
        "    compute_on_one_thread()\n"
        "    run_study(sys.argv[1], None, sys.argv[2], workers=int(sys.argv[3]))\n"
    )
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return subprocess.Popen(
        [sys.executable, "-c", code, folder / "study.toml", folder / "runs", str(workers)],
        cwd=REPOSITORY,
        env=os.environ | threads | {"PYTHONPATH": str(REPOSITORY / "src")},
        stderr=subprocess.DEVNULL,
    )


def run_way(way: str, folder: Path, runs: int, epochs: int) -> float:
    """Do all runs in one of the ways; return its seconds."""
    seeds = list(range(runs))
    started = time.perf_counter()
    if way == "plain":
        halves = {"first": seeds[::2], "second": seeds[1::2]}
        children = [begin(folder / name, half, epochs, 1) for name, half in halves.items()]
    else:
        children = [begin(folder / "all", seeds, epochs, 2 if way == "workers" else 1)]
    statuses = [child.wait() for child in children]
    if any(statuses):
        raise SystemExit(f"{way}: failed; call the study by hand to see why")
    return time.perf_counter() - started


def networks(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each network below a folder, by the name of its run."""
    return {
        file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("model.safetensors")
    }


def measure(runs: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Do the runs in all ways, in turns, and compare what they leave."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, str] = {}
    for number in range(rounds):
        for way in list(WAYS)[number % 3 :] + list(WAYS)[: number % 3]:
            with tempfile.TemporaryDirectory(prefix="workers-") as made:
                folder = Path(made)
                seconds[way].append(round(run_way(way, folder, runs, epochs), 2))
                say(f"round {number + 1}: {way}: {seconds[way][-1]} s")
                left = networks(folder)
            found = found or left
            if left != found or len(left) != runs:
                raise SystemExit(f"{way}: {len(left)} networks, expected the same {runs}")
    return {
        "runs": runs,
        "epochs": epochs,
        "seconds": seconds,
        "commit": commit()[:7],
        "processor": processor(),
        "cores": os.cpu_count(),
    }


def ratio(results: dict[str, Any], way: str) -> float:
    """Return how many times the runs an hour of another way two workers do, median of rounds."""
    seconds = results["seconds"]
    return median(a / b for a, b in zip(seconds[way], seconds["workers"], strict=True))


def table(results: dict[str, Any]) -> str:
    """Return the seconds of each way, and the bars."""
    lines = [f"| way | seconds for {results['runs']} runs, each round | median |", "|---|---|---:|"]
    for way, words in WAYS.items():
        taken = results["seconds"][way]
        lines.append(f"| {words} | {', '.join(f'{s:.1f}' for s in taken)} | {median(taken):.1f} |")
    bars = {"one": ("one process", MIN_OF_ONE), "plain": ("two plain processes", MIN_OF_PLAIN)}
    said = [
        f"- Runs an hour of two workers: {ratio(results, way):.2f} times those of {words}, to be "
        f"at least {bar}: {verdict(ratio(results, way) >= bar)}."
        for way, (words, bar) in bars.items()
    ]
    place = f"Commit {results['commit']}; {results['processor']}, {results['cores']} cores."
    return "\n".join([*lines, "", *said, "", place])


def main() -> int:
    """Measure, and write results and page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, number in (("runs", 8), ("epochs", 15), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=number, metavar="N", help="%(default)s")
    parser.add_argument("--smoke", action="store_true", help="two short runs; nothing is recorded")
    arguments = parser.parse_args()
    if arguments.smoke:
        print(table(measure(2, 1, 1)))
        return 0
    results = measure(arguments.runs, arguments.epochs, arguments.rounds)
    write_json(RESULTS, results)
    page = replace_between(PAGE.read_text("utf-8"), MARKER, table(results), PAGE.name)
    write_whole(PAGE, page.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
