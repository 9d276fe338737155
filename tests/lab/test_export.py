import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from spoken_digits.lab import export as exporting
from spoken_digits.lab.export import ExportError, export
from spoken_digits.lab.features import FRONT_ENDS, log_mel
from spoken_digits.lab.models import MODELS, DigitNet
from spoken_digits.lab.recipe import ConfigError, TrainConfig
from spoken_digits.lab.train import build_network
from spoken_digits.recognize import Recognizer


def finished_run(run_dir: Path, **values: object) -> DigitNet:
    config = TrainConfig(**values)
    net = build_network(config, 10).eval()
    run_dir.mkdir()
    (run_dir / "config.toml").write_text(config.to_toml())
    save_file(net.state_dict(), run_dir / "model.safetensors")
    environment = {
        "labels": list("0123456789"),
        "command": "made up",
        "commit": "none",
        "data": {"corpus": "tones", "hash": "0" * 64},
    }
    (run_dir / "environment.json").write_text(json.dumps(environment))
    return net


@pytest.mark.parametrize("model", MODELS)
def test_onnx_says_what_torch_says_at_any_length_and_batch_size(tmp_path: Path, model: str) -> None:
    net = finished_run(tmp_path / "run", model=model)
    path = export(tmp_path / "run", tmp_path / "out" / "digits.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for batch, length in ((1, 801), (4, 5000), (2, 11999)):
        waveform = (0.1 * rng.standard_normal((batch, length))).astype(np.float32)
        scores, spectrogram, embedding = session.run(None, {"waveform": waveform})
        with torch.inference_mode():
            expected = net(torch.from_numpy(waveform))
        np.testing.assert_allclose(scores, expected.scores.numpy(), atol=1e-4)
        np.testing.assert_allclose(embedding, expected.embedding.numpy(), atol=1e-4)
        np.testing.assert_allclose(
            spectrogram[0], log_mel(waveform[0], FRONT_ENDS["ours"]), atol=1e-3
        )


def test_log_odds_of_being_a_digit_come_out_of_a_network_that_rejects(tmp_path: Path) -> None:
    net = finished_run(tmp_path / "run", other_share=0.2, rejection_threshold=0.7)
    path = export(tmp_path / "run")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    waveform = 0.1 * np.random.default_rng(0).standard_normal((3, 4000)).astype(np.float32)
    scores, rejection, embedding = session.run(
        ["scores", "rejection", "embedding"], {"waveform": waveform}
    )
    assert scores.shape == (3, 10)
    logits = embedding @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)  # (3, 11)
    is_digit = probabilities[:, :10].sum(1)
    np.testing.assert_allclose(rejection, np.log(is_digit / probabilities[:, 10]), atol=1e-4)
    recognizer = Recognizer(path)
    assert recognizer.threshold == pytest.approx(1 / (1 + np.exp(-0.7)), abs=1e-6)
    np.testing.assert_allclose(recognizer.judge(waveform)[1], is_digit, atol=1e-4)
    with torch.inference_mode():  # what is learned is the softmax over all eleven
        learned = net.member_scores(torch.from_numpy(embedding)).mean(0).softmax(-1).numpy()
    np.testing.assert_allclose(learned, probabilities, atol=1e-5)


def test_eight_bits_say_almost_the_same_in_a_smaller_file(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", model="cnn-open", other_share=0.2)
    whole = export(tmp_path / "run")
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(4000)).astype(np.float32) for _ in range(8)]
    small = exporting.quantize(whole, tmp_path / "small.onnx", clips)
    assert small.stat().st_size < 0.65 * whole.stat().st_size
    one, other = Recognizer(whole), Recognizer(small)
    assert one.metadata.items() <= other.metadata.items()
    scores, same = (np.concatenate([r.run(c[None]) for c in clips]) for r in (one, other))
    assert np.abs(scores - same).max() < 0.15 * np.ptp(scores)
    np.testing.assert_allclose(one(clips[0], 8000).log_mel, other(clips[0], 8000).log_mel)


def test_the_file_describes_itself(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    model = onnx.load(export(tmp_path / "run"))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["labels"]) == list("0123456789")
    assert metadata["sample_rate_hz"] == "8000"
    assert json.loads(metadata["front_end"])["n_mels"] == 40
    assert json.loads(metadata["training_data"])["hash"] == "0" * 64
    assert metadata["command"] == "made up"
    assert {"format_version", "model", "parameters", "version", "licence", "commit"} <= set(
        metadata
    )
    domains = {opset.domain for opset in model.opset_import}
    assert domains <= {"", "ai.onnx"}, "only standard operators"


def test_nothing_is_written_when_the_two_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(tmp_path / "run")
    to_onnx = exporting._to_onnx

    def another_network(net: torch.nn.Module) -> bytes:
        with torch.no_grad():
            net.head.bias += 0.001
            content = to_onnx(net)
            net.head.bias -= 0.001
        return content

    monkeypatch.setattr(exporting, "_to_onnx", another_network)
    with pytest.raises(ExportError, match=r"scores of ONNX and torch differ by 0\.001"):
        export(tmp_path / "run", tmp_path / "digits.onnx")
    assert not (tmp_path / "digits.onnx").exists()


@pytest.mark.parametrize("text", [None, "{", "{}", "[]"])
def test_a_run_that_does_not_tell_its_training_is_refused(tmp_path: Path, text: str | None) -> None:
    finished_run(tmp_path / "run", model="sgd-pool")
    environment = tmp_path / "run" / "environment.json"
    environment.write_text(text) if text else environment.unlink()
    with pytest.raises(ConfigError, match=r"environment\.json: missing or incomplete; expected"):
        export(tmp_path / "run", tmp_path / "digits.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model\.safetensors"):
        export(tmp_path)
