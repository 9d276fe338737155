"""Where the time of training goes: a picture of torch's profile of one epoch, of one or two trees.

    python -m benchmarks.profile_training [--against PATH] [--output docs/training-profile.svg]

The strong model on one fold of leave-one-out, one thread, after an epoch that does not count.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# The first that fits an operator's name.
KINDS = {
    "convolution": ("convolution",),
    "maximum": ("max_pool", "maximum"),
    "gather, index": ("gather", "index"),
    "random numbers": ("uniform", "normal", "random"),
    "Fourier transform, products": ("fft", "bmm", "mm"),
    "optimizer, average": ("adamw", "foreach", "Optimizer", "lerp"),
    "element by element": ("",),
}


def measure() -> dict[str, float]:
    """Return seconds by kind of operator, of an epoch."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    sys.path.insert(0, str(REPOSITORY))
    from benchmarks.training_rounds import kinds

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fold = kinds(Path(folder), 0.05)["fold"]
        fold()
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            fold()
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in profiled.key_averages():
        kind = next(k for k, names in KINDS.items() if any(name in event.key for name in names))
        seconds[kind] += event.self_cpu_time_total / 1e6
    return seconds


def draw(measured: dict[str, dict[str, float]], output: Path) -> None:
    """Draw stacked bars, a bar for each tree."""
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "spoken-digits"  # the same picture, the same bytes
    figure = Figure((8, 1.2 + 0.6 * len(measured)), layout="constrained")
    axes = figure.subplots()
    left = dict.fromkeys(measured, 0.0)
    for kind in KINDS:
        widths = [seconds[kind] for seconds in measured.values()]
        axes.barh(list(measured), widths, left=list(left.values()), label=kind, height=0.6)
        left = {tree: left[tree] + seconds[kind] for tree, seconds in measured.items()}
    axes.invert_yaxis()
    axes.set_xlabel("seconds per epoch (2,500 clips), by kind of operator")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize="small")
    FigureCanvasSVG(figure).print_svg(output, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs/training-profile.svg")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return
    trees = {"now": REPOSITORY}
    if arguments.against:
        trees = {"before": arguments.against.resolve(), **trees}
    measured = {}
    for name, tree in trees.items():
        done = subprocess.run(
            [sys.executable, str(Path(__file__)), "--measure"],
            env=os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        measured[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, {kind: round(value, 2) for kind, value in measured[name].items()})
    draw(measured, arguments.output)


if __name__ == "__main__":
    main()
