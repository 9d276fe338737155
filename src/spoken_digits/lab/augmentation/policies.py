"""Augmentation policies: which transforms a training clip meets on its way to the network.

Shapes: B batch, L samples, M mel bands, T frames. The transforms themselves are functions of
`waveforms` and `spectrograms`; here each example's parameters are drawn, within the bounds of a
policy, from the one generator that is given. A transform that a policy leaves out draws nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from spoken_digits.lab.augmentation import spectrogram as spectrograms
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.features import LogMel, frame_mask

__all__ = ["ALONE", "POLICIES", "Policy", "augmented_log_mel", "augmented_waveform", "find_policy"]


@dataclass(frozen=True)
class Policy:
    """How strongly to augment; zero or None leaves a transform out.

    A deviation "to either side" is the bound of a uniform draw; of a ratio it is a natural
    logarithm: 0.1 draws ratios from 0.905 to 1.105.

    Attributes
    ----------
    quiet_edges_db
        How far below a clip's loudest moment its ends are cut off, lowest and highest: as in
        recordings that were cut to the word by their level, and lost a weak hiss.
    take_noise_snr_db
        Lowest and highest ratio of noise that belongs to the recording, brown to blue, and stops
        where that was cut: the silence of `margin_ms` has none.
    cut_share
        Share of clips that meet each of these two.
    margin_ms
        Longest silence that random placement adds on either side.
    frequency_warp, tempo_warp
        Vocal tract length and tempo, on power spectrograms: deviation to either side, logarithm.
    frequency_bend, tempo_bend
        Smooth distortion of both axes: deviation of its first sine, as a share of the axis.
    equalizer_db
        Deviation of each of the equalizer's cosines.
    noise_snr_db
        Lowest and highest signal-to-noise ratio of stationary noise, on power spectrograms.
    mixed_styles
        Share of clips that take on some of another's style.
    band_masks, widest_band_mask
        Number of masks and the widest, as a share of the bands.
    frame_masks, widest_frame_mask
        Number of masks and the widest, as a share of the clip's frames.
    pitch_warp
        Pitch without formants, on power spectrograms: deviation to either side, logarithm.
    time_warp
        SpecAugment's time warp: the farthest a moment is moved, as a share of the clip's frames.
    mixup_alpha
        Both parameters of the Beta distribution of mixup; applied in training, to targets as well.
    speed, tempo
        Of the samples, by resampling and by the phase vocoder: deviation to either side, logarithm.
    pitch_semitones
        Of the samples, by the phase vocoder: deviation to either side.
    gain_db, scaling, jitter
        Of the samples: gain to either side; deviation of a normal factor; deviation of white noise,
        as a share of the clip's peak.
    shift_ms
        Farthest that a clip is moved within its own length, to either side.
    rt60_s, direct_to_reverberant_db
        Shortest and longest reverberation time; least and most energy of the direct path over the
        tail's. Where measured responses are at hand, one of them is taken instead.
    background_snr_db
        Lowest and highest ratio of noise in the samples: stretches of a recording where one is at
        hand, otherwise noise between brown and white.
    bandwidth_hz
        Lowest and highest limit.
    low_cut_hz
        Highest frequency up to which all is taken away, as on a telephone line.
    widest_rejected_hz
        Widest band that is rejected, anywhere below half the sample rate.
    clipping_db, clipped_share
        Farthest that the clipping level lies below a clip's peak; largest share of samples clipped.
    bits, companding
        Fewest and most bits of linear PCM, the clip's peak being full scale; whether to go through
        8 bits of mu-law.
    dropouts, widest_dropout
        Number of stretches silenced and the longest, as a share of the clip.
    spoiled_share
        Share of clips that meet each of the transforms from `rt60_s` on.
    """

    quiet_edges_db: tuple[float, float] | None = None
    take_noise_snr_db: tuple[float, float] | None = None
    cut_share: float = 1.0
    margin_ms: float = 0.0
    frequency_warp: float = 0.0
    tempo_warp: float = 0.0
    frequency_bend: float = 0.0
    tempo_bend: float = 0.0
    equalizer_db: float = 0.0
    noise_snr_db: tuple[float, float] | None = None
    mixed_styles: float = 0.0
    band_masks: int = 0
    widest_band_mask: float = 0.2
    frame_masks: int = 0
    widest_frame_mask: float = 0.15
    pitch_warp: float = 0.0
    time_warp: float = 0.0
    mixup_alpha: float = 0.0
    speed: float = 0.0
    tempo: float = 0.0
    pitch_semitones: float = 0.0
    gain_db: float = 0.0
    scaling: float = 0.0
    jitter: float = 0.0
    shift_ms: float = 0.0
    rt60_s: tuple[float, float] | None = None
    direct_to_reverberant_db: tuple[float, float] = (0.0, 20.0)
    background_snr_db: tuple[float, float] | None = None
    bandwidth_hz: tuple[float, float] | None = None
    low_cut_hz: float = 0.0
    widest_rejected_hz: float = 0.0
    clipping_db: float = 0.0
    clipped_share: float = 0.0
    bits: tuple[int, int] | None = None
    companding: bool = False
    dropouts: int = 0
    widest_dropout: float = 0.1
    spoiled_share: float = 1.0


def _uniform(B: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand((B,), generator=generator)


def _ratios(B: int, deviation: float, generator: Generator) -> Tensor:
    return torch.exp(_uniform(B, -deviation, deviation, generator))


def augmented_waveform(
    waveform: Tensor,
    lengths: Tensor,
    policy: Policy,
    generator: Generator,
    sample_rate_hz: int,
    background: Tensor | None = None,
    responses: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what a policy does to samples: (B, L) and (B,) to (B, L') and (B,).

    In the order of nature: the voice, where it stands in the clip, the room, other sounds, the
    microphone and the line. `background` is a recording (K,), `responses` are measured ones (R, K).
    """
    B = len(waveform)
    if policy.speed:
        ratio = _ratios(B, policy.speed, generator)
        waveform, lengths = waveforms.change_speed(waveform, lengths, ratio)
    if policy.tempo:
        ratio = _ratios(B, policy.tempo, generator)
        waveform, lengths = waveforms.change_tempo(waveform, lengths, ratio)
    if policy.pitch_semitones:
        semitones = _uniform(B, -policy.pitch_semitones, policy.pitch_semitones, generator)
        waveform = waveforms.shift_pitch(waveform, lengths, semitones)
    if policy.gain_db:
        gain_db = _uniform(B, -policy.gain_db, policy.gain_db, generator)
        waveform = waveforms.gain(waveform, gain_db)
    if policy.scaling:
        waveform = waveforms.scale(waveform, generator, policy.scaling)
    waveform, lengths = _cut(waveform, lengths, policy, generator)
    if policy.margin_ms:
        margin = round(policy.margin_ms * sample_rate_hz / 1000)
        waveform, lengths = waveforms.place(waveform, lengths, generator, margin)
    if policy.shift_ms:
        farthest = policy.shift_ms * sample_rate_hz / 1000
        moved = _uniform(B, -farthest, farthest, generator).round().long()
        waveform = waveforms.shift(waveform, lengths, moved)
    if policy.jitter:
        deviation = policy.jitter * waveform.abs().amax(1)
        waveform = waveforms.jitter(waveform, lengths, generator, deviation)
    return _spoiled(waveform, lengths, policy, generator, sample_rate_hz, background, responses)


