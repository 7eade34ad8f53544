"""Claims about layers over batches of graphs: graph network blocks and GPS."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights, without
from edgewise.claims.fixtures.layer_pair import renamed, scattered
from edgewise.graphs import Blocks, EdgeList, Hubs, RandomRegular
from edgewise.integrations.names.pyg_names import GPS
from edgewise.integrations.names.table import Name, to_original
from edgewise.layouts import edges
from edgewise.nn import MLP, DotAttention, GINEConvolution, GPSBlock, GraphNetwork

__all__ = ["GRAPH_NETWORKS"]

_SIZES = (5, 1, 4, 3)  # nodes of each graph; the second has no edge
_N, _G = sum(_SIZES), len(_SIZES)
_DIM, _EDGE, _GLOBAL, _HEADS = 6, 3, 2, 2
_REDUCES: dict[str, Any] = {
    "edges_to_nodes": "mean",
    "edges_to_globals": "sum",
    "nodes_to_globals": "max",
}


def _batch() -> tuple[EdgeList, Tensor]:
    """Random edges inside each graph, with copies and self-loops; and the graph of each node."""
    of_node = torch.repeat_interleave(torch.arange(_G), torch.tensor(_SIZES))
    pairs = torch.cat([torch.randint(_N, (2, 90)), torch.tensor([[0, 0, 7], [1, 1, 7]])], 1)
    inside = (of_node[pairs[0]] == of_node[pairs[1]]) & (of_node[pairs[0]] != 1)
    return EdgeList(pairs[:, inside], num_nodes=_N), of_node


# --- Graph networks ----------------------------------------------------------------------------


def _network() -> GraphNetwork:
    return GraphNetwork(
        MLP(_EDGE + 2 * _DIM + _GLOBAL, 8, out_dim=4),
        MLP(4 + _DIM + _GLOBAL, 8, out_dim=5),
        MLP(4 + 5 + _GLOBAL, 8, out_dim=_GLOBAL),
        **_REDUCES,
    )


def _network_weights(layer: nn.Module, graph: EdgeList, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        **scattered(layer),
        "x": torch.randn(_N, _DIM, dtype=dtype),
        "edge": torch.randn(graph.num_edges, _EDGE, dtype=dtype),
        "u": torch.randn(_G, _GLOBAL, dtype=dtype),
    }


def _network_computed(layer: nn.Module, graph: EdgeList):
    def computed(given: Weights) -> tuple[Tensor, ...]:
        parameters = without(given, "x", "edge", "u")
        readout = Blocks([1] * _G, _SIZES)
        besides = {"edge": given["edge"], "u": given["u"], "readout": readout}
        return tuple(functional_call(layer, parameters, (given["x"], graph), besides))

    return computed


def _meta_layer(dtype: torch.dtype) -> Sides:
    from torch_geometric.nn import MetaLayer
    from torch_geometric.utils import scatter

    def two_linear(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(before, 8), nn.ReLU(), nn.Linear(8, after))

    class EdgeUpdate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = two_linear(_EDGE + 2 * _DIM + _GLOBAL, 4)

        def forward(self, source: Tensor, target: Tensor, edge: Tensor, u: Tensor, of: Tensor):
            return self.mlp(torch.cat([edge, target, source, u[of]], 1))

    class NodeUpdate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = two_linear(4 + _DIM + _GLOBAL, 5)

        def forward(self, x: Tensor, index: Tensor, edge: Tensor, u: Tensor, of: Tensor):
            mean_edge = scatter(edge, index[1], 0, len(x), reduce="mean")
            return self.mlp(torch.cat([mean_edge, x, u[of]], 1))

    class GlobalUpdate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = two_linear(4 + 5 + _GLOBAL, _GLOBAL)

        def forward(self, x: Tensor, index: Tensor, edge: Tensor, u: Tensor, of: Tensor):
            edge_sum = scatter(edge, of[index[1]], 0, len(u), reduce="sum")
            nodes = scatter(x, of, 0, len(u), reduce="max")
            return self.mlp(torch.cat([edge_sum, nodes, u], 1))

    layer, original = (
        _network().to(dtype),
        MetaLayer(EdgeUpdate(), NodeUpdate(), GlobalUpdate()).to(dtype),
    )
    graph, of_node = _batch()
    names = [
        Name((f"{part}_mlp.{projection}",), f"{part}_model.mlp.{index}")
        for part in ("edge", "node", "global")
        for index, projection in ((0, "up_proj"), (2, "down_proj"))
    ]

    def expected(given: Weights) -> tuple[Tensor, ...]:
        args = (given["x"], graph.edge_index, given["edge"], given["u"], of_node)
        parameters = without(given, "x", "edge", "u")
        return functional_call(original, renamed(original, names, parameters), args)

    return Sides(_network_weights(layer, graph, dtype), _network_computed(layer, graph), expected)


def _algorithm(dtype: torch.dtype) -> Sides:
    layer = _network().to(dtype)
    graph, of_node = _batch()
    pairs, of = graph.edge_index.T.tolist(), of_node.tolist()

    def expected(given: Weights) -> tuple[Tensor, ...]:
        def phi(name: str, *parts: Tensor) -> Tensor:
            up, down = f"{name}_mlp.up_proj", f"{name}_mlp.down_proj"
            hidden = given[f"{up}.weight"] @ torch.cat(parts) + given[f"{up}.bias"]
            return given[f"{down}.weight"] @ hidden.relu() + given[f"{down}.bias"]

        x, u = given["x"], given["u"]
        edge = [
            phi("edge", given["edge"][k], x[target], x[source], u[of[target]])
            for k, (source, target) in enumerate(pairs)
        ]
        nodes: list[Tensor] = []
        for i in range(_N):
            entering = [e for e, (_, target) in zip(edge, pairs, strict=True) if target == i]
            mean = torch.stack(entering).mean(0) if entering else edge[0].new_zeros(4)
            nodes.append(phi("node", mean, x[i], u[of[i]]))
        graphs: list[Tensor] = []
        for g in range(_G):
            links = sum(
                (e for e, (_, target) in zip(edge, pairs, strict=True) if of[target] == g),
                edge[0].new_zeros(4),
            )
            largest = torch.stack([node for i, node in enumerate(nodes) if of[i] == g]).amax(0)
            graphs.append(phi("global", links, largest, u[g]))
        return torch.stack(nodes), torch.stack(edge), torch.stack(graphs)

    return Sides(_network_weights(layer, graph, dtype), _network_computed(layer, graph), expected)


# --- GPS ---------------------------------------------------------------------------------------


def _gps_layer(norm: str | None) -> GPSBlock:
    local = GINEConvolution(MLP(_DIM, 8), _DIM, edge_dim=_EDGE)
    return GPSBlock(local, DotAttention(_DIM, heads=_HEADS), _DIM, norm=norm)


def _gine() -> Any:
    from torch_geometric.nn import GINEConv

    mlp = nn.Sequential(nn.Linear(_DIM, 8), nn.ReLU(), nn.Linear(8, _DIM))
    return GINEConv(mlp, edge_dim=_EDGE)


def _gps(dtype: torch.dtype, *, norm: str | None) -> Sides:
    from torch_geometric.nn import GPSConv

    layer = _gps_layer(norm).to(dtype)
    original = GPSConv(_DIM, _gine(), heads=_HEADS, norm=norm and f"{norm}_norm").to(dtype)
    graph, of_node = _batch()
    weights = scattered(layer) | {
        "x": torch.randn(_N, _DIM, dtype=dtype),
        "edge": torch.randn(graph.num_edges, _EDGE, dtype=dtype),
    }

    def computed(given: Weights) -> Tensor:
        parameters = without(given, "x", "edge")
        besides = {"everywhere": Blocks(_SIZES), "edge": given["edge"]}
        return functional_call(layer, parameters, (given["x"], graph), besides)

    def expected(given: Weights) -> Tensor:
        parameters = renamed(original, GPS, without(given, "x", "edge"))
        args, besides = (given["x"], graph.edge_index, of_node), {"edge_attr": given["edge"]}
        return functional_call(original, parameters, args, besides)

    return Sides(weights, computed, expected)


def _sparse_gps(dtype: torch.dtype) -> Sides:
    """Attention over an expander and a hub, with a bias, against masked attention of torch."""
    layer, graph = _gps_layer("layer").to(dtype), _batch()[0]
    local, attention = _gine().to(dtype), nn.MultiheadAttention(_DIM, _HEADS, dtype=dtype)
    everywhere = RandomRegular(_N, degree=4) | Hubs(_N, [0])
    all_edges = edges(everywhere)
    inputs = {
        "x": torch.randn(_N, _DIM, dtype=dtype),
        "edge": torch.randn(graph.num_edges, _EDGE, dtype=dtype),
        "score_bias": torch.randn(_HEADS, all_edges.num_edges, dtype=dtype),
    }

    def computed(given: Weights) -> Tensor:
        parameters = without(given, *inputs)
        besides = {
            "everywhere": everywhere,
            "edge": given["edge"],
            "score_bias": given["score_bias"],
        }
        return functional_call(layer, parameters, (given["x"], graph), besides)

    def expected(given: Weights) -> Tensor:
        gps_weights = to_original(without(given, *inputs), GPS)

        def part(module: nn.Module, prefix: str) -> dict[str, Tensor]:
            parameters = {
                n.removeprefix(prefix): w for n, w in gps_weights.items() if n.startswith(prefix)
            }
            names = {name for name, _ in module.named_parameters()}
            assert set(parameters) == names, set(parameters)
            return parameters

        def norm(x: Tensor, name: str) -> Tensor:
            return F.layer_norm(x, (_DIM,), given[f"{name}.weight"], given[f"{name}.bias"])

        def linear(x: Tensor, name: str) -> Tensor:
            return F.linear(x, given[f"{name}.weight"], given[f"{name}.bias"])

        x = given["x"]
        local_out = functional_call(
            local, part(local, "conv."), (x, graph.edge_index, given["edge"])
        )
        mask = torch.full((_HEADS, _N, _N), -torch.inf, dtype=dtype)
        mask = mask.index_put(
            (torch.arange(_HEADS)[:, None], all_edges.target, all_edges.source), given["score_bias"]
        )
        settings = {"attn_mask": mask, "need_weights": False}
        attention_out = functional_call(attention, part(attention, "attn."), (x, x, x), settings)[0]
        both = norm(x + local_out, "local.mixer_norm")
        both = both + norm(x + attention_out, "attention.mixer_norm")
        mlp_out = linear(linear(both, "mlp.up_proj").relu(), "mlp.down_proj")
        return norm(both + mlp_out, "mlp_norm")

    return Sides(scattered(layer) | inputs, computed, expected)


_BATTAGLIA = "Battaglia et al. 2018, arXiv:1806.01261, algorithm 1"
_RAMPASEK = "Rampasek et al. 2022, arXiv:2205.12454, section 3.1"
_PYG = ("torch_geometric",)

GRAPH_NETWORKS = (
    Claim(
        "graph network block",
        "message passing",
        "torch_geometric.nn.MetaLayer",
        _meta_layer,
        _BATTAGLIA,
        _PYG,
    ),
    Claim(
        "graph network block",
        "message passing",
        "algorithm 1, edge by edge",
        _algorithm,
        _BATTAGLIA,
    ),
    Claim(
        "GPS over a batch, batch norm",
        "block",
        "torch_geometric.nn.GPSConv",
        partial(_gps, norm="batch"),
        _RAMPASEK,
        _PYG,
    ),
    Claim(
        "GPS over a batch, no norm",
        "block",
        "torch_geometric.nn.GPSConv",
        partial(_gps, norm=None),
        _RAMPASEK,
        _PYG,
    ),
    Claim(
        "GPS over an expander and a hub, with a bias",
        "block",
        "GINEConv and masked attention of torch, written out",
        _sparse_gps,
        _RAMPASEK,
        _PYG,
    ),
)
