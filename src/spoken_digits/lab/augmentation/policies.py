"""Augmentation policies: which transforms are applied to a training clip, and how strongly.

Shapes: B batch, L samples, M mel bands, T frames. The transforms themselves are functions of
`waveform` and `spectrogram`; here each clip's parameters are drawn, within the ranges of a policy,
from the one generator that is given. A transform that a policy leaves out draws nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from spoken_digits.lab.augmentation import spectrogram as spectrograms
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.features import LogMel, frame_mask

__all__ = [
    "ALONE",
    "POLICIES",
    "Policy",
    "augmented_log_mel",
    "augmented_waveform",
    "find_policy",
    "own_fields",
]


@dataclass(frozen=True)
class Policy:
    """How strongly to augment; zero or None leaves a transform out.

    A ratio is drawn as exp(u), u uniform within plus and minus the value given: 0.1 gives ratios
    from 0.905 to 1.105. Pairs are the lowest and the highest value of a uniform draw. Fractions are
    of the whole axis or clip, from 0 to 1; probabilities are per clip.

    Attributes
    ----------
    trim_db
        Trimming by level: how far below the clip's loudest level the ends are cut off, in dB. As in
        corpora that were segmented by level, where weak fricatives at the edges are lost.
    gated_noise_snr_db
        Signal-to-noise ratio of noise inside the recording alone, brown to blue: the silence that
        `margin_ms` adds around it has none.
    p_trim
        Probability of each of these two.
    margin_ms
        Longest silence that random placement adds on either side.
    vtlp, tempo_warp
        Vocal tract length perturbation and tempo, on power spectrograms: range of the log ratio.
    frequency_bend, tempo_bend
        Smooth distortion of both axes: standard deviation of its first sine, as a fraction of the
        axis.
    equalizer_db
        Standard deviation of each of the equalizer's cosines.
    noise_snr_db
        Signal-to-noise ratio of stationary noise, on power spectrograms.
    freq_mixstyle_p
        Probability that a clip takes on some of another clip's statistics per band (Freq-MixStyle).
    freq_masks, max_freq_mask
        SpecAugment's frequency masks: their number, and the largest width as a fraction of the
        bands.
    time_masks, max_time_mask
        SpecAugment's time masks: their number, and the largest width as a fraction of the frames.
    pitch_warp
        Pitch without formants, on power spectrograms: range of the log ratio.
    time_warp
        SpecAugment's time warp: the largest displacement, as a fraction of the frames.
    mixup_alpha
        Both parameters of the Beta distribution of mixup; applied in training, to targets as well.
    speed
        Speed by resampling, pitch included: range of the log ratio.
    formants, pitch, tempo
        Voice conversion of the samples, each apart from the others: ranges of the log ratios.
    breath_db
        Energy of the voice over that of added aspiration noise.
    scaling, jitter
        Of the samples: standard deviation of a normal factor; standard deviation of white noise, as
        a fraction of the clip's peak.
    shift_ms
        Largest shift of a clip within its own length, to either side.
    rt60_s, direct_to_reverberant_db
        Reverberation time, and energy of the direct path over the tail's. Where measured responses
        are given, one of them is taken instead.
    background_snr_db
        Signal-to-noise ratio of noise in the samples: stretches of a recording where one is given,
        otherwise noise between brown and white.
    bandwidth_hz
        Cutoff of a low-pass filter.
    low_cut_hz
        Highest cutoff of a high-pass filter, as on a telephone line.
    max_rejected_hz
        Largest width of a rejected band, anywhere below half the sample rate.
    clipping_db
        Largest distance of the clipping level below the clip's peak.
    companding
        Whether to pass through 8 bits of mu-law.
    dropouts, max_dropout
        Number of stretches set to zero, and the longest as a fraction of the clip.
    p_degrade
        Probability of each of the transforms from `rt60_s` on.
    """

    trim_db: tuple[float, float] | None = None
    gated_noise_snr_db: tuple[float, float] | None = None
    p_trim: float = 1.0
    margin_ms: float = 0.0
    vtlp: float = 0.0
    tempo_warp: float = 0.0
    frequency_bend: float = 0.0
    tempo_bend: float = 0.0
    equalizer_db: float = 0.0
    noise_snr_db: tuple[float, float] | None = None
    freq_mixstyle_p: float = 0.0
    freq_masks: int = 0
    max_freq_mask: float = 0.2
    time_masks: int = 0
    max_time_mask: float = 0.15
    pitch_warp: float = 0.0
    time_warp: float = 0.0
    mixup_alpha: float = 0.0
    speed: float = 0.0
    formants: float = 0.0
    pitch: float = 0.0
    tempo: float = 0.0
    breath_db: tuple[float, float] | None = None
    scaling: float = 0.0
    jitter: float = 0.0
    shift_ms: float = 0.0
    rt60_s: tuple[float, float] | None = None
    direct_to_reverberant_db: tuple[float, float] = (0.0, 20.0)
    background_snr_db: tuple[float, float] | None = None
    bandwidth_hz: tuple[float, float] | None = None
    low_cut_hz: float = 0.0
    max_rejected_hz: float = 0.0
    clipping_db: float = 0.0
    companding: bool = False
    dropouts: int = 0
    max_dropout: float = 0.1
    p_degrade: float = 1.0


def _uniform(B: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand((B,), generator=generator)


def _ratios(B: int, log_range: float, generator: Generator) -> Tensor:
    return torch.exp(_uniform(B, -log_range, log_range, generator))


def augmented_waveform(
    waveform: Tensor,
    lengths: Tensor,
    policy: Policy,
    generator: Generator,
    sample_rate: int,
    background: Tensor | None = None,
    responses: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Apply the waveform part of a policy: (B, L) and (B,) to (B, L') and (B,).

    In the order of the recording chain: speaker, placement in the clip, room, noise, microphone and
    line. `background` is a recording (K,), `responses` are measured ones (R, K).
    """
    B = len(waveform)
    if policy.speed:
        ratio = _ratios(B, policy.speed, generator)
        waveform, lengths = waveforms.change_speed(waveform, lengths, ratio)
    if policy.formants or policy.pitch or policy.tempo:
        ranges = policy.formants, policy.pitch, policy.tempo
        ratios = [_ratios(B, log_range, generator) for log_range in ranges]
        waveform, lengths = waveforms.convert_voice(waveform, lengths, *ratios)
    if policy.breath_db:
        ratio_db = _uniform(B, *policy.breath_db, generator)
        waveform = waveforms.add_breath(waveform, lengths, generator, ratio_db)
    if policy.scaling:
        waveform = waveforms.scale(waveform, generator, policy.scaling)
    waveform, lengths = _trimmed(waveform, lengths, policy, generator)
    if policy.margin_ms:
        margin = round(policy.margin_ms * sample_rate / 1000)
        waveform, lengths = waveforms.place(waveform, lengths, generator, margin)
    if policy.shift_ms:
        largest = policy.shift_ms * sample_rate / 1000
        moved = _uniform(B, -largest, largest, generator).round().long()
        waveform = waveforms.shift(waveform, lengths, moved)
    if policy.jitter:
        std = policy.jitter * waveform.abs().amax(1)
        waveform = waveforms.jitter(waveform, lengths, generator, std)
    return _degraded(waveform, lengths, policy, generator, sample_rate, background, responses)


