"""The network that hears strings of digits: causal convolutions trained with CTC.

Shapes: B batch, L samples, F frequency bins, M mel bands, T frames of 10 ms, U steps of 30 ms,
C = 11 classes, the ten digits and the blank.

The network looks back only: what it says at a step depends on the samples up to the end of that
step, so a stream needs no second look, and each layer's last inputs are all that it must keep. The
connectionist temporal classification (Graves et al. 2006) is bounded in time: a digit may be
announced when most of it has been heard, and until 190 ms after its end, no later.
"""

import io
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

import spoken_digits
from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab import spectrograms
from spoken_digits.lab.export import OPSET, ExportError, describe
from spoken_digits.lab.features import FrontEnd, LogMel
from spoken_digits.lab.strings import LEVEL_RMS, Spoken, by_speaker, draw_gap, join

__all__ = [
    "BLANK",
    "FRONT_END",
    "STEP",
    "Material",
    "StringConfig",
    "StringNet",
    "draw_batch",
    "export_strings",
    "string_loss",
    "train_strings",
]

BLANK = 10
FRONT_END = FrontEnd(hop_ms=10.0, f_min_hz=100.0)  # an offset or hum is not heard
STRIDE = 3  # frames a step
STEP = STRIDE * FRONT_END.hop_length  # samples: 30 ms
BLOCK = 2 * STEP  # of a stream, heard at once
LATEST_S = 0.19  # after a digit's end it may still be announced
EARLIEST = 0.6  # of a digit must have been heard
_LEVEL_FRAMES, _PEAK_FRAMES = 200, 5  # level: the loudest 50 ms of the last 2 s
_FLOOR, _SILENCE = 1e-4, 1e-9  # of that level; power of what no microphone hears
_CENTER, _SCALE = -5.0, 3.0  # of the logarithms, roughly
_FORBIDDEN = -20.0  # added to the logarithm of a probability, no more than discouraging
_EDGE_UNIT_S = 0.1  # what the network gives as 1
_TOLERANCE = 1e-3

State = dict[str, Tensor]


class _Keeper:
    """Puts before each layer's input what it must remember, and remembers the end of it.

    Without a state it is silence and zeros, as at the beginning of a stream.
    """

    def __init__(self, state: State | None = None) -> None:
        self.old, self.new = state, State()

    def extend(self, name: str, x: Tensor, length: int) -> Tensor:
        if self.old is None:
            x = functional.pad(x, (length, 0))
        else:
            x = torch.cat([self.old[name], x], dim=-1)
        self.new[name] = x[..., x.shape[-1] - length :]
        return x


