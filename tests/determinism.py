"""Which bytes are equal across what: ``python -m tests.determinism [--record] [ROW ...]``.

Every row is measured: the same thing is computed twice, one thing being different, and the bytes
are compared. `--record` writes results/determinism.json and the table of docs/protocol.md. Another
release of onnxruntime is given as a folder: ``--onnxruntime DIR`` (``pip install --no-deps --target
DIR onnxruntime==1.20.1``). What needs another machine is said to be open.
"""

import argparse
import atexit
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import spoken_digits
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_whole

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results" / "determinism.json", ROOT / "docs" / "protocol.md"
MARKER = "determinism"
KILLS = ROOT / "results" / "kill.json"
ASSETS = Path(spoken_digits.__file__).parent / "assets"
# A convolutional network in two dimensions, one along time, and a recurrent one.
NETWORKS = ("cnn-tiny", "temporal-cnn", "lstm")
LENGTHS = range(1_600, 9_601, 160)  # of clips, in samples at 8 kHz: 0.2 to 1.2 s, every frame

DIGITS, STRINGS = "scores, digits.onnx, by length", "scores, strings.onnx, by length"

WEIGHTS = f"weights after training: {', '.join(NETWORKS)}"
SCORES = f"scores: {', '.join(NETWORKS)}"
CLIPS = 32  # that are evaluated

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    differs, compared
        What is different between two computations, and what of them is compared.
    equal, of
        How many of how many things have the same bytes; None where it is open.
    largest
        Largest absolute difference.
    why
        Why, or what it follows from.
    """

    differs: str
    compared: str
    equal: int | None
    of: int | None
    largest: float | None
    why: str


# --- Training and evaluation with torch


@lru_cache(maxsize=1)
def dataset() -> Any:
    """Prepare a tenth of the synthetic speech that ships."""
    from spoken_digits.lab.data.corpora import read_corpus
    from spoken_digits.lab.data.dataset import prepare

    clips = sorted(read_corpus("voices"), key=lambda clip: clip.file)[::10]
    folder = tempfile.TemporaryDirectory()  # clips are read from it as they are needed
    atexit.register(folder.cleanup)
    return prepare(clips, Path(folder.name))


@contextmanager
def threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Interruption(Exception):  # noqa: N818
    """Stands for a kill: what is on disk then is all that is left."""


def trained(
    model: str, seed: int = 0, count: int = 1, killed: bool = False, batch_size: int = 32
) -> Arrays:
    """Train for two epochs; return the weights, by name."""
    from safetensors.numpy import load

    from spoken_digits.lab.training import supervised
    from spoken_digits.lab.training.config import TrainConfig

    config = TrainConfig(model=model, seed=seed, epochs=2, batch_size=batch_size)
    data = dataset()
    indices = np.arange(len(data.clips))
    with tempfile.TemporaryDirectory() as folder, threads(count):
        if killed:
            real = supervised._Supervised.batches

            def batches(self: Any, epoch: int) -> Any:
                if epoch == 1 and len(list(Path(folder).glob("checkpoint*"))):
                    raise Interruption
                return real(self, epoch)

            with mock.patch.object(supervised._Supervised, "batches", batches):
                try:
                    supervised.train(config, data, indices, Path(folder), quiet=True)
                except Interruption:
                    assert (Path(folder) / "checkpoint.safetensors").exists()
                else:
                    raise AssertionError("was not interrupted")
        supervised.train(config, data, indices, Path(folder), quiet=True)
        return dict(load((Path(folder) / "model.safetensors").read_bytes()))


@cache
def once(model: str) -> Arrays:
    """Return the weights of seed 0, one thread."""
    return trained(model)


def scores(model: str, count: int = 1, alone: bool = False) -> Arrays:
    """Return what the initial network of a seed answers for each clip, in evaluation."""
    import torch

    from spoken_digits.lab.training.config import TrainConfig
    from spoken_digits.lab.training.supervised import build_network

    data = dataset()
    net = build_network(TrainConfig(model=model), 10).eval()
    found: Arrays = {}
    groups = [[i] for i in range(CLIPS)] if alone else [list(range(CLIPS))]
    with threads(count), torch.inference_mode():
        for group in groups:
            output = net(*data.batch(np.array(group)))
            found |= {str(i): output.scores[k].numpy() for k, i in enumerate(group)}
    return found


def log_mels(alone: bool = False) -> Arrays:
    """Return the front end's (M, T) of the clips of `scores`, without padding."""
    import torch

    from spoken_digits.lab.features import FRONT_ENDS, LogMel

    data, front_end = dataset(), LogMel(FRONT_ENDS["ours"])
    found: Arrays = {}
    groups = [[i] for i in range(CLIPS)] if alone else [list(range(CLIPS))]
    with torch.inference_mode():
        for group in groups:
            log_mel, mask = front_end(*data.batch(np.array(group)))
            for k, i in enumerate(group):
                found[str(i)] = log_mel[k][:, mask[k, 0].bool()].numpy()
    return found


