"""Decoder of a Transformer: blocks of self-attention and blocks that attend to a memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Causal, Complete, Graph
from edgewise.models.transformers.transformer_block import BlockSettings, transformer_block
from edgewise.nn import KVCache
from edgewise.nn.blocks.norm import norm_named
from edgewise.nn.checks import check_features, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["Caches", "Decoder"]

Caches = Sequence[tuple[KVCache, KVCache]]


class Decoder(Layer):
    r"""Pairs of blocks: one along the graph of the targets, one along edges from a memory.

    .. math::  x \leftarrow B^{self}_l(x, G), \qquad
        x \leftarrow B^{cross}_l(x, G^{cross}; \text{source} = \text{memory})

    The first block of a pair has no MLP, so a pair is the decoder layer of a Transformer.

    Args:
        dim: Features of every node.
        heads: Attention heads.
        layers: Pairs of blocks.
        source_dim: Features of the memory; ``dim`` when left out.
        final_norm: Whether a norm follows the last block; for ``order="pre"``, if left out.
        settings: Those of `transformer_block`; ``rotary`` turns within the targets alone.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating.
        - memory: ``[*batch, S, source_dim]``, as an encoder returns it.
        - graph: among the targets; `Causal` when left out.
        - cross: from memory to targets, ``T`` by ``S``; `Complete` when left out. A batch of
            texts of different lengths is ``Blocks(target_sizes, source_sizes)``.
        - positions: ``[*batch, T]`` or ``[T]``, for ``rotary``.
        - caches: from `caches`, to go on where the last call stopped. What a cache holds of the
            memory is read, and the memory not projected again.
        - result: ``[*batch, T, dim]``.

    Raises:
        ArgumentError: a setting that a block refuses, or another number of caches than pairs.
        ShapeError: features or nodes that do not fit.

    Example:
        >>> import torch
        >>> model = Decoder(16, heads=4, layers=2)
        >>> model(torch.randn(2, 5, 16), torch.randn(2, 7, 16)).shape
        torch.Size([2, 5, 16])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.1.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        *,
        source_dim: int | None = None,
        final_norm: bool | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **settings: Unpack[BlockSettings],
    ) -> None:
        super().__init__()
        made = factory("Decoder", device, dtype)
        self.dim = check_size("Decoder", "dim", dim)
        check_size("Decoder", "layers", layers, 0)
        of_self: BlockSettings = {**settings, "activation": None}
        of_memory: BlockSettings = {**settings, "rotary": None}
        self.self_blocks = nn.ModuleList(
            transformer_block(dim, heads, **of_self, **made) for _ in range(layers)
        )
        self.cross_blocks = nn.ModuleList(
            transformer_block(dim, heads, source_dim=source_dim, **of_memory, **made)
            for _ in range(layers)
        )
        if final_norm is None:
            final_norm = settings.get("order", "pre") == "pre"
        norm = settings.get("norm", "layer") if final_norm else None
        self.norm = norm_named("Decoder", norm, dim, settings.get("norm_eps"), **made)
        self.rotary = settings.get("rotary") is not None

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        graph: Graph | None = None,
        cross: Graph | None = None,
        *,
        positions: Tensor | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        check_features("Decoder", "x", x, self.dim, "dim")
        layers = len(self.self_blocks)
        if caches is not None and len(caches) != layers:
            raise ArgumentError(
                f"Decoder: caches must be one pair for each of the {layers} layers, got "
                f"{len(caches)}. Use model.caches()."
            )
        T = x.shape[-2]
        first = caches[0][0].length if caches else 0
        graph = Causal(T, first + T) if graph is None else graph
        cross = Complete(T, memory.shape[-2]) if cross is None else cross
        given = {} if positions is None else {"positions": positions}
        for number in range(layers):
            of_self, of_memory = (None, None) if caches is None else caches[number]
            projected = of_memory is not None and of_memory.length > 0
            source = memory[..., :0, :] if projected else memory
            x = self.self_blocks[number](x, graph, cache=of_self, **given)
            x = self.cross_blocks[number](x, cross, source=source, cache=of_memory)
        return self.norm(x)

    def caches(self) -> list[tuple[KVCache, KVCache]]:
        """Empty caches, a pair a layer: of the targets so far, and of the memory."""
        return [(KVCache(), KVCache()) for _ in self.self_blocks]

    def extra_repr(self) -> str:
        return f"{self.dim}, layers={len(self.self_blocks)}"
