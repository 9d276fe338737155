"""Augmentation of waveforms: speaker, room, noise, and distortions of microphones and lines.

Shapes: B batch, L samples, K samples of a response or a recording. Each transform is a plain
function of a padded batch (B, L), zero beyond each clip's length (B,); it returns new tensors of
the same dtype and leaves padding alone. What is random is drawn, each example's own, from the
generator that is given; what is not takes its parameters as tensors (B,). Full scale is 1.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.augmentation.spectrogram import (
    equalizer_gain_db,
    formant_envelope,
    noise_gain,
)

__all__ = [
    "add_breath",
    "add_noise",
    "change_speed",
    "change_tempo",
    "clip_fraction",
    "clip_level",
    "colored_noise",
    "compand",
    "convert_voice",
    "drop_time",
    "equalize",
    "gain",
    "jitter",
    "limit_bandwidth",
    "make_responses",
    "place",
    "quantize",
    "random_stretches",
    "reject_band",
    "reverberate",
    "scale",
    "shift",
    "shift_pitch",
    "trim",
]

_TAPS = 512  # of every filter here: edges 62 Hz wide, 32 ms to either side
_OVERSAMPLING = 8  # then linear interpolation errs by 0.1 % at 1 kHz, by 2 % at 4 kHz
_VOCODER_WINDOW = 256  # 32 ms: two periods of a deep voice
_VOCODER_HOP = 64
_MAX_FORMANT_GAIN = 10.0  # 20 dB: where a source was lowered its upper end is empty
_LEVEL_HOP = 80  # 10 ms, of which three make a level
_MAX_TRIMMED = 2400  # 300 ms: what lies further in is another sound, not the word's quiet edge
_TINY = 1e-20  # keeps a ratio of energies finite where a clip or a noise is silent


def _inside(lengths: Tensor, total: int) -> Tensor:
    """Whether a sample is a clip's own: (B,) to (B, total)."""
    return torch.arange(total) < lengths[:, None]


