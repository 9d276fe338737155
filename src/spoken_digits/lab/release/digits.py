"""The recognizer that ships: trained on the open set, judged on what was left out of it whole.

One recipe, `recipes/shipped.toml`, from a folder of corpora to one file; the same recipe again with
a corpus, speakers, words and noises left out tells what to expect of it. Whatever is judged here is
the exported file, on the way a user's recording takes: it is spoiled as a recording, before its
endpoints are found. N clips, C classes, L samples.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from spoken_digits.audio import SAMPLE_RATE, find_speech, read_audio, resample, to_clip
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.data.corpora import DIGITS, Clip
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import FOLDS, SYNTHETIC, held_out, pooled_set
from spoken_digits.lab.evaluation.metrics import Predictions, evaluate, expected_calibration_error
from spoken_digits.lab.evaluation.rejection import evaluate_rejection, score_clips
from spoken_digits.lab.export import ExportError, export, quantize
from spoken_digits.lab.runs import versions, write_json, write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import train
from spoken_digits.lab.tts.espeak import ALL_VOICES, make_voices
from spoken_digits.recognize import Recognizer

__all__ = ["CONDITIONS", "judge_open", "ship", "study_shipped", "train_open"]

FloatArray = NDArray[np.float32]

VOICE_TAKES, VOICE_OTHERS = 4, 40  # of every synthetic voice: takes of a digit, other words
CLIPS_SPOILED = 600  # recordings of each corpus that a spoiled condition is measured on
SNR_DB = (20, 10, 5, 0)
TINY = "cnn-tiny"  # the network of at most 10,000 parameters


def train_open(
    config: TrainConfig,
    data: Path | None,
    out: Path,
    command: str,
    quiet: bool = True,
    *,
    spoil: bool = True,
) -> Path:
    """Train on the open set, export, judge on what `config.split` left out; the run's directory.

    A run that is finished is left alone. It is judged on spoiled recordings as well, unless `spoil`
    is off.

    Raises
    ------
    ConfigError
        When the directory holds a run of another recipe.
    CorpusError
        When no corpus of people is at hand.
    ImportError
        Without the extra `synth`, where the synthetic voices have not been made before.
    """
    began = time.perf_counter()
    torch.set_num_threads(1)
    directory = out / f"{config.model}-{config.split.replace(':', '-')}-s{config.seed}"
    if (directory / "evaluation.json").exists():
        if (directory / "config.toml").read_text(encoding="utf-8") != config.to_toml():
            raise ConfigError(
                f"{directory}: finished with another recipe; remove it, or give --out another "
                "folder"
            )
        return directory
    voices = out / ".voices"
    if not voices.exists():
        _say(f"making {len(ALL_VOICES)} synthetic voices, once; about a minute")
        make_voices(voices, ALL_VOICES, takes=VOICE_TAKES, oov_words=VOICE_OTHERS)
    gathered = pooled_set(
        config.split, out / ".prepared", data, voices, config.other_share, config.seed
    )
    net = train(
        config,
        gathered.dataset,
        gathered.indices,
        directory,
        quiet=quiet,
        shares=gathered.probabilities,
        background=gathered.background,
    )
    environment = {
        "command": command,
        **versions(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "seconds": round(time.perf_counter() - began, 1),
        "labels": list(DIGITS),
        "data": gathered.describe(),
    }
    write_json(directory / "environment.json", environment)
    model = export(directory)
    noises = gathered.test_noises if spoil else None
    judged = judge_open(Recognizer(model, threshold=0), gathered.test, noises, config.seed)
    write_json(directory / "evaluation.json", judged)
    return directory


def ship(directory: Path, output: Path | str) -> Path:
    """Export a run to `output`, and its weights beside it, to be fine-tuned from.

    The weights (.safetensors) carry their recipe in their header.
    """
    path = export(directory, output)
    weights = load_file(directory / "model.safetensors")
    recipe = (directory / "config.toml").read_text(encoding="utf-8")
    write_whole(path.with_suffix(".safetensors"), save(weights, {"config": recipe}))
    return path


def study_shipped(
    config: TrainConfig, data: Path | None, out: Path, command: str, quiet: bool = True
) -> Path:
    """Run the recipe with everything, and with each thing left out; return the summary's path.

    So is a network of at most 10,000 parameters, and both are judged in 8 bits as well, alone and
    without spoiled recordings. What is finished is left alone.
    """
    splits = ["pooled:fsdd", *(f"pooled:{fold}" for fold in range(FOLDS)), "pooled:speech_commands"]
    judged: dict[str, dict[str, Any]] = {}
    directory = train_open(replace(config, split="pooled"), data, out, command, quiet)
    runs, tiny_runs = {}, {}
    for split in splits:
        runs[split] = train_open(replace(config, split=split), data, out, command, quiet)
        judged[split] = _read(runs[split] / "evaluation.json")
        _say(f"{split}: " + ", ".join(_line(row) for row in judged[split]["clean"]))
    for split in splits:
        tiny = replace(config, split=split, model=TINY)
        tiny_runs[split] = train_open(tiny, data, out, command, quiet, spoil=False)
    environment = _read(directory / "environment.json")
    summary = _summary(judged) | {
        "variants": [*_variants("", runs, data), *_variants("tiny", tiny_runs, data)],
        "study": "shipped",
        "track": "open",
        "command": command,
        "commit": environment["commit"],
        "seeds": [config.seed],
        "recipe": config.to_toml(),
        "data": environment["data"],
        "parameters": environment["parameters"],
        "versions": {key: environment[key] for key in ("python", "torch", "numpy", "version")},
        "left_out": judged,
    }
    path = out / "shipped.json"
    write_json(path, summary)
    return path


def judge_open(
    recognizer: Recognizer,
    test: Sequence[Clip],
    test_noises: Sequence[Path] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge a model on the recordings left out: clean, spoiled, and against what is no digit.

    Parameters
    ----------
    recognizer
        The model.
    test
        Recordings left out.
    test_noises
        Noises left out, to spoil recordings with; None to spoil none, not even otherwise.
    seed
        Key of which recordings are spoiled, and of how.

    Returns
    -------
    ``clean`` and ``spoiled``, lists of rows (corpus, condition, clips, accuracy, ...);
    ``calibration``; ``rejection`` where words were left out; ``people``, accuracy by speaker of
    FSDD. Empty where nothing was left out.
    """
    result: dict[str, Any] = {"clean": [], "spoiled": [], "calibration": [], "people": {}}
    digits = [clip for clip in test if clip.label in DIGITS]
    for corpus in sorted({clip.corpus for clip in digits} - {*SYNTHETIC}):
        clips = [clip for clip in digits if clip.corpus == corpus]
        recordings = [resample(*read_audio(clip.file)) for clip in clips]
        scores = _scores(recognizer, recordings)
        predictions = Predictions.of(clips, scores, recognizer.labels)
        judged = evaluate(predictions)
        result["clean"].append(
            {
                "corpus": corpus,
                "clips": len(clips),
                "speakers": len({clip.speaker for clip in clips}),
                "accuracy": judged.accuracy,
                "macro_f1": judged.macro_f1,
                "ece": judged.ece,
                "recall": {k: s.recall for k, s in judged.per_label.items()},
                "confusion": np.asarray(judged.confusion).tolist(),
            }
        )
        if corpus == "fsdd":
            result["people"] = {k: s.accuracy for k, s in judged.per_speaker.items()}
        result["calibration"] += [
            {
                "corpus": corpus,
                "temperature": factor,
                "ece": expected_calibration_error(scores / factor, predictions.labels),
            }
            for factor in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
        ]
        if test_noises is not None:
            result["spoiled"] += _spoiled(recognizer, corpus, clips, recordings, test_noises, seed)
    others = [c for c in test if c.label not in DIGITS and c.corpus == "speech_commands"]
    if others and recognizer.rejects:
        heard = [clip for clip in digits if clip.corpus == "speech_commands"]
        scored = score_clips(recognizer, [*heard, *others])
        result["rejection"] = evaluate_rejection(scored, 0.5).to_dict()
        result["words"] = sorted({clip.label for clip in others})
    return result


