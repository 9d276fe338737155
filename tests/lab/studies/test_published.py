"""What results/ publishes: every comparison and every sentence recomputed from the rows.

The files are read as plain JSON, and the statistics come from statsmodels, scipy's distributions
and loops written out here: nothing of the code under test.
"""

import itertools
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from spoken_digits.lab.studies.comparisons import compare
from spoken_digits.lab.studies.registry import STUDIES
from spoken_digits.lab.studies.results import read_result
from spoken_digits.lab.studies.titles import (
    augmentation_title,
    condition_title,
    model_title,
    objective_title,
    training_title,
)

RESULTS = Path(__file__).parents[3] / "results"
SETTINGS = ("learning_rate", "weight_decay")
CHANGE = re.compile(
    r"(?P<ours>[\d.]+) % against (?P<other>[\d.]+) % .+?, (?P<points>[+-][\d.]+) points "
    r"\(95 % interval (?P<low>[+-][\d.]+) to (?P<high>[+-][\d.]+) over (?P<over>[a-z ]+)\): "
    r"(?P<verdict>improves|worsens|no significant difference)"
    r"( for these (?P<few>two|five) speakers(?P<one> \(one seed\))?"
    r"| \(sign-flip permutation test over (?P<many>\d) speakers, p [=<] (?P<p>[\d.]+)"
    r"(, Holm over (?P<family>\d+) comparisons)?\))\."
)


@cache
def plain(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def key(method, **changes):
    method = {**method, **changes}
    return json.dumps({k: v for k, v in method.items() if k not in SETTINGS}, sort_keys=True)


def side(result, method):
    """Accuracies of a method by speaker, averaged over seeds; clips; deviation and number of seeds.

    Of a row, or of one source of a row that pools single speakers.
    """
    for row in result["rows"]:
        if key(row["method"]) == key(method):
            table = row["per_speaker_seed"]
            by_seed = np.mean(list(table.values()), axis=0)
            sd = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
            clips = {s: score["clips"] for s, score in row["per_speaker"].items()}
            return {s: float(np.mean(v)) for s, v in table.items()}, clips, sd, len(by_seed)
    family, _, source = method["split"].partition(":")
    (row,) = (r for r in result["rows"] if key(r["method"]) == key(method, split=family))
    told = row["sources"][source]
    return told["per_speaker"], dict.fromkeys(told["per_speaker"], 500), told["accuracy_sd"], 5


def over_clips_and_seeds(ours, other):
    """Newcombe's margins of each speaker and Welch's of the seeds, added in squares."""
    (p, clips, sd, n), (q, _, other_sd, other_n) = ours, other
    below = above = 0.0
    for s in p:
        low, high = confint_proportions_2indep(
            p[s] * clips[s], clips[s], q[s] * clips[s], clips[s], method="newcomb", compare="diff"
        )
        below += (p[s] - q[s] - low) ** 2 / len(p) ** 2
        above += (high - p[s] + q[s]) ** 2 / len(p) ** 2
    seeds = 0.0
    if sd is not None and other_sd is not None and sd + other_sd > 0:
        a, b = sd**2 / n, other_sd**2 / other_n
        freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (other_n - 1))
        seeds = stats.t.ppf(0.975, freedom) ** 2 * (a + b)
    difference = np.mean([p[s] - q[s] for s in p])
    return difference - np.sqrt(below + seeds), difference + np.sqrt(above + seeds)


def signs(differences):
    """Every pattern of signs, one after the other."""
    observed, count, patterns = abs(sum(differences)), 0, 0
    for pattern in itertools.product([1, -1], repeat=len(differences)):
        total = abs(sum(s * d for s, d in zip(pattern, differences, strict=True)))
        count += total >= observed - 1e-12
        patterns += 1
    return count / patterns


@cache
def recomputed(name):
    """Recompute each comparison of a study from its rows, in the order of its file."""
    result = plain(name)
    found = []
    for c in result["comparisons"]:
        ours, other = (side(result, c[k]) for k in ("method", "reference"))
        differences = [ours[0][s] - other[0][s] for s in sorted(ours[0])]
        few = len(differences) < 6
        found.append(
            {
                "method": c["method"],
                "accuracy": np.mean(list(ours[0].values())),
                "reference_accuracy": np.mean(list(other[0].values())),
                "difference": np.mean(differences),
                "speakers": len(differences),
                "seeds": min(ours[3], other[3]),
                "p": None if few else signs(differences),
                "differences": differences,
                "interval": over_clips_and_seeds(ours, other) if few else None,
            }
        )
    for grid in {f["method"]["grid"] for f in found}:
        tested = [f for f in found if f["method"]["grid"] == grid and f["p"] is not None]
        adjusted = multipletests([f["p"] for f in tested], method="holm")[1] if tested else []
        for f, p in zip(tested, adjusted, strict=True):
            f["p_holm"], f["family"] = p, len(tested)
    for f in found:
        if f["p"] is None:
            shown = f["interval"][0] > 0 or f["interval"][1] < 0
        else:
            shown = f["p_holm"] < 0.05
        way = "improves" if f["difference"] > 0 else "worsens"
        f["verdict"] = way if shown else "no significant difference"
    return found


