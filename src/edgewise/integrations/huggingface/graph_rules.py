"""Rules: the graph of a pretrained model, for every number of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from edgewise.errors import ArgumentError, GraphError
from edgewise.graphs import (
    Causal,
    Complete,
    Difference,
    EdgeList,
    Graph,
    Intersection,
    Union,
    Window,
    induced,
    read_graph,
)
from edgewise.layouts import edges

__all__ = ["Rule", "both", "newest"]

_EXAMPLE = '"Window(n, left=64, right=64) | Hubs(n, [0])"'
_KINDS = ("edges", "parents", "graphs")


@dataclass(frozen=True)
class Rule:
    """A graph for every number of tokens.

    ===========================================  ================================================
    value                                        graph of an example with ``n`` tokens
    ===========================================  ================================================
    ``"Window(n, left=n // 4, right=n - 1)"``    any text of `read_graph`, ``n`` for the tokens
    ``{"edges": [[sources, targets], ..]}``      those edges, one ``[2, E]`` for each example:
                                                 lists, tensors or arrays
    a tensor or array ``[2, E]``                 those edges, in every example
    ``{"parents": [[1, 1, 1], ...]}``            a tree: each token, its parent and its children
    ``{"graphs": [[n, sources, targets], ..]}``  a graph of ``n`` nodes for each example
    ``[graph, ...]``                             one graph for each example
    a graph                                      that graph, in every example
    a function of ``n``                          the graph that it returns; it cannot be compiled,
                                                 exported or saved
    ===========================================  ================================================

    A rule is a set of edges, so copies of an edge count once.

    Attributes:
        text: A text with ``n``, or the JSON form of edges, parents and graphs.
        graphs: Graphs: one for each example, or one for all.
        function: Function from ``n`` to a graph.

    Example:
        >>> Rule.read("Window(n, left=1, right=0) | Hubs(n, [0])").of(5, 0, 1)
        (Window(5, left=1, right=0) | Hubs(5, [0]))
        >>> Rule.read({"parents": [[1, 1, 1]]}).of(3, 0, 1).num_edges
        7
    """

    text: str = ""
    graphs: tuple[Graph, ...] = ()
    function: Callable[[int], Graph] | None = None
    examples: Sequence[Any] | None = field(default=None, compare=False)

    @classmethod
    def read(cls, value: object) -> Rule:
        """The rule of a value of the table above.

        Raises:
            ArgumentError: the value has another type.
            GraphError: it gives no graph.
        """
        match value:
            case Rule():
                return value
            case Graph():
                return cls(graphs=(value,))
            case str():
                return _of_text(value)
            case Mapping() if len(value) == 1 and next(iter(value)) in _KINDS:
                kind, examples = next(iter(value.items()))
                return _of_examples(str(kind), examples)
            case list() | tuple() if value and all(isinstance(each, Graph) for each in value):
                return cls(graphs=tuple(value), examples=tuple(value))
            case _ if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 2:
                return _of_examples("edges", [value])
            case _ if callable(value):
                return cls(function=cast(Callable[[int], Graph], value))
            case _:
                pass
        raise ArgumentError(
            f"graph: a rule must be a text with n, {{'edges': ...}}, {{'parents': ...}}, a graph, a"
            f" list of graphs, edges [2, E] or a function of n, got {type(value).__name__}. Write "
            f"it like {_EXAMPLE}."
        )

    @property
    def alike(self) -> bool:
        """Whether examples of the same length have the same graph."""
        return self.examples is None or len(self.examples) == 1

    @property
    def source(self) -> str:
        """The rule as a text, for compiled code and files; `read` gives the rule again.

        Raises:
            ArgumentError: the rule is a function.
        """
        if self.function is not None:
            raise ArgumentError(
                "graph: a function of n cannot be compiled, exported or saved. Write the rule as a "
                f"text like {_EXAMPLE}, or as graphs."
            )
        return self.text or _source_of(self.graphs)

    def of(self, n: int, example: int, count: int) -> Graph:
        """The graph of an example.

        Args:
            n: Tokens of the example.
            example: Number of the example in the batch.
            count: Examples in the batch: a multiple of those in the rule, for beams.

        Raises:
            GraphError: the graph cannot exist, or has another number of nodes.
        """
        if self.examples is not None:
            return self._of_example(n, example, count)
        if self.graphs:
            return _sized(self.graphs[0], n)
        if self.function is not None:
            graph = self.function(n)
            if not isinstance(graph, Graph):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise GraphError(
                    f"graph: the function must return a graph for n={n}, got "
                    f"{type(graph).__name__}. Wrap edges in EdgeList."
                )
            return _sized(graph, n)
        return _sized(read_graph(self.text, {"n": n}), n)

    def _of_example(self, n: int, example: int, count: int) -> Graph:
        assert self.examples is not None
        size = len(self.examples)
        if not size or count % size:
            raise GraphError(
                f"graph: the rule has {size} examples but the batch has {count}. Give one for each."
            )
        entry = self.examples[example // (count // size)]
        if isinstance(entry, Graph):
            return _sized(entry, n)
        if self.text.startswith('{"edges"'):
            return _edge_list(entry, n)
        if self.text.startswith('{"graphs"'):
            return _sized(_edge_list(entry[1:], entry[0]), n)
        pairs = {(i, i) for i in range(len(entry))}
        pairs |= {(i, p) for i, p in enumerate(entry)} | {(p, i) for i, p in enumerate(entry)}
        return _sized(_edge_list(list(zip(*pairs, strict=True)), len(entry)), n)


def _edge_list(pairs: Sequence[Sequence[int]], n: int) -> EdgeList:
    """Edges ``[sources, targets]``, each once."""
    if len(pairs) != 2 or len(pairs[0]) != len(pairs[1]):
        sizes = [len(part) for part in pairs]
        raise GraphError(
            f"graph: edges of an example must be [sources, targets] of one length, got lengths "
            f"{sizes}. Transpose a list of pairs."
        )
    unique = sorted(set(zip(*pairs, strict=True)))
    return EdgeList([list(side) for side in zip(*unique, strict=True)] or [[], []], num_nodes=n)


@lru_cache(maxsize=256)
def _of_text(text: str) -> Rule:
    if text.startswith("{"):
        try:
            return Rule.read(json.loads(text))
        except (ValueError, RecursionError):
            raise ArgumentError(
                f"graph: a rule that begins with a brace must be JSON, got {text[:60]!r}. Write it "
                f'like {{"parents": [[1, 1, 1]]}}.'
            ) from None
    if re.search(r"\bn\b", text) is None:
        raise ArgumentError(
            f"graph: a rule must have n where the number of tokens belongs, got {text!r}. Write it "
            f"like {_EXAMPLE}."
        )
    rule = Rule(text)
    _check_odd_numbers(rule)
    return rule


def _check_odd_numbers(rule: Rule) -> None:
    """Refuse a rule that has graphs only for even numbers of tokens."""
    if "RandomRegular" not in rule.text:
        return
    try:
        rule.of(64, 0, 1)
    except GraphError:
        return  # it may need more tokens
    try:
        rule.of(65, 0, 1)
    except GraphError as error:
        raise GraphError(
            f"graph: {rule.text} has a graph for even numbers of tokens alone, and texts have odd "
            f"ones too ({error}). Choose an even degree."
        ) from None


def _of_examples(kind: str, examples: Any) -> Rule:
    listed = _lists(examples)
    if not isinstance(listed, list):
        raise ArgumentError(
            f"graph: {kind} must be a list with one entry for each example, got "
            f"{type(examples).__name__}. Put a single one into a list."
        )
    return Rule(json.dumps({kind: listed}), examples=tuple(listed))


def _lists(value: Any) -> Any:
    """Nested lists, tensors and arrays as lists of whole numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return [_lists(each) for each in value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(
            f"graph: edges and parents must be whole numbers, got {type(value).__name__} "
            f"{str(value)[:40]!r}. Convert them to integers."
        )
    return value


def _source_of(graphs: Sequence[Graph]) -> str:
    listed: list[Any] = []
    for each in graphs:
        all_edges = edges(each)
        listed.append([each.num_targets, all_edges.source.tolist(), all_edges.target.tolist()])
    return json.dumps({"graphs": listed})


def _sized(graph: Graph, n: int) -> Graph:
    if (graph.num_targets, graph.num_sources) != (n, n):
        raise GraphError(
            f"graph: the rule's graph has {graph.num_targets} x {graph.num_sources} nodes but the "
            f"example has {n} tokens. Write n where the number of tokens belongs."
        )
    if graph.may_repeat and not graph.facts().simple:
        return Intersection(graph, Complete(n))
    return graph


# --- Rules with models ----------------------------------------------------------------------------


def newest(whole: Graph, targets: int) -> Graph:
    """The last rows of a square graph: a step of a decoder with a cache.

    Example:
        >>> newest(Window(9, left=2, right=0) | Causal(9), 1)
        (Window(1, 9, left=2, right=0) | Causal(1, 9))
    """
    n = whole.num_sources
    match whole:
        case _ if targets == whole.num_targets:
            return whole
        case Complete() | Causal():
            return type(whole)(targets, n)
        case Window():
            return Window(targets, n, left=whole.left, right=whole.right)
        case Union():
            return newest(whole.a, targets) | newest(whole.b, targets)
        case Intersection():
            return newest(whole.a, targets) & newest(whole.b, targets)
        case Difference():
            return newest(whole.a, targets) - newest(whole.b, targets)
        case _:
            return induced(whole, targets=range(n - targets, n))


def both(model: Graph, rule: Graph) -> Graph:
    """The intersection of both graphs, simplified.

    Example:
        >>> both(Causal(9), Window(9, left=2, right=2) | Complete(9))
        (Window(9, left=2, right=0) | Causal(9))
    """
    if isinstance(model, Complete):
        return rule
    if isinstance(rule, Union):
        return both(model, rule.a) | both(model, rule.b)
    model_reach, rule_reach = _reach(model), _reach(rule)
    if model_reach is None or rule_reach is None:
        return model & rule
    T, S = rule.num_targets, rule.num_sources
    left, right = min(model_reach[0], rule_reach[0]), min(model_reach[1], rule_reach[1])
    if left >= S - 1 and right == 0:
        return Causal(T, S)
    return Window(T, S, left=left, right=right)


def _reach(graph: Graph) -> tuple[int, int] | None:
    match graph:
        case Complete():
            return graph.num_sources, graph.num_targets
        case Causal():
            return graph.num_sources, 0
        case Window():
            return graph.left, graph.right
        case _:
            return None
