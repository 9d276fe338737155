import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spoken_digits.audio import find_speech
from spoken_digits.lab import shipping
from spoken_digits.lab.own import read_start
from spoken_digits.lab.recipe import TrainConfig
from spoken_digits.lab.shipping import CONDITIONS, ship, study_shipped, train_open
from spoken_digits.recognize import Recognizer

TINY = TrainConfig(
    model="cnn-tiny", split="open", augmentation="light", epochs=1, clips_an_epoch=64,
    other_share=0.25, rejection_threshold=-1.0,
)  # fmt: skip


@pytest.fixture
def runs(open_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs in which the voices have been made before."""
    monkeypatch.setattr(shipping, "make_voices", None)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".voices").symlink_to(open_corpora / "made")
    return tmp_path / "runs"


def test_one_call_makes_the_file_that_ships_and_weights_to_start_from(
    open_corpora: Path, runs: Path, tmp_path: Path
) -> None:
    run = train_open(TINY, open_corpora, runs, "made up")
    path = ship(run, tmp_path / "digits.onnx")
    recognizer = Recognizer(path)
    assert recognizer.rejects
    assert recognizer.threshold == pytest.approx(1 / (1 + np.e), abs=1e-6)
    assert recognizer.metadata["command"] == "made up"
    data = json.loads(recognizer.metadata["training_data"])
    assert data["corpora"]["fsdd"] == {"digits": 60, "other_words": 0, "speakers": 6}
    assert "CC BY-SA 4.0; CC BY 4.0" in data["licence"]
    recipe, weights = read_start(str(path.with_suffix(".safetensors")))
    assert recipe == TINY
    whole = load_file(run / "model.safetensors")
    assert all(torch.equal(whole[name], weight) for name, weight in weights.items())
    before = (run / "model.safetensors").stat().st_mtime_ns
    assert train_open(TINY, open_corpora, runs, "again") == run  # finished: left alone
    assert (run / "model.safetensors").stat().st_mtime_ns == before


def test_the_study_tells_what_was_left_out_and_how_it_was_heard(
    open_corpora: Path, runs: Path
) -> None:
    summary = json.loads(study_shipped(TINY, open_corpora, runs, "made up").read_text())
    assert [row["left_out"] for row in summary["accuracy"]] == [
        "fsdd, the whole corpus",
        "fsdd, speakers in 3 groups",
        "speech_commands, the whole corpus",
        "speech_commands, speakers in 3 groups",
    ]
    assert all(0 <= row["accuracy"] <= 1 and row["clips"] == 60 for row in summary["accuracy"])
    assert len(summary["fsdd_speakers"]) == 6
    conditions = {row["condition"] for row in summary["spoiled_recordings"]}
    assert conditions == {*CONDITIONS, *(f"noise {snr} dB" for snr in shipping.SNR_DB)}
    scores = {row["score"] for row in summary["rejection_of_words_never_trained_on"]}
    assert len(scores) >= 4
    assert sum(row["clips"] for row in summary["recall_by_digit"]) == 120


def test_noise_stands_at_the_ratio_asked_for_over_the_speech() -> None:
    rng = np.random.default_rng(0)
    samples = np.zeros(8000, np.float32)
    samples[3000:5000] = np.sin(np.arange(2000) * 0.4)
    noise = rng.standard_normal(40_000).astype(np.float32)
    noisy = shipping._noisy([noise], 10)(samples, np.random.default_rng(1))
    added = noisy - np.pad(samples, 1600)
    start, stop = find_speech(samples)
    ratio = (samples[start:stop] ** 2).mean() / (added**2).mean()
    assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_repeats_and_leaves_its_input(name: str) -> None:
    samples = np.sin(np.arange(4000) * 0.5).astype(np.float32)
    before = samples.copy()
    one, two = (CONDITIONS[name](samples, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(samples, before)
    assert one.dtype == np.float32
