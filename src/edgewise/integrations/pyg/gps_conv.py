"""Drop-in for GPSConv, with attention over any graph."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import nn as originals
from torch_geometric.data.data import BaseData, Data

from edgewise.errors import ArgumentError, GraphError
from edgewise.functional import attention
from edgewise.graphs import Blocks, Complete, Graph, recall
from edgewise.graphs.base import check_graph
from edgewise.integrations.pyg.data import from_data, from_edge_index
from edgewise.integrations.pyg.dropin import has_hooks, scriptable, why_everywhere
from edgewise.integrations.pyg.edge_cache import recall_about
from edgewise.integrations.pyg.readable_edges import is_traced, unreadable
from edgewise.layouts import edges
from edgewise.nn.attention.heads import merge_heads, split_heads
from edgewise.ops.bias import Bias, DenseBias
from edgewise.shapes import is_shape_only

__all__ = ["GPSConv", "blocks_of"]

_MOST_EDGES = 2**24  # up to which edges are listed to check that no edge is between graphs
_MOST_ROWS = 64  # rows at borders between graphs that are checked if there are more edges

_GPSConv: Any = originals.GPSConv  # its declared types are too narrow


class GPSConv(_GPSConv):
    r"""`torch_geometric.nn.GPSConv`, with attention over any graph and without padding.

    .. math::
        x_L &= \mathrm{norm}_1(x + \mathrm{conv}(x, G)), \qquad
        x_A = \mathrm{norm}_2(x + \mathrm{attention}(x, A)) \\
        x' &= \mathrm{norm}_3(y + \mathrm{mlp}(y)), \qquad y = x_L + x_A

    Arguments, inputs, outputs and weights are the original's, and a call has two more: ``graph``
    and ``bias``. Without ``graph`` all nodes of each graph of ``batch`` read one another, as
    in the original. With one this is BigBird or Exphormer: ``Window(n, 8, 8) | Hubs(n, [0])``,
    ``EdgeList(edge_index, n) | RandomRegular(n, degree=4)``.

    The original computes the attention where it is not plain (``attn_type="performer"``, extra
    keys, hooks on it, dropout of 1, ``batch`` out of order), inside `originals`, and without
    ``graph`` for tracers (``torch.compile``, ``torch.export``, ``torch.jit``).

    Args:
        args: As `torch_geometric.nn.GPSConv` takes them.
        kwargs: The same.

    Shape:
        - x: ``[N, channels]``.
        - graph: ``N`` targets and ``N`` sources; or edges of PyTorch Geometric: a
            ``Data``, an ``EdgeIndex``, an ``edge_index``. It has to separate the graphs of
            ``batch``, as ``graph & Blocks(sizes)`` does.
        - bias: added to the scores, as in `edgewise.attention`: one number for each edge
            ``[heads | 1, E]``, or for each pair of nodes ``[heads | 1, N, N]``.
        - result: ``[N, channels]``.

    Raises:
        ArgumentError: ``graph`` or ``bias`` where the original computes the attention.
        GraphError: ``graph`` lets nodes of different graphs of ``batch`` read one another.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Window
        >>> layer = GPSConv(8, conv=None, heads=2)
        >>> edge_index = torch.tensor([[0, 1], [1, 2]])
        >>> layer(torch.randn(9, 8), edge_index, graph=Window(9, left=2, right=2)).shape
        torch.Size([9, 8])

    References:
        Rampasek et al. Recipe for a General, Powerful, Scalable Graph Transformer. 2022,
        arXiv:2205.12454, section 3.1.
        Shirzad et al. Exphormer. 2023, arXiv:2303.06147, section 3.
    """

    original: ClassVar[Any] = _GPSConv

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        batch: Tensor | None = None,
        *,
        graph: Graph | Data | Tensor | None = None,
        bias: Tensor | Bias | None = None,
        **kwargs: Any,
    ) -> Tensor:
        why = self.why_original()
        if why is not None and (graph is not None or bias is not None):
            given = "graph" if graph is not None else "bias"
            raise ArgumentError(
                f"GPSConv: {given} was given, but the attention is PyTorch Geometric's, because "
                f"{why}. Leave out {given}, or build the layer with plain attention."
            )
        if why is None:
            attention_graph = _everything(x, batch) if graph is None else _given(graph, x, batch)
        else:
            attention_graph = None
        if attention_graph is None:
            return super().forward(x, edge_index, batch, **kwargs)
        halves: list[Tensor] = []
        if self.conv is not None:
            halves.append(self._add(x, self.conv(x, edge_index, **kwargs), self.norm1, batch))
        halves.append(self._add(x, self._attention(x, attention_graph, bias), self.norm2, batch))
        both = halves[0] if len(halves) == 1 else halves[0] + halves[1]
        return self._norm(both + self.mlp(both), self.norm3, batch)

    def why_original(self) -> str | None:
        """The reason for the original to compute attention for any graph; None without one."""
        if (why := why_everywhere()) is not None:
            return why
        module: Any = self.attn
        if self.training and getattr(module, "dropout", None) == 1.0:
            return "dropout is 1, so all weights are dropped"
        return self.unusual()

    def unusual(self) -> str | None:
        """The part of `why_original` that depends on the construction of the layer."""
        module: Any = self.attn
        if type(module) is not nn.MultiheadAttention:
            return f"attn_type={self.attn_type!r} is no attention over a graph"
        extra = module.bias_k is not None or module.add_zero_attn
        if extra or getattr(module, "in_proj_weight", None) is None:
            return "it has extra keys, or keys of another width"
        return "hooks want to see padded nodes" if has_hooks(module) else None

    def __prepare_scriptable__(self) -> nn.Module:
        """An original with the same parameters, which `torch.jit.script` compiles, or refuses."""
        return scriptable(self)

    def _attention(self, x: Tensor, graph: Graph, bias: Tensor | Bias | None) -> Tensor:
        module = self.attn
        lifted = F.linear(x, module.in_proj_weight, module.in_proj_bias)
        query, key, value = (split_heads(part, self.heads) for part in lifted.chunk(3, -1))
        rate = module.dropout if module.training else 0.0
        if isinstance(bias, Tensor) and bias.ndim == 3:
            bias = DenseBias(bias)
        out = attention(query, key, value, graph, bias=bias, dropout=rate)
        return module.out_proj(merge_heads(out))

    def _add(self, x: Tensor, update: Tensor, norm: Any, batch: Tensor | None) -> Tensor:
        return self._norm(F.dropout(update, self.dropout, self.training) + x, norm, batch)

    def _norm(self, x: Tensor, norm: Any, batch: Tensor | None) -> Tensor:
        if norm is None:
            return x
        return norm(x, batch=batch) if self.norm_with_batch else norm(x)


def blocks_of(batch: Tensor) -> Blocks | None:
    """The blocks of the graphs of a batch; None if nodes are not in order of their graphs.

    >>> blocks_of(torch.tensor([0, 0, 1, 1, 1]))
    Blocks([2, 3])
    """
    return recall_about(batch, "blocks", lambda: _blocks(batch))


def _blocks(batch: Tensor) -> Blocks | None:
    if batch.ndim != 1 or batch.dtype != torch.int64:
        return None
    if batch.numel() and (int(batch[0]) < 0 or bool((batch[1:] < batch[:-1]).any())):
        return None
    sizes = torch.bincount(batch)
    return Blocks(sizes[sizes > 0].tolist())


def _everything(x: Tensor, batch: Tensor | None) -> Graph | None:
    """The complete graph of each graph of the batch; None if the original computes the call."""
    if is_traced() or is_shape_only(x):
        return None
    if batch is None:
        return Complete(x.shape[0])
    if unreadable(batch) or batch.shape != x.shape[:1]:
        return None
    return blocks_of(batch)


def _given(graph: Any, x: Tensor, batch: Tensor | None) -> Graph:
    """The graph of the argument, checked to separate the graphs of a batch."""
    traced = is_traced()
    if isinstance(graph, BaseData | Tensor):
        if traced or (isinstance(graph, Tensor) and unreadable(graph)):
            raise ArgumentError(
                f"GPSConv: a tracer cannot read the edges of graph ({type(graph).__name__}). Build "
                f"the graph before: from_data(data), or EdgeList(edge_index, num_nodes)."
            )
        if isinstance(graph, Tensor):
            return _apart(from_edge_index(graph, x.shape[0]), batch)
        graph = from_data(graph)
    check_graph("GPSConv: graph", graph)
    return graph if traced else _apart(graph, batch)


def _apart(graph: Graph, batch: Tensor | None) -> Graph:
    """The graph, checked to have no edge between graphs of the batch."""
    if batch is None or unreadable(batch) or batch.shape != (graph.num_targets,):
        return graph
    if graph.num_targets != graph.num_sources:  # the operator raises an error
        return graph
    blocks = blocks_of(batch)
    if blocks is not None and _falls_apart(graph, blocks):
        return graph
    if blocks is None:
        crossing = _crossing(graph, batch)
    else:
        crossing = recall(graph, ("crossing", blocks), lambda: _crossing(graph, batch))
    if crossing is not None:
        target, source = crossing
        cure = "the edges within one graph" if blocks is None else f"graph & {_short(blocks)}"
        raise GraphError(
            f"GPSConv: graph lets node {target} read node {source}, which is in another graph of "
            f"batch. Pass {cure}."
        )
    return graph


def _falls_apart(graph: Graph, blocks: Blocks) -> bool:
    """Whether facts prove that no edge leaves a block."""
    cuts = graph.facts().cuts
    corners = set(zip(cuts.targets.tolist(), cuts.sources.tolist(), strict=True))
    ends = blocks.facts().cuts.targets.tolist()
    return all((end, end) in corners for end in ends)


def _crossing(graph: Graph, batch: Tensor) -> tuple[int, int] | None:
    """An edge between two graphs of a batch, as (target, source); None without one."""
    if graph.facts().max_edges <= _MOST_EDGES:
        all_edges = edges(graph, "cpu")
        target, source = all_edges.target, all_edges.source
    else:  # too many to list: pairs of the last and the first node of graphs with all nodes
        ends = (batch[1:] != batch[:-1]).nonzero()[:_MOST_ROWS, 0].cpu()
        rows = torch.cat([ends, ends + 1]).repeat_interleave(len(batch))
        nodes = torch.arange(len(batch)).repeat(2 * len(ends))
        target, source = torch.cat([rows, nodes]), torch.cat([nodes, rows])
        holds = graph.contains(target, source)
        target, source = target[holds], source[holds]
    group = batch.cpu()
    crosses = (group[target] != group[source]).nonzero()
    if not len(crosses):
        return None
    first = int(crosses[0])
    return int(target[first]), int(source[first])


def _short(blocks: Blocks) -> str:
    return "Blocks(batch.bincount().tolist())" if len(repr(blocks)) > 60 else repr(blocks)
