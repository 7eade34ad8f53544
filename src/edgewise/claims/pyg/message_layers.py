"""Claims about the layers of PyTorch Geometric, on multigraphs with isolated nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights, without
from edgewise.claims.fixtures.layer_pair import bipartite, convolution_sides, multigraph
from edgewise.graphs import EdgeList
from edgewise.integrations.names import pyg_names
from edgewise.integrations.names.table import Name
from edgewise.nn import (
    MLP,
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GINEConvolution,
    GraphConvolution,
    MoNetConvolution,
    TransformerConvolution,
)

__all__ = ["PYG"]

_IN, _OUT, _EDGE, _HEADS = 6, 4, 3, 2
_NEEDS = ("torch_geometric",)


def _sides(
    layer: nn.Module,
    original: nn.Module,
    names: Sequence[Name],
    dtype: torch.dtype,
    *,
    two_sets: bool = False,
    **given: Any,
) -> Sides:
    graph = bipartite() if two_sets else multigraph()
    return convolution_sides(layer, original, names, graph, _IN, dtype, **given)


# --- Message passing ---------------------------------------------------------------------------


def _gcn(dtype: torch.dtype, *, weighted: bool) -> Sides:
    from torch_geometric.nn import GCNConv

    layer, original = GCNConvolution(_IN, _OUT), GCNConv(_IN, _OUT)
    return _sides(layer, original, pyg_names.GCN, dtype, edge=() if weighted else None)


def _graph_conv(dtype: torch.dtype, *, reduce: Any, aggr: str) -> Sides:
    from torch_geometric.nn import GraphConv

    layer, original = GraphConvolution(_IN, _OUT, reduce=reduce), GraphConv(_IN, _OUT, aggr=aggr)
    return _sides(layer, original, pyg_names.GRAPH_CONVOLUTION, dtype, edge=())


def _sage(dtype: torch.dtype, *, reduce: Any, two_sets: bool = False, **settings: Any) -> Sides:
    from torch_geometric.nn import SAGEConv

    pools = settings.get("message") == "pool"
    original_settings = {"project": pools, "normalize": settings.get("normalize", False)}
    layer = GraphConvolution(_IN, _OUT, reduce=reduce, **settings)
    original = SAGEConv(_IN, _OUT, reduce, **original_settings)
    return _sides(layer, original, pyg_names.SAGE, dtype, two_sets=two_sets)


def _two_linear() -> nn.Sequential:
    return nn.Sequential(nn.Linear(_IN, 8), nn.ReLU(), nn.Linear(8, _OUT))


def _gin(dtype: torch.dtype, *, two_sets: bool) -> Sides:
    from torch_geometric.nn import GINConv

    layer = GINConvolution(MLP(_IN, 8, out_dim=_OUT), eps=0.2, train_eps=True)
    original = GINConv(_two_linear(), eps=0.2, train_eps=True)
    return _sides(layer, original, pyg_names.GIN, dtype, two_sets=two_sets)


def _gine(dtype: torch.dtype, *, edge_dim: int | None, two_sets: bool) -> Sides:
    from torch_geometric.nn import GINEConv

    mlp = MLP(_IN, 8, out_dim=_OUT)
    layer = GINEConvolution(mlp, _IN, edge_dim=edge_dim, eps=0.2, train_eps=True)
    original = GINEConv(_two_linear(), eps=0.2, train_eps=True, edge_dim=edge_dim)
    shape = (_IN if edge_dim is None else edge_dim,)
    return _sides(layer, original, pyg_names.GIN, dtype, two_sets=two_sets, edge=shape)


def _monet(
    dtype: torch.dtype, *, reduce: Any, aggr: str, separate: bool = False, two_sets: bool = False
) -> Sides:
    from torch_geometric.nn import GMMConv

    kernels = 3
    layer = MoNetConvolution(
        _IN, _OUT, kernels=kernels, coordinates=2, reduce=reduce, separate=separate
    )
    original = GMMConv(_IN, _OUT, 2, kernels, separate_gaussians=separate, aggr=aggr)

    def of_pairs(weights: Weights) -> dict[str, Tensor]:
        """Weights with kernels after outputs, if each pair of features has kernels."""
        matrix = weights["kernel_proj.weight"].unflatten(0, (kernels, _OUT)).transpose(0, 1)
        return {**weights, "kernel_proj.weight": matrix.flatten(0, 1)}

    ordered = of_pairs if separate else dict
    # Kernels wide enough for some edges: near 0 the outputs of both sides are huge.
    sigma = (0.5 + torch.rand_like(layer.sigma)).to(dtype).detach()
    given: dict[str, Any] = {"edge": (2,), "ordered": ordered, "sigma": sigma}
    return _sides(layer, original, pyg_names.MONET, dtype, two_sets=two_sets, **given)


# --- Attention ---------------------------------------------------------------------------------


def _gat(
    dtype: torch.dtype,
    *,
    concat: bool = True,
    edge_dim: int | None = None,
    loops: bool = False,
    two_sets: bool = False,
) -> Sides:
    from torch_geometric.nn import GATConv

    layer = GATAttention(_IN, _OUT, _HEADS, concat=concat, edge_dim=edge_dim)
    original = GATConv(_IN, _OUT, _HEADS, concat=concat, edge_dim=edge_dim, add_self_loops=loops)
    return _attention_sides(layer, original, pyg_names.GAT, dtype, edge_dim, loops, two_sets)


def _gatv2(
    dtype: torch.dtype,
    *,
    concat: bool = True,
    edge_dim: int | None = None,
    loops: bool = False,
    two_sets: bool = False,
) -> Sides:
    from torch_geometric.nn import GATv2Conv

    layer = GATv2Attention(_IN, _OUT, _HEADS, concat=concat, edge_dim=edge_dim)
    original = GATv2Conv(_IN, _OUT, _HEADS, concat=concat, edge_dim=edge_dim, add_self_loops=loops)
    return _attention_sides(layer, original, pyg_names.GATV2, dtype, edge_dim, loops, two_sets)


def _attention_sides(
    layer: nn.Module,
    original: nn.Module,
    names: Sequence[Name],
    dtype: torch.dtype,
    edge_dim: int | None,
    loops: bool,
    two_sets: bool,
) -> Sides:
    """Sides with self-loops: edges of the graph in Edgewise, added by the layer in PyG.

    Args:
        layer: The layer of Edgewise.
        original: The layer of PyG.
        names: Names of parameters in both.
        dtype: Of all tensors.
        edge_dim: Features of an edge; None without them.
        loops: Whether there are self-loops.
        two_sets: Whether the graph is bipartite.
    """
    edge = None if edge_dim is None else (edge_dim,)
    if not loops:
        return _sides(layer, original, names, dtype, two_sets=two_sets, edge=edge)
    graph = multigraph(loops=False)
    sides = convolution_sides(layer, original, names, graph, _IN, dtype)
    node = torch.arange(graph.num_targets).expand(2, -1)
    looped = EdgeList(torch.cat([graph.edge_index, node], 1), num_nodes=graph.num_targets)

    def computed(given: Weights) -> Tensor:
        return functional_call(layer, without(given, "x"), (given["x"], looped))

    return Sides(sides.weights, computed, sides.expected)


def _transformer(
    dtype: torch.dtype,
    *,
    concat: bool = True,
    beta: bool = False,
    edge_dim: int | None = None,
    two_sets: bool = False,
) -> Sides:
    from torch_geometric.nn import TransformerConv

    settings: dict[str, Any] = {"concat": concat, "beta": beta, "edge_dim": edge_dim}
    layer = TransformerConvolution(_IN, _OUT, _HEADS, **settings)
    original = TransformerConv(_IN, _OUT, _HEADS, **settings)
    edge = None if edge_dim is None else (edge_dim,)
    return _sides(layer, original, pyg_names.TRANSFORMER, dtype, two_sets=two_sets, edge=edge)


# --- Claims ------------------------------------------------------------------------------------

_KIPF = "Kipf, Welling 2016, arXiv:1609.02907, section 2"
_GILMER = "Gilmer et al. 2017, arXiv:1704.01212"
_HAMILTON = "Hamilton et al. 2017, arXiv:1706.02216, algorithm 1 and section 3.3"
_XU = "Xu et al. 2018, arXiv:1810.00826, equation 4.1"
_HU = "Hu et al. 2019, arXiv:1905.12265"
_MONTI = "Monti et al. 2017, arXiv:1611.08402, equations 9 to 11"
_VELICKOVIC = "Velickovic et al. 2018, arXiv:1710.10903, section 2.1"
_BRODY = "Brody et al. 2021, arXiv:2105.14491, section 3.2"
_SHI = "Shi et al. 2020, arXiv:2009.03509, section 3.1"


def _claims(
    step: str, *rows: tuple[str, str, str, Callable[..., Sides], dict[str, Any]]
) -> tuple[Claim, ...]:
    return tuple(
        Claim(name, step, f"torch_geometric.nn.{of}", partial(sides, **given), source, _NEEDS)
        for name, of, source, sides, given in rows
    )


PYG = (
    *_claims(
        "message passing",
        ("GCN", "GCNConv", _KIPF, _gcn, {"weighted": False}),
        ("GCN with edge weights", "GCNConv", _KIPF, _gcn, {"weighted": True}),
        ("weighted sum", "GraphConv", _GILMER, _graph_conv, {"reduce": "sum", "aggr": "add"}),
        ("weighted mean", "GraphConv", _GILMER, _graph_conv, {"reduce": "mean", "aggr": "mean"}),
        ("GraphSAGE, mean", "SAGEConv", _HAMILTON, _sage, {"reduce": "mean"}),
        ("GraphSAGE, sum", "SAGEConv", _HAMILTON, _sage, {"reduce": "sum"}),
        (
            "GraphSAGE, max",
            "SAGEConv",
            _HAMILTON,
            _sage,
            {"reduce": "max", "message": "features"},
        ),
        (
            "GraphSAGE, pooling",
            "SAGEConv(project=True)",
            _HAMILTON,
            _sage,
            {"reduce": "max", "message": "pool"},
        ),
        (
            "GraphSAGE between two sets, normalized",
            "SAGEConv(normalize=True)",
            _HAMILTON,
            _sage,
            {"reduce": "mean", "normalize": True, "two_sets": True},
        ),
        ("GIN, eps trained", "GINConv", _XU, _gin, {"two_sets": False}),
        ("GIN between two sets", "GINConv", _XU, _gin, {"two_sets": True}),
        ("GIN with edge features", "GINEConv", _HU, _gine, {"edge_dim": _EDGE, "two_sets": False}),
        (
            "GIN with edge features between two sets, unprojected",
            "GINEConv",
            _HU,
            _gine,
            {"edge_dim": None, "two_sets": True},
        ),
        ("MoNet, mean", "GMMConv", _MONTI, _monet, {"reduce": "mean", "aggr": "mean"}),
        (
            "MoNet between two sets, sum",
            "GMMConv",
            _MONTI,
            _monet,
            {"reduce": "sum", "aggr": "add", "two_sets": True},
        ),
        (
            "MoNet, kernels for each pair of features",
            "GMMConv(separate_gaussians=True)",
            _MONTI,
            _monet,
            {"reduce": "mean", "aggr": "mean", "separate": True},
        ),
    ),
    *_claims(
        "attention",
        *(
            row
            for name, of, source, sides in (
                ("GAT", "GATConv", _VELICKOVIC, _gat),
                ("GATv2", "GATv2Conv", _BRODY, _gatv2),
            )
            for row in (
                (f"{name} with self-loops", of, source, sides, {"loops": True}),
                (f"{name} between two sets", of, source, sides, {"two_sets": True}),
                (f"{name} with edge features", of, source, sides, {"edge_dim": _EDGE}),
                (
                    f"{name} with edge features, heads averaged",
                    of,
                    source,
                    sides,
                    {"edge_dim": _EDGE, "concat": False},
                ),
            )
        ),
    ),
    *_claims(
        "heads",
        ("TransformerConvolution", "TransformerConv", _SHI, _transformer, {}),
        (
            "TransformerConvolution between two sets",
            "TransformerConv",
            _SHI,
            _transformer,
            {"two_sets": True},
        ),
        (
            "TransformerConvolution with edge features and gate",
            "TransformerConv(beta=True)",
            _SHI,
            _transformer,
            {"edge_dim": _EDGE, "beta": True},
        ),
        (
            "TransformerConvolution with edge features and gate, heads averaged",
            "TransformerConv(beta=True, concat=False)",
            _SHI,
            _transformer,
            {"edge_dim": _EDGE, "beta": True, "concat": False},
        ),
    ),
)
