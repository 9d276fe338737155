"""Strings of digits: transcribed from a recording of any length, or while it is being spoken.

Shapes: L samples, U steps of the network, C = 11 classes, the digits and the blank.

A small network runs over blocks of 60 ms and carries its state from one to the next
(`StringNetwork.run`). At each step it scores which digit, if any, has just been spoken, and when
that began and ended. Each spotted digit is then rescored, whole, by the network for single digits
(`Spotter`). Files and streams take this same way, so their answers are the same.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.audio import (
    MAX_CLIP_DURATION_S,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    SAMPLE_RATE,
    SILENCE,
    AudioError,
    Resampler,
    Source,
    read_blocks,
    to_mono,
)
from spoken_digits.grammar import Grammar, align, search
from spoken_digits.networks import SHIPPED_STRINGS, DigitNetwork, ModelError, StringNetwork
from spoken_digits.probability import log_softmax
from spoken_digits.spotting import BLANK, Segment, Spotter

__all__ = ["SHIPPED_STRINGS", "Segment", "Stream", "Transcriber", "Transcript", "Update"]

FloatArray = NDArray[np.float32]

MAX_SEARCH_S = 300.0  # of a recording in which more than the best string is looked for

_RECENT_S = 4.0  # of sound is kept, for rescoring


@dataclass(frozen=True)
class Transcript:
    """The digits of a recording.

    Attributes
    ----------
    digits : str
        All of them, "" where there is none.
    segments : tuple of Segment
        Each of them, in order.
    duration_s : float
        Of the recording.
    alternatives : tuple of (str, float)
        The most probable strings and their probabilities, best first, as many as were asked for.
    """

    digits: str
    segments: tuple[Segment, ...] = field(repr=False)
    duration_s: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Update:
    """What is new in a stream.

    Attributes
    ----------
    segments : tuple of Segment
        Digits that are final: they do not come again.
    partial : Segment or None
        A digit whose probability and end may still change.
    """

    segments: tuple[Segment, ...]
    partial: Segment | None


class Transcriber:
    """Transcribes strings of digits with a `StringNetwork` and, to rescore, a `DigitNetwork`.

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits strings train`` wrote; without it, the model that ships.
    rescorer : DigitNetwork, optional
        Rescores each digit, where the file asks for that; without it, the one that ships.

    Attributes
    ----------
    network : StringNetwork
    rescorer : DigitNetwork or None

    Raises
    ------
    ModelError
        When a file is missing, or no such model; when the rescorer's labels are not the digits.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        rescorer: DigitNetwork | None = None,
    ) -> None:
        self.network = StringNetwork(model_path)
        self.rescorer: DigitNetwork | None = None
        if self.network.needs_rescoring:
            self.rescorer = rescorer or DigitNetwork()
            if (labels := self.rescorer.labels) != tuple("0123456789"):
                raise ModelError(
                    f"{self.rescorer.path}: labels {', '.join(labels)}; expected 0 to 9, to "
                    "rescore digits: take a model of digits, or the one that ships"
                )

    def stream(self, sample_rate: float = SAMPLE_RATE) -> "Stream":
        """Begin a stream of samples at this rate, in Hz.

        Raises
        ------
        AudioError
            When the rate is not within 4,000 to 192,000 Hz.
        """
        return Stream(self, sample_rate)

    def __call__(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        grammar: Grammar | None = None,
        nbest: int = 0,
    ) -> Transcript:
        """Transcribe a recording of any length, a block at a time.

        Parameters
        ----------
        source : path or (L,) or (L, channels) samples
            A file or samples, as `read_audio` takes them, of any length.
        sample_rate : float
            Of samples, in Hz; a file states its own.
        grammar : Grammar, optional
            Which strings are allowed; the most probable of these is the answer.
        nbest : int
            How many of the most probable strings are given as `alternatives`.

        Raises
        ------
        AudioError
            When the recording cannot be read, has no sound, holds no string that the grammar
            allows, or is too long to look for more than the best string in it.
        """
        name = str(source) if isinstance(source, str | os.PathLike) else "samples"
        lattice = _Lattice() if grammar or nbest else None
        stream: Stream | None = None
        segments: list[Segment] = []
        peak, count, rate = 0.0, 0, float(SAMPLE_RATE)
        for block, rate in read_blocks(source, sample_rate):
            if stream is None:
                stream = Stream(self, rate)
                stream.lattice = lattice
            peak, count = max(peak, float(np.abs(block).max())), count + len(block)
            if lattice and count > MAX_SEARCH_S * rate:
                raise AudioError(
                    f"{name}: longer than {MAX_SEARCH_S:g} s; expected less where a grammar or "
                    "several answers are wanted: cut it, or leave these out"
                )
            segments += stream.feed(block).segments
        if stream is None or peak <= SILENCE:
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
            _segment(int(c), (u + 1) * self.network.step, edges[u], float(np.exp(log_p[u, int(c)])))
            for c, u in zip(best, align(log_p, best), strict=True)
        ]
        alternatives = tuple((digits, float(np.exp(p))) for digits, p in found[:nbest])
        return Transcript(best, tuple(segments), duration_s, alternatives)


