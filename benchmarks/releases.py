"""The same recordings on other releases of what answers depend on: `python -m benchmarks.releases`.

For each release an environment is made in a temporary folder, with that release pinned and every
other package at the newest release of the list, and the code of this tree; no torch, no extras. It
answers the shipped synthetic speech, one digit a file, and strings joined of it, as files and as
streams. docs/releases.md and results/releases.json are written from it, a row at a time: a row that
is up to date is not measured again.

To add a release, append it to `RELEASES`: what is last there is the newest.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measures import ASSETS, REPOSITORY, read_results

RESULTS = REPOSITORY / "results" / "releases.json"
PAGE = REPOSITORY / "docs" / "releases.md"
MARKER = "releases"

RELEASES = {  # from the lower bound of pyproject.toml to the newest
    "onnxruntime": ("1.20.0", "1.22.1", "1.24.4", "1.26.0", "1.28.0", "1.30.0", "1.32.0"),
    "numpy": ("1.26.0", "2.4.6"),
    "soxr": ("0.5.0", "1.1.0"),
    "soundfile": ("0.13.0", "0.14.0"),
}
NEWEST, OLDEST = "newest of all", "oldest of all"
CLIPS_A_DIGIT = 10
STRING_LENGTHS = (4, 7, 10)  # digits
RATES = (8_000, 16_000, 44_100)  # Hz, of the strings
ENDINGS = (".flac", ".ogg", ".opus", ".mp3")  # in which the first string is written, too
GAP_S = 0.1  # of silence before, between and after the digits of a string
BLOCK_S = 0.1  # of a stream
STARTS = 5  # of which the median counts
ROUNDS = 3  # of which the fastest counts
DEAD_PROXY = "http://127.0.0.1:9"  # so that a package that reports its use reaches nobody

Row = dict[str, Any]
Rows = Mapping[str, Row]


def wanted() -> dict[str, dict[str, str]]:
    """Return the rows to be measured, by name: the release of each package."""
    newest = {name: releases[-1] for name, releases in RELEASES.items()}
    rows = {NEWEST: newest, OLDEST: {name: releases[0] for name, releases in RELEASES.items()}}
    for name, releases in RELEASES.items():
        rows |= {f"{name} {release}": newest | {name: release} for release in releases[:-1]}
    return rows


# What is answered: this part runs on the release that is measured, and imports little


def clips() -> list[Path]:
    """Return shipped files of single digits: of each digit as many voices, not always the same."""
    found = []
    for digit in range(10):
        files = sorted((ASSETS / "voices" / str(digit)).glob("*.flac"))
        found += [files[i * len(files) // CLIPS_A_DIGIT + digit] for i in range(CLIPS_A_DIGIT)]
    return found


def answer(folder: Path, files: Sequence[Path], rounds: int = ROUNDS) -> Row:
    """Recognize these files and those of `write_inputs`, transcribe its strings; what it took.

    An answer is a text: digits; their probabilities; their starts and ends in s. The hash is of the
    numbers as they are, and of what the networks gave beside them.
    """
    import numpy as np
    import soundfile

    import spoken_digits

    recognizer, transcriber = spoken_digits.load(), spoken_digits.Transcriber()
    answers, content, taken = dict[str, str](), hashlib.sha256(), list[float]()
    for _ in range(rounds):
        start = time.process_time()
        recognized = [recognizer(file) for file in files]
        taken.append(time.process_time() - start)
    singles = sorted((folder / "digits").glob("*/*.wav"))
    recognized += [recognizer(file) for file in singles]
    for file, found in zip([*files, *singles], recognized, strict=True):
        digit = "" if found.digit is None else str(found.digit)
        times = [found.start_s, found.end_s]
        answers[f"{file.parent.name}/{file.name}"] = words(digit, [found.probability], times)
        content.update(np.array([*found.probabilities, found.score, *times]).tobytes())
        content.update(found.log_mel.tobytes())
    transcribed, spoken_s = list[float](), 0.0
    for file in sorted((folder / "strings").iterdir()):
        start = time.process_time()
        whole = transcriber(file)
        transcribed.append(time.process_time() - start)
        spoken_s += whole.duration_s
        samples, rate = soundfile.read(file, dtype="float32")
        stream, block = transcriber.stream(rate), round(BLOCK_S * rate)
        streamed = [
            each
            for i in range(0, len(samples), block)
            for each in stream.feed(samples[i : i + block]).segments
        ]
        streamed += stream.finish().segments
        for kind, segments in (("file", whole.segments), ("stream", streamed)):
            digits = "".join(str(each.digit) for each in segments)
            probabilities = [each.probability for each in segments]
            times = [time_s for each in segments for time_s in (each.start_s, each.end_s)]
            answers[f"{file.name}, {kind}"] = words(digits, probabilities, times)
            content.update(digits.encode() + np.array([*probabilities, *times]).tobytes())
    import soxr

    libraries = {"libsndfile": soundfile.__libsndfile_version__}
    libraries["libsoxr"] = getattr(soxr, "__libsoxr_version__", "unknown")
    return {
        "answers": answers,
        "sha256": content.hexdigest(),
        "clip_ms": 1e3 * min(taken) / len(files),
        "string_ms_per_s": 1e3 * sum(transcribed) / spoken_s,
        "peak_mb": peak_mb(),
        "libraries": libraries,
    }


def words(digits: str, probabilities: Iterable[float], times: Iterable[float]) -> str:
    numbers = (" ".join(f"{each:.9g}" for each in some) for some in (probabilities, times))
    return "; ".join([digits, *numbers])


def peak_mb() -> float | None:
    """Return the most memory this process held, MB of 1e6 bytes; None where Linux does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text("ascii").splitlines() if status.exists() else []
    kib = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1_024 * int(kib[0]) / 1e6 if kib else None


