"""Strings of digits: transcribed from a recording of any length, or while it is being spoken.

Shapes: L samples, U steps of the network, C = 16 classes, `spotting.LABELS`.

A small network runs over blocks of 60 ms and carries its state from one to the next
(`StringNetwork.run`). At each step it scores which digit or other word, if any, has just been
spoken, and when a digit began and ended. From that, `Spotter` decides which digits there are. Files
and streams take this same way, so their answers are the same.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.audio import (
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    SAMPLE_RATE,
    SILENCE,
    AudioError,
    Encoding,
    Resampler,
    Source,
    open_audio,
    to_mono,
)
from spoken_digits.grammar import Grammar, align, repeats, search
from spoken_digits.networks import MAX_BLOCKS, SHIPPED_STRINGS, StringNetwork, absolute
from spoken_digits.spotting import (
    BLANK,
    DIGIT_WORDS,
    DOUBLE,
    NUMBER,
    OH,
    OTHER,
    TRIPLE,
    Segment,
    Spotter,
)

__all__ = ["SHIPPED_STRINGS", "Segment", "Stream", "Transcriber", "Transcript", "Update"]

FloatArray = NDArray[np.float32]

MAX_SEARCH_S = 300.0  # of a recording in which more than the best string is looked for
_MIN_ABSENT = 1e-9  # probability that a step emits no digit; single precision can make it 0


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
    warnings : tuple of str
        What is odd about the recording, though it was read.
    """

    digits: str
    segments: tuple[Segment, ...] = field(repr=False)
    duration_s: float
    alternatives: tuple[tuple[str, float], ...] = ()
    warnings: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Update:
    """What is new in a stream.

    Attributes
    ----------
    segments : tuple of Segment
        Digits that are final: they do not come again.
    partial : Segment or None
        A digit whose probability and end may still change. It can also vanish, where a number word
        or another word follows it, and is one digit even if "double" will repeat it.
    """

    segments: tuple[Segment, ...]
    partial: Segment | None


class Transcriber:
    """Transcribes strings of digits with a `StringNetwork`.

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits strings train`` wrote; without it, the model that ships.

    Attributes
    ----------
    network : StringNetwork

    Raises
    ------
    ModelError
        When the file is missing, or no such model.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None) -> None:
        self.network = StringNetwork(model_path)
        self._path = absolute(model_path)

    def __reduce__(self) -> tuple[type["Transcriber"], tuple[object, ...]]:
        """Pickle the path: what runs the network cannot be pickled."""
        return type(self), (self._path,)

    def stream(
        self, sample_rate: float = SAMPLE_RATE, *, oh: bool = True, doubles: bool = True
    ) -> "Stream":
        """Begin a stream of samples at this rate, in Hz. See `Stream`.

        Raises
        ------
        AudioError
            When the rate is not within 4,000 to 192,000 Hz.
        """
        return Stream(self, sample_rate, oh=oh, doubles=doubles)

    def __call__(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        grammar: Grammar | None = None,
        nbest: int = 0,
        oh: bool = True,
        doubles: bool = True,
        channel: int | None = None,
        encoding: Encoding | None = None,
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
        oh : bool
            Whether "oh" is zero; if not, it is rejected.
        doubles : bool
            Whether "double four" is 44 and "triple four" 444; if not, both are 4.
        channel : int
            Which channel to take, 1 being the first; left out, the one with the most speech.
        encoding : Encoding
            Of a file without a header.

        Raises
        ------
        AudioError
            When the recording cannot be read, has no sound, holds no string that the grammar
            allows, or is too long to look for more than the best string in it.
        """
        lattice = _Lattice(oh, doubles) if grammar or nbest else None
        segments: list[Segment] = []
        peak, count = 0.0, 0
        with open_audio(source, sample_rate, channel=channel, encoding=encoding) as recording:
            name, rate = recording.name, recording.sample_rate
            stream = self.stream(rate, oh=oh, doubles=doubles)
            stream.lattice = lattice
            for block in recording:
                peak, count = max(peak, float(np.abs(block).max())), count + len(block)
                if lattice and count > MAX_SEARCH_S * rate:
                    raise AudioError(
                        f"{name}: longer than {MAX_SEARCH_S:g} s; expected less where a grammar or "
                        "several answers are wanted: cut it, or leave these out"
                    )
                segments += stream.feed(block).segments
        if peak <= SILENCE:
            raise AudioError(
                f"{name}: no sound in it; expected speech: check the microphone and its level"
            )
        segments += stream.finish().segments
        if lattice:
            found = self._search(lattice, grammar, nbest, count / rate, name)
            return replace(found, warnings=tuple(recording.warnings))
        digits = "".join(str(segment.digit) for segment in segments)
        warnings = tuple(recording.warnings)
        return Transcript(digits, tuple(segments), count / rate, warnings=warnings)

    def _search(
        self, lattice: "_Lattice", grammar: Grammar | None, nbest: int, duration_s: float, name: str
    ) -> Transcript:
        """Find the most probable strings, those of a grammar if there is one."""
        found = search(lattice.log_p, max(nbest, 1), grammar)
        if not found:
            raise AudioError(
                f"{name}: no string as {grammar} in it; expected one: say it again, or allow others"
            )
        best = found[0]
        segments: list[Segment] = []
        steps = align(lattice.log_p, best.tokens)
        for token, u, count in zip(best.tokens, steps, repeats(best.tokens), strict=True):
            if count:
                segments += lattice.segment(int(token), u, self.network.step).divided(count)
        alternatives = tuple((each.digits, float(np.exp(each.log_p))) for each in found[:nbest])
        return Transcript(best.digits, tuple(segments), duration_s, alternatives)


