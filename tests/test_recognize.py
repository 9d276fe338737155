"""A model file is opened, checked and asked; what it should answer is known in closed form."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
import soundfile
from toy_model import DIGITS, toy_rejection, toy_scores, write_toy_model
from toy_strings import LOOKAHEAD, spoken, write_toy_strings

from spoken_digits import networks
from spoken_digits.audio import AudioError, cut_clip
from spoken_digits.networks import StringNetwork
from spoken_digits.recognize import SHIPPED_MODEL, ModelError, Recognizer, load, rescore, with_oh
from spoken_digits.spotting import single_word


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
    assert answer.word == {8: "eight", 9: "nine"}[digit]
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
    assert (answer.label, answer.digit, answer.word) == ("yes", None, None)
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


NOISE = np.random.default_rng(0).standard_normal(3 * 8_000)
CLICK = np.where(np.arange(24_000) // 20 == 600, 1.0, 0.0)  # 2.5 ms


@pytest.mark.parametrize(
    "samples",
    [np.zeros(8_000), np.zeros(1), 0.1 * NOISE, 1e-5 * voice(), 1e-4 * NOISE + CLICK],
    ids=["zeros", "one zero", "noise", "-100 dBFS", "a click in a quiet room"],
)
@pytest.mark.parametrize("threshold", [None, 0, 0.5])
def test_silence_is_an_answer_whatever_the_threshold(recognizer, samples, threshold):
    answer = recognizer(samples, 8_000, threshold=threshold)
    assert (answer.digit, answer.word) == (None, None)
    assert (answer.reason, answer.score) == ("silence", 0)
    assert np.isfinite(answer.probabilities).all()
    assert 0 <= answer.start_s <= answer.end_s


@pytest.mark.parametrize("level_dbfs", [-50, -20, 0])
def test_what_is_quiet_is_not_silent(recognizer, level_dbfs):
    assert recognizer(voice(gain=10 ** (level_dbfs / 20)), 8_000).reason is None


def test_the_threshold_cuts_the_models_own_score(tmp_path):
    path = write_toy_model(tmp_path / "a.onnx", rejection=True, rejection_threshold="-0.8")
    loud, quiet = voice(gain=6.0), voice(gain=0.5)
    recognizer = load(path)
    assert recognizer.rejects
    assert recognizer.threshold == pytest.approx(1 / (1 + np.exp(0.8)))
    for samples, reason in ((loud, None), (quiet, "not a digit")):
        answer = recognizer(samples, 8_000)
        clip, *_ = cut_clip(samples, 8_000)
        odds = np.exp(toy_rejection(clip[None])[0])
        assert answer.score == pytest.approx(odds / (1 + odds), rel=1e-5)
        assert answer.reason == reason
        assert answer.digit == (8 if reason is None else None)
        assert answer.label in DIGITS
    assert recognizer(quiet, 8_000, threshold=0).digit is not None
    assert load(path, threshold=0)(quiet, 8_000).digit is not None


def test_without_a_score_of_its_own_a_model_is_judged_by_its_probability(recognizer):
    assert not recognizer.rejects
    assert recognizer.threshold == 0
    answer = recognizer(voice(), 8_000)
    assert answer.score == pytest.approx(answer.probability)
    above, below = answer.score * 1.01, answer.score * 0.99
    assert recognizer(voice(), 8_000, threshold=above).reason == "not a digit"
    assert recognizer(voice(), 8_000, threshold=below).reason == "unclear"  # 16 %, ten labels


def test_two_close_answers_are_unclear(tmp_path):
    # They score 0, 0.1 + mean(x^2), 0.2 + 2 mean(x^2): close where it is quiet.
    recognizer = load(write_toy_model(tmp_path / "two.onnx", ("no", "oh", "yes")))
    sure, unsure = recognizer(voice(gain=4), 8_000), recognizer(voice(gain=0.3), 8_000)
    first, second = sorted(unsure.probabilities)[:0:-1]
    assert first - second < 0.1 or first < 0.4
    assert recognizer(voice(gain=0.3), 8_000, threshold=0.01).reason == "unclear"
    assert sure.probability > 0.6
    assert recognizer(voice(gain=4), 8_000, threshold=0.01).reason is None


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_lies_within_0_to_1(recognizer, threshold):
    with pytest.raises(ValueError, match=r"expected 0 .* to 1"):
        recognizer(voice(), 8_000, threshold=threshold)
    with pytest.raises(ValueError, match=r"expected 0 .* to 1"):
        load(recognizer.path, threshold=threshold)


@pytest.mark.parametrize("named", ["high", None, "nan"])
def test_a_model_that_names_no_such_threshold_is_refused(tmp_path, named):
    path = write_toy_model(tmp_path / "a.onnx", rejection=True, rejection_threshold=named)
    with pytest.raises(ModelError, match=rf"a.onnx: rejection_threshold {named or ''}; expected"):
        load(path)


@pytest.mark.parametrize("key", ["min_probability", "min_margin", "string_weight", "min_oh"])
def test_a_model_without_its_thresholds_is_refused(tmp_path, key):
    for named in ("much",) if key in ("string_weight", "min_oh") else ("much", None):
        path = write_toy_model(tmp_path / "a.onnx", **{key: named})
        with pytest.raises(ModelError, match=rf"a.onnx: {key} {named or ''}; expected a number"):
            load(path)


def test_a_batch_is_scored_as_its_clips_are(tmp_path):
    clips = np.random.default_rng(0).standard_normal((3, 1_000)).astype(np.float32)
    path = write_toy_model(tmp_path / "a.onnx", rejection=True, rejection_threshold="0")
    scores, log_odds = load(path).score(clips)
    np.testing.assert_allclose(scores, toy_scores(clips), rtol=1e-5)
    np.testing.assert_allclose(log_odds, toy_rejection(clips), rtol=1e-4)
    plain = load(write_toy_model(tmp_path / "b.onnx")).score(clips)[1]
    exponentials = np.exp(toy_scores(clips))
    expected = (exponentials / exponentials.sum(axis=1, keepdims=True)).max(axis=1)
    np.testing.assert_allclose(plain, np.log(expected / (1 - expected)), rtol=1e-4)


def test_log_odds_are_compared_where_probabilities_would_all_be_one(tmp_path):
    path = write_toy_model(tmp_path / "a.onnx", rejection=True, rejection_threshold="60")
    quiet, loud = voice(gain=10), voice(gain=15)
    recognizer = load(path)
    clips = [cut_clip(samples, 8_000)[0][None] for samples in (quiet, loud)]
    assert 37 < toy_rejection(clips[0]) < 60 < toy_rejection(clips[1])
    assert recognizer(quiet, 8_000).score == recognizer(loud, 8_000).score == 1
    assert recognizer(quiet, 8_000).reason == "not a digit"
    assert recognizer(loud, 8_000).reason is None


@pytest.mark.parametrize(
    ("thresholds", "reason"),
    [
        ({"min_probability": "0.19", "min_margin": "0.05"}, None),
        ({"min_probability": "0.20", "min_margin": "0.05"}, "unclear"),
        ({"min_probability": "0.19", "min_margin": "0.06"}, "unclear"),
    ],
)
def test_what_is_unclear_is_said_by_the_models_file(tmp_path, thresholds, reason):
    path = write_toy_model(tmp_path / "a.onnx", **thresholds)
    answer = load(path)(voice(), 8_000, threshold=0.01)
    assert sorted(answer.probabilities)[-2:] == pytest.approx([0.147, 0.198], abs=0.001)
    assert answer.reason == reason


def test_several_digits_are_counted(recognizer):
    assert recognizer(voice(), 8_000).utterances == 1
    assert recognizer(np.concatenate([voice(), voice()]), 8_000).utterances == 2


def test_two_answers_are_multiplied():
    rng = np.random.default_rng(0)
    for weight in (1.0, 0.5):
        p, said = rng.dirichlet(np.ones(10)), rng.dirichlet(np.ones(16))
        expected = p * said[:10] ** weight
        found = rescore(np.log(p), np.log(said), weight)
        np.testing.assert_allclose(np.exp(found), expected / expected.sum(), rtol=1e-9)
    # Of what the network for strings is certain not to hear, it grants exp(-10).
    words = np.full(16, -np.inf)
    words[3] = 0.0
    p = np.exp(rescore(np.log(np.full(10, 0.1)), words, 1.0))
    assert p[4] / p[3] == pytest.approx(np.exp(-10))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("certain", [0.0, 30.0])
def test_oh_is_one_class_of_twelve_and_counts_as_zero(certain):
    rng = np.random.default_rng(0)
    for most_probable in (0, 4, 10, 11):
        logits = rng.normal(size=12)  # the digits, "oh", anything else
        logits[most_probable] += 5 + certain
        p = np.exp(logits) / np.exp(logits).sum()
        digits = p[:10] / p[:10].sum()
        odds = [np.log(x / y) for x, y in ((p[:10].sum(), p[10] + p[11]), (p[10], 1 - p[10]))]
        if certain:  # 1 - p[10] is rounded there
            odds[1] = np.log(p[10] / np.delete(p, 10).sum())
        log_p, is_digit, is_oh = with_oh(np.log(digits), *odds)
        expected = np.append(p[0] + p[10], p[1:10])
        np.testing.assert_allclose(np.exp(log_p), expected / expected.sum(), rtol=1e-6)
        if certain and most_probable == 10:  # what is left for anything else is rounded
            assert is_digit > 15
        else:
            assert is_digit == pytest.approx(np.log(expected.sum() / p[11]), rel=1e-6, abs=1e-6)
        assert is_oh == (p[10] > p[0] and expected.argmax() == 0)
        assert is_oh or most_probable != 10


def test_a_clip_is_scored_by_the_network_for_strings_with_silence_behind_it(tmp_path):
    network = StringNetwork(write_toy_strings(tmp_path / "s.onnx"))
    clip = spoken("7")[:-100]
    found = network.score_clip(clip)
    block = np.pad(clip, (0, 100 + LOOKAHEAD + network.block))
    block = block[: len(block) // network.block * network.block]
    log_p, _, _ = network.run(block, network.first_state())
    np.testing.assert_allclose(found, single_word(log_p), atol=1e-4)
    assert np.exp(found[7]) == pytest.approx(1, abs=1e-3)
    assert np.exp(network.score_clip(spoken("77"))).max() < 1e-3


@pytest.mark.parametrize("gain", [0.1, 3.0, 6.0])
def test_oh_alone_is_zero(tmp_path, gain):
    labels, samples = (*DIGITS, "oh"), voice(gain=gain)
    toy = {"rejection": True, "rejection_threshold": "-2", "min_probability": "0"}
    toy |= {"min_margin": "0", "min_oh": "-99"}
    model = load(write_toy_model(tmp_path / "d.onnx", labels, **toy))
    assert model.labels == DIGITS
    clip, *_ = cut_clip(samples, 8_000)
    p = np.exp(toy_scores(clip[None], 11)[0])
    p *= 1 / (1 + np.exp(-toy_rejection(clip[None])[0])) / p.sum()  # of twelve classes
    digits, nothing = p[:10], 1 - p.sum()
    rejects = model(samples, 8_000, oh=False)
    np.testing.assert_allclose(rejects.probabilities, digits / digits.sum(), rtol=1e-4)
    assert rejects.score == pytest.approx(digits.sum(), rel=1e-4)
    answer = model(samples, 8_000)
    as_zero = np.append(p[0] + p[10], p[1:10])
    np.testing.assert_allclose(answer.probabilities, as_zero / as_zero.sum(), rtol=1e-4)
    assert answer.score == pytest.approx(1 - nothing, rel=1e-4)
    assert len(answer.labels) == len(answer.probabilities) == 10


def test_a_model_says_oh_only_where_that_is_the_most_probable_word(tmp_path):
    # Class c scores c / 10 + (c % 3) mean(x^2): where it is quiet, the last is the most probable.
    toy = {"rejection": True, "rejection_threshold": "-2", "min_probability": "0"}
    toy["min_margin"] = "0"
    path = write_toy_model(tmp_path / "d.onnx", (*DIGITS, "oh"), min_oh="-4", **toy)
    for gain, digit, word in ((0.1, 0, "oh"), (6.0, 8, "eight")):
        answer = load(path)(voice(gain=gain), 8_000)
        assert (answer.digit, answer.word) == (digit, word)
    assert load(path)(voice(gain=0.1), 8_000, oh=False).word == "nine"
    # Below what the file names, it is like any other word: by default, below even odds.
    for entries in ({"min_oh": "-1"}, {}):
        path = write_toy_model(tmp_path / "e.onnx", (*DIGITS, "oh"), **entries, **toy)
        assert load(path)(voice(gain=0.1), 8_000).word == "nine"


@pytest.mark.parametrize("labels", [DIGITS, ("no", "oh", "yes")])
def test_a_model_that_has_no_oh_beside_the_digits_takes_none_for_zero(tmp_path, labels):
    path = write_toy_model(tmp_path / "d.onnx", labels, rejection=True, rejection_threshold="-9")
    answer = load(path)(voice(gain=4.0), 8_000)
    assert answer == load(path)(voice(gain=4.0), 8_000, oh=False)
    assert answer.labels == labels


@pytest.mark.parametrize("gain", [0.1, 6.0])
def test_the_network_for_strings_is_asked_where_the_other_is_not_sure(tmp_path, monkeypatch, gain):
    toy = {"rejection": True, "rejection_threshold": "-9", "min_probability": "0"}
    toy["min_margin"] = "0"
    model = write_toy_model(tmp_path / "d.onnx", string_weight="0.5", **toy)
    alone = load(write_toy_model(tmp_path / "e.onnx", **toy), strings_path=tmp_path / "none.onnx")
    asked = []

    def score_clip(self, clip):
        asked.append(clip)
        return np.log(np.full(16, 0.01)) + 4 * (np.arange(16) == 2)

    monkeypatch.setattr(StringNetwork, "score_clip", score_clip)
    monkeypatch.setattr("spoken_digits.recognize._SURE_LOG_P", np.log(0.35))
    both = load(model, strings_path=write_toy_strings(tmp_path / "s.onnx"))
    first, second = alone(voice(gain=gain), 8_000), both(voice(gain=gain), 8_000)
    is_sure = first.probability > 0.35
    assert is_sure == (gain == 6.0)
    assert len(asked) == (not is_sure)
    assert first.score == pytest.approx(second.score)  # whether it is a digit, one network says
    expected = np.array(first.probabilities) * np.where(np.arange(10) == 2, np.exp(2), 1)
    expected = np.array(first.probabilities) if is_sure else expected / expected.sum()
    np.testing.assert_allclose(second.probabilities, expected, rtol=1e-5)


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
        (foreign, r"format_version None.*'x', 'y'.*expected 2, 8000, with \['waveform'"),
        (lambda p: write_toy_model(p, format_version="1"), "format_version 1"),
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
    monkeypatch.setattr(networks, "SHIPPED_MODEL", tmp_path / "digits.onnx")
    with pytest.raises(ModelError, match="install spoken-digits again"):
        load()


def test_the_shipped_model_describes_itself_and_recognizes_digits():
    recognizer = load()
    assert recognizer.labels == DIGITS
    assert json.loads(recognizer.metadata["front_end"])["sample_rate"] == 8_000
    assert recognizer.metadata["licence"]
    assert SHIPPED_MODEL.stat().st_size <= 1e6
    files = sorted((SHIPPED_MODEL.parent / "voices").glob("[0-9]/*"))[::3]
    # It was not trained on Kokoro's voices.
    for kokoro, lowest in ((False, 0.98), (True, 0.75)):
        own = [file for file in files if file.name.startswith("kokoro-") == kokoro]
        assert np.mean([recognizer(file).label == file.parent.name for file in own]) >= lowest
