"""All model cards, in the order of their page."""

from __future__ import annotations

from edgewise.models import (
    citation,
    convolutional,
    decoder_only,
    encoder,
    exphormer,
    gnn,
    gps,
    graph_transformer,
    graphormer,
    recurrent,
    seq2seq,
    text,
    tree,
    vision,
)
from edgewise.models.card import Card

__all__ = ["CARDS"]

CARDS: tuple[Card, ...] = (
    citation.GCN_CARD,
    gnn.SAGE_CARD,
    gnn.GIN_CARD,
    gnn.MONET_CARD,
    citation.GAT_CARD,
    graph_transformer.CARD,
    graph_transformer.EDGES_CARD,
    graphormer.CARD,
    gps.CARD,
    exphormer.CARD,
    encoder.CARD,
    seq2seq.CARD,
    text.CARD,
    decoder_only.GPT2_CARD,
    decoder_only.LLAMA_CARD,
    vision.CARD,
    recurrent.CARD,
    recurrent.GRU_CARD,
    convolutional.CARD,
    convolutional.DYNAMIC_CARD,
    tree.CARD,
    tree.NARY_CARD,
)
