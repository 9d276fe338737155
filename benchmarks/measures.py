"""What is measured, and against what. A measure gives rows; each runs in a process of its own.

Heavy imports stand inside the functions: the memory of a program that is started here counts from
the memory of the process that starts it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.peers import System

SAMPLE_RATE = 8_000
REPOSITORY = Path(__file__).parents[1]
ASSETS = Path(str(files("spoken_digits") / "assets"))
MODEL = ASSETS / "digits.onnx"


def read_results(file: Path) -> dict[str, Any]:
    """Return what a benchmark has measured before, nothing where nothing was."""
    if not file.exists():
        return {}
    results: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return results


@dataclass(frozen=True)
class Row:
    """One line of the table.

    With a `peer` the bar is the least `ratio` (peer / ours); without it the most that `ours` is
    allowed. Without a bar a row is there to compare.
    """

    what: str
    ours: float
    unit: str
    bar: float | None
    peer: float | None = None
    ratio: float | None = None
    rounds: list[list[float]] | None = None  # every round: ours, peer

    @property
    def reached(self) -> bool:
        """Whether the bar is reached."""
        if self.bar is None:
            return True
        return self.ours <= self.bar if self.ratio is None else self.ratio >= self.bar


@dataclass(frozen=True)
class Measure:
    """A function from "tiny sizes only?" to rows, and the threads that its process may use.

    Beside rows for the table of all measures, `peers` gives what each system reached.
    """

    run: "Callable[[bool], list[Row]] | Callable[[bool], list[Row | System]]"
    threads: int


def against(
    what: str,
    bar: float | None,
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int,
) -> Row:
    """Time two ways to do the same work in turns, after one turn that does not count."""
    taken = [[seconds(ours), seconds(peer)] for _ in range(rounds + 1)][1:]
    mine, theirs = (statistics.median(column) for column in zip(*taken, strict=True))
    return Row(what, mine, "s", bar, theirs, theirs / mine, taken)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def recordings(count: int) -> tuple[list[Any], str]:
    """Return samples at 8 kHz of this many clips and their source: FSDD, or noise as long as that.

    FSDD's clips last 0.44 s on average, with a deviation of 0.15 s, 0.14 to 2.28 s.
    """
    import numpy as np

    from spoken_digits.audio import read_audio, to_clip
    from spoken_digits.lab.data.corpora import find_corpus, read_corpus

    rng = np.random.default_rng(0)
    if find_corpus("fsdd"):
        clips = read_corpus("fsdd")
        chosen = rng.permutation(len(clips))[:count]
        return [to_clip(*read_audio(clips[i].file)) for i in chosen], "FSDD"
    lengths = (np.clip(rng.normal(0.44, 0.15, count), 0.14, 2.28) * SAMPLE_RATE).astype(int)
    bursts = [np.hanning(n) * rng.normal(0, 0.1, n) for n in lengths]
    return [burst.astype(np.float32) for burst in bursts], "made-up noise"


def in_memory(clips: list[Any]) -> Any:
    """Return clips as a prepared `Dataset`, with made-up labels."""
    import numpy as np

    from spoken_digits.lab.data.dataset import Dataset

    lengths = np.array([len(clip) for clip in clips])
    names = tuple("0123456789")
    return Dataset(
        clips=(),
        samples=np.concatenate(clips),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        label_names=names,
        targets=np.arange(len(clips)) % len(names),
    )


def epoch(smoke: bool, model: str, bar: float) -> list[Row]:
    """One epoch of training, batched, against a loop over single clips.

    Ours is `train` itself: initial weights, log-mels, averaged weights, a checkpoint and all. The
    peer trains the same network with the same optimizer on one clip after another, as the original
    study does: the log-mel spectrogram by librosa, then a step. Whether the original makes its
    spectrograms in every epoch is our guess: a second row gives the peer its own for nothing,
    computed beforehand.
    """
    import numpy as np
    import torch
    from torch.nn import functional

    from spoken_digits.lab.models import MODELS
    from spoken_digits.lab.training.config import TrainConfig
    from spoken_digits.lab.training.supervised import build_network, train

    count = 64 if smoke else 2_000
    clips, source = recordings(count)
    dataset = in_memory(clips)
    config = TrainConfig(
        model=model, front_end="original", augmentation="none", epochs=1, device="cpu"
    )
    beforehand = [librosa_log_mel(clip) for clip in clips]

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train(config, dataset, np.arange(count), Path(folder) / "run", quiet=True)

    def peer(spectrogram: Callable[[int], Any]) -> None:
        net = build_network(config, 10)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        for i in np.random.default_rng(0).permutation(count):
            x = torch.from_numpy(spectrogram(i)).float()[None]
            scores = net.classify(x, torch.ones(1, 1, x.shape[-1])).scores
            loss = functional.cross_entropy(scores, torch.tensor([dataset.targets[i]]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    what = (
        f"one epoch over {count:,} clips ({source}), {MODELS[model].title}, "
        f"{torch.get_num_threads()} threads, against batches of one"
    )
    rounds = 1 if smoke else 5
    return [
        against(what, bar, ours, lambda: peer(lambda i: librosa_log_mel(clips[i])), rounds),
        against(
            f"{what} on log-mels made beforehand", None, ours, lambda: peer(beforehand.__getitem__),
            rounds,
        ),
    ]  # fmt: skip


def librosa_log_mel(clip: Any) -> Any:
    """Return a clip's log-mel spectrogram as the original study makes it: (13, T).

    One call a clip, logarithm, every band scaled to zero mean and unit deviation by scikit-learn.
    """
    import librosa
    import numpy as np
    from sklearn.preprocessing import scale

    mel = librosa.feature.melspectrogram(
        y=clip, sr=SAMPLE_RATE, n_fft=200, hop_length=80, n_mels=13, fmin=50, fmax=4000
    )
    return scale(20 * np.log10(np.where(mel == 0, np.finfo(float).eps, mel)), axis=1)


def training(smoke: bool) -> list[Row]:
    """Train the strong model, without labels, and the network for strings, against another commit.

    SPOKEN_DIGITS_BENCH_AGAINST names a checkout of that commit (`--against`); without it, there is
    no peer. Both trees train in turns, each in a process of its own with one thread, after one turn
    that does not count. The ratio is of CPU time, which other programs on the machine disturb less.
    """
    from spoken_digits.lab.data.corpora import find_corpus

    if not find_corpus("fsdd"):
        return skipped("FSDD is not at hand: spoken-digits corpus fetch fsdd")
    checkout = os.environ.get(AGAINST)
    part = 0.005 if smoke else float(os.environ.get(f"{AGAINST}_PART", 0.05))
    rounds = int(os.environ.get(f"{AGAINST}_ROUNDS", 1 if smoke else 3))
    trees = [REPOSITORY, *([Path(checkout)] if checkout else [])]
    processes = [
        subprocess.Popen(
            [sys.executable, str(REPOSITORY / "benchmarks" / "training_rounds.py"), str(part)],
            env=os.environ | {"PYTHONPATH": str(tree / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for tree in trees
    ]
    rows = []
    try:
        for process in processes:
            answer(process)
        for kind, what, bar in TRAININGS:
            taken = [[answer(p, kind) for p in processes] for _ in range(rounds + 1)][1:]
            what = f"{what}, {part:.1%} of the epochs, one thread"
            rows += training_rows(what, bar, taken, checkout)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return rows


AGAINST = "SPOKEN_DIGITS_BENCH_AGAINST"
TRAININGS = (
    ("fold", "training the 2-D CNN (ensemble of two), one fold of leave-one-out", 2.0),
    ("seed", "contrastive study, one seed", 1.5),
    ("small", "strings, a network as large as that of c3bd05b", 1.5),
    ("strings", "strings, the network that ships: 6 layers over time for 2, 192 wide for 96", None),
)


def answer(process: "subprocess.Popen[str]", kind: str | None = None) -> Any:
    """Let a process of `training_rounds` train; return wall and CPU seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    if kind:
        process.stdin.write(f"{kind}\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process that trains has ended; see its message above")
    return None if kind is None else json.loads(line)


