"""Write docs/augmentation.md: every transform before and after, as a picture and as a sound.

    python docs/make_augmentation.py

The voices are synthetic ones that ship with the package. Sounds of spectrograms are guessed back by
Griffin and Lim's algorithm, so they are rougher than what they show. Same versions, same bytes.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Generator, Tensor

from spoken_digits.audio import SAMPLE_RATE, read_audio, to_clip
from spoken_digits.lab.augmentation import spectrogram as spectrograms
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.augmentation.policies import POLICIES, Policy, augmented_log_mel
from spoken_digits.lab.features import FRONT_ENDS, LogMel, frame_mask
from spoken_digits.lab.runs import write_whole

DOCS = Path(__file__).parent
MEDIA = DOCS / "augmentation"
VOICES = Path(str(files("spoken_digits") / "assets" / "voices"))
# Drawn and sounded finer in time than a network hears: a phase is guessed from the overlap.
FINE = LogMel(replace(FRONT_ENDS["ours"], hop_ms=4.0))


@dataclass(frozen=True)
class Batch:
    """A clip and one of another voice: samples, power and normalized log-mel, all padded."""

    samples: Tensor  # (B, L)
    lengths: Tensor  # (B,)
    power: Tensor  # (B, F, T)
    log_mel: Tensor  # (B, M, T)
    n_frames: Tensor  # (B,)
    mask: Tensor  # (B, 1, T)


@dataclass(frozen=True)
class Example:
    """What is shown of a transform: the words, and how to call it."""

    said: str
    of: Callable[..., object]
    run: Callable[[Batch, Generator], Tensor]
    key: int = 0  # one whose draw is strong enough to be seen


def full(value: float) -> Tensor:
    """Give the same parameter to both clips: (B,)."""
    return torch.full((2,), float(value))


def read() -> Batch:
    """Read the clip that is shown, and the other one that mixing needs."""
    clips = [to_clip(*read_audio(VOICES / name)) for name in ("7/rp-m7_0.flac", "2/us-f1_0.flac")]
    lengths = torch.tensor([len(clip) for clip in clips])
    samples = torch.zeros(2, int(lengths.max()))
    for row, clip in zip(samples, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    power, n_frames = FINE.power(samples), FINE.n_frames(lengths)
    mask = frame_mask(n_frames, power.shape[-1])
    return Batch(samples, lengths, power, FINE.normalize(FINE.mel(power), mask), n_frames, mask)


def room(rt60_s: float, generator: Generator) -> Tensor:
    """Make a response for both clips."""
    return waveforms.make_responses(generator, full(rt60_s), full(0))


def bars(shape: tuple[int, int], generator: Generator) -> Tensor:
    """Take stretches of a made-up recording: a pinging machine."""
    time_s = torch.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    ping = torch.sin(2 * torch.pi * 1200 * time_s) * torch.exp(-30 * (time_s % 0.12))
    return waveforms.random_stretches(shape, generator, ping)


W, S = waveforms, spectrograms
SAMPLES: dict[str, Example] = {
    "trim": Example(
        "what lies 20 dB and more below the loudest moment cut off either end",
        W.trim,
        lambda b, _: W.trim(b.samples, b.lengths, full(20))[0],
    ),
    "place": Example(
        "up to 150 ms of silence on either side",
        W.place,
        lambda b, g: W.place(b.samples, b.lengths, g, 1200)[0],
    ),
    "shift": Example(
        "100 ms later", W.shift, lambda b, _: W.shift(b.samples, b.lengths, full(800).long())
    ),
    "change_speed": Example(
        "1.25 times as fast",
        W.change_speed,
        lambda b, _: W.change_speed(b.samples, b.lengths, full(1.25))[0],
    ),
    "change_tempo": Example(
        "1.25 times as fast",
        W.change_tempo,
        lambda b, _: W.change_tempo(b.samples, b.lengths, full(1.25))[0],
    ),
    "shift_pitch": Example(
        "4 semitones up",
        W.shift_pitch,
        lambda b, _: W.shift_pitch(b.samples, b.lengths, full(4)),
    ),
    "convert_voice": Example(
        "formants 1.15, fundamental 1.3 and pace 0.9 times as high",
        W.convert_voice,
        lambda b, _: W.convert_voice(b.samples, b.lengths, full(1.15), full(1.3), full(0.9))[0],
    ),
    "add_breath": Example(
        "a harmonics-to-noise ratio of 5 dB",
        W.add_breath,
        lambda b, g: W.add_breath(b.samples, b.lengths, g, full(5)),
    ),
    "gain": Example("6 dB softer", W.gain, lambda b, _: W.gain(b.samples, full(-6))),
    "scale": Example("a deviation of 0.3", W.scale, lambda b, g: W.scale(b.samples, g, 0.3)),
    "jitter": Example(
        "a deviation of 0.003",
        W.jitter,
        lambda b, g: W.jitter(b.samples, b.lengths, g, full(0.003)),
    ),
    "colored_noise": Example(
        "pink, added at 10 dB",
        W.colored_noise,
        lambda b, g: W.add_noise(
            b.samples, b.lengths, W.colored_noise(b.samples.shape, g, full(-1)), full(10)
        ),
    ),
    "add_noise": Example(
        "a recording of a machine at 5 dB, by `random_stretches`",
        W.add_noise,
        lambda b, g: W.add_noise(b.samples, b.lengths, bars(b.samples.shape, g), full(5)),
    ),
    "reverberate": Example(
        "RT60 of 0.5 s, direct path as strong as the tail, by `make_responses`",
        W.reverberate,
        lambda b, g: W.reverberate(b.samples, b.lengths, room(0.5, g)),
    ),
    "equalize": Example(
        "a deviation of 6 dB", W.equalize, lambda b, g: W.equalize(b.samples, b.lengths, g, 6.0)
    ),
    "limit_bandwidth": Example(
        "up to 1.8 kHz",
        W.limit_bandwidth,
        lambda b, _: W.limit_bandwidth(b.samples, b.lengths, full(1800)),
    ),
    "reject_band": Example(
        "1 to 1.6 kHz",
        W.reject_band,
        lambda b, _: W.reject_band(b.samples, b.lengths, full(1000), full(1600)),
    ),
    "clip_level": Example(
        "20 dB below the peak",
        W.clip_level,
        lambda b, _: W.clip_level(b.samples, b.samples.abs().amax(1) / 10),
    ),
    "clip_fraction": Example(
        "a third of the samples",
        W.clip_fraction,
        lambda b, _: W.clip_fraction(b.samples, b.lengths, full(1 / 3)),
    ),
    "quantize": Example("7 bits", W.quantize, lambda b, _: W.quantize(b.samples, full(7))),
    "compand": Example("the only strength there is", W.compand, lambda b, _: W.compand(b.samples)),
    "drop_time": Example(
        "up to half of the clip",
        W.drop_time,
        lambda b, g: W.drop_time(b.samples, b.lengths, g, full(0.5)),
    ),
}
POWER: dict[str, Example] = {
    "warp (frequency)": Example(
        "frequencies 1.2 times as high",
        S.warp,
        lambda b, _: S.warp(b.power, b.n_frames, full(1 / 1.2), full(1))[0],
    ),
    "warp (tempo)": Example(
        "1.3 times as fast",
        S.warp,
        lambda b, _: S.warp(b.power, b.n_frames, full(1), full(1.3))[0],
    ),
    "bend": Example(
        "frequencies and moments moved by a few percent, here more, there less",
        S.bend,
        lambda b, g: S.bend(b.power, b.n_frames, g, 0.03, 0.08),
    ),
    "shift_pitch": Example(
        "harmonics 1.3 times as high, formants where they were",
        S.shift_pitch,
        lambda b, _: S.shift_pitch(b.power, full(1.3), SAMPLE_RATE),
    ),
    "equalize": Example(
        "a deviation of 6 dB", S.equalize, lambda b, g: S.equalize(b.power, g, 6.0)
    ),
    "add_noise": Example(
        "at 10 dB", S.add_noise, lambda b, g: S.add_noise(b.power, b.mask, g, (10, 10))
    ),
}
LOG_MEL: dict[str, Example] = {
    "freq_mixstyle": Example(
        "with the voice of another word",
        S.freq_mixstyle,
        lambda b, g: S.freq_mixstyle(b.log_mel, b.mask, g, 1.0),
        key=30,
    ),
    "mixup": Example(
        "with another word of another voice",
        S.mixup,
        lambda b, g: S.mixup(b.log_mel, b.mask, torch.eye(2), g, 4.0)[0],
        key=36,
    ),
    "warp_time": Example(
        "the middle a sixth of the clip later",
        S.warp_time,
        lambda b, _: S.warp_time(b.log_mel, b.n_frames, b.n_frames / 2, b.n_frames * 2 / 3),
    ),
    "mask_freq": Example(
        "up to 16 of 40 bands", S.mask_freq, lambda b, g: S.mask_freq(b.log_mel, g, 16), key=25
    ),
    "mask_time": Example(
        "up to half of the frames",
        S.mask_time,
        lambda b, g: S.mask_time(b.log_mel, b.n_frames, g, 0.5),
        key=19,
    ),
}


def sound_of_power(power: Tensor) -> np.ndarray:
    """Guess samples (L,) that have this power spectrogram (F, T)."""
    front_end = FINE.front_end
    return librosa.griffinlim(
        power.clamp_min(0).sqrt().numpy(),
        n_iter=60,
        hop_length=front_end.hop_length,
        win_length=front_end.window_length,
        n_fft=front_end.n_fft,
        init=None,
        momentum=0.9,
    )


def sound_of_log_mel(log_mel: Tensor) -> np.ndarray:
    """Guess samples (L,) that have this log-mel spectrogram (M, T)."""
    mel = (log_mel.exp() - FINE.front_end.floor).clamp_min(0)
    return sound_of_power(torch.linalg.pinv(FINE.bank) @ mel)


def picture(before: Tensor, after: Tensor) -> bytes:
    """Draw two log-mel spectrograms (M, T) side by side, on one scale: PNG."""
    longest = max(before.shape[1], after.shape[1])
    figure = Figure(figsize=(6, 1.7), dpi=80, layout="constrained")
    for axes, (title, log_mel) in zip(
        figure.subplots(1, 2, sharey=True),
        (("before", before), ("after", after)),
        strict=True,
    ):
        end_s = log_mel.shape[1] * FINE.front_end.hop_ms / 1000
        axes.imshow(
            log_mel,
            origin="lower",
            aspect="auto",
            cmap="magma",
            interpolation="nearest",
            vmin=float(before.min()),
            vmax=float(before.max()),
            extent=(0, end_s, 0, len(log_mel)),
        )
        axes.set_xlim(0, longest * FINE.front_end.hop_ms / 1000)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("time (s)", fontsize=7)
        axes.tick_params(labelsize=7)
    figure.axes[0].set_ylabel("mel band", fontsize=7)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    # A palette makes it an eighth of the size.
    colors = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()).quantize(64)
    colors.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def sound(samples: np.ndarray) -> bytes:
    """Encode as FLAC; made softer only where it would pass full scale."""
    buffer = io.BytesIO()
    peak = max(1.0, float(np.abs(samples).max()))
    soundfile.write(buffer, samples / peak, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def log_mel_of(samples: Tensor) -> Tensor:
    """Return the normalized log-mel spectrogram (M, T) of samples (L,)."""
    return FINE(samples[None])[0][0]


def section(stem: str, title: str, text: str, before: Tensor, after: Tensor, heard: np.ndarray):
    """Write the picture and the sound of one transform and return its part of the page."""
    write_whole(MEDIA / f"{stem}.png", picture(before, after))
    write_whole(MEDIA / f"{stem}.flac", sound(heard))
    return (
        f"### {title}\n\n{text} ([listen](augmentation/{stem}.flac))\n\n"
        f"![{title}, before and after](augmentation/{stem}.png)\n"
    )


def summary(function: Callable[..., object]) -> str:
    """First sentence of a docstring, its shapes left out."""
    line = (function.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    line = " ".join(line.split())
    return line.split(": (B")[0].rstrip(".").split(". (B")[0].replace(" (B,)", "")


def table(policies: dict[str, Policy]) -> str:
    """Set the policies side by side: a row for each field that one of them sets."""
    default = Policy()
    names = list(policies)
    rows = [f"| field | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for field in vars(default):
        values = [getattr(policy, field) for policy in policies.values()]
        if all(value == getattr(default, field) for value in values):
            continue
        shown = [
            ""
            # How wide a mask would be is no question where there is none.
            if policy == default
            or (
                value == getattr(default, field) and field not in ("max_freq_mask", "max_time_mask")
            )
            else f"{value}".strip("()")
            for policy, value in zip(policies.values(), values, strict=True)
        ]
        rows.append(f"| `{field}` | {' | '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    """Write the page and what it shows."""
    torch.set_num_threads(1)
    MEDIA.mkdir(exist_ok=True)
    batch = read()
    length, frames = int(batch.lengths[0]), int(batch.n_frames[0])
    before = batch.log_mel[0, :, :frames]
    write_whole(MEDIA / "before.flac", sound(batch.samples[0, :length].numpy()))
    parts = [
        "<!-- Written by docs/make_augmentation.py; change that. -->",
        "# Augmentation, seen and heard",
        "Each transform on a synthetic voice that says “seven” "
        "([listen](augmentation/before.flac)), stronger than a policy has it, so that it can be "
        "seen. The functions are those of `spoken_digits.lab.augmentation.waveform` and "
        "`spoken_digits.lab.augmentation.spectrogram`; `spoken_digits.lab.augmentation.policies` "
        "chains them.",
        "## Policies",
        table(POLICIES),
        "## On samples",
    ]
    for name, example in SAMPLES.items():
        after = example.run(batch, torch.Generator().manual_seed(example.key))[0]
        after = after[: int(after.abs().gt(0).nonzero().max()) + 1]
        text = f"{summary(example.of)}. Here: {example.said}."
        stem = f"samples-{name}"
        shown = log_mel_of(after)
        parts.append(section(stem, f"`waveforms.{name}`", text, before, shown, after.numpy()))
    parts.append("## On power spectrograms")
    for name, example in POWER.items():
        after = example.run(batch, torch.Generator().manual_seed(example.key))[0]
        if "tempo" in name:
            after = after[:, : round(frames / 1.3)]
        after = after[:, :frames]
        mask = torch.ones(1, 1, after.shape[1])
        shown = FINE.normalize(FINE.mel(after[None]), mask)[0]
        text = f"{summary(example.of)}. Here: {example.said}."
        stem = "power-" + name.replace(" (", "-").rstrip(")")
        heard = sound_of_power(after)
        parts.append(section(stem, f"`spectrograms.{name}`", text, before, shown, heard))
    parts.append("## On normalized log-mel spectrograms")
    for name, example in LOG_MEL.items():
        after = example.run(batch, torch.Generator().manual_seed(example.key))[0]
        text = f"{summary(example.of)}. Here: {example.said}."
        shown = after[:, :frames]
        heard = sound_of_log_mel(shown)
        stem = f"log-mel-{name}"
        parts.append(section(stem, f"`spectrograms.{name}`", text, before, shown, heard))
    parts.append("## Whole policies")
    for name, policy in POLICIES.items():
        if name == "none":
            continue
        generator = torch.Generator().manual_seed(1)
        log_mel, mask = augmented_log_mel(FINE, batch.samples, batch.lengths, policy, generator)
        shown = log_mel[0, :, : int(mask[0].sum())]
        text = f"What a network may be given for the same clip under the policy `{name}`."
        stem, heard = f"policy-{name}", sound_of_log_mel(shown)
        parts.append(section(stem, f"`{name}`", text, before, shown, heard))
    page = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    write_whole(DOCS / "augmentation.md", page.encode())


if __name__ == "__main__":
    main()
