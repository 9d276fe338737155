"""Networks: waveform in, scores out, by way of the log-mel front end and one of several backbones.

Shapes: B batch, L samples, M mel bands, T frames, D embedding, C classes. Every backbone takes
clips of any length in a padded batch: (B, M, T) with a mask (B, 1, T), 1 where there is sound;
padding never enters a mean, a pool or a normalization, so a clip scores the same alone and in any
batch.

What the original study's networks got wrong, and is not repeated here: batches of one clip, slow
and the gradient of one clip at a time, for want of padding and masks; thirteen bands, each scaled
to unit deviation, which throws away how loud a band is against the others; choices made on the DEV
list, the same two people as TEST; one seed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spoken_digits.lab.features import FrontEnd, LogMel

__all__ = [
    "MODELS",
    "Backbone",
    "Convolutional",
    "DigitNet",
    "Downsampled",
    "Ensemble",
    "Model",
    "Output",
    "Recurrent",
    "TemporalConvolutional",
]


_FAR = 1e4  # below every value that a maximum may choose


class Output(NamedTuple):
    """What a network gives for a batch."""

    scores: Tensor  # (B, C), logits
    log_mel: Tensor  # (B, M, T), as the backbone saw it
    embedding: Tensor  # (B, D), what the last linear layer sees
    rejection: Tensor | None = None  # (B,), logit of being one of the C classes at all


class Backbone(nn.Module):
    """(B, M, T) and mask (B, 1, T) to (B, D); D is `dimension`."""

    dimension: int
    n_members: int = 1  # parts of the embedding, of one size, that learn each on its own

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed a padded batch."""
        raise NotImplementedError


class MaskedBatchNorm(nn.Module):
    """Batch normalization whose statistics leave padding out (Ioffe and Szegedy 2015).

    (B, channels, bands, T) with mask (B, 1, 1, T); padding goes in and comes out as zero.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalize, scale and shift."""
        if self.training:
            count = mask.sum() * x.shape[2]
            # In channels-last memory this is a matrix as it lies; its sums are several times faster
            # than torch's own over three axes.
            rows = x.permute(0, 2, 3, 1).flatten(0, 2)  # (B * bands * T, channels)
            mean = rows.sum(0) / count
            var = ((rows * rows).sum(0) / count - mean * mean).clamp_min(0)
            self.update(mean, var)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]) * mask

    @torch.no_grad()
    def update(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)


class _PoolNormRelu(torch.autograd.Function):
    """Maximum, batch normalization and rectification in one, for training.

    The same as `_maximum`, `MaskedBatchNorm` and relu one after another, to rounding; with its own
    gradient it reads and writes memory a third as often, which is what these layers' time goes to.
    Everything lies channels-last.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mask: Tensor,
        norm: "MaskedBatchNorm",
        pool: tuple[int, int],
        *_: Tensor,
    ) -> Tensor:
        """Compute (B, C, bands / pool[0], T / pool[1]) of (B, C, bands, T); mask (B, 1, 1, T)."""
        ctx.shape, ctx.axes, differences = x.shape, [], []
        for axis in (2, 3):
            if pool[axis - 2] == 2:
                if axis == 3:
                    x, mask = _without_padding(x, mask), mask[..., ::2]
                x, difference = _halve(x, axis)
                ctx.axes.append(axis)
                differences.append(difference)
        count = mask.sum() * x.shape[2]
        mask = mask.to(x.dtype)  # of fewer bits under autocast
        x = x.mul_(mask) if ctx.axes else x * mask
        square = x * x
        mean = _sums(x) / count
        var = (_sums(square) / count - mean * mean).clamp_min(0)
        norm.update(mean, var)
        inverse = torch.rsqrt(var + norm.eps)
        scale = norm.weight * inverse
        shift = norm.bias - mean * scale
        y = torch.mul(x, scale[:, None, None].to(x.dtype), out=square)
        y.add_(_columns(mask, shift.to(x.dtype))).relu_()
        ctx.save_for_backward(x, y, mask, mean, inverse, scale, count, *differences)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Ioffe and Szegedy 2015, algorithm 1, with sums over the frames that are there."""
        x, y, mask, mean, inverse, scale, count, *differences = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        product = gradient * x
        to_bias = _sums(gradient)
        to_weight = (_sums(product) - mean * to_bias) * inverse
        slope = -scale * inverse * to_weight / count
        offset = -scale * to_bias / count - slope * mean
        back = torch.mul(x, slope[:, None, None].to(x.dtype), out=product)
        back.add_(_columns(mask, offset.to(x.dtype)))
        back.addcmul_(gradient, scale[:, None, None].to(x.dtype))
        for axis, difference in zip(reversed(ctx.axes), reversed(differences), strict=True):
            back = _double(back, axis, difference, ctx.shape[axis])
        return back, None, None, None, to_weight, to_bias


