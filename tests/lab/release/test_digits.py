import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spoken_digits.audio import find_speech, read_audio, to_clip
from spoken_digits.lab import export as exporting
from spoken_digits.lab.data import pooled
from spoken_digits.lab.data.corpora import DIGITS, Clip, CorpusError, read_synthetic
from spoken_digits.lab.data.pooled import FOLDS, held_out
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.evaluation.schema import Condition
from spoken_digits.lab.export import ExportError
from spoken_digits.lab.release import digits as shipping
from spoken_digits.lab.release.digits import CONDITIONS, SNR_DB, ship
from spoken_digits.lab.release.finetune import read_start
from spoken_digits.lab.runs import RunContext, RunError, read_json
from spoken_digits.lab.studies.grid import plan
from spoken_digits.lab.studies.registry import RELEASE_STUDIES, read_study, studies
from spoken_digits.lab.studies.run import run_study
from spoken_digits.lab.studies.shipped import STUDY, ShippedResult, summarize_shipped
from spoken_digits.lab.studies.tasks import read_task, run_task
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.networks import DigitNetwork
from spoken_digits.recognize import Recognizer

TINY = TrainConfig(
    model="cnn-tiny", split="pooled", augmentation="light", epochs=1, clips_per_epoch=64,
    oov_fraction=0.25, rejection_threshold=-1.0,
)  # fmt: skip
SMALL = ("augmentation", "epochs", "clips_per_epoch", "oov_fraction", "rejection_threshold")
WIDE, TINY_RUN = "cnn-wide-ours-pooled", "tiny-cnn-tiny-ours-pooled"  # begin runs' names
ONE_WORKER = pytest.mark.xdist_group("shipped")  # which makes the study


def context_in(folder: Path, corpora: Path, name: str = "run") -> RunContext:
    """A run below a folder in which TTS voices and excerpts have been made before."""
    cache = folder / "cache"
    if not cache.exists():
        cache.mkdir(parents=True)
        (cache / "voices").symlink_to(corpora / "made")
        (cache / "excerpts").symlink_to(corpora / "excerpts")
    return RunContext(folder / name, cache, corpora, command="made up")


@pytest.fixture(scope="module")
def few_clips() -> Iterator[None]:
    """Fewer clips that ship, in 8 bits and in degraded conditions, for speed."""

    def read_few(folder: Path) -> list[Clip]:
        clips = read_synthetic(folder)
        shipped = [clip for clip in clips if clip.corpus != "voices"]
        return [clip for clip in clips if clip.corpus == "voices"] + shipped[::10]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pooled, "read_synthetic", read_few)
        for name in ("_CALIBRATED", "_COMPARED"):
            monkeypatch.setattr(exporting, name, slice(1, None, 40))
        monkeypatch.setattr(shipping, "CLIPS_DEGRADED", 10)
        yield


@pytest.fixture(scope="module")
def studied(
    pooled_corpora: Path, tmp_path_factory: pytest.TempPathFactory, few_clips: None
) -> Path:
    """The folder of the study, done as any other one, but with a small recipe."""
    folder = tmp_path_factory.mktemp("study") / "shipped"
    (folder / ".prepared").mkdir(parents=True)
    for name, made in (("voices", "made"), ("excerpts", "excerpts")):
        (folder / ".prepared" / name).symlink_to(pooled_corpora / made)
    small = {key: getattr(TINY, key) for key in SMALL}
    study = replace(STUDY, sections={**STUDY.sections, "defaults": small})
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(RELEASE_STUDIES, "shipped", study)
        assert run_study("shipped", pooled_corpora, folder, workers=1) == folder
    return folder


