"""Other recognizers beside ours: on the same recordings, in one process, in turns, on one thread.

Single digits of FSDD's test speakers and the digit strings of AN4, by `recognize` and `transcribe`,
by PocketSphinx 5 with a grammar, and by Whisper base with and without a prompt of the ten words
(`benchmarks.whisper`). Times compare within one run only.

Heavy imports stand inside the functions, as in `benchmarks.measures`.

Shapes: N recordings, L samples.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

OURS, SPHINX = "spoken-digits", "PocketSphinx 5"
WHISPER, WHISPER_PROMPTED = "Whisper base", "Whisper base, told the ten words"
LIMIT = "SPOKEN_DIGITS_BENCH_LIMIT"
MODELS = "SPOKEN_DIGITS_BENCH_MODELS"

Recognize = Callable[[Any, float], str]


@dataclass(frozen=True)
class Recording:
    """A recording, the digits in it, and the model of ours that is to recognize it."""

    file: Path
    digits: str
    speaker: str
    read: Callable[[], tuple[Any, float]]  # (L,) samples and their rate in Hz
    ours: Recognize


@dataclass(frozen=True)
class Answer:
    """The digits that a system gave, the time it took, and the length of the recording."""

    digits: str
    spent_s: float
    duration_s: float


@dataclass(frozen=True)
class System:
    """What one recognizer reached on one test set.

    Attributes
    ----------
    corpus, test_set, system
        What was recognized, and by what.
    subset
        Whether these recordings are some of another test set's.
    recordings, speakers, digits
        How many.
    insertions, deletions, substitutions
        Of digits, by the minimum edit distance.
    digit_error
        These over `digits`, 0 to 1.
    whole_right
        Recordings without an error over all, 0 to 1.
    mean_s
        Mean time a recording, in seconds.
    real_time_factor
        All time over the length of all recordings.
    difference, difference_interval
        Of a peer: the digit error of ours less its own, and the 95 % interval by a paired bootstrap
        over speakers; no interval where speakers are too few for one. None for ours.
    """

    corpus: str
    test_set: str
    subset: bool
    system: str
    recordings: int
    speakers: int
    digits: int
    insertions: int
    deletions: int
    substitutions: int
    digit_error: float
    whole_right: float
    mean_s: float
    real_time_factor: float
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None


def compare(smoke: bool) -> list[System]:
    """Recognize both test sets by all systems at hand.

    Raises
    ------
    ImportError
        Without jiwer, which the extras `score` and `bench` bring.
    """
    import jiwer  # noqa: F401  # before an hour of recognizing, not after it

    limit = 2 if smoke else int(os.environ.get(LIMIT, 0)) or None
    from_whisper = whispers()
    systems: list[System] = []
    for name, test_set in TEST_SETS.items():
        found = test_set(limit)
        if not found:
            print(f"skipped: {name} is not at hand", file=sys.stderr)
            continue
        title, recordings = found
        answers = in_turns(title, recordings, peers_of(name, from_whisper))
        systems += summarize(name, title, recordings, answers)
        # Whisper with a prompt tends to drop the second of two equal digits.
        repeated = [any(a == b for a, b in pairwise(each.digits)) for each in recordings]
        if any(repeated):
            systems += summarize(
                name,
                f"{title}: {sum(repeated)} of them with a repeated digit",
                list(compress(recordings, repeated)),
                {system: list(compress(given, repeated)) for system, given in answers.items()},
                subset=True,
            )
    return systems


def whispers() -> dict[str, Recognize]:
    """Return Whisper without and with a prompt; nothing, and a word why, where it is not at hand.

    Raises
    ------
    SystemExit
        When the folder that is named holds other files.
    """
    from benchmarks import whisper

    try:
        return whisper.load({WHISPER: None, WHISPER_PROMPTED: whisper.PROMPT})
    except whisper.NotAtHandError as error:
        print(f"skipped: {WHISPER}: {error}", file=sys.stderr)
        return {}
    except whisper.WeightsError as error:
        raise SystemExit(f"error: {error}") from error


def peers_of(name: str, from_whisper: Mapping[str, Recognize]) -> dict[str, Recognize]:
    """Return the peers for a test set, those that are at hand."""
    from benchmarks.whisper import PADDING_S
    from spoken_digits.lab.data.corpora import DIGIT_WORDS

    single = name == "fsdd"
    words = " | ".join(DIGIT_WORDS if single else [*DIGIT_WORDS, "oh"])
    peers: dict[str, Recognize] = {}
    try:
        peers[SPHINX] = pocketsphinx(f"({words})" if single else f"({words})+")
    except ModuleNotFoundError:
        why = "not installed: pip install 'spoken-digits[bench]'"
        print(f"skipped: {SPHINX}: {why}", file=sys.stderr)
    padding_s = PADDING_S if single else 0.0
    return peers | {
        system: partial(padded, recognize, padding_s) for system, recognize in from_whisper.items()
    }


def fsdd(limit: int | None) -> tuple[str, list[Recording]] | None:
    """Return FSDD's test speakers, lucas and yweweler, all their recordings or the first of them.

    The folder of models holds `fsdd-SPEAKER.onnx`, trained on no recording of that speaker; without
    it the model that ships. Rejection is off: the peers are made to answer, too.
    """
    import spoken_digits
    from spoken_digits.audio import read_audio
    from spoken_digits.lab.data.corpora import find_corpus, read_corpus
    from spoken_digits.lab.data.splits import XSDR_TEST
    from spoken_digits.lab.evaluation.exported import seen_speakers

    if not find_corpus("fsdd"):
        return None
    clips = shuffled([clip for clip in read_corpus("fsdd") if clip.speaker in XSDR_TEST])
    paths = {name: model_of(f"fsdd-{name}") for name in XSDR_TEST}
    networks = {name: spoken_digits.load(path, threshold=0) for name, path in paths.items()}
    refuse_seen((networks[n], [n]) for n in XSDR_TEST if paths[n])
    seen = any(seen_speakers(networks[n], clips) for n in XSDR_TEST if not paths[n])

    def ours(speaker: str) -> Recognize:
        return lambda samples, rate: networks[speaker](samples, rate).label

    title = f"{len(clips[:limit]):,} digits of FSDD's lucas and yweweler{knowing(seen)}"
    return title, [
        Recording(
            clip.file, clip.label, clip.speaker, partial(read_audio, clip.file), ours(clip.speaker)
        )
        for clip in clips[:limit]
    ]


def an4(limit: int | None) -> tuple[str, list[Recording]] | None:
    """Return the digit strings of AN4, all or the first of them.

    The folder of models holds `an4-FOLD.onnx`, 0 to 4, trained on no one of that fold of the
    protocol (`utterance_folds`); without it the model that ships.
    """
    from spoken_digits.connected import Transcriber
    from spoken_digits.lab.data.corpora import find_corpus
    from spoken_digits.lab.data.splits import utterance_folds
    from spoken_digits.lab.data.utterances import read_samples, read_utterances
    from spoken_digits.lab.evaluation.exported import seen_speakers

    if not find_corpus("an4"):
        return None
    utterances = read_utterances("an4")
    folds = utterance_folds(utterances)
    paths = [model_of(f"an4-{fold}") for fold in range(len(folds))]
    transcribers = [Transcriber(path) for path in paths]
    refuse_seen(
        (transcriber.network, fold.test_speakers)
        for transcriber, fold, path in zip(transcribers, folds, paths, strict=True)
        if path
    )
    fold_of = {name: k for k, fold in enumerate(folds) for name in fold.test_speakers}
    seen = any(
        seen_speakers(transcriber.network, utterances)
        for transcriber, path in zip(transcribers, paths, strict=True)
        if not path
    )

    def ours(speaker: str) -> Recognize:
        return lambda samples, rate: transcribers[fold_of[speaker]](samples, rate).digits

    strings = shuffled([each for each in utterances if each.content == "digits"])[:limit]
    title = f"{len(strings):,} digit strings of AN4{knowing(seen)}"
    return title, [
        Recording(
            each.file, each.digits, each.speaker, partial(read_samples, each), ours(each.speaker)
        )
        for each in strings
    ]


def pocketsphinx(grammar: str) -> Recognize:
    """Return PocketSphinx with its own English model and a JSGF rule of words for digits.

    It gets what suited it best on FSDD's training speakers: 16 kHz, a peak of 0.7, no padding. Its
    decoder goes on from recording to recording, as it is meant to.

    Raises
    ------
    ModuleNotFoundError
        When it is not installed.
    """
    import numpy as np
    from pocketsphinx import Config, Decoder

    from spoken_digits.audio import resample
    from spoken_digits.lab.data.utterances import WORD_DIGITS

    decoder = Decoder(Config(lm=None, loglevel="FATAL"))
    decoder.add_jsgf_string("digits", f"#JSGF V1.0; grammar digits; public <digits> = {grammar};")
    decoder.activate_search("digits")

    def recognize(samples: Any, rate: float) -> str:
        wide = resample(samples, rate, 16_000)
        pcm = np.round(wide * (0.7 * 2**15 / np.abs(wide).max())).astype(np.int16)
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
        best = decoder.hyp()
        return "".join(WORD_DIGITS[word] for word in best.hypstr.split()) if best else ""

    return recognize


def in_turns(
    title: str, recordings: Sequence[Recording], peers: Mapping[str, Recognize]
) -> dict[str, list[Answer]]:
    """Let every system recognize each recording in turn: ours, then the peers; N answers each.

    Each has recognized one recording before, which does not count.
    """
    answers: dict[str, list[Answer]] = {name: [] for name in (OURS, *peers)}
    for index, recording in enumerate([recordings[0], *recordings]):
        samples, rate = recording.read()
        for name, given in answers.items():
            recognize = recording.ours if name == OURS else peers[name]
            begin = time.perf_counter()
            digits = recognize(samples, rate)
            spent_s = time.perf_counter() - begin
            if index:
                given.append(Answer(digits, spent_s, len(samples) / rate))
        if index and index % 50 == 0:
            print(f"{title}: {index:,} done", file=sys.stderr, flush=True)
    return answers


def summarize(
    corpus: str,
    title: str,
    recordings: Sequence[Recording],
    answers: Mapping[str, Sequence[Answer]],
    *,
    subset: bool = False,
) -> list[System]:
    """Return what every system reached on N recordings."""
    # Late: it brings torch, whose threads and memory no system shall meet.
    from spoken_digits.lab.connected.strings import score

    said = [recording.digits for recording in recordings]
    speakers = [recording.speaker for recording in recordings]
    errors = {
        name: [
            edit_count(score([digits], [answer.digits]))
            for digits, answer in zip(said, given, strict=True)
        ]
        for name, given in answers.items()
    }
    systems = []
    for name, given in answers.items():
        scored = score(said, [answer.digits for answer in given])
        spent_s = sum(answer.spent_s for answer in given)
        paired = {} if name == OURS else difference(errors[OURS], errors[name], said, speakers)
        systems.append(
            System(
                corpus=corpus,
                test_set=title,
                subset=subset,
                system=name,
                recordings=len(recordings),
                speakers=len(set(speakers)),
                digits=scored.digits,
                insertions=scored.insertions,
                deletions=scored.deletions,
                substitutions=scored.substitutions,
                digit_error=scored.digit_error,
                whole_right=scored.whole / len(recordings),
                mean_s=spent_s / len(recordings),
                real_time_factor=spent_s / sum(answer.duration_s for answer in given),
                **paired,
            )
        )
    return systems


def difference(
    ours: Sequence[int], peers: Sequence[int], said: Sequence[str], speakers: Sequence[str]
) -> dict[str, Any]:
    """Return the difference of two digit error rates, and its interval over speakers.

    Parameters
    ----------
    ours, peers
        Errors in each of the N recordings.
    said, speakers
        The digits of each, and who says them.
    """
    import numpy as np

    from spoken_digits.lab.evaluation.metrics import ratio_difference, speakers_note

    counts = {name: np.zeros(4) for name in sorted(set(speakers))}
    for mine, theirs, text, speaker in zip(ours, peers, said, speakers, strict=True):
        counts[speaker] += mine, len(text), theirs, len(text)
    apart, interval = ratio_difference(list(counts.values()), np.random.default_rng(0))
    few = speakers_note(len(counts))
    return {"difference": apart} | ({} if few else {"difference_interval": interval})


def edit_count(scored: Any) -> int:
    return int(scored.insertions + scored.deletions + scored.substitutions)


def padded(recognize: Recognize, padding_s: float, samples: Any, rate: float) -> str:
    """Recognize with this much silence on both sides."""
    import numpy as np

    return recognize(np.pad(samples, round(padding_s * rate)), rate)


def shuffled(items: Sequence[Any]) -> list[Any]:
    """Return all items in an order that is always the same."""
    import numpy as np

    return [items[i] for i in np.random.default_rng(0).permutation(len(items))]


def model_of(stem: str) -> Path | None:
    """Return a model of the folder of models, None without such a folder.

    Raises
    ------
    SystemExit
        When the folder lacks it: a mixture of models would be no result.
    """
    if not os.environ.get(MODELS):
        return None
    path = Path(os.environ[MODELS], f"{stem}.onnx")
    if not path.is_file():
        raise SystemExit(
            f"{path}: missing; expected fsdd-lucas, fsdd-yweweler and an4-0 to an4-4, "
            "each .onnx and trained without these speakers: add it, or leave out --models"
        )
    return path


def refuse_seen(models: Iterable[tuple[Any, Iterable[str]]]) -> None:
    """Raise a SystemExit where a model's metadata name a speaker that it is to be judged by."""
    import json

    for model, speakers in models:
        training = json.loads(model.metadata.get("training_data", "{}"))
        if seen := set(training.get("train_speakers", ())) & set(speakers):
            raise SystemExit(
                f"{model.path}: trained on {', '.join(sorted(seen))}, by its metadata; expected a "
                "model that is not: name another folder of models"
            )


