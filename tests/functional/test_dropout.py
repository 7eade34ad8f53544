"""Dropout is a function of (seed, head, target, source): the same mask in every plan."""

import pytest
import torch

import edgewise as ew
from edgewise.ops.dropout import dropout_multiplier
from edgewise.testing import GENERAL

NAMES = GENERAL


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_mask_with_every_backend():
    q, k, v = torch.randn(3, 2, 4, 9, 3, dtype=torch.float64).unbind()
    graph = ew.EdgeList(torch.randint(0, 9, (2, 30)).unique(dim=1), num_nodes=9)
    outs = [
        ew.attention(q, k, v, graph, dropout=0.5, generator=seeded(1), backend=name)
        for name in NAMES
    ]
    for out in outs[1:]:
        torch.testing.assert_close(out, outs[0], rtol=0, atol=1e-12)
    other = ew.attention(q, k, v, graph, dropout=0.5, generator=seeded(2))
    assert not torch.allclose(other, outs[0])


def test_torch_manual_seed_repeats_it():
    q = torch.randn(2, 6, 3)
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(ew.attention(q, q, q, ew.Complete(6), dropout=0.4))
    assert torch.equal(*runs)


def test_the_order_of_edges_does_not_matter():
    q, k, v = torch.randn(3, 2, 9, 3, dtype=torch.float64).unbind()
    pairs = torch.randint(0, 9, (2, 30)).unique(dim=1)
    shuffled = pairs[:, torch.randperm(pairs.shape[1])]
    outs = [
        ew.attention(q, k, v, ew.EdgeList(p, num_nodes=9), dropout=0.5, generator=seeded(1))
        for p in (pairs, shuffled)
    ]
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)


def test_copies_of_an_edge_are_dropped_independently():
    one = torch.ones(1, 1, 1)
    copies = ew.EdgeList(torch.zeros(2, 400, dtype=torch.int64), num_nodes=1)
    out = ew.attention(one, one, one, copies, dropout=0.5, generator=seeded(0), backend="gather")
    assert 0.7 < out.item() < 1.3  # all or nothing would be 0 or 2


def test_the_share_and_the_mean_are_right():
    index = torch.arange(400)
    for probability in (0.1, 0.5, 0.9):
        factor = dropout_multiplier(
            torch.tensor(123456789), probability, torch.tensor(3), index[:, None], index[None, :]
        )
        dropped = (factor == 0).float().mean().item()
        assert dropped == pytest.approx(probability, abs=0.005)
        assert factor.mean().item() == pytest.approx(1.0, abs=0.03)


def test_masks_of_neighbouring_counters_are_uncorrelated():
    index = torch.arange(300)
    masks = [
        dropout_multiplier(torch.tensor(seed), 0.5, torch.tensor(head), index[:, None], index[None])
        for seed, head in ((1, 0), (2, 0), (1, 1), (1 << 40, 0))
    ]
    signs = [mask.clamp(max=1) * 2 - 1 for mask in masks]
    for i, a in enumerate(signs):
        for b in (*signs[i + 1 :], a.roll(1, 0), a.roll(1, 1), a.T):
            assert abs((a * b).mean().item()) < 0.015


def test_the_lse_is_not_touched():
    q = torch.randn(2, 6, 3)
    for name in NAMES:
        plain = ew.attention_state(q, q, q, ew.Causal(6), backend=name)
        dropped = ew.attention_state(q, q, q, ew.Causal(6), dropout=0.5, backend=name)
        assert torch.equal(plain.lse, dropped.lse)
        assert not torch.equal(plain.out, dropped.out)
