"""Titles of methods, in words: made last, from the fields of a `Method`, and never parsed."""

from collections.abc import Iterable

from spoken_digits.lab.data.synthetic import parse_extra
from spoken_digits.lab.evaluation.schema import LABELLED
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.studies.results import Condition, Method

__all__ = [
    "augmentation_title",
    "condition_title",
    "front_end_title",
    "labels_title",
    "model_title",
    "number",
    "objective_title",
    "speech_title",
    "title",
    "training_title",
    "transform_title",
]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CONDITIONS = {
    "clean": "clean",
    "white": "white noise",
    "made": "colored noise",
    "recorded": "recorded noise",
    "reverberation": "reverberation",
    "probe": "linear probe after pre-training",
    "knn": "nearest neighbors after pre-training",
    "untrained": "linear probe, untrained",
    "clusters": "linear probe after clusters",
    "finetune": "fine-tuned",
    "scratch": "from scratch",
}
_OBJECTIVES = {"cross-entropy": "cross-entropy", "joint": "cross-entropy + contrastive loss"}
_TRANSFORMS = {
    "vtlp": "VTLP",
    "freq_mixstyle": "Freq-MixStyle",
    "freq_mask": "frequency mask",
    "spec_augment": "SpecAugment",
}
_SPEECH = {
    "voices": "the synthetic speech that ships",
    "espeak-ng": "espeak-ng",
    "flite-festival": "flite and festival",
    "kokoro": "Kokoro",
}


def title(method: Method, among: Iterable[Method] = ()) -> str:
    """Return the model's title, and in words each factor that varies among the methods beside it.

    For example "2-D CNN (single), no augmentation, four speakers".

    Parameters
    ----------
    method
        What to name.
    among
        The methods from which its title must tell it apart.
    """
    others = tuple(among)
    words = {
        "front_end": front_end_title(method.front_end),
        "augmentation": augmentation_title(method.augmentation),
        "split": training_title(method),
        "extra": _extra_title(method.extra),
        "objective": objective_title(method.objective),
        "condition": condition_title(method.condition),
    }
    # Two models may have rates of their own; only rates that vary within a model are named.
    mine = [other for other in others if other.model == method.model]
    for key in ("learning_rate", "weight_decay"):
        words[key] = f"{key.replace('_', ' ')} {getattr(method, key):g}"
    parts = [model_title(method.model)]
    for key, word in words.items():
        beside = mine if key in ("learning_rate", "weight_decay") else others
        if any(getattr(other, key) != getattr(method, key) for other in beside):
            parts.append(word)
    named = ("model", *words)
    if any(
        other != method and all(getattr(other, k) == getattr(method, k) for k in named)
        for other in others
    ):
        parts.append(method.grid.replace("-", " "))
    return ", ".join(parts)


def model_title(name: str) -> str:
    """Return the title of a model: "Temporal 1D CNN"; the name itself where it is unknown."""
    return MODELS[name].title if name in MODELS else name


def front_end_title(name: str) -> str:
    """Return a front end in words: "40 mel bands", "13 mel bands"."""
    bands = f"{FRONT_ENDS[name].n_mels} mel bands" if name in FRONT_ENDS else name
    return f"{bands}, high floor" if name == "flat" else bands


def augmentation_title(name: str) -> str:
    """Return a policy in words: "no augmentation", "basic augmentation", "freq mask alone"."""
    policy, _, transforms = name.partition(":")
    if transforms:
        *first, last = map(transform_title, transforms.split("+"))
        return f"{', '.join(first)} and {last} {policy}" if first else f"{last} {policy}"
    return f"{'no' if name == 'none' else name} augmentation"


def number(count: int) -> str:
    """Write a small number in words: "two"."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _extra_title(extra: str) -> str:
    if extra == "none":
        return "recordings alone"
    return "with synthetic speech" if extra == "voices" else f"with {speech_title(extra)}"


def speech_title(extra: str) -> str:
    """Return synthetic speech in words: "Kokoro (54 voices); espeak-ng", "none"."""
    parts = []
    for each in parse_extra(extra):
        voices = "" if each.count is None else f" ({each.count} voices)"
        parts.append(f"{_SPEECH.get(each.corpus, each.corpus)}{voices}")
    return ", ".join(parts) or "none"


def objective_title(name: str) -> str:
    """Return an objective in words: "cross-entropy + contrastive loss"."""
    return _OBJECTIVES.get(name, name)


def transform_title(name: str) -> str:
    """Return a single transform in words: "time mask", "Freq-MixStyle"."""
    return _TRANSFORMS.get(name, name.replace("_", " "))


def training_title(method: Method) -> str:
    """Return the people that a method was trained on: "four speakers", "one speaker (george)"."""
    count = method.training_speakers
    people = f"{number(count)} speaker{'s' * (count != 1)}"
    family, _, fold = method.split.partition(":")
    return f"{people} ({fold})" if fold and family == "single" else people


def condition_title(condition: Condition) -> str:
    """Return a condition in words: "white noise at 10 dB", "fine-tuned, 5 labels"."""
    words = _CONDITIONS.get(condition.kind, condition.kind.replace("_", " "))
    if condition.kind in LABELLED:
        return f"{words}, {labels_title(condition)}"
    return words if condition.level is None else f"{words} at {condition.level:g} dB"


def labels_title(condition: Condition) -> str:
    """Return a number of labels of each digit and speaker: "1 label", "all labels"."""
    if condition.level is None:
        return "all labels"
    return f"{condition.level:g} label{'s' * (condition.level != 1)}"
