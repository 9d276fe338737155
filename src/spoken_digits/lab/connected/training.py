"""How the network of strings is trained: examples put together anew, and CTC within bounds.

The connectionist temporal classification (Graves et al. 2006) is bounded in time: a digit may be
announced when most of it has been heard, and until 190 ms after its end, no later.

Shapes: B batch, L samples, M mel bands, T frames of 10 ms, U steps of 30 ms, C = 11 classes, the
ten digits and the blank.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.augmentation import spectrogram as spectrograms
from spoken_digits.lab.augmentation.waveform import trim_quiet
from spoken_digits.lab.connected.network import (
    BLANK,
    EDGE_UNIT_S,
    FRONT_END,
    LATEST_S,
    STEP,
    STRIDE,
    Keeper,
    StringNet,
)
from spoken_digits.lab.connected.strings import LEVEL_RMS, DigitString, by_speaker, draw_gap, join
from spoken_digits.lab.training.optimizer import make_optimizer, move_average

__all__ = [
    "Material",
    "StringBatch",
    "StringConfig",
    "draw_batch",
    "string_loss",
    "train_strings",
]

EARLIEST = 0.6  # of a digit must have been heard
_FORBIDDEN = -20.0  # added to the logarithm of a probability, no more than discouraging


@dataclass(frozen=True)
class StringConfig:
    """How the network is trained.

    Attributes
    ----------
    steps, batch_size, seconds
        Updates, examples in each, and their length.
    learning_rate, weight_decay, averaging
        As in `recipe.TrainConfig`: AdamW's peak and decay, decay of the averaged weights.
    seed
        Key of everything random.
    """

    steps: int = 3000
    batch_size: int = 24
    seconds: float = 4.2
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    averaging: float = 0.995
    seed: int = 0


class Material:
    """What training strings are put together from.

    Parameters
    ----------
    digits
        Recorded single digits.
    phrases
        Fluent strings and sentences.
    words
        Recorded words that are no digits.
    noises
        Recorded noise, each (K,) at 8 kHz.
    """

    def __init__(
        self,
        digits: list[DigitString],
        phrases: list[DigitString],
        words: list[DigitString],
        noises: list[np.ndarray],
    ) -> None:
        corpora = sorted({piece.corpus for piece in digits})
        self.pools = {
            corpus: by_speaker(p for p in digits if p.corpus == corpus) for corpus in corpora
        }
        # Few clips a speaker: strings of these are put together from all speakers.
        self.crowds = {
            corpus: {
                digit: [piece for pool in pools.values() for piece in pool.get(digit, ())]
                for digit in "0123456789"
            }
            for corpus, pools in self.pools.items()
        }
        self.phrases = [phrase for phrase in phrases if phrase.digits]
        self.sentences = [phrase for phrase in phrases if not phrase.digits]
        self.words, self.noises = words, noises


def _vary_speed(piece: DigitString, ratio: float) -> DigitString:
    """Play a piece `ratio` times as fast, pitch and all."""
    count = round(len(piece.samples) / ratio)
    moments = np.linspace(0, len(piece.samples) - 1, count)
    samples = np.interp(moments, np.arange(len(piece.samples)), piece.samples)
    starts, ends = (np.round(x / ratio).astype(np.int64) for x in (piece.starts, piece.ends))
    return DigitString(
        samples.astype(np.float32), piece.digits, starts, ends, piece.speaker, piece.corpus
    )


_KINDS = {
    **{"fsdd": 0.3, "speech_commands": 0.2, "voices": 0.08, "flite-festival": 0.1},
    **{"phrases": 0.22, "none": 0.1},
}
_CUT_SHARE, _QUIET_EDGES_DB = 0.4, (8.0, 35.0)  # of single digits; as deep as the policy `cut`


def _lose_edges(piece: DigitString, below_loudest_db: float) -> DigitString:
    """Cut one digit by its level, see `waveforms.trim_quiet`."""
    length = torch.tensor([len(piece.samples)])
    waveform = torch.from_numpy(piece.samples)[None]
    cut, lengths = trim_quiet(waveform, length, torch.tensor([below_loudest_db]))
    bounds = np.array([0]), lengths.numpy()
    return DigitString(cut[0].numpy(), piece.digits, *bounds, piece.speaker, piece.corpus)


def _source(material: Material, rng: np.random.Generator) -> Callable[[], DigitString]:
    """Draw who speaks in an example; return what gives one piece after another."""
    kinds = [k for k in _KINDS if k in material.pools or k in ("phrases", "none")]
    shares = np.array([_KINDS[k] for k in kinds])
    kind = str(rng.choice(kinds, p=shares / shares.sum()))

    def pick(pieces: list[DigitString]) -> DigitString:
        return pieces[rng.integers(len(pieces))]

    def nothing() -> DigitString:
        roll = rng.random()
        if material.sentences and roll < 0.4:
            sentence = pick(material.sentences)
            begin = rng.integers(0, max(1, len(sentence.samples) - SAMPLE_RATE))
            stop = begin + round(rng.uniform(0.2, 2.0) * SAMPLE_RATE)
            return DigitString.without_digits(sentence.samples[begin:stop])
        if material.words and roll < 0.9:
            return pick(material.words)
        return DigitString.without_digits(digit().samples[::-1])

    if kind in ("phrases", "none"):
        digit_pool = material.crowds[kinds[0]]
    elif kind == "speech_commands":
        digit_pool = material.crowds[kind]
    else:
        digit_pool = material.pools[kind][rng.choice(sorted(material.pools[kind]))]
    other_pool = material.crowds.get("fsdd", digit_pool)
    digits = [d for d in sorted(digit_pool) if digit_pool[d]]

    def digit() -> DigitString:
        name = digits[rng.integers(len(digits))]
        pool = digit_pool[name]
        # A digit that few people say here is not to be learned by heart.
        if len(pool) < 100 and kind == "speech_commands" and rng.random() < 0.5:
            pool = other_pool[name]
        piece = pick(pool)
        if rng.random() < _CUT_SHARE:
            piece = _lose_edges(piece, rng.uniform(*_QUIET_EDGES_DB))
        return piece

    def piece() -> DigitString:
        if kind == "none" or rng.random() < 0.08:
            return nothing()
        if kind == "phrases" and material.phrases:
            return pick(material.phrases)
        return digit()

    return piece


def _draw_example(
    material: Material, length: int, tempo: float, rng: np.random.Generator
) -> DigitString:
    """Fill (length,) samples with pieces, gaps and noise; what does not fit whole is left out."""
    source = _source(material, rng)
    overlapped = rng.choice([0.0, 0.5, 0.9])
    pieces: list[DigitString] = []
    gaps: list[int] = []
    used, room = 0, length - round(LATEST_S * SAMPLE_RATE * tempo)
    while True:
        piece = source()
        if rng.random() < 0.5:
            piece = _vary_speed(piece, float(np.exp(rng.uniform(-0.12, 0.12))))
        if not pieces:
            gap = round(rng.choice([0.02, rng.uniform(0, 0.8)]) * SAMPLE_RATE)
        elif len(piece.digits) == 1 or not piece.digits:
            gap = draw_gap(pieces[-1], piece, overlapped, rng)
        else:
            gap = round(rng.uniform(0.05, 0.6) * SAMPLE_RATE)
        if used + gap + len(piece.samples) > room:
            if not pieces and len(piece.samples) > room:
                continue
            break
        pieces.append(piece)
        gaps.append(gap)
        used += gap + len(piece.samples)
    if not pieces:
        return DigitString.without_digits(np.zeros(length, np.float32))
    level_db = rng.uniform(-1, 1) * 2 + np.cumsum(1.5 * rng.standard_normal(len(pieces)))
    string = join(pieces, gaps, 10 ** ((level_db - level_db.mean()) / 20))
    samples = np.pad(string.samples, (0, length - len(string.samples)))
    if material.noises and rng.random() < 0.4:
        noise = material.noises[rng.integers(len(material.noises))]
        begin = rng.integers(0, len(noise) - length)
        noise = noise[begin : begin + length]
        ratio = 10 ** (rng.uniform(3, 40) / 20)
        samples = samples + noise * (LEVEL_RMS / ratio / (noise.std() + 1e-9))
    return DigitString(
        (samples * 10 ** rng.uniform(-1.5, 0.7)).astype(np.float32),
        string.digits, string.starts, string.ends, string.speaker, string.corpus,
    )  # fmt: skip


@dataclass(frozen=True)
class StringBatch:
    """Examples as the network is trained on them.

    Attributes
    ----------
    waveform
        (B, L), zero beyond each example's length.
    tempo
        (B,): examples are that much longer than `seconds`, and made that much faster.
    targets, counts
        All digits end to end, and how many each example has (B,).
    allowed
        (B, U, C), 1 where a class may be announced.
    edges, edge_mask
        (B, U, 2) seconds since start and end of the digit announced there, and where there is one.
    """

    waveform: Tensor
    tempo: Tensor
    targets: Tensor
    counts: Tensor
    allowed: Tensor
    edges: Tensor
    edge_mask: Tensor


def draw_batch(material: Material, config: StringConfig, step: int) -> StringBatch:
    """Draw the examples of one step."""
    U = round(config.seconds * SAMPLE_RATE / STEP)
    T = U * STRIDE
    tempos = np.empty(config.batch_size)
    examples = []
    for i in range(config.batch_size):
        rng = np.random.default_rng([config.seed, step, i])
        frames = round(T * float(np.exp(rng.uniform(np.log(0.68), np.log(1.65)))))
        tempos[i] = frames / T
        examples.append(
            _draw_example(material, frames * FRONT_END.hop_length, float(tempos[i]), rng)
        )
    waveform = np.zeros((len(examples), max(len(e.samples) for e in examples)), np.float32)
    allowed = np.zeros((len(examples), U, BLANK + 1), np.float32)
    allowed[..., BLANK] = 1
    edges = np.zeros((len(examples), U, 2), np.float32)
    edge_mask = np.zeros((len(examples), U), np.float32)
    now_s = (np.arange(U) + 1) * STEP / SAMPLE_RATE
    for i, example in enumerate(examples):
        waveform[i, : len(example.samples)] = example.samples
        for digit, start, end in zip(example.digits, example.starts, example.ends, strict=True):
            start_s, end_s = (x / SAMPLE_RATE / tempos[i] for x in (start, end))
            first_s = start_s + EARLIEST * (end_s - start_s)
            window = (now_s >= first_s) & (now_s <= end_s + LATEST_S)
            allowed[i, window, int(digit)] = 1
            edges[i, window] = np.stack([now_s - start_s, now_s - end_s], axis=1)[window]
            edge_mask[i, window] = 1
    return StringBatch(
        torch.from_numpy(waveform),
        torch.from_numpy(tempos).float(),
        torch.tensor([int(d) for e in examples for d in e.digits]),
        torch.tensor([len(e.digits) for e in examples]),
        torch.from_numpy(allowed),
        torch.from_numpy(edges),
        torch.from_numpy(edge_mask),
    )


def _augment(net: StringNet, batch: StringBatch, generator: Generator) -> Tensor:
    """Log-mel spectrograms of a batch as another voice, room and line would have it: (B, M, T)."""
    B = len(batch.waveform)
    T = batch.allowed.shape[1] * STRIDE

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(B, generator=generator)

    power = net.power(batch.waveform, Keeper())
    if torch.rand((), generator=generator) < 0.3:
        power = spectrograms.shift_pitch(power, uniform(-0.25, 0.25).exp(), SAMPLE_RATE)
    n_frames = (batch.tempo * T).round().long()
    power, _ = spectrograms.warp(power, n_frames, uniform(-0.17, 0.17).exp(), n_frames / T)
    power = spectrograms.equalize(power, generator, 4.0)
    mask = torch.ones_like(power[:, :1])
    power = spectrograms.add_noise(power, mask, generator, (5.0, 60.0))
    # A line that passes no more than a telephone's.
    narrow = torch.rand(B, generator=generator) < 0.25
    bins_hz = torch.linspace(0, SAMPLE_RATE / 2, power.shape[1])
    low, high = uniform(0, 350)[:, None], uniform(2800, 4000)[:, None]
    passed = ((bins_hz >= low) & (bins_hz <= high)) | ~narrow[:, None]
    power = power * (0.001 + 0.999 * passed.float())[..., None]
    x = net.normalize(net.log_mel.mel(power), Keeper())
    x = spectrograms.mix_style(x, mask, generator, 0.5)
    x = spectrograms.mask_bands(x, generator, 6.0)
    width = 0.03 * torch.rand(B, 1, generator=generator) * T
    start = (T - width) * torch.rand(B, 1, generator=generator)
    frame = torch.arange(T)
    return x * ~((frame >= start) & (frame < start + width))[:, None]


def string_loss(logits: Tensor, edges: Tensor, batch: StringBatch) -> Tensor:
    """CTC within the bounds of `allowed`, and the absolute error of the edges in tenths of s."""
    log_p = functional.log_softmax(logits, dim=-1) + _FORBIDDEN * (1 - batch.allowed)
    B, U, _ = logits.shape
    ctc = functional.ctc_loss(
        log_p.transpose(0, 1), batch.targets, torch.full((B,), U), batch.counts,
        blank=BLANK, reduction="sum",
    )  # fmt: skip
    error = ((edges - batch.edges).abs().sum(-1) * batch.edge_mask).sum() / EDGE_UNIT_S
    return ctc / B + 0.3 * error / batch.edge_mask.sum().clamp_min(1)


def train_strings(
    material: Material,
    config: StringConfig,
    progress: Callable[[int, float, StringNet], None] = lambda *_: None,
) -> StringNet:
    """Train a network; return that of the averaged weights, ready to judge.

    `progress` is called after every step with its number, its loss and the network so far.
    """
    # First weights and dropout draw from torch's global generator: seeded for this block, and put
    # back, so that a caller's own stream is not touched.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        net = StringNet()
        averaged = StringNet()
        optimizer = make_optimizer(net, config.learning_rate, config.weight_decay, (0.9, 0.999))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.2
        )
        for step in range(config.steps):
            generator = Generator().manual_seed(1_000_003 * config.seed + step)
            batch = draw_batch(material, config, step)
            net.train()
            with torch.no_grad():
                x = _augment(net, batch, generator)
            logits, edges = net.announce(x, Keeper())
            loss = string_loss(logits, edges, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            move_average(averaged, net, min(config.averaging, step / (step + 10)))
            progress(step, float(loss.detach()), averaged)
    return averaged.eval()
