"""Splits hold every edge once, and merged plans give the reference's numbers."""

import pytest
import torch

import edgewise as ew
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.planning import planner
from edgewise.planning.call import attention_question
from edgewise.planning.merge import Merge
from edgewise.planning.split import Split, splits
from edgewise.testing import SETTINGS
from tests.graphs.expressions import expressions
from tests.laws.test_merge import inputs_of_call

N = 40
WINDOW = ew.Window(N, left=4, right=3)
RANDOM = ew.RandomRegular(N, degree=3, seed=1)
PLAIN = ["dot", "dot, other value size", "dot, two batch dimensions", "dot, grouped heads",
         "dot, strided"]  # fmt: skip


def _clustered() -> ew.EdgeList:
    """Two full tiles and edges around them, in an order of their own."""
    random = torch.Generator().manual_seed(7)
    dense = torch.rand(256, 256, generator=random) < 0.01
    dense[:128, :128] |= torch.rand(128, 128, generator=random) < 0.9
    dense[128:192, 192:] |= torch.rand(64, 64, generator=random) < 0.8
    index = dense.nonzero().flip(1).t()
    return ew.EdgeList(index[:, torch.randperm(index.shape[1], generator=random)], num_nodes=256)


WHOLE: dict[str, Graph] = {
    "Longformer": WINDOW | ew.Hubs(N, [0, 17]),
    "BigBird": WINDOW | ew.Hubs(N, [0, 17, 18]) | RANDOM,
    "causal BigBird": (WINDOW | ew.Hubs(N, [0, 17, 18]) | RANDOM) & ew.Causal(N),
    "causal hubs beside a window": (ew.Hubs(N, [3, 9]) & ew.Causal(N)) | WINDOW,
    "hubs of hubs": ew.Hubs(N, [1]) | ew.Hubs(N, [30, 1]),
    "hubs": ew.Hubs(N, [5]),
    "all are hubs": ew.Hubs(6, range(6)) | ew.SelfLoops(6),
    "two windows": WINDOW | ew.Dilated(N, left=3, right=3, dilation=5),
    "two bands apart": (ew.Causal(N) - ew.Window(N, left=20, right=0)) | ew.SelfLoops(N),
    "edges in a window": ew.EdgeList([[0, 1, 39], [5, 1, 2]], num_nodes=N) | WINDOW,
    "renamed": ew.permute(WINDOW, torch.randperm(N, generator=torch.Generator().manual_seed(1))),
    "renamed union": ew.permute(
        WINDOW | ew.Hubs(N, [2]),
        torch.randperm(N, generator=torch.Generator().manual_seed(2)),
        torch.randperm(N, generator=torch.Generator().manual_seed(3)),
    ),
    "clusters": _clustered(),
    "side by side": ew.disjoint_union(
        [ew.Complete(5), ew.Complete(3), ew.Window(9, left=1, right=1) | ew.Hubs(9, [4])]
    ),
    "side by side, copies": ew.disjoint_union(
        [ew.Causal(4, 6), ew.EdgeList([[0, 0, 1], [1, 1, 2]], num_nodes=3), ew.Complete(2, 0)]
    ),
}


def _numbers(nodes, size):
    if nodes is None:
        return torch.arange(size)
    return torch.arange(nodes.start, nodes.stop) if isinstance(nodes, slice) else nodes


def assert_partition(graph: Graph, split: Split) -> None:
    """Every edge of the graph is in one part, and no part holds another edge."""
    T, S = graph.num_targets, graph.num_sources
    wanted = edges(graph)
    counts = torch.zeros(T * S, dtype=torch.int64)
    for part in split.parts:
        actual = edges(part.graph)
        target, source = (
            _numbers(part.place.targets, T)[actual.target],
            _numbers(part.place.sources, S)[actual.source],
        )
        if part.place.left_out is not None:
            kept = ~torch.isin(target, part.place.left_out)
            target, source = target[kept], source[kept]
        counts += torch.bincount(target * S + source, minlength=T * S)
    expected = torch.bincount(wanted.target * S + wanted.source, minlength=T * S)
    assert counts.equal(expected), f"{graph}: {split}"


@pytest.mark.parametrize("name", WHOLE)
def test_parts_hold_every_edge_once(name):
    actual = list(splits(WHOLE[name]))
    assert actual
    for split in actual:
        assert_partition(WHOLE[name], split)


@pytest.mark.parametrize("seed", range(6))
def test_parts_of_random_expressions_hold_every_edge_once(seed):
    number = 0
    for e in expressions(300 + seed, 500):
        for split in splits(e.graph):
            assert_partition(e.graph, split)
            number += 1
    assert number > 20


