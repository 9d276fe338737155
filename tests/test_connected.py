"""Strings of digits: files and streams alike, whatever the chunks, and what cannot be read."""

import gc
import json
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_strings import BLOCK, SINCE_END_S, SINCE_START_S, STEP, spoken, write_toy_strings

import spoken_digits
from spoken_digits.audio import SAMPLE_RATE, AudioError
from spoken_digits.connected import SHIPPED_STRINGS, Segment, Stream, Transcriber
from spoken_digits.grammar import Grammar
from spoken_digits.networks import SHIPPED_MODEL, ModelError


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    return Transcriber(write_toy_strings(tmp_path_factory.mktemp("toy") / "toy.onnx"))


@pytest.fixture(scope="module")
def shipped() -> Transcriber:
    return Transcriber()


def in_chunks(stream: Stream, samples: np.ndarray, sizes: list[int]) -> list[Segment]:
    """Feed samples in chunks of these sizes, over and over; all final segments."""
    segments: list[Segment] = []
    position, turn = 0, 0
    while position < len(samples):
        size = sizes[turn % len(sizes)]
        segments += stream.feed(samples[position : position + size]).segments
        position, turn = position + size, turn + 1
    return segments + list(stream.finish().segments)


def assert_same(found: Sequence[Segment], expected: Sequence[Segment]) -> None:
    """Compare segments; numbers to some millionths, as sums are rounded in another order."""
    assert [(s.digit, s.word) for s in found] == [(s.digit, s.word) for s in expected]
    for one, two in zip(found, expected, strict=True):
        numbers, others = ((s.start_s, s.end_s, s.probability) for s in (one, two))
        assert numbers == pytest.approx(others, abs=1e-5)


def voices(*names: str) -> np.ndarray:
    """Clips of the synthetic voices that ship, with pauses of 0.2 s."""
    folder = Path(spoken_digits.__file__).parent / "assets" / "voices"
    clips = [soundfile.read(folder / name, dtype="float32")[0] for name in names]
    return np.concatenate([np.pad(clip, (1_600, 1_600)) for clip in clips])


def test_the_digits_of_the_toy_and_when_each_is_said(toy):
    answer = toy(spoken("4155501"), SAMPLE_RATE)
    assert answer.digits == "4155501"
    assert [segment.digit for segment in answer.segments] == [4, 1, 5, 5, 5, 0, 1]
    assert answer.duration_s == len(spoken("4155501")) / SAMPLE_RATE
    # All steps of a digit say the same, so it is the first of them whose edges are taken.
    now_s = (4 + 1) * STEP / SAMPLE_RATE
    first = answer.segments[0]
    assert first.start_s == pytest.approx(max(0, now_s - SINCE_START_S), abs=1e-6)
    assert first.end_s == pytest.approx(now_s - SINCE_END_S, abs=1e-6)
    assert first.probability == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("steps", "level"), [(1, 0.0255), (3, 0.0235)])
def test_a_run_is_as_probable_as_any_of_its_steps(tmp_path, steps, level):
    # Between blank (0) and "0" (0.05) the toy is not sure, and says so at each step.
    signal = np.repeat(np.float32([0, level, 0]), [4 * STEP, steps * STEP, 4 * STEP])
    p = 1 / (1 + math.exp(8_000 * ((level - 0.05) ** 2 - level**2)))
    expected = 1 - (1 - p) ** steps
    below, above = (str(math.log(p / (1 - p))) for p in (expected - 0.01, expected + 0.01))
    loose = Transcriber(write_toy_strings(tmp_path / "a.onnx", emission_threshold=below))
    strict = Transcriber(write_toy_strings(tmp_path / "b.onnx", emission_threshold=above))
    (segment,) = loose(signal, SAMPLE_RATE).segments
    assert segment.digit == 0
    odds = segment.probability / (1 - segment.probability) * math.exp(float(below))
    assert odds / (1 + odds) == pytest.approx(expected, abs=1e-3)
    assert strict(signal, SAMPLE_RATE).digits == ""


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_chunks_of_any_size_give_what_the_file_gives(toy, rate):
    samples = np.repeat(spoken("90210"), 24).reshape(-1, 24)[:, 0]
    position = np.arange(round(len(samples) * rate / SAMPLE_RATE)) * SAMPLE_RATE / rate
    samples = samples[np.minimum(position.astype(int), len(samples) - 1)]
    whole = toy(samples, rate)
    assert whole.digits == "90210"
    rng = np.random.default_rng(rate)
    some = rng.integers(1, rate, 20).tolist()
    for sizes in ([rate * 60], some, [1, 7, *some], [BLOCK], [37]):
        segments = in_chunks(toy.stream(rate), samples, sizes)
        assert segments == list(whole.segments), sizes


