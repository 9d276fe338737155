"""Excerpts: where digits are cut, what gives pieces, and that words held out give none."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from made_utterances import sound, write_an4, write_wuw2

from spoken_digits.connected import Segment, Transcript
from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.utterances import read_samples, read_utterances
from spoken_digits.lab.release import excerpts
from spoken_digits.lab.release.excerpts import make_excerpts
from spoken_digits.lab.runs import OutputError

ROWS = (
    ("fabc", "an1", "THREE OH SIX"),
    ("fabc", "an2", "ONE TWO"),
    ("mxyz", "an3", "GO HOME"),
    ("mxyz", "an4", "HELP"),
    ("mxyz", "an5", "ENTER FOUR"),
)
SEGMENTS = ((3, 0.2, 0.5), (0, 0.52, 0.8), (6, 1.5, 1.9))  # of "three oh six": digit, start, end


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Excerpts of a made corpus, in which the transcriber reads one string right."""
    data = tmp_path / "data"
    write_an4(data / "an4", rows=ROWS)
    write_wuw2(data / "wuw2", {"00001/a": "hello there", "00001/b": "go"})

    def transcribe(self: object, samples: np.ndarray, rate: float, **_: bool) -> Transcript:
        segments = tuple(Segment(d, "", start, end, 1.0) for d, start, end in SEGMENTS)
        return Transcript("306", segments, len(samples) / rate)

    monkeypatch.setattr(excerpts.Transcriber, "__call__", transcribe)
    monkeypatch.setattr(excerpts, "_HANDLING_CLIPS", 2)
    return make_excerpts(tmp_path / "made", data, without={"go"})


def test_a_string_that_is_read_right_is_cut_into_its_digits(made: Path) -> None:
    clips = {clip.label: clip for clip in read_corpus(made / "an4") if clip.label != "speech"}
    assert set(clips) == {"3", "oh", "6"}  # "one two" was read as another string
    assert {clip.speaker for clip in clips.values()} == {"fabc"}
    whole = sound(0)[::2] / 32_768  # of 16 kHz; about the same after a low-pass filter
    # 60 ms on either side, or half of the pause before the next digit.
    for label, (start, end) in {"3": (0.14, 0.51), "oh": (0.51, 0.86), "6": (1.44, 1.96)}.items():
        samples, rate = sf.read(clips[label].file)
        assert rate == 8_000
        expected = whole[round(start * rate) : round(end * rate)]
        assert len(samples) == len(expected)
        assert np.corrcoef(samples, expected)[0, 1] > 0.9


def test_pieces_come_from_speech_without_digits_and_without_words_held_out(made: Path) -> None:
    pieces = [clip for clip in read_corpus(made / "an4") if clip.label == "speech"]
    # "help" alone: two seconds, so two pieces.
    assert [clip.speaker for clip in pieces] == ["mxyz"] * 2
    (whole,) = (u for u in read_utterances(made.parent / "data" / "an4") if u.words == ("help",))
    samples, _ = read_samples(whole)
    for clip in pieces:
        piece, rate = sf.read(clip.file)
        assert 0.3 <= len(piece) / rate <= 1.5
        found = np.correlate(samples[::2], piece, "valid") / np.linalg.norm(piece)
        windows = np.lib.stride_tricks.sliding_window_view(samples[::2], len(piece))
        assert (found / np.linalg.norm(windows, axis=1)).max() > 0.9
    calls = read_corpus(made / "wuw2")
    assert {(clip.label, clip.speaker) for clip in calls} == {("speech", "00001")}
    assert len(calls) == 2


def test_handling_noise_is_of_every_kind(made: Path) -> None:
    clips = read_corpus(made / "handling")
    kinds = ["creaks", "knocks", "puffs", "rustle", "scrapes"]
    assert sorted(clip.label for clip in clips) == sorted(2 * kinds)


def test_excerpts_are_the_same_every_time_and_overwrite_nothing(made: Path, tmp_path: Path) -> None:
    again = make_excerpts(tmp_path / "again", tmp_path / "data", without={"go"})
    files = sorted(path.relative_to(made) for path in made.rglob("*.wav"))
    assert files == sorted(path.relative_to(again) for path in again.rglob("*.wav"))
    assert all((made / file).read_bytes() == (again / file).read_bytes() for file in files)
    with pytest.raises(OutputError):
        make_excerpts(made, tmp_path / "data")
