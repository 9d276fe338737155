"""A model file is opened, checked and asked; what it should answer is known in closed form."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
import soundfile
from toy_model import DIGITS, toy_scores, write_toy_model

from spoken_digits import recognize
from spoken_digits.audio import AudioError, cut_clip
from spoken_digits.recognize import SHIPPED_MODEL, ModelError, Recognizer, load


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory) -> Recognizer:
    return load(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def voice(rate: int = 8_000, gain: float = 1.0) -> np.ndarray:
    t = np.arange(2 * rate) / rate
    envelope = np.where((t > 0.7) & (t < 1.2), gain, 0)
    return (envelope * np.sin(2 * np.pi * 500 * t)).astype(np.float32)


@pytest.mark.parametrize(("gain", "digit"), [(0.1, 9), (1.0, 8)])
def test_the_answer_is_the_softmax_of_the_scores(recognizer, gain, digit):
    answer = recognizer(voice(gain=gain), sample_rate=8_000)
    clip, start_s, end_s = cut_clip(voice(gain=gain), 8_000)
    exponentials = np.exp(toy_scores(clip[None])[0])
    expected = exponentials / exponentials.sum()
    np.testing.assert_allclose(answer.probabilities, expected, rtol=1e-5)
    assert sum(answer.probabilities) == pytest.approx(1, abs=1e-12)
    assert (answer.digit, answer.label) == (digit, str(digit))
    assert answer.probability == answer.probabilities[digit] == max(answer.probabilities)
    assert answer.labels == DIGITS
    assert (answer.start_s, answer.end_s) == (start_s, end_s)
    assert (answer.start_s, answer.end_s) == pytest.approx((0.7, 1.2), abs=0.1)
    np.testing.assert_allclose(answer.log_mel, clip[None] ** 2)


def test_a_file_and_its_samples_give_one_answer(recognizer, tmp_path):
    samples = np.stack([voice(44_100), 0.2 * voice(44_100)], axis=1)
    path = tmp_path / "nine.wav"
    soundfile.write(path, samples, 44_100, subtype="FLOAT")
    assert recognizer(path) == recognizer(str(path)) == recognizer(samples, sample_rate=44_100)


def test_a_batch_scores_as_its_clips_do(recognizer):
    clips = np.random.default_rng(0).standard_normal((3, 1_000)).astype(np.float32)
    together = recognizer.run(clips)
    assert together.shape == (3, 10)
    np.testing.assert_allclose(together, toy_scores(clips), rtol=1e-5)
    for clip, scores in zip(clips, together, strict=True):
        np.testing.assert_allclose(recognizer.run(clip[None])[0], scores, rtol=1e-6)


def test_a_label_that_is_no_digit_has_none(tmp_path):
    labels = ("one", "10", "٣", "2", "yes")
    answers = load(write_toy_model(tmp_path / "words.onnx", labels))
    assert answers.labels == labels
    answer = answers(voice(gain=0.1), 8_000)
    assert (answer.label, answer.digit) == ("yes", None)
    loud = answers(voice(), 8_000)
    assert (loud.label, loud.digit) == ("٣", None)


def test_a_model_tells_where_it_lies_and_what_it_is(tmp_path):
    path = write_toy_model(tmp_path / "toy.onnx", licence="made up")
    recognizer = Recognizer(path)
    assert recognizer.path == path
    assert recognizer.labels == DIGITS
    assert recognizer.metadata["licence"] == "made up"
    with pytest.raises(TypeError):
        recognizer.metadata["licence"] = "mine"


def test_an_answer_cannot_be_changed(recognizer):
    answer = recognizer(voice(), 8_000)
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.digit = 3
    assert len(repr(answer)) < 200


def test_samples_need_their_rate(recognizer):
    with pytest.raises(AudioError, match=r"no sample rate; expected .*sample_rate=44_100"):
        recognizer(voice())


def test_a_silent_file_is_named(recognizer, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), 8_000)
    with pytest.raises(AudioError, match=r"silent\.wav: no sound"):
        recognizer(tmp_path / "silent.wav")


def foreign(path) -> None:
    """Write a good ONNX file that is none of ours: y = -x."""
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N"])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N"])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "f", [x], [y])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "no such file"),
        (lambda p: p.touch(), "cannot be opened"),
        (lambda p: p.write_text("no model"), "cannot be opened"),
        (foreign, r"format_version None.*'x', 'y'.*expected 1, 8000, with \['waveform'"),
        (lambda p: write_toy_model(p, format_version="2"), "format_version 2"),
        (lambda p: write_toy_model(p, sample_rate_hz="16000"), "sample_rate_hz 16000"),
        (lambda p: write_toy_model(p, labels=DIGITS, classes=11), "labels .*JSON list of 11"),
        (lambda p: write_toy_model(p, labels=None, classes=10), "labels null"),
        (lambda p: write_toy_model(p, **{"training_data": None, "labels": "[0,"}), "labels"),
    ],
)
def test_a_file_that_is_no_model_of_ours_is_refused(tmp_path, write, said):
    path = tmp_path / "a.onnx"
    write(path)
    with pytest.raises(ModelError, match=f"a.onnx: .*{said}.*: take a file that .* export wrote"):
        Recognizer(path)


def test_where_the_shipped_model_is_lost_the_remedy_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(recognize, "SHIPPED_MODEL", tmp_path / "digits.onnx")
    with pytest.raises(ModelError, match="install spoken-digits again"):
        load()


@pytest.mark.skipif(not SHIPPED_MODEL.exists(), reason="the model does not ship yet")
def test_the_shipped_model_describes_itself_and_hears_digits():
    recognizer = load()
    assert recognizer.labels == DIGITS
    assert json.loads(recognizer.metadata["front_end"])["sample_rate_hz"] == 8_000
    assert recognizer.metadata["licence"]
    assert SHIPPED_MODEL.stat().st_size <= 1e6
    voices = sorted((SHIPPED_MODEL.parent / "voices").glob("[0-9]/*"))[::7]
    right = [recognizer(file).label == file.parent.name for file in voices]
    assert np.mean(right) >= 0.6  # made voices are hard for a model that knows people only
