"""Models that write do so token by token as with Transformers' own attention."""

import pytest
import torch
from transformers import DynamicCache

from edgewise.integrations import huggingface
from tests.integrations.huggingface.families import BY_NAME, WRITERS, batch_of, built

STATIC = ["GPT-2", "Llama", "Mistral", "Gemma 2", "GPT-OSS", "Llama 4"]


@pytest.fixture(autouse=True)
def _registered():
    huggingface.register()


def written(model, inputs, **settings):
    out = model.generate(
        **inputs,
        max_new_tokens=6,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        **settings,
    )
    return out.sequences, torch.stack(out.scores)


def prompt(family, kind):
    inputs, _ = batch_of(family, kind)
    return {k: v for k, v in inputs.items() if k != "decoder_input_ids"}


def compared(family, kind, **settings):
    found = [
        written(built(family, name), prompt(family, kind), **settings)
        for name in ("edgewise", family.reference)
    ]
    (ours, scores), (theirs, expected) = found
    assert torch.equal(ours, theirs)
    finite = torch.isfinite(expected)
    torch.testing.assert_close(scores[finite], expected[finite], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kind", ["none", "left"])
@pytest.mark.parametrize("family", WRITERS, ids=lambda f: f.name)
def test_the_same_tokens_come_out(family, kind):
    compared(family, kind)


@pytest.mark.parametrize("name", ["GPT-2", "Mistral", "BART"])
def test_the_same_beams_come_out(name):
    compared(BY_NAME[name], "left", num_beams=3)


@pytest.mark.parametrize("name", ["Llama", "GPT-OSS"])
def test_without_a_cache_too(name):
    compared(BY_NAME[name], "left", use_cache=False)


@pytest.mark.parametrize("name", STATIC)
def test_with_a_static_cache_too(name):
    compared(BY_NAME[name], "left", cache_implementation="static", disable_compile=True)


def test_a_prompt_in_two_parts_is_the_prompt():
    """Several new tokens that read a cache, for sequences of different lengths."""
    family = BY_NAME["Mistral"]
    inputs, held = batch_of(family, "left")
    model = built(family, "edgewise")
    whole = model(**inputs).logits
    cache = DynamicCache(config=model.config)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    position = (mask.cumsum(-1) - 1).clamp(min=0)
    first = model(
        ids[:, :6],
        attention_mask=mask[:, :6],
        position_ids=position[:, :6],
        past_key_values=cache,
    )
    second = model(
        ids[:, 6:], attention_mask=mask, position_ids=position[:, 6:], past_key_values=cache
    )
    found = torch.cat([first.logits, second.logits], 1)
    again = model(**inputs, position_ids=position).logits
    torch.testing.assert_close(found[held], again[held], rtol=1e-4, atol=1e-4)
    assert whole.shape == again.shape
