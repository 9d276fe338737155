"""Tasks: what a network is tested on, measured back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.dataset import Dataset, prepare
from spoken_digits.lab.studies.tasks import TASKS, Bench, disturbed, recorded_noise
from spoken_digits.lab.training.config import TrainConfig


@pytest.fixture(scope="module")
def dataset(tone_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(read_corpus(tone_corpus), tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize("condition", ["white-10", "made-0", "recorded-5"])
def test_the_noise_asked_for_is_the_noise_found(dataset, condition):
    rows = np.arange(0, 20, 2)
    recording = torch.from_numpy(np.random.default_rng(3).normal(size=50_000).astype(np.float32))
    changed = disturbed(dataset, rows, condition, recording)
    for row in rows:
        clean, noisy = dataset.clip(row), changed.clip(row)
        found_db = 10 * np.log10(np.sum(clean**2) / np.sum((noisy - clean) ** 2))
        assert found_db == pytest.approx(float(condition.split("-")[1]), abs=0.1)
    for row in (1, 3, 21):
        assert np.array_equal(dataset.clip(row), changed.clip(row))
    again = disturbed(dataset, rows, condition, recording)
    assert np.array_equal(again.samples, changed.samples)


def test_a_room_rings_and_keeps_the_energy(dataset):
    changed = disturbed(dataset, np.array([4]), "reverberation")
    clean, wet = dataset.clip(4), changed.clip(4)
    assert np.sum(wet**2) == pytest.approx(np.sum(clean**2), rel=1e-4)
    assert not np.allclose(wet, clean, atol=0.01)


def test_recorded_noise_is_read_at_8_khz_or_is_none(tmp_path, data_root, monkeypatch):
    recording = recorded_noise(data_root)
    if recording is None:
        pytest.skip("no background noises of Speech Commands at hand")
    assert recording.ndim == 1
    assert 60 < len(recording) / 8000 < 3600


@pytest.mark.parametrize("with_noise", [True, False])
def test_a_noise_run_tests_one_network_under_every_condition(
    dataset, tmp_path, monkeypatch, with_noise
):
    recording = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(
        "spoken_digits.lab.studies.tasks.recorded_noise",
        lambda data: recording if with_noise else None,
    )
    rows = np.arange(len(dataset.clips))
    config = TrainConfig(model="sgd-pool", weight_decay=0.01)
    bench = Bench(dataset, rows, rows[::3], tmp_path)
    scores = TASKS["noise"].run(config, bench)
    other = "recorded" if with_noise else "made"
    assert list(scores) == [
        "clean",
        *(f"{kind}-{db}" for kind in ("white", other) for db in (20, 10, 5, 0)),
        "reverberation",
    ]
    right = {
        name: np.mean(given.argmax(1) == dataset.targets[rows[::3]])
        for name, given in scores.items()
    }
    assert right["clean"] > 0.9
    assert right["white-0"] < right["clean"]
    # A second call takes the network that is there.
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = TASKS["noise"].run(config, bench)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp
    for name, given in scores.items():
        assert np.array_equal(given, again[name])
