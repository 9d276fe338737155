"""The same files read by libsndfile, PyAV, Chromium and SoX: `python -m benchmarks.readers`.

A string of digits of one synthetic voice, cut to the words at both ends, is encoded as
`benchmarks.formats` does, and each file is given to each reader, to this package and to its page:
where the sound begins and ends, its level, its channels, and what is recognized in it. Then what a
browser does to sound of its own: contexts of 8 and 48 kHz, a microphone, MediaRecorder. The tables
of docs/readers.md and results/readers.json are written from it. It needs what `benchmarks.formats`
needs, and Chromium.
"""

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

import spoken_digits
from benchmarks.formats import FORMATS, Format, at_rate, encode, ffmpeg, version, words
from benchmarks.measures import REPOSITORY, read_results
from benchmarks.readers_table import (
    GUESSES,
    NARROW,
    PAGE,
    PYAV,
    PYTHON,
    READERS,
    SNDFILE,
    SOX,
    WAV_ORDER,
    WIDE,
    with_tables,
)
from spoken_digits import serve
from spoken_digits.audio import AudioError, open_audio, resample
from spoken_digits.lab.runs import commit, write_json, write_whole

RESULTS = REPOSITORY / "results" / "readers.json"
DOCUMENT = REPOSITORY / "docs" / "readers.md"

SPOKEN = "4627"
GAP_S = 0.1  # of silence between digits
RIGHT = 0.5  # of the left channel's amplitude
CONTEXTS = {NARROW: 8_000, WIDE: 48_000}
TONES_HZ = (1_000, 2_000, 3_000, 3_400, 4_600, 5_000, 6_000, 7_000)
TONE_S, TONE_AMPLITUDE = 0.3, 0.25
DIGITS = tuple("0123456789")
SPEECH = 300  # recordings
SURROUND_HZ = dict(zip(WAV_ORDER, (300, 500, 700, 60, 900, 1_100), strict=True))
SURROUND = {  # codec: ending, options of ffmpeg
    "16 bit": (".wav", "-c:a pcm_s16le"),
    "FLAC": (".flac", ""),
    "Vorbis": (".ogg", "-c:a libvorbis"),
    "Opus": (".opus", "-c:a libopus -b:a 256k -mapping_family 1"),
    "AAC": (".m4a", "-c:a aac -b:a 384k"),
    "ALAC": (".m4a", "-c:a alac"),
}
RECORDED = (
    *("audio/webm;codecs=opus", "audio/webm;codecs=pcm", "audio/mp4;codecs=opus"),
    *("audio/mp4;codecs=mp4a.40.2", "audio/mp4;codecs=flac", "audio/ogg;codecs=opus"),
)
CONSTRAINTS = {
    "plain": {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False},
    "default": True,
}

FloatArray = NDArray[np.float32]
Reading = dict[str, Any]


class RefusedError(Exception):
    """What a reader says of a file that it does not read."""


# What the browser does

DECODE = """
async ([encoded, rate]) => {
  const context = new OfflineAudioContext(1, 1, rate);
  let sound;
  try {
    sound = await context.decodeAudioData(Uint8Array.fromBase64(encoded).buffer);
  } catch (error) {
    return { refused: `${error.name}: ${error.message}` };
  }
  const channels = Array.from({ length: sound.numberOfChannels }, (_, c) =>
    new Uint8Array(sound.getChannelData(c).slice().buffer).toBase64());
  return { rate: sound.sampleRate, channels };
}"""

OPEN = """
async ([address, encoded, name, channel]) => {
  const { openFile } = await import(address + "files.js");
  const samples = [];
  try {
    const file = new File([Uint8Array.fromBase64(encoded)], name);
    const { pieces } = await openFile(file, channel);
    for await (const piece of pieces) samples.push(...piece);
  } catch (error) {
    return { refused: error.message };
  }
  return { rate: 8000, channels: [new Uint8Array(Float32Array.from(samples).buffer).toBase64()] };
}"""

