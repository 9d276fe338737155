from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from torch import nn
from torch.nn import functional

from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import (
    MODELS,
    Convolutional,
    DigitNet,
    Downsampled,
    MaskedBatchNorm,
    Recurrent,
)

LENGTHS = (800, 2345, 3111, 4000)


def padded_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(len(LENGTHS), max(LENGTHS), generator=generator)
    for row, length in zip(waveform, LENGTHS, strict=True):
        row[length:] = 0
    return waveform, torch.tensor(LENGTHS)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_clip_scores_the_same_alone_and_in_a_padded_batch(name: str, front_end: str) -> None:
    net = DigitNet(FRONT_ENDS[front_end], MODELS[name].backbone(FRONT_ENDS[front_end].n_mels), 10)
    net.eval()
    waveform, lengths = padded_batch()
    together = net(waveform, lengths)
    for i, length in enumerate(LENGTHS):
        alone = net(waveform[i : i + 1, :length])
        torch.testing.assert_close(together.scores[i], alone.scores[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.embedding[i], alone.embedding[0], atol=1e-5, rtol=1e-4)


def test_our_strong_model_is_small() -> None:
    net = DigitNet(FRONT_ENDS["ours"], MODELS["cnn"].backbone(40), 10)
    assert sum(p.numel() for p in net.parameters()) <= 150_000


def test_the_tiny_model_has_at_most_10_000_parameters() -> None:
    net = DigitNet(FRONT_ENDS["shipped"], MODELS["cnn-tiny"].backbone(40), 10, rejects=True)
    widths = (1, 8, 12, 16, 20)
    convolutions = sum(9 * before * after for before, after in pairwise(widths))
    top = 20 * 20 * 3 * 3  # over the 3 bands that are left of 40, and 3 frames
    norms, head = 2 * (sum(widths[1:]) + 20), 11 * (2 * 20 + 1)
    count = sum(p.numel() for p in net.parameters())
    assert count == convolutions + top + norms + head == 9_747


def test_an_ensemble_scores_the_mean_of_its_members() -> None:
    net = DigitNet(FRONT_ENDS["ours"], MODELS["cnn"].backbone(40), 10).eval()
    output = net(*padded_batch())
    members = net.member_scores(output.embedding)
    assert members.shape == (net.backbone.n_members, len(LENGTHS), 10)
    assert not torch.allclose(members[0], members[1], atol=1e-3)
    torch.testing.assert_close(members.mean(0), output.scores, atol=1e-5, rtol=1e-4)


def test_a_member_alone_learns_what_it_would_learn_without_the_others() -> None:
    backbone = MODELS["cnn"].backbone(40)
    net = DigitNet(FRONT_ENDS["ours"], backbone, 10)
    half = backbone.members[0].dimension
    alone = nn.Linear(half, 10)
    with torch.no_grad():
        alone.weight.copy_(2 * net.head.weight[:, :half])
        alone.bias.copy_(net.head.bias)
    log_mel, mask = net.front_end(*padded_batch())
    found = net.member_scores(backbone(log_mel, mask))[0]
    torch.testing.assert_close(
        found, alone(backbone.members[0](log_mel, mask)), atol=1e-5, rtol=1e-4
    )


def test_masked_batch_norm_is_torchs_on_the_frames_that_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, 10, generator=generator)
    mask = torch.ones(3, 1, 1, 10)
    mask[0, ..., 7:], mask[2, ..., 4:] = 0, 0
    x = x * mask
    ours, theirs = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    packed = torch.cat([x[0, ..., :7], x[1], x[2, ..., :4]], dim=2).reshape(4, -1).T
    expected = theirs(packed)
    kept = ours(x, mask)
    kept = torch.cat([kept[0, ..., :7], kept[1], kept[2, ..., :4]], dim=2).reshape(4, -1).T
    torch.testing.assert_close(kept, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, atol=1e-6, rtol=1e-4)
    # torch keeps the unbiased variance; the difference is one part in the number of frames.
    torch.testing.assert_close(ours.running_var, theirs.running_var, atol=0, rtol=0.02)


@pytest.mark.parametrize("n_frames", [5, 25, 26, 61])
def test_interpolation_to_25_frames_is_scipys(n_frames: int) -> None:
    x = torch.randn(1, 3, n_frames, generator=torch.Generator().manual_seed(0))
    found = Downsampled(3, "interpolate")(x, torch.ones(1, 1, n_frames)).reshape(3, 25)
    expected = interp1d(np.linspace(0, 1, n_frames), x[0].numpy())(np.linspace(0, 1, 25))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("n_frames", [5, 25, 26, 61])
