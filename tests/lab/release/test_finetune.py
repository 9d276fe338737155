from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spoken_digits.lab.data.corpora import Clip, read_corpus
from spoken_digits.lab.release.finetune import own_config, read_start, train_own
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import build_network
from spoken_digits.recognize import Recognizer

TINY = TrainConfig(split="own", epochs=3, batch_size=32, temperature=0.7)
WORDS = ("0", "3", "7")  # labels of the made-up corpus


@pytest.fixture
def words(tone_corpus: Path) -> tuple[Clip, ...]:
    return tuple(clip for clip in read_corpus(tone_corpus) if clip.label in WORDS)


def test_a_model_of_ones_own_words_knows_them_and_says_how_far_to_trust_it(
    words: tuple[Clip, ...], tmp_path: Path
) -> None:
    model, trust = train_own(TINY, words, tmp_path / "run", "made up")
    recognizer = Recognizer(model)
    assert recognizer.labels == WORDS
    answers = [recognizer(clip.file, threshold=0).label for clip in words]
    assert np.mean([a == clip.label for a, clip in zip(answers, words, strict=True)]) > 0.9
    assert trust.accuracy is not None
    assert trust.accuracy > 0.7
    assert set(trust.per_speaker) == {"ann", "bob", "cid", "dora"}
    assert "4 speakers, left out one at a time" in trust.text
    assert "WARNING: 4 speakers" in trust.text  # few, and it says so


def test_one_speaker_is_warned_of(words: tuple[Clip, ...], tmp_path: Path) -> None:
    alone = [clip for clip in words if clip.speaker == "ann"]
    _, trust = train_own(TINY, alone, tmp_path / "run", "made up")
    assert trust.accuracy is None
    assert trust.text.startswith("WARNING: one speaker, ann")


def test_a_word_of_one_speaker_cannot_be_judged(words: tuple[Clip, ...], tmp_path: Path) -> None:
    few = [clip for clip in words if clip.label != "7" or clip.speaker == "bob"]
    _, trust = train_own(TINY, few, tmp_path / "run", "made up")
    assert trust.accuracy is None
    assert trust.text.startswith("WARNING: 7: said by speakers of one group only")


def test_weights_to_start_from_bring_their_recipe_and_lose_their_last_layer(tmp_path: Path) -> None:
    recipe = TrainConfig(model="temporal-cnn", split="open", oov_fraction=0.2)
    net = build_network(recipe, 10)
    path = tmp_path / "digits.safetensors"
    save_file(net.state_dict(), path, {"config": recipe.to_toml()})
    found, weights = read_start(str(path))
    assert found == recipe
    assert set(weights) == {name for name in net.state_dict() if not name.startswith("head.")}
    own = own_config(TrainConfig(epochs=5), ["epochs"], found)
    assert (own.model, own.epochs, own.oov_fraction) == ("temporal-cnn", 5, 0.0)
    assert own.learning_rate < TrainConfig().learning_rate


def test_starting_weights_are_where_training_starts(
    words: tuple[Clip, ...], tmp_path: Path
) -> None:
    still = TrainConfig("cnn-single", split="own", epochs=1, learning_rate=1e-9, weight_decay=0.0)
    other = build_network(TrainConfig("cnn-single", seed=7), 10).state_dict()
    initial = {k: v for k, v in other.items() if not k.startswith("head.")}
    alone = [clip for clip in words if clip.speaker == "ann"]
    train_own(still, alone, tmp_path / "run", "made up", initial)
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "run" / "model.safetensors")
    name = "backbone.convolutions.0.weight"
    torch.testing.assert_close(weights[name], initial[name], atol=1e-5, rtol=0)


def test_what_is_no_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"a\.safetensors: no weights with their recipe"):
        read_start(str(tmp_path / "a.safetensors"))
