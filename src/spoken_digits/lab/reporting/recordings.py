"""Recordings in a report: spectrograms, sound, and the picture that ``spoken-digits show`` draws.

Spectrograms are those of the front end "ours", as a network gets them. Shapes: M mel bands, T
frames.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from spoken_digits.audio import SAMPLE_RATE, cut_clip, read_audio, resample, to_clip
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.features import FRONT_ENDS, log_mel, mel_filter_bank, mel_spectrogram
from spoken_digits.lab.reporting.figures import svg
from spoken_digits.lab.runs import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FRONT_END",
    "Spectrogram",
    "band_hz",
    "digit_spectrograms",
    "draw_small",
    "draw_spectrograms",
    "show",
    "sound",
    "spectrogram",
]

FRONT_END = FRONT_ENDS["ours"]
RANGE_DB = 70.0  # below the loudest band: what is fainter is drawn as silence
MARKS_HZ = np.array([250, 500, 1000, 2000, 3500])
FEW_MARKS_HZ = np.array([500, 1000, 3000])
WAVE, SPEECH = "#0072B2", "#E69F00"  # Okabe and Ito's blue and orange
COLUMNS = 5


@dataclass(frozen=True)
class Spectrogram:
    """Log-mel spectrogram (M, T) of one clip, under its title."""

    title: str
    log_mel: NDArray[np.float32]


def spectrogram(path: Path, title: str) -> Spectrogram:
    """Return the log-mel spectrogram (M, T) of a recording, as a network gets it."""
    return Spectrogram(title, log_mel(to_clip(*read_audio(path)), FRONT_END))


def digit_spectrograms(
    speaker: str, clips: Sequence[Clip], labels: Sequence[str]
) -> list[Spectrogram]:
    """Return a clip of each label by one speaker.

    Raises
    ------
    AudioError, ValueError
        When a recording cannot be read, or none has one of the labels.
    """
    theirs = [clip for clip in clips if clip.speaker == speaker]
    found = {label: next((c for c in theirs if c.label == label), None) for label in labels}
    pictures = [
        spectrogram(clip.file, f"{label} ({clip.file.name})")
        for label, clip in found.items()
        if clip
    ]
    if not pictures:
        raise ValueError(f"speaker {speaker}: no clip has one of the labels {', '.join(labels)}")
    return pictures


def band_hz() -> NDArray[np.float64]:
    """Return the frequency at which each band of `FRONT_END` is most sensitive: (M,)."""
    peaks = mel_filter_bank(FRONT_END).argmax(axis=1)
    return np.asarray(peaks * FRONT_END.sample_rate / FRONT_END.n_fft, np.float64)


def sound(path: Path) -> str:
    """Return a recording as a ``data:`` address of WAV, 16 bits at its own rate."""
    samples, rate = read_audio(path)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def draw_spectrograms(pictures: Sequence[Spectrogram]) -> str:
    """Draw spectrograms as SVG, on one scale of level and time."""
    low, high = np.quantile(np.concatenate([p.log_mel.ravel() for p in pictures]), [0.02, 0.998])
    longest = max(p.log_mel.shape[1] for p in pictures)
    n_rows = -(-len(pictures) // COLUMNS)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots(n_rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for ax, picture in zip(axes.flat, pictures, strict=False):
            image = ax.imshow(picture.log_mel, vmin=low, vmax=high, **_placed(picture))
            ax.set_title(picture.title)
            ax.set_xlim(0, longest * FRONT_END.hop_ms / 1000)
            ax.set_yticks(_rows_of(MARKS_HZ), MARKS_HZ)
        for ax in axes.flat[len(pictures) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            ax.set_xlabel("time, s")
        for ax in axes[:, 0]:
            ax.set_ylabel("frequency, Hz")
        figure.colorbar(image, ax=axes, label="log-mel, normalized", aspect=40, pad=0.01)

    titles = ", ".join(picture.title for picture in pictures)
    size = (10, 2.1 * n_rows + 0.4)
    return svg("spectrograms", size, paint, f"Log-mel spectrograms: {titles}.")


def draw_small(picture: Spectrogram) -> str:
    """Draw one spectrogram as SVG, without words beside it but for the ends of its axes."""
    seconds = picture.log_mel.shape[1] * FRONT_END.hop_ms / 1000

    def paint(figure: "Figure") -> None:
        ax = figure.subplots()
        ax.imshow(picture.log_mel, **_placed(picture))
        ax.set_yticks(_rows_of(FEW_MARKS_HZ), ["500", "1k", "3k Hz"])
        ax.set_xticks([0, seconds], ["0", f"{seconds:.2f} s"])

    title = picture.title
    return svg(f"small {title}", (2.6, 1.5), paint, f"Log-mel spectrogram of {title}.")


def _placed(picture: Spectrogram) -> Mapping[str, Any]:
    """Return how a spectrogram lies on its axes: seconds to the right, bands upward."""
    n_mels, frames = picture.log_mel.shape
    return {
        "cmap": "cividis",
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "none",
        "extent": (0, frames * FRONT_END.hop_ms / 1000, -0.5, n_mels - 0.5),
    }


def _rows_of(marks_hz: NDArray[Any]) -> NDArray[np.float64]:
    """Return where frequencies lie between the bands, 0 to M - 1."""
    centers = band_hz()
    return np.asarray(np.interp(marks_hz, centers, np.arange(len(centers))))


def show(path: Path | str, output: Path | str) -> Path:
    """Draw a recording to a PNG: waveform above, mel spectrogram in dB below, on one time axis.

    The spectrogram is taken before the logarithm's normalization, at 8 kHz; a network gets what
    lies between the orange lines.

    Raises
    ------
    AudioError
        When the recording cannot be read; nothing is written then.
    """
    from matplotlib.figure import Figure

    samples, rate = read_audio(path)
    _, start_s, end_s = cut_clip(samples, rate, str(path))
    mel = mel_spectrogram(resample(samples - samples.mean(), rate), FRONT_END)
    level_db = 10 * np.log10(np.maximum(mel / mel.max(), 10 ** (-RANGE_DB / 10)))
    centers_hz = mel_filter_bank(FRONT_END).argmax(axis=1) * SAMPLE_RATE / FRONT_END.n_fft
    hop_s = FRONT_END.hop_ms / 1000

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
