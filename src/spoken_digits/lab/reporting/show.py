"""A recording as a picture: its waveform, its mel spectrogram, the speech that is found in it."""

import io
from pathlib import Path

import numpy as np

from spoken_digits.audio import SAMPLE_RATE, cut_clip, read_audio, resample
from spoken_digits.lab.features import FRONT_ENDS, mel_filter_bank, mel_spectrogram
from spoken_digits.lab.runs import write_whole

__all__ = ["show"]

RANGE_DB = 70.0  # below the loudest band: what is fainter is drawn as silence
MARKS_HZ = np.array([250, 500, 1000, 2000, 3500])
WAVE, SPEECH = "#0072B2", "#E69F00"  # Okabe and Ito's blue and orange


def show(path: Path | str, output: Path | str) -> Path:
    """Draw a recording to a PNG: waveform above, mel spectrogram in dB below, on one time axis.

    The spectrogram is that of the front end "ours", at 8 kHz, before the logarithm's normalization;
    a network hears what lies between the orange lines.

    Raises
    ------
    AudioError
        When the recording cannot be heard; nothing is written then.
    """
    from matplotlib.figure import Figure

    samples, rate = read_audio(path)
    _, start_s, end_s = cut_clip(samples, rate, str(path))
    front_end = FRONT_ENDS["ours"]
    mel = mel_spectrogram(resample(samples - samples.mean(), rate), front_end)
    level_db = 10 * np.log10(np.maximum(mel / mel.max(), 10 ** (-RANGE_DB / 10)))
    centers_hz = mel_filter_bank(front_end).argmax(axis=1) * SAMPLE_RATE / front_end.n_fft
    hop_s = front_end.hop_ms / 1000

    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    above.plot(np.arange(len(samples)) / rate, samples, color=WAVE, linewidth=0.6)
    above.set_title(Path(path).name, parse_math=False)
    above.set_ylabel("amplitude")
    image = below.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0,
        # Frames are centered on multiples of the hop.
        extent=(-hop_s / 2, (mel.shape[1] - 0.5) * hop_s, -0.5, len(mel) - 0.5),
    )
    below.set(xlabel="time (s)", ylabel="frequency (Hz)", xlim=(0, len(samples) / rate))
    below.set_yticks(np.interp(MARKS_HZ, centers_hz, np.arange(len(mel))), MARKS_HZ)
    for axes in (above, below):
        for edge_s in (start_s, end_s):
            axes.axvline(edge_s, color=SPEECH, linewidth=2, clip_on=False)
    above.plot([], color=SPEECH, label=f"speech, {start_s:.2f} to {end_s:.2f} s")
    figure.legend(loc="outside upper right", frameon=False)
    figure.colorbar(image, ax=below, label="level (dB below the loudest)", pad=0.01)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_whole(output, buffer.getvalue())
    return Path(output)
