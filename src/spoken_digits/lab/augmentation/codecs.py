"""Speech codecs of telephones and messengers: what they make of a recording at 8 kHz.

They keep a model of the voice, not its waveform: the residue sounds like noise that follows the
speech (docs/voice-codecs.md has what that costs). Both are libsndfile's, which every installation
has, so that a training run needs nothing more.
"""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE

__all__ = ["gsm", "opus", "random_codec"]

FloatArray = NDArray[np.float32]

_P_GSM, _P_TWICE = 0.7, 0.3  # GSM takes a sixth of the time of Opus; twice: from mobile to mobile
# libsndfile's scale of compression, 0 to 1: here 14 down to 6 kbit/s, with its frames' headers 15
# down to 7.
_OPUS_COMPRESSION = (0.97, 1.0)


def gsm(samples: FloatArray) -> FloatArray:
    """Encode and decode (L,) samples by GSM 06.10 full rate, 13 kbit/s (ETSI EN 300 961): (L,)."""
    return _encode_decode(samples, "WAV", "GSM610")


def opus(samples: FloatArray, compression: float) -> FloatArray:
    """Encode and decode (L,) samples by Opus (RFC 6716): (L,).

    Parameters
    ----------
    samples
        (L,) at 8 kHz.
    compression
        libsndfile's scale: 0 for 256 kbit/s, 1 for 6 kbit/s.
    """
    return _encode_decode(samples, "OGG", "OPUS", compression)


def random_codec(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Send (L,) samples through GSM, at times twice, or through Opus at 6 to 14 kbit/s: (L,)."""
    if rng.random() >= _P_GSM:
        return opus(samples, rng.uniform(*_OPUS_COMPRESSION))
    coded = gsm(samples)
    return gsm(coded) if rng.random() < _P_TWICE else coded


def _encode_decode(
    samples: FloatArray, container: str, subtype: str, compression: float | None = None
) -> FloatArray:
    file = io.BytesIO()
    soundfile.write(
        file, samples, SAMPLE_RATE, format=container, subtype=subtype,
        compression_level=compression,
    )  # fmt: skip
    file.seek(0)
    decoded: FloatArray
    decoded, _ = soundfile.read(file, frames=len(samples), dtype="float32")
    # GSM in WAV is whole frames of 40 ms: longer, never shorter.
    return decoded
