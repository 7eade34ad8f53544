"""Claims about graph models: each is its paper's equations, and a batch is its graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.graphs import Blocks, EdgeList, RandomRegular, disjoint_union
from edgewise.models import (
    GNN,
    GPS,
    Exphormer,
    GraphModel,
    GraphTransformer,
    NodeModel,
    exphormer_graph,
)
from edgewise.nn import (
    MLP,
    Block,
    DotAttention,
    EdgeAttention,
    EdgeBlock,
    degree_coordinates,
    random_walk,
)
from edgewise.testing.claims.claim import Claim, Sides, Weights
from edgewise.testing.claims.twins import Names, multigraph, renamed, scattered

__all__ = ["GRAPH_MODELS"]

_IN, _DIM, _EDGE, _HEADS, _WALK = 5, 6, 3, 2, 3
_SIZES = (5, 1, 4, 7)  # nodes of each graph; the second has no edge
_N, _G = sum(_SIZES), len(_SIZES)


def _molecules() -> list[EdgeList]:
    """Random edges, some of them twice, and a graph that has none; the last node is isolated."""
    graphs: list[EdgeList] = []
    for size in _SIZES:
        pairs = torch.randint(max(size - 1, 1), (2, 3 * (size - 1)))
        graphs.append(EdgeList(torch.cat([pairs, pairs[:, :2]], 1), num_nodes=size))
    return graphs


def _batch() -> tuple[EdgeList, Tensor]:
    """The same as one graph, and of which each node is."""
    graphs = _molecules()
    starts = torch.tensor([0, *_SIZES]).cumsum(0)[:-1].tolist()
    pairs = [g.edge_index + start for g, start in zip(graphs, starts, strict=True)]
    of_node = torch.repeat_interleave(torch.arange(_G), torch.tensor(_SIZES))
    return EdgeList(torch.cat(pairs, 1), num_nodes=_N), of_node


def _called(model: nn.Module, given: Weights, *args: Any, **besides: Any) -> Any:
    """A module with the parameters that are given."""
    own = {name: given[name] for name, _ in model.named_parameters()}
    return functional_call(model, own, args, besides)


# --- Written out -------------------------------------------------------------------------------


def _linear(given: Weights, name: str, x: Tensor) -> Tensor:
    return x @ given[f"{name}.weight"].T + given[f"{name}.bias"]


def _batch_norm(given: Weights, name: str, x: Tensor) -> Tensor:
    """Over all rows, as in training."""
    mean, var = x.mean(0), x.var(0, unbiased=False)
    return (x - mean) / (var + 1e-5).sqrt() * given[f"{name}.weight"] + given[f"{name}.bias"]


def _post_norm(given: Weights, name: str, x: Tensor, found: Tensor) -> Tensor:
    """Equations 6 to 8: what was found, then an MLP, each with residual and norm."""
    x = _batch_norm(given, f"{name}mixer_norm", x + found)
    thought = _linear(given, f"{name}mlp.up_proj", x).relu()
    thought = _linear(given, f"{name}mlp.down_proj", thought)
    return _batch_norm(given, f"{name}mlp_norm", x + thought)


def _attended(score: list[Tensor], value: Tensor, pairs: list[list[int]]) -> Tensor:
    """Softmax over the edges that enter each node, for every head: ``[N, dim]``."""
    rows: list[Tensor] = []
    for i in range(len(value)):
        entering = [(e, source) for e, (source, target) in enumerate(pairs) if target == i]
        total = sum((score[e].exp() for e, _ in entering), torch.zeros_like(value[0, :, 0]))
        row = torch.zeros_like(value[0])
        for e, j in entering:
            row = row + (score[e].exp() / total)[:, None] * value[j]
        rows.append(row.flatten())
    return torch.stack(rows)


def _heads(given: Weights, name: str, x: Tensor) -> Tensor:
    return _linear(given, name, x).unflatten(-1, (_HEADS, -1))


def _along_edges(dtype: torch.dtype) -> Sides:
    mlp = MLP(_DIM, 2 * _DIM)
    layer = Block(DotAttention(_DIM, _HEADS), _DIM, norm="batch", order="post", mlp=mlp).to(dtype)
    graph = multigraph()
    pairs = graph.edge_index.T.tolist()
    weights = scattered(layer) | {"x": torch.randn(graph.num_targets, _DIM, dtype=dtype)}

    def ours(given: Weights) -> Tensor:
        return _called(layer, given, given["x"], graph)

    def theirs(given: Weights) -> Tensor:
        x = given["x"]
        q, k, v = (_heads(given, f"mixer.{name}_proj", x) for name in "qkv")
        score = [(q[i] * k[j]).sum(-1) / (_DIM / _HEADS) ** 0.5 for j, i in pairs]
        found = _attended(score, v, pairs)
        return _post_norm(given, "", x, _linear(given, "mixer.out_proj", found))

    return Sides(weights, ours, theirs)


def _with_edges(dtype: torch.dtype) -> Sides:
    layer = EdgeBlock(EdgeAttention(_DIM, _HEADS, _EDGE), _DIM, _EDGE).to(dtype)
    graph = multigraph()
    pairs = graph.edge_index.T.tolist()
    weights = scattered(layer) | {
        "x": torch.randn(graph.num_targets, _DIM, dtype=dtype),
        "edge": torch.randn(graph.num_edges, _EDGE, dtype=dtype),
    }

    def ours(given: Weights) -> tuple[Tensor, ...]:
        return tuple(_called(layer, given, given["x"], graph, edge=given["edge"]))

    def theirs(given: Weights) -> tuple[Tensor, ...]:
        x, edge = given["x"], given["edge"]
        q, k, v = (_heads(given, f"mixer.{name}_proj", x) for name in "qkv")
        e = _heads(given, "mixer.edge_proj", edge)
        hat = [q[i] * k[j] / (_DIM / _HEADS) ** 0.5 * e[n] for n, (j, i) in enumerate(pairs)]
        found = _attended([w.sum(-1) for w in hat], v, pairs)
        said = torch.stack(hat).flatten(1)
        return (
            _post_norm(given, "nodes.", x, _linear(given, "mixer.out_proj", found)),
            _post_norm(given, "edges.", edge, _linear(given, "mixer.edge_out_proj", said)),
        )

    return Sides(weights, ours, theirs)


# --- Plain stacks ------------------------------------------------------------------------------

# For each convolution: what PyG calls its parameters, and what we call them.
_OF_CONVOLUTION = {
    "GCN": {"lin.weight": "weight", "bias": "bias"},
    "GraphSAGE": {
        "lin_l.weight": "neighbor_proj.weight",
        "lin_l.bias": "self_proj.bias",
        "lin_r.weight": "self_proj.weight",
    },
    "GIN": {
        f"nn.{theirs}.{kind}": f"mlp.{mine}.{kind}"
        for theirs, mine in (("lins.0", 0), ("norms.0.module", 1), ("lins.1", 3))
        for kind in ("weight", "bias")
    },
    "GAT": {
        "lin.weight": "proj.weight",
        "att_src": "a_source",
        "att_dst": "a_target",
        "bias": "bias",
    },
}


def _stack(dtype: torch.dtype, *, name: str, convolution: str) -> Sides:
    from torch_geometric.nn import models

    settings: dict[str, Any] = {"heads": _HEADS, "add_self_loops": False} if name == "GAT" else {}
    original = getattr(models, name)(_IN, _DIM, 2, 3, norm="batch_norm", jk="last", **settings)
    original = original.to(dtype)
    trunk = GNN(_IN, _DIM, convolution, layers=2, heads=_HEADS, norm="batch")
    model, graph = NodeModel(trunk, _DIM, 3).to(dtype), multigraph()
    names = {f"lin.{kind}": f"head.{kind}" for kind in ("weight", "bias")}
    for place in range(2):
        names |= {
            f"convs.{place}.{theirs}": f"trunk.convolutions.{place}.{mine}"
            for theirs, mine in _OF_CONVOLUTION[name].items()
        } | {
            f"norms.{place}.module.{kind}": f"trunk.norms.{place}.{kind}"
            for kind in ("weight", "bias")
        }

    def ours(given: Weights) -> Tensor:
        return _called(model, given, given["x"], graph)

    def theirs(given: Weights) -> Tensor:
        own = renamed(original, names, given)
        return functional_call(original, own, (given["x"], graph.edge_index))

    inputs = {"x": torch.randn(graph.num_targets, _IN, dtype=dtype)}
    return Sides(scattered(model) | inputs, ours, theirs)


# --- GPS ---------------------------------------------------------------------------------------


def _inputs(graph: EdgeList, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        "x": torch.randn(graph.num_targets, _IN, dtype=dtype),
        "edge": torch.randn(graph.num_edges, _EDGE, dtype=dtype),
    }


def _joined(kind: str, prefix: str, given: Weights) -> Tensor:
    """Queries, keys and values as one matrix, as torch's attention has them."""
    return torch.cat([given[f"{prefix}attention.mixer.{name}_proj.{kind}"] for name in "qkv"])


