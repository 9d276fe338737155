"""How well a digit is found in a recording, and recognized there: `python -m benchmarks.endpoints`.

Recordings are made of clips of the four training speakers of FSDD and of Speech Commands, put into
the troubles that people's recordings have. Beside the accuracy stands that with the ends of the
clip given away ("ends known"): what is missing between the two is lost by looking for the digit.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, cut_clip, find_utterance, read_audio, resample, to_clip
from spoken_digits.lab.data.corpora import Clip, find_corpus, read_corpus
from spoken_digits.lab.data.splits import XSDR_TRAIN
from spoken_digits.recognize import Recognizer, load

FloatArray = NDArray[np.float64]
ROOM_DB = -45  # of the noise under every recording that has a background, relative to the voice


@dataclass(frozen=True)
class Recording:
    """Samples (L,) at 8 kHz, and where in them the clip begins and ends."""

    samples: FloatArray
    start: int
    stop: int


def put(clip: FloatArray, before_s: float, after_s: float, rng: np.random.Generator) -> Recording:
    """Put a clip into a quiet room."""
    start, behind = round(before_s * SAMPLE_RATE), round(after_s * SAMPLE_RATE)
    samples = np.pad(clip, (start, behind))
    noise = level(clip) * 10 ** (ROOM_DB / 20) * rng.standard_normal(len(samples))
    return Recording(samples + noise, start, start + len(clip))


def level(clip: FloatArray) -> float:
    """Root mean square of the louder half of a clip."""
    return float(np.sqrt(np.sort(clip**2)[len(clip) // 2 :].mean()))


def plus(recording: Recording, trouble: FloatArray) -> Recording:
    return Recording(recording.samples + trouble, recording.start, recording.stop)


def silence(before_s: float, after_s: float) -> "Condition":
    return lambda clip, rng: put(clip, before_s, after_s, rng)


def muted(clip: FloatArray, _rng: np.random.Generator) -> Recording:
    """Digital zero around the clip, as a noise gate leaves it."""
    n = SAMPLE_RATE
    return Recording(np.pad(clip, n), n, n + len(clip))


def quiet(peak_db: float) -> "Condition":
    """Have a peak of so many dB below full scale, at 16 bits."""

    def make(clip: FloatArray, rng: np.random.Generator) -> Recording:
        recording = put(clip, 1, 1, rng)
        scale = 10 ** (peak_db / 20) / np.abs(clip).max()
        return Recording(
            np.round(recording.samples * scale * 2**15) / 2**15, recording.start, recording.stop
        )

    return make


def overdriven(gain_db: float) -> "Condition":
    """So much louder than fits."""

    def make(clip: FloatArray, rng: np.random.Generator) -> Recording:
        recording = put(clip / np.abs(clip).max(), 1, 1, rng)
        loud = np.clip(10 ** (gain_db / 20) * recording.samples, -1, 1)
        return Recording(loud, recording.start, recording.stop)

    return make


def offset(clip: FloatArray, rng: np.random.Generator) -> Recording:
    return plus(put(clip, 1, 1, rng), np.array(3 * np.abs(clip).max()))


def hum(mains_hz: float, snr_db: float) -> "Condition":
    """Mains hum with harmonics up to 2 kHz, falling by 6 dB an octave."""

    def make(clip: FloatArray, rng: np.random.Generator) -> Recording:
        recording = put(clip, 1, 1, rng)
        sound = humming(len(recording.samples), mains_hz, rng)
        return plus(recording, sound * level(clip) * 10 ** (-snr_db / 20))

    return make


def humming(length: int, mains_hz: float, rng: np.random.Generator) -> FloatArray:
    """Hum (L,) of unit level."""
    t = np.arange(length) / SAMPLE_RATE
    order = np.arange(1, int(2_000 / mains_hz))
    phase = rng.uniform(0, 2 * np.pi, len(order))
    tones = np.sin(2 * np.pi * mains_hz * order[:, None] * t + phase[:, None])
    sound = (tones / order[:, None]).sum(axis=0)
    return np.asarray(sound / sound.std())


def noise(color: float, snr_db: float) -> "Condition":
    """Stationary noise whose power falls with frequency to this exponent: 0 white, 1 pink."""

    def make(clip: FloatArray, rng: np.random.Generator) -> Recording:
        recording = put(clip, 1.5, 1, rng)
        sound = colored(len(recording.samples), color, rng)
        return plus(recording, sound * level(clip) * 10 ** (-snr_db / 20))

    return make


def colored(length: int, color: float, rng: np.random.Generator) -> FloatArray:
    """Noise (L,) of unit level."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE / length, 50)
    sound = np.fft.irfft(spectrum * frequency ** (-color / 2), length)
    return np.asarray(sound / sound.std())


