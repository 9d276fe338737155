"""Strings of digits: what is said in a recording of any length, or while it is being said.

Shapes: L samples, U steps of the network, C = 11 classes, the digits and the blank.

A small network hears blocks of 60 ms, one after another, and remembers what it must of those
before (`Transcriber.hear`). At each step it says which digit, if any, has just been spoken, and
when that began and ended. What it spots is then heard again, whole, by the network for single
digits (`Spotter`). Files and streams take this same way, so their answers are the same.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.audio import (
    MAX_CLIP_DURATION_S,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    SAMPLE_RATE,
    AudioError,
    read_blocks,
    to_mono,
)
from spoken_digits.grammar import Grammar, align, search
from spoken_digits.recognize import ModelError, Recognizer, open_session
from spoken_digits.spotting import BLANK, MARGIN_S, Segment, Spotter

__all__ = ["SHIPPED_STRINGS", "Segment", "Stream", "Transcriber", "Transcript", "Update"]

FloatArray = NDArray[np.float32]

SHIPPED_STRINGS = Path(__file__).parent / "assets" / "strings.onnx"
FORMAT_VERSION = "1"  # of the inputs, outputs and metadata of the file
MAX_SEARCH_S = 300.0  # of a recording in which more than the best string is looked for

_INPUT = "waveform"  # (1, L) float32 at 8 kHz, L a multiple of the step
_OUTPUTS = ("scores", "edges")  # (1, U, C) logits; (1, U, 2) seconds since a digit's start and end
_STATE, _NEW_STATE = "state_", "new_state_"  # what goes in is what came out of the block before
_RESAMPLED_S = 0.03  # of sound is resampled at once, so that it does not matter how it arrives
_RECENT_S = 4.0  # of sound is kept, to be heard again
_MOST_LOG_ODDS = 7.0  # of being a digit; what is nearer to certain is not told apart
_SILENCE = 1e-6  # -120 dBFS, below the noise of any converter
_PORTION_S = 10  # of samples at hand that are taken at once


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording.

    Attributes
    ----------
    digits : str
        All of them, "" where there is none.
    segments : tuple of Segment
        Each of them.
    duration_s : float
        Of the recording.
    alternatives : tuple of (str, float)
        The most probable strings and their probabilities, best first, where they were asked for.
    """

    digits: str
    segments: tuple[Segment, ...] = field(repr=False)
    duration_s: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Update:
    """What a stream has newly heard.

    Attributes
    ----------
    segments : tuple of Segment
        Digits that are final: they do not come again.
    partial : Segment or None
        A digit that is heard already, but whose probability and end may still change.
    """

    segments: tuple[Segment, ...]
    partial: Segment | None


