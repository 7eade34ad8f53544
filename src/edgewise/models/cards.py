"""All model cards, in the order of their page."""

from __future__ import annotations

from edgewise.models.card import Card
from edgewise.models.graph import (
    exphormer,
    gnn,
    gps,
    graph_transformer,
    graphormer,
    two_layer,
)
from edgewise.models.sequence import convolutional, recurrent, tree_classifier
from edgewise.models.transformers import (
    encoder,
    encoder_decoder,
    gpt2_llama,
    text_encoder,
    vision_transformer,
)

__all__ = ["CARDS"]

CARDS: tuple[Card, ...] = (
    two_layer.GCN_CARD,
    gnn.SAGE_CARD,
    gnn.GIN_CARD,
    gnn.MONET_CARD,
    two_layer.GAT_CARD,
    graph_transformer.CARD,
    graph_transformer.EDGES_CARD,
    graphormer.CARD,
    gps.CARD,
    exphormer.CARD,
    encoder.CARD,
    encoder_decoder.CARD,
    text_encoder.CARD,
    gpt2_llama.GPT2_CARD,
    gpt2_llama.LLAMA_CARD,
    vision_transformer.CARD,
    recurrent.CARD,
    recurrent.GRU_CARD,
    convolutional.CARD,
    convolutional.DYNAMIC_CARD,
    tree_classifier.CARD,
    tree_classifier.NARY_CARD,
)
