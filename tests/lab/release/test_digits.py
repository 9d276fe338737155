import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spoken_digits.audio import find_speech
from spoken_digits.lab import export as exporting
from spoken_digits.lab.data.pooled import FOLDS, left_out
from spoken_digits.lab.export import ExportError
from spoken_digits.lab.release import digits as shipping
from spoken_digits.lab.release.digits import CONDITIONS, ship, study_shipped, train_open
from spoken_digits.lab.release.finetune import read_start
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.recognize import Recognizer

TINY = TrainConfig(
    model="cnn-tiny", split="open", augmentation="light", epochs=1, clips_per_epoch=64,
    oov_fraction=0.25, rejection_threshold=-1.0,
)  # fmt: skip
STUDIED = replace(TINY, model="cnn-single")


@pytest.fixture
def runs(open_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs in which the voices have been made before."""
    monkeypatch.setattr(shipping, "make_voices", None)
    return with_voices(tmp_path / "runs", open_corpora)


def with_voices(folder: Path, corpora: Path) -> Path:
    folder.mkdir()
    (folder / ".voices").symlink_to(corpora / "made")
    return folder


@pytest.fixture(scope="module")
def studied(open_corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The folder of a finished study, and its summary."""
    folder = with_voices(tmp_path_factory.mktemp("study") / "runs", open_corpora)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("_CALIBRATED", "_COMPARED"):  # fewer voices, for speed
            monkeypatch.setattr(exporting, name, slice(1, None, 40))
        return folder, json.loads(
            study_shipped(STUDIED, open_corpora, folder, "made up").read_text()
        )


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


@pytest.mark.xdist_group("shipped")  # one worker makes the study
def test_the_study_tells_what_was_left_out_and_how_it_was_heard(
    studied: tuple[Path, dict],
) -> None:
    _, summary = studied
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


@pytest.mark.xdist_group("shipped")  # one worker makes the study
def test_the_study_sets_the_smaller_variants_beside_the_network(
    open_corpora: Path, studied: tuple[Path, dict]
) -> None:
    folder, summary = studied
    rows = {row["variant"]: row for row in summary["variants"]}
    assert list(rows) == ["float", "int8", "tiny", "tiny int8"]
    assert [row["parameters"] for row in rows.values()] == [
        *[summary["parameters"]] * 2,
        9747,
        9747,
    ]
    assert rows["int8"]["file_bytes"] < 0.8 * rows["float"]["file_bytes"]
    assert rows["tiny int8"]["file_bytes"] < rows["tiny"]["file_bytes"] < 350_000
    columns = ("fsdd_whole", "fsdd_speakers", "speech_commands_whole", "speech_commands_speakers")
    assert [rows["float"][f"accuracy_{column}"] for column in columns] == [
        row["accuracy"] for row in summary["accuracy"]
    ]
    assert [rows["float"]["rejection_auroc"]] == [
        row["auroc"]
        for row in summary["rejection_of_words_never_trained_on"]
        if row["score"] == "own"
    ]
    # Heard anew, one file after another, as a user's recordings are.
    hits = [
        Recognizer(folder / f"cnn-tiny-open-{fold}-s0" / "digits-int8.onnx", 0)(clip.file).label
        == clip.label
        for fold in range(FOLDS)
        for clip in left_out(f"open:{fold}", open_corpora, others=False)
        if clip.corpus == "fsdd"
    ]
    assert rows["tiny int8"]["accuracy_fsdd_speakers"] == pytest.approx(np.mean(hits))


@pytest.mark.xdist_group("shipped")  # one worker makes the study
def test_a_second_study_keeps_what_is_finished_and_leaves_out_what_export_refuses(
    open_corpora: Path,
    studied: tuple[Path, dict],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, summary = studied
    before = stamps(folder)
    assert (
        json.loads(study_shipped(STUDIED, open_corpora, folder, "made up").read_text()) == summary
    )
    assert stamps(folder) == before

    def refuse(content: bytes) -> bytes:
        raise ExportError("in 8 bits 12.3% of the synthetic voices")

    monkeypatch.setattr(shipping, "quantize", refuse)
    (folder / "cnn-tiny-open-1-s0" / "evaluation-int8.json").unlink()
    capsys.readouterr()
    again = json.loads(study_shipped(STUDIED, open_corpora, folder, "made up").read_text())
    assert again == summary | {"variants": summary["variants"][:3]}
    assert "tiny int8, left out of the variants: in 8 bits 12.3%" in capsys.readouterr().err


def stamps(folder: Path) -> dict[str, int]:
    """When each file of each run was written."""
    return {str(file): file.stat().st_mtime_ns for file in folder.glob("cnn-*/*")}


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
