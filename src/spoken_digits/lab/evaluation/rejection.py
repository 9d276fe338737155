"""Rejection: how well a score separates digits from out-of-vocabulary sound (OOV).

Scores are higher for sound that is more likely a digit; a clip is accepted when its score reaches
the threshold. A false reject is a digit below it, a false accept an OOV clip that reaches it, and a
false alarm a false accept counted per hour of sound.

Shapes: N clips, C classes, D embedding, M clips to fit on. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.covariance import ShrunkCovariance
from sklearn.metrics import roc_auc_score, roc_curve

from spoken_digits.audio import SAMPLE_RATE, read_audio, to_clip
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.recognize import Recognizer

__all__ = [
    "FALSE_REJECT_RATES",
    "THRESHOLDS",
    "OperatingPoint",
    "RejectionEvaluation",
    "ScoreComparison",
    "ScoredClips",
    "auroc",
    "class_distance",
    "compare_scores",
    "describe_rejection",
    "equal_error",
    "evaluate_rejection",
    "score_clips",
    "score_noise",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FALSE_REJECT_RATES = (0.01, 0.02, 0.05)  # maximum rates for which a threshold is looked up
CURVE_POINTS = 101
WINDOW_S = 1.5  # noise is cut into windows as long as the longest clip, one after the other
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity


@dataclass(frozen=True, eq=False)
class ScoredClips:
    """Outputs of a recognizer for digits and OOV words.

    Attributes
    ----------
    logits, embeddings
        (N, C), (N, D).
    scores
        Probability of being one of the model's labels, which the threshold is applied to: (N,).
    is_digit, correct
        Whether a clip's word is one of the model's labels, and the one recognized: (N,).
    labels, speakers
        (N,) strings.
    seconds
        Duration of each recording: (N,).
    """

    logits: FloatArray
    embeddings: FloatArray
    scores: FloatArray
    is_digit: BoolArray
    correct: BoolArray
    labels: NDArray[np.str_]
    speakers: NDArray[np.str_]
    seconds: FloatArray


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates at one threshold, fractions from 0 to 1.

    Attributes
    ----------
    threshold
        On the score.
    false_reject_rate
        Fraction of the digits rejected.
    false_accept_rate
        Fraction of the OOV clips accepted.
    accuracy
        Fraction of all digits that are accepted and recognized correctly.
    accepted_accuracy
        Fraction of the digits accepted that are recognized correctly; None where none is accepted.
    word_false_alarms_per_hour
        OOV words accepted per hour of OOV words.
    noise_false_alarms_per_hour
        Windows of noise accepted per hour of noise; None without noise.
    """

    threshold: float
    false_reject_rate: float
    false_accept_rate: float
    accuracy: float
    accepted_accuracy: float | None
    word_false_alarms_per_hour: float
    noise_false_alarms_per_hour: float | None


@dataclass(frozen=True)
class ScoreComparison:
    """Area under the ROC curve and equal error rate of one score."""

    auroc: float
    eer: float


@dataclass(frozen=True)
class RejectionEvaluation:
    """How well a score separates digits from OOV.

    Attributes
    ----------
    digits, oov, speakers
        Numbers of clips, and of the speakers of all.
    noise_s
        Duration of the noise.
    auroc, eer, eer_threshold
        Area under the ROC curve; equal error rate, where false rejects are as frequent as false
        accepts, and the threshold next to it.
    default
        At the model's own threshold.
    operating_points
        At each of `THRESHOLDS`.
    at_false_reject_rate
        At the highest thresholds that reject at most each of `FALSE_REJECT_RATES` of the digits.
    roc_curve
        `CURVE_POINTS` pairs of false accept rate and true accept rate (1 - false reject rate).
    scores
        Each score of `compare_scores`, by name.
    """

    digits: int
    oov: int
    speakers: int
    noise_s: float
    auroc: float
    eer: float
    eer_threshold: float
    default: OperatingPoint
    operating_points: tuple[OperatingPoint, ...]
    at_false_reject_rate: tuple[OperatingPoint, ...]
    roc_curve: tuple[tuple[float, float], ...]
    scores: dict[str, ScoreComparison]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, for JSON."""
        return asdict(self)


def auroc(digits: ArrayLike, oov: ArrayLike) -> float:
    """Return the probability that a digit scores above an OOV clip, ties counting half.

    The area under the ROC curve (Hanley and McNeil 1982, Radiology 143), by scikit-learn.

    Raises
    ------
    ValueError
        When either side has no score, or one that is not finite.
    """
    return float(roc_auc_score(*_targets_and_scores(digits, oov)))


def equal_error(digits: ArrayLike, oov: ArrayLike) -> tuple[float, float]:
    """Return the equal error rate and the threshold next to it.

    The rate is where the ROC curve, its points joined by straight lines, crosses the diagonal on
    which false rejects are as frequent as false accepts. scikit-learn gives the points alone: the
    nearest of them, without the lines, would be off by up to half a clip's share of either side.

    Raises
    ------
    ValueError
        When either side has no score, or one that is not finite.
    """
    false_accepts, true_accepts, thresholds = _roc(digits, oov)
    false_rejects = 1 - true_accepts  # falls along the curve, from 1
    after = int(np.argmax(false_rejects <= false_accepts))
    before = after - 1
    gap_before = false_rejects[before] - false_accepts[before]
    gap_after = false_rejects[after] - false_accepts[after]
    fraction = gap_before / (gap_before - gap_after)
    rate = false_rejects[before] + fraction * (false_rejects[after] - false_rejects[before])
    nearest = after if fraction > 0.5 or not np.isfinite(thresholds[before]) else before
    return float(rate), float(thresholds[nearest])


def _targets_and_scores(digits: ArrayLike, oov: ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Check the scores of both sides and join them, digits first."""
    sides = []
    for name, values in (("digits", digits), ("OOV", oov)):
        scores = np.asarray(values, np.float64)
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise ValueError(f"scores of {name} {scores}: expected at least one, finite")
        sides.append(scores)
    return np.repeat([True, False], [len(scores) for scores in sides]), np.concatenate(sides)


