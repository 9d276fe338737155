"""What is killed: a study in three ways, and the verbs that write.

Each way makes what it reads once, then runs in a folder of its own, always under the same names.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
from tests.loopback import serve

import spoken_digits
from spoken_digits.audio import read_audio
from spoken_digits.cli import main
from spoken_digits.lab.data.corpora import CORPORA, DIGIT_WORDS, data_hash, read_corpus
from spoken_digits.lab.data.splits import XSDR_TEST, XSDR_TRAIN

VOICES = Path(spoken_digits.__file__).parent / "assets" / "voices"
SPEAKERS = (*XSDR_TRAIN, *XSDR_TEST)
STUDY = """
[study]
question = "Which one?"
[defaults]
epochs = 1
[models.temporal-cnn]
[models.cnn-tiny]
[grids.results]
split = "xsdr"
seed = [0]
"""


@dataclass(frozen=True)
class Way:
    """One thing that is run.

    Attributes
    ----------
    make
        Makes what it reads in the folder of inputs; called once.
    run
        Runs it from the folder of inputs in the working folder; returns the exit status.
    faults
        What may befall it, in turn: ``moment`` and ``change`` kill it, at a fraction of its
        processor time and before a change of the file system; ``worker`` and ``scheduler`` kill
        another process, ``full`` fills its disk.
    finished
        Patterns of what is not to be made again once it is there: files, folders with all that is
        in them; ``evaluation.json`` stands for its run.
    around
        What must run beside it, from the folder of inputs.
    """

    make: Callable[[Path], None]
    run: Callable[[Path], int]
    faults: tuple[str, ...] = ("moment", "change", "full")
    finished: tuple[str, ...] = ()
    around: Callable[[Path], contextlib.AbstractContextManager[None]] = lambda _: (
        contextlib.nullcontext()
    )


# --- What they read


def _make_study(inputs: Path) -> None:
    """Write shipped speech in the layout of FSDD: six TTS voices, ten digits, two takes."""
    (inputs / "tiny.toml").write_text(STUDY)
    folder = inputs / "data" / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for speaker, voice in zip(SPEAKERS, _voices(), strict=True):
        for digit in range(10):
            for take in range(2):
                samples, rate = read_audio(VOICES / str(digit) / f"{voice}_{take}.flac")
                soundfile.write(folder / f"{digit}_{speaker}_{take}.wav", samples, rate)


def _voices() -> list[str]:
    files = sorted((VOICES / "0").glob("kokoro-*_1.flac"))
    return [file.stem.rpartition("_")[0] for file in files[:: len(files) // 6][:6]]


def _make_strings_data(inputs: Path) -> None:
    """Write shipped speech in the layouts of FSDD and Speech Commands."""
    _make_study(inputs)
    commands, rng = inputs / "data" / "speech_commands", np.random.default_rng(0)
    voices = sorted((VOICES / "0").glob("kokoro-*_0.flac"))[1::4]
    others = [(3, "bed"), (8, "cat")]  # other words: digits, backwards
    for number, voice in enumerate(voices):
        for digit, word in (*enumerate(DIGIT_WORDS), *others):
            samples, rate = read_audio(VOICES / str(digit) / voice.name)
            file = commands / word / f"{number:08x}_nohash_0.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, samples if word in DIGIT_WORDS else samples[::-1], rate)
    for name in ("pink_noise", "running_tap"):
        file = commands / "_background_noise_" / f"{name}.wav"
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, 0.02 * rng.standard_normal(16_000 * 12), 16_000)


def _make_archive(inputs: Path) -> None:
    """Pack the recordings as those of FSDD are, and note what is to arrive."""
    _make_study(inputs)
    with tarfile.open(inputs / "archive.tar.gz", "w:gz") as archive:
        archive.add(inputs / "data" / "fsdd" / "recordings", "fsdd-1.0.10/recordings")
    clips = read_corpus("fsdd", inputs / "data")
    known = {"clips": len(clips), "hash": data_hash(clips)}
    (inputs / "known.json").write_text(json.dumps(known))


@contextlib.contextmanager
def _serve_archive(inputs: Path) -> Iterator[None]:
    """Serve the archive from a process of its own, at about 1 MB a second."""
    (reader, writer), (alive, held) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(held)
            with serve((inputs / "archive.tar.gz").read_bytes(), pause_s=0.01) as server:
                os.write(writer, server.url.encode())
                os.read(alive, 1)  # until the other end is closed, or gone
        finally:
            os._exit(0)
    (inputs / "url").write_text(os.read(reader, 1_000).decode())
    try:
        yield
    finally:
        for descriptor in (reader, writer, alive, held):
            os.close(descriptor)
        os.waitpid(pid, 0)


def _make_run(inputs: Path) -> None:
    """Train a run to export."""
    _make_study(inputs)
    out = ["--out", str(inputs / "runs"), "--data", str(inputs / "data")]
    with contextlib.redirect_stdout(io.StringIO()):
        main(["train", "--model", "temporal-cnn", "--epochs", "1", "--split", "xsdr", *out])


# --- What is run


def _study(inputs: Path, *options: str) -> int:
    """Run a study, without its report, which is one file more."""
    with mock.patch("spoken_digits.lab.reporting.html.write_report"):
        where = ["--data", str(inputs / "data"), "--out", "runs/tiny"]
        return main(["study", str(inputs / "tiny.toml"), *where, *options])


def _process(inputs: Path) -> int:
    return _study(inputs, "--workers", "1")


def _workers(inputs: Path) -> int:
    return _study(inputs, "--workers", "2")


def _dask(inputs: Path) -> int:
    address = json.loads((inputs / "scheduler.json").read_text())["address"]
    return _study(inputs, "--cluster", address)


def _fetch(inputs: Path) -> int:
    known = json.loads((inputs / "known.json").read_text())
    known["url"] = (inputs / "url").read_text()
    with (
        mock.patch.dict(os.environ, {"no_proxy": "*"}),
        mock.patch.dict(CORPORA, fsdd=dataclasses.replace(CORPORA["fsdd"], **known)),
    ):
        return main(["corpus", "fetch", "fsdd", "--data", "data"])


def _make(inputs: Path) -> int:
    """Make voices, then strings, each unless it is there."""
    from spoken_digits.lab.tts import espeak

    status = 0
    with mock.patch.object(espeak, "VOICES", espeak.VOICES[:3]):
        if not Path("voices").exists():
            status = main(["corpus", "make", "voices", "voices"])
        if not status and not Path("strings").exists():
            where = ["--corpus", "fsdd", "--data", str(inputs / "data")]
            status = main(["corpus", "make", "strings", "strings", "--count", "20", *where])
    return status


def _prepare(_: Path) -> int:
    from spoken_digits.lab.data.dataset import prepare

    try:
        prepare(read_corpus("voices"), Path("prepared"))
    except (OSError, ValueError) as error:
        print(error)
        return 1
    return 0


def _export(inputs: Path) -> int:
    (run,) = (inputs / "runs").glob("*/evaluation.json")
    return main(["export", str(run.parent), "-o", "out/digits.onnx"])


def _strings(inputs: Path) -> int:
    from spoken_digits.lab.connected import evaluation, pipeline

    small = {"PHRASE_VOICES": 1, "READER_STRINGS": 2, "READER_SENTENCES": 1}
    with (
        mock.patch.multiple(pipeline, HANDLING_HOURS=0.001, **small),
        mock.patch.object(evaluation, "STRINGS_PER_SPEAKER", 2),
    ):
        where = ["--data", str(inputs / "data"), "-o", "strings.onnx"]
        return main(["strings", "train", "--split", "xsdr", "--steps", "2", *where])


RUN_FILES = ("runs/**/evaluation.json",)
WAYS: Mapping[str, Way] = {
    "process": Way(_make_study, _process, finished=RUN_FILES),
    "workers": Way(_make_study, _workers, ("moment", "worker", "full"), RUN_FILES),
    "dask": Way(_make_study, _dask, ("moment", "worker", "scheduler"), RUN_FILES),
    "fetch": Way(_make_archive, _fetch, finished=("data/fsdd",), around=_serve_archive),
    "make": Way(_make_study, _make, finished=("voices", "strings")),
    "prepare": Way(lambda _: None, _prepare),
    "export": Way(_make_run, _export),
    "strings": Way(_make_strings_data, _strings, finished=RUN_FILES),
}


# --- What they leave


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files and empty folders, without what may differ: durations."""
    return {
        str(path.relative_to(folder)): b"" if path.is_dir() else _canonical(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }


MAY_DIFFER = "seconds in environment.json, summary.json and log.jsonl"


def _canonical(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name in ("environment.json", "summary.json", "log.jsonl"):
        content = re.sub(rb'"seconds": [\d.]+', b'"seconds": 0', content)
    return content


def finished(way: Way, folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of every file of what is finished."""
    marks = [path for pattern in way.finished for path in folder.glob(pattern)]
    files = [file for mark in marks for file in _belonging(mark)]
    stats = {str(file.relative_to(folder)): file.stat() for file in files}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def _belonging(mark: Path) -> list[Path]:
    if mark.is_dir():
        return [file for file in mark.rglob("*") if file.is_file()]
    if mark.name != "evaluation.json":
        return [mark]
    return [file for name in _OF_A_RUN if (file := mark.with_name(name)).exists()]


# Other files say that a run has begun, and go.
_OF_A_RUN = ("config.toml", "evaluation.json", "model.safetensors", "predictions.npz")


def empty(folder: Path) -> None:
    """Remove what is in a folder, which may be a mounted one."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
