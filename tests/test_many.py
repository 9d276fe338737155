"""Many recordings at once: as one at a time, in order, errors in their place, little read ahead."""

import concurrent.futures
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
import soundfile
from toy_model import write_toy_model

from spoken_digits.audio import AudioError
from spoken_digits.cli import main
from spoken_digits.recognize import _WINDOW, SHIPPED_MODEL, Recognition, Recognizer, load


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory) -> Recognizer:
    return load(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def word(i: int) -> np.ndarray:
    """Make samples at 8 kHz whose length, level and sound depend on i."""
    n = 1_600 + 80 * (i * 7 % 23)
    sound = np.random.default_rng(i).standard_normal(n) * np.hanning(n)
    return (0.05 * (1 + i % 5) * np.pad(sound, (800, 800))).astype(np.float32)


def one_at_a_time(recognizer: Recognizer, sources: list) -> list[Recognition | str]:
    answers: list[Recognition | str] = []
    for source in sources:
        try:
            answers.append(recognizer(source, 8_000))
        except AudioError as error:
            answers.append(str(error))
    return answers


def assert_equal(answer, single) -> None:
    if isinstance(single, str):
        assert isinstance(answer, AudioError)
        assert str(answer) == single
        return
    kinds = ("digit", "word", "label", "reason", "start_s", "end_s", "utterances", "warnings")
    assert [getattr(answer, kind) for kind in kinds] == [getattr(single, kind) for kind in kinds]
    np.testing.assert_allclose(answer.probabilities, single.probabilities, atol=1e-5)
    assert answer.score == pytest.approx(single.score, abs=1e-5)
    np.testing.assert_allclose(answer.log_mel, single.log_mel, atol=1e-5)


def test_answers_are_those_of_single_calls_in_order_with_errors_in_their_place(
    recognizer, tmp_path
):
    sources: list = [word(i) for i in range(2 * _WINDOW + 9)]
    for i in (0, 5, _WINDOW, _WINDOW + 1, len(sources) - 1):
        sources[i] = tmp_path / f"missing-{i}.wav"
    sources[7] = np.full(4_000, np.nan, np.float32)
    sources[8] = np.zeros(8_000, np.float32)  # an answer: silence
    answers = list(recognizer.recognize_many(sources, 8_000))
    for answer, single in zip(answers, one_at_a_time(recognizer, sources), strict=True):
        assert_equal(answer, single)


def test_both_networks_answer_as_for_single_recordings(tmp_path):
    recognizer = load()
    voices = sorted((SHIPPED_MODEL.parent / "voices").glob("[0-9]/*"))[::40]
    sources: list = [*voices, soundfile.read(voices[0])[0][:1_000], tmp_path]
    long = tmp_path / "long.wav"  # several digits, long pauses: counted by the other network
    samples, rate = soundfile.read(voices[3])
    soundfile.write(long, np.tile(np.pad(samples, (0, 2 * rate)), 5), rate)
    sources[3:3] = [long]
    singles = one_at_a_time(recognizer, sources)
    assert singles[3].utterances > 1
    for answer, single in zip(recognizer.recognize_many(sources, 8_000), singles, strict=True):
        assert_equal(answer, single)


def test_settings_are_those_of_single_calls(recognizer):
    stereo = [np.stack([word(i), word(i + 1)[: len(word(i))]], 1) for i in (0, 1, 2, 4)]
    settings = {"threshold": 0.9, "channel": 2}
    answers = recognizer.recognize_many(stereo, 8_000, **settings)
    for answer, source in zip(answers, stereo, strict=True):
        assert_equal(answer, recognizer(source, 8_000, **settings))


def endless(taken: list[int]) -> Iterator[np.ndarray]:
    for i in count():
        taken.append(i)
        yield word(i % 4)


def test_sources_are_taken_as_they_are_needed(recognizer):
    taken: list[int] = []
    answers = recognizer.recognize_many(endless(taken), 8_000)
    assert taken == []
    assert isinstance(next(answers), Recognition)
    assert taken == [0]  # the first answer comes before more is read
    for answered in range(2, 3 * _WINDOW):
        next(answers)
        assert len(taken) - answered < 2 * _WINDOW
    answers.close()


def test_a_slow_source_holds_back_few_answers(recognizer, monkeypatch):
    clock = count(step=10.0)  # seconds, at each look
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    taken: list[int] = []
    answers = recognizer.recognize_many(endless(taken), 8_000)
    for answered in range(1, 20):
        next(answers)
        assert len(taken) - answered <= 1
    answers.close()


def test_what_an_answer_keeps_is_its_own(recognizer):
    for answer in recognizer.recognize_many([word(0)] * 20, 8_000):
        assert answer.log_mel.base is None


def test_one_recording_needs_no_thread(recognizer, monkeypatch):
    monkeypatch.delattr(concurrent.futures, "ThreadPoolExecutor")
    (answer,) = recognizer.recognize_many([word(0)], 8_000)
    assert_equal(answer, recognizer(word(0), 8_000))
    assert list(recognizer.recognize_many([])) == []


def test_no_thread_is_left_when_it_is_left_early(recognizer):
    before = threading.active_count()
    answers = recognizer.recognize_many((word(i % 4) for i in count()), 8_000)
    for _ in range(3):
        next(answers)
    assert threading.active_count() == before + 1
    answers.close()
    assert threading.active_count() == before


def test_a_wrong_threshold_is_told_before_anything_is_read(recognizer):
    with pytest.raises(ValueError, match=r"threshold 2: expected 0"):
        recognizer.recognize_many(iter([]), 8_000, threshold=2)


@pytest.mark.parametrize("source", ["seven.wav", b"RIFF"])
def test_one_recording_is_not_taken_for_many(recognizer, source):
    with pytest.raises(AudioError, match="one recording; expected several"):
        recognizer.recognize_many(source)


def test_lines_of_json_keep_the_order_of_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = str(write_toy_model(tmp_path / "toy.onnx"))
    files = [f"{i}.wav" for i in range(150)]
    for i, file in enumerate(files):
        if i % 50 != 3:
            soundfile.write(file, word(i), 8_000)
    assert main(["recognize", "--json", "--model", model, *files]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == files
    assert [i for i, row in enumerate(rows) if "error" in row] == [3, 53, 103]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
def test_an_interruption_ends_it_without_a_traceback(tmp_path):
    model = str(write_toy_model(tmp_path / "toy.onnx"))
    soundfile.write(tmp_path / "a.wav", word(0), 8_000)
    command = [sys.executable, "-m", "spoken_digits", "recognize", "--json", "--model", model]
    with subprocess.Popen(
        [*command, *["a.wav"] * 20_000],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(200):
            assert "digit" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (130, "spoken-digits: interrupted\n")
