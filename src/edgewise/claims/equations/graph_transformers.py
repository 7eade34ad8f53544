"""Claims about Transformers over graphs, against the equations of their papers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.layer_pair import multigraph, scattered
from edgewise.claims.fixtures.plain_layers import (
    attended,
    layer_norm,
    linear,
    post_norm,
    projected_heads,
)
from edgewise.claims.fixtures.small_molecules import (
    DIM,
    EDGE,
    GRAPHS,
    HEADS,
    IN,
    SIZES,
    inputs_of,
    molecules,
    with_parameters,
)
from edgewise.graphs import Blocks, EdgeList, disjoint_union
from edgewise.models import Graphormer
from edgewise.nn import MLP, Block, DotAttention, EdgeAttention, EdgeBlock

__all__ = ["GRAPH_TRANSFORMERS"]

# --- Graph Transformer ---------------------------------------------------------------------------


def _along_edges(dtype: torch.dtype) -> Sides:
    mlp = MLP(DIM, 2 * DIM)
    layer = Block(DotAttention(DIM, HEADS), DIM, norm="batch", order="post", mlp=mlp).to(dtype)
    graph = multigraph()
    pairs = graph.edge_index.T.tolist()
    weights = scattered(layer) | {"x": torch.randn(graph.num_targets, DIM, dtype=dtype)}

    def computed(given: Weights) -> Tensor:
        return with_parameters(layer, given, given["x"], graph)

    def expected(given: Weights) -> Tensor:
        x = given["x"]
        q, k, v = (projected_heads(given, f"mixer.{name}_proj", x, HEADS) for name in "qkv")
        score = [(q[i] * k[j]).sum(-1) / (DIM / HEADS) ** 0.5 for j, i in pairs]
        attention_out = attended(score, v, pairs)
        return post_norm(given, "", x, linear(given, "mixer.out_proj", attention_out))

    return Sides(weights, computed, expected)


def _with_edges(dtype: torch.dtype) -> Sides:
    layer = EdgeBlock(EdgeAttention(DIM, HEADS, edge_dim=EDGE), DIM, edge_dim=EDGE).to(dtype)
    graph = multigraph()
    pairs = graph.edge_index.T.tolist()
    weights = scattered(layer) | {
        "x": torch.randn(graph.num_targets, DIM, dtype=dtype),
        "edge": torch.randn(graph.num_edges, EDGE, dtype=dtype),
    }

    def computed(given: Weights) -> tuple[Tensor, ...]:
        return tuple(with_parameters(layer, given, given["x"], graph, edge=given["edge"]))

    def expected(given: Weights) -> tuple[Tensor, ...]:
        x, edge = given["x"], given["edge"]
        q, k, v = (projected_heads(given, f"mixer.{name}_proj", x, HEADS) for name in "qkv")
        e = projected_heads(given, "mixer.edge_proj", edge, HEADS)
        hat = [q[i] * k[j] / (DIM / HEADS) ** 0.5 * e[n] for n, (j, i) in enumerate(pairs)]
        attention_out = attended([w.sum(-1) for w in hat], v, pairs)
        edge_out = torch.stack(hat).flatten(1)
        return (
            post_norm(given, "nodes.", x, linear(given, "mixer.out_proj", attention_out)),
            post_norm(given, "edges.", edge, linear(given, "mixer.edge_out_proj", edge_out)),
        )

    return Sides(weights, computed, expected)


# --- Graphormer ----------------------------------------------------------------------------------

_FAR, _HOPS = 2, 2  # largest distance with a separate entry, and number of edges of a path


def _walks(pairs: list[list[int]], size: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Hop distances between all nodes (-1 for none), and edges from target to source."""
    hops = [[-1] * size for _ in range(size)]
    for j in range(size):
        hops[j][j], reached = 0, [j]
        for k in reached:
            for source, i in pairs:
                if source == k and hops[i][j] < 0:
                    hops[i][j] = hops[k][j] + 1
                    reached.append(i)
    paths: list[list[list[int]]] = [[[] for _ in range(size)] for _ in range(size)]
    for i in range(size):
        for j in range(size):
            at = i
            while hops[i][j] > 0 and at != j:
                e, at = next(
                    (e, source)
                    for e, (source, target) in enumerate(pairs)
                    if target == at and hops[source][j] == hops[at][j] - 1
                )
                paths[i][j].append(e)
    return hops, paths


