"""Blocks: a layer and an MLP with residuals and norms, from GNN layers to Transformer layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Graph
from edgewise.nn.blocks.norm import norm_named
from edgewise.nn.checks import check_choice, check_features, check_rate, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["Block"]


class Block(Layer):
    r"""A mixer across nodes, then an MLP at every node, each with norm, dropout and residual.

    .. math::
        \text{pre:} \quad & x \leftarrow x + \mathrm{mixer}(\mathrm{norm}(x), G), \qquad
        x \leftarrow x + \mathrm{mlp}(\mathrm{norm}(x)) \\
        \text{post:} \quad & x \leftarrow \mathrm{norm}(x + \mathrm{mixer}(x, G)), \qquad
        x \leftarrow \mathrm{norm}(x + \mathrm{mlp}(x)) \\
        \text{rezero:} \quad & x \leftarrow x + \alpha \, \mathrm{mixer}(x, G), \qquad
        x \leftarrow x + \beta \, \mathrm{mlp}(x), \qquad \alpha = \beta = 0 \text{ at first}

    ====================  ==================  =======  ======  =========  ====
    layer                 mixer               norm     order   residual   MLP
    ====================  ==================  =======  ======  =========  ====
    GCN                   `GCNConvolution`    None     --      no         None
    message passing       `GraphConvolution`  batch    post    yes        None
    GAT                   `GATAttention`      None     --      no         None
    Graph Transformer     `DotAttention`      batch    post    yes        relu
    Transformer (2017)    `DotAttention`      layer    post    yes        relu
    language model        `DotAttention`      rms      pre     yes        swiglu
    ReZero Transformer    `DotAttention`      None     rezero  yes        relu
    ====================  ==================  =======  ======  =========  ====

    Args:
        mixer: Any module called as ``mixer(x, graph, **given)`` that keeps the shape of ``x``;
            without residual it may change the number of features from ``dim``, if nothing that
            follows it (MLP, post-norm) expects ``dim``.
        dim: Features of every node.
        norm: ``"layer"``, ``"rms"``, ``"batch"``, or None for no norm.
        order: ``"pre"``: norms stand before mixer and MLP; ``"post"``: after the residual;
            ``"rezero"``: what mixer and MLP return is scaled by learned numbers that start at 0
            (with ``norm=None``).
        residual: Whether the input of mixer and MLP is added to what they return.
        mlp: Any module called as ``mlp(x)``, such as an `MLP`; None for a block without one.
        dropout: Share of features dropped, in training, from what mixer and MLP return.
        norm_eps: Added to the variance in the norms; 1e-5 when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - given: whatever the mixer takes besides, passed on as it is: ``edge``, ``source``
            (which is not normalized), ``score_bias``, ``cache``.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: an unknown norm or order, two that do not fit, or a share out of range.
        ShapeError: ``x`` has another number of features, or a residual cannot be added.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Causal
        >>> from edgewise.nn import MLP, DotAttention
        >>> block = Block(DotAttention(16, heads=2), 16, norm="rms", mlp=MLP(16, 64))
        >>> block(torch.randn(2, 7, 16), Causal(7)).shape
        torch.Size([2, 7, 16])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.1 (post).
        Xiong et al. On Layer Normalization in the Transformer Architecture. 2020,
        arXiv:2002.04745, section 3 (pre).
        Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,
        arXiv:2012.09699, section 2.3.
        Bachlechner et al. ReZero is All You Need. 2020, arXiv:2003.04887, section 3.
    """

    def __init__(
        self,
        mixer: nn.Module,
        dim: int,
        *,
        norm: str | None = "layer",
        order: str = "pre",
        residual: bool = True,
        mlp: nn.Module | None = None,
        dropout: float = 0.0,
        norm_eps: float | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("Block", device, dtype)
        check_choice("Block", "order", order, ("pre", "post", "rezero"))
        if order == "rezero" and (norm is not None or not residual):
            raise ArgumentError(
                f"Block: order='rezero' is a residual without norm, got norm={norm!r} and "
                f"residual={residual}. Pass norm=None, residual=True."
            )
        self.dim = check_size("Block", "dim", dim)
        self.order = order
        self.residual = residual
        self.mixer_norm = norm_named("Block", norm, dim, norm_eps, **made)
        self.mixer = mixer
        self.mlp_norm = None if mlp is None else norm_named("Block", norm, dim, norm_eps, **made)
        self.mlp = mlp
        self.mixer_gate = self.mlp_gate = None
        if order == "rezero":
            self.mixer_gate = nn.Parameter(torch.zeros((), **made))
            self.mlp_gate = None if mlp is None else nn.Parameter(torch.zeros((), **made))
        self.dropout = nn.Dropout(check_rate("Block", "dropout", dropout))

    def reset_parameters(self) -> None:
        """Draw the weights of mixer, MLP and norms anew, and set the gates to zero."""
        super().reset_parameters()
        for gate in (self.mixer_gate, self.mlp_gate):
            if gate is not None:
                nn.init.zeros_(gate)

    def forward(self, x: Tensor, graph: Graph, **given: Any) -> Tensor:
        check_features("Block", "x", x, self.dim, "dim")
        pre = self.order == "pre"
        mixed = self.mixer(self.mixer_norm(x) if pre else x, graph, **given)
        x = self._join(x, mixed, self.mixer_gate)
        x = self.mixer_norm(x) if self.order == "post" else x
        if self.mlp is None or self.mlp_norm is None:
            return x
        x = self._join(x, self.mlp(self.mlp_norm(x) if pre else x), self.mlp_gate)
        return self.mlp_norm(x) if self.order == "post" else x

    def _join(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        """The result of mixer or MLP, after dropout, added to its input."""
        y = self.dropout(y)
        if not self.residual:
            return y
        if y.shape != x.shape:  # adding would broadcast in silence
            raise ShapeError(
                f"Block: with residual=True mixer and mlp must keep the shape {list(x.shape)}, "
                f"got {list(y.shape)}. Let them return {x.shape[-1]} features, or pass "
                f"residual=False."
            )
        return x + y if gate is None else x + gate * y

    def extra_repr(self) -> str:
        return f"{self.dim}, order={self.order!r}, residual={self.residual}"
