import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.dataset import Dataset, prepare
from spoken_digits.lab.data.splits import split_by_speaker
from spoken_digits.lab.runs import RunError
from spoken_digits.lab.training import contrastive
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.contrastive import (
    PretrainConfig,
    choose_labels,
    cluster,
    contrastive_scores,
    fit_probe,
    neighbor_scores,
    pretrain,
)
from spoken_digits.lab.training.supervised import build_network, predict

TINY = PretrainConfig(
    model="cnn-tiny",
    augmentation="light",
    epochs=3,
    batch_size=30,
    label_augmentation="light",
    label_epochs=1,
    label_steps=2,
    probe_views=2,
    neighbors=3,
)
Tones = tuple[Dataset, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def tones(tone_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Tones:
    torch.set_num_threads(1)
    clips = read_corpus(tone_corpus)
    dataset = prepare(clips, tmp_path_factory.mktemp("prepared"))
    split = split_by_speaker(clips, ["dora"])
    return dataset, dataset.indices(split.train), dataset.indices(split.test)


def contents(run_dir: Path) -> dict[str, bytes]:
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    stable = [{k: v for k, v in row.items() if k != "seconds"} for row in log]
    files = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.name != "log.jsonl"}
    return files | {"log": json.dumps(stable).encode()}


class Killed(BaseException):
    """What a signal does to a run."""


def test_pretraining_killed_in_the_middle_ends_with_the_bytes_of_one_that_was_not(
    tones: Tones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, rows, _ = tones
    config = replace(TINY, model="cnn")  # an ensemble
    net = pretrain(config, dataset, rows, tmp_path / "whole", quiet=True)

    original, calls = contrastive.augmented_log_mel, 0

    def until_killed(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the middle of the second epoch
            raise Killed
        return original(*args)

    monkeypatch.setattr(contrastive, "augmented_log_mel", until_killed)
    with pytest.raises(Killed):
        pretrain(config, dataset, rows, tmp_path / "cut", quiet=True)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    pretrain(config, dataset, rows, tmp_path / "cut", quiet=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")

    # Finished, it is read and nothing is computed.
    monkeypatch.setattr(contrastive, "augmented_log_mel", None)
    read = pretrain(config, dataset, rows, tmp_path / "whole", quiet=True)
    for a, b in zip(net.parameters(), read.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RunError, match="another recipe"):
        pretrain(replace(config, seed=1), dataset, rows, tmp_path / "whole", quiet=True)


def test_pretraining_looks_at_no_label(tones: Tones, tmp_path: Path) -> None:
    dataset, rows, _ = tones
    wrong = replace(dataset, targets=np.roll(dataset.targets, 7))
    for name, labelled in (("right", dataset), ("wrong", wrong)):
        pretrain(TINY, labelled, rows, tmp_path / name, quiet=True)
    assert contents(tmp_path / "right") == contents(tmp_path / "wrong")


def test_with_digits_as_positives_all_views_of_a_digit_are_pulled_together(tones: Tones) -> None:
    dataset, rows, _ = tones
    batch = rows[::7][:8]
    targets = dataset.targets.copy()
    targets[batch] = [0, 1, 0, 2, 2, 2, 3, 1]
    dataset = replace(dataset, targets=targets)
    config = replace(TINY, augmentation="none", positives="digit")
    task = contrastive._Contrastive(config, build_network(config, 10).eval(), dataset, rows)
    loss, _, n = task.step(batch)
    assert n == 8
    twice = np.concatenate([batch, batch])
    with torch.no_grad():
        log_mel, mask = task.front_end(*dataset.batch(twice))
        z = task.projection(task.net.backbone(log_mel, mask)).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similarity = np.exp(z @ z.T / config.contrastive_temperature)
    losses = []
    for i in range(16):
        others = [k for k in range(16) if k != i]
        positives = [k for k in others if targets[twice[k]] == targets[twice[i]]]
        bottom = sum(similarity[i, k] for k in others)
        losses.append(-np.mean([np.log(similarity[i, k] / bottom) for k in positives]))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)
    wrong = replace(dataset, targets=np.roll(targets, 7))
    for positives, changes in (("digit", True), ("clip", False)):
        found = [
            contrastive._Contrastive(
                replace(config, positives=positives), task.net, given, rows
            ).step(batch)[0].item()
            for given in (dataset, wrong)
        ]  # fmt: skip
        assert (found[0] != found[1]) == changes


@pytest.mark.parametrize("method", ["simclr", "vicreg"])
def test_clips_without_labels_join_in_batches_of_their_own(
    tones: Tones, tmp_path: Path, method: str
) -> None:
    dataset, rows, test_rows = tones
    config = replace(TINY, method=method, epochs=2)
    task = contrastive._Contrastive(config, build_network(config, 10), dataset, rows, test_rows)
    batches = task.batches(0)
    assert sorted(np.concatenate(batches)) == sorted([*rows, *test_rows])
    sides = [set(batch) <= set(rows) for batch in batches]
    assert all(
        side or set(batch) <= set(test_rows) for side, batch in zip(sides, batches, strict=True)
    )
    assert sides != sorted(sides)  # mixed among each other
    assert sides != sorted(sides, reverse=True)

    alone = pretrain(config, dataset, rows, tmp_path / "alone", quiet=True)
    more = pretrain(config, dataset, rows, tmp_path / "more", True, test_rows)
    none = pretrain(config, dataset, rows, tmp_path / "none", True, test_rows[:0])
    name = "backbone.convolutions.1.weight"
    assert not torch.equal(alone.state_dict()[name], more.state_dict()[name])
    assert torch.equal(alone.state_dict()[name], none.state_dict()[name])


def test_pieces_of_a_words_length_are_cut_from_long_recordings_alone() -> None:
    lengths = torch.tensor([12_000, 6_400, 800, 9_000])
    waveform = torch.zeros(4, 12_000)
    for i, length in enumerate(lengths.tolist()):
        waveform[i, :length] = torch.arange(1, length + 1)
    starts, pieces = set(), set()
    for seed in range(50):
        draws = torch.Generator().manual_seed(seed)
        cut, kept = contrastive._cut_pieces(waveform, lengths, draws)
        assert cut.shape == (4, int(kept.max()))
        assert kept[1:3].tolist() == [6_400, 800]
        for row, piece, whole in zip(cut, kept.tolist(), lengths.tolist(), strict=True):
            start = int(row[0])
            assert row[:piece].tolist() == list(range(start, start + piece))
            assert start + piece - 1 <= whole
            assert not row[piece:].any()
        assert (kept[[0, 3]] >= 3_200).all()
        assert (kept[[0, 3]] <= 6_400).all()
        starts.add(int(cut[0, 0]))
        pieces.add(int(kept[0]))
    assert min(starts) < 1_000 < 7_000 < max(starts)
    assert min(pieces) < 3_500 < 6_100 < max(pieces)


def test_what_pretraining_returns_is_the_averaged_network(tones: Tones, tmp_path: Path) -> None:
    dataset, rows, _ = tones
    last, average = (
        pretrain(
            replace(TINY, epochs=2, ema_decay=decay),
            dataset, rows, tmp_path / str(decay), quiet=True,
        ).state_dict()
        for decay in (0.0, 0.9)
    )  # fmt: skip
    name = "backbone.convolutions.1.weight"
    assert not torch.equal(last[name], average[name])


def test_pretraining_learns_to_match_pairs(tones: Tones, tmp_path: Path) -> None:
    dataset, rows, _ = tones
    pretrain(replace(TINY, epochs=8), dataset, rows, tmp_path, quiet=True)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == list(range(1, 9))
    assert log[-1]["loss"] < log[0]["loss"] - 0.3
    assert log[-1]["pairs_matched"] > log[0]["pairs_matched"]


def test_the_study_gives_scores_for_every_condition_and_reads_what_is_finished(
    tones: Tones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, rows, test_rows = tones
    scores = contrastive_scores(TINY, dataset, rows, test_rows, tmp_path, quiet=True)
    assert list(scores) == ["probe", "untrained", "knn"] + [
        f"{start}-{count}"
        for count in (1, 5, 20, "all")
        for start in ("clusters", "finetune", "scratch")
    ]
    for values in scores.values():
        assert values.shape == (len(test_rows), 10)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    # Three takes each: 5, 20 and all are the same clips, and the same recipe and seed.
    np.testing.assert_array_equal(scores["scratch-20"], scores["scratch-all"])
    assert not np.array_equal(scores["finetune-1"], scores["scratch-1"])
    assert not np.array_equal(scores["finetune-all"], scores["scratch-all"])

    monkeypatch.setattr(contrastive, "train", None)
    again = contrastive_scores(TINY, dataset, rows, test_rows, tmp_path, quiet=True)
    for condition, values in scores.items():
        np.testing.assert_array_equal(values, again[condition])


def test_clusters_are_words_and_not_voices(tones: Tones, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, rows, _ = tones
    rng = np.random.default_rng(0)
    words = 3 * rng.standard_normal((10, 16))
    speakers = sorted({dataset.clips[row].speaker for row in rows})
    # Each voice far from the others, and of a spread of its own.
    places = {name: (50 * rng.standard_normal(16), 2.0**k) for k, name in enumerate(speakers)}
    embedding = np.empty((len(rows), 16), np.float32)
    for i, row in enumerate(rows):
        place, spread = places[dataset.clips[row].speaker]
        word = words[dataset.targets[row]] + 0.1 * rng.standard_normal(16)
        embedding[i] = place + spread * word
    monkeypatch.setattr(contrastive, "predict", lambda *_: (None, embedding))
    wrong = replace(dataset, targets=np.roll(dataset.targets, 7))  # looks at no label
    for given in (dataset, wrong):
        found = cluster(None, given, rows, 10, seed=0)
        pairs = set(zip(found.tolist(), dataset.targets[rows].tolist(), strict=True))
        assert len(pairs) == 10
        assert {digit for _, digit in pairs} == set(range(10))


def test_without_rounds_no_clusters_are_learned(tones: Tones, tmp_path: Path) -> None:
    dataset, rows, test_rows = tones
    recipe = replace(TINY, cluster_rounds=0)
    scores = contrastive_scores(recipe, dataset, rows, test_rows, tmp_path, quiet=True)
    assert not any(condition.startswith("clusters") for condition in scores)
    with pytest.raises(ConfigError, match="cluster_rounds = -1"):
        replace(TINY, cluster_rounds=-1)


def test_the_probe_is_scikit_learns_and_leaves_the_backbone_alone(tones: Tones) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset, rows, test_rows = tones
    config = replace(TINY, label_augmentation="none", probe_views=1)
    net, untouched = build_network(config, 10), build_network(config, 10)
    fit_probe(config, net, dataset, rows)
    for a, b in zip(net.backbone.parameters(), untouched.backbone.parameters(), strict=True):
        assert torch.equal(a, b)
    features, test_features = (predict(net, dataset, some)[1] for some in (rows, test_rows))
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    peer.fit(features, dataset.targets[rows])
    scores, _ = predict(net, dataset, test_rows)
    np.testing.assert_allclose(scores, peer.decision_function(test_features), atol=1e-2)


def test_neighbors_vote_as_a_plain_loop_has_them(tones: Tones) -> None:
    dataset, rows, test_rows = tones
    net = build_network(TINY, 10)
    scores = neighbor_scores(TINY, net, dataset, rows, test_rows)
    features, test_features = (predict(net, dataset, some)[1] for some in (rows, test_rows))
    mean, deviation = features.mean(0), features.std(0)
    deviation[deviation == 0] = 1
    for i, x in enumerate((test_features - mean) / deviation):
        cosines = [
            float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
            for y in (features - mean) / deviation
        ]
        nearest = sorted(range(len(rows)), key=lambda j: -cosines[j])[:3]
        votes = Counter(int(dataset.targets[rows[j]]) for j in nearest)
        expected = [np.log((votes[digit] + 1) / 13) for digit in range(10)]
        np.testing.assert_allclose(scores[i], expected, rtol=1e-5)


def test_labels_are_chosen_for_each_digit_and_speaker_and_fewer_are_among_more(
    tones: Tones,
) -> None:
    dataset, rows, _ = tones
    one, two = (choose_labels(dataset, rows, count, seed=0) for count in (1, 2))
    counts = Counter((dataset.clips[row].speaker, int(dataset.targets[row])) for row in two)
    assert set(counts.values()) == {2}
    assert len(counts) == 30
    assert set(one) < set(two) < set(rows)
    assert set(choose_labels(dataset, rows, 0, seed=0)) == set(rows)
    assert set(choose_labels(dataset, rows, 1, seed=1)) != set(one)


def test_training_with_labels_passes_more_often_over_fewer_clips() -> None:
    config = PretrainConfig(label_epochs=30, label_steps=300, label_batch_size=64, seed=3)
    assert config.with_labels(40).epochs == 300
    assert config.with_labels(200).epochs == 75
    assert config.with_labels(2000).epochs == 30
    assert config.with_labels(2000) == TrainConfig(
        epochs=30, seed=3, contrastive_temperature=config.contrastive_temperature
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"model": "sgd-pool"}, "no weights to pre-train"),
        ({"probe_views": 0}, "probe_views = 0"),
        ({"label_epochs": 0}, "epochs = 0"),
        ({"label_augmentation": "loud"}, "augmentation = 'loud'"),
        ({"contrastive_temperature": -1.0}, "contrastive_temperature"),
        ({"positives": "word"}, "positives = 'word'"),
        ({"method": "byol"}, "method = 'byol': expected one of simclr, vicreg"),
        ({"unlabelled": "radio"}, "unlabelled = 'radio': expected one of none, speech"),
        ({"method": "vicreg", "positives": "digit"}, "positives = 'digit' with method = 'vicreg'"),
        ({"views": 2}, "unknown key 'views'"),
    ],
)
def test_a_bad_recipe_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match="pretrain") as caught:
        PretrainConfig.from_dict(values, "pretrain")
    assert named in str(caught.value)
