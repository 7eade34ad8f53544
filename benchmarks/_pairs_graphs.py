"""Graph models and their originals in PyTorch Geometric, on real graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _pairs import Pair
from _workloads import bonds, data_folder, node_graph, zinc
from torch import Tensor, nn

import edgewise as ew
from edgewise.integrations.names import pyg_names
from edgewise.integrations.names.table import Name, within
from edgewise.models import GNN, GPS, GraphModel, NodeModel
from edgewise.nn import degree_coordinates, random_walk
from edgewise.training import load
from edgewise.training.data.archive import read_npz

WIDTH, HEADS = 64, 8


# --- Layers of PyTorch Geometric -----------------------------------------------------------------


class Stack(nn.Module):
    """Convolutions of PyTorch Geometric with ReLU between them, as in its examples."""

    def __init__(self, convolutions: list[nn.Module], out_dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convolutions)
        self.lin = nn.Linear(WIDTH, out_dim)

    def forward(self, x: Tensor, pairs: Tensor, edge: Tensor | None, of: Tensor | None) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        for convolution in self.convs:
            x = convolution(x, pairs, *(() if edge is None else (edge,))).relu()
        return self.lin(x if of is None else global_mean_pool(x, of))


def _pyg_convolution(name: str, before: int, *, cached: bool) -> nn.Module:
    import torch_geometric.nn as pyg

    settings: dict[str, Any] = {"heads": HEADS, "add_self_loops": False}
    match name:
        case "gcn":
            return pyg.GCNConv(before, WIDTH, cached=cached)
        case "sage":
            return pyg.SAGEConv(before, WIDTH)
        case "gin":
            first, last = nn.Linear(before, WIDTH), nn.Linear(WIDTH, WIDTH)
            return pyg.GINConv(nn.Sequential(first, nn.Identity(), nn.ReLU(), last))
        case "monet":
            return pyg.GMMConv(before, WIDTH, dim=2, kernel_size=3)
        case "gat":
            return pyg.GATConv(before, WIDTH // HEADS, **settings)
        case "gatv2":
            return pyg.GATv2Conv(before, WIDTH // HEADS, **settings)
        case _:
            return pyg.TransformerConv(before, WIDTH // HEADS, heads=HEADS)


# Our name, theirs, and what theirs calls the weights.
CONVOLUTIONS: dict[str, tuple[str, tuple[Name, ...]]] = {
    "gcn": ("GCNConv", pyg_names.GCN),
    "sage": ("SAGEConv", pyg_names.SAGE),
    "gin": ("GINConv", pyg_names.GIN_SEQUENCE),
    "monet": ("GMMConv", pyg_names.MONET),
    "gat": ("GATConv", pyg_names.GAT),
    "gatv2": ("GATv2Conv", pyg_names.GATV2),
    "transformer": ("TransformerConv", pyg_names.TRANSFORMER),
}


def _names_of_stack(name: str, layers: int) -> tuple[Name, ...]:
    own = CONVOLUTIONS[name][1]
    return (
        *(n for i in range(layers) for n in within(own, f"trunk.convolutions.{i}.", f"convs.{i}.")),
        Name(("head",), "lin"),
    )


@dataclass
class Data:
    """Nodes, edges, and what is predicted.

    Attributes:
        x: Features of the nodes.
        pairs: Sources and targets: ``[2, E]``.
        loss: Of predictions.
        out_dim: Numbers predicted.
        sizes: Nodes of each graph of a batch; None where nodes are labelled.
        edge: Features of the edges, where there are any.
        encoding: Of the nodes, where there is any.
    """

    x: Tensor
    pairs: Tensor
    loss: Callable[[Tensor], Tensor]
    out_dim: int
    sizes: list[int] | None = None
    edge: Tensor | None = None
    encoding: Tensor | None = None

    def graph(self) -> ew.EdgeList:
        """The edges, which have never been looked at."""
        return ew.EdgeList(self.pairs, num_nodes=len(self.x))

    def readout(self) -> dict[str, ew.Graph]:
        """Which nodes are of which graph, if there are several."""
        if self.sizes is None:
            return {}
        return {"readout": ew.Blocks([1] * len(self.sizes), self.sizes)}

    def of_node(self) -> Tensor | None:
        """The same for PyTorch Geometric, which has it from its loader."""
        if self.sizes is None:
            return None
        return torch.arange(len(self.sizes)).repeat_interleave(torch.tensor(self.sizes))

    def for_layer(self, name: str) -> Data:
        """The same for one kind of layer: with self-loops for GAT, with coordinates for MoNet."""
        pairs, edge = self.pairs, None
        if name in ("gat", "gatv2"):
            pairs = torch.cat([pairs, torch.arange(len(self.x)).expand(2, -1)], 1)
        if name == "monet":
            edge = degree_coordinates(self.graph())
        return replace(self, pairs=pairs, edge=edge)


def stacks(work: str, batches: list[Data], names: list[str], layers: int) -> Iterator[Pair]:
    """The same stack of convolutions, here and there; the first batch is the one that is kept."""
    for name in names:
        own = [data.for_layer(name) for data in batches]
        first, cached = own[0], len(own) == 1
        of, held = [data.of_node() for data in own], (first.graph(), first.readout())
        heads = 3 if name == "monet" else HEADS
        trunk = GNN(first.x.shape[1], WIDTH, name, layers=layers, heads=heads)
        model = NodeModel if first.sizes is None else GraphModel
        head = nn.Linear(WIDTH, first.out_dim)
        widths = [first.x.shape[1], *[WIDTH] * (layers - 1)]
        convolutions = [_pyg_convolution(name, width, cached=cached) for width in widths]

        def loss(ours: nn.Module, data: Data, graph: ew.Graph, readout: dict[str, Any]) -> Tensor:
            return data.loss(ours(data.x, graph, edge=data.edge, **readout))

        def loss_peer(peer: nn.Module, data: Data, of: Tensor | None) -> Tensor:
            return data.loss(peer(data.x, data.pairs, data.edge, of))

        next_one, next_peer = cycle(own), cycle(zip(own, of, strict=True))

        def anew(ours: nn.Module, batches: Iterator[Data] = next_one) -> Tensor:
            data = next(batches)
            return loss(ours, data, data.graph(), data.readout())

        def anew_peer(peer: nn.Module, batches: Any = next_peer) -> Tensor:
            return loss_peer(peer, *next(batches))

        yield Pair(
            work,
            name,
            f"PyG {CONVOLUTIONS[name][0]}",
            model(trunk, WIDTH, first.out_dim, head=head),
            Stack(convolutions, first.out_dim),
            _names_of_stack(name, layers),
            partial(loss, data=first, graph=held[0], readout=held[1]),
            partial(loss_peer, data=first, of=of[0]),
            None if cached else anew,
            None if cached else anew_peer,
        )


class PyGGPS(nn.Module):
    """Features, edges and walks, layers of GPS and a head, as in PyG's example on ZINC."""

    def __init__(self, in_dim: int, edge_dim: int, encoding_dim: int, layers: int) -> None:
        super().__init__()
        from torch_geometric.nn import GINEConv, GPSConv

        self.node = nn.Linear(in_dim, WIDTH)
        self.walk = nn.Linear(encoding_dim, WIDTH, bias=False)
        self.edge = nn.Linear(edge_dim, WIDTH)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            self.layers.append(GPSConv(WIDTH, GINEConv(mlp), heads=4))
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, pairs: Tensor, edge: Tensor, walk: Tensor, of: Tensor) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        x, edge = self.node(x) + self.walk(walk), self.edge(edge)
        for layer in self.layers:
            x = layer(x, pairs, of, edge_attr=edge)
        return self.head(global_mean_pool(x, of))