def _graphormer_bias(given: Weights, graph: EdgeList, edge: Tensor) -> Tensor:
    """Bias of every head and pair, with the virtual node last: ``[heads, n + 1, n + 1]``."""
    size, table = graph.num_targets, given["spatial.distance_encoder.weight"]
    hops, paths = _walks(graph.edge_index.T.tolist(), size)
    rows: list[Tensor] = []
    for i in range(size + 1):
        row: list[Tensor] = []
        for j in range(size + 1):
            if size in (i, j):
                row.append(table[_FAR + 1])
                continue
            entry = table[_FAR + 2 if hops[i][j] < 0 else min(hops[i][j], _FAR)]
            along = paths[i][j][:_HOPS]
            for n, e in enumerate(along):
                entry = entry + edge[e] @ given["path.weight"][n] / len(along)
            row.append(entry)
        rows.append(torch.stack(row))
    return torch.stack(rows).permute(2, 0, 1)


def _graphormer_alone(given: Weights, x: Tensor, graph: EdgeList, edge: Tensor) -> Tensor:
    """The prediction for a single graph, with dense matrices.

    Args:
        given: Parameters.
        x: ``[N, F]``.
        graph: The graph.
        edge: ``[E, F_edge]``.
    """
    pairs = graph.edge_index.tolist()
    x = linear(given, "embedding.features", x)
    for direction, ends in zip(("out", "in"), pairs, strict=True):
        degree = [min(ends.count(i), 3) for i in range(len(x))]
        x = x + given[f"degree.{direction}_degree_encoder.weight"][degree]
    x = torch.cat([x, given["virtual"][None]])
    bias = _graphormer_bias(given, graph, edge)
    for number in range(2):
        name = f"blocks.{number}"
        normed = layer_norm(given, f"{name}.mixer_norm", x)
        q, k, v = (
            projected_heads(given, f"{name}.mixer.{p}_proj", normed, HEADS).transpose(0, 1)
            for p in "qkv"
        )
        weight = (q @ k.mT / (DIM / HEADS) ** 0.5 + bias).softmax(-1)
        x = x + linear(given, f"{name}.mixer.out_proj", (weight @ v).transpose(0, 1).flatten(1))
        hidden = linear(given, f"{name}.mlp.up_proj", layer_norm(given, f"{name}.mlp_norm", x))
        x = x + linear(given, f"{name}.mlp.down_proj", F.gelu(hidden))
    return linear(given, "head", layer_norm(given, "norm", x)[-1])


def _graphormer(dtype: torch.dtype) -> Sides:
    limits: dict[str, Any] = {"max_degree": 3, "max_distance": _FAR, "max_hops": _HOPS}
    model = Graphormer(IN, DIM, 2, heads=HEADS, layers=2, edge_dim=EDGE, **limits).to(dtype)
    graphs = molecules()
    together = disjoint_union(graphs)
    edge_counts = [graph.num_edges for graph in graphs]

    def computed(given: Weights) -> Tensor:
        besides = {"readout": Blocks([1] * GRAPHS, SIZES), "edge": given["edge"]}
        return with_parameters(model, given, given["x"], together, **besides)

    def expected(given: Weights) -> Tensor:
        parts = zip(given["x"].split(SIZES), graphs, given["edge"].split(edge_counts), strict=True)
        return torch.stack([_graphormer_alone(given, *part) for part in parts])

    return Sides(scattered(model) | inputs_of(sum(edge_counts), dtype), computed, expected)


# --- Claims ------------------------------------------------------------------------------------

_DWIVEDI = "Dwivedi, Bresson 2020, arXiv:2012.09699, section 2.3"

GRAPH_TRANSFORMERS = (
    Claim(
        "Graph Transformer layer",
        "block",
        "equations 4 to 8, edge by edge",
        _along_edges,
        _DWIVEDI,
    ),
    Claim(
        "Graph Transformer layer with edge features",
        "block",
        "equations 9 to 18, edge by edge",
        _with_edges,
        _DWIVEDI,
    ),
    Claim(
        "Graphormer with 2 layers, on a batch",
        "positions",
        "dense matrices of every graph and its virtual node",
        _graphormer,
        "Ying et al. 2021, arXiv:2106.05234, section 3",
    ),
)
