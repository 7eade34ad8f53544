"""Rules of the integration with Transformers: a rule is honoured or refused, always."""

from __future__ import annotations

import asyncio
import json
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
from transformers import (
    AutoConfig,
    AutoModel,
)

import edgewise as ew
from edgewise.errors import ArgumentError, GraphError
from edgewise.integrations import huggingface
from tests.faults.huggingface_models import (
    PADDINGS,
    WINDOW,
    B,
    Features,
    N,
    close,
    ids,
    model_of,
    padding,
    rule_as_mask,
)
from tests.faults.kinds import Kind, each_case
from tests.integrations.huggingface.families import BY_NAME, batch_of, built, features


@pytest.fixture(autouse=True)
def _quiet(recwarn):
    """Tracers warn of sizes that Transformers' own code makes constant."""


# --- The law: a rule is honoured or refused, always -----------------------------------------------


def _eager(model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    return Features(model)(tokens, mask)


def _compiled(model: Any, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    torch._dynamo.reset()
    return torch.compile(Features(model), backend="eager", fullgraph=True)(tokens, mask)


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
    for given, masks in (("config", ("none", "left", "4-D")), ("block", ("right", "holes", "4-D")))
    for run in RUNS
    for mask in (masks if run in ("compile", "export") else (*PADDINGS, "4-D"))
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


def test_another_process_follows_the_rule_or_raises(tmp_path):
    model = model_of("BERT")
    model.config.graph_rule = WINDOW
    model.save_pretrained(tmp_path)
    program = f"import transformers; transformers.AutoModel.from_pretrained({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert 'attn_implementation="edgewise"' in done.stderr
    whole = (
        "import sys, edgewise.integrations.huggingface\n"
        "assert 'transformers' not in sys.modules\n"
        "from transformers import BertConfig, BertModel\n"
        f"model = BertModel.from_pretrained({str(tmp_path)!r})\n"
        "sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)\n"
        "config = BertConfig(**sizes, intermediate_size=8, vocab_size=9)\n"
        "named = BertModel._from_config(config, attn_implementation='edgewise')\n"
        "print(*(each.config._attn_implementation for each in (model, named)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, check=False
    )
    assert done.stdout == "edgewise edgewise\n", done.stderr


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


# --- The registry ---------------------------------------------------------------------------------

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
    Kind("a form of rules", _check_form, {name: name for name in FORMS}),
    Kind("a rule of layers", _check_layers, {"eager": "eager", "compile": "compile"}),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_a_checkpointed_layer_without_masks_refuses_two_rules():
    model = built(BY_NAME["ViT"], "edgewise").train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    inputs, _ = batch_of(BY_NAME["ViT"], "none")
    with huggingface.graph(WINDOW):
        out = model(**inputs).logits.sum()
    more = model(**inputs).logits.sum()
    with pytest.raises(ArgumentError, match="followed several rules since the last backward"):
        (out + more).backward()


def test_a_function_cannot_be_compiled():
    rule = huggingface.Rule.read(ew.Causal)
    with pytest.raises(ArgumentError, match="a function of n cannot be compiled"):
        rule.source  # noqa: B018
    with pytest.raises(GraphError, match=re.escape("the example has 3 tokens")):
        replace(rule, function=lambda _: ew.Causal(5)).of(3, 0, 1)
