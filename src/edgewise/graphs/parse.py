"""Parser of graphs: the inverse of ``repr``.

The text is parsed, never executed. Only graph families, functions of graphs, numbers, lists and
set operations are accepted, within limits on depth, nodes, ranges and layers: a few characters
could otherwise take any time and memory.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.errors import EdgewiseError, GraphError
from edgewise.graphs.base import FAMILIES, Graph, reverse
from edgewise.graphs.composition import compose, receptive_field
from edgewise.graphs.disjoint_union import disjoint_union
from edgewise.graphs.induced import induced
from edgewise.graphs.permutation import permute

__all__ = ["read_graph"]

_MOST_NODES = 1 << 40  # sums of two still fit into 64 bits, and so do pairs of far fewer
_LARGEST = 1 << 62
_EXACT = 1 << 53  # up to which a float holds every whole number
_LONGEST = 1 << 20  # of a range, which takes a few characters to write
_DEEPEST = 64
_SHOWN = 60
_MOST_GRAPHS = 10_000
_SHORT = re.compile(r"<[\d,]+ [a-z]+[^>]*>")
_EXAMPLE = "Window(64, left=2, right=2) | Hubs(64, [0])"

_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.BitOr: ("|", operator.or_),
    ast.BitAnd: ("&", operator.and_),
    ast.Sub: ("-", operator.sub),
}
# Between whole numbers, if the text has names for numbers.
_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_NO_NAMES: Mapping[str, int] = {}


def read_graph(text: str, names: Mapping[str, int] = _NO_NAMES) -> Graph:
    """The graph of a text, in the syntax in which graphs are printed.

    ``read_graph(repr(graph))`` is the graph again, unless the print was cut short (long lists are)
    or holds a function (`Predicate`) or assumed facts (`Assume`).

    Args:
        text: Families and functions of graphs, ``|``, ``&``, ``-``, whole numbers, lists, tuples,
            ``range(...)``. Numbers may be written ``1_000_000``, ``10**6`` or ``1e6``.
        names: Whole numbers that names in the text stand for. With names, numbers may be
            calculated: ``+ - * // %``, ``min(...)``, ``max(...)``.

    Raises:
        GraphError: the text is something else, or the graph cannot exist.

    Example:
        >>> read_graph("Window(8, left=1, right=0) | Hubs(8, [0])")
        (Window(8, left=1, right=0) | Hubs(8, [0]))
        >>> read_graph("disjoint_union([Complete(2), Complete(3)])")
        Blocks([2, 3])
        >>> read_graph("Complete(10**6) | Causal(1e6)")
        (Complete(1000000) | Causal(1000000))
        >>> read_graph("Window(n, left=n // 4, right=min(n - 1, 2))", {"n": 8})
        Window(8, left=2, right=2)
    """
    short = _SHORT.search(text)
    if short:
        raise GraphError(
            f"read_graph: every number must be written out, got {short[0]}, which stands for what "
            f"a long print leaves out. Write the numbers, or save the edges to a file."
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise GraphError(
            f"read_graph: the text must be one expression, got {_cut(text)!r} "
            f"({_cut(reason or 'too deep')}). Write it the way graphs print, like {_EXAMPLE}."
        ) from None
    graph = _value(tree, _Expression(text.strip(), names), 0)
    if not isinstance(graph, Graph):
        raise GraphError(
            f"read_graph: the text must be a graph, got {_cut(repr(graph))} "
            f"({type(graph).__name__}). Write it the way graphs print, like {_EXAMPLE}."
        )
    return graph


@dataclass(frozen=True)
class _Expression:
    """The source text of an expression, and the numbers of its names."""

    written: str
    names: Mapping[str, int]


def _value(node: ast.expr, text: _Expression, depth: int) -> Any:
    """The value of a node of the syntax tree, ``depth`` levels below the root.

    Raises:
        GraphError: the node is of another kind, or too deep.
    """
    if depth > _DEEPEST:
        raise _too_much(f"lie at most {_DEEPEST} deep", "more")
    match node:
        case ast.Constant(value=bool() | int() | float() | None):
            return _number(node.value)
        case ast.BinOp(ast.Constant(int(base)), ast.Pow(), ast.Constant(int(power))) if not (
            isinstance(base, bool) or isinstance(power, bool)
        ):
            return _power(base, power)
        case ast.List(items) | ast.Tuple(items):
            values = [_value(item, text, depth + 1) for item in items]
            return values if isinstance(node, ast.List) else tuple(values)
        case ast.UnaryOp(ast.USub(), ast.Constant(value=int() | float())):
            return -_value(node.operand, text, depth + 1)
        case ast.Name(name) if name in text.names:
            return _number(text.names[name])
        case ast.UnaryOp(ast.USub(), operand) if text.names:
            return _calculated(ast.Sub, 0, _whole(operand, text, depth))
        case ast.BinOp(left, sign, right) if type(sign) in _OPERATORS or (
            text.names and type(sign) in _ARITHMETIC
        ):
            operands = (_value(left, text, depth + 1), _value(right, text, depth + 1))
            if text.names and type(sign) in _ARITHMETIC and all(map(_is_whole, operands)):
                return _calculated(type(sign), *operands)
            if type(sign) not in _OPERATORS:
                raise GraphError(
                    f"read_graph: + * // % must stand between two whole numbers, got "
                    f"{_cut(ast.get_source_segment(text.written, node) or '')}. Join graphs by |, "
                    f"& or -."
                )
            return _combined(*_OPERATORS[type(sign)], *operands)
        case ast.Call(ast.Name(name), arguments, keywords) if all(k.arg for k in keywords):
            call = _call_named(name, text.names)
            positional = [_value(argument, text, depth + 1) for argument in arguments]
            named = {str(k.arg): _value(k.value, text, depth + 1) for k in keywords}
            return _called(name, call, positional, named)
        case _:
            raise _refused(node, text)


def _refused(node: ast.expr, text: _Expression) -> GraphError:
    """The error for a part of the expression that stands for nothing."""
    got = ast.get_source_segment(text.written, node) or ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return GraphError(
            f"read_graph: ** must stand between two whole numbers that are written out, got "
            f"{_cut(got)}. Write a product, like n * n, or the number."
        )
    calculated = ", which may be calculated by + - * // %, min and max" if text.names else ""
    return GraphError(
        f"read_graph: the text must be made of graphs, whole numbers{calculated}, lists and the "
        f"signs | & -, got {_cut(got)}. Write it the way graphs print, like {_EXAMPLE}."
    )


def _whole(node: ast.expr, text: _Expression, depth: int) -> int:
    """The whole number behind a minus sign."""
    value = _value(node, text, depth + 1)
    if not _is_whole(value):
        got = _cut(ast.get_source_segment(text.written, node) or "")
        raise GraphError(
            f"read_graph: a minus sign must stand before a whole number, got -{got}. Join graphs "
            f"by |, & or -."
        )
    return value


def _number(value: Any) -> Any:
    """A constant; a whole number may be written with an exponent, as ``1e6``."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, int) and abs(value) >= _LARGEST:
        raise _too_much("hold numbers below 2**62", f"one of {value.bit_length()} bits")
    return value


