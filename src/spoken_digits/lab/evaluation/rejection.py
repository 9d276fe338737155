"""Rejection: how well a score tells digits from what is none, and what a threshold on it costs.

Scores are higher for what is more surely a digit; a clip is accepted when its score reaches the
threshold. Shapes: N clips, C classes, D embedding. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from spoken_digits.audio import SAMPLE_RATE, read_audio, to_clip
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.recognize import Recognizer

__all__ = [
    "ACCEPTED",
    "THRESHOLDS",
    "Cut",
    "RejectionEvaluation",
    "Scored",
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
ACCEPTED = (0.99, 0.98, 0.95)  # shares of the digits for which a threshold is looked up
CURVE_POINTS = 101
WINDOW_S = 1.5  # noise is cut into windows, as long as the longest clip, one after the other
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity


@dataclass(frozen=True, eq=False)
class Scored:
    """What a recognizer said of clips of which some hold digits.

    Attributes
    ----------
    logits, embeddings, scores
        (N, C), (N, D), and how surely each is a digit, (N,), 0 to 1: what the threshold cuts.
    is_digit, correct
        Whether a clip is one of the model's labels, and then heard rightly: (N,).
    labels, speakers
        (N,) strings.
    seconds
        How long each recording lasts: (N,).
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
class Cut:
    """What one threshold does; shares are 0 to 1.

    `digits_accepted` and `others_accepted` are of the digits and of all else; `digits_right` is
    the share of all digits that are accepted and heard rightly; `accepted_right` the share of
    digits among what is accepted that is heard rightly, None where none is accepted.
    `false_alarms_per_hour` counts what is accepted of an hour of other words, and
    `noise_alarms_per_hour` of an hour of noise, None where none was at hand.
    """

    threshold: float
    digits_accepted: float
    digits_right: float
    accepted_right: float | None
    others_accepted: float
    false_alarms_per_hour: float
    noise_alarms_per_hour: float | None


@dataclass(frozen=True)
class RejectionEvaluation:
    """A score on digits and on what is none.

    `eer` is the error rate at the threshold `eer_threshold`, where digits are refused as often as
    all else is accepted. `default` is the cut at the model's own threshold, `wanted` those at the
    highest thresholds that accept 99, 98 and 95 % of the digits. `curve` holds 101 points of share
    of others accepted, share of digits accepted; `compared` AUROC and EER of each score.
    """

    digits: int
    others: int
    speakers: int
    noise_s: float
    auroc: float
    eer: float
    eer_threshold: float
    default: Cut
    cuts: tuple[Cut, ...]
    wanted: tuple[Cut, ...]
    curve: tuple[tuple[float, float], ...]
    compared: dict[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, for JSON."""
        return asdict(self)


def auroc(digits: ArrayLike, others: ArrayLike) -> float:
    """Probability that a digit scores above another sound, ties counting half.

    The area under the ROC curve is Mann and Whitney's U over the number of pairs (Hanley and
    McNeil 1982, Radiology 143).
    """
    digits, others = _finite("digits", digits), _finite("others", others)
    ranks = stats.rankdata(np.concatenate([digits, others]))
    u = ranks[: len(digits)].sum() - len(digits) * (len(digits) + 1) / 2
    return float(u / (len(digits) * len(others)))


def equal_error(digits: ArrayLike, others: ArrayLike) -> tuple[float, float]:
    """Return the equal error rate, and the threshold next to it.

    It is where the ROC curve, its points joined by straight lines, crosses the diagonal from all
    refused to all accepted.
    """
    thresholds, refused, accepted = _errors(digits, others)
    gap = refused - accepted  # rises with the threshold, from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    part = -gap[before] / (gap[after] - gap[before])
    rate = refused[before] + part * (refused[after] - refused[before])
    nearest = before if part < 0.5 and np.isfinite(thresholds[before]) else after
    return float(rate), float(thresholds[min(nearest, len(thresholds) - 2)])


def _errors(digits: ArrayLike, others: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return every threshold that matters, ascending, with digits refused and others accepted."""
    digits, others = np.sort(_finite("digits", digits)), np.sort(_finite("others", others))
    thresholds = np.append(np.unique(np.concatenate([digits, others])), np.inf)
    refused = np.searchsorted(digits, thresholds, side="left") / len(digits)
    accepted = 1 - np.searchsorted(others, thresholds, side="left") / len(others)
    return thresholds, refused, accepted


