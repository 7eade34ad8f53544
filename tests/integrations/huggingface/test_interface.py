"""The interface itself: packed rows, masks that somebody made, weights, compilers, errors."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AttentionMaskInterface, MPNetConfig, MPNetModel
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    sdpa_mask,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from edgewise.errors import ArgumentError, ShapeError
from edgewise.integrations import huggingface
from edgewise.integrations.huggingface import Layout, Pattern, batch_graph
from edgewise.integrations.huggingface.interface import attend
from edgewise.integrations.huggingface.patterns import read_pattern
from edgewise.layouts import edges
from tests.integrations.huggingface.families import BY_NAME, B, N, batch_of, built, features
from tests.pairwise import crossed


@pytest.fixture(autouse=True)
def _registered():
    huggingface.register()


def shown(batch):
    """A graph of a batch as the mask that it stands for."""
    _, _, Q, K = batch.shape
    found = edges(batch.graph)
    whole = torch.zeros(batch.shape[0], Q, K, dtype=torch.bool)
    if batch.targets is not None:
        target, source = batch.targets[found.target], batch.sources[found.source]
        whole[target // Q, target % Q, source % K] = True
        return whole
    whole[:, found.target + batch.rows[0], found.source + batch.columns[0]] = True
    if batch.mask is not None:
        first, last = batch.columns
        whole[:, :, first:last] &= batch.mask[:, 0]
    return whole


PATTERNS = {
    "causal": causal_mask_function,
    "sliding": sliding_window_causal_mask_function(3),
    "both ways": sliding_window_bidirectional_mask_function(2),
    "chunks": chunked_causal_mask_function(4, torch.tensor([0, 2, 5])),
}


@pytest.mark.parametrize("length", [1, 3, 10])
@pytest.mark.parametrize("shape", ["none", "left", "right", "around", "static"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_graph_is_the_mask_of_its_function(name, shape, length, skip):
    """On every row; on rows of real tokens alone where padded queries are skipped."""
    K, offset = 10, 10 - length
    slot = torch.arange(K)
    first, last = {
        "left": ([0, 2, 5], [10, 10, 10]),
        "right": ([0, 0, 0], [10, 4, 7]),
        "around": ([0, 2, 5], [10, 9, 6]),
    }.get(shape, ([0] * 3, [10] * 3))
    real = (slot >= torch.tensor(first)[:, None]) & (slot < torch.tensor(last)[:, None])
    held = real[:, offset:]
    if shape == "static":
        K = 16
    pattern = read_pattern(PATTERNS[name])
    padding = None if shape in ("none", "static") else real
    layout = Layout(3, length, K, offset, 0, itself=pattern.causal or length == 10)
    layout = replace(layout, skip_padding=skip)
    found = shown(batch_graph(layout, pattern, padding))
    if shape == "static" and not pattern.causal:
        found[:, :, 10:] = False
    expected = sdpa_mask(
        3, length, K, offset, 0, PATTERNS[name], padding, allow_is_causal_skip=False
    )[:, 0].clone()
    if shape == "static":
        expected[:, :, 10:] = False
    if layout.itself and skip:
        assert not found[~held].any()
        assert torch.equal(found[held], expected[held])
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Llama 4"])
def test_packed_rows_are_texts_side_by_side(name):
    """As Transformers reads positions that start anew."""
    family = BY_NAME[name]
    ids = torch.randint(3, 61, (2, 12))
    positions = torch.tensor([[*range(5), *range(7)], [*range(2), *range(9), 0]])
    ours, theirs = built(family, "edgewise"), built(family, family.reference)
    settings = {"position_ids": positions, "use_cache": False}
    found = ours(ids, **settings).logits
    torch.testing.assert_close(found, theirs(ids, **settings).logits, rtol=2e-4, atol=2e-4)
    ends = torch.tensor([0, 5, 12, 14, 23, 24])
    assert torch.equal(ours(ids, **settings, cu_seq_lens_q=ends, cu_seq_lens_k=ends).logits, found)
    with pytest.raises(ArgumentError, match="cu_seq_lens_q says that there are 2 texts but"):
        ours(ids, **settings, cu_seq_lens_q=ends[:3])


@pytest.mark.parametrize("kind", ["boolean", "numbers", "heads"])
@pytest.mark.parametrize("name", ["BERT", "Llama"])
def test_a_mask_that_somebody_made_is_honoured(name, kind):
    family = BY_NAME[name]
    inputs, _ = batch_of(family, "none")
    keep = torch.rand(B, 4 if kind == "heads" else 1, N, N) < 0.5
    keep |= torch.eye(N, dtype=torch.bool)
    mask = torch.randn(B, 1, N, N).masked_fill(~keep, -torch.inf) if kind == "numbers" else keep
    found, expected = (
        features(built(family, which)(inputs["input_ids"], attention_mask=mask))
        for which in ("edgewise", "sdpa")
    )
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_padding_between_tokens_is_honoured():
    family = BY_NAME["BERT"]
    inputs, _ = batch_of(family, "none")
    mask = torch.ones(B, N).long()
    mask[0, 3] = mask[1, 5:7] = 0
    found, expected = (
        features(built(family, which)(inputs["input_ids"], attention_mask=mask))[mask.bool()]
        for which in ("edgewise", "sdpa")
    )
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_what_is_not_known_is_not_read():
    def own(batch, head, query, key):
        return key != query + batch + head

    for unknown in (own, and_masks(causal_mask_function, own), or_masks(causal_mask_function)):
        assert read_pattern(unknown) is None


def test_equal_batches_share_one_graph():
    padding = torch.ones(2, 5, dtype=torch.bool)
    padding[1, 3:] = False
    layout = Layout(2, 5, 5)
    found = [batch_graph(layout, Pattern(), padding) for _ in range(2)]
    assert found[0].graph is found[1].graph
    assert found[0].contiguous() is found[0].to("cpu") is found[0]
    assert repr(found[0].graph) == "Blocks([5, 5], [5, 3])"
    skipping = batch_graph(replace(layout, skip_padding=True), Pattern(), padding)
    assert repr(skipping.graph) == "Blocks([5, 3])"


def test_padding_is_zeros_where_it_is_skipped():
    padding = torch.ones(2, 5, dtype=torch.bool)
    padding[1, 3:] = False
    q, k, v = torch.randn(3, 2, 4, 5, 6).unbind()
    batch = batch_graph(Layout(2, 5, 5, skip_padding=True), Pattern(), padding)
    out, weights = attend(torch.nn.Identity(), q, k, v, batch)
    assert weights is None
    assert torch.equal(out[1, 3:], torch.zeros(2, 4, 6))


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("BERT", "right"), ("GPT-2", "left"), ("Llama", "none"), ("GPT-OSS", "left"), ("T5", "none")],
)
def test_weights_are_those_of_eager(name, kind):
    family = BY_NAME[name]
    inputs, held = batch_of(family, kind)
    ours, theirs = built(family, "edgewise"), built(family, "eager")
    found = ours(**inputs, output_attentions=True)
    expected = theirs(**inputs, output_attentions=True)
    for own in ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions"):
        for a, b in zip(
            getattr(found, own, None) or (), getattr(expected, own, None) or (), strict=True
        ):
            real = held[:, None, :, None].expand_as(b)
            torch.testing.assert_close(a[real], b[real], rtol=1e-4, atol=1e-5)
    layers = [0, 1]
    key = "encoder_attentions" if name == "T5" else "attentions"
    for one in huggingface.weights(ours, inputs, layers=layers, heads=[1, 3]):
        number, source, target = one.edges
        dense = getattr(expected, key)[one.layer][number, :, target, source]
        torch.testing.assert_close(one.values, dense.T[[1, 3]], rtol=1e-4, atol=1e-5)
    some = torch.tensor([[0, 1, 2, 1, 0], [4, 10, 5, 0, 10], [6, 10, 6, 10, 0]])
    for one in huggingface.weights(ours, inputs, layers=layers, heads=[2], edges=some):
        dense = getattr(found, key)[one.layer][some[0], :, some[2], some[1]]
        torch.testing.assert_close(one.values, dense.T[[2]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layers": [2]}, "weights: layers must lie in 0 to 1, got 2. Count from 0."),
        ({"heads": [4]}, "weights: heads must lie in 0 to 3, got [4]. Count from 0."),
    ],
)
def test_weights_of_what_is_not_there(settings, text):
    family = BY_NAME["BERT"]
    with pytest.raises(ArgumentError, match=re.escape(text)):
        huggingface.weights(built(family, "edgewise"), batch_of(family, "none")[0], **settings)


def test_weights_of_a_model_without_edgewise():
    family = BY_NAME["BERT"]
    with pytest.raises(ArgumentError, match="no attention of the model came to Edgewise"):
        huggingface.weights(built(family, "sdpa"), batch_of(family, "none")[0])


# --- Compilers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "compiler"), crossed(["BERT", "Llama"], ["aot_eager", "inductor"], strength=1)
)
def test_compiled_code_takes_a_graph_that_was_built_before(name, compiler):
    family = BY_NAME[name]
    inputs, held = batch_of(family, "right")
    model = built(family, "edgewise")
    expected = features(model(**inputs, **({"use_cache": False} if family.causal else {})))
    pattern = Pattern(right=0 if family.causal else None)
    batch = batch_graph(Layout(B, N, N), pattern, inputs["attention_mask"].bool())
    compiled = torch.compile(model, backend=compiler, fullgraph=True)
    settings = {"position_ids": torch.arange(N)[None]}
    settings |= {"use_cache": False} if family.causal else {}
    found = features(compiled(inputs["input_ids"], attention_mask=batch, **settings))
    torch.testing.assert_close(found[held], expected[held], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"), crossed(["BERT", "Llama"], ["none", "right"], strength=1)
)
def test_compiled_code_makes_its_own_mask(name, kind):
    family = BY_NAME[name]
    inputs, held = batch_of(family, kind)
    model = built(family, "edgewise")
    settings = {"use_cache": False} if family.causal else {}
    expected = features(model(**inputs, **settings))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    found = features(compiled(**inputs, **settings))
    torch.testing.assert_close(found[held], expected[held], rtol=1e-4, atol=1e-4)


# --- Errors ---------------------------------------------------------------------------------------


def test_a_model_that_computes_its_own_attention_is_refused():
    config = MPNetConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=11,
    )
    text = "use: MPNetModel computes its attention by itself, without Transformers' attention"
    with pytest.raises(ArgumentError, match=text):
        huggingface.use(MPNetModel(config))


def test_a_lost_mask_is_an_error(monkeypatch):
    q = torch.randn(1, 2, 3, 4)
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, "edgewise")
    with pytest.raises(ArgumentError, match="attention_mask was lost: 'edgewise' is registered"):
        attend(torch.nn.Identity(), q, q, q, None)


@pytest.mark.parametrize(
    ("mask", "error", "text"),
    [
        (
            torch.ones(1, 3),
            ShapeError,
            "attention_mask must have shape [batch, heads, queries, keys] = [1, 2, 3, 3] where "
            "Identity reads it, got [1, 3]. Leave it to the model to make one.",
        ),
        ("all", ArgumentError, "attention_mask must be a graph, a tensor or None where Identity"),
        (
            batch_graph(Layout(1, 4, 4), Pattern()),
            ShapeError,
            "attention_mask is a graph of shape [1, 1, 4, 4] but Identity has queries and keys of "
            "[1, 1, 3, 3]. Build it for this batch, or prepare a model that joins masks",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_one_sentence(mask, error, text):
    q = torch.randn(1, 2, 3, 4)
    with pytest.raises(error, match=re.escape(text)):
        attend(torch.nn.Identity(), q, q, q, mask)


def test_what_is_not_known_is_refused():
    q = torch.randn(1, 2, 3, 4)
    text = "Identity passes block_indices, which Edgewise does not know and would ignore."
    with pytest.raises(ArgumentError, match=text):
        attend(torch.nn.Identity(), q, q, q, None, block_indices=torch.tensor([1]))
    out, _ = attend(torch.nn.Identity(), q, q, q, None, block_indices=None, sliding_window=5)
    assert out.shape == (1, 3, 2, 4)


def test_a_model_that_changes_its_mask_is_one_sentence():
    batch = batch_graph(Layout(1, 4, 4), Pattern())
    with pytest.raises(AttributeError, match=re.escape("attention_mask.masked_fill is not there")):
        batch.masked_fill(0, 1)


def test_importing_it_loads_no_transformers():
    program = "import sys, edgewise.integrations.huggingface; print('transformers' in sys.modules)"
    words = [sys.executable, "-c", program]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"


def test_without_transformers_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'edgewise[huggingface]'")):
        huggingface.register()