def test_pooling_to_25_frames_is_torchs_adaptive_pooling(n_frames: int) -> None:
    x = torch.randn(1, 3, n_frames, generator=torch.Generator().manual_seed(0))
    found = Downsampled(3, "pool")(x, torch.ones(1, 1, n_frames)).reshape(1, 3, 25)
    torch.testing.assert_close(found, nn.AdaptiveAvgPool1d(25)(x), atol=1e-5, rtol=1e-4)


def test_a_recurrent_embedding_is_mean_and_maximum_of_a_packed_sequence() -> None:
    backbone = Recurrent(8, nn.LSTM, 16).eval()  # its normalization is the identity, but for eps
    x = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([20, 7, 13])
    mask = (torch.arange(20) < lengths[:, None]).float()[:, None]
    packed = nn.utils.rnn.pack_padded_sequence(
        x.transpose(1, 2), lengths, batch_first=True, enforce_sorted=False
    )
    states, _ = nn.utils.rnn.pad_packed_sequence(backbone.cell(packed)[0], batch_first=True)
    mean = states.sum(1) / lengths[:, None]  # padded states are zero
    maximum = torch.stack(
        [clip[:n].amax(0) for clip, n in zip(states, lengths.tolist(), strict=True)]
    )
    expected = torch.cat([mean, maximum], dim=1)
    torch.testing.assert_close(backbone(x * mask, mask), expected, atol=1e-4, rtol=1e-3)


def test_clips_side_by_side_train_as_a_padded_batch_does() -> None:
    # The reference: torch's own maximum, normalization and gradients, on a padded batch.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        packed, padded = (MODELS["cnn-single"].backbone(40).train() for _ in range(2))
    padded.load_state_dict(packed.state_dict())
    net = DigitNet(FRONT_ENDS["ours"], packed, 10)
    log_mel, mask = net.front_end(*padded_batch())
    direction = torch.randn(len(LENGTHS), packed.dimension, generator=torch.Generator())
    found = packed(log_mel, mask)
    x, kept = padded._exported(log_mel[:, None], mask[:, None])
    x, kept = x[:, :, 0], kept[:, 0]
    expected = torch.cat([x.sum(-1) / kept.sum(-1), x.amax(-1)], dim=1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    for embedding in (found, expected):
        (embedding * direction).sum().backward()
    for a, b in zip(packed.parameters(), padded.parameters(), strict=True):
        assert float((a.grad - b.grad).norm()) < 1e-4 * float(b.grad.norm())
    for a, b in zip(packed.buffers(), padded.buffers(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_gradients_point_the_same_way_and_statistics_keep_32_bits() -> None:
    gradients, statistics = [], []
    for enabled in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = MODELS["cnn-single"].backbone(40).train()
        log_mel, mask = DigitNet(FRONT_ENDS["ours"], backbone, 10).front_end(*padded_batch())
        direction = torch.randn(
            len(LENGTHS), backbone.dimension, generator=torch.Generator().manual_seed(1)
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            embedding = backbone(log_mel, mask)
        (embedding.float() * direction).sum().backward()
        gradients.append([p.grad.flatten() for p in backbone.parameters()])
        statistics.append(list(backbone.buffers()))
    for a, b in zip(*gradients, strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)  # it was computed otherwise
        assert (
            float(functional.cosine_similarity(a, b, dim=0)) > 0.9
        )  # the maximum of near ties may be another
    for a, b in zip(*statistics, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.01, rtol=0.05)


@pytest.mark.parametrize("pools", [((2, 2), (1, 2)), ((1, 1), (2, 1)), ((1, 2), (2, 2))])
def test_every_maximum_over_bands_and_frames_is_torchs(pools: tuple[tuple[int, int], ...]) -> None:
    backbone = Convolutional(10, widths=(3, 4), pools=pools, top=5)
    mask = (torch.arange(13) < torch.tensor([13, 4, 7, 1])[:, None]).float()[:, None]
    x = torch.randn(4, 10, 13, generator=torch.Generator().manual_seed(0)) * mask
    for mode in (True, False):
        other = Convolutional(10, widths=(3, 4), pools=pools, top=5).train(mode)
        other.load_state_dict(backbone.train(mode).state_dict())
        y, kept = other._exported(x[:, None], mask[:, None])
        y, kept = y[:, :, 0], kept[:, 0]
        expected = torch.cat([y.sum(-1) / kept.sum(-1), y.amax(-1)], dim=1)
        torch.testing.assert_close(backbone(x, mask), expected, atol=1e-4, rtol=1e-4)