def _energy(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Sum of squares over each clip's own samples: (B, 1)."""
    own = waveform * _inside(lengths, waveform.shape[1])
    return own.square().sum(1, keepdim=True)


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


def trim(waveform: Tensor, lengths: Tensor, below_loudest_db: Tensor) -> tuple[Tensor, Tensor]:
    """Cut both ends off as a tool does that cuts by level: (B, L) and (B,) to (B, L') and (B,).

    What lies before the first and after the last 10 ms whose level is within `below_loudest_db`
    (B,) of the clip's loudest is lost, but for 10 ms on either side, and never more than 300 ms: a
    word's weak hiss, as the one that "six" begins with. Levels are taken over 30 ms.
    """
    L = waveform.shape[1]
    power = functional.pad(waveform.square(), (0, -L % _LEVEL_HOP))[:, None]
    power = functional.avg_pool1d(functional.avg_pool1d(power, _LEVEL_HOP), 3, 1, 1)[:, 0]  # (B, K)
    threshold = power.amax(1) * 10 ** (-below_loudest_db.to(power.dtype) / 10)
    loud = power >= threshold[:, None]
    K = loud.shape[1]
    first = loud.long().argmax(1)
    last = K - 1 - loud.flip(1).long().argmax(1)
    lead = ((first - 1) * _LEVEL_HOP).clamp(0, _MAX_TRIMMED)
    end = torch.minimum(lengths, ((last + 2) * _LEVEL_HOP).maximum(lengths - _MAX_TRIMMED))
    trimmed_lengths = end - lead
    index = torch.arange(int(trimmed_lengths.max())) + lead[:, None]
    inside = _inside(trimmed_lengths, index.shape[1])
    return waveform.gather(1, index.clamp(max=L - 1)) * inside, trimmed_lengths


def shift(waveform: Tensor, lengths: Tensor, shift_samples: Tensor) -> Tensor:
    """Move each clip later by whole samples (B,), or earlier where negative: (B, L) to (B, L).

    What leaves the clip's own length is lost, and silence follows from the other side.
    """
    L = waveform.shape[1]
    source = torch.arange(L) - shift_samples[:, None]
    kept = (source >= 0) & (source < lengths[:, None]) & _inside(lengths, L)
    return waveform.gather(1, source.clamp(0, L - 1)) * kept


def jitter(waveform: Tensor, lengths: Tensor, generator: Generator, std: Tensor) -> Tensor:
    """Add white Gaussian noise of standard deviation `std` (B,): (B, L) to (B, L).

    Um et al. 2017; its level is absolute, unlike that of `add_noise`.
    """
    noise = torch.randn(waveform.shape, generator=generator, dtype=waveform.dtype)
    return waveform + noise * std[:, None] * _inside(lengths, waveform.shape[1])


def scale(waveform: Tensor, generator: Generator, std: float) -> Tensor:
    """Multiply each clip by its own normal factor of mean 1: (B, L) to (B, L). Um et al. 2017."""
    factor = 1 + std * torch.randn(len(waveform), 1, generator=generator)
    return waveform * factor.to(waveform.dtype)


def gain(waveform: Tensor, gain_db: Tensor) -> Tensor:
    """Make each clip louder by this much (B,): (B, L) to (B, L), which may pass full scale."""
    return waveform * 10 ** (gain_db[:, None] / 20)


def colored_noise(shape: tuple[int, int], generator: Generator, exponent: Tensor) -> Tensor:
    """Gaussian noise whose power density goes as frequency to this exponent (B,): (B, L).

    0 is white, -1 pink, -2 brown, 1 blue. Timmer and Koenig 1995, by shaping white noise.
    """
    B, L = shape
    n = L + L % 2
    spectrum = torch.fft.rfft(torch.randn(B, n, generator=generator))
    # The mean has no place on a scale of ratios: it goes with the lowest frequency.
    frequency = torch.arange(n // 2 + 1).clamp_min(1) / max(n // 2, 1)
    shaped: Tensor = torch.fft.irfft(spectrum * frequency ** (exponent[:, None] / 2), n)
    return shaped[:, :L]


def random_stretches(shape: tuple[int, int], generator: Generator, recording: Tensor) -> Tensor:
    """Cut a stretch out of a recording (K,) for each example: (B, L).

    A recording shorter than L, or a stretch that reaches its end, goes on from its beginning.
    """
    B, L = shape
    K = len(recording)
    start = torch.randint(0, max(K - L, 0) + 1, (B, 1), generator=generator)
    return recording[(start + torch.arange(L)) % K]


def add_noise(waveform: Tensor, lengths: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Add noise (B, L) at a signal-to-noise ratio (B,): (B, L) to (B, L).

    Both powers are measured over the clip's own samples, so the ratio asked for is the ratio found,
    silence within the clip included. A silent clip stays silent.
    """
    noise = (noise * _inside(lengths, waveform.shape[1])).to(waveform.dtype)
    energies = _energy(waveform, lengths), _energy(noise, lengths)
    return waveform + noise * noise_gain(*energies, snr_db[:, None]).sqrt()


def change_speed(waveform: Tensor, lengths: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Play each clip `ratio` times as fast (B,): pitch, formants and tempo move together.

    (B, L) and (B,) to (B, L') and (B,): resampling, band-limited by the Fourier transform, so that
    nothing above half the sample rate folds back. Speed perturbation: Ko et al. 2015.
    """
    changed_lengths = (lengths / ratio).round().long().clamp_min(1)
    L = waveform.shape[1]
    # A margin keeps a clip's end out of its own beginning: the transform is circular.
    n = -(-(L + 256) // 512) * 512
    spectrum = torch.fft.rfft(waveform, n)  # (B, n / 2 + 1)
    frequency = torch.linspace(0, 1, spectrum.shape[1])  # of half the sample rate
    kept = ((1 / ratio.clamp_min(1)[:, None] - frequency) / 0.02 + 1).clamp(0, 1)
    kept[:, -1] /= 2  # half the sample rate is both its own and its mirror's bin
    fine = torch.fft.irfft(spectrum * kept * _OVERSAMPLING, n * _OVERSAMPLING)
    position = torch.arange(int(changed_lengths.max())) * (ratio[:, None] * _OVERSAMPLING)
    before = position.long().clamp(max=fine.shape[1] - 2)
    between = (position - before).clamp(max=1).to(waveform.dtype)
    changed = torch.lerp(fine.gather(1, before), fine.gather(1, before + 1), between)
    return changed * _inside(changed_lengths, changed.shape[1]), changed_lengths


def change_tempo(waveform: Tensor, lengths: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Speak each clip `ratio` times as fast (B,), at the same pitch: (B, L), (B,) to (B, L'), (B,).

    Phase vocoder (Flanagan and Golden 1966; Dolson 1986): frames are read at another pace, their
    magnitudes interpolated, and each bin's phase goes on by what it advances between two frames.
    Hops of analysis and synthesis being equal, that advance is a product of unit phasors, and needs
    neither an arc tangent nor unwrapping.
    """
    changed_lengths = (lengths / ratio).round().long().clamp_min(1)
    spectrum = _spectrum(waveform).transpose(1, 2)  # (B, T, F)
    magnitude = _power(spectrum).sqrt()  # twice as fast as abs
    phasor = torch.where(magnitude > 0, spectrum / magnitude.clamp_min(_TINY), 1)
    advance = phasor[:, 1:] * phasor[:, :-1].conj()

    n_frames = 1 + -(-int(changed_lengths.max()) // _VOCODER_HOP)
    position = (torch.arange(n_frames) * ratio[:, None]).clamp(max=advance.shape[1] - 1)
    before = position.long()
    rows = torch.arange(len(waveform))[:, None]
    between = (position - before)[..., None].to(waveform.dtype)
    read = torch.lerp(magnitude[rows, before], magnitude[rows, before + 1], between)
    phase = torch.cat([phasor[:, :1], advance[rows, before[:, :-1]]], 1).cumprod(1)
    longest = int(changed_lengths.max())
    changed = _samples((read * phase).transpose(1, 2), longest)
    return changed * _inside(changed_lengths, longest), changed_lengths


def _spectrum(waveform: Tensor) -> Tensor:
    """Frames of the phase vocoder, the last ones as in a longer batch: (B, L) to complex (B, F, T).

    The last frames hold a clip's end alone and in company.
    """
    return torch.stft(
        functional.pad(waveform, (0, _VOCODER_WINDOW)),
        _VOCODER_WINDOW,
        _VOCODER_HOP,
        window=torch.hann_window(_VOCODER_WINDOW, dtype=waveform.dtype),
        pad_mode="constant",
        return_complex=True,
    )


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _samples(spectrum: Tensor, L: int) -> Tensor:
    """Overlap and add the frames of `_spectrum`, changed or not: complex (B, F, T) to (B, L)."""
    window = torch.hann_window(_VOCODER_WINDOW, dtype=spectrum.real.dtype)
    return torch.istft(spectrum, _VOCODER_WINDOW, _VOCODER_HOP, window=window, length=L)


def shift_pitch(waveform: Tensor, lengths: Tensor, semitones: Tensor) -> Tensor:
    """Raise the pitch by this many semitones (B,) at the same tempo: (B, L) to (B, L).

    A fundamental is multiplied by 2 ** (semitones / 12), and the formants are with it: a phase
    vocoder changes the tempo, resampling changes it back.
    """
    ratio = 2 ** (semitones / 12)
    slow, slow_lengths = change_tempo(waveform, lengths, 1 / ratio)
    # The last sample or two that rounding leaves out are silence.
    shifted, _ = change_speed(slow, slow_lengths, ratio)
    L = waveform.shape[1]
    shifted = functional.pad(shifted, (0, max(0, L - shifted.shape[1])))[:, :L]
    return shifted * _inside(lengths, L)


def convert_voice(
    waveform: Tensor,
    lengths: Tensor,
    formant_ratio: Tensor,
    pitch_ratio: Tensor,
    tempo_ratio: Tensor,
) -> tuple[Tensor, Tensor]:
    """Change source and filter of a voice apart: (B, L) and (B,) to (B, L') and (B,).

    A phase vocoder and resampling change pitch and tempo, and the formants with the pitch; then
    each frame's envelope, of its cepstrum below the harmonics' lags, is read at another frequency,
    so that the formants come to where they are asked for. An envelope is raised by 20 dB at most.

    Parameters
    ----------
    waveform, lengths
        Samples, zero beyond each clip's length, and the lengths.
    formant_ratio, pitch_ratio, tempo_ratio
        What formants, fundamental and pace are multiplied by, (B,), positive; apart from resampling
        and framing, 1 leaves each as it is.
    """
    slow, slow_lengths = change_tempo(waveform, lengths, tempo_ratio / pitch_ratio)
    changed, changed_lengths = change_speed(slow, slow_lengths, pitch_ratio)
    L = changed.shape[1]
    spectrum = _spectrum(changed)
    read_at = (pitch_ratio / formant_ratio).to(waveform.dtype)
    log_gain = formant_envelope(_power(spectrum), read_at, SAMPLE_RATE)
    gain = (log_gain / 2).exp().clamp(max=_MAX_FORMANT_GAIN)
    moved = _samples(spectrum * gain, L) * _inside(changed_lengths, L)
    kept = _energy(changed, changed_lengths) / _energy(moved, changed_lengths).clamp_min(_TINY)
    return moved * kept.sqrt(), changed_lengths


def add_breath(
    waveform: Tensor, lengths: Tensor, generator: Generator, harmonics_to_noise_db: Tensor
) -> Tensor:
    """Add aspiration noise at a ratio of the clip's energy to its own (B,): (B, L) to (B, L).

    White noise as loud as the clip in each frame of 32 ms, passed through its vocal tract, the
    frame's envelope. For a clip without noise of its own the ratio is the harmonics-to-noise ratio.
    """
    noise = torch.randn(waveform.shape, generator=generator, dtype=waveform.dtype)
    power = _power(_spectrum(waveform))
    shape = formant_envelope(power, None, SAMPLE_RATE).exp()
    # As loud as the frame: where harmonics are not resolved, as at an edge, envelopes lie higher.
    level = power.sum(1, keepdim=True) / shape.sum(1, keepdim=True).clamp_min(_TINY)
    breath = _samples(_spectrum(noise) * (shape * level).sqrt(), waveform.shape[1])
    return add_noise(waveform, lengths, breath, harmonics_to_noise_db)


def make_responses(
    generator: Generator,
    rt60_s: Tensor,
    direct_to_reverberant_db: Tensor,
    sample_rate: int = SAMPLE_RATE,
) -> Tensor:
    """Make the responses of rooms: a direct path and a tail of decaying noise, (B, K).

    Polack 1988: Gaussian noise times 10 ** (-3 t / RT60), so that its energy falls by 60 dB within
    RT60. K holds the longest of them.

    Parameters
    ----------
    generator
        Source of the tails.
    rt60_s
        Reverberation times (B,), positive.
    direct_to_reverberant_db
        Energy of the direct path over the tail's (B,), exactly.
    sample_rate
        Rate of the samples.
    """
    K = 1 + math.ceil(float(rt60_s.max()) * sample_rate)
    time_s = torch.arange(1, K) / sample_rate
    tail = torch.randn(len(rt60_s), K - 1, generator=generator)
    tail = tail * 10 ** (-3 * time_s / rt60_s[:, None])
    energy = 10 ** (-direct_to_reverberant_db[:, None] / 10)
    tail = tail * (energy / tail.square().sum(1, keepdim=True).clamp_min(_TINY)).sqrt()
    return functional.pad(tail, (1, 0), value=1.0)


def reverberate(waveform: Tensor, lengths: Tensor, responses: Tensor) -> Tensor:
    """Convolve each clip with its own room impulse response (B, K): (B, L) to (B, L).

    The direct path, a response's largest sample, stays where the sound was; each clip keeps its
    energy; what rings beyond a clip's length is lost.
    """
    L, K = waveform.shape[1], responses.shape[1]
    n = -(-(L + K) // 512) * 512
    direct = responses.abs().argmax(1, keepdim=True)
    # What comes before the direct path wraps round to the end of the circle.
    aligned = functional.pad(responses, (0, n - K)).gather(1, (torch.arange(n) + direct) % n)
    spectrum = torch.fft.rfft(waveform, n) * torch.fft.rfft(aligned.to(waveform.dtype))
    wet: Tensor = torch.fft.irfft(spectrum, n)[:, :L] * _inside(lengths, L)
    kept = _energy(waveform, lengths) / _energy(wet, lengths).clamp_min(_TINY)
    return wet * kept.sqrt()


def _filter(waveform: Tensor, lengths: Tensor, amplitude: Tensor) -> Tensor:
    """Filter without delay by amplitudes at evenly spaced frequencies (B, 1 + _TAPS / 2)."""
    L = waveform.shape[1]
    window = torch.hann_window(_TAPS, dtype=waveform.dtype)
    taps = torch.fft.irfft(amplitude.to(waveform.dtype), _TAPS).roll(_TAPS // 2, 1) * window
    n = -(-(L + _TAPS) // 512) * 512
    spectrum = torch.fft.rfft(waveform, n) * torch.fft.rfft(taps, n)
    filtered: Tensor = torch.fft.irfft(spectrum, n)[:, _TAPS // 2 : _TAPS // 2 + L]
    return filtered * _inside(lengths, L)


def _below(f_hz: Tensor, sample_rate: int) -> Tensor:
    """1 at frequencies up to f_hz (B,), 0 above, for `_filter`: (B, 1 + _TAPS / 2)."""
    spacing_hz = sample_rate / _TAPS
    bins = torch.arange(_TAPS // 2 + 1)
    return (f_hz[:, None] / spacing_hz - bins + 1).clamp(0, 1)


def limit_bandwidth(
    waveform: Tensor, lengths: Tensor, f_hz: Tensor, sample_rate: int = SAMPLE_RATE
) -> Tensor:
    """Take away what is above f_hz (B,): (B, L) to (B, L); half the sample rate leaves all."""
    return _filter(waveform, lengths, _below(f_hz, sample_rate))


def reject_band(
    waveform: Tensor,
    lengths: Tensor,
    low_hz: Tensor,
    high_hz: Tensor,
    sample_rate: int = SAMPLE_RATE,
) -> Tensor:
    """Take away what lies between two frequencies (B,): (B, L) to (B, L).

    Kharitonov et al. 2020 (WavAugment). The edges are 62 Hz wide: a band narrower than twice that
    is only weakened, one of no width leaves all.
    """
    below, above = _below(low_hz, sample_rate), 1 - _below(high_hz, sample_rate)
    return _filter(waveform, lengths, (below + above).clamp(max=1))


def equalize(
    waveform: Tensor, lengths: Tensor, generator: Generator, std_db: float, order: int = 4
) -> Tensor:
    """Random smooth equalizer, the one of power spectrograms, for samples: (B, L) to (B, L)."""
    gain_db = equalizer_gain_db(len(waveform), _TAPS // 2 + 1, generator, std_db, order)
    return _filter(waveform, lengths, 10 ** (gain_db / 20))


def drop_time(
    waveform: Tensor, lengths: Tensor, generator: Generator, max_fraction: Tensor
) -> Tensor:
    """Silence a random stretch of up to this fraction (B,) of each clip: (B, L) to (B, L).

    Kharitonov et al. 2020 (WavAugment).
    """
    B, L = waveform.shape
    width = max_fraction[:, None] * lengths[:, None] * torch.rand(B, 1, generator=generator)
    start = (lengths[:, None] - width) * torch.rand(B, 1, generator=generator)
    sample = torch.arange(L)
    return waveform * ~((sample >= start) & (sample < start + width))


def clip_level(waveform: Tensor, level: Tensor) -> Tensor:
    """Clip what is beyond a level (B,), positive, on either side: (B, L) to (B, L)."""
    return waveform.minimum(level[:, None]).maximum(-level[:, None])


def clip_fraction(waveform: Tensor, lengths: Tensor, fraction: Tensor) -> Tensor:
    """Clip the loudest samples, this fraction (B,) of each clip's own: (B, L) to (B, L)."""
    loudest_first = waveform.abs().sort(1, descending=True).values
    rank = (fraction * lengths).long().minimum(lengths - 1)
    return clip_level(waveform, loudest_first.gather(1, rank[:, None])[:, 0])


def quantize(waveform: Tensor, bits: Tensor) -> Tensor:
    """Round to the 2 ** bits levels (B,) of linear PCM: (B, L) to (B, L), within full scale.

    The levels are -1 to 1 - step, a step 2 ** (1 - bits); a sine of full scale stands about
    6.02 bits + 1.76 dB above the error (Bennett 1948).
    """
    step = (2.0 ** (1 - bits[:, None])).to(waveform.dtype)
    rounded = (waveform / step).round() * step
    return rounded.clamp_min(-1).minimum(1 - step)


def compand(waveform: Tensor, mu: int = 255) -> Tensor:
    """Send each clip over a telephone line, 8 bits in mu-law: (B, L) to (B, L), in full scale.

    ITU-T G.711's curve sign(x) log(1 + mu |x|) / log(1 + mu), rounded to 127 levels either side of
    zero, and back.
    """
    levels = (mu - 1) // 2
    bent = torch.log1p(mu * waveform.abs().clamp(max=1)) / math.log1p(mu)
    rounded = (bent * levels).round() / levels
    return waveform.sign() * torch.expm1(rounded * math.log1p(mu)) / mu