def test_one_task_makes_the_file_that_ships_and_weights_to_start_from(
    pooled_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_clips: None
) -> None:
    monkeypatch.setattr(shipping, "make_voices", None)  # made before
    context = context_in(tmp_path, pooled_corpora)
    evaluation = run_task("pooled", TINY, context)
    assert evaluation.tests == ()  # nothing is held out
    path = ship(context.directory, tmp_path / "digits.onnx")
    recognizer = Recognizer(path)
    assert recognizer.rejects
    assert recognizer.knows_oh
    assert recognizer.labels == DIGITS
    assert (recognizer.decision.string_weight, recognizer.decision.min_oh) == (0.5, 0.0)
    assert recognizer.threshold == pytest.approx(1 / (1 + np.e), abs=1e-6)
    assert recognizer.metadata["command"] == "made up"
    data = json.loads(recognizer.metadata["training_data"])
    assert data["corpora"]["fsdd"] == {"digits": 60, "other_words": 0, "speakers": 6}
    assert "CC BY-SA 4.0; CC BY 4.0" in data["licence"]
    recipe, weights = read_start(str(path.with_suffix(".safetensors")))
    assert recipe == TINY
    whole = load_file(context.directory / "model.safetensors")
    assert all(torch.equal(whole[name], weight) for name, weight in weights.items())
    before = (context.directory / "model.safetensors").stat().st_mtime_ns
    assert run_task("pooled", TINY, context) == evaluation  # finished: left alone
    assert (context.directory / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="finished with another recipe"):
        run_task("pooled", replace(TINY, seed=1), context)


