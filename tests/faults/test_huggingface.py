"""Faults of the integration with Transformers: numbers, arguments and sentences."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    MambaConfig,
    MambaModel,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    SamVisionConfig,
    SamVisionModel,
    StaticCache,
)
from transformers.masking_utils import create_masks_for_generate

from edgewise.errors import ArgumentError, EdgewiseError
from edgewise.integrations import huggingface
from edgewise.integrations.huggingface import Layout, Pattern, batch_graph
from edgewise.integrations.huggingface.interface import attend
from tests.faults.huggingface_models import (
    WINDOW,
    B,
    Features,
    N,
    close,
    ids,
    model_of,
    padding,
)
from tests.faults.kinds import Kind, each_case
from tests.integrations.huggingface.families import BY_NAME, batch_of, built, features


@pytest.fixture(autouse=True)
def _quiet(recwarn):
    """Tracers warn of sizes that Transformers' own code makes constant."""


# --- The same numbers -----------------------------------------------------------------------------


def _check_padded_rows(case: tuple[str, str]) -> None:
    """Every row, padding too, is that of sdpa."""
    name, kind = case
    inputs, _ = batch_of(BY_NAME[name], kind)
    with torch.no_grad():
        found, wanted = (features(model_of(name, each)(**inputs)) for each in ("edgewise", "sdpa"))
    close(found, wanted)


def _check_right_padded_writing(name: str) -> None:
    inputs, _ = batch_of(BY_NAME[name], "right")
    found, wanted = (
        built(BY_NAME[name], each).generate(**inputs, max_new_tokens=5, do_sample=False)
        for each in ("edgewise", "sdpa")
    )
    assert torch.equal(found, wanted)


def _check_argument(case: tuple[str, dict[str, Any]]) -> None:
    name, settings = case
    tokens = ids()
    with torch.no_grad():
        found, wanted = (
            model_of(name, each)(tokens, labels=tokens, **settings).loss
            for each in ("edgewise", "sdpa")
        )
    close(found, wanted)


def _check_empty_window(width: int) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 2}
    sizes |= {"num_experts_per_tok": 1, "moe_intermediate_size": 8}
    config = Qwen2MoeConfig(**sizes, shared_expert_intermediate_size=8)
    config.sliding_window = width
    found = []
    for name in ("edgewise", "sdpa"):
        torch.manual_seed(0)
        made = Qwen2MoeForCausalLM._from_config(
            copy.deepcopy(config), attn_implementation=name
        ).eval()
        with torch.no_grad():
            found.append(made(ids()).logits)
    close(*found)


def _check_trace_of_other_lengths(case: tuple[list[int], list[int]]) -> None:
    tokens = ids()
    first, second = ((torch.arange(N) < torch.tensor(each)[:, None]).long() for each in case)
    ours, theirs = Features(model_of("BERT")), Features(model_of("BERT", "sdpa"))
    with torch.no_grad():
        traced = torch.jit.trace(ours, (tokens, first), check_trace=False)
        close(traced(tokens, second), theirs(tokens, second))
        more = torch.cat([tokens, tokens[:1]])[:, :6]
        mask = (torch.arange(6) < torch.tensor([6, 2, 4])[:, None]).long()
        close(traced(more, mask), theirs(more, mask))


def _check_no_mask_is_causal(_: Any) -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 6).unbind()
    out, _ = attend(nn.Identity(), q, k, v, None)
    wanted = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    close(out.transpose(1, 2), wanted)


def _check_static_steps(rule: str | None) -> None:
    """Compiled steps over a static cache are one compilation, with and without a rule."""
    count = 0

    def backend(module: Any, _: Any) -> Any:
        nonlocal count
        count += 1
        return module

    torch._dynamo.reset()
    model = built(BY_NAME["Llama"], "edgewise")
    model.config.graph_rule = rule
    cache = StaticCache(config=model.config, max_cache_len=32)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    prompt = ids()[:, :4]
    ones = torch.ones(B, 32).long()
    written = []
    with torch.no_grad():
        logits = model(prompt, past_key_values=cache, attention_mask=ones[:, :4]).logits
        for step in range(12):
            token = logits[:, -1].argmax(-1, keepdim=True)
            written.append(token)
            position = torch.tensor([[4 + step]])
            mask = create_masks_for_generate(
                model.config,
                model.get_input_embeddings()(token),
                ones[:, : 5 + step],
                cache,
                position_ids=position,
            )
            logits = compiled(
                token, attention_mask=mask, past_key_values=cache, position_ids=position
            ).logits
    wanted = model.generate(
        prompt,
        attention_mask=ones[:, :4],
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=None,
    )
    assert torch.equal(torch.cat(written, 1), wanted[:, 4:])
    assert count == 1


