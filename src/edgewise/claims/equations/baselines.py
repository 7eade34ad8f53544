"""Claims about baselines of attention: convolutions, recurrences, Tree-LSTMs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights, without
from edgewise.graphs import Causal, EdgeList, Graph, Window, disjoint_union
from edgewise.models import Recurrent
from edgewise.nn import (
    MLP,
    Block,
    ChildSumTreeLSTM,
    DynamicConvolution,
    GatedConvolution,
    LightweightConvolution,
    NaryTreeLSTM,
)

__all__ = ["BASELINES"]

_B, _N, _DIM, _HEADS, _KERNEL = 2, 11, 12, 3, 5


# --- Convolutions ----------------------------------------------------------------------------


def _gated(dtype: torch.dtype, mixer: nn.Module, kernels: Callable[[Tensor, Weights], Tensor]):
    """The module of figure 2, and its equations written out."""
    layer = GatedConvolution(mixer, _DIM).to(dtype)
    graph = Window(_N, left=_KERNEL // 2, right=_KERNEL // 2)

    def expected(given: Weights) -> Tensor:
        both = given["x"] @ given["in_proj.weight"].T + given["in_proj.bias"]
        gated = both[..., :_DIM] * both[..., _DIM:].sigmoid()
        out = _equations(gated, kernels(gated, given))
        return out @ given["out_proj.weight"].T + given["out_proj.bias"]

    return Sides(
        _weights(layer, torch.randn(_B, _N, _DIM, dtype=dtype)), _computed(layer, graph), expected
    )


def _equations(x: Tensor, kernels: Tensor) -> Tensor:
    """LightConv of section 3, term by term; numbers of positions and channels count from 1."""
    weight = kernels.exp() / kernels.exp().sum(-1, keepdim=True)
    rows: list[Tensor] = []
    for i in range(1, _N + 1):
        channels: list[Tensor] = []
        for c in range(1, _DIM + 1):
            head = -(-c * _HEADS // _DIM)  # rounded up
            total = x.new_zeros(_B)
            for j in range(1, _KERNEL + 1):
                position = i + j - -(-(_KERNEL + 1) // 2)
                if 1 <= position <= _N:
                    term = weight[:, i - 1, head - 1, j - 1]
                    total = total + term * x[:, position - 1, c - 1]
            channels.append(total)
        rows.append(torch.stack(channels, -1))
    return torch.stack(rows, 1)


def _lightweight(dtype: torch.dtype) -> Sides:
    def kernels(_: Tensor, given: Weights) -> Tensor:
        return given["mixer.weight"].expand(_B, _N, -1, -1)

    return _gated(dtype, LightweightConvolution(_DIM, _HEADS, _KERNEL), kernels)


def _dynamic(dtype: torch.dtype) -> Sides:
    def kernels(gated: Tensor, given: Weights) -> Tensor:
        weight = given["mixer.kernel_proj.weight"].view(_HEADS, _KERNEL, _DIM)
        return torch.einsum("hjc,bic->bihj", weight, gated)

    return _gated(dtype, DynamicConvolution(_DIM, _HEADS, _KERNEL), kernels)


def _depthwise(dtype: torch.dtype) -> Sides:
    layer = LightweightConvolution(_DIM, _HEADS, _KERNEL).to(dtype)
    left = _KERNEL - 1
    original = nn.Conv1d(_DIM, _DIM, _KERNEL, groups=_DIM, bias=False, padding=left, dtype=dtype)

    def expected(given: Weights) -> Tensor:
        tied = given["weight"].softmax(-1).repeat_interleave(_DIM // _HEADS, 0)
        out = functional_call(original, {"weight": tied[:, None]}, (given["x"].mT,))
        return out[..., :_N].mT  # rows beyond the end read later positions

    x = torch.randn(_B, _N, _DIM, dtype=dtype)
    return Sides(_weights(layer, x), _computed(layer, Window(_N, left=left, right=0)), expected)


# --- Tree-LSTMs ------------------------------------------------------------------------------

# Nodes with one, two and three children, and a tree of a single node.
_PARENTS = {0: 4, 3: 4, 1: 4, 2: 5, 4: 6, 5: 6, 8: 7, 9: 10, 11: 10, 10: 7}
_FOREST = EdgeList([list(_PARENTS), list(_PARENTS.values())], num_nodes=13)
_SIZE = 7


def _children(node: int) -> list[int]:
    return [child for child, parent in _PARENTS.items() if parent == node]


def _child_sum(dtype: torch.dtype) -> Sides:
    layer = ChildSumTreeLSTM(_DIM, _SIZE).to(dtype)

    def expected(given: Weights) -> Tensor:
        w, b = given["in_proj.weight"].chunk(4), given["in_proj.bias"].chunk(4)
        u_i, u_u, u_o = given["hidden_proj.weight"].chunk(3)
        u_f, x = given["forget_proj.weight"], given["x"]

        def node(j: int) -> tuple[Tensor, Tensor]:
            below = [node(k) for k in _children(j)]
            total = sum((h for h, _ in below), x.new_zeros(_SIZE))  # equation 2
            i = torch.sigmoid(w[0] @ x[j] + u_i @ total + b[0])  # 3
            f = [torch.sigmoid(w[1] @ x[j] + u_f @ h + b[1]) for h, _ in below]  # 4
            o = torch.sigmoid(w[3] @ x[j] + u_o @ total + b[3])  # 5
            u = torch.tanh(w[2] @ x[j] + u_u @ total + b[2])  # 6
            c = i * u + sum(gate * memory for gate, (_, memory) in zip(f, below, strict=True))  # 7
            return o * torch.tanh(c), c  # 8

        return torch.stack([node(j)[0] for j in range(_FOREST.num_targets)])

    x = torch.randn(_FOREST.num_targets, _DIM, dtype=dtype)
    return Sides(_weights(layer, x), _computed(layer, _FOREST), expected)


def _nary(dtype: torch.dtype) -> Sides:
    arity = 3
    layer = NaryTreeLSTM(_DIM, _SIZE, arity=arity).to(dtype)

    def expected(given: Weights) -> Tensor:
        w, b, x = given["in_proj.weight"].chunk(4), given["in_proj.bias"].chunk(4), given["x"]
        rows = given["hidden_proj.weight"].chunk(3 + arity)
        u_i, u_u, u_o, *u_f = [row.chunk(arity, 1) for row in rows]

        def node(j: int) -> tuple[Tensor, Tensor]:
            below = [node(k) for k in _children(j)]

            def weighted_children(u: tuple[Tensor, ...]) -> Tensor:
                pairs = zip(u, below, strict=False)  # no term for a missing child
                return sum((weight @ h for weight, (h, _) in pairs), x.new_zeros(_SIZE))

            i = torch.sigmoid(w[0] @ x[j] + weighted_children(u_i) + b[0])  # equation 9
            forget = w[1] @ x[j] + b[1]
            f = [torch.sigmoid(forget + weighted_children(u_f[k])) for k in range(arity)]  # 10
            o = torch.sigmoid(w[3] @ x[j] + weighted_children(u_o) + b[3])  # 11
            u = torch.tanh(w[2] @ x[j] + weighted_children(u_u) + b[2])  # 12
            c = i * u + sum(
                gate * memory for gate, (_, memory) in zip(f, below, strict=False)
            )  # 13
            return o * torch.tanh(c), c  # 14

        return torch.stack([node(j)[0] for j in range(_FOREST.num_targets)])

    x = torch.randn(_FOREST.num_targets, _DIM, dtype=dtype)
    return Sides(_weights(layer, x), _computed(layer, _FOREST), expected)


_CHAIN = EdgeList([list(range(_N - 1)), list(range(1, _N))], num_nodes=_N)


def _chain(layer: nn.Module, hidden: Callable[[Weights], Tensor]) -> Sides:
    """Tree-LSTM and LSTM on a chain from the first node to the last."""
    dtype = next(layer.parameters()).dtype
    original = nn.LSTM(_DIM, _SIZE, batch_first=True, dtype=dtype)

    def expected(given: Weights) -> Tensor:
        lstm_weights = {
            "weight_ih_l0": given["in_proj.weight"],
            "weight_hh_l0": hidden(given),
            "bias_ih_l0": given["in_proj.bias"],
            "bias_hh_l0": torch.zeros_like(given["in_proj.bias"]),
        }
        return functional_call(original, lstm_weights, (given["x"],))[0]

    return Sides(
        _weights(layer, torch.randn(_B, _N, _DIM, dtype=dtype)), _computed(layer, _CHAIN), expected
    )


def _child_sum_chain(dtype: torch.dtype) -> Sides:
    def hidden(given: Weights) -> Tensor:  # torch's order of gates: input, forget, cell, output
        i, u, o = given["hidden_proj.weight"].chunk(3)
        return torch.cat([i, given["forget_proj.weight"], u, o])

    return _chain(ChildSumTreeLSTM(_DIM, _SIZE).to(dtype), hidden)


def _nary_chain(dtype: torch.dtype) -> Sides:
    def hidden(given: Weights) -> Tensor:
        i, u, o, f = given["hidden_proj.weight"].chunk(4)
        return torch.cat([i, f, u, o])

    return _chain(NaryTreeLSTM(_DIM, _SIZE, arity=1).to(dtype), hidden)


# --- Recurrences -----------------------------------------------------------------------------

_SIZES = (4, 1, 7, 3)


def _packed(kind: str) -> Callable[[torch.dtype], Sides]:
    """A block over packed sequences, and the network of torch on each sequence."""
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU}

    def sides(dtype: torch.dtype) -> Sides:
        layer = Block(Recurrent(_DIM, kind=kind), _DIM, mlp=MLP(_DIM, 2 * _DIM)).to(dtype)
        original = kinds[kind](_DIM, _DIM, dtype=dtype)
        graph = disjoint_union([Causal(size) for size in _SIZES])

        def expected(given: Weights) -> Tensor:
            names = [name for name, _ in original.named_parameters()]
            parameters = {name: given[f"mixer.network.{name}"] for name in names}
            outs: list[Tensor] = []
            for sequence in given["x"].split(_SIZES, -2):
                normed = _norm(sequence, given, "mixer_norm").movedim(-2, 0)
                recurrent = functional_call(original, parameters, (normed,))[0]
                x = sequence + recurrent.movedim(0, -2)
                hidden = _linear(_norm(x, given, "mlp_norm"), given, "mlp.up_proj").relu()
                outs.append(x + _linear(hidden, given, "mlp.down_proj"))
            return torch.cat(outs, -2)

        x = torch.randn(_B, sum(_SIZES), _DIM, dtype=dtype)
        return Sides(_weights(layer, x), _computed(layer, graph), expected)

    return sides


def _norm(x: Tensor, given: Weights, name: str) -> Tensor:
    return nn.functional.layer_norm(x, (_DIM,), given[f"{name}.weight"], given[f"{name}.bias"])


def _linear(x: Tensor, given: Weights, name: str) -> Tensor:
    return x @ given[f"{name}.weight"].T + given[f"{name}.bias"]


# --- Shared ----------------------------------------------------------------------------------


def _weights(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The parameters with random biases, which may be initialized to zero."""
    drawn = {name: tensor.detach() for name, tensor in layer.named_parameters()}
    biases = {name: torch.randn_like(t) for name, t in drawn.items() if name.endswith("bias")}
    return drawn | biases | {"x": x}


