"""Claims about the Transformer layers and stacks of `torch.nn`."""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.module_pair import ModuleCall, called, drawn, peer_sides
from edgewise.graphs import Blocks, Causal, Complete, EdgeList
from edgewise.integrations.names.torch_names import DECODER, DECODER_LAYER, ENCODER, ENCODER_LAYER
from edgewise.models import Decoder, Encoder, transformer_block
from edgewise.nn import DotAttention

__all__ = ["TORCH_TRANSFORMER"]

_B, _N, _DIM, _HEADS, _HIDDEN, _LAYERS = 2, 9, 24, 4, 40, 3


def _settings(order: str, activation: str) -> dict[str, object]:
    return {
        "dim_feedforward": _HIDDEN,
        "dropout": 0.0,
        "activation": activation,
        "batch_first": True,
        "norm_first": order == "pre",
    }


def _encoder_layer(dtype: torch.dtype, *, order: str, activation: str) -> Sides:
    model = transformer_block(_DIM, _HEADS, hidden=_HIDDEN, order=order, activation=activation)
    peer = nn.TransformerEncoderLayer(_DIM, _HEADS, **_settings(order, activation))  # pyright: ignore[reportArgumentType]
    return peer_sides(
        model,
        peer,
        ENCODER_LAYER,
        {"x": torch.randn(_B, _N, _DIM, dtype=dtype)},
        lambda call, given: call(given["x"], Complete(_N)),
        lambda call, given: call(given["x"]),
        dtype,
    )


def _sparse_layer(dtype: torch.dtype) -> Sides:
    model = transformer_block(_DIM, _HEADS, hidden=_HIDDEN, order="post")
    peer = nn.TransformerEncoderLayer(_DIM, _HEADS, **_settings("post", "relu"))  # pyright: ignore[reportArgumentType]
    edge = torch.rand(_N, _N) < 0.3
    edge.fill_diagonal_(True)
    target, source = edge.nonzero(as_tuple=True)
    graph = EdgeList(torch.stack([source, target]), num_nodes=_N)
    return peer_sides(
        model,
        peer,
        ENCODER_LAYER,
        {"x": torch.randn(_B, _N, _DIM, dtype=dtype)},
        lambda call, given: call(given["x"], graph),
        lambda call, given: call(given["x"], src_mask=~edge),
        dtype,
    )


def _encoders(order: str) -> tuple[Encoder, nn.TransformerEncoder]:
    model = Encoder(_DIM, _HEADS, _LAYERS, hidden=_HIDDEN, order=order)
    layer = nn.TransformerEncoderLayer(_DIM, _HEADS, **_settings(order, "relu"))  # pyright: ignore[reportArgumentType]
    norm = nn.LayerNorm(_DIM) if order == "pre" else None
    return model, nn.TransformerEncoder(layer, _LAYERS, norm, enable_nested_tensor=False)


def _encoder(dtype: torch.dtype, *, order: str) -> Sides:
    model, peer = _encoders(order)
    return peer_sides(
        model,
        peer,
        ENCODER,
        {"x": torch.randn(_B, _N, _DIM, dtype=dtype)},
        lambda call, given: call(given["x"]),
        lambda call, given: call(given["x"]),
        dtype,
    )


def _padded(dtype: torch.dtype) -> Sides:
    model, peer = _encoders("post")
    sizes = (5, _N, 2)
    real = torch.arange(_N) < torch.tensor(sizes)[:, None]
    return peer_sides(
        model,
        peer,
        ENCODER,
        {"x": torch.randn(len(sizes), _N, _DIM, dtype=dtype)},
        lambda call, given: call(given["x"][real], Blocks(sizes)),
        lambda call, given: call(given["x"], src_key_padding_mask=~real)[real],
        dtype,
    )


_T, _S = 6, 9


def _decoder(dtype: torch.dtype, *, order: str, layers: int | None) -> Sides:
    model = Decoder(
        _DIM, _HEADS, layers or 1, hidden=_HIDDEN, order=order, final_norm=layers is not None
    )
    layer = nn.TransformerDecoderLayer(_DIM, _HEADS, **_settings(order, "relu"))  # pyright: ignore[reportArgumentType]
    peer = layer if layers is None else nn.TransformerDecoder(layer, layers, nn.LayerNorm(_DIM))
    later = torch.ones(_T, _T, dtype=torch.bool).triu(1)
    inputs = {
        "x": torch.randn(_B, _T, _DIM, dtype=dtype),
        "memory": torch.randn(_B, _S, _DIM, dtype=dtype),
    }
    return peer_sides(
        model,
        peer,
        DECODER_LAYER if layers is None else DECODER,
        inputs,
        lambda call, given: call(given["x"], given["memory"]),
        lambda call, given: call(given["x"], given["memory"], tgt_mask=later),
        dtype,
    )


