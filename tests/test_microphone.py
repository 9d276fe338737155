"""Listening, with a microphone that is made up, or none; and the verbs that show digits."""

import contextlib
import json
import math
import queue
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_strings import spoken, write_toy_strings

from spoken_digits import microphone
from spoken_digits.audio import AudioError
from spoken_digits.cli import main
from spoken_digits.connected import Segment, Transcriber
from spoken_digits.microphone import (
    MicrophoneError,
    from_file,
    from_microphone,
    level_meter,
    listen,
)

RATE = 16_000


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_toy_strings(tmp_path / "toy.onnx"))


@pytest.fixture
def wav(tmp_path: Path) -> str:
    soundfile.write(tmp_path / "said.wav", np.repeat(spoken("4155501"), 2), RATE, "FLOAT")
    return str(tmp_path / "said.wav")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone.time, "sleep", lambda _: None)
    monkeypatch.setattr(from_file, "__defaults__", (lambda _: None,))


class FakeMicrophone:
    """Gives the same samples again and again, as a callback stream does."""

    def __init__(self, rate, length, device, channels, dtype, callback):
        assert (channels, dtype) == (1, "float32")
        self.arguments = rate, length, device, callback

    def __enter__(self):
        _, length, _, callback = self.arguments
        samples = np.repeat(spoken("27", pause=12), 2)
        for begin in range(0, len(samples), length):
            callback(samples[begin : begin + length, None], length, None, None)
        return self

    def __exit__(self, *_):
        return None


def fake_sounddevice(monkeypatch, **replaced) -> types.ModuleType:
    module = types.ModuleType("sounddevice")
    module.PortAudioError = type("PortAudioError", (Exception,), {})
    module.query_devices = lambda device, kind: {"default_samplerate": RATE}
    module.InputStream = FakeMicrophone
    vars(module).update(replaced)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(microphone, "_TIMEOUT_S", 0.05)
    return module


def test_a_microphone_is_read_until_it_falls_silent(monkeypatch, model):
    fake_sounddevice(monkeypatch)
    heard: list[Segment] = []
    with pytest.raises(MicrophoneError, match=r"given no sound for 0\.05 s"):
        listen(Transcriber(model), from_microphone(), heard.append)
    assert [segment.digit for segment in heard] == [2, 7]


