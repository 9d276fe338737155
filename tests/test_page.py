"""The page in a real browser, headless, with a microphone that plays a file.

Needs Chromium and what `make web` brings; without them, it is skipped.
"""

import functools
import http.server
import io
import os
import re
import shutil
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_files import CHANNELS, encoded
from made_table import files
from toy_model import DIGITS as TOY_DIGITS
from toy_model import write_toy_model
from toy_strings import spoken as toy_spoken
from toy_strings import write_toy_strings

import spoken_digits as sd
from spoken_digits import connected, serve
from spoken_digits.audio import Resampler, find_utterance, read_audio, resample, to_clip
from spoken_digits.networks import StringNetwork
from spoken_digits.recognize import rescore, with_oh

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: extra dev")
expect = playwright.expect
expect.set_options(timeout=60_000)  # for a busy machine; most take some tens of milliseconds

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PAGE = Path(serve.__file__).parent / "page"
VOICES = Path(sd.__file__).parent / "assets" / "voices"
# Kokoro's voices are none that the network was trained on.
CLIPS = [clip for clip in sorted(VOICES.glob("*/*_0.flac")) if not clip.name.startswith("kokoro")]
GOLDEN = [clip for i, clip in enumerate(CLIPS) if i % 10 == 3]
SPOKEN = "4072"

pytestmark = [
    pytest.mark.xdist_group("browser"),  # one worker starts it once
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(not (PAGE / "runtime").is_dir(), reason="needs the runtime: make web"),
]


def spoken(digits: str, pause_s: float = 0.4, voice: str = "gb-f5_0") -> np.ndarray:
    """Digits one by one in faint noise, 8 kHz."""
    pause = np.zeros(round(8_000 * pause_s))
    parts = [np.zeros(20_000)]  # a busy machine needs long to open its microphone
    for digit in digits:
        parts += [read_audio(VOICES / digit / f"{voice}.flac")[0], pause]
    samples = np.concatenate([*parts, pause])
    return samples + 3e-4 * np.random.default_rng(0).standard_normal(len(samples))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve.make_server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield serve.page_address(server)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        yield lambda *flags: driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *flags]
        )


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory):
    """A browser whose microphone plays a string of digits, anew each time that it is opened.

    Its pages share one process, in which the runtime is compiled for the first of them only.
    """
    file = tmp_path_factory.mktemp("microphone") / "string.wav"
    soundfile.write(file, resample(spoken(SPOKEN).astype(np.float32), 8_000, 48_000), 48_000)
    browser = chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}%noloop",
        "--renderer-process-limit=1",
    )
    yield browser.new_context()
    browser.close()


@pytest.fixture(scope="module")
def shared_page(browser, address):
    """One page, and what it complained of and asked of others."""
    page, complaints, left = open_page(browser, address)
    yield page, complaints, left
    page.close()


@pytest.fixture
def page(shared_page):
    """The page of most tests, which fetches and compiles the networks once: seconds each time.

    It shows what the test before has left. For what depends on that, there is `new_page`.
    """
    page, complaints, left = shared_page
    complaints.clear()
    left.clear()
    page.set_viewport_size({"width": 1280, "height": 720})
    if page.evaluate("document.documentElement.dataset.state") != "idle":  # a test has failed
        page.reload()
    yield page
    assert (complaints, left) == ([], [])


@pytest.fixture
def new_page(browser, address):
    yield from watched(browser, address)


def open_page(browser, address: str, setup: str = ""):
    """Open a page of which nothing may leave, and that may not complain to the console."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    complaints, left, origin = [], [], re.match(r"http://[^/]+/", address)[0]
    page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda r: r.url.removeprefix("blob:").startswith(origin) or left.append(r.url),
    )
    if setup:
        page.add_init_script(setup)
    page.goto(address)
    return page, complaints, left


def watched(browser, address: str, setup: str = ""):
    """Open a page for one test, and look at what it complained of when that has ended."""
    page, complaints, left = open_page(browser, address, setup)
    yield page
    page.close()
    assert (complaints, left) == ([], [])


def status(page, kind: str) -> str:
    line = page.locator(f"#status[data-kind={kind}]")
    line.wait_for()
    return line.inner_text()


def string(page) -> str:
    return "".join(page.locator("#digits button").all_inner_texts())


def give(page, *files: Path) -> None:
    page.set_input_files("#file", files)


def probability(page) -> float:
    return float(page.locator("#probability").inner_text().removesuffix(" %")) / 100


def test_the_answer_is_that_of_python_for_golden_clips(page):
    recognizer = sd.load()
    for clip in GOLDEN:
        give(page, clip)
        status(page, "result")
        expected = recognizer(clip)
        assert string(page) == ("?" if expected.digit is None else str(expected.digit)), clip
        assert probability(page) == pytest.approx(expected.probability, abs=0.002), clip


def test_utterances_are_those_of_python(page, address):
    rng = np.random.default_rng(1)
    recordings = [read_audio(clip)[0] for clip in CLIPS]
    for i in range(20):  # within noise of any level, at any place
        lead, tail = rng.integers(0, 12_000, 2)
        padded = np.pad(recordings[7 * i % len(recordings)], (lead, tail))
        noise = 10 ** rng.uniform(-5, -2) * rng.standard_normal(len(padded))
        recordings.append((padded + noise).astype(np.float32))
    for i in range(10):  # several, near and far apart, loud and faint
        pause, faint = np.zeros(rng.integers(400, 8_000), np.float32), rng.uniform(0.05, 1)
        words = [recordings[i], pause, np.float32(faint) * recordings[3 * i + 1], pause]
        recordings.append(np.concatenate([pause, *words, recordings[5 * i + 2]]))
    recordings += [1e-5 * recordings[0], np.zeros(9_000, np.float32), recordings[-21][:11_000]]
    recordings.append((0.01 * rng.standard_normal(24_000)).astype(np.float32))
    code = """
