"""Every layer of `edgewise.nn` and every model that has a card, small, with inputs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import edgewise as ew
import edgewise.nn as layers
from edgewise import models
from edgewise.graphs import Graph, cache
from edgewise.models.cards import CARDS
from edgewise.testing.layers import EDGES, LAYERS, TREE, WINDOW, LayerCase

__all__ = ["CASES", "LAYERS", "MODELS", "Applied", "LayerCase", "built", "flat"]

Call = Callable[..., Any]


class Applied(nn.Module):
    """A module that is called as its case says, with tensors alone, and returns tensors alone."""

    def __init__(self, module: nn.Module, call: Call) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *tensors: Tensor) -> Any:
        return flat(self.call(self.module, *tensors))


def flat(result: Any) -> Any:
    """A result as a tensor or a tuple of tensors: the records of layers are opened."""
    if isinstance(result, layers.NodesAndEdges):
        return result.x, result.edge
    if isinstance(result, layers.GraphFeatures):
        return tuple(part for part in (result.x, result.edge, result.u) if part is not None)
    return result


def built(case: LayerCase, dtype: torch.dtype = torch.float32) -> tuple[Applied, tuple[Any, ...]]:
    """A module in evaluation mode and its inputs, the same at every call.

    Its graphs remember nothing, so no test depends on what another one left on them.
    """
    _forget(case)
    torch.manual_seed(0)
    module = Applied(case.build(), case.call).eval().to(dtype)
    inputs = tuple(t.to(dtype) if t.is_floating_point() else t for t in case.inputs())
    return module, inputs


def _forget(case: LayerCase) -> None:
    """Remove what was worked out for the graphs of a case."""
    cache._RECENT.clear()
    held = [cell.cell_contents for cell in getattr(case.call, "__closure__", None) or ()]
    listed = [part for item in held if isinstance(item, list) for part in item]
    named = [part for item in held if isinstance(item, dict) for part in item.values()]
    for graph in (EDGES, WINDOW, TREE, *held, *listed, *named):
        if isinstance(graph, Graph):
            graph.__dict__.pop("_memory", None)


def _of_card(card: Any) -> LayerCase:
    """What the call of a card says: its tensors are inputs, all else is given as it is."""
    names = {**vars(layers), **vars(ew), **vars(models), "torch": torch}
    parsed = ast.parse(card.call, mode="eval").body
    assert isinstance(parsed, ast.Call)

    def value(node: ast.expr) -> Any:
        torch.manual_seed(0)
        return eval(ast.unparse(node), dict(names))

    given = [value(node) for node in parsed.args]
    named = {str(word.arg): value(word.value) for word in parsed.keywords}
    tensors = tuple(part for part in (*given, *named.values()) if isinstance(part, Tensor))

    def call(model: nn.Module, *inputs: Tensor) -> Any:
        rest = iter(inputs)
        args = [next(rest) if isinstance(part, Tensor) else part for part in given]
        kwargs = {
            name: next(rest) if isinstance(part, Tensor) else part for name, part in named.items()
        }
        return model(*args, **kwargs)

    return LayerCase(
        lambda **made: eval(_with_keywords(card.setting, names, made), {**names, **made}),
        lambda: tuple(tensor.clone() for tensor in tensors),
        call,
    )


def _with_keywords(code: str, names: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """Code whose calls of layers and models pass ``device`` and ``dtype``."""
    tree = ast.parse(code, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            taken = inspect.signature(names[node.func.id]).parameters
            node.keywords += [
                ast.keyword(name, ast.Name(name, ast.Load())) for name in made if name in taken
            ]
    return ast.unparse(ast.fix_missing_locations(tree))


MODELS = {card.name: _of_card(card) for card in CARDS}
CASES: Mapping[str, LayerCase] = {**LAYERS, **MODELS}