def _gps_names(prefix: str) -> Names:
    """Parameters of PyG's layer, of ours."""
    plain = {
        "conv.nn.0": "local.mixer.mlp.up_proj",
        "conv.nn.2": "local.mixer.mlp.down_proj",
        "attn.out_proj": "attention.mixer.out_proj",
        "mlp.0": "mlp.up_proj",
        "mlp.3": "mlp.down_proj",
        "norm1.module": "local.mixer_norm",
        "norm2.module": "attention.mixer_norm",
        "norm3.module": "mlp_norm",
    }
    names: dict[str, Any] = {
        f"{theirs}.{kind}": f"{prefix}{mine}.{kind}"
        for theirs, mine in plain.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        names[f"attn.in_proj_{kind}"] = partial(_joined, kind, prefix)
    return names


def _gine(dtype: torch.dtype) -> Any:
    from torch_geometric.nn import GINEConv

    return GINEConv(nn.Sequential(nn.Linear(_DIM, _DIM), nn.ReLU(), nn.Linear(_DIM, _DIM))).to(
        dtype
    )


def _gps(dtype: torch.dtype) -> Sides:
    from torch_geometric.nn import GPSConv, global_mean_pool

    trunk = GPS(_IN, _DIM, heads=_HEADS, layers=2, edge_dim=_EDGE, encoding_dim=_WALK)
    model = GraphModel(trunk, _DIM, 2).to(dtype)
    layers = [GPSConv(_DIM, _gine(dtype), heads=_HEADS).to(dtype) for _ in range(2)]
    graph, of_node = _batch()
    encoding = random_walk(graph, _WALK, dtype=dtype)

    def ours(given: Weights) -> Tensor:
        besides = {"everywhere": Blocks(_SIZES), "readout": Blocks([1] * _G, _SIZES)}
        edge = given["edge"]
        return _called(model, given, given["x"], graph, edge=edge, encoding=encoding, **besides)

    def theirs(given: Weights) -> Tensor:
        x = _linear(given, "trunk.embedding.features", given["x"])
        x = x + encoding @ given["trunk.embedding.encoding.weight"].T
        edge = _linear(given, "trunk.edge_embedding.features", given["edge"])
        for number, layer in enumerate(layers):
            own = renamed(layer, _gps_names(f"trunk.blocks.{number}."), given)
            args = (x, graph.edge_index, of_node)
            x = functional_call(layer, own, args, {"edge_attr": edge})
        hidden = F.gelu(_linear(given, "head.up_proj", global_mean_pool(x, of_node)))
        return _linear(given, "head.down_proj", hidden)

    return Sides(scattered(model) | _inputs(graph, dtype), ours, theirs)


# --- Exphormer ---------------------------------------------------------------------------------


def _exphormer_edges(graph: EdgeList, hubs: int) -> tuple[Tensor, Tensor]:
    """Who attends to whom, pair by pair, and of which kind each pair is; -1 for no edge."""
    total, starts = _N + _G * hubs, torch.tensor([0, *_SIZES]).cumsum(0).tolist()
    kind = torch.full((total, total), -1)
    for g, size in enumerate(_SIZES):
        own = range(starts[g], starts[g + 1])
        for i in range(size):
            read = [j for j in range(size) if j != i]  # everyone, in the smallest graphs
            if size > 4:
                read = RandomRegular(size, degree=4).neighbors[i].tolist()
            for j in read:
                kind[own[i], own[j]] = 1
        for v in range(hubs):
            hub = _N + g * hubs + v
            for i in own:
                kind[hub, i], kind[i, hub] = 2 + v, 2 + hubs + v
    kind[graph.edge_index[1], graph.edge_index[0]] = 0
    return (kind >= 0), kind


def _exphormer(dtype: torch.dtype, *, hubs: int) -> Sides:
    model = Exphormer(_IN, _DIM, heads=_HEADS, layers=2, hubs=hubs, edge_dim=_EDGE).to(dtype)
    graph, _ = _batch()
    everywhere = exphormer_graph(graph, degree=4, hubs=hubs, sizes=_SIZES)
    local, attention = _gine(dtype), nn.MultiheadAttention(_DIM, _HEADS, dtype=dtype)
    there, kind = _exphormer_edges(graph, hubs)

    def ours(given: Weights) -> Tensor:
        return _called(model, given, given["x"], graph, everywhere=everywhere, edge=given["edge"])

    def theirs(given: Weights) -> Tensor:
        x = _linear(given, "embedding.features", given["x"])
        x = torch.cat([x, *[given["hub"]] * _G])
        edge = _linear(given, "edge_embedding.features", given["edge"])
        for number in range(2):
            prefix = f"blocks.{number}."
            names = _gps_names(prefix)

            def part(module: nn.Module, start: str, names: Names = names) -> dict[str, Tensor]:
                own = {n.removeprefix(start): m for n, m in names.items() if n.startswith(start)}
                return renamed(module, own, given)

            heard = functional_call(local, part(local, "conv."), (x, graph.edge_index, edge))
            bias = given["kind_bias"][number][:, kind.clamp(min=0)]
            mask = torch.where(there, bias, -torch.inf)  # [heads, N, N]
            settings = {"attn_mask": mask, "need_weights": False}
            seen = functional_call(attention, part(attention, "attn."), (x, x, x), settings)[0]
            both = _batch_norm(given, f"{prefix}local.mixer_norm", x + heard)
            both = both + _batch_norm(given, f"{prefix}attention.mixer_norm", x + seen)
            thought = _linear(given, f"{prefix}mlp.up_proj", both).relu()
            thought = _linear(given, f"{prefix}mlp.down_proj", thought)
            x = _batch_norm(given, f"{prefix}mlp_norm", both + thought)
        return x[:_N]

    return Sides(scattered(model) | _inputs(graph, dtype), ours, theirs)


# --- A batch is its graphs -----------------------------------------------------------------------


def _graph_transformer(edge_dim: int | None) -> nn.Module:
    trunk = GraphTransformer(
        _IN, _DIM, heads=_HEADS, layers=2, edge_dim=edge_dim, encoding_dim=_WALK
    )
    return GraphModel(trunk, _DIM, 2)


def _gnn(name: str) -> nn.Module:
    return GraphModel(GNN(_IN, _DIM, name, layers=2, heads=2, norm="batch"), _DIM, 2)


_GPS = partial(GPS, _IN, _DIM, heads=_HEADS, layers=2, edge_dim=_EDGE, encoding_dim=_WALK)
_EXPHORMER = partial(Exphormer, _IN, _DIM, heads=_HEADS, layers=2, edge_dim=_EDGE)

# Each with what it is given besides nodes: edge features, encodings, who attends to whom.
_MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "Graph Transformer": (lambda: _graph_transformer(None), ("encoding",)),
    "Graph Transformer with edge features": (
        lambda: _graph_transformer(_EDGE),
        ("encoding", "edge"),
    ),
    "GPS": (lambda: GraphModel(_GPS(), _DIM, 2), ("encoding", "edge", "blocks")),
    "Exphormer": (lambda: GraphModel(_EXPHORMER(), _DIM, 2), ("edge", "expander")),
    "GCN": (lambda: _gnn("gcn"), ()),
    "GraphSAGE": (lambda: _gnn("sage"), ()),
    "GIN": (lambda: _gnn("gin"), ()),
    "GAT": (lambda: _gnn("gat"), ()),
    "MoNet": (lambda: _gnn("monet"), ("coordinates",)),
}