def _power(base: int, power: int) -> int:
    """``10**6``, checked before it is computed."""
    if base > 1 and power > _LARGEST.bit_length():
        raise _too_much("hold numbers below 2**62", _cut(f"{base}**{power}"))
    return _number(base**power)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _calculated(sign: type[ast.operator], left: int, right: int) -> int:
    """A calculation with whole numbers, each below 2**62."""
    if sign in (ast.FloorDiv, ast.Mod) and right == 0:
        raise GraphError(
            f"read_graph: a number must be divided by another than 0, got {left} divided by 0. "
            f"Write max(1, ...) around the divisor."
        )
    return _number(_ARITHMETIC[sign](left, right))


def _combined(sign: str, combine: Callable[[Any, Any], Any], left: Any, right: Any) -> Graph:
    for operand in (left, right):
        if not isinstance(operand, Graph):
            raise GraphError(
                f"read_graph: {sign} must stand between two graphs, got {_cut(repr(operand))} "
                f"({type(operand).__name__}). Write the result of a calculation as a number."
            )
    return _checked(combine(left, right))


# --- Calls ----------------------------------------------------------------------------------------


def _range(start: int, stop: int | None = None, step: int = 1, /) -> list[int]:
    numbers = range(start) if stop is None else range(start, stop, step)
    if (numbers.stop - numbers.start) // numbers.step > _LONGEST:  # len() has no long numbers
        raise _too_much(f"hold ranges of at most {_LONGEST:,} numbers", str(numbers))
    return list(numbers)


