"""A NaN or an infinity in one tensor of a score: gradients of rows that nobody reads stay zero."""

import itertools
import math
import random

import torch

import edgewise as ew
from edgewise.layouts import num_edges
from tests.faults.kinds import Kind, each_case

N = 12
UNREAD = [N - 2, N - 1]  # nodes without edges, in the graphs that have such nodes
NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
BACKENDS = ("reference", "gather", "native", "auto")


def _edges(nodes):
    draw = torch.Generator().manual_seed(1)
    return ew.EdgeList(torch.randint(nodes - 2, (2, 3 * nodes), generator=draw), num_nodes=nodes)


GRAPHS = {
    "edge list": _edges(N),
    "a row in parts": ew.EdgeList(
        torch.stack([torch.arange(4000) % (N - 2), torch.zeros(4000, dtype=torch.int64)]),
        num_nodes=N,
    ),
    "causal": ew.Causal(N),
    "window": ew.Window(N, left=2, right=1),
}
SHAPES = ((4, 4, 8), (4, 2, 4), (3, 1, 5), (1, 1, 16), (8, 8, 8), (2, 2, 33))  # heads, of keys, D
SCORES = {"GATv2": ew.GATv2, "Additive": ew.Additive, "Dot": ew.Dot}


def _called(score, graph, tensors, backend):
    """Attention with the tensors that a score takes, as leaves; its output and all gradients."""
    own = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    given = {name: own[name] for name in ("bias", "edge_key", "edge_value") if name in own}
    kind = ew.GATv2(own["weight"]) if score == "GATv2" else SCORES[score]()
    out = ew.attention(
        own["query"], own["key"], own["value"], graph, score=kind, backend=backend, **given
    )
    push = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype)
    grads = torch.autograd.grad(out, list(own.values()), push)
    return {"out": out.detach(), **dict(zip(own, grads, strict=True))}


def _tensors(score, graph, shape, dtype, per_edge):
    heads, kv_heads, dim = shape
    draw = torch.Generator().manual_seed(2)
    channels = 1 if score == "Additive" else dim
    sizes = {
        "query": (2, heads, N, channels),
        "key": (2, kv_heads, N, channels),
        "value": (2, kv_heads, N, dim),
    }
    if score == "GATv2":
        sizes["weight"] = (heads, channels)
    if per_edge:
        count = num_edges(graph)
        sizes |= {
            "bias": (heads, count),
            "edge_key": (heads, count, channels),
            "edge_value": (heads, count, dim),
        }
    return {
        name: torch.randn(*size, generator=draw, dtype=torch.float64).to(dtype)
        for name, size in sizes.items()
    }


def _check_unread(case):
    """One number of one tensor is not finite: no backend sends it to a row that nobody reads."""
    score, graph, shape, dtype, place, number, per_edge = case
    graph = GRAPHS[graph]
    tensors = _tensors(score, graph, shape, dtype, per_edge)
    tensors[place][(0,) * tensors[place].ndim] = number
    right = _called(score, graph, tensors, "reference")
    for backend in BACKENDS:
        found = _called(score, graph, tensors, backend)
        if isinstance(graph, ew.EdgeList):
            for name in ("query", "key", "value"):
                assert not found[name][..., UNREAD, :].any(), f"{backend}: {name} of unread rows"
        for name, expected in right.items():
            assert torch.equal(found[name].isfinite(), expected.isfinite()), f"{backend}: {name}"


def _check_unread_node(case):
    """Nodes without edges hold NaN: every number of a result and every gradient is finite."""
    score, graph, shape, dtype, number = case
    tensors = _tensors(score, GRAPHS[graph], shape, dtype, per_edge=False)
    for name in ("query", "key", "value"):
        tensors[name][..., UNREAD, :] = number
    for backend in BACKENDS:
        for name, tensor in _called(score, GRAPHS[graph], tensors, backend).items():
            assert tensor.isfinite().all(), f"{backend}: {name}"


def _cases():
    draw = random.Random(5)
    dtypes = (torch.float32, torch.float64, torch.bfloat16)
    places = {
        "GATv2": ("weight", "query", "key", "value", "bias", "edge_key", "edge_value"),
        "Additive": ("query", "key", "value", "bias", "edge_key", "edge_value"),
        "Dot": ("query", "key", "value", "bias", "edge_key", "edge_value"),
    }
    for score, graph in itertools.product(SCORES, GRAPHS):
        for place in places[score]:
            per_edge = place in ("bias", "edge_key", "edge_value")
            shape, dtype = draw.choice(SHAPES), draw.choice(dtypes)
            number = draw.choice(list(NUMBERS))
            name = f"{score}, {graph}, {place}, {shape}, {dtype}, {number}".replace("torch.", "")
            yield name, (score, graph, shape, dtype, place, NUMBERS[number], per_edge)


REPORTED = ("GATv2", "edge list", (4, 4, 8), torch.float32, "weight", math.nan, False)
KINDS = (
    Kind(
        "NaN in the tensors of one head",
        _check_unread,
        {"GATv2's weight": REPORTED, **dict(_cases())},
    ),
    Kind(
        "NaN in a node that nobody reads",
        _check_unread_node,
        {
            f"{score}, {shape}, {number}": (score, "edge list", shape, dtype, NUMBERS[number])
            for (score, shape), (dtype, number) in zip(
                itertools.product(SCORES, SHAPES),
                itertools.cycle(itertools.product((torch.float32, torch.bfloat16), NUMBERS)),
                strict=False,
            )
        },
    ),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)
