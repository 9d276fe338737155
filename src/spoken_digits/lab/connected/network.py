"""The network for strings of digits: causal convolutions, run block by block.

Shapes: B batch, L samples, F frequency bins, M mel bands, T frames of 10 ms, U steps of 20 ms,
C = 16 classes, `spotting.LABELS`.

The network is causal: its output at a step depends on the samples up to the end of that step. So a
stream is processed once, and its state is the left context of each layer. It looks ahead all the
same, since it may emit a digit up to `LATEST_S` after its end. How it is trained is in `training`.
"""

import io
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Generator, Tensor, nn
from torch.nn import functional

import spoken_digits
from spoken_digits.audio import SAMPLE_RATE
from spoken_digits.lab.export import OPSET, ExportError, describe
from spoken_digits.lab.features import FrontEnd, LogMel
from spoken_digits.networks import STRINGS_FORMAT_VERSION
from spoken_digits.spotting import LABELS

__all__ = [
    "BLOCK",
    "EDGE_UNIT_S",
    "FRONT_END",
    "LATEST_S",
    "STEP",
    "STRIDE",
    "StreamingCache",
    "StringNet",
    "compress_weights",
    "export_strings",
    "widen",
]

# Pre-emphasis and the lowest band leave out an offset and hum.
FRONT_END = FrontEnd(hop_ms=10.0, f_min_hz=100.0, pre_emphasis=0.97)
STRIDE = 2  # frames a step
STEP = STRIDE * FRONT_END.hop_length  # samples: 20 ms
BLOCK = 3 * STEP  # samples of a stream that are processed at once
LATEST_S = 0.24  # after the end of a digit, when it may be emitted at the latest
EDGE_UNIT_S = 0.1  # unit of the network's two outputs for start and end
_LEVEL_FRAMES, _PEAK_FRAMES = 200, 5  # level: the loudest 50 ms of the last 2 s
# Relative to that level: pauses of synthesized strings are deeper than recorded ones, so the floor
# is as high as a recorded pause.
_FLOOR, _SILENCE = 1e-2, 1e-9  # the latter: power below any microphone's noise
_CENTER, _SCALE = -2.7, 1.5  # of the logarithms, roughly
_WINDOWS = (9, 18, 30)  # steps: 180, 360 and 600 ms
_TOLERANCE = 1e-3

State = dict[str, Tensor]


class StreamingCache:
    """The left context of each layer: put before its input, and replaced by the end of that.

    Without a state the context is zeros, as at the beginning of a stream. The state for the next
    block is `new`.
    """

    def __init__(self, state: State | None = None) -> None:
        self.old, self.new = state, State()

    def extend(self, name: str, x: Tensor, length: int) -> Tensor:
        """Put the last `length` of layer `name` before its input (..., T); keep the new last."""
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
            nn.Dropout1d(dropout),  # whole channels: cheaper, and as good,
        )

    def forward(self, x: Tensor, name: str, cache: StreamingCache) -> Tensor:
        y: Tensor = self.layers(cache.extend(name, x, self.length))
        return x + y


class _Stage(nn.Module):
    """Convolution over bands and time, then the maximum over two bands and `stride` frames, 1 or 2.

    The maximum makes formants that lie a little higher or lower in another speaker give the same.
    """

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int) -> None:
        super().__init__()
        self.length, self.stride = taps - 1, stride
        self.convolve = nn.Conv2d(inputs, outputs, (3, taps), padding=(1, 0), bias=False)
        self.layers = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: Tensor, name: str, cache: StreamingCache) -> Tensor:
        x = self.convolve(cache.extend(name, x, self.length))
        if x.shape[2] % 2:  # the last band has no neighbour
            x = torch.cat([x, x[:, :, -1:]], dim=2)
        x = _larger(*_pairs(x, 2))
        if self.stride == 2:
            x = _larger(*_pairs(x, 3))
        y: Tensor = self.layers(x)
        return y


