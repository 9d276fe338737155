"""Metrics of classification, their intervals and tests, with the speaker as the unit.

Accuracies are averaged over seeds within a speaker first, then over speakers. Fractions are 0 to 1.
Shapes: N clips, C classes, K speakers, S seeds. Needs no torch.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.runs import write_whole

__all__ = [
    "Aggregate",
    "Evaluation",
    "LabelScore",
    "McNemar",
    "Predictions",
    "SpeakerScore",
    "aggregate",
    "cluster_bootstrap",
    "contrast_margins",
    "evaluate",
    "expected_calibration_error",
    "holm",
    "mcnemar",
    "paired_margins",
    "poisson_interval",
    "ratio_difference",
    "seed_margin",
    "sign_flip",
    "speakers_note",
    "unpaired_margins",
    "wilson",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Interval = tuple[float, float]

LEVEL = 0.95
CALIBRATION_BINS = 15
RESAMPLES = 10_000
_MAX_DRAWN = 1_000_000  # values at once: of thousands of speakers, gigabytes would be held
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Predictions:
    """The scores of one network on each clip of a test set.

    Attributes
    ----------
    scores
        Logits (N, C), float32, finite.
    labels
        The truth (N,), indices into `label_names`.
    speakers, files
        Who speaks, in which file: (N,) strings.
    label_names
        The C names.
    listed
        Whether a clip is on the original study's test list (503 clips): (N,).

    Raises
    ------
    ValueError
        When there are no clips, lengths differ, a score is not finite or a label is outside.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    files: NDArray[np.str_]
    label_names: tuple[str, ...]
    listed: BoolArray

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, np.float32)
        n_clips, names = len(scores), tuple(map(str, self.label_names))
        if n_clips == 0:
            raise ValueError("no predictions: expected at least one clip")
        if scores.shape != (n_clips, len(names)):
            raise ValueError(
                f"scores of shape {scores.shape}: expected ({n_clips}, {len(names)}), "
                f"a column for each of the labels {', '.join(names)}"
            )
        labels = np.asarray(self.labels)
        if labels.dtype.kind not in "iu":
            raise ValueError(f"labels of type {labels.dtype}: expected indices into label_names")
        fields = {
            "labels": labels.astype(np.int64),
            "speakers": np.asarray(self.speakers, np.str_),
            "files": np.asarray(self.files, np.str_),
            "listed": np.asarray(self.listed, np.bool_),
        }
        for name, values in fields.items():
            if values.shape != (n_clips,):
                raise ValueError(f"{name} of shape {values.shape}: expected ({n_clips},) as scores")
        if not (finite := np.isfinite(scores).all(axis=1)).all():
            row = int(np.argmin(finite))
            raise ValueError(f"{fields['files'][row]}: scores {scores[row]} are not all finite")
        if (outside := (labels < 0) | (labels >= len(names))).any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"{fields['files'][row]}: label {labels[row]} is outside 0 to {len(names) - 1}"
            )
        for name, value in (fields | {"scores": scores, "label_names": names}).items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Index of the label with the highest score: (N,)."""
        return np.asarray(self.scores.argmax(axis=1))

    @property
    def correct(self) -> BoolArray:
        """Whether that is the truth: (N,)."""
        return np.asarray(self.predicted == self.labels)

    @classmethod
    def of(cls, clips: Sequence[Clip], scores: ArrayLike, label_names: Sequence[str]) -> Self:
        """Set scores (N, C) beside what is known of their clips."""
        return cls(
            scores=np.asarray(scores, np.float32),
            labels=np.array([label_names.index(clip.label) for clip in clips]),
            speakers=np.array([clip.speaker for clip in clips]),
            files=np.array([clip.file.name for clip in clips]),
            label_names=tuple(label_names),
            listed=np.array([clip.split == "TEST" for clip in clips]),
        )

    def save(self, path: Path | str) -> None:
        """Write an .npz file: the same predictions give the same bytes."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            scores=self.scores,
            labels=self.labels,
            speakers=self.speakers,
            files=self.files,
            label_names=np.asarray(self.label_names),
            listed=self.listed,
        )
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; nothing is unpickled."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: not a file of predictions ({error}); run the evaluation again"
            ) from error


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall and F1 of one label, and how many clips have it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class SpeakerScore:
    """One speaker: accuracy, and the label recalled worst (the first of equals)."""

    accuracy: float
    clips: int
    worst_digit: str
    worst_digit_accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """One network on one test set; fractions are 0 to 1.

    `accuracy` and `wilson` count clips and hold for these speakers only. `confusion` holds counts,
    truth in rows (C, C). `listed_accuracy` is None where no clip is on the original study's list.
    """

    clips: int
    accuracy: float
    wilson: Interval
    macro_f1: float
    ece: float
    listed_accuracy: float | None
    worst_speaker: str
    label_names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    per_label: dict[str, LabelScore]
    per_speaker: dict[str, SpeakerScore]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Aggregate:
    """One method on one test set: mean over seeds within a speaker first, then over speakers.

    Attributes
    ----------
    seeds, per_seed
        The seeds and, in their order, each network's accuracy (mean over speakers).
    accuracy_mean, accuracy_sd
        Mean over seeds, and standard deviation (n - 1) over seeds; None with one seed.
    speaker_interval
        Cluster bootstrap over speakers; `note` says when they are too few to generalize from.
    wilson_interval
        Of `accuracy_mean` over the clips of one seed: valid for these speakers only.
    confusion
        Counts a seed (C, C), truth in rows.
    """

    clips: int
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    accuracy_mean: float
    accuracy_sd: float | None
    speaker_interval: Interval
    wilson_interval: Interval
    note: str | None
    macro_f1: float
    ece: float
    listed_accuracy: float | None
    worst_speaker: str
    label_names: tuple[str, ...]
    confusion: tuple[tuple[float, ...], ...]
    per_label: dict[str, LabelScore]
    per_speaker: dict[str, SpeakerScore]
    per_speaker_seed: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two networks classifies correctly, and the exact two-sided p."""

    only_first: int
    only_second: int
    p: float


def evaluate(predictions: Predictions) -> Evaluation:
    """Evaluate one network on its test set."""
    confusion = _confusion(predictions)
    per_label = _per_label(predictions)
    per_speaker = _per_speaker([predictions])
    correct, listed = predictions.correct, predictions.listed
    return Evaluation(
        clips=len(predictions),
        accuracy=float(correct.mean()),
        wilson=wilson(int(correct.sum()), len(predictions)),
        macro_f1=_macro_f1(confusion, per_label),
        ece=expected_calibration_error(predictions.scores, predictions.labels),
        listed_accuracy=float(correct[listed].mean()) if listed.any() else None,
        worst_speaker=_worst(per_speaker),
        label_names=predictions.label_names,
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        per_label=per_label,
        per_speaker=per_speaker,
    )


def aggregate(runs: Sequence[tuple[int, Predictions]], generator: np.random.Generator) -> Aggregate:
    """Aggregate the networks of one method, (seed, predictions) each, over seeds and speakers.

    Raises
    ------
    ValueError
        When there are no runs, a seed appears twice, or the test sets differ.
    """
    if not runs:
        raise ValueError("no runs to aggregate: expected at least one seed")
    seeds, networks = zip(*sorted(runs, key=lambda run: run[0]), strict=True)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {seeds}: expected each once")
    for network in networks[1:]:
        _require_same_clips(networks[0], network)
    first, evaluations = networks[0], [evaluate(network) for network in networks]

    by_speaker = {
        speaker: tuple(e.per_speaker[speaker].accuracy for e in evaluations)
        for speaker in evaluations[0].per_speaker
    }
    table = np.array(list(by_speaker.values()))  # (K, S)
    mean = float(table.mean(axis=1).mean())
    listed = [e.listed_accuracy for e in evaluations if e.listed_accuracy is not None]
    labels = {
        name: LabelScore(
            precision=float(np.mean([e.per_label[name].precision for e in evaluations])),
            recall=float(np.mean([e.per_label[name].recall for e in evaluations])),
            f1=float(np.mean([e.per_label[name].f1 for e in evaluations])),
            support=evaluations[0].per_label[name].support,
        )
        for name in first.label_names
    }
    per_speaker = _per_speaker(networks)
    return Aggregate(
        clips=len(first),
        seeds=seeds,
        per_seed=tuple(map(float, table.mean(axis=0))),
        accuracy_mean=mean,
        accuracy_sd=float(table.mean(axis=0).std(ddof=1)) if len(seeds) > 1 else None,
        speaker_interval=cluster_bootstrap(table.mean(axis=1), generator),
        wilson_interval=wilson(mean * len(first), len(first)),
        note=speakers_note(len(by_speaker)),
        macro_f1=float(np.mean([e.macro_f1 for e in evaluations])),
        ece=float(np.mean([e.ece for e in evaluations])),
        listed_accuracy=float(np.mean(listed)) if listed else None,
        worst_speaker=_worst(per_speaker),
        label_names=first.label_names,
        confusion=tuple(
            tuple(map(float, row)) for row in np.mean([e.confusion for e in evaluations], axis=0)
        ),
        per_label=labels,
        per_speaker=per_speaker,
        per_speaker_seed=by_speaker,
    )


def wilson(successes: float, trials: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927, JASA 22).

    A mean count over seeds may be a fraction, which `scipy.stats.binomtest` does not take.

    Raises
    ------
    ValueError
        When there are no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials}: expected 0 <= successes <= trials, trials >= 1")
    z = float(stats.norm.ppf((1 + level) / 2))
    rate, shrink = successes / trials, 1 + z**2 / trials
    center = (rate + z**2 / (2 * trials)) / shrink
    half = z * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / shrink
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def poisson_interval(count: int, exposure: float = 1.0, level: float = LEVEL) -> Interval:
    """Exact interval of a rate, events for each unit of exposure (Garwood 1936, Biometrika 28).

    Raises
    ------
    ValueError
        When the count is negative, or the exposure is not above 0.
    """
    if count < 0 or not exposure > 0:
        raise ValueError(f"{count} events in {exposure:g}: expected at least 0, in more than 0")
    tail = (1 - level) / 2
    low = float(stats.chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    high = float(stats.chi2.isf(tail, 2 * (count + 1))) / 2
    return low / exposure, high / exposure


def ratio_difference(
    counts: ArrayLike, generator: np.random.Generator, level: float = LEVEL
) -> tuple[float, Interval]:
    """Difference of two error rates, each pooled over speakers, with a cluster bootstrap interval.

    Whole speakers are drawn with replacement, the percentile method; a draw in which no speaker has
    anything on one side counts 0 there.

    Parameters
    ----------
    counts
        (K, 4), a row a speaker: errors and digits on the one side, errors and digits on the other;
        0 and 0 where a speaker has nothing there.
    generator
        Draws the speakers.
    level
        Of confidence.

    Raises
    ------
    ValueError
        When a side has no digits at all.
    """
    columns = np.asarray(counts, np.float64).reshape(-1, 4).T
    if not columns[1].sum() or not columns[3].sum():
        raise ValueError(
            f"{columns[1].sum():g} and {columns[3].sum():g} digits: expected some on either side"
        )

    def difference(*sides: FloatArray, axis: int = -1) -> FloatArray:
        errors, digits, other_errors, other_digits = (side.sum(axis=axis) for side in sides)
        apart: FloatArray = errors / np.maximum(digits, 1) - other_errors / np.maximum(
            other_digits, 1
        )
        return apart

    value = float(difference(*columns))
    if columns.shape[1] == 1:
        return value, (value, value)
    drawn = stats.bootstrap(
        tuple(columns),
        difference,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        paired=True,
        vectorized=True,
        batch=500,
        rng=generator,
    )
    return value, (float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def cluster_bootstrap(
    values: ArrayLike, generator: np.random.Generator, level: float = LEVEL
) -> Interval:
    """Percentile interval of the mean over speakers, whole speakers drawn with replacement.

    Every speaker weighs the same, so a speaker's clips enter as one value: (K,). With one speaker
    the interval is that value.

    Raises
    ------
    ValueError
        When there is no value, or one is not finite.
    """
    values = _finite("values", values)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    drawn = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        batch=max(1, _MAX_DRAWN // len(values)),
        rng=generator,
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def speakers_note(n_speakers: int) -> str | None:
    """Say that so few speakers allow no test; None from six on, where p < 0.05 is within reach."""
    if (smallest := 2 / 2**n_speakers) < ALPHA:
        return None
    return (
        f"With {n_speakers} test speaker{'s' * (n_speakers > 1)} the smallest two-sided sign-flip "
        f"p is {smallest:.2g}: no interval and no p here holds for speakers in general."
    )


def unpaired_margins(
    rates: ArrayLike, others: ArrayLike, clips: ArrayLike, level: float = LEVEL
) -> Interval:
    """How far the mean difference of accuracies over speakers reaches down and up, over clips.

    Newcombe's hybrid score interval of a difference of two proportions (Newcombe 1998, Statistics
    in Medicine 17, method 10) in each speaker, its squared margins added over speakers: see
    `contrast_margins`.

    Parameters
    ----------
    rates, others
        Accuracy of each speaker on either side, averaged over seeds: (K,).
    clips
        Number of each speaker's clips: (K,).

    Returns
    -------
    Two distances, at least 0, to take from the mean difference and to add to it.
    """
    return contrast_margins([rates, others], (1.0, -1.0), clips, level)


def contrast_margins(
    rates: Sequence[ArrayLike], weights: Sequence[float], clips: ArrayLike, level: float = LEVEL
) -> Interval:
    """How far a weighted sum of accuracies, mean over speakers, reaches down and up, over clips.

    Squared margins of Wilson's intervals, times the squares of the weights, are added, as for any
    sum of independent estimates (Zou and Donner 2008, Statistics in Medicine 27). It takes the
    sides as independent samples; where all were tested on the same clips it is too wide, never too
    narrow, unless their errors exclude each other.

    Parameters
    ----------
    rates
        Of each side the accuracy of each speaker, averaged over seeds: (K,).
    weights
        Of each side.
    clips
        Number of each speaker's clips: (K,).

    Returns
    -------
    Two distances, at least 0, to take from the sum and to add to it.
    """
    table, counts = np.asarray(rates, np.float64), np.asarray(clips, np.float64)
    below, above = 0.0, 0.0
    for speaker, n in zip(table.T, counts, strict=True):
        margins = []
        for p, weight in zip(speaker, weights, strict=True):
            low, high = wilson(p * n, int(n), level)
            down, up = (p - low, high - p) if weight > 0 else (high - p, p - low)
            margins.append(((weight * down) ** 2, (weight * up) ** 2))
        below += sum(down for down, _ in margins)
        above += sum(up for _, up in margins)
    return float(np.sqrt(below) / len(counts)), float(np.sqrt(above) / len(counts))


def paired_margins(differences: Mapping[str, ArrayLike], level: float = LEVEL) -> Interval:
    """As `unpaired_margins`, of the same clips on both sides, by the normal approximation.

    Parameters
    ----------
    differences
        For each speaker, for each clip: the fraction of seeds whose network is right on it, less
        that of the other side, -1 to 1.
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    arrays = [np.asarray(values, np.float64) for values in differences.values()]
    variance = sum(float(a.var(ddof=1)) / len(a) if len(a) > 1 else 0.0 for a in arrays)
    margin = z * float(np.sqrt(variance)) / len(arrays)
    return margin, margin