async ([address, recordings]) => {
  const { findUtterance, withoutMean } = await import(address + "audio.js");
  return recordings.map((one) => {
    const bytes = Uint8Array.from(atob(one), (character) => character.charCodeAt(0));
    const samples = new Float32Array(bytes.buffer);
    const { start, stop, isSpeech, utterances } = findUtterance(withoutMean(samples));
    return [Math.max(0, start), Math.min(samples.length, stop), isSpeech, utterances];
  });
}"""
    encoded = [b64encode(one.astype(np.float32)).decode() for one in recordings]
    expected = []
    for samples in recordings:
        one = find_utterance(samples, 8_000)
        start, stop = (round(8_000 * t) for t in (one.start_s, one.end_s))
        expected.append([start, stop, one.is_speech, one.utterances])
    assert page.evaluate(code, [address, encoded]) == expected
    assert {utterances for *_, utterances in expected} >= {0, 1, 2, 3}
    assert {is_speech for _, _, is_speech, _ in expected} == {True, False}


def test_what_python_rejects_as_silence_is_rejected(page, tmp_path):
    noise = 0.01 * np.random.default_rng(2).standard_normal(24_000)
    soundfile.write(tmp_path / "noise.wav", noise, 8_000)
    assert sd.load()(tmp_path / "noise.wav").reason == "silence"
    give(page, tmp_path / "noise.wav")
    assert "No speech above the background" in status(page, "result")
    assert string(page) == "?"


@pytest.mark.parametrize("threshold", [-0.9999, -0.98, 1.0])
def test_what_a_model_rejects_or_leaves_unclear_is_rejected(browser, tmp_path, threshold):
    model = write_toy_model(
        tmp_path / "toy.onnx", rejection=True, rejection_threshold=str(threshold)
    )
    reason = sd.load(model)(GOLDEN[0]).reason
    words = {"not a digit": "This does not sound like a digit.", "unclear": "Unclear, perhaps "}
    with serve.make_server(model_path=model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for page in watched(browser, serve.page_address(server)):
                give(page, GOLDEN[0])
                assert status(page, "result").startswith(words[reason])
                assert string(page) == "?"
        finally:
            server.shutdown()
            thread.join()


def together(digits: str, voice: str, pause_s: float = 0.0) -> np.ndarray:
    """Digits in one breath, in faint noise, 8 kHz."""
    return spoken(digits, pause_s, voice)[16_000:].astype(np.float32)


STRINGS = [
    together("4155501", "us-f1_0", 0.02),
    together("90210", "gb-m1_0"),
    together("888", "rp-f2_0", 0.1),
    together("3527", "rp-m7_0", 0.35),
    together("5", "us-f1_0"),
]


@pytest.mark.parametrize("samples", STRINGS)
def test_a_string_is_that_of_python(page, tmp_path, samples):
    soundfile.write(tmp_path / "string.wav", samples, 8_000)
    expected = sd.load().transcribe(tmp_path / "string.wav")
    give(page, tmp_path / "string.wav")
    status(page, "result")
    assert string(page) == expected.digits


def shown_by_python(path: Path) -> str:
    """What the page shows, said with the two calls that a user of Python has."""
    recognizer = sd.load()
    answer, digits = recognizer(path), recognizer.transcribe(path).digits
    if answer.utterances > 1 or len(digits) > 1:
        return digits
    return "?" if answer.digit is None else str(answer.digit)


def test_the_page_decides_nothing_that_python_does_not(page, tmp_path):
    rng = np.random.default_rng(6)
    shown = []
    for i in range(24):  # digits, backwards too, which are none, with and without pauses
        clips = [read_audio(CLIPS[k])[0] for k in rng.integers(len(CLIPS), size=1 + i % 3)]
        parts = [np.zeros(4_000, np.float32)]
        for clip in clips:
            parts += [clip[:: rng.choice([1, 1, 1, -1])], np.zeros(rng.choice([0, 800, 5_000]))]
        samples = np.concatenate([*parts, np.zeros(4_000)])
        samples += 10 ** rng.uniform(-5, -2.5) * rng.standard_normal(len(samples))
        soundfile.write(tmp_path / f"{i}.wav", samples, 8_000)
        give(page, tmp_path / f"{i}.wav")
        status(page, "result")
        shown.append(string(page))
        assert shown[-1] == shown_by_python(tmp_path / f"{i}.wav"), i
    assert "?" in shown
    assert {len(digits) for digits in shown} >= {1, 2, 3}


SEGMENTS = """
async ([address, encoded, sizes, options]) => {
  const { loadNetworks } = await import(address + "networks.js");
  const { Stream } = await import(address + "connected.js");
  const networks = (window.networks ??= await loadNetworks(() => {}));
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const samples = new Float32Array(bytes.buffer);
  const { metadata, step, block, lookahead, decoding } = networks.strings;
  const found = [];
  for (const size of sizes) {
    const stream = new Stream(networks, options);
    const segments = [];
    for (let i = 0; i < samples.length; i += size) {
      segments.push(...await stream.feed(samples.subarray(i, i + size)));
    }
    segments.push(...await stream.finish());
    found.push(segments.map((one) => [one.digit, one.word, one.start, one.end, one.probability,
      one.probabilities[one.digit]]));
  }
  return { found, constants: [step, block, lookahead], decoding, metadata };
}"""


def segments(page, address: str, samples: np.ndarray, sizes: list[int], **options: bool) -> dict:
    encoded = b64encode(samples.astype(np.float32)).decode()
    return page.evaluate(SEGMENTS, [address, encoded, sizes, options])


def assert_as_in_python(found: list[list], transcript, atol: float) -> None:
    assert "".join(str(digit) for digit, *_ in found) == transcript.digits
    assert [word for _, word, *_ in found] == [segment.word for segment in transcript.segments]
    for (_, _, start, end, p, same), segment in zip(found, transcript.segments, strict=True):
        assert (start, end) == pytest.approx((segment.start_s, segment.end_s), abs=0.001)
        assert p == same == pytest.approx(segment.probability, abs=atol)


@pytest.mark.parametrize("samples", STRINGS[:2])
def test_each_digit_is_where_python_finds_it_whatever_the_chunks(page, address, samples):
    transcriber = connected.Transcriber()
    answer = segments(page, address, samples, [len(samples), 4_001, 160, 7])
    for found in answer["found"]:
        assert_as_in_python(found, transcriber(samples, 8_000), 1e-3)
    network = transcriber.network
    assert answer["constants"] == [network.step, network.block, network.lookahead]
    assert answer["decoding"] == asdict(network.decoding)
    assert answer["metadata"] == dict(network.metadata)


def test_chunks_of_one_sample_give_the_same(page, address):
    samples = together("31", "us-f1_0")
    (found,) = segments(page, address, samples, [1])["found"]
    assert_as_in_python(found, connected.Transcriber()(samples, 8_000), 1e-3)


OTHER = {  # than those that ship: the page has none of its own
    "min_step_probability": "0.3",
    "word_threshold": "1.5",
    "other_weight": "0.5",
    "number_before_s": "0.2",
    "number_after_s": "0.1",
    "double_s": "0.2",
    "context_penalty": "1.5",
    "context_s": "0.2",
    "context_bonus": "1",
    "min_score": "-1.5",
}


@contextmanager
def served(model: Path | None = None) -> Iterator[str]:
    with serve.make_server(model_path=model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield serve.page_address(server)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("threshold", "constants"), [("0.85", {}), ("-1", OTHER)])
def test_words_of_any_probability_are_decoded_as_in_python(
    browser, tmp_path, monkeypatch, threshold, constants
):
    # Each step of the toy is as certain as its level says, so runs of any kind occur; what counts
    # are the digits 0 to 5 and, of the other words, "oh" to "other".
    model = write_toy_strings(
        tmp_path / "toy.onnx", emission_threshold=threshold, lookahead="720", **constants
    )
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", model)
    rng = np.random.default_rng(3)
    levels = np.where(rng.random(600) < 0.7, rng.uniform(0, 0.3, 600), rng.uniform(0.5, 0.78, 600))
    levels *= rng.random(600) < 0.7
    samples = np.repeat(levels, 240)[:-100].astype(np.float32)
    transcriber = connected.Transcriber(model)
    with served() as here:
        for page in watched(browser, here):
            words = []
            for options in ({}, {"oh": False}, {"doubles": False}):
                transcript = transcriber(samples, 8_000, **options)
                assert len(transcript.segments) > 40
                words.append([segment.word for segment in transcript.segments])
                answer = segments(page, here, samples, [len(samples), 333], **options)
                for found in answer["found"]:
                    assert_as_in_python(found, transcript, 1e-3)
            assert answer["decoding"] == asdict(transcriber.network.decoding)
            everything, without_oh, without_doubles = words
            assert "oh" in everything
            assert "oh" not in without_oh
            assert len(without_doubles) < len(everything)


def test_a_digit_beside_other_words_is_as_probable_as_in_python(browser, tmp_path, monkeypatch):
    model = write_toy_strings(tmp_path / "toy.onnx", emission_threshold="-4")
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", model)
    # x is another word, n a number word; of a "0" the toy is not sure, whose level is 0.026.
    said = {
        "x0": 1,
        "0x": 0,  # no word after it could take it away
        "x0x": 1,
        "x..0": 0,
        "0..x": 0,
        "x70": 0,
        "0d7x": 0,
        "0n": None,
        "n.0": 1,
    }
    transcriber = connected.Transcriber(model)
    with served() as here:
        for page in watched(browser, here):
            for words, sides in said.items():
                samples = toy_spoken(words)
                begin = int(np.flatnonzero(samples == np.float32(0.05))[0])
                samples[begin : begin + 240] = 0.026
                samples[begin + 240 : begin + 960] = 0
                # The recording may end with the word, before the pause after it.
                for end in (len(samples), int(np.flatnonzero(samples)[-1]) + 1):
                    transcript = transcriber(samples[:end], 8_000)
                    if sides is None:
                        assert transcript.digits == ""
                    else:
                        zero = next(s for s in transcript.segments if s.digit == 0)
                        p = 1 / (1 + np.exp(8_000 * (0.024**2 - 0.026**2) + 2 * sides - 4))
                        assert zero.probability == pytest.approx(p, abs=1e-3)
                    answer = segments(page, here, samples[:end], [end, 333, 7])
                    for found in answer["found"]:
                        assert_as_in_python(found, transcript, 1e-3)


@pytest.mark.parametrize(("end", "digits"), [("", "40077"), ("?no-oh", "4077")])
def test_oh_is_zero_unless_the_address_says_no(browser, tmp_path, monkeypatch, end, digits):
    strings = write_toy_strings(tmp_path / "toy.onnx")
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", strings)
    soundfile.write(tmp_path / "said.wav", toy_spoken("4o0d7"), 8_000, "FLOAT")
    with served() as here:
        for page in watched(browser, here + end):
            give(page, tmp_path / "said.wav")
            assert status(page, "result") == f"Recognized {' '.join(digits)}."
            assert string(page) == digits


COMBINED = """
async ([address, clips, answers]) => {
  const { loadNetworks } = await import(address + "networks.js");
  const { rescore, withOh } = await import(address + "recognize.js");
  const { strings } = await loadNetworks(() => {});
  const scored = [];
  for (const clip of clips) scored.push(await strings.scoreClip(Float32Array.from(clip)));
  return [
    scored,
    answers.map(([logP, , , words]) => rescore(logP, words, 0.8)),
    answers.map(([logP, isDigit, isOh]) => withOh(logP, isDigit, isOh)),
  ];
}"""


def test_two_networks_are_combined_as_in_python(browser, tmp_path, monkeypatch):
    strings = write_toy_strings(tmp_path / "toy.onnx")
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", strings)
    rng = np.random.default_rng(0)
    clips = [0.1 * rng.random(200), toy_spoken("o")[:-77] * 1.01, toy_spoken("x0")]
    answers = []
    for i in range(12):
        log_p = np.log(rng.dirichlet(0.2 * np.ones(10)) + 1e-12)
        words = np.log(rng.dirichlet(0.2 * np.ones(17))[:16] + 1e-12)
        p = rng.dirichlet([5, 1, 1 + 9 * (i % 2)])  # a digit, anything else, "oh"
        odds = np.log(p[[0, 2]] / (1 - p[[0, 2]]))
        answers.append([log_p.tolist(), *odds.tolist(), words.tolist()])
    with served() as here:
        for page in watched(browser, here):
            scored, rescored, counted = page.evaluate(
                COMBINED, [here, [clip.astype(np.float32).tolist() for clip in clips], answers]
            )
    network = StringNetwork(strings)
    for clip, found in zip(clips, scored, strict=True):
        expected = network.score_clip(clip.astype(np.float32))
        np.testing.assert_allclose(found, expected, atol=1e-2, rtol=1e-4)
    for (log_p, is_digit, is_oh, words), found, found_oh in zip(
        answers, rescored, counted, strict=True
    ):
        expected = rescore(np.array(log_p), np.array(words), 0.8)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        expected_p, expected_odds, expected_oh = with_oh(np.array(log_p), is_digit, is_oh)
        np.testing.assert_allclose(found_oh["logP"], expected_p, rtol=1e-9, atol=1e-9)
        assert found_oh["logOdds"] == pytest.approx(expected_odds)
        assert found_oh["isOh"] == expected_oh
    assert {found["isOh"] for found in counted} == {True, False}


@pytest.mark.parametrize("weight", ["0.5", "1"])
@pytest.mark.parametrize("labels", [TOY_DIGITS, (*TOY_DIGITS, "oh")])
def test_a_single_digit_of_both_networks_is_that_of_python(
    browser, tmp_path, monkeypatch, weight, labels
):
    digits = write_toy_model(
        tmp_path / "digits.onnx",
        labels,
        **{"rejection": True, "rejection_threshold": "-12", "min_probability": "0"},
        **{"min_margin": "0", "string_weight": weight, "min_oh": "-9"},
    )
    strings = write_toy_strings(tmp_path / "toy.onnx", emission_threshold="50")
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", strings)
    answers = [sd.load(digits, strings_path=strings)(clip) for clip in GOLDEN[:3]]
    with served(digits) as here:
        for page in watched(browser, here):
            for clip, expected in zip(GOLDEN, answers, strict=False):
                give(page, clip)
                status(page, "result")
                assert string(page) == ("?" if expected.digit is None else str(expected.digit))
                assert probability(page) == pytest.approx(expected.probability, abs=0.002), clip


def test_a_model_without_a_context_has_no_penalty(browser, tmp_path, monkeypatch):
    context = ("context_penalty", "context_s", "context_bonus", "min_score")
    old: dict[str, str | None] = dict.fromkeys(context, None) | {"min_overlap": "0.5"}
    model = write_toy_strings(tmp_path / "toy.onnx", **old)
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", model)
    with served() as here:
        for page in watched(browser, here):
            decoding = segments(page, here, toy_spoken("7"), [999])["decoding"]
    assert decoding == asdict(StringNetwork(model).decoding)
    assert decoding["context_penalty"] == 0


@pytest.mark.parametrize("key", ["number_after_s", "min_margin"])
def test_a_model_without_its_constants_is_not_taken(browser, tmp_path, monkeypatch, key):
    toy = {"rejection_threshold": "0", key: None}
    digits = write_toy_model(tmp_path / "digits.onnx", rejection=True, **toy)
    strings = write_toy_strings(tmp_path / "strings.onnx", **{key: None})
    monkeypatch.setattr(serve, "SHIPPED_STRINGS", strings)
    name = "strings.onnx" if key == "number_after_s" else "digits.onnx"
    with serve.make_server(model_path=digits) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for page in watched(browser, serve.page_address(server)):
                give(page, GOLDEN[0])
                assert f"{name} is no model of this page" in status(page, "error")
        finally:
            server.shutdown()
            thread.join()


def test_a_fluent_string_is_shown_while_it_is_spoken(chromium, address, tmp_path):
    fluent = spoken("4155501", 0.02, "us-f1_0").astype(np.float32)
    fluent = np.append(fluent, np.zeros(16_000, np.float32))
    expected = sd.load().transcribe(fluent, 8_000).digits
    file = tmp_path / "fluent.wav"
    soundfile.write(file, resample(fluent, 8_000, 48_000), 48_000)
    browser = chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}%noloop",
    )
    try:
        for page in watched(browser, address):
            page.locator("#speak").click()
            expect(page.locator("#digits li")).to_have_count(len(expected))
            assert page.locator("#speak").inner_text() == "Stop"
            page.locator("#speak").click()
            assert status(page, "result") == f"Recognized {' '.join(expected)}."
            page.locator("#digits button").nth(2).click()
            expect(page.locator("#bars .best")).to_have_text(expected[2])
            expect(page.locator("#log-mel")).to_have_attribute(
                "aria-label", re.compile(f"recognized as {expected[2]}")
            )
    finally:
        browser.close()


def test_a_recording_of_minutes_is_transcribed_whole_also_in_the_background(new_page, tmp_path):
    digits, pause = together("90210", "gb-m1_0"), np.zeros(50_000, np.float32)
    samples = np.concatenate([digits, pause] * 12)
    stereo = np.stack([samples, samples], 1)
    soundfile.write(tmp_path / "minutes.wav", stereo, 8_000, "FLOAT")
    expected = sd.load().transcribe(tmp_path / "minutes.wav").digits
    new_page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    give(new_page, tmp_path / "minutes.wav")
    new_page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert status(new_page, "result") == f"Recognized {len(expected)} digits."
    assert new_page.locator("#before").inner_text() + string(new_page) == expected
    assert "the last 30 s of" in new_page.locator("#span").inner_text()


def test_two_hours_take_no_more_memory_than_minutes_and_can_be_stopped(new_page, tmp_path):
    file = tmp_path / "hours.wav"
    soundfile.write(file, together("90210", "gb-m1_0"), 8_000)
    size = 44 + 2 * 8_000 * 7_200
    with file.open("r+b") as stream:  # the rest is silence, and takes no room on most disks
        stream.truncate(size)
        for place, value in ((4, size - 8), (40, size - 44)):
            stream.seek(place)
            stream.write(value.to_bytes(4, "little"))
    driver = new_page.context.new_cdp_session(new_page)

    def memory_after(minutes: int) -> float:
        # Or later: a quick page has read more between two looks at it.
        from_then_on = "|".join(map(str, range(minutes, 120)))
        expect(new_page.locator("#loaded")).to_contain_text(re.compile(f"Read ({from_then_on}):"))
        driver.send("HeapProfiler.collectGarbage")
        return driver.send("Runtime.getHeapUsage")["usedSize"]

    give(new_page, file)
    early = memory_after(1)
    assert memory_after(30) - early < 4e6  # a minute is 1.9 MB
    pauses = new_page.evaluate("""
