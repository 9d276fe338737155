"""The network for strings: from the corpora at hand to its file, and how well that file does.

What it is evaluated on was not trained on: the test speakers of a split of FSDD, one in five of the
speakers of Speech Commands, words as well as digits, and two noise recordings.
"""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.connected import Transcriber
from spoken_digits.lab.connected.network import StringNet, export_strings
from spoken_digits.lab.connected.phrases import (
    draw_voices,
    make_espeak_phrases,
    make_flite_festival_phrases,
)
from spoken_digits.lab.connected.strings import (
    LEVEL_RMS,
    DigitString,
    StringStyle,
    make_strings,
    read_words,
    score,
)
from spoken_digits.lab.connected.training import StringConfig, TrainingData, train_strings
from spoken_digits.lab.data.corpora import DIGITS, Clip, data_hash, read_corpus, read_synthetic
from spoken_digits.lab.data.noise import read_noise
from spoken_digits.lab.data.pooled import is_held_out, noise_partition
from spoken_digits.lab.data.splits import one_split
from spoken_digits.lab.evaluation.schema import (
    Delay,
    FalseDigits,
    RunEvaluation,
    StringsEvaluation,
    StringsScore,
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
    "ALL_SPEAKERS",
    "TEST_STYLE",
    "StringsConfig",
    "describe_models",
    "evaluate_transcriber",
    "evaluation_clips",
    "export_run",
    "hash_strings",
    "prepare_strings",
    "run_strings",
]

FloatArray = NDArray[np.float32]

ALL_SPEAKERS = "all"  # in place of a split: every speaker of FSDD is trained on
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
TEST_STYLE = StringStyle(min_digits=4, max_digits=7)
STRINGS_PER_SPEAKER = 100
PHRASE_VOICES = 90
READER_STRINGS, READER_SENTENCES = 60, 15  # of each: flite and festival have few voices
# Of the recordings that the most frequent digit has: a digit with fewer would repeat its few
# recordings in a tenth of all positions.
_MIN_FRACTION = 0.1
_PAUSE_S = 0.5  # between words that are no digits
_CHUNK_S = 0.01  # that a stream is fed at once, when delay is measured
_DELAYED = slice(0, None, 4)  # strings on which delay is measured
_BACKGROUND = 1e-3  # RMS of the noise between words, over that of the words
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


def evaluation_clips(split: str | None, data: Path | str | None = None) -> tuple[Clip, ...]:
    """Return the digits that test strings are made of, of speakers that were not trained on.

    Those of the split's test speakers; without a split, of the held-out speakers of Speech
    Commands.
    """
    if split and split != ALL_SPEAKERS:
        return one_split(split, read_corpus("fsdd", data)).test
    clips = read_corpus("speech_commands", data)
    return tuple(c for c in clips if is_held_out(c.speaker) and c.label.isdecimal())


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
        transcriber, config.split, context.data, config.seed
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


@dataclass(frozen=True)
class Transcribed:
    """A string of a set (a speaker or a corpus): what was spoken, and what was transcribed."""

    name: str
    reference: str
    transcript: str


def _save_transcripts(path: Path, transcripts: Sequence[Transcribed]) -> None:
    """Write an .npz file of three arrays (N,) of strings: names, references, transcripts."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=np.array([each.name for each in transcripts], np.str_),
        references=np.array([each.reference for each in transcripts], np.str_),
        transcripts=np.array([each.transcript for each in transcripts], np.str_),
    )
    write_whole(path, buffer.getvalue())


def evaluate_transcriber(
    transcriber: Transcriber,
    split: str | None = None,
    data: Path | str | None = None,
    seed: int = 0,
) -> tuple[StringsEvaluation, tuple[Transcribed, ...]]:
    """Evaluate a model file on strings, delay and false digits.

    Parameters
    ----------
    transcriber
        The model.
    split
        Split of FSDD whose test speakers' strings are transcribed, beside those of Speech Commands.
    data
        Folder of corpora with FSDD and Speech Commands.
    seed
        Key of the strings.

    Returns
    -------
    The evaluation, and every string that it rests on.
    """
    by_speaker = _strings_of_speakers(split, data, seed)
    sets = by_speaker | {"speech_commands": _strings_of_crowd(data, seed)}
    transcribed: list[Transcribed] = []
    delays_ms: list[float] = []
    for name, strings in sets.items():
        found = [
            Transcribed(name, string.digits, transcriber(string.samples, SAMPLE_RATE).digits)
            for string in strings
        ]
        transcribed += found
        for string, each in list(zip(strings, found, strict=True))[_DELAYED]:
            if each.transcript == each.reference:
                delays_ms += measure_delays_ms(transcriber, string)
    scores = {name: _score([t for t in transcribed if t.name == name]) for name in sets}
    if by_speaker:
        scores["all of the split"] = _score([t for t in transcribed if t.name in by_speaker])
    evaluation = StringsEvaluation(
        strings=scores,
        delay_ms=_summarize_delays(delays_ms),
        false_digits=_false_digits(transcriber, data),
    )
    return evaluation, tuple(transcribed)


def _strings_of_speakers(
    split: str | None, data: Path | str | None, seed: int
) -> dict[str, list[DigitString]]:
    """Make strings of each test speaker's digits; none without a split."""
    if not split or split == ALL_SPEAKERS:
        return {}
    spoken = read_words(evaluation_clips(split, data))
    return {
        speaker: make_strings(
            [s for s in spoken if s.speaker == speaker], STRINGS_PER_SPEAKER, TEST_STYLE, seed
        )
        for speaker in sorted({s.speaker for s in spoken})
    }


