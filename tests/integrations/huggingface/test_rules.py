"""Models on a graph of the user's choice."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM

import edgewise as ew
from edgewise.errors import ArgumentError, GraphError
from edgewise.integrations import huggingface
from edgewise.integrations.huggingface.graph_rules import both, newest
from edgewise.layouts import DenseMask, lower
from tests.integrations.huggingface.families import BY_NAME, B, N, batch_of, built, features

RULES = {
    "window": "Window(n, left=2, right=2)",
    "Longformer": "Window(n, left=1, right=1) | Hubs(n, [0])",
    "BigBird": "Window(n, left=1, right=1) | Hubs(n, [0]) | RandomRegular(n, degree=2, seed=7)",
    "tree": {"parents": [[(i - 1) // 2 if i else 0 for i in range(n)] for n in (N, 4, 7)]},
    "edges": {"edges": [[[*range(n), 0], [*range(n), n - 1]] for n in (N, 4, 7)]},
}
LENGTHS = (N, 4, 7)


@pytest.fixture(autouse=True)
def _registered():
    huggingface.register()


def dense(family, kind, rule):
    """The mask that says the same, ``[B, 1, N, N]``, written without any of what is tested."""
    whole = torch.zeros(B, 1, N, N, dtype=torch.bool)
    for b, length in enumerate((N, N, N) if kind == "none" else LENGTHS):
        graph = huggingface.Rule.read(rule).of(length, b, B)
        own = lower(graph, DenseMask).mask
        own = own.tril() if family.causal else own
        first = N - length if kind == "left" else 0
        whole[b, 0, first : first + length, first : first + length] = own
    return whole


@pytest.mark.parametrize("kind", ["none", "right", "left"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["BERT", "Llama", "GPT-2"])
def test_a_rule_is_the_mask_that_says_the_same(name, rule, kind):
    family = BY_NAME[name]
    if kind == "none" and isinstance(RULES[rule], dict):
        kind = "right"
    inputs, held = batch_of(family, kind)
    ours = built(family, "edgewise")
    with huggingface.graph(RULES[rule]):
        found = features(ours(**inputs))[held]
    theirs = built(family, "sdpa")
    mask = dense(family, kind, RULES[rule])
    expected = features(theirs(inputs["input_ids"], attention_mask=mask))[held]
    without = features(ours(**inputs))[held]
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)
    assert (found - without).abs().max() > 0.01


def test_a_model_without_padding_follows_it_too():
    family = BY_NAME["ViT"]
    inputs, _ = batch_of(family, "none")
    ours = built(family, "edgewise")
    plain = ours(**inputs).logits
    with huggingface.graph("Complete(n)"):
        assert torch.equal(ours(**inputs).logits, plain)
    with huggingface.graph("SelfLoops(n)"):
        assert not torch.allclose(ours(**inputs).logits, plain, atol=1e-3)


def test_a_window_makes_mistral_of_llama():
    """With and without caches, and token by token."""
    family, other = BY_NAME["Llama"], BY_NAME["Mistral"]
    ours, theirs = built(family, "edgewise"), built(other, "sdpa")
    theirs.load_state_dict(ours.state_dict())
    inputs, held = batch_of(family, "left")
    with huggingface.graph("Window(n, left=3, right=5)"):
        found = ours(**inputs).logits[held]
        tokens = ours.generate(**inputs, max_new_tokens=6, do_sample=False)
        beams = ours.generate(**inputs, max_new_tokens=4, do_sample=False, num_beams=3)
    torch.testing.assert_close(found, theirs(**inputs).logits[held], rtol=2e-4, atol=2e-4)
    assert torch.equal(tokens, theirs.generate(**inputs, max_new_tokens=6, do_sample=False))
    expected = theirs.generate(**inputs, max_new_tokens=4, do_sample=False, num_beams=3)
    assert torch.equal(beams, expected)


def test_a_rule_in_the_config_is_saved_with_the_model(tmp_path):
    family = BY_NAME["Llama"]
    model = built(family, "edgewise")
    inputs, _ = batch_of(family, "left")
    plain = model(**inputs).logits
    model.config.graph_rule = "Window(n, left=2, right=0)"
    expected = model(**inputs).logits
    tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert stored["graph_rule"] == "Window(n, left=2, right=0)"
    again = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="edgewise").eval()
    torch.testing.assert_close(again(**inputs).logits, expected)
    assert torch.equal(again.generate(**inputs, max_new_tokens=5, do_sample=False), tokens)
    assert not torch.allclose(plain, expected, atol=1e-2)
    with huggingface.graph("Causal(n)"):  # the nearer rule counts
        torch.testing.assert_close(again(**inputs).logits, plain)


@pytest.mark.parametrize("name", ["BERT", "Llama", "ViT"])
def test_checkpointing_follows_the_rule_in_the_backward_pass(name):
    """Layers run once more in the backward pass, when the block of the rule is over."""
    family = BY_NAME[name]
    inputs, _ = batch_of(family, "right" if name != "ViT" else "none")
    found = []
    for checkpointing in (False, True):
        model = built(family, "edgewise").train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with huggingface.graph("Window(n, left=1, right=1)"):
            out = features(model(**inputs))
        out.square().mean().backward()
        found.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, grad in found[0].items():
        torch.testing.assert_close(found[1][key], grad, rtol=1e-4, atol=1e-5)


def test_cross_attention_is_left_alone():
    family = BY_NAME["BART"]
    inputs, _ = batch_of(family, "right")
    seen = []
    with huggingface.graph("SelfLoops(n)"):
        found = huggingface.weights(built(family, "edgewise"), inputs)
    for layer in found:
        _, source, target = layer.edges
        seen.append(bool((source == target).all()))
    assert seen == [True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("rule", "error", "text"),
    [
        (3, ArgumentError, "graph: a rule must be a text with n, {'edges': ...}, {'parents': ..."),
        ("Window(9, left=1)", ArgumentError, "graph: a rule must have n where the number of"),
        ("Ring(n)", GraphError, "read_graph: a call must be one of"),
        (ew.Causal(5), GraphError, "graph: the rule's graph has 5 x 5 nodes but the example has"),
        ({"parents": [[0]]}, GraphError, "graph: the rule's graph has 1 x 1 nodes but"),
        ({"edges": [[[0], [0]]] * 2}, GraphError, "graph: the rule has 2 examples but the batch"),
        ({"trees": []}, ArgumentError, "graph: a rule must be a text with n"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_one_sentence(rule, error, text):
    family = BY_NAME["BERT"]
    inputs, _ = batch_of(family, "none")
    model = built(family, "edgewise")
    with pytest.raises(error, match=re.escape(text)), huggingface.graph(rule):
        model(**inputs)


def test_a_rule_that_nobody_asks_for_is_an_error():
    family = BY_NAME["BERT"]
    model = built(family, "sdpa")
    with (
        pytest.raises(ArgumentError, match="no attention read the rule"),
        huggingface.graph("Causal(n)"),
    ):
        model(**batch_of(family, "none")[0])


@pytest.mark.parametrize("targets", [1, 3, 9])
@pytest.mark.parametrize(
    "rule",
    [
        "Window(9, left=2, right=1) | Hubs(9, [0])",
        "Complete(9) - Window(9, left=1, right=0)",
        "Causal(9) & Window(9, left=3, right=3)",
    ],
)
def test_the_newest_rows_and_what_two_graphs_share(rule, targets):
    whole = huggingface.Rule.read(f"{rule} | SelfLoops(n)").of(9, 0, 1)
    expected = lower(whole, DenseMask).mask[-targets:]
    found = newest(whole, targets)
    assert torch.equal(lower(found, DenseMask).mask, expected)
    for own in (ew.Causal(targets, 9), ew.Window(targets, 9, left=1, right=0)):
        shared = both(own, found)
        assert torch.equal(lower(shared, DenseMask).mask, expected & lower(own, DenseMask).mask)