def evaluate_rejection(
    scored: Scored, threshold: float, noise: ArrayLike = ()
) -> RejectionEvaluation:
    """Evaluate the score that the threshold cuts, and compare it with others.

    Parameters
    ----------
    scored
        Digits and other words.
    threshold
        The model's own, 0 to 1.
    noise
        Scores of windows of `WINDOW_S` of noise: (N,). A window that is silence scores 0.

    Raises
    ------
    ValueError
        When there are no digits, or nothing else.
    """
    digits, others = scored.scores[scored.is_digit], scored.scores[~scored.is_digit]
    if not len(digits) or not len(others):
        raise ValueError(
            f"{len(digits)} digits and {len(others)} other recordings; expected some of both: "
            "take a corpus with other words, such as speech_commands"
        )
    noise = np.asarray(noise, np.float64)
    rate, at = equal_error(digits, others)
    _, refused, accepted = _errors(digits, others)
    grid = np.linspace(0, 1, CURVE_POINTS)
    # The curve rises with the share of others accepted; of equal shares the best one counts.
    order = np.lexsort((1 - refused, accepted))
    curve = np.interp(grid, accepted[order], (1 - refused)[order])
    return RejectionEvaluation(
        digits=len(digits),
        others=len(others),
        speakers=len(np.unique(scored.speakers)),
        noise_s=len(noise) * WINDOW_S,
        auroc=auroc(digits, others),
        eer=rate,
        eer_threshold=at,
        default=_cut(scored, noise, threshold),
        cuts=tuple(_cut(scored, noise, t) for t in THRESHOLDS),
        wanted=tuple(
            _cut(scored, noise, float(np.sort(digits)[int((1 - share) * len(digits) + 1e-9)]))
            for share in ACCEPTED
        ),
        curve=tuple((float(x), float(y)) for x, y in zip(grid, curve, strict=True)),
        compared={
            name: (auroc(s[scored.is_digit], s[~scored.is_digit]),
                   equal_error(s[scored.is_digit], s[~scored.is_digit])[0])
            for name, s in compare_scores(scored).items()
        },
    )  # fmt: skip


def _cut(scored: Scored, noise: FloatArray, threshold: float) -> Cut:
    accepted = scored.scores >= threshold
    digits, others = scored.is_digit, ~scored.is_digit
    right = (accepted & digits & scored.correct).sum()
    hours = scored.seconds[others].sum() / 3600
    return Cut(
        threshold=threshold,
        digits_accepted=float(accepted[digits].mean()),
        digits_right=float(right / digits.sum()),
        accepted_right=float(right / n) if (n := (accepted & digits).sum()) else None,
        others_accepted=float(accepted[others].mean()),
        false_alarms_per_hour=float(accepted[others].sum() / hours),
        noise_alarms_per_hour=(
            float((noise >= max(threshold, 1e-9)).sum() / (len(noise) * WINDOW_S / 3600))
            if len(noise)
            else None
        ),
    )


def compare_scores(scored: Scored) -> dict[str, FloatArray]:
    """Return the scores that may be cut, by name, (N,) each: the model's own, and its rivals'.

    The rivals take what any network gives: largest probability (Hendrycks and Gimpel 2017), largest
    logit (Hendrycks and others 2022), energy (Liu and others 2020), and distance to the nearest
    class in the embedding (Lee and others 2018), whose classes are learned from the digits of
    other speakers than are scored: two halves, each by the other.
    """
    halves = np.isin(scored.speakers, np.unique(scored.speakers)[::2])
    distance = np.full(len(scored.scores), np.nan)
    for half in (halves, ~halves):
        learn = ~half & scored.is_digit
        if learn.any() and half.any():
            distance[half] = class_distance(
                scored.embeddings[learn], scored.labels[learn], scored.embeddings[half]
            )
    scores = {
        "own": scored.scores,
        "largest probability": special.softmax(scored.logits, axis=1).max(axis=1),
        "largest logit": scored.logits.max(axis=1),
        "energy": special.logsumexp(scored.logits, axis=1),
    }
    return scores | ({} if np.isnan(distance).any() else {"class distance": distance})


