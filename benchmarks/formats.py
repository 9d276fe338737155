"""Files of real encoders, read with and without PyAV: `python -m benchmarks.formats`.

Ten digits of one synthetic voice, cut to the word, are encoded by every tool that is installed, at
several rates, in one and two channels, and read again. The table of docs/formats.md and
results/formats.json are written from it. Encoders: the package imageio-ffmpeg; on Debian,
`apt install sox libsox-fmt-all flac opus-tools vorbis-tools lame speex libvo-amrwbenc0`.
"""

import argparse
import ctypes
import ctypes.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

import spoken_digits
from benchmarks.__main__ import REPOSITORY
from spoken_digits.audio import AudioError, open_audio
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole
from spoken_digits.reading import Recording

RESULTS = REPOSITORY / "results" / "formats.json"
PAGE = REPOSITORY / "docs" / "formats.md"
MARKER = "formats"

VOICE = "flite-slt_0.flac"
AUDIBLE = 0.02  # of the peak: where the word begins and ends
EDGE_S = 0.02
SILENT_DB = -20  # of what was there
RATES = (8_000, 16_000, 44_100)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes
    ----------
    ending, codec, tool
        As the table names them.
    command
        Of the tool, with {source} and {file}; of ffmpeg its options only.
    rates, channels
        What the codec or the container takes.
    """

    ending: str
    codec: str
    tool: str
    command: str
    rates: tuple[int, ...] = RATES
    channels: tuple[int, ...] = (1, 2)


def by_ffmpeg(
    ending: str, codec: str, options: str, rates: tuple[int, ...] = RATES, *channels: int
) -> Format:
    return Format(ending, codec, "ffmpeg", options, rates, channels or (1, 2))


def by_sox(ending: str, codec: str, options: str = "", *rates: int) -> Format:
    command = f"sox {{source}} {options} {{file}}"
    return Format(ending, codec, "sox", command, rates or RATES, (1,))


NARROW = (8_000,)
FORMATS = (
    by_ffmpeg(".m4a", "AAC", "-c:a aac"),
    by_ffmpeg(".m4a", "AAC, 32 kbit/s", "-c:a aac -b:a 32k"),
    by_ffmpeg(".m4a", "ALAC", "-c:a alac"),
    by_ffmpeg(".mp4", "AAC, in fragments", "-c:a aac -movflags frag_keyframe+empty_moov"),
    by_ffmpeg(".mp4", "Opus", "-c:a libopus"),
    by_ffmpeg(".mp4", "FLAC", "-c:a flac"),
    by_ffmpeg(".mov", "A-law", "-c:a pcm_alaw"),
    by_ffmpeg(".3gp", "AAC", "-c:a aac"),
    by_ffmpeg(".3gp", "AMR-NB", "-c:a libopencore_amrnb", NARROW, 1),
    by_ffmpeg(".amr", "AMR-NB, 12.2 kbit/s", "-c:a libopencore_amrnb -b:a 12.2k", NARROW, 1),
    by_ffmpeg(".amr", "AMR-NB, 4.75 kbit/s", "-c:a libopencore_amrnb -b:a 4.75k", NARROW, 1),
    Format(".amr", "AMR-NB", "sox", "sox {source} -t amr-nb {file}", NARROW, (1,)),
    Format(".awb", "AMR-WB, 23.85 kbit/s", "vo-amrwbenc", "8", (16_000,), (1,)),
    Format(".awb", "AMR-WB, 6.6 kbit/s", "vo-amrwbenc", "0", (16_000,), (1,)),
    by_ffmpeg(".aac", "AAC (ADTS)", "-c:a aac"),
    by_ffmpeg(".ts", "AAC", "-c:a aac"),
    by_ffmpeg(".webm", "Opus", "-c:a libopus"),
    by_ffmpeg(".webm", "Opus, live", "-c:a libopus -live 1"),
    by_ffmpeg(".webm", "Vorbis", "-c:a libvorbis"),
    by_ffmpeg(".mka", "AAC", "-c:a aac"),
    by_ffmpeg(".mka", "Opus", "-c:a libopus"),
    by_ffmpeg(".mka", "FLAC", "-c:a flac"),
    by_ffmpeg(".wma", "WMA 1", "-c:a wmav1"),
    by_ffmpeg(".wma", "WMA 2", "-c:a wmav2"),
    by_ffmpeg(".ogg", "Opus", "-c:a libopus"),
    by_ffmpeg(".ogg", "Opus, 16 kbit/s", "-c:a libopus -b:a 16k"),
    by_ffmpeg(".ogg", "Opus, 8 kbit/s", "-c:a libopus -b:a 8k"),
    Format(".opus", "Opus", "opusenc", "opusenc --quiet {source} {file}"),
    by_ffmpeg(".ogg", "Vorbis", "-c:a libvorbis"),
    Format(".ogg", "Vorbis", "oggenc", "oggenc -Q {source} -o {file}"),
    by_sox(".ogg", "Vorbis"),
    by_ffmpeg(".oga", "FLAC", "-c:a flac"),
    Format(".oga", "FLAC", "flac", "flac -s --ogg {source} -o {file}"),
    Format(".spx", "Speex", "speexenc", "speexenc --quiet {source} {file}", (8_000, 16_000)),
    by_ffmpeg(".flac", "FLAC", ""),
    Format(".flac", "FLAC", "flac", "flac -s {source} -o {file}"),
    Format(".flac", "FLAC, to a pipe", "flac", "flac -s -c - < {source} | cat > {file}"),
    by_sox(".flac", "FLAC"),
    by_ffmpeg(".mp3", "MP3", ""),
    by_ffmpeg(".mp3", "MP3, to a pipe", "-f mp3 - | cat >"),
    by_ffmpeg(".mp3", "MP3, variable, to a pipe", "-q:a 5 -f mp3 - | cat >"),
    Format(".mp3", "MP3", "lame", "lame --quiet {source} {file}"),
    Format(".mp3", "MP3, variable", "lame", "lame --quiet -V5 {source} {file}"),
    Format(".mp3", "MP3, to a pipe", "lame", "lame --quiet {source} - | cat > {file}"),
    by_sox(".mp3", "MP3"),
    by_ffmpeg(".mp2", "MPEG layer II", "", (16_000, 44_100)),
    by_ffmpeg(".mp2", "MPEG layer II, twolame", "-c:a libtwolame", (16_000, 44_100)),
    by_ffmpeg(".wav", "16 bit", "-c:a pcm_s16le"),
    by_ffmpeg(".wav", "16 bit, to a pipe", "-f wav - | cat >"),
    by_ffmpeg(".wav", "24 bit", "-c:a pcm_s24le"),
    by_ffmpeg(".wav", "float", "-c:a pcm_f32le"),
    by_ffmpeg(".wav", "8 bit", "-c:a pcm_u8"),
    by_ffmpeg(".wav", "µ-law", "-c:a pcm_mulaw"),
    by_ffmpeg(".wav", "A-law", "-c:a pcm_alaw"),
    by_sox(".wav", "GSM 06.10", "-e gsm", 8_000),
    by_ffmpeg(".wav", "IMA ADPCM", "-c:a adpcm_ima_wav"),
    by_sox(".wav", "IMA ADPCM", "-e ima-adpcm"),
    by_ffmpeg(".wav", "MS ADPCM", "-c:a adpcm_ms"),
    by_sox(".wav", "MS ADPCM", "-e ms-adpcm"),
    by_ffmpeg(".wav", "Yamaha ADPCM", "-c:a adpcm_yamaha"),
    by_ffmpeg(".wav", "G.722", "-c:a g722", (8_000, 16_000), 1),
    by_ffmpeg(".wav", "G.723.1", "-c:a g723_1", NARROW, 1),
    by_ffmpeg(".wav", "G.726", "-c:a g726", NARROW, 1),
    by_ffmpeg(".wav", "MP3", "-c:a libmp3lame"),
    by_ffmpeg(".wav", "AAC", "-c:a aac"),
    by_ffmpeg(".w64", "16 bit", ""),
    by_ffmpeg(".caf", "16 bit", ""),
    by_ffmpeg(".caf", "16 bit, to a pipe", "-f caf - | cat >"),
    by_ffmpeg(".caf", "ALAC", "-c:a alac"),
    by_ffmpeg(".aiff", "16 bit", ""),
    by_ffmpeg(".aifc", "µ-law", "-c:a pcm_mulaw -f aiff"),
    by_ffmpeg(".au", "16 bit", ""),
    by_ffmpeg(".ulaw", "µ-law, no header", "-f mulaw", NARROW, 1),
    by_ffmpeg(".alaw", "A-law, no header", "-f alaw", NARROW, 1),
    by_sox(".gsm", "GSM 06.10, no header", "", 8_000),
    by_sox(".sph", "16 bit"),
    by_sox(".sph", "µ-law", "-e u-law", 8_000),
    by_sox(".voc", "16 bit", "-b 16"),
    by_sox(".8svx", "8 bit", "", 8_000),
    by_ffmpeg(".wv", "WavPack", ""),
    by_sox(".wv", "WavPack"),
    by_ffmpeg(".tta", "True Audio", ""),
    by_ffmpeg(".ac3", "AC-3", "", (44_100,)),
    by_ffmpeg(".flv", "MP3", "-c:a libmp3lame", (44_100,)),
    by_ffmpeg(".avi", "16 bit", "-c:a pcm_s16le"),
)
VERSIONS = {  # how each tool says it; of vo-amrwbenc its package does
    "sox": "--version",
    "flac": "--version",
    "opusenc": "--version",
    "oggenc": "--version",
    "lame": "--version",
    "speexenc": "--version",
}


def ffmpeg() -> str:
    import imageio_ffmpeg

    path: str = imageio_ffmpeg.get_ffmpeg_exe()
    return path


def version(tool: str) -> str | None:
    """Return the version of an encoder, None where it is not installed."""
    if tool == "vo-amrwbenc":
        path = amrwb_library()
        found = re.search(r"\d[\d.]*$", Path(path).resolve().name) if path else None
        return found[0] if found else path
    program = ffmpeg() if tool == "ffmpeg" else shutil.which(tool)
    if not program:
        return None
    option = "-version" if tool == "ffmpeg" else VERSIONS[tool]
    said = subprocess.run([program, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.[\d.]*\d", said.stdout + said.stderr)
    return found[0] if found else "unknown"


def amrwb_library() -> str | None:
    known = Path("/usr/lib").glob("*/libvo-amrwbenc.so.0")
    return next(map(str, known), None) or ctypes.util.find_library("vo-amrwbenc")


def encode(each: Format, source: Path, file: Path) -> str:
    """Write a file; return what went wrong, "" if nothing did."""
    if each.tool == "vo-amrwbenc":
        encode_amrwb(source, file, int(each.command))
        return ""
    command = each.command
    if each.tool == "ffmpeg":
        command = f"{shlex.quote(ffmpeg())} -v error -y -i {{source}} {command} {{file}}"
    command = command.format(source=source, file=file)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if done.returncode or not file.exists() or not file.stat().st_size:
        return (done.stderr.strip().splitlines() or ["nothing was written"])[0]
    return ""


def encode_amrwb(source: Path, file: Path, mode: int) -> None:
    """Write AMR-WB as RFC 4867 has it, by VisualOn's encoder."""
    library = ctypes.CDLL(amrwb_library() or "")
    library.E_IF_init.restype = ctypes.c_void_p
    state = ctypes.c_void_p(library.E_IF_init())
    samples, _ = soundfile.read(source, dtype="int16")
    content = b"#!AMR-WB\n"
    for start in range(0, len(samples), 320):
        frame = np.pad(samples[start : start + 320], (0, max(0, start + 320 - len(samples))))
        out = ctypes.create_string_buffer(64)
        count = library.E_IF_encode(state, mode, frame.ctypes.data_as(ctypes.c_void_p), out, 0)
        content += out.raw[:count]
    library.E_IF_exit(state)
    file.write_bytes(content)