def clicks(clip: FloatArray, rng: np.random.Generator) -> Recording:
    """Six clicks of 1 to 5 ms around the clip, up to twice as loud as it."""
    recording = put(clip, 1.5, 1.5, rng)
    sound = np.zeros(len(recording.samples))
    for at in [*rng.uniform(0.1, 1.2, 3), *(rng.uniform(1.8, 2.8, 3) + len(clip) / SAMPLE_RATE)]:
        first, length = round(at * SAMPLE_RATE), int(rng.integers(8, 40))
        burst = rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 3))
        sound[first : first + length] += 2 * np.abs(clip).max() * burst / np.abs(burst).max()
    return plus(recording, sound)


def breath(clip: FloatArray, rng: np.random.Generator) -> Recording:
    """Breathe for 0.4 s, 15 dB below the voice, half a second before and after it."""
    recording = put(clip, 1.5, 1.5, rng)
    sound = np.zeros(len(recording.samples))
    length = round(0.4 * SAMPLE_RATE)
    for first in (recording.start - round(0.9 * SAMPLE_RATE), recording.stop + SAMPLE_RATE // 2):
        burst = colored(length, 1, rng) * np.hanning(length)
        sound[first : first + length] += level(clip) * 10 ** (-15 / 20) * burst * 1.6
    return plus(recording, sound)


def everything(clip: FloatArray, rng: np.random.Generator) -> Recording:
    """Clicks, hum and noise at 20 dB, an offset, quiet."""
    recording = clicks(clip, rng)
    t = np.arange(len(recording.samples)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 5))
    sound = 0.1 * level(clip) * (tone + colored(len(t), 1, rng)) + np.abs(clip).max()
    return Recording(0.02 * (recording.samples + sound), recording.start, recording.stop)


Condition = Callable[[FloatArray, np.random.Generator], Recording]

CONDITIONS: dict[str, Condition] = {
    "a quiet second around it": silence(1, 1),
    "0.1 s of silence around it": silence(0.1, 0.1),
    "5 s of silence": silence(3, 1.5),
    "30 s of silence": silence(20, 8),
    "digital zero around it": muted,
    "quiet, peak of -50 dBFS": quiet(-50),
    "quiet, peak of -65 dBFS": quiet(-65),
    "clipped by 10 dB": overdriven(10),
    "clipped by 20 dB": overdriven(20),
    "DC offset": offset,
    "hum, 50 Hz, 10 dB": hum(50, 10),
    "hum, 60 Hz, 10 dB": hum(60, 10),
    "hum, 50 Hz, 0 dB": hum(50, 0),
    "white noise, 20 dB": noise(0, 20),
    "white noise, 10 dB": noise(0, 10),
    "pink noise, 20 dB": noise(1, 20),
    "pink noise, 10 dB": noise(1, 10),
    "brown noise, 10 dB": noise(2, 10),
    "clicks": clicks,
    "breaths": breath,
    "all at once, quiet": everything,
}


def several(clips: Sequence[FloatArray], pause_s: float, rng: np.random.Generator) -> FloatArray:
    """Put clips one after another, as loud as each other to 4 dB, in a quiet room."""
    pieces: list[FloatArray] = []
    for clip in clips:
        pieces += [np.zeros(round(pause_s * rng.uniform(0.8, 1.2) * SAMPLE_RATE))]
        pieces += [clip / level(clip) * 10 ** (rng.uniform(-4, 4) / 20)]
    return put(np.concatenate(pieces[1:]), 0.5, 0.5, rng).samples


def count(clips: Sequence[FloatArray], made: int) -> list[dict[str, Any]]:
    """Return how often two and four digits are told from one, and noise from digits."""
    rng = np.random.default_rng(1)
    table = []
    for digits, pause_s in ((1, 0), (2, 0.15), (2, 0.25), (2, 0.5), (4, 0.15), (4, 0.5)):
        chosen = [[clips[i] for i in rng.integers(len(clips), size=digits)] for _ in range(made)]
        heard = [find_utterance(several(row, pause_s, rng), SAMPLE_RATE) for row in chosen]
        pause = f" {pause_s:g} s apart" if digits > 1 else ""
        table.append(
            {
                "recording": f"{digits} digit{'s' * (digits > 1)}{pause}",
                "several": float(np.mean([h.utterances > 1 for h in heard])),
                "silent": float(np.mean([not h.is_speech for h in heard])),
            }
        )
    for name, color in (("white", 0), ("pink", 1), ("brown", 2)):
        noises = [
            colored(round(rng.uniform(1.2, 30) * SAMPLE_RATE), color, rng) for _ in range(made)
        ]
        heard = [find_utterance(noise, SAMPLE_RATE) for noise in noises]
        table.append(
            {
                "recording": f"{name} noise alone",
                "several": float(np.mean([h.utterances > 1 for h in heard])),
                "silent": float(np.mean([not h.is_speech for h in heard])),
            }
        )
    return table