def test_every_study_has_its_result():
    for name, study in STUDIES.items():
        if study.reference:
            assert plain(name)["study"] == name
            assert plain(name)["comparisons"]


NAMES = ("models", "augmentation", "one-speaker", "contrastive", "leave-one-out", "noise")


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_means_of_their_speakers_and_seeds(name):
    result = plain(name)
    for row in result["rows"] + result["inner"]:
        table = np.array(list(row["per_speaker_seed"].values()))
        assert row["accuracy"] == pytest.approx(table.mean(), abs=1e-12)
        assert row["per_seed"] == pytest.approx(list(table.mean(axis=0)))
        if len(row["seeds"]) > 1:
            assert row["accuracy_sd"] == pytest.approx(table.mean(axis=0).std(ddof=1))
        for speaker, score in row["per_speaker"].items():
            mean = np.mean(row["per_speaker_seed"][speaker])
            assert score["accuracy"] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_comparison_follows_from_its_rows(name):
    for c, expected in zip(plain(name)["comparisons"], recomputed(name), strict=True):
        for field in ("accuracy", "reference_accuracy", "difference"):
            assert c[field] == pytest.approx(expected[field], abs=1e-12)
        assert (c["speakers"], c["seeds"]) == (expected["speakers"], expected["seeds"])
        assert c["verdict"] == expected["verdict"]
        if expected["p"] is None:
            assert (c["p"], c["p_holm"], c["paired"]) == (None, None, False)
            assert c["interval"] == pytest.approx(expected["interval"], abs=1e-9)
            assert c["over"] == ("clips and seeds" if c["seeds"] > 1 else "clips")
        else:
            assert c["p"] == pytest.approx(expected["p"])
            assert c["p_holm"] == pytest.approx(expected["p_holm"])
            assert (c["family_size"], c["over"]) == (expected["family"], "speakers")
            # All 6**6 resamples of speakers.
            draws = itertools.product(expected["differences"], repeat=6)
            exact = np.quantile([sum(draw) / 6 for draw in draws], [0.025, 0.975])
            assert c["interval"] == pytest.approx(exact, abs=0.002)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_gives_the_comparisons_that_are_published(name):
    result = read_result(RESULTS / f"{name}.json")
    again = compare(result.rows, STUDIES[name].reference)
    assert again == tuple(replace(c, networks=None) for c in result.comparisons)


@cache
def sentences(name):
    return STUDIES[name].sentences(read_result(RESULTS / f"{name}.json"))


def words_of(method):
    """Return what a sentence on a method may name it by."""
    return {
        augmentation_title(method.augmentation),
        condition_title(method.condition),
        objective_title(method.objective),
        model_title(method.model),
    }


