"""Train when told to, and say how long it took: one process for each of two source trees.

Not to be called by hand: `training` in `measures.py` starts it with PYTHONPATH set to a tree,
writes the name of a kind of training on its standard input, and reads wall and CPU seconds. It
knows the names that modules had at c3bd05b as well, so that a checkout of it can be measured.
"""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

# As at c3bd05b, and since.
MODULES = {
    "corpora": ("lab.corpora", "lab.data.corpora"),
    "dataset": ("lab.dataset", "lab.data.dataset"),
    "splits": ("lab.splits", "lab.data.splits"),
    "config": ("lab.recipe", "lab.training.config"),
    "supervised": ("lab.train", "lab.training.supervised"),
    "contrastive": ("lab.contrastive", "lab.training.contrastive"),
    "strings": ("lab.strings", "lab.connected.strings"),
    "string_training": ("lab.ctc", "lab.connected.training"),
}
_STRING_STEPS, _MIN_STRING_STEPS = 400, 10  # the schedule of c3bd05b divides by zero below 6
# As wide and as deep as the network of c3bd05b, which takes two steps where this one takes three.
SMALL = {
    "channels": (16, 28, 40, 56),
    "width": 96,
    "windows": (9, 18, 30),
    "dilations": ((1,), (1,)),
}


def module(name: str) -> Any:
    for path in MODULES[name]:
        try:
            return importlib.import_module(f"spoken_digits.{path}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(name)


def kinds(folder: Path, part: float) -> dict[str, Callable[[], object]]:
    """Name the kinds of training; of the epochs of the studies, `part`."""
    clips = module("corpora").read_corpus("fsdd")
    dataset = module("dataset").prepare(clips, folder / "prepared")
    supervised, contrastive = module("supervised"), module("contrastive")

    def fold() -> None:
        split = module("splits").one_split("loso:theo", clips)
        config = module("config").TrainConfig(
            model="cnn", split=split.name, epochs=max(1, round(20 * part)), device="cpu"
        )
        with tempfile.TemporaryDirectory() as run:
            rows = dataset.indices(split.train)
            supervised.train(config, dataset, rows, Path(run, "run"), quiet=True)

    def seed() -> None:
        split = module("splits").one_split("xsdr", clips)
        whole = contrastive.PretrainConfig(model="cnn-single", epochs=200, device="cpu")
        config = replace(
            whole,
            epochs=max(1, round(whole.epochs * part)),
            label_epochs=max(1, round(whole.label_epochs * part)),
            label_steps=max(1, round(whole.label_steps * part)),
            probe_views=max(1, round(whole.probe_views * part)),
        )
        rows, test = dataset.indices(split.train), dataset.indices(split.test)
        with tempfile.TemporaryDirectory() as run:
            contrastive.contrastive_scores(config, dataset, rows, test, Path(run), quiet=True)

    training = module("string_training")
    string_config = replace(
        training.StringConfig(), steps=max(_MIN_STRING_STEPS, round(_STRING_STEPS * part))
    )
    if hasattr(string_config, "bfloat16"):  # as in the recipe
        string_config = replace(string_config, bfloat16=True)
    read = getattr(module("strings"), "read_words", None) or module("strings").read_spoken
    make = getattr(training, "TrainingData", None) or training.Material
    strings = make(read(clips), [], [], [])
    shipped = training.StringNet

    class Small(shipped):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            is_old = shipped.__module__.endswith("lab.transcriber")
            super().__init__(**({} if is_old else SMALL))

    def wide() -> None:
        training.StringNet = shipped
        training.train_strings(strings, string_config)

    def small() -> None:
        training.StringNet = Small
        training.train_strings(strings, string_config)

    return {"fold": fold, "seed": seed, "strings": wide, "small": small}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = kinds(Path(folder), float(sys.argv[1]))
        print("ready", flush=True)
        for line in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            runs[line.strip()]()
            print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


if __name__ == "__main__":
    main()