def _computed(layer: nn.Module, graph: Graph) -> Callable[[Weights], Tensor]:
    def computed(given: Weights) -> Tensor:
        parameters = without(given, "x")
        return functional_call(layer, parameters, (given["x"], graph))

    return computed


_WU = "Wu et al. 2019, arXiv:1901.10430, section"
_TAI = "Tai, Socher, Manning 2015, arXiv:1503.00075"
_RUNG = "baselines"

BASELINES = (
    Claim(
        "lightweight convolution, gated",
        _RUNG,
        "its equations, term by term",
        _lightweight,
        f"{_WU} 3",
    ),
    Claim("dynamic convolution, gated", _RUNG, "its equations, term by term", _dynamic, f"{_WU} 4"),
    Claim(
        "lightweight convolution, causal",
        _RUNG,
        "torch.nn.Conv1d, depthwise, with tied weights",
        _depthwise,
        f"{_WU} 3",
    ),
    Claim(
        "child-sum Tree-LSTM",
        _RUNG,
        "its equations, node by node",
        _child_sum,
        f"{_TAI}, equations 2 to 8",
    ),
    Claim(
        "N-ary Tree-LSTM",
        _RUNG,
        "its equations, node by node",
        _nary,
        f"{_TAI}, equations 9 to 14",
    ),
    Claim(
        "child-sum Tree-LSTM on a chain",
        _RUNG,
        "torch.nn.LSTM",
        _child_sum_chain,
        f"{_TAI}, section 3",
    ),
    Claim("unary Tree-LSTM on a chain", _RUNG, "torch.nn.LSTM", _nary_chain, f"{_TAI}, section 3"),
    Claim(
        "LSTM in a block over packed sequences",
        _RUNG,
        "torch.nn.LSTM on each sequence alone",
        _packed("lstm"),
        "Hochreiter, Schmidhuber 1997",
    ),
    Claim(
        "GRU in a block over packed sequences",
        _RUNG,
        "torch.nn.GRU on each sequence alone",
        _packed("gru"),
        "Cho et al. 2014, arXiv:1406.1078, section 2.3",
    ),
)
