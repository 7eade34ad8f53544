"""Reader of dependency trees in CoNLL-U, the format of Universal Dependencies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from edgewise.errors import DataError
from edgewise.graphs import EdgeList
from edgewise.training.data.lines import read_lines

__all__ = ["Sentence", "read_conllu", "sentence_from"]

_COLUMNS = 10
_NOT_A_WORD = re.compile(r"\d+[-.]\d+")  # a token of many words (3-4), an empty node (5.1)


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence as its dependency tree.

    Attributes:
        words: Form of every word.
        tags: Universal part of speech of every word.
        heads: Number of the head of every word, from 0; -1 for the root.
        relations: Relation of every word to its head.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]

    @property
    def num_nodes(self) -> int:
        """Words ``N``."""
        return len(self.heads)

    @cached_property
    def graph(self) -> EdgeList:
        """Edges from every word to its head, by word."""
        heads = torch.tensor(self.heads, dtype=torch.int64)
        source = (heads >= 0).nonzero()[:, 0]
        return EdgeList(torch.stack([source, heads[source]]), num_nodes=self.num_nodes)


def read_conllu(path: Path) -> list[Sentence]:
    """Every sentence of a ``.conllu`` file, with or without ``.gz`` or ``.xz``.

    Comments, tokens of many words (``3-4``) and empty nodes (``5.1``) are left out; anything that
    is not a tree of words is refused, with the number of its line.

    Raises:
        DataError: the file is missing or damaged, or a sentence is not one tree.

    References:
        Nivre et al. Universal Dependencies v2. 2020, arXiv:2004.10643, section 2.
    """
    sentences: list[Sentence] = []
    lines: list[tuple[int, str]] = []
    for number, line in enumerate([*read_lines(path), ""], 1):
        if line.strip():
            lines.append((number, line))
        elif lines:
            first = lines[0][0]
            sentence = sentence_from([text for _, text in lines], str(path), first)
            if sentence is not None:
                sentences.append(sentence)
            lines = []
    return sentences


def sentence_from(lines: Sequence[str], place: str = "sentence", first: int = 1) -> Sentence | None:
    r"""The sentence of these lines; None if they are all comments.

    Args:
        lines: Lines of one sentence.
        place: Name of the file, for the message.
        first: Number of the first line, for the message.

    Raises:
        DataError: a line has another number of columns, words are not numbered one by one, a head
            is no word, or heads do not make one tree.

    Example:
        >>> rows = [["1", "She", "she", "PRON", "_", "_", "2", "nsubj", "_", "_"]]
        >>> rows += [["2", "reads", "read", "VERB", "_", "_", "0", "root", "_", "_"]]
        >>> sentence_from(["\t".join(row) for row in rows]).graph
        EdgeList([[0], [1]], num_nodes=2)
    """
    rows: list[list[str]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, first):
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != _COLUMNS:
            raise DataError(
                f"{place}, line {number}: expected {_COLUMNS} columns with tabs between them, got "
                f"{len(columns)}. Is it CoNLL-U?"
            )
        if _NOT_A_WORD.fullmatch(columns[0]):
            continue
        if columns[0] != str(len(rows) + 1):
            raise DataError(
                f"{place}, line {number}: expected word {len(rows) + 1}, got {columns[0]!r}. "
                f"Number the words of a sentence from 1."
            )
        rows.append(columns)
        numbers.append(number)
    if not rows:
        return None
    heads = tuple(
        _head(row[6], len(rows), f"{place}, line {n}") for row, n in zip(rows, numbers, strict=True)
    )
    _check_tree(heads, f"{place}, line {numbers[0]}")
    words, tags, relations = (tuple(row[column] for row in rows) for column in (1, 3, 7))
    return Sentence(words, tags, heads, relations)


def _head(text: str, count: int, place: str) -> int:
    """Number of the head, from 0, or -1 for the root."""
    if not text.isascii() or not text.isdigit() or int(text) > count:
        raise DataError(
            f"{place}: expected a head from 0 (the root) to {count}, got {text!r}. Heads are the "
            f"numbers of words."
        )
    return int(text) - 1


def _check_tree(heads: Sequence[int], place: str) -> None:
    """Check that heads form a tree: one root, and no cycle."""
    if heads.count(-1) != 1:
        raise DataError(
            f"{place}: expected one root in the sentence, got {heads.count(-1)}. Give one word "
            f"the head 0."
        )
    reaches = [head == -1 for head in heads]
    for start in range(len(heads)):
        word, path = start, list[int]()
        while not reaches[word]:
            if len(path) > len(heads):
                raise DataError(
                    f"{place}: expected a tree, got a cycle of heads through word {word + 1}. "
                    f"Let every word lead to the root."
                )
            path.append(word)
            word = heads[word]
        for passed in path:
            reaches[passed] = True
