"""The other laws: reverse, relabel, batch, empty row, copies, low precision, determinism."""

import math

import pytest
import torch

import edgewise as ew
from edgewise.testing import GENERAL, GRAPHS

NAMES = GENERAL
F64 = torch.float64


def qkv(T, S, heads=2, dim=4, dtype=F64, batch=()):
    return (
        torch.randn(*batch, heads, T, dim, dtype=dtype),
        torch.randn(*batch, heads, S, dim, dtype=dtype),
        torch.randn(*batch, heads, S, dim, dtype=dtype),
    )


@pytest.mark.parametrize("backend", NAMES)
def test_relabelling_nodes_relabels_the_result(backend):
    for graph in GRAPHS.values():
        T, S = graph.num_targets, graph.num_sources
        q, k, v = qkv(T, S)
        rows, columns = torch.randperm(T), torch.randperm(S)
        renamed = ew.permute(graph, rows, columns)
        back_rows, back_columns = rows.argsort(), columns.argsort()
        moved = ew.attention(
            q[:, back_rows], k[:, back_columns], v[:, back_columns], renamed, backend=backend
        )
        expected = ew.attention(q, k, v, graph, backend=backend)[:, back_rows]
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", NAMES)
def test_gradient_of_values_is_an_aggregation_over_the_reverse(backend):
    for name, graph in GRAPHS.items():
        if not graph.facts().simple:
            continue  # reverse() orders the edges of a general graph anew; copies have no names
        q, k, v = qkv(graph.num_targets, graph.num_sources)
        v.requires_grad_()
        grad_out = torch.randn(2, graph.num_targets, 4, dtype=F64)
        (computed,) = torch.autograd.grad(
            ew.attention(q, k, v, graph, backend=backend), v, grad_out
        )
        lse = ew.attention_state(q, k, v, graph).lse
        reverse = ew.reverse(graph)
        backwards = ew.edges(reverse)
        pairs = torch.stack([backwards.target, backwards.source])  # sources, targets of graph
        weight = ew.weights(q, k, graph, lse, edges=pairs)
        expected = ew.aggregate(grad_out, reverse, weight=weight, backend="reference")
        torch.testing.assert_close(computed, expected, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("backend", NAMES)
def test_a_disjoint_union_is_its_parts_side_by_side(backend):
    parts = [GRAPHS[n] for n in ("causal", "edge list, copies", "causal, wide", "one node")]
    inputs = [qkv(g.num_targets, g.num_sources) for g in parts]
    together = ew.attention(
        *(torch.cat(t, dim=1) for t in zip(*inputs, strict=True)),
        ew.disjoint_union(parts),
        backend=backend,
    )
    apart = [ew.attention(*t, g, backend=backend) for t, g in zip(inputs, parts, strict=True)]
    torch.testing.assert_close(together, torch.cat(apart, dim=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", NAMES)
def test_a_target_without_sources_has_zero_output_and_gradient(backend):
    graph = ew.EdgeList([[0, 1], [2, 2]], num_nodes=3)
    q, k, v = (t.requires_grad_() for t in qkv(3, 3))
    state = ew.attention_state(q, k, v, graph, backend=backend)
    out = ew.attention(q, k, v, graph, backend=backend)
    assert torch.equal(out[:, :2], torch.zeros(2, 2, 4, dtype=F64))
    assert torch.equal(state.lse[:, :2], torch.full((2, 2), -math.inf, dtype=F64))
    grads = torch.autograd.grad(out.sum() + out.square().sum(), (q, k, v))
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert not grads[0][:, :2].any()


@pytest.mark.parametrize("backend", NAMES)
def test_an_edge_that_occurs_twice_counts_twice(backend):
    q, k, v = qkv(1, 2)
    twice = ew.EdgeList([[0, 0, 1], [0, 0, 0]], num_targets=1, num_sources=2)
    out = ew.attention(q, k, v, twice, backend=backend)
    scores = (q @ k.mT / 2).exp() * torch.tensor([2.0, 1.0], dtype=F64)
    torch.testing.assert_close(out, scores / scores.sum(-1, keepdim=True) @ v)


def test_complete_and_causal_are_torch():
    q, k, v = qkv(9, 9, dtype=torch.float32, batch=(2,))
    torch_attention = torch.nn.functional.scaled_dot_product_attention
    for graph, causal in ((ew.Complete(9), False), (ew.Causal(9), True)):
        computed = ew.attention(q, k, v, graph, backend="dense")
        assert torch.equal(computed, torch_attention(q, k, v, is_causal=causal))


def test_decoding_step_by_step_is_all_at_once():
    q, k, v = qkv(9, 9)
    whole = ew.attention(q, k, v, ew.Causal(9))
    steps = [
        ew.attention(q[:, n : n + 1], k[:, : n + 1], v[:, : n + 1], ew.Causal(1, n + 1))
        for n in range(9)
    ]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", NAMES)
def test_same_inputs_same_bits(backend):
    """Forward and backward, run after run and for one thread or two."""
    random = torch.Generator().manual_seed(0)
    graph = ew.EdgeList(torch.randint(0, 400, (2, 6000), generator=random), num_nodes=400)
    tensors = [t.requires_grad_() for t in qkv(400, 400, dtype=torch.float32, dim=8)]

    def bits():
        out = ew.attention(*tensors, graph, backend=backend)
        summed = ew.aggregate(tensors[0], graph, "mean", backend=backend)
        loss = out.sin().sum() + summed.cos().sum()
        return [out, summed, *torch.autograd.grad(loss, tensors)]

    first = bits()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, bits(), strict=True))
    if backend == "gather":  # torch guarantees no bits across threads in its products and sums
        torch.set_num_threads(2)
        assert all(torch.equal(a, b) for a, b in zip(first, bits(), strict=True))


@pytest.mark.parametrize("backend", NAMES)
def test_nan_in_a_source_reaches_only_its_targets(backend):
    q, k, v = qkv(6, 6, dtype=torch.float32)
    v[:, 2] = math.nan
    out = ew.attention(q, k, v, ew.Window(6, left=1, right=0), backend=backend)
    touched = torch.isnan(out).any(-1).any(0).tolist()
    assert touched[2:4] == [True, True]
    if backend != "dense":  # a matrix product multiplies NaN by zero: NaN everywhere in the block
        assert touched == [False, False, True, True, False, False]


@pytest.mark.parametrize("backend", NAMES)
def test_huge_scores_do_not_overflow(backend):
    q, k, v = qkv(6, 6, dtype=torch.float32)
    tensors = [(q * 1e4).requires_grad_(), (k * 1e4).requires_grad_(), v.requires_grad_()]
    out = ew.attention(*tensors, ew.Causal(6), backend=backend)
    grads = torch.autograd.grad(out.sum(), tensors)
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(grad).all() for grad in grads)
