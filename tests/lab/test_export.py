import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from runtime_shapes import check_against_runtime
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy import special

import spoken_digits
from spoken_digits.audio import read_audio, to_clip
from spoken_digits.lab import export as exporting
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.export import ExportError, export
from spoken_digits.lab.features import FRONT_ENDS, log_mel
from spoken_digits.lab.models import MODELS, DigitNet
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import build_network
from spoken_digits.networks import DigitNetwork
from spoken_digits.recognize import SHIPPED_MODEL, Recognizer

# Those of the network that ships: one worker exports it once.
ONE_WORKER = pytest.mark.xdist_group("exported")


def finished_run(
    run_dir: Path, weights: Mapping[str, torch.Tensor] | None = None, **values: object
) -> DigitNet:
    config = TrainConfig(**values)
    knows_oh = weights is not None and len(weights["head.bias"]) == 12
    labels = [*"0123456789", *(["oh"] if knows_oh else [])]
    net = build_network(config, len(labels)).eval()
    if weights is not None:
        net.load_state_dict(weights)
    run_dir.mkdir()
    (run_dir / "config.toml").write_text(config.to_toml())
    save_file(net.state_dict(), run_dir / "model.safetensors")
    environment = {
        "labels": labels,
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
    assert DigitNetwork(path).labels == tuple("0123456789")
    check_against_runtime(path.read_bytes(), {"B": 2, "L": 801})
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


def test_nothing_is_multiplied_by_ones_or_added_to_zeros() -> None:
    model = onnx.load(str(SHIPPED_MODEL))
    operands = {
        name
        for node in model.graph.node
        if node.op_type in ("Mul", "Add")
        for name in node.input
        if name
    } - {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in operands)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    clip = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    found = dict(
        zip(sorted(operands), session.run(sorted(operands), {"waveform": clip}), strict=True)
    )
    masks = [name for name, array in found.items() if array.size > 2 and np.ptp(array) == 0]
    assert len(found) > 10
    assert not masks


def test_log_odds_of_being_a_digit_come_out_of_a_network_that_rejects(tmp_path: Path) -> None:
    net = finished_run(tmp_path / "run", oov_fraction=0.2, rejection_threshold=0.7)
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
    np.testing.assert_allclose(recognizer.score(waveform)[1], rejection, atol=1e-6)
    with torch.inference_mode():  # what is learned is the softmax over all eleven
        learned = net.member_scores(torch.from_numpy(embedding)).mean(0).softmax(-1).numpy()
    np.testing.assert_allclose(learned, probabilities, atol=1e-5)


@pytest.fixture(scope="module")
def shipped_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DigitNet]:
    """The network that ships, as a finished run."""
    weights = SHIPPED_MODEL.with_suffix(".safetensors")
    with safe_open(weights, framework="pt") as file:
        recipe = tomllib.loads(file.metadata()["config"])
    run = tmp_path_factory.mktemp("shipped") / "run"
    return run, finished_run(run, load_file(weights), **recipe)


@pytest.fixture(scope="module")
def pair(shipped_run: tuple[Path, DigitNet]) -> tuple[Path, Path]:
    """It, exported in float and in 8 bits."""
    run, _ = shipped_run
    return export(run), export(run, int8=True)


def voices() -> list[np.ndarray]:
    # Neither those that told the ranges (every ninth) nor those that 8 bits were judged by (every
    # third from the second).
    return [to_clip(*read_audio(clip.file)) for clip in read_corpus("voices")[5::9]]


@ONE_WORKER
def test_eight_bits_answer_as_float_does(pair: tuple[Path, Path]) -> None:
    assert [path.name for path in pair] == ["digits.onnx", "digits-int8.onnx"]
    one, other = map(spoken_digits.load, pair)
    names = [node.name for node in other._session.get_outputs()]
    assert names == [node.name for node in one._session.get_outputs()]
    clips = voices()
    (scores, log_odds), (scores_8, log_odds_8) = (
        map(np.concatenate, zip(*(r.score(clip[None]) for clip in clips), strict=True))
        for r in (one, other)
    )
    assert np.mean(scores.argmax(1) == scores_8.argmax(1)) >= 0.99
    accepted, accepted_8 = (
        log_odds >= one.log_odds_threshold,
        log_odds_8 >= other.log_odds_threshold,
    )
    assert np.mean(accepted == accepted_8) >= 0.99
    assert np.abs(special.softmax(scores, 1) - special.softmax(scores_8, 1)).mean() < 0.002
    assert np.abs(special.expit(log_odds) - special.expit(log_odds_8)).mean() < 0.01
    assert other.threshold == one.threshold
    file = read_corpus("voices")[5].file
    first, second = one(file), other(file)
    assert first.digit == second.digit == int(file.parent.name)
    assert np.array_equal(first.log_mel, second.log_mel)  # the front end is as it was


