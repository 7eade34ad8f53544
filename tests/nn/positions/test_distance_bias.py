"""ALiBi and T5's relative bias: the literal equations, and what attention makes of them."""

import math

import pytest
import torch
from torch.func import functional_call

from edgewise import attention
from edgewise.errors import ArgumentError
from edgewise.graphs import Causal, Complete, EdgeList, Window, disjoint_union
from edgewise.nn import DotAttention, T5RelativeBias, alibi

DOUBLE = torch.float64


def pairs(bias, num_targets, num_sources):
    """The bias of every pair, ``[H, T, S]``, computed from its definition."""
    target = torch.arange(num_targets)[:, None]
    source = torch.arange(num_sources)[None, :]
    distance = source - (target + num_sources - num_targets)
    place = (distance - bias.first).clamp(0, bias.values.shape[-1] - 1)
    return bias.values[:, place], distance


# --- ALiBi -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("heads", "slopes"), [
    (1, [2**-8]),
    (2, [2**-4, 2**-8]),
    (8, [2**-h for h in range(1, 9)]),
    (16, [2 ** (-h / 2) for h in range(1, 17)]),
    (3, [2**-4, 2**-8, 2**-2]),  # those of 2 heads, then every other one of 4
    (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
    (7, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3, 2**-5]),
    (12, [*(2**-h for h in range(1, 9)), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
])  # fmt: skip
def test_the_slopes_are_the_papers(heads, slopes):
    bias = alibi(heads, 2, dtype=DOUBLE)
    torch.testing.assert_close(-bias.values[:, 0], torch.tensor(slopes, dtype=DOUBLE))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("T", "S"), [(7, 7), (1, 9), (3, 8), (8, 3), (1, 1)])
def test_alibi_is_the_equation(T, S, symmetric):
    result, distance = pairs(alibi(4, T, S, symmetric=symmetric, dtype=DOUBLE), T, S)
    slope = torch.tensor([2**-2, 2**-4, 2**-6, 2**-8], dtype=DOUBLE)[:, None, None]
    apart = distance.abs() if symmetric else (-distance).clamp(min=0)
    assert torch.equal(result, -slope * apart)


def test_alibi_takes_dtype_and_nodes():
    assert alibi(2, 5).values.shape == (2, 5)
    assert alibi(2, 5, symmetric=True).values.shape == (2, 9)
    assert alibi(2, 5, dtype=torch.bfloat16).values.dtype == torch.bfloat16
    assert alibi(2, 5).values.dtype == torch.float32
    assert alibi(3, 0).values.shape == (3, 1)
    assert alibi(3, 0, symmetric=True).values.shape == (3, 1)
    assert alibi(3, 4, device="meta").values.is_meta


def test_alibi_step_by_step_is_alibi_at_once():
    q, k, v = torch.randn(3, 4, 9, 8, dtype=DOUBLE)
    whole = attention(q, k, v, Causal(9), bias=alibi(4, 9, dtype=DOUBLE))
    last = attention(q[:, 7:], k, v, Causal(2, 9), bias=alibi(4, 2, 9, dtype=DOUBLE))
    torch.testing.assert_close(last, whole[:, 7:])


def test_alibi_in_packed_documents_is_alibi_in_each():
    sizes = [3, 5, 1]
    q, k, v = torch.randn(3, 2, 9, 4, dtype=DOUBLE)
    packed = attention(q, k, v, disjoint_union(map(Causal, sizes)), bias=alibi(2, 9, dtype=DOUBLE))
    alone = [
        attention(*part, Causal(size), bias=alibi(2, size, dtype=DOUBLE))
        for size, part in zip(
            sizes, zip(*(x.split(sizes, 1) for x in (q, k, v)), strict=True), strict=True
        )
    ]
    torch.testing.assert_close(packed, torch.cat(alone, 1))


# --- T5 ----------------------------------------------------------------------------------------


def bucket(distance, buckets, max_distance, bidirectional):
    """The equation, for one distance, in plain Python."""
    first = 0
    if bidirectional:
        buckets //= 2
        first = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    share = math.log(distance / exact) / math.log(max_distance / exact)
    return first + min(exact + int(share * (buckets - exact) + 1e-6), buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (4, 9), (64, 100)])
