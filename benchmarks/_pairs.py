"""Models and their originals, with the same weights on the same real data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgewise.integrations.names.table import Name, to_original

BATCHES = 24  # more than equal graphs are remembered, so that each is new when it comes again
Loss = Callable[[nn.Module], Tensor]


@dataclass
class Pair:
    """A model and its original.

    Attributes:
        work: The data.
        model: What both of them are.
        peer: The original.
        ours: Ours.
        theirs: The original, which gets our weights.
        names: What it calls them.
        loss: From ours to the loss on the data.
        loss_peer: From the original to the same loss.
        new_batch: Like ``loss``, each time of another batch, whose graphs are built for it.
        new_batch_peer: The same batches for the original.
    """

    work: str
    model: str
    peer: str
    ours: nn.Module
    theirs: nn.Module
    names: tuple[Name, ...]
    loss: Loss
    loss_peer: Loss
    new_batch: Loss | None = None
    new_batch_peer: Loss | None = None

    def __post_init__(self) -> None:
        own = to_original(dict(self.ours.named_parameters()), self.names)
        parameters = dict(self.theirs.named_parameters())
        if set(own) != set(parameters):
            raise SystemExit(f"{self.model}: {sorted(set(own) ^ set(parameters))} has no twin.")
        with torch.no_grad():
            for name, weight in parameters.items():
                weight.copy_(own[name])
