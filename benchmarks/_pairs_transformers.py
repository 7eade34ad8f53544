"""Transformers and their originals in torch and Hugging Face, on random tokens and images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from _pairs import BATCHES, Pair
from _workloads import sentence_sizes
from torch import Tensor, nn

import edgewise as ew
from edgewise.integrations.names import huggingface_names, torch_names
from edgewise.models import (
    Decoder,
    Encoder,
    bert,
    gpt2,
    llama,
    positions_within,
    transformer_block,
    vit,
)

# --- Layers of torch -----------------------------------------------------------------------------

DIM, HIDDEN, TORCH_HEADS = 256, 1024, 8
_TORCH: dict[str, Any] = {"dim_feedforward": HIDDEN, "dropout": 0.0, "batch_first": True}


def torch_layers(batch: int, nodes: int) -> Iterator[Pair]:
    """One layer of an encoder, and one of a decoder."""
    x, memory = torch.randn(2, batch, nodes, DIM)
    complete = ew.Complete(nodes)
    yield Pair(
        f"{batch} x {nodes} nodes",
        "encoder layer",
        "TransformerEncoderLayer",
        transformer_block(DIM, TORCH_HEADS, hidden=HIDDEN, order="post"),
        nn.TransformerEncoderLayer(DIM, TORCH_HEADS, **_TORCH),
        torch_names.ENCODER_LAYER,
        lambda ours: ours(x, complete).square().mean(),
        lambda peer: peer(x).square().mean(),
    )
    later = nn.Transformer.generate_square_subsequent_mask(nodes)
    yield Pair(
        f"{batch} x {nodes} nodes",
        "decoder layer",
        "TransformerDecoderLayer",
        Decoder(DIM, TORCH_HEADS, 1, hidden=HIDDEN, order="post", final_norm=False),
        nn.TransformerDecoderLayer(DIM, TORCH_HEADS, **_TORCH),
        torch_names.DECODER_LAYER,
        lambda ours: ours(x, memory).square().mean(),
        lambda peer: peer(x, memory, tgt_mask=later, tgt_is_causal=True).square().mean(),
    )


def torch_ragged(batches: list[list[int]], layers: int) -> Iterator[Pair]:
    """Sentences side by side; theirs pads to the longest and masks."""
    padded: list[tuple[Tensor, Tensor]] = []
    packed: list[tuple[Tensor, list[int]]] = []
    for sizes in batches:
        real = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        x = torch.randn(*real.shape, DIM)
        padded.append((x, real))
        packed.append((x[real], sizes))
    layer = nn.TransformerEncoderLayer(DIM, TORCH_HEADS, **_TORCH)
    first, graph = packed[0][0], ew.Blocks(batches[0])
    next_one, next_peer = cycle(packed), cycle(padded)

    def anew(ours: nn.Module) -> Tensor:
        x, sizes = next(next_one)
        return ours(x, ew.Blocks(sizes)).square().mean()

    def loss_peer(peer: nn.Module, x: Tensor, real: Tensor) -> Tensor:
        return peer(x, src_key_padding_mask=~real)[real].square().mean()

    yield Pair(
        f"{len(batches[0])} sentences",
        "encoder",
        "TransformerEncoder, padded",
        Encoder(DIM, TORCH_HEADS, layers, hidden=HIDDEN, order="post"),
        nn.TransformerEncoder(layer, layers, enable_nested_tensor=False),
        torch_names.ENCODER,
        lambda ours: ours(first, graph).square().mean(),
        lambda peer: loss_peer(peer, *padded[0]),
        anew,
        lambda peer: loss_peer(peer, *next(next_peer)),
    )


# --- Models of Hugging Face ----------------------------------------------------------------------

_BERT: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": DIM,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": HIDDEN,
}


def _ragged_bert(batches: list[list[int]], ours: nn.Module, theirs: nn.Module) -> Pair:
    padded: list[tuple[Tensor, Tensor]] = []
    packed: list[tuple[Tensor, list[int]]] = []
    for sizes in batches:
        real = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        tokens = torch.randint(1000, real.shape)
        padded.append((tokens, real))
        packed.append((tokens[real], sizes))
    next_one, next_peer = cycle(packed), cycle(padded)
    held = ew.Blocks(batches[0]), positions_within(batches[0])

    def loss(ours: nn.Module, tokens: Tensor, graph: ew.Graph, positions: Tensor) -> Tensor:
        return ours(tokens, graph, positions=positions).square().mean()

    def anew(ours: nn.Module) -> Tensor:
        tokens, sizes = next(next_one)
        return loss(ours, tokens, ew.Blocks(sizes), positions_within(sizes))

    def loss_peer(peer: nn.Module, tokens: Tensor, real: Tensor) -> Tensor:
        return peer(tokens, attention_mask=real).last_hidden_state[real].square().mean()

    return Pair(
        f"{len(batches[0])} sentences",
        "bert",
        "HF BertModel, padded",
        ours,
        theirs,
        huggingface_names.BERT,
        lambda ours: loss(ours, packed[0][0], *held),
        lambda peer: loss_peer(peer, *padded[0]),
        anew,
        lambda peer: loss_peer(peer, *next(next_peer)),
    )


def huggingface(quick: bool) -> Iterator[Pair]:
    """Small configurations of the published models, on random tokens and images."""
    import transformers as peers

    few = 2 if quick else 16
    tokens = torch.randint(1000, (few, 128))
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

    def small_bert() -> tuple[nn.Module, nn.Module]:
        config = peers.BertConfig(**_BERT, **none, max_position_embeddings=128)
        ours = bert(1000, dim=DIM, heads=4, layers=4, hidden=HIDDEN, max_positions=128, dropout=0.0)
        return ours, peers.BertModel(config, add_pooling_layer=False)

    yield Pair(
        f"{few} x 128 tokens",
        "bert",
        "HF BertModel",
        *small_bert(),
        huggingface_names.BERT,
        lambda ours: ours(tokens).square().mean(),
        lambda peer: peer(tokens).last_hidden_state.square().mean(),
    )
    yield _ragged_bert(sentence_batches(8 if quick else 64), *small_bert())
    text = torch.randint(65, (2 if quick else 8, 257))
    before, after = text[:, :-1], text[:, 1:]

    def language(ours: nn.Module) -> Tensor:
        return F.cross_entropy(ours(before).flatten(0, 1), after.flatten())

    def language_peer(peer: nn.Module) -> Tensor:
        return F.cross_entropy(peer(before).logits.flatten(0, 1), after.flatten())

    config = peers.GPT2Config(
        vocab_size=65,
        n_embd=DIM,
        n_layer=4,
        n_head=4,
        n_positions=256,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    yield Pair(
        f"{len(text)} x 256 tokens",
        "gpt2",
        "HF GPT2LMHeadModel",
        gpt2(65, dim=DIM, heads=4, layers=4, max_positions=256, dropout=0.0),
        peers.GPT2LMHeadModel(config),
        huggingface_names.GPT2,
        language,
        language_peer,
    )
    config = peers.LlamaConfig(
        vocab_size=65,
        hidden_size=DIM,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
    )
    yield Pair(
        f"{len(text)} x 256 tokens",
        "llama",
        "HF LlamaForCausalLM",
        llama(65, dim=DIM, heads=4, kv_heads=2, layers=4, hidden=688),
        peers.LlamaForCausalLM(config),
        huggingface_names.LLAMA,
        language,
        language_peer,
    )
    images = torch.randn(4 if quick else 32, 3, 32, 32)
    labels = torch.randint(10, (len(images),))
    config = peers.ViTConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=32,
        patch_size=4,
        num_labels=10,
        layer_norm_eps=1e-6,
        **none,
    )
    yield Pair(
        f"{len(images)} images of 64 patches",
        "vit",
        "HF ViTForImageClassification",
        vit(10, dim=192, heads=3, layers=4, hidden=768, image_size=32, patch_size=4),
        peers.ViTForImageClassification(config),
        huggingface_names.VIT,
        lambda ours: F.cross_entropy(ours(images), labels),
        lambda peer: F.cross_entropy(peer(images).logits, labels),
    )


def sentence_batches(count: int) -> list[list[int]]:
    """Words in sentences of the English Web Treebank, in their order, by so many."""
    sizes = [min(size, 128) for size in sentence_sizes()][: count * BATCHES]
    return [sizes[at : at + count] for at in range(0, len(sizes), count)]
