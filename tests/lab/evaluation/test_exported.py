"""A model file evaluated on recordings; the toy model always answers 9."""

import dataclasses
import json
from pathlib import Path

import pytest
import soundfile
from toy_model import write_toy_model

from spoken_digits.lab.data.corpora import CorpusError, read_corpus
from spoken_digits.lab.data.splits import XSDR_TEST, XSDR_TRAIN, SplitError
from spoken_digits.lab.evaluation.exported import (
    describe_evaluation,
    evaluate_model,
    read_test_set,
    seen_speakers,
)
from spoken_digits.recognize import load


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return load(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


@pytest.fixture(scope="module")
def data(tone_corpus, tmp_path_factory) -> Path:
    """The made-up corpus under the names and in the layout of FSDD."""
    root = tmp_path_factory.mktemp("data")
    (root / "fsdd" / "recordings").mkdir(parents=True)
    for k, speaker in enumerate(XSDR_TRAIN + XSDR_TEST):
        for digit in range(10):
            samples, rate = soundfile.read(tone_corpus / str(digit) / "ann_0.wav")
            path = root / "fsdd" / "recordings" / f"{digit}_{speaker}_{k}.wav"
            soundfile.write(path, samples, rate)
    return root


def test_a_model_that_always_says_9_is_right_a_tenth_of_the_time(toy, tone_corpus):
    evaluation = evaluate_model(toy, read_corpus(tone_corpus))
    assert evaluation.clips == 120
    assert evaluation.accuracy == 0.1
    assert [row[9] for row in evaluation.confusion] == [12] * 10
    text = describe_evaluation(evaluation)
    assert "accuracy            10.0%  of 120 clips" in text
    assert "9          10.0%  100.0%  18.2%     12" in text
    assert "dora        10.0%     30            0" in text
    assert "listed" not in text


def test_labels_that_the_model_lacks_are_left_out(tone_corpus, tmp_path):
    two = load(write_toy_model(tmp_path / "two.onnx", ("8", "9")))
    assert evaluate_model(two, read_corpus(tone_corpus)).clips == 24
    words = load(write_toy_model(tmp_path / "words.onnx", ("yes", "no")))
    with pytest.raises(ValueError, match=r"words\.onnx: has none of the labels; .* yes, no"):
        evaluate_model(words, read_corpus(tone_corpus))


def test_the_test_side_of_fsdd_is_that_of_xsdr(data, toy):
    name, clips = read_test_set(data=data)
    assert name == "fsdd, test side of xsdr"
    assert {clip.speaker for clip in clips} == set(XSDR_TEST)
    name, clips = read_test_set(split="loso:theo", data=data)
    assert {clip.speaker for clip in clips} == {"theo"}
    assert seen_speakers(toy, clips) == ("theo",)


def test_a_model_that_names_corpora_may_have_seen_all_of_their_speakers(data, tmp_path):
    _, clips = read_test_set(split="loso:theo", data=data)
    for corpora, seen in (({"fsdd": {}, "voices": {}}, ("theo",)), ({"voices": {}}, ())):
        training = json.dumps({"corpora": corpora})
        model = load(write_toy_model(tmp_path / "toy.onnx", training_data=training))
        assert seen_speakers(model, clips) == seen


def test_a_corpus_of_ones_own_is_tested_whole(tone_corpus):
    name, clips = read_test_set(str(tone_corpus))
    assert name == str(tone_corpus)
    assert len(clips) == 120


def test_a_split_of_many_folds_or_a_corpus_not_at_hand_is_refused(data):
    with pytest.raises(SplitError, match=r"6 folds, expected one .*loso:theo"):
        read_test_set(split="loso", data=data)
    with pytest.raises(CorpusError, match="nowhere"):
        read_test_set("nowhere", data=data)


def test_a_name_of_another_corpus_is_another_speaker(toy, data):
    _, clips = read_test_set(split="loso:theo", data=data)
    assert seen_speakers(toy, clips) == ("theo",)
    strangers = [dataclasses.replace(clip, corpus="speech_commands") for clip in clips]
    assert seen_speakers(toy, strangers) == ()


def test_the_test_side_of_the_synthetic_speech_is_every_fourth_tts_voice():
    name, clips = read_test_set("voices")
    assert name == "voices, test side of synthetic"
    assert len({clip.speaker for clip in clips}) == 13
