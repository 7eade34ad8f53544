"""Buckets of blocks: which pairs they hold, how much is padded, and when buckets are chosen."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.ragged.bins import bins, coarse_bins
from edgewise.backends.ragged.buckets import Bucket, forbidden
from edgewise.layouts import Ragged, ragged
from edgewise.testing import GRAPHS
from tests.backends.tiled_calls import assert_all_close, draw, everything
from tests.backends.tiled_graphs import BATCHES


@pytest.mark.parametrize("name", ["molecules", "documents", "mixed", "rectangular"])
def test_a_few_blocks_at_a_time(name, monkeypatch):
    graph = BATCHES[name]
    tensors = draw(graph, dtype=torch.float64)
    expected = everything("ragged", graph, tensors)
    monkeypatch.setattr("edgewise.backends.ragged.eager.GROUP", 1 << 13)
    assert_all_close(everything("ragged", graph, tensors), expected, 1e-14)


def pairs_of(batch: Ragged, cut) -> torch.Tensor:
    """How often each pair of nodes is computed."""
    pairs = torch.zeros(batch.num_targets, batch.num_sources, dtype=torch.int64)
    for bin_ in cut(batch):
        bucket = Bucket.of(batch, bin_)
        off = forbidden(bin_, bucket.rows.sizes, bucket.columns.sizes)
        for i in range(bucket.rows.count):
            rows, columns = (
                slots.nodes.view(slots.count, -1)[i, : slots.sizes[i]]
                for slots in (bucket.rows, bucket.columns)
            )
            edges = torch.ones(bin_.rows, bin_.columns, dtype=torch.int64)
            edges = edges if off is None else edges.masked_fill(off[i], 0)
            pairs[rows[:, None], columns] += edges[: len(rows), : len(columns)]
    return pairs


@pytest.mark.parametrize("cut", [bins, coarse_bins])
@pytest.mark.parametrize(
    "graph", [g for g in (*BATCHES.values(), *GRAPHS.values()) if ragged(g)], ids=str
)
def test_buckets_hold_every_edge_once(graph, cut):
    batch = ragged(graph)
    target, source = torch.arange(graph.num_targets)[:, None], torch.arange(graph.num_sources)
    expected = graph.contains(target, source) if len(source) and len(target) else 0
    assert (pairs_of(batch, cut) == expected).all()
    assert batch.holds_all_targets == bool((ew.edges(graph).target.unique()).numel() == len(target))


def test_padding_is_bounded():
    sizes = torch.randint(16, 256, (400,)).tolist()
    batch = ragged(ew.Blocks(sizes))
    computed = sum(bin_.num_pairs for bin_ in bins(batch))
    assert computed <= 1.3 * sum(n * n for n in sizes)
    for bin_ in bins(batch):
        assert bin_.rows - batch.targets[bin_.members].min() < 16


def test_large_blocks_are_read_where_they_are():
    for sizes, members in (([300, 256, 300, 300, 777], [1] * 5), ([300] * 9, [9])):
        batch = ragged(ew.Blocks(sizes))
        parted = bins(batch)
        assert [len(bin_.members) for bin_ in parted] == members
        assert all(Bucket.of(batch, bin_).rows.step for bin_ in parted)


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("name", ["molecules", "documents"])
def test_a_nan_stays_within_its_block(name, where):
    graph = BATCHES[name]
    tensors = draw(graph)
    clean = everything("ragged", graph, tensors)
    block = ragged(graph)
    node = int(block.first_target[3] + block.targets[3]) - 1
    tensors[where] = tensors[where].detach().index_fill(-2, torch.tensor([node]), torch.nan)
    inside = torch.arange(block.first_target[3], node + 1)
    outside = torch.ones(graph.num_targets, dtype=torch.bool).index_fill(0, inside, False)
    for actual, wanted in zip(everything("ragged", graph, tensors), clean, strict=True):
        assert torch.equal(actual[:, outside], wanted[:, outside])
    assert everything("ragged", graph, tensors)[0][:, node].isnan().all()


def test_facts_prove_blocks():
    cliques = [(i, j) for first, n in ((0, 2), (2, 3)) for i in range(n) for j in range(n)]
    pairs = [[(i, j) for i in range(n) for j in range(n)] for n in (2, 3)]
    batch = ew.disjoint_union(ew.EdgeList(list(zip(*p, strict=True)), num_nodes=n)
                              for p, n in zip(pairs, (2, 3), strict=True))  # fmt: skip
    assert len(cliques) == batch.facts().max_edges
    assert ragged(batch).targets.tolist() == [2, 3]
    assert ragged(ew.reverse(ew.Blocks([1, 2], [3, 4]))).targets.tolist() == [3, 4]
    assert ragged(ew.Blocks([2, 3]) & ew.Causal(5)).causal.all()
    assert ragged(ew.Blocks([2, 3], [3, 2]) & ew.Causal(5)) is None
    assert ragged(ew.disjoint_union([ew.Causal(3), ew.Window(9, left=2, right=0)])) is None
    assert ragged(ew.EdgeList([[0, 1], [0, 1]], num_nodes=2)) is None
    assert ragged(ew.EdgeList([[0, 1, 0], [0, 1, 1]], num_nodes=2)).causal.tolist() == [True]
    assert ragged(ew.Complete(3, 0)).num_blocks == 0


def test_auto_takes_blocks_for_packed_documents():
    documents = ew.disjoint_union(ew.Causal(n) for n in (300, 80, 700, 128, 511))
    q = torch.randn(8, documents.num_targets, 64, requires_grad=True)
    assert ew.plan(q, q, q, documents).name == "ragged"
    whole = torch.randn(8, 4096, 64)
    assert ew.plan(whole, whole, whole, ew.Causal(4096)).name == "dense"


def test_a_graph_without_blocks_is_refused():
    q, ring = torch.randn(2, 8, 4), ew.EdgeList([[0], [1]], num_nodes=8)
    with pytest.raises(ew.BackendRefused, match="ragged: the graph is not known to be blocks"):
        ew.attention(q, q, q, ring, backend="ragged")
