"""Recorded background noise: the long recordings without speech that Speech Commands holds.

Shapes: K samples of one recording, at 8 kHz.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spoken_digits.audio import AudioError, read_audio, resample
from spoken_digits.lab.data.corpora import find_corpus

__all__ = ["find_noises", "read_noise"]


def find_noises(data: Path | str | None = None) -> tuple[Path, ...]:
    """Return the noise recordings of Speech Commands, sorted by name; empty without that corpus.

    Parameters
    ----------
    data
        Folder of corpora, as in `corpora.data_root`.

    Raises
    ------
    CorpusError
        When `data`, or SPOKEN_DIGITS_DATA, names no folder.
    """
    folder = find_corpus("speech_commands", data)
    return tuple(sorted(folder.glob("_background_noise_/*.wav"))) if folder else ()


def read_noise(file: Path, rms: float | None = None) -> NDArray[np.float32]:
    """Read a noise recording of any length, mono, at 8 kHz: (K,) float32.

    Parameters
    ----------
    file
        A recording in a format that `read_audio` reads.
    rms
        Root mean square of what is returned, 1.0 for full scale; its mean is removed. None leaves
        level and mean as recorded.

    Raises
    ------
    AudioError
        When the file cannot be read, or is silent and a level is asked for.
    """
    samples, sample_rate = read_audio(file, max_duration_s=np.inf)
    if rms is None:
        return resample(samples, sample_rate)
    noise = resample(samples - samples.mean(), sample_rate)
    recorded_rms = np.sqrt((noise**2).mean())
    if recorded_rms == 0:
        raise AudioError(f"{file}: silence; expected noise: remove the file")
    scaled: NDArray[np.float32] = (noise / (recorded_rms / rms)).astype(np.float32)
    return scaled