def test_chunks_of_one_sample(toy):
    samples = spoken("7", steps=2, pause=2)
    assert in_chunks(toy.stream(), samples, [1]) == list(toy(samples, SAMPLE_RATE).segments)


def test_the_shipped_network_hears_a_stream_as_it_hears_a_file(shipped):
    samples = voices("7/us-f1_0.flac", "3/rp-m7_0.flac", "0/gb-m1_0.flac")
    for rate in (8_000, 44_100):
        heard = spoken_digits.audio.resample(samples, 8_000, rate)
        whole = shipped(heard, rate)
        assert whole.digits == "730"
        for seed in range(3):
            sizes = np.random.default_rng(seed).integers(1, rate // 2, 30).tolist()
            assert_same(in_chunks(shipped.stream(rate), heard, sizes), whole.segments)


def test_a_digit_appears_before_it_is_final(toy):
    stream = toy.stream()
    samples = spoken("6")
    update = stream.feed(samples[: 6 * STEP])  # two steps into the digit
    assert update.segments == ()
    assert update.partial is not None
    assert update.partial.digit == 6
    update = stream.feed(samples[6 * STEP : 10 * STEP])
    assert update.segments == ()  # it has ended, but other words may still follow
    assert update.partial is not None
    assert update.partial.digit == 6
    update = stream.feed(np.zeros(10 * STEP))  # 300 ms
    assert update.segments == ()  # it could be the six of "six hundred"
    assert update.partial is not None
    update = stream.feed(np.zeros(20 * STEP))  # 900 ms
    assert [s.digit for s in update.segments] == [6]
    assert update.partial is None


# o is "oh", d "double", t "triple", n a number word, x another word, "." a pause of 240 ms.
SAID = [
    ("4o7", "407", "407"),
    ("d4", "44", "4"),
    ("t7", "777", "7"),
    ("1d4t7", "144777", "147"),
    ("dd4", "44", "4"),
    ("tdo", "00", "0"),
    ("4d", "4", "4"),  # nothing follows
    ("d..4", "4", "4"),  # 630 ms: too far
    ("dx4", "44", "4"),  # another word does not count
    ("n5", "", ""),  # "twenty five"
    ("2n", "", ""),  # "two hundred"
    ("n56", "6", "6"),
    ("2n5", "", ""),
    ("2xn", "", ""),
    ("2.n", "", ""),  # 510 ms: it may be a long word
    ("2..n", "2", "2"),  # 750 ms
    ("n.5", "5", "5"),  # 390 ms
    ("nd5", "55", "5"),  # "ninety, double five"
    ("d5n", "", ""),
    ("d5n6", "", ""),
    ("dn5", "", ""),
    ("xoxx", "0", "0"),
    ("x", "", ""),
]


@pytest.mark.parametrize(("said", "digits", "single"), SAID)
def test_what_double_and_numbers_do(toy, said, digits, single):
    samples = spoken(said)
    whole = toy(samples, SAMPLE_RATE)
    assert whole.digits == digits
    assert toy(samples, SAMPLE_RATE, doubles=False).digits == single
    assert "".join(str(segment.digit) for segment in whole.segments) == digits
    for sizes in ([100], [1, 777, 2_000]):
        assert in_chunks(toy.stream(), samples, sizes) == list(whole.segments)
        assert in_chunks(toy.stream(doubles=False), samples, sizes) == list(
            toy(samples, SAMPLE_RATE, doubles=False).segments
        )


@pytest.mark.parametrize(("said", "digits", "single"), SAID)
def test_a_search_reads_what_the_spotter_reads(toy, said, digits, single):
    samples = spoken(said)
    whole = toy(samples, SAMPLE_RATE, nbest=1)
    assert whole.digits == digits
    assert [(s.digit, s.word) for s in whole.segments] == [
        (s.digit, s.word) for s in toy(samples, SAMPLE_RATE).segments
    ]
    assert toy(samples, SAMPLE_RATE, nbest=1, doubles=False).digits == single


def test_oh_is_zero_and_says_so_or_is_rejected(toy):
    samples = spoken("4o0od7")
    whole = toy(samples, SAMPLE_RATE)
    assert whole.digits == "400077"
    assert [s.word for s in whole.segments] == ["four", "oh", "zero", "oh", "seven", "seven"]
    assert toy(samples, SAMPLE_RATE, oh=False).digits == "4077"
    assert toy(samples, SAMPLE_RATE, oh=False, nbest=1).digits == "4077"
    assert in_chunks(toy.stream(oh=False), samples, [333]) == list(
        toy(samples, SAMPLE_RATE, oh=False).segments
    )


@pytest.mark.parametrize("nbest", [0, 1])
def test_repeated_digits_divide_the_time_of_their_word(toy, nbest):
    (one,) = toy(spoken("..7"), SAMPLE_RATE, nbest=nbest).segments
    three = toy(spoken("t7"), SAMPLE_RATE, nbest=nbest).segments
    assert [s.digit for s in three] == [7, 7, 7]
    length_s = SINCE_START_S - SINCE_END_S
    assert [s.end_s - s.start_s for s in three] == pytest.approx([length_s / 3] * 3)
    # One pause and one word later: 240 ms less than where two pauses are.
    assert three[0].start_s == pytest.approx(one.start_s - 8 * STEP / SAMPLE_RATE)
    assert [s.start_s for s in three[1:]] == pytest.approx([s.end_s for s in three[:-1]])
    assert {s.probability for s in three} == {three[0].probability}


def test_a_grammar_counts_the_digits_of_a_double(toy):
    samples = spoken("4d51")
    assert toy(samples, SAMPLE_RATE, grammar=Grammar("d55d")).digits == "4551"
    assert toy(samples, SAMPLE_RATE, grammar=Grammar("ddd"), doubles=False).digits == "451"
    with pytest.raises(AudioError, match="no string as 9ddd in it"):
        toy(samples, SAMPLE_RATE, grammar=Grammar("9ddd"))


@pytest.mark.parametrize("apart", [0, 3])
def test_digits_whose_places_overlap_are_two(toy, apart):
    # Nearly between "5" (0.3) and "6" (0.35), then surely "8"; each claims 60 ms before its step.
    steps = np.array([4, 1, apart, 1, 12])
    signal = np.repeat(np.float32([0, 0.3235, 0, 0.45, 0]), steps * STEP)
    whole = toy(signal, SAMPLE_RATE)
    assert whole.digits == "58"
    assert (whole.segments[0].end_s > whole.segments[1].start_s) == (apart == 0)
    assert in_chunks(toy.stream(), signal, [100]) == list(whole.segments)


def beside(said: str, level: float, steps: int) -> tuple[np.ndarray, float]:
    """Replace "?" by a "0" that the toy is not sure of; also return the probability of the "0".

    At each step the level is between blank (0) and "0" (0.05), and far from all other words.
    """
    samples = spoken(said.replace("?", "0"))
    begin = next(i for i in range(len(samples)) if samples[i] == np.float32(0.05))
    samples[begin : begin + 4 * STEP] = np.repeat(
        np.float32([level, 0]), [steps * STEP, (4 - steps) * STEP]
    )
    p = 1 / (1 + math.exp(8_000 * ((level - 0.05) ** 2 - level**2)))
    return samples, 1 - (1 - p) ** steps


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    ("said", "sides"), [("?", 0), ("x?", 1), ("?x", 1), ("x?x", 2), ("x..?", 0), ("x7?", 0)]
)
def test_a_digit_beside_other_words_is_less_probable_in_a_search_too(toy, said, sides, steps):
    samples, p = beside(said, 0.0265 if steps == 1 else 0.0255, steps)
    odds = p / (1 - p) * math.exp(-2 * sides)
    sure = "7" if "7" in said else ""
    expected = {sure + "0": odds / (1 + odds), sure: 1 / (1 + odds)}
    best = max(expected, key=expected.get)
    for options in ({}, {"nbest": 2}):
        answer = toy(samples, SAMPLE_RATE, **options)
        assert answer.digits == best
        for sizes in ([100], [1, 777, 2_000]):
            segments = in_chunks(toy.stream(), samples, sizes)
            assert "".join(str(s.digit) for s in segments) == best
            if best.endswith("0"):
                assert segments[-1].probability == pytest.approx(expected[best], abs=1e-3)
    assert dict(answer.alternatives) == pytest.approx(expected, abs=1e-3)
    # A grammar that wants a digit finds it all the same.
    assert toy(samples, SAMPLE_RATE, grammar=Grammar("d" * len(sure + "0"))).digits == sure + "0"