class Stream:
    """Transcribes one stream of samples, chunk by chunk of whatever size.

    The digits do not depend on how the samples are cut into chunks; their probabilities and times
    do by some millionths, as the network's sums are rounded in another order.

    However the samples are divided, the answers are the same, and the same as those for a file of
    them. What is kept is the streaming cache of each layer (its left context): hours take no more
    memory than seconds.

    A digit that another follows is final then. The last one is final only when a number word, which
    rejects it, or another word, which makes it less probable, would come too late
    (`Decoding.number_after_s`, `Decoding.context_s`); until then it is `Update.partial`.

    Parameters
    ----------
    transcriber : Transcriber
    sample_rate : float
        Of the samples, 4,000 to 192,000 Hz.
    oh, doubles : bool
        As of `Transcriber.__call__`.

    Raises
    ------
    AudioError
        When the rate is not within these.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        sample_rate: float = SAMPLE_RATE,
        *,
        oh: bool = True,
        doubles: bool = True,
    ) -> None:
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise AudioError(
                f"a sample rate of {sample_rate:,} Hz; expected {MIN_SAMPLE_RATE:,} to "
                f"{MAX_SAMPLE_RATE:,} Hz: resample it, or name the right rate"
            )
        self.lattice: _Lattice | None = None
        self._network = transcriber.network
        self._sample_rate = sample_rate
        self._state = self._network.first_state()
        self._blocks = _Blocks(self._network.block)
        self._spotter = Spotter(
            self._network.decoding,
            self._network.step,
            oh=oh,
            doubles=doubles,
            on_penalty=self._on_penalty,
        )
        self._resampler = Resampler(sample_rate) if sample_rate != SAMPLE_RATE else None
        self._count = 0  # samples fed, at 8 kHz
        self._finished = False

    def feed(self, samples: ArrayLike) -> Update:
        """Take the next samples, (L,) or (L, channels), which are averaged; any number of them.

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
        mono = to_mono(array, self._sample_rate, average=True)
        return self._process(self._resampler.add(mono) if self._resampler else mono)

    def finish(self) -> Update:
        """End the stream; return the digits that are final only now."""
        if self._finished:
            return Update((), None)
        rest = self._resampler.finish() if self._resampler else np.empty(0, np.float32)
        update = self._process(rest)
        end_s = self._count / SAMPLE_RATE
        silence = self._network.silence_after(len(self._blocks))
        segments = (*update.segments, *self._process(silence).segments, *self._spotter.end())
        self._finished = True
        # The network predicts the end of a digit before it comes; now the last end is known.
        return Update(tuple(_ended(segment, end_s) for segment in segments), None)

    def _process(self, samples: FloatArray) -> Update:
        segments: list[Segment] = []
        self._count += len(samples)
        for block in self._blocks.add(samples):
            log_p, edges, self._state = self._network.run(block, self._state)
            if self.lattice:
                self.lattice.add(log_p, edges)
            segments += self._spotter.add(log_p, edges)
        return Update(tuple(segments), self._spotter.partial)

    def _on_penalty(self, word: int, first: int, stop: int, penalty: float) -> None:
        if self.lattice:
            self.lattice.weaken(word, first, stop, penalty)


