"""The network for strings: from the corpora at hand to its file, which is then evaluated."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from spoken_digits.audio import resample
from spoken_digits.connected import Transcriber
from spoken_digits.lab.augmentation.handling import HANDLING_NOISES
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
    make_kokoro_phrases,
)
from spoken_digits.lab.connected.strings import LEVEL_RMS, DigitString, read_words
from spoken_digits.lab.connected.training import StringConfig, TrainingData, train_strings
from spoken_digits.lab.data.corpora import DIGITS, Clip, data_hash, read_corpus, read_synthetic
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import FOLDS, is_held_out, noise_partition
from spoken_digits.lab.data.splits import UTTERANCE_FOLDS, one_split, utterance_folds
from spoken_digits.lab.data.utterances import (
    READERS,
    WORD_DIGITS,
    TranscribedUtterance,
    read_samples,
    read_utterances,
)
from spoken_digits.lab.evaluation.schema import RunEvaluation
from spoken_digits.lab.runs import (
    CorpusCounts,
    DataRecord,
    RunContext,
    commit,
    write_environment,
    write_whole,
)
from spoken_digits.lab.training.config import ConfigError, TomlConfig
from spoken_digits.lab.tts.flite_festival import FLITE_FESTIVAL_VOICES
from spoken_digits.lab.tts.kokoro import KOKORO_VOICES, Kokoro, KokoroVoice, draw_mixtures
from spoken_digits.lab.tts.texts import labels_of
from spoken_digits.lab.weights import read_weights
from spoken_digits.spotting import LABELS, Decoding

__all__ = [
    "StringsConfig",
    "describe_models",
    "export_run",
    "handling_trained_on",
    "hash_strings",
    "prepare_strings",
    "run_strings",
    "words_left_out",
]

FloatArray = NDArray[np.float32]

NO_FLUENT = "none"
# Chosen by benchmarks/decoding.py; the times and the threshold of words: see EXPERIMENTS.md.
DECODING = Decoding(
    emission_threshold=2.0,
    word_threshold=2.0,
    other_weight=0.0,
    min_step_probability=0.1,
    number_before_s=0.35,
    number_after_s=0.7,
    double_s=1.0,
    context_penalty=3.0,
    context_s=2.0,
    context_bonus=3.0,
    min_score=-0.5,
)
HANDLING_HOURS = 0.1  # of each kind, after a training; `strings score` takes an hour
PHRASE_VOICES = 90
READER_STRINGS, READER_SENTENCES = 60, 15  # of each: flite and festival have few voices
_MIXTURES_SEED = 11
_NAMED = ("fsdd", "an4")  # corpora whose training speakers a file names
_LICENCE = (
    "CC BY-SA 4.0, as FSDD and WUW II, which it is trained on, with Speech Commands (CC BY 4.0), "
    "AN4 (free for any purpose, with its notice) and synthetic speech"
)


@dataclass(frozen=True)
class StringsConfig(StringConfig, TomlConfig):
    """What a network of strings is made of: the keys of `StringConfig`, and more.

    Attributes
    ----------
    split
        Split of FSDD whose training speakers are trained on; ``all`` for all six.
    fluent
        Whether fluent recordings of people (AN4, WUW II), other words of Speech Commands and
        handling noise are trained on as well: ``none``; ``all``; or ``0`` to ``4``, all but the
        people and calls of that fold, a third of the words, and one kind of handling noise.
    kokoro
        Groups of three TTS voices of Kokoro that speak seven phrases each, 54 at most; 0 for none.
    spelled, made_up
        Spellings, 3 to 9 letters each, and groups of single words, most of them made up, by every
        voice of espeak-ng.
    initial
        Run directory of the network that training begins from; "" for random weights.
    """

    split: str = ALL_SPEAKERS
    fluent: str = NO_FLUENT
    kokoro: int = 0
    spelled: int = 0
    made_up: int = 0
    initial: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        folds = [*map(str, range(UTTERANCE_FOLDS))]
        if self.fluent not in (NO_FLUENT, ALL_SPEAKERS, *folds):
            raise ConfigError(
                f"fluent = {self.fluent!r}: expected {NO_FLUENT}, {ALL_SPEAKERS}, or a fold that "
                f"is left out, {', '.join(folds)}"
            )


@lru_cache(maxsize=2)
def _training_clips(split: str, fluent: str, data: Path | None) -> tuple[Clip, ...]:
    """Read single words to train on: FSDD, Speech Commands, synthetic speech."""
    recorded = read_corpus("fsdd", data)
    if split != ALL_SPEAKERS:
        recorded = one_split(split, recorded).train
    others = [c for c in read_corpus("speech_commands", data) if not is_held_out(c.speaker)]
    if fluent == NO_FLUENT:
        others = [c for c in others if c.label in DIGITS]
    elif fluent != ALL_SPEAKERS:
        words = held_out_words(fluent, data)
        others = [c for c in others if c.label not in words]
    return (*recorded, *others, *read_synthetic())


def held_out_words(fold: str, data: Path | str | None = None) -> tuple[str, ...]:
    """Return the other words of Speech Commands that a fold leaves out, one in three."""
    clips = read_corpus("speech_commands", data)
    words = sorted({clip.label for clip in clips} - {*DIGITS})
    return tuple(words[int(fold) % FOLDS :: FOLDS])


def words_left_out(fluent: str, data: Path | str | None = None) -> tuple[str, ...] | None:
    """Return the other words to evaluate a run on: those of its fold; None for all."""
    return None if fluent in (NO_FLUENT, ALL_SPEAKERS) else held_out_words(fluent, data)


def held_out_handling(fold: str) -> str:
    """Return the kind of handling noise that a fold leaves out."""
    names = sorted(HANDLING_NOISES)
    return names[int(fold) % len(names)]


def handling_trained_on(fluent: str) -> tuple[str, ...]:
    """Return the kinds of handling noise that a run is trained on."""
    if fluent == NO_FLUENT:
        return ()
    held_out = () if fluent == ALL_SPEAKERS else (held_out_handling(fluent),)
    return tuple(kind for kind in HANDLING_NOISES if kind not in held_out)


def evaluation_split(config: StringsConfig) -> str:
    """Return the names of what a run leaves out, for `evaluation.evaluate_transcriber`."""
    names = [] if config.fluent in (NO_FLUENT, ALL_SPEAKERS) else READERS
    return ",".join([config.split, *(f"{name}:{config.fluent}" for name in names)])


@lru_cache(maxsize=2)
def _training_utterances(fluent: str, data: Path | None) -> tuple[TranscribedUtterance, ...]:
    """Read the fluent recordings of people that are trained on."""
    if fluent == NO_FLUENT:
        return ()
    corpora = [read_utterances(name, data) for name in READERS]
    if fluent == ALL_SPEAKERS:
        return tuple(each for corpus in corpora for each in corpus)
    folds = [utterance_folds(corpus)[int(fluent)] for corpus in corpora]
    return tuple(each for fold in folds for each in fold.train)


def hash_strings(config: StringsConfig, context: RunContext) -> str:
    """Return one SHA-256 of the recordings that a run trains on."""
    return data_hash(_recordings(config, context))


def _recordings(
    config: StringsConfig, context: RunContext
) -> tuple[Clip | TranscribedUtterance, ...]:
    return (
        *_training_clips(config.split, config.fluent, context.data),
        *_training_utterances(config.fluent, context.data),
    )


def prepare_strings(config: StringsConfig, context: RunContext) -> None:
    """Make the phrases of synthetic speech in the cache that runs share."""
    _phrases(config, context)


def _phrases(config: StringsConfig, context: RunContext) -> list[DigitString]:
    voices = draw_voices(PHRASE_VOICES, config.seed)
    phrases = make_espeak_phrases(
        voices, context.cache, spelled=config.spelled, made_up=config.made_up, seed=config.seed
    ) + make_flite_festival_phrases(
        context.cache,
        FLITE_FESTIVAL_VOICES,
        strings=READER_STRINGS,
        sentences=READER_SENTENCES,
        seed=config.seed,
    )
    for group, seed in kokoro_groups(config.kokoro):
        phrases += make_kokoro_phrases(
            _kokoro, context.cache, group, strings=3, sentences=1, mixed=2, words=1, seed=seed
        )
    return phrases


@lru_cache(maxsize=1)
def _kokoro() -> Kokoro:
    return Kokoro()


def kokoro_groups(count: int) -> list[tuple[list[KokoroVoice], int]]:
    """Return groups of three voices of Kokoro that speak phrases, and the seed of each group.

    A group's phrases are one file of the cache: a synthesis in real time that is killed loses a
    minute. First come the published voices, then mixtures of two, women and men in turn.
    """
    mixtures = draw_mixtures(2 * len(KOKORO_VOICES), _MIXTURES_SEED)
    halves = [(*KOKORO_VOICES[half::2], *mixtures[half::2]) for half in (0, 1)]
    groups = []
    for index in range(count):
        row, half = divmod(index, 2)
        voices = list(halves[half][3 * row : 3 * row + 3])
        groups.append((voices, 30 * row + half))
    return groups


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

    _train(config, context)
    transcriber = Transcriber(export_run(context.directory))
    evaluation, transcripts = evaluate_transcriber(
        at_thresholds(transcriber.network),
        evaluation_split(config),
        context.data,
        config.seed,
        hours=HANDLING_HOURS,
        thresholds=THRESHOLDS,
        streaming=transcriber,
        words=words_left_out(config.fluent, context.data),
        handling_seen=handling_trained_on(config.fluent),
    )
    _save_transcripts(context.directory / "predictions.npz", transcripts)
    return RunEvaluation("strings", strings=evaluation)


def _train(config: StringsConfig, context: RunContext) -> None:
    """Train, unless an earlier call has; record what was trained on."""
    clips = _training_clips(config.split, config.fluent, context.data)
    utterances = _training_utterances(config.fluent, context.data)
    phrases = _phrases(config, context)
    model = context.directory / "model.safetensors"
    if not model.exists():
        spoken = read_words(clips)
        fluent = [(each.content, read_fluent(each)) for each in utterances]
        handling = {kind: HANDLING_NOISES[kind] for kind in handling_trained_on(config.fluent)}
        training = TrainingData(
            [s for s in spoken if s.digits],
            phrases,
            [s for s in spoken if not s.digits],
            [read_noise(file) for file in noise_partition("pooled:xsdr", context.data)[0]],
            [string for content, string in fluent if content != "none"],
            [string for content, string in fluent if content == "none"],
            list(handling.values()),
        )
        initial = _read_initial(config.initial) if config.initial else None
        net = train_strings(training, config, context.directory, context.quiet, initial)
        write_whole(model, save(net.state_dict()))
        (context.directory / "checkpoint.safetensors").unlink(missing_ok=True)
    _write_environment(config, context, clips, utterances, len(phrases))


def _read_initial(directory: str) -> dict[str, Tensor]:
    """Read the weights that training begins from."""
    file = Path(directory, "model.safetensors")
    if not file.is_file():
        raise ConfigError(
            f"initial = {directory!r}: no {file.name} in it, expected a finished run of strings; "
            "train strings-base first, or name its run directory with --initial"
        )
    return read_weights(file).tensors


def read_fluent(utterance: TranscribedUtterance) -> DigitString:
    """Read a fluent recording as training takes it: at 8 kHz, its words known, not their times.

    Raises
    ------
    AudioError
        When it cannot be read.
    """
    samples, sample_rate = read_samples(utterance)
    sound = resample(samples - samples.mean(), sample_rate)
    sound *= LEVEL_RMS / max(float(np.sqrt((sound**2).mean())), 1e-9)
    n = len(utterance.digits)
    return DigitString(
        sound, utterance.digits, np.zeros(n, np.int64), np.full(n, len(sound)),
        utterance.speaker, utterance.corpus, labels_of(utterance.words), np.zeros(n, bool),
    )  # fmt: skip


def _load(directory: Path) -> StringNet:
    net = StringNet()
    net.load_state_dict(read_weights(directory / "model.safetensors").tensors)
    return net.eval()


def _write_environment(
    config: StringsConfig,
    context: RunContext,
    clips: Sequence[Clip],
    utterances: Sequence[TranscribedUtterance],
    n_phrases: int,
) -> None:
    recordings: tuple[Clip | TranscribedUtterance, ...] = (*clips, *utterances)
    corpora = {}
    for name in sorted({each.corpus for each in recordings}):
        labels = [clip.label for clip in clips if clip.corpus == name]
        words = [word for each in utterances if each.corpus == name for word in each.words]
        digits = sum(label in DIGITS for label in labels) + sum(w in WORD_DIGITS for w in words)
        speakers = {each.speaker for each in recordings if each.corpus == name}
        corpora[name] = CorpusCounts(digits, len(labels) + len(words) - digits, len(speakers))
    record = DataRecord(
        clips=len(recordings),
        hash=data_hash(recordings),
        licence=_LICENCE,
        corpora=corpora,
        split=config.split,
        train_speakers=tuple(sorted({r.speaker for r in recordings if r.corpus in _NAMED})),
        tts_voices=tuple(voice.speaker for voice in FLITE_FESTIVAL_VOICES),
        phrases=n_phrases,
    )
    write_environment(
        context,
        "strings",
        record,
        labels=LABELS,
        device="cpu",
        parameters=sum(p.numel() for p in _load(context.directory).parameters()),
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
