"""Names of weights in Hugging Face Transformers.

The names are those of the modules in version 5. Files that were written by earlier versions may
have other names, which Transformers converts when it loads them.
"""

from __future__ import annotations

from edgewise.integrations.names.table import Name, within

__all__ = [
    "BERT",
    "BERT_BLOCK",
    "GPT2",
    "GPT2_BLOCK",
    "LLAMA",
    "LLAMA_BLOCK",
    "VIT",
    "VIT_BLOCK",
]

_QKV = ("mixer.q_proj", "mixer.k_proj", "mixer.v_proj")

BERT_BLOCK = (
    Name(("mixer.q_proj",), "attention.self.query"),
    Name(("mixer.k_proj",), "attention.self.key"),
    Name(("mixer.v_proj",), "attention.self.value"),
    Name(("mixer.out_proj",), "attention.output.dense"),
    Name(("mixer_norm",), "attention.output.LayerNorm"),
    Name(("mlp.up_proj",), "intermediate.dense"),
    Name(("mlp.down_proj",), "output.dense"),
    Name(("mlp_norm",), "output.LayerNorm"),
)

# `TextEncoder` and `BertModel` without its pooler.
BERT = (
    Name(("embedding.token",), "embeddings.word_embeddings"),
    Name(("embedding.position",), "embeddings.position_embeddings"),
    Name(("embedding.segment",), "embeddings.token_type_embeddings"),
    Name(("embedding.norm",), "embeddings.LayerNorm"),
    *within(BERT_BLOCK, "trunk.blocks.{i}.", "encoder.layer.{i}."),
)

GPT2_BLOCK = (
    Name(("mixer_norm",), "ln_1"),
    Name(_QKV, "attn.c_attn", turned=True),
    Name(("mixer.out_proj",), "attn.c_proj", turned=True),
    Name(("mlp_norm",), "ln_2"),
    Name(("mlp.up_proj",), "mlp.c_fc", turned=True),
    Name(("mlp.down_proj",), "mlp.c_proj", turned=True),
)

# `LanguageModel` and `GPT2LMHeadModel`.
GPT2 = (
    Name(("embedding.token",), "transformer.wte"),
    Name(("embedding.position",), "transformer.wpe"),
    *within(GPT2_BLOCK, "trunk.blocks.{i}.", "transformer.h.{i}."),
    Name(("trunk.norm",), "transformer.ln_f"),
    Name(("head",), "lm_head"),
)

LLAMA_BLOCK = (
    Name(("mixer_norm",), "input_layernorm"),
    Name(("mixer.q_proj",), "self_attn.q_proj"),
    Name(("mixer.k_proj",), "self_attn.k_proj"),
    Name(("mixer.v_proj",), "self_attn.v_proj"),
    Name(("mixer.out_proj",), "self_attn.o_proj"),
    Name(("mlp_norm",), "post_attention_layernorm"),
    Name(("mlp.gate_proj",), "mlp.gate_proj"),
    Name(("mlp.up_proj",), "mlp.up_proj"),
    Name(("mlp.down_proj",), "mlp.down_proj"),
)

# `LanguageModel` and `LlamaForCausalLM`.
LLAMA = (
    Name(("embedding.token",), "model.embed_tokens"),
    *within(LLAMA_BLOCK, "trunk.blocks.{i}.", "model.layers.{i}."),
    Name(("trunk.norm",), "model.norm"),
    Name(("head",), "lm_head"),
)

VIT_BLOCK = (
    Name(("mixer_norm",), "layernorm_before"),
    Name(("mixer.q_proj",), "attention.q_proj"),
    Name(("mixer.k_proj",), "attention.k_proj"),
    Name(("mixer.v_proj",), "attention.v_proj"),
    Name(("mixer.out_proj",), "attention.o_proj"),
    Name(("mlp_norm",), "layernorm_after"),
    Name(("mlp.up_proj",), "mlp.fc1"),
    Name(("mlp.down_proj",), "mlp.fc2"),
)

# `VisionTransformer` and `ViTForImageClassification`.
VIT = (
    Name(("class_token",), "vit.embeddings.cls_token", axes=2),
    Name(("position",), "vit.embeddings.position_embeddings", axes=1),
    Name(("patch_proj",), "vit.embeddings.patch_embeddings.projection"),
    *within(VIT_BLOCK, "trunk.blocks.{i}.", "vit.layers.{i}."),
    Name(("trunk.norm",), "vit.layernorm"),
    Name(("head",), "classifier"),
)