def babble(length: int, clips: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
    """Let eight people speak at once without end: (L,) of unit level."""
    sound = np.zeros(length)
    for _ in range(8):
        chosen = [clips[i] for i in rng.integers(len(clips), size=length // 1_000 + 6)]
        speech = np.concatenate(
            [np.pad(clip / level(clip), (0, rng.integers(0, 1_600))) for clip in chosen]
        )
        begin = rng.integers(0, 4_000)
        voice = speech[begin : begin + length]
        sound[: len(voice)] += voice
    return np.asarray(sound / sound.std())


def alone(samples: FloatArray) -> FloatArray:
    """Cut out the voice by its energy, 99.4 % of it and 50 ms on either side: no endpointer."""
    energy = np.cumsum(np.convolve(samples**2, np.ones(160), "same"))
    first, last = np.searchsorted(energy / energy[-1], [0.003, 0.997])
    return samples[max(0, first - 400) : last + 400]


def count_in_noise(voices: Sequence[FloatArray], made: int) -> list[dict[str, Any]]:
    """Return how often one digit is called several, and two to four are, in a row a noise and SNR.

    `voices` are recordings of one digit each. One digit lies in 1.0 to 3.0 s of noise, half of them
    in less than 1.2 s; several have pauses of 0.3 to 0.6 s.
    """
    clips = [alone(voice) for voice in voices]
    rng = np.random.default_rng(2)
    noises: dict[str, Callable[[int], FloatArray]] = {
        "white": lambda length: colored(length, 0, rng),
        "pink": lambda length: colored(length, 1, rng),
        "hum": lambda length: humming(length, rng.choice([50, 60]), rng),
        "babble": lambda length: babble(length, clips, rng),
    }
    table = []
    for name, make in noises.items():
        for snr_db in (10, 20, 30):
            scale = 10 ** (-snr_db / 20)
            answers: dict[bool, list[int]] = {False: [], True: []}
            for i in range(2 * made):
                digits = 1 if i < made else int(rng.integers(2, 5))
                duration_s = rng.uniform(1.0, 1.2 if i % 2 else 3.0)
                pieces: list[FloatArray] = []
                for clip in [clips[k] for k in rng.integers(len(clips), size=digits)]:
                    pieces += [np.zeros(round(rng.uniform(0.3, 0.6) * SAMPLE_RATE))]
                    pieces += [clip / level(clip) * 10 ** (rng.uniform(-3, 3) / 20)]
                speech = np.concatenate(pieces[1:])
                lacking = max(0, round(duration_s * SAMPLE_RATE) - len(speech))
                before = rng.integers(0, lacking + 1)
                samples = np.pad(speech, (before, lacking - before))
                samples += scale * level(pieces[1]) * make(len(samples))
                answers[digits > 1].append(find_utterance(samples, SAMPLE_RATE).utterances)
            table.append(
                {
                    "noise": name,
                    "snr_db": snr_db,
                    "one_as_several": float(np.mean([n > 1 for n in answers[False]])),
                    "several": float(np.mean([n > 1 for n in answers[True]])),
                }
            )
    return table


def choose(per_corpus: int, data: str | None = None) -> dict[str, list[Clip]]:
    """Choose clips, as many of each digit as can be: FSDD's training speakers, Speech Commands."""
    chosen = {}
    for name in ("fsdd", "speech_commands"):
        if find_corpus(name, data) is None:
            continue
        rng = np.random.default_rng(0)
        clips = [
            clip
            for clip in read_corpus(name, data)
            if clip.label.isdigit() and (name != "fsdd" or clip.speaker in XSDR_TRAIN)
        ]
        order = rng.permutation(len(clips))
        chosen[name] = [
            clip
            for digit in "0123456789"
            for clip in [clips[i] for i in order if clips[i].label == digit][: per_corpus // 10]
        ]
    return chosen


def measure(
    recognizer: Recognizer, clips: Sequence[Clip], conditions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row a condition: shares of digits heard, found and with their ends known."""
    labels = list(recognizer.labels)
    targets = np.array([labels.index(clip.label) for clip in clips])
    whole = [resample(*read_audio(clip.file)).astype(np.float64) for clip in clips]
    heard = np.array([recognizer.run(to_clip(x, SAMPLE_RATE)[None])[0].argmax() for x in whole])
    table = [row("as it is", heard == targets, heard == targets, None)]
    for name in conditions:
        # The voice alone is put into a recording; what the corpus left around it is no part of it.
        made = [
            CONDITIONS[name](
                to_clip(x, SAMPLE_RATE).astype(np.float64), np.random.default_rng([7, i])
            )
            for i, x in enumerate(whole)
        ]
        found, known, ends = [], [], []
        for recording in made:
            clip, start_s, stop_s = cut_clip(recording.samples, SAMPLE_RATE)
            found.append(recognizer.run(clip[None])[0].argmax())
            centered = recording.samples - recording.samples.mean()
            cut = centered[recording.start : recording.stop].astype(np.float32)
            known.append(recognizer.run(np.pad(cut, (0, max(0, 800 - len(cut))))[None])[0].argmax())
            ends.append((start_s * SAMPLE_RATE, stop_s * SAMPLE_RATE, recording))
        missed = [
            min(stop, r.stop) - max(start, r.start) < 0.7 * (r.stop - r.start)
            or stop - start > (r.stop - r.start) + 0.4 * SAMPLE_RATE
            for start, stop, r in ends
        ]
        table.append(row(name, np.array(found) == targets, np.array(known) == targets, missed))
    return table


def row(
    name: str, found: NDArray[np.bool_], known: NDArray[np.bool_], missed: list[bool] | None
) -> dict[str, Any]:
    """`misplaced`: less than 70 % of the voice is in what was cut, or 0.4 s more than it."""
    return {
        "condition": name,
        "accuracy": float(found.mean()),
        "ends_known": float(known.mean()),
        "misplaced": float(np.mean(missed)) if missed is not None else 0.0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endpoints", description=__doc__)
    parser.add_argument("--clips", type=int, default=400, help="of each corpus (%(default)s)")
    parser.add_argument("--model", help="an exported model (default: what ships)")
    parser.add_argument("--only", action="append", help="one condition", choices=CONDITIONS)
    parser.add_argument("--output", type=Path, help="also write JSON here")
    arguments = parser.parse_args()
    recognizer = load(arguments.model)
    chosen = choose(arguments.clips)
    if not chosen:
        print("neither fsdd nor speech_commands is at hand", file=sys.stderr)
        return 1
    tables = {
        name: measure(recognizer, clips, arguments.only or list(CONDITIONS))
        for name, clips in chosen.items()
    }
    print(f"{'accuracy (ends known; misplaced), %':28}" + "".join(f"{n:>28}" for n in tables))
    for rows in zip(*tables.values(), strict=True):
        cells = [
            f"{100 * r['accuracy']:.1f} ({100 * r['ends_known']:.1f}; {100 * r['misplaced']:.1f})"
            for r in rows
        ]
        print(f"{rows[0]['condition']:28}" + "".join(f"{cell:>28}" for cell in cells))
    voices = [
        to_clip(*read_audio(clip.file)).astype(np.float64) for clip in next(iter(chosen.values()))
    ]
    counts = count(voices, max(10, arguments.clips // 2))
    print(f"\n{'%':28}{'several digits':>28}{'silence':>28}")
    for line in counts:
        print(f"{line['recording']:28}{100 * line['several']:28.1f}{100 * line['silent']:28.1f}")
    in_noise = {}
    for name, clips in chosen.items():
        recordings = [resample(*read_audio(clip.file)).astype(np.float64) for clip in clips]
        isolated = [find_utterance(x, SAMPLE_RATE).utterances > 1 for x in recordings]
        in_noise[name] = {
            "isolated_as_several": float(np.mean(isolated)),
            "rows": count_in_noise(
                [x - x.mean() for x in recordings], max(10, arguments.clips // 10)
            ),
        }
        print(f"\n{name}, by itself: one digit called several {100 * np.mean(isolated):.1f} %")
        for line in in_noise[name]["rows"]:
            print(
                f"{line['noise']}, {line['snr_db']} dB: one called several "
                f"{100 * line['one_as_several']:.1f} %, several {100 * line['several']:.1f} %"
            )
    if arguments.output:
        from spoken_digits.lab.runs import write_whole

        result = {
            "command": f"python -m benchmarks.endpoints --clips {arguments.clips}",
            "model": {"sha256": hashlib.sha256(recognizer.path.read_bytes()).hexdigest()},
            "clips": {name: len(clips) for name, clips in chosen.items()},
            "tables": tables,
            "counts": counts,
            "counts_in_noise": in_noise,
        }
        write_whole(arguments.output, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
