"""Time and memory of published corpora that are not at hand, on trees made in their layouts.

    python -m benchmarks.layouts audiomnist speech_commands

Makes AudioMNIST (60 speakers, 500 recordings each, 48 kHz) and Speech Commands (105,829 recordings
of a second, 16 kHz, of 35 words, with both lists) of the synthetic speech that ships, of their
exact sizes, at another speed, level and noise each time, and measures what `benchmarks.scale`
measures: 3 GB each, removed at the end. Words other than digits are digits under another name: the
trees tell time and memory, never accuracy. Rows go to results/layouts.json, the table to
docs/benchmarks.md.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.__main__ import processor
from benchmarks.measures import read_results
from benchmarks.scale import REPOSITORY, STAGES, clock, run_stage, say, sources, varied, write_wav
from benchmarks.scale_stages import TEST_FRACTION
from spoken_digits.lab.data.corpora import (
    AUDIOMNIST_SPEAKERS,
    CORPORA,
    DIGIT_WORDS,
    DIGITS,
    SPEECH_COMMANDS_LISTS,
)
from spoken_digits.lab.data.parallel import map_in_order
from spoken_digits.lab.reporting.readme import replace_between
from spoken_digits.lab.runs import commit, write_json, write_whole

RESULTS = REPOSITORY / "results" / "layouts.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
MARKER = "layouts"
TAKES = 50
AUDIOMNIST_RATE, COMMANDS_RATE = 48_000, 16_000  # Hz
OTHER_WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "follow", "forward", "go", "happy"),
    *("house", "learn", "left", "marvin", "no", "off", "on", "right", "sheila", "stop", "tree"),
    *("up", "visual", "wow", "yes"),
)
WORDS = (*DIGIT_WORDS, *OTHER_WORDS)
COMMANDS_SPEAKERS = 2_618
TRAINING_CLIPS = {"audiomnist": 18_000, "speech_commands": 84_843}  # of a fold; of its lists


@cache
def of_digit(digit: str) -> list[NDArray[np.float32]]:
    return [samples for label, samples in sources() if label == digit]


def make_audiomnist(folder: Path, count: int) -> None:
    """Make the first recordings of AudioMNIST's layout, speaker by speaker."""
    for speaker in AUDIOMNIST_SPEAKERS:
        (folder / "data" / speaker).mkdir(parents=True)
    for _ in map_in_order(partial(audiomnist_recording, folder), range(count)):
        pass
    (folder / "data" / "audioMNIST_meta.txt").write_text("{}")


def audiomnist_recording(folder: Path, index: int) -> None:
    """Write a recording, which its index decides."""
    place, digit = divmod(index, len(DIGITS))
    number, take = divmod(place, TAKES)
    speaker = AUDIOMNIST_SPEAKERS[number]
    found = of_digit(str(digit))
    samples = varied(found[place % len(found)], AUDIOMNIST_RATE, index)
    write_wav(folder / "data" / speaker / f"{digit}_{speaker}_{take}.wav", samples, AUDIOMNIST_RATE)


def make_speech_commands(folder: Path, count: int) -> None:
    """Make the first recordings of Speech Commands' layout, and its two lists."""
    for word in (*WORDS, "_background_noise_"):
        (folder / word).mkdir(parents=True)
    lists: dict[str, list[str]] = {side: [] for side in SPEECH_COMMANDS_LISTS}
    for path, speaker in map_in_order(partial(commands_recording, folder), range(count)):
        # A tenth of the speakers each, as in the published lists.
        side = ("validation", "testing", *["training"] * 8)[int(speaker, 16) % 10]
        if side in lists:
            lists[side].append(path)
    for side, name in SPEECH_COMMANDS_LISTS.items():
        (folder / name).write_text("\n".join(lists[side]) + "\n")


def commands_recording(folder: Path, index: int) -> tuple[str, str]:
    """Write a recording, which its index decides; return its path and its speaker."""
    place, number = divmod(index, len(WORDS))
    take, who = divmod(place, COMMANDS_SPEAKERS)
    speaker = hashlib.sha1(str(who).encode(), usedforsecurity=False).hexdigest()[:8]
    found = of_digit(str(number % 10))
    samples = varied(found[place % len(found)], COMMANDS_RATE, index)[:COMMANDS_RATE]
    path = f"{WORDS[number]}/{speaker}_nohash_{take}.wav"
    second = np.pad(samples, (0, COMMANDS_RATE - len(samples)))
    write_wav(folder / path, second, COMMANDS_RATE)
    return path, speaker


MAKE: dict[str, Callable[[Path, int], None]] = {
    "audiomnist": make_audiomnist,
    "speech_commands": make_speech_commands,
}


def table(results: dict[str, Any]) -> str:
    """Return what was measured, a row for each stage."""
    lines = [
        "| layout | recordings | stage | processor time | of it a clip | peak memory |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for name, found in results.items():
        for stage, row in found["stages"].items():
            lines.append(
                f"| {name} | {found['clips']:,} | {STAGES[stage]} | {clock(row['cpu_s'])} "
                f"| {1e3 * row['cpu_s'] / found['clips']:.2f} ms | {row['peak_mib']:,.0f} MiB |"
            )
    lines.append("")
    for name, found in results.items():
        a_clip = found["stages"]["epoch"]["cpu_s"] / (found["clips"] * (1 - 1 / TEST_FRACTION))
        lines.append(
            f"- {name}: an epoch of the published split, {TRAINING_CLIPS[name]:,} clips, takes "
            f"about {clock(a_clip * TRAINING_CLIPS[name])} (extrapolated)."
        )
    places = {(found["commit"], found["processor"], found["cores"]) for found in results.values()}
    said = [f"Commit {c}; {p}, {cores} cores." for c, p, cores in sorted(places)]
    return "\n".join([*lines, "", *said])


def main() -> int:
    """Measure the corpora that are named, and write results and page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=list(MAKE), help="layouts to make")
    text = "so many recordings instead of all; nothing is recorded then"
    parser.add_argument("--clips", type=int, metavar="N", help=text)
    text = "where corpora are made for the while: 3 GB"
    parser.add_argument("--folder", type=Path, metavar="PATH", help=text)
    arguments = parser.parse_args()
    results = read_results(RESULTS)
    for name in arguments.names:
        clips = CORPORA[name].clips if arguments.clips is None else arguments.clips
        assert clips
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="layouts-") as folder:
            say(f"{name}: making {clips:,} recordings")
            MAKE[name](Path(folder) / "corpus", clips)
            stages = {}
            for stage in STAGES:
                stages[stage] = run_stage(stage, Path(folder))
                say(f"{name}: {STAGES[stage]}: {stages[stage]}")
        place = {"commit": commit()[:7], "processor": processor(), "cores": os.cpu_count()}
        results[name] = {"clips": clips, **place, "stages": stages}
    if arguments.clips is None:
        results = {name: results[name] for name in MAKE if name in results}
        write_json(RESULTS, results)
        page = replace_between(PAGE.read_text("utf-8"), MARKER, table(results), PAGE.name)
        write_whole(PAGE, page.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