class Unplugged:
    """A microphone that says a digit, is unplugged, and is found again when PortAudio restarts.

    The times are those of a clock that only sleeping and waiting move.
    """

    def __init__(self, monkeypatch, returns: bool = True, rates: tuple[int, ...] = (RATE, RATE)):
        self.now_s, self.opened, self.restarts, self.rates = 100.0, 0, 0, rates
        self.returns, self.is_plugged = returns, True
        self.module = fake_sounddevice(
            monkeypatch,
            query_devices=self.query,
            InputStream=self.open,
            _terminate=lambda: None,
            _initialize=self.restart,
        )
        # Of whole steps of the toy, which takes part of a digit for another one.
        monkeypatch.setattr(microphone, "_TIMEOUT_S", 6.0)
        monkeypatch.setattr(microphone, "_RETRY_S", 0.9)
        monkeypatch.setattr(microphone.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(microphone.time, "sleep", self.sleep)
        monkeypatch.setattr(microphone.queue, "SimpleQueue", lambda: self)
        self.chunks: list[np.ndarray] = []

    def query(self, device, kind):
        if not self.is_plugged:
            raise self.module.PortAudioError("Error querying device -1")
        return {"default_samplerate": self.rates[self.opened]}

    def open(self, rate, length, device, channels, dtype, callback):
        said = np.repeat(spoken("27"[self.opened]), int(rate) // 8_000)
        self.chunks = [said[i : i + length] for i in range(0, len(said), length)]
        self.opened, self.rate = self.opened + 1, rate
        return contextlib.nullcontext()

    def get(self, timeout):
        if not self.chunks:
            self.sleep(timeout)
            self.is_plugged = False
            raise queue.Empty
        chunk = self.chunks.pop(0)
        self.sleep(len(chunk) / self.rate)
        return chunk

    def sleep(self, seconds):
        self.now_s += seconds

    def restart(self):
        self.restarts += 1
        self.is_plugged = self.returns and self.restarts >= 3


@pytest.mark.parametrize("rates", [(RATE, RATE), (RATE, 48_000), (8_000, RATE)])
def test_a_microphone_that_was_unplugged_goes_on_where_the_clock_is(monkeypatch, model, rates):
    unplugged = Unplugged(monkeypatch, rates=rates)
    heard: list[Segment] = []
    notices: list[str] = []

    def notice(text: str) -> None:
        notices.append(text)
        if len(notices) == 3:  # it is unplugged again
            raise KeyboardInterrupt

    transcriber = Transcriber(model)
    with pytest.raises(KeyboardInterrupt):
        listen(transcriber, from_microphone(None, 60, notice), heard.append)
    assert [segment.digit for segment in heard] == [2, 7]
    assert "no sound for 6 s" in notices[0]
    assert "up to 60 s" in notices[0]
    assert notices[1] == "the microphone is back"
    assert unplugged.restarts == 3
    # Each says its digit after as much silence: what lies between is what the clock says.
    length_s = len(spoken("2")) / 8_000
    silent_s = 6 + 3 * microphone._RETRY_S
    assert heard[1].start_s - heard[0].start_s == pytest.approx(length_s + silent_s, abs=0.06)
    assert heard[1].end_s - heard[1].start_s == pytest.approx(
        heard[0].end_s - heard[0].start_s, abs=0.03
    )


def test_a_microphone_that_does_not_come_back_is_an_error_in_time(monkeypatch, model):
    unplugged = Unplugged(monkeypatch, returns=False)
    heard: list[Segment] = []
    with pytest.raises(MicrophoneError, match="querying device -1"):
        listen(Transcriber(model), from_microphone(None, 60, lambda _: None), heard.append)
    assert [segment.digit for segment in heard] == [2]
    assert 60 <= unplugged.now_s - 100 <= 70


def test_listen_waits_for_the_microphone(monkeypatch, model, capsys):
    unplugged = Unplugged(monkeypatch, returns=False)
    monkeypatch.setattr(microphone, "RECONNECT_S", 30.0)
    assert main(["listen", "--model", model]) == 1
    out, err = capsys.readouterr()
    assert out.split() == ["2"]
    assert err.startswith("Listening; Ctrl+C ends it.\n")
    assert "waiting for it to come back, up to 30 s" in err
    assert 30 <= unplugged.now_s - 100 <= 40


def test_without_a_device_the_remedy_is_told(monkeypatch):
    module = fake_sounddevice(monkeypatch)

    def refuse(*_, **__):
        raise module.PortAudioError("Error querying device -1")

    module.query_devices = refuse
    with pytest.raises(MicrophoneError, match=r"querying device -1\); expected an input device"):
        next(from_microphone())
    module.query_devices = lambda device, kind: {"default_samplerate": RATE}
    module.InputStream = refuse
    with pytest.raises(MicrophoneError, match="allow its use"):
        next(from_microphone())


def test_without_portaudio_the_remedy_is_told(monkeypatch, model, capsys):
    class Missing:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert main(["listen", "--model", model]) == 1
    err = capsys.readouterr().err
    assert "apt install libportaudio2" in err
    assert "Listening" not in err


def test_without_the_extra_it_is_named(monkeypatch, model, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen", "--model", model]) == 1
    err = capsys.readouterr().err
    assert "pip install 'spoken-digits[mic]'" in err
    assert "Listening" not in err


def test_a_file_is_listened_to_as_a_microphone_is(wav, model):
    waits: list[float] = []
    chunks = list(from_file(wav, waits.append))
    assert {rate for _, rate in chunks} == {RATE}
    assert max(len(samples) for samples, _ in chunks) == RATE // 20
    # Nothing was waited for, so each wait is that for the whole so far.
    assert waits[-1] == pytest.approx(len(soundfile.read(wav)[0]) / RATE, abs=0.2)
    heard: list[Segment] = []
    listen(Transcriber(model), iter(chunks), heard.append)
    assert heard == list(Transcriber(model)(wav).segments)
    with pytest.raises(AudioError, match="no such file"):
        next(from_file("missing.wav"))


def test_levels_are_those_of_a_sine():
    levels: list[float] = []
    sine = np.sin(np.arange(8_000) * 2 * np.pi / 8).astype(np.float32)
    chunks = [(sine, 8_000.0), (0 * sine, 8_000.0), (sine[:0], 8_000.0)]

    class Deaf:
        def stream(self, rate, **options):
            return self

        def feed(self, samples):
            return types.SimpleNamespace(segments=())

        def finish(self):
            return types.SimpleNamespace(segments=())

    listen(Deaf(), iter(chunks), print, levels.append)
    assert levels == [pytest.approx(-3.01, abs=0.01), -math.inf, -math.inf]
    listen(Deaf(), iter([]), print)


def test_the_meter_is_a_bar_of_one_width():
    for level, bars in ((0.0, 30), (3.0, 30), (-30.0, 15), (-60.0, 0), (-math.inf, 0)):
        assert level_meter(level).count("#") == bars
        assert len(level_meter(level)) == len(level_meter(0.0))


@pytest.mark.usefixtures("no_waiting")
def test_listen_prints_digits_as_they_come(wav, model, capsys):
    assert main(["listen", "--wav", wav, "--model", model]) == 0
    out, err = capsys.readouterr()
    assert out.split() == list("4155501")
    assert "digits: 4155501" in err
    assert main(["listen", "--wav", wav, "--model", model, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["digit"] for row in rows] == [4, 1, 5, 5, 5, 0, 1]
    assert rows[0].keys() == {"digit", "word", "start_s", "end_s", "probability"}


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("option", "digits"), [(None, "4055"), ("--no-oh", "455"), ("--no-doubles", "405")]
)
@pytest.mark.parametrize("verb", [["listen", "--wav"], ["transcribe"]])
def test_oh_and_doubles_can_be_turned_off(tmp_path, model, capsys, verb, option, digits):
    path = str(tmp_path / "said.wav")
    soundfile.write(path, spoken("4od5"), 8_000, "FLOAT")
    assert main([*verb, path, "--model", model, *filter(None, [option])]) == 0
    out, err = capsys.readouterr()
    assert digits in (f"{path}: {digits}" if verb == ["transcribe"] else err).split()
    assert "".join(out.removeprefix(f"{path}:").split()) == digits


def test_ctrl_c_ends_listening(monkeypatch, model, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(microphone, "from_microphone", interrupted)
    assert main(["listen", "--model", model]) == 0
    assert "digits: none" in capsys.readouterr().err


def test_transcribe_answers_file_by_file(wav, model, tmp_path, capsys):
    (tmp_path / "bad.wav").write_text("no sound")
    bad = str(tmp_path / "bad.wav")
    assert main(["transcribe", bad, wav, "--model", model]) == 1
    out, err = capsys.readouterr()
    assert out == f"{wav}: 4155501\n"
    assert "cannot be read as audio" in err
    assert main(["transcribe", bad, wav, "--model", model, "--json"]) == 1
    error, row = map(json.loads, capsys.readouterr().out.splitlines())
    assert error.keys() == {"file", "error"}
    assert (row["file"], row["digits"]) == (wav, "4155501")
    assert [s["digit"] for s in row["segments"]] == [4, 1, 5, 5, 5, 0, 1]
    assert row["segments"][0].keys() == {"digit", "word", "start_s", "end_s", "probability"}


def test_transcribe_knows_grammars(wav, model, capsys):
    call = ["transcribe", wav, "--model", model]
    assert main([*call, "--pattern", "ddd-dddd", "--nbest", "2", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["digits"] == row["alternatives"][0]["digits"] == "4155501"
    assert main([*call, "--length", "7", "--nbest", "1"]) == 0
    assert "    4155501 (100.0 %)" in capsys.readouterr().out
    assert main([*call, "--pattern", "9dd"]) == 1
    assert "no string as 9dd in it" in capsys.readouterr().err
    assert main([*call, "--pattern", "abc"]) == 1
    assert "expected d for any digit" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*call, "--pattern", "ddd", "--length", "3"])