# The environments


def write_inputs(folder: Path) -> str:
    """Write strings, at each rate and in each format, and single digits at the other rates.

    What is transcribed lies in `strings`, what is recognized in `digits`. The hash of what was
    written, and of the shipped files, is returned.
    """
    import numpy as np
    import soundfile

    from spoken_digits.audio import resample

    content, files = hashlib.sha256(), clips()
    rng = np.random.default_rng(0)

    def write(name: str, samples: Any, rate: float, target: int) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        at_rate = np.clip(resample(samples, rate, target), -1, 1)
        soundfile.write(file, at_rate, target, subtype="PCM_16")
        content.update(file.read_bytes())

    for file in files:
        content.update(file.read_bytes())
    for file in files[::CLIPS_A_DIGIT]:
        samples, rate = soundfile.read(file, dtype="float32")
        for target in RATES[1:]:
            write(f"digits/{file.parent.name}/{target}.wav", samples, rate, target)
    for length in STRING_LENGTHS:
        chosen = [files[i] for i in rng.permutation(len(files))[:length]]
        digits, parts = "".join(file.parent.name for file in chosen), list[Any]()
        for file in chosen:
            samples, rate = soundfile.read(file, dtype="float32")
            parts += [np.zeros(round(GAP_S * rate), np.float32), samples]
        string = np.concatenate([*parts, parts[0]])
        for target in RATES:
            write(f"strings/{digits}-{target}.wav", string, rate, target)
    first = next(folder.glob(f"strings/{'?' * STRING_LENGTHS[0]}-16000.wav"))
    for ending in ENDINGS:
        samples, rate = soundfile.read(first, dtype="int16")
        kind = {"format": "OGG", "subtype": "OPUS"} if ending == ".opus" else {}
        soundfile.write(first.with_suffix(ending), samples, rate, **kind)
    return content.hexdigest()


