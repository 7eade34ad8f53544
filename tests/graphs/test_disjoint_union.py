"""Disjoint unions: thousands of graphs as one."""

import functools
import importlib

import torch

import edgewise as ew
from edgewise.graphs import DisjointUnion
from edgewise.layouts import csr, edges, lower


def molecules(number, seed=0):
    """Small random edge lists, unsorted: some without nodes, some with copies."""
    draw = torch.Generator().manual_seed(seed)
    graphs = []
    for nodes in torch.randint(0, 12, (number,), generator=draw).tolist():
        pairs = torch.randint(max(nodes, 1), (2, 2 * nodes), generator=draw)
        graphs.append(ew.EdgeList(pairs, num_nodes=nodes))
    return graphs


def test_a_batch_is_its_parts_side_by_side():
    mixed = [ew.Causal(3, 4), ew.Complete(0, 2), ew.Blocks([]), ew.Hubs(4, [1])]
    for parts in (molecules(50), molecules(20) + mixed, mixed + molecules(3)):
        batch = ew.disjoint_union(parts)
        pairs, row, column = [], 0, 0
        for part in parts:
            joined = edges(part)
            pairs += torch.stack([joined.target + row, joined.source + column], 1).tolist()
            row, column = row + part.num_targets, column + part.num_sources
        assert (batch.num_targets, batch.num_sources) == (row, column)
        joined, rows = edges(batch), csr(batch)
        assert torch.stack([joined.target, joined.source], 1).tolist() == pairs
        assert torch.stack([rows.target, rows.indices], 1).tolist() == sorted(pairs)
        assert [pairs[i] for i in rows.edge] == sorted(pairs)
        ew.check_facts(batch)


def test_ten_thousand_molecules_are_lowered_at_once(monkeypatch):
    """No part is lowered by itself, which would be tens of thousands of small calls."""
    parts = molecules(10_000)
    lowered = []
    for module, name in (("edges", "_edges"), ("lower", "_csr")):
        place = importlib.import_module(f"edgewise.layouts.{module}")

        def recorded(original, graph, *args):
            lowered.append(graph)
            return original(graph, *args)

        monkeypatch.setattr(place, name, functools.partial(recorded, getattr(place, name)))
    batch = ew.disjoint_union(parts)
    rows = lower(batch, ew.Csr)
    assert 2 <= len(lowered) < 5
    assert all(graph.num_targets == batch.num_targets for graph in lowered)
    assert not any("_memory" in vars(part) for part in parts), "nothing is remembered for a part"
    assert rows.num_edges == sum(part.num_edges for part in parts)
    assert rows.num_targets == sum(part.num_targets for part in parts)
    start = sum(part.num_targets for part in parts[:5000])
    part = csr(parts[5000])
    window = slice(int(rows.indptr[start]), int(rows.indptr[start + part.num_targets]))
    assert rows.indices[window].equal(part.indices + start)


def test_what_simplifies():
    assert ew.disjoint_union([]) == ew.Blocks([])
    assert ew.disjoint_union([ew.Complete(2), ew.Complete(1, 3)]) == ew.Blocks([2, 1], [2, 3])
    causal = ew.Causal(3)
    assert ew.disjoint_union([causal]) is causal
    assert ew.disjoint_union(iter([causal, causal])) == DisjointUnion((causal, causal))
    assert ew.disjoint_union([causal, ew.Complete(1)]).children() == (causal, ew.Complete(1))


def test_an_empty_batch_can_be_computed_on():
    for batch in (
        ew.disjoint_union([]),
        ew.disjoint_union([ew.Causal(0), ew.EdgeList([[], []], 0)]),
    ):
        assert batch.facts().max_edges == 0
        assert edges(batch).num_edges == 0
        assert csr(batch).indptr.tolist() == [0]
        assert ew.draw(batch) == ""
        assert ew.attention(*torch.randn(3, 2, 0, 4), batch).shape == (2, 0, 4)


def test_equality_and_hash_go_through_the_parts():
    parts = molecules(30)
    assert ew.disjoint_union(parts) == ew.disjoint_union(molecules(30))
    assert hash(ew.disjoint_union(parts)) == hash(ew.disjoint_union(molecules(30)))
    assert ew.disjoint_union(parts) != ew.disjoint_union(parts[:-1])
    assert ew.disjoint_union(parts) != ew.disjoint_union(parts[::-1])
    assert ew.disjoint_union(parts).holds_tensors
    assert not ew.disjoint_union([ew.Causal(2), ew.Complete(3)]).holds_tensors


def test_copies_are_possible_where_a_part_has_them():
    assert ew.disjoint_union([ew.Causal(2), molecules(1)[0]]).may_repeat
    assert not ew.disjoint_union([ew.Causal(2), ew.Hubs(4, [1])]).may_repeat
