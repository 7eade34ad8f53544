"""A causal language model over a window
=====================================

A language model of Edgewise is built with a rule: which graph ``T`` new tokens read of ``S`` tokens
in all. Here each token reads itself and the seven before it. The model learns a text that repeats
every eight letters, then continues it with a cache of keys and values.

Run it with::

    python examples/window_language_model.py
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

import edgewise as ew
from edgewise.models import Encoder, LanguageModel, TokenEmbedding

TEXT = "abacabad" * 64
LETTERS = sorted(set(TEXT))


def model() -> LanguageModel:
    """Two blocks of four heads, 32 features wide; every token reads the seven before it."""
    embedding = TokenEmbedding(len(LETTERS), 32, max_positions=64)
    return LanguageModel(embedding, Encoder(32, 4, 2), rule=partial(ew.Window, left=7, right=0))


def main(steps: int = 250, seed: int = 0) -> tuple[list[float], str]:
    """Train, and return the loss of every step and a continuation of the text."""
    torch.manual_seed(seed)
    tokens = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    network = model()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        starts = torch.randint(len(tokens) - 33, (16,))
        batch = torch.stack([tokens[start : start + 33] for start in starts.tolist()])
        logits = network(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    written = network.eval().generate(tokens[None, :8], max_new_tokens=24, temperature=0)
    text = "".join(LETTERS[token] for token in written[0].tolist())
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    print(f"continued: {text[:8]}|{text[8:]}")
    plt.figure(figsize=(6, 3))
    plt.plot(losses)
    plt.xlabel("step")
    plt.ylabel("loss of the next letter")
    plt.tight_layout()
    plt.show()
    return losses, text


if __name__ == "__main__":
    main()
