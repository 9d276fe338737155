"""What is in the corpora, beside what their papers say: `python -m benchmarks.corpora`.

docs/corpora.md and results/corpora.json are written from it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """A question that a number answers, and what an expert would say: from `low` to `high`.

    All were written before anything was measured.
    """

    key: str
    question: str
    low: float
    high: float
    unit: str


# A clip is clipped if at least 3 samples in a row, and 0.1 % of all, are at full scale (0.99); its
# tops are flat if as many are at its own largest value, below full scale. It is cut where its first
# or last 10 ms are within 12 dB of its loudest 30 ms. A cut-off is a fall of 15 dB or more between
# neighbouring 500 Hz, 250 Hz apart, with nothing louder above it. A floor is the quietest tenth of
# 20 ms frames, the level the loudest tenth.
GUESSES = (
    Guess("fsdd pairs", "FSDD: pairs of files that are one recording", 0, 0, "pairs"),
    Guess("speech_commands pairs", "Speech Commands: the same", 0, 0, "pairs"),
    Guess("an4 pairs", "AN4: the same", 0, 0, "pairs"),
    Guess("wuw2 pairs", "WUW II: the same", 0, 0, "pairs"),
    Guess("pairs across", "pairs of files of two corpora that are one recording", 0, 0, "pairs"),
    Guess("fsdd labels", "FSDD: clips that say another word than their label", 1, 5, "clips"),
    Guess(
        "speech_commands labels",
        "Speech Commands: digits that say another word, or none",
        0.5,
        2,
        "%",
    ),
    Guess("speech_commands empty", "Speech Commands: digits with no speech in them", 0.1, 1, "%"),
    Guess("an4 transcripts", "AN4: transcripts that do not fit", 0, 3, "of 948"),
    Guess("wuw2 transcripts", "WUW II: transcripts that do not fit", 5, 20, "of 1,100"),
    Guess("fsdd clipped", "FSDD: clipped", 0, 0.5, "%"),
    Guess("speech_commands clipped", "Speech Commands: clipped", 1, 5, "%"),
    Guess("an4 clipped", "AN4: clipped", 0, 1, "%"),
    Guess("wuw2 clipped", "WUW II: clipped", 0, 2, "%"),
    Guess("fsdd flat", "FSDD: tops flat below full scale", 0, 1, "%"),
    Guess("speech_commands flat", "Speech Commands: tops flat below full scale", 1, 5, "%"),
    Guess("fsdd cut", "FSDD: cut at either end", 2, 10, "%"),
    Guess("speech_commands cut", "Speech Commands: cut at either end", 1, 5, "%"),
    Guess("an4 cut", "AN4: cut at either end", 0, 1, "%"),
    Guess("wuw2 cut", "WUW II: cut at either end", 0, 2, "%"),
    Guess("speech_commands short", "Speech Commands: not exactly one second long", 8, 12, "%"),
    Guess("speech_commands zeros", "Speech Commands: 10 ms of zeros at either end", 1, 5, "%"),
    Guess(
        "speech_commands narrow",
        "Speech Commands (16 kHz): people most of whose clips have a cut-off at 6 kHz or below",
        2,
        10,
        "%",
    ),
    Guess("an4 narrow", "AN4 (16 kHz): the same", 0, 0, "%"),
    Guess("fsdd narrow", "FSDD (8 kHz): people, at 3 kHz or below", 0, 0, "people"),
    Guess("wuw2 narrow", "WUW II (8 kHz): calls, at 3 kHz or below", 0, 5, "%"),
    Guess(
        "fsdd coarse", "FSDD: people whose samples have 8 bits or less (nicolas)", 1, 1, "people"
    ),
    Guess("fsdd range", "FSDD: from least to most dB of level over floor, people", 15, 30, "dB"),
    Guess("speech_commands range", "Speech Commands: level over floor, median", 30, 40, "dB"),
    Guess("an4 range", "AN4: level over floor, median", 35, 50, "dB"),
    Guess("landline", "WUW II: level over floor, landline more than cellphone", 3, 10, "dB"),
    Guess("fsdd offset", "FSDD: people with an offset of 0.5 % of full scale", 0, 0, "people"),
    Guess("speech_commands offset", "Speech Commands: the same", 0, 2, "%"),
    Guess("an4 offset", "AN4: the same", 0, 0, "%"),
    Guess(
        "fsdd takes",
        "FSDD: people whose takes 0 to 4, the official test part, differ from the others by 3 dB "
        "or more in level",
        0,
        0,
        "people",
    ),
    Guess(
        "fsdd gain",
        "FSDD's test speakers: accuracy gained when faulty clips are left out",
        0,
        0.1,
        "points",
    ),
    Guess("speech_commands gain", "Speech Commands, people held out: the same", 0.3, 1, "points"),
)