def _sums(x: Tensor) -> Tensor:
    """Sum (B, C, bands, T) for each channel, as it lies in channels-last memory: (C,).

    With 32 bits at least.
    """
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.sum(0, dtype=torch.promote_types(x.dtype, torch.float32))


def _columns(mask: Tensor, values: Tensor) -> Tensor:
    """Values of channels (C,) where the mask (B, 1, 1, T) is 1: (B, C, 1, T), channels-last."""
    return (mask.permute(0, 2, 3, 1) * values).permute(0, 3, 1, 2)


def _pairs(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Every first and every second slice along an axis; there may be one more of the first."""
    every = (slice(None),) * axis
    return x[(*every, slice(0, None, 2))], x[(*every, slice(1, None, 2))]


def _halve(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Maximum of neighbours along an axis, the last alone if need be; and first minus second."""
    first, second = _pairs(x, axis)
    n = second.shape[axis]
    paired, alone = first.narrow(axis, 0, n), first.narrow(axis, n, first.shape[axis] - n)
    highest = torch.maximum(paired, second)
    if alone.shape[axis]:
        highest = torch.cat([highest, alone], axis)
    return highest, paired - second


def _double(gradient: Tensor, axis: int, difference: Tensor, length: int) -> Tensor:
    """Take a gradient back through `_halve`: to the first of a pair where it was the higher."""
    n = difference.shape[axis]
    shape = list(gradient.shape)
    shape[axis] = length
    back = torch.empty(
        shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
    )
    first, second = _pairs(back, axis)
    of_pairs, to_first = gradient.narrow(axis, 0, n), first.narrow(axis, 0, n)
    torch.ops.aten.threshold_backward.grad_input(of_pairs, difference, 0, grad_input=to_first)
    torch.sub(of_pairs, to_first, out=second)
    rest = first.shape[axis] - n
    first.narrow(axis, n, rest).copy_(gradient.narrow(axis, n, rest))
    return back


def _without_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Keep the frame behind a clip's last one out of the pair that both are in.

    The convolution reaches into it, and it may be above the last frame. (1, C, bands, T), T even.
    """
    first, second = _pairs(mask.flatten(), 0)
    behind = 2 * torch.nonzero(first > second)[:, 0] + 1
    return x.index_fill(3, behind, -_FAR)


def _maximum(x: Tensor, mask: Tensor, pool: tuple[int, int]) -> Tensor:
    """Maximum over `pool` bands and frames that are there: (1, C, bands, T), mask (1, 1, 1, T)."""
    if pool[0] == 2:
        x, _ = _halve(x, 2)
    if pool[1] == 2:
        x, _ = _halve(_without_padding(x, mask), 3)
    return x


class _Packing:
    """The clips of a padded batch side by side in one long image, a frame or two of zeros between.

    Padding, a quarter of a batch, then costs nothing. The image is made as wide as the next step of
    64 columns: a convolution is compiled anew for every new shape, which takes as long as using it.
    """

    def __init__(self, mask: Tensor, stride: int) -> None:
        self.stride, self.frames = stride, mask.shape[-1]
        self.lengths = mask[:, 0].sum(-1).long()  # (B,)
        self.kept = -torch.div(-self.lengths, stride, rounding_mode="floor")  # after the stages
        slots = self.kept + 1
        self.starts = slots.cumsum(0) - slots
        slots[-1] += -slots.sum() % 64
        clip = torch.arange(len(slots), device=mask.device).repeat_interleave(slots * stride)
        frame = torch.arange(len(clip), device=mask.device) - stride * self.starts[clip]
        self.inside = frame < self.lengths[clip]
        self.source = clip * self.frames + frame.clamp(max=self.frames - 1)
        self.mask = self.inside.float()[None, None, None]  # (1, 1, 1, W)

    def pack(self, x: Tensor) -> Tensor:
        """(B, M, T) to (1, 1, M, W), channels-last."""
        image = x.transpose(0, 1).flatten(1)[:, self.source] * self.inside
        return image[None, :, :, None].permute(0, 3, 1, 2)

    def unpack(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, D, 1, W / stride) to (B, D, T) and the mask (B, 1, T)."""
        frame = torch.arange(int(self.kept.max()), device=x.device)
        mask = (frame < self.kept[:, None]).float()
        position = (self.starts[:, None] + frame).clamp(max=x.shape[-1] - 1)
        clips = x[0, :, 0].T[position] * mask[..., None]  # (B, T, D)
        return clips.transpose(1, 2), mask[:, None]


class Convolutional(Backbone):
    """The members of the strong model: plain 3 by 3 convolutions over bands and frames.

    Each stage convolves, takes the maximum over (bands, frames), so that a resonance may lie a
    little higher or lower in another speaker, normalizes and rectifies; the last convolution spans
    all bands that are left. Mean and maximum over a clip's frames are joined into the embedding.
    The maximum comes before the normalization, which then has a half or a quarter to do.

    Parameters
    ----------
    n_mels
        Number of mel bands M.
    widths, pools
        Channels of each stage, and the (bands, frames) of its maximum, 1 or 2 of either.
    top
        Channels of the last convolution; the embedding is twice as long.
    """

    def __init__(
        self,
        n_mels: int,
        widths: tuple[int, ...] = (16, 32, 48, 64),
        pools: tuple[tuple[int, int], ...] = ((2, 2), (2, 1), (2, 1), (2, 1)),
        top: int = 64,
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.pools = (*pools, (1, 1))
        self.stride = math.prod(frames for _, frames in pools)
        channels, bands = 1, n_mels
        for width, (pooled, _) in zip(widths, pools, strict=True):
            self.convolutions.append(nn.Conv2d(channels, width, 3, padding=1, bias=False))
            self.norms.append(MaskedBatchNorm(width))
            channels, bands = width, -(-bands // pooled)
        self.convolutions.append(nn.Conv2d(channels, top, (bands, 3), padding=(0, 1), bias=False))
        self.norms.append(MaskedBatchNorm(top))
        self.dimension = 2 * top

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed a padded batch."""
        if torch.onnx.is_in_onnx_export():
            x, mask = self._exported(x[:, None], mask[:, None])
            x, mask = x[:, :, 0], mask[:, 0]
        else:
            packing = _Packing(mask, self.stride)
            x, mask = packing.unpack(self._packed(packing.pack(x), packing.mask))
        return torch.cat([x.sum(-1) / mask.sum(-1), x.amax(-1)], dim=1)

    def _packed(self, x: Tensor, mask: Tensor) -> Tensor:
        """All stages, of clips side by side: (1, 1, M, W) to (1, top, 1, W / stride)."""
        for convolution, norm, pool in zip(self.convolutions, self.norms, self.pools, strict=True):
            x = convolution(x)
            if self.training:
                parameters = norm.weight, norm.bias  # named, to get their gradients
                x = _PoolNormRelu.apply(x, mask, norm, pool, *parameters)  # type: ignore[no-untyped-call]
                mask = mask[..., :: pool[1]]
            else:
                x = _maximum(x, mask, pool)
                mask = mask[..., :: pool[1]]
                x = functional.relu(norm(x * mask, mask))
        return x

    def _exported(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """All stages, of a padded batch, in operators that every ONNX runtime has."""
        for convolution, norm, pool in zip(self.convolutions, self.norms, self.pools, strict=True):
            x = convolution(x)
            if pool != (1, 1):
                # Before relu, values may be below padding's zero: the maximum must not choose it.
                # Half a pool at the end counts as one, as it would with padding behind it.
                x = functional.max_pool2d(x + (mask - 1) * _FAR, pool, ceil_mode=True)
                mask = mask[..., :: pool[1]]
            x = functional.relu(norm(x * mask, mask))
        return x, mask


class Ensemble(Backbone):
    """Several backbones side by side, their embeddings joined; `DigitNet` lets each learn alone."""

    def __init__(self, n_mels: int, members: int, member: Callable[[int], Backbone]) -> None:
        super().__init__()
        backbones = [member(n_mels) for _ in range(members)]
        self.members = nn.ModuleList(backbones)
        self.n_members = members
        self.dimension = sum(backbone.dimension for backbone in backbones)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed a padded batch."""
        return torch.cat([member(x, mask) for member in self.members], dim=1)


class Recurrent(Backbone):
    """The original study's RNN (Elman, tanh) and LSTM over frames.

    The embedding is the mean and the maximum of a clip's states. Two things let even the plain RNN
    learn: bands are brought to zero mean and unit deviation over the training batch, so that tanh
    does not saturate, and all states count, where the last one alone would have to carry the word
    through all the silence behind it.
    """

    def __init__(self, n_mels: int, cell: type[nn.RNN] | type[nn.LSTM], hidden: int = 128) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm(n_mels)
        self.cell = cell(n_mels, hidden, batch_first=True)
        self.dimension = 2 * hidden

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed a padded batch."""
        x = self.norm(x[:, :, None], mask[:, None])[:, :, 0]
        states: Tensor = self.cell(x.transpose(1, 2))[0]  # (B, T, hidden)
        mean = torch.matmul(mask, states)[:, 0] / mask.sum(-1)
        return torch.cat([mean, (states.transpose(1, 2) + (mask - 1) * _FAR).amax(-1)], dim=1)


class TemporalConvolutional(Backbone):
    """The original study's temporal CNN: bands are channels, convolutions run along time alone.

    Two convolutions, each followed by a maximum over three frames; then mean and maximum over the
    clip. Bands, and what each convolution gives, are brought to zero mean and unit deviation over
    the training batch.
    """

    def __init__(self, n_mels: int, widths: tuple[int, ...] = (96, 128), kernel: int = 5) -> None:
        super().__init__()
        channels = (n_mels, *widths)
        self.norms = nn.ModuleList(MaskedBatchNorm(width) for width in channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False)
            for before, after in pairwise(channels)
        )
        self.dimension = 2 * widths[-1]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed a padded batch."""
        first, *others = self.norms
        x = first(x[:, :, None], mask[:, None])[:, :, 0]
        for convolution, norm in zip(self.convolutions, others, strict=True):
            x = convolution(x) * mask
            x = functional.relu(norm(x[:, :, None], mask[:, None])[:, :, 0]) * mask
            mask = mask[..., ::2]
            x = functional.max_pool1d(x, 3, 2, 1) * mask
        return torch.cat([x.sum(-1) / mask.sum(-1), x.amax(-1)], dim=1)


class Downsampled(Backbone):
    """The baselines' view of a clip: its spectrogram at a fixed number of frames, flattened.

    ``interpolate`` reads the frames at evenly spaced moments, linearly between two; ``pool`` takes
    the mean over each of as many even stretches of time (those of adaptive average pooling).
    """

    def __init__(
        self, n_mels: int, how: Literal["interpolate", "pool"], n_frames: int = 25
    ) -> None:
        super().__init__()
        self.how, self.n_frames = how, n_frames
        self.dimension = n_mels * n_frames

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed a padded batch."""
        length = mask.sum(-1)  # (B, 1), frames of each clip
        step = torch.arange(self.n_frames, device=x.device, dtype=x.dtype)
        if self.how == "pool":
            # Borders are those of adaptive average pooling: neighbours share a frame where they do
            # not fall between two.
            start = torch.floor(step * length / self.n_frames)
            stop = torch.ceil((step + 1) * length / self.n_frames)
            sums = functional.pad(x.cumsum(-1), (1, 0))
            return ((_take(sums, stop) - _take(sums, start)) / (stop - start)[:, None]).flatten(1)
        position = step * (length - 1) / (self.n_frames - 1)
        before = position.floor()
        after = torch.minimum(before + 1, length - 1)
        share = (position - before)[:, None]
        return (_take(x, before) * (1 - share) + _take(x, after) * share).flatten(1)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Frames of (B, M, T) at (B, n): (B, M, n)."""
    return x.gather(2, index.long()[:, None].expand(-1, x.shape[1], -1))


class DigitNet(nn.Module):
    """Front end, backbone and a linear head: waveform in, scores out.

    One that `rejects` has a class more, "none of these", of which only the log-odds against all
    others together are given out: `Output.rejection`, high for what is surely one of the C.
    """

    def __init__(
        self, front_end: FrontEnd, backbone: Backbone, n_classes: int, rejects: bool = False
    ) -> None:
        super().__init__()
        self.front_end = LogMel(front_end)
        self.backbone = backbone
        self.rejects = rejects
        self.head = nn.Linear(backbone.dimension, n_classes + rejects)

    def classify(self, log_mel: Tensor, mask: Tensor) -> Output:
        """Score normalized log-mel spectrograms (B, M, T) with mask (B, 1, T)."""
        embedding = self.backbone(log_mel, mask)
        scores = self.head(embedding)
        if not self.rejects:
            return Output(scores, log_mel, embedding)
        scores, other = scores[:, :-1], scores[:, -1]
        return Output(scores, log_mel, embedding, scores.logsumexp(1) - other)

    def member_scores(self, embedding: Tensor) -> Tensor:
        """Score by each member of an ensemble alone: (B, D) to (n_members, B, C).

        Their mean is what the head says of the whole embedding: an ensemble is one linear layer.
        """
        n, (B, D) = self.backbone.n_members, embedding.shape
        parts = embedding.reshape(B, n, D // n).transpose(0, 1)  # (n, B, D / n)
        weights = self.head.weight.reshape(-1, n, D // n).permute(1, 2, 0)  # (n, D / n, C)
        return n * torch.matmul(parts, weights) + self.head.bias

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Output:
        """Score a padded batch (B, L) of clips of lengths (B,); without lengths all of L counts."""
        return self.classify(*self.front_end(waveform, lengths))


@dataclass(frozen=True)
class Model:
    """An entry of the registry.

    `backbone` builds from a number of mel bands; `linear` names the scikit-learn classifier that
    fits the head of a backbone without weights of its own, None for networks trained by gradient;
    `features` then says what that backbone computes.
    """

    title: str
    backbone: Callable[[int], Backbone]
    linear: Literal["hinge", "logistic"] | None = None
    features: str = ""


_MEMBER = partial(Convolutional, widths=(16, 28, 40, 56), top=56)

MODELS: dict[str, Model] = {
    "sgd-interpolate": Model(
        "SGD hinge, 25 frames interpolated",
        partial(Downsampled, how="interpolate"),
        "hinge",
        "25 frames interpolated",
    ),
    "sgd-pool": Model(
        "SGD hinge, 25 frames pooled",
        partial(Downsampled, how="pool"),
        "hinge",
        "25 frames pooled",
    ),
    "logistic-interpolate": Model(
        "Logistic regression, 25 frames interpolated",
        partial(Downsampled, how="interpolate"),
        "logistic",
        "25 frames interpolated",
    ),
    "logistic-pool": Model(
        "Logistic regression, 25 frames pooled",
        partial(Downsampled, how="pool"),
        "logistic",
        "25 frames pooled",
    ),
    "rnn": Model("RNN", partial(Recurrent, cell=nn.RNN)),
    "lstm": Model("LSTM", partial(Recurrent, cell=nn.LSTM)),
    "temporal-cnn": Model("Temporal 1D CNN", TemporalConvolutional),
    "cnn": Model("2-D CNN (ensemble of two)", partial(Ensemble, members=2, member=_MEMBER)),
    "cnn-single": Model("2-D CNN (single)", _MEMBER),
    "cnn-wide": Model("2-D CNN (wide)", partial(Convolutional, widths=(20, 40, 64, 92), top=92)),
    "cnn-tiny": Model("2-D CNN (tiny)", partial(Convolutional, widths=(8, 12, 16, 20), top=20)),
}
