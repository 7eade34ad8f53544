"""Faults of the integration with Transformers: above all, a rule is honoured or refused, always."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    MambaConfig,
    MambaModel,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    SamVisionConfig,
    SamVisionModel,
    StaticCache,
)
from transformers.masking_utils import create_masks_for_generate

import edgewise as ew
from edgewise.errors import ArgumentError, EdgewiseError, GraphError
from edgewise.integrations import huggingface
from edgewise.integrations.huggingface import Layout, Pattern, batch_graph
from edgewise.integrations.huggingface.interface import attend
from edgewise.layouts import DenseMask, lower
from tests.faults.kinds import Kind, each_case
from tests.integrations.huggingface.families import BY_NAME, batch_of, built, features

WINDOW = "Window(n, left=1, right=1)"
B, N = 2, 8
PADDINGS = {
    "none": None,
    "left": [[0, 0, 1, 1, 1, 1, 1, 1], [1] * N],
    "right": [[1, 1, 1, 1, 1, 0, 0, 0], [1] * N],
    "holes": [[1, 1, 0, 1, 1, 0, 0, 1], [1] * N],
}


@pytest.fixture(autouse=True)
def _quiet(recwarn):
    """Tracers warn of sizes that Transformers' own code makes constant."""


def ids() -> torch.Tensor:
    torch.manual_seed(5)
    return torch.randint(3, 60, (B, N))


def padding(name: str) -> torch.Tensor | None:
    return None if PADDINGS[name] is None else torch.tensor(PADDINGS[name])


def model_of(name: str, implementation: str = "edgewise") -> Any:
    model = built(BY_NAME[name], implementation)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5)


def rule_as_mask(mask: torch.Tensor | None, causal: bool, rule: object = WINDOW) -> torch.Tensor:
    """The mask of four axes that says what the rule says."""
    whole = torch.zeros(B, 1, N, N, dtype=torch.bool)
    for b in range(B):
        at = torch.arange(N) if mask is None else mask[b].nonzero()[:, 0]
        graph = huggingface.Rule.read(rule).of(len(at), b, B)
        own = lower(graph, DenseMask).mask
        whole[b, 0, at[:, None], at] = own.tril() if causal else own
    return whole