def knowing(seen: bool) -> str:
    return " (in the training of ours)" if seen else ""


def table(systems: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of what every system reached."""
    lines = [
        "| recordings | system | digit error | whole right | mean time | real-time factor |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {s['test_set']} | {s['system']} | {percent(s['digit_error'])} | "
        f"{percent(s['whole_right'])} | {duration(s['mean_s'])} | {s['real_time_factor']:.2g} |"
        for s in systems
    ]
    return "\n".join(lines)


def sentences(systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of every peer how much faster, and how much better or worse ours is."""
    said = []
    for peer in systems:
        if peer["system"] == OURS:
            continue
        ours = next(s for s in systems if s["system"] == OURS and s["test_set"] == peer["test_set"])
        points = round(100 * peer["difference"], 1)
        better = "better" if points < 0 else "worse"
        verdict = f"{abs(points):.1f} points {better}" if points else "no difference"
        interval = peer["difference_interval"]
        if interval is None:
            beside = f"no interval over {peer['speakers']} speakers"
        else:
            low, high = (f"{100 * bound:+.1f}" for bound in interval)
            beside = f"difference {low} to {high}, 95 % over {peer['speakers']} speakers"
        factor = peer["mean_s"] / ours["mean_s"]
        speed = f"{factor:.3g} times faster" if factor >= 1 else f"{1 / factor:.3g} times slower"
        said.append(
            f"Against {peer['system']}, {peer['test_set']}: {speed}, digit error "
            f"{percent(ours['digit_error'])} against {percent(peer['digit_error'])}: {verdict} "
            f"({beside}); whole right {percent(ours['whole_right'])} against "
            f"{percent(peer['whole_right'])}."
        )
    return said


def percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


# At most this many recordings to a title and recordings, None where the corpus is not at hand.
TEST_SETS: dict[str, Callable[[int | None], tuple[str, list[Recording]] | None]] = {
    "fsdd": fsdd,
    "an4": an4,
}
