"""Time and memory of a corpus' whole way against its size: check, prepare, train, evaluate.

    python -m benchmarks.scale --clips 3000 30000 300000 [--against PATH]

Makes a corpus of each size in a temporary folder, of the synthetic speech that ships: at another
speed, level and noise each time, 50 recordings a speaker, WAV of 16 bit at 16 kHz. Making is not
measured, and takes 25 kB a recording. Each stage then runs in a process of its own: `corpus
check`'s reading of every recording, `prepare`, one epoch of the smallest 2-D CNN (one thread) and
the evaluation of all clips. Each row goes to results/scale.json as it is measured; called again at
the same commit, rows that are there are not measured again. At the end, docs/benchmarks.md and
docs/scale.svg are written. `--against` lets a checkout of another commit prepare the smallest
corpus, in turns with this tree.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.__main__ import processor
from benchmarks.measures import read_results
from spoken_digits.audio import SAMPLE_RATE, read_audio
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.parallel import map_in_order
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "results" / "scale.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
PICTURE = REPOSITORY / "docs" / "scale.svg"
MARKER = "scale"
STAGES = {
    "check": "check",
    "prepare": "prepare",
    "epoch": "an epoch of training",
    "evaluation": "evaluation",
}
CLIPS_PER_SPEAKER = 50
RATE = 2 * SAMPLE_RATE  # Hz
ROUNDS = 5
SAMPLE_S = 1.0  # between two looks at the memory of all processes, which take time themselves
LARGE, MILLION = 300_000, 1_000_000
MAX_MIB, MAX_GROWTH, MIN_FASTER = 1536, 1.2, 4  # bars

Rows = dict[str, dict[str, dict[str, Any]]]  # by number of clips, then by stage


# The corpus


@cache
def sources() -> list[tuple[str, NDArray[np.float32]]]:
    """Return label and samples of the synthetic speech that ships."""
    return [(clip.label, read_audio(clip.file)[0]) for clip in read_corpus("voices")]


def make_corpus(folder: Path, count: int) -> None:
    """Make a corpus of so many recordings; those of a smaller one are the first of a larger."""
    for label in {label for label, _ in sources()}:
        (folder / label).mkdir(parents=True)
    for _ in map_in_order(partial(make_recording, folder), range(count)):
        pass


def make_recording(folder: Path, index: int) -> None:
    """Write one recording, which its index decides."""
    # Consecutive recordings are of different digits.
    label, samples = sources()[index * 101 % len(sources())]
    speaker, take = divmod(index, CLIPS_PER_SPEAKER)
    write_wav(folder / label / f"s{speaker:05}_{take}.wav", varied(samples, RATE, index), RATE)


def varied(samples: NDArray[np.float32], rate: int, index: int) -> NDArray[np.float64]:
    """Return speech (L,) at another rate, speed and level, with pauses and noise, by the index."""
    rng = np.random.default_rng([17, index])
    places = np.arange(0, len(samples) - 1, rng.uniform(0.85, 1.15) * SAMPLE_RATE / rate)
    speech = np.interp(places, np.arange(len(samples)), samples)
    speech *= 10 ** (rng.uniform(-20, -3) / 20) / np.abs(speech).max()
    padded = np.pad(speech, rng.integers(rate // 10, rate // 3, 2))
    noise = rng.standard_normal(len(padded), np.float32) * 10 ** (rng.uniform(-75, -50) / 20)
    return np.clip(padded + noise, -1, 1)


def write_wav(path: Path, samples: NDArray[np.float64], rate: int) -> None:
    """Write samples of full scale 1 as WAV of 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(32767 * samples).astype("<i2").tobytes())


# Measuring