def install(folder: Path, versions: Mapping[str, str]) -> tuple[Path, str]:
    """Make an environment; return its Python and, if it could not be made, why."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pins = [f"{name}=={version}" for name, version in versions.items()]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-compile", "--only-binary", ":all:"]
    done = subprocess.run([*command, *pins], capture_output=True, text=True, check=False)
    if not done.returncode:
        return python, ""
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return python, (said or done.stderr.strip().splitlines() or ["pip failed"])[0][:300]


def size_mb(python: Path) -> float:
    """Return what is installed beside the standard library, MB of 1e6 bytes, without caches."""
    files = python.parents[1].glob("lib/python*/site-packages/**/*")
    sizes = (f.stat().st_size for f in files if f.is_file() and "__pycache__" not in f.parts)
    return sum(sizes) / 1e6


def run(
    python: Path, arguments: Sequence[str | Path], home: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with the code of this tree and a home of its own, empty at first."""
    home.mkdir(exist_ok=True)
    keep = {name: value for name in ("PATH", "LANG") if (value := os.environ.get(name))}
    own = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(home))
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), DEAD_PROXY)
    path = os.pathsep.join(map(str, (REPOSITORY, Path(ASSETS).parents[1])))
    environment = keep | own | proxies | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [python, *arguments],
        cwd=home,
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def written(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


START = """
import sys, time, spoken_digits
recognizer = spoken_digits.load()
loaded = time.process_time()
recognizer(sys.argv[1])
print(loaded, time.process_time())
"""


def measure(python: Path, inputs: Path, folder: Path) -> Row:
    """Answer, start and look at what is written, in an environment."""
    if failed := failure(run(python, ["-c", "import onnxruntime"], folder / "plain")):
        return failed
    done = run(python, ["-m", "benchmarks.releases", "--answer", inputs], folder / "home")
    if failed := failure(done):
        return failed
    row: Row = json.loads(done.stdout)
    row["said"] = done.stderr.strip()[:500]
    taken = []
    for _ in range(STARTS):
        started = run(python, ["-c", START, str(clips()[0])], folder / "home")
        if failed := failure(started):
            return failed
        taken.append([float(each) for each in started.stdout.split()])
    loaded, first = (statistics.median(column) for column in zip(*taken, strict=True))
    return row | {
        "load_s": loaded,
        "first_answer_s": first,
        "written": written(folder / "home"),
        "written_by_itself": written(folder / "plain"),
    }


def failure(done: subprocess.CompletedProcess[str]) -> Row:
    """Return the row of a program that failed, {} if it did not."""
    if not done.returncode:
        return {}
    last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
    return {"failed": f"exit {done.returncode}: {last}"[:300]}


# Guesses: written before anything was measured


@dataclass(frozen=True)
class Guess:
    """A question, what an expert would answer, and what was measured; of the newest of all.

    Those about time are not judged: rows are measured minutes apart, and the same release differs
    by as much as the guesses are wide.
    """

    question: str
    guess: str
    is_right: Callable[[Rows], bool]
    measured: Callable[[Rows], str]
    is_time: bool = False


def of(rows: Rows, package: str) -> dict[str, Row]:
    """Return the rows of one package, the newest included, that were measured; oldest first."""
    names = [f"{package} {release}" for release in RELEASES[package][:-1]]
    return {name: rows[name] for name in (*names, NEWEST) if "answers" in rows[name]}


def first_of(rows: Rows, package: str) -> Row:
    return rows[f"{package} {RELEASES[package][0]}"]


def other_digits(row: Row, newest: Row) -> list[str]:
    """Name the inputs whose digits are others than on the newest of all."""
    pairs = ((name, row["answers"][name], newest["answers"][name]) for name in newest["answers"])
    return [name for name, a, b in pairs if a.partition(";")[0] != b.partition(";")[0]]


def largest(row: Row, newest: Row, part: int) -> float:
    """Return the largest difference, where the digits are the same: part 1 probability, 2 times."""
    differences = [0.0]
    for name, text in newest["answers"].items():
        own, other = (each.split("; ") for each in (row["answers"][name], text))
        if own[0] == other[0]:
            numbers = ((float(each) for each in some[part].split()) for some in (own, other))
            differences += [abs(a - b) for a, b in zip(*numbers, strict=True)]
    return max(differences)


def ratios(rows: Rows, key: str, package: str) -> str:
    newest = rows[NEWEST][key]
    found = {name: row[key] / newest for name, row in of(rows, package).items() if name != NEWEST}
    return "; ".join(f"{name}: {value:.2f}" for name, value in found.items())


def ratio(rows: Rows, key: str, package: str) -> float:
    """Return how the oldest release compares with the newest: 1 for alike."""
    return float(first_of(rows, package)[key] / rows[NEWEST][key])


def differences(rows: Rows, *packages: str) -> str:
    found = {n: row for package in packages for n, row in of(rows, package).items() if n != NEWEST}
    return "; ".join(
        f"{name}: {'equal' if is_equal(row, rows) else by_how_much(row, rows)}"
        for name, row in found.items()
    )


def by_how_much(row: Row, rows: Rows) -> str:
    """Return the largest difference of probabilities; answers are kept to nine digits."""
    found = largest(row, rows[NEWEST], 1)
    return number(found) if found or is_equal(row, rows) else "under 1e-9"


def is_equal(row: Row, rows: Rows) -> bool:
    return bool(row["sha256"] == rows[NEWEST]["sha256"])


def counted_other_digits(rows: Rows, names: Iterable[str]) -> str:
    counts = {
        name: len(other_digits(rows[name], rows[NEWEST]))
        for name in names
        if "answers" in rows[name]
    }
    return ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or "none"


def unequal_streams(row: Row) -> list[str]:
    """Name the strings whose digits are others as a stream than as a file."""
    digits = {name: text.partition(";")[0] for name, text in row["answers"].items()}
    return [
        name
        for name in digits
        if name.endswith(", stream")
        and digits[name] != digits[name.removesuffix("stream") + "file"]
    ]


GUESSES = (
    Guess(
        "On which releases of onnxruntime is any digit another one than on the newest?",
        "on none",
        lambda r: not any(other_digits(row, r[NEWEST]) for row in of(r, "onnxruntime").values()),
        lambda r: counted_other_digits(r, of(r, "onnxruntime")),
    ),
    Guess(
        "Which releases of onnxruntime answer with the newest one's bytes?",
        "1.30 alone: kernels change every few releases",
        lambda r: (
            [n for n, row in of(r, "onnxruntime").items() if n != NEWEST and is_equal(row, r)]
            == ["onnxruntime 1.30.0"]
        ),
        lambda r: differences(r, "onnxruntime"),
    ),
    Guess(
        "By how much do probabilities differ between onnxruntime 1.20 and the newest?",
        "by 1e-7 to 1e-5",
        lambda r: 1e-7 <= largest(first_of(r, "onnxruntime"), r[NEWEST], 1) <= 1e-5,
        lambda r: number(largest(first_of(r, "onnxruntime"), r[NEWEST], 1)),
    ),
    Guess(
        "How large is an installation with onnxruntime 1.20, against the newest?",
        "smaller by a tenth or more: the library grows",
        lambda r: ratio(r, "installed_mb", "onnxruntime") <= 0.9,
        lambda r: ratios(r, "installed_mb", "onnxruntime"),
    ),
    Guess(
        "How long does a clip take on onnxruntime 1.20, against the newest?",
        "as long, within a tenth",
        lambda r: 0.9 <= ratio(r, "clip_ms", "onnxruntime") <= 1.1,
        lambda r: ratios(r, "clip_ms", "onnxruntime"),
        is_time=True,
    ),
    Guess(
        "How long does a start take on onnxruntime 1.20, against the newest?",
        "as long, within a fifth",
        lambda r: 0.8 <= ratio(r, "load_s", "onnxruntime") <= 1.2,
        lambda r: ratios(r, "load_s", "onnxruntime"),
        is_time=True,
    ),
    Guess(
        "How much memory does onnxruntime 1.20 take, against the newest?",
        "less, by up to a fifth",
        lambda r: 0.8 <= ratio(r, "peak_mb", "onnxruntime") < 1,
        lambda r: ratios(r, "peak_mb", "onnxruntime"),
    ),
    Guess(
        "Which releases of onnxruntime write files when they are imported alone?",
        "1.32 alone",
        lambda r: (
            [n for n, row in of(r, "onnxruntime").items() if row["written_by_itself"]] == [NEWEST]
        ),
        lambda r: (
            ", ".join(n for n, row in of(r, "onnxruntime").items() if row["written_by_itself"])
            or "none"
        ),
    ),
    Guess(
        "On which releases is anything printed to standard error, or any file written, when this "
        "package is used?",
        "on none",
        lambda r: not any(row.get("said") or row.get("written") for row in r.values()),
        lambda r: (
            ", ".join(n for n, row in r.items() if row.get("said") or row.get("written")) or "none"
        ),
    ),
    Guess(
        "Does numpy change the bytes of an answer between 1.26 and 2.4?",
        "yes, by 1e-9 or less: exponential and logarithm were written anew",
        lambda r: (
            not is_equal(first_of(r, "numpy"), r)
            and largest(first_of(r, "numpy"), r[NEWEST], 1) <= 1e-9
        ),
        lambda r: differences(r, "numpy"),
    ),
    Guess(
        "How long does a start take with numpy 1.26, against the newest?",
        "as long, within a tenth",
        lambda r: 0.9 <= ratio(r, "load_s", "numpy") <= 1.1,
        lambda r: ratios(r, "load_s", "numpy"),
        is_time=True,
    ),
    Guess(
        "How large is an installation with numpy 1.26, against the newest?",
        "as large, within a tenth",
        lambda r: 0.9 <= ratio(r, "installed_mb", "numpy") <= 1.1,
        lambda r: ratios(r, "installed_mb", "numpy"),
    ),
    Guess(
        "Does soxr 0.5.0 give other bytes than 1.1.0?",
        "no: both wrap libsoxr 0.1.3",
        lambda r: is_equal(first_of(r, "soxr"), r),
        lambda r: differences(r, "soxr"),
    ),
    Guess(
        "Does soundfile 0.13.0 give other bytes than 0.14.0, lossy formats included?",
        "no: both bring libsndfile 1.2.2",
        lambda r: is_equal(first_of(r, "soundfile"), r),
        lambda r: (
            differences(r, "soundfile")
            + "".join(
                f"; {name}: libsndfile {row['libraries']['libsndfile']}"
                for name, row in of(r, "soundfile").items()
            )
        ),
    ),
    Guess(
        "Are digits of a stream those of the file, on every release?",
        "yes",
        lambda r: not any(unequal_streams(row) for row in r.values() if "answers" in row),
        lambda r: (
            ", ".join(n for n, row in r.items() if "answers" in row and unequal_streams(row))
            or "the same on all"
        ),
    ),
    Guess(
        "Do the oldest releases that are allowed install and run together?",
        "yes, with the same digits",
        lambda r: "answers" in r[OLDEST] and not other_digits(r[OLDEST], r[NEWEST]),
        lambda r: r[OLDEST].get("failed") or f"other digits: {counted_other_digits(r, [OLDEST])}",
    ),
)


# The page


def number(value: float) -> str:
    return f"{value:.0e}" if value else "0"


def table(results: Mapping[str, Any]) -> str:
    """Markdown: releases, guesses, where it was measured."""
    rows: Rows = results.get("rows", {})
    if NEWEST not in rows:
        return "Not measured yet: `python -m benchmarks.releases`."
    return "\n\n".join([releases(rows), verdicts(rows), place(results)])


def releases(rows: Rows) -> str:
    lines = [
        "| release | other digits | probability, difference | times, ms | bytes | load, s "
        "| first answer, s | a clip, ms | a second of a string, ms | memory, MB | installed, MB |",
        "|---|---:|---:|---:|---|" + "---:|" * 6,
    ]
    newest = rows[NEWEST]
    for name in wanted():
        row = rows.get(name, {"failed": "not measured yet"})
        if "answers" not in row:
            lines.append(f"| {name} | {row['failed'].replace('|', '/')} |{' |' * 9}")
            continue
        times_ms = 1e3 * largest(row, newest, 2)
        cells = [
            name,
            f"{len(other_digits(row, newest))} of {len(newest['answers'])}",
            by_how_much(row, rows),
            f"{times_ms:.0f}" if times_ms >= 0.5 or not times_ms else "under 0.5",
            "equal" if is_equal(row, rows) else "other",
            f"{row['load_s']:.2f}",
            f"{row['first_answer_s']:.2f}",
            f"{row['clip_ms']:.1f}",
            f"{row['string_ms_per_s']:.1f}",
            f"{row['peak_mb']:.0f}" if row["peak_mb"] else "",
            f"{row['installed_mb']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(rows: Rows) -> str:
    if not wanted().keys() <= rows.keys():
        return "The guesses are judged when every release is measured."
    lines = ["| question | guessed before the run | measured | |", "|---|---|---|---|"]
    counts: Counter[str] = Counter()
    for each in GUESSES:
        try:
            measured, verdict = each.measured(rows), "right" if each.is_right(rows) else "**wrong**"
        except KeyError:  # of a release that could not be installed
            measured, verdict = "", "not measured"
        if each.is_time and measured:
            verdict = "not decided"
        counts[verdict] += 1
        lines.append(f"| {each.question} | {each.guess} | {measured} | {verdict} |")
    said = f"{len(GUESSES)} questions: {counts['right']} guessed right, {counts['**wrong**']} "
    said += f"wrong, {counts['not decided']} not decided (times of rows that were measured minutes "
    said += f"apart), {counts['not measured']} not measured. Ratios: that release over the newest."
    return "\n".join([said, "", *lines])


def place(results: Mapping[str, Any]) -> str:
    newest = results["rows"][NEWEST]
    versions = ", ".join(f"{name} {number}" for name, number in newest["versions"].items())
    libraries = ", ".join(f"{name} {number}" for name, number in newest["libraries"].items())
    return (
        f"Newest of all: {versions} ({libraries}). Python {newest['python']}, {newest['machine']}; "
        f"commit {newest['commit']}."
    )


def with_table(page: str, results: Mapping[str, Any]) -> str:
    from spoken_digits.lab.reporting.readme import replace_between

    return replace_between(page, MARKER, table(results), PAGE.name)


# The command


def machine() -> str:
    """Return the processor's name, and whether it has what the fastest kernels want."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    kinds = [name for name in ("avx2", "avx512f", "amx_tile") if name in flags]
    return ", ".join([names[0] if names else platform.machine(), *kinds])


def is_done(row: Row | None, versions: Mapping[str, str], inputs: str) -> bool:
    """Return whether a row is of these releases and inputs."""
    return row is not None and row["versions"] == versions and row["inputs"] == inputs


def publish(rows: Rows) -> None:
    """Write results, and the page with as much as there is."""
    from spoken_digits.lab.runs import write_json, write_whole

    results = {
        "benchmark": "releases",
        "command": "python -m benchmarks.releases",
        "guesses": [{"question": each.question, "guess": each.guess} for each in GUESSES],
        "rows": {name: rows[name] for name in wanted() if name in rows},
    }
    write_json(RESULTS, results)
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())


def main() -> int:
    """Measure, and write results and page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.releases", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", default="", help="rows that have this in their name")
    parser.add_argument("--again", action="store_true", help="measure also what is up to date")
    text = "a few recordings on what is installed here, to see that it runs; writes nothing"
    parser.add_argument("--smoke", action="store_true", help=text)
    parser.add_argument("--page", action="store_true", help="write the page again, nothing else")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)  # in an environment
    arguments = parser.parse_args()
    if arguments.answer:
        print(json.dumps(answer(arguments.answer, clips())))
        return 0
    rows = dict(read_results(RESULTS).get("rows", {}))
    if arguments.page:
        publish(rows)
        return 0
    from spoken_digits.lab.runs import commit

    with tempfile.TemporaryDirectory() as temporary:
        inputs, made_of = write_inputs(folder := Path(temporary)), commit()
        if arguments.smoke:
            print(json.dumps(answer(folder, clips()[::CLIPS_A_DIGIT], rounds=1), indent=1))
            return 0
        for name, versions in wanted().items():
            if arguments.only not in name:
                continue
            if not arguments.again and is_done(rows.get(name), versions, inputs):
                continue
            rows[name] = one_row(versions, folder) | {"inputs": inputs, "commit": made_of}
            publish(rows)
            brief = {key: value for key, value in rows[name].items() if key != "answers"}
            print(f"{name}: {brief}", flush=True)
    return 0


def one_row(versions: Mapping[str, str], inputs: Path) -> Row:
    """Make an environment, measure in it, and remove it."""
    row: Row = {
        "versions": dict(versions),
        "python": platform.python_version(),
        "machine": machine(),
    }
    with tempfile.TemporaryDirectory() as folder:
        python, refused = install(Path(folder, "venv"), versions)
        if refused:
            return row | {"failed": f"cannot be installed: {refused}"}
        return row | {"installed_mb": size_mb(python)} | measure(python, inputs, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