def _trimmed(
    waveform: Tensor, lengths: Tensor, policy: Policy, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Trim some clips by their level, and add gated noise to some."""
    B = len(waveform)
    if policy.trim_db:
        below_db = _uniform(B, *policy.trim_db, generator)
        chosen = torch.rand((B,), generator=generator) < policy.p_trim
        below_db = torch.where(chosen, below_db, torch.inf)
        waveform, lengths = waveforms.trim(waveform, lengths, below_db)
    if policy.gated_noise_snr_db:
        snr_db = _uniform(B, *policy.gated_noise_snr_db, generator)
        exponent = _uniform(B, -2, 0.3, generator)
        chosen = torch.rand((B,), generator=generator) < policy.p_trim
        if chosen.any():
            noise = waveforms.colored_noise((B, waveform.shape[1]), generator, exponent)
            snr_db = torch.where(chosen, snr_db, torch.inf)
            waveform = waveforms.add_noise(waveform, lengths, noise, snr_db)
    return waveform, lengths


def _degraded(
    waveform: Tensor,
    lengths: Tensor,
    policy: Policy,
    generator: Generator,
    sample_rate: int,
    background: Tensor | None,
    responses: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Add room, noise, and distortions of microphone and line, each to some of the clips."""

    def some(waveform: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Apply a transform to each clip with probability `p_degrade`; only these are computed."""
        if policy.p_degrade == 1:
            return change(waveform, lengths)
        chosen = torch.rand(len(waveform), generator=generator) < policy.p_degrade
        if not chosen.any():
            return waveform
        degraded = waveform.clone()
        degraded[chosen] = change(waveform[chosen], lengths[chosen])
        return degraded

    def reverberate(x: Tensor, n: Tensor) -> Tensor:
        if responses is None and policy.rt60_s:
            rt60_s = _uniform(len(x), *policy.rt60_s, generator)
            ratio_db = _uniform(len(x), *policy.direct_to_reverberant_db, generator)
            room = waveforms.make_responses(generator, rt60_s, ratio_db, sample_rate)
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
        return waveforms.limit_bandwidth(x, n, f_hz, sample_rate)

    def cut_low(x: Tensor, n: Tensor) -> Tensor:
        below_all = torch.full((len(x),), -2.0 * sample_rate)
        high_hz = _uniform(len(x), 0, policy.low_cut_hz, generator)
        return waveforms.reject_band(x, n, below_all, high_hz, sample_rate)

    def reject(x: Tensor, n: Tensor) -> Tensor:
        width_hz = _uniform(len(x), 0, policy.max_rejected_hz, generator)
        low_hz = (sample_rate / 2 - width_hz) * torch.rand((len(x),), generator=generator)
        return waveforms.reject_band(x, n, low_hz, low_hz + width_hz, sample_rate)

    def clip(x: Tensor, _: Tensor) -> Tensor:
        below_db = _uniform(len(x), 0, policy.clipping_db, generator)
        return waveforms.clip_level(x, x.abs().amax(1) * 10 ** (-below_db / 20))

    def drop(x: Tensor, n: Tensor) -> Tensor:
        return waveforms.drop_time(x, n, generator, torch.full((len(x),), policy.max_dropout))

    steps = (
        (policy.rt60_s, reverberate),
        (policy.background_snr_db, add_noise),
        (policy.bandwidth_hz, limit),
        (policy.low_cut_hz, cut_low),
        (policy.max_rejected_hz, reject),
        (policy.clipping_db, clip),
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
    """Compute augmented log-mel spectrograms of a padded batch: (B, M, T), mask (B, 1, T).

    With the policy ``none`` this is `front_end` itself. Mixup, which needs the targets, is left to
    the caller.

    Parameters
    ----------
    front_end
        Computes the spectrograms.
    waveform, lengths
        Samples, zero beyond each clip's length, and the lengths.
    policy
        Which transforms to apply.
    generator
        Source of every draw.
    background
        Recorded noise (K,), used instead of made noise where the policy adds noise to samples.
    responses
        Measured room responses (R, K), used instead of made ones where the policy reverberates.
    """
    B, rate = len(waveform), front_end.front_end.sample_rate
    waveform, lengths = augmented_waveform(
        waveform, lengths, policy, generator, rate, background, responses
    )
    power, n_frames = front_end.power(waveform), front_end.n_frames(lengths)
    if policy.pitch_warp:
        ratio = _ratios(B, policy.pitch_warp, generator)
        power = spectrograms.shift_pitch(power, ratio, rate)
    if policy.vtlp or policy.tempo_warp:
        ratios = [
            _ratios(B, log_range, generator) for log_range in (policy.vtlp, policy.tempo_warp)
        ]
        power, n_frames = spectrograms.warp(power, n_frames, *ratios)
    if policy.frequency_bend or policy.tempo_bend:
        stds = policy.frequency_bend, policy.tempo_bend
        power = spectrograms.bend(power, n_frames, generator, *stds)
    mask = frame_mask(n_frames, power.shape[-1])
    if policy.equalizer_db:
        power = spectrograms.equalize(power, generator, policy.equalizer_db)
    if policy.noise_snr_db:
        power = spectrograms.add_noise(power, mask, generator, policy.noise_snr_db)
    log_mel = front_end.normalize(front_end.mel(power), mask)
    if policy.freq_mixstyle_p:
        log_mel = spectrograms.freq_mixstyle(log_mel, mask, generator, policy.freq_mixstyle_p)
    if policy.time_warp:
        # As in the paper, no moment nearer to an end than it may be moved.
        largest = policy.time_warp * (n_frames - 1)
        point = largest + (n_frames - 1 - 2 * largest) * torch.rand((B,), generator=generator)
        moved = point + largest * _uniform(B, -1, 1, generator)
        log_mel = spectrograms.warp_time(log_mel, n_frames, point, moved)
    for _ in range(policy.freq_masks):
        max_width = policy.max_freq_mask * log_mel.shape[1]
        log_mel = spectrograms.mask_freq(log_mel, generator, max_width)
    for _ in range(policy.time_masks):
        log_mel = spectrograms.mask_time(log_mel, n_frames, generator, policy.max_time_mask)
    return log_mel, mask


_LIGHT = Policy(margin_ms=60, vtlp=0.1, tempo_warp=0.12, freq_masks=1, time_masks=1)
# The strength that was best with three of the four training speakers, tested on the fourth.
_BASIC = replace(
    _LIGHT,
    vtlp=0.12,
    tempo_warp=0.25,
    frequency_bend=0.02,
    tempo_bend=0.05,
    equalizer_db=2.5,
    noise_snr_db=(10, 50),
    freq_mixstyle_p=0.5,
)
# FSDD was segmented by level; other corpora have to be trimmed alike where they join it.
_TRIMMED = replace(_BASIC, trim_db=(8, 35), p_trim=0.5)
# Wider speaker variation: all of basic, stronger, and the pitch apart from the formants.
_SPEAKER = replace(
    _BASIC,
    vtlp=0.17,
    tempo_warp=0.35,
    frequency_bend=0.03,
    tempo_bend=0.08,
    equalizer_db=4,
    noise_snr_db=(0, 50),
    freq_mixstyle_p=1.0,
    pitch_warp=0.3,
)


def _settings(policy: Policy) -> dict[str, Any]:
    """Return the fields that a policy sets, with their values."""
    default = Policy()
    return {k: v for k, v in vars(policy).items() if v != getattr(default, k)}


# Another voice of the same speaker: from a child's vocal tract to a large one, an octave of pitch.
_CONVERSION = Policy(formants=0.2, pitch=0.35, tempo=0.3, breath_db=(5, 40))

POLICIES: dict[str, Policy] = {
    "none": Policy(),
    # The original study's transforms. It does not tell their strengths: jitter and scaling are
    # those of Iwana and Uchida 2021 for series within -1 to 1, SpecAugment is its paper's.
    "original": Policy(
        jitter=0.03,
        scaling=0.1,
        time_warp=0.08,
        freq_masks=1,
        max_freq_mask=0.34,
        time_masks=1,
        max_time_mask=0.2,
    ),
    "light": _LIGHT,
    "basic": _BASIC,
    "trimmed": _TRIMMED,
    "speaker": _SPEAKER,
    # Basic, where the conversion of voices takes the place of warping vocal tract and tempo.
    "conversion": replace(
        _BASIC,
        vtlp=0.0,
        tempo_warp=0.0,
        **_settings(_CONVERSION),
    ),
    "strong": replace(
        _SPEAKER,
        rt60_s=(0.1, 0.6),
        bandwidth_hz=(2000, 4000),
        clipping_db=20,
        dropouts=1,
        p_degrade=0.5,
    ),
    # Two views of one clip as from two speakers, for contrastive pre-training.
    "views": replace(_SPEAKER, vtlp=0.25, tempo_warp=0.4, equalizer_db=6),
    # For the shipped model: any speaker, room, microphone and line, any way to cut a recording.
    "robust": replace(
        _TRIMMED,
        gated_noise_snr_db=(5, 40),
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
        p_degrade=0.2,
    ),
}

# Each transform alone, for ablations: the policy `alone:<name>`. Its strength is that of the
# policies above, or a medium one where none uses it.
ALONE: dict[str, Policy] = {
    "placement": Policy(margin_ms=_LIGHT.margin_ms),
    "vtlp": Policy(vtlp=_BASIC.vtlp),
    "tempo_warp": Policy(tempo_warp=_BASIC.tempo_warp),
    "bend": Policy(frequency_bend=_BASIC.frequency_bend, tempo_bend=_BASIC.tempo_bend),
    "pitch_warp": Policy(pitch_warp=_SPEAKER.pitch_warp),
    "equalizer": Policy(equalizer_db=_BASIC.equalizer_db),
    "noise": Policy(noise_snr_db=_BASIC.noise_snr_db),
    "freq_mixstyle": Policy(freq_mixstyle_p=_BASIC.freq_mixstyle_p),
    "freq_mask": Policy(freq_masks=1),
    "time_mask": Policy(time_masks=1),
    "spec_augment": Policy(freq_masks=1, time_masks=1, time_warp=0.08),
    "mixup": Policy(mixup_alpha=0.2),
    "speed": Policy(speed=0.15),
    "conversion": _CONVERSION,
    "jitter": Policy(jitter=POLICIES["original"].jitter),
    "scaling": Policy(scaling=POLICIES["original"].scaling),
    "shift": Policy(shift_ms=100),
    "reverberation": Policy(rt60_s=POLICIES["strong"].rt60_s),
    "bandwidth": Policy(bandwidth_hz=POLICIES["strong"].bandwidth_hz),
    "band_reject": Policy(max_rejected_hz=800),
    "clipping": Policy(clipping_db=POLICIES["strong"].clipping_db),
    "dropout": Policy(dropouts=1),
}


def find_policy(name: str) -> Policy | None:
    """Return a policy of `POLICIES`, or of `ALONE` together; None for another name.

    ``alone:<transform>`` is a single transform of `ALONE`, ``alone:<one>+<another>`` several of
    them and nothing else. They may not set the same field.
    """
    if not name.startswith("alone:"):
        return POLICIES.get(name)
    names = name.removeprefix("alone:").split("+")
    if not set(names) <= set(ALONE):
        return None
    pairs = [pair for each in names for pair in _settings(ALONE[each]).items()]
    together = dict(pairs)
    return Policy(**together) if len(together) == len(pairs) else None


def own_fields(transform: str) -> tuple[str, ...]:
    """Return the fields of `Policy` that a transform of `ALONE` sets."""
    return tuple(_settings(ALONE[transform]))
