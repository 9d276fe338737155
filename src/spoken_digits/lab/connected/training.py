"""How the network of strings is trained: examples put together anew, and CTC within bounds.

The connectionist temporal classification (Graves et al. 2006) is bounded in time: a digit may be
emitted when most of it has been spoken, and until 240 ms after its end, no later. Of fluent
recordings only the transcript is known: there a digit may be emitted anywhere.

Shapes: B batch, L samples, M mel bands, T frames of 10 ms, U steps of 20 ms, C classes, those of
`spotting.LABELS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from spoken_digits.audio import SAMPLE_RATE, resample
from spoken_digits.lab.augmentation import spectrogram as spectrograms
from spoken_digits.lab.augmentation.codecs import random_codec
from spoken_digits.lab.augmentation.waveform import trim
from spoken_digits.lab.connected.network import (
    EDGE_UNIT_S,
    FRONT_END,
    LATEST_S,
    STEP,
    STRIDE,
    StreamingCache,
    StringNet,
    widen,
)
from spoken_digits.lab.connected.strings import LEVEL_RMS, DigitString, by_speaker, draw_gap, join
from spoken_digits.lab.training.optimizer import Muon, Progress, Step, Trainer
from spoken_digits.lab.training.supervised import initial_weights, key_of
from spoken_digits.spotting import BLANK, LABELS

__all__ = [
    "StringBatch",
    "StringConfig",
    "TrainingData",
    "draw_batch",
    "string_loss",
    "train_strings",
]

EARLIEST = 0.7  # of a digit must have been spoken
_STEPS_PER_EPOCH = 100  # an epoch ends with a line in the log and a checkpoint
_DIGITS = LABELS.index("oh") + 1  # the first labels, which are spoken at known times
_FORBIDDEN = -20.0  # added to the logarithm of a probability, no more than discouraging


@dataclass(frozen=True)
class StringConfig:
    """How the network is trained.

    Attributes
    ----------
    steps, batch_size, seconds
        Updates, examples in each, and their length.
    learning_rate, weight_decay, ema_decay
        As in `config.TrainConfig`, of Muon: peak and decay; decay of the averaged weights.
    strength
        Of augmentation, 0 to 1: the widths of its ranges, and how probable each change is.
    codecs
        Probability that an example is sent through a speech codec, `codecs.random_codec`.
    bfloat16
        Whether the network's layers compute in bfloat16 (automatic mixed precision, Micikevicius et
        al. 2018; weights, loss and updates stay in single precision): twice as fast where the
        processor multiplies in bfloat16 (AMX), slower on others.
    seed
        Key of everything random.
    """

    steps: int = 4000
    batch_size: int = 24
    seconds: float = 4.4
    strength: float = 1.0
    codecs: float = 0.0
    bfloat16: bool = False
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    ema_decay: float = 0.995
    seed: int = 0


class TrainingData:
    """What training strings are put together from.

    Parameters
    ----------
    digits
        Recorded single digits.
    phrases
        Fluent synthetic strings and sentences.
    words
        Recorded words that are no digits.
    noises
        Recorded noise, each (K,) at 8 kHz.
    utterances
        Fluent recordings with digits.
    other_speech
        Fluent recordings without digits.
    handling
        From a number of samples and a generator to handling noise: of `handling.HANDLING_NOISES`.
    """

    def __init__(
        self,
        digits: list[DigitString],
        phrases: list[DigitString],
        words: list[DigitString],
        noises: list[np.ndarray],
        utterances: Sequence[DigitString] = (),
        other_speech: Sequence[DigitString] = (),
        handling: Sequence[Callable[[int, np.random.Generator], np.ndarray]] = (),
    ) -> None:
        corpora = sorted({piece.corpus for piece in digits})
        if unknown := set(corpora) - set(_KINDS):
            raise ValueError(
                f"digits of {', '.join(sorted(unknown))}: expected corpora of _KINDS, "
                f"{', '.join(_KINDS)}; add it there, or it would not be drawn"
            )
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
        self.whole = {
            "phrases": [phrase for phrase in phrases if phrase.digits],
            "sentences": [phrase for phrase in phrases if not phrase.digits],
            # Strings of digits are fewer than other utterances with digits: as often as these.
            "utterances": _balanced(utterances),
            "other speech": list(other_speech),
            "words": words,
        }
        self.noises, self.handling = noises, list(handling)
        at_hand = {*corpora, *(kind for kind, pieces in self.whole.items() if pieces), "none"}
        if handling:
            at_hand.add("handling")
        self.kinds = [kind for kind in _KINDS if kind in at_hand]


def _balanced(utterances: Sequence[DigitString]) -> list[DigitString]:
    """Repeat the utterances of digits alone until they are about as many as the others."""
    alone = [u for u in utterances if len(u.digits) == len(u.labels)]
    others = [u for u in utterances if len(u.digits) != len(u.labels)]
    return others + alone * max(1, round(len(others) / max(len(alone), 1)))


def _vary_speed(piece: DigitString, ratio: float) -> DigitString:
    """Play a piece `ratio` times as fast, pitch included (speed perturbation, Ko et al. 2015)."""
    rate = round(SAMPLE_RATE * ratio)
    samples = resample(np.ascontiguousarray(piece.samples), rate)  # contiguous: may be reversed
    starts, ends = (
        np.round(x * (SAMPLE_RATE / rate)).astype(np.int64) for x in (piece.starts, piece.ends)
    )
    return replace(piece, samples=samples, starts=starts, ends=ends.clip(max=len(samples)))


# How often each source of examples is drawn; those that are not at hand are skipped.
_KINDS = {
    **{"fsdd": 0.17, "speech_commands": 0.17},
    **{"voices": 0.05, "flite-festival": 0.05, "kokoro": 0.05},
    **{"phrases": 0.3, "sentences": 0.2, "utterances": 0.26, "other speech": 0.26, "words": 0.1},
    **{"handling": 0.06, "none": 0.1},
}
_FRAGMENT = (0.2, 0.4)  # of a digit: too short to be recognized as that
_LOG_TEMPO = float(np.log(0.68)), float(np.log(1.65))
_P_ROOM = 0.3
_DECAY_FRAMES, _WET = (4.0, 30.0), (0.02, 0.5)  # by 60 dB of power: 0.09 to 0.69 times 0.3 s
_P_TRIM, _TRIM_DB = 0.4, (8.0, 35.0)  # of single digits; as deep as the policy `trimmed`


def _trimmed(piece: DigitString, below_loudest_db: float) -> DigitString:
    """Trim one digit by its level, see `waveform.trim`."""
    length = torch.tensor([len(piece.samples)])
    waveform = torch.from_numpy(piece.samples)[None]
    cut, lengths = trim(waveform, length, torch.tensor([below_loudest_db]))
    return replace(piece, samples=cut[0].numpy(), starts=np.array([0]), ends=lengths.numpy())


def _source(material: TrainingData, rng: np.random.Generator) -> Callable[[], DigitString]:
    """Draw who speaks in an example; return what gives one piece after another."""
    weights = np.array([_KINDS[k] for k in material.kinds])
    kind = str(rng.choice(material.kinds, p=weights / weights.sum()))

    def pick(pieces: Sequence[DigitString]) -> DigitString:
        return pieces[int(rng.integers(len(pieces)))]

    # Digits beside whole recordings are of the first corpus.
    corpus = kind if kind in material.pools else next(iter(material.pools))
    digit_pool = material.crowds[corpus]
    if kind in material.pools and kind != "speech_commands":
        digit_pool = material.pools[kind][rng.choice(sorted(material.pools[kind]))]
    other_pool = material.crowds.get("fsdd", digit_pool)
    digits = [d for d in sorted(digit_pool) if digit_pool[d]]

    def digit() -> DigitString:
        name = digits[rng.integers(len(digits))]
        pool = digit_pool[name]
        # A digit that few speakers say here must not be memorized.
        if len(pool) < 100 and kind == "speech_commands" and rng.random() < 0.5:
            pool = other_pool[name]
        piece = pick(pool)
        if rng.random() < _P_TRIM:
            piece = _trimmed(piece, rng.uniform(*_TRIM_DB))
        return piece

    def handling() -> DigitString:
        generate = material.handling[rng.integers(len(material.handling))]
        samples = generate(round(rng.uniform(0.1, 2.0) * SAMPLE_RATE), rng)
        return DigitString.without_digits(_at_level(samples * 10 ** rng.uniform(-0.7, 0.5)))

    def nothing() -> DigitString:
        roll = rng.random()
        if material.handling and roll < 0.25:
            return handling()
        if material.whole["words"] and roll < 0.5:
            return pick(material.whole["words"])
        if material.whole["sentences"] and roll < 0.75:
            return pick(material.whole["sentences"])
        piece = digit()
        if roll < 0.9:  # no word, but like one
            return DigitString.without_digits(piece.samples[::-1], ("other",))
        stop = round(rng.uniform(*_FRAGMENT) * len(piece.samples))
        return DigitString.without_digits(piece.samples[:stop])

    def piece() -> DigitString:
        if kind == "none" or rng.random() < 0.08:
            return nothing()
        if kind == "handling":
            return handling()
        return pick(material.whole[kind]) if kind in material.whole else digit()

    return piece


def _at_level(samples: np.ndarray) -> np.ndarray:
    """Bring (L,) samples to an RMS of at most `LEVEL_RMS`."""
    rms = float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
    return (samples * min(1.0, LEVEL_RMS / max(rms, 1e-9))).astype(np.float32)


def _draw_example(
    material: TrainingData,
    length: int,
    tempo: float,
    rng: np.random.Generator,
    config: StringConfig,
) -> DigitString:
    """Fill (length,) samples with pieces, gaps and noise; what does not fit whole is skipped."""
    source, strength = _source(material, rng), config.strength
    overlapped = rng.choice([0.0, 0.5, 0.9])
    pieces: list[DigitString] = []
    gaps: list[int] = []
    used, room = 0, length - round(LATEST_S * SAMPLE_RATE * tempo)
    while True:
        piece = source()
        if rng.random() < 0.5 * strength:
            piece = _vary_speed(piece, float(np.exp(rng.uniform(-0.12, 0.12))))
        if not pieces:
            gap = round(rng.choice([0.02, rng.uniform(0, 0.8)]) * SAMPLE_RATE)
        elif len(piece.labels) < 2:
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
    if material.noises and rng.random() < 0.4 * strength:
        noise = material.noises[rng.integers(len(material.noises))]
        begin = rng.integers(0, len(noise) - length)
        noise = noise[begin : begin + length]
        # Over the level that every piece is brought to, however long the gaps between them.
        gain = spectrograms.noise_gain(
            torch.tensor(LEVEL_RMS**2), torch.tensor(noise.var()), torch.tensor(rng.uniform(3, 40))
        )
        samples = (samples + noise * float(gain.sqrt())).astype(np.float32)
    # Of all sources alike: how a recording was sent must not tell whether digits are in it.
    if config.codecs and rng.random() < config.codecs:
        samples = random_codec(samples, rng)
    return replace(string, samples=(samples * 10 ** rng.uniform(-1.5, 0.7)).astype(np.float32))


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
        Classes of all words end to end, and how many each example has (B,).
    allowed
        (B, U, C), 1 where a class may be emitted.
    edges, edge_mask
        (B, U, 2) seconds since start and end of the digit emitted there, and where there is one.
    """

    waveform: Tensor
    tempo: Tensor
    targets: Tensor
    counts: Tensor
    allowed: Tensor
    edges: Tensor
    edge_mask: Tensor