class _Block(nn.Module):
    """Residual dilated convolution over time."""

    def __init__(self, channels: int, taps: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.length = (taps - 1) * dilation
        self.layers = nn.Sequential(
            nn.Conv1d(channels, channels, taps, dilation=dilation, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, name: str, keeper: _Keeper) -> Tensor:
        y: Tensor = self.layers(keeper.extend(name, x, self.length))
        return x + y


class StringNet(nn.Module):
    """Waveform to the digits announced at each step.

    Parameters
    ----------
    channels, width
        Of the three convolutions over bands and time, and of those over time.
    taps, dilations
        Of the convolutions over time.
    """

    def __init__(
        self,
        channels: tuple[int, int, int] = (16, 32, 48),
        width: int = 96,
        taps: int = 5,
        dilations: tuple[int, ...] = (1, 2, 4),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.log_mel = LogMel(FRONT_END)
        a, b, c = channels

        def convolution(i: int, o: int, taps: int, stride: int) -> nn.Sequential:
            kernel, strides, padding = (3, taps), (2, stride), (1, 0)
            layer = nn.Conv2d(i, o, kernel, strides, padding, bias=False)
            return nn.Sequential(layer, nn.BatchNorm2d(o), nn.ReLU())

        self.lower = nn.ModuleList(
            [convolution(1, a, 5, 1), convolution(a, b, 5, STRIDE), convolution(b, c, 3, 1)]
        )
        self.lower_lengths = (4, 5 - STRIDE, 2)
        bands = math.ceil(FRONT_END.n_mels / 8)
        self.narrow = nn.Sequential(
            nn.Conv1d(c * bands, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        self.blocks = nn.ModuleList([_Block(width, taps, d, dropout) for d in dilations])
        self.head = nn.Conv1d(width, BLANK + 1 + 2, 1)

    def power(self, waveform: Tensor, keeper: _Keeper) -> Tensor:
        """Power spectrogram of frames that end with each hop: (B, L) to (B, F, T)."""
        front = self.log_mel.front_end
        length, before = front.window_length, (front.n_fft - front.window_length) // 2
        window = slice(before, before + length)
        extended = keeper.extend("samples", waveform[:, None], length - front.hop_length)
        if torch.onnx.is_in_onnx_export():
            basis = self.log_mel.basis[..., window]
            parts = functional.conv1d(extended, basis, stride=front.hop_length)
            real, imaginary = parts.chunk(2, 1)
            return real.square() + imaginary.square()
        frames = extended[:, 0].unfold(-1, length, front.hop_length) * self.log_mel.window[window]
        spectrum = torch.fft.rfft(frames, front.n_fft)
        power: Tensor = spectrum.real.square() + spectrum.imag.square()
        return power.transpose(1, 2)

    def normalize(self, mel: Tensor, keeper: _Keeper) -> Tensor:
        """Logarithm over the level of the last two seconds: (B, M, T) to (B, M, T)."""
        loudness = mel.mean(1, keepdim=True)
        extended = keeper.extend("loudness", loudness, _LEVEL_FRAMES + _PEAK_FRAMES - 2)
        peaks = functional.avg_pool1d(extended, _PEAK_FRAMES, 1)
        level = functional.max_pool1d(peaks, _LEVEL_FRAMES, 1)
        x = torch.log(mel / (level + _SILENCE) + _FLOOR)
        return (x - _CENTER) / _SCALE

    def announce(self, x: Tensor, keeper: _Keeper) -> tuple[Tensor, Tensor]:
        """(B, M, T) to logits (B, U, C) and (B, U, 2): seconds since start and end of the digit."""
        x = x[:, None]
        for i, (layer, length) in enumerate(zip(self.lower, self.lower_lengths, strict=True)):
            x = layer(keeper.extend(f"lower{i}", x, length))
        x = self.narrow(x.flatten(1, 2))
        for i, block in enumerate(self.blocks):
            x = block(x, f"block{i}", keeper)
        x = self.head(x).transpose(1, 2)
        return x[..., : BLANK + 1], x[..., BLANK + 1 :] * _EDGE_UNIT_S

    def forward(self, waveform: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """Hear (B, L), L a multiple of `STEP`: logits (B, U, C), edges (B, U, 2), the new state."""
        keeper = _Keeper(state)
        mel = self.log_mel.mel(self.power(waveform, keeper))
        logits, edges = self.announce(self.normalize(mel, keeper), keeper)
        return logits, edges, keeper.new

    def first_state(self) -> State:
        """Return the state of a stream that has heard nothing."""
        _, _, state = self(torch.zeros(1, STEP))
        return {name: torch.zeros_like(value) for name, value in state.items()}


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

    steps: int = 5000
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
        digits: list[Spoken],
        phrases: list[Spoken],
        words: list[Spoken],
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


def _vary_speed(piece: Spoken, ratio: float) -> Spoken:
    """Play a piece `ratio` times as fast, pitch and all."""
    count = round(len(piece.samples) / ratio)
    moments = np.linspace(0, len(piece.samples) - 1, count)
    samples = np.interp(moments, np.arange(len(piece.samples)), piece.samples)
    starts, ends = (np.round(x / ratio).astype(np.int64) for x in (piece.starts, piece.ends))
    return Spoken(
        samples.astype(np.float32), piece.digits, starts, ends, piece.speaker, piece.corpus
    )


_KINDS = {"fsdd": 0.38, "speech_commands": 0.2, "voices": 0.04, "phrases": 0.28, "none": 0.1}


def _source(material: Material, rng: np.random.Generator) -> Callable[[], Spoken]:
    """Draw who speaks in an example; return what gives one piece after another."""
    kinds = [k for k in _KINDS if k in material.pools or k in ("phrases", "none")]
    shares = np.array([_KINDS[k] for k in kinds])
    kind = str(rng.choice(kinds, p=shares / shares.sum()))

    def pick(pieces: list[Spoken]) -> Spoken:
        return pieces[rng.integers(len(pieces))]

    def nothing() -> Spoken:
        roll = rng.random()
        if material.sentences and roll < 0.4:
            sentence = pick(material.sentences)
            begin = rng.integers(0, max(1, len(sentence.samples) - SAMPLE_RATE))
            stop = begin + round(rng.uniform(0.2, 2.0) * SAMPLE_RATE)
            return Spoken.nothing(sentence.samples[begin:stop])
        if material.words and roll < 0.9:
            return pick(material.words)
        return Spoken.nothing(digit().samples[::-1])

    if kind in ("phrases", "none"):
        digit_pool = material.crowds[kinds[0]]
    elif kind == "speech_commands":
        digit_pool = material.crowds[kind]
    else:
        digit_pool = material.pools[kind][rng.choice(sorted(material.pools[kind]))]
    other_pool = material.crowds.get("fsdd", digit_pool)
    digits = [d for d in sorted(digit_pool) if digit_pool[d]]

    def digit() -> Spoken:
        name = digits[rng.integers(len(digits))]
        pool = digit_pool[name]
        # A digit that few people say here is not to be learned by heart.
        if len(pool) < 100 and kind == "speech_commands" and rng.random() < 0.5:
            pool = other_pool[name]
        return pick(pool)

    def piece() -> Spoken:
        if kind == "none" or rng.random() < 0.08:
            return nothing()
        if kind == "phrases" and material.phrases:
            return pick(material.phrases)
        return digit()

    return piece


def _draw_example(
    material: Material, length: int, tempo: float, rng: np.random.Generator
) -> Spoken:
    """Fill (length,) samples with pieces, gaps and noise; what does not fit whole is left out."""
    source = _source(material, rng)
    overlapped = rng.choice([0.0, 0.5, 0.9])
    pieces: list[Spoken] = []
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
        return Spoken.nothing(np.zeros(length, np.float32))
    level_db = rng.uniform(-1, 1) * 2 + np.cumsum(1.5 * rng.standard_normal(len(pieces)))
    string = join(pieces, gaps, 10 ** ((level_db - level_db.mean()) / 20))
    samples = np.pad(string.samples, (0, length - len(string.samples)))
    if material.noises and rng.random() < 0.4:
        noise = material.noises[rng.integers(len(material.noises))]
        begin = rng.integers(0, len(noise) - length)
        noise = noise[begin : begin + length]
        ratio = 10 ** (rng.uniform(3, 40) / 20)
        samples = samples + noise * (LEVEL_RMS / ratio / (noise.std() + 1e-9))
    return Spoken(
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

    power = net.power(batch.waveform, _Keeper())
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
    x = net.normalize(net.log_mel.mel(power), _Keeper())
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
    error = ((edges - batch.edges).abs().sum(-1) * batch.edge_mask).sum() / _EDGE_UNIT_S
    return ctc / B + 0.3 * error / batch.edge_mask.sum().clamp_min(1)


def train_strings(
    material: Material,
    config: StringConfig,
    progress: Callable[[int, float, StringNet], None] = lambda *_: None,
) -> StringNet:
    """Train a network; return that of the averaged weights, ready to judge.

    `progress` is called after every step with its number, its loss and the network so far.
    """
    torch.manual_seed(config.seed)  # the layers' own first weights draw from nothing else
    net = StringNet()
    averaged = StringNet()
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.2
    )
    for step in range(config.steps):
        generator = Generator().manual_seed(1_000_003 * config.seed + step)
        batch = draw_batch(material, config, step)
        net.train()
        with torch.no_grad():
            x = _augment(net, batch, generator)
        logits, edges = net.announce(x, _Keeper())
        loss = string_loss(logits, edges, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        _average(averaged, net, min(config.averaging, step / (step + 10)))
        progress(step, float(loss.detach()), averaged)
    return averaged.eval()


@torch.no_grad()
def _average(averaged: StringNet, net: StringNet, decay: float) -> None:
    """Move the averaged weights, and the statistics of normalization, towards the network's."""
    of_net = net.state_dict()
    for name, value in averaged.state_dict().items():
        if value.is_floating_point():
            value.lerp_(of_net[name], 1 - decay)


class _Streaming(nn.Module):
    """The network as it is exported: its state goes in and comes out, tensor by tensor."""

    def __init__(self, net: StringNet, names: list[str]) -> None:
        super().__init__()
        self.net, self.names = net, names

    def forward(self, waveform: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(self.names, values, strict=True))
        logits, edges, new = self.net(waveform, state)
        return logits, edges, *(new[name] for name in self.names)


def export_strings(net: StringNet, metadata: Mapping[str, str]) -> bytes:
    """Make an ONNX file of a network, to be run block by block.

    It takes ``waveform`` (1, L), L a multiple of ``step`` samples at 8 kHz, and ``state_<name>``,
    zeros at first; it gives ``scores`` (1, U, C), logits, ``edges`` (1, U, 2), the seconds since
    start and end of the digit that is announced, and ``new_state_<name>`` for the next block.

    Raises
    ------
    ExportError
        When ONNX, block by block, and torch, all at once, differ by more than 1e-3.
    """
    net = net.eval()
    state = net.first_state()
    names = list(state)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # as in export.py, whose way of tracing this is
        torch.onnx.export(
            _Streaming(net, names).eval(),
            (torch.randn(1, BLOCK), *state.values()),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["waveform", *(f"state_{name}" for name in names)],
            output_names=["scores", "edges", *(f"new_state_{name}" for name in names)],
            dynamic_axes={"waveform": {1: "L"}, "scores": {1: "U"}, "edges": {1: "U"}},
        )
    about = {
        "format_version": "1",
        "labels": json.dumps([*"0123456789", "blank"]),
        "sample_rate_hz": str(SAMPLE_RATE),
        "step": str(STEP),
        "block": str(BLOCK),
        "lookahead": str(-(-round(LATEST_S * SAMPLE_RATE) // STEP) * STEP),
        "front_end": json.dumps(asdict(FRONT_END)),
        "parameters": str(sum(p.numel() for p in net.parameters())),
        "version": spoken_digits.__version__,
    }
    content = describe(buffer.getvalue(), about | dict(metadata))
    _check_parity(net, content)
    return content


def _check_parity(net: StringNet, content: bytes) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    waveform = 0.1 * torch.randn(1, 20 * BLOCK, generator=Generator().manual_seed(1))
    with torch.no_grad():
        wanted = net(waveform)[:2]
        state = {f"state_{k}": v.numpy() for k, v in net.first_state().items()}
    outputs = [node.name for node in session.get_outputs()]
    heard = []
    for block in waveform.numpy().reshape(-1, 1, BLOCK):
        arrays = session.run(None, {"waveform": block} | state)
        answers = dict(zip(outputs, arrays, strict=True))
        state = {k.removeprefix("new_"): v for k, v in answers.items() if k.startswith("new_")}
        heard.append((answers["scores"], answers["edges"]))
    parts_of = zip(*heard, strict=True)
    for name, want, parts in zip(("scores", "edges"), wanted, parts_of, strict=True):
        difference = np.abs(np.concatenate(parts, axis=1) - want.numpy()).max()
        if not difference <= _TOLERANCE:
            raise ExportError(
                f"{name} of ONNX and torch differ by {difference:.2g}, expected at most "
                f"{_TOLERANCE:g}; nothing was written"
            )