async () => {
  const pauses = [];
  for (let i = 0, before = performance.now(); i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    pauses.push(performance.now() - before);
    before = performance.now();
  }
  return pauses;
}""")
    assert np.median(pauses) < 500  # in milliseconds, on a busy machine
    new_page.locator("#speak").click()
    assert re.search(r"Stopped at \d+:\d\d of 120:00", status(new_page, "result"))
    assert new_page.locator("#before").inner_text() == "90210"


RESAMPLED = """
async ([address, encoded, rate, sizes]) => {
  const { Resampler } = await import(address + "resample.js");
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const samples = new Float32Array(bytes.buffer);
  const resampler = new Resampler(rate);
  const out = [];
  for (let i = 0, turn = 0; i < samples.length; i += sizes[turn++ % sizes.length]) {
    out.push(...resampler.add(samples.subarray(i, i + sizes[turn % sizes.length])));
  }
  return [...out, ...resampler.finish()];
}"""


@pytest.mark.parametrize("rate", [4_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_resampling_is_that_of_python(page, address, rate):
    t = np.arange(rate // 2) / rate
    tones = [f for f in (97.0, 800.0, 1_700.0, 3_300.0) if f < 0.42 * rate]
    samples = sum(np.sin(2 * np.pi * f * t + f) for f in tones)
    if rate > 20_000:
        samples += np.sin(2 * np.pi * 5_000 * t)  # is filtered out at 8 kHz
    samples = samples.astype(np.float32)
    encoded = b64encode(samples).decode()
    sizes = [rate // 50, 1, 7, rate // 9]
    out = np.array(page.evaluate(RESAMPLED, [address, encoded, rate, sizes]))
    whole = np.array(page.evaluate(RESAMPLED, [address, encoded, rate, [len(samples)]]))
    assert len(out) == 4_000
    np.testing.assert_array_equal(out, whole)
    resampler = Resampler(rate)
    expected = np.concatenate([resampler.add(samples), resampler.finish()])
    np.testing.assert_allclose(out, expected, atol=1e-5)
    inner = slice(200, -200)  # at its ends, soxr takes another part of the silence around it
    np.testing.assert_allclose(out[inner], resample(samples, rate)[inner], atol=2e-3)


READ_FILE = """
async ([address, encoded]) => {
  const { openFile } = await import(address + "files.js");
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const { duration, pieces, warnings } = await openFile(new File([bytes], "a.wav"));
  const samples = [];
  for await (const piece of pieces) samples.push(...piece);
  return [duration, samples, warnings];
}"""


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"),
        ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAVEX", "PCM_24"), ("FLAC", "PCM_16"),
    ],
)  # fmt: skip
def test_a_file_is_read_as_in_python(page, address, tmp_path, kind, subtype):
    rng = np.random.default_rng(4)
    samples = rng.uniform(-0.9, 0.9, (30_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a", samples, 8_000, subtype, format=kind)
    encoded = b64encode((tmp_path / "a").read_bytes()).decode()
    duration, read, _ = page.evaluate(READ_FILE, [address, encoded])
    assert duration == 3.75
    atol = 1e-7 if kind != "FLAC" else 1e-4  # a browser may divide by 32,767
    np.testing.assert_allclose(read, read_audio(tmp_path / "a")[0], atol=atol)


def tones(rate: int, *frequencies: int) -> np.ndarray:
    """A second of tones, each of amplitude 0.2, (L,) float32."""
    t = np.arange(rate) / rate
    return sum(0.2 * np.sin(2 * np.pi * hz * t) for hz in frequencies).astype(np.float32)


def tone_db(samples: np.ndarray, hz: int) -> float:
    """The level of a tone in the middle of what was read at 8 kHz, relative to that of `tones`."""
    middle = np.array(samples)[len(samples) // 4 : -len(samples) // 4]
    phase = 2 * np.pi * hz * np.arange(len(middle)) / 8_000
    basis = np.stack([np.sin(phase), np.cos(phase)], 1)
    amplitude = np.hypot(*np.linalg.lstsq(basis, middle, rcond=None)[0])
    return float(20 * np.log10(amplitude / 0.2))


def m4a(samples: np.ndarray, rate: int) -> bytes:
    av = pytest.importorskip("av", reason="needs PyAV: extra formats")
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=rate, layout="mono", bit_rate=96_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return content.getvalue()


KINDS_OF_TONES = [
    *(("FLAC", rate) for rate in (8_000, 16_000, 44_100, 48_000)),
    *(("OGG/VORBIS", rate) for rate in (8_000, 44_100)),
    *(("OGG/OPUS", rate) for rate in (48_000,)),
    *(("MP3", rate) for rate in (8_000, 44_100)),
    *(("M4A", rate) for rate in (8_000, 48_000)),
]


@pytest.mark.parametrize(("kind", "rate"), KINDS_OF_TONES)
def test_what_the_browser_decodes_loses_no_high_sounds_and_gains_no_low_ones(
    page, address, kind, rate
):
    # Chromium's own way to 8 kHz takes 5 dB off 3.4 kHz, and makes 3 kHz of 5 kHz, 16 dB fainter.
    samples = tones(rate, 1_000, 3_400, *([5_000] if rate > 10_000 else []))
    content = m4a(samples, rate) if kind == "M4A" else encoded(samples, kind, rate)
    _, read, _ = page.evaluate(READ_FILE, [address, b64encode(content).decode()])
    assert tone_db(read, 1_000) == pytest.approx(0, abs=0.2)
    assert tone_db(read, 3_400) == pytest.approx(0, abs=0.5)
    assert tone_db(read, 3_000) < -45


READ_AND_TRANSCRIBED = """
async ([address, encoded]) => {
  const { openFile } = await import(address + "files.js");
  const { loadNetworks } = await import(address + "networks.js");
  const { Stream } = await import(address + "connected.js");
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  try {
    const { pieces, warnings } = await openFile(new File([bytes], "mine.bin"));
    window.networks ??= await loadNetworks(() => {});
    const stream = new Stream(window.networks);
    const segments = [];
    let length = 0;
    for await (const piece of pieces) {
      length += piece.length;
      segments.push(...await stream.feed(piece));
    }
    segments.push(...await stream.finish());
    const digits = segments.map((one) => one.digit).join("");
    return { digits, seconds: length / 8000, said: warnings };
  } catch (error) {
    return { digits: null, seconds: 0, said: [`${error.constructor.name}: ${error.message}`] };
  }
}"""


def test_each_file_of_the_table_is_heard_whole_or_refused_as_by_python(page, address):
    wrong = {}
    for name, wanted in files().items():
        found = page.evaluate(READ_AND_TRANSCRIBED, [address, b64encode(wanted.content).decode()])
        digits, said = wanted.digits, wanted.said
        if wanted.page is not None:
            digits, said = None, wanted.page
        start = "mine.bin: " if digits is not None else "UserError: mine.bin: "
        is_said = len(found["said"]) == bool(said) and all(
            one.startswith(start) and said in one for one in found["said"]
        )
        is_whole = digits is None or wanted.is_whole(found["seconds"])
        if found["digits"] != digits or not is_said or not is_whole:
            wrong[name] = found
    assert wrong == {}


def put(page, name: str, of_table: str) -> None:
    content = files()[of_table].content
    page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": content})


def test_a_warning_is_seen_until_the_next_recording(page):
    warnings = page.locator("#warnings li")
    name = "a-name-without-any-place-to-break-" * 6
    page.set_viewport_size({"width": 320, "height": 800})
    for of_table in ("WAV that declares 2 bytes too many", "WAV, two speakers on two channels"):
        put(page, name, of_table)
        assert status(page, "result") == "Recognized 4 7."
        expect(warnings).to_have_count(1)
        expect(warnings).to_be_visible()
        assert f"Warning: {name}: {files()[of_table].said}" in warnings.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    put(page, name, "WAV, cut")
    assert status(page, "error").startswith(f"{name}: truncated, ")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    expect(warnings).to_have_count(0)


@pytest.mark.parametrize(
    ("channel", "kind", "said"),
    [
        ("1", "result", "Recognized 0 5."),
        ("2", "result", "Recognized 4 7."),
        ("3", "error", "mine: no channel 3; expected 1 to 2"),
        ("left", "error", "channel=left: expected 1, the first one, or more"),
    ],
)
def test_the_address_may_name_a_channel(browser, address, channel, kind, said):
    for page in watched(browser, f"{address}?channel={channel}"):
        put(page, "mine", "WAV, two speakers on two channels")
        assert status(page, kind) == said
        expect(page.locator("#warnings li")).to_have_count(0)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
@pytest.mark.parametrize(("channels", "taken", "is_doubtful"), CHANNELS.values(), ids=CHANNELS)
def test_the_channel_with_the_speech_is_taken(
    page, address, tmp_path, channels, taken, is_doubtful, kind
):
    samples = np.stack(channels, axis=1)
    soundfile.write(tmp_path / "a", samples, 8_000, "PCM_16", format=kind)
    encoded = b64encode((tmp_path / "a").read_bytes()).decode()
    _, read, warnings = page.evaluate(READ_FILE, [address, encoded])
    expected = samples[:, [channel - 1 for channel in taken]].mean(axis=1)
    np.testing.assert_allclose(read, expected, atol=1e-4)
    said = f"its channels differ; channel {taken[0]} of {len(channels)} is taken, the loudest"
    assert [said in warning for warning in warnings] == [True] * is_doubtful


READ_CHANNELS = """
async ([address, encoded, count]) => {
  const { openFile } = await import(address + "files.js");
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const levels = [];
  for (let channel = 1; channel <= count; channel++) {
    const { pieces } = await openFile(new File([bytes], "a"), channel);
    let [sum, length] = [0, 0];
    for await (const piece of pieces) {
      for (const x of piece) sum += x * x;
      length += piece.length;
    }
    levels.push(Math.sqrt(sum / length));
  }
  return levels;
}"""


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG/VORBIS", "OGG/OPUS"])
def test_channels_have_the_numbers_that_they_have_in_python(page, address, kind):
    # At 8 kHz: of 5.1 channels at 48 kHz, Chromium decodes Vorbis wrong.
    noise = np.random.default_rng(0).standard_normal((8_000, 1))
    content = encoded(np.linspace(0.3, 0.05, 6) * noise / 4, kind, 8_000)
    levels = page.evaluate(READ_CHANNELS, [address, b64encode(content).decode(), 6])
    expected = [
        np.sqrt(np.square(resample(*read_audio(content, channel=channel))).mean())
        for channel in range(1, 7)
    ]
    np.testing.assert_allclose(levels, expected, rtol=0.1)


def test_vorbis_of_more_than_two_channels_is_warned_of(page, address):
    # Chromium 156 decodes 5.1 wrong at 44.1 and 48 kHz: the error is about as loud as the sound.
    noise = 0.05 * np.random.default_rng(0).standard_normal((8_000, 6))
    for count in (2, 6):
        content = encoded(noise[:, :count], "OGG/VORBIS", 48_000)
        *_, warnings = page.evaluate(READ_FILE, [address, b64encode(content).decode()])
        said = [w for w in warnings if "holds Vorbis of 6 channels" in w and "convert it" in w]
        assert len(said) == (count == 6)


def test_aac_in_wav_is_refused(page):
    # Chromium takes what ffmpeg writes, and gives a tenth of it.
    form = struct.pack("<HHIIHHH", 0xFF, 1, 16_000, 8_000, 1_024, 16, 0)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data\x64\0\0\0" + bytes(100)
    content = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    page.set_input_files("#file", {"name": "a.wav", "mimeType": "audio/wav", "buffer": content})
    assert "a.wav: WAV with AAC, which browsers do not read whole" in status(page, "error")


def test_the_network_runs_as_in_python(page, address):
    recognizer = sd.load()
    samples = read_audio(GOLDEN[3])[0]
    expected = recognizer(samples, sample_rate=8_000)
    code = """