# --- Refusals -------------------------------------------------------------------------------------


def _sam() -> Any:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_dim": 32}
    sizes |= {"image_size": 32, "patch_size": 8, "output_channels": 8, "window_size": 2}
    return SamVisionModel(SamVisionConfig(**sizes, global_attn_indexes=[1]))


def _no_attention() -> None:
    config = MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, state_size=4)
    huggingface.use(MambaModel(config))(ids())


def _masks_as_tensors(change: Callable[[Any], Any]) -> None:
    change(batch_graph(Layout(1, 4, 4), Pattern()))


def _in_block(rule: object) -> None:
    with huggingface.graph(rule):
        model_of("BERT")(ids())


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "a layer": (lambda: huggingface.use(nn.Linear(2, 2)), "must be a model of Transformers or"),
    "SAM": (lambda: huggingface.use(_sam()), "SamVisionSdpaAttention, which was chosen when"),
    "no attention": (_no_attention, "no attention of MambaModel came to Edgewise"),
    "a backend": (
        lambda: huggingface.use(model_of("BERT"), backend="gathr"),
        "backend must be one of auto, reference, gather",
    ),
    "sum": (lambda: _masks_as_tensors(lambda m: torch.ones(4) + m), "use(model, dense_masks=True)"),
    "cat": (lambda: _masks_as_tensors(lambda m: torch.cat([m, m])), "use(model, dense_masks=True)"),
    "slice": (lambda: _masks_as_tensors(lambda m: m[:, 0]), "use(model, dense_masks=True)"),
    "product": (lambda: _masks_as_tensors(lambda m: 2.0 * m), "use(model, dense_masks=True)"),
    "odd tokens": (lambda: _in_block("RandomRegular(n, degree=3)"), "Choose an even degree"),
    "halves": (lambda: _in_block({"edges": [[[0.5], [1]]]}), "must be whole numbers"),
    "pairs": (lambda: _in_block({"edges": [[[0, 1]] * 3]}), "Transpose a list of pairs"),
    "division": (lambda: _in_block("Hubs(n, [n // 0])"), "divided by another than 0"),
    "no graph": (lambda: _in_block(lambda n: n), "the function must return a graph"),
    "no module": (
        lambda: huggingface.graph(WINDOW, layers=["encoder"]).__enter__(),
        "layers must be modules of the model",
    ),
    "sinks of a query": (
        lambda: attend(nn.Identity(), *torch.randn(3, 1, 2, 3, 4), None, sinks=torch.ones(2)),
        "passes sinks, which Edgewise does not know",
    ),
}


def _check_refusal(name: str) -> None:
    run, text = REFUSALS[name]
    with pytest.raises(EdgewiseError, match=re.escape(text)):
        run()


