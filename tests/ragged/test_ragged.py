"""Ragged batches as buckets: every size beside every other, and every way to be a block."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.ragged.bins import bins, coarse_bins
from edgewise.backends.ragged.buckets import Bucket, forbidden
from edgewise.layouts import Ragged, ragged
from edgewise.ops import Inputs
from edgewise.testing import GRAPHS
from tests.pairwise import crossed, first_of

MIXED = [
    *(ew.Causal(3), ew.Causal(40, 20), ew.Blocks([20, 0, 33], [1, 4, 30]), ew.Complete(2)),
    *(ew.Causal(20, 70), ew.Complete(17), ew.Causal(19), ew.Causal(1), ew.Complete(0, 3)),
    *(ew.Complete(4, 0), ew.Causal(18), ew.Causal(22, 75), ew.Window(6, left=9, right=0)),
]
BATCHES = {
    "molecules": ew.Blocks([9, 25, 25, 31, 12, 1, 1, 2, 16, 33]),
    "of one size": ew.Blocks([24] * 7),
    "single nodes": ew.SelfLoops(40),
    "rectangular": ew.Blocks([1, 5, 1, 17, 30, 16], [4, 9, 3, 40, 2, 16]),
    "empty blocks": ew.Blocks([5, 0, 4, 0, 6], [5, 3, 0, 0, 2]),
    "documents": ew.disjoint_union(ew.Causal(n) for n in (40, 1, 64, 33, 47, 41, 300)),
    "documents of one size": ew.disjoint_union(ew.Causal(32) for _ in range(5)),
    "documents written as masks": ew.Blocks([40, 20, 28]) & ew.Causal(88),
    "decoding": ew.disjoint_union(ew.Causal(1, n) for n in (40, 7, 64)),
    "mixed": ew.disjoint_union(MIXED),
    "large": ew.disjoint_union([ew.Causal(300), ew.Complete(270), ew.Causal(200, 350)]),
    "nothing to read": ew.Complete(4, 0),
}
CALLS = {
    "plain": {},
    "grouped": {"heads": 4, "kv_heads": 2, "lead": (2,)},
    "other value size": {"value_dim": 5},
    "other key size": {"dim": 3, "lead": (1, 2)},
    "node-major": {"node_major": True, "lead": (3,)},
    "strided": {"strided": True},
}


def draw(
    graph,
    heads=2,
    kv_heads=None,
    dim=8,
    value_dim=8,
    lead=(),
    node_major=False,
    strided=False,
    **options,
):
    """Query, key, value."""

    def one(count, nodes, channels):
        if node_major:
            return torch.randn(*lead, nodes, count, channels, **options).transpose(-3, -2)
        if strided:
            return torch.randn(*lead, count, channels, 2 * nodes, **options)[..., ::2].mT
        return torch.randn(*lead, count, nodes, channels, **options)

    kv_heads = kv_heads or heads
    shapes = (
        (heads, graph.num_targets, dim),
        (kv_heads, graph.num_sources, dim),
        (kv_heads, graph.num_sources, value_dim),
    )
    return [one(*shape).requires_grad_() for shape in shapes]


def pushes(state):
    random = torch.Generator().manual_seed(3)
    return [torch.randn(t.shape, generator=random).to(t.dtype) for t in (state.out, state.lse)]


def everything(backend, graph, tensors, dtype=None):
    """Output, log-sum-exp and gradients of both."""
    tensors = [t.detach().to(dtype or t.dtype).requires_grad_() for t in tensors]
    state = ew.attention_state(*tensors, graph, backend=backend)
    grads = torch.autograd.grad((state.out, state.lse), tensors, pushes(state))
    return [state.out, state.lse, *grads]


def assert_close(found, wanted, tolerance):
    assert torch.equal(found.isinf(), wanted.isinf())
    difference = (found.double() - wanted).masked_fill(wanted.isinf(), 0)
    if difference.numel():
        scale = wanted.masked_fill(wanted.isinf(), 0).abs().max().clamp(min=1)
        assert difference.abs().max() <= tolerance * scale


@pytest.mark.parametrize(("name", "call"), crossed(BATCHES, CALLS, strength=1))
def test_the_same_numbers(name, call):
    graph = BATCHES[name]
    tensors = draw(graph, **CALLS[call], dtype=torch.float64)
    expected = everything("reference", graph, tensors)
    for dtype, tolerance in (
        (torch.float64, 1e-10),
        (torch.float32, 2e-5),
        (torch.bfloat16, 6e-2),
        (torch.float16, 1e-2),
    ):
        rounded = [t.detach().to(dtype).double() for t in tensors]
        right = expected if dtype.itemsize > 2 else everything("reference", graph, rounded)
        for found, wanted in zip(everything("ragged", graph, tensors, dtype), right, strict=True):
            assert_close(found, wanted, tolerance)


@pytest.mark.parametrize("name", ["molecules", "documents", "mixed", "rectangular"])
def test_a_few_blocks_at_a_time(name, monkeypatch):
    graph = BATCHES[name]
    tensors = draw(graph, dtype=torch.float64)
    expected = everything("ragged", graph, tensors)
    monkeypatch.setattr("edgewise.backends.ragged.eager.GROUP", 1 << 13)
    for found, wanted in zip(everything("ragged", graph, tensors), expected, strict=True):
        assert_close(found, wanted, 1e-14)


def pairs_of(found: Ragged, cut) -> torch.Tensor:
    """How often each pair of nodes is computed."""
    pairs = torch.zeros(found.num_targets, found.num_sources, dtype=torch.int64)
    for one in cut(found):
        bucket = Bucket.of(found, one)
        off = forbidden(one, bucket.rows.sizes, bucket.columns.sizes)
        for i in range(bucket.rows.count):
            rows, columns = (
                slots.nodes.view(slots.count, -1)[i, : slots.sizes[i]]
                for slots in (bucket.rows, bucket.columns)
            )
            edges = torch.ones(one.rows, one.columns, dtype=torch.int64)
            edges = edges if off is None else edges.masked_fill(off[i], 0)
            pairs[rows[:, None], columns] += edges[: len(rows), : len(columns)]
    return pairs


@pytest.mark.parametrize("cut", [bins, coarse_bins])
@pytest.mark.parametrize(
    "graph", [g for g in (*BATCHES.values(), *GRAPHS.values()) if ragged(g)], ids=str
)
def test_buckets_hold_every_edge_once(graph, cut):
    found = ragged(graph)
    target, source = torch.arange(graph.num_targets)[:, None], torch.arange(graph.num_sources)
    expected = graph.contains(target, source) if len(source) and len(target) else 0
    assert (pairs_of(found, cut) == expected).all()
    assert found.holds_all_targets == bool((ew.edges(graph).target.unique()).numel() == len(target))


def test_padding_is_bounded():
    sizes = torch.randint(16, 256, (400,)).tolist()
    found = ragged(ew.Blocks(sizes))
    computed = sum(one.num_pairs for one in bins(found))
    assert computed <= 1.3 * sum(n * n for n in sizes)
    for one in bins(found):
        assert one.rows - found.targets[one.members].min() < 16


def test_large_blocks_are_read_where_they_are():
    for sizes, members in (([300, 256, 300, 300, 777], [1] * 5), ([300] * 9, [9])):
        found = ragged(ew.Blocks(sizes))
        parted = bins(found)
        assert [len(one.members) for one in parted] == members
        assert all(Bucket.of(found, one).rows.step for one in parted)


@pytest.mark.parametrize("name", ["mixed", "documents"])
def test_gradients_from_a_global_state(name):
    """As part of a larger graph: the state of the whole, the gradients of this part."""
    graph = BATCHES[name]
    T, S = graph.num_targets, graph.num_sources
    other = ew.Complete(T, 7)
    tensors = draw(graph, dtype=torch.float64)
    q, k, v = (t.detach() for t in tensors)
    more_k, more_v = torch.randn(2, 7, 8).double(), torch.randn(2, 7, 8).double()

    def whole(q, k, v):
        parts = [
            ew.attention_state(q, k, v, graph, backend="reference"),
            ew.attention_state(q, more_k, more_v, other, backend="reference"),
        ]
        return ew.merge(parts)

    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    state = whole(*leaves)
    grads = pushes(state)
    expected = torch.autograd.grad((state.out, state.lse), leaves[1:], grads)
    plan = ew.plan(*leaves, graph, backend="ragged")
    found = plan.backward(
        Inputs(*leaves), ew.AttentionState(state.out.detach(), state.lse.detach()), *grads
    )
    assert found["key"].shape[-2] == S
    for name_, wanted in zip(("key", "value"), expected, strict=True):
        assert_close(found[name_], wanted, 1e-10)


@pytest.mark.parametrize("name", ["mixed", "molecules", "documents"])
def test_transforms_see_the_same(name):
    graph = BATCHES[name]
    q, k, v = (t.detach().double() for t in draw(graph, lead=(2,), heads=4, kv_heads=2))

    def out(q, k, v):
        return ew.attention(q, k, v, graph, backend="ragged")

    expected = out(q, k, v)
    torch.testing.assert_close(torch.vmap(out)(q, k, v), expected)
    found = torch.func.grad(lambda q: out(q, k, v).square().sum())(q)
    again = q.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(out(again, k, v).square().sum(), again)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "graph",
    first_of(
        1,
        [
            ew.disjoint_union([ew.Causal(9), ew.Complete(12), ew.Causal(13, 9), ew.Causal(3, 15)]),
            ew.Blocks([9, 12, 3, 16]),
        ],
    ),
    ids=str,
)
def test_compiled(graph):
    tensors = draw(graph, lead=(2,))
    push = torch.randn(2, 2, graph.num_targets, 8)

    def out(q, k, v):
        state = ew.attention_state(q, k, v, graph, backend="ragged")
        return state.out + state.lse.clamp(min=-9)[..., None]

    compiled = torch.compile(out, fullgraph=True)(*tensors)
    expected = out(*tensors)
    torch.testing.assert_close(compiled, expected)
    pairs = zip(
        torch.autograd.grad(compiled, tensors, push),
        torch.autograd.grad(expected, tensors, push),
        strict=True,
    )
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mixed", "molecules", "documents"])
def test_the_same_bits_every_time(name):
    tensors = draw(BATCHES[name], heads=4, kv_heads=2)
    first, second = (everything("ragged", BATCHES[name], tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_same_bits_for_any_number_of_threads():
    graph = BATCHES["large"]  # torch's kernel rounds blocks of fewer than 32 rows by thread
    tensors = draw(graph, heads=4, kv_heads=2)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(everything("ragged", graph, tensors))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


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
    for found, wanted in zip(everything("ragged", graph, tensors), clean, strict=True):
        assert torch.equal(found[:, outside], wanted[:, outside])
    assert everything("ragged", graph, tensors)[0][:, node].isnan().all()


def test_a_first_call_in_another_mode_leaves_nothing_behind():
    graph = ew.Blocks([7, 19, 4, 18])
    tensors = draw(graph)
    expected = everything("gather", graph, tensors)
    with torch.inference_mode():
        ew.attention(*tensors, graph, backend="ragged")
    with torch.device("meta"):
        ew.attention(*tensors, graph, backend="ragged").sum().backward()
    for found, wanted in zip(everything("ragged", graph, tensors), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_an_empty_batch(lead):
    tensors = draw(BATCHES["mixed"], lead=lead, heads=4, kv_heads=2)
    for found, wanted in zip(
        everything("ragged", BATCHES["mixed"], tensors),
        everything("gather", BATCHES["mixed"], tensors),
        strict=True,
    ):
        assert found.shape == wanted.shape


def test_expanded_tensors_are_read_as_they_are():
    graph = BATCHES["mixed"]
    q = torch.randn(graph.num_targets, 8).expand(4, -1, 8).requires_grad_()
    k = torch.randn(graph.num_sources, 8).expand(4, -1, 8)
    push = torch.randn(8).expand(4, graph.num_targets, 8)
    found, wanted = (
        torch.autograd.grad(ew.attention(q, k, k, graph, backend=backend), q, push)[0]
        for backend in ("ragged", "reference")
    )
    torch.testing.assert_close(found, wanted)


def test_blocks_are_known_by_their_facts():
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


def test_what_it_refuses_is_a_sentence():
    q = torch.randn(2, 8, 4)
    blocks = ew.Blocks([3, 5])
    ring = ew.EdgeList([[0], [1]], num_nodes=8)
    with pytest.raises(ew.BackendRefused, match="ragged: the graph is not known to be blocks"):
        ew.attention(q, q, q, ring, backend="ragged")
    with pytest.raises(ew.BackendRefused, match="set dropout=0"):
        ew.attention(q, q, q, blocks, dropout=0.1, backend="ragged")
    with pytest.raises(ew.BackendRefused, match="blocks take no edge bias; leave it out"):
        ew.attention(q, q, q, blocks, bias=torch.zeros(2, 34), backend="ragged")
    with pytest.raises(ew.BackendRefused, match="edge_key belongs to edges, not to blocks"):
        ew.attention(q, q, q, blocks, edge_key=torch.zeros(2, 34, 4), backend="ragged")
    with pytest.raises(ew.BackendRefused, match="no score but Dot without a soft cap"):
        ew.attention(q, q, q, blocks, score=ew.Dot(softcap=1.0), backend="ragged")
    with pytest.raises(ew.BackendRefused, match="computes attention alone"):
        ew.aggregate(q, blocks, backend="ragged")


def test_a_second_derivative():
    graph = BATCHES["molecules"]
    q, k, v = draw(graph)
    found = []
    for backend in ("ragged", "reference"):
        out = ew.attention(q, k, v, graph, backend=backend)
        (gradient,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), k)[0])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
