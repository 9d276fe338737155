"""Custom words: what a run leaves, what cross-validation says, and where training starts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.evaluation.schema import RunEvaluation
from spoken_digits.lab.release import finetune
from spoken_digits.lab.release.finetune import (
    CustomWordsConfig,
    custom_words_config,
    read_custom_words,
    read_start,
)
from spoken_digits.lab.runs import RunContext, RunError, read_json
from spoken_digits.lab.studies.tasks import run_task
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import build_network
from spoken_digits.recognize import Recognizer

TINY = CustomWordsConfig(
    "temporal-cnn",
    augmentation="none",
    epochs=4,
    batch_size=16,
    learning_rate=1e-2,
    clips_per_epoch=60,
    temperature=0.7,
)
WORDS = ("0", "3", "7")  # labels of the made-up corpus


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "MIN_CLIPS", 60)


@pytest.fixture
def words(tone_corpus: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder of three of the made-up words."""
    folder = tmp_path / "words"
    folder.mkdir()
    for word in WORDS:
        (folder / word).mkdir()
        for file in (tone_corpus / word).iterdir():
            (folder / word / file.name).symlink_to(file)
    yield folder
    read_custom_words.cache_clear()


def keep(words: Path, kept: str) -> None:
    """Leave only the recordings whose <label>/<name> match."""
    for file in words.glob("*/*"):
        if not file.match(kept):
            file.unlink()


def run(words: Path, config: CustomWordsConfig = TINY) -> tuple[Path, RunEvaluation]:
    folder = words.parent / "run"
    context = RunContext(folder, words.parent / "cache", corpus=str(words), command="made up")
    return folder, run_task("custom-words", config, context)


def test_a_model_of_custom_words_recognizes_them_and_says_what_to_expect_of_it(
    words: Path,
) -> None:
    folder, evaluation = run(words)
    recognizer = Recognizer(folder / "digits.onnx")
    assert recognizer.labels == WORDS
    clips = read_corpus(words)
    answers = [recognizer(clip.file, threshold=0).label for clip in clips]
    assert np.mean([a == clip.label for a, clip in zip(answers, clips, strict=True)]) >= 0.97
    validation = evaluation.cross_validation
    assert validation is not None
    predictions = Predictions.load(folder / "predictions.npz")
    assert validation.accuracy == predictions.correct.mean()
    assert validation.accuracy > 0.95
    assert sorted(predictions.files) == sorted(clip.file.name for clip in clips)
    assert set(validation.per_speaker or ()) == {"ann", "bob", "cid", "dora"}
    assert "4 speakers, held out one at a time" in validation.text
    assert "WARNING: 4 speakers" in validation.text  # few, and it says so
    (test,) = evaluation.tests
    assert test.metrics.accuracy == validation.accuracy
    assert read_json(folder / "evaluation.json", RunEvaluation) == evaluation
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["task"] == "custom-words"
    data = json.loads(recognizer.metadata["training_data"])
    assert data["accuracy_held_out_speakers"] == validation.accuracy
    assert data["train_speakers"] == ["ann", "bob", "cid", "dora"]


def test_a_speaker_is_tested_by_a_network_that_was_not_trained_on_it(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[set[str], set[str]]] = []
    real_train, real_predict = finetune.train, finetune.predict

    def train(config, dataset, indices, directory, **options):  # type: ignore[no-untyped-def]
        trained.append(({dataset.clips[i].speaker for i in indices}, set()))
        return real_train(config, dataset, indices, directory, **options)

    def predict(net, dataset, indices):  # type: ignore[no-untyped-def]
        trained[-1][1].update(dataset.clips[i].speaker for i in indices)
        return real_predict(net, dataset, indices)

    monkeypatch.setattr(finetune, "train", train)
    monkeypatch.setattr(finetune, "predict", predict)
    run(words, replace(TINY, epochs=1))
    everyone = {"ann", "bob", "cid", "dora"}
    folds = [(everyone - {name}, {name}) for name in sorted(everyone)]
    assert trained == [*folds, (everyone, set())]


