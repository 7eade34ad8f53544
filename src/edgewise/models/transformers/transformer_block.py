"""The block of a Transformer by its settings: attention and MLP, in whatever order and norm."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch.types import Device

from edgewise.nn import MLP, Block, DotAttention, Rotary
from edgewise.nn.layer import factory

__all__ = ["BlockSettings", "transformer_block"]


class BlockSettings(TypedDict, total=False):
    """What `transformer_block` takes by name, for models that are stacks of them."""

    hidden: int | None
    activation: str | None
    norm: str | None
    order: str
    residual: bool
    norm_eps: float | None
    bias: bool
    dropout: float
    attention_dropout: float
    hidden_dropout: float
    head_dim: int | None
    kv_heads: int | None
    edge_dim: int | None
    scale: float | None
    rotary: Rotary | None


def transformer_block(
    dim: int,
    heads: int,
    *,
    hidden: int | None = None,
    activation: str | None = "relu",
    norm: str | None = "layer",
    order: str = "pre",
    residual: bool = True,
    norm_eps: float | None = None,
    bias: bool = True,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    head_dim: int | None = None,
    kv_heads: int | None = None,
    edge_dim: int | None = None,
    scale: float | None = None,
    rotary: Rotary | None = None,
    source_dim: int | None = None,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> Block:
    """`DotAttention` and an `MLP` in a `Block`: a layer of every Transformer there is.

    ====================  =======  ======  ==================  =========================
    layer                 norm     order   activation          besides
    ====================  =======  ======  ==================  =========================
    Transformer (2017)    layer    post    relu
    BERT                  layer    post    gelu                ``norm_eps=1e-12``
    GPT-2                 layer    pre     gelu_tanh
    Llama                 rms      pre     swiglu              ``bias=False``, ``rotary``
    ViT                   layer    pre     gelu                ``norm_eps=1e-6``
    ReZero                None     rezero  relu
    Graph Transformer     batch    post    relu                ``hidden=2 * dim``
    ====================  =======  ======  ==================  =========================

    Args:
        dim: Features of every node.
        heads: Attention heads.
        hidden: Hidden features of the MLP; ``4 * dim`` when left out.
        activation: Of the MLP, as in `MLP`; None for a block without one.
        norm: ``"layer"``, ``"rms"``, ``"batch"`` or None.
        order: ``"pre"``, ``"post"`` or ``"rezero"``, as in `Block`.
        residual: Whether what goes into attention and MLP is added to what comes out.
        norm_eps: Added to the variance in the norms; 1e-5 when left out.
        bias: Whether projections of attention and MLP have a bias.
        dropout: Share dropped of what attention and MLP return.
        attention_dropout: Share dropped of the attention weights.
        hidden_dropout: Share dropped of the hidden features of the MLP.
        head_dim: Features of each head; ``dim / heads`` when left out.
        kv_heads: Heads of keys and values; as many as ``heads`` when left out.
        edge_dim: Features of every edge; None for none.
        scale: Factor of the dot products; ``1 / sqrt(head_dim)`` when left out.
        rotary: Turns queries and keys by position; None for no turning.
        source_dim: Features of ``source``, for cross-attention; ``dim`` when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Raises:
        ArgumentError: a setting that the block, its attention or its MLP refuses.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Complete
        >>> block = transformer_block(16, heads=4, order="post", activation="gelu")
        >>> block(torch.randn(2, 7, 16), Complete(7)).shape
        torch.Size([2, 7, 16])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.1.
    """
    made = factory("transformer_block", device, dtype)
    attention = DotAttention(
        dim,
        heads,
        head_dim=head_dim,
        kv_heads=kv_heads,
        edge_dim=edge_dim,
        bias=bias,
        dropout=attention_dropout,
        scale=scale,
        source_dim=source_dim,
        rotary=rotary,
        **made,
    )
    mlp = None
    if activation is not None:
        hidden = 4 * dim if hidden is None else hidden
        mlp = MLP(dim, hidden, activation=activation, dropout=hidden_dropout, bias=bias, **made)
    return Block(
        attention,
        dim,
        norm=norm,
        order=order,
        residual=residual,
        mlp=mlp,
        dropout=dropout,
        norm_eps=norm_eps,
        **made,
    )
