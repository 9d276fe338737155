"""The network of strings: what it keeps, its loss, its batches, and that it learns."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.connected.network import (
    BLOCK,
    FRONT_END,
    LATEST_S,
    STEP,
    StreamingCache,
    StringNet,
    compress_weights,
    export_strings,
    widen,
)
from spoken_digits.lab.connected.pipeline import DECODING
from spoken_digits.lab.connected.strings import DigitString, read_words
from spoken_digits.lab.connected.training import (
    StringConfig,
    TrainingData,
    draw_batch,
    string_loss,
    train_strings,
)
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.export import ExportError
from spoken_digits.lab.features import mel_spectrogram
from spoken_digits.networks import StringNetwork
from spoken_digits.spotting import BLANK, LABELS

pytestmark = pytest.mark.xdist_group("string network")  # one worker trains it once

DIGITS = LABELS.index("oh") + 1
TINY = StringConfig(steps=25, batch_size=4, seconds=2.4, learning_rate=1e-2, ema_decay=0.5)


@pytest.fixture(scope="module")
def material(tone_corpus) -> TrainingData:
    digits = [replace(s, corpus="fsdd") for s in read_words(read_corpus(tone_corpus))]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(8 * SAMPLE_RATE).astype(np.float32)
    words = [DigitString.without_digits(0.05 * noise[:3_000])]
    phrase = DigitString(
        np.concatenate([digits[0].samples, digits[-1].samples]),
        digits[0].digits + digits[-1].digits,
        np.array([0, len(digits[0].samples)]),
        np.array([len(digits[0].samples), len(digits[0].samples) + len(digits[-1].samples)]),
        "zoe", "phrases",
    )  # fmt: skip
    return TrainingData(
        digits, [phrase, DigitString.without_digits(0.05 * noise[:8_000])], words, [noise]
    )


@pytest.fixture(scope="module")
def trained(material) -> tuple[StringNet, list[float]]:
    losses: list[float] = []

    def recorded(*args):
        loss = string_loss(*args)
        losses.append(float(loss.detach()))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spoken_digits.lab.connected.training.string_loss", recorded)
        net = train_strings(material, TINY)
    return net, losses


def test_blocks_with_a_state_are_the_whole(trained):
    net, _ = trained
    waveform = 0.1 * torch.randn(2, 20 * STEP, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, edges, _ = net(waveform)
        for blocks in (1, 2, 5):
            state, parts = None, []
            for block in waveform.split(blocks * STEP, dim=1):
                *part, state = net(block, state)
                parts.append(part)
            torch.testing.assert_close(torch.cat([p[0] for p in parts], 1), logits)
            torch.testing.assert_close(torch.cat([p[1] for p in parts], 1), edges)


def test_it_looks_back_only(trained):
    net, _ = trained
    waveform = 0.1 * torch.randn(1, 20 * STEP, generator=torch.Generator().manual_seed(0))
    changed = waveform.clone()
    changed[:, 10 * STEP :] = 0
    with torch.no_grad():
        one, two = net(waveform)[0], net(changed)[0]
    torch.testing.assert_close(one[:, :10], two[:, :10], rtol=0, atol=0)
    assert (one[:, 10:] - two[:, 10:]).abs().max() > 0.01


def test_the_level_does_not_matter(trained):
    net, _ = trained
    waveform = 0.1 * torch.randn(1, 20 * STEP, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(net(waveform)[0], net(10 * waveform)[0], rtol=0.01, atol=0.01)


def test_frames_are_those_of_the_reference():
    net = StringNet()
    waveform = torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))
    power = net.power(waveform, StreamingCache())
    mel = net.log_mel.mel(power)[0].numpy()
    # The reference's frames are centered on multiples of the hop; these end with them.
    late = FRONT_END.window_length // 2
    shifted = np.concatenate([np.zeros(late), waveform[0].numpy()]).astype(np.float32)
    reference = mel_spectrogram(shifted, FRONT_END)
    np.testing.assert_allclose(mel[:, :40], reference[:, 1:41], rtol=1e-3, atol=1e-6)


def test_without_bounds_the_loss_is_ctc(material):
    batch = draw_batch(material, TINY, 0)
    B, U, C = batch.allowed.shape
    logits = torch.randn(B, U, C, generator=torch.Generator().manual_seed(0))
    free = replace(batch, allowed=torch.ones_like(batch.allowed), edge_mask=0 * batch.edge_mask)
    plain = functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), batch.targets, torch.full((B,), U), batch.counts,
        blank=BLANK, reduction="none",
    ).mean()  # fmt: skip
    torch.testing.assert_close(string_loss(logits, batch.edges, free), plain)
    # What is said too late costs more than what is said in time.
    right = torch.where(batch.allowed > 0, 8.0, 0.0)
    right[..., BLANK] = 6.0
    late = string_loss(right.roll(15, 1), batch.edges, batch)
    assert string_loss(right, batch.edges, batch) < late


def test_a_batch_tells_where_each_digit_may_be_emitted(material):
    batch = draw_batch(material, TINY, 3)
    assert int(batch.counts.sum()) == len(batch.targets) > 4
    # What is no digit may be emitted anywhere, a digit between its bounds.
    assert (batch.allowed[..., DIGITS:] == 1).all()
    windows = batch.allowed[..., :DIGITS].amax(-1)
    torch.testing.assert_close(windows, batch.edge_mask)
    own = batch.edges[batch.edge_mask > 0]
    assert own[:, 1].max() <= LATEST_S + 1e-4
    assert (own[:, 0] > own[:, 1]).all()
    again = draw_batch(material, TINY, 3)
    assert torch.equal(batch.waveform, again.waveform)
    assert not torch.equal(batch.targets, draw_batch(material, TINY, 4).targets)


def test_of_a_fluent_recording_the_words_are_known_and_not_their_times():
    sound = 0.05 * np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    fluent = DigitString(
        sound, "70", np.zeros(2, np.int64), np.full(2, 8_000), "ann", "an4",
        ("other", "7", "double", "oh"), np.zeros(2, bool),
    )  # fmt: skip
    material = TrainingData([fluent_digit()], [], [], [], [fluent])
    material.kinds = ["utterances"]
    batch = draw_batch(material, replace(TINY, batch_size=16), 0)
    said = [
        " ".join(LABELS[k] for k in labels) for labels in batch.targets.split(batch.counts.tolist())
    ]
    i = next(i for i, words in enumerate(said) if "other 7 double oh" in words)
    assert batch.edge_mask.sum() == 0  # nothing is learned of times that are not known
    seven, oh = (batch.allowed[i, :, LABELS.index(label)] for label in ("7", "oh"))
    assert seven.sum() * STEP / SAMPLE_RATE > 8_000 / SAMPLE_RATE / float(batch.tempo[i])
    assert torch.equal(seven, oh)
    assert batch.allowed[i, :, LABELS.index("3")].sum() == 0


def fluent_digit() -> DigitString:
    return DigitString(
        np.full(2_000, 0.05, np.float32), "3", np.array([0]), np.array([2_000]), "ann", "fsdd"
    )


def test_all_kinds_of_sound_are_drawn():
    loud = np.full(4_000, 0.05, np.float32)
    spoken = {
        name: DigitString.without_digits(sign * loud, ("other",))
        for name, sign in (("word", 1), ("other speech", 1))
    }
    phrase = replace(fluent_digit(), digits="4", corpus="phrases", words=("4",))
    utterance = replace(fluent_digit(), digits="5", corpus="an4", words=("5",))
    material = TrainingData(
        [fluent_digit()], [phrase, spoken["other speech"]], [spoken["word"]], [], [utterance],
        [spoken["other speech"]], [lambda n, rng: 0.1 * rng.standard_normal(n)],
    )  # fmt: skip
    assert material.kinds == [
        "fsdd", "phrases", "sentences", "utterances", "other speech", "words", "handling", "none"
    ]  # fmt: skip
    targets = [draw_batch(material, TINY, step).targets for step in range(30)]
    share = torch.cat(targets).bincount(minlength=len(LABELS)) / sum(map(len, targets))
    drawn = {label for label, s in zip(LABELS, share, strict=True) if s}
    assert drawn == {"3", "4", "5", "other"}
    assert share.max() < 0.6


def test_training_goes_on_from_other_weights(material):
    first = train_strings(material, replace(TINY, steps=2))
    config = replace(TINY, steps=1, learning_rate=1e-9, ema_decay=0.0, seed=5)
    again = train_strings(material, config, weights=first.state_dict())
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_and_repeats(material, trained):
    net, losses = trained
    assert len(losses) == TINY.steps
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    state = torch.random.get_rng_state()
    again = train_strings(material, replace(TINY, steps=2, learning_rate=1e-3))
    other = train_strings(material, replace(TINY, steps=2, learning_rate=1e-3))
    for one, two in zip(again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)  # a caller's draws are left alone
    assert sum(p.numel() for p in net.parameters()) <= 1_000_000


def test_an_export_is_heard_as_torch_hears(trained, tmp_path):
    net, _ = trained
    content = export_strings(net, DECODING.to_metadata())
    assert len(content) <= 2_000_000
    (tmp_path / "s.onnx").write_bytes(content)
    network = StringNetwork(tmp_path / "s.onnx")
    assert (network.decoding, network.step, network.block) == (DECODING, STEP, BLOCK)
    assert network.lookahead >= LATEST_S * SAMPLE_RATE
    waveform = 0.1 * np.random.default_rng(0).standard_normal(3 * BLOCK).astype(np.float32)
    state, parts = network.first_state(), []
    for block in waveform.reshape(3, -1):
        log_p, _, state = network.run(block, state)
        parts.append(log_p)
    with torch.no_grad():
        expected = net(torch.from_numpy(waveform)[None])[0][0].log_softmax(-1)
    # Weights are stored in 8 bits.
    np.testing.assert_allclose(np.concatenate(parts), expected.numpy(), atol=0.1)


def test_an_export_that_differs_is_refused(trained, monkeypatch):
    net, _ = trained
    monkeypatch.setattr("spoken_digits.lab.connected.network._TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="nothing was written"):
        export_strings(net, {})


def test_what_training_returns_is_the_averaged_network(material):
    config = replace(TINY, steps=4, learning_rate=0.1)
    last, average = (
        train_strings(material, replace(config, ema_decay=decay)).head.weight.detach()
        for decay in (0.0, 0.9)
    )
    assert (last - average).norm() > 0.01 * last.norm()


def test_a_corpus_that_would_not_be_drawn_is_named(material):
    digit = next(iter(material.crowds["fsdd"]["7"]))
    with pytest.raises(ValueError, match="digits of elsewhere: expected"):
        TrainingData([replace(digit, corpus="elsewhere")], [], [], [])


def test_training_killed_in_the_middle_ends_as_training_that_was_not(
    material, tmp_path, monkeypatch
):
    monkeypatch.setattr("spoken_digits.lab.connected.training._STEPS_PER_EPOCH", 2)
    config = replace(TINY, steps=5)
    whole = train_strings(material, config, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def until_killed(data, config, number):
        if number == 3:
            raise Killed
        return draw_batch(data, config, number)

    with monkeypatch.context() as patch:
        patch.setattr("spoken_digits.lab.connected.training.draw_batch", until_killed)
        with pytest.raises(Killed):
            train_strings(material, config, tmp_path / "cut")
    again = train_strings(material, config, tmp_path / "cut")
    for one, two in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_stored_weights_are_those_of_the_network_to_half_a_step():
    """Against numpy: what onnxruntime makes of the stored kernel, by way of unit impulses."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((4, 3, 5)).astype(np.float32) * [[[1]], [[10]], [[0.01]], [[0]]]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[4, 0]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 3, 5])],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "y"],
        [
            numpy_helper.from_array(kernel.astype(np.float32), "kernel"),
            numpy_helper.from_array(np.array([4_097]), "n"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = compress_weights(model.SerializeToString())
    stored = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer
    }
    assert stored["kernel_stored"].dtype == np.int8
    assert stored["n"].tolist() == [4_097]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    impulses = np.zeros((3, 3, 5), np.float32)
    impulses[range(3), range(3), 0] = 1  # one input channel each, at the first sample
    (y,) = session.run(None, {"x": impulses})
    found = y.transpose(1, 0, 2)[
        ..., ::-1
    ]  # (outputs, inputs, taps): the first sample meets the last tap first
    step = np.abs(kernel).max(axis=(1, 2), keepdims=True) / 127
    assert (np.abs(found - kernel) <= 0.501 * step).all()
    assert np.abs(found - kernel).max() > 0  # or nothing was stored in fewer bits


def test_a_wider_network_begins_with_the_answers_of_a_narrower_one(trained):
    net, _ = trained
    narrow = StringNet(width=40).eval()
    wide = StringNet(width=56).eval()
    wide.load_state_dict(widen(narrow.state_dict(), wide.state_dict()))
    waveform = 0.1 * torch.randn(2, 20 * STEP, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, two in zip(narrow(waveform)[:2], wide(waveform)[:2], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    # All of its channels compute something: none is a copy, or nothing.
    weights = wide.blocks[0].layers[0].weight
    assert (weights.flatten(1).norm(dim=1) > 0.01).all()
    same = widen(net.state_dict(), StringNet().state_dict())
    assert all(torch.equal(value, same[name]) for name, value in net.state_dict().items())