def test_synthetic_speech_and_excerpts_are_made_once_without_words_of_the_corpora(
    pooled_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def make(folder: Path, *arguments: object, **options: object) -> Path:
        calls.append((folder.name, arguments, options))
        folder.mkdir()
        return folder

    def missing() -> None:
        raise CorpusError("not at hand")

    for name in ("make_voices", "make_excerpts"):
        monkeypatch.setattr(shipping, name, make)
    monkeypatch.setattr(shipping, "Kokoro", missing)
    (tmp_path / "cache").mkdir()
    context = RunContext(tmp_path / "run", tmp_path / "cache", pooled_corpora, command="made up")
    for _ in range(2):
        shipping.prepare_pooled(TINY, context)
    (_, _, options), (_, (data, without, engine), _) = calls
    assert [call[0] for call in calls] == ["voices", "excerpts"]
    assert options["oh"]
    assert (data, without, engine) == (pooled_corpora, {"cat", "dog", "go", "up"}, None)


@ONE_WORKER
def test_the_study_reports_accuracy_on_everything_that_was_held_out(studied: Path) -> None:
    result = summarize_shipped(studied)
    assert [row.held_out for row in result.accuracy] == [
        "fsdd, the whole corpus",
        "fsdd, speakers in 3 groups",
        "speech_commands, the whole corpus",
        "speech_commands, speakers in 3 groups",
    ]
    assert all(0 <= row.accuracy <= 1 and row.clips == 60 for row in result.accuracy)
    assert [row.speakers for row in result.accuracy] == [6, 6, 6, 6]
    assert len(result.fsdd_speakers) == 6
    words = {row.condition for row in result.degraded_recordings}
    assert words == {
        "as it is", "silence around", "room, RT60 0.3 s", "room, RT60 0.6 s", "telephone",
        "clipped by 15 dB", "noise 20 dB", "noise 10 dB", "noise 5 dB", "noise 0 dB",
    }  # fmt: skip
    assert len(result.rejection_of_unseen_words) >= 4
    assert sum(row.clips for row in result.recall_by_digit) == 120
    assert len(result.rejection_by_fold) == FOLDS
    assert result.recipe == replace(TINY, model="cnn-wide").to_toml()
    assert (result.study, result.track) == ("shipped", "open")
    assert result.command == "spoken-digits study shipped"
    assert read_json(studied / "summary.json", ShippedResult) == result


def test_it_is_a_study_like_the_others_but_not_among_all() -> None:
    assert "shipped" not in studies()
    study = read_study("shipped")
    assert study.question.endswith("?")
    jobs = plan(study, "fsdd", [])
    assert {job.task for job in jobs} == {"pooled"}
    splits = {"pooled:fsdd", "pooled:0", "pooled:1", "pooled:2", "pooled:speech_commands"}
    assert {j.config.split for j in jobs if j.config.model == "cnn-tiny"} == splits
    assert {j.config.split for j in jobs if j.config.model == "cnn-wide"} == splits | {"pooled"}
    recipe = read_task("shipped", "train", {})[1]
    (whole,) = (job for job in jobs if job.config.split == "pooled")
    assert whole.config == recipe


def test_what_is_published_is_of_that_form_and_agrees_with_itself() -> None:
    result = read_json(Path(__file__).parents[3] / "results" / "shipped.json", ShippedResult)
    (whole, *_) = result.variants
    assert [
        whole.accuracy_fsdd_whole,
        whole.accuracy_fsdd_speakers,
        whole.accuracy_speech_commands_whole,
        whole.accuracy_speech_commands_speakers,
    ] == [row.accuracy for row in result.accuracy]
    by_speaker = list(result.fsdd_speakers.values())
    assert np.mean([s.accuracy for s in by_speaker]) == pytest.approx(whole.accuracy_fsdd_speakers)
    held_out = np.mean([s.accuracy_corpus_held_out for s in by_speaker])
    assert held_out == pytest.approx(whole.accuracy_fsdd_whole)
    for score in result.rejection_of_unseen_words:
        folds = [fold.metrics.scores[score.score] for fold in result.rejection_by_fold]
        assert score.auroc == pytest.approx(np.mean([fold.auroc for fold in folds]))
        assert score.eer == pytest.approx(np.mean([fold.eer for fold in folds]))
    fsdd = [row for row in result.recall_by_digit if row.corpus == "fsdd"]
    hits = sum(row.clips * (row.recall or 0) for row in fsdd)
    assert hits / 3000 == pytest.approx(whole.accuracy_fsdd_speakers)


@ONE_WORKER
def test_the_numbers_are_those_of_the_predictions(studied: Path) -> None:
    result = summarize_shipped(studied)

    def saved(split: str, file: str) -> Predictions:
        return Predictions.load(studied / f"{WIDE}-{split}-s0" / file)

    whole = saved("fsdd", "predictions.npz")
    assert result.accuracy[0].accuracy == pytest.approx(whole.correct.mean())
    folds = [saved(str(fold), "predictions-fsdd-recorded-10.npz") for fold in range(FOLDS)]
    (row,) = (
        row
        for row in result.degraded_recordings
        if (row.corpus, row.kind, row.level) == ("fsdd", "recorded", 10)
    )
    hits = np.concatenate([fold.correct for fold in folds])
    assert (row.clips, row.accuracy) == (len(hits), pytest.approx(hits.mean()))
    clean = [saved(str(fold), "predictions.npz") for fold in range(FOLDS)]
    lucas = [fold.correct[fold.speakers == "lucas"] for fold in clean]
    assert result.fsdd_speakers["lucas"].accuracy == np.concatenate(lucas).mean()
    of_seven = np.concatenate([fold.correct[fold.labels == 7] for fold in clean])
    (seven,) = (r for r in result.recall_by_digit if (r.corpus, r.digit) == ("fsdd", "7"))
    assert (seven.clips, seven.recall) == (len(of_seven), of_seven.mean())


@ONE_WORKER
def test_the_study_sets_the_smaller_variants_beside_the_network(
    pooled_corpora: Path, studied: Path
) -> None:
    result = summarize_shipped(studied)
    rows = {row.variant: row for row in result.variants}
    assert list(rows) == ["float", "int8", "tiny", "tiny int8"]
    assert [row.parameters for row in rows.values()] == [*[result.parameters] * 2, 9788, 9788]
    assert rows["int8"].file_bytes < 0.8 * rows["float"].file_bytes
    assert rows["tiny int8"].file_bytes < rows["tiny"].file_bytes < 350_000
    assert [
        rows["float"].accuracy_fsdd_whole,
        rows["float"].accuracy_fsdd_speakers,
        rows["float"].accuracy_speech_commands_whole,
        rows["float"].accuracy_speech_commands_speakers,
    ] == [row.accuracy for row in result.accuracy]
    (own,) = (r for r in result.rejection_of_unseen_words if r.score == "own")
    assert (rows["float"].rejection_auroc, rows["float"].rejection_eer) == (own.auroc, own.eer)
    # Recognized again, one file after another, by the network for single digits alone.
    hits = [
        DigitNetwork(studied / f"{TINY_RUN}-{fold}-s0" / "digits-int8.onnx")
        .run(to_clip(*read_audio(clip.file))[None])
        .argmax()
        == int(clip.label)
        for fold in range(FOLDS)
        for clip in held_out(f"pooled:{fold}", pooled_corpora, oov=False)
        if clip.corpus == "fsdd"
    ]
    assert rows["tiny int8"].accuracy_fsdd_speakers == pytest.approx(np.mean(hits))


@ONE_WORKER
def test_a_variant_that_export_refuses_is_left_out(
    pooled_corpora: Path,
    studied: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = summarize_shipped(studied)

    def refuse(content: bytes) -> bytes:
        raise ExportError("in 8 bits 12.3% of the synthetic clips")

    monkeypatch.setattr(shipping, "quantize", refuse)
    name = f"{TINY_RUN}-1-s0"
    finished = studied / name / "evaluation.json"
    before = finished.read_bytes()
    finished.unlink()
    with pytest.raises(RunError, match="no finished run of cnn-tiny on the split pooled:1; run"):
        summarize_shipped(studied)
    config = replace(TINY, split="pooled:1")
    context = RunContext(studied / name, studied / ".prepared", pooled_corpora, command="again")
    stamp = (context.directory / "model.safetensors").stat().st_mtime_ns
    run_task("pooled", config, context)  # takes up the network that is there
    assert (context.directory / "model.safetensors").stat().st_mtime_ns == stamp
    assert f"{name}, int8 left out: in 8 bits 12.3%" in capsys.readouterr().err
    assert summarize_shipped(studied) == replace(whole, variants=whole.variants[:3])
    finished.write_bytes(before)
    assert isinstance(summarize_shipped(studied), ShippedResult)


def test_noise_stands_at_the_ratio_asked_for_over_the_speech() -> None:
    rng = np.random.default_rng(0)
    samples = np.zeros(8000, np.float32)
    samples[3000:5000] = np.sin(np.arange(2000) * 0.4)
    noise = rng.standard_normal(40_000).astype(np.float32)
    for snr_db in SNR_DB:
        noisy = shipping.in_noise([noise], snr_db)(samples, np.random.default_rng(1))
        added = noisy - np.pad(samples, 1600)
        start, stop = find_speech(samples)
        ratio = (samples[start:stop] ** 2).mean() / (added**2).mean()
        assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)
        assert added[:1600].std() == pytest.approx(added[1600:].std(), rel=0.1)  # all along


def band_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Mean power of a band, in dB."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / 8000)
    return 10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].mean())


