"""The evaluation of a run, one schema for every kind of task: what `evaluation.json` holds.

Rates and accuracies are fractions from 0 to 1.
"""

from dataclasses import dataclass, field
from pathlib import Path

from spoken_digits.lab.evaluation.metrics import Evaluation, Predictions, evaluate
from spoken_digits.lab.evaluation.rejection import RejectionEvaluation

__all__ = [
    "LABELLED",
    "CalibrationError",
    "Condition",
    "ConditionResult",
    "CrossValidationResult",
    "Delay",
    "ErrorDifference",
    "FalseDigits",
    "RejectionResult",
    "RunEvaluation",
    "StringsEvaluation",
    "StringsResult",
    "StringsScore",
    "ThresholdCurve",
    "save_result",
]

LABELLED = ("clusters", "finetune", "scratch")  # conditions whose level is a number of labels


@dataclass(frozen=True)
class Condition:
    """How a network was tested, or with how many labels it was trained.

    Attributes
    ----------
    kind
        ``clean``: recordings as they are. ``white``, ``made`` (between brown and white),
        ``recorded``: added noise. ``reverberation``, ``room``, ``telephone``, ``clipped``,
        ``padded``: other degradations, and ``undegraded``: the same clips as these without any.
        ``probe``, ``knn``: linear probe and nearest neighbors on an embedding that was learned
        without labels; ``untrained``: a linear probe of a network that was never trained;
        ``clusters``: of one that was trained on its own clusters. ``finetune``, ``scratch``:
        training with labels, from pre-trained or from random weights.
    level
        Of noise the signal-to-noise ratio in dB, of a ``room`` its RT60 in s, of ``clipped`` how
        far the clipping level lies below the peak, in dB. Of the `LABELLED` kinds the labels of
        each digit and training speaker, None for all of them. None for kinds without a level.
    """

    kind: str = "clean"
    level: float | None = None

    @property
    def name(self) -> str:
        """Kind and level as one word, for file names: ``white-10``, ``finetune-all``."""
        if self.level is not None:
            return f"{self.kind}-{self.level:g}"
        return f"{self.kind}-all" if self.kind in LABELLED else self.kind


@dataclass(frozen=True)
class ConditionResult:
    """A network on one test set.

    `predictions` names the file of the run directory that holds its answers; `precision` is that of
    its weights, ``float32`` or ``int8``.
    """

    corpus: str
    condition: Condition
    predictions: str
    metrics: Evaluation
    precision: str = "float32"


def save_result(
    directory: Path,
    file: str,
    predictions: Predictions,
    corpus: str,
    condition: Condition,
    precision: str = "float32",
) -> ConditionResult:
    """Save predictions in a run directory, evaluate them, and return the result."""
    predictions.save(directory / file)
    return ConditionResult(corpus, condition, file, evaluate(predictions), precision)


@dataclass(frozen=True)
class RejectionResult:
    """Digits of a corpus against its out-of-vocabulary `words`."""

    corpus: str
    words: tuple[str, ...]
    metrics: RejectionEvaluation
    precision: str = "float32"


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error of a corpus when the scores are divided by a temperature."""

    corpus: str
    temperature: float
    ece: float


@dataclass(frozen=True)
class CrossValidationResult:
    """What cross-validation over speakers found, in a sentence and in numbers.

    `accuracy` is None where it could not be measured, and `text` says why: one speaker, or a word
    that the speakers of one group alone say.
    """

    text: str
    accuracy: float | None = None
    per_speaker: dict[str, float] | None = None


@dataclass(frozen=True)
class StringsScore:
    """Transcripts of digit strings against what was spoken.

    `whole` counts the strings without an error, `whole_right` is their fraction; `digit_error` is
    insertions, deletions and substitutions for each digit spoken.
    """

    strings: int
    digits: int
    insertions: int
    deletions: int
    substitutions: int
    whole: int
    digit_error: float
    whole_right: float


@dataclass(frozen=True)
class ErrorDifference:
    """Digit error rate of some strings of a set less that of its others.

    `interval` holds 95 %, by bootstrap over speakers; `speakers` has what it is made of: for each
    speaker errors and digits of the former, errors and digits of the latter.
    """

    difference: float
    interval: tuple[float, float]
    speakers: dict[str, tuple[int, int, int, int]]


@dataclass(frozen=True)
class Delay:
    """Time from the end of a digit until it is emitted, over `count` digits, in ms.

    `values` has each, rounded to a millisecond, so that folds can be pooled.
    """

    count: int
    median: float
    p95: float
    max: float
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class FalseDigits:
    """Digits transcribed from recordings without any, which last so many seconds together.

    `by_digit` has the ten counts, `count` is their sum; `interval` is exact for a Poisson count,
    95 %, per hour.
    """

    recordings: int
    by_digit: tuple[int, ...]
    count: int
    seconds: float
    per_hour: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class ThresholdCurve:
    """What each set's counts would be at other emission thresholds, decoded from the same outputs.

    Attributes
    ----------
    thresholds
        Of `spotting.Decoding.emission_threshold`, in its unit; ascending.
    missed, errors
        Of each set of strings at each threshold: deletions, and all errors.
    digits
        Digits spoken in each set of strings.
    false_digits
        Of each set without digits at each threshold: digits transcribed.
    seconds
        Duration of each set without digits.
    """

    thresholds: tuple[float, ...]
    missed: dict[str, tuple[int, ...]]
    errors: dict[str, tuple[int, ...]]
    digits: dict[str, int]
    false_digits: dict[str, tuple[int, ...]]
    seconds: dict[str, float]


@dataclass(frozen=True)
class StringsEvaluation:
    """A network of strings: digit errors, delay, and digits where there are none.

    Attributes
    ----------
    strings
        By set; of a part of a set, such as its women, the name is ``set, part``.
    delay_ms
        None where no digit's end is known, or none was emitted.
    false_digits
        By set.
    differences
        Between two parts of a set: ``set, part less other``.
    curve
        Over thresholds; None where only the decisions of a transcriber are known.
    """

    strings: dict[str, StringsScore]
    delay_ms: Delay | None
    false_digits: dict[str, FalseDigits]
    differences: dict[str, ErrorDifference] = field(default_factory=dict)
    curve: ThresholdCurve | None = None


@dataclass(frozen=True)
class StringsResult:
    """What `strings score` and `strings pool` write: an evaluation, and of what.

    Attributes
    ----------
    command
        That made it.
    models
        Metadata of the models, by name.
    split
        What is evaluated on, None for what is held out by every split.
    seed
        Key of the strings and noises that are made.
    evaluation
        Of one network, or the sum of all folds.
    folds
        Each of the folds that were pooled, by its split.
    """

    command: str
    models: dict[str, dict[str, str | None]]
    split: str | None
    seed: int
    evaluation: StringsEvaluation
    folds: dict[str, StringsEvaluation] = field(default_factory=dict)


@dataclass(frozen=True)
class RunEvaluation:
    """Everything that was measured of a run; what a kind of task does not measure is empty.

    Attributes
    ----------
    task
        The kind of task.
    tests
        Single words, a result for each corpus, condition and precision, the main one first.
    strings
        Digit strings.
    rejection
        Digits against out-of-vocabulary words, for each corpus and precision.
    calibration
        Calibration error over temperatures.
    cross_validation
        Custom words: cross-validation over speakers.
    """

    task: str
    tests: tuple[ConditionResult, ...] = ()
    strings: StringsEvaluation | None = None
    rejection: tuple[RejectionResult, ...] = ()
    calibration: tuple[CalibrationError, ...] = ()
    cross_validation: CrossValidationResult | None = None
