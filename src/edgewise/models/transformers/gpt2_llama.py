"""Language models as they were published: GPT-2 and Llama are two settings of one model."""

from __future__ import annotations

from math import sqrt

import torch
from torch.types import Device

from edgewise.graphs import Causal
from edgewise.models.card import Card
from edgewise.models.transformers.encoder import Encoder
from edgewise.models.transformers.language_model import GraphRule, LanguageModel
from edgewise.models.transformers.token_embedding import TokenEmbedding
from edgewise.nn import Rotary
from edgewise.nn.layer import factory

__all__ = ["GPT2_CARD", "LLAMA_CARD", "gpt2", "llama"]


def gpt2(
    vocab_size: int = 50_257,
    *,
    dim: int = 768,
    heads: int = 12,
    layers: int = 12,
    hidden: int | None = None,
    max_positions: int = 1024,
    dropout: float = 0.1,
    norm_eps: float | None = None,
    std: float = 0.02,
    rule: GraphRule = Causal,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> LanguageModel:
    """GPT-2: pre-norm, learned positions, GELU by its tanh formula, tied; the small model.

    Weights start as N(0, std²), the last ones of attention and MLP smaller by the square root of
    ``2 * layers``, biases at zero.

    Args:
        vocab_size: Different tokens.
        dim: Features of every node.
        heads: Attention heads.
        layers: Blocks.
        hidden: Hidden features of the MLP; ``4 * dim`` when left out.
        max_positions: Longest text.
        dropout: Of embeddings, attention weights, and what attention and MLP return.
        norm_eps: Added to the variance in the norms; 1e-5 when left out.
        std: Of the first weights; narrow models learn faster from about ``1 / sqrt(dim)``.
        rule: The graph of every number of nodes, as in `LanguageModel`.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    References:
        Radford et al. Language Models are Unsupervised Multitask Learners. 2019, section 2.3.
    """
    made = factory("gpt2", device, dtype)
    front = TokenEmbedding(vocab_size, dim, max_positions=max_positions, dropout=dropout, **made)
    trunk = Encoder(
        dim,
        heads,
        layers,
        hidden=hidden,
        activation="gelu_tanh",
        norm_eps=norm_eps,
        dropout=dropout,
        attention_dropout=dropout,
        **made,
    )
    last_std = std / sqrt(2 * max(layers, 1))
    return LanguageModel(front, trunk, rule=rule, std=std, last_std=last_std, **made)


def llama(
    vocab_size: int = 32_000,
    *,
    dim: int = 4096,
    heads: int = 32,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    layers: int = 32,
    hidden: int = 11_008,
    base: float = 10_000.0,
    tied: bool = False,
    norm_eps: float = 1e-5,
    std: float = 0.02,
    rule: GraphRule = Causal,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> LanguageModel:
    """Llama: RMS norms, rotary positions, SwiGLU, no biases; Llama 2 with 7 billion weights.

    Weights start as N(0, std²).

    Args:
        vocab_size: Different tokens.
        dim: Features of every node.
        heads: Attention heads.
        kv_heads: Heads of keys and values; as many as ``heads`` when left out.
        head_dim: Features of each head; ``dim / heads`` when left out.
        layers: Blocks.
        hidden: Hidden features of the MLP.
        base: Of the rotary positions: the longest wavelength is about ``2 pi base``.
        tied: Whether the embedding of tokens is the head's matrix too.
        norm_eps: Added to the mean square in the norms.
        std: Of the first weights; narrow models learn faster from about ``1 / sqrt(dim)``.
        rule: The graph of every number of nodes, as in `LanguageModel`; a sliding
            window makes it Mistral.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Example:
        >>> import torch
        >>> model = llama(65, dim=16, heads=4, kv_heads=2, layers=2, hidden=48)
        >>> model(torch.randint(65, (2, 7))).shape
        torch.Size([2, 7, 65])

    References:
        Touvron et al. LLaMA. 2023, arXiv:2302.13971, section 2.2; Llama 2. 2023,
        arXiv:2307.09288, section 2.2 (grouped queries).
    """
    made = factory("llama", device, dtype)
    trunk = Encoder(
        dim,
        heads,
        layers,
        hidden=hidden,
        activation="swiglu",
        norm="rms",
        norm_eps=norm_eps,
        bias=False,
        kv_heads=kv_heads,
        head_dim=head_dim,
        rotary=Rotary(dim // heads if head_dim is None else head_dim, base=base),
        **made,
    )
    front = TokenEmbedding(vocab_size, dim, **made)
    return LanguageModel(front, trunk, tied=tied, rule=rule, std=std, **made)


GPT2_CARD = Card(
    "GPT-2",
    "Radford et al. Language Models are Unsupervised Multitask Learners. 2019, section 2.3",
    r"x_i = E_{t_i} + P_i, \quad x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x),"
    r" \mathrm{Causal}), \quad x \leftarrow x + W_2 \, \mathrm{gelu}(W_1 \mathrm{norm}(x)), \quad"
    r" \ell = E \, \mathrm{norm}(x)",
    "gpt2(100, dim=32, heads=4, layers=2)",
    "",
    "model(torch.randint(100, (2, 7)))",
)

LLAMA_CARD = Card(
    "Llama",
    "Touvron et al. Llama 2. 2023, arXiv:2307.09288, section 2.2",
    r"x \leftarrow x + \mathrm{attention}(\mathrm{rms}(x), \mathrm{Causal}), \quad"
    r" x \leftarrow x + W_{down} (\mathrm{silu}(W_{gate} \mathrm{rms}(x)) \odot W_{up}"
    r" \mathrm{rms}(x)), \quad s_{ij} = (R_i q_i)^\top R_j k_j / \sqrt{D}",
    "llama(100, dim=32, heads=4, kv_heads=2, layers=2, hidden=88)",
    "In float64 norms and angles are float64; Hugging Face's code keeps them in float32. Longer "
    "contexts by scaled angles are not there.",
    "model(torch.randint(100, (2, 7)))",
)
