"""Parameters of a network, and checks that training fits into memory."""

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
    """Check that the network of a recipe fits into free memory.

    Raises:
        ArgumentError: a lower bound of its size is larger.
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
    """The error for training that does not fit into memory."""
    return ArgumentError(
        f"{what}: training does not fit into the memory that is free. Use a smaller --hidden, "
        f"--layers or --batch, or leave it out of --rungs."
    )


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
