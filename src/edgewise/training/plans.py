"""Names of the plans that compute the layers of a rung, for the table."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.functional import plan
from edgewise.ops import Additive
from edgewise.planning import choose
from edgewise.planning.call import read_aggregate
from edgewise.training.batches import Batch
from edgewise.training.recipe import Recipe

__all__ = ["additive_plan", "dot_plan", "sum_plan"]


def sum_plan(recipe: Recipe, batch: Batch) -> str:
    """The plan of a sum over sources."""
    value = torch.empty(*batch.x.shape[:-1], recipe.hidden, device=batch.x.device)
    question = read_aggregate(value.requires_grad_(), batch.graph).question
    return choose(question.about(batch.graph)).plan.name


def dot_plan(recipe: Recipe, batch: Batch) -> str:
    """The plan of dot-product attention."""
    query = _heads(recipe, batch, recipe.hidden // recipe.heads)
    return plan(query, query, query, batch.graph).name


def additive_plan(recipe: Recipe, batch: Batch) -> str:
    """The plan of GAT attention, with dropout of weights in the published network."""
    query = _heads(recipe, batch, 1)
    value = _heads(recipe, batch, recipe.hidden // recipe.heads)
    dropout = recipe.dropout if recipe.network == "published" else 0.0
    return plan(query, query, value, batch.graph, score=Additive(), dropout=dropout).name


def _heads(recipe: Recipe, batch: Batch, dim: int) -> Tensor:
    *axes, nodes, _ = batch.x.shape
    return torch.empty(*axes, recipe.heads, nodes, dim, device=batch.x.device, requires_grad=True)