@pytest.mark.parametrize(("T", "S"), [(150, 150), (1, 160), (5, 40)])
def test_t5_is_the_equation(T, S, buckets, max_distance, bidirectional):
    bias = T5RelativeBias(
        3, buckets=buckets, max_distance=max_distance, bidirectional=bidirectional
    )
    table = bias(T, S)
    result, distance = pairs(table, T, S)
    numbers = [
        [bucket(d, buckets, max_distance, bidirectional) for d in row] for row in distance.tolist()
    ]
    weight = bias.relative_attention_bias.weight
    assert torch.equal(result, weight[torch.tensor(numbers)].permute(2, 0, 1))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("graph", [
    Window(60, left=5, right=2),
    Window(60, left=50, right=0),
    Causal(30),
    Causal(3, 50),
    Causal(5, 3),
    Complete(40),
    Complete(4, 9),
    EdgeList([[40, 3], [0, 39]], num_nodes=41),
    EdgeList([[], []], num_nodes=4),
    EdgeList([[], []], num_nodes=0),
    Window(50, left=40, right=0) - Window(50, left=30, right=0),  # nothing near
])  # fmt: skip
def test_a_graph_gets_the_table_of_its_sizes(graph, bidirectional):
    torch.manual_seed(0)
    bias = T5RelativeBias(2, buckets=8, max_distance=20, bidirectional=bidirectional).double()
    T, S = graph.num_targets, graph.num_sources
    q = torch.randn(2, T, 4, dtype=DOUBLE)
    k, v = torch.randn(2, 2, S, 4, dtype=DOUBLE)
    weight = bias.relative_attention_bias.weight
    outs = [attention(q, k, v, graph, bias=table) for table in (bias(graph), bias(T, S))]
    torch.testing.assert_close(*outs)
    grads = [torch.autograd.grad(out.square().sum(), weight)[0] for out in outs]
    torch.testing.assert_close(*grads)


def test_tables_are_as_wide_as_the_distances():
    bias = T5RelativeBias(2)
    assert bias(Window(10**6, left=3, right=1)).values.shape == (2, 5)
    assert bias(10**6).values.shape == (2, 257)
    assert T5RelativeBias(2, bidirectional=False)(Causal(10**6)).values.shape == (2, 129)
    assert bias(Causal(1, 1000)).first == -128


def test_numbers_of_t5_are_learned():
    torch.manual_seed(0)
    bias, layer = T5RelativeBias(4), DotAttention(16, heads=4, scale=1.0)
    graph, x = Window(40, left=9, right=9), torch.randn(2, 40, 16)
    layer(x, graph, score_bias=bias(graph)).square().sum().backward()
    gradient = bias.relative_attention_bias.weight.grad
    assert list(bias.state_dict()) == ["relative_attention_bias.weight"]
    # 0 to 8 hold distances up to 9 backward, 17 to 24 those forward; 16 would be distance 0.
    reached = (gradient != 0).all(1).nonzero()[:, 0].tolist()
    assert reached == [*range(9), *range(17, 25)]


def test_t5_compiles_and_moves():
    bias = T5RelativeBias(2)
    q = torch.randn(2, 20, 4)
    graph = Window(20, left=3, right=3)

    def attend(q):
        return attention(q, q, q, graph, bias=bias(graph))

    compiled = torch.compile(attend, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(q), attend(q))
    assert bias.to("meta")(graph).values.is_meta
    weight = torch.randn(32, 2, dtype=DOUBLE)
    table = functional_call(bias, {"relative_attention_bias.weight": weight}, (3,))
    assert table.values.dtype == DOUBLE
    assert "max_distance=128" in repr(bias)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="alibi: heads must be at least 1, got 0"):
        alibi(0, 3)
    with pytest.raises(ArgumentError, match="alibi: num_targets must be at least 0, got -1"):
        alibi(1, -1)
    with pytest.raises(ArgumentError, match=r"alibi: num_sources must be a whole number, got 2\.5"):
        alibi(1, 3, 2.5)
    with pytest.raises(ArgumentError, match=r"buckets must be even and at least 4 .* got 7.*=8\."):
        T5RelativeBias(2, buckets=7)
    with pytest.raises(ArgumentError, match=r"at least 4 .* got 2\. Use buckets=4"):
        T5RelativeBias(2, buckets=2)
    with pytest.raises(ArgumentError, match=r"max_distance must be above 8, .* got 8\. Use fewer"):
        T5RelativeBias(2, buckets=32, max_distance=8)
    with pytest.raises(ArgumentError, match="num_sources=3 was given together with a graph"):
        T5RelativeBias(2)(Complete(3), 3)
    with pytest.raises(ArgumentError, match="num_targets must be at least 0, got -3"):
        T5RelativeBias(2)(-3)


def test_new_numbers():
    bias = T5RelativeBias(2)
    before = bias.relative_attention_bias.weight.clone()
    bias.reset_parameters()
    assert not torch.equal(before, bias.relative_attention_bias.weight)
