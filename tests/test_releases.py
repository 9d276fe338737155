"""The benchmark of releases: what it installs, answers, compares; its page."""

import json
import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import soundfile
from benchmarks import releases
from benchmarks.measures import REPOSITORY, read_results
from benchmarks.releases import (
    ENDINGS,
    NEWEST,
    OLDEST,
    PAGE,
    RATES,
    RELEASES,
    RESULTS,
    answer,
    clips,
    install,
    is_done,
    largest,
    other_digits,
    table,
    unequal_streams,
    wanted,
    with_table,
    write_inputs,
)
from packaging.requirements import Requirement
from packaging.version import Version

import spoken_digits


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def test_the_page_is_what_the_results_say():
    text = PAGE.read_text("utf-8")
    assert with_table(text, read_results(RESULTS)) == text, (
        "run `python -m benchmarks.releases --page`"
    )


def test_the_guesses_of_the_results_are_those_that_are_judged():
    if not (results := read_results(RESULTS)):
        pytest.skip("not measured yet")
    assert [(g["question"], g["guess"]) for g in results["guesses"]] == [
        (g.question, g.guess) for g in releases.GUESSES
    ]


def test_releases_begin_at_the_bounds_of_the_project_and_lie_within():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    required = {each.name: each.specifier for each in map(Requirement, project["dependencies"])}
    assert set(required) == set(RELEASES)
    for name, versions in RELEASES.items():
        (lower,) = (each.version for each in required[name] if each.operator == ">=")
        assert Version(versions[0]) == Version(lower)
        assert list(versions) == sorted(versions, key=Version)
        assert all(version in required[name] for version in versions)


def test_a_row_differs_from_the_newest_by_one_release():
    rows = wanted()
    newest = rows.pop(NEWEST)
    for name, version in rows.pop(OLDEST).items():
        assert version == RELEASES[name][0]
    for name, versions in rows.items():
        different = {f"{package} {v}" for package, v in versions.items() if v != newest[package]}
        assert different == {name}
        assert versions.keys() == newest.keys()
    assert len(rows) == sum(len(versions) - 1 for versions in RELEASES.values())


def test_clips_are_of_many_voices():
    files = clips()
    assert len(set(files)) == len(files) == 100
    assert {sum(f.parent.name == str(digit) for f in files) for digit in range(10)} == {10}
    assert len({f.stem.rpartition("_")[0] for f in files}) >= 20


def test_inputs_are_the_same_sound_at_each_rate_and_in_each_format(inputs, tmp_path):
    strings = inputs / "strings"
    assert len(list(strings.iterdir())) == 3 * len(RATES) + len(ENDINGS)
    for file in strings.iterdir():
        low = strings / f"{file.stem.partition('-')[0]}-8000.wav"
        expected, rate = soundfile.read(low)
        samples, own_rate = soundfile.read(file)
        assert len(samples) / own_rate == pytest.approx(len(expected) / rate, abs=0.07)
        assert samples.std() == pytest.approx(expected.std(), rel=0.05)
    for file in inputs.glob("digits/*/*.wav"):
        (source,) = (f for f in clips()[::10] if f.parent.name == file.parent.name)
        expected, rate = soundfile.read(source)
        samples, own_rate = soundfile.read(file)
        assert own_rate == int(file.stem)
        assert len(samples) / own_rate == pytest.approx(len(expected) / rate, abs=0.001)
        assert samples.std() == pytest.approx(expected.std(), rel=0.05)
    assert write_inputs(tmp_path / "a") == write_inputs(tmp_path / "b")


@pytest.fixture(scope="module")
def answered(inputs):
    return answer(inputs, clips()[::10], rounds=1)


def test_answers_are_the_recognizers(answered, inputs):
    recognizer = spoken_digits.load()
    strings = inputs / "strings"
    for file in [*clips()[::10], *inputs.glob("digits/*/*.wav")]:
        digit, probability, times = answered["answers"][f"{file.parent.name}/{file.name}"].split(
            "; "
        )
        found = recognizer(file)
        assert digit == str(found.digit) == file.parent.name
        assert float(probability) == pytest.approx(found.probability, abs=1e-8)
        assert times.split() == [f"{t:.9g}" for t in (found.start_s, found.end_s)]
    for file in strings.glob("*.wav"):
        found = spoken_digits.Transcriber()(file)
        for kind in ("file", "stream"):
            digits, probabilities, times = answered["answers"][f"{file.name}, {kind}"].split("; ")
            assert digits == found.digits == file.stem.partition("-")[0]
            expected = [segment.probability for segment in found.segments]
            assert list(map(float, probabilities.split())) == pytest.approx(expected, abs=1e-6)
            expected = [t for s in found.segments for t in (s.start_s, s.end_s)]
            assert list(map(float, times.split())) == pytest.approx(expected, abs=1e-4)
    assert len(answered["answers"]) == 30 + 2 * len(list(strings.iterdir()))


