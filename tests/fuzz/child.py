"""Mutated files through all that reads them, in a process that may crash.

On standard output, one JSON object a line: where it is, {"stage": "file" or "batch", "at": INDEX};
what it has found, {"at": INDEX, "found": ...}; and counts of outcomes. Standard error is a file
of its own, and stays empty.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests.fuzz.files import Kind, kinds, valid_files
from tests.fuzz.mutations import mutate

import spoken_digits
from spoken_digits import Transcriber, load
from spoken_digits.cli import main
from spoken_digits.networks import SHIPPED_MODEL
from spoken_digits.reading import AudioError, AudioWarning, open_audio

try:  # the extra `train`
    from tests.fuzz.texts import make_recipe, make_table

    from spoken_digits.lab.studies.tasks import read_task
    from spoken_digits.lab.training.config import ConfigError
except ImportError:
    make_table = None

if TYPE_CHECKING:
    from tests.fuzz.browser import Browser

# Of processor time, for each reader of a file, and more for each second of sound in it: mutated
# frames of one byte are a long recording.
MAX_S, MAX_S_A_SECOND = 2.0, 0.01
MAX_MEMORY = 1 << 30  # bytes of address space beyond what is loaded at the start
MAX_WAIT_S = 1_800  # for a batch: beyond, it waits for something, even on a busy machine
# What it prints cannot be kept from who calls the package; the command keeps it to itself.
_MPG123 = re.compile(r"\s*$|\[src/libmpg123/|Note: |Warning: (.*Frankenstein|Xing stream size off)")
_MORE = re.compile(r"[\d,]+ more files? ha(s|ve) no header: ")
PAGE = Path(spoken_digits.__file__).parent / "page"


@dataclass(frozen=True)
class Case:
    """A mutated file."""

    index: int
    kind: Kind
    content: bytes
    mutations: str

    @property
    def name(self) -> str:
        """Of its file, in the layout of a corpus."""
        return f"7/fuzz_{self.index}{self.kind.suffix}"

    def __str__(self) -> str:
        return f"{self.kind.name}: {self.mutations}"


@cache
def _chosen(pattern: str) -> tuple[Kind, ...]:
    return tuple(kinds(pattern).values())


def make_case(seed: int, index: int, pattern: str = "*") -> Case:
    """Make the file of an index; the kinds are those at hand whose name matches."""
    rng = np.random.default_rng([seed, index])
    chosen = _chosen(pattern)
    kind = chosen[rng.integers(len(chosen))]
    files = valid_files(kind)
    others = (*files, *valid_files(chosen[rng.integers(len(chosen))]))
    content, mutations = mutate(files[rng.integers(len(files))], rng, others)
    return Case(index, kind, content, mutations)


class Child:
    """Readers, and what they have found."""

    def __init__(
        self, folder: Path, seed: int, *, node: bool, browser: "Browser | None" = None
    ) -> None:
        self.folder, self.seed, self.node, self.browser = folder, seed, node, browser
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print there is noise, too
        self.peak = _peak_bytes()
        (wav,) = kinds("WAV/PCM_16").values()
        self.whole = valid_files(wav)
        self.outcomes: Counter[str] = Counter()
        recognizer, transcriber = load(), Transcriber()
        self.readers: dict[str, Callable[[Path, Case], object]] = {
            "recognize": lambda path, case: _sound(recognizer(path, encoding=case.kind.encoding)),
            "transcribe": lambda path, case: transcriber(path, encoding=case.kind.encoding),
        }
        (folder / "page").mkdir()
        (folder / "page" / "package.json").write_text('{"type": "module"}')
        for module in PAGE.glob("*.js"):
            shutil.copy(module, folder / "page")

    def say(self, **row: object) -> None:
        print(json.dumps(row), file=self.out, flush=True)

    def find(self, case: Case, found: str) -> None:
        self.outcomes["found"] += 1
        self.say(at=case.index, found=f"{case}: {found}")

    def noise(self, case: Case, what: str) -> None:
        """Find what libraries have printed since."""
        if os.fstat(2).st_size:
            said = os.pread(2, 2_000, 0).decode(errors="replace")
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)
            if what != "batch" and all(map(_MPG123.match, said.splitlines())):
                self.outcomes[f"{what}: libmpg123 prints"] += 1
            else:
                self.find(case, f"{what}: on standard error: {said}")

    def read(self, case: Case, path: Path) -> None:
        """Give a file to each reader: an answer or an error of the package, and no noise."""
        max_s = MAX_S + MAX_S_A_SECOND * self.duration_s(path, case)
        for what, reader in self.readers.items():
            signal.setitimer(signal.ITIMER_PROF, max_s)
            try:
                reader(path, case)
                self.outcomes[f"{what}: answered"] += 1
            except AudioError as error:
                self.outcomes[f"{what}: refused"] += 1
                if not str(error).isprintable():
                    self.find(case, f"{what}: an error that is no line of text: {error!r}")
            except BaseException as error:
                self.find(case, f"{what}: {_place(error)}")
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.noise(case, what)
        if (more := _peak_bytes() - self.peak) > MAX_MEMORY // 2:
            self.find(case, f"{more >> 20} MB more")
            self.peak += more

    def duration_s(self, path: Path, case: Case) -> float:
        """Return the seconds of sound that are decoded, up to where a file is refused."""
        count, rate = 0, 1.0
        signal.setitimer(signal.ITIMER_PROF, MAX_S)
        try:
            with open_audio(path, encoding=case.kind.encoding) as recording:
                rate = recording.sample_rate
                for block in recording:
                    count += len(block)
        except AudioError:
            pass
        except BaseException as error:
            self.find(case, f"decoding: {_place(error)}")
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.noise(case, "decode")
        return count / rate

    def run(self, cases: list[Case]) -> None:
        """Take a batch of files, one by one and together."""
        corpus = self.folder / "corpus"
        (corpus / "7").mkdir(parents=True)
        signal.alarm(MAX_WAIT_S)
        files_open = _count_open()
        for case in cases:
            self.say(stage="file", at=case.index)
            path = corpus / case.name
            path.write_bytes(case.content)
            self.read(case, path)
        self.say(stage="batch", at=cases[0].index)
        self.command(cases, corpus)
        self.noise(cases[0], "batch")
        if self.node:
            self.page(cases, corpus)
        if self.browser:
            self.browse(cases)
        if make_table:
            self.texts(cases, corpus)
        left = {path.relative_to(self.folder).as_posix() for path in corpus.rglob("*.*")}
        left = left ^ {f"corpus/{case.name}" for case in cases}
        left |= {path.name for path in self.folder.iterdir()} ^ {"corpus", "page"}
        if left:
            self.find(cases[0], f"batch: files left: {sorted(left)}")
        # The server of the page closes what Chromium keeps open whenever it will.
        if (count := _count_open()) != files_open and not self.browser:
            self.find(cases[0], f"batch: {count - files_open} files left open")
        shutil.rmtree(corpus)
        signal.alarm(0)
        self.say(stage="batch", at=cases[0].index, outcomes=self.outcomes)
        self.outcomes = Counter()

    def command(self, cases: list[Case], corpus: Path) -> None:
        """Run the command: each file is answered, or named in an error."""
        signal.setitimer(signal.ITIMER_PROF, MAX_S + 0.2 * len(cases))
        named = {str(corpus / case.name): case for case in cases if case.kind.encoding is None}
        status, out, err = _run_command("recognize", "--json", *named)
        rows = [json.loads(line) for line in out]
        if status not in (0, 1) or [row["file"] for row in rows] != list(named):
            self.find(cases[0], f"recognize FILE...: status {status}, said {err[-1:]}")
        for line in err:
            text = line.removeprefix("spoken-digits: ")
            if not (text.startswith(tuple(named)) or _MORE.match(text)):
                self.find(cases[0], f"recognize FILE...: said {line}")
        self.noise(cases[0], "batch")
        status, out, err = _run_command("corpus", "check", str(corpus))
        if status not in (0, 1) or err or not out[-1].startswith(f"{corpus}: {len(cases)} clips"):
            self.find(cases[0], f"corpus check: status {status}, said {[*out, *err][-1:]}")
        signal.setitimer(signal.ITIMER_PROF, 0)

    def texts(self, cases: list[Case], corpus: Path) -> None:
        """Give a table of whole files, and of one that is not, to the command; read a recipe."""
        files = [f"7/{i}_whole.wav" for i in range(len(self.whole))]
        for file, content in zip(files, self.whole, strict=True):
            (corpus / file).write_bytes(content)
        content, suffix, said = make_table(self.seed, cases[0].index, [*files, cases[0].name])
        table = corpus / f"table{suffix}"
        table.write_bytes(content)
        for verb in (("corpus", "check"), ("evaluate", str(SHIPPED_MODEL), "--corpus")):
            signal.setitimer(signal.ITIMER_PROF, 2 * MAX_S)
            status, out, err = _run_command(*verb, str(table))
            signal.setitimer(signal.ITIMER_PROF, 0)
            text = [line for line in (*out, *err) if "should not happen" in line]
            if status not in (0, 1) or text or (status == 1 and not (out or err)):
                self.find(cases[0], f"{verb[0]} of a table ({said}): {status} {text or err[-1:]}")
            self.noise(cases[0], "batch")
            self.outcomes[f"table, {verb[0]}: {'refused' if status else 'answered'}"] += 1
        for path in (table, *(corpus / file for file in files)):
            path.unlink()
        content, said = make_recipe(self.seed, cases[0].index)
        table.with_name("recipe.toml").write_bytes(content)
        try:
            read_task(table.with_name("recipe.toml"), "train", {})
            self.outcomes["recipe: read"] += 1
        except ConfigError:
            self.outcomes["recipe: refused"] += 1
        except BaseException as error:
            self.find(cases[0], f"recipe ({said}): {_place(error)}")
        table.with_name("recipe.toml").unlink()

    def browse(self, cases: list[Case]) -> None:
        """Read the files in Chromium, those of WAV aside, which the page reads itself."""
        for case in cases:
            if case.kind.name.startswith("WAV/"):
                continue
            try:
                said = self.browser.read(case.content)
            except Exception as error:  # the page has crashed, or reads for too long
                said = _place(error)
            self.outcomes[f"browser: {said}"[:40]] += 1
            if said not in ("read", "refused"):
                self.find(case, f"browser: {said}")

    def page(self, cases: list[Case], corpus: Path) -> None:
        """Read the files in node, as the page reads WAV."""
        paths = {str(corpus / case.name): case for case in cases}
        run = subprocess.run(
            ["node", Path(__file__).with_name("page.mjs"), self.folder / "page", *paths],
            capture_output=True,
            check=False,
            text=True,
            timeout=MAX_WAIT_S,
            preexec_fn=_limit_node,
        )
        rows = [line.partition("\t") for line in run.stdout.splitlines()]
        for path, _, said in rows:
            self.outcomes[f"page: {said}"] += said in ("read", "refused")
            if said not in ("read", "refused"):
                self.find(paths[path], f"page: {said or f'ended by {run.returncode}'}")
        if run.returncode or run.stderr or len(rows) != len(paths):
            self.find(cases[0], f"page: status {run.returncode}, said {run.stderr[-500:]}")


def _count_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _limit_node() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (4, 4))  # seconds, for a batch
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)  # it reserves much


def _run_command(*arguments: str) -> tuple[object, list[str], list[str]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: object = main(arguments)
        except BaseException as error:
            status = _place(error)
    return status, out.getvalue().splitlines(), err.getvalue().splitlines()


def _sound(answer: object) -> None:
    """Check that a recognizer's answer is one."""
    values = [answer.score, answer.probability, *answer.probabilities]  # type: ignore[attr-defined]
    if not all(math.isfinite(x) and 0 <= x <= 1 for x in values):
        raise ArithmeticError(f"{values}: expected probabilities")


def _place(error: BaseException) -> str:
    """Return an exception and where it was raised, in one line."""
    trace, places = error.__traceback__, []
    while trace:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({', '.join(places[-4:])})"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--seed", "--start", "--stop", "--batch"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--kinds", default="*")
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    faulthandler.enable()
    # The kernel ends what runs too long; before that, the place is written to standard error.
    faulthandler.register(signal.SIGPROF, chain=True)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", AudioWarning)
    browser = None
    if arguments.browser:
        from tests.fuzz.browser import Browser

        browser = Browser()
    node = shutil.which("node") is not None
    child = Child(Path.cwd(), arguments.seed, node=node, browser=browser)
    _chosen(arguments.kinds)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY, resource.RLIM_INFINITY))
    for first in range(arguments.start, arguments.stop, arguments.batch):
        indices = range(first, min(arguments.stop, first + arguments.batch))
        child.run([make_case(arguments.seed, i, arguments.kinds) for i in indices])
    if browser:
        browser.close()
    child.say(stage="end", at=arguments.stop, processor_s=sum(os.times()[:4]))


if __name__ == "__main__":
    _main()
