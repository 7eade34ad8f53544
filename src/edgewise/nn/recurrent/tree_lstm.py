"""Recurrences along trees: the child-sum and the N-ary Tree-LSTM, a whole forest at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, GraphError, ShapeError
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import can_be_checked, check_features, check_nodes, check_size
from edgewise.nn.layer import Layer, factory
from edgewise.nn.recurrent.tree_levels import Forest, forest

__all__ = ["ChildSumTreeLSTM", "NaryTreeLSTM"]

State = tuple[Tensor, Tensor]
"""Hidden state and memory cell of some nodes: each ``[*batch, nodes, out_dim]``."""


class ChildSumTreeLSTM(Layer):
    r"""An LSTM from the leaves of trees to their roots, whose children are an unordered set.

    .. math::
        \tilde h_j &= \sum_{k \in C(j)} h_k \\
        i_j, o_j &= \sigma(W x_j + U \tilde h_j + b), \qquad
        u_j = \tanh(W_u x_j + U_u \tilde h_j + b_u) \\
        f_{jk} &= \sigma(W_f x_j + U_f h_k + b_f) \quad \text{for every child } k \\
        c_j &= i_j \odot u_j + \sum_{k \in C(j)} f_{jk} \odot c_k, \qquad
        h_j = o_j \odot \tanh(c_j)

    Edges point from child to parent. All nodes of one depth are computed together, over all
    trees of the forest, deepest first: so a batch of thousands of trees takes as many steps as
    its deepest tree has levels.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after, and memory cells.
        bias: Whether the gates have a bias.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating.
        - result: ``[*batch, N, out_dim]``, the ``h`` of every node; that of a root stands
          for its whole tree.

    The rows of ``in_proj`` are the gates input, forget, update and output, in the order of
    `torch.nn.LSTM`; those of ``hidden_proj`` are input, update and output.

    Raises:
        ArgumentError: a size out of range.
        GraphError: the graph is not square, a node has two parents, or there is a cycle.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to ``x`` and the parameters, any number of times.

    Complexity: O(N (in_dim + out_dim) out_dim) time, O(N out_dim) memory, in as many steps as the
        deepest tree has levels.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> children_to_parents = EdgeList([[0, 1, 2, 3], [2, 2, 4, 4]], num_nodes=5)
        >>> ChildSumTreeLSTM(8, 16)(torch.randn(5, 8), children_to_parents).shape
        torch.Size([5, 16])

    References:
        Tai, Socher, Manning. Improved Semantic Representations From Tree-Structured Long
        Short-Term Memory Networks. 2015, arXiv:1503.00075, section 3.1.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("ChildSumTreeLSTM", device, dtype)
        self.in_dim = check_size("ChildSumTreeLSTM", "in_dim", in_dim)
        self.out_dim = check_size("ChildSumTreeLSTM", "out_dim", out_dim)
        self.in_proj = nn.Linear(in_dim, 4 * out_dim, bias=bias, **made)
        self.hidden_proj = nn.Linear(out_dim, 3 * out_dim, bias=False, **made)
        self.forget_proj = nn.Linear(out_dim, out_dim, bias=False, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (uniform, up to ``1 / sqrt(out_dim)``), as `torch.nn.LSTM` does."""
        _reset(self, self.out_dim)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        trees = _forest("ChildSumTreeLSTM", x, graph, self.in_dim)
        gates = self.in_proj(x.index_select(-2, trees.order))
        return _climb(trees, gates, trees.row, self._step)

    def _step(self, gates: Tensor, h: Tensor, c: Tensor, parent: Tensor) -> State:
        i, f, u, o = gates.chunk(4, -1)
        f = (f.index_select(-2, parent) + self.forget_proj(h)).sigmoid()
        both = gates.new_zeros(*gates.shape[:-1], 2 * self.out_dim)
        both = both.index_add(-2, parent, torch.cat([h, f * c], -1))
        total, kept = both.chunk(2, -1)
        hidden_i, hidden_u, hidden_o = self.hidden_proj(total).chunk(3, -1)
        return _cell(i + hidden_i, u + hidden_u, o + hidden_o, kept)

    def extra_repr(self) -> str:
        return f"{self.in_dim}, {self.out_dim}"


class NaryTreeLSTM(Layer):
    r"""An LSTM from the leaves of trees to their roots, with weights for each place of a child.

    .. math::
        i_j, o_j &= \sigma\Big(W x_j + \sum_l U_l h_{jl} + b\Big), \qquad
        u_j = \tanh\Big(W_u x_j + \sum_l U_{u,l} h_{jl} + b_u\Big) \\
        f_{jk} &= \sigma\Big(W_f x_j + \sum_l U_{f,kl} h_{jl} + b_f\Big)
        \quad \text{for every place } k \\
        c_j &= i_j \odot u_j + \sum_l f_{jl} \odot c_{jl}, \qquad h_j = o_j \odot \tanh(c_j)

    Edges point from child to parent. The children of a node stand in the order of its edges,
    unless ``child_position`` gives the place of each: a binary node may then have a right child
    alone.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after, and memory cells.
        arity: Children of a node at most; 2 for binarized constituency trees.
        bias: Whether the gates have a bias.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating.
        - child_position: place of each child below its parent, ``[E]``, whole numbers from 0 to
          ``arity - 1``, in edge order; counted along the edges of each parent when left out.
        - result: ``[*batch, N, out_dim]``, the ``h`` of every node.

    The rows of ``in_proj`` are the gates input, forget, update and output, in the order of
    `torch.nn.LSTM`; those of ``hidden_proj`` are input, update, output and the forget gates of
    all places, and its columns the children, place after place.

    Raises:
        ArgumentError: a size out of range, places that are no places, or two children in one.
        GraphError: the graph is not square, a node has two parents or more than ``arity``
            children, or there is a cycle.
        ShapeError: features, nodes or places that do not fit the layer or the graph.

    Gradients: to ``x`` and the parameters, any number of times.

    Complexity: O(N out_dim (in_dim + arity^2 out_dim)) time, O(N arity out_dim) memory, in as
        many steps as the deepest tree has levels.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> left_then_right = EdgeList([[0, 1, 2, 3], [2, 2, 4, 4]], num_nodes=5)
        >>> NaryTreeLSTM(8, 16)(torch.randn(5, 8), left_then_right).shape
        torch.Size([5, 16])

    References:
        Tai, Socher, Manning. Improved Semantic Representations From Tree-Structured Long
        Short-Term Memory Networks. 2015, arXiv:1503.00075, section 3.2.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        arity: int = 2,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("NaryTreeLSTM", device, dtype)
        self.in_dim = check_size("NaryTreeLSTM", "in_dim", in_dim)
        self.out_dim = check_size("NaryTreeLSTM", "out_dim", out_dim)
        self.arity = check_size("NaryTreeLSTM", "arity", arity)
        self.in_proj = nn.Linear(in_dim, 4 * out_dim, bias=bias, **made)
        self.hidden_proj = nn.Linear(arity * out_dim, (3 + arity) * out_dim, bias=False, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (uniform, up to ``1 / sqrt(out_dim)``), as `torch.nn.LSTM` does."""
        _reset(self, self.out_dim)

    def forward(
        self, x: Tensor, graph: Graph, *, child_position: Tensor | None = None, **others: Never
    ) -> Tensor:
        if others:
            refuse("NaryTreeLSTM", others, "child_position")
        trees = _forest("NaryTreeLSTM", x, graph, self.in_dim)
        places = trees.sibling if child_position is None else self._checked(trees, child_position)
        if child_position is None and trees.most_children > self.arity:
            raise GraphError(
                f"NaryTreeLSTM: a node must have arity={self.arity} children at most, got one "
                f"with {trees.most_children}. Build the layer with arity={trees.most_children}, "
                f"or use ChildSumTreeLSTM."
            )
        gates = self.in_proj(x.index_select(-2, trees.order))
        return _climb(trees, gates, trees.row * self.arity + places, self._step)

    def _step(self, gates: Tensor, h: Tensor, c: Tensor, slot: Tensor) -> State:
        i, f, u, o = gates.chunk(4, -1)
        nodes, size = gates.shape[-2], self.out_dim
        both = gates.new_zeros(*gates.shape[:-2], nodes * self.arity, 2 * size)
        both = both.index_copy(-2, slot, torch.cat([h, c], -1)).unflatten(-2, (nodes, self.arity))
        h, c = both.chunk(2, -1)
        hidden = self.hidden_proj(h.flatten(-2))
        hidden_i, hidden_u, hidden_o, hidden_f = hidden.split(
            [size, size, size, self.arity * size], -1
        )
        f = (f[..., None, :] + hidden_f.unflatten(-1, (self.arity, size))).sigmoid()
        return _cell(i + hidden_i, u + hidden_u, o + hidden_o, (f * c).sum(-2))

    def _checked(self, trees: Forest, given: Tensor) -> Tensor:
        """Places that were given, in the order of the levels: ``[E]``."""
        if given.shape != trees.edge.shape:
            raise ShapeError(
                f"NaryTreeLSTM: child_position holds the place of each child, so it must have "
                f"shape [edges] = {list(trees.edge.shape)}, got {list(given.shape)}. All batch "
                f"entries share it."
            )
        if given.is_floating_point() or given.dtype == torch.bool:
            raise ArgumentError(
                f"NaryTreeLSTM: child_position must hold whole numbers, got {given.dtype}. Convert "
                f"it with child_position.long()."
            )
        if not can_be_checked(given):
            return given.long().index_select(0, trees.edge)
        outside = given[(given < 0) | (given >= self.arity)]
        if outside.numel():
            raise ArgumentError(
                f"NaryTreeLSTM: every child_position must be at least 0 and below "
                f"arity={self.arity}, got {int(outside[0])}. Count from 0, or raise arity."
            )
        places = given.long().index_select(0, trees.edge)
        taken = torch.bincount(trees.parent * self.arity + places)
        if bool((taken > 1).any()):
            node = int(trees.order[int(taken.argmax()) // self.arity])
            raise ArgumentError(
                f"NaryTreeLSTM: every child_position must be taken once below a parent, got "
                f"{int(taken.max())} children in one place below node {node}. Number them."
            )
        return places

    def extra_repr(self) -> str:
        return f"{self.in_dim}, {self.out_dim}, arity={self.arity}"


def _climb(
    trees: Forest,
    gates: Tensor,
    links: Tensor,
    step: Callable[[Tensor, Tensor, Tensor, Tensor], State],
) -> Tensor:
    """Go from the leaves to the roots, level by level: ``[*batch, N, out_dim]``.

    Args:
        trees: The levels.
        gates: The nodes' own terms of the four gates, in the order of the levels:
            ``[*batch, N, 4 * out_dim]``.
        links: From each child to its parent, in the order of the levels: ``[E]``.
        step: From the gate terms of a level's inner nodes, their children's states and the links
            between them, to the states of the inner nodes.
    """
    inner, leaf = gates.split([trees.num_inner, gates.shape[-2] - trees.num_inner], -2)
    i, _, u, o = leaf.chunk(4, -1)
    leaf_h, leaf_c = _cell(i, u, o)  # of all leaves at once: they depend on no child
    leaves = zip(leaf_h.split(trees.leaves, -2), leaf_c.split(trees.leaves, -2), strict=True)
    states: list[Tensor] = []
    below: State | None = None
    levels = inner.split(trees.inner, -2)
    for here, link, beside in zip(levels[1:], links.split(trees.children), leaves, strict=False):
        below = beside if below is None else _together(below, beside)
        below = step(here, *below, link)
        states.append(below[0])
    return torch.cat([*states, leaf_h], -2).index_select(-2, trees.place)


def _together(inner: State, leaves: State) -> State:
    """The state of a whole level."""
    return torch.cat([inner[0], leaves[0]], -2), torch.cat([inner[1], leaves[1]], -2)


def _cell(i: Tensor, u: Tensor, o: Tensor, kept: Tensor | None = None) -> State:
    """The new state from the gates before their activations, and what is kept of the children's."""
    c = i.sigmoid() * u.tanh()
    c = c if kept is None else c + kept
    return o.sigmoid() * c.tanh(), c


def _forest(owner: str, x: Tensor, graph: Graph, in_dim: int) -> Forest:
    check_features(owner, "x", x, in_dim, "in_dim")
    trees = forest(owner, graph, x.device)
    check_nodes(owner, x, graph)
    return trees


def _reset(layer: nn.Module, out_dim: int) -> None:
    bound = out_dim**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound)
