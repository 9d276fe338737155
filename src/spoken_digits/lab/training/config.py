"""The configuration of a run: dataclass defaults, and a TOML file of what differs."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from spoken_digits.lab.augmentation.policies import ALONE, POLICIES, Policy, find_policy
from spoken_digits.lab.data.corpora import CORPORA
from spoken_digits.lab.data.synthetic import parse_extra
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS

__all__ = [
    "RECIPES",
    "ConfigError",
    "TomlConfig",
    "TrainConfig",
    "check_corpus_name",
    "read_recipe",
]

RECIPES = Path(__file__).parents[1] / "recipes"
_OBJECTIVES = ("cross-entropy", "joint")
_CLIP_CORPORA = tuple(name for name, corpus in CORPORA.items() if corpus.read)


class ConfigError(ValueError):
    """A bad configuration or run directory; the message names the key and the remedy."""


class TomlConfig:
    """Base of frozen dataclasses that are read from TOML: keys and kinds of values are checked.

    Every field has a default, whose type is that of the field.
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            kind = type(field.default)
            # TOML writes 1 where 1.0 is meant; true and false are never numbers here.
            if isinstance(value, bool) != (kind is bool) or not isinstance(
                value, (kind, int) if kind is float else kind
            ):
                raise ConfigError(f"{field.name} = {value!r}: expected {kind.__name__}")
            if kind is float and not math.isfinite(float(getattr(self, field.name))):
                raise ConfigError(f"{field.name} = {value!r}: expected a finite number")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from keys and values; `where` names their source in errors."""
        valid = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        if unknown := [key for key in values if key not in valid]:
            raise ConfigError(
                f"{where}: unknown key {', '.join(map(repr, unknown))}; "
                f"the keys are {', '.join(valid)}"
            )
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    @classmethod
    def from_toml(cls, recipe: Path | str, **overrides: Any) -> Self:
        """Read a recipe: a file, or the name of one that ships; `overrides` win over it."""
        values = read_recipe(recipe)
        if "study" in values:
            raise ConfigError(
                f"{recipe}: a study, not the recipe of one run; use spoken-digits study"
            )
        return cls.from_dict({**values, **overrides}, str(recipe))

    def to_toml(self) -> str:
        """Return every key, resolved, as TOML."""
        # JSON's strings and numbers are TOML's.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(self).items())  # type: ignore[call-overload]


@dataclass(frozen=True)
class TrainConfig(TomlConfig):
    """The configuration of a training run. The defaults are those of the strong model.

    Attributes
    ----------
    model, front_end, augmentation
        Names in `MODELS`, `FRONT_ENDS` and `POLICIES`; ``alone:<name>`` is one of `ALONE`,
        ``alone:<name>+<name>`` several of them.
    extra
        Speech that joins the training side, see `synthetic.parse_extra`: ``voices``, the synthetic
        speech that ships; ``kokoro:54+espeak-ng``; ``none``.
    split
        A named split, one that has a single fold: ``xsdr``, ``inner:theo``.
    seed
        Key of everything random in the run.
    epochs, batch_size
        Passes over the training clips, and clips in a batch.
    learning_rate, weight_decay
        AdamW's (Loshchilov and Hutter 2019): the peak of a one-cycle schedule, see
        `optimizer.make_schedule`; decay of matrices alone. For the linear baselines
        ``weight_decay`` is scikit-learn's ``alpha``.
    label_smoothing
        Probability of the target spread over all classes (Szegedy et al. 2016).
    objective
        ``cross-entropy``, or ``joint``: the supervised contrastive loss of the batch, times
        `contrastive_weight`, is added, behind a projection that is discarded after training (as in
        CLAR, Al-Tahan and Mohsenzadeh 2021).
    contrastive_weight, contrastive_temperature
        Weight and temperature of that loss.
    ema_decay
        Decay per step of the exponential moving average of the weights, the network that is kept.
    temperature
        What the scores are divided by at the end (Guo et al. 2017); chosen on held-out training
        speakers.
    device
        ``auto``, or a name torch knows.
    bfloat16
        Whether convolutions are computed in bfloat16 (`torch.autocast`) in training.
    clips_per_epoch
        Clips drawn for an epoch, so that training sets of any size make as many steps: evenly, or
        by the pooled training set's probabilities. 0 for as many as there are.
    oov_fraction
        Fraction of them that is out-of-vocabulary. Above zero, the network has a class for these.
    rejection_threshold
        Log-odds of being one of the labels, below which an exported model rejects.
    """

    model: str = "cnn"
    front_end: str = "ours"
    augmentation: str = "basic"
    extra: str = "none"
    split: str = "xsdr"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    objective: str = "cross-entropy"
    contrastive_weight: float = 0.5
    contrastive_temperature: float = 0.1
    ema_decay: float = 0.99
    temperature: float = 1.0
    device: str = "auto"
    bfloat16: bool = False
    clips_per_epoch: int = 0
    oov_fraction: float = 0.0
    rejection_threshold: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed}: expected 0 or more")
        for key, valid in (
            ("model", MODELS),
            ("front_end", FRONT_ENDS),
            ("objective", _OBJECTIVES),
        ):
            if getattr(self, key) not in valid:
                raise ConfigError(
                    f"{key} = {getattr(self, key)!r}: expected one of {', '.join(valid)}"
                )
        if find_policy(self.augmentation) is None:
            raise ConfigError(
                f"augmentation = {self.augmentation!r}: expected one of "
                f"{', '.join((*POLICIES, *(f'alone:{name}' for name in ALONE)))}, or several with "
                "+ between them after alone: that change different things"
            )
        try:
            parse_extra(self.extra)
        except ValueError as error:
            raise ConfigError(f"extra = {self.extra!r}: {error}") from None
        for key in (
            "epochs",
            "batch_size",
            "learning_rate",
            "temperature",
            "contrastive_temperature",
        ):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{key} = {getattr(self, key)}: expected more than zero")
        for key, below in (
            ("label_smoothing", 1),
            ("ema_decay", 1),
            ("weight_decay", math.inf),
            ("contrastive_weight", math.inf),
            ("clips_per_epoch", math.inf),
            ("oov_fraction", 1),
        ):
            if not 0 <= getattr(self, key) < below:
                raise ConfigError(f"{key} = {getattr(self, key)}: expected 0 to below {below}")
        if self.objective == "joint" and self.policy.mixup_alpha:
            raise ConfigError(
                f"objective = 'joint' with augmentation = {self.augmentation!r}: mixup leaves no "
                "clip of one class; choose a policy without it"
            )

    @property
    def policy(self) -> Policy:
        """What `augmentation` names."""
        policy = find_policy(self.augmentation)
        assert policy is not None  # checked when the recipe was made
        return policy

    @property
    def is_linear(self) -> bool:
        """Whether scikit-learn fits the model at once, without epochs."""
        return MODELS[self.model].linear is not None


def check_corpus_name(name: object, where: str) -> None:
    """Make sure that a corpus of single words has that name.

    Raises
    ------
    ConfigError
        When none has; the message begins with `where`.
    """
    if name not in _CLIP_CORPORA:
        raise ConfigError(f"{where}: corpus = {name!r}: expected one of {', '.join(_CLIP_CORPORA)}")


def read_recipe(recipe: Path | str) -> dict[str, Any]:
    """Read a TOML file, or the recipe of that name that ships.

    Raises
    ------
    ConfigError
        When there is none, or it is not TOML.
    """
    path = Path(recipe)
    if not path.suffix and not path.exists():
        path = RECIPES / f"{recipe}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(
            f"{recipe}: no such recipe; give a .toml file or the name of one that ships: {names}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{recipe}: not a TOML file: {error}") from None
