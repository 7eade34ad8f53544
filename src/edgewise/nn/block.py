"""One block for the whole ladder, from a GNN layer to a Transformer layer."""

from __future__ import annotations

from torch import Tensor, nn

from edgewise.errors import ShapeError
from edgewise.graphs import Graph
from edgewise.nn.inputs import check_choice, check_features, check_rate, check_size
from edgewise.nn.norm import norm_named

__all__ = ["Block"]


class Block(nn.Module):
    r"""A mixer across nodes, then an MLP at every node, each with norm, dropout and residual.

    .. math::
        \text{pre:} \quad & x \leftarrow x + \mathrm{mixer}(\mathrm{norm}(x), G), \qquad
        x \leftarrow x + \mathrm{mlp}(\mathrm{norm}(x)) \\
        \text{post:} \quad & x \leftarrow \mathrm{norm}(x + \mathrm{mixer}(x, G)), \qquad
        x \leftarrow \mathrm{norm}(x + \mathrm{mlp}(x))

    ====================  ==================  =======  ======  =========  ====
    layer                 mixer               norm     order   residual   MLP
    ====================  ==================  =======  ======  =========  ====
    GCN                   `GCNConvolution`    None     --      no         None
    message passing       `GraphConvolution`  batch    post    yes        None
    GAT                   `GATAttention`      None     --      no         None
    Graph Transformer     `DotAttention`      batch    post    yes        relu
    Transformer (2017)    `DotAttention`      layer    post    yes        relu
    language model        `DotAttention`      rms      pre     yes        swiglu
    ====================  ==================  =======  ======  =========  ====

    Args:
        mixer: Any module called as ``mixer(x, graph, edge=edge)`` that keeps the shape of ``x``;
            without residual it may change the number of features from ``dim``, if nothing that
            follows it (MLP, post-norm) expects ``dim``.
        dim: Features of every node.
        norm: ``"layer"``, ``"rms"``, ``"batch"``, or None for no norm.
        order: ``"pre"``: norms stand before mixer and MLP; ``"post"``: after the residual.
        residual: Whether the input of mixer and MLP is added to what they return.
        mlp: Any module called as ``mlp(x)``, such as an `MLP`; None for a block without one.
        dropout: Share of features dropped, in training, from what mixer and MLP return.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - edge: whatever the mixer takes; usually ``[*batch | 1, E, edge_dim]``.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: an unknown norm or order, or a share out of range.
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
    ) -> None:
        super().__init__()
        check_choice("Block", "order", order, ("pre", "post"))
        self.dim = check_size("Block", "dim", dim)
        self.order = order
        self.residual = residual
        self.mixer_norm = norm_named("Block", norm, dim)
        self.mixer = mixer
        self.mlp_norm = None if mlp is None else norm_named("Block", norm, dim)
        self.mlp = mlp
        self.dropout = nn.Dropout(check_rate("Block", "dropout", dropout))

    def forward(self, x: Tensor, graph: Graph, *, edge: Tensor | None = None) -> Tensor:
        check_features("Block", "x", x, self.dim, "dim")
        pre = self.order == "pre"
        x = self._join(x, self.mixer(self.mixer_norm(x) if pre else x, graph, edge=edge))
        x = x if pre else self.mixer_norm(x)
        if self.mlp is None or self.mlp_norm is None:
            return x
        x = self._join(x, self.mlp(self.mlp_norm(x) if pre else x))
        return x if pre else self.mlp_norm(x)

    def _join(self, x: Tensor, y: Tensor) -> Tensor:
        """What mixer or MLP returned, after dropout, on top of what it was given."""
        y = self.dropout(y)
        if not self.residual:
            return y
        if y.shape != x.shape:  # adding would broadcast in silence
            raise ShapeError(
                f"Block: with residual=True mixer and mlp must keep the shape {list(x.shape)}, "
                f"got {list(y.shape)}. Let them return {x.shape[-1]} features, or pass "
                f"residual=False."
            )
        return x + y

    def extra_repr(self) -> str:
        return f"order={self.order!r}, residual={self.residual}"
