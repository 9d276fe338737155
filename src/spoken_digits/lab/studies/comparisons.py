"""Comparisons: which rows of a study are set against which, what the tests say, and the answer.

Which pairs a study makes is fixed in `PAIRINGS` before anything is run. Needs no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spoken_digits.lab.evaluation.metrics import (
    Predictions,
    cluster_bootstrap,
    holm,
    mcnemar,
    sign_flip,
    speakers_note,
)

__all__ = ["FACTORS", "PAIRINGS", "answers", "compare"]

Row = Mapping[str, Any]

ALPHA = 0.05
# What tells the rows of a study apart, the key under which a row's partner is looked up.
FACTORS = (
    "grid",
    "task",
    "model",
    "front_end",
    "split",
    "augmentation",
    "extra",
    "objective",
    "condition",
)
_STARTS = {"probe": "untrained", "knn": "untrained"}
_START_WORDS = {
    "probe": "Linear probe after pre-training",
    "knn": "Nearest neighbours after pre-training",
    "untrained": "A probe of the untrained network",
    "clusters": "Linear probe after clusters were learned,",
    "finetune": "Fine-tuned",
    "scratch": "From scratch",
}


def compare(
    study: str,
    rows: Sequence[Row],
    reference: Row,
    networks: Callable[[Row, int], Predictions | None],
) -> list[dict[str, Any]]:
    """Set each row of a study against its partner, where it has one.

    Two networks, of the first seed that both have, by exact McNemar; the two methods by their
    difference over speakers, with its cluster bootstrap, and from six speakers on by sign flips.
    Both kinds of p are adjusted by Holm over each grid of the study.

    Parameters
    ----------
    study
        Name of the study, a key of `PAIRINGS` or another.
    rows
        Rows of its summary.
    reference
        The row that the others are compared with where the study has no pairing of its own.
    networks
        The predictions of a row's network of one seed; None where there were several.

    Returns
    -------
    One dictionary a pair. `difference` is the partner's accuracy minus the row's, both averaged
    over seeds and then speakers. `shown` says whether it is one: p over speakers (Holm) below 0.05
    or, with too few speakers for that, McNemar's, which then speaks of these speakers alone.
    """
    rows_by_key = {_key(row): row for row in rows}
    pairing = PAIRINGS.get(study)
    pairs = []
    for row in rows:
        change = pairing(row) if pairing else {k: reference[k] for k in ("model", "front_end")}
        partner = rows_by_key.get(_key({**row, **change}))
        if partner is not None and partner is not row and _seed(row, partner) is not None:
            pairs.append((row, partner))
    tests = [_compare(row, partner, networks) for row, partner in pairs]
    for grid in dict.fromkeys(test["grid"] for test in tests):
        family = [test for test in tests if test["grid"] == grid]
        for key in ("p", "sign_flip_p"):
            tested = [test for test in family if test[key] is not None]
            for test, p in zip(tested, holm([test[key] for test in tested]), strict=True):
                test[f"{key}_holm"] = p
    for test in tests:
        p = test["p_holm"] if test["sign_flip_p_holm"] is None else test["sign_flip_p_holm"]
        agreeing = test["only_other"] is None or (
            (test["only_reference"] - test["only_other"]) * test["difference"] > 0
        )
        test["shown"] = bool(p is not None and p < ALPHA and agreeing)
    return tests


def _compare(
    row: Row, partner: Row, networks: Callable[[Row, int], Predictions | None]
) -> dict[str, Any]:
    seed = _seed(row, partner)
    assert seed is not None
    first, second = networks(partner, seed), networks(row, seed)
    test = None if first is None or second is None else mcnemar(first, second)
    differences = _by_speaker(partner) - _by_speaker(row)
    # A generator for each pair, so that none depends on which others there are.
    generator = np.random.default_rng(0)
    n_speakers = len(differences)
    return {
        "title": row["title"],
        "reference": partner["title"],
        **{factor: row[factor] for factor in FACTORS},
        "changed": {f: partner[f] for f in FACTORS if partner[f] != row[f]},
        "seed": seed,
        "only_reference": test.only_first if test else None,
        "only_other": test.only_second if test else None,
        "p": test.p if test else None,
        "p_holm": None,
        "accuracy": row["accuracy_mean"],
        "reference_accuracy": partner["accuracy_mean"],
        "difference": float(differences.mean()),
        "difference_interval": cluster_bootstrap(differences, generator),
        "speakers": n_speakers,
        "smallest_sign_flip_p": 2 / 2**n_speakers,
        "sign_flip_p": None
        if speakers_note(n_speakers)
        else sign_flip(differences, np.random.default_rng(0)),
        "sign_flip_p_holm": None,
    }


def answers(study: str, rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Answer a study's question in plain sentences, a line or more, from its numbers alone."""
    sentences = _ANSWERS.get(study, _by_model)(rows, comparisons)
    return "\n".join(sentence for sentence in sentences if sentence)


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[factor] for factor in FACTORS)


