"""Evaluation of transcribers of strings: counts made by hand, statistics against scipy."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from made_utterances import write_an4, write_wuw2
from scipy import stats
from toy_strings import spoken, write_toy_strings

from spoken_digits.cli import main
from spoken_digits.connected import Segment, Transcriber, Update
from spoken_digits.lab.connected import evaluation
from spoken_digits.lab.connected.evaluation import (
    SPLIT_SET,
    Trial,
    at_thresholds,
    count_false_digits,
    decisions_of,
    describe_strings,
    digit_strings,
    evaluation_utterances,
    handling_noise,
    measure,
    measure_delays_ms,
    pool,
    pool_results,
    recordings_without_digits,
)
from spoken_digits.lab.connected.phrases import _doubled_pair
from spoken_digits.lab.connected.strings import DigitString
from spoken_digits.lab.data.corpora import CorpusError
from spoken_digits.lab.data.splits import SplitError
from spoken_digits.lab.evaluation.schema import StringsResult
from spoken_digits.lab.runs import read_json, write_json
from spoken_digits.networks import StringNetwork

RATE = 8_000
THRESHOLDS = (-4.0, -1.0, 0.0, 2.0, 5.0, 9.0)


def string(digits: str, speaker: str = "ann", samples: np.ndarray | None = None) -> DigitString:
    n = len(digits)
    if samples is None:
        samples = np.zeros(RATE, np.float32)
    return DigitString(samples, digits, np.zeros(n, int), np.full(n, len(samples)), speaker, "x")


def scripted(*answers: tuple[str, ...]):
    """Something that gives the next answer, whatever it is given."""
    left = iter(answers)
    return lambda samples: next(left)


# reference, transcript, speaker, parts; the errors, by hand, are beside them
HEARD = (
    ("1123", "123", "ann", ("women", "doubled")),  # one deletion in 4
    ("4567", "4567", "ann", ("women", "not doubled")),  # none
    ("99", "98", "bob", ("men", "doubled")),  # one substitution in 2
    ("120", "1203", "bob", ("men", "not doubled")),  # one insertion in 3
    ("55", "55", "cy", ("men", "doubled")),  # none
)


def trials(name: str = "an4") -> list[Trial]:
    return [Trial(string(spoken, who), name, parts) for spoken, _, who, parts in HEARD]


def heard(extra: tuple[tuple[str, ...], ...] = ()):
    return scripted(*((transcript,) for _, transcript, _, _ in HEARD), *extra)


def test_errors_are_counted_by_kind_and_part():
    found, transcribed = measure(heard(), trials(), {})
    whole = found.strings["an4"]
    assert (whole.strings, whole.digits, whole.whole) == (5, 15, 2)
    assert (whole.insertions, whole.deletions, whole.substitutions) == (1, 1, 1)
    assert whole.digit_error == pytest.approx(3 / 15)
    assert whole.whole_right == pytest.approx(2 / 5)
    women, doubled = found.strings["an4, women"], found.strings["an4, doubled"]
    assert (women.strings, women.digits, women.deletions, women.whole) == (2, 8, 1, 1)
    assert (doubled.digits, doubled.digit_error) == (8, pytest.approx(2 / 8))
    assert [each.transcript for each in transcribed] == [h[1] for h in HEARD]
    assert found.curve is None


def test_a_difference_is_that_of_the_pooled_rates_and_keeps_what_it_is_made_of():
    found, _ = measure(heard(), trials(), {})
    each = found.differences["an4, doubled less not doubled"]
    assert each.difference == pytest.approx(2 / 8 - 1 / 7)
    assert each.speakers == {"ann": (1, 4, 0, 4), "bob": (1, 2, 1, 3), "cy": (0, 2, 0, 0)}
    low, high = each.interval
    assert low <= each.difference <= high
    assert set(found.differences) == {"an4, doubled less not doubled", "an4, women less men"}


def test_speakers_of_a_split_are_named_and_added_up():
    made = [Trial(string("12", who), SPLIT_SET, (who,)) for who in ("lucas", "lucas", "yweweler")]
    found, _ = measure(scripted(("12",), ("1",), ("22",)), made, {})
    assert {name: each.strings for name, each in found.strings.items()} == {
        "lucas": 2, "yweweler": 1, SPLIT_SET: 3,
    }  # fmt: skip
    assert found.strings["lucas"].deletions == 1


def test_false_digits_have_an_exact_poisson_interval():
    found = count_false_digits(["", "1", "77"], 1_800.0)
    assert (found.recordings, found.count, found.seconds) == (3, 3, 1_800)
    assert found.by_digit == (0, 1, 0, 0, 0, 0, 0, 2, 0, 0)
    assert found.per_hour == pytest.approx(6)
    low, high = found.interval
    # Half an hour: at the ends 3 or more, and 3 or fewer, happen in one case of 40.
    assert stats.poisson.sf(2, low / 2) == pytest.approx(0.025, abs=1e-9)
    assert stats.poisson.cdf(3, high / 2) == pytest.approx(0.025, abs=1e-9)
    none = count_false_digits([""], 3_600.0)
    assert (none.per_hour, none.interval[0]) == (0, 0)
    assert none.interval[1] == pytest.approx(-np.log(0.025))  # 3.7, one-sided 97.5 %


def test_continuous_speech_is_counted_apart_and_together():
    second = np.zeros(RATE, np.float32)
    quiet = {"an4": [second] * 2, "wuw2": [second] * 3, "rustle": [second]}
    found, _ = measure(scripted(*((d,) for d in ("", "4", "", "55", "", "9"))), [], quiet)
    counts = {name: (each.count, each.seconds) for name, each in found.false_digits.items()}
    assert counts == {
        "an4": (1, 2), "wuw2": (2, 3), "rustle": (1, 1), "an4 and wuw2": (3, 5),
    }  # fmt: skip


def unsure(seed: int) -> np.ndarray:
    """Words of the toy near the middle between two of its centers, so that it is unsure of them."""
    rng = np.random.default_rng(seed)
    words = [spoken(str(digit), pause=0) for digit in rng.integers(0, 9, 12)]
    pause = np.zeros(960, np.float32)
    parts = [part for word in words for part in (word + rng.uniform(0.02, 0.025), pause)]
    return np.concatenate([pause, *parts]).astype(np.float32)


def test_at_a_threshold_the_digits_are_those_of_a_file_with_that_threshold(tmp_path):
    """Each threshold is written into a file of its own, and transcribed by the transcriber."""
    network = StringNetwork(write_toy_strings(tmp_path / "own.onnx", min_step_probability="0.02"))
    recordings = [unsure(seed) for seed in range(6)]
    found = [at_thresholds(network, THRESHOLDS)(samples) for samples in recordings]
    for i, threshold in enumerate((network.decoding.emission_threshold, *THRESHOLDS)):
        path = write_toy_strings(
            tmp_path / "at.onnx", min_step_probability="0.02", emission_threshold=str(threshold)
        )
        transcriber = Transcriber(path)
        assert [row[i] for row in found] == [transcriber(s, RATE).digits for s in recordings]
    counts = np.array([[len(digits) for digits in row[1:]] for row in found]).sum(axis=0)
    assert (np.diff(counts) <= 0).all()
    assert counts[0] > counts[-1] + 10


def test_a_network_runs_once_over_a_recording(tmp_path, monkeypatch):
    network = StringNetwork(write_toy_strings(tmp_path / "toy.onnx"))
    samples, run = unsure(1), network.run
    fed = []

    def count(block, state):
        fed.append(len(block))
        return run(block, state)

    monkeypatch.setattr(network, "run", count)
    at_thresholds(network, THRESHOLDS)(samples)
    assert len(samples) + network.lookahead <= sum(fed)
    assert sum(fed) < len(samples) + network.lookahead + network.block


def test_thresholds_must_ascend(tmp_path):
    network = StringNetwork(write_toy_strings(tmp_path / "toy.onnx"))
    with pytest.raises(ValueError, match="each above the one before"):
        at_thresholds(network, (1.0, 0.0))


def test_the_curve_counts_at_each_threshold():
    made = [Trial(string("12"), "an4"), Trial(string("345"), "an4")]
    answers = scripted(
        ("12", "12", "1", ""), ("345", "3456", "345", "35"), ("7", "77", "7", ""), ("", "8", "", "")
    )
    quiet = {"rustle": [np.zeros(RATE, np.float32)] * 2}
    found, _ = measure(answers, made, quiet, (0.0, 1.0, 2.0))
    curve = found.curve
    assert curve is not None
    assert curve.missed == {"an4": (0, 1, 3)}
    assert curve.errors == {"an4": (1, 1, 3)}
    assert (curve.digits, curve.seconds) == ({"an4": 5}, {"rustle": 2})
    assert curve.false_digits == {"rustle": (3, 1, 0)}
    assert found.strings["an4"].whole == 2
    assert found.false_digits["rustle"].count == 1
    with pytest.raises(ValueError, match="1 transcripts at thresholds, not 0"):
        measure(scripted(("1", "1")), made, {})


def test_folds_pooled_are_what_all_of_them_together_are():
    """Two folds with other speakers each, and one network that does what both did."""
    second = np.zeros(RATE, np.float32)
    answers = [(t, t[:-1]) for _, t, _, _ in HEARD]
    parts = [
        measure(scripted(*answers[:2], ("1", "")), trials()[:2], {"wuw2": [second]}, (3.0,))[0],
        measure(scripted(*answers[2:], ("", "")), trials()[2:], {"wuw2": [second]}, (3.0,))[0],
    ]
    together, _ = measure(
        scripted(*answers, ("1", ""), ("", "")), trials(), {"wuw2": [second] * 2}, (3.0,)
    )
    pooled = pool(parts)
    assert pooled.strings == together.strings
    assert pooled.false_digits == together.false_digits
    assert pooled.curve == together.curve
    name = "an4, doubled less not doubled"
    assert set(pooled.differences) == {name}  # in no fold were there women and men
    assert pooled.differences[name] == together.differences[name]
    with pytest.raises(ValueError, match="at least one"):
        pool([])
    other = replace(parts[0], curve=replace(parts[0].curve, thresholds=(4.0,)))
    with pytest.raises(ValueError, match="different thresholds"):
        pool([parts[1], other])


def result(split: str, evaluated) -> StringsResult:
    return StringsResult("made by", {"model": {"commit": split}}, split, 0, evaluated)


def test_pooled_results_keep_each_fold_and_survive_their_file(tmp_path, capsys):
    folds = [result(f"an4:{k}", measure(heard(), trials(), {})[0]) for k in range(2)]
    files = [tmp_path / f"{k}.json" for k in range(2)]
    for file, fold in zip(files, folds, strict=True):
        write_json(file, fold)
        assert read_json(file, StringsResult) == fold
    out = tmp_path / "strings.json"
    assert main(["strings", "pool", *map(str, files), "-o", str(out)]) == 0
    pooled = read_json(out, StringsResult)
    assert pooled.folds == {"an4:0": folds[0].evaluation, "an4:1": folds[1].evaluation}
    assert pooled.evaluation.strings["an4"].strings == 10
    assert pooled.models == {f"an4:{k}: model": {"commit": f"an4:{k}"} for k in range(2)}
    assert pooled.command.startswith("spoken-digits strings pool")
    with pytest.raises(ValueError, match="each of another split"):
        pool_results([folds[0], folds[0]], "x")


def test_whatever_transcribes_is_evaluated_and_silence_has_no_digits():
    def peer(samples: np.ndarray, sample_rate: int) -> SimpleNamespace:
        assert sample_rate == RATE
        return SimpleNamespace(digits="12")

    transcribe = decisions_of(peer)
    assert transcribe(np.ones(80, np.float32)) == ("12",)
    assert transcribe(np.zeros(80, np.float32)) == ("",)
    found, _ = measure(transcribe, [Trial(string("12", samples=spoken("12")), "an4")], {})
    assert found.strings["an4"].whole == 1


def test_handling_noise_lasts_as_long_as_asked_at_levels_drawn_in_db():
    pieces = list(handling_noise("knocks", 0.4, seed=3))
    assert sum(map(len, pieces)) == 0.4 * 3_600 * RATE
    peaks_db = 20 * np.log10([np.abs(piece).max() for piece in pieces])
    assert (peaks_db >= -40.001).all()
    assert (peaks_db <= -5.999).all()
    assert stats.kstest(peaks_db, stats.uniform(-40, 34).cdf).pvalue > 0.01
    again = next(iter(handling_noise("knocks", 0.4, seed=3)))
    np.testing.assert_array_equal(pieces[0], again)
    assert len(list(handling_noise("rustle", 0.02))) == 2  # a minute, and the rest


def test_doubled_strings_come_with_others_that_differ_in_the_repetitions_alone():
    repeats = []
    for key in range(300):
        doubled, plain, tempo = _doubled_pair(np.random.default_rng(key))
        a, b = doubled.split(), plain.split()
        assert 4 <= len(a) == len(b) <= 7
        assert 0.7 < tempo < 1.43
        assert all(x != y for x, y in itertools.pairwise(b))
        runs = [len(list(group)) for _, group in itertools.groupby(a)]
        assert sorted(runs)[-1] in (2, 3)
        assert runs.count(1) == len(runs) - 1
        assert sum(x != y for x, y in zip(a, b, strict=True)) == max(runs) - 1
        repeats.append(max(runs))
    assert 0.6 < np.mean(np.array(repeats) == 2) < 0.8


# Corpora


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """AN4 and WUW II of ten people and calls, made up, and two words of Speech Commands."""
    said = ("OH ONE ONE", "ONE TWO THREE", "A B C", "ENTER NINE")
    rows = [
        (f"{'fm'[p % 2]}ab{chr(97 + p)}", f"an{u}", words)
        for p in range(10)
        for u, words in enumerate(said)
    ]
    (tmp_path / "an4").mkdir()
    write_an4(tmp_path / "an4", rows=rows)
    (tmp_path / "wuw2").mkdir()
    calls = {f"c{c}/{u}": text for c in range(10) for u, text in enumerate(("hello", "two"))}
    write_wuw2(tmp_path / "wuw2", calls)
    rng = np.random.default_rng(0)
    for word in ("bed", "cat", "one"):
        for speaker in ("00000000", "00000001", "00000002", "00000003", "00000004", "00000005"):
            file = tmp_path / "speech_commands" / word / f"{speaker}_nohash_0.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, 0.1 * rng.standard_normal(8_000), 16_000)
    return tmp_path


def test_a_fold_has_its_own_people_and_their_strings_apart(data):
    by_fold = [[t for t in digit_strings(f"an4:{k}", data) if t.name == "an4"] for k in range(5)]
    speakers = [{t.string.speaker for t in fold} for fold in by_fold]
    assert all(len(people) == 2 for people in speakers)
    assert len(set.union(*speakers)) == 10
    for trial in itertools.chain(*by_fold):
        women = "women" if trial.string.speaker.startswith("f") else "men"
        assert (
            trial.parts
            == {
                "011": (women, "with oh", "doubled"),
                "123": (women, "without oh", "not doubled"),
            }[trial.string.digits]
        )
        assert len(trial.string.samples) == 2 * RATE


def test_recordings_without_digits_are_those_of_the_folds(data):
    sets = recordings_without_digits("an4:0,wuw2:1", data, hours=0.001)
    assert list(sets) == [
        *("an4", "wuw2", "other words"),
        *("rustle", "knocks", "scrapes", "puffs", "creaks"),
    ]
    lengths = {name: [len(x) / RATE for x in recordings] for name, recordings in sets.items()}
    assert lengths["an4"] == [2.0, 2.0]  # A B C; ENTER NINE has a digit
    assert lengths["wuw2"] == [2.0, 2.0]
    assert lengths["rustle"] == [3.6]
    both = lengths["other words"][0]
    seen = recordings_without_digits(None, data, hours=0.001, handling_seen=("rustle", "knocks"))
    assert list(seen)[1:4] == ["rustle, trained on", "knocks, trained on", "scrapes"]
    (one,) = recordings_without_digits(None, data, hours=0, words={"cat"}).values()
    assert len(next(iter(one))) / RATE == pytest.approx(both / 2, rel=0.1)
    with pytest.raises(CorpusError, match="no other words"):
        recordings_without_digits(None, data, hours=0, words=())


def test_an_unknown_fold_and_two_splits_of_fsdd_are_refused(data):
    assert len(evaluation_utterances("an4", data)) == 40
    with pytest.raises(SplitError, match="expected one of an4:0, an4:1"):
        evaluation_utterances("an4:5", data)
    with pytest.raises(SplitError, match="xsdr and inner, expected at most one of FSDD"):
        list(digit_strings("xsdr,an4:0,inner", data))


def test_real_strings_of_an4_are_those_that_the_protocol_counts(data_root):
    if not (data_root / "an4").is_dir():
        pytest.skip("needs recordings: let SPOKEN_DIGITS_DATA name a folder that holds an4/")
    own = [u for u in evaluation_utterances("an4", data_root) if u.part == "train"]
    parts = [evaluation._trial_of(u).parts for u in own if u.content == "digits"]
    counts = {part: sum(part in each for each in parts) for part in set(itertools.chain(*parts))}
    assert counts == {
        "women": 49, "men": 132, "with oh": 44, "without oh": 137,
        "doubled": 62, "not doubled": 119,
    }  # fmt: skip
    assert sum(u.content == "none" for u in own) == 408


# Delay


class Emits:
    """A transcriber whose digits are final, or not yet, when so many samples have been fed."""

    def __init__(self, partial: tuple[int, ...] = (), final: tuple[int, ...] = ()):
        self.partial, self.final = partial, final

    def stream(self) -> "Emits":
        self.fed = self.told = 0
        return self

    def feed(self, samples: np.ndarray) -> Update:
        self.fed += len(samples)
        done = sum(at <= self.fed for at in self.final)
        new, self.told = done - self.told, done
        waiting = sum(at <= self.fed for at in self.partial) > done
        segment = Segment(1, "one", 0.0, 0.1, 1.0)
        return Update((segment,) * new, segment if waiting else None)


def test_the_delay_runs_from_the_end_of_a_digit_until_it_is_emitted():
    made = DigitString(
        np.zeros(16_000, np.float32), "12", np.array([1_000, 8_000]), np.array([4_000, 12_000]),
        "ann", "fsdd",
    )  # fmt: skip
    # The first, which may still change, 100 ms after its end; the second 50 ms before its end.
    emits = Emits(partial=(4_800, 11_600), final=(7_200, 13_600))
    assert measure_delays_ms(emits, made) == pytest.approx([100, -50])
    # Where nothing is emitted before it is final, at 400 and at 200 ms.
    emits = Emits(final=(7_200, 13_600))
    assert measure_delays_ms(emits, made) == pytest.approx([400, 200])
    found = evaluation._summarize_delays([100.0, -50.0, 400.0, 200.0])
    assert (found.count, found.median, found.max) == (4, 150, 400)
    assert found.p95 == pytest.approx(370)
    assert found.values == (100, -50, 400, 200)
    assert evaluation._summarize_delays([]) is None


# As text


def test_the_text_has_every_set_and_a_line_a_threshold():
    quiet = {"rustle": [np.zeros(36 * RATE, np.float32)]}
    answers = scripted(*((h[1], h[1], "") for h in HEARD), ("7", "77", ""))
    found, _ = measure(answers, trials(), quiet, (0.0, 2.5))
    lines = describe_strings(found).splitlines()
    (line,) = [line for line in lines if line.startswith("an4 ")]
    assert line.split() == ["an4", "5", "15", "20.00%", "6.67%", "40.0%"]
    (line,) = [line for line in lines if line.startswith("rustle")]
    assert line.split() == ["rustle", "1", "0.010", "1", "100.0", "2.5", "to", "557.2"]
    assert lines[-1].split() == ["2.50", "100.00%", "0.0"]
    assert lines[-2].split() == ["0.00", "6.67%", "200.0"]
    assert any(line.startswith("an4, doubled less not doubled: +10.71 (") for line in lines)