def test_a_rerun_with_other_settings_names_the_folder_to_remove(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(words, "[ab]*_*")

    def is_killed(config, dataset, indices, directory, **options):  # type: ignore[no-untyped-def]
        if directory.name == "run":  # as cross-validation has left its folders
            raise KeyboardInterrupt
        return real_train(config, dataset, indices, directory, **options)

    real_train = finetune.train
    monkeypatch.setattr(finetune, "train", is_killed)
    with pytest.raises(KeyboardInterrupt):
        run(words, replace(TINY, epochs=1))
    monkeypatch.setattr(finetune, "train", real_train)
    folder = words.parent / "run"
    assert (folder / "held-out-0" / "config.toml").exists()
    with pytest.raises(RunError) as refused:
        run(words, replace(TINY, epochs=2))
    assert str(refused.value).startswith(f"{folder}: holds a run of another recipe; remove it")


def test_one_speaker_is_warned_of(words: Path) -> None:
    keep(words, "ann_*")
    _, evaluation = run(words)
    assert evaluation.tests == ()
    assert evaluation.cross_validation is not None
    assert evaluation.cross_validation.accuracy is None
    assert evaluation.cross_validation.text.startswith("WARNING: one speaker, ann")


def test_a_word_of_one_speaker_cannot_be_tested(words: Path) -> None:
    for file in (words / "7").iterdir():
        if not file.name.startswith("bob_"):
            file.unlink()
    _, evaluation = run(words)
    assert evaluation.cross_validation is not None
    assert evaluation.cross_validation.accuracy is None
    assert evaluation.cross_validation.text.startswith(
        "WARNING: 7: said by speakers of one group only"
    )


def test_one_word_is_refused_before_anything_is_written(words: Path) -> None:
    keep(words, "3/*")
    with pytest.raises(ConfigError, match="3: one word, expected two or more to tell apart"):
        run(words)
    assert not (words.parent / "run").exists()


def test_weights_to_start_from_bring_their_recipe_and_lose_their_last_layer(tmp_path: Path) -> None:
    recipe = TrainConfig(model="temporal-cnn", split="pooled", oov_fraction=0.2)
    net = build_network(recipe, 10)
    path = tmp_path / "digits.safetensors"
    save_file(net.state_dict(), path, {"config": recipe.to_toml()})
    found, weights = read_start(str(path))
    assert found == recipe
    assert set(weights) == {name for name in net.state_dict() if not name.startswith("head.")}
    asked = CustomWordsConfig(epochs=5, start=str(path))
    config = custom_words_config(asked, ["epochs"], n_clips=10, start=found)
    assert (config.model, config.epochs, config.oov_fraction) == ("temporal-cnn", 5, 0.0)
    assert config.learning_rate < TrainConfig().learning_rate
    assert (config.split, config.clips_per_epoch) == ("custom", finetune.MIN_CLIPS)
    plain = custom_words_config(CustomWordsConfig(), [], n_clips=10_000)
    assert plain.learning_rate == TrainConfig().learning_rate
    assert plain.clips_per_epoch == finetune.MAX_CLIPS


def test_starting_weights_are_where_training_starts(words: Path) -> None:
    keep(words, "ann_*")
    other = build_network(TrainConfig("temporal-cnn", seed=7), 10).state_dict()
    path = words.parent / "start.safetensors"
    save_file(other, path, {"config": TrainConfig("temporal-cnn").to_toml()})
    still = replace(TINY, epochs=1, learning_rate=1e-9, weight_decay=0.0, start=str(path))
    folder, _ = run(words, still)
    weights = load_file(folder / "model.safetensors")
    name = "backbone.convolutions.0.weight"
    torch.testing.assert_close(weights[name], other[name], atol=1e-5, rtol=0)


def test_what_is_no_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"a\.safetensors: no weights with their recipe"):
        read_start(str(tmp_path / "a.safetensors"))
