"""Comparisons: each row of a study against its reference, what differs and how uncertain that is.

A difference, its interval and its p speak of one thing: accuracies averaged over seeds within each
speaker. Which rows are set against which is fixed in the study's file before anything is run. Needs
no torch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.lab.evaluation.metrics import (
    ALPHA,
    cluster_bootstrap,
    contrast_margins,
    holm,
    paired_margins,
    seed_margin,
    sign_flip,
    speakers_note,
    unpaired_margins,
)
from spoken_digits.lab.studies.results import (
    Comparison,
    Interval,
    McNemarTest,
    Method,
    Over,
    Row,
    Verdict,
)

__all__ = ["Contrast", "Networks", "Side", "clips_interval", "compare", "contrast", "verdict"]

FloatArray = NDArray[np.float64]

# Settings that each model has its own of: a reference may differ in them.
_OWN_SETTINGS = ("learning_rate", "weight_decay")


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a row, or one source of a row that pools single speakers.

    `accuracy` is the mean over speakers, `sd` its standard deviation over seeds; `accuracies` and
    `clips` are each speaker's, averaged over seeds.
    """

    method: Method
    accuracy: float
    sd: float | None
    seeds: int
    accuracies: Mapping[str, float]
    clips: Mapping[str, int]

    @classmethod
    def of(cls, row: Row) -> "Side":
        """Take what a comparison needs from a row."""
        return cls(
            row.method,
            row.accuracy,
            row.accuracy_sd,
            len(row.seeds),
            {name: score.accuracy for name, score in row.per_speaker.items()},
            {name: score.clips for name, score in row.per_speaker.items()},
        )