def _cut(
    waveform: Tensor, lengths: Tensor, policy: Policy, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Let some clips be as recordings that others cut to the word."""
    B = len(waveform)
    if policy.quiet_edges_db:
        below_db = _uniform(B, *policy.quiet_edges_db, generator)
        chosen = torch.rand((B,), generator=generator) < policy.cut_share
        below_db = torch.where(chosen, below_db, torch.inf)
        waveform, lengths = waveforms.trim_quiet(waveform, lengths, below_db)
    if policy.take_noise_snr_db:
        snr_db = _uniform(B, *policy.take_noise_snr_db, generator)
        exponent = _uniform(B, -2, 0.3, generator)
        chosen = torch.rand((B,), generator=generator) < policy.cut_share
        if chosen.any():
            noise = waveforms.colored_noise((B, waveform.shape[1]), generator, exponent)
            snr_db = torch.where(chosen, snr_db, torch.inf)
            waveform = waveforms.add_noise(waveform, lengths, noise, snr_db)
    return waveform, lengths


def _spoiled(
    waveform: Tensor,
    lengths: Tensor,
    policy: Policy,
    generator: Generator,
    sample_rate_hz: int,
    background: Tensor | None,
    responses: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Let each clip meet some of the room, the noise and the faults of microphone and line."""

    def some(waveform: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Change the share of clips that is spoiled; only they are computed."""
        if policy.spoiled_share == 1:
            return change(waveform, lengths)
        chosen = torch.rand(len(waveform), generator=generator) < policy.spoiled_share
        if not chosen.any():
            return waveform
        spoiled = waveform.clone()
        spoiled[chosen] = change(waveform[chosen], lengths[chosen])
        return spoiled

    def reverberate(x: Tensor, n: Tensor) -> Tensor:
        if responses is None and policy.rt60_s:
            rt60_s = _uniform(len(x), *policy.rt60_s, generator)
            ratio_db = _uniform(len(x), *policy.direct_to_reverberant_db, generator)
            room = waveforms.make_responses(generator, rt60_s, ratio_db, sample_rate_hz)
        elif responses is not None:
            room = responses[torch.randint(0, len(responses), (len(x),), generator=generator)]
        return waveforms.reverberate(x, n, room)

    def add_noise(x: Tensor, n: Tensor) -> Tensor:
        if background is None:
            exponent = _uniform(len(x), -2, 0, generator)
            noise = waveforms.colored_noise((len(x), x.shape[1]), generator, exponent)
        else:
            noise = waveforms.random_stretches((len(x), x.shape[1]), generator, background)
        lowest_db, highest_db = policy.background_snr_db or (0.0, 0.0)
        snr_db = _uniform(len(x), lowest_db, highest_db, generator)
        return waveforms.add_noise(x, n, noise, snr_db)

    def limit(x: Tensor, n: Tensor) -> Tensor:
        lowest_hz, highest_hz = policy.bandwidth_hz or (0.0, 0.0)
        f_hz = _uniform(len(x), lowest_hz, highest_hz, generator)
        return waveforms.limit_bandwidth(x, n, f_hz, sample_rate_hz)

    def cut_low(x: Tensor, n: Tensor) -> Tensor:
        below_all = torch.full((len(x),), -2.0 * sample_rate_hz)
        high_hz = _uniform(len(x), 0, policy.low_cut_hz, generator)
        return waveforms.reject_band(x, n, below_all, high_hz, sample_rate_hz)

    def reject(x: Tensor, n: Tensor) -> Tensor:
        width_hz = _uniform(len(x), 0, policy.widest_rejected_hz, generator)
        low_hz = (sample_rate_hz / 2 - width_hz) * torch.rand((len(x),), generator=generator)
        return waveforms.reject_band(x, n, low_hz, low_hz + width_hz, sample_rate_hz)

    def clip(x: Tensor, _: Tensor) -> Tensor:
        below_db = _uniform(len(x), 0, policy.clipping_db, generator)
        return waveforms.clip_level(x, x.abs().amax(1) * 10 ** (-below_db / 20))

    def clip_share(x: Tensor, n: Tensor) -> Tensor:
        share = _uniform(len(x), 0, policy.clipped_share, generator)
        return waveforms.clip_share(x, n, share)

    def quantize(x: Tensor, _: Tensor) -> Tensor:
        fewest, most = policy.bits or (16, 16)
        bits = torch.randint(fewest, most + 1, (len(x),), generator=generator)
        peak = x.abs().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        return waveforms.quantize(x / peak, bits) * peak

    def drop(x: Tensor, n: Tensor) -> Tensor:
        return waveforms.drop_time(x, n, generator, torch.full((len(x),), policy.widest_dropout))

    steps = (
        (policy.rt60_s, reverberate),
        (policy.background_snr_db, add_noise),
        (policy.bandwidth_hz, limit),
        (policy.low_cut_hz, cut_low),
        (policy.widest_rejected_hz, reject),
        (policy.clipping_db, clip),
        (policy.clipped_share, clip_share),
        (policy.bits, quantize),
        (policy.companding, lambda x, _: waveforms.compand(x)),
        *((True, drop) for _ in range(policy.dropouts)),
    )
    for wanted, change in steps:
        if wanted:
            waveform = some(waveform, change)
    return waveform, lengths


def augmented_log_mel(
    front_end: LogMel,
    waveform: Tensor,
    lengths: Tensor,
    policy: Policy,
    generator: Generator,
    background: Tensor | None = None,
    responses: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Take a padded batch the whole way, augmented: (B, L), (B,) to (B, M, T), mask (B, 1, T).

    With the policy ``none`` this is `front_end` itself. Mixup, which needs the targets, is left to
    the caller.

    Parameters
    ----------
    front_end
        What makes spectrograms of samples.
    waveform, lengths
        Samples, zero beyond each clip's length, and the lengths.
    policy
        What to do.
    generator
        Source of every draw.
    background
        Recorded noise (K,), used instead of made noise where the policy adds noise to samples.
    responses
        Measured room responses (R, K), used instead of made ones where the policy reverberates.
    """
    B, rate = len(waveform), front_end.front_end.sample_rate_hz
    waveform, lengths = augmented_waveform(
        waveform, lengths, policy, generator, rate, background, responses
    )
    power, n_frames = front_end.power(waveform), front_end.n_frames(lengths)
    if policy.pitch_warp:
        ratio = _ratios(B, policy.pitch_warp, generator)
        power = spectrograms.shift_pitch(power, ratio, rate)
    if policy.frequency_warp or policy.tempo_warp:
        ratios = [
            _ratios(B, deviation, generator)
            for deviation in (policy.frequency_warp, policy.tempo_warp)
        ]
        power, n_frames = spectrograms.warp(power, n_frames, *ratios)
    if policy.frequency_bend or policy.tempo_bend:
        deviations = policy.frequency_bend, policy.tempo_bend
        power = spectrograms.bend(power, n_frames, generator, *deviations)
    mask = frame_mask(n_frames, power.shape[-1])
    if policy.equalizer_db:
        power = spectrograms.equalize(power, generator, policy.equalizer_db)
    if policy.noise_snr_db:
        power = spectrograms.add_noise(power, mask, generator, policy.noise_snr_db)
    log_mel = front_end.normalize(front_end.mel(power), mask)
    if policy.mixed_styles:
        log_mel = spectrograms.mix_style(log_mel, mask, generator, policy.mixed_styles)
    if policy.time_warp:
        # As in the paper, no moment nearer to an end than it may be moved.
        farthest = policy.time_warp * (n_frames - 1)
        point = farthest + (n_frames - 1 - 2 * farthest) * torch.rand((B,), generator=generator)
        moved = point + farthest * _uniform(B, -1, 1, generator)
        log_mel = spectrograms.warp_time(log_mel, n_frames, point, moved)
    for _ in range(policy.band_masks):
        widest = policy.widest_band_mask * log_mel.shape[1]
        log_mel = spectrograms.mask_bands(log_mel, generator, widest)
    for _ in range(policy.frame_masks):
        log_mel = spectrograms.mask_frames(log_mel, n_frames, generator, policy.widest_frame_mask)
    return log_mel, mask


_LIGHT = Policy(margin_ms=60, frequency_warp=0.1, tempo_warp=0.12, band_masks=1, frame_masks=1)
# The strength that three voices are learned from best, the fourth being left out.
_BASIC = replace(
    _LIGHT,
    frequency_warp=0.12,
    tempo_warp=0.25,
    frequency_bend=0.02,
    tempo_bend=0.05,
    equalizer_db=2.5,
    noise_snr_db=(10, 50),
    mixed_styles=0.5,
)
# Beside recordings that were cut by their level, as FSDD was, others have to be as well.
_CUT = replace(_BASIC, quiet_edges_db=(8, 35), cut_share=0.5)
# What changes a voice, wider: all of basic, and the pitch apart from the formants.
_SPEAKER = replace(
    _BASIC,
    frequency_warp=0.17,
    tempo_warp=0.35,
    frequency_bend=0.03,
    tempo_bend=0.08,
    equalizer_db=4,
    noise_snr_db=(0, 50),
    mixed_styles=1.0,
    pitch_warp=0.3,
)

POLICIES: dict[str, Policy] = {
    "none": Policy(),
    # The original study's transforms. It does not tell their strengths: jitter and scaling are
    # those of Iwana and Uchida 2021 for series within -1 to 1, SpecAugment is its paper's.
    "original": Policy(
        jitter=0.03,
        scaling=0.1,
        time_warp=0.08,
        band_masks=1,
        widest_band_mask=0.34,
        frame_masks=1,
        widest_frame_mask=0.2,
    ),
    "light": _LIGHT,
    "basic": _BASIC,
    "cut": _CUT,
    "speaker": _SPEAKER,
    "strong": replace(
        _SPEAKER,
        rt60_s=(0.1, 0.6),
        bandwidth_hz=(2000, 4000),
        clipping_db=20,
        dropouts=1,
        spoiled_share=0.5,
    ),
    # Two hearings of one clip as of two people, for contrastive pre-training.
    "views": replace(_SPEAKER, frequency_warp=0.25, tempo_warp=0.4, equalizer_db=6),
    # For what ships: any voice, room, microphone and line, and any way to cut a recording.
    "open": replace(
        _CUT,
        take_noise_snr_db=(5, 40),
        margin_ms=100,
        pitch_warp=0.15,
        frequency_bend=0.0,
        tempo_bend=0.0,
        noise_snr_db=(5, 60),
        rt60_s=(0.1, 0.7),
        direct_to_reverberant_db=(-3, 20),
        background_snr_db=(-2, 30),
        bandwidth_hz=(2200, 4000),
        low_cut_hz=400,
        clipping_db=25,
        companding=True,
        spoiled_share=0.2,
    ),
}

# Each transform and nothing else, for studies of what it brings: the policy `alone:<name>`. Its
# strength is that of the policies above, and where none has it, a middling one.
ALONE: dict[str, Policy] = {
    "placement": Policy(margin_ms=_LIGHT.margin_ms),
    "frequency_warp": Policy(frequency_warp=_BASIC.frequency_warp),
    "tempo_warp": Policy(tempo_warp=_BASIC.tempo_warp),
    "bend": Policy(frequency_bend=_BASIC.frequency_bend, tempo_bend=_BASIC.tempo_bend),
    "pitch_warp": Policy(pitch_warp=_SPEAKER.pitch_warp),
    "equalizer": Policy(equalizer_db=_BASIC.equalizer_db),
    "noise": Policy(noise_snr_db=_BASIC.noise_snr_db),
    "mixed_styles": Policy(mixed_styles=_BASIC.mixed_styles),
    "band_mask": Policy(band_masks=1),
    "frame_mask": Policy(frame_masks=1),
    "spec_augment": Policy(band_masks=1, frame_masks=1, time_warp=0.08),
    "mixup": Policy(mixup_alpha=0.2),
    "speed": Policy(speed=0.15),
    "jitter": Policy(jitter=POLICIES["original"].jitter),
    "scaling": Policy(scaling=POLICIES["original"].scaling),
    "shift": Policy(shift_ms=100),
    "reverberation": Policy(rt60_s=POLICIES["strong"].rt60_s),
    "bandwidth": Policy(bandwidth_hz=POLICIES["strong"].bandwidth_hz),
    "band_reject": Policy(widest_rejected_hz=800),
    "clipping": Policy(clipping_db=POLICIES["strong"].clipping_db),
    "dropout": Policy(dropouts=1),
}


def find_policy(name: str) -> Policy | None:
    """Return a policy of `POLICIES`, or `alone:<transform>` of `ALONE`; None for another name."""
    return POLICIES.get(name) or {f"alone:{key}": each for key, each in ALONE.items()}.get(name)