def test_a_telephone_passes_300_to_3400_hz_at_minus_12_dbfs() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    line = CONDITIONS[Condition("telephone")](noise, np.random.default_rng(0))
    within = band_db(line, 400, 3300)
    assert within - band_db(line, 20, 200) > 25
    assert within - band_db(line, 3500, 3990) > 25
    assert np.abs(band_db(line, 400, 1000) - band_db(line, 2000, 3300)) < 1
    assert np.abs(line).max() == pytest.approx(0.25, rel=0.03)


def test_clipping_flattens_what_lies_above_its_level() -> None:
    samples = np.sin(np.arange(4000) * 0.5).astype(np.float32)
    clipped = CONDITIONS[Condition("clipped", 15.0)](samples, np.random.default_rng(0))
    assert np.abs(clipped).max() == pytest.approx(10 ** (-15 / 20), rel=1e-3)
    quiet = np.abs(samples) < 0.1
    np.testing.assert_array_equal(clipped[quiet], samples[quiet])


def test_a_room_decays_by_60_db_within_its_reverberation_time() -> None:
    click = np.zeros(4000, np.float32)
    click[0] = 1
    for rt60_s in (0.3, 0.6):
        wet = CONDITIONS[Condition("room", rt60_s)](click, np.random.default_rng(0))
        tail = wet[1600 + 80 :]
        energy = np.cumsum(tail[::-1] ** 2)[::-1]  # Schroeder 1965
        level_db = 10 * np.log10(energy / energy[0] + 1e-12)
        from_5_to_25 = np.argmax(level_db < -25) - np.argmax(level_db < -5)
        assert 3 * from_5_to_25 / 8000 == pytest.approx(rt60_s, rel=0.15)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_each_condition_repeats_and_leaves_its_input(condition: Condition) -> None:
    samples = np.sin(np.arange(4000) * 0.5).astype(np.float32)
    before = samples.copy()
    one, two = (CONDITIONS[condition](samples, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(samples, before)
    assert one.dtype == np.float32