KINDS = (
    Kind(
        "padded rows differ",
        _check_padded_rows,
        {
            f"{name}, {kind}": (name, kind)
            for name in ("Llama", "GPT-2", "BERT", "Mistral", "ModernBERT", "Llama 4")
            for kind in ("right", "left")
        },
    ),
    Kind(
        "right-padded prompts go on otherwise",
        _check_right_padded_writing,
        {name: name for name in ("Llama", "GPT-2", "Mistral", "Qwen3", "DeepSeek-V3")},
    ),
    Kind(
        "a loss argument is refused",
        _check_argument,
        {
            "shift_labels": ("Llama", {"shift_labels": ids()}),
            "ignore_index": ("Llama", {"ignore_index": 7}),
            "anything": ("Llama", {"weight_of_nothing": torch.ones(3)}),
            "GPT-2": ("GPT-2", {"shift_labels": ids()}),
            "Qwen3": ("Qwen3", {"shift_labels": ids(), "num_items_in_batch": 3}),
        },
    ),
    Kind("an empty window", _check_empty_window, {"0": 0, "1": 1, "4096": 4096}),
    Kind(
        "a trace holds lengths",
        _check_trace_of_other_lengths,
        {"reported": ([5, 8], [8, 5]), "full": ([8, 8], [3, 1]), "short": ([1, 2], [8, 8])},
    ),
    Kind("no mask and no word of causal", _check_no_mask_is_causal, {"attend": None}),
    Kind(
        "a static cache compiles each step",
        _check_static_steps,
        {"no rule": None, "rule": "Window(n, left=2, right=0)"},
    ),
    Kind("an unhelpful error", _check_refusal, {name: name for name in REFUSALS}),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_a_dense_path_is_logged_once(caplog):
    from edgewise.integrations.huggingface import traced_calls

    traced_calls._log_once.cache_clear()
    model = model_of("BERT")
    with caplog.at_level(logging.WARNING), torch.no_grad():
        for _ in range(3):
            model(ids(), attention_mask=padding("holes"))
    found = [each.getMessage() for each in caplog.records if "dense mask" in each.getMessage()]
    assert found == [
        "Attention runs under a dense mask: there is padding between the tokens of a text."
    ]


def test_a_model_has_second_derivatives_with_the_backend_that_has_them():
    found = []
    for settings in ({"backend": "gather"}, None):
        model = built(BY_NAME["BERT"], "eager", torch.float64)
        model = huggingface.use(model, **settings) if settings else model
        torch.manual_seed(1)
        inputs = torch.randn(2, 5, 24, dtype=torch.float64, requires_grad=True)
        out = model(inputs_embeds=inputs).last_hidden_state
        (first,) = torch.autograd.grad(out.sin().sum(), inputs, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), inputs)
        found.append(second)
    torch.testing.assert_close(*found)


def test_a_model_is_explained():
    model = model_of("Llama")
    (found,) = huggingface.explain(model, {"input_ids": ids()})
    assert found.layers == (0, 1)
    assert found.module == "LlamaAttention"
    assert "Causal(8)" in str(found)
    with pytest.raises(ArgumentError, match="explain: no attention of the model came"):
        huggingface.explain(model_of("Llama", "sdpa"), {"input_ids": ids()})


def test_padding_is_skipped_where_it_is_asked_for():
    inputs, held = batch_of(BY_NAME["BERT"], "right")
    plain = model_of("BERT")
    skipping = huggingface.use(model_of("BERT"), skip_padding=True)
    with torch.no_grad():
        found, wanted = (features(each(**inputs)) for each in (skipping, plain))
        sizes = [len(huggingface.weights(each, inputs)[0].edges[0]) for each in (skipping, plain)]
    close(found[held], wanted[held])
    assert sizes[0] < sizes[1]
    assert not torch.allclose(found[~held], wanted[~held], atol=1e-3)


def test_a_model_within_a_module_is_prepared():
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model_of("BERT", "sdpa")

        def forward(self, inputs: dict[str, Any]) -> Any:
            return self.inner(**inputs)

    model = huggingface.use(Wrapper())
    assert model.inner.config._attn_implementation == "edgewise"
    with torch.no_grad():
        assert len(huggingface.weights(model, {"input_ids": ids()})) == 2


@pytest.mark.parametrize("beside", [False, True])
def test_a_refused_model_keeps_its_implementation(beside):
    """Also that of a model beside it, in one module with it."""
    refused, other = _sam(), model_of("BERT")
    other.set_attn_implementation("eager")
    whole = nn.ModuleList([refused, other, refused]) if beside else refused
    before = refused.config._attn_implementation
    with pytest.raises(ArgumentError, match="SamVisionSdpaAttention"):
        huggingface.use(whole)
    assert refused.config._attn_implementation == before
    assert other.config._attn_implementation == "eager"
    assert refused(torch.randn(1, 3, 32, 32)).last_hidden_state.isfinite().all()
