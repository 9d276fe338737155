"""Exhibits: the worst errors and the embeddings are those of the runs; what is kept can be read."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_results import METHOD, result, row
from safetensors.torch import save

from spoken_digits.lab.data.corpora import Clip, read_corpus
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.evaluation.embeddings import map_embeddings
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.reporting import exhibits
from spoken_digits.lab.reporting.exhibits import Embedding, Exhibits, Mistake, merged
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.supervised import build_network, predict

PEOPLE = ("ann", "bob", "cid")


def predictions(skill, key=(0,), takes=3):
    """Every speaker says every digit; the first speaker is recognized less well."""
    rng = np.random.default_rng([int(10 * skill), *key])
    clips = [(d, s, t) for s in PEOPLE for d in range(10) for t in range(takes)]
    labels = np.array([d for d, _, _ in clips])
    scores = rng.normal(size=(len(clips), 10))
    ease = np.array([0.6 + 0.2 * PEOPLE.index(s) for _, s, _ in clips])
    scores[np.arange(len(clips)), labels] += skill * ease
    return Predictions(
        scores=scores,
        labels=labels,
        speakers=[s for _, s, _ in clips],
        files=[f"{d}_{s}_{t}.wav" for d, s, t in clips],
        label_names=tuple("0123456789"),
        listed=[False] * len(clips),
    )


def test_the_worst_errors_are_those_of_the_highest_mean_probability():
    networks = [predictions(1.5, key=[seed]) for seed in range(3)]
    scores = np.mean(
        [np.exp(n.scores) / np.exp(n.scores).sum(1, keepdims=True) for n in networks], axis=0
    )
    wrong = {
        file: float(s.max())
        for file, s, label in zip(networks[0].files, scores, networks[0].labels, strict=True)
        if s.argmax() != label
    }
    found = exhibits.worst_mistakes(networks, most=100)
    taken = {m.file: m.confidence for m in found}
    assert taken == {file: pytest.approx(wrong[file], rel=1e-5) for file in taken}
    by_word: dict[tuple[str, str], list[float]] = {}
    for file, confidence in wrong.items():
        by_word.setdefault(tuple(file.split("_")[:2]), []).append(confidence)
    expected = sorted(c for group in by_word.values() for c in sorted(group)[-2:])
    assert sorted(taken.values()) == pytest.approx(expected, rel=1e-5)
    assert [m.confidence for m in found] == sorted((m.confidence for m in found), reverse=True)
    assert all(m.spoken != m.recognized and m.file.startswith(m.spoken) for m in found)
    assert all(0 <= m.wrong <= m.networks == 3 for m in found)
    assert exhibits.worst_mistakes(networks, most=2) == found[:2]


def test_one_speakers_trouble_with_one_word_does_not_fill_the_page():
    bad = predictions(9, takes=8)
    bad.scores[bad.labels == 4] = np.eye(10)[7] * 9
    found = exhibits.worst_mistakes([bad])
    assert [(m.spoken, m.recognized) for m in found] == [("4", "7")] * 6
    assert sorted(m.speaker for m in found) == ["ann", "ann", "bob", "bob", "cid", "cid"]


def run_of(directory, tests, **changes):
    """Return a finished run as reporting sees it."""
    fields = {"model": "cnn", "front_end": "ours", "split": "xsdr", "task": "train", "log": ()}
    fields |= {"is_inner": False, "grid": "results", "directory": directory, "predictions": tests}
    fields |= {"conditions": {METHOD.condition: tests}, "method": lambda condition: METHOD}
    return SimpleNamespace(**(fields | changes))


def test_errors_shown_are_of_the_best_row_alone(tone_corpus, tmp_path):
    best, other = predictions(3), predictions(0.5)
    runs = [
        run_of(tmp_path, best),
        run_of(tmp_path, other, method=lambda condition: replace(METHOD, model="lstm")),
    ]
    made = result("models", [row(0.9), row(0.5, model="lstm")])
    shown = exhibits.collect([made], {"models": runs}, {}, with_sound=True)
    assert shown.mistakes == tuple(exhibits.worst_mistakes([best]))
    assert shown.embeddings == ()
    assert shown.curves is None


def test_errors_get_the_picture_and_the_sound_of_their_recording(tone_corpus, tmp_path):
    clips = {(clip.file.name, clip.label): clip for clip in read_corpus(tone_corpus)}
    some = [clip for clip in clips.values() if clip.speaker == "ann"]
    wrong = np.roll(np.eye(10), 1, axis=1)
    tests = Predictions.of(some, 9 * wrong[[int(c.label) for c in some]], tuple("0123456789"))
    made = result("models", [row(0.9)])
    for with_sound in (True, False):
        shown = exhibits.collect([made], {"models": [run_of(tmp_path, tests)]}, clips, with_sound)
        assert len(shown.mistakes) == exhibits.SHOWN
        assert all(m.figure.startswith("<svg") for m in shown.mistakes)
        sounds = {m.sound is not None for m in shown.mistakes}
        assert sounds == {with_sound}


def test_curves_are_drawn_of_logs_and_a_held_out_speaker_is_told_apart(tmp_path):
    log = [{"loss": 2.0, "accuracy": 0.3}, {"loss": 1.0, "accuracy": 0.6}]
    inner = [epoch | {"heldout_accuracy": 0.5} for epoch in log]
    tests = predictions(3)
    runs = [run_of(tmp_path, tests, log=log), run_of(tmp_path, tests, log=inner, is_inner=True)]
    shown = exhibits.collect([result("models", [row(0.9)])], {"models": runs}, {}, False)
    assert "held-out training speaker" in shown.curves
    sweeps = [run_of(tmp_path, tests, log=log, grid="learning-rate")]
    assert (
        exhibits.collect([result("models", [row(0.9)])], {"models": sweeps}, {}, False).curves
        is None
    )


def test_what_is_kept_is_read_again_without_sounds(tmp_path):
    mistake = Mistake(
        "6_ann_0.wav", "ann", "6", "8", 0.9, 4, 5, "<svg/>", "data:audio/wav;base64,AA"
    )
    embedding = Embedding("LSTM", 40, 2, 0.7, 0.1, None, "<svg/>")
    kept = Exhibits("a command", ("c" * 40,), "2-D CNN", "<svg/>", None, (mistake,), (embedding,))
    exhibits.write_exhibits(tmp_path / "e.json", kept)
    assert exhibits.read_exhibits(tmp_path / "e.json") == replace(
        kept, mistakes=(replace(mistake, sound=None),)
    )
    assert exhibits.read_exhibits(tmp_path / "none.json") == Exhibits()


def test_published_again_a_study_replaces_its_own():
    def of(model, curve, *titles):
        drawn = tuple(Embedding(title, 40, 2, 0.7, 0.1, 0.0, curve) for title in titles)
        return Exhibits(of=model, curves=curve, embeddings=drawn)

    old = of("2-D CNN", "old", "LSTM", "RNN")
    again = merged(old, of("2-D CNN", "new", "LSTM"))
    assert again.curves == "new"
    assert [(e.title, e.figure) for e in again.embeddings] == [("RNN", "old"), ("LSTM", "new")]
    other = merged(old, of("LSTM", "new", "SimCLR"))
    assert other.curves == "old"
    assert [e.title for e in other.embeddings] == ["LSTM", "RNN", "SimCLR"]
    assert merged(Exhibits(), old) == old


def test_embeddings_are_those_of_the_runs_networks(tone_corpus, tmp_path):
    clips = read_corpus(tone_corpus)
    labels = tuple("0123456789")
    dataset = prepare(clips, tmp_path, labels)
    config = TrainConfig(model="temporal-cnn", split="xsdr")
    net = build_network(config, 10).eval()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config.to_toml())
    (tmp_path / "run" / "model.safetensors").write_bytes(save(net.state_dict()))
    runs = {"a net": tmp_path / "run", "unfinished": tmp_path / "nothing"}
    (found,) = exhibits.embedding_maps(runs, clips, labels, tmp_path)
    embeddings = predict(net, dataset, np.arange(len(clips)))[1]
    expected = map_embeddings(
        "a net", embeddings, [c.label for c in clips], [c.speaker for c in clips]
    )
    assert found.numbers() == expected.numbers()
    assert np.array_equal(found.pca, expected.pca)


def test_recordings_of_one_name_are_told_apart_by_their_label(monkeypatch):
    # As in the synthetic speech, where every digit has a folder.
    clips = [Clip(Path(label, "ann_0.flac"), label, "ann", "voices") for label in "37"]
    tests = Predictions.of(clips, np.eye(2), ["3", "7"])
    mapped = []
    monkeypatch.setattr(
        exhibits, "embedding_maps", lambda chosen, tested, *_: mapped.append(tested) or []
    )
    made = result("models", [row(0.9)], label_names=("3", "7"))
    named = {(clip.file.name, clip.label): clip for clip in clips}
    assert list(exhibits._maps([made], {"models": [run_of(Path("runs/cnn"), tests)]}, named)) == []
    assert mapped == [clips]
