"""The network for strings: from the corpora at hand to its file, which is then evaluated."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from spoken_digits.connected import Transcriber
from spoken_digits.lab.connected.evaluation import (
    ALL_SPEAKERS,
    THRESHOLDS,
    Transcribed,
    at_thresholds,
    evaluate_transcriber,
)
from spoken_digits.lab.connected.network import StringNet, export_strings
from spoken_digits.lab.connected.phrases import (
    draw_voices,
    make_espeak_phrases,
    make_flite_festival_phrases,
)
from spoken_digits.lab.connected.strings import (
    DigitString,
    read_words,
)
from spoken_digits.lab.connected.training import StringConfig, TrainingData, train_strings
from spoken_digits.lab.data.corpora import DIGITS, Clip, data_hash, read_corpus, read_synthetic
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import is_held_out, noise_partition
from spoken_digits.lab.data.splits import one_split
from spoken_digits.lab.evaluation.schema import (
    RunEvaluation,
)
from spoken_digits.lab.runs import (
    CorpusCounts,
    DataRecord,
    RunContext,
    commit,
    write_environment,
    write_whole,
)
from spoken_digits.lab.training.config import TomlConfig
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES
from spoken_digits.probability import log_odds
from spoken_digits.spotting import Decoding

__all__ = [
    "StringsConfig",
    "describe_models",
    "export_run",
    "hash_strings",
    "prepare_strings",
    "run_strings",
]

FloatArray = NDArray[np.float32]

# Not fitted yet to a network of these classes.
DECODING = Decoding(
    emission_threshold=float(log_odds(0.2)),
    word_threshold=0.0,
    other_weight=0.0,
    min_step_probability=0.1,
    min_overlap=0.5,
    settling_s=0.25,
    number_before_s=0.35,
    number_after_s=0.7,
    double_s=1.0,
)
HANDLING_HOURS = 0.1  # of each kind, after a training; `strings score` takes an hour
PHRASE_VOICES = 90
READER_STRINGS, READER_SENTENCES = 60, 15  # of each: flite and festival have few voices
_LICENCE = (
    "CC BY-SA 4.0, as FSDD, which it is trained on, with Speech Commands (CC BY 4.0) and synthetic "
    "speech"
)


@dataclass(frozen=True)
class StringsConfig(StringConfig, TomlConfig):
    """What a network of strings is made of: the keys of `StringConfig`, and one more.

    Attributes
    ----------
    split
        Split of FSDD whose training speakers are trained on; ``all`` for all six.
    """

    split: str = ALL_SPEAKERS


@lru_cache(maxsize=2)
def _training_clips(split: str, data: Path | None) -> tuple[Clip, ...]:
    """Read what is trained on: FSDD, Speech Commands, synthetic speech."""
    recorded = read_corpus("fsdd", data)
    if split != ALL_SPEAKERS:
        recorded = one_split(split, recorded).train
    others = (c for c in read_corpus("speech_commands", data) if not is_held_out(c.speaker))
    return (*recorded, *others, *read_synthetic())


def hash_strings(config: StringsConfig, context: RunContext) -> str:
    """Return one SHA-256 of the recordings that a run trains on."""
    return data_hash(_training_clips(config.split, context.data))


def prepare_strings(config: StringsConfig, context: RunContext) -> None:
    """Make the phrases of synthetic speech in the cache that runs share."""
    _phrases(config, context)


def _phrases(config: StringsConfig, context: RunContext) -> list[DigitString]:
    voices = draw_voices(PHRASE_VOICES, config.seed)
    return make_espeak_phrases(
        voices, context.cache, seed=config.seed
    ) + make_flite_festival_phrases(
        context.cache,
        FLITE_FESTIVAL_VOICES,
        strings=READER_STRINGS,
        sentences=READER_SENTENCES,
        seed=config.seed,
    )


def run_strings(config: StringsConfig, context: RunContext) -> RunEvaluation:
    """Train, export as `strings.onnx`, and evaluate the network.

    Raises
    ------
    CorpusError
        When a corpus, or a program of the TTS voices, is missing.
    ExportError
        When ONNX and torch disagree.
    ImportError
        Without the extra `synth`, or without jiwer.
    """
    import jiwer  # noqa: F401  # before the training, not after it

    clips = _training_clips(config.split, context.data)
    phrases = _phrases(config, context)
    net = _train(config, context, clips, phrases)
    _write_environment(config, context, clips, len(phrases), net)
    transcriber = Transcriber(export_run(context.directory))
    evaluation, transcripts = evaluate_transcriber(
        at_thresholds(transcriber.network),
        config.split,
        context.data,
        config.seed,
        hours=HANDLING_HOURS,
        thresholds=THRESHOLDS,
        streaming=transcriber,
    )
    _save_transcripts(context.directory / "predictions.npz", transcripts)
    return RunEvaluation("strings", strings=evaluation)


def _train(
    config: StringsConfig, context: RunContext, clips: Sequence[Clip], phrases: list[DigitString]
) -> StringNet:
    """Train, or load the network that an earlier call has finished in the run directory."""
    model = context.directory / "model.safetensors"
    if model.exists():
        return _load(context.directory)
    spoken = read_words(clips)
    noises = [read_noise(file) for file in noise_partition("pooled:xsdr", context.data)[0]]
    training = TrainingData(
        [s for s in spoken if s.digits], phrases, [s for s in spoken if not s.digits], noises
    )
    net = train_strings(training, config, context.directory, context.quiet)
    write_whole(model, save(net.state_dict()))
    (context.directory / "checkpoint.safetensors").unlink(missing_ok=True)
    return net


def _load(directory: Path) -> StringNet:
    net = StringNet()
    net.load_state_dict(load_file(directory / "model.safetensors"))
    return net.eval()


def _write_environment(
    config: StringsConfig,
    context: RunContext,
    clips: Sequence[Clip],
    n_phrases: int,
    net: StringNet,
) -> None:
    by_corpus = {name: [c for c in clips if c.corpus == name] for name in {c.corpus for c in clips}}
    record = DataRecord(
        clips=len(clips),
        hash=data_hash(clips),
        licence=_LICENCE,
        corpora={
            name: CorpusCounts(
                digits=sum(clip.label in DIGITS for clip in theirs),
                other_words=sum(clip.label not in DIGITS for clip in theirs),
                speakers=len({clip.speaker for clip in theirs}),
            )
            for name, theirs in sorted(by_corpus.items())
        },
        split=config.split,
        train_speakers=tuple(sorted({c.speaker for c in clips if c.corpus == "fsdd"})),
        tts_voices=tuple(voice.speaker for voice in FLITE_FESTIVAL_VOICES),
        phrases=n_phrases,
    )
    write_environment(
        context,
        "strings",
        record,
        labels=DIGITS,
        device="cpu",
        parameters=sum(p.numel() for p in net.parameters()),
    )


def export_run(directory: Path, output: Path | str | None = None) -> Path:
    """Write a finished run as ONNX, by default as ``strings.onnx`` in its folder.

    Raises
    ------
    ExportError
        When ONNX and torch disagree; nothing is written then.
    """
    path = Path(output) if output else directory / "strings.onnx"
    write_whole(path, _to_onnx(directory))
    return path


def _to_onnx(directory: Path) -> bytes:
    environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    config = StringsConfig.from_toml(directory / "config.toml")
    metadata = {
        **DECODING.to_metadata(),
        "recipe": json.dumps(asdict(config)),
        "training_data": json.dumps(environment["data"]),
        "licence": _LICENCE,
        "command": environment["command"],
        "commit": commit(),
    }
    return export_strings(_load(directory), metadata)


def _save_transcripts(path: Path, transcripts: Sequence[Transcribed]) -> None:
    """Write an .npz file of arrays (N,) of strings: names, speakers, references, transcripts."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=np.array([each.name for each in transcripts], np.str_),
        speakers=np.array([each.speaker for each in transcripts], np.str_),
        references=np.array([each.reference for each in transcripts], np.str_),
        transcripts=np.array([each.transcript for each in transcripts], np.str_),
    )
    write_whole(path, buffer.getvalue())


_ABOUT = (
    "training_data",
    "recipe",
    "parameters",
    "emission_threshold",
    "command",
    "commit",
    "version",
)


def describe_models(transcriber: Transcriber) -> dict[str, dict[str, str | None]]:
    """Return metadata of a transcriber's file, for the record of an evaluation."""
    return {"model": {key: transcriber.network.metadata.get(key) for key in _ABOUT}}