def _pairs(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return what is at the even and at the odd indices of a dimension of even length."""
    if torch.onnx.is_in_onnx_export():  # unflatten would fix the number of frames
        return (x[:, :, ::2], x[:, :, 1::2]) if dim == 2 else (x[..., ::2], x[..., 1::2])
    # Its gradient is put together in one pass; that of a slice with steps is filled with zeros.
    first, second = torch.unflatten(x, dim, (-1, 2)).unbind(dim + 1)
    return first, second


def _larger(a: Tensor, b: Tensor) -> Tensor:
    """Return the larger of each two, in a quarter of max_pool2d's time, backward included."""
    return b + functional.relu(a - b)


def _mean(x: Tensor, window: int) -> Tensor:
    """Return the mean over each `window` steps: (..., T) to (..., T - window + 1)."""
    # In a quarter of avg_pool1d's time, backward included; in single precision.
    sums = functional.pad(x.float(), (1, 0)).cumsum(-1)
    return (sums[..., window:] - sums[..., :-window]) / window


class _Pools(nn.Module):
    """Mean and maximum over the last steps, in several windows, and a linear layer of them.

    The network for single digits pools a whole word: that a sound occurred counts, not when, which
    helps with unseen speakers.
    """

    def __init__(self, channels: int, windows: tuple[int, ...]) -> None:
        super().__init__()
        self.windows = windows
        self.mix = nn.Sequential(
            nn.Conv1d(2 * len(windows) * channels, channels, 1, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, name: str, cache: StreamingCache) -> Tensor:
        longest = max(self.windows)
        x = cache.extend(name, x, longest - 1)
        parts = []
        maxima, covered = x, 1  # of `covered` steps each
        for window in self.windows:
            while 2 * covered <= window:
                maxima = _larger(maxima[..., :-covered], maxima[..., covered:])
                covered *= 2
            rest = window - covered
            largest = _larger(maxima[..., : maxima.shape[-1] - rest], maxima[..., rest:])
            parts.append(_mean(x[..., longest - window :], window))
            parts.append(largest[..., longest - window :])
        y: Tensor = self.mix(torch.cat(parts, 1))
        return y


class StringNet(nn.Module):
    """Waveform to the digit emitted at each step.

    Parameters
    ----------
    channels, width
        Of the four convolutions over bands and time, and of those over time.
    windows
        Steps that means and maxima are taken over, ascending.
    dilations
        Of the convolutions over time, three taps each, before and after these.
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int] = (16, 32, 48, 64),
        width: int = 192,
        windows: tuple[int, ...] = _WINDOWS,
        dilations: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 2, 4), (1, 2, 4)),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.log_mel = LogMel(FRONT_END)
        a, b, c, d = channels
        self.lower = nn.ModuleList(
            [_Stage(1, a, 5, STRIDE), _Stage(a, b, 3, 1), _Stage(b, c, 3, 1), _Stage(c, d, 3, 1)]
        )
        bands = math.ceil(FRONT_END.n_mels / 2 ** len(channels))
        self.narrow = nn.Sequential(
            nn.Conv1d(d * bands, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        before, after = ([_Block(width, 3, d, dropout) for d in part] for part in dilations)
        self.blocks = nn.ModuleList([*before, _Pools(width, windows), *after])
        self.head = nn.Conv1d(width, len(LABELS) + 2, 1)

    def power(self, waveform: Tensor, cache: StreamingCache) -> Tensor:
        """Power spectrogram of frames that end with each hop: (B, L) to (B, F, T)."""
        front = self.log_mel.front_end
        length, before = front.window_length, (front.n_fft - front.window_length) // 2
        window = slice(before, before + length)
        extended = cache.extend("samples", waveform[:, None], length - front.hop_length)
        if torch.onnx.is_in_onnx_export():
            basis = self.log_mel.basis[..., window]
            parts = functional.conv1d(extended, basis, stride=front.hop_length)
            real, imaginary = parts.chunk(2, 1)
            return real.square() + imaginary.square()
        frames = extended[:, 0].unfold(-1, length, front.hop_length) * self.log_mel.window[window]
        spectrum = torch.fft.rfft(frames, front.n_fft)
        power: Tensor = spectrum.real.square() + spectrum.imag.square()
        return power.transpose(1, 2)

    def normalize(self, mel: Tensor, cache: StreamingCache) -> Tensor:
        """Logarithm over the level of the last two seconds: (B, M, T) to (B, M, T)."""
        loudness = mel.mean(1, keepdim=True)
        extended = cache.extend("loudness", loudness, _LEVEL_FRAMES + _PEAK_FRAMES - 2)
        peaks = functional.avg_pool1d(extended, _PEAK_FRAMES, 1)
        level = functional.max_pool1d(peaks, _LEVEL_FRAMES, 1)
        x = torch.log(mel / (level + _SILENCE) + _FLOOR)
        return (x - _CENTER) / _SCALE

    def emit(self, x: Tensor, cache: StreamingCache) -> tuple[Tensor, Tensor]:
        """(B, M, T) to logits (B, U, C) and (B, U, 2): seconds since start and end of the digit."""
        x = x[:, None]
        for i, stage in enumerate(self.lower):
            x = stage(x, f"lower{i}", cache)
        x = self.narrow(x.flatten(1, 2))
        for i, block in enumerate(self.blocks):
            x = block(x, f"block{i}", cache)
        x = self.head(x).transpose(1, 2)
        return x[..., : len(LABELS)], x[..., len(LABELS) :] * EDGE_UNIT_S

    def forward(self, waveform: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """(B, L), L a multiple of `STEP`, to logits (B, U, C), edges (B, U, 2), the new state."""
        cache = StreamingCache(state)
        mel = self.log_mel.mel(self.power(waveform, cache))
        logits, edges = self.emit(self.normalize(mel, cache), cache)
        return logits, edges, cache.new

    def first_state(self) -> State:
        """Return the state at the beginning of a stream: zeros."""
        _, _, state = self(torch.zeros(1, STEP))
        return {name: torch.zeros_like(value) for name, value in state.items()}


class _Streaming(nn.Module):
    """The network as it is exported: its state goes in and comes out, tensor by tensor."""

    def __init__(self, net: StringNet, names: list[str]) -> None:
        super().__init__()
        self.net, self.names = net, names

    def forward(self, waveform: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(self.names, values, strict=True))
        logits, edges, new = self.net(waveform, state)
        return logits, edges, *(new[name] for name in self.names)


def widen(state: Mapping[str, Tensor], wider: Mapping[str, Tensor]) -> State:
    """Return the weights of a wider network that gives what a narrower one gives (Net2Net).

    Its new channels keep their random weights, and weigh nothing yet in what follows them (after
    Chen et al. 2016). Where both are equally wide, the weights are those of `state`.

    Parameters
    ----------
    state
        Weights of a `StringNet`.
    wider
        Random weights of another, which differs in `width` alone.
    """
    new = State()
    for name, weights in wider.items():
        old = state[name]
        if old.shape == weights.shape:
            new[name] = old.clone()
            continue
        if old.ndim < 2:
            new[name] = weights.clone()
            new[name][: len(old)] = old
            continue
        # The input of `_Pools.mix` is several times all channels, one after another.
        groups = 2 * len(_WINDOWS) if ".mix." in name else 1
        new[name] = weights.clone()
        new[name][: len(old)] = 0
        for part, new_part in zip(old.chunk(groups, 1), new[name].chunk(groups, 1), strict=True):
            new_part[: len(old), : part.shape[1]] = part
    return new


def export_strings(net: StringNet, metadata: Mapping[str, str]) -> bytes:
    """Make an ONNX file of a network, to be run block by block.

    It takes ``waveform`` (1, L), L a multiple of ``step`` samples at 8 kHz, and ``state_<name>``,
    zeros at first; it gives ``scores`` (1, U, C), logits, ``edges`` (1, U, 2), the seconds since
    start and end of the digit that is emitted, and ``new_state_<name>`` for the next block.

    Raises
    ------
    ExportError
        When ONNX, block by block, and torch, all at once, differ by more than 1e-3; the weights are
        stored in 8 bits after that, see `compress_weights`.
    """
    net = net.eval()
    state = net.first_state()
    names = list(state)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated; see export.py
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
        "format_version": STRINGS_FORMAT_VERSION,
        "labels": json.dumps(LABELS),
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
    return compress_weights(content)


def compress_weights(content: bytes) -> bytes:
    """Store the weights of an ONNX file in 8 bits, to a third of its size.

    The kernels of convolutions over several channels become whole numbers of -127 to 127 and a
    scale for each output channel. Two operators before each give single precision again;
    onnxruntime runs them once, when the file is opened.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    nodes = []
    for tensor in list(graph.initializer):
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if name not in kernels or values.shape[1] == 1:
            continue
        peaks = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        scales = np.maximum(peaks / 127, np.finfo(np.float32).tiny)
        stored, whole, scale = (f"{name}_{part}" for part in ("stored", "whole", "scale"))
        tensor.CopyFrom(numpy_helper.from_array(np.rint(values / scales).astype(np.int8), stored))
        graph.initializer.append(numpy_helper.from_array(scales, scale))
        nodes += [
            helper.make_node("Cast", [stored], [whole], to=TensorProto.FLOAT),
            helper.make_node("Mul", [whole, scale], [name]),
        ]
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _check_parity(net: StringNet, content: bytes) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    waveform = 0.1 * torch.randn(1, 20 * BLOCK, generator=Generator().manual_seed(1))
    with torch.no_grad():
        wanted = net(waveform)[:2]
        state = {f"state_{k}": v.numpy() for k, v in net.first_state().items()}
    outputs = [node.name for node in session.get_outputs()]
    outputs_by_block = []
    for block in waveform.numpy().reshape(-1, 1, BLOCK):
        arrays = session.run(None, {"waveform": block} | state)
        answers = dict(zip(outputs, arrays, strict=True))
        state = {k.removeprefix("new_"): v for k, v in answers.items() if k.startswith("new_")}
        outputs_by_block.append((answers["scores"], answers["edges"]))
    blocks_of = zip(*outputs_by_block, strict=True)
    for name, want, blocks in zip(("scores", "edges"), wanted, blocks_of, strict=True):
        difference = np.abs(np.concatenate(blocks, axis=1) - want.numpy()).max()
        if not difference <= _TOLERANCE:
            raise ExportError(
                f"{name} of ONNX and torch differ by {difference:.2g}, expected at most "
                f"{_TOLERANCE:g}; nothing was written"
            )