@contextmanager
def without_pyav() -> Iterator[None]:
    """Read as a plain installation does."""
    kept = {name: sys.modules.pop(name) for name in ("av",) if name in sys.modules}
    sys.modules["av"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["av"]
        sys.modules.update(kept)


def read(file: Path) -> tuple[FloatArray, Recording] | str:
    """Return the samples and what is said of them, or the words of the refusal."""
    try:
        with open_audio(file) as recording:
            return recording.read(), recording
    except AudioError as error:
        return str(error).removeprefix(f"{file}: ")


def words() -> list[FloatArray]:
    """Return ten digits at 8 kHz, (L,), each cut to the word."""
    voices = Path(spoken_digits.__file__).parent / "assets" / "voices"
    found = []
    for digit in range(10):
        samples, _ = soundfile.read(voices / str(digit) / VOICE, dtype="float32")
        loud = np.flatnonzero(np.abs(samples) > AUDIBLE * np.abs(samples).max())
        found.append(samples[loud[0] : loud[-1] + 1])
    return found


def at_rate(samples: FloatArray, before: float, after: float) -> FloatArray:
    import soxr

    if before == after:
        return samples
    converted: FloatArray = soxr.resample(samples, before, after)
    return converted


def delay(samples: FloatArray, source: FloatArray) -> int:
    """Return by how many samples a recording is late, by its correlation with the source."""
    count = len(samples) + len(source)
    spectrum = np.fft.rfft(samples, count) * np.conj(np.fft.rfft(source, count))
    found = int(np.fft.irfft(spectrum, count).argmax())
    return found if found < len(samples) else found - count


def edge_db(samples: FloatArray, source: FloatArray, start: int) -> float:
    """Return the level of 20 ms of a recording from `start` on, relative to the source's."""
    found = samples[max(0, start) : max(0, start + len(source))]
    power = np.square(found).sum() / max(np.square(source).sum(), 1e-12)
    return float(10 * np.log10(max(power, 1e-6)))


def measure(
    each: Format, rate: int, channels: int, sources: list[FloatArray], recognizer: Any
) -> dict[str, Any]:
    """Encode and read ten digits, and return a row of results."""
    row: dict[str, Any] = {
        **{"ending": each.ending, "codec": each.codec, "tool": each.tool},
        **{"rate": rate, "channels": channels},
    }
    starts, ends, first_db, last_db, moved, warnings = [], [], [], [], [], set[str]()
    right = recorded_right = wrong = 0
    edge = round(EDGE_S * rate)
    with tempfile.TemporaryDirectory() as folder:
        source_file, file = Path(folder, "source.wav"), Path(folder, f"x{each.ending}")
        for digit, word in enumerate(sources):
            source = at_rate(word, 8_000, rate)
            soundfile.write(source_file, np.stack([source] * channels, 1), rate, subtype="PCM_16")
            file.unlink(missing_ok=True)
            if fault := encode(each, source_file, file):
                return row | {"not_written": fault}
            with without_pyav():
                plain = read(file)
            found = read(file)
            row["plain"] = plain if isinstance(plain, str) else ""
            row["formats"] = found if isinstance(found, str) else ""
            if isinstance(found, str):
                return row
            samples, recording = found
            warnings |= {each.removeprefix(f"{file}: ") for each in recording.warnings}
            samples = at_rate(samples, recording.sample_rate, rate)
            late = delay(samples, source)
            starts.append(late)
            ends.append(len(samples) - late - len(source))
            first_db.append(edge_db(samples, source[:edge], late))
            last_db.append(edge_db(samples, source[-edge:], late + len(source) - edge))
            answer, expected = recognizer(file), recognizer(source, rate)
            right += answer.digit == digit
            wrong += answer.digit not in (digit, None)
            recorded_right += expected.digit == digit
            moved += [
                1e3 * (answer.start_s - max(0, late) / rate - expected.start_s),
                1e3 * (answer.end_s - max(0, late) / rate - expected.end_s),
            ]
    return row | {
        "warnings": sorted(warnings),
        "start_samples": [min(starts), max(starts)],
        "end_samples": [min(ends), max(ends)],
        "first_20_ms_db": round(min(first_db), 1),
        "last_20_ms_db": round(min(last_db), 1),
        "endpoints_moved_ms": [round(min(moved)), round(max(moved))],
        "right": right,
        "wrong": wrong,
        "source_right": recorded_right,
    }


def is_silent_loss(row: dict[str, Any]) -> bool:
    """Return whether sound is missing at an end, and nothing said so."""
    if row.get("not_written") or row["formats"] or row["warnings"]:
        return False
    missing_s = -min(row["start_samples"][0], row["end_samples"][0]) / row["rate"]
    return missing_s > EDGE_S or min(row["first_20_ms_db"], row["last_20_ms_db"]) < SILENT_DB


def table(results: dict[str, Any]) -> str:
    """Markdown: one line for all rates and channels of a kind of file that are read alike."""
    lines = [
        "| file | sound | written by | kHz | channels | plain | `formats` | start, ms | end, ms "
        "| first 20 ms, dB | last 20 ms, dB | endpoints, ms | digits |",
        "|---|---|---|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in results["rows"]:
        if "not_written" not in row:
            kind = *kind_of(row), not row["plain"], row["formats"].partition(" after ")[0]
            groups.setdefault(kind, []).append(row)
    for (ending, codec, tool, is_plain, refused), rows in groups.items():
        rates = ", ".join(f"{rate / 1e3:g}" for rate in sorted({row["rate"] for row in rows}))
        channels = ", ".join(map(str, sorted({row["channels"] for row in rows})))
        cells = [ending, codec, tool, rates, channels, "yes" if is_plain else "no"]
        if refused:
            cells += [f"refused: {refused.partition(';')[0]}", *[""] * 6]
        else:
            right = sum(row["right"] for row in rows)
            cells += [
                "yes, with a warning" if any(row["warnings"] for row in rows) else "yes",
                span([1e3 * n / row["rate"] for row in rows for n in row["start_samples"]]),
                span([1e3 * n / row["rate"] for row in rows for n in row["end_samples"]]),
                f"{min(row['first_20_ms_db'] for row in rows):.1f}",
                f"{min(row['last_20_ms_db'] for row in rows):.1f}",
                span([ms for row in rows for ms in row["endpoints_moved_ms"]], 0),
                f"{right} of {10 * len(rows)}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    read_rows = [row for row in results["rows"] if row.get("formats") == ""]
    files = 10 * len(read_rows)
    right, wrong = (sum(row[key] for row in read_rows) for key in ("right", "wrong"))
    short = [row for row in read_rows if is_silent_loss(row)]
    said = [
        f"{len(read_rows)} kinds of files (counting rates and channels) are read, {files:,} files; "
        f"of their digits {right:,} are recognized right, {wrong} as another digit, "
        f"{files - right - wrong} rejected. More than 20 ms are missing without a word in "
        f"{len(short)} kinds{': ' if short else '.'}" + said_of(short)
    ]
    versions = ", ".join(f"{tool} {number}" for tool, number in results["versions"].items())
    said.append(f"Versions: {versions}.")
    if refused_rows := [row for row in results["rows"] if "not_written" in row]:
        said.append(f"Not written by the encoder itself: {said_of(refused_rows)}")
    if results["not_installed"]:
        said.append(f"Not tried, not installed: {', '.join(results['not_installed'])}.")
    return "\n".join([*lines, "", "\n\n".join(said)])


def said_of(rows: list[dict[str, Any]]) -> str:
    """Name kinds of files, as the end of a sentence."""
    kinds = (
        f"{row['codec']} in {row['ending']} by {row['tool']} at {row['rate'] / 1e3:g} kHz, "
        f"{row['channels']} channel{'s' * (row['channels'] > 1)}"
        for row in rows
    )
    return "; ".join(kinds) + "." * bool(rows)


def kind_of(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["ending"], row["codec"], row["tool"]


def span(values: list[float], digits: int = 1) -> str:
    low, high = (f"{value:+.{digits}f}" for value in (min(values), max(values)))
    low, high = (re.sub(r"^[+-]0(\.0)?$", "0", value) for value in (low, high))
    return low if low == high else f"{low} to {high}"


def with_table(page: str, results: dict[str, Any]) -> str:
    return replace_between(page, MARKER, table(results), PAGE.name)


def main() -> int:
    """Measure, and write results and page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only",
        default="",
        help="formats whose ending, codec or tool has it; others stay as they were",
    )
    parser.add_argument("--page", action="store_true", help="write the page again, nothing else")
    arguments = parser.parse_args()
    if arguments.page:
        results = json.loads(RESULTS.read_text("utf-8"))
        write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())
        return 0
    tools = {each.tool: version(each.tool) for each in FORMATS}
    sources, recognizer, rows = words(), spoken_digits.load(), list[dict[str, Any]]()
    for each in FORMATS:
        name = f"{each.ending} {each.codec} {each.tool}"
        if arguments.only.lower() not in name.lower() or not tools[each.tool]:
            continue
        for rate in each.rates:
            for channels in each.channels:
                if channels == 1 or rate == max(each.rates):
                    rows.append(measure(each, rate, channels, sources, recognizer))
                    lost = "" if not is_silent_loss(rows[-1]) else "  LOST IN SILENCE"
                    print(f"{name}, {rate} Hz, {channels}: {rows[-1]}{lost}", flush=True)
    lost = [row for row in rows if is_silent_loss(row)]
    print(f"{len(rows)} kinds of files; {len(lost)} lose sound in silence")
    if arguments.only:  # in the place of older rows of the same kinds
        kinds = [(each.ending, each.codec, each.tool) for each in FORMATS]
        new = {kind_of(row) for row in rows}
        older = json.loads(RESULTS.read_text("utf-8"))["rows"]
        rows += [row for row in older if kind_of(row) not in new and kind_of(row) in kinds]
        rows.sort(key=lambda row: kinds.index(kind_of(row)))
    libraries = {name: metadata.version(name) for name in ("av", "soundfile")}
    libraries["libsndfile"] = soundfile.__libsndfile_version__
    results = {
        "benchmark": "formats",
        "command": "python -m benchmarks.formats",
        "commit": commit(),
        "versions": {tool: number for tool, number in tools.items() if number} | libraries,
        "not_installed": [tool for tool, number in tools.items() if not number],
        "rows": rows,
    }
    write_json(RESULTS, results)
    write_whole(PAGE, with_table(PAGE.read_text("utf-8"), results).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
