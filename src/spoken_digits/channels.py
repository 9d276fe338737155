"""Which channel of a recording carries the speech: an average can cancel it.

Shapes: L samples, C channels, T frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChannelComparison", "Mix"]

FloatArray = NDArray[np.float32]

_FRAME_S = 0.03
_MAX_DELAY_S = 0.05  # between two channels of one sound: 17 m, or a player's fault
_QUIET = 0.1  # an amplitude of 20 dB below the other channel's is no second speaker
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
        taken = [channel - 1 for channel in self.channels]
        mono: FloatArray = samples[:, taken].mean(axis=1)
        return mono


class ChannelComparison:
    """Compares the channels of a recording that comes in blocks; memory hardly grows.

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
        self._levels: list[FloatArray] = []  # (T, C) each: root mean square of frames
        self._correlation = np.zeros((count, count, 2 * self._max_delay + 1))  # over delays

    def add(self, samples: FloatArray) -> None:
        """Take the next (L, C) samples; a block should hold a second or more."""
        centered = samples - samples.mean(axis=0, dtype=np.float64)
        frame = min(self._frame, len(centered))
        frames = centered[: len(centered) // frame * frame].reshape(-1, frame, self._count)
        self._levels.append(np.sqrt((frames**2).mean(axis=1)).astype(np.float32))
        length = 1 << (len(centered) + self._max_delay).bit_length()
        spectra = np.fft.rfft(centered, length, axis=0)
        for a in range(self._count):
            for b in range(a, self._count):
                found = np.fft.irfft(spectra[:, a] * spectra[:, b].conj(), length)
                found = np.roll(found, self._max_delay)[: 2 * self._max_delay + 1]
                self._correlation[a, b] += found
                self._correlation[b, a] = self._correlation[a, b]

    def mix(self) -> Mix:
        """Choose the channel with the most speech, and those that are the same as it.

        Speech is what is louder than the quietest tenth of a channel's frames: of hum and hiss,
        that is little.
        """
        levels = np.concatenate(self._levels)
        above = np.maximum(levels - np.quantile(levels, 0.1, axis=0), 0).mean(axis=0)
        speech = above + 1e-3 * levels.mean(axis=0)
        best = int(speech.argmax())
        energies = np.diagonal(self._correlation[:, :, self._max_delay])
        scale = np.sqrt(np.maximum(energies * energies[best], 1e-30))
        correlation = self._correlation[best] / scale[:, None]
        is_same = correlation[:, self._max_delay] >= _SAME
        is_same[best] = True
        is_alike = np.abs(correlation).max(axis=1) >= _ALIKE
        is_other = ~is_alike & (speech >= _QUIET * speech[best])
        is_other[best] = False
        taken = tuple(int(channel) + 1 for channel in np.flatnonzero(is_same))
        return Mix(taken, self._count, bool(is_other.any()))
