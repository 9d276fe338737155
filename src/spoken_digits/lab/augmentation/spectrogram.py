"""Augmentation of spectrograms: other speakers and microphones, noise, masks.

Shapes: B batch, F frequency bins, M mel bands, T frames, C classes. Each transform is a plain
function of a padded batch that returns new tensors and leaves padding alone. What is random is
drawn, each example's own, from the generator that is given; what is not takes its parameters as
tensors (B,). Speaker variation is applied to power spectrograms, between the Fourier transform
and the mel filters, where a warp is an interpolation and costs little.
"""

import math

import torch
from scipy.special import betaincinv
from torch import Generator, Tensor, nn

from spoken_digits.lab.features import frame_mask

__all__ = [
    "add_noise",
    "bend",
    "equalize",
    "equalizer_gain_db",
    "formant_envelope",
    "freq_mixstyle",
    "mask_freq",
    "mask_time",
    "mixup",
    "noise_gain",
    "reverberate",
    "shift_pitch",
    "warp",
    "warp_time",
]

_LONGEST_FORMANT_LAG_S = 2e-3  # cepstrum above: harmonics of voices up to 500 Hz; below: formants
_QUIETEST = 1e-20  # keeps the logarithm of silence finite


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def warp(
    power: Tensor, n_frames: Tensor, frequency_ratio: Tensor, tempo_ratio: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale the frequency axis and the time axis of power spectrograms, each example by its own.

    The frequency axis simulates another vocal tract length (VTLP, Jaitly and Hinton 2013): what was
    at `frequency_ratio` times f moves to f. The time axis makes speech `tempo_ratio` times as fast.

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
    power = _interpolate(power, bins.clamp(max=F - 1))
    # First frame to first and last to last, so that nothing of a clip is cut.
    step = (n_frames - 1) / (warped_frames - 1)
    moments = torch.arange(int(warped_frames.max())) * step[:, None]
    return _interpolate_last(power, moments.clamp(max=T - 1)), warped_frames


def bend(
    power: Tensor,
    n_frames: Tensor,
    generator: Generator,
    frequency_std: float,
    time_std: float,
) -> Tensor:
    """Bend both axes of power spectrograms smoothly: (B, F, T) to (B, F, T).

    Speakers differ by more than vocal tract length and tempo: the proportions of pharynx and mouth,
    and of the parts of a word. Along each axis, of length 1, every point x is read
    at x + sum_k a_k sin(pi k x), k = 1, 2, 3: both ends stay. The amplitudes are normal, their
    standard deviation is the given one over k, and they are scaled down together where the axis
    would fold (slope below a tenth); n_frames (B,), padding stays zero.
    """
    B, F, T = power.shape
    last = (n_frames - 1).clamp_min(1)[:, None]
    bins = torch.linspace(0, 1, F).expand(B, F)
    moments = (torch.arange(T) / last).clamp(max=1)
    position = _bent(bins, generator, frequency_std) * (F - 1)
    power = _interpolate(power, position.clamp(0, F - 1))
    position = _bent(moments, generator, time_std) * last
    return _interpolate_last(power, position.clamp(0, T - 1)) * frame_mask(n_frames, T)


def _bent(x: Tensor, generator: Generator, std: float, order: int = 3) -> Tensor:
    k = torch.arange(1, order + 1)
    amplitude = std * torch.randn(len(x), order, generator=generator) / k  # (B, order)
    steepest = (math.pi * k * amplitude.abs()).sum(1, keepdim=True)
    amplitude = amplitude * (0.9 / steepest.clamp_min(0.9))
    return x + (amplitude[..., None] * torch.sin(math.pi * k[:, None] * x[:, None])).sum(1)


def _interpolate(x: Tensor, position: Tensor) -> Tensor:
    """Read (B, P, R) at fractional positions (B, P') of its middle axis, linearly: (B, P', R)."""
    B, P, R = x.shape
    before = position.floor().long().clamp(max=max(P - 2, 0))
    after = (before + 1).clamp(max=P - 1)
    # Whole rows are copied: several times faster than a gather, element by element.
    rows = x.reshape(B * P, R)
    first = P * torch.arange(B)[:, None]
    low = rows.index_select(0, (before + first).flatten())
    high = rows.index_select(0, (after + first).flatten())
    return low.lerp_(high, (position - before).flatten()[:, None]).view(B, -1, R)


def _interpolate_last(x: Tensor, position: Tensor) -> Tensor:
    """As `_interpolate`, along the last axis: (B, R, P) and (B, P') to (B, R, P')."""
    return _interpolate(x.transpose(1, 2), position).transpose(1, 2)


def shift_pitch(power: Tensor, pitch_ratio: Tensor, sample_rate: int) -> Tensor:
    """Move the harmonics and leave the formants and the tempo: (B, F, T) to (B, F, T).

    The logarithm of each frame is divided by cepstral smoothing (Oppenheim and Schafer 1968) into
    the envelope of the vocal tract and the ripple of the harmonics, whose frequency axis is
    stretched. Harmonics nearer than the window resolves (80 Hz at 25 ms) are no ripple: very low
    pitch stays as it is. An interpolation of power has no phase: no echo of a phase vocoder.

    Parameters
    ----------
    power
        Linear frequency from zero to half the sample rate.
    pitch_ratio
        What the fundamental is multiplied by, (B,), positive; 1 changes nothing.
    sample_rate
        Of the samples that the spectrogram was taken from.
    """
    F = power.shape[1]
    _, ripple = _log_power_and_ripple(power, sample_rate)
    bins = torch.arange(F) / pitch_ratio[:, None]
    moved = _interpolate_last(ripple, bins.clamp(max=F - 1))
    return power * moved.sub_(ripple).exp_().transpose(1, 2)


def formant_envelope(power: Tensor, read_at: Tensor | None, sample_rate: int) -> Tensor:
    """Logarithm of each frame's envelope, what `shift_pitch` leaves: (B, F, T) to (B, F, T).

    With ratios `read_at` (B,): how much it changes when it is read at so many times each frequency.
    """
    F = power.shape[1]
    log_power, ripple = _log_power_and_ripple(power, sample_rate)
    envelope = log_power - ripple
    if read_at is None:
        return envelope.transpose(1, 2)
    bins = torch.arange(F) * read_at[:, None]
    moved = _interpolate_last(envelope, bins.clamp(max=F - 1))
    return (moved - envelope).transpose(1, 2)


def _log_power_and_ripple(power: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Logarithm of each frame, and what the harmonics make of it: (B, F, T) to two (B, T, F)."""
    log_power = power.transpose(1, 2).clamp_min(_QUIETEST).log_()
    lifter = _lifter(power.shape[1], round(_LONGEST_FORMANT_LAG_S * sample_rate))
    return log_power, log_power @ lifter.to(log_power.dtype)


def _lifter(F: int, kept: int) -> Tensor:
    """Matrix that takes the cepstrum below lag `kept` out of logarithmic spectra (T, F): (F, F).

    Transform, cut and transform back, all linear, are one product, and cheaper so.
    """
    cepstra = torch.fft.irfft(torch.eye(F))  # (F, 2F - 2), even
    cepstra[:, :kept] = 0
    cepstra[:, cepstra.shape[1] - kept + 1 :] = 0
    lifter: Tensor = torch.fft.rfft(cepstra).real.contiguous()
    return lifter


def equalizer_gain_db(B: int, F: int, generator: Generator, std_db: float, order: int) -> Tensor:
    """Draw smooth random gains in decibels over F bins of linear frequency: (B, F).

    A sum of the first `order` cosines over frequency (the constant left out), each of a random
    normal amplitude with this standard deviation.
    """
    k = torch.arange(1, order + 1)[:, None]
    cosines = torch.cos(math.pi * k * (torch.arange(F) + 0.5) / F)  # (order, F)
    return std_db * torch.randn(B, order, generator=generator) @ cosines


def equalize(power: Tensor, generator: Generator, std_db: float, order: int = 4) -> Tensor:
    """Random smooth equalizer: other microphones and rooms. (B, F, T) to (B, F, T).

    The gains are `equalizer_gain_db`'s.
    """
    B, F, _ = power.shape
    gain_db = equalizer_gain_db(B, F, generator, std_db, order)
    return power * (10 ** (gain_db / 10))[..., None]


def noise_gain(signal_energy: Tensor, noise_energy: Tensor, snr_db: Tensor) -> Tensor:
    """Factor of noise power that gives a signal-to-noise ratio in dB; shapes as those given."""
    return signal_energy / noise_energy.clamp_min(_QUIETEST) * 10 ** (-snr_db / 10)


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
    noise = torch.rand(power.shape, generator=generator)
    # In place: at these sizes a fresh array costs as much as what is computed into it.
    noise.clamp_min_(1e-9).log_().neg_().mul_(density).mul_(mask)
    signal, added = ((x * mask).sum((1, 2), keepdim=True) for x in (power, noise))
    return power + noise.mul_(noise_gain(signal, added, ratio_db))


def reverberate(
    power: Tensor,
    generator: Generator,
    p: float,
    decay_frames: tuple[float, float],
    wet: tuple[float, float],
) -> Tensor:
    """Smear power along time as the late reverberation of a room does: (B, M, T) to (B, M, T).

    The tail's power decays exponentially (Polack 1988), as power, since its phase is random.

    Parameters
    ----------
    power
        Power, of bins or of mel bands.
    generator
        Of all draws.
    p
        Probability that an example is changed.
    decay_frames
        Minimum and maximum of the frames in which the tail falls to 1/e.
    wet
        Minimum and maximum power of the tail relative to the direct sound.
    """
    B = len(power)
    decay = _uniform((B, 1), *decay_frames, generator)
    level = _uniform((B, 1), *wet, generator) * (torch.rand(B, 1, generator=generator) < p)
    tail = torch.exp(-torch.arange(1, 1 + round(2 * decay_frames[1])) / decay)
    kernel = torch.cat([torch.ones(B, 1), level * tail / tail.sum(1, keepdim=True)], 1)
    # One channel for each example, whose bands are a batch.
    padded = nn.functional.pad(power.transpose(0, 1), (kernel.shape[1] - 1, 0))
    smeared = nn.functional.conv1d(padded, kernel.flip(1)[:, None], groups=B)
    return smeared.transpose(0, 1)


def freq_mixstyle(log_mel: Tensor, mask: Tensor, generator: Generator, p: float) -> Tensor:
    """Freq-MixStyle: mix each band's mean and std with another clip's: (B, M, T) to (B, M, T).

    MixStyle (Zhou et al. 2021) along frequency, as Schmid et al. 2022 use it against unseen
    microphones: a band's statistics carry speaker and channel, hardly the word. A clip is
    changed with probability `p`, and takes up to half of its partner's; mask (B, 1, T).
    """
    B = len(log_mel)
    count = mask.sum(-1, keepdim=True)
    mean = (log_mel * mask).sum(-1, keepdim=True) / count  # (B, M, 1)
    centered = (log_mel - mean) * mask
    deviation = torch.sqrt(centered.square().sum(-1, keepdim=True) / count + 1e-4)
    partner = torch.randperm(B, generator=generator)
    chosen = torch.rand((B, 1, 1), generator=generator) < p
    weight = 0.5 * torch.rand((B, 1, 1), generator=generator) * chosen
    scale = torch.lerp(deviation, deviation[partner], weight) / deviation
    return (centered * scale + torch.lerp(mean, mean[partner], weight)) * mask


def mask_freq(log_mel: Tensor, generator: Generator, max_width: float) -> Tensor:
    """Set 0 to `max_width` adjacent bands to zero, the mean: (B, M, T) to (B, M, T).

    SpecAugment's frequency mask (Park et al. 2019), one a call.
    """
    B, M, _ = log_mel.shape
    width = max_width * torch.rand(B, 1, generator=generator)
    start = (M - width) * torch.rand(B, 1, generator=generator)
    band = torch.arange(M)
    return log_mel * ~((band >= start) & (band < start + width))[:, :, None]


def mask_time(
    log_mel: Tensor, n_frames: Tensor, generator: Generator, max_fraction: float
) -> Tensor:
    """Set up to `max_fraction` of a clip's frames to zero, the mean: (B, M, T) to (B, M, T).

    SpecAugment's time mask (Park et al. 2019), one a call, its width relative to the clip.
    """
    B, _, T = log_mel.shape
    width = max_fraction * n_frames[:, None] * torch.rand(B, 1, generator=generator)
    start = (n_frames[:, None] - width) * torch.rand(B, 1, generator=generator)
    frame = torch.arange(T)
    return log_mel * ~((frame >= start) & (frame < start + width))[:, None]


def warp_time(log_mel: Tensor, n_frames: Tensor, point: Tensor, moved_point: Tensor) -> Tensor:
    """Move one moment of each clip, what is before and after it with it: (B, M, T) to (B, M, T).

    SpecAugment's time warp (Park et al. 2019), of first order: one end of the clip, the moment and
    the other end are fixed, the frames between stand evenly.

    Parameters
    ----------
    log_mel, n_frames
        Normalized log-mel spectrogram, and the frames of each clip (B,).
    point, moved_point
        Frame that is moved and where it comes to, (B,), both above zero and below n_frames - 1; a
        clip of fewer than three frames stays as it is.
    """
    last = (n_frames - 1).clamp_min(2)[:, None].to(log_mel.dtype)
    point, moved = (x[:, None].minimum(last - 1).clamp_min(1) for x in (point, moved_point))
    frame = torch.arange(log_mel.shape[-1])[None]
    before = frame * (point / moved)
    after = point + (frame - moved) * ((last - point) / (last - moved))
    position = torch.where(frame < moved, before, after)
    changed = (frame < n_frames[:, None]) & (n_frames[:, None] > 2)
    position = torch.where(changed, position, frame.to(position.dtype))
    return _interpolate_last(log_mel, position.clamp(0, log_mel.shape[-1] - 1))


def mixup(
    log_mel: Tensor, mask: Tensor, targets: Tensor, generator: Generator, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix every clip with another one, and their targets alike.

    Zhang et al. 2018, equation 1; the weight of the clip itself follows Beta(alpha, alpha), drawn
    for each example by its inverse distribution, and is never the smaller one.

    Parameters
    ----------
    log_mel, mask
        (B, M, T) normalized, zero at padding, and (B, 1, T).
    targets
        Probability of each class (B, C), as one-hot rows.
    alpha
        Above zero; small values leave most clips nearly alone.

    Returns
    -------
    Mixed log_mel (B, M, T), mask of the longer of the two (B, 1, T), mixed targets (B, C).
    """
    B = len(log_mel)
    partner = torch.randperm(B, generator=generator)
    uniform = torch.rand(B, generator=generator, dtype=torch.float64)
    drawn = torch.from_numpy(betaincinv(alpha, alpha, uniform.cpu().numpy())).to(log_mel)
    weight = 1 - drawn.maximum(1 - drawn)  # of the partner
    return (
        torch.lerp(log_mel, log_mel[partner], weight[:, None, None]),
        torch.where(weight[:, None, None] > 0, mask.maximum(mask[partner]), mask),
        torch.lerp(targets, targets[partner], weight[:, None]),
    )