@ONE_WORKER
def test_eight_bits_say_what_they_are(pair: tuple[Path, Path]) -> None:
    metadata, metadata_8 = (dict(Recognizer(path).metadata) for path in pair)
    assert (metadata.pop("precision"), metadata_8.pop("precision")) == ("float32", "int8")
    assert metadata == metadata_8


@ONE_WORKER
def test_the_weights_are_the_nearest_of_127_steps_and_the_front_end_stays_in_float(
    shipped_run: tuple[Path, DigitNet], pair: tuple[Path, Path]
) -> None:
    graph = onnx.load(pair[1]).graph
    stored = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    stored |= {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant"
    }
    makers = {name: node for node in graph.node for name in node.output}
    weights, sizes = shipped_run[1].state_dict(), []
    in_float = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        maker = makers.get(node.input[1])
        if maker is None or maker.op_type != "DequantizeLinear":
            in_float.append(stored[node.input[1]])
            continue
        steps, scale = stored[maker.input[0]], stored[maker.input[1]]  # (out, ...), (out,)
        assert steps.dtype == np.int8
        assert np.abs(steps).max() <= 64  # sums of 7 bits fit the registers of every processor
        name = maker.input[0].removeprefix("net.").removesuffix("_quantized")
        weight = weights[name].numpy()
        around = scale.reshape(-1, *[1] * (weight.ndim - 1))
        np.testing.assert_allclose(steps * around, weight, atol=0.501 * scale.max())
        assert (np.abs(steps * around - weight) <= 0.501 * around).all()
        sizes.append((steps.nbytes + scale.nbytes, weight.nbytes))
    assert len(sizes) == sum(w.ndim > 1 for k, w in weights.items() if "front_end" not in k)
    assert [array.shape for array in in_float] == [(258, 1, 256)]
    small, whole = map(sum, zip(*sizes, strict=True))
    assert small <= 0.4 * whole
    assert pair[1].stat().st_size <= 0.55 * pair[0].stat().st_size


@ONE_WORKER
def test_eight_bits_are_the_same_bytes_again(pair: tuple[Path, Path]) -> None:
    assert exporting.quantize(pair[0].read_bytes()) == pair[1].read_bytes()


@ONE_WORKER
def test_a_network_that_8_bits_do_not_suffice_for_is_refused(
    shipped_run: tuple[Path, DigitNet], tmp_path: Path
) -> None:
    # One channel is a thousand times as loud, and heard a thousand times as faintly by the next
    # layer: the same function, but the steps of 8 bits are as coarse as that channel asks for.
    weights = {name: weight.clone() for name, weight in shipped_run[1].state_dict().items()}
    for name in ("norms.0.weight", "norms.0.bias"):
        weights[f"backbone.{name}"][3] *= 1000
    weights["backbone.convolutions.1.weight"][:, 3] /= 1000
    recipe = (shipped_run[0] / "config.toml").read_text(encoding="utf-8")
    finished_run(tmp_path / "run", weights, **tomllib.loads(recipe))
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(ExportError, match=r"in 8 bits \d+\.\d% of .* at least 98%; nothing was"):
        export(tmp_path / "run", int8=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    whole = Recognizer(export(tmp_path / "run"))  # in float nothing is wrong with it
    clip = voices()[0][None]
    np.testing.assert_allclose(
        whole.run(clip), Recognizer(SHIPPED_MODEL).run(clip), rtol=1e-3, atol=1e-3
    )


def test_what_the_float_file_cannot_tell_apart_counts_as_the_same() -> None:
    def says(probabilities: list[float], score: float) -> Recognizer:
        recognizer = Mock(spec=Recognizer, log_odds_threshold=0.0)
        recognizer.score.return_value = np.log([probabilities]), special.logit([score])
        return recognizer

    def same(one: Recognizer, other: Recognizer) -> float:
        return exporting._agreement(one, other, [np.zeros(800, np.float32)])

    clear, close = says([0.7, 0.2, 0.1], 0.9), says([0.45, 0.4, 0.15], 0.9)
    second = says([0.3, 0.6, 0.1], 0.9)
    assert same(clear, clear) == same(close, clear) == same(close, second) == 1
    assert same(clear, second) == same(second, close) == 0
    assert same(clear, says([0.7, 0.2, 0.1], 0.4)) == 0  # refused by one alone


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