def gps(batches: list[Data], layers: int) -> Iterator[Pair]:
    """GPS with attention inside each molecule; theirs pads."""
    own = [replace(data, encoding=random_walk(data.graph(), 16)) for data in batches]
    first, of = own[0], [data.of_node() for data in own]
    assert first.edge is not None
    assert first.sizes is not None
    sizes = first.x.shape[1], first.edge.shape[1]
    settings = {"heads": 4, "layers": layers, "edge_dim": sizes[1], "encoding_dim": 16}
    names = (
        Name(("trunk.embedding.features",), "node"),
        Name(("trunk.embedding.encoding",), "walk"),
        Name(("trunk.edge_embedding.features",), "edge"),
        *within(pyg_names.gps_names(layers), "trunk.", "layers."),
        Name(("head",), "head"),
    )

    def loss(ours: nn.Module, data: Data, graph: ew.Graph, besides: dict[str, Any]) -> Tensor:
        given = {"edge": data.edge, "encoding": data.encoding, **besides}
        return data.loss(ours(data.x, graph, **given))

    def graphs(data: Data) -> tuple[ew.Graph, dict[str, Any]]:
        assert data.sizes is not None
        return data.graph(), data.readout() | {"everywhere": ew.Blocks(data.sizes)}

    def loss_peer(peer: nn.Module, data: Data, of: Tensor | None) -> Tensor:
        return data.loss(peer(data.x, data.pairs, data.edge, data.encoding, of))

    def anew(ours: nn.Module, batches: Iterator[Data] = cycle(own)) -> Tensor:  # noqa: B008 (one)
        data = next(batches)
        return loss(ours, data, *graphs(data))

    every = cycle(zip(own, of, strict=True))
    held = graphs(first)
    yield Pair(
        "molecules",
        "gps",
        "PyG GPSConv",
        GraphModel(GPS(sizes[0], WIDTH, **settings), WIDTH, 1, head=nn.Linear(WIDTH, 1)),
        PyGGPS(*sizes, 16, layers),
        names,
        partial(loss, data=first, graph=held[0], besides=held[1]),
        partial(loss_peer, data=first, of=of[0]),
        anew,
        lambda peer: loss_peer(peer, *next(every)),
    )