async ([address, clip]) => {
  const { loadNetworks } = await import(address + "networks.js");
  const { softmax } = await import(address + "probability.js");
  const { digits } = (window.networks ??= await loadNetworks(() => {}));
  const { scores, logOdds, logMel } = await digits.run(Float32Array.from(clip));
  const shape = [logMel.bands, logMel.frames];
  return [softmax(scores), logOdds, [...logMel.values], shape, digits.metadata];
}"""
    answer = page.evaluate(code, [address, to_clip(samples, 8_000).tolist()])
    probabilities, log_odds, log_mel, shape, metadata = answer
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-4)
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(expected.score, abs=1e-5)
    np.testing.assert_allclose(np.reshape(log_mel, shape), expected.log_mel, atol=1e-4)
    assert metadata == dict(recognizer.metadata)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000])
def test_any_rate_is_recognized(page, tmp_path, rate):
    samples = resample(read_audio(VOICES / "5" / "rp-f2_0.flac")[0], 8_000, rate)
    soundfile.write(tmp_path / "five.wav", np.stack([samples, 0.5 * samples], axis=1), rate)
    give(page, tmp_path / "five.wav")
    status(page, "result")
    assert string(page) == "5"


def test_speaking_shows_the_string_as_it_comes(new_page):
    expect(new_page.locator("#loading")).to_be_hidden()
    new_page.locator("#speak").click()
    expect(new_page.locator("#speak")).to_have_text("Stop")
    expect(new_page.locator("#digits li")).to_have_count(len(SPOKEN))
    assert string(new_page) == SPOKEN
    new_page.locator("#speak").click()
    assert status(new_page, "result") == f"Recognized {' '.join(SPOKEN)}."
    assert string(new_page) == SPOKEN
    new_page.locator("#digits button").nth(1).click()  # any of them can be looked at
    expect(new_page.locator("#bars .best")).to_have_text(SPOKEN[1])


def test_a_key_is_held_down_to_speak(new_page):
    new_page.keyboard.down("Space")
    # On a busy machine more than one digit may appear at once.
    expect(new_page.locator("#digits")).to_have_text(re.compile(f"^{SPOKEN[0]}"))
    new_page.keyboard.up("Space")
    assert status(new_page, "result").startswith(f"Recognized {SPOKEN[0]}")


def test_a_browser_that_cannot_record_at_8_khz_resamples(browser, address):
    setup = """