RECORD = """
async ([encoded, rate, type]) => {
  if (!MediaRecorder.isTypeSupported(type)) return null;
  const samples = new Float32Array(Uint8Array.fromBase64(encoded).buffer);
  const context = new AudioContext({ sampleRate: rate });
  await context.resume();
  const buffer = new AudioBuffer({ length: samples.length, sampleRate: rate });
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  const stream = context.createMediaStreamDestination();
  source.connect(stream);
  const recorder = new MediaRecorder(stream.stream, { mimeType: type });
  const chunks = [];
  recorder.ondataavailable = ({ data }) => chunks.push(data);
  await new Promise((started) => { recorder.onstart = started; recorder.start(); });
  const begun = performance.now();
  source.start(context.currentTime + 0.3);
  await new Promise((ended) => { source.onended = ended; });
  await new Promise((waited) => setTimeout(waited, 300));
  const seconds = (performance.now() - begun) / 1000;
  await new Promise((stopped) => { recorder.onstop = stopped; recorder.stop(); });
  await context.close();
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  return { file: bytes.toBase64(), seconds };
}"""

LISTEN = """
async ([address, audio, rate, seconds]) => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const { channelCount, sampleRate } = stream.getAudioTracks()[0].getSettings();
  const context = new AudioContext({ sampleRate: rate });
  await context.audioWorklet.addModule(address + "capture.js");
  const node = new AudioWorkletNode(context, "capture");
  const samples = [];
  node.port.onmessage = ({ data }) => data && samples.push(...data);
  context.createMediaStreamSource(stream).connect(node).connect(context.destination);
  await context.resume();
  await new Promise((waited) => setTimeout(waited, 1000 * seconds));
  for (const track of stream.getTracks()) track.stop();
  await context.close();
  const bytes = new Uint8Array(Float32Array.from(samples).buffer);
  return { rate, channels: [bytes.toBase64()], track: { channelCount, sampleRate } };
}"""

LISTEN_AS_PAGE = """
async ([address, seconds]) => {
  const { Microphone } = await import(address + "microphone.js");
  const samples = [];
  const onSamples = (next) => samples.push(...next);
  const microphone = await Microphone.open({ onSamples, onEnd: () => {} });
  await new Promise((waited) => setTimeout(waited, 1000 * seconds));
  await microphone.stop();
  return { rate: 8000, channels: [new Uint8Array(Float32Array.from(samples).buffer).toBase64()] };
}"""


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def decoded(answer: dict[str, Any]) -> tuple[FloatArray, int]:
    """Return the samples that a script gave: (L, C), and their rate; or raise `RefusedError`."""
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    channels = [np.frombuffer(base64.b64decode(each), "<f4") for each in answer["channels"]]
    return np.stack(channels, 1), answer["rate"]


class Browser:
    """A headless Chromium with the page open, and a microphone that plays a file."""

    def __init__(self, tab: Any, address: str, version: str) -> None:
        self.tab, self.address, self.version = tab, address, version

    def decode(self, file: Path, rate: int) -> tuple[FloatArray, int]:
        """Read a file by `decodeAudioData`, in a context of this rate."""
        return decoded(self.tab.evaluate(DECODE, [base64_of(file.read_bytes()), rate]))

    def open(self, file: Path, channel: int | None = None) -> tuple[FloatArray, int]:
        """Read a file as the page does."""
        arguments = [self.address, base64_of(file.read_bytes()), file.name, channel]
        return decoded(self.tab.evaluate(OPEN, arguments))

    def listen(self, audio: Any, rate: int, seconds: float) -> tuple[FloatArray, int, Any]:
        """Record the microphone in a context of this rate; what its track says of itself, too."""
        answer = self.tab.evaluate(LISTEN, [self.address, audio, rate, seconds])
        return *decoded(answer), answer["track"]

    def listen_as_page(self, seconds: float) -> tuple[FloatArray, int]:
        """Record the microphone as the page does."""
        return decoded(self.tab.evaluate(LISTEN_AS_PAGE, [self.address, seconds]))


@contextmanager
def chromium(microphone: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not program:
        raise SystemExit("needs Chromium: apt-get install chromium, or its path in CHROMIUM")
    with serve.make_server() as server, sync_playwright() as driver:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            browser = driver.chromium.launch(
                executable_path=program,
                args=[
                    *("--no-sandbox", "--autoplay-policy=no-user-gesture-required"),
                    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
                    f"--use-file-for-fake-audio-capture={microphone}%noloop",
                ],
            )
            tab = browser.new_page()
            tab.goto(serve.page_address(server))
            yield Browser(tab, serve.page_address(server), browser.version)
            browser.close()
        finally:
            server.shutdown()
            thread.join()


# The other readers: a file gives samples (L, C) and a rate, or `RefusedError`


def by_libsndfile(file: Path) -> tuple[FloatArray, int]:
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, TypeError) as error:  # the latter: of what has no header
        raise RefusedError(str(error)) from error
    return samples, rate


