"""Lists of blocks, against one number for every block; masks of pairs, against ``contains``."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import edgewise as ew
from edgewise.backends.flex import blocks as listing, mask as masking
from edgewise.backends.flex.backend import Flex, _mask_memory
from edgewise.graphs import facts_of
from edgewise.layouts import BlockMask, block_mask
from edgewise.planning.question import AttentionQuestion
from edgewise.testing import GRAPHS
from tests.graphs.expressions import expressions

CPU = torch.device("cpu")


def edge_list(T, S, count, seed=0):
    """Random edges, none twice."""
    random = torch.Generator().manual_seed(seed)
    keys = torch.randperm(T * S, generator=random)[:count]
    return ew.EdgeList(torch.stack([keys % S, keys // S]), num_targets=T, num_sources=S)


LARGE = {
    "window": ew.Window(700, left=200, right=3),
    "window, tall": ew.Window(600, 300, left=10, right=10),
    "causal, wide": ew.Causal(300, 700),
    "causal, tall": ew.Causal(700, 300),
    "dilated": ew.Dilated(500, left=20, right=10, dilation=5),
    "prefix": ew.PrefixCausal(500, prefix=200),
    "blocks": ew.Blocks([200, 3, 0, 256, 40]),
    "documents": ew.Blocks([200, 3, 256, 40]) & ew.Causal(499),
    "molecules": ew.disjoint_union([ew.Complete(n) for n in (200, 3, 150, 40)]),
    "edges": edge_list(500, 400, 3000),
    "many edges": edge_list(300, 257, 60_000),
    "no edges": edge_list(300, 300, 0),
    "window | hubs": ew.Window(400, left=20, right=5) | ew.Hubs(400, [0, 7, 399]),
    "complete - window": ew.Complete(400) - ew.Window(400, left=150, right=2),
}


@pytest.fixture(params=[1, 2, 4, 128])
def block(request, monkeypatch):
    """Small blocks, so that small graphs have many."""
    for module in (listing, masking):
        monkeypatch.setattr(module, "BLOCK", request.param)
    monkeypatch.setattr(masking, "BITS", min(32, max(1, request.param // 2)))
    return request.param


def mask_of(graph):
    return masking.mask_of(graph, facts_of(graph), CPU, backward=True)


def kinds(counts, columns, others):
    """Which blocks are listed: ``[R, C]``, bool."""
    actual = torch.zeros(counts.shape[-1], others, dtype=torch.bool)
    for row, (count, listed) in enumerate(zip(counts[0, 0].tolist(), columns[0, 0], strict=True)):
        chosen = listed[:count].long()
        assert torch.equal(chosen, torch.unique(chosen)), "each once, in order"
        actual[row, chosen] = True
    return actual


def assert_right(graph, block):
    mask = mask_of(graph)
    T, S = graph.num_targets, graph.num_sources
    if not T or not S:
        assert mask.blocks is None
        return
    expected = block_mask(graph, block).kind
    R, C = expected.shape
    made = mask.blocks
    partial, full = expected == BlockMask.PARTIAL, expected == BlockMask.FULL
    assert torch.equal(kinds(made.kv_num_blocks, made.kv_indices, C), partial)
    assert torch.equal(kinds(made.full_kv_num_blocks, made.full_kv_indices, C), full)
    assert torch.equal(kinds(made.q_num_blocks, made.q_indices, R), partial.mT)
    assert torch.equal(kinds(made.full_q_num_blocks, made.full_q_indices, R), full.mT)
    assert made.shape == (1, 1, T, S)

    target, source = torch.arange(T)[:, None], torch.arange(S)
    edges = graph.contains(target, source).broadcast_to(T, S)
    at = partial[target // block, source // block]
    here = made.mask_mod(None, None, target, source)
    assert torch.equal(here[at], edges[at])
    empty = ~edges.any(-1, keepdim=True)
    assert torch.equal(mask.empty, empty) if empty.any() else mask.empty is None

    facts = graph.facts()
    count, longest = listing.span(facts)
    assert count >= int((expected > 0).sum())
    assert longest >= int((expected > 0).sum(-1).max())
    if listing.rows_are_intervals(graph, facts):
        assert listing.intervals(graph, facts) is not None


@pytest.mark.parametrize("name", [name for name, g in GRAPHS.items() if g.facts().simple])
def test_small_graphs(name, block):
    assert_right(GRAPHS[name], block)


@pytest.mark.parametrize("name", LARGE)
def test_large_graphs(name):
    assert_right(LARGE[name], listing.BLOCK)


@pytest.mark.parametrize("block", [1, 4], indirect=True)
def test_random_expressions(block):
    for e in expressions(11, 150):
        if e.graph.facts().simple:
            assert_right(e.graph, block)


class Largest(TorchDispatchMode):
    """The largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        actual = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(actual):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // 8)
        return actual


@pytest.mark.parametrize("graph", [
    ew.Window(200_000, left=200, right=200),
    ew.disjoint_union([ew.Complete(20)] * 10_000),
], ids=["window", "molecules"])  # fmt: skip
def test_nothing_of_the_size_of_the_matrix_is_made(graph, monkeypatch):
    def lowered(_):
        raise AssertionError("these graphs are known without their edges")

    monkeypatch.setattr(listing, "csr", lowered)
    graph.facts()
    with Largest() as largest:
        mask = mask_of(graph)
    assert 100_000 < largest.numel <= 300_000  # numbers of 8 bytes; 1,563 x 1,563 blocks are 10 MB
    assert mask.blocks.kv_indices.shape == (1, 1, 1563, 1563)
    assert mask.blocks.kv_indices.untyped_storage().nbytes() < 50_000


def test_a_long_list_of_edges_costs_its_bitmaps():
    ring = torch.arange(100_000)
    graph = ew.EdgeList(torch.stack([ring, (ring + 1) % 100_000]), num_nodes=100_000)
    shuffled = ew.permute(graph, ring.flip(0).tolist())
    both = graph | shuffled  # rows with gaps
    made = mask_of(both).blocks
    assert int(made.kv_num_blocks.sum()) < 4 * 782
    assert int(made.full_kv_num_blocks.sum()) == 0


@pytest.mark.parametrize("name", LARGE)
def test_the_estimate_of_memory_errs_upwards(name):
    question = AttentionQuestion(
        ("Dot", None, None), 1, 1, 1, 16, 16, torch.float32, torch.device("cuda"), True,
        None, False, False, 0.0, False,
    )  # fmt: skip
    graph = LARGE[name]
    problem = question.about(graph)
    mask = mask_of(graph)
    cells = [c.cell_contents for c in mask.blocks.mask_mod.__closure__]
    tensors = [
        t for t in [*mask.blocks.as_tuple()[:-1], *cells, mask.empty] if isinstance(t, torch.Tensor)
    ]
    assert _mask_memory(problem) >= sum(t.untyped_storage().nbytes() for t in tensors)
    assert Flex().judge(problem).memory > _mask_memory(problem)
