"""Augmentation in time and in frequency: other voices and microphones from those at hand.

Shapes: B batch, L samples, F frequency bins, M mel bands, T frames. Each transform is a plain
function of a padded batch: it draws every example's parameters from the generator that it is given,
returns new tensors, and leaves padding alone. What changes the voice is done to power spectrograms,
between the Fourier transform and the mel filters, where a warp is an interpolation and costs
little.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from spoken_digits.lab.features import LogMel, frame_mask

__all__ = [
    "POLICIES",
    "Policy",
    "add_noise",
    "augmented_log_mel",
    "equalize",
    "mask_bands",
    "mask_frames",
    "mix_style",
    "place",
    "warp",
]


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def place(
    waveform: Tensor, lengths: Tensor, generator: Generator, margin: int
) -> tuple[Tensor, Tensor]:
    """Random placement: put 0 to `margin` samples of silence before and after each clip.

    (B, L) and (B,) to (B, L') and (B,), where the silence counts as part of the clip: frames fall
    elsewhere on the sound, and a network learns not to care how tightly a clip was cut.
    """
    B, L = waveform.shape
    lead, trail = torch.randint(0, margin + 1, (2, B), generator=generator)
    placed_lengths = lengths + lead + trail
    index = torch.arange(int(placed_lengths.max())) - lead[:, None]
    inside = (index >= 0) & (index < lengths[:, None])
    return waveform.gather(1, index.clamp(0, L - 1)) * inside, placed_lengths


def warp(
    power: Tensor, n_frames: Tensor, frequency_ratio: Tensor, tempo_ratio: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale the frequency axis and the time axis of power spectrograms, each example by its own.

    Frequency warp stands for another vocal tract length (Jaitly and Hinton 2013): what was at
    `frequency_ratio` times f comes to f. Tempo warp makes speech `tempo_ratio` times as fast.

    Parameters
    ----------
    power
        (B, F, T), linear frequency from zero to half the sample rate.
    n_frames
        Frames that hold sound, (B,).
    frequency_ratio, tempo_ratio
        (B,), positive; 1 leaves that axis as it is.

    Returns
    -------
    Warped power (B, F, T') and its frames (B,); beyond the last bin the last one is repeated.
    """
    _, F, T = power.shape
    warped_frames = (n_frames / tempo_ratio).round().long().clamp_min(2)
    bins = torch.arange(F) * frequency_ratio[:, None]
    power = _interpolate(power.transpose(1, 2), bins.clamp(max=F - 1)).transpose(1, 2)
    # First frame to first and last to last, so that nothing of a clip is cut.
    step = (n_frames - 1) / (warped_frames - 1)
    moments = torch.arange(int(warped_frames.max())) * step[:, None]
    return _interpolate(power, moments.clamp(max=T - 1)), warped_frames


def _interpolate(x: Tensor, position: Tensor) -> Tensor:
    """Read (B, R, P) at fractional positions (B, P') of its last axis, linearly: (B, R, P')."""
    before = position.floor().long().clamp(max=max(x.shape[-1] - 2, 0))
    after = (before + 1).clamp(max=x.shape[-1] - 1)
    rows = (-1, x.shape[1], -1)
    low = x.gather(2, before[:, None].expand(rows))
    high = x.gather(2, after[:, None].expand(rows))
    return torch.lerp(low, high, (position - before)[:, None])


def equalize(power: Tensor, generator: Generator, deviation_db: float, order: int = 4) -> Tensor:
    """Random smooth equalizer: other microphones and rooms. (B, F, T) to (B, F, T).

    The gain in decibels is a sum of the first `order` cosines over frequency (the constant left
    out), each of a random amplitude with this deviation.
    """
    B, F, _ = power.shape
    k = torch.arange(1, order + 1)[:, None]
    cosines = torch.cos(math.pi * k * (torch.arange(F) + 0.5) / F)  # (order, F)
    gain_db = deviation_db * torch.randn(B, order, generator=generator) @ cosines
    return power * (10 ** (gain_db / 10))[..., None]


def add_noise(
    power: Tensor, mask: Tensor, generator: Generator, snr_db: tuple[float, float]
) -> Tensor:
    """Stationary coloured noise at a random signal-to-noise ratio, uniform in decibels.

    The noise's power is exponentially distributed in each bin, as a Fourier transform of Gaussian
    noise is, and goes with frequency as f to a power between -1.5 (between pink and brown) and 0.3.
    Its sum over a clip stands at exactly the ratio drawn. (B, F, T), mask (B, 1, T).
    """
    B, F, _ = power.shape
    ratio_db = _uniform((B, 1, 1), *snr_db, generator)
    color = _uniform((B, 1, 1), -1.5, 0.3, generator)
    density = ((torch.arange(F) + 2.0) / F)[:, None] ** color
    uniform = torch.rand(power.shape, generator=generator).clamp_min(1e-9)
    noise = -torch.log(uniform) * density * mask
    level = (power * mask).sum((1, 2), keepdim=True) / noise.sum((1, 2), keepdim=True)
    return power + noise * level * 10 ** (-ratio_db / 10)


def mix_style(log_mel: Tensor, mask: Tensor, generator: Generator, share: float) -> Tensor:
    """Give clips some of another clip's mean and deviation in each band: (B, M, T) to (B, M, T).

    MixStyle (Zhou et al. 2021) along frequency, as Schmid et al. 2022 use it against unseen
    microphones: what a band's statistics tell is the voice and the channel, hardly the word. Of all
    clips, `share` are changed, taking up to half of their partner's statistics; mask (B, 1, T).
    """
    B = len(log_mel)
    count = mask.sum(-1, keepdim=True)
    mean = (log_mel * mask).sum(-1, keepdim=True) / count  # (B, M, 1)
    centered = (log_mel - mean) * mask
    deviation = torch.sqrt(centered.square().sum(-1, keepdim=True) / count + 1e-4)
    partner = torch.randperm(B, generator=generator)
    chosen = torch.rand((B, 1, 1), generator=generator) < share
    weight = 0.5 * torch.rand((B, 1, 1), generator=generator) * chosen
    scale = torch.lerp(deviation, deviation[partner], weight) / deviation
    return (centered * scale + torch.lerp(mean, mean[partner], weight)) * mask


def mask_bands(log_mel: Tensor, generator: Generator, widest: float) -> Tensor:
    """Set 0 to `widest` neighbouring bands to zero, the mean: (B, M, T) to (B, M, T).

    SpecAugment's frequency mask (Park et al. 2019), one a call.
    """
    B, M, _ = log_mel.shape
    width = widest * torch.rand(B, 1, generator=generator)
    start = (M - width) * torch.rand(B, 1, generator=generator)
    band = torch.arange(M)
    return log_mel * ~((band >= start) & (band < start + width))[:, :, None]


def mask_frames(
    log_mel: Tensor, n_frames: Tensor, generator: Generator, widest_share: float
) -> Tensor:
    """Set up to `widest_share` of a clip's frames to zero, the mean: (B, M, T) to (B, M, T).

    SpecAugment's time mask (Park et al. 2019), one a call, its width relative to the clip.
    """
    B, _, T = log_mel.shape
    width = widest_share * n_frames[:, None] * torch.rand(B, 1, generator=generator)
    start = (n_frames[:, None] - width) * torch.rand(B, 1, generator=generator)
    frame = torch.arange(T)
    return log_mel * ~((frame >= start) & (frame < start + width))[:, None]


@dataclass(frozen=True)
class Policy:
    """How strongly to augment; zero or None leaves a transform out.

    Attributes
    ----------
    margin_ms
        Longest silence that random placement adds on either side.
    frequency_warp, tempo_warp
        Deviation to either side, as a natural logarithm: 0.1 draws ratios from 0.905 to 1.105.
    equalizer_db
        Deviation of each of the equalizer's cosines.
    noise_snr_db
        Lowest and highest signal-to-noise ratio.
    mixed_styles
        Share of clips that take on some of another's style.
    band_masks, widest_band_mask
        Number of masks and the widest, as a share of the bands.
    frame_masks, widest_frame_mask
        Number of masks and the widest, as a share of the clip's frames.
    """

    margin_ms: float = 0.0
    frequency_warp: float = 0.0
    tempo_warp: float = 0.0
    equalizer_db: float = 0.0
    noise_snr_db: tuple[float, float] | None = None
    mixed_styles: float = 0.0
    band_masks: int = 0
    widest_band_mask: float = 0.2
    frame_masks: int = 0
    widest_frame_mask: float = 0.15


def augmented_log_mel(
    front_end: LogMel, waveform: Tensor, lengths: Tensor, policy: Policy, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Take a padded batch the whole way, augmented: (B, L), (B,) to (B, M, T), mask (B, 1, T).

    With the policy ``none`` this is `front_end` itself.
    """
    B = len(waveform)
    if policy.margin_ms:
        margin = round(policy.margin_ms * front_end.front_end.sample_rate_hz / 1000)
        waveform, lengths = place(waveform, lengths, generator, margin)
    power, n_frames = front_end.power(waveform), front_end.n_frames(lengths)
    if policy.frequency_warp or policy.tempo_warp:
        ratios = [
            torch.exp(_uniform((B,), -deviation, deviation, generator))
            for deviation in (policy.frequency_warp, policy.tempo_warp)
        ]
        power, n_frames = warp(power, n_frames, *ratios)
    mask = frame_mask(n_frames, power.shape[-1])
    if policy.equalizer_db:
        power = equalize(power, generator, policy.equalizer_db)
    if policy.noise_snr_db:
        power = add_noise(power, mask, generator, policy.noise_snr_db)
    log_mel = front_end.normalize(front_end.mel(power), mask)
    if policy.mixed_styles:
        log_mel = mix_style(log_mel, mask, generator, policy.mixed_styles)
    for _ in range(policy.band_masks):
        log_mel = mask_bands(log_mel, generator, policy.widest_band_mask * log_mel.shape[1])
    for _ in range(policy.frame_masks):
        log_mel = mask_frames(log_mel, n_frames, generator, policy.widest_frame_mask)
    return log_mel, mask


POLICIES: dict[str, Policy] = {
    "none": Policy(),
    "light": Policy(margin_ms=60, band_masks=1, frame_masks=1),
    "basic": Policy(
        margin_ms=60,
        frequency_warp=0.17,
        tempo_warp=0.35,
        equalizer_db=4,
        noise_snr_db=(0, 50),
        mixed_styles=1.0,
        band_masks=1,
        frame_masks=1,
    ),
}
