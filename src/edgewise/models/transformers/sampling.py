"""Sampling of tokens: the likeliest one, or one drawn by its probability."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgewise.errors import ArgumentError
from edgewise.models.transformers.token_embedding import TokenEmbedding
from edgewise.nn.checks import check_size, check_tensor

__all__ = ["check_generation", "check_sampling", "generate", "sampled"]


def sampled(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""One token for each row of logits.

    .. math::  P(t) \propto \exp(\ell_t / \text{temperature}) \text{ among the } k \text{ largest}

    Args:
        logits: ``[*batch, vocab_size]``.
        temperature: 0 for the largest (the first of equal ones); below 1 sharper than the model,
            above 1 flatter.
        top_k: How many of the largest may be drawn (more, where the last of them are equal); all
            when left out.
        generator: Source of randomness; torch's global one when left out.

    Returns:
        ``[*batch]``, int64.

    Raises:
        ArgumentError: a temperature below 0, or ``top_k`` below 1.

    Example:
        >>> sampled(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0)
        tensor([1])
    """
    check_sampling(temperature, top_k)
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    below = logits.to(torch.promote_types(logits.dtype, torch.float32))
    below = below - below.amax(-1, keepdim=True)  # so that no temperature makes it infinite
    share = (below / temperature).softmax(-1).reshape(-1, logits.shape[-1])
    drawn = torch.multinomial(share, 1, generator=generator)
    return drawn.view(logits.shape[:-1])


def check_sampling(temperature: float, top_k: int | None) -> None:
    """Check the settings of sampling, before anything is computed."""
    if not 0 <= temperature < torch.inf:
        raise ArgumentError(
            f"temperature must be 0 or a positive number, got {temperature}. Use 0 for the "
            f"likeliest token, 1 for the model's own probabilities."
        )
    if top_k is not None:
        check_size("sampling", "top_k", top_k)


def generate(
    step: Callable[[Tensor], Tensor],
    tokens: Tensor,
    max_new_tokens: int,
    *,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Tokens and ``max_new_tokens`` more, each drawn given those before it: ``[*batch, T + n]``.

    Args:
        step: From the newest tokens ``[*batch, T]`` to the logits of the last one,
            ``[*batch, vocab_size]``; it stores what came before.
        tokens: ``[*batch, T]``, at least one.
        max_new_tokens: How many more.
        temperature: As in `sampled`.
        top_k: As in `sampled`.
        generator: As in `sampled`.
    """
    check_sampling(temperature, top_k)
    if not tokens.ndim or not tokens.shape[-1]:
        raise ArgumentError(
            f"generate: tokens must hold at least one token to go on from, got shape "
            f"{list(tokens.shape)}. Begin with the token that begins a text."
        )
    parts = [tokens]
    with torch.no_grad():
        for _ in range(max_new_tokens):
            logits = step(parts[-1])
            drawn = sampled(logits, temperature=temperature, top_k=top_k, generator=generator)
            parts.append(drawn[..., None].to(tokens.dtype))
    return torch.cat(parts, -1)


def check_generation(
    model: nn.Module, embedding: TokenEmbedding, tokens: Tensor, max_new_tokens: int
) -> None:
    """Check that a model can sample so many tokens after these, before anything is computed."""
    check_size("generate", "max_new_tokens", max_new_tokens, 0)
    check_tensor("generate", "tokens", tokens)
    if model.training:
        raise ArgumentError(
            "generate: the model is in training mode, in which dropout acts. Call model.eval() "
            "first."
        )
    table = embedding.position
    length = (tokens.shape[-1] if tokens.ndim else 0) + max_new_tokens
    if table is not None and length > table.num_embeddings:
        raise ArgumentError(
            f"generate: {length} nodes are more than max_positions={table.num_embeddings}. "
            f"Sample fewer, or start from the last tokens alone."
        )