def told(f):
    """Write the numbers of a recomputed comparison as a sentence gives them."""
    return tuple(
        f"{100 * f[k]:{form}}"
        for k, form in (("accuracy", ".1f"), ("reference_accuracy", ".1f"), ("difference", "+.1f"))
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_change_that_a_sentence_tells_is_in_the_rows(name):
    result = read_result(RESULTS / f"{name}.json")
    found = 0
    for sentence in sentences(name):
        assert ("points" in sentence) == bool(CHANGE.search(sentence))
        match = CHANGE.search(sentence)
        if match is None:
            continue
        found += 1
        numbers = match["ours"], match["other"], match["points"]
        alike = [
            (f, c)
            for f, c in zip(recomputed(name), result.comparisons, strict=True)
            if told(f) == numbers and any(word in sentence for word in words_of(c.method))
        ]
        assert alike, sentence
        assert any(matches(match, f) for f, _ in alike), sentence
        # The sign of the change is that of the two figures before it.
        rounded = float(match["ours"]) - float(match["other"])
        assert rounded * float(match["points"]) >= 0
        if match["verdict"] != "no significant difference":
            assert (match["verdict"] == "improves") == (float(match["points"]) > 0)
    assert found


def matches(match, f):
    """Whether interval, verdict and test of a sentence are those that were recomputed."""
    if match["verdict"] != f["verdict"]:
        return False
    low, high = float(match["low"]), float(match["high"])
    if match["few"]:
        expected = {"two": 2, "five": 5}[match["few"]]
        over = "clips and seeds" if f["seeds"] > 1 else "clips"
        return (
            f["speakers"] == expected
            and match["over"] == over
            and bool(match["one"]) == (f["seeds"] == 1)
            and [low, high] == pytest.approx([100 * x for x in f["interval"]], abs=0.051)
        )
    return (
        match["over"] == "speakers"
        and int(match["many"]) == f["speakers"] == 6
        and float(match["p"]) == pytest.approx(f["p_holm"], abs=0.006)
        and int(match["family"] or 1) == f["family"]
        and low <= 100 * f["difference"] <= high
    )


def test_the_best_model_and_how_many_are_worse():
    result, (first, nearest, rest) = plain("models"), sentences("models")
    best = max(result["rows"], key=lambda row: np.mean(list(row["per_speaker_seed"].values())))
    means = {s: np.mean(v) for s, v in best["per_speaker_seed"].items()}
    low, high = proportion_confint(np.mean(list(means.values())) * 1000, 1000, method="wilson")
    worst = min(means, key=means.get)
    assert best["method"]["model"] == "cnn"
    assert (
        f"{100 * np.mean(list(means.values())):.1f} % (mean of 5 seeds; 95 % interval over clips "
        f"{100 * low:.1f} to {100 * high:.1f}); {worst}, the worst speaker, "
        f"{100 * means[worst]:.1f} %."
    ) in first
    found = recomputed("models")
    second = max(found, key=lambda f: f["difference"])
    assert f"{100 * second['accuracy']:.1f} % against" in nearest
    worse = sum(f["verdict"] == "worsens" for f in found if f is not second)
    assert worse == len(found) - 1
    assert rest.startswith(f"Each of the {worse} others is worse than ")
    assert rest.endswith(" for these two speakers.")


def test_what_augmentation_is_said_to_do():
    result = read_result(RESULTS / "augmentation.json")
    blocks = {}
    for f, c in zip(recomputed("augmentation"), result.comparisons, strict=True):
        where = f"{model_title(c.method.model)}, {training_title(c.method)}, "
        blocks.setdefault((where, c.method.grid), []).append((c.method.augmentation, f))
    checked = 0
    for (where, grid), block in blocks.items():
        best = max((f for _, f in block), key=lambda f: f["difference"])
        if grid in ("results", "one-speaker"):
            (said,) = (s for s in sentences("augmentation") if where in s and "Of the other" in s)
            assert " % against ".join(told(best)[:2]) in said
            tail = said.partition("Of the other policies: ")[2].rstrip(".")
            lists = dict(part.split(": ") for part in tail.split("; "))
            for verdict in ("improves", "worsens", "no significant difference"):
                names = {n for n, f in block if f["verdict"] == verdict and f is not best}
                assert set(re.split(", | and ", lists.get(verdict, ""))) - {""} == names
            checked += 1
        elif grid.startswith("transforms"):
            (said,) = (s for s in sentences("augmentation") if where in s and "transforms" in s)
            alone = [f for n, f in block if n.startswith("alone:")]
            above, below = (
                sum(f["verdict"] == verdict for f in alone) for verdict in ("improves", "worsens")
            )
            assert (
                f"Of {len(alone)} single transforms, {above} have an interval above zero and "
                f"{below} one below it"
            ) in said
            checked += 1
    assert checked == 12


def test_in_how_many_conditions_augmentation_helps_in_noise():
    result = read_result(RESULTS / "noise.json")
    blocks = {}
    for f, c in zip(recomputed("noise"), result.comparisons, strict=True):
        start = f"{model_title(c.method.model)}, {augmentation_title(c.method.augmentation)} ag"
        blocks.setdefault(start, []).append((condition_title(c.method.condition), f["verdict"]))
    assert len(blocks) == 4
    for start, block in blocks.items():
        (said,) = (s for s in sentences("noise") if s.startswith(start))
        better = sum(verdict == "improves" for _, verdict in block)
        assert f"improves in {better} of 10 conditions." in said
        tail = said.partition("conditions.")[2]
        for condition, verdict in block:
            assert (condition in tail) == (verdict != "improves")


def test_probes_and_sources_and_speakers_are_told_with_their_accuracies():
    contrastive = read_result(RESULTS / "contrastive.json")
    for kind, grid in (("untrained", "results"), ("probe", "results"), ("probe", "supervised")):
        (row,) = (
            r
            for r in plain("contrastive")["rows"]
            if r["method"]["condition"]["kind"] == kind and r["method"]["grid"] == grid
        )
        mean = np.mean(list(row["per_speaker_seed"].values()))
        assert f"{100 * mean:.1f} % (" in sentences("contrastive")[0]
    assert len(sentences("contrastive")) == 1 + len(contrastive.comparisons)
    sources = plain("one-speaker")["rows"][0]["sources"]
    by_source = {name: np.mean(list(s["per_speaker"].values())) for name, s in sources.items()}
    low, high = min(by_source, key=by_source.get), max(by_source, key=by_source.get)
    assert sentences("one-speaker")[0].endswith(
        f"from {100 * by_source[low]:.1f} % ({low}) to {100 * by_source[high]:.1f} % ({high})."
    )
    for row, said in zip(plain("leave-one-out")["rows"], sentences("leave-one-out"), strict=False):
        means = {s: np.mean(v) for s, v in row["per_speaker_seed"].items()}
        worst = min(means, key=means.get)
        assert f": {100 * np.mean(list(means.values())):.1f} % (mean of 5 seeds" in said
        assert said.endswith(f"{worst}, the worst speaker, {100 * means[worst]:.1f} %.")
