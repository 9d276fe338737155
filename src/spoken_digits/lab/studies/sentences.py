"""Words for results: measure, condition, number, interval and verdict, in this order.

What the studies' own files make their sentences and cells of; every number comes from a `Row` or a
`Comparison`.
"""

from collections.abc import Iterable

from spoken_digits.lab.studies.presentation import Cell
from spoken_digits.lab.studies.results import Comparison, Interval, Provenance, Row, Verdict
from spoken_digits.lab.studies.titles import number

__all__ = [
    "MAX_NAMED_SPEAKERS",
    "accuracy_cell",
    "accuracy_words",
    "change_cell",
    "change_note",
    "comparison_sentence",
    "difference_words",
    "listed",
    "p_words",
    "percent",
    "points",
    "provenance_words",
    "tally",
    "verdict_words",
]

MAX_NAMED_SPEAKERS = 12
VERDICTS: tuple[Verdict, ...] = ("improves", "worsens", "no significant difference")


def percent(fraction: float) -> str:
    """Write a fraction in percent: "93.8"."""
    return f"{100 * fraction:.1f}"


def points(difference: float) -> str:
    """Write a difference of fractions in points, with its sign: "+5.6"."""
    return f"{100 * difference:+.1f}"


def p_words(p: float) -> str:
    """Write a p-value: "p = 0.31", "p < 0.0001"."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def accuracy_words(row: Row) -> str:
    """Write a row's accuracy with its interval: over speakers from six on, else over clips."""
    n_seeds = len(row.seeds)
    seeds = f"mean of {n_seeds} seeds" if n_seeds > 1 else "one seed"
    over_speakers = len(row.per_speaker) >= 6
    interval = row.speaker_interval if over_speakers else row.wilson_interval
    over = "over speakers" if over_speakers else "over clips"
    return f"{percent(row.accuracy)} % ({seeds}; 95 % interval {over} {_span(interval)})"


def difference_words(comparison: Comparison) -> str:
    """Write a difference: "+5.6 points (95 % interval +1.2 to +10.0 over clips and seeds)"."""
    low, high = comparison.interval
    return (
        f"{points(comparison.difference)} points (95 % interval {points(low)} to {points(high)} "
        f"over {comparison.over})"
    )


def verdict_words(comparison: Comparison) -> str:
    """Write the verdict and of whom it holds, with the name of the test where there is one.

    "improves for these two speakers"; "no significant difference (sign-flip permutation test over 6
    speakers, p = 0.31)".
    """
    if comparison.p_holm is None:
        few = f"{comparison.verdict} for these {number(comparison.speakers)} speakers"
        return f"{few} (one seed)" if comparison.seeds == 1 else few
    adjusted = (
        f", Holm over {comparison.family_size} comparisons" if comparison.family_size > 1 else ""
    )
    return (
        f"{comparison.verdict} (sign-flip permutation test over {comparison.speakers} speakers, "
        f"{p_words(comparison.p_holm)}{adjusted})"
    )


def comparison_sentence(comparison: Comparison, condition: str, reference: str) -> str:
    """Say what a comparison shows.

    "Accuracy, CONDITION: 93.1 % against 91.4 % REFERENCE, +1.7 points (95 % interval -0.8 to +4.2
    over clips and seeds): no significant difference for these two speakers."
    """
    return (
        f"Accuracy, {condition}: {percent(comparison.accuracy)} % against "
        f"{percent(comparison.reference_accuracy)} % {reference}, {difference_words(comparison)}: "
        f"{verdict_words(comparison)}."
    )


def tally(named: Iterable[tuple[str, Comparison]]) -> str:
    """List names by verdict: "Improves: basic; worsens: strong.", empty without comparisons."""
    groups: dict[Verdict, list[str]] = {}
    for name, comparison in named:
        groups.setdefault(comparison.verdict, []).append(name)
    parts = [f"{verdict}: {listed(groups[verdict])}" for verdict in VERDICTS if verdict in groups]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def listed(names: Iterable[str]) -> str:
    """Join names: "light, basic and strong"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def accuracy_cell(row: Row | None) -> Cell:
    """Return accuracy in percent, with its standard deviation over seeds; a dash for None."""
    if row is None:
        return Cell("-")
    spread = "" if row.accuracy_sd is None else f" ± {percent(row.accuracy_sd)}"
    return Cell(f"{percent(row.accuracy)}{spread}")


def change_cell(comparison: Comparison | None) -> Cell:
    """Return the difference in points, with its interval and verdict; a dash for None."""
    if comparison is None:
        return Cell("-")
    low, high = comparison.interval
    text = f"{points(comparison.difference)} ({points(low)} to {points(high)})"
    return Cell(text, comparison.verdict)


def change_note(comparisons: Iterable[Comparison]) -> str:
    """Say what the intervals of changes are over and of whom they hold, below a table."""
    kinds: dict[tuple[bool, str, bool], set[int]] = {}
    for c in comparisons:
        kinds.setdefault((c.p_holm is None, c.over, c.paired), set()).add(c.speakers)
    notes = []
    for (untested, over, paired), counts in sorted(kinds.items()):
        speakers = " or ".join(number(count) for count in sorted(counts))
        if untested:
            how = "paired" if paired else "unpaired, Newcombe's hybrid score interval"
            notes.append(
                f"over {over} of {speakers} speakers ({how}; they hold for these speakers only, "
                "each on its own: there is no test for speakers in general)"
            )
        else:
            notes.append(
                f"over {speakers} speakers (bootstrap; verdicts by a sign-flip permutation test, "
                "p adjusted by Holm)"
            )
    return f"Changes in points, in brackets their 95 % intervals {'; '.join(notes)}."


def provenance_words(provenance: Provenance) -> str:
    """Say where numbers come from, in one line with short hashes."""
    commits = ", ".join(commit[:7] for commit in provenance.commits)
    seeds = ", ".join(map(str, provenance.seeds))
    speakers = provenance.test_speakers
    whom = (
        listed(speakers) if len(speakers) <= MAX_NAMED_SPEAKERS else f"{len(speakers):,} speakers"
    )
    return (
        f"Made by `{provenance.command}`, seeds {seeds}, "
        f"commit{'s' * (len(provenance.commits) > 1)} {commits}; {provenance.clips_tested:,} clips "
        f"of {whom} tested; corpus {provenance.corpus} "
        f"({provenance.licence}), SHA-256 {provenance.sha256[:12]}."
    )


def _span(interval: Interval) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"