class _Blocks:
    """Cuts samples that arrive in any portions into whole blocks, as many at once as there are."""

    def __init__(self, length: int) -> None:
        self._rest, self._count = np.empty(length, np.float32), 0

    def __len__(self) -> int:
        return self._count

    def add(self, samples: FloatArray) -> Iterator[FloatArray]:
        length = len(self._rest)
        waiting = np.concatenate([self._rest[: self._count], samples])
        whole = len(waiting) // length * length
        self._count = len(waiting) - whole
        self._rest[: self._count] = waiting[whole:]
        for begin in range(0, whole, MAX_BLOCKS * length):
            yield waiting[begin : min(begin + MAX_BLOCKS * length, whole)]


class _Lattice:
    """The network's outputs at every step, kept to be searched for strings of `grammar.TOKENS`."""

    def __init__(self, oh: bool, doubles: bool) -> None:
        self._oh = oh
        self._ignored = [NUMBER, OTHER, BLANK, *([] if oh else [OH])]  # are one blank
        self._words = [*range(OH), *([DOUBLE, TRIPLE] if doubles else [])]
        if not doubles:
            self._ignored += [DOUBLE, TRIPLE]
        self._outputs: list[FloatArray] = []
        self._edges: list[FloatArray] = []
        self._penalties: list[tuple[int, int, int, float]] = []

    def add(self, log_p: FloatArray, edges: FloatArray) -> None:
        """Take the next steps, (U, C) and (U, 2)."""
        self._outputs.append(log_p)
        self._edges.append(edges)

    def weaken(self, word: int, first: int, stop: int, penalty: float) -> None:
        """Lower the log-odds that the steps from first to stop emit a word; a digit: that any.

        A negative penalty raises them.
        """
        self._penalties.append((word, first, stop, penalty))

    @cached_property
    def log_p(self) -> FloatArray:
        """(U, 11 or 13): the tokens, without the last two if not `doubles`, and last the blank.

        The blank is all else. So two like digits with only another word between are two, which they
        are; and zero and "oh" with nothing between are one, as after `merge_oh`.
        """
        log_p = np.concatenate(self._outputs)
        blank = np.logaddexp.reduce(log_p[:, self._ignored], axis=1)
        if self._oh:
            log_p[:, 0] = np.logaddexp(log_p[:, 0], log_p[:, OH])
        for word, first, stop, penalty in self._penalties:
            words = slice(OH) if word < OH else slice(word, word + 1)
            if word < OH or word in self._words:
                _weaken(log_p[first:stop, words], blank[first:stop], penalty)
        return np.column_stack([log_p[:, self._words], blank])

    def segment(self, digit: int, u: int, step: int) -> Segment:
        """Make a segment of a digit that is emitted at step u, of `step` samples."""
        outputs, edges = np.concatenate(self._outputs)[u], np.concatenate(self._edges)[u]
        is_oh = digit == 0 and self._oh and outputs[OH] > outputs[0]
        now_s = (u + 1) * step / SAMPLE_RATE
        start_s = max(0.0, now_s - float(edges[0]))
        end_s = max(start_s, now_s - float(edges[1]))
        word = "oh" if is_oh else DIGIT_WORDS[digit]
        return Segment(digit, word, start_s, end_s, float(np.exp(self.log_p[u, digit])))


def _weaken(log_p: FloatArray, blank: FloatArray, penalty: float) -> None:
    """Lower, in place, the log-odds that any of the steps emits a word, (U, words); (U,) blanks.

    That no step emits one is the product of their probabilities of none, 1 - p. All of these are
    raised to the same power, so that the product becomes the one that is wanted.
    """
    p = np.minimum(np.exp(log_p.astype(np.float64)).sum(axis=1), 1 - _MIN_ABSENT)
    log_absent = np.log1p(-p)
    total = log_absent.sum()  # its log-odds against any step are log(1 - exp(total)) - total
    power = -np.logaddexp(0, np.log(-np.expm1(total)) - total - penalty) / total
    changed = -np.expm1(power * log_absent)
    # What digits lose or gain is the blank's: it has at least what rounding leaves.
    left = np.maximum(np.exp(blank.astype(np.float64)) + p - changed, _MIN_ABSENT)
    blank[:] = np.log(left)
    with np.errstate(divide="ignore"):
        log_p += np.log(changed / p)[:, None]


def _ended(segment: Segment, end_s: float) -> Segment:
    """Let a segment end no later than the recording."""
    start_s, stop_s = min(segment.start_s, end_s), min(segment.end_s, end_s)
    return replace(segment, start_s=start_s, end_s=stop_s)