def compare(first: Arrays, second: Arrays) -> tuple[int, int, float]:
    """Return how many arrays have the same bytes, of how many, and the largest difference."""
    assert first.keys() == second.keys()
    equal = sum(first[key].tobytes() == second[key].tobytes() for key in first)
    largest = max(
        float(np.abs(np.subtract(first[key], second[key], dtype=np.float64)).max()) for key in first
    )
    return equal, len(first), largest


def over_networks(
    first: Callable[[str], Arrays], second: Callable[[str], Arrays]
) -> tuple[int, int, float]:
    """Compare what two functions give for each of the networks."""
    one, other = (
        {f"{name} {key}": array for name in NETWORKS for key, array in give(name).items()}
        for give in (first, second)
    )
    return compare(one, other)


def same_seed() -> list[Row]:
    why = "all draws are keyed by seed, epoch and clip"
    return [Row("nothing: the same seed again", WEIGHTS, *over_networks(once, trained), why)]


def other_seed() -> list[Row]:
    found = over_networks(once, lambda name: trained(name, seed=1))
    return [Row("the seed", WEIGHTS, *found, "it keys all draws")]


def resumed() -> list[Row]:
    found = over_networks(once, lambda name: trained(name, killed=True))
    why = "weights, moments, averages and log are in the checkpoint, draws are keyed by the epoch"
    return [Row("interrupted after an epoch, and resumed", WEIGHTS, *found, why)]


def threads_in_training() -> list[Row]:
    """Compare small networks, larger batches, and single convolutions."""
    differs = "1 or 2 threads of torch"
    small = over_networks(once, lambda name: trained(name, count=2))
    kernels = compare(kernel_gradients(1), kernel_gradients(2))
    why = "as it happens: no promise; studies and the command train on one thread"
    divided = "threads divide the clips that the gradient of a kernel is summed over"
    rows = [Row(differs, WEIGHTS, *small, why)]
    for name, reason in (("cnn-single", why), ("temporal-cnn", divided)):
        found = compare(*(trained(name, count=n, batch_size=64) for n in (1, 2)))
        rows.append(Row(differs, f"weights after training, batches of 50: {name}", *found, reason))
    return [*rows, Row(differs, "gradients of kernels, seven convolutions", *kernels, divided)]


# Input (B, channels, bands, frames) or (B, channels, frames), and channels of the output.
CONVOLUTIONS = (
    ((32, 1, 40, 45), 8),
    ((32, 8, 20, 45), 12),
    ((64, 16, 40, 45), 32),
    ((32, 20, 20, 40), 40),
    ((64, 32, 20, 40), 48),
    ((32, 40, 45), 64),
    ((32, 64, 45), 64),
)


