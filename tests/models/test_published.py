"""Published models have the sizes, the names and the first weights of their originals."""

import copy
import pickle
from functools import partial

import pytest
import torch
import transformers as peers
from torch import nn

from edgewise.integrations.names import huggingface_names as names
from edgewise.integrations.names.table import to_edgewise, to_original
from edgewise.models import bert, gpt2, llama, transformer, vit

SIZES = {  # as the papers and the model cards of the originals count
    "bert": (bert, 109_482_240 - (768 * 768 + 768)),  # without the pooler
    "gpt2": (gpt2, 124_439_808),
    "llama": (llama, 6_738_415_616),
    "vit": (vit, 86_567_656),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_published_size(name):
    build, size = SIZES[name]
    with torch.device("meta"):
        model = build()
    assert sum(weight.numel() for weight in model.parameters()) == size


def test_the_size_of_the_first_transformer():
    with torch.device("meta"):
        model, peer = transformer(), nn.Transformer(512, 8, 6, 6, 2048, batch_first=True)
    blocks = sum(w.numel() for part in (model.encoder, model.decoder) for w in part.parameters())
    final_norms = 2 * 2 * 512  # which torch adds to post-norm too
    assert blocks == sum(weight.numel() for weight in peer.parameters()) - final_norms
    total = sum(weight.numel() for weight in model.parameters())
    assert total == blocks + 37_000 * 512


_DIM, _HEADS, _LAYERS, _HIDDEN = 64, 4, 3, 176
_SIZES = {
    "hidden_size": _DIM,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": _HIDDEN,
}
_OURS = {"dim": _DIM, "heads": _HEADS, "layers": _LAYERS, "hidden": _HIDDEN}
_GPT2 = {"n_embd": _DIM, "n_head": _HEADS, "n_layer": _LAYERS, "n_inner": _HIDDEN}

PAIRS = {
    "bert": (
        lambda: bert(97, max_positions=50, **_OURS),
        lambda: peers.BertModel(
            peers.BertConfig(vocab_size=97, max_position_embeddings=50, **_SIZES),
            add_pooling_layer=False,
        ),
        names.BERT,
    ),
    "gpt2": (
        lambda: gpt2(97, max_positions=50, **_OURS),
        lambda: peers.GPT2LMHeadModel(
            peers.GPT2Config(vocab_size=97, n_positions=50, bos_token_id=0, eos_token_id=0, **_GPT2)
        ),
        names.GPT2,
    ),
    "llama": (
        lambda: llama(97, kv_heads=2, **_OURS),
        lambda: peers.LlamaForCausalLM(
            peers.LlamaConfig(vocab_size=97, num_key_value_heads=2, head_dim=16, **_SIZES)
        ),
        names.LLAMA,
    ),
    "vit": (
        lambda: vit(7, image_size=24, patch_size=4, **_OURS),
        lambda: peers.ViTForImageClassification(
            peers.ViTConfig(image_size=24, patch_size=4, num_labels=7, **_SIZES)
        ),
        names.VIT,
    ),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    ours, theirs, table = PAIRS[request.param]
    return ours(), theirs(), table


def test_names_cover_both_models_and_lead_back(pair):
    model, peer, table = pair
    ours = {name: weight.detach() for name, weight in model.named_parameters()}
    theirs = {name: weight.detach() for name, weight in peer.named_parameters()}
    renamed = to_original(ours, table)
    assert {n: w.shape for n, w in renamed.items()} == {n: w.shape for n, w in theirs.items()}
    back = to_edgewise(theirs, table)
    assert {n: w.shape for n, w in back.items()} == {n: w.shape for n, w in ours.items()}
    assert all(torch.equal(to_edgewise(renamed, table)[name], w) for name, w in ours.items())
    assert all(torch.equal(to_original(back, table)[name], w) for name, w in theirs.items())
    model.load_state_dict(to_edgewise(peer.state_dict(), table))  # tied ones have two names


def test_weights_start_as_the_originals_do(pair):
    model, peer, table = pair
    theirs = dict(peer.named_parameters())
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    for name, weight in to_original(weights, table).items():
        other = theirs[name].detach()
        if other.std() == 0 or other.numel() < 100:
            torch.testing.assert_close(weight.mean(), other.mean(), atol=0.02, rtol=0)
        else:
            assert (weight.std() / other.std()).item() == pytest.approx(1.0, abs=0.15), name


def test_the_last_projections_of_gpt2_start_smaller():
    block = gpt2(31, dim=64, heads=4, layers=8).trunk.blocks[3]
    for last in (block.mixer.out_proj, block.mlp.down_proj):
        assert last.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
    assert block.mixer.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


# --- Plain modules -----------------------------------------------------------------------------


def test_a_model_is_copied_and_pickled(small):
    build, inputs = small[0], small[1]()
    model = build().eval()
    expected = model(*inputs)
    assert torch.equal(copy.deepcopy(model)(*inputs), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(*inputs), expected)


def test_a_model_of_a_rule_is_pickled():
    from edgewise.graphs import Window

    rule = partial(Window, left=2, right=0)
    model = pickle.loads(pickle.dumps(gpt2(31, dim=16, heads=4, layers=1, rule=rule)))
    assert model.rule(2, 5) == Window(2, 5, left=2, right=0)


def test_a_model_is_built_without_memory_and_filled_later(small):
    build, inputs = small[0], small[1]()
    with torch.device("meta"):
        model = build()
    assert all(weight.is_meta for weight in model.parameters())
    filled = model.to_empty(device="cpu")
    whole = build()
    filled.load_state_dict(whole.state_dict())
    assert torch.equal(filled.eval()(*inputs), whole.eval()(*inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_weight_has_a_gradient_in_any_dtype(small, dtype):
    model, inputs = small[0]().to(dtype), small[1]()
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    out = model(*inputs)
    assert out.dtype == dtype
    out.square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
