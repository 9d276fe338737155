"""Summaries of studies with folds, conditions and factors, made up by a seeded generator."""

import json

import numpy as np
import pytest

from spoken_digits.lab.evaluation.metrics import Predictions, mcnemar
from spoken_digits.lab.evaluation.schema import Condition, RunEvaluation, save_result
from spoken_digits.lab.runs import finish
from spoken_digits.lab.studies.results import ExtraSpeech, McNemarTest, read_result, write_result
from spoken_digits.lab.studies.summary import summarize

PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CONFIG = {"model": "cnn", "front_end": "ours", "epochs": 8, "learning_rate": 4e-3}
CONFIG |= {"weight_decay": 0.02, "extra": "none", "objective": "cross-entropy"}
CLEAN, WHITE = Condition(), Condition("white", 0.0)
ENVIRONMENT = {
    **{"command": "spoken-digits study it", "commit": "0" * 40, "version": "0", "python": "3"},
    **{"torch": "2", "numpy": "2", "platform": "Linux", "device": "cpu", "parameters": 1},
    "seconds": 1.0,
}


def made(speakers, rate, seed, takes=10):
    """Make predictions that are right on about this fraction of each speaker's clips."""
    rng = np.random.default_rng([seed, int(1000 * rate), len(speakers)])
    clips = [(d, s, t) for s in speakers for d in range(10) for t in range(takes)]
    labels = np.array([d for d, _, _ in clips])
    predicted = np.where(rng.random(len(clips)) < rate, labels, (labels + 1) % 10)
    return Predictions(
        scores=np.eye(10, dtype=np.float32)[predicted],
        labels=labels,
        speakers=[s for _, s, _ in clips],
        files=[f"{d}_{s}_{t}.wav" for d, s, t in clips],
        label_names=tuple("0123456789"),
        listed=[False] * len(clips),
    )


def write_run(study, conditions, split="xsdr", seed=0, family="", grid="results", **config):
    """Write a run directory; `conditions` holds predictions by condition, the main one first."""
    config = {**CONFIG, "augmentation": "basic", "split": split, "seed": seed, **config}
    words = [str(config[key]) for key in ("model", "augmentation", "objective", "split", "seed")]
    folder = study / "-".join([grid, *words]).replace(":", "-")
    folder.mkdir(parents=True)
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    (folder / "config.toml").write_text("".join(lines))
    tests = []
    for condition, predictions in conditions.items():
        file = f"predictions-{condition.name}.npz" if tests else "predictions.npz"
        tests.append(save_result(folder, file, predictions, "fsdd", condition))
    tested = sorted(set(next(iter(conditions.values())).speakers.tolist()))
    data = {"corpus": "fsdd", "clips": 600, "hash": "ab", "licence": "CC", "test_speakers": tested}
    data["train_speakers"] = sorted(set(PEOPLE) - set(tested))
    more = {"grid": grid, "family": family, "data": data}
    (folder / "environment.json").write_text(json.dumps({**ENVIRONMENT, **more}))
    finish(folder, RunEvaluation("train", tuple(tests)))
    return folder


def named(study, name):
    (study / "study.json").write_text(json.dumps({"name": name, "question": "What?"}))
    return summarize(study)


def test_folds_are_pooled_by_speaker(tmp_path):
    rates = {}
    for k, speaker in enumerate(PEOPLE):
        for seed in (0, 1):
            for objective, less in (("cross-entropy", 0.1), ("joint", 0.0)):
                predictions = made([speaker], 0.95 - 0.05 * k - less, seed)
                rates[speaker, seed, objective] = predictions.correct.mean()
                write_run(
                    tmp_path,
                    {CLEAN: predictions},
                    f"loso:{speaker}",
                    seed,
                    "loso",
                    objective=objective,
                )
    total = named(tmp_path, "leave-one-out")
    assert [row.method.split for row in total.rows] == ["loso", "loso"]
    (joint,) = total.select(objective="joint")
    assert joint.method.training_speakers == 5
    by_speaker = {s: np.mean([rates[s, seed, "joint"] for seed in (0, 1)]) for s in PEOPLE}
    for speaker, rate in by_speaker.items():
        assert joint.per_speaker[speaker].accuracy == pytest.approx(rate)
    assert joint.accuracy == pytest.approx(np.mean(list(by_speaker.values())))
    assert joint.worst_speaker == min(by_speaker, key=by_speaker.get)
    assert joint.clips == 600
    (test,) = total.comparisons
    plain = [np.mean([rates[s, seed, "cross-entropy"] for seed in (0, 1)]) for s in PEOPLE]
    differences = np.array(list(by_speaker.values())) - np.array(plain)
    assert (differences > 0).all()  # so that 2 of 64 patterns of signs are as extreme
    assert test.difference == pytest.approx(differences.mean())
    assert test.p == test.p_holm == 2 / 64
    assert test.networks is None  # six networks on a side are not two fixed ones
    assert (test.over, test.speakers, test.verdict) == ("speakers", 6, "improves")
    assert not test.paired  # over speakers no interval is
    assert total.question == "What?"