def kernel_gradients(count: int) -> Arrays:
    """Return gradients of kernels of three, divided by their largest value."""
    import torch
    from torch.nn import functional

    found: Arrays = {}
    for shape, channels in CONVOLUTIONS:
        draws = torch.Generator().manual_seed(0)
        kernel_shape = (channels, shape[1], *(3 for _ in shape[2:]))
        kernel = torch.randn(kernel_shape, generator=draws, requires_grad=True)
        convolve = functional.conv2d if len(shape) == 4 else functional.conv1d
        with threads(count):
            output = convolve(torch.randn(shape, generator=draws), kernel, padding=1)
            (output * torch.randn(output.shape, generator=draws)).sum().backward()
        assert kernel.grad is not None
        found[f"{shape} {channels}"] = kernel.grad.numpy()
    largest = {name: np.abs(array).max() for name, array in found.items()}
    return {name: array / largest[name] for name, array in found.items()}


def threads_in_evaluation() -> list[Row]:
    found = over_networks(scores, lambda name: scores(name, 2))
    return [Row("1 or 2 threads of torch", SCORES, *found, "no sum is divided")]


def batches_of_torch() -> list[Row]:
    differs = "a clip alone, or padded in a batch of 32"
    why = "matrix products of other sizes are added in another order"
    found = over_networks(scores, lambda name: scores(name, alone=True))
    rows = compare(log_mels(), log_mels(alone=True))
    return [Row(differs, "log-mel", *rows, why), Row(differs, SCORES, *found, why)]


# --- Recognizing with onnxruntime


def session(name: str, count: int = 1) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = count, 1
    return onnxruntime.InferenceSession(
        str(ASSETS / name), options, providers=["CPUExecutionProvider"]
    )


def waveforms(clips: int = 1) -> Iterator[NDArray[np.float32]]:
    """Return noise at the level of speech, of every length: (clips, L)."""
    for length in LENGTHS:
        rng = np.random.default_rng(length)
        yield rng.normal(0, 0.1, (clips, length)).astype(np.float32)


def recognized(count: int = 1, clips: int = 1, alone: bool = False) -> Arrays:
    """Return the scores of the shipped network for single digits, by length."""
    network, found = session("digits.onnx", count), {}
    for waveform in waveforms(clips):
        parts = np.split(waveform, clips) if alone else [waveform]
        answers = [network.run(["scores"], {"waveform": part})[0] for part in parts]
        found[str(waveform.shape[1])] = np.concatenate(answers)
    return found


def transcribed(count: int = 1) -> Arrays:
    """Return the scores of the shipped network for strings, for 0.3 to 5.3 s of noise."""
    network, found = session("strings.onnx", count), {}
    block = int(network.get_modelmeta().custom_metadata_map["block"])
    states = [each for each in network.get_inputs() if each.name != "waveform"]
    state = {each.name: np.zeros(each.shape, np.float32) for each in states}
    rng = np.random.default_rng(0)
    for blocks in range(5, 90, 4):
        waveform = rng.normal(0, 0.1, (1, block * blocks)).astype(np.float32)
        (found[str(blocks)],) = network.run(["scores"], {"waveform": waveform} | state)
    return found


def batches_of_onnxruntime() -> list[Row]:
    found = compare(recognized(clips=8), recognized(clips=8, alone=True))
    why = "matrix products are computed clip by clip"
    return [Row("a clip alone, or in a batch of 8", DIGITS, *found, why)]


def threads_of_onnxruntime() -> list[Row]:
    differs = "1 or 2 threads of onnxruntime"
    why = (
        "how a sum is cut depends on the columns that a thread is given (findings/"
        "onnxruntime_threads_change_some_widths.sh); the package runs on one thread"
    )
    return [
        Row(differs, DIGITS, *compare(recognized(), recognized(2)), why),
        Row(differs, STRINGS, *compare(transcribed(), transcribed(2)), why),
    ]


def answered() -> Arrays:
    """Return what the package answers to shipped recordings at 16 kHz: numbers, times, clips."""
    import spoken_digits
    from spoken_digits.audio import read_audio, resample, to_clip

    recognizer, found = spoken_digits.load(), {}
    for digit in range(10):
        for file in sorted((ASSETS / "voices" / str(digit)).glob("*.flac"))[:3]:
            samples = resample(*read_audio(file), 16_000)
            answer = recognizer(samples, 16_000)
            numbers = [*answer.probabilities, answer.score, answer.start_s, answer.end_s]
            found[f"{digit} {file.name}"] = np.array(numbers)
            found[f"{digit} {file.name}, clip"] = to_clip(samples, 16_000)
    return found