def test_bytes_are_equal_until_one_changes(answered, inputs, monkeypatch):
    assert answer(inputs, clips()[::10], rounds=1)["sha256"] == answered["sha256"]
    plain = spoken_digits.Recognizer.analyze_clips

    def changed(self, clips):
        scores, *others = plain(self, clips)
        return (np.nextafter(scores, np.float32(np.inf)), *others)

    monkeypatch.setattr(spoken_digits.Recognizer, "analyze_clips", changed)
    assert answer(inputs, clips()[::10], rounds=1)["sha256"] != answered["sha256"]


def made_row(answers, **more):
    versions = {name: each[-1] for name, each in RELEASES.items()}
    row = {"answers": answers, "sha256": str(answers), "versions": versions, "inputs": "abc"}
    numbers = ("load_s", "first_answer_s", "clip_ms", "string_ms_per_s", "peak_mb", "installed_mb")
    row |= dict.fromkeys(numbers, 1.0) | {"said": "", "written": [], "written_by_itself": []}
    row |= {"libraries": {"libsndfile": "1"}, "python": "3", "machine": "m", "commit": "c"}
    return row | more


A, FILE, STREAM = "7/a.flac", "42-8000.wav, file", "42-8000.wav, stream"
PLAIN = {A: "7; 0.9; 0.1 0.5", FILE: "42; 0.8 0.7; 0 1 2 3", STREAM: "42; 0.8 0.7; 0 1 2 3"}


def test_rows_are_compared():
    newest = made_row(PLAIN)
    other = made_row(
        PLAIN | {A: "1; 0.2; 0.1 0.5", FILE: "42; 0.8 0.71; 0 1 2.25 3", STREAM: "4; 0.8; 0 1"}
    )
    assert other_digits(newest, newest) == []
    assert other_digits(other, newest) == [A, STREAM]
    assert largest(newest, newest, 1) == 0
    assert largest(other, newest, 1) == pytest.approx(0.01)
    assert largest(other, newest, 2) == pytest.approx(0.25)
    assert unequal_streams(newest) == []
    assert unequal_streams(other) == [STREAM]


def test_the_table_says_what_differs_and_what_cannot_be_installed():
    rows = {name: made_row(PLAIN) for name in wanted()}
    rows["soxr 0.5.0"] = made_row(PLAIN | {A: "1; 0.2; 0.1 0.5"}, installed_mb=2.0)
    rows["numpy 1.26.0"] = {"failed": "cannot be installed: no wheel | here"}
    lines = table({"rows": rows}).splitlines()
    (soxr,) = (line.split(" | ") for line in lines if line.startswith("| soxr 0.5.0"))
    assert soxr[1:5] == ["1 of 3", "under 1e-9", "0", "other"]
    (numpy,) = (line for line in lines if line.startswith("| numpy 1.26.0"))
    assert "cannot be installed: no wheel / here" in numpy
    assert {line.count("|") for line in lines[: len(wanted()) + 2]} == {12}
    assert any("not measured |" in line for line in lines if "numpy 1.26" in line)
    del rows[OLDEST]
    assert f"| {OLDEST} | not measured yet |" in table({"rows": rows})
    del rows[NEWEST]
    assert table({"rows": rows}) == "Not measured yet: `python -m benchmarks.releases`."


def test_a_row_is_measured_again_when_releases_or_inputs_are_others():
    row = made_row(PLAIN)
    versions = wanted()[NEWEST]
    assert is_done(row, versions, "abc")
    assert not is_done(None, versions, "abc")
    assert not is_done(row, versions, "def")
    assert not is_done(row, versions | {"numpy": "9"}, "abc")


def test_what_cannot_be_installed_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    python, refused = install(tmp_path / "venv", {"soxr": "0.0.0"})
    assert python.exists()
    assert "soxr==0.0.0" in refused


def test_an_environment_answers_with_a_home_of_its_own(tmp_path):
    code = "import os, pathlib; pathlib.Path('x').touch(); print(sorted(os.environ))"
    done = releases.run(releases.Path(sys.executable), ["-c", code], tmp_path / "home")
    assert releases.failure(done) == {}
    assert "ORT_DISABLE_TELEMETRY" not in done.stdout
    assert releases.written(tmp_path / "home") == ["x"]
    done = releases.run(releases.Path(sys.executable), ["-c", "int('seven')"], tmp_path / "home")
    assert "seven" in releases.failure(done)["failed"]


def test_it_runs_without_the_network_and_the_lab():
    """What runs in an environment imports nothing that is not installed there."""
    code = "import sys, benchmarks.releases; print([m for m in ('torch', 'spoken_digits.lab') "
    code += "if m in sys.modules])"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_smoke(monkeypatch, capsys):
    before = releases.RESULTS.read_bytes() if releases.RESULTS.exists() else None
    monkeypatch.setattr(sys, "argv", ["releases", "--smoke"])
    assert releases.main() == 0
    row = json.loads(capsys.readouterr().out)
    assert row["clip_ms"] > 0
    assert len(row["answers"]) == 30 + 2 * (3 * len(RATES) + len(ENDINGS))
    assert (releases.RESULTS.read_bytes() if releases.RESULTS.exists() else None) == before
