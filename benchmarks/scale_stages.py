"""One stage of `benchmarks.scale`, in a process of its own: what it took goes to standard output.

Not to be called by hand. It knows the names that modules had at c3bd05b as well, so that preparing
by a checkout of that commit can be measured.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.training_rounds import module

TEST_FRACTION = 10  # one speaker in so many is tested


def check(folder: Path) -> dict[str, Any]:
    from spoken_digits.lab.data.validate import check_corpus

    return {"problems": len(check_corpus(module("corpora").read_corpus(folder / "corpus")))}


def prepare(folder: Path) -> dict[str, Any]:
    clips = module("corpora").read_corpus(folder / "corpus")
    dataset = module("dataset").prepare(clips, folder / "prepared")
    return {"samples": len(dataset.samples)}


def epoch(folder: Path) -> dict[str, Any]:
    from spoken_digits.lab.data.splits import split_by_speaker
    from spoken_digits.lab.training.config import TrainConfig
    from spoken_digits.lab.training.supervised import train

    clips = module("corpora").read_corpus(folder / "corpus")
    dataset = module("dataset").prepare(clips, folder / "prepared")
    speakers = sorted({clip.speaker for clip in clips})
    split = split_by_speaker(clips, speakers[::TEST_FRACTION])
    config = TrainConfig(model="cnn-tiny", split=split.name, epochs=1, device="cpu")
    train(config, dataset, dataset.indices(split.train), folder / "run", quiet=True)
    return {"hash": module("corpora").data_hash(clips)}


def evaluation(folder: Path) -> dict[str, Any]:
    from spoken_digits.lab.evaluation.metrics import Predictions, evaluate
    from spoken_digits.lab.training.supervised import load_network, predict_scores

    clips = module("corpora").read_corpus(folder / "corpus")
    dataset = module("dataset").prepare(clips, folder / "prepared")
    scores = predict_scores(load_network(folder / "run")[1], dataset, dataset.indices(clips))
    evaluated = evaluate(Predictions.of(clips, scores, dataset.label_names))
    return {"accuracy": evaluated.accuracy}


STAGES = {"check": check, "prepare": prepare, "epoch": epoch, "evaluation": evaluation}


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    try:  # getrusage would count what the parent had before this process ran its own program
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except OSError:
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    import torch

    module("dataset"), module("supervised")  # what is imported is not measured
    torch.set_num_threads(1)
    stage, folder = STAGES[sys.argv[1]], Path(sys.argv[2])
    wall, before = time.perf_counter(), os.times()
    found = stage(folder)
    after = os.times()
    found["wall_s"] = round(time.perf_counter() - wall, 3)
    found["cpu_s"] = round(sum(after[:4]) - sum(before[:4]), 3)  # of its workers as well
    found["peak_mib"] = round(peak_mib(), 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