def draw_batch(material: TrainingData, config: StringConfig, step: int) -> StringBatch:
    """Draw the examples of one step."""
    U = round(config.seconds * SAMPLE_RATE / STEP)
    T = U * STRIDE
    tempos = np.empty(config.batch_size)
    examples = []
    for i in range(config.batch_size):
        rng = np.random.default_rng([config.seed, step, i])
        frames = round(T * float(np.exp(config.strength * rng.uniform(*_LOG_TEMPO))))
        tempos[i] = frames / T
        examples.append(
            _draw_example(material, frames * FRONT_END.hop_length, float(tempos[i]), rng, config)
        )
    waveform = np.zeros((len(examples), max(len(e.samples) for e in examples)), np.float32)
    allowed = np.ones((len(examples), U, len(LABELS)), np.float32)
    allowed[..., :_DIGITS] = 0
    edges = np.zeros((len(examples), U, 2), np.float32)
    edge_mask = np.zeros((len(examples), U), np.float32)
    now_s = (np.arange(U) + 1) * STEP / SAMPLE_RATE
    targets = [[LABELS.index(label) for label in e.labels] for e in examples]
    for i, example in enumerate(examples):
        waveform[i, : len(example.samples)] = example.samples
        spoken = [label for label in targets[i] if label < _DIGITS]
        for label, start, end, is_aligned in zip(
            spoken, example.starts, example.ends, example.aligned, strict=True
        ):
            start_s, end_s = (x / SAMPLE_RATE / tempos[i] for x in (start, end))
            first_s = start_s + EARLIEST * is_aligned * (end_s - start_s)
            window = (now_s >= first_s) & (now_s <= end_s + LATEST_S)
            allowed[i, window, label] = 1
            if is_aligned:
                edges[i, window] = np.stack([now_s - start_s, now_s - end_s], axis=1)[window]
                edge_mask[i, window] = 1
    return StringBatch(
        torch.from_numpy(waveform),
        torch.from_numpy(tempos).float(),
        torch.tensor([label for labels in targets for label in labels]),
        torch.tensor([len(labels) for labels in targets]),
        torch.from_numpy(allowed),
        torch.from_numpy(edges),
        torch.from_numpy(edge_mask),
    )


