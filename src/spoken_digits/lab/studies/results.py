"""Results of a study: rows, comparisons and provenance as dataclasses, to JSON and back.

`summary.summarize` makes a `StudyResult` of run directories; files under results/ hold one each;
reporting makes tables, pictures and sentences of it. Titles and sentences are not stored: they are
made last, from these fields. Fractions are 0 to 1, times in seconds. Needs no torch.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from spoken_digits.lab.evaluation.metrics import LabelScore, SpeakerScore
from spoken_digits.lab.evaluation.schema import Condition
from spoken_digits.lab.runs import read_json, write_whole

__all__ = [
    "Comparison",
    "Condition",
    "ExtraSpeech",
    "McNemarTest",
    "Method",
    "Provenance",
    "Row",
    "Source",
    "StudyResult",
    "Verdict",
    "read_result",
    "read_results",
    "write_result",
]

Interval = tuple[float, float]
Verdict = Literal["improves", "worsens", "no significant difference"]
Over = Literal["speakers", "clips", "clips and seeds"]


@dataclass(frozen=True)
class Method:
    """The factors that tell the rows of a study apart.

    `split` is a named split, or the family whose folds are pooled (``loso``, ``single``).
    `training_speakers` counts the people trained on in each fold; synthetic speech, if any, is
    named by `extra` ("none" without).
    """

    model: str
    front_end: str
    split: str
    augmentation: str
    extra: str
    objective: str
    condition: Condition
    learning_rate: float
    weight_decay: float
    training_speakers: int
    task: str = "train"
    grid: str = "results"


@dataclass(frozen=True)
class Source:
    """A speaker who was trained on alone: accuracy on each of the others, mean over seeds."""

    accuracy: float
    accuracy_sd: float | None
    per_speaker: dict[str, float]
    xsdr_accuracy: float | None  # on lucas and yweweler, where the source is neither

    @property
    def worst_speaker(self) -> str:
        """The test speaker with the lowest accuracy."""
        return min(self.per_speaker, key=self.per_speaker.__getitem__)


@dataclass(frozen=True)
class Row:
    """One method, averaged over seeds within each test speaker, then over speakers.

    Attributes
    ----------
    method
        What was trained and tested.
    accuracy, accuracy_sd
        Mean over speakers, and its standard deviation over seeds; None with one seed.
    seeds, per_seed
        Seeds that have all folds, and the mean over speakers of each.
    per_speaker, per_speaker_seed
        Of each test speaker: scores averaged over seeds, and the accuracy of each seed.
    clips
        Tests, the folds together; a clip that several folds test counts for each.
    speaker_interval
        95 % over speakers: percentile bootstrap that draws whole speakers.
    wilson_interval
        95 % over clips (Wilson); valid for these speakers only.
    listed_accuracy
        On the original study's test list (503 clips); None where no clip is on it.
    macro_f1, ece
        Means over seeds; the expected calibration error is None for margins.
    confusion
        Mean counts, truth in rows (C, C).
    per_label
        Precision, recall and F1 of each label.
    parameters, epochs
        Size of the network, and passes over the training clips; None where there are none.
    folds
        Names of the splits that were pooled.
    sources
        Where one speaker was trained on: each source apart.
    """

    method: Method
    accuracy: float
    accuracy_sd: float | None
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    per_speaker: dict[str, SpeakerScore]
    per_speaker_seed: dict[str, tuple[float, ...]]
    clips: int
    speaker_interval: Interval
    wilson_interval: Interval
    listed_accuracy: float | None
    macro_f1: float
    ece: float | None
    confusion: tuple[tuple[float, ...], ...]
    per_label: dict[str, LabelScore]
    parameters: int
    epochs: int | None
    folds: tuple[str, ...]
    sources: dict[str, Source] | None = None

    @property
    def worst_speaker(self) -> str:
        """The test speaker with the lowest accuracy (the first of equals)."""
        return min(self.per_speaker, key=lambda speaker: self.per_speaker[speaker].accuracy)


@dataclass(frozen=True)
class McNemarTest:
    """Exact McNemar test of two fixed networks, those of one seed; it tests no method."""

    seed: int
    only_network: int  # clips that only the row's network gets right
    only_reference: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """A row set against its reference: what differs, how uncertain that is, and the verdict.

    Attributes
    ----------
    method, reference
        The two methods.
    accuracy, reference_accuracy
        Of both, averaged over seeds within each speaker, then over speakers.
    difference
        `accuracy` minus `reference_accuracy`: above zero, the method is better.
    interval
        95 % interval of the difference, of this comparison alone.
    over
        What the interval is over. ``speakers``: percentile bootstrap over speakers, for speakers in
        general. ``clips and seeds``, and ``clips`` where a side has one seed: for these speakers
        only, see `comparisons.clips_interval`.
    paired
        Whether the interval over clips is of the same clips, paired. From stored accuracies it is
        unpaired, and wider.
    speakers, seeds
        Test speakers, and the fewer of both sides' seeds.
    p, p_holm
        Two-sided sign-flip permutation test over speakers, and adjusted by Holm over the
        `family_size` comparisons of one grid. None with fewer than six speakers: no test then
        speaks of speakers in general.
    verdict
        By `p_holm` below 0.05 where there is one, else by an interval that leaves out zero; the
        latter holds for these speakers only.
    networks
        McNemar's test of the two networks of one seed, where their predictions were compared.
    """

    method: Method
    reference: Method
    accuracy: float
    reference_accuracy: float
    difference: float
    interval: Interval
    over: Over
    paired: bool
    speakers: int
    seeds: int
    p: float | None
    p_holm: float | None
    family_size: int
    verdict: Verdict
    networks: McNemarTest | None = None


@dataclass(frozen=True)
class ExtraSpeech:
    """Speech that joined the training side: its size, and its SHA-256 (`corpora.data_hash`)."""

    clips: int
    speakers: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from: command, code, data; `extra` by the name in the recipe."""

    command: str
    commits: tuple[str, ...]
    versions: dict[str, str]
    corpus: str
    clips: int
    clips_tested: int
    sha256: str  # of the corpus, see `corpora.data_hash`
    licence: str
    training_speakers: tuple[str, ...]
    test_speakers: tuple[str, ...]
    seeds: tuple[int, ...]
    seconds: float
    extra: dict[str, ExtraSpeech] = field(default_factory=dict)

    @property
    def is_quick(self) -> bool:
        """Whether fewer seeds and epochs were run than the study asks for."""
        return "--quick" in self.command

    @property
    def is_synthetic(self) -> bool:
        """Whether no person spoke what was tested."""
        return self.corpus == "voices"