# --- Other processes: another release, or other instructions


def elsewhere(what: str, environment: Mapping[str, str]) -> Arrays:
    """Compute arrays in a process with another environment."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "arrays.npz")
        command = [sys.executable, "-m", "tests.determinism", "--arrays", what, str(file)]
        subprocess.run(command, check=True, env={**os.environ, **environment}, cwd=ROOT)
        with np.load(file) as stored:
            return dict(stored)


ARRAYS: dict[str, Callable[[], Arrays]] = {
    "recognized": recognized,
    "transcribed": transcribed,
    "answered": answered,
    **{f"trained {name}": partial(once, name) for name in NETWORKS},
    **{f"scores {name}": partial(scores, name) for name in NETWORKS},
}


def release_of_onnxruntime(folder: Path) -> list[Row]:
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", str(ROOT / "src"))])
    (found,) = folder.glob("onnxruntime-*.dist-info")
    other = found.name.removeprefix("onnxruntime-").removesuffix(".dist-info")
    differs = f"onnxruntime {version('onnxruntime')} or {other}"
    rows = []
    for what, text in (("recognized", DIGITS), ("transcribed", STRINGS)):
        found = compare(ARRAYS[what](), elsewhere(what, {"PYTHONPATH": paths}))
        why = "the same kernels" if found[0] == found[1] else "other kernels"
        rows.append(Row(differs, text, *found, why))
    return rows


AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def instructions() -> list[Row]:
    import torch

    differs = f"instructions of torch: {torch.backends.cpu.get_cpu_capability()} or AVX2"
    names = ", ".join(f"{key}={value}" for key, value in AVX2.items())
    why = f"wider vectors add in another order; so does another processor ({names})"
    rows = []
    for kind, text in (("trained", WEIGHTS), ("scores", SCORES)):
        found = over_networks(
            lambda name, kind=kind: ARRAYS[f"{kind} {name}"](),
            lambda name, kind=kind: elsewhere(f"{kind} {name}", AVX2),
        )
        rows.append(Row(differs, text, *found, why))
    return rows


def instructions_in_answers() -> list[Row]:
    """Compare answers of the package over what numpy and OpenBLAS find in the processor."""
    rows, avx512 = [], "X86_V4 AVX512_ICL AVX512_SPR"  # as numpy 2.4 calls them
    for differs, environment in (
        ("instructions of numpy: AVX512 or AVX2", {"NPY_DISABLE_CPU_FEATURES": avx512}),
        (
            "instructions of numpy: AVX512 or SSE4.2",
            {"NPY_DISABLE_CPU_FEATURES": f"X86_V3 {avx512}"},
        ),
        ("kernels of OpenBLAS: of this processor or of Haswell", {"OPENBLAS_CORETYPE": "Haswell"}),
    ):
        found = compare(answered(), elsewhere("answered", environment))
        why = (
            "nothing that an answer is made of depends on them"
            if found[0] == found[1]
            else ("exponential and logarithm have other kernels")
        )
        rows.append(Row(differs, "answers and clips of 30 recordings", *found, why))
    return rows


# --- Studies


def workers() -> list[Row]:
    """Compare all files of a study of two runs, over ways to run it."""
    from tests.kill.__main__ import Bench
    from tests.kill.ways import MAY_DIFFER

    trees = {}
    for name in ("process", "workers", "dask"):
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(name, Path(scratch))
            try:
                bench.measure()
            finally:
                if bench.cluster:
                    bench.cluster.stop()
            here = str(bench.inputs).encode()  # in the command of each record
            trees[name] = {k: v.replace(here, b"") for k, v in bench.expected.items()}
    rows = []
    for name, text in (("workers", "1 process or 2 workers"), ("dask", "1 process or a cluster")):
        equal = sum(trees[name].get(key) == value for key, value in trees["process"].items())
        count = len(trees["process"].keys() | trees[name].keys())
        why = f"each run is computed on one thread, by its own keys; {MAY_DIFFER} are left out"
        rows.append(Row(text, "files of a study", equal, count, None, why))
    return rows


def kills() -> list[Row]:
    done = json.loads(KILLS.read_text("utf-8"))
    survived, count = (sum(row[key] for row in done.values()) for key in ("survived", "count"))
    text = "killed, or the disk full, at any moment; begun again"
    why = "whole files alone are renamed into place; see `python -m tests.kill`"
    return [Row(text, "all files, trials of CONTRIBUTING", survived, count, None, why)]


def elsewhere_open() -> list[Row]:
    asked = "within 1e-4, as tests/test_page.py asks for"
    return [
        Row("the page (WebAssembly) or Python", "probabilities", None, None, None, asked),
        Row(
            "another release of torch",
            "weights",
            None,
            None,
            None,
            "open: of torch 2.6 to 2.12 only builds of gigabytes, with CUDA, were at hand",
        ),
        Row("another machine", "weights", None, None, None, "open: needs another machine"),
        Row("CPU or GPU", "weights", None, None, None, "open: needs a GPU; its draws differ"),
    ]


MEASURES: dict[str, Callable[[], list[Row]]] = {
    "same-seed": same_seed,
    "other-seed": other_seed,
    "workers": workers,
    "kills": kills,
    "resumed": resumed,
    "threads-training": threads_in_training,
    "threads-evaluation": threads_in_evaluation,
    "batches-torch": batches_of_torch,
    "instructions": instructions,
    "instructions-answers": instructions_in_answers,
    "batches-onnxruntime": batches_of_onnxruntime,
    "threads-onnxruntime": threads_of_onnxruntime,
    "releases-onnxruntime": list,  # of the folders that are given
    "open": elsewhere_open,
}


# --- Results


def with_table(page: str, results: Mapping[str, Any]) -> str:
    """Put the rows between their markers of a page."""
    lines = ["| what differs | compared | same bytes | largest difference | why |"]
    lines += ["| --- | --- | --- | ---: | --- |"]
    for row in (Row(**plain) for name in MEASURES for plain in results["rows"].get(name, [])):
        lines.append(f"| {' | '.join((row.differs, row.compared, *_found(row), row.why))} |")
    return replace_between(page, MARKER, "\n".join(lines), PAGE.name)


def _found(row: Row) -> tuple[str, str]:
    if row.equal is None:
        return "open" if row.why.startswith("open") else "no", ""
    largest = "" if not row.largest else f"{row.largest:.1e}"
    if row.equal == row.of:
        return f"yes, {row.of} of {row.of}", largest
    return f"no, {row.equal} of {row.of}", largest


def measure(names: Sequence[str], folders: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        found = MEASURES[name]()
        if name == "releases-onnxruntime":
            found = [row for folder in folders for row in release_of_onnxruntime(folder)]
        rows[name] = [asdict(row) for row in found]
        for row in found:
            print(row.differs, row.compared, *_found(row), sep="; ", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.determinism", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--onnxruntime", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--arrays", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arrays:
        what, file = arguments.arrays
        np.savez(file, **ARRAYS[what]())
        return 0
    names = arguments.rows or list(MEASURES)
    if unknown := [name for name in names if name not in MEASURES]:
        parser.error(f"{', '.join(unknown)}: no such row; expected {', '.join(MEASURES)}")
    measured = commit()
    rows = measure(names, arguments.onnxruntime)
    if arguments.record:
        old = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"rows": {}}
        results = {
            "command": "python -m tests.determinism --record",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "commit": measured,
            "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
            "versions": {
                "python": platform.python_version(),
                **{x: version(x) for x in ("numpy", "torch", "onnxruntime", "distributed")},
            },
            "rows": old["rows"] | rows,
        }
        write_whole(RESULTS, f"{json.dumps(results, indent=2)}\n".encode())
        write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())
    return 0


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    sys.exit(main())
