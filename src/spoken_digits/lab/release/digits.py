"""The recognizer that ships: trained on the pooled set, evaluated on what its split holds out.

One recipe, `recipes/shipped.toml`, from a folder of corpora to one file; the same recipe with a
corpus, speakers, words and noise recordings held out estimates its accuracy on new ones. What is
evaluated is the exported file, on recordings as a user has them: degradations are applied to the
recording, before its endpoints are found.

Shapes: N clips, C classes, L samples.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from spoken_digits.audio import SAMPLE_RATE, find_speech, read_audio, resample, to_clip
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.data.corpora import (
    DIGITS,
    Clip,
    CorpusError,
    data_hash,
    find_corpus,
    read_corpus,
)
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import SYNTHETIC, partition, pooled_set, read_pooled
from spoken_digits.lab.evaluation.metrics import Predictions, expected_calibration_error
from spoken_digits.lab.evaluation.rejection import evaluate_rejection, score_clips
from spoken_digits.lab.evaluation.schema import (
    CalibrationError,
    Condition,
    ConditionResult,
    RejectionResult,
    RunEvaluation,
    save_result,
)
from spoken_digits.lab.export import ExportError, export, quantize
from spoken_digits.lab.release.excerpts import make_excerpts
from spoken_digits.lab.release.oh import LABELS, add_oh
from spoken_digits.lab.runs import RunContext, write_environment, write_whole
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.supervised import load_network, resolve_device, train
from spoken_digits.lab.tts.espeak import ALL_VOICES, make_voices
from spoken_digits.lab.tts.kokoro import Kokoro
from spoken_digits.lab.weights import read_weights
from spoken_digits.probability import sigmoid
from spoken_digits.recognize import Recognizer

__all__ = [
    "CONDITIONS",
    "SNR_DB",
    "evaluate_recognizer",
    "hash_pooled",
    "prepare_pooled",
    "run_pooled",
    "ship",
]

FloatArray = NDArray[np.float32]
Degradation = Callable[[FloatArray, np.random.Generator], FloatArray]

VOICE_TAKES, VOICE_OOV_WORDS = 4, 40  # of every TTS voice: takes of a digit, OOV words
CLIPS_DEGRADED = 600  # recordings of each corpus that a degraded condition is measured on
SNR_DB = (20, 10, 5, 0)
TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)  # at which calibration is measured
_PADDING = SAMPLE_RATE // 5  # samples on either side, with reverberation or noise alone
_TELEPHONE_HZ = (300.0, 3400.0)
_TELEPHONE_PEAK = 0.25  # -12 dBFS
_HISS_SNR_DB = 40.0


def run_pooled(config: TrainConfig, context: RunContext) -> RunEvaluation:
    """Train on the pooled set, export in 32 and in 8 bits, and evaluate both files.

    The file of 32 bits is evaluated on degraded recordings as well.

    Raises
    ------
    CorpusError
        When neither FSDD nor Speech Commands is at hand.
    SplitError
        When there is no such split.
    ImportError
        Without the extra `synth`, where the synthetic speech has not been made before.
    """
    pooled = pooled_set(
        config.split,
        context.cache,
        context.data,
        _voices(context),
        config.oov_fraction,
        config.seed,
    )
    if (context.directory / "model.safetensors").exists():
        _, net = load_network(context.directory)
    else:
        net = train(
            config,
            pooled.dataset,
            pooled.indices,
            context.directory,
            quiet=context.quiet,
            probabilities=pooled.probabilities,
            background=pooled.background,
        )
    if config.oov_fraction and net.head.out_features == len(DIGITS) + 1:
        net = add_oh(config, net, [*pooled.clips, *_read_excerpts(context)], context.cache)
        write_whole(context.directory / "model.safetensors", save(net.state_dict()))
    write_environment(
        context,
        "pooled",
        pooled.describe(),
        labels=LABELS if config.oov_fraction else DIGITS,
        device=resolve_device(config.device).type,
        parameters=sum(p.numel() for p in net.parameters()),
    )
    model = export(context.directory)
    recognizer = Recognizer(model, threshold=0)
    tests, rejection, calibration = evaluate_recognizer(
        recognizer, pooled.test, context.directory, pooled.test_noises, config.seed
    )
    if tests and (small := _quantized(model)):
        recognizer = Recognizer(small, threshold=0)
        more, more_rejection, _ = evaluate_recognizer(recognizer, pooled.test, context.directory)
        tests, rejection = [*tests, *more], [*rejection, *more_rejection]
    return RunEvaluation("pooled", tuple(tests), None, tuple(rejection), tuple(calibration))


def hash_pooled(config: TrainConfig, context: RunContext) -> str:
    """Return one SHA-256 of the recordings that a run trains on."""
    clips = _read(context.data, _voices(context), oov=config.oov_fraction > 0)
    return data_hash(partition(config.split, clips)[0])


@lru_cache(maxsize=2)
def _read(data: Path | None, voices: Path, oov: bool) -> tuple[Clip, ...]:
    """Read all clips once a process: their checksums, too, are then computed once."""
    return tuple(read_pooled(data, voices, oov))


def prepare_pooled(_: TrainConfig, context: RunContext) -> None:
    """Make synthetic speech and excerpts, unless made before; about a minute each."""
    _voices(context)
    _excerpts(context)


def _voices(context: RunContext) -> Path:
    folder = context.cache / "voices"
    if not folder.exists():
        _say(f"making {len(ALL_VOICES)} TTS voices, once; about a minute")
        make_voices(folder, ALL_VOICES, takes=VOICE_TAKES, oov_words=VOICE_OOV_WORDS, oh=True)
    return folder


def _excerpts(context: RunContext) -> Path:
    folder = context.cache / "excerpts"
    if not folder.exists():
        try:
            engine = Kokoro()
        except CorpusError as error:
            _say(f'WARNING: "oh" without Kokoro: {error}')
            engine = None
        _say("cutting excerpts, once; about a minute, with Kokoro ten")
        name = "speech_commands"
        known = read_corpus(name, context.data) if find_corpus(name, context.data) else ()
        words = {clip.label for clip in known} - {*DIGITS}
        make_excerpts(folder, context.data, words, engine)
    return folder


def _read_excerpts(context: RunContext) -> list[Clip]:
    """Read what "oh" is learned from beside the pooled set, each folder as a corpus."""
    folders = sorted(_excerpts(context).iterdir())
    return [replace(clip, corpus=f.name) for f in folders for clip in read_corpus(f)]


def ship(directory: Path, output: Path | str) -> Path:
    """Export a run to `output`, and its weights beside it, to be fine-tuned from.

    The weights (.safetensors) carry their recipe in their header.
    """
    path = export(directory, output)
    weights = read_weights(directory / "model.safetensors").tensors
    recipe = (directory / "config.toml").read_text(encoding="utf-8")
    write_whole(path.with_suffix(".safetensors"), save(weights, {"config": recipe}))
    return path


def _quantized(model: Path) -> Path | None:
    """Write a model in 8 bits beside it; None, with a warning, where its answers would differ."""
    small = model.with_name("digits-int8.onnx")
    try:
        write_whole(small, quantize(model.read_bytes()))
    except ExportError as error:
        _say(f"{model.parent.name}, int8 left out: {error}")
        return None
    return small


def evaluate_recognizer(
    recognizer: Recognizer,
    test: Sequence[Clip],
    directory: Path,
    test_noises: Sequence[Path] | None = None,
    seed: int = 0,
) -> tuple[list[ConditionResult], list[RejectionResult], list[CalibrationError]]:
    """Evaluate a model on recordings held out: clean, degraded, and against other words.

    Parameters
    ----------
    recognizer
        The model, exported.
    test
        Recordings held out; synthetic speech among them is not used.
    directory
        Where predictions are saved.
    test_noises
        Noise recordings held out, to degrade recordings with; None for clean recordings alone.
    seed
        Key of which recordings are degraded, and of how.

    Returns
    -------
    Results by corpus and condition; rejection where out-of-vocabulary words were held out;
    calibration over temperatures. Empty where nothing was held out.
    """
    precision = recognizer.metadata.get("precision", "float32")
    suffix = "" if precision == "float32" else f"-{precision}"
    tests: list[ConditionResult] = []
    calibration: list[CalibrationError] = []

    def add(clips: Sequence[Clip], scores: FloatArray, condition: Condition) -> Predictions:
        predictions = Predictions.of(clips, scores, recognizer.labels)
        file = f"predictions-{clips[0].corpus}-{condition.name}{suffix}.npz"
        if not tests and not suffix:
            file = "predictions.npz"
        tests.append(
            save_result(directory, file, predictions, clips[0].corpus, condition, precision)
        )
        return predictions

    digits = [clip for clip in test if clip.label in DIGITS]
    for corpus in sorted({clip.corpus for clip in digits} - {*SYNTHETIC}):
        clips = [clip for clip in digits if clip.corpus == corpus]
        recordings = [resample(*read_audio(clip.file)) for clip in clips]
        predictions = add(clips, _scores(recognizer, recordings), Condition("clean"))
        calibration += [
            CalibrationError(
                corpus,
                temperature,
                expected_calibration_error(predictions.scores / temperature, predictions.labels),
            )
            for temperature in TEMPERATURES
        ]
        if test_noises is not None:
            for condition, chosen, changed in _degraded(clips, recordings, test_noises, seed):
                add(chosen, _scores(recognizer, changed), condition)
    return tests, _rejection(recognizer, test, precision), calibration


def _scores(recognizer: Recognizer, recordings: Iterable[FloatArray]) -> FloatArray:
    clips = (to_clip(samples, SAMPLE_RATE) for samples in recordings)
    return np.concatenate([recognizer.run(clip[None]) for clip in clips])


def _rejection(
    recognizer: Recognizer, test: Sequence[Clip], precision: str
) -> list[RejectionResult]:
    corpus = "speech_commands"
    clips = [clip for clip in test if clip.corpus == corpus]
    words = sorted({clip.label for clip in clips} - {*DIGITS})
    if not words or not recognizer.rejects:
        return []
    digits = [clip for clip in clips if clip.label in DIGITS]
    others = [clip for clip in clips if clip.label not in DIGITS]
    scored = score_clips(recognizer, [*digits, *others])
    threshold = float(sigmoid(recognizer.decision.rejection_threshold))  # the file's own
    evaluated = evaluate_rejection(scored, threshold)
    return [RejectionResult(corpus, tuple(words), evaluated, precision)]


def _degraded(
    clips: Sequence[Clip], recordings: Sequence[FloatArray], test_noises: Sequence[Path], seed: int
) -> Iterator[tuple[Condition, list[Clip], list[FloatArray]]]:
    """Yield each condition, with the clips that were chosen and their degraded recordings."""
    rng = np.random.default_rng([seed, 5])
    # As many of each digit, where a corpus has many of some and few of others.
    chosen: list[int] = []
    for digit in DIGITS:
        there = [i for i, clip in enumerate(clips) if clip.label == digit]
        take = min(len(there), CLIPS_DEGRADED // len(DIGITS))
        chosen += rng.choice(there, take, replace=False).tolist()
    conditions = dict(CONDITIONS)
    noises = [read_noise(file, rms=1.0) for file in test_noises]
    for snr_db in SNR_DB if noises else ():
        conditions[Condition("recorded", snr_db)] = in_noise(noises, snr_db)
    for condition, degrade in conditions.items():
        # The same draws for every condition: what differs is the condition alone.
        draws = np.random.default_rng([seed, 6])
        changed = [degrade(recordings[i], draws) for i in chosen]
        yield condition, [clips[i] for i in chosen], changed


def _batch(samples: FloatArray) -> tuple[Tensor, Tensor]:
    """Return a recording (L,) as a batch of one (1, L), with its length (1,)."""
    return torch.from_numpy(np.asarray(samples, np.float32))[None], torch.tensor([len(samples)])


def _array(waveform: Tensor) -> FloatArray:
    return np.asarray(waveform[0].numpy(), np.float32)


def _add_noise(samples: FloatArray, padding: int, noise: FloatArray, snr_db: float) -> FloatArray:
    """Pad a recording with zeros, and add noise to all of it: (L,) to (L + 2 padding,).

    The signal's power is that of the speech in the recording, between its endpoints.
    """
    start, stop = find_speech(samples)
    speech = samples[start:stop].astype(np.float64)
    waveform, lengths = _batch(np.pad(samples, padding))
    power = float(waveform.double().square().mean())
    # `add_noise` measures the signal over the whole clip.
    ratio_db = snr_db - 10 * np.log10(max((speech**2).mean(), 1e-20) / max(power, 1e-20))
    snr = torch.tensor([ratio_db], dtype=torch.float32)
    return _array(waveforms.add_noise(waveform, lengths, _batch(noise)[0], snr))


def in_noise(noises: Sequence[FloatArray], snr_db: float) -> Degradation:
    """Add a random stretch of one of the noises, beginning 0.2 s before and ending 0.2 s after."""

    def degrade(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
        length = len(samples) + 2 * _PADDING
        noise = noises[int(rng.integers(len(noises)))]
        start = int(rng.integers(0, len(noise) - length))
        return _add_noise(samples, _PADDING, noise[start : start + length], snr_db)

    return degrade


def _in_room(rt60_s: float, direct_to_reverberant_db: float) -> Degradation:
    """Add the reverberation of a made room; the recording grows by its tail."""

    def degrade(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        response = waveforms.make_responses(
            generator, torch.tensor([rt60_s]), torch.tensor([direct_to_reverberant_db])
        )
        tail = _PADDING + response.shape[1]
        return _array(waveforms.reverberate(*_batch(np.pad(samples, (_PADDING, tail))), response))

    return degrade


def _telephone(samples: FloatArray, _rng: np.random.Generator) -> FloatArray:
    """300 to 3,400 Hz, then 8 bits of mu-law at -12 dBFS."""
    low_hz, high_hz = (torch.tensor([f_hz]) for f_hz in _TELEPHONE_HZ)
    waveform, lengths = _batch(samples)
    waveform = waveforms.limit_bandwidth(waveform, lengths, high_hz)
    waveform = waveforms.reject_band(waveform, lengths, torch.tensor([-SAMPLE_RATE / 2]), low_hz)
    waveform = waveform * (_TELEPHONE_PEAK / waveform.abs().max().clamp_min(1e-9))
    return _array(waveforms.compand(waveform))


def _clipped(below_peak_db: float) -> Degradation:
    """Clip at a level below the peak."""

    def degrade(samples: FloatArray, _rng: np.random.Generator) -> FloatArray:
        waveform, _ = _batch(samples)
        level = waveform.abs().amax(1) * 10 ** (-below_peak_db / 20)
        return _array(waveforms.clip_level(waveform, level))

    return degrade


def _padded(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """One second of faint white noise on either side, 40 dB below the speech."""
    noise = rng.standard_normal(len(samples) + 2 * SAMPLE_RATE).astype(np.float32)
    return _add_noise(samples, SAMPLE_RATE, noise, _HISS_SNR_DB)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


CONDITIONS: dict[Condition, Degradation] = {
    Condition("undegraded"): lambda samples, _: samples,
    Condition("padded"): _padded,
    Condition("room", 0.3): _in_room(0.3, 3.0),
    Condition("room", 0.6): _in_room(0.6, 0.0),
    Condition("telephone"): _telephone,
    Condition("clipped", 15.0): _clipped(15.0),
}