def merges(problem) -> list[Merge]:
    """Every merged plan, however dear."""
    return [
        plan for plan in planner._composed(problem, 1 << 40, depth=2) if isinstance(plan, Merge)
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("setting", PLAIN)
@pytest.mark.parametrize("name", WHOLE)
def test_merged_plans_give_the_reference_numbers(name, setting, dtype):
    """Output, log-sum-exp and every gradient, however the parts run."""
    graph = WHOLE[name]
    call = SETTINGS[setting].call(graph, dtype)
    oracle = type(call)(
        call.setting,
        graph,
        {k: t.detach().double().requires_grad_() for k, t in call.tensors.items()},
    )
    inputs = inputs_of_call(call)
    question = attention_question(inputs, graph, call.setting.score, None, 0.0, wants_lse=True)
    (plan, *_) = merges(question.about(graph))
    state = plan.prepared.forward(inputs)
    _assert_alike(state, oracle, call, dtype)


def _assert_alike(state, oracle, call, dtype):
    tolerance = {torch.float64: 1e-11, torch.float32: 3e-5, torch.bfloat16: 6e-2}[dtype]
    expected = oracle.state("reference")
    random = torch.Generator().manual_seed(5)
    pairs = []
    for actual, wanted in ((state.out, expected.out), (state.lse, expected.lse)):
        push = torch.randn(wanted.shape, generator=random).double()
        push = push.masked_fill(torch.isinf(wanted.detach()), 0)
        pairs.append((actual, wanted, push))
    grads = [
        torch.autograd.grad(
            [_finite(p[side]) for p in pairs],
            list(which.used().values()),
            [p[2].to(p[side].dtype) for p in pairs],
        )
        for side, which in ((0, call), (1, oracle))
    ]
    for actual, wanted in [*((p[0], p[1]) for p in pairs), *zip(*grads, strict=True)]:
        assert not torch.isnan(actual).any()
        scale = max(1.0, float(_finite(wanted.detach()).abs().max())) if wanted.numel() else 1.0
        torch.testing.assert_close(
            actual.detach().double() / scale, wanted.detach() / scale, rtol=0, atol=3 * tolerance
        )


def _finite(tensor):
    return torch.where(torch.isinf(tensor), torch.zeros_like(tensor), tensor)


KEEPING = ["two windows", "two bands apart", "edges in a window", "clusters"]


@pytest.mark.parametrize(
    "setting", ["dot, everything", "dot, edge bias", "dot, dense bias", "additive, bias, dropout"]
)
@pytest.mark.parametrize("name", KEEPING)
def test_parts_keep_what_belongs_to_nodes_and_edges(name, setting):
    """Dropout, biases and edge features, with their gradients, survive a split."""
    graph = WHOLE[name]
    call = SETTINGS[setting].call(graph, torch.float64)
    inputs, options = inputs_of_call(call), call.setting
    count = edges(graph).num_edges
    question = attention_question(
        inputs, graph, options.score, count, options.dropout, wants_lse=True
    )
    (plan,) = merges(question.about(graph))
    whole = planner.choose(question.about(graph), "reference").plan
    actual, wanted = (each.prepared.forward(inputs) for each in (plan, whole))
    torch.testing.assert_close(actual.out, wanted.out, rtol=0, atol=1e-11)
    torch.testing.assert_close(actual.lse, wanted.lse, rtol=0, atol=1e-11)
    used = list(call.used().values())
    push = torch.randn_like(wanted.out)
    for first, second in zip(
        torch.autograd.grad(actual.out, used, push),
        torch.autograd.grad(wanted.out, used, push),
        strict=True,
    ):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-10)


@pytest.mark.parametrize("setting", ["dot, dropout", "dot, edge bias"])
def test_parts_that_number_nodes_anew_are_not_for_what_belongs_to_nodes(setting):
    graph = WHOLE["BigBird"]
    call = SETTINGS[setting].call(graph, torch.float64)
    inputs, options = inputs_of_call(call), call.setting
    count = edges(graph).num_edges
    question = attention_question(
        inputs, graph, options.score, count, options.dropout, wants_lse=False
    )
    assert merges(question.about(graph)) == []


def test_a_split_has_few_parts():
    many = ew.Window(N, left=1, right=1)
    for seed in range(9):
        many = many | ew.RandomRegular(N, degree=2, seed=seed)
    assert list(splits(many)) == []
    batch = [ew.Causal(3), ew.Window(5, left=1, right=1)] * 5
    assert list(splits(ew.disjoint_union(batch))) == []


# --- Another order of nodes ----------------------------------------------------------------------


def shuffled_clusters(sizes=(128,) * 6, inside=0.7, seed=3):
    draw = torch.Generator().manual_seed(seed)
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    block = block[torch.randperm(len(block), generator=draw)]
    chance = torch.where(block[:, None] == block, inside, 0.002)
    target, source = (torch.rand(chance.shape, generator=draw) < chance).nonzero(as_tuple=True)
    return ew.EdgeList(torch.stack([source, target]), num_nodes=len(block))


def test_communities_are_put_together_where_many_calls_follow():
    graph = shuffled_clusters()
    assert list(splits(graph)) == []
    (split,) = splits(graph, many_calls=True)
    assert split.law == "attend(pG, pq, pk, pv) = p attend(G, q, k, v), p: communities together"
    assert_partition(graph, split)
    (inner,) = splits(split.parts[0].graph)  # and now its edges fill tiles
    assert_partition(split.parts[0].graph, inner)
    again = next(iter(splits(graph, many_calls=True)))
    assert again.parts[0].graph is split.parts[0].graph  # found once


def test_reordered_plans_give_the_reference_numbers():
    graph = shuffled_clusters()
    q, k, v = (torch.randn(2, 768, 16, requires_grad=True) for _ in range(3))
    push = torch.randn(2, 768, 16)
    problem = ew.explain(q, k, v, graph).decision.problem
    expected = ew.attention(q, k, v, graph, backend="reference")
    wanted = torch.autograd.grad(expected, (q, k, v), push)
    plans = [p for p in merges(problem) if "communities" in p.law]
    assert plans
    for plan in plans:
        out = plan(q, k, v)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
        for actual, right in zip(torch.autograd.grad(out, (q, k, v), push), wanted, strict=True):
            torch.testing.assert_close(actual, right, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "graph",
    [
        shuffled_clusters(inside=0.3),  # tiles stay half empty in any order
        ew.RandomRegular(1024, degree=64),  # no communities
        ew.EdgeList(torch.randint(512, (2, 20_000)), num_nodes=512),  # copies of edges
        shuffled_clusters(sizes=(24,) * 20),  # too small to fill tiles
    ],
    ids=["sparse inside", "expander", "copies", "small"],
)
def test_an_order_that_cannot_gain_is_not_tried(graph):
    assert all("communities" not in split.law for split in splits(graph, many_calls=True))