def _field(graph: Graph, layers: int) -> Graph:
    if isinstance(layers, int) and layers > _DEEPEST:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _too_much(f"compose at most {_DEEPEST} layers", f"layers={layers}")
    return receptive_field(graph, layers)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "compose": compose,
    "disjoint_union": disjoint_union,
    "induced": induced,
    "permute": permute,
    "range": _range,
    "receptive_field": _field,
    "reverse": reverse,
}


def _calls() -> dict[str, Callable[..., Any]]:
    """The callables of the syntax: parsed families (built-in ones first on a clash), functions."""
    parsed = {name: family for name, family in FAMILIES.items() if family.parsed}
    others = {family.__name__: family for name, family in parsed.items() if "." in name}
    built_in = {name: parsed[name] for name in sorted(parsed) if "." not in name}
    return {**others, **built_in, **_FUNCTIONS}


def _least(a: int, b: int, /, *more: int) -> int:
    return min(a, b, *more)


def _greatest(a: int, b: int, /, *more: int) -> int:
    return max(a, b, *more)


_CALCULATIONS: dict[str, Callable[..., Any]] = {"max": _greatest, "min": _least}


def _call_named(name: str, names: Mapping[str, int]) -> Callable[..., Any]:
    calls = {**_calls(), **_CALCULATIONS} if names else _calls()
    if name not in calls:
        by_lower = {each.lower(): each for each in calls}
        near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
        meant = f"Did you mean {by_lower[near[0]]}? " if near else ""
        raise GraphError(
            f"read_graph: a call must be one of {', '.join(calls)}, got {_cut(name)}(...). "
            f"{meant}Build other graphs in Python."
        )
    return calls[name]


def _called(
    name: str, call: Callable[..., Any], positional: list[Any], named: dict[str, Any]
) -> Any:
    """The result of a call in the text; GraphError if the arguments do not fit the signature."""
    signature = inspect.signature(call)
    given = [repr(value) for value in positional]
    given += [f"{word}={value!r}" for word, value in named.items()]
    got = _cut(f"{name}({', '.join(given)})")
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        raise GraphError(
            f"read_graph: a call must fit {name}({_parameters(signature)}), got {got} ({error}). "
            f"Name every argument after the star."
        ) from None
    try:
        result = call(*positional, **named)
    except EdgewiseError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise GraphError(
            f"read_graph: the arguments of {name} must fit each other, got {got} "
            f"({str(error).splitlines()[0]}). See the examples of {name}."
        ) from None
    return _checked(result) if isinstance(result, Graph) else result


def _parameters(signature: inspect.Signature) -> str:
    """The names of arguments as a signature has them, without types and defaults."""
    words: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter.name)
    return ", ".join(words)


# --- Limits ---------------------------------------------------------------------------------------


def _checked(graph: Graph) -> Graph:
    """The graph, checked to be small enough for its facts: nodes, depth, number of parts."""
    nodes = max(graph.num_targets, graph.num_sources)
    if nodes > _MOST_NODES:
        raise _too_much("hold graphs of at most 2**40 nodes", f"{nodes:,}")
    stack, visited = [(graph, 0)], 0
    while stack:
        part, depth = stack.pop()
        visited += 1
        if depth > _DEEPEST:
            raise _too_much(f"lie at most {_DEEPEST} deep", "more")
        if visited > _MOST_GRAPHS:
            raise _too_much(f"be made of at most {_MOST_GRAPHS:,} graphs", "more")
        stack += [(child, depth + 1) for child in part.children()]
    return graph


def _cut(text: str) -> str:
    """A text in one line, cut to the length that an error shows."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _too_much(limit: str, got: str) -> GraphError:
    return GraphError(
        f"read_graph: an expression must {limit}, got {got}. Build such a graph in Python."
    )