const Real = AudioContext;
AudioContext = class extends Real {
  constructor(options) {
    if (options) throw new DOMException("not at this rate", "NotSupportedError");
    super();
  }
};"""
    for page in watched(browser, address, setup):
        page.keyboard.press("Space")
        expect(page.locator("#digits li")).to_have_count(len(SPOKEN))
        page.keyboard.press("Space")
        status(page, "result")
        assert string(page) == SPOKEN


def test_it_stops_when_the_page_goes_to_the_background(new_page):
    new_page.keyboard.press("Space")
    expect(new_page.locator("#digits")).to_have_text(SPOKEN[0])
    new_page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true }); "
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert "background" in status(new_page, "result")
    expect(new_page.locator("#speak")).to_have_text("Speak")


def test_a_press_too_short_to_say_anything_is_told(browser, address):
    setup = (
        "AudioWorkletNode.prototype.connect = (to) => to; AudioNode.prototype.connect = (to) => to"
    )
    for page in watched(browser, address, setup):  # nothing gets through
        page.keyboard.press("Space")
        expect(page.locator("#status")).to_contain_text("Listening.")
        page.keyboard.press("Space")
        assert "too short" in status(page, "error")


def test_a_microphone_that_is_refused_is_told(chromium, address):
    browser = chromium("--use-fake-device-for-media-stream")  # nobody is there to allow it
    try:
        for page in watched(browser, address):
            page.keyboard.press("Space")
            assert "was refused" in status(page, "error")
            give(page, GOLDEN[0])  # a recording is recognized all the same
            assert "Recognized" in status(page, "result")
    finally:
        browser.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NotFoundError", "No microphone was found"),
        ("NotReadableError", "another program may be using it"),
        ("AbortError", "cannot be opened (no words)"),
    ],
)
def test_a_microphone_that_cannot_be_had_is_told(browser, address, name, said):
    error = f"new DOMException('no words', '{name}')"
    setup = f"MediaDevices.prototype.getUserMedia = () => Promise.reject({error})"
    for page in watched(browser, address, setup):
        page.locator("#speak").click()
        assert said in status(page, "error")
        expect(page.locator("#speak")).to_have_text("Speak")


def test_a_page_that_is_not_secure_says_why_it_has_no_microphone(browser, address):
    setup = "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })"
    for page in watched(browser, address, setup):
        page.locator("#speak").press("Enter")
        assert "https" in status(page, "error")


def silence(path: Path, seconds: int, rate: int = 8_000) -> Path:
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for _ in range(seconds // 10):
            file.write(np.zeros(10 * rate, np.int16))
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b""), "mine.wav: an empty file; expected a recording"),
        (
            lambda path: path.write_bytes(b"no sound" * 99),
            "mine.wav: no audio that is known; expected WAV",
        ),
        (lambda path: path.open("wb").truncate(10**9), "1,000 MB"),
        (
            lambda path: silence(path.with_suffix(".flac"), 7_200),
            "120 minutes long; expected up to 10, or a WAV",
        ),
        (
            lambda path: path.write_bytes(silence(path, 10).read_bytes()[:9_000]),
            "truncated, 151,044 of 160,000 bytes of sound are missing",
        ),
        (lambda path: silence(path, 10), "No sound came in"),
        (lambda path: silence(path, 40), "No sound came in"),
    ],
    ids=["empty", "no audio", "too large", "two hours", "cut short", "silent", "long and silent"],
)
def test_a_recording_that_cannot_be_read_is_told(page, tmp_path, make, said):
    make(tmp_path / "mine.wav")
    (file,) = tmp_path.iterdir()
    give(page, file)
    assert said in status(page, "error")
    give(page, GOLDEN[0])
    assert "Recognized" in status(page, "result")


def test_a_dropped_recording_is_recognized(page):
    code = """