def by_pyav(file: Path) -> tuple[FloatArray, int]:
    import av

    parts, rate = list[Any](), 0
    try:
        with av.open(str(file)) as opened:
            to_float = av.AudioResampler(format="fltp")
            for frame in opened.decode(audio=0):
                parts += [each.to_ndarray() for each in to_float.resample(frame)]
                rate = frame.sample_rate
            if parts:
                parts += [each.to_ndarray() for each in to_float.resample(None)]
    except (av.FFmpegError, IndexError) as error:
        raise RefusedError(str(error)) from error
    if not parts:
        raise RefusedError("no samples")
    return np.concatenate(parts, axis=1).T, rate


def by_sox(file: Path, *effects: str) -> tuple[FloatArray, int]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.wav")
        command = ["sox", file, "-e", "floating-point", "-b", "32", out, *effects]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RefusedError(done.stderr)
        return by_libsndfile(out)


def by_package(file: Path, channel: int | None = None) -> tuple[FloatArray, int]:
    try:
        with open_audio(file, channel=channel) as recording:
            return recording.read()[:, None], round(recording.sample_rate)
    except AudioError as error:
        raise RefusedError(str(error)) from error


def readers(browser: Browser) -> dict[str, Any]:
    return {
        SNDFILE: by_libsndfile,
        PYAV: by_pyav,
        NARROW: lambda file: browser.decode(file, CONTEXTS[NARROW]),
        WIDE: lambda file: browser.decode(file, CONTEXTS[WIDE]),
        SOX: by_sox,
        PYTHON: by_package,
        PAGE: browser.open,
    }


# What is measured


def string() -> FloatArray:
    """Return the digits, (L,) at 8 kHz, from the start of the first to the end of the last."""
    voice, gap = words(), np.zeros(round(8_000 * GAP_S), np.float32)
    parts = [part for digit in SPOKEN for part in (gap, voice[int(digit)])]
    return np.concatenate(parts[1:])


