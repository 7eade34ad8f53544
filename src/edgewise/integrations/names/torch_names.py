"""Names of weights in `torch.nn`."""

from __future__ import annotations

from edgewise.integrations.names.table import Name, within

__all__ = ["DECODER", "DECODER_LAYER", "ENCODER", "ENCODER_LAYER"]


def _attention(name: str, original: str) -> tuple[Name, ...]:
    """The three input projections, which torch concatenates, and the output projection."""
    return (
        *(
            Name(
                tuple(f"{name}.{each}_proj.{part}" for each in "qkv"),
                f"{original}.in_proj_{part}",
            )
            for part in ("weight", "bias")
        ),
        Name((f"{name}.out_proj",), f"{original}.out_proj"),
    )


_MLP = (Name(("mlp.up_proj",), "linear1"), Name(("mlp.down_proj",), "linear2"))

# `Block` and `torch.nn.TransformerEncoderLayer`, pre- or post-norm.
ENCODER_LAYER = (
    *_attention("mixer", "self_attn"),
    *_MLP,
    Name(("mixer_norm",), "norm1"),
    Name(("mlp_norm",), "norm2"),
)

# `Encoder` and `torch.nn.TransformerEncoder`.
ENCODER = (*within(ENCODER_LAYER, "blocks.{i}.", "layers.{i}."), Name(("norm",), "norm"))

_SELF = (*_attention("mixer", "self_attn"), Name(("mixer_norm",), "norm1"))
_CROSS = (
    *_attention("mixer", "multihead_attn"),
    *_MLP,
    Name(("mixer_norm",), "norm2"),
    Name(("mlp_norm",), "norm3"),
)

# `Decoder` and `torch.nn.TransformerDecoder`.
DECODER = (
    *within(_SELF, "self_blocks.{i}.", "layers.{i}."),
    *within(_CROSS, "cross_blocks.{i}.", "layers.{i}."),
    Name(("norm",), "norm"),
)

# `Decoder` of one layer, without its final norm, and `torch.nn.TransformerDecoderLayer`.
DECODER_LAYER = (*within(_SELF, "self_blocks.0.", ""), *within(_CROSS, "cross_blocks.0.", ""))
