"""What a step of training costs, apart from time: parameters, and memory that must suffice."""

from __future__ import annotations

from torch import nn

from edgewise.errors import ArgumentError
from edgewise.measure.memory import as_text, available_memory
from edgewise.training.data import GraphDataset
from edgewise.training.recipe import Recipe

__all__ = ["check_network_fits", "count_parameters", "training_too_large"]

_BYTES = 16  # of a weight: itself, its gradient, and the two averages of Adam
_MATRICES = 8  # matrices of hidden x hidden in a block, at least


def check_network_fits(recipe: Recipe, data: GraphDataset) -> None:
    """Refuse settings whose network alone is larger than the memory that is free.

    Raises:
        ArgumentError: it is, by an estimate from below.
    """
    weights = recipe.hidden * (data.num_features + data.num_classes + recipe.encodings)
    if recipe.network == "blocks":
        weights += recipe.layers * _MATRICES * recipe.hidden**2
    needed = _BYTES * weights + 8 * recipe.encodings * data.topology.num_nodes
    available = available_memory()
    if needed > available:
        raise ArgumentError(
            f"hidden={recipe.hidden}, layers={recipe.layers} and encodings={recipe.encodings} take "
            f"about {as_text(needed)}, and {as_text(available)} of memory are free. Choose smaller "
            f"ones."
        )


def training_too_large(what: str) -> ArgumentError:
    """The error where memory ends in training."""
    return ArgumentError(
        f"{what}: training does not fit into the memory that is free. Use a smaller --hidden, "
        f"--layers or --batch, or leave it out of --rungs."
    )


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