def seed_margin(
    sds: Sequence[float | None],
    seeds: Sequence[int],
    weights: Sequence[float] = (1.0, -1.0),
    level: float = LEVEL,
) -> float | None:
    """How far a weighted sum of means over seeds, such as a difference, reaches to either side.

    Welch's interval (Welch 1947, Biometrika 34) from each side's standard deviation over seeds,
    number of seeds and weight; None where a side has one seed, whose spread is unknown.
    """
    known = [sd for sd in sds if sd is not None]
    if len(known) < len(sds):
        return None
    variances = [(w * sd) ** 2 / n for sd, n, w in zip(known, seeds, weights, strict=True)]
    if not (total := sum(variances)):
        return 0.0  # models without randomness
    freedom = total**2 / sum(v**2 / (n - 1) for v, n in zip(variances, seeds, strict=True))
    return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(total))


def mcnemar(first: Predictions, second: Predictions) -> McNemar:
    """Test two networks on the same clips by exact McNemar (McNemar 1947, Psychometrika 12).

    Raises
    ------
    ValueError
        When they were tested on different clips.
    """
    _require_same_clips(first, second)
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    differing = only_first + only_second
    p = float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p)


def holm(p_values: ArrayLike) -> tuple[float, ...]:
    """Adjust p-values for there being several (Holm 1979, Scandinavian Journal of Statistics 6).

    Raises
    ------
    ValueError
        When one is not from 0 to 1.
    """
    p = np.asarray(p_values, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values {p}: expected each from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return tuple(map(float, adjusted))


def sign_flip(differences: ArrayLike, generator: np.random.Generator) -> float:
    """Two-sided p of the sign-flip permutation test that the mean of differences (K,) is zero.

    One difference a speaker. Up to 13 speakers all 2**K patterns of signs are enumerated; beyond,
    10,000 are drawn, the observed one counting among them, so that p is never 0.

    Raises
    ------
    ValueError
        When there is no difference, or one is not finite.
    """
    differences = _finite("differences", differences)
    if len(differences) == 1:
        return 1.0
    tested = stats.permutation_test(
        (differences,),
        lambda x, axis: np.abs(np.mean(x, axis=axis)),
        permutation_type="samples",
        alternative="greater",  # of the absolute value: two-sided
        vectorized=True,
        n_resamples=RESAMPLES - 1,
        rng=generator,
    )
    return float(tested.pvalue)


def expected_calibration_error(scores: ArrayLike, labels: ArrayLike) -> float:
    """Gap between confidence and accuracy over 15 equal-width bins, of logits (N, C).

    Guo, Pleiss, Sun, Weinberger 2017, On calibration of modern neural networks, equation 3. Scores
    that are no logits (margins of a hinge loss) give a number without meaning.
    """
    probabilities = special.softmax(np.asarray(scores, np.float64), axis=1)
    gap = (probabilities.argmax(axis=1) == np.asarray(labels)) - probabilities.max(axis=1)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.digitize(probabilities.max(axis=1), edges[1:-1], right=True)  # (low, high]
    return float(np.abs(np.bincount(bins, gap)).sum() / len(gap))


def _confusion(predictions: Predictions) -> NDArray[np.intp]:
    labels = range(len(predictions.label_names))
    return np.asarray(confusion_matrix(predictions.labels, predictions.predicted, labels=labels))


def _per_label(predictions: Predictions) -> dict[str, LabelScore]:
    # The precision of a label never predicted is 0, and so is the recall of one never spoken.
    precision, recall, f1, support = precision_recall_fscore_support(
        predictions.labels,
        predictions.predicted,
        labels=range(len(predictions.label_names)),
        zero_division=0,
    )
    return {
        name: LabelScore(float(precision[c]), float(recall[c]), float(f1[c]), int(support[c]))
        for c, name in enumerate(predictions.label_names)
    }


def _macro_f1(confusion: NDArray[np.intp], per_label: Mapping[str, LabelScore]) -> float:
    """Mean over the labels that were spoken or predicted."""
    present = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
    f1 = np.array([score.f1 for score in per_label.values()])
    return float(f1[present].mean())


def _per_speaker(networks: Sequence[Predictions]) -> dict[str, SpeakerScore]:
    """Score each speaker, the networks' mean."""
    first = networks[0]
    correct = np.mean([network.correct for network in networks], axis=0)  # (N,)
    table = {}
    for speaker in np.unique(first.speakers):
        theirs = first.speakers == speaker
        recalls = {
            name: float(correct[spoken].mean())
            for c, name in enumerate(first.label_names)
            if (spoken := theirs & (first.labels == c)).any()
        }
        worst = min(recalls, key=recalls.__getitem__)
        accuracy, clips = float(correct[theirs].mean()), int(theirs.sum())
        table[str(speaker)] = SpeakerScore(accuracy, clips, worst, recalls[worst])
    return table


def _worst(per_speaker: Mapping[str, SpeakerScore]) -> str:
    return min(per_speaker, key=lambda speaker: per_speaker[speaker].accuracy)


def _require_same_clips(first: Predictions, second: Predictions) -> None:
    if first.label_names != second.label_names:
        raise ValueError(f"labels differ: {first.label_names} and {second.label_names}")
    for name in ("files", "labels", "speakers"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise ValueError(
                f"{name} of {len(first)} and {len(second)} predictions differ: expected the same "
                "test set in the same order; run the evaluation again"
            )


def _finite(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"{name} {array}: expected at least one finite number, one a speaker")
    return array
