"""How many recordings a word does it take? Fine-tuning against training from scratch.

    python -m benchmarks.own_words runs/shipped/cnn-wide-pooled-2-s0 --output results/own_words.json

The run that is started from left a third of the words and of the people of Speech Commands out
(`spoken-digits study shipped` makes it); the words here are of those, with 1, 3 and 10 recordings
of each by its people, tested on all other recordings by other people.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from spoken_digits.lab.data.corpora import DIGITS, Clip, data_hash, read_corpus
from spoken_digits.lab.data.dataset import Dataset, balanced_probabilities, prepare
from spoken_digits.lab.data.pooled import partition
from spoken_digits.lab.evaluation.metrics import wilson
from spoken_digits.lab.release.finetune import LEAST_CLIPS, own_config
from spoken_digits.lab.runs import write_json
from spoken_digits.lab.studies.run import commit
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.supervised import predict, train

RECORDINGS = (1, 3, 10)
LEAST_TEST = 20  # recordings of a word that are left to test on


def words_left_out(config: TrainConfig) -> tuple[Clip, ...]:
    """Return the recordings of words that the run never trained on, by anyone, often enough."""
    clips = read_corpus("speech_commands")
    train_clips, _, _ = partition(config.split, clips)
    known = {clip.label for clip in train_clips}
    left = [c for c in clips if c.label not in known and c.label not in DIGITS]
    counts = {word: sum(c.label == word for c in left) for word in {c.label for c in left}}
    return tuple(c for c in left if counts[c.label] >= max(RECORDINGS) + LEAST_TEST)


def draw(clips: tuple[Clip, ...], count: int, rng: np.random.Generator) -> list[int]:
    """Draw `count` recordings a word, each by another speaker."""
    chosen: list[int] = []
    for word in sorted({clip.label for clip in clips}):
        there = [i for i, clip in enumerate(clips) if clip.label == word]
        _, first = np.unique([clips[i].speaker for i in there], return_index=True)
        chosen += rng.choice(np.array(there)[first], count, replace=False).tolist()
    return chosen


def accuracy(
    config: TrainConfig,
    dataset: Dataset,
    chosen: list[int],
    test: np.ndarray,
    initial: dict[str, torch.Tensor] | None,
) -> float:
    """Train on the chosen recordings, and return how many of the others are heard rightly."""
    rows = np.array(chosen)
    shares = balanced_probabilities(
        dataset.targets[rows], ["own"] * len(rows), ["all"] * len(rows), {}
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        net = train(config, dataset, rows, run, quiet=True, probabilities=shares, initial=initial)
    scores, _ = predict(net, dataset, test)
    return float((scores.argmax(1) == dataset.targets[test]).mean())


def main() -> None:
    """Measure, and write what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run of spoken-digits study shipped")
    parser.add_argument("--output", type=Path, default=Path("results", "own_words.json"))
    parser.add_argument("--draws", type=int, default=3, help="how often to draw the recordings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun = TrainConfig.from_toml(arguments.run / "config.toml")
    weights = load_file(arguments.run / "model.safetensors")
    initial = {name: w for name, w in weights.items() if not name.startswith("head.")}
    clips = words_left_out(begun)
    dataset = prepare(clips, arguments.run.parent / ".prepared")
    rows: list[dict[str, Any]] = []
    for count in RECORDINGS:
        for name, start in (("from scratch", None), ("from shipped", begun)):
            results = []
            for seed in range(arguments.draws):
                chosen = draw(clips, count, np.random.default_rng([seed, count]))
                people = {clips[i].speaker for i in chosen}
                test = np.flatnonzero([clip.speaker not in people for clip in clips])
                base = TrainConfig(model=begun.model, seed=seed, clips_per_epoch=LEAST_CLIPS)
                config = own_config(base, ["model", "seed"], start)
                results.append(accuracy(config, dataset, chosen, test, initial if start else None))
            mean = float(np.mean(results))
            low, high = wilson(mean * len(test), len(test))
            rows.append(
                {
                    "recordings_a_word": count,
                    "training": name,
                    "accuracy": round(mean, 4),
                    "lowest": round(min(results), 4),
                    "highest": round(max(results), 4),
                    "wilson": [round(low, 4), round(high, 4)],
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    write_json(
        arguments.output,
        {
            "benchmark": "own_words",
            "command": f"python -m benchmarks.own_words {arguments.run}",
            "commit": commit(),
            "words": list(dataset.label_names),
            "clips": len(clips),
            "hash": data_hash(clips),
            "draws": arguments.draws,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
