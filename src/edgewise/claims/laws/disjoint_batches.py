"""Claims that the output for a graph does not depend on other graphs of its batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.layer_pair import scattered
from edgewise.claims.fixtures.small_molecules import (
    DIM,
    EDGE,
    GRAPHS,
    HEADS,
    IN,
    SIZES,
    WALK,
    inputs_of,
    molecules,
    with_parameters,
)
from edgewise.graphs import Blocks, disjoint_union
from edgewise.models import (
    GNN,
    GPS,
    Exphormer,
    GraphModel,
    Graphormer,
    GraphTransformer,
    exphormer_graph,
)
from edgewise.nn import degree_coordinates, random_walk

__all__ = ["BATCHES"]


_TWO: dict[str, Any] = {"heads": HEADS, "layers": 2}


def _of_graphs(trunk: Callable[..., nn.Module], *args: Any, **settings: Any) -> nn.Module:
    return GraphModel(trunk(IN, DIM, *args, **_TWO, **settings), DIM, 2)


def _stack(name: str) -> partial[nn.Module]:
    return partial(_of_graphs, GNN, name, norm="batch")


# Each model with its inputs besides nodes: edge features, encodings, graph of attention.
_MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "Graph Transformer": (
        partial(_of_graphs, GraphTransformer, encoding_dim=WALK),
        ("encoding",),
    ),
    "Graph Transformer with edge features": (
        partial(_of_graphs, GraphTransformer, encoding_dim=WALK, edge_dim=EDGE),
        ("encoding", "edge"),
    ),
    "Graphormer": (partial(Graphormer, IN, DIM, 2, **_TWO, edge_dim=EDGE), ("edge",)),
    "GPS": (
        partial(_of_graphs, GPS, encoding_dim=WALK, edge_dim=EDGE),
        ("encoding", "edge", "blocks"),
    ),
    "Exphormer": (partial(_of_graphs, Exphormer, edge_dim=EDGE), ("edge", "expander")),
    "GCN": (_stack("gcn"), ()),
    "GraphSAGE": (_stack("sage"), ()),
    "GIN": (_stack("gin"), ()),
    "GAT": (_stack("gat"), ()),
    "MoNet": (_stack("monet"), ("coordinates",)),
}


def _given(
    names: tuple[str, ...], graph: Any, sizes: tuple[int, ...], edge: Tensor
) -> dict[str, Any]:
    """Inputs of a model besides nodes, computed from the graph.

    Args:
        names: Names of the inputs.
        graph: The graph.
        sizes: Nodes of each of its graphs.
        edge: Edge features ``[E, F_edge]``.
    """
    builders: dict[str, Callable[[], tuple[str, Any]]] = {
        "edge": lambda: ("edge", edge),
        "coordinates": lambda: ("edge", degree_coordinates(graph, dtype=edge.dtype)),
        "encoding": lambda: ("encoding", random_walk(graph, WALK, dtype=edge.dtype)),
        "blocks": lambda: ("everywhere", Blocks(sizes)),
        "expander": lambda: ("everywhere", exphormer_graph(graph, sizes=sizes)),
    }
    return dict(builders[name]() for name in names)


def _side_by_side(dtype: torch.dtype, *, name: str) -> Sides:
    build, input_names = _MODELS[name]
    model = build().to(dtype).eval()
    for buffer in model.buffers():  # running statistics of batch norms
        if buffer.is_floating_point():
            buffer.add_(0.3 * torch.rand_like(buffer))
    graphs = molecules()
    together = disjoint_union(graphs)
    edge_counts = [graph.num_edges for graph in graphs]

    def computed(given: Weights) -> Tensor:
        besides = _given(input_names, together, SIZES, given["edge"])
        readout = Blocks([1] * GRAPHS, SIZES)
        return with_parameters(model, given, given["x"], together, readout=readout, **besides)

    def expected(given: Weights) -> Tensor:
        rows: list[Tensor] = []
        parts = zip(given["x"].split(SIZES), graphs, given["edge"].split(edge_counts), strict=True)
        for x, graph, edge in parts:
            besides = _given(input_names, graph, (len(x),), edge)
            rows.append(with_parameters(model, given, x, graph, **besides))
        return torch.stack(rows)

    parameters = scattered(model)
    for key in parameters:
        if key.endswith("sigma"):  # kernels wide enough for every edge
            parameters[key] = torch.ones_like(parameters[key])
    return Sides(parameters | inputs_of(sum(edge_counts), dtype), computed, expected)


BATCHES = tuple(
    Claim(
        f"{name} on a batch of graphs",
        "laws",
        "the same model on each graph alone",
        partial(_side_by_side, name=name),
    )
    for name in _MODELS
)
