"""The page in a real browser, headless, with a microphone that plays a file.

Needs Chromium and what `make web` brings; without them, it is skipped.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_model import write_toy_model

import spoken_digits as sd
from spoken_digits import serve
from spoken_digits.audio import find_speech, read_audio, resample

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: extra dev")
expect = playwright.expect
expect.set_options(timeout=60_000)  # for a busy machine; most take some tens of milliseconds

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PAGE = Path(serve.__file__).parent / "page"
VOICES = Path(sd.__file__).parent / "assets" / "voices"
CLIPS = sorted(VOICES.glob("*/*_0.flac"))
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
    """A browser whose microphone plays a string of digits, anew each time that it is opened."""
    file = tmp_path_factory.mktemp("microphone") / "string.wav"
    soundfile.write(file, resample(spoken(SPOKEN).astype(np.float32), 8_000, 48_000), 48_000)
    browser = chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}%noloop",
    )
    yield browser
    browser.close()


@pytest.fixture
def page(browser, address):
    yield from watched(browser, address)


def watched(browser, address: str, setup: str = "", **options):
    """A page of which nothing may leave, and that may not complain to the console."""
    page = browser.new_page(**options)
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


def sure(page) -> float:
    return float(page.locator("#sure").inner_text().removesuffix(" %")) / 100


def test_the_answer_is_that_of_python_for_golden_clips(page):
    recognizer = sd.load()
    for clip in GOLDEN:
        give(page, clip)
        status(page, "result")
        expected = recognizer(clip)
        assert string(page) == ("?" if expected.digit is None else str(expected.digit)), clip
        assert sure(page) == pytest.approx(expected.probability, abs=0.002), clip


def test_speech_is_found_where_python_finds_it(page, address):
    rng = np.random.default_rng(1)
    recordings = [read_audio(clip)[0] for clip in CLIPS]
    for i in range(20):  # within noise of any level, at any place
        lead, tail = rng.integers(0, 12_000, 2)
        padded = np.pad(recordings[7 * i % len(recordings)], (lead, tail))
        noise = 10 ** rng.uniform(-5, -2) * rng.standard_normal(len(padded))
        recordings.append((padded + noise).astype(np.float32))
    code = """
async ([address, recordings]) => {
  const { findUtterances, strongest } = await import(address + "audio.js");
  const found = [];
  for (const one of recordings) {
    const bytes = Uint8Array.from(atob(one), (character) => character.charCodeAt(0));
    const { start, stop } = strongest(findUtterances(new Float32Array(bytes.buffer)));
    found.push([start, stop]);
  }
  return found;
}"""
    found = page.evaluate(code, [address, [b64encode(one).decode() for one in recordings]])
    assert [tuple(pair) for pair in found] == [find_speech(samples) for samples in recordings]


def test_what_python_refuses_as_silence_is_refused(page, tmp_path):
    noise = 0.01 * np.random.default_rng(2).standard_normal(24_000)
    soundfile.write(tmp_path / "noise.wav", noise, 8_000)
    assert sd.load()(tmp_path / "noise.wav").reason == "silence"
    give(page, tmp_path / "noise.wav")
    assert "Nothing stands out" in status(page, "result")
    assert string(page) == "?"


@pytest.mark.parametrize("threshold", [-0.9999, -0.98, 1.0])
def test_what_a_model_calls_no_digit_or_leaves_unclear_is_refused(browser, tmp_path, threshold):
    model = write_toy_model(
        tmp_path / "toy.onnx", rejection=True, rejection_threshold=str(threshold)
    )
    reason = sd.load(model)(GOLDEN[0]).reason
    words = {"not a digit": "That sounds like no digit.", "unclear": "Unclear: "}
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


def test_the_network_sees_and_says_what_it_does_in_python(page, address):
    recognizer = sd.load()
    samples = read_audio(GOLDEN[3])[0]
    expected = recognizer(samples, sample_rate=8_000)
    start, stop = find_speech(samples)
    code = """