def _strings_of_crowd(data: Path | str | None, seed: int) -> list[DigitString]:
    """Make strings of digits of all held-out speakers of Speech Commands, who have few each."""
    clips = evaluation_clips(None, data)
    counts = Counter(clip.label for clip in clips)
    min_clips = _MIN_FRACTION * max(counts.values(), default=0)
    crowd = [
        DigitString(s.samples, s.digits, s.starts, s.ends, "crowd", s.corpus)
        for s in read_words(clip for clip in clips if counts[clip.label] >= min_clips)
    ]
    return make_strings(crowd, STRINGS_PER_SPEAKER, TEST_STYLE, seed)


def _score(transcribed: Sequence[Transcribed]) -> StringsScore:
    found = score([t.reference for t in transcribed], [t.transcript for t in transcribed])
    return StringsScore(
        strings=found.strings,
        digits=found.digits,
        insertions=found.insertions,
        deletions=found.deletions,
        substitutions=found.substitutions,
        whole=found.whole,
        digit_error=found.digit_error,
        whole_right=found.whole / max(found.strings, 1),
    )


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


def measure_delays_ms(transcriber: Transcriber, string: DigitString) -> list[float]:
    """Feed a string in chunks of 10 ms: the time from each digit's end until it is emitted, in ms.

    Negative where a digit is emitted, as one that may still change, before it has ended.
    """
    chunk = round(_CHUNK_S * SAMPLE_RATE)
    stream = transcriber.stream()
    emitted: list[int] = []  # samples that had been fed
    final = 0
    samples = np.pad(string.samples, (0, SAMPLE_RATE))
    for begin in range(0, len(samples), chunk):
        update = stream.feed(samples[begin : begin + chunk])
        final += len(update.segments)
        while len(emitted) < final + (update.partial is not None):
            emitted.append(begin + chunk)
    pairs = zip(emitted, string.ends, strict=False)
    return [float(1000 * (now - end) / SAMPLE_RATE) for now, end in pairs]


def _summarize_delays(delays_ms: Sequence[float]) -> Delay | None:
    if not delays_ms:
        return None
    return Delay(
        count=len(delays_ms),
        median=float(np.median(delays_ms)),
        p95=float(np.percentile(delays_ms, 95)),
        max=float(np.max(delays_ms)),
    )


def _false_digits(transcriber: Transcriber, data: Path | str | None) -> dict[str, FalseDigits]:
    """Transcribe words that are no digits, and noise, all held out."""
    words = [
        clip
        for clip in read_corpus("speech_commands", data)
        if is_held_out(clip.speaker) and not clip.label.isdecimal()
    ]
    pause = round(_PAUSE_S * SAMPLE_RATE)
    said = np.concatenate([np.pad(s.samples, (0, pause)) for s in read_words(words)])
    rng = np.random.default_rng(0)
    said = said + (_BACKGROUND * LEVEL_RMS * rng.standard_normal(len(said))).astype(np.float32)
    sounds = {f"{len(words)} words": said}
    held_out = noise_partition("pooled:xsdr", data)[1]
    sounds |= {file.stem: read_noise(file) for file in held_out}
    return {name: count_false_digits(transcriber, samples) for name, samples in sounds.items()}


def count_false_digits(transcriber: Transcriber, samples: FloatArray) -> FalseDigits:
    """Transcribe samples (L,) without digits in them."""
    digits = transcriber(samples, SAMPLE_RATE).digits
    seconds = len(samples) / SAMPLE_RATE
    return FalseDigits(digits, seconds, per_hour=3600 * len(digits) / seconds)
