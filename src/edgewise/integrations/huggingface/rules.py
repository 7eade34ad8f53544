"""Rules: which graph a pretrained model runs on, for every number of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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

__all__ = ["Rule", "active_rule", "both", "graph", "newest", "rule_of"]

_EXAMPLE = '"Window(n, left=64, right=64) | Hubs(n, [0])"'
_KINDS = ("edges", "parents")


@dataclass(frozen=True)
class Rule:
    """A graph for every number of tokens: a text with ``n``, or edges for each example.

    ======================================  =====================================================
    JSON                                    graph of an example with ``n`` tokens
    ======================================  =====================================================
    ``"Window(n, left=64, right=64)"``      any text of `read_graph`, with ``n`` for the tokens
    ``{"edges": [[sources, targets], ..]}``  those edges, one pair of lists for each example
    ``{"parents": [[1, 1, 1], ...]}``       a tree: each token, its parent and its children
    ======================================  =====================================================

    Attributes:
        text: The JSON form as text; what two rules are compared by.
        fixed: A graph that was given as it is, for examples of as many tokens as it has nodes.

    Example:
        >>> Rule.read("Window(n, left=1, right=0) | Hubs(n, [0])").of(5, 0, 1)
        (Window(5, left=1, right=0) | Hubs(5, [0]))
        >>> Rule.read({"parents": [[1, 1, 1]]}).of(3, 0, 1).num_edges
        7
    """

    text: str
    fixed: Graph | None = None
    examples: Sequence[Any] | None = field(default=None, compare=False)

    @classmethod
    def read(cls, value: object) -> Rule:
        """The rule of a JSON value, a graph, or a rule.

        Raises:
            ArgumentError: it is something else.
        """
        match value:
            case Rule():
                return value
            case Graph():
                return cls("", fixed=value)
            case str():
                if re.search(r"\bn\b", value) is None:
                    raise ArgumentError(
                        f"graph: a rule must say n where the number of tokens belongs, got "
                        f"{value!r}. Write it like {_EXAMPLE}."
                    )
                return cls(value)
            case Mapping() if len(value) == 1 and next(iter(value)) in _KINDS:
                kind, examples = next(iter(value.items()))
                return cls(json.dumps({kind: examples}), examples=tuple(examples))
            case _:
                pass
        raise ArgumentError(
            f"graph: a rule must be a text with n, {{'edges': ...}}, {{'parents': ...}} or a graph,"
            f" got {type(value).__name__}. Write it like {_EXAMPLE}."
        )

    @property
    def alike(self) -> bool:
        """Whether examples of the same length have the same graph."""
        return self.examples is None

    def of(self, n: int, example: int, count: int) -> Graph:
        """The graph of one example.

        Args:
            n: Its tokens.
            example: Its number in the batch.
            count: Examples in the batch: a multiple of those in the rule, for beams.

        Raises:
            GraphError: the graph cannot exist, or has another number of nodes.
        """
        if self.examples is not None:
            return self._of_example(n, example, count)
        if self.fixed is not None:
            return _sized(self.fixed, n)
        return _sized(read_graph(re.sub(r"\bn\b", str(n), self.text)), n)

    def _of_example(self, n: int, example: int, count: int) -> Graph:
        assert self.examples is not None
        size = len(self.examples)
        if not size or count % size:
            raise GraphError(
                f"graph: the rule has {size} examples but the batch has {count}. Give one for each."
            )
        own = self.examples[example // (count // size)]
        if self.text.startswith('{"edges"'):
            return EdgeList(own, num_nodes=n)
        pairs = {(i, i) for i in range(len(own))}
        pairs |= {(i, p) for i, p in enumerate(own)} | {(p, i) for i, p in enumerate(own)}
        return _sized(EdgeList(list(zip(*sorted(pairs), strict=True)), num_nodes=len(own)), n)


def _sized(found: Graph, n: int) -> Graph:
    if (found.num_targets, found.num_sources) != (n, n):
        raise GraphError(
            f"graph: the rule's graph has {found.num_targets} x {found.num_sources} nodes but the "
            f"example has {n} tokens. Write n where the number of tokens belongs."
        )
    return found


# --- Which rule is meant --------------------------------------------------------------------------


@dataclass(eq=False)
class _Use:
    rule: Rule
    calls: int = 0


_ACTIVE: list[_Use] = []


@contextmanager
def graph(rule: object) -> Generator[None]:
    """Run models that use Edgewise on a graph of your choice.

    It is intersected with the model's own: a decoder stays causal, a window stays a window, and
    cross-attention is left alone. Tokens are counted without padding. A rule that shall be saved
    with a model goes into its config instead: ``model.config.graph_rule = "..."``.

    Args:
        rule: A text in which ``n`` stands for the number of tokens, edges or parents for each
            example, or a graph; see `Rule`. A random graph is another one at each length, so with
            caches each new token reads by the graph of its own length.

    Raises:
        ArgumentError: something else, or no attention asked for it: the model does not use
            Edgewise.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertModel
        >>> from edgewise.integrations.huggingface import use
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10)))
        >>> with graph("Window(n, left=1, right=1) | Hubs(n, [0])"):
        ...     model(torch.tensor([[1, 2, 3, 4]])).last_hidden_state.shape
        torch.Size([1, 4, 8])
    """
    use = _Use(Rule.read(rule))
    _ACTIVE.append(use)
    try:
        yield
    finally:
        _ACTIVE.remove(use)
    if not use.calls:
        raise ArgumentError(
            "graph: no attention asked for the rule. Prepare the model with "
            "edgewise.integrations.huggingface.use(model), and call it inside the block."
        )


def active_rule() -> Rule | None:
    """The rule of the innermost `graph` block."""
    if not _ACTIVE:
        return None
    _ACTIVE[-1].calls += 1
    return _ACTIVE[-1].rule


def rule_of(config: Any) -> Rule | None:
    """The rule that holds now: that of a `graph` block, or else the config's."""
    found = active_rule()
    if found is None:
        own = getattr(config, "graph_rule", None)
        found = None if own is None else Rule.read(own)
    return found


# --- Rule and model together ----------------------------------------------------------------------


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
    """The edges in both, said as simply as can be.

    Example:
        >>> both(Causal(9), Window(9, left=2, right=2) | Complete(9))
        (Window(9, left=2, right=0) | Causal(9))
    """
    if isinstance(model, Complete):
        return rule
    if isinstance(rule, Union):
        return both(model, rule.a) | both(model, rule.b)
    own, chosen = _reach(model), _reach(rule)
    if own is None or chosen is None:
        return model & rule
    T, S = rule.num_targets, rule.num_sources
    left, right = min(own[0], chosen[0]), min(own[1], chosen[1])
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