def class_distance(
    learned: FloatArray, labels: NDArray[np.str_], embeddings: FloatArray
) -> FloatArray:
    """Minus the squared Mahalanobis distance of (N, D) embeddings to the nearest class: (N,).

    The classes have their own means and one covariance, shrunk by a tenth, of `learned` (M, D).
    """
    names, index = np.unique(labels, return_inverse=True)
    means = np.stack([learned[index == c].mean(axis=0) for c in range(len(names))])
    spread = np.cov((learned - means[index]).T, bias=True).reshape(learned.shape[1], -1)
    level = float(np.trace(spread)) / len(spread)
    spread = (1 - SHRINKAGE) * spread + SHRINKAGE * max(level, 1e-12) * np.eye(len(spread))
    whiten = np.linalg.cholesky(np.linalg.inv(spread))
    differences = (embeddings[:, None] - means) @ whiten  # (N, C, D)
    nearest: FloatArray = -(differences**2).sum(axis=2).min(axis=1)
    return nearest


def score_clips(recognizer: Recognizer, clips: Sequence[Clip]) -> Scored:
    """Ask a recognizer of every clip: digits where the label is one of its own, else other words.

    Raises
    ------
    AudioError
        When a recording cannot be heard.
    """
    logits, embeddings, scores, seconds = [], [], [], []
    for clip in clips:
        samples, rate = read_audio(clip.file)
        heard = to_clip(samples, rate)[None]
        row, sure = recognizer.judge(heard)
        logits.append(row[0])
        scores.append(sure[0])
        embeddings.append(recognizer.embed(heard)[0])
        seconds.append(len(samples) / rate)
    labels = np.array([clip.label for clip in clips])
    heard_as = np.array(recognizer.labels)[np.argmax(logits, axis=1)]
    return Scored(
        logits=np.array(logits, np.float64),
        embeddings=np.array(embeddings, np.float64),
        scores=np.array(scores, np.float64),
        is_digit=np.isin(labels, recognizer.labels),
        correct=heard_as == labels,
        labels=labels,
        speakers=np.array([clip.speaker for clip in clips]),
        seconds=np.array(seconds),
    )


def score_noise(recognizer: Recognizer, files: Sequence[Path]) -> FloatArray:
    """Score windows of long recordings without speech: (N,); what is silence scores 0."""
    scores = []
    for file in files:
        samples = read_noise(file)
        length = round(WINDOW_S * SAMPLE_RATE)
        for start in range(0, len(samples) - length + 1, length):
            scores.append(recognizer(samples[start : start + length], SAMPLE_RATE).score)
    return np.array(scores)


def describe_rejection(evaluation: RejectionEvaluation) -> str:
    """Lay an evaluation out as text: totals, the scores compared, a line a threshold."""
    lines = [
        f"AUROC              {evaluation.auroc:6.1%}  of {evaluation.digits:,} digits against "
        f"{evaluation.others:,} other words, {evaluation.speakers:,} speakers",
        f"equal error rate   {evaluation.eer:6.1%}  at threshold {evaluation.eer_threshold:.3f}",
        "",
        f"{'score':20}{'AUROC':>8}{'EER':>8}",
        *(f"{k:20}{a:8.1%}{e:8.1%}" for k, (a, e) in evaluation.compared.items()),
        "",
        f"{'threshold':>9}{'digits accepted':>17}{'and right':>11}{'others accepted':>17}"
        f"{'alarms/h words':>16}{'alarms/h noise':>16}",
    ]
    wanted = [f"  for {share:.0%} of the digits" for share in ACCEPTED]
    notes = [*(len(evaluation.cuts) * [""]), *wanted, "  the model's own"]
    cuts = (*evaluation.cuts, *evaluation.wanted, evaluation.default)
    for cut, note in zip(cuts, notes, strict=True):
        noise = cut.noise_alarms_per_hour
        lines.append(
            f"{cut.threshold:9.3f}{cut.digits_accepted:17.1%}{cut.digits_right:11.1%}"
            f"{cut.others_accepted:17.1%}{cut.false_alarms_per_hour:16.0f}"
            f"{'' if noise is None else f'{noise:.0f}':>16}"
            f"{note}"
        )
    return "\n".join(lines)


def _finite(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"scores of {name} {array}: expected at least one, finite")
    return array