@dataclass(frozen=True)
class StudyResult:
    """All numbers of a study.

    `study` names the study, `name` its folder of runs and its file under results/ (with ``-quick``
    or a corpus behind it). `inner` holds the rows tested on held-out training speakers: they serve
    choices, and are no result.
    """

    study: str
    name: str
    question: str
    label_names: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    inner: tuple[Row, ...]
    provenance: Provenance
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def best(self) -> Row:
        """The most accurate row."""
        return max(self.rows, key=lambda row: row.accuracy)

    def row(self, method: Method) -> Row | None:
        """Return the row of a method; None where it was not run."""
        return next((row for row in self.rows if row.method == method), None)

    def select(self, **factors: Any) -> tuple[Row, ...]:
        """Return the rows whose methods have these fields: ``select(augmentation="none")``."""
        return tuple(
            row
            for row in self.rows
            if all(getattr(row.method, key) == value for key, value in factors.items())
        )

    def compared(self, method: Method) -> Comparison | None:
        """Return the comparison of a method with its reference; None where it has none."""
        return next((c for c in self.comparisons if c.method == method), None)

    def to_json(self) -> str:
        """Return JSON, one list of plain values a line."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False)
        # A line break never stands inside a string of JSON.
        flat = re.sub(r"\[[^][{}]*\]", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), text)
        return flat.replace("[ ", "[").replace(" ]", "]") + "\n"


def read_result(path: Path | str) -> StudyResult:
    """Read the result of a study from a file.

    Raises
    ------
    RunError
        When the file is missing, or holds something else; the message names it.
    """
    return read_json(path, StudyResult)


def read_results(folder: Path | str) -> tuple[StudyResult, ...]:
    """Read every result of a study in a folder, by name of the file; other JSON is passed over."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "comparisons" in content and "rows" in content:
            found.append(read_result(path))
    return tuple(found)


def write_result(path: Path | str, result: StudyResult) -> None:
    """Write a result as JSON, whole or not at all; the same result gives the same bytes."""
    write_whole(path, result.to_json().encode())
