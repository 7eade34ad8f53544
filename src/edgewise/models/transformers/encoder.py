"""The encoder of a Transformer: a stack of blocks over any graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Complete, Graph
from edgewise.models.card import Card
from edgewise.models.transformers.transformer_block import BlockSettings, transformer_block
from edgewise.nn import KVCache
from edgewise.nn.blocks.norm import norm_named
from edgewise.nn.checks import check_features, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "Encoder"]


class Encoder(Layer):
    r"""A stack of equal blocks over one graph.

    .. math::  h = \mathrm{norm} \, (B_L \circ \dots \circ B_1)(x, G)

    Over `Complete` it is the encoder of a Transformer, over `Causal` a language model without its
    embeddings, over an `EdgeList` a graph Transformer, over `Blocks` an encoder of texts of
    different lengths side by side, without padding.

    Args:
        dim: Features of every node.
        heads: Attention heads.
        layers: Blocks.
        final_norm: Whether a norm follows the last block; for ``order="pre"``, if left out.
        settings: Those of `transformer_block`: ``hidden``, ``activation``, ``norm``, ``order``,
            ``residual``, ``norm_eps``, ``bias``, three rates of dropout, and what its attention
            takes (``head_dim``, ``kv_heads``, ``edge_dim``, ``scale``, ``rotary``).
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - graph: ``N`` nodes; `Complete` when left out.
        - caches: one `KVCache` a block, for calls that go on where the last one stopped.
        - given: what all mixers take besides: ``edge``, ``bias``, ``positions``.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: a setting that the block refuses, or another number of caches than blocks.
        ShapeError: ``x`` has another number of features, or of nodes than the graph.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks
        >>> model = Encoder(16, heads=4, layers=2)
        >>> model(torch.randn(2, 7, 16)).shape
        torch.Size([2, 7, 16])
        >>> model(torch.randn(7, 16), Blocks([3, 4])).shape  # two sentences
        torch.Size([7, 16])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.1.
        Xiong et al. On Layer Normalization in the Transformer Architecture. 2020,
        arXiv:2002.04745, section 3 (the final norm of pre-norm).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        *,
        final_norm: bool | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **settings: Unpack[BlockSettings],
    ) -> None:
        super().__init__()
        made = factory("Encoder", device, dtype)
        self.dim = check_size("Encoder", "dim", dim)
        check_size("Encoder", "layers", layers, 0)
        self.blocks = nn.ModuleList(
            transformer_block(dim, heads, **settings, **made) for _ in range(layers)
        )
        if final_norm is None:
            final_norm = settings.get("order", "pre") == "pre"
        norm = settings.get("norm", "layer") if final_norm else None
        self.norm = norm_named("Encoder", norm, dim, settings.get("norm_eps"), **made)
        self.rotary = settings.get("rotary") is not None

    def forward(
        self,
        x: Tensor,
        graph: Graph | None = None,
        *,
        caches: Sequence[KVCache] | None = None,
        **given: Any,
    ) -> Tensor:
        check_features("Encoder", "x", x, self.dim, "dim")
        if caches is not None and len(caches) != len(self.blocks):
            raise ArgumentError(
                f"Encoder: caches must be one for each of the {len(self.blocks)} blocks, got "
                f"{len(caches)}. Use [KVCache() for _ in range({len(self.blocks)})]."
            )
        if graph is None:
            graph = Complete(x.shape[-2])
        for number, block in enumerate(self.blocks):
            cache = {} if caches is None else {"cache": caches[number]}
            x = block(x, graph, **cache, **given)
        return self.norm(x)

    def extra_repr(self) -> str:
        return f"{self.dim}, layers={len(self.blocks)}"


CARD = Card(
    "Transformer encoder",
    "Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.1",
    r"x \leftarrow \mathrm{norm}(x + \mathrm{attention}(x, G)), \quad"
    r" x \leftarrow \mathrm{norm}(x + W_2 \, \mathrm{relu}(W_1 x))",
    'Encoder(32, heads=4, layers=2, order="post")',
    "Queries, keys and values start on their own, as Xavier uniform; torch's layer draws the three "
    "as one matrix. The default is pre-norm, which trains without warm-up.",
    "model(torch.randn(2, 7, 32))",
)