@dataclass(frozen=True)
class Networks:
    """Predictions of the networks of both sides, where they are at hand.

    `differences` holds for each speaker, for each clip, the fraction of seeds that are right less
    the reference's, in the order of the clips; None where the sides were tested on other clips.
    """

    differences: Mapping[str, ArrayLike] | None = None
    test: McNemarTest | None = None


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of accuracies, such as an interaction, with its 95 % interval.

    `over` says what the interval is over, `speakers` and `seeds` how many there are of each.
    """

    value: float
    interval: Interval
    over: str
    speakers: int
    seeds: int


def _no_networks(_: Method, __: Method) -> Networks:
    return Networks()


def compare(
    rows: Sequence[Row],
    reference: Callable[[Method], Method | None],
    networks: Callable[[Method, Method], Networks] = _no_networks,
) -> tuple[Comparison, ...]:
    """Set each row of a study against its reference, where it has one.

    With six speakers or more by a sign-flip permutation test over speakers, adjusted by Holm over
    the comparisons of a grid; with fewer by the interval of the difference over these speakers'
    clips, and over seeds.

    Parameters
    ----------
    rows
        Rows of the study.
    reference
        The method that another is compared with; what each model has its own of (learning rate,
        weight decay) need not agree. A `single:<name>` that is no row is looked for among the
        sources of a row that pools single speakers.
    networks
        Predictions of two methods' networks; without them intervals over clips are unpaired.
    """
    found = []
    for row in rows:
        wanted = reference(row.method)
        other = None if wanted is None else _side(rows, wanted)
        if other is not None and other.method != row.method:
            found.append(_compare(Side.of(row), other, networks(row.method, other.method)))
    return _adjusted(found)


def clips_interval(
    side: Side, other: Side, differences: Mapping[str, ArrayLike] | None = None
) -> tuple[Interval, Over]:
    """Return the 95 % interval of a difference for these speakers, and what it is over.

    Over clips: the margins of `metrics.unpaired_margins`, or of `metrics.paired_margins` where the
    `differences` of each clip are at hand. Over seeds: `metrics.seed_margin`, added in squares; it
    is left out where a side has one seed.
    """
    names = sorted(side.accuracies)
    rates, others = ([each.accuracies[name] for name in names] for each in (side, other))
    if differences is None:
        clips = [min(side.clips[name], other.clips[name]) for name in names]
        below, above = unpaired_margins(rates, others, clips)
    else:
        below, above = paired_margins(differences)
    over_seeds = seed_margin((side.sd, other.sd), (side.seeds, other.seeds))
    difference = float(np.mean(np.subtract(rates, others)))
    interval = _interval(difference, below, above, over_seeds)
    return interval, "clips" if over_seeds is None else "clips and seeds"


def _interval(value: float, below: float, above: float, over_seeds: float | None) -> Interval:
    """Return the interval that margins to either side make, that over seeds added in squares."""
    low, high = (float(np.hypot(margin, over_seeds or 0.0)) for margin in (below, above))
    return value - low, value + high


def contrast(terms: Sequence[tuple[float, Row]]) -> Contrast:
    """Return a weighted sum of rows' accuracies, tested on the same speakers.

    With six speakers or more its interval is a bootstrap over speakers of each one's own sum, with
    fewer it is over these speakers' clips (`metrics.contrast_margins`, not paired). The margin over
    seeds (`metrics.seed_margin`) is added in squares; it is left out where a row has one seed.

    Raises
    ------
    ValueError
        When rows were tested on different speakers.
    """
    weights, rows = zip(*terms, strict=True)
    names = sorted(rows[0].per_speaker)
    for row in rows:
        if sorted(row.per_speaker) != names:
            raise ValueError(
                f"{row.method} was tested on {', '.join(sorted(row.per_speaker))}, expected "
                f"{', '.join(names)}, as the other rows of its contrast; run the study again"
            )
    rates = [[row.per_speaker[name].accuracy for name in names] for row in rows]
    sums = np.dot(weights, rates)  # (K,)
    value = float(sums.mean())
    if speakers_note(len(names)) is None:
        low, high = cluster_bootstrap(sums, np.random.default_rng(0))
        (below, above), over = (value - low, high - value), "speakers"
    else:
        clips = [min(row.per_speaker[name].clips for row in rows) for name in names]
        (below, above), over = contrast_margins(rates, weights, clips), "clips"
    counts = [len(row.seeds) for row in rows]
    seeds = seed_margin([row.accuracy_sd for row in rows], counts, weights)
    over += "" if seeds is None else " and seeds"
    interval = _interval(value, below, above, seeds)
    return Contrast(value, interval, over, len(names), min(counts))


def verdict(difference: float, interval: Interval, p_holm: float | None) -> Verdict:
    """Return what a comparison shows: by its adjusted p, where there is one, or by its interval."""
    low, high = interval
    shown = p_holm < ALPHA if p_holm is not None else low > 0 or high < 0
    if not shown:
        return "no significant difference"
    return "improves" if difference > 0 else "worsens"


def _compare(side: Side, other: Side, networks: Networks) -> Comparison:
    names = sorted(side.accuracies)
    if names != sorted(other.accuracies):
        raise ValueError(
            f"{side.method} was tested on {', '.join(names)}, its reference on "
            f"{', '.join(sorted(other.accuracies))}: expected the same speakers; fix the reference "
            "in the study"
        )
    differences = np.array([side.accuracies[name] - other.accuracies[name] for name in names])
    few = speakers_note(len(names)) is not None
    over: Over = "speakers"
    # A generator for each pair, so that no comparison depends on which others there are.
    interval = cluster_bootstrap(differences, np.random.default_rng(0))
    if few:
        interval, over = clips_interval(side, other, networks.differences)
    return Comparison(
        method=side.method,
        reference=other.method,
        accuracy=side.accuracy,
        reference_accuracy=other.accuracy,
        difference=float(differences.mean()),
        interval=interval,
        over=over,
        paired=over != "speakers" and networks.differences is not None,
        speakers=len(names),
        seeds=min(side.seeds, other.seeds),
        p=None if few else sign_flip(differences, np.random.default_rng(0)),
        p_holm=None,
        family_size=1,
        verdict="no significant difference",  # until p is adjusted
        networks=networks.test,
    )


def _adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Adjust each p over the tests of its grid, and draw the verdicts."""
    tested: dict[str, list[int]] = {}
    for position, comparison in enumerate(comparisons):
        if comparison.p is not None:
            tested.setdefault(comparison.method.grid, []).append(position)
    adjusted = list(comparisons)
    for family in tested.values():
        p_values = [p for i in family if (p := comparisons[i].p) is not None]
        for position, p_holm in zip(family, holm(p_values), strict=True):
            adjusted[position] = replace(
                comparisons[position], p_holm=p_holm, family_size=len(family)
            )
    return tuple(
        replace(each, verdict=verdict(each.difference, each.interval, each.p_holm))
        for each in adjusted
    )


def _side(rows: Iterable[Row], wanted: Method) -> Side | None:
    """Find the row of a method, or the source of a row that stands for it."""
    family, _, source = wanted.split.partition(":")
    alike = [row for row in rows if _alike(row.method, wanted)]
    for row in sorted(alike, key=lambda row: row.method != wanted):  # the same settings first
        return Side.of(row)
    pooled = replace(wanted, split=family)
    for row in rows:
        if family == "single" and source in (row.sources or {}) and _alike(row.method, pooled):
            return _source_side(row, source)
    return None


def _source_side(row: Row, name: str) -> Side | None:
    assert row.sources is not None
    source = row.sources[name]
    # A source's clips are tested by one network a seed; the row counts them for every source.
    clips = {
        speaker: row.per_speaker[speaker].clips // (len(row.sources) - 1)
        for speaker in source.per_speaker
    }
    return Side(
        replace(row.method, split=f"single:{name}"),
        source.accuracy,
        source.accuracy_sd,
        len(row.seeds),
        source.per_speaker,
        clips,
    )


def _alike(method: Method, wanted: Method) -> bool:
    settings = {key: getattr(wanted, key) for key in _OWN_SETTINGS}
    return replace(method, **settings) == wanted
