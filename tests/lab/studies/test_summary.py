"""Summaries of studies with folds, conditions and factors, made up by a seeded generator."""

import json

import numpy as np
import pytest

from spoken_digits.lab.evaluation.metrics import Predictions, holm, mcnemar, sign_flip
from spoken_digits.lab.studies.comparisons import PAIRINGS, answers
from spoken_digits.lab.studies.grid import ORDER
from spoken_digits.lab.studies.summary import summarize

PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CONFIG = {"model": "cnn", "front_end": "ours", "epochs": 8, "learning_rate": 4e-3}
CONFIG |= {"weight_decay": 0.02, "extra": "none", "objective": "cross-entropy"}
ENVIRONMENT = {
    **{"command": "spoken-digits study it", "commit": "0" * 40, "version": "0", "python": "3"},
    **{"torch": "2", "numpy": "2", "platform": "Linux", "device": "cpu", "parameters": 1},
    "seconds": 1.0,
}


def heard(speakers, share, seed, takes=10):
    """Make predictions that are right on about this share of each speaker's clips."""
    rng = np.random.default_rng([seed, int(1000 * share), len(speakers)])
    clips = [(d, s, t) for s in speakers for d in range(10) for t in range(takes)]
    labels = np.array([d for d, _, _ in clips])
    said = np.where(rng.random(len(clips)) < share, labels, (labels + 1) % 10)
    return Predictions(
        scores=np.eye(10, dtype=np.float32)[said],
        labels=labels,
        speakers=[s for _, s, _ in clips],
        files=[f"{d}_{s}_{t}.wav" for d, s, t in clips],
        label_names=tuple("0123456789"),
        listed=[False] * len(clips),
    )


def write_run(study, conditions, split="xsdr", seed=0, family="", grid="results", **config):
    config = {**CONFIG, "augmentation": "basic", "split": split, "seed": seed, **config}
    words = [str(config[key]) for key in ("model", "augmentation", "objective", "split", "seed")]
    folder = study / "-".join([grid, *words]).replace(":", "-")
    folder.mkdir(parents=True)
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    (folder / "config.toml").write_text("".join(lines))
    main, *_ = conditions
    for name, predictions in conditions.items():
        file = "predictions.npz" if name == main else f"predictions-{name}.npz"
        predictions.save(folder / file)
    tested = sorted(set(conditions[main].speakers.tolist()))
    data = {"corpus": "fsdd", "clips": 600, "hash": "ab", "licence": "CC", "test_speakers": tested}
    data["train_speakers"] = sorted(set(PEOPLE) - set(tested))
    more = {"grid": grid, "family": family, "conditions": list(conditions), "data": data}
    (folder / "environment.json").write_text(json.dumps({**ENVIRONMENT, **more}))


def named(study, name):
    (study / "study.json").write_text(json.dumps({"name": name, "question": "What?"}))
    return summarize(study)


def test_folds_are_pooled_by_speaker(tmp_path):
    shares = {}
    for k, speaker in enumerate(PEOPLE):
        for seed in (0, 1):
            for objective, less in (("cross-entropy", 0.1), ("joint", 0.0)):
                made = heard([speaker], 0.95 - 0.05 * k - less, seed)
                shares[speaker, seed, objective] = made.correct.mean()
                write_run(
                    tmp_path, {"test": made}, f"loso:{speaker}", seed, "loso", objective=objective
                )
    total = named(tmp_path, "leave-one-out")
    assert [row["split"] for row in total["rows"]] == ["loso", "loso"]
    joint = next(row for row in total["rows"] if row["objective"] == "joint")
    by_speaker = {s: np.mean([shares[s, seed, "joint"] for seed in (0, 1)]) for s in PEOPLE}
    for speaker, share in by_speaker.items():
        assert joint["per_speaker"][speaker]["accuracy"] == pytest.approx(share)
    assert joint["accuracy_mean"] == pytest.approx(np.mean(list(by_speaker.values())))
    assert joint["worst_speaker"] == min(by_speaker, key=by_speaker.get)
    assert joint["clips"] == 600
    (test,) = total["comparisons"]
    plain = [np.mean([shares[s, seed, "cross-entropy"] for seed in (0, 1)]) for s in PEOPLE]
    differences = np.array(plain) - np.array(list(by_speaker.values()))
    assert test["difference"] == pytest.approx(differences.mean())
    assert test["sign_flip_p"] == sign_flip(differences, np.random.default_rng(0)) == 2 / 64
    assert test["p"] is None  # six networks on a side are not two fixed ones
    assert test["shown"]
    assert "over 6 speakers" in total["answer"]
    assert total["question"] == "What?"


