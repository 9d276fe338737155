"""Run the measures, each in a process of its own, and write results/benchmarks.json and its table.

A ratio compares two ways to do the same work in the same process, in turns, so that whatever else
the machine does meets both. Seconds and milliseconds without a peer mean an idle machine.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.measures import AGAINST, MEASURES, read_results
from spoken_digits.lab.runs import write_whole

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "results" / "benchmarks.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
BENCH, PEERS = "bench", "peers"  # the markers of the page
PACKAGES = (
    *("numpy", "torch", "onnxruntime", "librosa", "audiomentations", "pocketsphinx"),
    *("scikit-learn", "scipy", "faster-whisper", "ctranslate2"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        choices=MEASURES,
        action="append",
        metavar="NAME",
        help=f"one of {', '.join(MEASURES)}; may be given again",
    )
    text = "tiny sizes, to see that it runs; writes nothing"
    parser.add_argument("--smoke", action="store_true", help=text)
    text = "instead of what each measure is allowed; writes nothing"
    parser.add_argument("--threads", type=int, metavar="N", help=text)
    text = "a checkout of another commit, for the measures training and many-files"
    parser.add_argument("--against", type=Path, metavar="PATH", help=text)
    text = "of the measure peers: the first N recordings of each kind, in an order that is always "
    text += "the same; writes nothing"
    parser.add_argument("--limit", type=positive, metavar="N", help=text)
    text = "of the measure peers: a folder of models that were not trained on the speakers: "
    text += "fsdd-lucas, fsdd-yweweler and an4-0 to an4-4, each .onnx; without it, what ships"
    parser.add_argument("--models", type=Path, metavar="PATH", help=text)
    arguments = parser.parse_args()
    if arguments.against:
        os.environ[AGAINST] = str(arguments.against.resolve())
    if arguments.limit:
        os.environ[peers.LIMIT] = str(arguments.limit)
    if arguments.models:
        os.environ[peers.MODELS] = str(arguments.models.resolve())
    busy = os.getloadavg()[0]
    if busy > 0.3 * (os.cpu_count() or 1):
        print(f"This machine is busy (load {busy:.1f}): expect noise.", file=sys.stderr)

    measured, failed = {}, []
    for name in arguments.only or MEASURES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found = measure(name, arguments.smoke, arguments.threads)
        except subprocess.CalledProcessError:  # it has said why on standard error
            failed.append(name)
            continue
        if found["rows"]:
            measured[name] = {"environment": environment(name)} | found
    print(table(measured))
    if "peers" in measured:
        print(f"\n{peers_text(measured)}")
    if measured and not (arguments.smoke or arguments.threads or arguments.limit):
        publish(measured)
        written = " and ".join(str(path.relative_to(REPOSITORY)) for path in (RESULTS, PAGE))
        print(f"written: {written}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def measure(name: str, smoke: bool, threads: int | None = None) -> dict[str, Any]:
    """Run one measure in a fresh process with the threads that it is allowed.

    Return its `rows` and, where it compares several systems, its `systems`.
    """
    limit = str(threads or MEASURES[name].threads)
    limits = {f"{library}_NUM_THREADS": limit for library in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measures", name, *(["--smoke"] if smoke else [])],
        cwd=REPOSITORY,
        env=os.environ | limits,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {key: items for key, items in found.items() if items or key == "rows"}


def publish(measured: dict[str, Any]) -> None:
    """Put what was measured in the place of older measures of the same name, and in the table.

    An older measure that compares more systems stays: one of them was not at hand this time.
    """
    older = read_results(RESULTS)
    for name in list(measured):
        if lost := systems_of(older.get(name, {})) - systems_of(measured[name]):
            print(f"{name}: not replaced, for want of {', '.join(sorted(lost))}", file=sys.stderr)
            del measured[name]
    results = {name: (older | measured)[name] for name in MEASURES if name in older | measured}
    write_whole(RESULTS, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())


def systems_of(result: dict[str, Any]) -> set[str]:
    return {system["system"] for system in result.get("systems", ())}


def environment(name: str) -> dict[str, Any]:
    """Where, when and with what a measure was taken."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": f"python -m benchmarks --only {name}",
        "commit": git.stdout.strip() or "unknown",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": MEASURES[name].threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(results: dict[str, Any]) -> str:
    """Markdown of what was measured, and below it where and when."""
    lines = ["| measure | ours | peer | times faster | bar | |", "|---|---:|---:|---:|---:|---|"]
    for result in results.values():
        for row in result["rows"]:
            peer, ratio = row.get("peer"), row.get("ratio")
            lines.append(
                f"| {row['what']} | {quantity(row['ours'], row['unit'])} "
                f"| {quantity(peer, row['unit']) if peer else ''} "
                f"| {f'{ratio:.1f}' if ratio else ''} "
                f"| {bar(row)} | {verdict(row)} |"
            )
    places = dict.fromkeys(place(result["environment"]) for result in results.values())
    return "\n".join([*lines, "", *places])


def verdict(row: dict[str, Any]) -> str:
    if row["bar"] is None:
        return ""
    return "reached" if row["reached"] else "**missed**"


def bar(row: dict[str, Any]) -> str:
    if row["bar"] is None:
        return ""
    return f"≥ {row['bar']:g}" if row.get("peer") else f"≤ {row['bar']:g} {row['unit']}"


def quantity(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}"


def place(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items() if v)
    return (
        f"{environment['date']}, {environment['processor']}, {environment['cores']} cores; "
        f"Python {environment['python']}, {versions}."
    )


def peers_text(results: dict[str, Any]) -> str:
    """Markdown of the peers: a table, a sentence for each of them, and where and when."""
    if "peers" not in results:
        return "Not measured yet: `python -m benchmarks --only peers`."
    systems = results["peers"]["systems"]
    said = [f"- {sentence}" for sentence in peers.sentences(systems)]
    parts = [[peers.table(systems)], said, [place(results["peers"]["environment"])]]
    return "\n\n".join("\n".join(part) for part in parts)


def with_table(page: str, results: dict[str, Any]) -> str:
    """Put the tables between their markers of a page."""
    for marker, block in ((PEERS, peers_text(results)), (BENCH, table(results))):
        begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    sys.exit(main())
