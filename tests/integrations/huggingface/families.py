"""Small models of many families, with weights so large that no softmax is flat."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from typing import Any

import torch

VOCAB = 61
B, N = 3, 11


@dataclass(frozen=True)
class Family:
    """A model by its config.

    Attributes:
        name: For the test's name.
        config: Name of the config class.
        model: Name of the model class.
        settings: Of the config.
        inputs: ``text``, ``pair`` (encoder and decoder), ``pixels``, ``both``, ``sound``.
        causal: Whether it writes.
        reference: What it is compared with.
        scale: Of the weights.
        double: Whether the original works in float64; Gemma 2's masks overflow in it.
    """

    name: str
    config: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: str = "text"
    causal: bool = False
    reference: str = "sdpa"
    scale: float = 5.0
    double: bool = True

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.double else torch.float32


ENCODER = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DECODER = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXED = ["sliding_attention", "full_attention"]

FAMILIES = [
    Family("BERT", "BertConfig", "BertModel", ENCODER),
    Family("RoBERTa", "RobertaConfig", "RobertaModel", {**ENCODER, "pad_token_id": 0}),
    Family(
        "DistilBERT",
        "DistilBertConfig",
        "DistilBertModel",
        {"vocab_size": VOCAB, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 32},
    ),
    Family(
        "ModernBERT",
        "ModernBertConfig",
        "ModernBertModel",
        {**ENCODER, "pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2}
        | {"sep_token_id": 2, "local_attention": 6, "global_attn_every_n_layers": 2},
    ),
    Family(
        "GPT-2",
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": VOCAB, "n_positions": 64, "n_embd": 24, "n_layer": 2, "n_head": 4}
        | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        causal=True,
    ),
    Family("Llama", "LlamaConfig", "LlamaForCausalLM", DECODER, causal=True),
    Family(
        "Mistral",
        "MistralConfig",
        "MistralForCausalLM",
        {**DECODER, "sliding_window": 4},
        causal=True,
    ),
    Family("Qwen3", "Qwen3Config", "Qwen3ForCausalLM", DECODER, causal=True),
    Family(
        "Gemma 2",
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {**DECODER, "sliding_window": 4, "attn_logit_softcapping": 5.0, "layer_types": MIXED}
        | {"query_pre_attn_scalar": 6},
        causal=True,
        reference="eager",
        double=False,
    ),
    Family(
        "GPT-OSS",
        "GptOssConfig",
        "GptOssForCausalLM",
        {**DECODER, "sliding_window": 4, "num_local_experts": 2, "num_experts_per_tok": 1}
        | {"layer_types": MIXED},
        causal=True,
        reference="eager",
    ),
    Family(
        "Llama 4",
        "Llama4TextConfig",
        "Llama4ForCausalLM",
        {**DECODER, "attention_chunk_size": 4, "num_local_experts": 2, "intermediate_size_mlp": 32}
        | {"layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0]},
        causal=True,
    ),
    Family(
        "Mixtral",
        "MixtralConfig",
        "MixtralForCausalLM",
        {**DECODER, "num_local_experts": 2},
        causal=True,
    ),
    Family(
        "DeepSeek-V3",
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        {k: v for k, v in DECODER.items() if k not in ("head_dim", "num_key_value_heads")}
        | {"num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4}
        | {"qk_nope_head_dim": 6, "v_head_dim": 8, "n_routed_experts": 2, "n_group": 1}
        | {"topk_group": 1, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
        | {"first_k_dense_replace": 1},
        causal=True,
    ),
    Family(
        "BART",
        "BartConfig",
        "BartForConditionalGeneration",
        {"vocab_size": VOCAB, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 32}
        | {"decoder_ffn_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0}
        | {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
        | {"forced_eos_token_id": None},
        inputs="pair",
        causal=True,
    ),
    Family(
        "T5",
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": VOCAB, "d_model": 24, "d_kv": 6, "d_ff": 32, "num_layers": 2}
        | {"num_heads": 4, "dropout_rate": 0.0, "decoder_start_token_id": 0},
        inputs="pair",
        causal=True,
        scale=1.5,  # its scores are not scaled down
    ),
    Family(
        "Whisper",
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        {"vocab_size": VOCAB, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 32}
        | {"decoder_ffn_dim": 32, "num_mel_bins": 8, "max_source_positions": 10}
        | {"max_target_positions": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        | {"decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None},
        inputs="sound",
    ),
    Family(
        "ViT",
        "ViTConfig",
        "ViTForImageClassification",
        {k: v for k, v in ENCODER.items() if k not in ("vocab_size", "max_position_embeddings")}
        | {"image_size": 8, "patch_size": 4},
        inputs="pixels",
    ),
    Family("CLIP", "CLIPConfig", "CLIPModel", {}, inputs="both"),
]
BY_NAME = {family.name: family for family in FAMILIES}
WRITERS = [family for family in FAMILIES if family.causal]


@functools.cache
def _transformers() -> Any:
    return importlib.import_module("transformers")


def built(family: Family, implementation: str, dtype: torch.dtype = torch.float32, **more: Any):
    """A model in evaluation mode; the same weights for the same family."""
    torch.manual_seed(1)
    transformers = _transformers()
    settings = {**family.settings, **more}
    if family.inputs == "both":
        sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 4}
        settings["text_config"] = {**sizes, "vocab_size": VOCAB, "max_position_embeddings": 32}
        settings["text_config"] |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        settings["vision_config"] = {**sizes, "image_size": 8, "patch_size": 4}
        settings["projection_dim"] = 16
    config = getattr(transformers, family.config)(**settings)
    config._attn_implementation = implementation
    config._experts_implementation = "eager"  # the default one knows no float64
    model = getattr(transformers, family.model)(config)
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "embed" not in name and "wte" not in name and "shared" not in name:
            weight.data *= family.scale
        elif "sinks" in name:
            weight.data.normal_()
    return model.to(dtype).eval()


def padding(kind: str) -> torch.Tensor | None:
    """Three lengths, all different, padded where it is said."""
    if kind == "none":
        return None
    slot, length = torch.arange(N), torch.tensor([N, 4, 7])[:, None]
    return (slot < length if kind == "right" else slot >= N - length).long()


def batch_of(family: Family, kind: str) -> tuple[dict[str, Any], torch.Tensor]:
    """Inputs, and which of the rows that come out are real: ``[B, rows]``."""
    torch.manual_seed(2)
    mask = padding(kind)
    ids = torch.randint(3, VOCAB, (B, N))
    everything = torch.ones(B, N, dtype=torch.bool)
    held = everything if mask is None else mask.bool()
    ids = torch.where(held, ids, 0)
    text = {"input_ids": ids} | ({} if mask is None else {"attention_mask": mask})
    pixels = {"pixel_values": torch.randn(B, 3, 8, 8)}
    match family.inputs:
        case "text":
            return text, held
        case "pair":
            # As long as the encoder's: only what is said tells the two apart.
            return {**text, "decoder_input_ids": torch.randint(3, VOCAB, (B, N))}, everything
        case "sound":
            ids = {"decoder_input_ids": torch.randint(3, VOCAB, (B, 5))}
            return {"input_features": torch.randn(B, 8, 20), **ids}, everything[:, :5]
        case "pixels":
            return pixels, everything[:, :1]
        case _:
            return {**text, **pixels}, everything[:, :1]


def features(out: Any) -> torch.Tensor:
    """What a model says: ``[B, rows, ...]``."""
    if getattr(out, "text_embeds", None) is not None:
        return torch.cat([out.text_embeds, out.image_embeds], -1)[:, None]
    if getattr(out, "logits", None) is not None:
        return out.logits if out.logits.ndim == 3 else out.logits[:, None]
    return out.last_hidden_state
