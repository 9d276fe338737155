"""Recipes: what is read, what is refused and how that is told."""

from pathlib import Path

import pytest

from spoken_digits.lab.augmentation.policies import POLICIES, Policy
from spoken_digits.lab.training.config import ConfigError, TrainConfig


def test_a_recipe_round_trips_through_toml(tmp_path: Path) -> None:
    config = TrainConfig(model="lstm", learning_rate=1e-3, split="inner:theo")
    path = tmp_path / "recipe.toml"
    path.write_text(config.to_toml())
    assert TrainConfig.from_toml(path) == config
    assert TrainConfig.from_toml(path, seed=3).seed == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('modle = "cnn"', "'modle'; the keys are model"),
        ('model = "resnet"', "expected one of sgd-interpolate"),
        ("epochs = 0", "epochs"),
        ('epochs = "many"', "epochs"),
        ("seed = true", "seed"),
        ("seed = -1", "seed = -1: expected 0 or more"),
        ("bfloat16 = 1", "bfloat16 = 1: expected bool"),
        ("learning_rate = nan", "learning_rate = nan: expected a finite number"),
        ("[study]", "a study, not the recipe of one run"),
        ("label_smoothing = 1", "label_smoothing"),
        ('extra = "robots"', "extra = 'robots': expected none or one of fsdd"),
        ('extra = "kokoro:0"', "extra = 'kokoro:0': 'kokoro:0': expected a number of speakers"),
        ('objective = "hinge"', "expected one of cross-entropy, joint"),
        ("contrastive_weight = -1", "contrastive_weight"),
        ("model = cnn", "not a TOML file"),
    ],
)
def test_a_bad_recipe_names_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.toml") as caught:
        TrainConfig.from_toml(path)
    assert named in str(caught.value)


def test_a_missing_recipe_names_those_that_ship() -> None:
    with pytest.raises(ConfigError, match="audiomnist, shipped, speech-commands, strings"):
        TrainConfig.from_toml("no-such-recipe")


def test_the_joint_objective_wants_clips_of_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "mixed", Policy(mixup_alpha=1.0))
    with pytest.raises(ConfigError, match="'mixed': mixup leaves no clip of one class"):
        TrainConfig(objective="joint", augmentation="mixed")
