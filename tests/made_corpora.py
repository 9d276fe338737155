"""AudioMNIST and Speech Commands made up, in the layouts in which they are published."""

import hashlib
from pathlib import Path

import numpy as np
import soundfile

from spoken_digits.lab.data.corpora import DIGIT_WORDS

WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "follow", "forward", "go", "happy"),
    *("house", "learn", "left", "marvin", "no", "off", "on", "right", "sheila", "stop", "tree"),
    *("up", "visual", "wow", "yes"),
)


def tone(rate: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """A chord that tells its number, a quarter of a second long: (L,)."""
    t = np.arange(rate // 4) / rate
    pitch = rng.uniform(0.97, 1.03)
    low, high = 250 + 90 * (number % 6), 1_000 + 350 * (number // 6)
    chord = np.sin(2 * np.pi * low * pitch * t) + np.sin(2 * np.pi * high * pitch * t)
    return 0.2 * chord + 0.001 * rng.standard_normal(len(t))


def write(file: Path, number: int, rate: int, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, tone(rate, number, np.random.default_rng([seed, number])), rate)


def write_audiomnist(folder: Path, speakers: int = 60, takes: int = 1) -> Path:
    """data/<speaker>/<digit>_<speaker>_<take>.wav at 48 kHz, with the table of its speakers."""
    for speaker in range(1, speakers + 1):
        for digit in range(10):
            for take in range(takes):
                file = folder / "data" / f"{speaker:02}" / f"{digit}_{speaker:02}_{take}.wav"
                write(file, digit, 48_000, 100 * speaker + take)
    (folder / "data" / "audioMNIST_meta.txt").write_text("{}")
    return folder


def published_side(speaker: str) -> str:
    """The side of a speaker by the rule that Speech Commands' README gives: 10, 10 and 80 %."""
    hashed = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27
    percent = hashed * 100 / (2**27 - 1)
    return "validation" if percent < 10 else "testing" if percent < 20 else "training"


def speakers_of(counts: dict[str, int]) -> list[str]:
    """The first names, counted in hexadecimal, that the rule puts on each side."""
    taken: dict[str, list[str]] = {side: [] for side in counts}
    for name in (f"{number:08x}" for number in range(10_000)):
        if len(taken[side := published_side(name)]) < counts[side]:
            taken[side].append(name)
    return sorted(name for names in taken.values() for name in names)


def write_speech_commands(folder: Path, validation: int = 1, testing: int = 2, training: int = 5):
    """<word>/<speaker>_nohash_<n>.wav at 16 kHz, its two lists, and what lies beside them."""
    lists: dict[str, list[str]] = {"validation": [], "testing": [], "training": []}
    counts = {"validation": validation, "testing": testing, "training": training}
    for speaker in speakers_of(counts):
        for number, word in enumerate((*DIGIT_WORDS, *WORDS)):
            write(folder / word / f"{speaker}_nohash_0.wav", number, 16_000, int(speaker, 16))
            lists[published_side(speaker)].append(f"{word}/{speaker}_nohash_0.wav")
    write(folder / "_background_noise_" / "pink_noise.wav", 0, 16_000, 0)
    for side in ("validation", "testing"):
        (folder / f"{side}_list.txt").write_text("\n".join(lists[side]) + "\n")
    for name in ("README.md", "LICENSE"):
        (folder / name).write_text("text\n")
    return folder