def _given(
    wanted: tuple[str, ...], graph: Any, sizes: tuple[int, ...], edge: Tensor
) -> dict[str, Any]:
    """What a model is given besides nodes, made from this graph alone."""
    found: dict[str, Callable[[], tuple[str, Any]]] = {
        "edge": lambda: ("edge", edge),
        "coordinates": lambda: ("edge", degree_coordinates(graph, dtype=edge.dtype)),
        "encoding": lambda: ("encoding", random_walk(graph, _WALK, dtype=edge.dtype)),
        "blocks": lambda: ("everywhere", Blocks(sizes)),
        "expander": lambda: ("everywhere", exphormer_graph(graph, sizes=sizes)),
    }
    return dict(found[name]() for name in wanted)


def _side_by_side(dtype: torch.dtype, *, name: str) -> Sides:
    build, wanted = _MODELS[name]
    model = build().to(dtype).eval()
    for buffer in model.buffers():  # what batch norms have seen
        if buffer.is_floating_point():
            buffer.add_(0.3 * torch.rand_like(buffer))
    graphs = _molecules()
    together = disjoint_union(graphs)
    links = [graph.num_edges for graph in graphs]

    def ours(given: Weights) -> Tensor:
        besides = _given(wanted, together, _SIZES, given["edge"])
        readout = Blocks([1] * _G, _SIZES)
        return _called(model, given, given["x"], together, readout=readout, **besides)

    def theirs(given: Weights) -> Tensor:
        rows: list[Tensor] = []
        parts = zip(given["x"].split(_SIZES), graphs, given["edge"].split(links), strict=True)
        for x, graph, edge in parts:
            besides = _given(wanted, graph, (len(x),), edge)
            rows.append(_called(model, given, x, graph, **besides))
        return torch.stack(rows)

    inputs = {
        "x": torch.randn(_N, _IN, dtype=dtype),
        "edge": torch.randn(sum(links), _EDGE, dtype=dtype),
    }
    parameters = scattered(model)
    for key in parameters:
        if key.endswith("sigma"):  # kernels of a width that sees every edge
            parameters[key] = torch.ones_like(parameters[key])
    return Sides(parameters | inputs, ours, theirs)


# --- All of them -------------------------------------------------------------------------------

_DWIVEDI = "Dwivedi, Bresson 2020, arXiv:2012.09699, section 2.3"
_RAMPASEK = "Rampasek et al. 2022, arXiv:2205.12454, section 3.1"
_SHIRZAD = "Shirzad et al. 2023, arXiv:2303.06147, section 3"
_PYG = ("torch_geometric",)

GRAPH_MODELS = (
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
            rung,
            f"torch_geometric.nn.models.{name}",
            partial(_stack, name=name, convolution=convolution),
            source,
            _PYG,
        )
        for name, convolution, rung, source in (
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
    *(
        Claim(
            f"{name} on a batch of graphs",
            "laws",
            "the same model on each graph alone",
            partial(_side_by_side, name=name),
        )
        for name in _MODELS
    ),
)