async ([address, clip]) => {
  const { loadNetworks } = await import(address + "networks.js");
  const { recognizer } = await loadNetworks(() => {});
  const { probabilities, logMel } = await recognizer.hear(Float32Array.from(clip));
  return [probabilities, [...logMel.values], [logMel.bands, logMel.frames], recognizer.metadata];
}"""
    heard = samples - samples.mean(dtype=np.float64).astype(np.float32)
    answer = page.evaluate(code, [address, heard[start:stop].tolist()])
    probabilities, log_mel, shape, metadata = answer
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(np.reshape(log_mel, shape), expected.log_mel, atol=1e-4)
    assert metadata == dict(recognizer.metadata)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000])
def test_any_rate_is_heard(page, tmp_path, rate):
    samples = resample(read_audio(VOICES / "5" / "rp-f2_0.flac")[0], 8_000, rate)
    soundfile.write(tmp_path / "five.wav", np.stack([samples, 0.5 * samples], axis=1), rate)
    give(page, tmp_path / "five.wav")
    status(page, "result")
    assert string(page) == "5"


def test_speaking_shows_the_string_as_it_comes(page):
    expect(page.locator("#loading")).to_be_hidden()
    page.locator("#speak").click()
    expect(page.locator("#speak")).to_have_text("Stop")
    expect(page.locator("#digits li")).to_have_count(len(SPOKEN))
    assert string(page) == SPOKEN
    page.locator("#speak").click()
    assert status(page, "result") == f"Heard {' '.join(SPOKEN)}."
    assert string(page) == SPOKEN
    page.locator("#digits button").nth(1).click()  # any of them can be looked at
    expect(page.locator("#bars .best")).to_have_text(SPOKEN[1])


def test_a_key_is_held_down_to_speak(page):
    page.keyboard.down("Space")
    expect(page.locator("#digits")).to_have_text(SPOKEN[0])
    page.keyboard.up("Space")
    assert status(page, "result").startswith(f"Heard {SPOKEN[0]}")


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


def test_it_stops_when_the_page_goes_to_the_background(page):
    page.keyboard.press("Space")
    expect(page.locator("#digits")).to_have_text(SPOKEN[0])
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true }); "
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert "background" in status(page, "result")
    expect(page.locator("#speak")).to_have_text("Speak")


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
            give(page, GOLDEN[0])  # a recording is heard all the same
            assert "Heard" in status(page, "result")
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
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"no sound" * 99), "no audio that this browser can read"),
        (lambda path: path.open("wb").truncate(10**9), "1,000 MB"),
        (lambda path: silence(path.with_suffix(".flac"), 7_200), "lasts 120 minutes"),
        (lambda path: path.write_bytes(silence(path, 10).read_bytes()[:9_000]), "is cut short"),
        (lambda path: silence(path, 10), "No sound came in"),
        (lambda path: silence(path, 40), "No sound came in"),
    ],
    ids=["empty", "no audio", "too large", "two hours", "cut short", "silent", "long and silent"],
)
def test_a_recording_that_cannot_be_heard_is_told(page, tmp_path, make, said):
    make(tmp_path / "mine.wav")
    (file,) = tmp_path.iterdir()
    give(page, file)
    assert said in status(page, "error")
    give(page, GOLDEN[0])
    assert "Heard" in status(page, "result")


def test_a_dropped_recording_is_heard(page):
    code = """
async ([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(bytes)], name));
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
}"""
    page.evaluate(code, [GOLDEN[4].name, list(GOLDEN[4].read_bytes())])
    assert "Heard" in status(page, "result")
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
        assert "Heard" in status(page, "result")
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


def test_dark_and_light_are_readable(page):
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
        page.emulate_media(color_scheme=scheme)
        shade = {name: luminance(channels) for name, channels in page.evaluate(code).items()}
        papers.append(shade["--paper"])
        pairs = [("--paper", name) for name in ("--ink", "--soft", "--alarm", "--accent")]
        for a, b in [*pairs, ("--accent", "--on-accent")]:
            low, high = sorted([shade[a], shade[b]])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, a, b)
    assert papers[0] > 0.8
    assert papers[1] < 0.05


def test_everything_is_reached_with_the_keyboard(page):
    give(page, GOLDEN[0])
    status(page, "result")
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.title"))
        shown = page.evaluate(
            "[document.activeElement, document.activeElement.nextElementSibling]"
            ".some((one) => one && getComputedStyle(one).outlineStyle === 'solid')"
        )
        assert shown, reached
    assert reached[1:] == ["speak", "file"]
