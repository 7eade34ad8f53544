"""Settings of calls: scores, biases, edge features, head groups, batches, dropout, strides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from edgewise.functional import attention, attention_state
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.ops import (
    Additive,
    AttentionState,
    Bias,
    DenseBias,
    Dot,
    EdgeBias,
    GATv2,
    RelativeBias,
    Score,
)

_DOT = Dot()

R = TypeVar("R")

__all__ = ["SETTINGS", "Call", "Setting"]


@dataclass(frozen=True)
class Setting:
    """Options and sizes of a call of the operator.

    Attributes:
        score: The score; a GATv2 score without its vector.
        head_dim: ``D``.
        value_dim: ``Dv``.
        heads: ``H``.
        kv_heads: ``G``.
        batch: Leading dimensions.
        bias: Function from a tensor to the bias.
        bias_shape: Its shape: numbers, and the letters H, T, S, E.
        edge_features: Whether keys and values have a part that belongs to the edge.
        dropout: Share of weights to drop.
        strided: Whether query, key and value are views with unusual strides.
    """

    score: Score = _DOT
    head_dim: int = 4
    value_dim: int = 4
    heads: int = 2
    kv_heads: int = 2
    batch: tuple[int, ...] = ()
    bias: Callable[[Tensor], Bias] | None = None
    bias_shape: tuple[str | int, ...] = ("H", "E")
    edge_features: bool = False
    dropout: float = 0.0
    strided: bool = False

    def call(self, graph: Graph, dtype: torch.dtype, seed: int = 0) -> Call:
        """Random tensors for this setting on a graph; the same for the same seed."""
        random = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            if self.strided:
                wide = torch.randn(*shape[:-2], shape[-1], 2 * shape[-2], generator=random)
                return wide.to(dtype)[..., ::2].mT.requires_grad_()
            return torch.randn(*shape, generator=random).to(dtype).requires_grad_()

        T, S, E = graph.num_targets, graph.num_sources, edges(graph).num_edges
        tensors = {
            "query": draw(*self.batch, self.heads, T, self.head_dim),
            "key": draw(*self.batch, self.kv_heads, S, self.head_dim),
            "value": draw(*self.batch, self.kv_heads, S, self.value_dim),
            "vector": draw(self.heads, self.head_dim),
        }
        if self.bias is not None:
            sizes = {"H": self.heads, "T": T, "S": S, "E": E}
            shape = (n if isinstance(n, int) else sizes[n] for n in self.bias_shape)
            tensors["bias"] = draw(*shape)
        if self.edge_features:
            tensors["edge_key"] = draw(self.heads, E, self.head_dim)
            tensors["edge_value"] = draw(1, E, self.value_dim)
        return Call(self, graph, tensors)


@dataclass(frozen=True, eq=False)
class Call:
    """A call: a setting with its graph and tensors, for any backend.

    Attributes:
        setting: How the operator is called.
        graph: On which graph.
        tensors: By name, all requiring gradients.
    """

    setting: Setting
    graph: Graph
    tensors: dict[str, Tensor]

    def used(self) -> dict[str, Tensor]:
        """The tensors that the call reads: a vector only if the score is GATv2."""
        learned = isinstance(self.setting.score, GATv2)
        return {k: t for k, t in self.tensors.items() if k != "vector" or learned}

    def out(self, backend: str, **tensors: Tensor) -> Tensor:
        """Output of attention; keyword arguments replace tensors of the call."""
        return self._run(attention, backend, tensors)

    def state(self, backend: str, **tensors: Tensor) -> AttentionState:
        """Output and log-sum-exp of attention."""
        return self._run(attention_state, backend, tensors)

    def _run(self, operator: Callable[..., R], backend: str, tensors: dict[str, Tensor]) -> R:
        t, setting = self.tensors | tensors, self.setting
        score = setting.score
        return operator(
            t["query"],
            t["key"],
            t["value"],
            self.graph,
            score=GATv2(t["vector"], score.slope) if isinstance(score, GATv2) else score,
            bias=None if setting.bias is None else setting.bias(t["bias"]),
            edge_key=t.get("edge_key"),
            edge_value=t.get("edge_value"),
            dropout=setting.dropout,
            generator=self._generator(),
            backend=backend,
        )

    def _generator(self) -> torch.Generator | None:
        """A generator with a fixed seed; None (the default generator) in compiled code."""
        if not self.setting.dropout or torch.compiler.is_compiling():
            return None
        return torch.Generator().manual_seed(7)


def _relative(values: Tensor) -> Bias:
    return RelativeBias(values, first=-3)


def _forbidding(values: Tensor) -> Bias:
    """An edge bias with entries of minus infinity, which leaves some targets without sources."""
    return EdgeBias(values.masked_fill(values.detach() > -0.3, -torch.inf))


# The ways to call the operator of the contract table, by name.
SETTINGS: dict[str, Setting] = {
    "dot": Setting(),
    "dot, scaled": Setting(Dot(scale=0.7)),
    "dot, scale 0": Setting(Dot(scale=0.0)),
    "dot, scale below 0": Setting(Dot(scale=-0.7), heads=4, batch=(2,)),
    "dot, tiny scale": Setting(Dot(scale=1e-30)),
    "dot, scale that float32 rounds to 0": Setting(Dot(scale=-1e-60), value_dim=3),
    "dot, soft cap": Setting(Dot(scale=1.0, softcap=1.5)),
    "dot, scale below 0, small soft cap": Setting(Dot(scale=-1.0, softcap=0.1)),
    "dot, huge soft cap": Setting(Dot(softcap=1e30)),
    "dot, other value size": Setting(value_dim=3),
    "dot, batch": Setting(batch=(3,)),
    "dot, two batch dimensions": Setting(batch=(2, 3)),
    "dot, grouped heads": Setting(heads=4, kv_heads=2, batch=(2,)),
    "dot, one key head": Setting(heads=3, kv_heads=1),
    "dot, strided": Setting(strided=True, batch=(2,)),
    "dot, edge bias": Setting(bias=EdgeBias),
    "dot, edge bias, one for all heads": Setting(bias=EdgeBias, bias_shape=(1, "E"), batch=(2,)),
    "dot, edge bias for each batch": Setting(bias=EdgeBias, bias_shape=(2, 1, "E"), batch=(2,)),
    "dot, relative bias": Setting(bias=_relative, bias_shape=("H", 7)),
    "dot, dense bias": Setting(bias=DenseBias, bias_shape=("H", "T", "S")),
    "dot, bias that forbids": Setting(bias=_forbidding),
    "dot, edge features": Setting(edge_features=True),
    "dot, dropout": Setting(dropout=0.4, batch=(2,)),
    "dot, dropout near 1": Setting(dropout=0.99),
    "dot, everything": Setting(
        Dot(scale=0.9, softcap=3.0),
        heads=4,
        value_dim=3,
        bias=EdgeBias,
        edge_features=True,
        dropout=0.3,
        batch=(2,),
    ),
    "additive": Setting(Additive(), head_dim=1),
    "additive, bias, dropout": Setting(
        Additive(0.1), head_dim=1, bias=EdgeBias, dropout=0.5, batch=(2,)
    ),
    "additive, edge features": Setting(Additive(), head_dim=1, edge_features=True),
    "additive, slope 0": Setting(Additive(0.0), head_dim=1),
    "additive, slope below 0": Setting(Additive(-1.5), head_dim=1),
    "gatv2": Setting(GATv2(None)),
    "gatv2, slope 0": Setting(GATv2(None, 0.0)),
    "gatv2, slope above 1": Setting(GATv2(None, 3.0)),
    "gatv2, slope below 0": Setting(GATv2(None, -0.5)),
    "gatv2, grouped, edge features": Setting(
        GATv2(None, 0.1), heads=4, batch=(2,), edge_features=True
    ),
}