def _seed(row: Row, partner: Row) -> int | None:
    both = sorted(set(row["seeds"]) & set(partner["seeds"]))
    return both[0] if both else None


def _by_speaker(row: Row) -> NDArray[np.float64]:
    return np.array([score["accuracy"] for _, score in sorted(row["per_speaker"].items())])


# Words


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _verdict(test: Mapping[str, Any]) -> str:
    """Say what a comparison shows, in brackets."""
    over_speakers = test["sign_flip_p_holm"] is not None
    p = test["sign_flip_p_holm"] if over_speakers else test["p_holm"]
    points = f"{-100 * test['difference']:+.1f} points"
    if p is None:
        return f"{points}, {test['speakers']} speakers are too few for a test"
    value = "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
    whose = f"over {test['speakers']} speakers" if over_speakers else "for these speakers only"
    if not test["shown"]:
        return f"no difference shown: {points}, {value} {whose}"
    return f"{points}, {value} {whose}"


def _against(test: Mapping[str, Any]) -> str:
    return (
        f"{_percent(test['accuracy'])} % against {_percent(test['reference_accuracy'])} % "
        f"({_verdict(test)})"
    )


def _worst(row: Row) -> str:
    speaker = row["worst_speaker"]
    return f"{speaker} {_percent(row['per_speaker'][speaker]['accuracy'])} %"


