"""Load that outlasts a test: a crowd at `serve`, threads at one recognizer, a stream of a day.

``python -m tests.load stream --seconds 86400 --record`` measures one of these and writes it to
results/load.json; CI runs each for about a second (test_load.py). Linux only: memory and threads
are read in /proc.
"""

import argparse
import asyncio
import contextlib
import datetime
import gc
import json
import multiprocessing
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import spoken_digits
from spoken_digits import serve as server
from spoken_digits.audio import SAMPLE_RATE, read_audio
from spoken_digits.connected import Segment, Transcriber
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_whole
from spoken_digits.recognize import load

REPOSITORY = Path(__file__).parents[1]
RESULTS, PAGE = REPOSITORY / "results" / "load.json", REPOSITORY / "CONTRIBUTING.md"
MARKER = "load"
VOICES = Path(spoken_digits.__file__).parent / "assets" / "voices"
CHUNK_S = 3.0  # as much as the network runs at once: the day is over sooner


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("what", choices=MEASURES)
    text = "how long: of serving, of recognizing, or of the sound that is streamed"
    parser.add_argument("--seconds", type=float, required=True, help=text)
    parser.add_argument("--record", action="store_true", help="write it to results/load.json")
    arguments = parser.parse_args()
    begun, cpu, measured = time.monotonic(), time.process_time(), commit()
    result = MEASURES[arguments.what](arguments.seconds)
    result |= {
        "command": f"python -m tests.load {arguments.what} --seconds {arguments.seconds:g}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": measured,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnxruntime", "spoken-digits")},
        },
        "took_s": round(time.monotonic() - begun, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    print(json.dumps(result, indent=2))
    if arguments.record:
        rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
        rows[arguments.what] = result
        write_whole(RESULTS, f"{json.dumps(rows, indent=2, sort_keys=True)}\n".encode())
        write_whole(PAGE, with_table(PAGE.read_text("utf-8"), rows).encode())
    return 0 if result["reached"] else 1


def with_table(page: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Put the last results between their markers of a page."""
    lines = ["| command | result | bars | commit |", "| --- | --- | --- | --- |"]
    for what, row in sorted(rows.items()):
        bars = ", ".join(f"{name} ≤ {bar:g}" for name, bar in sorted(row["bars"].items()))
        cells = (f"`{row['command']}`", SENTENCES[what](row), bars, row["commit"][:7])
        lines.append(f"| {' | '.join(cells)} |")
    return replace_between(page, MARKER, "\n".join(lines), PAGE.name)


SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "serve": lambda row: (
        f"{row['answered']:,} requests answered, {row['lost']} lost, beside {row['slow_clients']} "
        f"clients that misuse it; memory {row['memory_growth_mb']:+g} MB, threads left "
        f"{row['threads_left']}, files left {row['files_left']}"
    ),
    "stream": lambda row: (
        f"{row['streamed_s'] / 3600:g} h of sound, {row['digits']:,} digits, "
        f"{row['unequal_periods']} minutes answered otherwise; times drift by {row['drift_s']:.1g} "
        f"s, memory {row['memory_growth_mb']:+g} MB"
    ),
    "threads": lambda row: (
        f"{row['answers']:,} answers of {row['threads']} threads, {row['unequal']} unequal; memory "
        f"{row['memory_growth_mb']:+g} MB"
    ),
}


# --- A stream of a day


def stream(seconds: float, rate: int = 16_000, period_s: float = 60.0) -> dict[str, Any]:
    """Stream the same period of sound again and again: digits in noise of -80 dB.

    The clock is that of the samples. What a period is answered with is compared with the first
    period's, its offset subtracted: digits, probabilities, and times, which may differ by the
    rounding of double precision alone. A period is of whole blocks of the network, 60 ms.
    """
    sound = _period(rate, period_s)
    chunk = round(rate * CHUNK_S)
    transcriber = Transcriber()
    following = transcriber.stream(rate)
    first: list[Segment] = []
    segments: list[Segment] = []
    memory: list[int] = []
    drift_s, unequal, digits, done = 0.0, 0, 0, 0
    periods = max(2, round(seconds / period_s))
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: what was streamed until then
        for index in range(periods):
            for start in range(0, len(sound), chunk):
                segments += following.feed(sound[start : start + chunk]).segments
            offset_s = index * period_s
            digits += len(segments)
            if index == 0:
                first = segments
            elif [_without_times(s) for s in segments] != [_without_times(s) for s in first]:
                unequal += 1
            else:
                for mine, reference in zip(segments, first, strict=True):
                    differences = (
                        mine.start_s - offset_s - reference.start_s,
                        mine.end_s - offset_s - reference.end_s,
                    )
                    drift_s = max(drift_s, *map(abs, differences))
            segments, done = [], index + 1
            if (index + 1) % max(1, periods // 24) == 0 or index == periods - 1:
                memory.append(resident_kb())
                print(
                    f"{done * period_s:g} s, {memory[-1] / 1024:.1f} MB, drift {drift_s:g} s, "
                    f"{unequal} unequal",
                    file=sys.stderr,
                )
    # From the first of 24 parts on: what the runtime's pools take at the beginning is no growth.
    growth = (memory[-1] - memory[0]) / 1024 if memory else 0.0
    return {
        "streamed_s": done * period_s,
        "sample_rate_hz": rate,
        "digits": digits,
        "digits_in_a_period": len(first),
        "unequal_periods": unequal,
        "drift_s": drift_s,
        "memory_growth_mb": round(growth, 2),
        "memory_mb": [round(kb / 1024, 2) for kb in memory],
        "bars": {"memory_growth_mb": 1, "drift_s": ROUNDING_S},
        "reached": done == periods
        and bool(first)
        and not unequal
        and drift_s <= ROUNDING_S
        and growth <= 1,
    }


ROUNDING_S = 1e-9  # of a time in double precision: a day has 1.5e-11


def _without_times(segment: Segment) -> tuple[object, ...]:
    return segment.digit, segment.word, segment.probability


def _period(rate: int, period_s: float) -> np.ndarray:
    """Make a period: noise, in its middle seven digits of a synthetic voice that ships."""
    sound = np.random.default_rng(17).normal(0, 1e-4, round(rate * period_s)).astype(np.float32)
    position = len(sound) // 3
    for digit in "4155501":
        samples = _read(rate, min((VOICES / digit).glob("flite-awb_*.flac")))
        sound[position : position + len(samples)] += samples
        position += len(samples) + rate // 5
    return sound


def _read(rate: int, file: Path) -> np.ndarray:
    import soxr

    samples, own = read_audio(file)
    return np.asarray(soxr.resample(samples, own, rate), np.float32)


def resident_kb() -> int:
    gc.collect()
    return _status("self", "VmRSS")


def _status(process: int | str, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# --- A crowd at the page's server

SLOW, FAST = 200, 50
PATIENCE_S = 30.0  # of a well-behaved client: the machine may be busy with other work
OUTSIDE = (
    "/../serve.py", "/%2e%2e/serve.py", "/runtime/../../serve.py", "//etc/passwd", "/etc/passwd",
    "/..%5cserve.py", "/%252e%252e/serve.py", "/page.js%00.html", "/.",
)  # fmt: skip


def serve(seconds: float) -> dict[str, Any]:
    """Let 200 clients misuse a server, each in one of eight ways, while 50 fetch its files.

    A request of these is lost when it is not answered within 30 s, or otherwise than it should be:
    with the very bytes of the file, or with 404 for an address outside the page.
    """
    with tempfile.TemporaryDirectory() as scratch:
        page = _page(Path(scratch) / "package" / "page")
        context = multiprocessing.get_context("spawn")
        port_of, child = context.Pipe(duplex=False)
        process = context.Process(target=_serve_page, args=(page, child), daemon=True)
        process.start()
        try:
            port = port_of.recv() if port_of.poll(60) else 0
            bodies = {f"/{name}": path.read_bytes() for name, path in _files(page).items()}
            result = asyncio.run(_crowd(port, process.pid or 0, bodies, seconds))
        finally:
            process.terminate()
            process.join()
    return result


def _page(folder: Path) -> Path:
    """Copy the page; with a runtime of random bytes, where none was packed."""
    shutil.copytree(server._PAGE, folder)
    (folder / "runtime").mkdir(exist_ok=True)
    for name in server._RUNTIME:
        if not (folder / "runtime" / name).exists():
            size = 4_000_000 if name.endswith(".gz") else 100_000
            (folder / "runtime" / name).write_bytes(random.Random(17).randbytes(size))
    (folder.parent / "serve.py").write_text("no part of the page")
    return folder


def _files(page: Path) -> dict[str, Path]:
    server._PAGE = page
    return server.page_files()


def _serve_page(page: Path, port_to: Any) -> None:
    server._PAGE = page
    with server.make_server() as running:
        port_to.send(running.server_address[1])
        running.serve_forever()


async def _crowd(
    port: int, process: int, bodies: Mapping[str, bytes], seconds: float
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    await _fetch_for(port, bodies, 0.3, counts, random.Random(0))  # what is allocated once
    before = {name: _status(process, name) for name in ("VmRSS", "Threads")}
    files = _open_files(process)
    highest = dict(before)
    counts.clear()
    end = time.monotonic() + seconds
    misuses = [
        asyncio.create_task(_misuse(port, end, WAYS[i % len(WAYS)], counts, random.Random(i)))
        for i in range(SLOW)
    ]
    fetches = [
        asyncio.create_task(_fetch_for(port, bodies, seconds, counts, random.Random(1000 + i)))
        for i in range(FAST)
    ]
    while time.monotonic() < end:
        await asyncio.sleep(min(0.25, seconds / 8))
        highest = {name: max(high, _status(process, name)) for name, high in highest.items()}
    await asyncio.gather(*fetches)
    for task in misuses:
        task.cancel()
    await asyncio.gather(*misuses, return_exceptions=True)
    # All connections are closed now; threads may take a moment to notice.
    left = {"Threads": 0, "files": 0}
    for _ in range(100):
        left = {"Threads": _status(process, "Threads"), "files": _open_files(process)}
        if left["Threads"] <= before["Threads"] and left["files"] <= files:
            break
        await asyncio.sleep(0.1)
    growth = (highest["VmRSS"] - before["VmRSS"]) / 1024
    threads_left = max(0, left["Threads"] - before["Threads"])
    files_left = max(0, left["files"] - files)
    lost = counts.pop("lost") if "lost" in counts else 0
    answered = counts.pop("answered")
    return {
        "slow_clients": SLOW,
        "fast_clients": FAST,
        "seconds": seconds,
        "answered": answered,
        "lost": lost,
        "misused": dict(sorted(counts.items())),
        "memory_mb": [round(kb / 1024, 1) for kb in (before["VmRSS"], highest["VmRSS"])],
        "memory_growth_mb": round(growth, 1),
        "threads_at_most": highest["Threads"],
        "threads_left": threads_left,
        "files_left": files_left,
        "bars": {"lost": 0, "memory_growth_mb": 20, "threads_left": 0, "files_left": 0},
        "reached": lost == 0 and growth <= 20 and threads_left == files_left == 0,
    }


def _open_files(process: int) -> int:
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


async def _fetch_for(
    port: int, bodies: Mapping[str, bytes], seconds: float, counts: Counter[str], rng: random.Random
) -> None:
    """Fetch files as a browser does, some requests to a connection."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            async with asyncio.timeout(PATIENCE_S), _connected(port) as (reader, writer):
                for _ in range(rng.randint(1, 12)):
                    path = rng.choice([*bodies, rng.choice(OUTSIDE)])
                    status, body, is_last = await _ask(reader, writer, path)
                    wanted = (200, bodies[path]) if path in bodies else (404, body)
                    if (status, body) != wanted or b"no part of the page" in body:
                        raise ValueError(path)
                    counts["answered"] += 1
                    await asyncio.sleep(0.01 * rng.random())
                    if is_last or time.monotonic() > end:
                        break
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            print(f"lost: {error!r}", file=sys.stderr)
            counts["lost"] += 1


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> tuple[int, bytes, bool]:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await writer.drain()
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), body, headers.get("connection") == "close"


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 17)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _misuse(
    port: int, end: float, way: "Way", counts: Counter[str], rng: random.Random
) -> None:
    while time.monotonic() < end:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with _connected(port) as (reader, writer):
                counts[way.__name__.strip("_")] += 1
                await way(reader, writer, rng)
        await asyncio.sleep(0.2)


