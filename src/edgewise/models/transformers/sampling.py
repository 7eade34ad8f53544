"""Choosing the next token: greedily, or at random by its probability."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.nn.checks import check_size

__all__ = ["continued", "sampled"]


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
    """Check how tokens shall be drawn, before anything is computed."""
    if not 0 <= temperature < torch.inf:
        raise ArgumentError(
            f"temperature must be 0 or a positive number, got {temperature}. Use 0 for the "
            f"likeliest token, 1 for the model's own probabilities."
        )
    if top_k is not None:
        check_size("sampling", "top_k", top_k)


def continued(
    step: Callable[[Tensor], Tensor],
    tokens: Tensor,
    n: int,
    *,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Tokens and ``n`` more, each drawn from what the ones before it say.

    Args:
        step: From the newest tokens ``[*batch, T]`` to the logits of the last one,
            ``[*batch, vocab_size]``; it remembers what came before.
        tokens: ``[*batch, T]``, at least one.
        n: How many more.
        temperature: As in `sampled`.
        top_k: As in `sampled`.
        generator: As in `sampled`.
    """
    check_size("generate", "n", n, 0)
    check_sampling(temperature, top_k)
    if not tokens.ndim or not tokens.shape[-1]:
        raise ArgumentError(
            f"generate: tokens must hold at least one token to go on from, got shape "
            f"{list(tokens.shape)}. Begin with the token that begins a text."
        )
    found = [tokens]
    with torch.no_grad():
        for _ in range(n):
            logits = step(found[-1])
            drawn = sampled(logits, temperature=temperature, top_k=top_k, generator=generator)
            found.append(drawn[..., None].to(tokens.dtype))
    return torch.cat(found, -1)