def _by_model(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    best = max(rows, key=lambda row: row["accuracy_mean"])
    lines = [
        f"{best['title']} is best: {_percent(best['accuracy_mean'])} % of the digits of voices it "
        f"has never heard, {_worst(best)} the worst of them."
    ]
    if comparisons and best["title"] == comparisons[0]["reference"]:
        nearest = min(comparisons, key=lambda test: test["difference"])
        difference = f"{100 * nearest['difference']:.1f} points behind"
        if not nearest["shown"]:
            difference = f"no difference shown ({difference})"
        lines.append(f"Next is {nearest['title']}, {difference}.")
        unlike = [test["title"] for test in comparisons if not test["shown"]]
        if unlike and unlike != [nearest["title"]]:
            lines.append(f"No difference shown from {', '.join(unlike)}.")
    return lines


def _label(test: Mapping[str, Any]) -> str:
    """Name what a row has that its partner has not."""
    return " ".join(str(test[factor]) for factor in test["changed"])


def _by_change(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Take each block of rows that have the same partner: what helps, what harms, what neither."""
    blocks: dict[str, list[Mapping[str, Any]]] = {}
    for test in comparisons:
        blocks.setdefault(test["reference"], []).append(test)
    n_seeds = {row["title"]: len(row["seeds"]) for row in rows}
    most = max((n_seeds[reference] for reference in blocks), default=1)
    lines = []
    # What several seeds claim comes first, and of that what hears most.
    for reference, tests in sorted(
        blocks.items(),
        key=lambda block: (-n_seeds[block[0]], -max(test["accuracy"] for test in block[1])),
    ):
        best = min(tests, key=lambda test: test["difference"])
        verb = "does best" if best["difference"] < 0 else "does least harm"
        is_hint = n_seeds[reference] < most  # of which the tables tell the rest
        opening = "One seed, against" if is_hint else "Against"
        line = f"{opening} {reference}: {_label(best)} {verb}, {_against(best)}"
        others = [test for test in tests if test is not best]
        helps = [_label(t) for t in others if t["shown"] and t["difference"] < 0]
        harms = [_label(t) for t in others if t["shown"] and t["difference"] > 0]
        neither = [_label(t) for t in others if not t["shown"]]
        if is_hint:
            counts = f"{len(helps)} of {len(others)} others shown to help, {len(harms)} to do harm"
            lines.append(f"{line}; {counts}." if others else f"{line}.")
            continue
        told = [
            f"{words}: {', '.join(labels)}."
            for words, labels in (
                ("Shown to help", helps),
                ("Shown to do harm", harms),
                ("No difference shown", neither),
            )
            if labels
        ]
        lines.append(" ".join([f"{line}.", *told]))
    return lines


def _by_source(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    several = len({row["model"] for row in rows}) > 1

    def means(row: Mapping[str, Any]) -> str:
        with_voices = "" if row["extra"] == "none" else f" and {row['extra']}"
        return f"{row['augmentation']}{with_voices}" + (f", {row['model']}" if several else "")

    lines = []
    # What more seeds tell comes first, and of that what holds for any one voice.
    pooled = sorted(
        rows,
        key=lambda row: (
            -len(row["seeds"]),
            -len(row.get("sources") or {}),
            -row["accuracy_mean"],
        ),
    )
    for row in pooled:
        share = f"{_percent(row['accuracy_mean'])} % of other voices' digits"
        if len(sources := row.get("sources") or {}) > 1:
            worst = min(sources, key=lambda name: sources[name]["accuracy"])
            line = (
                f"One voice ({means(row)}): {share} as a mean of {len(sources)} sources, worst "
                f"when learning from {worst} ({_percent(sources[worst]['accuracy'])} %)"
            )
        else:
            line = f"{next(iter(sources), row['split']).capitalize()} alone ({means(row)}): {share}"
        tests = [test for test in comparisons if test["title"] == row["title"]]
        line += "".join(f"; against {_partner(test)}: {_verdict(test)}" for test in tests)
        lines.append(f"{line}.")
    return lines


def _partner(test: Mapping[str, Any]) -> str:
    """Name what a row's partner has that the row has not."""
    return " ".join(str(value) for key, value in test["changed"].items() if key != "grid")


def _by_labels(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [_without_labels(rows)]
    for test in comparisons:
        if test["task"] == "contrastive":
            words = f"{_START_WORDS[test['condition'].partition('-')[0]]}{_labels(test)}"
            by = " (pre-trained with labels)" if test["grid"] == "supervised" else ""
            against = _START_WORDS[test["changed"]["condition"].partition("-")[0]].lower()
            lines.append(f"{words}{by} beside {against}: {_against(test)}.")
        else:
            lines.append(f"{test['title']} beside {test['reference']}: {_against(test)}.")
    plain = [row for row in rows if row["task"] != "contrastive"]
    lines += [
        f"All labels, {row['objective']}, {row['augmentation']}: "
        f"{_percent(row['accuracy_mean'])} %."
        for row in plain
    ]
    return lines


def _without_labels(rows: Sequence[Row]) -> str:
    """Say what a linear probe hears of what was learned without labels."""
    probed = {row["condition"]: row for row in rows if row.get("grid", "results") == "results"}
    parts = [
        f"{words} {_percent(probed[condition]['accuracy_mean'])} %"
        for condition, words in (
            ("untrained", "untrained"),
            ("probe", "after contrastive pre-training"),
            ("clusters-all", "after its clusters were learned as well"),
        )
        if condition in probed
    ]
    lead = "Digits that a linear probe hears, where nothing before it saw a label"
    return f"{lead}: {', '.join(parts)}." if parts else ""


def _labels(test: Mapping[str, Any]) -> str:
    """Tell with how many labels a network was trained, where that is what a condition says."""
    count = test["condition"].partition("-")[2]
    if not count:
        return ""
    return f" with {count} {'label' if count == '1' else 'labels'} a digit and speaker"


def _by_speakers(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"{row['title']}: {_percent(row['accuracy_mean'])} % on average over "
        f"{len(row['per_speaker'])} speakers left out in turn, {_worst(row)} the worst."
        for row in rows
    ]
    lines += [f"{t['title']} against {t['reference']}: {_verdict(t)}." for t in comparisons]
    return lines


def _by_condition(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    methods: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        methods.setdefault(_method(row), []).append(row)
    if not methods:
        return []
    best = max(methods.values(), key=_mean_accuracy)
    name = best[0]["title"].removesuffix(f", {best[0]['condition']}")
    kinds: dict[str, dict[str, str]] = {}
    for row in best:
        kind, _, level = row["condition"].partition("-")
        kinds.setdefault(kind, {})[level] = _percent(row["accuracy_mean"])
    heard = [
        f"with {kind} noise of {', '.join(shares)} dB {', '.join(shares.values())}"
        if "" not in shares
        else f"{kind} {', '.join(shares.values())}"
        for kind, shares in kinds.items()
    ]
    lines = [f"{name} stands most, in %: {'; '.join(heard)}."]
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for test in comparisons:
        key = test["model"], _label(test), _partner(test)
        groups.setdefault(key, []).append(test)
    for (_, label, other), tests in groups.items():
        model = tests[0]["title"].partition(",")[0]
        worse = [t["condition"] for t in tests if t["shown"] and t["difference"] > 0]
        neither = [t["condition"] for t in tests if not t["shown"]]
        n_better = len(tests) - len(worse) - len(neither)
        line = f"{model}, {label} against {other}: better in {n_better} of {len(tests)} conditions"
        line += f"; worse: {', '.join(worse)}" if worse else ""
        line += f"; no difference shown: {', '.join(neither)}" if neither else ""
        lines.append(f"{line}.")
    return lines


def _mean_accuracy(rows: Sequence[Row]) -> float:
    return float(np.mean([row["accuracy_mean"] for row in rows]))


def _method(row: Row) -> tuple[Any, ...]:
    return tuple(row[factor] for factor in FACTORS if factor != "condition")


def _contrastive_partner(row: Row) -> Mapping[str, Any]:
    start, _, labels = row["condition"].partition("-")
    if start in ("clusters", "finetune"):
        return {"condition": f"scratch-{labels}"}
    if row["condition"] in _STARTS:
        return {"condition": _STARTS[row["condition"]]}
    return {"objective": "cross-entropy"}


def _noise_partner(row: Row) -> Mapping[str, Any]:
    return {"augmentation": "none"} if row["augmentation"] != "none" else {}


# How a row becomes the one that it is set against; studies that are not here set every row against
# the strong model's.
PAIRINGS: dict[str, Callable[[Row], Mapping[str, Any]]] = {
    "augmentation": lambda _: {"augmentation": "none"},
    "one-voice": lambda _: {"augmentation": "basic", "extra": "none", "grid": "results"},
    "contrastive": _contrastive_partner,
    "leave-one-out": lambda _: {"objective": "cross-entropy"},
    "noise": _noise_partner,
}

_ANSWERS: dict[str, Callable[[Sequence[Row], Sequence[Mapping[str, Any]]], list[str]]] = {
    "augmentation": _by_change,
    "one-voice": _by_source,
    "contrastive": _by_labels,
    "leave-one-out": _by_speakers,
    "noise": _by_condition,
}