def place(samples: FloatArray, source: FloatArray) -> tuple[float, float]:
    """Return where a source lies in samples, in samples and parts of one, and its gain there."""
    count = 2 ** int(np.ceil(np.log2(len(samples) + len(source))))
    spectrum = np.fft.rfft(samples, count) * np.conj(np.fft.rfft(source, count))
    product = np.fft.irfft(spectrum, count)
    at = int(product.argmax())
    before, here, after = (float(product[(at + i) % count]) for i in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend else 0.0
    gain = (here - 0.25 * (before - after) * shift) / float(np.square(source).sum())
    return (at if at < count // 2 else at - count) + shift, gain


def db(ratio: float) -> float:
    return float(20 * np.log10(max(abs(ratio), 1e-9)))


def examined(samples: FloatArray, rate: int, source: FloatArray, transcriber: Any) -> Reading:
    """Compare (L, C) with a source at 8 kHz."""
    expected = at_rate(source, 8_000, rate)
    start, gain = place(samples[:, 0], expected)
    reading: Reading = {
        "rate": rate,
        "channels": samples.shape[1],
        "seconds": len(samples) / rate,
        "start_ms": 1e3 * start / rate,
        "end_ms": 1e3 * ((len(samples) - start) / rate - len(source) / 8_000),
        "level_db": db(gain),
        "digits": transcriber(samples.mean(axis=1), rate).digits,
    }
    if samples.shape[1] == 2:
        reading["balance_db"] = db(place(samples[:, 1], expected)[1] / gain)
    return reading


def read_by_all(file: Path, source: FloatArray, by: dict[str, Any], transcriber: Any) -> Reading:
    found: Reading = {}
    for name, read in by.items():
        try:
            found[name] = examined(*read(file), source, transcriber)
        except RefusedError as error:
            said = str(error).strip().splitlines() or ["nothing was said"]
            found[name] = {"refused": said[0].replace(str(file), file.name)[:200]}
    return found


def one_kind(
    each: Format, rate: int, channels: int, source: FloatArray, by: dict[str, Any], transcriber: Any
) -> Reading | None:
    """Return a row of results, None where the encoder does not write such a file."""
    row = {"ending": each.ending, "codec": each.codec, "tool": each.tool}
    row |= {"rate": rate, "channels": channels}
    with tempfile.TemporaryDirectory() as folder:
        original, file = Path(folder, "source.wav"), Path(folder, f"x{each.ending}")
        left = at_rate(source, 8_000, rate)
        both = np.stack([left, RIGHT * left][:channels], 1)
        soundfile.write(original, both, rate, subtype="PCM_16")
        if encode(each, original, file):
            return None
        return row | {"readers": read_by_all(file, source, by, transcriber)}


def tones(rate: int) -> FloatArray:
    """Return one tone after the other, (L,)."""
    time_s = np.arange(round(TONE_S * rate)) / rate
    parts = [TONE_AMPLITUDE * np.sin(2 * np.pi * hz * time_s) for hz in TONES_HZ]
    return np.concatenate(parts).astype(np.float32)


def tone_levels(samples: FloatArray, rate: int) -> Reading:
    """Return the level of each tone, and of all else while it lasts, dB; of (L,), tones alone."""
    found, length = {}, TONE_S * rate
    for i, hz in enumerate(TONES_HZ):
        part = samples[round((i + 0.25) * length) : round((i + 0.75) * length)].astype(np.float64)
        part = part - part.mean()
        rest, level = part, None
        if hz < rate / 2:
            phase = 2 * np.pi * hz * np.arange(len(part)) / rate
            basis = np.stack([np.sin(phase), np.cos(phase)], 1)
            weights = np.linalg.lstsq(basis, part, rcond=None)[0]
            rest, level = part - basis @ weights, db(np.hypot(*weights) / TONE_AMPLITUDE)
        noise = np.sqrt(2 * np.square(rest).mean()) / TONE_AMPLITUDE
        found[str(hz)] = {"level_db": level, "rest_db": max(db(noise), -120)}
    return found


def measure_tones(browser: Browser, folder: Path) -> Reading:
    """Give files of other rates to what makes 8 kHz of them."""
    found: Reading = {}
    for rate in (48_000, 44_100, 16_000):
        file = folder / "tones.flac"
        soundfile.write(file, tones(rate), rate, subtype="PCM_24")
        to_8_khz = {
            NARROW: browser.decode(file, 8_000)[0],
            PAGE: browser.open(file)[0],
            PYTHON: resample(by_package(file)[0][:, 0], rate, 8_000)[:, None],
            SOX: by_sox(file, "rate", "8000")[0],
        }
        found[str(rate)] = {name: tone_levels(x[:, 0], 8_000) for name, x in to_8_khz.items()}
    return found


def measure_levels(browser: Browser, folder: Path) -> Reading:
    """Read numbers that are known: a square wave of half of full scale, and of twice as much."""
    found: Reading = {}
    for name, ending, subtype, amplitude in (
        ("16 bit", ".wav", "PCM_16", 0.5),
        ("FLAC", ".flac", "PCM_16", 0.5),
        ("float", ".wav", "FLOAT", 2.0),
    ):
        found[name] = {}
        for reader, read in readers(browser).items():
            rate = CONTEXTS.get(reader, 8_000)  # as it is resampled otherwise
            wave = amplitude * np.tile(np.repeat([1.0, -1.0], rate // 10), 5)
            soundfile.write(folder / f"wave{ending}", wave, rate, subtype=subtype)
            samples, _ = read(folder / f"wave{ending}")
            high, low = (np.median(x) for x in (samples[samples > 0], samples[samples < 0]))
            found[name][reader] = {"high": float(high), "low": float(low)}
    return found


def measure_surround(browser: Browser, folder: Path) -> Reading:
    """Read six channels: which is which, and the largest error of one, against what PyAV gives."""
    time_s = np.arange(48_000) / 48_000
    sound = np.stack([0.2 * np.sin(2 * np.pi * hz * time_s) for hz in SURROUND_HZ.values()], 1)
    raw = sound.astype("<f4").tobytes()
    found: Reading = {}

    def names(samples: FloatArray, rate: int) -> list[str]:
        power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))[:, None], axis=0))
        peaks = power.argmax(axis=0) * rate / len(samples)
        near = [min(SURROUND_HZ, key=lambda name: abs(SURROUND_HZ[name] - hz)) for hz in peaks]
        loud = np.sqrt(np.square(samples).mean(axis=0)) > 0.02
        return [name if is_loud else "-" for name, is_loud in zip(near, loud, strict=True)]

    for codec, (ending, options) in SURROUND.items():
        file = folder / f"surround{ending}"
        command = [ffmpeg(), "-v", "error", "-y", "-f", "f32le", "-ar", "48000"]
        command += ["-channel_layout", "5.1", "-i", "-", *options.split(), str(file)]
        subprocess.run(command, input=raw, check=True)
        orders, errors = dict[str, list[str]](), dict[str, float]()
        reference, _ = by_pyav(file)
        for reader, read in readers(browser).items():
            try:
                if reader in (PYTHON, PAGE):
                    orders[reader] = [names(*read(file, channel))[0] for channel in range(1, 7)]
                    continue
                samples, rate = read(file)
            except RefusedError:
                continue
            orders[reader] = names(samples, rate)
            if rate == 48_000 and sorted(orders[reader]) == sorted(WAV_ORDER):
                length = min(len(samples), len(reference))
                at = [orders[reader].index(name) for name in WAV_ORDER]
                error = samples[:length, at] - reference[:length]
                ratio = np.sqrt(np.square(error).mean(0) / np.square(reference).mean(0))
                errors[reader] = db(float(ratio.max()))
        found[codec] = {"orders": orders, "error_db": errors}
    return found


