"""The evaluation of a run, one schema for every kind of task: what `evaluation.json` holds.

Rates and accuracies are fractions from 0 to 1.
"""

from dataclasses import dataclass

from spoken_digits.lab.evaluation.metrics import Evaluation
from spoken_digits.lab.evaluation.rejection import RejectionEvaluation

__all__ = [
    "CalibrationError",
    "Condition",
    "ConditionResult",
    "CrossValidationResult",
    "Delay",
    "FalseDigits",
    "RunEvaluation",
    "StringsEvaluation",
    "StringsScore",
]


@dataclass(frozen=True)
class Condition:
    """How a network was tested: `kind`, and `level` where the kind has one.

    Of added noise (``white``, ``brown``, ``recorded``) the level is the signal-to-noise ratio in
    dB, of a ``room`` its reverberation time RT60 in s, of ``clipped`` recordings the clipping level
    in dB below the peak, of few labels (``finetune``, ``scratch``, ``clusters``) the labels for
    each digit and speaker, None for all.
    """

    kind: str = "clean"
    level: float | None = None

    @property
    def name(self) -> str:
        """Kind and level as one word, for file names: ``white-10``."""
        return self.kind if self.level is None else f"{self.kind}-{self.level:g}"


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
class Delay:
    """Time from the end of a digit until it is emitted, over `count` digits, in ms."""

    count: int
    median: float
    p95: float
    max: float


@dataclass(frozen=True)
class FalseDigits:
    """Digits transcribed from a recording without any, which lasts so many seconds."""

    digits: str
    seconds: float
    per_hour: float


@dataclass(frozen=True)
class StringsEvaluation:
    """A network of strings: scores by speaker or corpus, delay, and digits where there are none."""

    strings: dict[str, StringsScore]
    delay_ms: Delay | None
    false_digits: dict[str, FalseDigits]


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
        Digits against out-of-vocabulary words, which are `rejected_words`.
    calibration
        Calibration error over temperatures.
    cross_validation
        Custom words: cross-validation over speakers.
    """

    task: str
    tests: tuple[ConditionResult, ...] = ()
    strings: StringsEvaluation | None = None
    rejection: RejectionEvaluation | None = None
    rejected_words: tuple[str, ...] = ()
    calibration: tuple[CalibrationError, ...] = ()
    cross_validation: CrossValidationResult | None = None
