"""Kinds of task: the run directory that each leaves, and test conditions measured back."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from made_utterances import write_an4, write_wuw2

from spoken_digits.lab.data.corpora import CorpusError, data_hash, read_corpus
from spoken_digits.lab.data.dataset import Dataset, IntArray, draw_indices, prepare
from spoken_digits.lab.data.pooled import is_held_out
from spoken_digits.lab.data.unlabelled import read_unlabelled
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.evaluation.schema import Condition, RunEvaluation
from spoken_digits.lab.runs import RunContext, RunError, read_json
from spoken_digits.lab.studies import tasks
from spoken_digits.lab.studies.tasks import (
    TASKS,
    add_condition,
    find_task,
    load_noise,
    read_task,
    run_task,
)
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.contrastive import PretrainConfig

LINEAR = TrainConfig(model="sgd-pool", weight_decay=0.01, split="inner:theo")
PRETRAIN = PretrainConfig(
    split="inner:theo", augmentation="light", epochs=1, label_augmentation="light", probe_views=2
)


@pytest.fixture(scope="module")
def dataset(tone_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(read_corpus(tone_corpus), tmp_path_factory.mktemp("prepared"))


def context_in(folder: Path, data: Path) -> RunContext:
    return RunContext(folder / "run", folder / "prepared", data, "fsdd", "made up")


def test_a_run_is_a_directory_with_every_file_of_the_schema(
    made_up_fsdd: Path, tmp_path: Path
) -> None:
    context = context_in(tmp_path, made_up_fsdd)
    evaluation = run_task("train", LINEAR, context)
    files = {path.name for path in context.directory.iterdir()}
    assert files == {
        "config.toml",
        "environment.json",
        "evaluation.json",
        "log.jsonl",
        "model.safetensors",
        "predictions.npz",
    }
    assert read_json(context.directory / "evaluation.json", RunEvaluation) == evaluation
    (test,) = evaluation.tests
    predictions = Predictions.load(context.directory / test.predictions)
    assert set(predictions.speakers) == {"theo"}
    assert test.metrics.accuracy == np.mean(predictions.scores.argmax(1) == predictions.labels)
    environment = json.loads((context.directory / "environment.json").read_text())
    assert environment["task"] == "train"
    assert environment["command"] == "made up"
    clips = read_corpus("fsdd", made_up_fsdd)
    assert environment["data"]["hash"] == data_hash(clips)
    assert environment["data"]["clips"] == len(clips)
    assert environment["data"]["licence"] == "CC BY-SA 4.0"
    assert environment["data"]["test_speakers"] == ["theo"]
    assert "theo" not in environment["data"]["train_speakers"]
    assert {"commit", "torch", "device", "labels", "parameters", "seconds"} <= set(environment)


def test_an_epoch_draws_as_many_clips_whatever_joins(
    made_up_fsdd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[int]] = {}

    def train(
        config: TrainConfig, dataset: Dataset, indices: IntArray, *_: Any, **more: Any
    ) -> Any:
        probabilities = more["probabilities"]
        order = np.random.default_rng(0)
        drawn[config.extra] = np.bincount(
            draw_indices(probabilities, config.clips_per_epoch, order), minlength=len(indices)
        ).tolist()
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "train", train)
    hashes = set()
    for extra in ("none", "voices"):
        config = replace(LINEAR, model="cnn", clips_per_epoch=500, extra=extra)
        context = context_in(tmp_path / extra, made_up_fsdd)
        hashes.add(tasks.TASKS["train"].data_hash(config, context))
        with pytest.raises(KeyboardInterrupt):
            run_task("train", config, context)
    assert len(hashes) == 2  # a run is tied to the speech that joined
    assert {sum(counts) for counts in drawn.values()} == {500}
    # Evenly: each clip about as often as any other.
    assert all(max(counts) - min(counts) <= 1 for counts in drawn.values())
    assert len(drawn["voices"]) - len(drawn["none"]) == 1000


def test_a_finished_run_is_read_and_another_one_refused(
    made_up_fsdd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_in(tmp_path, made_up_fsdd)
    first = run_task("train", LINEAR, context)
    monkeypatch.setattr(tasks, "train", None)  # nothing is computed again
    assert run_task("train", LINEAR, context) == first
    with pytest.raises(RunError, match=r"run: finished with another recipe; remove it, or give"):
        run_task("train", replace(LINEAR, seed=1), context)
    with pytest.raises(RunError, match=r"run: finished with another kind of task; remove it"):
        run_task("noise", LINEAR, context)
    monkeypatch.setattr(tasks, "_hash", lambda *_: "0" * 64)
    with pytest.raises(RunError, match=r"run: finished with other recordings; remove it"):
        run_task("train", LINEAR, context)


def test_an_unfinished_run_is_not_resumed_with_other_recordings(
    made_up_fsdd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_in(tmp_path, made_up_fsdd)

    def is_killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "train", is_killed)
    with pytest.raises(KeyboardInterrupt):
        run_task("train", LINEAR, context)
    monkeypatch.setattr(tasks, "_hash", lambda *_: "0" * 64)
    with pytest.raises(RunError, match=r"run: begun with other recordings; remove it, or give"):
        run_task("train", LINEAR, context)


def test_pretraining_leaves_the_same_directory(made_up_fsdd: Path, tmp_path: Path) -> None:
    context = context_in(tmp_path, made_up_fsdd)
    evaluation = run_task("pretrain", PRETRAIN, context)
    assert [test.condition for test in evaluation.tests] == [Condition("probe")]
    for name in ("config.toml", "environment.json", "log.jsonl", "model.safetensors"):
        assert (context.directory / name).exists()
    assert "positives" in (context.directory / "config.toml").read_text()
    assert len(Predictions.load(context.directory / "predictions.npz")) == 20


def test_speech_without_labels_joins_for_pretraining_and_is_recorded(
    made_up_fsdd: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(made_up_fsdd, data)
    write_an4(data / "an4")
    write_wuw2(data / "wuw2", {"1/a": "hello there", "1/b": "for nine"})
    rng = np.random.default_rng(0)
    held_out = next(f"{n:08x}" for n in range(99) if is_held_out(f"{n:08x}"))
    trained_on = next(f"{n:08x}" for n in range(99) if not is_held_out(f"{n:08x}"))
    for word, speaker in (("bed", trained_on), ("bed", held_out), ("one", trained_on)):
        file = data / "speech_commands" / word / f"{speaker}_nohash_0.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        sf.write(file, 0.1 * rng.standard_normal(8_000), 16_000)
    clips = read_unlabelled(data)
    names = {clip.name: (clip.speaker, clip.label) for clip in clips}
    assert names == {
        "cen2-fabc-b.sph": ("an4", "speech"),  # the one without a digit word
        "a.ulaw": ("wuw2", "speech"),
        f"{trained_on}_nohash_0.wav": ("speech_commands", "speech"),
    }
    context = context_in(tmp_path, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a published .ulaw has no header: nothing to warn of
        run_task("pretrain", replace(PRETRAIN, unlabelled="speech"), context)
    environment = json.loads((context.directory / "environment.json").read_text())
    assert environment["unlabelled"]["clips"] == 3
    assert environment["unlabelled"]["hash"] == data_hash(clips)
    assert set(environment["unlabelled"]["corpora"]) == {"an4", "wuw2", "speech_commands"}
    assert environment["labels"] == [str(digit) for digit in range(10)]
    tasks._hash.cache_clear()
    run_task("pretrain", replace(PRETRAIN, unlabelled="speech"), context)  # finished: it is read

    (data / "wuw2").rename(data / "elsewhere")
    with pytest.raises(CorpusError, match="wuw2"):
        read_unlabelled(data)
    tasks._hash.cache_clear()
    tasks._read_more.cache_clear()
    other = replace(context, directory=tmp_path / "other")
    with pytest.raises(CorpusError, match="wuw2"):
        run_task("pretrain", replace(PRETRAIN, unlabelled="speech"), other)
    assert not other.directory.exists()


def test_contrastive_conditions_are_kinds_with_numbers_of_labels() -> None:
    assert tasks._labelled("probe") == Condition("probe")
    assert tasks._labelled("scratch-5") == Condition("scratch", 5.0)
    assert tasks._labelled("finetune-all") == Condition("finetune")
    for name in ("probe", "scratch-5", "finetune-all"):
        assert tasks._labelled(name).name == name


def test_a_recipe_names_its_kind_of_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('task = "noise"\nmodel = "rnn"\nseed = 3\n')
    name, config = read_task(path, "train", {"seed": 4})
    assert (name, config) == ("noise", TrainConfig(model="rnn", seed=4))
    assert read_task(None, "pretrain", {"seed": 1}) == ("pretrain", PretrainConfig(seed=1))
    path.write_text('task = "sing"\n')
    with pytest.raises(ConfigError, match=r"task = 'sing': expected one of train, noise"):
        read_task(path, "train", {})
    path.write_text("[study]\n")
    with pytest.raises(ConfigError, match="a study, not the recipe of one run"):
        read_task(path, "train", {})


def test_the_recipe_that_ships_is_of_the_task_that_makes_it() -> None:
    assert read_task("shipped", "train", {})[0] == "pooled"
    assert {"train", "noise", "pretrain", "contrastive", "pooled", "custom-words", "strings"} == (
        set(TASKS)
    )
    with pytest.raises(ConfigError, match="'x': expected one of"):
        find_task("x")


@pytest.mark.parametrize(
    "condition", [Condition("white", 10), Condition("made", 0), Condition("recorded", 5)]
)
def test_the_noise_asked_for_is_the_noise_found(dataset: Dataset, condition: Condition) -> None:
    chosen = np.arange(0, 20, 2)
    recording = torch.from_numpy(np.random.default_rng(3).normal(size=50_000).astype(np.float32))
    changed = add_condition(dataset, chosen, condition, recording)
    for index in chosen:
        clean, noisy = dataset.clip(index), changed.clip(index)
        found_db = 10 * np.log10(np.sum(clean**2) / np.sum((noisy - clean) ** 2))
        assert found_db == pytest.approx(condition.level, abs=0.1)
    for index in (1, 3, 21):
        assert np.array_equal(dataset.clip(index), changed.clip(index))
    again = add_condition(dataset, chosen, condition, recording)
    for index in range(len(dataset.clips)):
        assert np.array_equal(again.clip(index), changed.clip(index))


def test_a_room_rings_and_keeps_the_energy(dataset: Dataset) -> None:
    changed = add_condition(dataset, np.array([4]), Condition("reverberation"))
    clean, wet = dataset.clip(4), changed.clip(4)
    assert np.sum(wet**2) == pytest.approx(np.sum(clean**2), rel=1e-4)
    assert not np.allclose(wet, clean, atol=0.01)


def test_recorded_noise_is_read_at_8_khz_or_is_none(tmp_path: Path, data_root: Path) -> None:
    recording = load_noise(data_root)
    if recording is None:
        pytest.skip("no background noises of Speech Commands at hand")
    assert recording.ndim == 1
    assert 60 < len(recording) / 8000 < 3600


@pytest.mark.parametrize("with_noise", [True, False])
def test_a_noise_run_tests_one_network_under_every_condition(
    made_up_fsdd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_noise: bool
) -> None:
    recording = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(tasks, "load_noise", lambda data: recording if with_noise else None)
    context = context_in(tmp_path, made_up_fsdd)
    evaluation = run_task("noise", replace(LINEAR, split="xsdr"), context)
    other = "recorded" if with_noise else "made"
    assert [test.condition for test in evaluation.tests] == [
        Condition("clean"),
        *(Condition(kind, db) for kind in ("white", other) for db in (20, 10, 5, 0)),
        Condition("reverberation"),
    ]
    found = {test.condition.name: test.metrics.accuracy for test in evaluation.tests}
    assert found["clean"] > 0.9
    assert found["white-0"] < found["clean"]
    files = [test.predictions for test in evaluation.tests]
    assert files[:2] == ["predictions.npz", "predictions-white-20.npz"]
    # A run that was killed while testing takes the network that is there.
    stamp = (context.directory / "model.safetensors").stat().st_mtime_ns
    (context.directory / "evaluation.json").unlink()
    assert run_task("noise", replace(LINEAR, split="xsdr"), context) == evaluation
    assert (context.directory / "model.safetensors").stat().st_mtime_ns == stamp
