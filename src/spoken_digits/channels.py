"""Which channel of a recording carries the speech: an average can cancel it.

Shapes: L samples, C channels, T frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_CHANNELS", "ChannelComparison", "Mix"]

FloatArray = NDArray[np.float32]

MAX_CHANNELS = 8  # more are samples whose axes were exchanged

_FRAME_S = 0.03
_MAX_DELAY_S = 0.05  # between two channels of one sound: 17 m, or a player's fault
_QUIET = 0.1  # an amplitude of 20 dB below the other channel's is no second speaker
_EQUAL = 0.999  # of the most speech: the first of equal channels is taken
_SAME = 0.9  # correlation of channels that are averaged; the sum loses 0.2 dB
_ALIKE = 0.6  # correlation, at any delay and sign, of channels with the same sound in them


@dataclass(frozen=True)
class Mix:
    """How channels become one.

    Attributes
    ----------
    channels : tuple of int
        Those that are averaged, the first being 1.
    count : int
        Of all channels.
    is_doubtful : bool
        Whether a channel that is left out holds another sound, and about as much of it.
    """

    channels: tuple[int, ...]
    count: int
    is_doubtful: bool = False

    def apply(self, samples: FloatArray) -> FloatArray:
        """Mix (L, C) samples: (L,)."""
        if len(self.channels) == 1:
            return np.ascontiguousarray(samples[:, self.channels[0] - 1])
        taken = [channel - 1 for channel in self.channels]
        mono: FloatArray = samples[:, taken].mean(axis=1)
        return mono


class ChannelComparison:
    """Compares the channels of a recording that comes in blocks; memory hardly grows.

    The choice, but not the doubt about it, is made on the page in the same way.

    Parameters
    ----------
    count : int
        Of channels, 2 or more.
    sample_rate : float
        In Hz.
    """

    def __init__(self, count: int, sample_rate: float) -> None:
        self._count = count
        self._frame = max(1, round(_FRAME_S * sample_rate))
        self._max_delay = round(_MAX_DELAY_S * sample_rate)
        self._rest = np.empty((0, count), np.float32)  # what makes no whole frame yet
        self._levels: list[NDArray[np.float64]] = []  # (T, C) each: root mean square of frames
        self._products = np.zeros((count, count))
        self._delayed = np.zeros((count, count, 2 * self._max_delay + 1))  # products over delays

    def add(self, samples: FloatArray) -> None:
        """Take the next (L, C) samples; a block should hold a second or more."""
        held = np.concatenate([self._rest, samples])
        whole = len(held) // self._frame * self._frame
        self._add_frames(held[:whole].reshape(-1, self._frame, self._count))
        self._rest = held[whole:]
        centered = samples - samples.mean(axis=0, dtype=np.float64)
        # No wrapping around, and room for all delays even where a block is shorter than they are.
        length = 1 << (max(len(centered), self._max_delay) + self._max_delay).bit_length()
        spectra = np.fft.rfft(centered, length, axis=0)
        for a in range(self._count):
            for b in range(a, self._count):
                found = np.fft.irfft(spectra[:, a] * spectra[:, b].conj(), length)
                found = np.roll(found, self._max_delay)[: 2 * self._max_delay + 1]
                self._delayed[a, b] += found
                if a != b:
                    self._delayed[b, a] += found[::-1]

    def mix(self) -> Mix:
        """Choose the channel with the most speech, and those that are the same as it.

        Speech is what is louder than the quietest tenth of a channel's frames: of hum and hiss,
        that is little.
        """
        if not self._levels:
            self._add_frames(self._rest[None])
        levels = np.concatenate(self._levels)
        above = np.maximum(levels - np.quantile(levels, 0.1, axis=0), 0).mean(axis=0)
        speech = above + 1e-3 * levels.mean(axis=0)
        best = int((speech >= _EQUAL * speech.max()).argmax())
        energies = np.diagonal(self._products)
        scale = np.sqrt(np.maximum(energies * energies[best], 1e-30))
        is_same = self._products[best] / scale >= _SAME
        is_same[best] = True
        energies = np.diagonal(self._delayed[:, :, self._max_delay])
        scale = np.sqrt(np.maximum(energies * energies[best], 1e-30))
        is_alike = np.abs(self._delayed[best]).max(axis=1) / scale >= _ALIKE
        is_other = ~is_alike & (speech >= _QUIET * speech[best])
        is_other[best] = False
        taken = tuple(int(channel) + 1 for channel in np.flatnonzero(is_same))
        return Mix(taken, self._count, bool(is_other.any()))

    def _add_frames(self, frames: FloatArray) -> None:
        """Take (T, frame, C) samples."""
        if frames.size:
            centered = frames - frames.mean(axis=1, keepdims=True, dtype=np.float64)
            self._levels.append(np.sqrt((centered**2).mean(axis=1)))
            self._products += np.einsum("tla,tlb->ab", centered, centered)