def measure_recorder(
    browser: Browser, folder: Path, source: FloatArray, transcriber: Any
) -> Reading:
    found: Reading = {}
    said = base64_of(at_rate(source, 8_000, 48_000).astype("<f4").tobytes())
    for kind in RECORDED:
        answer = browser.tab.evaluate(RECORD, [said, 48_000, kind])
        if answer is None:
            found[kind] = {"unsupported": True}
            continue
        file = folder / f"recorded.{re.split('[/;]', kind)[1]}"
        file.write_bytes(base64.b64decode(answer["file"]))
        all_readers = read_by_all(file, source, readers(browser), transcriber)
        found[kind] = {"recorded_s": answer["seconds"], "readers": all_readers}
    return found


def microphone_sound(source: FloatArray) -> tuple[FloatArray, int]:
    """Return what the microphone plays at 48 kHz, and where its tones begin, of the digits."""
    rate = 48_000
    digits, pause = at_rate(source, 8_000, rate), np.zeros(rate // 2, np.float32)
    sound = np.concatenate([pause, pause, digits, pause, tones(rate), pause])
    return sound, len(digits) + len(pause)


def measure_microphone(browser: Browser, source: FloatArray, transcriber: Any) -> Reading:
    sound, tones_at = microphone_sound(source)
    seconds = len(sound) / 48_000 + 1
    heard: dict[str, Any] = {}
    for name, audio in CONSTRAINTS.items():
        for context, rate in (("48 kHz", 48_000), ("8 kHz", 8_000)):
            *found, track = browser.listen(audio, rate, seconds)
            heard[f"{name}, {context}"] = (*found, track)
    heard[f"plain, {PAGE}"] = (*browser.listen_as_page(seconds), {})
    results: Reading = {}
    for name, (samples, rate, track) in heard.items():
        expected = at_rate(source, 8_000, rate)
        start, gain = place(samples[:, 0], expected)
        first = round(start + tones_at * rate / 48_000)
        results[name] = {
            "level_db": db(gain),
            "digits": transcriber(samples[: max(0, first), 0], rate).digits,
            "tones": tone_levels(samples[max(0, first) :, 0], rate),
            "track": track,
        }
    return results


def measure_speech(browser: Browser, folder: Path, recognizer: Any) -> Reading:
    """Recognize single digits of the corpus Speech Commands, 16 kHz, written as FLAC at 48 kHz.

    The network has learned from some of them: what counts is where the page's samples are
    recognized as something else than Python's.
    """
    from spoken_digits.lab.data.corpora import find_corpus, read_corpus

    if not find_corpus("speech_commands"):
        return {}
    clips = [clip for clip in read_corpus("speech_commands") if clip.label in DIGITS]
    chosen = np.random.default_rng(0).permutation(len(clips))[:SPEECH]
    right, different = Counter[str](), 0
    file = folder / "speech.flac"
    for i in chosen:
        samples, rate = soundfile.read(clips[i].file, dtype="float32")
        soundfile.write(file, np.clip(at_rate(samples, rate, 48_000), -1, 1), 48_000)
        answers = []
        for reader, read in ((PYTHON, by_package), (PAGE, browser.open)):
            read_samples, read_rate = read(file)
            answers.append(recognizer(read_samples[:, 0], read_rate).digit)
            right[reader] += str(answers[-1]) == clips[i].label
        different += answers[0] != answers[1]
    return {"files": len(chosen), "right": dict(right), "different": different}


# The command


def main() -> int:
    """Measure, and write results and document."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readers", description=(__doc__ or "").partition("\n")[0]
    )
    text = "files whose ending, codec or tool has it; others stay as they were"
    parser.add_argument("--only", default="", metavar="NAME", help=text)
    text = "read files by this one; what others read stays as it was"
    parser.add_argument("--reader", action="append", choices=READERS, help=text)
    text = "no table of files: what a browser does to sound of its own, numbers, channels"
    parser.add_argument("--no-files", action="store_true", help=text)
    parser.add_argument(
        "--page", action="store_true", help="write the document again, nothing else"
    )
    arguments = parser.parse_args()
    before = read_results(RESULTS)
    if arguments.page:
        publish(before)
        return 0
    source, transcriber = string(), spoken_digits.Transcriber()
    if (found := transcriber(source, 8_000).digits) != SPOKEN:
        raise SystemExit(f"the source is recognized as {found}; expected {SPOKEN}")
    older = {kind_of(row): row for row in before.get("rows", [])}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        soundfile.write(folder / "microphone.wav", microphone_sound(source)[0], 48_000)
        with chromium(folder / "microphone.wav") as browser:
            wanted = arguments.reader or READERS
            by = {name: read for name, read in readers(browser).items() if name in wanted}
            for each, rate, channels in kinds():
                kind = (each.ending, each.codec, each.tool, rate, channels)
                row = older.get(kind)
                name = " ".join(map(str, kind))
                if arguments.only.lower() in name.lower() and not arguments.no_files:
                    new = one_kind(each, rate, channels, source, by, transcriber)
                    if new and row:
                        new["readers"] = row["readers"] | new["readers"]
                    row = new
                    print(name, flush=True)
                if row:
                    rows.append(row)
            results = {
                "benchmark": "readers",
                "command": "python -m benchmarks.readers",
                "commit": commit(),
                "rows_commit": before.get("rows_commit") if arguments.no_files else commit(),
                "spoken": SPOKEN,
                "before": before["before"],
                "versions": versions(browser),
                "guesses": [{"question": each.question, "guess": each.guess} for each in GUESSES],
                "tones": measure_tones(browser, folder),
                "levels": measure_levels(browser, folder),
                "surround": measure_surround(browser, folder),
                "speech": measure_speech(browser, folder, spoken_digits.load()),
                "recorder": measure_recorder(browser, folder, source, transcriber),
                "microphone": measure_microphone(browser, source, transcriber),
                "rows": rows,
            }
    publish(results)
    return 0


def kinds() -> Iterator[tuple[Format, int, int]]:
    """Give the files of docs/formats.md whose encoder is installed: format, rate, channels."""
    for each in FORMATS:
        if version(each.tool):
            for rate in each.rates:
                for channels in each.channels:
                    if channels == 1 or rate == max(each.rates):
                        yield each, rate, channels


def kind_of(row: Reading) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("ending", "codec", "tool", "rate", "channels"))


def versions(browser: Browser) -> dict[str, str]:
    tools = sorted({each.tool for each in FORMATS})
    found = {tool: number for tool in tools if (number := version(tool))}
    found |= {name: metadata.version(name) for name in ("av", "soundfile")}
    return found | {
        "libsndfile": soundfile.__libsndfile_version__,
        "Chromium": browser.version,
    }


def publish(results: dict[str, Any]) -> None:
    write_json(RESULTS, results)
    write_whole(DOCUMENT, with_tables(DOCUMENT.read_text("utf-8"), results).encode())


if __name__ == "__main__":
    sys.exit(main())