async ([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(bytes)], name));
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
}"""
    page.evaluate(code, [GOLDEN[4].name, list(GOLDEN[4].read_bytes())])
    assert "Recognized" in status(page, "result")
    assert string(page) == str(sd.load()(GOLDEN[4]).digit)


def test_a_server_that_is_gone_is_told_and_tried_again(browser, address):
    page = browser.new_page()
    page.goto(address)
    for name in ("digits.onnx", "strings.onnx"):
        page.route(f"**/{name}", lambda route: route.abort())
        give(page, GOLDEN[0])
        assert f"{name} could not be fetched" in status(page, "error")
        page.unroute(f"**/{name}")
        give(page, GOLDEN[0])
        assert "Recognized" in status(page, "result")
        page.reload()
    page.close()


def test_opened_as_a_file_it_says_what_to_do(browser):
    page = browser.new_page()
    page.goto((PAGE / "index.html").as_uri())
    expect(page.locator("#not-started")).to_be_visible()
    assert "spoken-digits serve" in page.locator("#not-started").inner_text()
    expect(page.locator("#app")).to_be_hidden()
    page.close()


def test_a_copy_works_on_any_static_host_in_any_folder(browser, tmp_path):
    serve.copy_page(tmp_path / "some" / "folder")

    class Plain(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Plain, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        try:
            for page in watched(browser, f"http://127.0.0.1:{host.server_port}/some/folder/"):
                give(page, GOLDEN[5])
                status(page, "result")
                assert string(page) == str(sd.load()(GOLDEN[5]).digit)
        finally:
            host.shutdown()
            thread.join()


def test_nothing_is_fetched_before_it_is_needed(browser, address):
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address, wait_until="networkidle")
    assert not [url for url in asked if "runtime" in url or url.endswith(".onnx")]
    page.close()


@pytest.mark.parametrize("width", [320, 390, 1_200])
def test_it_fits_any_width(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    give(page, GOLDEN[0])
    status(page, "result")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("#waveform", "#log-mel", "#bars", "#speak"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_dark_and_light_are_readable(new_page):
    code = """
