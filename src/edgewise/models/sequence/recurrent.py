"""LSTM and GRU with the calling convention of a layer over graphs: the baseline of sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.sequence.sequences import sequences
from edgewise.nn.checks import check_choice, check_features, check_nodes, check_rate, check_size
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "GRU_CARD", "Recurrent"]

_KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(Layer):
    r"""A recurrent network along each sequence of a graph: `torch.nn.LSTM` or `torch.nn.GRU`.

    .. math::  h_i = \mathrm{cell}(x_i, h_{i - 1}), \qquad h_{-1} = 0

    The graph defines where sequences start and end, and what a node may depend on: ``Causal(n)`` is
    one sequence, `Blocks` or a `disjoint_union` of `Causal` are many of any lengths, which are
    packed and not padded. Reading forwards needs a graph that holds at least all earlier nodes of
    the same sequence; reading both ways, one that holds all of them (`Complete`, `Blocks`).

    Args:
        dim: Features of every node, before and after.
        kind: ``"lstm"`` or ``"gru"``.
        layers: Layers, one on top of the other.
        bidirectional: Whether sequences are read both ways, each with ``dim / 2`` features.
        dropout: Share of features dropped, in training, between layers.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - result: ``[*batch, N, dim]``, the hidden state ``h`` at every node.

    The parameters are torch's own, under ``network``.

    Raises:
        ArgumentError: an unknown kind, a size or share out of range, dropout without a layer
            above, or an odd ``dim`` that has to be halved.
        GraphError: the graph is not sequences side by side, or holds less than the recurrence
            reads.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to ``x`` and the parameters.

    Complexity: O(N dim^2), in as many steps as the longest sequence has nodes.

    Example:
        >>> from edgewise.graphs import Blocks
        >>> layer = Recurrent(16, kind="gru")
        >>> layer(torch.randn(9, 16), Blocks([2, 4, 3])).shape
        torch.Size([9, 16])

    References:
        Hochreiter, Schmidhuber. Long Short-Term Memory. 1997, Neural Computation 9(8).
        Cho et al. Learning Phrase Representations using RNN Encoder-Decoder. 2014,
        arXiv:1406.1078, section 2.3 (GRU).
    """

    def __init__(
        self,
        dim: int,
        *,
        kind: str = "lstm",
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("Recurrent", device, dtype)
        check_choice("Recurrent", "kind", kind, _KINDS)
        self.dim = check_size("Recurrent", "dim", dim)
        self.kind = kind
        self.bidirectional = bidirectional
        if bidirectional and dim % 2:
            raise ArgumentError(
                f"Recurrent: dim must be even with bidirectional=True, half for each direction, "
                f"got {dim}. Use dim={dim + 1}."
            )
        check_rate("Recurrent", "dropout", dropout)
        if dropout and check_size("Recurrent", "layers", layers) == 1:
            raise ArgumentError(
                f"Recurrent: dropout acts between layers, got dropout={dropout} and layers=1. Add "
                f"a layer, or give the block the dropout."
            )
        self.network = _KINDS[kind](
            dim,
            dim // 2 if bidirectional else dim,
            check_size("Recurrent", "layers", layers),
            dropout=dropout,
            bidirectional=bidirectional,
            **made,
        )

    def reset_parameters(self) -> None:
        """Draw new weights, as torch does."""
        self.network.reset_parameters()

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        check_features("Recurrent", "x", x, self.dim, "dim")
        check_nodes("Recurrent", x, graph)
        packing = cached_by_graph(_packing, graph, self.bidirectional, str(x.device))
        if not x.numel():
            return x.new_zeros(x.shape)
        # Steps first, then sequences, then batch entries: each step of a pack lies in one piece.
        rows = x.reshape(-1, *x.shape[-2:]).index_select(-2, packing.order).transpose(0, 1)
        batch = rows.shape[1]
        packed = PackedSequence(rows.flatten(0, 1), packing.steps * batch)
        states: Tensor = self.network(packed)[0].data
        states = states.unflatten(0, (-1, batch)).transpose(0, 1).index_select(-2, packing.place)
        return states.reshape(x.shape)

    def extra_repr(self) -> str:
        return f"{self.dim}, kind={self.kind!r}, bidirectional={self.bidirectional}"


@dataclass(frozen=True, eq=False)
class _Packing:
    """Nodes by their place in their sequence, longest sequence first.

    Attributes:
        order: The nodes in that order: ``[N]``.
        place: Where every node stands in ``order``: ``[N]``.
        steps: Sequences that are at least so long: ``[longest]``, on the CPU.
    """

    order: Tensor
    place: Tensor
    steps: Tensor


def _packing(graph: Graph, bidirectional: bool, device: str) -> _Packing:
    first, sizes = sequences("Recurrent", graph, both_ways=bidirectional)
    falling = np.argsort(-sizes, kind="stable")
    first, sizes = first[falling], sizes[falling]
    number = np.repeat(np.arange(len(sizes)), sizes)
    step = np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = torch.from_numpy((first[number] + step)[np.lexsort((number, step))])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    steps = torch.from_numpy(np.bincount(step).astype(np.int64))
    return _Packing(order.to(device), place.to(device), steps)


CARD = Card(
    name="LSTM",
    paper="Hochreiter, Schmidhuber. Long Short-Term Memory. 1997, Neural Computation 9(8); forget "
    "gates: Gers, Schmidhuber, Cummins. Learning to Forget. 2000, Neural Computation 12(10).",
    equation=r"c_i = f_i \odot c_{i-1} + g_i \odot \tanh(W x_i + U h_{i-1} + b), \quad"
    r" h_i = o_i \odot \tanh(c_i), \quad f_i, g_i, o_i = \sigma(W x_i + U h_{i-1} + b)",
    setting='GraphModel(Trunk(8, 16, [Recurrent(16, kind="lstm")]), 16, 2)',
    differences="It runs inside the same pre-norm block as every other mixer; Recurrent alone is "
    "torch.nn.LSTM, with its two biases.",
    call="model(torch.randn(9, 8), Blocks([2, 4, 3]), readout=Blocks([1, 1, 1], [2, 4, 3]))",
)

GRU_CARD = Card(
    name="GRU",
    paper="Cho et al. Learning Phrase Representations using RNN Encoder-Decoder for Statistical "
    "Machine Translation. 2014, arXiv:1406.1078, section 2.3.",
    equation=r"h_i = (1 - z_i) \odot \tanh(W x_i + r_i \odot (U h_{i-1} + b)) + z_i \odot h_{i-1},"
    r" \quad r_i, z_i = \sigma(W x_i + U h_{i-1} + b)",
    setting='GraphModel(Trunk(8, 16, [Recurrent(16, kind="gru")]), 16, 2)',
    differences="It runs inside the same pre-norm block as every other mixer; Recurrent alone is "
    "torch.nn.GRU, which applies the reset gate after the product with U, not before.",
    call="model(torch.randn(9, 8), Blocks([2, 4, 3]), readout=Blocks([1, 1, 1], [2, 4, 3]))",
)
