"""Classifiers of trees: a Tree-LSTM and a linear map of every node."""

from __future__ import annotations

from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.sequence.word_embedding import WordEmbedding
from edgewise.nn import ChildSumTreeLSTM, NaryTreeLSTM
from edgewise.nn.argument_names import refuse, without_none
from edgewise.nn.checks import check_rate, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "NARY_CARD", "TreeClassifier"]


class TreeClassifier(Layer):
    r"""Predict the class of every node of a tree, which stands for the phrase below it.

    .. math::
        p(y_j) = \mathrm{softmax}(W h_j + b), \qquad h = \text{Tree-LSTM}(E_{\text{words}}, G)

    In a constituency tree the leaves have words and the inner nodes have none; in a dependency
    tree every node has one.

    Args:
        num_words: Words of the vocabulary.
        dim: Features of each word.
        hidden: Features of each node's state.
        out_dim: Classes.
        arity: Children of a node at most, for the N-ary Tree-LSTM (2 for binary trees); the
            child-sum Tree-LSTM when left out.
        dropout: Share dropped from the words' features and from the states.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - words: ``[*batch, N]``, whole numbers; -1 for a node without a word.
        - graph: edges from child to parent; the trees of a batch as a `disjoint_union`.
        - child_position: place of each child, ``[E]``, as in `NaryTreeLSTM`; only with
            ``arity``.
        - result: ``[*batch, N, out_dim]``, without the softmax.

    Raises:
        ArgumentError: a size or share out of range, or a number that is no word.
        GraphError: the graph is not a forest.

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> model = TreeClassifier(100, 8, 16, out_dim=5, arity=2)
        >>> tree = EdgeList([[1, 2], [0, 0]], num_nodes=3)
        >>> model(torch.tensor([-1, 42, 7]), tree).shape
        torch.Size([3, 5])

    References:
        Tai, Socher, Manning. Improved Semantic Representations From Tree-Structured Long
        Short-Term Memory Networks. 2015, arXiv:1503.00075, section 4.1.
    """

    def __init__(
        self,
        num_words: int,
        dim: int,
        hidden: int,
        out_dim: int,
        *,
        arity: int | None = None,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("TreeClassifier", device, dtype)
        self.num_words, self.dim, self.hidden = num_words, dim, hidden
        self.out_dim, self.arity = out_dim, arity
        self.words = WordEmbedding(num_words, dim, **made)
        self.tree = (
            ChildSumTreeLSTM(dim, hidden, **made)
            if arity is None
            else NaryTreeLSTM(dim, hidden, arity=arity, **made)
        )
        self.dropout = nn.Dropout(check_rate("TreeClassifier", "dropout", dropout))
        self.head = nn.Linear(hidden, check_size("TreeClassifier", "out_dim", out_dim), **made)

    def forward(
        self,
        words: Tensor,
        graph: Graph,
        *,
        child_position: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("TreeClassifier", others, "child_position")
        x = self.dropout(self.words(words))
        given = without_none(child_position=child_position)
        return self.head(self.dropout(self.tree(x, graph, **given)))

    def extra_repr(self) -> str:
        return f"{self.num_words}, {self.dim}, {self.hidden}, {self.out_dim}, arity={self.arity}"


_TAI = (
    "Tai, Socher, Manning. Improved Semantic Representations From Tree-Structured Long Short-Term "
    "Memory Networks. 2015, arXiv:1503.00075, "
)

CARD = Card(
    name="Child-Sum Tree-LSTM",
    paper=f"{_TAI}sections 3.1 and 4.1.",
    equation=r"c_j = i_j \odot u_j + \sum_{k \in C(j)} f_{jk} \odot c_k, \quad h_j = o_j \odot"
    r" \tanh(c_j), \quad f_{jk} = \sigma(W_f x_j + U_f h_k + b_f)",
    setting="TreeClassifier(100, 8, 16, out_dim=5)",
    differences="Words start from random vectors; the paper's start from GloVe.",
    call="model(torch.tensor([3, 42, 7]), EdgeList([[1, 2], [0, 0]], num_nodes=3))",
)

NARY_CARD = Card(
    name="N-ary Tree-LSTM",
    paper=f"{_TAI}sections 3.2 and 4.1.",
    equation=r"c_j = i_j \odot u_j + \sum_l f_{jl} \odot c_{jl}, \quad h_j = o_j \odot \tanh(c_j),"
    r" \quad f_{jk} = \sigma\Big(W_f x_j + \sum_l U_{f,kl} h_{jl} + b_f\Big)",
    setting="TreeClassifier(100, 8, 16, out_dim=5, arity=2)",
    differences="Words start from random vectors; the paper's start from GloVe. The paper lets "
    "inner nodes of a constituency tree have no input term; here their word is a vector of zeros, "
    "which leaves the bias alone.",
    call="model(torch.tensor([-1, 42, 7]), EdgeList([[1, 2], [0, 0]], num_nodes=3))",
)
