"""A drop-in for the GPS layer, whose attention takes any graph."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import nn as originals

from edgewise.errors import ArgumentError
from edgewise.functional import attention
from edgewise.graphs import Blocks, Complete, Graph
from edgewise.integrations.pyg.dropin import has_hooks
from edgewise.integrations.pyg.memory import recall_about
from edgewise.nn.heads import merge_heads, split_heads
from edgewise.ops.bias import Bias

__all__ = ["GPSConv", "blocks_of"]

_GPSConv: Any = originals.GPSConv  # its own types say less than it takes


class GPSConv(_GPSConv):
    r"""`torch_geometric.nn.GPSConv`, with attention over any graph and without padding.

    .. math::
        x_L &= \mathrm{norm}_1(x + \mathrm{conv}(x, G)), \qquad
        x_A = \mathrm{norm}_2(x + \mathrm{attention}(x, A)) \\
        x' &= \mathrm{norm}_3(y + \mathrm{mlp}(y)), \qquad y = x_L + x_A

    Arguments, inputs, outputs and weights are the original's, and a call knows two more: ``graph``
    and ``bias``. Without ``graph`` all nodes of each graph of ``batch`` attend to one another, as
    in the original. With one this is BigBird or Exphormer: ``Window(n, 8, 8) | Hubs(n, [0])``,
    ``EdgeList(edge_index, n) | RandomRegular(n, degree=4)``.

    The attention is the original's where it is not plain (``attn_type="performer"``, extra keys,
    hooks on it, ``batch`` out of order, ``torch.compile`` with a batch).

    Args:
        args: As `torch_geometric.nn.GPSConv` takes them.
        kwargs: The same.

    Shape:
        - x: ``[N, channels]``.
        - graph: ``N`` targets and ``N`` sources. The nodes of a batch are those of one graph, so
            it has to keep them apart itself.
        - bias: added to the scores, as in `edgewise.attention`.
        - result: ``[N, channels]``.

    Raises:
        ArgumentError: ``graph`` or ``bias`` where the attention is the original's.

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

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        batch: Tensor | None = None,
        *,
        graph: Graph | None = None,
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
        if why is None and graph is None:
            graph = _everything(x, batch)
        if graph is None:
            return super().forward(x, edge_index, batch, **kwargs)
        halves: list[Tensor] = []
        if self.conv is not None:
            halves.append(self._add(x, self.conv(x, edge_index, **kwargs), self.norm1, batch))
        halves.append(self._add(x, self._attention(x, graph, bias), self.norm2, batch))
        both = halves[0] if len(halves) == 1 else halves[0] + halves[1]
        return self._norm(both + self.mlp(both), self.norm3, batch)

    def why_original(self) -> str | None:
        """Why the original computes the attention; None if Edgewise does."""
        module: Any = self.attn
        if type(module) is not nn.MultiheadAttention:
            return f"attn_type={self.attn_type!r} is no attention over a graph"
        extra = module.bias_k is not None or module.add_zero_attn
        if extra or getattr(module, "in_proj_weight", None) is None:
            return "it has extra keys, or keys of another width"
        if has_hooks(module):
            return "hooks want to see padded nodes"
        return None

    def _attention(self, x: Tensor, graph: Graph, bias: Tensor | Bias | None) -> Tensor:
        module = self.attn
        lifted = F.linear(x, module.in_proj_weight, module.in_proj_bias)
        query, key, value = (split_heads(part, self.heads) for part in lifted.chunk(3, -1))
        rate = module.dropout if module.training else 0.0
        out = attention(query, key, value, graph, bias=bias, dropout=rate)
        return module.out_proj(merge_heads(out))

    def _add(self, x: Tensor, heard: Tensor, norm: Any, batch: Tensor | None) -> Tensor:
        return self._norm(F.dropout(heard, self.dropout, self.training) + x, norm, batch)

    def _norm(self, x: Tensor, norm: Any, batch: Tensor | None) -> Tensor:
        if norm is None:
            return x
        return norm(x, batch=batch) if self.norm_with_batch else norm(x)


def blocks_of(batch: Tensor) -> Blocks | None:
    """Who is in the same graph: nodes numbered by graph, in order; None if out of order.

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
    if batch is None:
        return Complete(x.shape[0])
    if torch.compiler.is_compiling() or batch.shape != x.shape[:1]:
        return None
    return blocks_of(batch)