() => {
  const style = getComputedStyle(document.documentElement);
  const channels = (name) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = style.getPropertyValue(name);
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  return Object.fromEntries(["--paper", "--ink", "--soft", "--alarm", "--accent", "--on-accent"]
    .map((name) => [name, channels(name)]));
}"""

    def luminance(channels: list[int]) -> float:  # WCAG 2.2
        c = np.array(channels) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    papers = []
    for scheme in ("light", "dark"):
        new_page.emulate_media(color_scheme=scheme)
        shade = {name: luminance(channels) for name, channels in new_page.evaluate(code).items()}
        papers.append(shade["--paper"])
        pairs = [("--paper", name) for name in ("--ink", "--soft", "--alarm", "--accent")]
        for a, b in [*pairs, ("--accent", "--on-accent")]:
            low, high = sorted([shade[a], shade[b]])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, a, b)
    assert papers[0] > 0.8
    assert papers[1] < 0.05


def test_everything_is_reached_with_the_keyboard(new_page):
    give(new_page, GOLDEN[0])
    status(new_page, "result")
    new_page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(3):
        new_page.keyboard.press("Tab")
        reached.append(
            new_page.evaluate("document.activeElement.id || document.activeElement.title")
        )
        shown = new_page.evaluate(
            "[document.activeElement, document.activeElement.nextElementSibling]"
            ".some((one) => one && getComputedStyle(one).outlineStyle === 'solid')"
        )
        assert shown, reached
    assert reached[1:] == ["speak", "file"]