def _augment(
    net: StringNet, batch: StringBatch, generator: Generator, strength: float = 1.0
) -> Tensor:
    """Log-mel spectrograms of a batch as another voice, room and line would have it: (B, M, T)."""
    B = len(batch.waveform)
    T = batch.allowed.shape[1] * STRIDE

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(B, generator=generator)

    power = net.power(batch.waveform, StreamingCache())
    if torch.rand((), generator=generator) < 0.3 * strength:
        power = spectrograms.shift_pitch(power, uniform(-0.25, 0.25).exp(), SAMPLE_RATE)
    n_frames = (batch.tempo * T).round().long()
    power, _ = spectrograms.warp(
        power, n_frames, (strength * uniform(-0.17, 0.17)).exp(), n_frames / T
    )
    power = spectrograms.equalize(power, generator, 4.0 * strength)
    mask = torch.ones_like(power[:, :1])
    power = spectrograms.add_noise(power, mask, generator, (5.0 + 15.0 * (1 - strength), 60.0))
    # A line that passes no more than a telephone's.
    narrow = torch.rand(B, generator=generator) < 0.25
    bins_hz = torch.linspace(0, SAMPLE_RATE / 2, power.shape[1])
    low, high = uniform(0, 350)[:, None], uniform(2800, 4000)[:, None]
    passed = ((bins_hz >= low) & (bins_hz <= high)) | ~narrow[:, None]
    power = power * (0.001 + 0.999 * passed.float())[..., None]
    mel = net.log_mel.mel(power)
    mel = spectrograms.reverberate(mel, generator, _P_ROOM * strength, _DECAY_FRAMES, _WET)
    x = net.normalize(mel, StreamingCache())
    x = spectrograms.freq_mixstyle(x, mask, generator, 0.5 * strength)
    x = spectrograms.mask_freq(x, generator, 6.0 * strength)
    width = 0.03 * strength * torch.rand(B, 1, generator=generator) * T
    start = (T - width) * torch.rand(B, 1, generator=generator)
    frame = torch.arange(T)
    return x * ~((frame >= start) & (frame < start + width))[:, None]