def test_a_number_leaves_no_other_digit_in_a_search(toy):
    # Half-way between "1" (0.1) and "2" (0.15), a little nearer to "2".
    unsure = np.repeat(np.float32([0.126, 0]), [STEP, 4 * STEP])
    samples = np.concatenate([spoken("33"), unsure, spoken("n")])
    assert toy(samples, SAMPLE_RATE).digits == "33"
    (best, *_) = toy(samples, SAMPLE_RATE, nbest=2).alternatives
    assert best == ("33", pytest.approx(1, abs=1e-3))


def test_every_segment_comes_once(toy):
    stream = toy.stream()
    samples = spoken("12345")
    final = []
    for begin in range(0, len(samples), 100):
        final += stream.feed(samples[begin : begin + 100]).segments
    final += stream.finish().segments
    assert "".join(str(segment.digit) for segment in final) == "12345"
    assert stream.finish().segments == ()
    with pytest.raises(AudioError, match="begin another"):
        stream.feed(samples)


def test_a_digit_that_the_end_cuts_off_is_recognized(toy):
    samples = spoken("8", pause=1)[: -2 * STEP]
    assert toy(samples, SAMPLE_RATE).digits == "8"


def test_silence_after_a_recording_is_what_the_network_looks_ahead_in_whole_blocks(tmp_path):
    network = Transcriber(write_toy_strings(tmp_path / "toy.onnx", lookahead="500")).network
    for count in (0, 1, 459, 460, 461, BLOCK, 10 * BLOCK - 1):
        silence = network.silence_after(count)
        assert 500 <= len(silence) < 500 + BLOCK
        assert (count + len(silence)) % BLOCK == 0
        assert not silence.any()