# --- Data ----------------------------------------------------------------------------------------


@cache
def cora() -> Data:
    """2,708 papers, 10,556 citations in both directions, no self-loops."""
    data = load("cora", data_folder())
    y, train = data.y, data.split(0).train
    pairs = data.topology.whole().edge_index
    return Data(data.x, pairs, lambda out: F.cross_entropy(out[train], y[train]), 7)


@cache
def tolokers() -> Data:
    """11,758 workers, 1,038,000 edges in both directions."""
    raw = read_npz(data_folder() / "graphs" / "tolokers.npz")
    x, y = (torch.from_numpy(raw[key]) for key in ("node_features", "node_labels"))
    train = torch.from_numpy(raw["train_masks"][0]).nonzero()[:, 0]
    pairs = node_graph("tolokers", loops=False).edge_index
    return Data(x, pairs, lambda out: F.cross_entropy(out[train], y[train]), 2)


@cache
def molecules(count: int, batches: int) -> list[Data]:
    """Molecules drawn from ZINC: atoms by element, bonds by kind, in both directions."""
    raw = zinc()
    atoms, kinds = _one_hot(raw["atomic_num"]), _one_hot(raw["bond_type"]).repeat_interleave(2, 0)
    edge_ptr, values, every = 2 * raw["edge_ptr"].astype(np.int64), raw["y"], bonds(raw)
    drawn = np.random.default_rng(0).permutation(len(values))[: count * batches]
    made: list[Data] = []
    for graphs in drawn.reshape(batches, count):
        part = every.part(torch.from_numpy(graphs))
        node = np.concatenate([np.arange(*raw["node_ptr"][g : g + 2]) for g in graphs])
        bond = np.concatenate([np.arange(*edge_ptr[g : g + 2]) for g in graphs])

        def loss(out: Tensor, y: Tensor = torch.from_numpy(values[graphs])) -> Tensor:  # noqa: B008
            return F.l1_loss(out[:, 0], y)

        sizes = part.sizes.tolist()
        made.append(Data(atoms[node], part.edge_index, loss, 1, sizes, kinds[bond]))
    return made


def _one_hot(column: np.ndarray) -> Tensor:
    _, kind = np.unique(column, return_inverse=True)
    return F.one_hot(torch.from_numpy(kind)).float()