def string_loss(logits: Tensor, edges: Tensor, batch: StringBatch) -> Tensor:
    """CTC within the bounds of `allowed`, and the absolute error of the edges in tenths of s."""
    log_p = functional.log_softmax(logits, dim=-1) + _FORBIDDEN * (1 - batch.allowed)
    B, U, _ = logits.shape
    ctc = functional.ctc_loss(
        log_p.transpose(0, 1), batch.targets, torch.full((B,), U), batch.counts,
        blank=BLANK, reduction="sum", zero_infinity=True,
    )  # fmt: skip
    error = ((edges - batch.edges).abs().sum(-1) * batch.edge_mask).sum() / EDGE_UNIT_S
    return ctc / B + 0.3 * error / batch.edge_mask.sum().clamp_min(1)


def train_strings(
    data: TrainingData,
    config: StringConfig,
    run_dir: Path | None = None,
    quiet: bool = True,
    weights: Mapping[str, Tensor] | None = None,
) -> StringNet:
    """Train a network, or resume where an earlier call was killed.

    Parameters
    ----------
    data
        What examples are put together from.
    config
        Sizes and rates.
    run_dir
        Where `log.jsonl` (a line per 100 steps) and `checkpoint.safetensors` go, which the caller
        removes once the network is written; None to write neither.
    quiet
        No progress on standard error.
    weights
        What training begins from, the state of a trained network, which may be narrower (see
        `network.widen`); left out, random weights.

    Returns
    -------
    The network with averaged weights, in evaluation mode.

    Raises
    ------
    ConfigError
        When the checkpoint in `run_dir` is damaged.
    """
    with initial_weights(config.seed, 0):
        net = StringNet()
    if weights is not None:
        net.load_state_dict(widen(weights, net.state_dict()))
    generator = Generator()

    def batches(epoch: int) -> range:
        begin = epoch * _STEPS_PER_EPOCH
        return range(begin, min(begin + _STEPS_PER_EPOCH, config.steps))

    def step(number: int) -> Step:
        generator.manual_seed(key_of(config.seed, 2, number))
        batch = draw_batch(data, config, number)
        with torch.no_grad():
            x = _augment(net, batch, generator, config.strength)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            logits, edges = net.emit(x, StreamingCache())
        return string_loss(logits.float(), edges.float(), batch), {}, config.batch_size

    epochs = -(-config.steps // _STEPS_PER_EPOCH)
    optimizer = Muon(net, config.learning_rate, config.weight_decay)
    trainer = Trainer(config, net, net, epochs, config.steps, run_dir, optimizer)
    with Progress("strings", epochs, len(trainer.log), quiet) as progress:
        trainer.fit(batches, step, progress)
    average = trainer.average
    assert isinstance(average, StringNet)
    return average
