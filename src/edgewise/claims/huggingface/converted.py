"""Claims about converted models of Hugging Face Transformers, with unusual settings."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgewise.claims.claim import BOUNDS, Claim, Sides, Weights
from edgewise.claims.fixtures.module_pair import ModuleCall, peer_sides
from edgewise.graphs import Blocks
from edgewise.integrations.huggingface import convert, unpadded
from edgewise.integrations.names import huggingface_names as names

__all__ = ["CONVERTED"]

_B, _N, _DIM, _HEADS, _HIDDEN, _LAYERS, _VOCAB = 3, 9, 24, 4, 40, 2, 31
_MASK = torch.arange(_N) < torch.tensor([_N, 4, 7])[:, None]

# Settings other than the defaults, so that a setting that is ignored changes the output.
_ENCODER: dict[str, Any] = {
    "hidden_size": _DIM,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": _HIDDEN,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "layer_norm_eps": 1e-3,
    "attn_implementation": "sdpa",
}


def _bert(dtype: torch.dtype) -> Sides:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=_VOCAB, max_position_embeddings=16, **_ENCODER)
    peer = BertModel(config, add_pooling_layer=False)

    def computed(call: ModuleCall, given: Weights) -> Tensor:
        batch = unpadded(given["tokens"], _MASK)
        assert batch.graph == Blocks(batch.sizes)
        return call(batch.tokens, batch.graph, positions=batch.positions)

    return peer_sides(
        convert(peer),
        peer,
        names.BERT,
        {"tokens": torch.randint(1, _VOCAB, (_B, _N))},
        computed,
        lambda call, given: call(given["tokens"], attention_mask=_MASK).last_hidden_state[_MASK],
        dtype,
    )


def _gpt2(dtype: torch.dtype) -> Sides:
    from transformers import GPT2Config, GPT2LMHeadModel

    settings: dict[str, Any] = {
        "vocab_size": _VOCAB,
        "n_positions": 16,
        "n_embd": _DIM,
        "n_layer": _LAYERS,
        "n_head": _HEADS,
        "n_inner": _HIDDEN,
        "layer_norm_epsilon": 1e-3,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "attn_implementation": "sdpa",
    }
    return _language_models(GPT2LMHeadModel(GPT2Config(**settings)), names.GPT2, dtype)


def _llama(dtype: torch.dtype, *, window: int | None, tied: bool) -> Sides:
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    settings: dict[str, Any] = {
        "vocab_size": _VOCAB,
        "hidden_size": _DIM,
        "intermediate_size": _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "head_dim": 8,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-3,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
        "pad_token_id": None,
        "attn_implementation": "sdpa",
    }
    if window is None:
        return _language_models(LlamaForCausalLM(LlamaConfig(**settings)), names.LLAMA, dtype)
    peer = MistralForCausalLM(MistralConfig(**settings, sliding_window=window))
    return _language_models(peer, names.LLAMA, dtype)


def _language_models(peer: Any, table: Any, dtype: torch.dtype) -> Sides:
    """Sides of two language models on full rows."""
    return peer_sides(
        convert(peer),
        peer,
        table,
        {"tokens": torch.randint(_VOCAB, (_B, _N))},
        lambda call, given: call(given["tokens"]),
        lambda call, given: call(given["tokens"], use_cache=False).logits,
        dtype,
    )


def _vit(dtype: torch.dtype) -> Sides:
    from transformers import ViTConfig, ViTForImageClassification

    sizes: dict[str, Any] = {"image_size": (8, 12), "patch_size": 4, "num_labels": 5}
    peer = ViTForImageClassification(ViTConfig(num_channels=1, **sizes, **_ENCODER))
    return peer_sides(
        convert(peer),
        peer,
        names.VIT,
        {"images": torch.randn(_B, 1, 8, 12, dtype=dtype)},
        lambda call, given: call(given["images"]),
        lambda call, given: call(given["images"]).logits,
        dtype,
    )


# The originals compute RMS norms and rotary angles in float32, whatever the dtype of the model.
_SINGLE = {torch.float32: BOUNDS[torch.float32], torch.float64: BOUNDS[torch.float32]}

_DEVLIN = "Devlin et al. 2018, arXiv:1810.04805, section 3"
_RADFORD = "Radford et al. 2019, section 2.3"
_TOUVRON = "Touvron et al. 2023, arXiv:2307.09288, section 2.2"
_JIANG = "Jiang et al. 2023, arXiv:2310.06825, section 2"
_DOSOVITSKIY = "Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1"

_claim = partial(Claim, needs=("transformers",))

CONVERTED = (
    _claim("converted BERT", "transformer", "transformers BertModel", _bert, _DEVLIN),
    _claim("converted GPT-2", "language model", "transformers GPT2LMHeadModel", _gpt2, _RADFORD),
    _claim(
        "converted Llama",
        "language model",
        "transformers LlamaForCausalLM",
        partial(_llama, window=None, tied=False),
        _TOUVRON,
        bounds=_SINGLE,
    ),
    _claim(
        "converted Mistral, tied",
        "language model",
        "transformers MistralForCausalLM",
        partial(_llama, window=4, tied=True),
        _JIANG,
        bounds=_SINGLE,
    ),
    _claim(
        "converted ViT",
        "transformer",
        "transformers ViTForImageClassification",
        _vit,
        _DOSOVITSKIY,
    ),
)