class Stream:
    """Transcribes one stream of samples, chunk by chunk of whatever size.

    However the samples are divided, the answers are the same, and the same as those for a file of
    them. What is kept is four seconds of sound and the streaming cache of each layer (its left
    context): hours take no more memory than seconds.

    Parameters
    ----------
    transcriber : Transcriber
    sample_rate : float
        Of the samples, 4,000 to 192,000 Hz.

    Raises
    ------
    AudioError
        When the rate is not within these.
    """

    def __init__(self, transcriber: Transcriber, sample_rate: float = SAMPLE_RATE) -> None:
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise AudioError(
                f"a sample rate of {sample_rate:,} Hz; expected {MIN_SAMPLE_RATE:,} to "
                f"{MAX_SAMPLE_RATE:,} Hz: resample it, or name the right rate"
            )
        self.lattice: _Lattice | None = None
        self._network, self._rescorer = transcriber.network, transcriber.rescorer
        self._sample_rate = sample_rate
        self._state = self._network.first_state()
        self._blocks = _Blocks(self._network.block)
        self._spotter = Spotter(
            self._network.decoding,
            self._network.step,
            self._rescore if self._rescorer else None,
            self._weigh,
        )
        self._recent = np.zeros(round(_RECENT_S * SAMPLE_RATE), np.float32)
        self._processed = 0  # samples at 8 kHz that the network has been run on
        self._resampler = Resampler(sample_rate) if sample_rate != SAMPLE_RATE else None
        self._count = 0  # samples fed, at 8 kHz
        self._finished = False

    def feed(self, samples: ArrayLike) -> Update:
        """Take the next samples, (L,) or (L, channels), any number of them.

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
        mono = to_mono(array, self._sample_rate)
        return self._process(self._resampler.add(mono) if self._resampler else mono)

    def finish(self) -> Update:
        """End the stream; return the digits that are final only now."""
        if self._finished:
            return Update((), None)
        rest = self._resampler.finish() if self._resampler else np.empty(0, np.float32)
        update = self._process(rest)
        end_s = self._count / SAMPLE_RATE
        # The network emits a digit up to `lookahead` after its end: silence follows the recording.
        block = self._network.block
        waiting = len(self._blocks) + self._network.lookahead
        silence = np.zeros(-(-waiting // block) * block - len(self._blocks), np.float32)
        segments = (*update.segments, *self._process(silence).segments, *self._spotter.end())
        self._finished = True
        # The network predicts the end of a digit before it comes; now the last end is known.
        return Update(tuple(_ended(segment, end_s) for segment in segments), None)

    def _process(self, samples: FloatArray) -> Update:
        segments: list[Segment] = []
        self._count += len(samples)
        for block in self._blocks.add(samples):
            self._recent = np.concatenate([self._recent[len(block) :], block])
            self._processed += len(block)
            log_p, edges, self._state = self._network.run(block, self._state)
            if self.lattice:
                self.lattice.add(log_p, edges)
            segments += self._spotter.add(log_p, edges)
        return Update(tuple(segments), self._spotter.partial)

    def _weigh(self, first: int, stop: int, log_factors: NDArray[np.float64]) -> None:
        if self.lattice:
            self.lattice.weigh(first, stop, log_factors)

    def _rescore(self, start_s: float, end_s: float) -> tuple[FloatArray, float]:
        """Score the samples from start to end, and margins: (10,) logits, log-odds of a digit."""
        assert self._rescorer is not None
        margin_s = self._network.decoding.margin_s
        stop = round((end_s + margin_s) * SAMPLE_RATE)
        longest = round(MAX_CLIP_DURATION_S * SAMPLE_RATE)
        start = max(round((start_s - margin_s) * SAMPLE_RATE), stop - longest)
        first = self._processed - len(self._recent)
        begin, end = max(start, first), min(stop, self._processed)
        clip = np.zeros(stop - start, np.float32)  # beyond what there is, silence
        if begin < end:
            clip[begin - start : end - start] = self._recent[begin - first : end - first]
        scores, log_odds = self._rescorer.score((clip - clip.mean())[None])
        return scores[0], float(log_odds[0])


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


class _Lattice:
    """The network's outputs at every step, kept to be searched."""

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
            log_p[first:stop] = log_softmax(log_p[first:stop])
        return log_p

    @cached_property
    def edges(self) -> FloatArray:
        return np.concatenate(self._edges)


def _segment(digit: int, now: int, edges: FloatArray, probability: float) -> Segment:
    """Make a segment of a digit that is emitted after `now` samples."""
    now_s = now / SAMPLE_RATE
    start_s = max(0.0, now_s - float(edges[0]))
    return Segment(digit, start_s, max(start_s, now_s - float(edges[1])), probability)


def _ended(segment: Segment, end_s: float) -> Segment:
    """Let a segment end no later than the recording."""
    start_s, stop_s = min(segment.start_s, end_s), min(segment.end_s, end_s)
    return replace(segment, start_s=start_s, end_s=stop_s)