class Transcriber:
    """A network that hears strings of digits, on one thread.

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits strings train`` wrote; without it, the model that ships.
    recognizer : Recognizer, optional
        Hears each digit again, where the file asks for that; without it, the one that ships.

    Raises
    ------
    ModelError
        When the file is missing, or no such model; when the recognizer's labels are not the digits.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        recognizer: Recognizer | None = None,
    ) -> None:
        self.path = SHIPPED_STRINGS if model_path is None else Path(model_path)
        self._session, metadata = open_session(self.path)
        inputs = {node.name: node.shape for node in self._session.get_inputs()}
        outputs = [node.name for node in self._session.get_outputs()]
        names = [name.removeprefix(_STATE) for name in inputs if name.startswith(_STATE)]
        wanted = [*_OUTPUTS, *(_NEW_STATE + name for name in names)]
        version, rate = metadata.get("format_version"), metadata.get("sample_rate_hz")
        try:
            self.threshold = float(metadata["threshold"])
            self.step = int(metadata["step"])
            self.block = int(metadata["block"])
            self.lookahead = int(metadata["lookahead"])
        except (KeyError, ValueError):
            version = None
        if (
            version != FORMAT_VERSION
            or rate != str(SAMPLE_RATE)
            or not names
            or _INPUT not in inputs
            or not set(wanted) <= set(outputs)
        ):
            raise ModelError(
                f"{self.path}: not a model of strings of digits (inputs {sorted(inputs)}); "
                "expected a file that spoken-digits strings train wrote: name one, or leave "
                "--model out"
            )
        self.metadata = MappingProxyType(metadata)
        self.recognizer: Recognizer | None = None  # that hears each digit again, if any does
        if metadata.get("hear_again") == "true":
            self.recognizer = recognizer or Recognizer()
            if (labels := self.recognizer.labels) != tuple("0123456789"):
                raise ModelError(
                    f"{self.recognizer.path}: labels {', '.join(labels)}; expected 0 to 9, to "
                    "hear digits again: take a model of digits, or the one that ships"
                )
        self._wanted = wanted
        self._first = {_STATE + name: np.zeros(inputs[_STATE + name], np.float32) for name in names}

    def first_state(self) -> dict[str, FloatArray]:
        """Return what the network remembers before it has heard anything."""
        return dict(self._first)

    def hear(
        self, block: FloatArray, state: dict[str, FloatArray]
    ) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
        """Hear the next (block,) samples: log-probabilities (U, C), edges (U, 2), the new state."""
        scores, edges, *news = self._session.run(self._wanted, {_INPUT: block[None], **state})
        names = (_STATE + name.removeprefix(_NEW_STATE) for name in self._wanted[len(_OUTPUTS) :])
        return _log_softmax(scores[0]), edges[0], dict(zip(names, news, strict=True))

    def hear_again(self, clip: FloatArray) -> tuple[FloatArray, float]:
        """Hear (L,) samples that may be a digit: scores (10,), logits; log-odds of being one."""
        assert self.recognizer is not None
        scores, sure = self.recognizer.judge((clip - clip.mean())[None])
        p = min(max(float(sure[0]), 1e-6), 1 - 1e-6)
        log_odds = float(np.log(p / (1 - p)))
        return scores[0], min(max(log_odds, -_MOST_LOG_ODDS), _MOST_LOG_ODDS)

    def stream(self, sample_rate: float = SAMPLE_RATE) -> "Stream":
        """Begin to listen to samples at this rate, in Hz."""
        return Stream(self, sample_rate)

    def __call__(
        self,
        source: str | os.PathLike[str] | ArrayLike,
        sample_rate: float | None = None,
        *,
        grammar: Grammar | None = None,
        nbest: int = 0,
    ) -> Transcript:
        """Transcribe a recording of any length, a block at a time.

        Parameters
        ----------
        source : path or (L,) or (L, channels) samples
            A file in any format that `read_audio` opens, or samples that `to_clip` accepts.
        sample_rate : float
            Of samples, in Hz; a file tells its own.
        grammar : Grammar, optional
            What the string must be like; the most probable one that is so is the answer.
        nbest : int
            So many strings, the most probable ones, are given as `alternatives`.

        Raises
        ------
        AudioError
            When the recording cannot be heard, holds no string that the grammar allows, or is too
            long to look for more than the best string in it.
        """
        name = str(source) if isinstance(source, str | os.PathLike) else "samples"
        lattice = _Lattice() if grammar or nbest else None
        stream: Stream | None = None
        segments: list[Segment] = []
        loudest, count, rate = 0.0, 0, float(SAMPLE_RATE)
        for block, rate in _portions(source, sample_rate):
            if stream is None:
                stream = Stream(self, rate)
                stream.lattice = lattice
            loudest, count = max(loudest, float(np.abs(block).max())), count + len(block)
            if lattice and count > MAX_SEARCH_S * rate:
                raise AudioError(
                    f"{name}: longer than {MAX_SEARCH_S:g} s; expected less where a grammar or "
                    "several answers are wanted: cut it, or leave these out"
                )
            segments += stream.feed(block).segments
        if stream is None or loudest <= _SILENCE:
            raise AudioError(
                f"{name}: no sound in it; expected speech: check the microphone and its level"
            )
        segments += stream.finish().segments
        if lattice:
            return self._search(lattice, grammar, nbest, count / rate, name)
        digits = "".join(str(segment.digit) for segment in segments)
        return Transcript(digits, tuple(segments), count / rate)

    def _search(
        self, lattice: "_Lattice", grammar: Grammar | None, nbest: int, duration_s: float, name: str
    ) -> Transcript:
        """Find the most probable strings, those of a grammar if there is one."""
        log_p, edges = lattice.log_p, lattice.edges
        found = search(log_p, max(nbest, 1), grammar)
        if not found:
            raise AudioError(
                f"{name}: no string as {grammar} in it; expected one: say it again, or allow others"
            )
        best = found[0][0]
        segments = [
            _segment(int(c), (u + 1) * self.step, edges[u], float(np.exp(log_p[u, int(c)])))
            for c, u in zip(best, align(log_p, best), strict=True)
        ]
        alternatives = tuple((digits, float(np.exp(p))) for digits, p in found[:nbest])
        return Transcript(best, tuple(segments), duration_s, alternatives)


class Stream:
    """Listens to one stream of samples, chunk by chunk of whatever size, and says what it heard.

    However the samples are divided, the answers are the same, and the same as those for a file of
    them. What is remembered is four seconds of sound and the last inputs of each layer: hours take
    no more memory than seconds.

    Parameters
    ----------
    transcriber : Transcriber
    sample_rate : float
        Of the samples, 4,000 to 192,000 Hz.

    Raises
    ------
    AudioError
        When the rate is none of these.
    """

    def __init__(self, transcriber: Transcriber, sample_rate: float = SAMPLE_RATE) -> None:
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise AudioError(
                f"a sample rate of {sample_rate:,} Hz; expected {MIN_SAMPLE_RATE:,} to "
                f"{MAX_SAMPLE_RATE:,} Hz: resample it, or name the right rate"
            )
        self.lattice: _Lattice | None = None
        self._transcriber = transcriber
        self._sample_rate = sample_rate
        self._state = transcriber.first_state()
        self._incoming = _Blocks(round(sample_rate * _RESAMPLED_S))
        self._blocks = _Blocks(transcriber.block)
        ear = self._hear_again if transcriber.recognizer else None
        self._spotter = Spotter(transcriber.threshold, transcriber.step, ear, self._weigh)
        self._recent = np.zeros(round(_RECENT_S * SAMPLE_RATE), np.float32)
        self._heard = 0  # samples at 8 kHz that the network has heard
        self._resampler: Any = None
        self._count = 0  # samples heard, at 8 kHz
        if sample_rate != SAMPLE_RATE:
            import soxr  # late: what is at 8 kHz already needs none

            self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")
        self._finished = False

    def feed(self, samples: ArrayLike) -> Update:
        """Hear the next samples, (L,) or (L, channels), any number of them.

        Raises
        ------
        AudioError
            When they are no samples, or the stream is finished.
        """
        if self._finished:
            raise AudioError("this stream is finished; expected no more samples: begin another one")
        array = np.asarray(samples)
        if array.size == 0:
            return Update((), self._spotter.partial)
        return self._hear(self._at_8_khz(to_mono(array, self._sample_rate)))

    def finish(self) -> Update:
        """Say that there are no more samples; return what is final only now."""
        if self._finished:
            return Update((), None)
        rest = self._incoming.rest()
        if self._resampler:
            rest = self._resampler.resample_chunk(rest, last=True)
        update = self._hear(rest)
        end_s = self._count / SAMPLE_RATE
        # What the network may still announce, it announces while it hears silence.
        block = self._transcriber.block
        waiting = len(self._blocks) + self._transcriber.lookahead
        silence = np.zeros(-(-waiting // block) * block - len(self._blocks), np.float32)
        segments = (*update.segments, *self._hear(silence).segments, *self._spotter.end())
        self._finished = True
        # The network tells the end of a digit before it is there; now it is known.
        return Update(tuple(_ended(segment, end_s) for segment in segments), None)

    def _at_8_khz(self, samples: FloatArray) -> FloatArray:
        if not self._resampler:
            return samples
        resampled = [self._resampler.resample_chunk(block) for block in self._incoming.add(samples)]
        return np.concatenate(resampled) if resampled else np.empty(0, np.float32)

    def _hear(self, samples: FloatArray) -> Update:
        segments: list[Segment] = []
        self._count += len(samples)
        for block in self._blocks.add(samples):
            self._recent = np.concatenate([self._recent[len(block) :], block])
            self._heard += len(block)
            log_p, edges, self._state = self._transcriber.hear(block, self._state)
            if self.lattice:
                self.lattice.add(log_p, edges)
            segments += self._spotter.add(log_p, edges)
        return Update(tuple(segments), self._spotter.partial)

    def _weigh(self, first: int, stop: int, log_factors: NDArray[np.float64]) -> None:
        if self.lattice:
            self.lattice.weigh(first, stop, log_factors)

    def _hear_again(self, start_s: float, end_s: float) -> tuple[FloatArray, float]:
        stop = round((end_s + MARGIN_S) * SAMPLE_RATE)
        longest = round(MAX_CLIP_DURATION_S * SAMPLE_RATE)
        start = max(round((start_s - MARGIN_S) * SAMPLE_RATE), stop - longest)
        first = self._heard - len(self._recent)
        begin, end = max(start, first), min(stop, self._heard)
        clip = np.zeros(stop - start, np.float32)  # what is not there is silence
        if begin < end:
            clip[begin - start : end - start] = self._recent[begin - first : end - first]
        return self._transcriber.hear_again(clip)


class _Blocks:
    """Cuts samples that arrive in any portions into blocks of one length."""

    def __init__(self, length: int) -> None:
        self._buffer = np.empty(length, np.float32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, samples: FloatArray) -> Iterator[FloatArray]:
        length, position = len(self._buffer), 0
        while position < len(samples):
            taken = min(length - self._count, len(samples) - position)
            self._buffer[self._count : self._count + taken] = samples[position : position + taken]
            position += taken
            self._count += taken
            if self._count == length:
                self._count = 0
                yield self._buffer.copy()

    def rest(self) -> FloatArray:
        return self._buffer[: self._count].copy()


class _Lattice:
    """What the network said at every step, kept to be searched."""

    def __init__(self) -> None:
        self._log_p: list[FloatArray] = []
        self._edges: list[FloatArray] = []
        self._weights: list[tuple[int, int, NDArray[np.float64]]] = []

    def add(self, log_p: FloatArray, edges: FloatArray) -> None:
        self._log_p.append(log_p)
        self._edges.append(edges)

    def weigh(self, first: int, stop: int, log_factors: NDArray[np.float64]) -> None:
        """Make each digit more or less probable at some steps; (10,), logarithms."""
        self._weights.append((first, stop, log_factors))

    @cached_property
    def log_p(self) -> FloatArray:
        log_p = np.concatenate(self._log_p)
        for first, stop, log_factors in self._weights:
            log_p[first:stop, :BLANK] += log_factors
            log_p[first:stop] = _log_softmax(log_p[first:stop])
        return log_p

    @cached_property
    def edges(self) -> FloatArray:
        return np.concatenate(self._edges)


def _segment(digit: int, now: int, edges: FloatArray, probability: float) -> Segment:
    """Make a segment of what is said `now`, in samples."""
    now_s = now / SAMPLE_RATE
    start_s = max(0.0, now_s - float(edges[0]))
    return Segment(digit, start_s, max(start_s, now_s - float(edges[1])), probability)


def _ended(segment: Segment, end_s: float) -> Segment:
    """Let a segment end no later than the recording."""
    start_s, stop_s = min(segment.start_s, end_s), min(segment.end_s, end_s)
    return replace(segment, start_s=start_s, end_s=stop_s)


def _portions(
    source: str | os.PathLike[str] | ArrayLike, sample_rate: float | None
) -> Iterator[tuple[FloatArray, float]]:
    """Give a recording portion by portion: mono samples, their rate."""
    if isinstance(source, str | os.PathLike):
        yield from read_blocks(source)
        return
    if sample_rate is None:
        raise AudioError(
            "samples: no sample rate; expected it beside them: "
            "transcribe(samples, sample_rate=44_100)"
        )
    samples = to_mono(source, sample_rate)
    length = round(_PORTION_S * sample_rate)
    for begin in range(0, len(samples), length):
        yield samples[begin : begin + length], sample_rate


def _log_softmax(scores: FloatArray) -> FloatArray:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    log_p: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p