def _decoder_step_by_step(dtype: torch.dtype) -> Sides:
    model = Decoder(_DIM, _HEADS, 2, hidden=_HIDDEN)
    inputs = {
        "x": torch.randn(_B, _T, _DIM, dtype=dtype),
        "memory": torch.randn(_B, _S, _DIM, dtype=dtype),
    }

    def steps(call: ModuleCall, given: Weights) -> Tensor:
        caches, x = model.caches(), given["x"]
        return torch.cat(
            [call(x[:, i : i + 1], given["memory"], caches=caches) for i in range(_T)], 1
        )

    def at_once(call: ModuleCall, given: Weights) -> Tensor:
        return call(given["x"], given["memory"], Causal(_T), Complete(_T, _S))

    names = list(inputs)
    return Sides(
        {**drawn(model, dtype), **inputs},
        called(model, names, steps),
        called(model, names, at_once),
    )


def _cross(dtype: torch.dtype) -> Sides:
    model = DotAttention(_DIM, _HEADS, source_dim=10)
    peer = nn.MultiheadAttention(_DIM, _HEADS, kdim=10, vdim=10, batch_first=True, dtype=dtype)
    inputs = {
        "x": torch.randn(_B, _T, _DIM, dtype=dtype),
        "source": torch.randn(_B, _S, 10, dtype=dtype),
    }

    def expected(given: Weights) -> Tensor:
        parameters = {f"{each}_proj_weight": given[f"{each}_proj.weight"] for each in "qkv"}
        parameters["in_proj_bias"] = torch.cat([given[f"{each}_proj.bias"] for each in "qkv"])
        parameters |= {name: given[name] for name in ("out_proj.weight", "out_proj.bias")}
        source = given["source"]
        return torch.func.functional_call(
            peer, parameters, (given["x"], source, source), {"need_weights": False}
        )[0]

    def run(call: ModuleCall, given: Weights) -> Tensor:
        return call(given["x"], Complete(_T, _S), source=given["source"])

    return Sides({**drawn(model, dtype), **inputs}, called(model, list(inputs), run), expected)


_VASWANI = "Vaswani et al. 2017, arXiv:1706.03762, section 3.1"
_XIONG = "Xiong et al. 2020, arXiv:2002.04745, section 3"
_SOURCE = {"post": _VASWANI, "pre": _XIONG}

TORCH_TRANSFORMER = (
    *(
        Claim(
            f"encoder layer, {order}-norm, {activation}",
            "transformer",
            "torch.nn.TransformerEncoderLayer",
            partial(_encoder_layer, order=order, activation=activation),
            _SOURCE[order],
        )
        for order, activation in product(("post", "pre"), ("relu", "gelu"))
    ),
    Claim(
        "encoder layer over a sparse graph",
        "block",
        "torch.nn.TransformerEncoderLayer(src_mask)",
        _sparse_layer,
        _VASWANI,
    ),
    *(
        Claim(
            f"encoder of three layers, {order}-norm",
            "transformer",
            "torch.nn.TransformerEncoder",
            partial(_encoder, order=order),
            _SOURCE[order],
        )
        for order in ("post", "pre")
    ),
    Claim(
        "encoder over blocks of different sizes",
        "transformer",
        "torch.nn.TransformerEncoder(src_key_padding_mask)",
        _padded,
        _VASWANI,
    ),
    *(
        Claim(
            f"decoder layer, {order}-norm",
            "transformer",
            "torch.nn.TransformerDecoderLayer",
            partial(_decoder, order=order, layers=None),
            _SOURCE[order],
        )
        for order in ("post", "pre")
    ),
    Claim(
        "decoder of three layers",
        "transformer",
        "torch.nn.TransformerDecoder",
        partial(_decoder, order="pre", layers=_LAYERS),
        _XIONG,
    ),
    Claim(
        "decoder with caches, one node at a time",
        "transformer",
        "all nodes at once",
        _decoder_step_by_step,
        _VASWANI,
    ),
    Claim(
        "attention to a source of another width",
        "transformer",
        "torch.nn.MultiheadAttention(kdim, vdim)",
        _cross,
        "Vaswani et al. 2017, arXiv:1706.03762, section 3.2",
    ),
)
