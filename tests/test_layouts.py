"""The command of benchmarks/layouts.py: trees in the published layouts, at tiny sizes."""

import json
import sys
from collections import Counter

import pytest
import soundfile
from benchmarks import layouts
from benchmarks.layouts import PAGE, RESULTS, table

from spoken_digits.lab.data.corpora import CORPORA, scan_corpus
from spoken_digits.lab.reporting.readme import replace_between


@pytest.mark.skipif(not RESULTS.exists(), reason="not measured yet")
def test_the_page_shows_the_results_that_were_committed():
    text, results = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    assert replace_between(text, layouts.MARKER, table(results), PAGE.name) == text
    for name, found in results.items():
        assert found["clips"] == CORPORA[name].clips


def test_an_epoch_of_the_published_split_follows_from_the_one_that_was_measured():
    stages = {stage: {"cpu_s": 60.0, "wall_s": 60.0, "peak_mib": 400.0} for stage in layouts.STAGES}
    place = {"commit": "abc", "processor": "P", "cores": 2}
    text = table({"audiomnist": {"clips": 30_000, "stages": stages, **place}})
    # 60 s are of 27,000 clips: of 18,000 they are 40 s.
    assert "- audiomnist: an epoch of the published split, 18,000 clips, takes about 40.0 s" in text
    assert "| audiomnist | 30,000 | prepare | 60.0 s | 2.00 ms | 400 MiB |" in text


def test_the_first_speakers_of_audiomnist_are_whole(tmp_path):
    layouts.make_audiomnist(tmp_path / "corpus", 1_000)
    clips, faults = scan_corpus(tmp_path / "corpus")
    assert Counter((clip.speaker, clip.label) for clip in clips) == {
        (speaker, str(digit)): 50 for speaker in ("01", "02") for digit in range(10)
    }
    assert len(faults) == 2  # the other 58 speakers, and the number of recordings
    names = {"AudioMNIST/" + "/".join(clip.file.parts[-3:]) for clip in clips}
    assert all(CORPORA["audiomnist"].wanted.search(name) for name in names)
    assert soundfile.info(clips[0].file).samplerate == 48_000
    assert len({clip.checksum for clip in clips}) == 1_000


def test_a_part_of_speech_commands_has_words_lists_and_seconds(tmp_path):
    layouts.make_speech_commands(tmp_path / "corpus", 700)
    clips, faults = scan_corpus(tmp_path / "corpus")
    assert [fault.detail[:14] for fault in faults] == ["700 recordings"]
    assert len({clip.label for clip in clips}) == 35
    assert len({clip.speaker for clip in clips}) == 20
    assert {clip.corpus for clip in clips} == {"speech_commands"}
    sides = {(clip.speaker, clip.split) for clip in clips}
    assert len(sides) == 20
    assert {side for _, side in sides} >= {"training", "testing"}
    for clip in clips[:50]:
        info = soundfile.info(clip.file)
        assert (info.samplerate, info.frames) == (16_000, 16_000)


def test_the_command_measures_and_records_only_whole_corpora(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(layouts, "RESULTS", tmp_path / "layouts.json")
    options = ["audiomnist", "--clips", "600", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["layouts", *options])
    assert layouts.main() == 0
    said = capsys.readouterr().err
    for stage in layouts.STAGES.values():
        assert f"audiomnist: {stage}: " in said
    assert list(tmp_path.iterdir()) == []
