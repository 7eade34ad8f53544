"""Claims about language models of Hugging Face Transformers, small and with random weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgewise.claims.claim import BOUNDS, Claim, Sides
from edgewise.claims.fixtures.module_pair import peer_sides
from edgewise.graphs import Causal, Window
from edgewise.integrations.names import huggingface_names as names
from edgewise.models import gpt2, llama, transformer_block
from edgewise.nn import Rotary

__all__ = ["HUGGINGFACE_LANGUAGE"]

_B, _N, _DIM, _HEADS, _HIDDEN, _LAYERS, _VOCAB = 2, 9, 24, 4, 40, 2, 31


def _nodes(dtype: torch.dtype) -> dict[str, Tensor]:
    return {"x": torch.randn(_B, _N, _DIM, dtype=dtype)}


def _tokens() -> dict[str, Tensor]:
    return {"tokens": torch.randint(_VOCAB, (_B, _N))}


# --- GPT-2 -------------------------------------------------------------------------------------


def _gpt2_config() -> Any:
    from transformers import GPT2Config

    settings: dict[str, Any] = {
        "vocab_size": _VOCAB,
        "n_positions": 16,
        "n_embd": _DIM,
        "n_layer": _LAYERS,
        "n_head": _HEADS,
        "n_inner": _HIDDEN,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "attn_implementation": "sdpa",
    }
    return GPT2Config(**settings)


def _gpt2_block(dtype: torch.dtype) -> Sides:
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    return peer_sides(
        transformer_block(_DIM, _HEADS, hidden=_HIDDEN, activation="gelu_tanh"),
        GPT2Block(_gpt2_config(), layer_idx=0),
        names.GPT2_BLOCK,
        _nodes(dtype),
        lambda call, given: call(given["x"], Causal(_N)),
        lambda call, given: call(given["x"]),
        dtype,
    )


def _gpt2(dtype: torch.dtype) -> Sides:
    from transformers import GPT2LMHeadModel

    model = gpt2(
        _VOCAB,
        dim=_DIM,
        heads=_HEADS,
        layers=_LAYERS,
        hidden=_HIDDEN,
        max_positions=16,
        dropout=0.0,
    )
    return peer_sides(
        model,
        GPT2LMHeadModel(_gpt2_config()),
        names.GPT2,
        _tokens(),
        lambda call, given: call(given["tokens"]),
        lambda call, given: call(given["tokens"], use_cache=False).logits,
        dtype,
    )


# --- Llama -------------------------------------------------------------------------------------


def _llama_settings() -> dict[str, Any]:
    return {
        "vocab_size": _VOCAB,
        "hidden_size": _DIM,
        "intermediate_size": _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": 2,
        "head_dim": _DIM // _HEADS,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 16,
        "pad_token_id": None,
        "attn_implementation": "sdpa",
    }


def _llama_block(dtype: torch.dtype) -> Sides:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

    config = LlamaConfig(**_llama_settings())
    block = transformer_block(
        _DIM,
        _HEADS,
        hidden=_HIDDEN,
        activation="swiglu",
        norm="rms",
        bias=False,
        kv_heads=2,
        rotary=Rotary(_DIM // _HEADS),
    )
    turns = LlamaRotaryEmbedding(config)(torch.zeros((), dtype=dtype), torch.arange(_N)[None])
    return peer_sides(
        block,
        LlamaDecoderLayer(config, layer_idx=0),
        names.LLAMA_BLOCK,
        _nodes(dtype),
        lambda call, given: call(given["x"], Causal(_N)),
        lambda call, given: call(given["x"], position_embeddings=turns),
        dtype,
    )


def _llama(dtype: torch.dtype, *, window: int | None) -> Sides:
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    model = llama(_VOCAB, dim=_DIM, heads=_HEADS, kv_heads=2, layers=_LAYERS, hidden=_HIDDEN)
    if window is None:
        peer = LlamaForCausalLM(LlamaConfig(**_llama_settings()))
    else:
        peer = MistralForCausalLM(MistralConfig(**_llama_settings(), sliding_window=window))
    graph = None if window is None else Window(_N, left=window - 1, right=0)
    return peer_sides(
        model,
        peer,
        names.LLAMA,
        _tokens(),
        lambda call, given: call(given["tokens"], graph),
        lambda call, given: call(given["tokens"], use_cache=False).logits,
        dtype,
    )


_RADFORD = "Radford et al. 2019, section 2.3"
_TOUVRON = "Touvron et al. 2023, arXiv:2307.09288, section 2.2"
_JIANG = "Jiang et al. 2023, arXiv:2310.06825, section 2"

# The originals compute RMS norms and rotary angles in float32, whatever the dtype of the model.
_SINGLE = {torch.float32: BOUNDS[torch.float32], torch.float64: BOUNDS[torch.float32]}

_claim = partial(Claim, needs=("transformers",))

HUGGINGFACE_LANGUAGE = (
    _claim("block of GPT-2", "language model", "transformers GPT2Block", _gpt2_block, _RADFORD),
    _claim("GPT-2", "language model", "transformers GPT2LMHeadModel", _gpt2, _RADFORD),
    _claim(
        "block of Llama",
        "language model",
        "transformers LlamaDecoderLayer",
        _llama_block,
        _TOUVRON,
        bounds=_SINGLE,
    ),
    _claim(
        "Llama",
        "language model",
        "transformers LlamaForCausalLM",
        partial(_llama, window=None),
        _TOUVRON,
        bounds=_SINGLE,
    ),
    _claim(
        "Llama over a window",
        "language model",
        "transformers MistralForCausalLM(sliding_window)",
        partial(_llama, window=4),
        _JIANG,
        bounds=_SINGLE,
    ),
)