def test_a_seed_without_all_its_folds_does_not_count(tmp_path):
    for seed in (0, 1):
        for speaker in PEOPLE[: 6 - seed]:
            write_run(
                tmp_path, {"test": heard([speaker], 0.9, seed)}, f"loso:{speaker}", seed, "loso"
            )
    total = named(tmp_path, "leave-one-out")
    assert total["rows"][0]["seeds"] == [0]
    assert any("lacks folds" in warning for warning in total["warnings"])


def test_one_voice_is_told_by_source_and_by_target(tmp_path):
    made = {}
    for k, source in enumerate(PEOPLE):
        others = [speaker for speaker in PEOPLE if speaker != source]
        made[source] = heard(others, 0.9 - 0.1 * k, 0)
        write_run(tmp_path, {"test": made[source]}, f"single:{source}", 0, "single")
    summary = named(tmp_path, "one-voice")
    (row,) = summary["rows"]
    worst = min(made, key=lambda source: made[source].correct.mean())
    assert f"worst when learning from {worst} (" in summary["answer"]
    for source, predictions in made.items():
        told = row["sources"][source]
        assert told["accuracy"] == pytest.approx(predictions.correct.mean())
        tested = np.isin(predictions.speakers, ["lucas", "yweweler"])
        if source in ("lucas", "yweweler"):
            assert told["xsdr_accuracy"] is None
        else:
            assert told["xsdr_accuracy"] == pytest.approx(predictions.correct[tested].mean())
    mean = np.mean([told["accuracy"] for told in row["sources"].values()])
    assert row["accuracy_mean"] == pytest.approx(mean)
    # Each of 600 clips was heard by five networks: that makes no 3,000 clips.
    low, high = row["wilson_interval"]
    assert high - low > 0.07
    target = row["per_speaker"]["theo"]["accuracy"]
    theirs = [p.correct[p.speakers == "theo"].mean() for s, p in made.items() if s != "theo"]
    assert target == pytest.approx(np.mean(theirs))


def test_each_condition_is_a_row_and_holm_covers_the_grid(tmp_path):
    people = ("lucas", "yweweler")
    quality = {"none": {"clean": 0.9, "white-0": 0.3}, "basic": {"clean": 0.91, "white-0": 0.7}}
    made = {
        policy: {name: heard(people, share, 0) for name, share in conditions.items()}
        for policy, conditions in quality.items()
    }
    for policy, conditions in made.items():
        write_run(tmp_path, conditions, augmentation=policy)
    total = named(tmp_path, "noise")
    assert {row["condition"] for row in total["rows"]} == {"clean", "white-0"}
    assert len({row["title"] for row in total["rows"]}) == 4
    tests = {test["condition"]: test for test in total["comparisons"]}
    raw = {name: mcnemar(made["none"][name], made["basic"][name]).p for name in tests}
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    for name, test in tests.items():
        assert test["p"] == raw[name]
        assert test["p_holm"] == adjusted[name]
        assert test["sign_flip_p"] is None
        assert test["smallest_sign_flip_p"] == 0.5
    assert tests["white-0"]["shown"]
    assert not tests["clean"]["shown"]
    assert "no difference shown: clean" in total["answer"]
    assert "basic against none: better in 1 of 2 conditions; " in total["answer"]
    (best,) = (
        row
        for row in total["rows"]
        if row["condition"] == "white-0" and row["augmentation"] == "basic"
    )
    assert f"with white noise of 0 dB {100 * best['accuracy_mean']:.1f}." in total["answer"]


def test_what_training_speakers_were_left_out_for_stands_apart(tmp_path):
    write_run(tmp_path, {"test": heard(("lucas", "yweweler"), 0.9, 0)})
    for rate in (1e-3, 2e-3):
        for speaker in ("george", "theo"):
            write_run(
                tmp_path,
                {"test": heard([speaker], 0.8, 0)},
                f"inner:{speaker}",
                0,
                "inner",
                grid=f"rate-{rate:g}",
                learning_rate=rate,
            )
    total = named(tmp_path, "models")
    assert len(total["rows"]) == 1
    assert [row["learning_rate"] for row in total["inner"]] == [1e-3, 2e-3]
    assert all(sorted(row["per_speaker"]) == ["george", "theo"] for row in total["inner"])
    json.dumps(total, allow_nan=False)


def test_every_study_but_the_first_has_its_pairs():
    assert set(PAIRINGS) == set(ORDER) - {"models"}
    assert answers("noise", [], []) == ""
