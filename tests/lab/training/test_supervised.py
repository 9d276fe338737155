import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spoken_digits.lab.augmentation.policies import POLICIES, Policy
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.dataset import Dataset, prepare
from spoken_digits.lab.data.splits import split_by_speaker
from spoken_digits.lab.runs import RunError
from spoken_digits.lab.training import supervised as training
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import build_network, load_network, predict, train

TINY = TrainConfig(epochs=4, batch_size=32)


@pytest.fixture(scope="module")
def tones(
    tone_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Dataset, np.ndarray, np.ndarray]:
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


def test_a_run_killed_twice_ends_with_the_bytes_of_one_that_was_not(
    tones: tuple[Dataset, np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, rows, heldout = tones
    train(TINY, dataset, rows, tmp_path / "whole", heldout, quiet=True)

    original, calls = training.augmented_log_mel, 0

    def until_killed(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls in (5, 8):  # in the middle of the second epoch, and of a later one
            raise Killed
        return original(*args)

    monkeypatch.setattr(training, "augmented_log_mel", until_killed)
    for _ in range(2):
        with pytest.raises(Killed):
            train(TINY, dataset, rows, tmp_path / "cut", heldout, quiet=True)
        assert not (tmp_path / "cut" / "model.safetensors").exists()
    train(TINY, dataset, rows, tmp_path / "cut", heldout, quiet=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("model", "rate", "epochs"),
    [("cnn", 4e-3, 6), ("temporal-cnn", 4e-3, 6), ("lstm", 4e-3, 12), ("rnn", 2e-3, 20)],
)
def test_networks_learn_chords_and_carry_them_to_another_voice(
    tones: tuple[Dataset, np.ndarray, np.ndarray],
    tmp_path: Path,
    model: str,
    rate: float,
    epochs: int,
) -> None:
    dataset, rows, test_rows = tones
    config = TrainConfig(model=model, epochs=epochs, learning_rate=rate, batch_size=16)
    net = train(config, dataset, rows, tmp_path / "run", quiet=True)
    scores, _ = predict(net, dataset, test_rows)
    assert (scores.argmax(1) == dataset.targets[test_rows]).mean() >= 0.6  # chance: 0.1


def test_the_joint_objective_teaches_resumes_and_leaves_no_projection_behind(
    tones: tuple[Dataset, np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, rows, test_rows = tones
    config = TrainConfig(objective="joint", epochs=6, batch_size=16)
    net = train(config, dataset, rows, tmp_path / "whole", quiet=True)
    scores, _ = predict(net, dataset, test_rows)
    assert (scores.argmax(1) == dataset.targets[test_rows]).mean() >= 0.6
    assert load_network(tmp_path / "whole")[1].state_dict().keys() == net.state_dict().keys()

    # A weight of zero is plain cross-entropy, whatever the projection makes of it.
    config = replace(config, model="cnn-tiny", epochs=3)
    net = train(config, dataset, rows, tmp_path / "tiny", quiet=True)
    plain = train(replace(config, objective="cross-entropy"), dataset, rows, tmp_path / "plain")
    none = train(replace(config, contrastive_weight=0.0), dataset, rows, tmp_path / "none")
    assert torch.equal(plain.head.weight, none.head.weight)
    assert not torch.equal(plain.head.weight, net.head.weight)

    original, calls = training.augmented_log_mel, 0

    def until_killed(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise Killed
        return original(*args)

    monkeypatch.setattr(training, "augmented_log_mel", until_killed)
    with pytest.raises(Killed):
        train(config, dataset, rows, tmp_path / "cut", quiet=True)
    train(config, dataset, rows, tmp_path / "cut", quiet=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "tiny")


def test_mixup_reaches_the_targets_and_still_teaches(
    tones: tuple[Dataset, np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, rows, test_rows = tones
    losses = {}
    for name, alpha in (("alone", 0.0), ("mixed", 1.0)):
        monkeypatch.setitem(POLICIES, name, Policy(mixup_alpha=alpha))
        config = TrainConfig(augmentation=name, epochs=6, batch_size=16, label_smoothing=0.0)
        net = train(config, dataset, rows, tmp_path / name, quiet=True)
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        losses[name] = json.loads(log[-1])["loss"]
    # Between two classes no answer is certain: with shares of Beta(1, 1), the mean entropy is 1/2.
    assert losses["mixed"] > losses["alone"] + 0.2
    scores, _ = predict(net, dataset, test_rows)
    assert (scores.argmax(1) == dataset.targets[test_rows]).mean() >= 0.6


@pytest.mark.parametrize("model", ["sgd-pool", "logistic-interpolate"])
def test_linear_baselines_are_scikit_learns(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path, model: str
) -> None:
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset, rows, test_rows = tones
    config = TrainConfig(model=model, weight_decay=0.01)
    net = train(config, dataset, rows, tmp_path / "run", quiet=True)
    _, features = predict(net, dataset, np.concatenate([rows, test_rows]))
    classifier = (
        SGDClassifier(alpha=0.01, random_state=0)
        if model.startswith("sgd")
        else LogisticRegression(C=1 / (0.01 * len(rows)), max_iter=1000)
    )
    peer = make_pipeline(StandardScaler(), classifier)
    peer.fit(features[: len(rows)], dataset.targets[rows])
    scores, _ = predict(net, dataset, test_rows)
    np.testing.assert_allclose(
        scores, peer.decision_function(features[len(rows) :]), atol=1e-2, rtol=1e-3
    )


def test_a_saved_run_answers_as_the_network_that_was_trained(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    dataset, rows, test_rows = tones
    net = train(TINY, dataset, rows, tmp_path / "run", quiet=True)
    config, loaded = load_network(tmp_path / "run")
    assert config == TINY
    for a, b in zip(
        predict(net, dataset, test_rows), predict(loaded, dataset, test_rows), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_temperature_divides_the_scores(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    dataset, rows, test_rows = tones
    plain = train(TrainConfig(epochs=1), dataset, rows, tmp_path / "1", quiet=True)
    halved = train(
        TrainConfig(epochs=1, temperature=2.0), dataset, rows, tmp_path / "2", quiet=True
    )
    np.testing.assert_allclose(
        predict(halved, dataset, test_rows)[0],
        predict(plain, dataset, test_rows)[0] / 2,
        atol=1e-5,
    )


def test_building_a_network_leaves_the_callers_random_stream_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = build_network(TINY, 10)
    assert torch.equal(torch.rand(3), expected)
    second = build_network(TINY, 10)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    other = build_network(TrainConfig(seed=1), 10)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_folder_with_another_recipe_is_refused(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    dataset, rows, _ = tones
    train(TrainConfig(model="sgd-pool"), dataset, rows, tmp_path / "run", quiet=True)
    with pytest.raises(RunError, match="another recipe"):
        train(TrainConfig(model="sgd-pool", seed=1), dataset, rows, tmp_path / "run", quiet=True)


def test_an_unknown_device_and_an_unfinished_run_are_named(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    dataset, rows, _ = tones
    with pytest.raises(ConfigError, match=r"'toaster'.*use auto or cpu"):
        train(TrainConfig(device="toaster"), dataset, rows, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists(), "a refused run claims no folder"
    with pytest.raises(ConfigError, match=r"no model\.safetensors"):
        load_network(tmp_path / "run")


def test_damaged_weights_are_named(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    dataset, rows, _ = tones
    train(TrainConfig(model="sgd-pool"), dataset, rows, tmp_path / "run", quiet=True)
    weights = tmp_path / "run" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(ConfigError, match=r"model\.safetensors: damaged"):
        load_network(tmp_path / "run")
    weights.write_bytes(content)
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("sgd-pool", "lstm"))
    with pytest.raises(ConfigError, match="not of the network that"):
        load_network(tmp_path / "run")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ConfigError, match="remove it"):
        train(TINY, dataset, rows, tmp_path / "cut", quiet=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("objective", ["cross-entropy", "joint"])
def test_the_loss_is_that_of_each_member_alone_with_smoothed_targets(
    tones: tuple[Dataset, np.ndarray, np.ndarray], smoothing: float, objective: str
) -> None:
    dataset, rows, _ = tones
    config = TrainConfig(
        augmentation="none", label_smoothing=smoothing, objective=objective, contrastive_weight=0.0
    )
    net = build_network(config, 10).eval()
    task = training._Supervised(config, net, dataset, rows, None, None)
    batch = rows[::11]
    loss, metrics, n = task.step(batch)
    labels = dataset.targets[batch]
    with torch.no_grad():
        embedding = net(*dataset.batch(batch)).embedding.double().numpy()
    weight, bias = (x.detach().double().numpy() for x in (net.head.weight, net.head.bias))
    half = embedding.shape[1] // 2
    losses = []
    for part in (slice(0, half), slice(half, None)):
        # A member alone: what it gives is twice its part of the sum, so that the mean is the sum.
        logits = 2 * embedding[:, part] @ weight[:, part].T + bias
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
        losses += [-(targets * log_p).sum(1)]
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)
    # An ensemble trained as one network would have the loss of the mean, which is another.
    together = embedding @ weight.T + bias
    log_p = together - np.log(np.exp(together).sum(1, keepdims=True))
    assert abs(loss.item() + np.mean((targets * log_p).sum(1))) > 1e-3
    hits = together.argmax(1) == labels
    assert (metrics["accuracy"], n) == (pytest.approx(hits.mean()), len(batch))


def test_what_training_returns_is_the_averaged_network(
    tones: tuple[Dataset, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    dataset, rows, _ = tones
    last, average = (
        train(
            TrainConfig(model="cnn-tiny", epochs=2, batch_size=16, ema_decay=decay),
            dataset, rows, tmp_path / str(decay), quiet=True,
        ).head.weight
        for decay in (0.0, 0.9)
    )  # fmt: skip
    assert not torch.equal(last, average)
