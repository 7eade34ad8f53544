"""Claims about encoders of Hugging Face Transformers, small and with random weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.module_pair import ModuleCall, peer_sides
from edgewise.claims.huggingface.causal_models import HUGGINGFACE_LANGUAGE
from edgewise.graphs import Blocks, Complete
from edgewise.integrations.names import huggingface_names as names
from edgewise.models import bert, positions_within, transformer_block, vit

__all__ = ["HUGGINGFACE"]

_B, _N, _DIM, _HEADS, _HIDDEN, _LAYERS, _VOCAB = 2, 9, 24, 4, 40, 2, 31


def _nodes(dtype: torch.dtype) -> dict[str, Tensor]:
    return {"x": torch.randn(_B, _N, _DIM, dtype=dtype)}


# --- BERT --------------------------------------------------------------------------------------


# The sizes of BERT and ViT, under the names of their configurations.
_SIZES: dict[str, Any] = {
    "hidden_size": _DIM,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": _HIDDEN,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "attn_implementation": "sdpa",
}


def _bert_config() -> Any:
    from transformers import BertConfig

    return BertConfig(vocab_size=_VOCAB, max_position_embeddings=16, **_SIZES)


def _bert_block(dtype: torch.dtype) -> Sides:
    from transformers.models.bert.modeling_bert import BertLayer

    block = transformer_block(
        _DIM, _HEADS, hidden=_HIDDEN, activation="gelu", order="post", norm_eps=1e-12
    )
    return peer_sides(
        block,
        BertLayer(_bert_config()),
        names.BERT_BLOCK,
        _nodes(dtype),
        lambda call, given: call(given["x"], Complete(_N)),
        lambda call, given: call(given["x"]),
        dtype,
    )


def _bert(dtype: torch.dtype, *, sizes: tuple[int, ...] | None = None) -> Sides:
    """Texts of these lengths: blocks of a graph in Edgewise, padded rows in the original."""
    from transformers import BertModel

    model = bert(
        _VOCAB,
        dim=_DIM,
        heads=_HEADS,
        layers=_LAYERS,
        hidden=_HIDDEN,
        max_positions=16,
        dropout=0.0,
    )
    length = torch.tensor((_N,) * _B if sizes is None else sizes)
    real = torch.arange(_N) < length[:, None]
    segments = torch.randint(2, real.shape)

    def computed(call: ModuleCall, given: Weights) -> Tensor:
        tokens = given["tokens"]
        if sizes is None:
            return call(tokens, segments=segments)
        positions = positions_within(sizes)
        return call(tokens[real], Blocks(sizes), positions=positions, segments=segments[real])

    def expected(call: ModuleCall, given: Weights) -> Tensor:
        if sizes is None:
            return call(given["tokens"], token_type_ids=segments).last_hidden_state
        mask = real.long()
        out = call(given["tokens"], attention_mask=mask, token_type_ids=segments)
        return out.last_hidden_state[real]

    return peer_sides(
        model,
        BertModel(_bert_config(), add_pooling_layer=False),
        names.BERT,
        {"tokens": torch.randint(1, _VOCAB, real.shape)},  # 0 is padding, without a gradient
        computed,
        expected,
        dtype,
    )


# --- ViT ---------------------------------------------------------------------------------------


def _vit_config() -> Any:
    from transformers import ViTConfig

    sizes: dict[str, Any] = {"image_size": (8, 12), "patch_size": 4, "num_labels": 5}
    return ViTConfig(layer_norm_eps=1e-6, **sizes, **_SIZES)


def _vit_block(dtype: torch.dtype) -> Sides:
    from transformers.models.vit.modeling_vit import ViTLayer

    return peer_sides(
        transformer_block(_DIM, _HEADS, hidden=_HIDDEN, activation="gelu", norm_eps=1e-6),
        ViTLayer(_vit_config()),
        names.VIT_BLOCK,
        _nodes(dtype),
        lambda call, given: call(given["x"], Complete(_N)),
        lambda call, given: call(given["x"]),
        dtype,
    )


def _vit(dtype: torch.dtype) -> Sides:
    from transformers import ViTForImageClassification

    model = vit(
        5,
        dim=_DIM,
        heads=_HEADS,
        layers=_LAYERS,
        hidden=_HIDDEN,
        image_size=(8, 12),
        patch_size=4,
    )
    return peer_sides(
        model,
        ViTForImageClassification(_vit_config()),
        names.VIT,
        {"images": torch.randn(_B, 3, 8, 12, dtype=dtype)},
        lambda call, given: call(given["images"]),
        lambda call, given: call(given["images"]).logits,
        dtype,
    )


_DEVLIN = "Devlin et al. 2018, arXiv:1810.04805, section 3"
_DOSOVITSKIY = "Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1"

_claim = partial(Claim, needs=("transformers",))

HUGGINGFACE = (
    _claim("block of BERT", "transformer", "transformers BertLayer", _bert_block, _DEVLIN),
    _claim("BERT", "transformer", "transformers BertModel", _bert, _DEVLIN),
    _claim(
        "BERT over blocks of different sizes",
        "transformer",
        "transformers BertModel(attention_mask)",
        partial(_bert, sizes=(5, _N, 2)),
        _DEVLIN,
    ),
    *HUGGINGFACE_LANGUAGE,
    _claim("block of ViT", "transformer", "transformers ViTLayer", _vit_block, _DOSOVITSKIY),
    _claim("ViT", "transformer", "transformers ViTForImageClassification", _vit, _DOSOVITSKIY),
)