def training_rows(
    what: str, bar: float | None, taken: list[list[list[float]]], checkout: str | None
) -> list[Row]:
    """Make rows of rounds of (wall, CPU) seconds, ours first; the bar is that of CPU time."""
    rows = []
    for kind, column, limit in (("CPU time", 1, bar), ("wall time", 0, None)):
        rounds = [[process[column] for process in turn] for turn in taken]
        ours = statistics.median(turn[0] for turn in rounds)
        if checkout is None:
            rows.append(Row(f"{what}, {kind}", ours, "s", None, rounds=rounds))
            continue
        peer = statistics.median(turn[1] for turn in rounds)
        ratio = statistics.median(turn[1] / turn[0] for turn in rounds)
        name = f"{what}, {kind}, against {commit_of(checkout)}"
        rows.append(Row(name, ours, "s", limit, peer, ratio, rounds))
    return rows


def commit_of(checkout: str) -> str:
    if not (Path(checkout) / ".git").exists():
        return Path(checkout).name
    return subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def log_mel(smoke: bool) -> list[Row]:
    """Log-mel spectrograms of clips in memory, against a librosa call a clip."""
    import numpy as np
    import torch

    from spoken_digits.lab.features import FRONT_ENDS, LogMel

    count = 100 if smoke else 3_000
    clips, source = recordings(count)
    dataset, front_end = in_memory(clips), LogMel(FRONT_ENDS["original"])
    by_length = np.argsort(dataset.lengths)

    def ours() -> None:
        with torch.inference_mode():
            for start in range(0, count, 8):  # few at once: what they take stays in the cache
                front_end(*dataset.batch(by_length[start : start + 8]))

    def peer() -> None:
        for clip in clips:
            librosa_log_mel(clip)

    what = f"log-mel of {count:,} clips ({source}) from memory, one thread, against librosa"
    return [against(what, 15, ours, peer, rounds=1 if smoke else 7)]