def test_a_seed_without_all_its_folds_does_not_count(tmp_path):
    for seed in (0, 1):
        for speaker in PEOPLE[: 6 - seed]:
            write_run(
                tmp_path, {CLEAN: made([speaker], 0.9, seed)}, f"loso:{speaker}", seed, "loso"
            )
    total = named(tmp_path, "leave-one-out")
    assert total.rows[0].seeds == (0,)
    assert any("lacks folds" in warning for warning in total.warnings)


def test_where_no_seed_has_all_folds_the_one_with_most_counts(tmp_path):
    for seed, speakers in ((0, PEOPLE[:2]), (1, PEOPLE[1:3])):
        for speaker in speakers:
            write_run(
                tmp_path, {CLEAN: made([speaker], 0.9, seed)}, f"loso:{speaker}", seed, "loso"
            )
    (row,) = named(tmp_path, "leave-one-out").rows
    assert row.seeds == (0,)
    assert sorted(row.per_speaker) == sorted(PEOPLE[:2])


def test_one_speaker_is_told_by_source_and_by_target(tmp_path):
    predictions = {}
    for k, source in enumerate(PEOPLE):
        others = [speaker for speaker in PEOPLE if speaker != source]
        predictions[source] = made(others, 0.9 - 0.1 * k, 0)
        write_run(tmp_path, {CLEAN: predictions[source]}, f"single:{source}", 0, "single")
    (row,) = named(tmp_path, "one-speaker").rows
    for source, given in predictions.items():
        told = row.sources[source]
        assert told.accuracy == pytest.approx(given.correct.mean())
        tested = np.isin(given.speakers, ["lucas", "yweweler"])
        if source in ("lucas", "yweweler"):
            assert told.xsdr_accuracy is None
        else:
            assert told.xsdr_accuracy == pytest.approx(given.correct[tested].mean())
    assert row.accuracy == pytest.approx(np.mean([s.accuracy for s in row.sources.values()]))
    # Each of 600 clips was tested by five networks: that makes no 3,000 clips.
    low, high = row.wilson_interval
    assert high - low > 0.07
    target = row.per_speaker["theo"].accuracy
    theirs = [p.correct[p.speakers == "theo"].mean() for s, p in predictions.items() if s != "theo"]
    assert target == pytest.approx(np.mean(theirs))


def test_each_condition_is_a_row_and_networks_are_compared_in_pairs(tmp_path):
    rates = {"none": {CLEAN: 0.9, WHITE: 0.3}, "basic": {CLEAN: 0.91, WHITE: 0.7}}
    predictions = {
        policy: {c: made(("lucas", "yweweler"), rate, 0) for c, rate in conditions.items()}
        for policy, conditions in rates.items()
    }
    for policy, conditions in predictions.items():
        write_run(tmp_path, conditions, augmentation=policy)
    total = named(tmp_path, "noise")
    assert len(total.rows) == 4
    assert {row.method.condition for row in total.rows} == {CLEAN, WHITE}
    tests = {test.method.condition: test for test in total.comparisons}
    for condition, test in tests.items():
        ours, plain = (predictions[policy][condition] for policy in ("basic", "none"))
        raw = mcnemar(ours, plain)
        assert test.networks == McNemarTest(0, raw.only_first, raw.only_second, raw.p)
        assert (test.p, test.p_holm, test.paired, test.over) == (None, None, True, "clips")
        assert test.difference == pytest.approx(ours.correct.mean() - plain.correct.mean())
        # By hand: the standard error of paired differences, the speakers apart.
        d = ours.correct.astype(float) - plain.correct
        parts = [d[ours.speakers == s] for s in ("lucas", "yweweler")]
        margin = 1.959964 * np.sqrt(sum(x.var(ddof=1) / len(x) for x in parts)) / 2
        assert test.interval == pytest.approx((d.mean() - margin, d.mean() + margin))
    assert tests[WHITE].verdict == "improves"
    assert tests[CLEAN].verdict == "no significant difference"


