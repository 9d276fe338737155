"""The constants of the decoding of strings, chosen on folds that they are not judged on.

    python -m benchmarks.decoding strings-0.onnx strings-1.onnx ... strings-4.onnx --write judged

Each network is that of a fold: `spoken-digits strings train strings --split xsdr --fluent 0` leaves
out people of AN4, calls of WUW II, a third of the other words and a kind of handling noise. It is
run over these once, and decoded with all constants of the grid. For each fold the constants are
chosen on the other four (cross-fitting), and counted on this one: so the figures are of constants
that have not seen what they are judged on; `--write` writes each network with these, for
`spoken-digits strings score`. Those that ship are chosen on all five. Written to
results/decoding.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.connected.evaluation import (
    evaluation_clips,
    evaluation_utterances,
    recordings_without_digits,
    run_network,
)
from spoken_digits.lab.connected.pipeline import (
    DECODING,
    handling_trained_on,
    held_out_handling,
    words_left_out,
)
from spoken_digits.lab.connected.strings import read_words, score
from spoken_digits.lab.data.splits import UTTERANCE_FOLDS
from spoken_digits.lab.data.utterances import read_samples
from spoken_digits.lab.runs import commit, write_json, write_whole
from spoken_digits.networks import StringNetwork
from spoken_digits.spotting import Decoding, decode_whole

RESULTS = Path(__file__).parents[1] / "results" / "decoding.json"
GRID = {
    "emission_threshold": tuple(np.arange(-0.5, 4.1, 0.5).tolist()),
    "context_penalty": (2.0, 3.0, 4.0, 5.0),
    "context_bonus": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
    "context_s": (1.0, 1.5, 2.0),
}
STRINGS, SENTENCES, LONE = "an4", "an4, digits among other words", "speech_commands, one digit"
SPEECH, WORDS, HANDLING = "an4 and wuw2", "other words", "handling noise"
LIMITS = {SPEECH: 60.0, WORDS: 60.0, HANDLING: 30.0}  # false digits an hour
HANDLING_HOURS = 0.25
PAUSE_S = 0.5  # before and after one digit alone

Counts = dict[str, tuple[int, float]]  # errors and digits of strings; digits and hours of the rest


def grid() -> list[Decoding]:
    """Return all constants to choose from."""
    return [
        replace(DECODING, **dict(zip(GRID, values, strict=True)))
        for values in product(*GRID.values())
    ]


def count_fold(network: StringNetwork, fold: str, data: Path | None = None) -> list[Counts]:
    """Count errors and false digits on what a fold leaves out, with all constants of the grid."""
    decodings = grid()
    counts: list[Counts] = [{} for _ in decodings]

    def decode(samples: np.ndarray) -> list[str]:
        outputs = run_network(network, samples)
        return decode_whole(outputs.log_p, outputs.edges, decodings, network.step)

    utterances = evaluation_utterances(f"an4:{fold}", data)
    said = {
        name: [(u.digits, resample(*read_samples(u))) for u in utterances if u.content == content]
        for name, content in ((STRINGS, "digits"), (SENTENCES, "mixed"))
    }
    said[LONE] = [
        (word.digits, np.pad(word.samples, round(PAUSE_S * SAMPLE_RATE)))
        for word in read_words(evaluation_clips(None, data))[int(fold) :: UTTERANCE_FOLDS]
    ]
    for name, recordings in said.items():
        found = [decode(samples) for _, samples in recordings]
        for each, transcripts in zip(counts, zip(*found, strict=True), strict=True):
            result = score([digits for digits, _ in recordings], transcripts)
            wrong = result.insertions + result.deletions + result.substitutions
            each[name] = (wrong, result.digits)
    quiet = recordings_without_digits(
        f"an4:{fold},wuw2:{fold}", data, hours=HANDLING_HOURS,
        words=words_left_out(fold, data), handling_seen=handling_trained_on(fold),
    )  # fmt: skip
    sets = {SPEECH: ("an4", "wuw2"), WORDS: (WORDS,), HANDLING: (held_out_handling(fold),)}
    for name, parts in sets.items():
        digits, hours = np.zeros(len(decodings), int), 0.0
        for part in parts:
            for samples in quiet[part]:
                digits += [len(transcript) for transcript in decode(samples)]
                hours += len(samples) / SAMPLE_RATE / 3_600
        for each, count in zip(counts, digits.tolist(), strict=True):
            each[name] = (count, hours)
    return counts


def added(folds: Sequence[Counts]) -> Counts:
    """Add up the counts of several folds."""
    return {
        name: (sum(fold[name][0] for fold in folds), sum(fold[name][1] for fold in folds))
        for name in folds[0]
    }


def choose(folds: Sequence[Sequence[Counts]], limits: Mapping[str, float] = LIMITS) -> int:
    """Return the index of the constants to take, given the counts of each by fold.

    Of those with no more false digits than `limits`, the ones with the fewest errors in strings of
    digits; of these, with the fewest in sentences and of single digits; of these, with the fewest
    false digits. Where none is within the limits, those that are least beyond.
    """
    totals = [added(each) for each in zip(*folds, strict=True)]

    def rank(index: int) -> tuple[float, ...]:
        total = totals[index]
        beyond = max(total[name][0] / total[name][1] / limit for name, limit in limits.items())
        false = sum(total[name][0] for name in limits)
        others = total[SENTENCES][0] + total[LONE][0]
        return max(1.0, beyond), total[STRINGS][0], others, false, index

    return min(range(len(totals)), key=rank)


def chosen_constants(index: int) -> dict[str, float]:
    return {name: getattr(grid()[index], name) for name in GRID}


def summarize(folds: Sequence[Sequence[Counts]]) -> dict[str, Any]:
    """Choose for each fold on the others, count on it, and choose on all."""
    rows, crossed = [], []
    for fold, counts in enumerate(folds):
        index = choose([other for k, other in enumerate(folds) if k != fold])
        crossed.append(counts[index])
        rows.append({"constants": chosen_constants(index), "counts": counts[index]})
    index = choose(folds)
    return {
        "folds": rows,
        "cross-fitted": added(crossed),
        "chosen": {
            "constants": chosen_constants(index),
            "counts": added([counts[index] for counts in folds]),
        },
    }


def describe(counts: Counts) -> str:
    """Name each count in words."""
    parts = []
    for name, (count, size) in counts.items():
        is_string = name in (STRINGS, SENTENCES, LONE)
        parts.append(f"{name} {count / size:{'.1%' if is_string else '.0f'}}")
    return ", ".join(parts)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs=UTTERANCE_FOLDS, type=Path, help="networks, fold 0 first")
    text = "folder to write each network into, with the constants that it is to be judged with"
    parser.add_argument("--write", metavar="DIR", type=Path, help=text)
    arguments = parser.parse_args()
    networks = [StringNetwork(path) for path in arguments.models]
    for fold, network in enumerate(networks):
        if f'"fluent": "{fold}"' not in network.metadata.get("recipe", ""):
            parser.error(
                f"{arguments.models[fold]}: expected the network that left out fold {fold}"
            )
    folds = [count_fold(n, str(fold)) for fold, n in enumerate(tqdm(networks, unit="fold"))]
    summary = summarize(folds)
    write_json(
        RESULTS,
        {
            "command": "python -m benchmarks.decoding " + " ".join(map(str, arguments.models)),
            "commit": commit(),
            "models": [about(network) for network in networks],
            "grid": GRID,
            "limits": LIMITS,
            **summary,
            "sizes": [{name: size for name, (_, size) in fold[0].items()} for fold in folds],
            "counts": [
                {name: [counts[name][0] for counts in fold] for name in fold[0]} for fold in folds
            ],
        },
    )
    for fold, row in enumerate(summary["folds"]):
        if arguments.write:
            constants = asdict(DECODING) | row["constants"]
            write_with(arguments.models[fold], constants, arguments.write)
        print(f"fold {fold}: {row['constants']}: {describe(row['counts'])}")
    print(f"cross-fitted: {describe(summary['cross-fitted'])}")
    print(
        f"chosen on all: {summary['chosen']['constants']}: {describe(summary['chosen']['counts'])}"
    )
    return 0


def write_with(model: Path, constants: Mapping[str, float], folder: Path) -> None:
    """Copy a network into a folder, with other constants in its metadata."""
    network = onnx.load(model)
    metadata = {each.key: each.value for each in network.metadata_props}
    changed = metadata | {name: str(value) for name, value in constants.items()}
    del network.metadata_props[:]
    onnx.helper.set_model_props(network, changed)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / model.name, network.SerializeToString())


def about(network: StringNetwork) -> dict[str, str]:
    """Return what tells a network from others."""
    return {key: network.metadata[key] for key in ("command", "commit")}


if __name__ == "__main__":
    sys.exit(main())
