"""The benchmark of voice codecs: what it sends, loses, aligns and counts; its page."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import soundfile
from benchmarks import voice_codecs
from benchmarks.measures import read_results
from benchmarks.voice_codecs import (
    CODECS,
    GAP_S,
    PAGE,
    RESULTS,
    UNCODED,
    Call,
    Step,
    align,
    amr,
    by_ffmpeg,
    choose,
    draw_lost,
    lose_amr,
    lossy_opus,
    measure,
    recognize,
    row_of,
    silenced,
    synthetic_voices,
    with_table,
)

from spoken_digits.lab.connected.evaluation import at_thresholds
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.networks import StringNetwork
from spoken_digits.recognize import load


@pytest.fixture(scope="module")
def call() -> Call:
    return Call.of(synthetic_voices()[3:7])  # a string and three digits


@pytest.fixture
def ffmpeg() -> None:
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra bench")


def test_the_page_is_what_the_results_say():
    text = PAGE.read_text("utf-8")
    found = with_table(text, read_results(RESULTS))
    assert found == text, "run `python -m benchmarks.voice_codecs --page`"


def test_the_guesses_of_the_results_are_those_that_are_judged():
    if not (results := read_results(RESULTS)):
        pytest.skip("not measured yet")
    assert [(g["question"], g["guess"]) for g in results["guesses"]] == [
        (g.question, g.guess) for g in voice_codecs.GUESSES
    ]


def test_recordings_lie_in_the_call_at_either_rate(call):
    for rate in (8_000, 16_000):
        samples = call.samples(rate)
        for each, (start, stop) in zip(call.spoken, call.spans, strict=True):
            factor = rate // 8_000
            assert stop - start == len(each.samples)
            part = samples[start * factor : stop * factor : factor]
            correlation = np.corrcoef(part, each.samples)[0, 1]
            assert correlation > 0.98
            assert not samples[start * factor - round(GAP_S * rate) : start * factor].any()


@pytest.mark.usefixtures("ffmpeg")
def test_delay_level_and_errors_of_a_line_that_is_known(call, monkeypatch, tmp_path):
    line = by_ffmpeg(8_000, ".wav", "-af adelay=25,volume=-6dB -c:a pcm_s16le")
    monkeypatch.setitem(CODECS, "line", (line,))
    transcribe = at_thresholds(StringNetwork(), ())
    rows = measure_strings_and_digits(call, ["line"], transcribe, tmp_path)
    assert rows["line"]["delay_ms"] == 25
    assert rows["line"]["gain_db"] == pytest.approx(-6, abs=0.05)
    assert rows["line"]["strings"]["difference"] == 0
    assert rows["line"]["single"]["difference"] == 0
    assert max(map(abs, rows["line"]["end_ms"])) <= 10
    assert rows["line"]["kbit_s"] == pytest.approx(128, rel=0.01)  # 16 bits at 8 kHz
    assert rows[UNCODED]["strings"]["digits"] == len(call.spoken[0].digits)


def measure_strings_and_digits(call, names, transcribe, folder):
    return measure(call, names, transcribe, load(threshold=0), folder)


@pytest.mark.usefixtures("ffmpeg")
def test_two_codecs_are_sent_through_in_turn(call, tmp_path):
    quieter = by_ffmpeg(8_000, ".wav", "-af volume=-6dB -c:a pcm_s16le")
    samples, _ = voice_codecs.send(call, (quieter, quieter), tmp_path)
    plain = call.samples(8_000)
    ratio = np.sum(samples[: len(plain)].astype(float) * plain) / np.sum(plain.astype(float) ** 2)
    assert 20 * np.log10(ratio) == pytest.approx(-12, abs=0.05)


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("concealed", [True, False])
def test_lost_frames_of_amr_are_concealed_or_silent(call, concealed, tmp_path):
    step = amr(12.2, 0.1, concealed)
    source, file, decoded = (tmp_path / name for name in ("s.wav", "f.amr", "d.wav"))
    soundfile.write(source, call.samples(8_000), 8_000)
    voice_codecs.run(step.encode, source=source, file=file)
    frames = len(file.read_bytes()) // 32  # of 244 bits and a header
    step.decode(file, decoded)
    missing = draw_lost(frames, 0.1)
    lost = np.flatnonzero(missing)
    assert len(lost) > 0
    samples, _ = soundfile.read(decoded, dtype="int16")
    assert len(samples) == 160 * frames
    energy = [np.square(samples[160 * i : 160 * i + 160].astype(float)).sum() for i in lost]
    assert any(energy) is concealed
    kept = np.flatnonzero(~missing)
    assert np.square(samples.reshape(-1, 160)[kept].astype(float)).sum() > 0


def test_frames_are_lost_by_their_sizes():
    frames = [bytes([0x3C]) + bytes(31), bytes([0x04]) + bytes(12)] * 50  # 12.2 and 4.75 kbit/s
    content, missing = lose_amr(b"#!AMR\n" + b"".join(frames), 0.2)
    expected = b"#!AMR\n"
    for frame, is_lost in zip(frames, missing, strict=True):
        expected += b"\x7c" if is_lost else frame
    assert content == expected
    assert 5 <= missing.sum() <= 35


def test_silence_takes_the_place_of_lost_packets():
    samples = np.arange(1, 401, dtype=np.int16)
    assert silenced(samples, np.array([False, True, False]), 8_000).tolist() == [
        *range(1, 161), *[0] * 160, *range(321, 401)
    ]  # fmt: skip


def test_opus_with_losses_is_as_long_and_silent_where_it_must_be(call, tmp_path):
    try:
        ctypes.CDLL("libopus.so.0")
    except OSError:
        pytest.skip("needs libopus")
    source, file = tmp_path / "s.wav", tmp_path / "f.wav"
    plain = call.samples(8_000)
    soundfile.write(source, plain, 8_000, subtype="PCM_16")
    found = {}
    for concealed in (True, False):
        step = lossy_opus(24, 0.1, concealed)
        assert callable(step.encode)
        step.encode(source, file)
        found[concealed] = soundfile.read(file, dtype="int16")[0]
    lost = np.repeat(draw_lost(-(-len(plain) // 160), 0.1), 160)
    assert len(found[True]) == len(lost)
    assert not found[False][lost].any()
    assert found[True][lost].any()
    assert (found[True][~lost] == found[False][~lost]).all()
    late = voice_codecs.delay(found[True].astype(float), plain)
    aligned = found[True][late : late + len(plain)]
    assert np.corrcoef(aligned, plain[: len(aligned)])[0, 1] > 0.7


@pytest.mark.parametrize(
    ("said", "found", "errors", "pairs"),
    [
        ("555", "595", {"substitutions": 1}, {"59": 1}),
        ("123", "13", {"deletions": 1}, {"2-": 1}),
        ("13", "123", {"insertions": 1}, {"-2": 1}),
        ("7", "", {"deletions": 1}, {"7-": 1}),
        ("42", "42", {}, {}),
    ],
)
def test_errors_and_confusions(said, found, errors, pairs):
    counted, confused = align(said, found)
    assert {kind: n for kind, n in counted.items() if n} == errors
    assert dict(confused) == pairs


def test_a_row_is_what_it_counts():
    def rows(*found):
        people = [("an4", "a", "12"), ("an4", "b", "34"), ("speech_commands", "c", "5")]
        return [
            {"name": n, "speaker": s, "said": d, "found": f, "ends_ms": [10.0 + i, 90.0 - i]}
            for i, ((n, s, d), f) in enumerate(zip(people, found, strict=True))
        ]

    plain = rows("12", "34", "5")
    coded = [row | {"ends_ms": [30.0, 95.0]} for row in rows("12", "94", "9")]
    row = row_of(coded, plain)
    assert row["strings"]["digit_error"] == row["strings"]["difference"] == 0.25
    assert row["strings"]["whole"] == 1
    assert row["strings"]["whole_lost"] == 0.5
    assert row["strings"]["confusions"] == {"39": 1}
    assert row["single"]["difference"] == 1
    assert row["start_ms"][1] == 18
    assert row["end_ms"][1] == 7


def test_clips_are_dealt_over_speakers():
    clips = [
        Clip(Path(f"{digit}_{speaker}_{take}.wav"), digit, speaker, "x")
        for digit in "01"
        for speaker in ("ann", "bob", "eve")
        for take in range(5)
    ]
    chosen = choose(clips, 6)
    assert len(chosen) == len(set(chosen)) == 12
    for digit in "01":
        for speaker in ("ann", "bob", "eve"):
            assert sum((c.label, c.speaker) == (digit, speaker) for c in chosen) == 2


def test_silence_is_no_digit(call):
    quiet = [np.zeros(len(each.samples), np.float32) for each in call.spoken]
    rows = recognize(call, quiet, lambda _samples: ("",), load(threshold=0))
    assert {row["found"] for row in rows} == {""}


def test_a_codec_that_fails_is_named(call, tmp_path):
    broken = Step(8_000, ".wav", "false {source}", "true")
    with pytest.raises(RuntimeError, match=r"false .*source\.wav: 1"):
        voice_codecs.send(call, (broken,), tmp_path)