class Features(nn.Module):
    """A model whose output is one tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return features(self.model(tokens, attention_mask=mask))


# --- The law: a rule is honoured or refused, always -----------------------------------------------


def _eager(model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    return Features(model)(tokens, mask)


def _compiled(model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    torch._dynamo.reset()
    return torch.compile(Features(model), backend="aot_eager", fullgraph=True)(tokens, mask)


def _exported(model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    program = torch.export.export(Features(model), (tokens, mask), strict=False)
    return program.module()(tokens, mask)


def _traced(model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    inputs = (tokens,) if mask is None else (tokens, mask)
    return torch.jit.trace(Features(model), inputs, check_trace=False)(*inputs)


RUNS = {"eager": _eager, "compile": _compiled, "export": _exported, "trace": _traced}


@dataclass(frozen=True)
class Lawful:
    """A way to give a rule, a way to run, and a mask."""

    family: str
    given: str
    run: str
    mask: str


def _check_law(case: Lawful) -> None:
    family, tokens = BY_NAME[case.family], ids()
    model = model_of(case.family)
    mask = torch.ones(B, 1, N, N, dtype=torch.bool) if case.mask == "4-D" else padding(case.mask)
    if case.given == "config":
        model.config.graph_rule = WINDOW
    run = RUNS[case.run]
    with torch.no_grad():
        if case.mask == "4-D":
            with pytest.raises(Exception, match=r"mask of four axes|Observed exception"):
                _given(case, run, model, tokens, mask)
            return
        found = _given(case, run, model, tokens, mask)
        theirs = model_of(case.family, "sdpa")
        wanted = features(theirs(tokens, attention_mask=rule_as_mask(mask, family.causal)))
    held = torch.ones(B, N, dtype=torch.bool) if mask is None else mask.bool()
    close(found[held], wanted[held])


def _given(case: Lawful, run: Any, model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    if case.given == "config":
        return run(model, tokens, mask)
    with huggingface.graph(WINDOW):
        return run(model, tokens, mask)


LAWFUL = [
    Lawful("BERT", given, run, mask)
    for given in ("config", "block")
    for run in RUNS
    for mask in (*PADDINGS, "4-D")
] + [
    Lawful("Llama", given, run, mask)
    for given, run, mask in (
        ("config", "compile", "left"),
        ("block", "eager", "holes"),
        ("config", "export", "none"),
        ("block", "trace", "right"),
    )
]


# --- Contexts -------------------------------------------------------------------------------------


def _in_threads(inside: Callable[[], Any], outside: Callable[[], Any]) -> tuple[Any, Any]:
    """One thread inside a block, while another runs outside it."""
    found: dict[str, Any] = {}
    entered, left = threading.Event(), threading.Event()

    def first() -> None:
        with torch.no_grad(), huggingface.graph(WINDOW):
            entered.set()
            left.wait(60)
            found["inside"] = inside()

    def second() -> None:
        entered.wait(60)
        with torch.no_grad():
            found["outside"] = outside()
        left.set()

    threads = [threading.Thread(target=each) for each in (first, second)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    return found["inside"], found["outside"]


def _in_tasks(inside: Callable[[], Any], outside: Callable[[], Any]) -> tuple[Any, Any]:
    async def first() -> Any:
        with huggingface.graph(WINDOW):
            await asyncio.sleep(0.05)
            return inside()

    async def second() -> Any:
        await asyncio.sleep(0.01)
        return outside()

    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(first(), second())

    with torch.no_grad():
        return asyncio.run(both())


def _check_context(case: tuple[Callable[..., Any], bool]) -> None:
    apart, is_compiled = case
    model, tokens = model_of("BERT"), ids()
    call = Features(model)
    with torch.no_grad():
        plain = call(tokens)
        wanted = features(
            model_of("BERT", "sdpa")(tokens, attention_mask=rule_as_mask(None, False))
        )
        if is_compiled:
            torch._dynamo.reset()
            call = torch.compile(call, backend="eager", fullgraph=True)
            call(tokens)
            with huggingface.graph(WINDOW):
                call(tokens)
    inside, outside = apart(partial(call, tokens), partial(call, tokens))
    close(inside, wanted)
    close(outside, plain)


def _check_weights_of_threads(_: Any) -> None:
    models = [model_of("BERT") for _ in range(2)]
    counts: list[int] = []
    done = threading.Event()

    def noise() -> None:
        with torch.no_grad():
            while not done.is_set():
                models[1](ids())

    thread = threading.Thread(target=noise)
    thread.start()
    try:
        with torch.no_grad():
            counts = [len(huggingface.weights(models[0], {"input_ids": ids()})) for _ in range(10)]
    finally:
        done.set()
        thread.join(60)
    assert counts == [2] * 10


# --- Save and load --------------------------------------------------------------------------------


def _check_reload(case: tuple[str, str | None], folder: Any) -> None:
    name, implementation = case
    model, tokens = model_of(name), ids()
    model.config.graph_rule = WINDOW
    model.save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert stored["attn_implementation"] == "edgewise"
    settings = {} if implementation is None else {"attn_implementation": implementation}
    if implementation not in (None, "edgewise"):
        with pytest.raises(ArgumentError, match="only attn_implementation='edgewise' follows"):
            type(model).from_pretrained(folder, **settings)
        config = AutoConfig.from_pretrained(folder)
        with pytest.raises(ArgumentError, match="graph_rule"):
            AutoModel.from_config(config, **settings)
        return
    again = type(model).from_pretrained(folder, **settings).eval()
    with torch.no_grad():
        close(Features(again)(tokens), Features(model)(tokens))
    model.config.graph_rule = None
    model.save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "attn_implementation" not in stored
    assert "graph_rule" not in stored


@pytest.mark.parametrize("implementation", [None, "edgewise", "sdpa", "eager"])
@pytest.mark.parametrize("name", ["BERT", "Llama"])
def test_a_saved_rule_is_followed_or_refused(name, implementation, tmp_path):
    _check_reload((name, implementation), tmp_path)


@pytest.mark.parametrize("name", ["BERT", "Llama"])
def test_a_rule_and_another_implementation_are_refused_at_once(name):
    model = model_of(name)
    model.config.graph_rule = WINDOW
    with pytest.raises(ArgumentError, match="got 'sdpa'"):
        model.set_attn_implementation("sdpa")
    other = model_of(name, "sdpa")
    with pytest.raises(ArgumentError, match=re.escape("Prepare the model with use(model) first")):
        other.config.graph_rule = WINDOW
    huggingface.use(other).config.graph_rule = WINDOW


def test_another_process_without_edgewise_cannot_drop_the_rule(tmp_path):
    model = model_of("BERT")
    model.config.graph_rule = WINDOW
    model.save_pretrained(tmp_path)
    program = f"import transformers; transformers.AutoModel.from_pretrained({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode
    assert 'attn_implementation="edgewise"' in done.stderr
    whole = subprocess.run(
        [sys.executable, "-c", f"import edgewise.integrations.huggingface; {program}"],
        capture_output=True,
        text=True,
    )
    assert whole.returncode == 0, whole.stderr


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


# --- Rules of every form --------------------------------------------------------------------------

EDGES = [[0, 1, 2, 6], [1, 2, 3, 0]]
FORMS: dict[str, object] = {
    "tensors": {"edges": [torch.tensor(EDGES), torch.tensor([[0], [5]])]},
    "arrays": {"edges": np.array([EDGES, EDGES])},
    "one tensor": torch.tensor(EDGES),
    "one array": np.array(EDGES),
    "copies of an edge": {"edges": [[[0, 0, 1], [1, 1, 1]]]},
    "a graph": ew.Window(N, left=2, right=1),
    "a graph with copies": ew.EdgeList([[0, 0, 3], [1, 1, 3]], num_nodes=N),
    "graphs": [ew.Window(N, left=2, right=1), ew.EdgeList(EDGES, num_nodes=N)],
    "a function": lambda n: ew.Window(n, left=2, right=1),
    "a family": ew.Causal,
    "n - 1": "Hubs(n, [n - 1])",
    "n // 4": "Window(n, left=n // 4, right=0)",
    "2 * n": "Window(n, left=2 * n - n - 6, right=min(n - 1, 2)) | Hubs(n, [max(0, n % 3)])",
}


def _check_form(name: str) -> None:
    rule, tokens = FORMS[name], ids()
    model = model_of("BERT")
    with torch.no_grad():
        with huggingface.graph(rule):
            found = Features(model)(tokens)
        mask = rule_as_mask(None, False, rule)
        wanted = features(model_of("BERT", "sdpa")(tokens, attention_mask=mask))
        close(found, wanted)
        if huggingface.Rule.read(rule).function is not None:
            return
        source = huggingface.Rule.read(rule).source
        with huggingface.graph(source):
            close(Features(model)(tokens), wanted)
        with pytest.raises(ArgumentError, match=re.escape("for one call after use(model)")):
            model(tokens, graph=rule)
        close(features(huggingface.use(model)(tokens, graph=rule)), wanted)


def _check_layers(case: str) -> None:
    """A rule for chosen layers, in every way of running."""
    model, tokens, mask = model_of("BERT"), ids(), padding("holes")
    first, second = model.encoder.layer
    seen: list[Any] = []
    with torch.no_grad():
        with huggingface.graph(WINDOW, layers=[first]):
            found = huggingface.weights(model, {"input_ids": tokens, "attention_mask": mask})
        seen = [each.edges.shape[1] for each in found]
        with huggingface.graph("Causal(n)"), huggingface.graph(WINDOW, layers=second):
            nested = Features(model)(tokens, mask)
            again = RUNS[case](model, tokens, mask)
    held = mask.bool()
    close(again[held], nested[held])
    assert seen[0] <= seen[1]


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
        "a rule is dropped",
        _check_law,
        {f"{c.family}, {c.given}, {c.run}, {c.mask}": c for c in LAWFUL},
    ),
    Kind(
        "a rule reaches others",
        _check_context,
        {
            "threads": (_in_threads, False),
            "tasks": (_in_tasks, False),
            "threads, compiled": (_in_threads, True),
            "tasks, compiled": (_in_tasks, True),
        },
    ),
    Kind("weights of others", _check_weights_of_threads, {"two threads": None}),
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
    Kind("a form of rules", _check_form, {name: name for name in FORMS}),
    Kind("a rule of layers", _check_layers, {"eager": "eager", "compile": "compile"}),
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


def test_a_checkpointed_layer_without_masks_refuses_two_rules():
    model = built(BY_NAME["ViT"], "edgewise").train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    inputs, _ = batch_of(BY_NAME["ViT"], "none")
    with huggingface.graph(WINDOW):
        out = model(**inputs).logits.sum()
    more = model(**inputs).logits.sum()
    with pytest.raises(ArgumentError, match="followed several rules since the last backward"):
        (out + more).backward()


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


def test_importing_registers_the_name():
    program = (
        "import sys, edgewise.integrations.huggingface\n"
        "assert 'transformers' not in sys.modules\n"
        "from transformers import BertConfig, BertModel\n"
        "sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)\n"
        "config = BertConfig(**sizes, intermediate_size=8, vocab_size=9)\n"
        "model = BertModel._from_config(config, attn_implementation='edgewise')\n"
        "print(model.config._attn_implementation)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "edgewise\n", done.stderr


def test_a_function_cannot_be_compiled():
    rule = huggingface.Rule.read(lambda n: ew.Causal(n))
    with pytest.raises(ArgumentError, match="a function of n cannot be compiled"):
        rule.source  # noqa: B018
    with pytest.raises(GraphError, match=re.escape("the example has 3 tokens")):
        replace(rule, function=lambda _: ew.Causal(5)).of(3, 0, 1)