def test_no_digit_ends_after_the_recording(shipped):
    for name in ("0/us-f1_0.flac", "1/us-f1_0.flac", "6/rp-m7_0.flac"):
        file = Path(spoken_digits.__file__).parent / "assets" / "voices" / name
        answer = shipped(file)
        for segment in answer.segments:
            assert 0 <= segment.start_s < segment.end_s <= answer.duration_s + 0.001


def test_hours_take_no_more_memory_than_minutes(toy):
    stream = toy.stream(16_000)
    second = np.resize(np.repeat(spoken("3"), 2), 16_000)

    def feed(minutes: int) -> None:
        for _ in range(minutes):
            for _ in range(60):
                stream.feed(second)
            gc.collect()  # what is left then is kept, not just not yet freed

    tracemalloc.start()
    try:
        feed(8)  # for some minutes numpy's pools of small arrays fill
        before, _ = tracemalloc.get_traced_memory()
        feed(4)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 5_000  # to keep every digit would take ten times as much
    assert peak - before < 500_000


def test_a_long_file_is_never_in_memory_whole(toy, tmp_path):
    minute = np.zeros(16_000 * 60, np.float32)
    digit = np.repeat(spoken("5"), 2)
    minute[: len(digit)] = digit
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16_000, 1) as file:
        for _ in range(10):
            file.write(minute)
    tracemalloc.start()
    try:
        answer = toy(tmp_path / "long.flac")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.digits == "5" * 10
    assert answer.duration_s == 600
    assert peak < 4e6  # the whole is 38 MB


@pytest.mark.skipif(sys.platform != "linux", reason="tells the peak of a process otherwise")
def test_the_command_takes_no_more_memory_for_a_longer_file(tmp_path):
    model = str(write_toy_strings(tmp_path / "toy.onnx"))
    minute = np.pad(spoken("5"), (0, 60 * 8_000 - len(spoken("5"))))
    code = (
        "import sys, pathlib, spoken_digits.cli as cli\n"
        "cli.main(['transcribe', '--model', *sys.argv[1:]])\n"
        # Not getrusage: its peak is also that of the process which started this one.
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peaks_kb = []
    for minutes in (1, 8):
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", 8_000, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        command = [sys.executable, "-c", code, model, path]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        answer, peak_kb = done.stdout.splitlines()
        assert answer == f"{path}: {'5' * minutes}"
        peaks_kb.append(int(peak_kb))
    assert peaks_kb[1] - peaks_kb[0] < 6_000  # seven minutes of samples are 13,440


def test_files_and_samples_of_any_kind(toy, tmp_path):
    samples = spoken("2718")
    soundfile.write(tmp_path / "a.wav", np.stack([samples, samples], 1), 8_000, "FLOAT")
    assert toy(tmp_path / "a.wav").digits == "2718"
    assert toy((samples * 2**15).astype(np.int16), 8_000).digits == "2718"
    assert toy(np.stack([samples, samples], 1), 8_000).digits == "2718"


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.empty(0, np.float32), 8_000, "no samples"),
        (np.zeros(8_000, np.float32), 8_000, "no sound in it.*check the microphone"),
        (np.full(8_000, np.nan, np.float32), 8_000, "NaN"),
        (np.ones(8_000, np.float32), 2_000, "a sample rate of 2,000 Hz"),
        (np.ones(8_000, np.float32), 400_000, "a sample rate of 400,000 Hz"),
        (np.ones(8_000, np.float32), None, "no sample rate"),
        (np.ones((2, 8_000), np.float32), 8_000, "transpose"),
    ],
)
def test_what_cannot_be_read_is_reported(toy, samples, rate, words):
    with pytest.raises(AudioError, match=words):
        toy(samples, rate)