Way = Callable[[asyncio.StreamReader, asyncio.StreamWriter, random.Random], Awaitable[None]]


async def _say_nothing(reader: asyncio.StreamReader, writer: Any, rng: random.Random) -> None:
    await reader.read()  # until the server ends it


async def _send_byte_by_byte(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    for byte in b"GET / HTTP/1.1\r\nCookie: " + 10_000 * b"x":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def _read_byte_by_byte(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    writer.write(b"GET /runtime/ort-wasm-simd-threaded.wasm.gz HTTP/1.1\r\n\r\n")
    while await reader.read(100):
        await asyncio.sleep(0.1)


async def _go_away(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    writer.write(b"GET /strings.onnx HTTP/1.1\r\n\r\n")
    await reader.read(rng.randint(1, 10_000))


async def _stop_in_the_middle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    writer.write(b"GET /page.js HT")
    writer.write_eof()
    await reader.read()


async def _ask_too_much(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    endless = rng.choice(
        [
            b"GET /" + b"a" * 300_000,
            b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000,
            b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 50_000,
            b"GET / HTTP/1.1\r\n" + 90 * (b"X: " + b"a" * 60_000 + b"\r\n"),
        ]
    )
    writer.write(endless)
    await writer.drain()
    answer = await reader.read()
    if answer and not answer.startswith(b"HTTP/1.1 4"):
        raise AssertionError(answer[:80])


async def _speak_nonsense(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    nonsense = rng.choice(
        [
            rng.randbytes(200) + b"\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9.9\r\n\r\n",
            b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\nabc",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(60) + b"\n",  # TLS
            b"GET /" + 90 * b"../" + b"serve.py HTTP/1.1\r\n\r\n",
        ]
    )
    writer.write(nonsense)
    answer = await asyncio.wait_for(reader.read(1 << 16), 2)
    if b"no part of the page" in answer:
        raise AssertionError(answer[:80])


async def _send_much(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> None:
    """A body that no one asked for; it is not read as more requests."""
    smuggled = b"GET /page.js HTTP/1.1\r\n\r\n"
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + smuggled)
    answer = await asyncio.wait_for(reader.read(), 5)
    if answer.count(b"HTTP/1.1 ") > 1:
        raise AssertionError(answer[:80])


WAYS: tuple[Way, ...] = (
    _say_nothing, _send_byte_by_byte, _read_byte_by_byte, _go_away, _stop_in_the_middle,
    _ask_too_much, _speak_nonsense, _send_much,
)  # fmt: skip


# --- One recognizer, many threads

THREADS = 8


def threads(seconds: float) -> dict[str, Any]:
    """Let 8 threads recognize and transcribe with one recognizer; compare with one thread alone."""
    recognizer = load()
    words = [
        min((VOICES / digit).glob(f"{voice}_*.flac"))
        for digit in "0123456789"
        for voice in ("flite-awb", "rp-m7", "us-f1")
    ]
    clips = [read_audio(file) for file in words]
    string = np.concatenate([np.pad(_read(8_000, file), 2_000) for file in words[:9:3]])

    def answer(index: int) -> object:
        if index == len(clips):
            return recognizer.transcribe(string, SAMPLE_RATE)
        result = recognizer(*clips[index])
        return result.digit, result.probability, result.reason, result.log_mel.tobytes()

    count = len(clips) + 1
    expected = [answer(i) for i in range(count)]
    done, unequal = [0] * THREADS, [0] * THREADS
    errors: list[BaseException] = []
    end = time.monotonic() + seconds

    def work(thread: int) -> None:
        rng = random.Random(thread)
        try:
            while time.monotonic() < end:
                index = rng.randrange(count)
                unequal[thread] += answer(index) != expected[index]
                done[thread] += 1
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for worker in workers:
        worker.start()
    memory = []
    while time.monotonic() < end:
        time.sleep(min(seconds / 10, end - time.monotonic() + 0.01))
        memory.append(resident_kb())
    for worker in workers:
        worker.join()
    growth = (memory[-1] - memory[0]) / 1024
    return {
        "threads": THREADS,
        "seconds": seconds,
        "answers": sum(done),
        "answers_of_slowest_thread": min(done),
        "unequal": sum(unequal),
        "errors": [repr(error) for error in errors],
        "memory_mb": [round(kb / 1024, 1) for kb in memory],
        "memory_growth_mb": round(growth, 1),
        "bars": {"unequal": 0, "memory_growth_mb": 5},
        "reached": not errors and not sum(unequal) and min(done) > 0 and growth <= 5,
    }


MEASURES: dict[str, Callable[[float], dict[str, Any]]] = {
    "serve": serve,
    "threads": threads,
    "stream": stream,
}

if __name__ == "__main__":
    raise SystemExit(main())
