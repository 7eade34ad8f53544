"""Does something learn at all? Some steps, and a loss that falls."""

import torch


def assert_learns(model, loss, *, steps, rate=0.01):
    """After so many steps, the loss is nine tenths of what it was, or less."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    first = None
    for _ in range(steps):
        optimizer.zero_grad()
        now = loss()
        now.backward()
        optimizer.step()
        first = now.item() if first is None else first
    last = loss().item()
    assert last < 0.9 * first, f"{first:.3f} to {last:.3f}"