def augment(smoke: bool) -> list[Row]:
    """Augment by the policy `speaker`, samples to log-mel, against a chain of audiomentations.

    The peer has no vocal tract length, no bends and no styles: it places, shifts pitch, stretches
    time, equalizes and adds noise, one clip after another, as its users do; librosa makes log-mels.
    It is timed on a thirtieth of the clips, and that time multiplied.
    """
    import audiomentations
    import librosa
    import numpy as np
    import torch

    from spoken_digits.lab.augmentation.policies import POLICIES, augmented_log_mel
    from spoken_digits.lab.features import FRONT_ENDS, LogMel

    count = 64 if smoke else 3_000
    clips, source = recordings(count)
    dataset, front_end = in_memory(clips), LogMel(FRONT_ENDS["ours"])
    by_length = np.argsort(dataset.lengths)
    few = clips[: max(16, count // 30)]  # it takes its time
    chain = audiomentations.Compose(
        [
            audiomentations.PitchShift(-5, 5, p=1),
            audiomentations.TimeStretch(0.7, 1.42, leave_length_unchanged=False, p=1),
            audiomentations.PeakingFilter(100, 3_500, -8, 8, p=1),
            audiomentations.AddGaussianSNR(0, 50, p=1),
        ]
    )

    def ours() -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for start in range(0, count, 64):
                batch = dataset.batch(by_length[start : start + 64])
                augmented_log_mel(front_end, *batch, POLICIES["speaker"], generator)

    def peer() -> None:
        for clip in few:
            changed = chain(np.pad(clip, 480), SAMPLE_RATE)
            mel = librosa.feature.melspectrogram(
                y=changed, sr=SAMPLE_RATE, n_fft=200, hop_length=80, n_mels=40, fmax=4000
            )
            librosa.power_to_db(mel)

    row = against("", None, ours, peer, rounds=1 if smoke else 5)
    assert row.peer is not None
    theirs = row.peer * count / len(few)
    what = f"policy speaker on {count:,} clips ({source}), samples to log-mel, one core"
    return [
        Row(what, row.ours, "s", 1.0),
        Row(f"{what}, against audiomentations", row.ours, "s", None, theirs, theirs / row.ours),
    ]


def recognize(smoke: bool) -> list[Row]:
    """Time samples in memory to an answer; the size of the file that answers."""
    import spoken_digits

    if not MODEL.exists():
        return skipped(f"{MODEL.name} does not ship yet")
    clips, source = recordings(20 if smoke else 500)
    recognizer = spoken_digits.load()
    for clip in clips[:20]:
        recognizer(clip, SAMPLE_RATE)
    taken = [seconds(lambda clip=clip: recognizer(clip, SAMPLE_RATE)) for clip in clips]
    what = f"recognize: samples ({source}) to answer, one thread"
    return [
        Row(f"{what}, median", statistics.median(taken) * 1e3, "ms", 2),
        Row("recognize: the model's file", MODEL.stat().st_size / 1e6, "MB", 1),
    ]


def many_files(smoke: bool) -> list[Row]:
    """Ten thousand files through `recognize --json`, against another commit, or one after another.

    FSDD's under other names, read once before. SPOKEN_DIGITS_BENCH_AGAINST names a checkout of the
    other commit (`--against`); without it, the peer is a loop over single files in a process of its
    own. Both take turns; what differs between their digits is printed. Time by the wall needs two
    idle cores.
    """
    import shutil

    from spoken_digits.lab.data.corpora import find_corpus, read_corpus

    if not find_corpus("fsdd"):
        return skipped("FSDD is not at hand: spoken-digits corpus fetch fsdd")
    total, checkout = 60 if smoke else 10_000, os.environ.get(AGAINST)
    clips = [clip.file for clip in read_corpus("fsdd")]
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{i:05d}.wav" for i in range(total)]
        for i, name in enumerate(names):  # in no order of speakers or digits
            shutil.copyfile(clips[i * 7_919 % len(clips)], Path(folder, name))
        ours = [sys.executable, "-m", "spoken_digits", "recognize", "--json", *names]
        loop = (
            "import json, sys, spoken_digits; recognizer = spoken_digits.load()\n"
            "for file in sys.argv[1:]:\n"
            "    answer = recognizer(file)\n"
            "    row = {'digit': answer.digit, 'probabilities': answer.probabilities}\n"
            "    print(json.dumps(row), flush=True)"
        )
        trees = [(ours, REPOSITORY)]
        trees += (
            [(ours, Path(checkout))]
            if checkout
            else [([sys.executable, "-c", loop, *names], REPOSITORY)]
        )
        taken, digits = [], []
        for _ in range(1 if smoke else 5):
            runs = [timed_answers(command, tree, folder) for command, tree in trees]
            taken.append([(wall, cpu) for wall, cpu, _ in runs])
            digits = [found for *_, found in runs]
    other = sum(one != two for one, two in zip(*digits, strict=True))
    print(f"digits other than the peer's: {other:,} of {total:,}", file=sys.stderr)
    rows = []
    for kind, column, bar in (("wall time", 0, 3.0), ("CPU time", 1, None)):
        rounds = [[run[column] for run in turn] for turn in taken]
        mine, theirs = (statistics.median(each) for each in zip(*rounds, strict=True))
        ratio = statistics.median(peer / own for own, peer in rounds)
        against_what = commit_of(checkout) if checkout else "one at a time"
        what = f"recognize {total:,} files (FSDD), {kind}, against {against_what}"
        rows.append(Row(what, mine, "s", bar if checkout else None, theirs, ratio, rounds))
    return rows


def timed_answers(
    command: list[str], tree: Path, folder: str
) -> tuple[float, float, list[int | None]]:
    """Run a command of a tree in a folder: wall and CPU seconds, and the digits that it gave."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, [json.loads(line)["digit"] for line in done.stdout.splitlines()]


def transcribe(smoke: bool) -> list[Row]:
    """Time a recording at 16 kHz to its digits, and the same as a stream of 20 ms chunks."""
    import numpy as np

    from spoken_digits.connected import SHIPPED_STRINGS, Transcriber

    if not SHIPPED_STRINGS.exists():
        return skipped(f"{SHIPPED_STRINGS.name} does not ship yet")
    clips, source = recordings(10 if smoke else 120)
    pause = np.zeros(SAMPLE_RATE // 4, np.float32)
    samples = np.repeat(np.concatenate([part for clip in clips for part in (clip, pause)]), 2)
    duration_s = len(samples) / (2 * SAMPLE_RATE)
    transcriber = Transcriber()

    def stream() -> None:
        heard = transcriber.stream(2 * SAMPLE_RATE)
        for begin in range(0, len(samples), 320):
            heard.feed(samples[begin : begin + 320])
        heard.finish()

    ways = {
        "at once": lambda: transcriber(samples, 2 * SAMPLE_RATE),
        "a stream in chunks of 20 ms": stream,
    }
    what = f"transcribe: time a second of sound ({source}, 16 kHz), one thread"
    rows = []
    for name, work in ways.items():
        taken = [seconds(work) for _ in range(2 if smoke else 6)][1:]
        rows.append(Row(f"{what}, {name}", statistics.median(taken) / duration_s, "s", 0.05))
    size = SHIPPED_STRINGS.stat().st_size / 1e6
    return [*rows, Row("transcribe: the model's file", size, "MB", 2)]


def start(smoke: bool) -> list[Row]:
    """From the start of a process to its first answer, and the memory that it took."""
    if not MODEL.exists():
        return skipped(f"{MODEL.name} does not ship yet")
    recording = min((ASSETS / "voices" / "7").glob("*.flac"))
    command = [sys.executable, "-m", "spoken_digits", "recognize", str(recording)]
    taken, memory = [], []
    for _ in range(3 if smoke else 25):
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            taken.append(time.perf_counter() - begin)
            process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        memory.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6)
    # The first start reads the files from disk: a cost of the machine that day.
    what = "recognize: process start to first answer"
    return [
        Row(f"{what}, median", statistics.median(taken[1:]), "s", 0.4),
        Row(f"{what}, best", min(taken), "s", 0.4),
        Row("recognize: peak memory", statistics.median(memory), "MB", 120),
    ]


def pocketsphinx(smoke: bool) -> list[Row]:
    """Accuracy and time beside PocketSphinx 5: its own English model, a grammar of the ten digits.

    Both get the same samples in memory: the original study's test list (503 clips) of two speakers,
    and the digits of Speech Commands, in one random order. What the peer gets:
    `benchmarks.peers.pocketsphinx`. Ours is `recognize` with rejection off, on 8 kHz like always.
    BENCH_MODEL names another model than the shipped one: one that was trained on none of these
    speakers, where it was.
    """
    import numpy as np

    import spoken_digits
    from benchmarks import peers as others
    from spoken_digits.audio import read_audio
    from spoken_digits.lab.data.corpora import DIGIT_WORDS, find_corpus, read_corpus
    from spoken_digits.lab.evaluation.exported import seen_speakers

    try:
        peer = others.pocketsphinx(" | ".join(DIGIT_WORDS))
    except ModuleNotFoundError:
        return skipped("pocketsphinx is not installed: pip install 'spoken-digits[bench]'")
    recognizer = spoken_digits.load(os.environ.get("BENCH_MODEL", MODEL), threshold=0)

    def ours(samples: Any, rate: float) -> str:
        return recognizer(samples, rate).label

    rows = []
    for name, title in (("fsdd", "FSDD's list"), ("speech_commands", "Speech Commands")):
        if find_corpus(name) is None:
            continue
        clips = [
            clip
            for clip in read_corpus(name)
            if clip.label.isdigit() and (name != "fsdd" or clip.split == "TEST")
        ]
        clips = [clips[i] for i in np.random.default_rng(0).permutation(len(clips))]
        clips = clips[: 20 if smoke else None]
        right, taken = [], []
        for clip in clips:
            recording = read_audio(clip.file)
            row, spent = [], []
            for hear in (ours, peer):
                begin = time.perf_counter()
                row.append(hear(*recording) == clip.label)
                spent.append(time.perf_counter() - begin)
            right.append(row)
            taken.append(spent)
        known = " (speakers that ours was trained on)" if seen_speakers(recognizer, clips) else ""
        what = f"{len(clips):,} digits of {title}{known}, against PocketSphinx"
        (mine, theirs), (fast, slow) = np.mean(right, axis=0), np.median(taken, axis=0)
        rows += [
            Row(f"{what}: recognized", 100 * float(mine), "%", None, 100 * float(theirs)),
            Row(f"{what}: a clip, median", 1e3 * fast, "ms", None, 1e3 * slow, slow / fast),
        ]
    return rows or skipped("neither fsdd nor speech_commands is at hand")


def peers(smoke: bool) -> list["Row | System"]:
    """Accuracy and time beside PocketSphinx and Whisper base; see `benchmarks.peers`."""
    from benchmarks.peers import OURS, WHISPER, WHISPER_PROMPTED, compare

    systems = compare(smoke)
    ours = {system.test_set: system for system in systems if system.system == OURS}
    bars = dict.fromkeys((("an4", WHISPER), ("an4", WHISPER_PROMPTED)), 50.0)
    rows = [
        Row(
            f"{peer.test_set}, mean time of one, against {peer.system}",
            ours[peer.test_set].mean_s * 1e3,
            "ms",
            bars.get((peer.corpus, peer.system)),
            peer.mean_s * 1e3,
            peer.mean_s / ours[peer.test_set].mean_s,
        )
        for peer in systems
        if peer.system != OURS and not peer.subset
    ]
    return [*rows, *systems]


# In the page: when each block of the microphone came, and when each digit was first shown.
_WATCH = """
window.watched = { blocks: [], shown: [] };
const Original = window.AudioWorkletNode;
window.AudioWorkletNode = class extends Original {
  constructor(...given) {
    super(...given);
    this.port.addEventListener("message", ({ data }) => {
      if (data) window.watched.blocks.push([performance.now(), Array.from(data)]);
    });
  }
};
addEventListener("DOMContentLoaded", () => {
  const digits = document.getElementById("digits");
  const look = () => {
    const { shown } = window.watched;
    while (shown.length < digits.children.length) shown.push(performance.now());
  };
  new MutationObserver(look).observe(digits, { childList: true, subtree: true });
});
"""


def page(smoke: bool) -> list[Row]:
    """From the end of a spoken digit to its place on the page, in a headless Chromium.

    The microphone plays ten digits of a synthetic voice with pauses, twice: the networks are
    fetched and compiled at the first press, and the second is measured. When the end of a digit
    came in is read off what the page itself was given.
    """
    import shutil
    import threading

    import numpy as np
    import soundfile

    from spoken_digits import serve
    from spoken_digits.audio import find_speech, read_audio, resample

    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return skipped("playwright is not installed: pip install 'spoken-digits[dev]'")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    runtime = Path(serve.__file__).parent / "page" / "runtime"
    if not chromium or not runtime.is_dir():
        return skipped("needs Chromium, and the page's runtime: make web")
    count = 3 if smoke else 10
    parts, ends, length = [np.zeros(SAMPLE_RATE)], [], SAMPLE_RATE
    for digit in range(count):
        samples, _ = read_audio(ASSETS / "voices" / str(digit) / "gb-f5_0.flac")
        ends.append(length + find_speech(samples)[1] - round(0.06 * SAMPLE_RATE))  # its margin
        parts += [samples, np.zeros(round(0.8 * SAMPLE_RATE))]
        length += len(samples) + len(parts[-1])
    said = np.concatenate(parts)
    said = said + 3e-4 * np.random.default_rng(0).standard_normal(len(said))
    with (
        tempfile.TemporaryDirectory() as folder,
        serve.make_server() as server,
        sync_playwright() as driver,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = Path(folder, "microphone.wav")
        soundfile.write(file, resample(said.astype(np.float32), SAMPLE_RATE, 48_000), 48_000)
        browser = driver.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={file}%noloop",
            ],
        )
        tab = browser.new_page()
        tab.add_init_script(_WATCH)
        tab.goto(serve.page_address(server))
        for _ in range(2):
            tab.evaluate("window.watched = { blocks: [], shown: [] }")
            tab.locator("#speak").click()
            tab.wait_for_timeout(1000 * len(said) / SAMPLE_RATE + 1000)
            tab.locator("#speak").click()
            tab.locator("#status[data-kind=result]").wait_for()
            watched = tab.evaluate("window.watched")
        browser.close()
        server.shutdown()
    came_ms = np.array([at for at, _ in watched["blocks"]])
    last = np.cumsum([len(block) for _, block in watched["blocks"]])
    heard = np.concatenate([block for _, block in watched["blocks"]])
    # Where the file begins in what the page was given: where the two fit best.
    n = 2 ** int(np.ceil(np.log2(len(heard) + len(said))))
    fit = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(said, n)), n)
    begin = int(fit.argmax())
    begin -= n if begin > n // 2 else 0
    ended_ms = [came_ms[min(np.searchsorted(last, begin + end), len(last) - 1)] for end in ends]
    if len(watched["shown"]) != count:
        return skipped(f"the page heard {len(watched['shown'])} digits, expected {count}")
    late_ms = np.array(watched["shown"]) - np.array(ended_ms)
    what = "page: end of a spoken digit to its being shown"
    return [
        Row(f"{what}, the first after pressing", float(late_ms[0]), "ms", 150),
        Row(f"{what}, median of {count}", float(np.median(late_ms)), "ms", 150),
        Row(f"{what}, latest of {count}", float(late_ms.max()), "ms", None),
    ]


def study(smoke: bool) -> list[Row]:
    """Time the whole quick study, from nothing to its report."""
    if smoke:
        return skipped("the quick study takes minutes")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "spoken_digits", "study", "--quick", "--out", folder]
        taken = seconds(lambda: subprocess.run(command, stdout=sys.stderr, check=True))
    return [Row("`spoken-digits study --quick`", taken, "s", 300)]


def skipped(why: str) -> list[Row]:
    print(f"skipped: {why}", file=sys.stderr)
    return []


MEASURES: dict[str, Measure] = {
    "epoch-lstm": Measure(partial(epoch, model="lstm", bar=8), threads=2),
    "epoch-temporal-cnn": Measure(partial(epoch, model="temporal-cnn", bar=4), threads=2),
    "training": Measure(training, threads=1),
    "log-mel": Measure(log_mel, threads=1),
    "augment": Measure(augment, threads=1),
    "recognize": Measure(recognize, threads=1),
    "many-files": Measure(many_files, threads=1),
    "transcribe": Measure(transcribe, threads=1),
    "start": Measure(start, threads=1),
    "page": Measure(page, threads=1),
    "pocketsphinx": Measure(pocketsphinx, threads=1),
    "peers": Measure(peers, threads=1),
    "study": Measure(study, threads=1),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Run one measure here; `python -m benchmarks` runs all."
    )
    parser.add_argument("name", choices=MEASURES)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    found = MEASURES[arguments.name].run(arguments.smoke)
    rows = [asdict(row) | {"reached": row.reached} for row in found if isinstance(row, Row)]
    systems = [asdict(system) for system in found if not isinstance(system, Row)]
    print(json.dumps({"rows": rows, "systems": systems}))