def run_stage(stage: str, folder: Path, tree: Path = REPOSITORY) -> dict[str, Any]:
    """Run a stage in a fresh process; return what it says, and the peak of its memory in MiB.

    That is the peak of the process itself, as the system notes it, or of it and its workers
    together, looked at once a second and with shared pages counted once, if that is more.
    """
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.scale_stages", stage, str(folder)],
        cwd=REPOSITORY,
        env=os.environ | threads | {"PYTHONPATH": str(tree / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    together_kib = 0
    while child.poll() is None:
        family = [child.pid, *children(child.pid)]
        together_kib = max(together_kib, sum(map(memory_kib, family)))
        time.sleep(SAMPLE_S)
    assert child.stdout is not None
    said = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"{stage}: failed with status {child.returncode}, see above")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    found["peak_mib"] = max(found["peak_mib"], round(together_kib / 1024, 1))
    return found


def memory_kib(pid: int) -> int:
    """Return the memory of a process, shared pages divided among those that share them.

    0 where it has ended, or the system does not say.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def measure(count: int, folder: Path, against: Path | None, results: dict[str, Any]) -> None:
    """Measure what is missing of one size, and write it as it comes."""
    rows: Rows = results["rows"]
    row = rows.setdefault(str(count), {})
    missing = [stage for stage in STAGES if stage not in row]
    if not missing and not against:
        return
    say(f"{count:,} clips: making them")
    make_corpus(folder / "corpus", count)
    if against:
        results["against"] = compare(folder, against, count)
        write_json(RESULTS, results)
    for stage in STAGES if missing else ():
        if stage == "check" and stage in row:
            continue
        found = run_stage(stage, folder)  # also where it is known: the next one builds on it
        if row.setdefault(stage, found) is found:
            say(f"{count:,} clips: {STAGES[stage]}: {found}")
            write_json(RESULTS, results)


def compare(folder: Path, against: Path, count: int) -> dict[str, Any]:
    """Prepare a corpus by this tree and another, in turns."""
    trees = {"ours": REPOSITORY, "theirs": against.resolve()}
    found: dict[str, Any] = {f"{name}_{key}": [] for name in trees for key in ("cpu_s", "wall_s")}
    for _ in range(ROUNDS):
        for name, tree in trees.items():
            shutil.rmtree(folder / "prepared", ignore_errors=True)
            one = run_stage("prepare", folder, tree)
            for key in ("cpu_s", "wall_s"):
                found[f"{name}_{key}"].append(one[key])
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    say(f"against {against}: {found}")
    return {"clips": count, "cores": os.cpu_count(), **found}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# The page


def fit(rows: Rows, stage: str, key: str) -> tuple[float, float]:
    """Fit a line to a figure of a stage by least squares: what it is at 0 clips, and a clip's."""
    points = [(int(count), row[stage][key]) for count, row in rows.items() if stage in row]
    slope, offset = np.polyfit(*zip(*points, strict=True), 1)
    return float(offset), float(slope)


def predicted(rows: Rows, stage: str, key: str, count: int) -> float:
    offset, slope = fit(rows, stage, key)
    return offset + slope * count


def table(results: dict[str, Any]) -> str:
    """Return what was measured, what follows from it for larger corpora, and the bars."""
    rows: Rows = results["rows"]
    lines = [
        "| clips | stage | time | processor time a clip | peak memory |",
        "|---:|---|---:|---:|---:|",
    ]
    for count, row in rows.items():
        for stage, found in row.items():
            lines.append(
                f"| {int(count):,} | {STAGES[stage]} | {clock(found['wall_s'])} "
                f"| {1e3 * found['cpu_s'] / int(count):.2f} ms | {found['peak_mib']:,.0f} MiB |"
            )
    for count in (LARGE, MILLION):
        if str(count) in rows or len(rows) < 2:
            continue
        for stage, name in STAGES.items():
            lines.append(
                f"| {count:,} | {name}, extrapolated | "
                f"{clock(predicted(rows, stage, 'wall_s', count))} "
                f"| {1e3 * fit(rows, stage, 'cpu_s')[1]:.2f} ms "
                f"| {predicted(rows, stage, 'peak_mib', count):,.0f} MiB |"
            )
    said = bars(results)
    place = f"Commit {results['commit']}; {results['processor']}, {results['cores']} cores."
    return "\n".join([*lines, "", *said, "", place])


def bars(results: dict[str, Any]) -> list[str]:
    """Say what was to be reached, and whether it was."""
    rows, said = results["rows"], []
    if len(rows) > 1:
        peaks = {
            count: max(
                rows[str(count)][stage]["peak_mib"]
                if str(count) in rows
                else predicted(rows, stage, "peak_mib", count)
                for stage in ("prepare", "epoch")
            )
            for count in (LARGE // 10, LARGE)
        }
        how = "" if str(LARGE) in rows else " (extrapolated)"
        growth = peaks[LARGE] / peaks[LARGE // 10]
        said.append(
            f"- Peak memory of preparing and an epoch at {LARGE:,} clips{how}: "
            f"{peaks[LARGE]:,.0f} MiB, {growth:.2f} times that of {LARGE // 10:,}; to be at most "
            f"{MAX_MIB:,} MiB and {MAX_GROWTH} times: "
            f"{verdict(peaks[LARGE] <= MAX_MIB and growth <= MAX_GROWTH)}."
        )
    if against := results.get("against"):
        ratio = {
            key: median(
                theirs / ours
                for theirs, ours in zip(
                    against[f"theirs_{key}"], against[f"ours_{key}"], strict=True
                )
            )
            for key in ("wall_s", "cpu_s")
        }
        said.append(
            f"- Preparing {against['clips']:,} clips on {against['cores']} cores, against c3bd05b, "
            f"in turns, median of {len(against['ours_wall_s'])}: {ratio['wall_s']:.1f} times the "
            f"clips a second, {ratio['cpu_s']:.1f} times less processor time a clip; to be at "
            f"least {MIN_FASTER} times the clips a second: "
            f"{verdict(ratio['wall_s'] >= MIN_FASTER)}."
        )
    return said


def verdict(reached: bool) -> str:
    return "reached" if reached else "**missed**"


def clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def draw(rows: Rows, output: Path) -> None:
    """Draw time and memory against the number of clips, a line a stage; dashed what is a fit."""
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "spoken-digits"  # the same picture, the same bytes
    figure = Figure((8, 3.6), layout="constrained")
    panels = zip(
        figure.subplots(1, 2), ("wall_s", "peak_mib"), ("seconds", "peak memory, MiB"), strict=True
    )
    counts = sorted(map(int, rows))
    further = np.geomspace(counts[-1], MILLION, 30)
    for axes, key, label in panels:
        for number, (stage, name) in enumerate(STAGES.items()):
            values = [rows[str(count)][stage][key] for count in counts]
            axes.plot(counts, values, "o-", color=f"C{number}", label=name)
            if len(counts) > 1:
                fitted = [predicted(rows, stage, key, count) for count in further]
                axes.plot(further, fitted, "--", color=f"C{number}")
        axes.set_xscale("log")
        axes.set_xlabel("clips")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        if key == "wall_s":
            axes.set_yscale("log")
            axes.legend(frameon=False, fontsize="small")
        else:
            axes.axhline(MAX_MIB, color="gray", linewidth=0.8)
            axes.set_ylim(0)
    FigureCanvasSVG(figure).print_svg(output, metadata={"Date": None})


def with_table(page: str, results: dict[str, Any]) -> str:
    return replace_between(page, MARKER, table(results), PAGE.name)


def main() -> int:
    """Measure what is missing, and write results, page and picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    text = "sizes of the corpora"
    parser.add_argument("--clips", type=int, nargs="+", default=[], metavar="N", help=text)
    text = "a checkout of another commit, which prepares the smallest corpus"
    parser.add_argument("--against", type=Path, metavar="PATH", help=text)
    text = "where corpora are made for the while: 25 kB a clip"
    parser.add_argument("--folder", type=Path, metavar="PATH", help=text)
    parser.add_argument("--page", action="store_true", help="write page and picture, nothing else")
    arguments = parser.parse_args()
    if not (arguments.clips or arguments.page) or min(arguments.clips, default=1) < 1:
        parser.error("--clips: expected numbers of clips, 1 or more")
    results = read_results(RESULTS)
    if not arguments.page:
        place = {"commit": commit()[:7], "processor": processor(), "cores": os.cpu_count()}
        if results.get("commit") != place["commit"]:
            results = {"rows": {}}
        results |= place
        for count in sorted(arguments.clips):
            smallest = count == min(arguments.clips)
            with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="scale-") as folder:
                measure(count, Path(folder), arguments.against if smallest else None, results)
        results["rows"] = dict(sorted(results["rows"].items(), key=lambda item: int(item[0])))
        write_json(RESULTS, results)
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())
    draw(results["rows"], PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
