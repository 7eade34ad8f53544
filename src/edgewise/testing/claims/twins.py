"""Two layers with the same weights, on multigraphs with isolated nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.graphs import EdgeList
from edgewise.integrations.renaming import Name, to_theirs
from edgewise.testing.claims.claim import Sides, Weights, without

__all__ = ["bipartite", "convolution_sides", "multigraph", "renamed", "scattered"]

_N, _S, _EDGES = 13, 9, 34


def multigraph(*, loops: bool = True) -> EdgeList:
    """A directed graph with copies of edges, with and without self-loops, and isolated nodes."""
    ends = torch.randint(_N - 2, (2, _EDGES))
    ends = ends[:, ends[0] != ends[1]]
    pairs = [ends, ends[:, ::5]]
    if loops:
        pairs.append(torch.tensor([[1, 4, _N - 1]]).expand(2, -1))
    return EdgeList(torch.cat(pairs, 1), num_nodes=_N)


def bipartite() -> EdgeList:
    """From other nodes, with copies of edges; some targets hear nothing, some sources say it."""
    ends = torch.stack([torch.randint(_S - 1, (_EDGES,)), torch.randint(_N - 2, (_EDGES,))])
    return EdgeList(torch.cat([ends, ends[:, ::5]], 1), num_targets=_N, num_sources=_S)


def scattered(layer: nn.Module) -> dict[str, Tensor]:
    """The parameters of a layer away from where they start, so that no bias is zero."""
    return {name: p.detach() + 0.3 * torch.randn_like(p) for name, p in layer.named_parameters()}


def renamed(original: nn.Module, names: Sequence[Name], weights: Weights) -> dict[str, Tensor]:
    """All parameters of the original, made of ours."""
    found = to_theirs(weights, names)
    wanted = {name: parameter.shape for name, parameter in original.named_parameters()}
    assert {name: tensor.shape for name, tensor in found.items()} == wanted, wanted
    return found


def convolution_sides(
    layer: nn.Module,
    original: nn.Module,
    names: Sequence[Name],
    graph: EdgeList,
    in_dim: int,
    dtype: torch.dtype,
    *,
    edge: tuple[int, ...] | None = None,
    ordered: Callable[[Weights], Mapping[str, Tensor]] = dict,
    **replaced: Tensor,
) -> Sides:
    """Both layers on random nodes, and on edges with tensors of this shape, if any.

    ``ordered`` puts our weights in the original's order, where it is another.
    """
    layer, original = layer.to(dtype), original.to(dtype)
    square = graph.num_targets == graph.num_sources
    inputs = {"x": torch.randn(graph.num_targets, in_dim, dtype=dtype)}
    if not square:
        inputs["source"] = torch.randn(graph.num_sources, in_dim, dtype=dtype)
    if edge is not None:
        inputs["edge"] = torch.rand(graph.num_edges, *edge, dtype=dtype)
    weights = scattered(layer) | replaced | inputs

    def ours(given: Weights) -> Tensor:
        besides = {name: given[name] for name in inputs if name != "x"}
        return functional_call(layer, without(given, *inputs), (given["x"], graph), besides)

    def theirs(given: Weights) -> Tensor:
        x = given["x"] if square else (given["source"], given["x"])
        args = (x, graph.edge_index, *((given["edge"],) if edge is not None else ()))
        return functional_call(
            original, renamed(original, names, ordered(without(given, *inputs))), args
        )

    return Sides(weights, ours, theirs)