def _roc(digits: ArrayLike, oov: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return false accept rates, true accept rates and thresholds, from infinity downward."""
    points: tuple[FloatArray, FloatArray, FloatArray] = roc_curve(
        *_targets_and_scores(digits, oov), drop_intermediate=False
    )
    return points


def evaluate_rejection(
    scored: ScoredClips, threshold: float, noise: ArrayLike = ()
) -> RejectionEvaluation:
    """Evaluate the score that the threshold is applied to, and compare it with others.

    Parameters
    ----------
    scored
        Digits and OOV words.
    threshold
        The model's own, 0 to 1.
    noise
        Scores of windows of `WINDOW_S` of noise: (N,). A silent window scores 0.

    Raises
    ------
    ValueError
        When there are no digits or no OOV clips.
    """
    digits, oov = scored.scores[scored.is_digit], scored.scores[~scored.is_digit]
    if not len(digits) or not len(oov):
        raise ValueError(
            f"{len(digits)} digits and {len(oov)} other recordings; expected some of both: "
            "take a corpus with other words, such as speech_commands"
        )
    noise = np.asarray(noise, np.float64)
    rate, at = equal_error(digits, oov)
    false_accepts, true_accepts, _ = _roc(digits, oov)
    grid = np.linspace(0, 1, CURVE_POINTS)
    # Of points with equal false accepts, np.interp takes the last, which has most true accepts.
    curve = np.interp(grid, false_accepts, true_accepts)
    ascending = np.sort(digits)
    compared = {}
    for name, score in compare_scores(scored).items():
        sides = score[scored.is_digit], score[~scored.is_digit]
        compared[name] = ScoreComparison(auroc(*sides), equal_error(*sides)[0])
    return RejectionEvaluation(
        digits=len(digits),
        oov=len(oov),
        speakers=len(np.unique(scored.speakers)),
        noise_s=len(noise) * WINDOW_S,
        auroc=auroc(digits, oov),
        eer=rate,
        eer_threshold=at,
        default=_operating_point(scored, noise, threshold),
        operating_points=tuple(_operating_point(scored, noise, t) for t in THRESHOLDS),
        at_false_reject_rate=tuple(
            _operating_point(scored, noise, float(ascending[int(maximum * len(digits) + 1e-9)]))
            for maximum in FALSE_REJECT_RATES
        ),
        roc_curve=tuple((float(x), float(y)) for x, y in zip(grid, curve, strict=True)),
        scores=compared,
    )


def _operating_point(scored: ScoredClips, noise: FloatArray, threshold: float) -> OperatingPoint:
    accepted = scored.scores >= threshold
    digits, oov = scored.is_digit, ~scored.is_digit
    correct = int((accepted & digits & scored.correct).sum())
    n_accepted = int((accepted & digits).sum())
    oov_h = float(scored.seconds[oov].sum()) / 3600
    noise_h = len(noise) * WINDOW_S / 3600
    noise_accepted = int((noise >= max(threshold, 1e-9)).sum())  # silence is not an alarm
    return OperatingPoint(
        threshold=threshold,
        false_reject_rate=float((~accepted)[digits].mean()),
        false_accept_rate=float(accepted[oov].mean()),
        accuracy=correct / int(digits.sum()),
        accepted_accuracy=correct / n_accepted if n_accepted else None,
        word_false_alarms_per_hour=int(accepted[oov].sum()) / oov_h,
        noise_false_alarms_per_hour=noise_accepted / noise_h if len(noise) else None,
    )


def compare_scores(scored: ScoredClips) -> dict[str, FloatArray]:
    """Return scores that a threshold may be applied to, by name, (N,) each.

    "own" is the model's own. The others are available from any network: largest probability
    (Hendrycks and Gimpel 2017), largest logit (Hendrycks and others 2022), energy (Liu and others
    2020), and class distance, that to the nearest class in the embedding (Lee and others 2018). Its
    classes are fitted on the digits of half of the speakers and used for the other half, both ways;
    where that is impossible it is left out.
    """
    halves = np.isin(scored.speakers, np.unique(scored.speakers)[::2])
    distance = np.full(len(scored.scores), np.nan)
    for half in (halves, ~halves):
        fitted = ~half & scored.is_digit
        if fitted.any() and half.any():
            distance[half] = class_distance(
                scored.embeddings[fitted], scored.labels[fitted], scored.embeddings[half]
            )
    scores = {
        "own": scored.scores,
        "largest probability": special.softmax(scored.logits, axis=1).max(axis=1),
        "largest logit": scored.logits.max(axis=1),
        "energy": special.logsumexp(scored.logits, axis=1),
    }
    return scores | ({} if np.isnan(distance).any() else {"class distance": distance})


def class_distance(
    fitted: FloatArray, labels: NDArray[np.str_], embeddings: FloatArray
) -> FloatArray:
    """Return minus the squared Mahalanobis distance to the nearest class: (N,).

    Parameters
    ----------
    fitted, labels
        Embeddings (M, D) and their labels (M,): each class has its own mean, all have one
        covariance, shrunk by `SHRINKAGE`.
    embeddings
        (N, D).
    """
    names, index = np.unique(labels, return_inverse=True)
    means = np.stack([fitted[index == c].mean(axis=0) for c in range(len(names))])
    covariance = ShrunkCovariance(assume_centered=True, shrinkage=SHRINKAGE)
    covariance.fit(fitted - means[index])
    # Distances are taken from the origin: each class' mean is subtracted first.
    squared = np.stack([covariance.mahalanobis(embeddings - mean) for mean in means])  # (C, N)
    nearest: FloatArray = -squared.min(axis=0)
    return nearest


def score_clips(recognizer: Recognizer, clips: Sequence[Clip]) -> ScoredClips:
    """Recognize every clip; those whose label the model lacks are OOV.

    Raises
    ------
    AudioError
        When a recording cannot be read or is silent.
    """
    logits, embeddings, scores, seconds = [], [], [], []
    for clip in clips:
        samples, sample_rate = read_audio(clip.file)
        waveform = to_clip(samples, sample_rate)[None]
        clip_logits, log_odds = recognizer.score(waveform)
        logits.append(clip_logits[0])
        scores.append(special.expit(log_odds[0]))
        embeddings.append(recognizer.embed(waveform)[0])
        seconds.append(len(samples) / sample_rate)
    labels = np.array([clip.label for clip in clips])
    recognized = np.array(recognizer.labels)[np.argmax(logits, axis=1)]
    return ScoredClips(
        logits=np.array(logits, np.float64),
        embeddings=np.array(embeddings, np.float64),
        scores=np.array(scores, np.float64),
        is_digit=np.isin(labels, recognizer.labels),
        correct=recognized == labels,
        labels=labels,
        speakers=np.array([clip.speaker for clip in clips]),
        seconds=np.array(seconds),
    )


def score_noise(recognizer: Recognizer, files: Sequence[Path]) -> FloatArray:
    """Score windows of long recordings without speech, at their recorded level: (N,).

    A silent window scores 0. Recordings shorter than `WINDOW_S` give none.

    Raises
    ------
    AudioError
        When a recording cannot be read.
    """
    scores = []
    length = round(WINDOW_S * SAMPLE_RATE)
    for file in files:
        samples = read_noise(file)
        for start in range(0, len(samples) - length + 1, length):
            scores.append(recognizer(samples[start : start + length], SAMPLE_RATE).score)
    return np.array(scores)


def describe_rejection(evaluation: RejectionEvaluation) -> str:
    """Format an evaluation as text: totals, the scores compared, one line for each threshold."""
    lines = [
        f"AUROC              {evaluation.auroc:6.1%}  of {evaluation.digits:,} digits against "
        f"{evaluation.oov:,} other words, {evaluation.speakers:,} speakers",
        f"equal error rate   {evaluation.eer:6.1%}  at threshold {evaluation.eer_threshold:.3f}",
        "",
        f"{'score':20}{'AUROC':>8}{'EER':>8}",
        *(f"{k:20}{s.auroc:8.1%}{s.eer:8.1%}" for k, s in evaluation.scores.items()),
        "",
        f"{'threshold':>9}{'false rejects':>15}{'accuracy':>10}{'false accepts':>15}"
        f"{'false alarms/h: words':>23}{'noise':>8}",
    ]
    notes = [
        *(len(evaluation.operating_points) * [""]),
        *(f"  false rejects at most {maximum:.0%}" for maximum in FALSE_REJECT_RATES),
        "  the model's own",
    ]
    points = (*evaluation.operating_points, *evaluation.at_false_reject_rate, evaluation.default)
    for point, note in zip(points, notes, strict=True):
        noise = point.noise_false_alarms_per_hour
        lines.append(
            f"{point.threshold:9.3f}{point.false_reject_rate:15.1%}{point.accuracy:10.1%}"
            f"{point.false_accept_rate:15.1%}{point.word_false_alarms_per_hour:23.0f}"
            f"{'' if noise is None else f'{noise:.0f}':>8}{note}"
        )
    return "\n".join(lines)
