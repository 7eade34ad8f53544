"""Small models, padding and rules as masks, for the faults of the integration."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgewise.integrations import huggingface
from edgewise.layouts import DenseMask, lower
from tests.integrations.huggingface.families import BY_NAME, built, features

WINDOW = "Window(n, left=1, right=1)"
B, N = 2, 8
PADDINGS = {
    "none": None,
    "left": [[0, 0, 1, 1, 1, 1, 1, 1], [1] * N],
    "right": [[1, 1, 1, 1, 1, 0, 0, 0], [1] * N],
    "holes": [[1, 1, 0, 1, 1, 0, 0, 1], [1] * N],
}


def ids() -> torch.Tensor:
    torch.manual_seed(5)
    return torch.randint(3, 60, (B, N))


def padding(name: str) -> torch.Tensor | None:
    return None if PADDINGS[name] is None else torch.tensor(PADDINGS[name])


def model_of(name: str, implementation: str = "edgewise") -> Any:
    model = built(BY_NAME[name], implementation)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5)


def rule_as_mask(mask: torch.Tensor | None, causal: bool, rule: object = WINDOW) -> torch.Tensor:
    """The mask of four axes that says what the rule says."""
    whole = torch.zeros(B, 1, N, N, dtype=torch.bool)
    for b in range(B):
        at = torch.arange(N) if mask is None else mask[b].nonzero()[:, 0]
        graph = huggingface.Rule.read(rule).of(len(at), b, B)
        own = lower(graph, DenseMask).mask
        whole[b, 0, at[:, None], at] = own.tril() if causal else own
    return whole


class Features(nn.Module):
    """A model whose output is one tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return features(self.model(tokens, attention_mask=mask))
