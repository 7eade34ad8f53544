"""Reader of constituency trees in brackets, one a line: the format of the Penn Treebank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.graphs import EdgeList
from edgewise.training.data.lines import read_lines

__all__ = ["SENTIMENTS", "Tree", "read_trees", "tree_from"]

SENTIMENTS = ("0", "1", "2", "3", "4")
"""Labels of the Stanford Sentiment Treebank, from very negative to very positive."""

_TOKEN = re.compile(r"[()]|[^ \t()]+")  # other blanks may occur inside a word
_SHOWN = 40


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree with a label at every node, and a word at every leaf.

    Nodes are numbered as their brackets open: the root is 0, and children of one node rise from
    left to right.

    Attributes:
        words: Word of every node; None for an inner node.
        labels: Position of every node's label in the list of labels: ``[N]``, int64.
        parents: Parent of every node; -1 for the root.
    """

    words: tuple[str | None, ...]
    labels: Tensor
    parents: tuple[int, ...]

    @property
    def num_nodes(self) -> int:
        """Nodes ``N``."""
        return len(self.parents)

    @cached_property
    def graph(self) -> EdgeList:
        """Edges from child to parent, by child: so those of one parent are in reading order."""
        parents = torch.tensor(self.parents[1:], dtype=torch.int64)
        return EdgeList(
            torch.stack([torch.arange(1, self.num_nodes), parents]), num_nodes=self.num_nodes
        )


def read_trees(path: Path, labels: Sequence[str]) -> list[Tree]:
    """Every tree of a text file with one tree a line, UTF-8, with or without ``.gz`` or ``.xz``.

    A node is ``(label child child ...)`` or ``(label word)``. Empty lines are left out; anything
    else is refused, with the number of its line.

    Args:
        path: The file.
        labels: Every label that may occur, such as `SENTIMENTS`.

    Raises:
        DataError: the file is missing or damaged, or a line is not one tree.

    References:
        Socher et al. Recursive Deep Models for Semantic Compositionality Over a Sentiment
        Treebank. 2013, EMNLP (the Stanford Sentiment Treebank).
    """
    lines = enumerate(read_lines(path), 1)
    return [tree_from(line, labels, f"{path}, line {n}") for n, line in lines if line.strip()]


def tree_from(text: str, labels: Sequence[str], place: str = "tree") -> Tree:
    """The tree of a text in brackets.

    Args:
        text: One tree.
        labels: Every label that may occur.
        place: Source of the text, for the message.

    Raises:
        DataError: the text is not one tree.

    Complexity: O(length), without recursion: depth has no limit.

    Example:
        >>> tree = tree_from("(3 (2 not) (1 (2 too) (1 bad)))", SENTIMENTS)
        >>> tree.words, tree.labels.tolist()
        ((None, 'not', None, 'too', 'bad'), [3, 2, 1, 2, 1])
        >>> tree.graph
        EdgeList([[1, 2, 3, 4], [0, 0, 2, 2]], num_nodes=5)
    """
    number = {label: i for i, label in enumerate(labels)}
    words: list[str | None] = []
    label_numbers: list[int] = []
    parents: list[int] = []
    children: list[int] = []
    path: list[int] = []  # nodes whose bracket is open
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(text)]
    position = 0
    while position < len(tokens):
        token, at = tokens[position]
        if not path and parents:
            _refuse(place, text, at, "the end of the line after one tree")
        if token == "(":
            if path and words[path[-1]] is not None:
                _refuse(place, text, at, "a closing bracket after a word")
            label, at = tokens[position + 1] if position + 1 < len(tokens) else ("", len(text))
            if label not in number:
                _refuse(place, text, at, f"one of the labels {', '.join(labels)}")
            parents.append(path[-1] if path else -1)
            if path:
                children[path[-1]] += 1
            path.append(len(words))
            words.append(None)
            children.append(0)
            label_numbers.append(number[label])
            position += 1
        elif not path:
            _refuse(place, text, at, "an opening bracket")
        elif token == ")":
            if not children[path[-1]] and words[path[-1]] is None:
                _refuse(place, text, at, "a word or a child after the label")
            path.pop()
        elif children[path[-1]] or words[path[-1]] is not None:
            _refuse(place, text, at, "a bracket, because a node has one word or else children")
        else:
            words[path[-1]] = token
        position += 1
    if path or not parents:
        _refuse(place, text, len(text), "a closing bracket" if path else "a tree")
    return Tree(tuple(words), torch.tensor(label_numbers), tuple(parents))


def _refuse(place: str, text: str, at: int, expected: str) -> None:
    """Raise an error with the position, the expected token and the token in the text.

    Args:
        place: Source of the text.
        text: The text.
        at: Position of the error.
        expected: Description of the expected token.

    Raises:
        DataError: always.
    """
    rest = text[at:].strip()
    got = f"{rest[:_SHOWN]!r}{'...' * (len(rest) > _SHOWN)}" if rest else "the end of the line"
    raise DataError(
        f"{place}: expected {expected} at character {at + 1}, got {got}. Write a node as "
        f"(label child child ...) or (label word)."
    )