def test_a_stream_refuses_a_rate_and_takes_empty_chunks(toy):
    with pytest.raises(AudioError, match="expected 4,000 to 192,000"):
        toy.stream(1_000)
    stream = toy.stream()
    assert stream.feed(np.empty(0)).segments == ()
    assert stream.finish().segments == ()


def test_noise_short_files_and_silence_in_a_stream_give_no_digits(shipped):
    rng = np.random.default_rng(0)
    assert shipped(0.01 * rng.standard_normal(8_000 * 20), 8_000).digits == ""
    assert shipped(0.01 * rng.standard_normal(10), 8_000).digits == ""
    stream = shipped.stream(48_000)
    assert stream.feed(np.zeros(48_000 * 60, np.float32)).segments == ()
    assert stream.finish().segments == ()


def test_what_is_no_model_of_strings_is_told(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be opened"):
        Transcriber(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="no such file"):
        Transcriber(tmp_path / "b.onnx")
    for key in ("emission_threshold", "number_after_s", "labels", "block", "format_version"):
        path = write_toy_strings(tmp_path / "c.onnx", **{key: None})
        with pytest.raises(ModelError, match="not a model of strings"):
            Transcriber(path)
    labels = json.dumps([*"0123456789", "blank"])
    with pytest.raises(ModelError, match=r'labels \["0", .*; expected .* the labels 0, .* blank'):
        Transcriber(write_toy_strings(tmp_path / "d.onnx", labels=labels))
    with pytest.raises(ModelError, match="not a model of strings"):
        Transcriber(SHIPPED_MODEL)


def test_a_grammar_chooses_among_the_strings(toy):
    # Half-way between "1" (0.1) and "2" (0.15), a little nearer to "2"; "331" has a check digit.
    ending = np.repeat(np.float32([0.126, 0]), [STEP, 4 * STEP])
    samples = np.concatenate([spoken("33"), ending])
    free = toy(samples, SAMPLE_RATE, nbest=2)
    assert free.digits == "332"
    assert [digits for digits, _ in free.alternatives] == ["332", "331"]
    assert sum(p for _, p in free.alternatives) == pytest.approx(1, abs=0.05)
    assert toy(samples, SAMPLE_RATE, grammar=Grammar("dd1")).digits == "331"
    assert toy(samples, SAMPLE_RATE, grammar=Grammar(luhn=True)).digits == "331"
    segments = toy(samples, SAMPLE_RATE, grammar=Grammar("dd-d")).segments
    assert [s.digit for s in segments] == [3, 3, 2]
    assert [s.start_s for s in segments] == sorted(s.start_s for s in segments)
    with pytest.raises(AudioError, match="no string as 9dd in it"):
        toy(samples, SAMPLE_RATE, grammar=Grammar("9dd"))


def test_a_search_is_for_recordings_of_minutes(toy):
    samples = np.tile(spoken("1"), 5 * 60 * 8_000 // len(spoken("1")) + 2)
    with pytest.raises(AudioError, match="longer than 300 s"):
        toy(samples, SAMPLE_RATE, nbest=2)


def test_a_recognizer_transcribes_too(shipped, tmp_path):
    samples = voices("4/us-f1_0.flac", "2/us-f1_0.flac")
    recognizer = spoken_digits.load()
    assert recognizer.transcribe(samples, 8_000).digits == "42"
    soundfile.write(tmp_path / "a.wav", samples, 8_000)
    assert recognizer.transcribe(tmp_path / "a.wav").digits == "42"


def test_the_shipped_file_says_what_it_is(shipped):
    assert SHIPPED_STRINGS.stat().st_size + SHIPPED_MODEL.stat().st_size <= 3_000_000
    assert int(shipped.network.metadata["parameters"]) <= 1_000_000
    for key in ("training_data", "recipe", "licence", "command", "commit", "front_end", "labels"):
        assert shipped.network.metadata[key]