def test_differences_are_averaged_over_seeds_before_anything_else(tmp_path):
    people, rates = ("lucas", "yweweler"), {}
    # The first seed says the opposite of the mean over seeds.
    for policy, by_seed in {"none": (0.9, 0.5, 0.5), "basic": (0.8, 0.85, 0.85)}.items():
        for seed, rate in enumerate(by_seed):
            predictions = made(people, rate, seed)
            rates.setdefault(policy, []).append(predictions.correct.mean())
            write_run(tmp_path, {CLEAN: predictions}, seed=seed, augmentation=policy)
    (test,) = named(tmp_path, "augmentation").comparisons
    assert test.difference == pytest.approx(np.mean(rates["basic"]) - np.mean(rates["none"]))
    assert test.difference > 0 > rates["basic"][0] - rates["none"][0]
    assert test.networks.only_network < test.networks.only_reference  # of the first seed alone
    assert (test.over, test.seeds) == ("clips and seeds", 3)


def test_what_training_speakers_were_left_out_for_stands_apart(tmp_path):
    write_run(tmp_path, {CLEAN: made(("lucas", "yweweler"), 0.9, 0)})
    for rate in (1e-3, 2e-3):
        for speaker in ("george", "theo"):
            write_run(
                tmp_path,
                {CLEAN: made([speaker], 0.8, 0)},
                f"inner:{speaker}",
                0,
                "inner",
                grid=f"rate-{rate:g}",
                learning_rate=rate,
            )
    total = named(tmp_path, "models")
    assert len(total.rows) == 1
    assert [row.method.learning_rate for row in total.inner] == [1e-3, 2e-3]
    assert all(sorted(row.per_speaker) == ["george", "theo"] for row in total.inner)


def test_a_study_of_ones_own_is_compared_with_its_strong_model(tmp_path):
    for model, rate in (("rnn", 0.95), ("cnn", 0.9), ("lstm", 0.5)):
        write_run(tmp_path, {CLEAN: made(("lucas", "yweweler"), rate, 0)}, model=model)
    total = named(tmp_path, "mine")
    assert {test.reference.model for test in total.comparisons} == {"cnn"}
    by_model = {test.method.model: test.verdict for test in total.comparisons}
    assert by_model["lstm"] == "worsens"


def test_margins_have_no_calibration_error(tmp_path):
    for model in ("sgd-pool", "logistic-pool", "cnn"):
        write_run(tmp_path, {CLEAN: made(("lucas", "yweweler"), 0.9, 0)}, model=model)
    rows = {row.method.model: row for row in named(tmp_path, "models").rows}
    assert rows["sgd-pool"].ece is None
    assert rows["logistic-pool"].ece == rows["cnn"].ece > 0
    assert (rows["logistic-pool"].epochs, rows["cnn"].epochs) == (None, 8)


def test_speech_that_joined_is_named_with_its_hash(tmp_path):
    def write(extra, seed, sha256):
        folder = write_run(tmp_path, {CLEAN: made(PEOPLE[2:4], 0.9, seed)}, seed=seed, extra=extra)
        environment = json.loads((folder / "environment.json").read_text())
        corpora = {"kokoro": {"digits": 200, "other_words": 0, "speakers": 10}}
        environment["extra"] = {
            "none": {"corpus": "none", "clips": 0, "hash": sha256},
            "kokoro:10": {"corpus": extra, "clips": 200, "hash": sha256, "corpora": corpora},
        }[extra]
        (folder / "environment.json").write_text(json.dumps(environment))

    write("none", 0, "e3")
    for seed in (1, 2):
        write("kokoro:10", seed, "cd")
    found = named(tmp_path, "tracks").provenance.extra
    assert found == {"kokoro:10": ExtraSpeech(200, 10, "cd")}
    write("kokoro:10", 3, "ef")
    with pytest.raises(ValueError, match=r"kokoro:10: runs with different .*SHA-256 cd, ef"):
        named(tmp_path, "tracks")


def test_several_commits_are_normal_and_unfinished_runs_are_not(tmp_path):
    for seed in (0, 1):
        folder = write_run(tmp_path, {CLEAN: made(("lucas", "yweweler"), 0.9, seed)}, seed=seed)
        environment = json.loads((folder / "environment.json").read_text())
        environment["commit"] = f"{seed}" * 40
        (folder / "environment.json").write_text(json.dumps(environment))
    total = named(tmp_path, "models")
    assert total.provenance.commits == ("0" * 40, "1" * 40)
    assert not total.warnings
    (folder / "evaluation.json").unlink()
    total = named(tmp_path, "models")
    assert any("unfinished" in warning for warning in total.warnings)
    assert any("evaluation.json" in line for line in total.missing)


def test_a_summary_survives_its_file(tmp_path):
    write_run(tmp_path / "runs", {CLEAN: made(("lucas", "yweweler"), 0.9, 0)})
    total = named(tmp_path / "runs", "models")
    write_result(tmp_path / "models.json", total)
    assert read_result(tmp_path / "models.json") == total