def _scores(recognizer: Recognizer, recordings: Iterable[FloatArray]) -> FloatArray:
    clips = (to_clip(samples, SAMPLE_RATE) for samples in recordings)
    return np.concatenate([recognizer.run(clip[None]) for clip in clips])


def _spoiled(
    recognizer: Recognizer,
    corpus: str,
    clips: Sequence[Clip],
    recordings: Sequence[FloatArray],
    test_noises: Sequence[Path],
    seed: int,
) -> list[dict[str, Any]]:
    rng = np.random.default_rng([seed, 5])
    # Each digit alike, where a corpus has many of some and few of others.
    chosen: list[int] = []
    for digit in DIGITS:
        there = [i for i, clip in enumerate(clips) if clip.label == digit]
        take = min(len(there), CLIPS_SPOILED // len(DIGITS))
        chosen += rng.choice(there, take, replace=False).tolist()
    targets = np.array([recognizer.labels.index(clips[i].label) for i in chosen])
    conditions: dict[str, Condition] = dict(CONDITIONS)
    noises = [read_noise(file, rms=1.0) for file in test_noises]
    for snr_db in SNR_DB if noises else ():
        conditions[f"noise {snr_db} dB"] = _noisy(noises, snr_db)
    rows = []
    for name, spoil in conditions.items():
        # The same draws for every condition: what differs is the condition alone.
        draws = np.random.default_rng([seed, 6])
        spoiled = [spoil(recordings[i], draws) for i in chosen]
        hits = _scores(recognizer, spoiled).argmax(1) == targets
        rows.append(
            {
                "corpus": corpus,
                "condition": name,
                "clips": len(hits),
                "accuracy": float(hits.mean()),
            }
        )
    return rows


Condition = Callable[[FloatArray, np.random.Generator], FloatArray]


def _speech_power(samples: FloatArray) -> float:
    start, stop = find_speech(samples)
    return float((samples[start:stop] ** 2).mean())


def _noisy(noises: Sequence[FloatArray], snr_db: float) -> Condition:
    """Add a stretch of one of the noises, 0.2 s before and after as well."""

    def spoil(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
        quiet = np.pad(samples, SAMPLE_RATE // 5)
        noise = noises[int(rng.integers(len(noises)))]
        start = int(rng.integers(0, len(noise) - len(quiet)))
        stretch = noise[start : start + len(quiet)]
        level = _speech_power(samples) / float((stretch**2).mean()) * 10 ** (-snr_db / 10)
        noisy: FloatArray = (quiet + stretch * np.sqrt(level)).astype(np.float32)
        return noisy

    return spoil


def _in_room(rt60_s: float, direct_to_reverberant_db: float) -> Condition:
    def spoil(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        response = waveforms.make_responses(
            generator, torch.tensor([rt60_s]), torch.tensor([float(direct_to_reverberant_db)])
        )
        rung = np.convolve(np.pad(samples, SAMPLE_RATE // 5), response[0].numpy())
        wet: FloatArray = rung.astype(np.float32)
        return wet

    return spoil


def _telephone(samples: FloatArray, _rng: np.random.Generator) -> FloatArray:
    """300 to 3,400 Hz, then 8 bits of mu-law at -12 dBFS."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    narrow = np.fft.irfft(spectrum, len(samples))
    narrow = narrow * (0.25 / max(np.abs(narrow).max(), 1e-9))
    coded = waveforms.compand(torch.from_numpy(narrow.astype(np.float32))[None])[0].numpy()
    return np.asarray(coded, np.float32)


def _clipped(samples: FloatArray, _rng: np.random.Generator) -> FloatArray:
    """Cut off at 15 dB below the peak."""
    limit = np.abs(samples).max() * 10 ** (-15 / 20)
    return np.clip(samples, -limit, limit)


def _lengthened(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """One second of faint noise around it, 40 dB below the voice."""
    wide = np.pad(samples, SAMPLE_RATE)
    noise = rng.standard_normal(len(wide)) * np.sqrt(_speech_power(samples) * 1e-4)
    hissing: FloatArray = (wide + noise).astype(np.float32)
    return hissing


CONDITIONS: dict[str, Condition] = {
    "as it is": lambda samples, _: samples,
    "silence around": _lengthened,
    "room, RT60 0.3 s": _in_room(0.3, 3),
    "room, RT60 0.6 s": _in_room(0.6, 0),
    "telephone": _telephone,
    "clipped by 15 dB": _clipped,
}


def _variants(prefix: str, runs: dict[str, Path], data: Path | None) -> list[dict[str, Any]]:
    """Lay runs out in float and in 8 bits, a row each; in 8 bits only where all may be exported."""
    whole = {split: _read(run / "evaluation.json") for split, run in runs.items()}
    rows = [_variant(prefix or "float", runs, "digits.onnx", whole)]
    try:
        small = {split: _judge_int8(run, split, data) for split, run in runs.items()}
    except ExportError as error:
        _say(f"{prefix} int8, left out of the variants: {error}".strip())
        return rows
    return [*rows, _variant(f"{prefix} int8".strip(), runs, "digits-int8.onnx", small)]


def _judge_int8(run: Path, split: str, data: Path | None) -> dict[str, Any]:
    """Put a run's file into 8 bits, beside it, and judge it; what is finished is left alone."""
    path, model = run / "evaluation-int8.json", run / "digits-int8.onnx"
    if not path.exists():
        write_whole(model, quantize((run / "digits.onnx").read_bytes()))
        recognizer = Recognizer(model, threshold=0)
        write_json(path, judge_open(recognizer, held_out(split, data, oov=recognizer.rejects)))
    return _read(path)


def _variant(
    name: str, runs: dict[str, Path], file: str, judged: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    run = next(iter(runs.values()))  # the others are as large, but for what they say of themselves
    row = {
        "variant": name,
        "parameters": _read(run / "environment.json")["parameters"],
        "file_bytes": (run / file).stat().st_size,
    }
    keys = ("fsdd_whole", "fsdd_speakers", "speech_commands_whole", "speech_commands_speakers")
    for key, measured in zip(keys, _accuracy(judged), strict=True):
        row[f"accuracy_{key}"] = measured["accuracy"]
    own = [scores for scores in _rejection(judged) if scores["score"] == "own"]
    return row | {f"rejection_{key}": scores[key] for scores in own for key in ("auroc", "eer")}


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _summary(judged: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Lay the runs out as tables: a row a measure."""
    folds = [judged[f"pooled:{fold}"] for fold in range(FOLDS)]
    by_fold = [row for fold in folds for row in fold["clean"]]
    people = {
        name: {"left_out_with_the_corpus": judged["pooled:fsdd"]["people"][name], "accuracy": share}
        for fold in folds
        for name, share in sorted(fold["people"].items())
    }
    conditions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for fold in folds:
        for row in fold["spoiled"]:
            conditions.setdefault((row["corpus"], row["condition"]), []).append(row)
    spoiled = [
        {
            "corpus": corpus,
            "condition": condition,
            "clips": sum(row["clips"] for row in rows),
            "accuracy": sum(row["accuracy"] * row["clips"] for row in rows)
            / sum(row["clips"] for row in rows),
        }
        for (corpus, condition), rows in conditions.items()
    ]
    return {
        "accuracy": _accuracy(judged),
        "fsdd_speakers": people,
        "recall_by_digit": _by_digit(by_fold),
        "spoiled_recordings": spoiled,
        "rejection_of_words_never_trained_on": _rejection(judged),
    }


def _accuracy(judged: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Lay out what was left out: each corpus whole, then its speakers in groups."""
    by_fold = [row for fold in range(FOLDS) for row in judged[f"pooled:{fold}"]["clean"]]
    accuracy = []
    for corpus, whole in (("fsdd", "pooled:fsdd"), ("speech_commands", "pooled:speech_commands")):
        out = next(row for row in judged[whole]["clean"] if row["corpus"] == corpus)
        accuracy.append({"left_out": f"{corpus}, the whole corpus", **_cells(out)})
        rows = [row for row in by_fold if row["corpus"] == corpus]
        clips = sum(row["clips"] for row in rows)
        accuracy.append(
            {
                "left_out": f"{corpus}, speakers in {FOLDS} groups",
                "clips": clips,
                "speakers": sum(row["speakers"] for row in rows),
                "accuracy": sum(row["accuracy"] * row["clips"] for row in rows) / clips,
                "macro_f1": float(np.mean([row["macro_f1"] for row in rows])),
                "ece": float(np.mean([row["ece"] for row in rows])),
            }
        )
    return accuracy


def _rejection(judged: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Lay out how each score told digits from words left out, as a mean of the groups."""
    folds = [judged[f"pooled:{fold}"] for fold in range(FOLDS)]
    return [
        {
            "score": name,
            "auroc": float(np.mean([fold["rejection"]["compared"][name][0] for fold in folds])),
            "eer": float(np.mean([fold["rejection"]["compared"][name][1] for fold in folds])),
        }
        for name in folds[0].get("rejection", {}).get("compared", {})
    ]


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("clips", "speakers", "accuracy", "macro_f1", "ece")}


def _by_digit(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recall of each digit by corpus, over all folds together."""
    table: list[dict[str, Any]] = []
    for corpus in sorted({row["corpus"] for row in rows}):
        confusion = sum(np.array(row["confusion"]) for row in rows if row["corpus"] == corpus)
        for digit, counts in zip(DIGITS, np.asarray(confusion), strict=True):
            right = float(counts[int(digit)] / counts.sum()) if counts.sum() else None
            table.append(
                {"corpus": corpus, "digit": digit, "clips": int(counts.sum()), "recall": right}
            )
    return table


def _line(row: dict[str, Any]) -> str:
    return f"{row['corpus']} {row['accuracy']:.1%}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
