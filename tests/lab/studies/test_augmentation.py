"""Single transforms and their combinations: the choice, the contrasts, and what is told of them."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_rows import SIX, TWO, result, row
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from spoken_digits.lab.augmentation.policies import ALONE, POLICIES, Policy, find_policy
from spoken_digits.lab.data.splits import XSDR_TRAIN
from spoken_digits.lab.studies import augmentation as study
from spoken_digits.lab.studies.comparisons import compare, contrast
from spoken_digits.lab.studies.results import Source, read_result
from spoken_digits.lab.studies.titles import augmentation_title
from spoken_digits.lab.training.config import ConfigError, TrainConfig

THREE = ("vtlp", "mixup", "noise")
MODEL = {"model": "cnn-single"}


def made(rows, inner=()):
    return result(rows, compare(rows, study.STUDY.reference), study="augmentation", inner=inner)


def inner(name, accuracy, **changes):
    return row(
        {s: [accuracy, accuracy] for s in XSDR_TRAIN},
        **MODEL,
        split="inner",
        grid="transforms-inner",
        augmentation=name,
        training_speakers=3,
        **changes,
    )


def chosen_rows(best=THREE):
    gains = dict.fromkeys(ALONE, -0.01) | {n: 0.03 - 0.01 * k for k, n in enumerate(best)}
    rows = [inner(f"alone:{name}", 0.8 + gain) for name, gain in gains.items()]
    return [inner("none", 0.8), *rows]


def cell(levels, speakers=TWO, grid="transforms", **changes):
    """A cell of the 2 x 2 x 2: effects of 2, 4 and -1 points, and 3 more of the first two."""
    a, b, c = levels
    mean = 0.8 + 0.02 * a + 0.04 * b - 0.01 * c + 0.03 * a * b
    used = [name for name, on in zip(THREE, levels, strict=True) if on]
    if len(used) > 1:
        grid = grid.replace("transforms", "interactions")
    return row(
        {s: [mean - 0.01, mean, mean + 0.01] for s in speakers},
        **MODEL,
        grid=grid,
        augmentation=f"alone:{'+'.join(used)}" if used else "none",
        **changes,
    )


CELLS = [cell(levels) for levels in itertools.product((0, 1), repeat=3)]


def test_the_three_best_are_chosen_on_training_speakers_alone():
    ours = made(CELLS, chosen_rows())
    effects = study.inner_effects(ours, "transforms")
    assert set(effects) == set(ALONE)
    assert effects["vtlp"] == pytest.approx(0.03)
    assert study.best_three(effects) == THREE
    # Whatever happens on lucas and yweweler, the choice stays.
    worse = [row({s: [0.1] for s in TWO}, grid="transforms", augmentation="alone:vtlp", **MODEL)]
    assert study.inner_effects(made(worse, chosen_rows()), "transforms") == effects
    assert study.best_three({**effects, "scaling": 0.02}) == ("vtlp", "mixup", "scaling")
    assert study.best_three({"vtlp": 1.0}) == ()


def test_transforms_that_set_the_same_are_not_combined():
    effects = dict.fromkeys(ALONE, 0.0) | {"spec_augment": 3, "freq_mask": 2, "time_mask": 1.5}
    assert study.best_three(effects) == ("spec_augment", "placement", "vtlp")


def test_with_one_speaker_the_four_training_speakers_choose():
    def single(name, gain):
        def accuracy(source, tested):
            known = source in XSDR_TRAIN and tested in XSDR_TRAIN
            return 0.5 + gain if known else 0.5 - 5 * gain

        sources = {
            s: Source(0.5, 0.0, {t: accuracy(s, t) for t in SIX if t != s}, None) for s in SIX
        }
        return row(
            {s: [0.5] for s in SIX},
            sources=sources,
            split="single",
            grid="transforms-one-speaker",
            augmentation=name,
            **MODEL,
        )

    gains = {name: k / 1000 for k, name in enumerate(ALONE)}
    rows = [single("none", 0.0), *(single(f"alone:{n}", gain) for n, gain in gains.items())]
    effects = study.inner_effects(made(rows), "transforms-one-speaker")
    assert effects == pytest.approx(gains)
    assert study.best_three(effects) == tuple(reversed(list(ALONE)))[:3]


def test_effects_and_interactions_are_those_the_cells_were_made_of(monkeypatch):
    monkeypatch.setitem(study.BEST, "transforms", THREE)
    ours = made(CELLS, chosen_rows())
    found = dict(study._contrasts(ours, "transforms"))
    # The interaction of 3 points adds half of it to either main effect.
    assert [round(100 * each.value, 6) for each in found.values()] == [3.5, 5.5, -1, 3, 0, 0, 0]
    assert list(found)[3] == "VTLP x mixup"
    assert list(found)[-1] == "VTLP x mixup x noise"
    tables = study.STUDY.tables(ours)
    assert [line[0].text for line in tables[-1].rows] == list(found)
    assert "over clips and seeds (2 speakers, 3 seeds), for these" in tables[-1].note
    told = study.STUDY.sentences(ours)[-2]
    assert "VTLP x mixup +3.0 (" in told
    assert told.endswith("in points: VTLP +3.0, mixup +2.0 and noise +1.0.")


def test_the_interval_of_a_contrast_is_wilsons_and_welchs():
    weights = [0.5, -0.5, -0.25]
    ours = contrast(list(zip(weights, CELLS[:3], strict=True)))
    below, variances = 0.0, []
    for weight, one in zip(weights, CELLS[:3], strict=True):
        for score in one.per_speaker.values():
            p = score.accuracy
            low, high = proportion_confint(p * 500, 500, method="wilson")
            below += (weight * (p - low if weight > 0 else high - p)) ** 2 / 4
        variances.append(weight**2 * 0.01**2 / 3)
    freedom = sum(variances) ** 2 / sum(v**2 / 2 for v in variances)
    seeds = stats.t.ppf(0.975, freedom) ** 2 * sum(variances)
    assert ours.value - ours.interval[0] == pytest.approx(np.sqrt(below + seeds))
    assert (ours.over, ours.speakers, ours.seeds) == ("clips and seeds", 2, 3)


def test_with_six_speakers_the_interval_is_over_them_and_over_seeds():
    better = {s: [0.6 + 0.01 * k] * 2 for k, s in enumerate(SIX)}
    ours = contrast([(1, row(better)), (-1, row({s: [0.6] * 2 for s in SIX}))])
    draws = itertools.product(range(6), repeat=6)
    exact = np.quantile([0.01 * sum(draw) / 6 for draw in draws], [0.025, 0.975])
    assert ours.interval == pytest.approx(exact, abs=0.002)
    assert ours.over == "speakers and seeds"
    wider = contrast(
        [(1, row({s: [v[0] - 0.02, v[0] + 0.02] for s, v in better.items()})),
         (-1, row({s: [0.6] * 2 for s in SIX}))]
    )  # fmt: skip
    seeds = stats.t.ppf(0.975, 1) * 0.02 * np.sqrt(2) / np.sqrt(2)
    low = ours.value - np.hypot(ours.value - ours.interval[0], seeds)
    assert wider.interval[0] == pytest.approx(low)
    with pytest.raises(ValueError, match="expected george"):
        contrast([(1, row(better)), (-1, CELLS[0])])


def test_what_was_not_run_is_said(monkeypatch):
    first, second = study.STUDY.sentences(made(CELLS[:2]))[-2:]
    assert first == (
        "Interactions of the three best transforms, trained on four speakers: not run yet."
    )
    assert second.endswith("trained on one speaker: not run yet.")
    half = study.STUDY.sentences(made(CELLS[:2], chosen_rows()))[-2]
    assert "not run yet; chosen by" in half
    monkeypatch.setitem(study.BEST, "transforms", THREE)
    assert study._contrasts(made(CELLS[:-1]), "transforms") == []
    assert len(study.STUDY.tables(made(CELLS[:-1]))) <= 1


def test_the_choice_that_is_written_down_is_that_of_the_rule():
    published = read_result(Path(__file__).parents[3] / "results" / "augmentation.json")
    for grid, best in study.BEST.items():
        by_rule = study.best_three(study.inner_effects(published, grid))
        assert best in ((), by_rule), f"{grid}: BEST should be {by_rule}"


def test_combinations_are_planned_with_the_settings_of_the_single_transforms(monkeypatch):
    assert study._combined("transforms") == {}
    monkeypatch.setitem(study.BEST, "transforms-one-speaker", THREE)
    ((name, grid),) = study._combined("transforms-one-speaker").items()
    assert name == "interactions-one-speaker"
    assert grid["augmentation"] == [
        "alone:vtlp+mixup", "alone:vtlp+noise", "alone:mixup+noise", "alone:vtlp+mixup+noise"
    ]  # fmt: skip
    single = study.STUDY.sections["grids"]["transforms-one-speaker"]
    for key in ("split", "seed", "epochs_factor"):
        assert grid[key] == single[key]
    assert study.STUDY.sections["grids"]["transforms"]["seed"] == [0, 1, 2]
    assert single["split"] == "single"


def test_several_transforms_alone_are_one_policy():
    both = find_policy("alone:vtlp+spec_augment")
    assert both == replace(
        Policy(), vtlp=POLICIES["basic"].vtlp, freq_masks=1, time_masks=1, time_warp=0.08
    )
    assert find_policy("alone:freq_mask+spec_augment") is None
    assert find_policy("alone:vtlp+") is None
    assert TrainConfig(augmentation="alone:vtlp+mixup").policy.mixup_alpha == 0.2
    with pytest.raises(ConfigError, match=r"'alone:vtlp\+vtlp': expected one of none"):
        TrainConfig(augmentation="alone:vtlp+vtlp")
    assert augmentation_title("alone:vtlp+mixup") == "VTLP and mixup alone"
