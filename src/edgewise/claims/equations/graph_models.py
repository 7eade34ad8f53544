"""Claims about graph models, against stacks of the originals, or dense attention with masks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.layer_pair import multigraph, scattered
from edgewise.claims.fixtures.plain_layers import batch_norm, linear, two_linear
from edgewise.claims.fixtures.small_molecules import (
    DIM,
    EDGE,
    GRAPHS,
    HEADS,
    IN,
    NODES,
    SIZES,
    WALK,
    batch_of,
    inputs_of,
    with_parameters,
)
from edgewise.graphs import Blocks, EdgeList, RandomRegular
from edgewise.integrations.names.pyg_names import GAT, GCN, GIN, GPS as PYG_GPS, SAGE, gnn_names
from edgewise.integrations.names.table import to_original
from edgewise.models import GNN, GPS, Exphormer, GraphModel, NodeModel, exphormer_graph
from edgewise.nn import random_walk

__all__ = ["GRAPH_MODELS"]

# --- Plain stacks ------------------------------------------------------------------------------

# PyG's names for the layers of its stacks.
_OF_CONVOLUTION = {"gcn": GCN, "sage": SAGE, "gin": GIN, "gat": GAT}


def _stack(dtype: torch.dtype, *, name: str, convolution: str) -> Sides:
    from torch_geometric.nn import models

    settings: dict[str, Any] = {"heads": HEADS, "add_self_loops": False} if name == "GAT" else {}
    original = getattr(models, name)(IN, DIM, 2, 3, norm="batch_norm", jk="last", **settings)
    original = original.to(dtype)
    trunk = GNN(IN, DIM, convolution, layers=2, heads=HEADS, norm="batch")
    model, graph = NodeModel(trunk, DIM, 3).to(dtype), multigraph()
    names = gnn_names(_OF_CONVOLUTION[convolution], layers=2)
    parameters = scattered(model)

    def computed(given: Weights) -> Tensor:
        return with_parameters(model, given, given["x"], graph)

    def expected(given: Weights) -> Tensor:
        original_weights = to_original({name: given[name] for name in parameters}, names)
        return functional_call(original, original_weights, (given["x"], graph.edge_index))

    inputs = {"x": torch.randn(graph.num_targets, IN, dtype=dtype)}
    return Sides(parameters | inputs, computed, expected)


_SETTINGS: dict[str, Any] = {"heads": HEADS, "layers": 2, "edge_dim": EDGE}

# --- GPS ---------------------------------------------------------------------------------------


def _of_block(given: Weights, prefix: str, part: str = "") -> dict[str, Tensor]:
    """The parameters of a block, or of a part of it, by their names in PyTorch Geometric.

    Args:
        given: Parameters of the model.
        prefix: Prefix of the block.
        part: Prefix of the part in PyTorch Geometric; all when empty.
    """
    parameters = {n.removeprefix(prefix): t for n, t in given.items() if n.startswith(prefix)}
    original_weights = to_original(parameters, PYG_GPS)
    return {n.removeprefix(part): t for n, t in original_weights.items() if n.startswith(part)}


def _gine(dtype: torch.dtype) -> Any:
    from torch_geometric.nn import GINEConv

    return GINEConv(nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Linear(DIM, DIM))).to(dtype)


def _gps(dtype: torch.dtype) -> Sides:
    from torch_geometric.nn import GPSConv, global_mean_pool

    model = GraphModel(GPS(IN, DIM, **_SETTINGS, encoding_dim=WALK), DIM, 2).to(dtype)
    layers = [GPSConv(DIM, _gine(dtype), heads=HEADS).to(dtype) for _ in range(2)]
    graph, of_node = batch_of()
    encoding = random_walk(graph, WALK, dtype=dtype)

    def computed(given: Weights) -> Tensor:
        besides = {"edge": given["edge"], "encoding": encoding, "everywhere": Blocks(SIZES)}
        readout = Blocks([1] * GRAPHS, SIZES)
        return with_parameters(model, given, given["x"], graph, readout=readout, **besides)

    def expected(given: Weights) -> Tensor:
        x = linear(given, "trunk.embedding.features", given["x"])
        x = x + encoding @ given["trunk.embedding.encoding.weight"].T
        edge = linear(given, "trunk.edge_embedding.features", given["edge"])
        for number, layer in enumerate(layers):
            layer_weights = _of_block(given, f"trunk.blocks.{number}.")
            args = (x, graph.edge_index, of_node)
            x = functional_call(layer, layer_weights, args, {"edge_attr": edge})
        hidden = F.gelu(linear(given, "head.up_proj", global_mean_pool(x, of_node)))
        return linear(given, "head.down_proj", hidden)

    return Sides(scattered(model) | inputs_of(graph.num_edges, dtype), computed, expected)


# --- Exphormer ---------------------------------------------------------------------------------


def _exphormer_edges(graph: EdgeList, hubs: int) -> tuple[Tensor, Tensor]:
    """Matrices ``[N, N]`` of edges, and of their kinds; -1 for no edge."""
    total, starts = NODES + GRAPHS * hubs, torch.tensor([0, *SIZES]).cumsum(0).tolist()
    kind = torch.full((total, total), -1)
    for g, size in enumerate(SIZES):
        nodes = range(starts[g], starts[g + 1])
        for i in range(size):
            read = [j for j in range(size) if j != i]  # all nodes, in the smallest graphs
            if size > 4:
                read = RandomRegular(size, degree=4).neighbors[i].tolist()
            for j in read:
                kind[nodes[i], nodes[j]] = 1
        for v in range(hubs):
            hub = NODES + g * hubs + v
            for i in nodes:
                kind[hub, i], kind[i, hub] = 2 + v, 2 + hubs + v
    kind[graph.edge_index[1], graph.edge_index[0]] = 0
    return (kind >= 0), kind


def _exphormer(dtype: torch.dtype, *, hubs: int) -> Sides:
    model = Exphormer(IN, DIM, **_SETTINGS, hubs=hubs).to(dtype)
    graph, _ = batch_of()
    everywhere = exphormer_graph(graph, degree=4, hubs=hubs, sizes=SIZES)
    local, attention = _gine(dtype), nn.MultiheadAttention(DIM, HEADS, dtype=dtype)
    has_edge, kind = _exphormer_edges(graph, hubs)

    def computed(given: Weights) -> Tensor:
        return with_parameters(
            model, given, given["x"], graph, everywhere=everywhere, edge=given["edge"]
        )

    def expected(given: Weights) -> Tensor:
        x = linear(given, "embedding.features", given["x"])
        x = torch.cat([x, *[given["hub"]] * GRAPHS])
        edge = linear(given, "edge_embedding.features", given["edge"])
        for number in range(2):
            prefix = f"blocks.{number}."
            local_out = functional_call(
                local, _of_block(given, prefix, "conv."), (x, graph.edge_index, edge)
            )
            bias = given["kind_bias"][number][:, kind.clamp(min=0)]
            mask = torch.where(has_edge, bias, -torch.inf)  # [heads, N, N]
            settings = {"attn_mask": mask, "need_weights": False}
            attention_out = functional_call(
                attention, _of_block(given, prefix, "attn."), (x, x, x), settings
            )[0]
            both = batch_norm(given, f"{prefix}local.mixer_norm", x + local_out)
            both = both + batch_norm(given, f"{prefix}attention.mixer_norm", x + attention_out)
            mlp_out = two_linear(given, f"{prefix}mlp", both)
            x = batch_norm(given, f"{prefix}mlp_norm", both + mlp_out)
        return x[:NODES]

    return Sides(scattered(model) | inputs_of(graph.num_edges, dtype), computed, expected)


# --- Claims ------------------------------------------------------------------------------------

_RAMPASEK = "Rampasek et al. 2022, arXiv:2205.12454, section 3.1"
_SHIRZAD = "Shirzad et al. 2023, arXiv:2303.06147, section 3"
_PYG = ("torch_geometric",)

GRAPH_MODELS = (
    Claim(
        "GPS with 2 layers",
        "block",
        "two torch_geometric.nn.GPSConv",
        _gps,
        _RAMPASEK,
        _PYG,
    ),
    *(
        Claim(
            f"{name} with 2 layers, batch norm",
            step,
            f"torch_geometric.nn.models.{name}",
            partial(_stack, name=name, convolution=convolution),
            source,
            _PYG,
        )
        for name, convolution, step, source in (
            ("GCN", "gcn", "message passing", "Kipf, Welling 2016, arXiv:1609.02907"),
            ("GraphSAGE", "sage", "message passing", "Hamilton et al. 2017, arXiv:1706.02216"),
            ("GIN", "gin", "message passing", "Xu et al. 2018, arXiv:1810.00826"),
            ("GAT", "gat", "attention", "Velickovic et al. 2018, arXiv:1710.10903"),
        )
    ),
    *(
        Claim(
            f"Exphormer with {hubs} hub{'s' * (hubs != 1)}, 2 layers",
            "block",
            "GINEConv and torch.nn.MultiheadAttention, masked to its edges",
            partial(_exphormer, hubs=hubs),
            _SHIRZAD,
            _PYG,
        )
        for hubs in (1, 2)
    ),
)
