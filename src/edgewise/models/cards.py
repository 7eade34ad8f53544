"""All model cards, in the order of their page."""

from __future__ import annotations

from edgewise.models import (
    citation,
    convolutional,
    decoder_only,
    encoder,
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
    citation.GAT_CARD,
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
