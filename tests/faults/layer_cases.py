"""Every layer of `edgewise.nn` and every model that has a card, small, with inputs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import edgewise as ew
import edgewise.nn as layers
from edgewise import models
from edgewise.graphs import Blocks, EdgeList, Graph, Window, cache
from edgewise.models.cards import CARDS

__all__ = ["CASES", "Applied", "LayerCase", "built", "flat"]

N = 7
EDGES = EdgeList([[0, 1, 6, 3], [1, 2, 5, 3]], num_nodes=N)
WINDOW = Window(N, left=1, right=1)
TREE = EdgeList([[1, 2, 3, 5], [0, 0, 1, 4]], num_nodes=N)  # from child to parent
Build = Callable[[], nn.Module]
Call = Callable[..., Any]


@dataclass(frozen=True)
class LayerCase:
    """A small layer or model and what it is called with.

    Attributes:
        build: Makes the module, whose weights follow torch's seed.
        inputs: Makes the tensors of a call.
        call: Calls the module with them.
    """

    build: Build
    inputs: Callable[[], tuple[Tensor, ...]]
    call: Call


class Applied(nn.Module):
    """A module that is called as its case says, with tensors alone, and returns tensors alone."""

    def __init__(self, module: nn.Module, call: Call) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *tensors: Tensor) -> Any:
        return flat(self.call(self.module, *tensors))


def flat(result: Any) -> Any:
    """A result as a tensor or a tuple of tensors: the records of layers are opened."""
    if isinstance(result, layers.NodesAndEdges):
        return result.x, result.edge
    if isinstance(result, layers.GraphFeatures):
        return tuple(part for part in (result.x, result.edge, result.u) if part is not None)
    return result


def built(case: LayerCase, dtype: torch.dtype = torch.float32) -> tuple[Applied, tuple[Any, ...]]:
    """A module in evaluation mode and its inputs, the same at every call.

    Its graphs remember nothing, so no test depends on what another one left on them.
    """
    _forget(case)
    torch.manual_seed(0)
    module = Applied(case.build(), case.call).eval().to(dtype)
    inputs = tuple(t.to(dtype) if t.is_floating_point() else t for t in case.inputs())
    return module, inputs


def _forget(case: LayerCase) -> None:
    """Remove what was worked out for the graphs of a case."""
    cache._RECENT.clear()
    held = [cell.cell_contents for cell in getattr(case.call, "__closure__", None) or ()]
    listed = [part for item in held if isinstance(item, list) for part in item]
    named = [part for item in held if isinstance(item, dict) for part in item.values()]
    for graph in (EDGES, WINDOW, TREE, *held, *listed, *named):
        if isinstance(graph, Graph):
            graph.__dict__.pop("_memory", None)


def _nodes() -> tuple[Tensor, ...]:
    return (torch.randn(2, N, 6),)


def _with_edges(features: int, count: int = 4) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(2, N, 6), torch.rand(count, features))


def _layer(build: Build, graph: Any = EDGES) -> LayerCase:
    return LayerCase(build, _nodes, lambda layer, x: layer(x, graph))


def _edge_layer(build: Build, features: int = 2, **given: Any) -> LayerCase:
    return LayerCase(
        build,
        _with_edges(features),
        lambda layer, x, edge: layer(x, EDGES, edge=edge, **given),
    )


_MLP = layers.MLP
LAYERS: dict[str, LayerCase] = {
    "dot": _layer(lambda: layers.DotAttention(6, heads=2, kv_heads=1)),
    "dot, window": _layer(lambda: layers.DotAttention(6, heads=2), WINDOW),
    "dot, causal": _layer(lambda: layers.DotAttention(6, heads=2), ew.Causal(N)),
    "dot, rotary": _layer(lambda: layers.DotAttention(6, heads=1, rotary=layers.Rotary(4)), WINDOW),
    "dot, edges": _edge_layer(lambda: layers.DotAttention(6, heads=2, edge_dim=2)),
    "gat": _layer(lambda: layers.GATAttention(6, 3, heads=2)),
    "gat, edges": _edge_layer(lambda: layers.GATAttention(6, 3, heads=2, edge_dim=2)),
    "gatv2": _layer(lambda: layers.GATv2Attention(6, 3, heads=2)),
    "gatv2, edges": _edge_layer(lambda: layers.GATv2Attention(6, 3, heads=2, edge_dim=2)),
    "transformer": _edge_layer(
        lambda: layers.TransformerConvolution(6, 3, 2, edge_dim=2, beta=True)
    ),
    "edge attention": _edge_layer(lambda: layers.EdgeAttention(6, 2, 2)),
    "edge block": LayerCase(
        lambda: layers.EdgeBlock(layers.EdgeAttention(6, 2, 2), 6, 2, norm="layer"),
        lambda: (torch.randn(2, N, 6), torch.rand(2, 4, 2)),
        lambda layer, x, edge: layer(x, EDGES, edge=edge),
    ),
    "spatial bias": LayerCase(
        lambda: layers.SpatialBias(2, 3),
        _nodes,
        lambda layer, x: x.sum() + layer(torch.arange(-1, 6)),
    ),
    "path bias": LayerCase(
        lambda: layers.PathBias(2, 3, 2),
        lambda: (torch.randn(4, 3),),
        lambda layer, edge: layer(
            edge, torch.tensor([[0, 3], [1, -1], [2, 2]], device=edge.device)
        ),
    ),
    "convolution": _layer(lambda: layers.GraphConvolution(6, 6, activation="gelu")),
    "pooling": _layer(
        lambda: layers.GraphConvolution(6, 6, reduce="max", message="pool", normalize=True)
    ),
    "gcn": _layer(lambda: layers.GCNConvolution(6, 6)),
    "gin": _layer(lambda: layers.GINConvolution(_MLP(6, 8), train_eps=True)),
    "gine": _edge_layer(lambda: layers.GINEConvolution(_MLP(6, 8), 6, 2, eps=0.5)),
    "monet": _edge_layer(lambda: layers.MoNetConvolution(6, 6, kernels=3, coordinates=2)),
    "lightweight": _layer(
        lambda: layers.LightweightConvolution(6, heads=2, kernel=3, left=1), WINDOW
    ),
    "dynamic, gated": _layer(
        lambda: layers.GatedConvolution(layers.DynamicConvolution(6, heads=2, kernel=3, left=1), 6),
        WINDOW,
    ),
    "block": _layer(
        lambda: layers.Block(layers.DotAttention(6, heads=2), 6, norm="batch", mlp=_MLP(6, 9))
    ),
    "gps": _edge_layer(
        lambda: layers.GPSBlock(
            layers.GINEConvolution(_MLP(6, 8), 6, 2), layers.DotAttention(6, heads=2), 6
        ),
        everywhere=Blocks([3, 4]),
    ),
    "network": _edge_layer(
        lambda: layers.GraphNetwork(
            _MLP(14, 8, out_dim=4), _MLP(10, 8, out_dim=5), _MLP(9, 8, out_dim=6)
        ),
        readout=Blocks([1, 1], [3, 4]),
    ),
    "child-sum tree": _layer(lambda: layers.ChildSumTreeLSTM(6, 5), TREE),
    "n-ary tree": _layer(lambda: layers.NaryTreeLSTM(6, 5, arity=2), TREE),
    "mlp": LayerCase(lambda: _MLP(6, 9), _nodes, lambda layer, x: layer(x)),
    "batch norm": LayerCase(lambda: layers.BatchNorm(6), _nodes, lambda layer, x: layer(x)),
    "rotary": LayerCase(
        lambda: layers.Rotary(6),
        _nodes,
        lambda layer, x: layer(x, torch.arange(N, device=x.device)),
    ),
    "learned positions": LayerCase(
        lambda: layers.LearnedPositions(9, 6), _nodes, lambda layer, x: x + layer(N)
    ),
    "degrees": LayerCase(
        lambda: layers.DegreeEncoding(3, 6), _nodes, lambda layer, x: x + layer(EDGES)
    ),
    "relative bias": LayerCase(
        lambda: layers.T5RelativeBias(2),
        _nodes,
        lambda layer, x: x.sum() + layer(WINDOW).values,
    ),
}


def _of_card(card: Any) -> LayerCase:
    """What the call of a card says: its tensors are inputs, all else is given as it is."""
    names = {**vars(layers), **vars(ew), **vars(models), "torch": torch}
    parsed = ast.parse(card.call, mode="eval").body
    assert isinstance(parsed, ast.Call)

    def value(node: ast.expr) -> Any:
        torch.manual_seed(0)
        return eval(ast.unparse(node), dict(names))

    given = [value(node) for node in parsed.args]
    named = {str(word.arg): value(word.value) for word in parsed.keywords}
    tensors = tuple(part for part in (*given, *named.values()) if isinstance(part, Tensor))

    def call(model: nn.Module, *inputs: Tensor) -> Any:
        rest = iter(inputs)
        args = [next(rest) if isinstance(part, Tensor) else part for part in given]
        kwargs = {
            name: next(rest) if isinstance(part, Tensor) else part for name, part in named.items()
        }
        return model(*args, **kwargs)

    return LayerCase(
        lambda: eval(card.setting, dict(names)),
        lambda: tuple(tensor.clone() for tensor in tensors),
        call,
    )


MODELS = {card.name: _of_card(card) for card in CARDS}
CASES: Mapping[str, LayerCase] = {**LAYERS, **MODELS}
