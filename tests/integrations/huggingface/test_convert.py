"""Converted models have the weights, and refuse what they do not know."""

import re

import pytest
import torch

from edgewise.errors import ArgumentError
from edgewise.graphs import Window
from edgewise.integrations import huggingface
from tests.integrations.huggingface.families import BY_NAME, Family, batch_of, built, features

NAMES = ["BERT", "GPT-2", "Llama", "Mistral", "ViT"]


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_model_says_the_same(name):
    family = BY_NAME[name]
    more = {"head_dim": 8} if name == "Llama" else {}
    theirs = built(family, "sdpa", **more)
    inputs, _ = batch_of(family, "none")
    ours = huggingface.convert(theirs)
    assert not ours.training
    found = ours(next(iter(inputs.values())))
    expected = features(theirs(**inputs))
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=2e-4, atol=2e-4)


def test_weights_are_copies_in_the_same_dtype():
    theirs = built(BY_NAME["BERT"], "sdpa", torch.float64)
    ours = huggingface.convert(theirs.train())
    assert ours.training
    table = ours.embedding.token.weight
    assert table.dtype == torch.float64
    assert table.data_ptr() != theirs.embeddings.word_embeddings.weight.data_ptr()
    assert all(weight.requires_grad for weight in ours.parameters())


@pytest.mark.parametrize("kind", ["left", "right"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama"])
def test_batches_without_padding(name, kind):
    family = BY_NAME[name]
    theirs = built(family, "sdpa")
    inputs, held = batch_of(family, kind)
    mask = inputs["attention_mask"]
    batch = huggingface.unpadded(inputs["input_ids"], mask, causal=family.causal)
    assert batch.sizes == tuple(mask.sum(1).tolist())
    found = huggingface.convert(theirs)(batch.tokens, batch.graph, positions=batch.positions)
    settings = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    expected = features(theirs(**inputs, **settings))[held]
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_mistral_is_llama_over_a_window():
    model = huggingface.convert(built(BY_NAME["Mistral"], "sdpa"))
    assert model.rule(5, 9) == Window(5, 9, left=3, right=0)


OTHERS = [
    ("RoBERTa", {}, "convert: model must be one of BertModel, GPT2LMHeadModel, LlamaForCausalLM"),
    ("BERT", {"hidden_act": "relu"}, "convert: BertModel must have hidden_act='gelu', got 'relu'"),
    ("BERT", {"is_decoder": True}, "convert: BertModel must have is_decoder=False, got True"),
    ("GPT-2", {"activation_function": "relu"}, "activation_function='gelu_new' or 'gelu_pyto"),
    ("GPT-2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=False"),
    ("GPT-2", {"tie_word_embeddings": False}, "tie_word_embeddings=True, got False"),
    ("Llama", {"attention_bias": True}, "attention_bias=False, got True"),
    (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        "rope_parameters='default', got 'linear'",
    ),
    ("ViT", {"qkv_bias": False}, "convert: ViTForImageClassification must have qkv_bias=True"),
]


@pytest.mark.parametrize(("name", "settings", "text"), OTHERS)
def test_what_ours_does_not_have_is_refused(name, settings, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        huggingface.convert(built(BY_NAME[name], "eager", **settings))


def test_different_rates_of_dropout_are_refused():
    family = BY_NAME["BERT"]
    rates = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2}
    with pytest.raises(ArgumentError, match="convert: BertModel must have one rate of dropout"):
        huggingface.convert(built(family, "sdpa", **rates))


def test_padding_between_tokens_is_refused():
    with pytest.raises(ArgumentError, match="unpadded: the real tokens of a row must stand"):
        huggingface.unpadded(torch.ones(1, 3).long(), torch.tensor([[1, 0, 1]]))


def test_a_subclass_is_not_its_parent():
    parent = type(built(BY_NAME["BERT"], "sdpa"))
    child = type("BertModelWithMore", (parent,), {})
    family = Family("child", "BertConfig", "BertModel", BY_NAME["BERT"].settings)
    model = built(family, "sdpa")
    model.__class__ = child
    with pytest.raises(ArgumentError, match="got BertModelWithMore"):
        huggingface.convert(model)
