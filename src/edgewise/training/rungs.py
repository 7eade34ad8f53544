"""Rungs of a comparison: from no graph to the complete graph, one change at a time.

========================  ===================  =====================  ==============
rung                      graph                mixer                  encoding
========================  ===================  =====================  ==============
``mlp``                   self-loops           a linear map           --
``gnn``                   the data's edges     sum, mean or GCN       --
``gat``                   the same             additive attention     --
``graph-transformer``     the same             dot-product attention  --
``transformer``           complete             dot-product attention  --
``transformer+pe``        complete             dot-product attention  eigenvectors
========================  ===================  =====================  ==============
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from edgewise.errors import ArgumentError
from edgewise.models import GAT, GCN, GraphModel, NodeModel, Perceptron, Pointwise, Trunk
from edgewise.nn import DotAttention, GATAttention, GraphConvolution
from edgewise.training.batches import (
    Batch,
    GraphOfNodes,
    complete,
    given,
    given_with_self,
    nodes_alone,
)
from edgewise.training.data import GraphDataset
from edgewise.training.plans import additive_plan, dot_plan, sum_plan
from edgewise.training.recipe import Recipe

__all__ = ["RUNGS", "Rung", "build", "rungs_named"]

Mixer = Callable[[Recipe], nn.Module]
PublishedNetwork = Callable[[int, int, Recipe], nn.Module]


@dataclass(frozen=True)
class Rung:
    """A model of the ladder: its graph, mixer, encodings and published network.

    Attributes:
        name: Name on the command line.
        title: Short description.
        graph: Function from the nodes of a batch to the graph.
        mixer: Function from the recipe to the layer that mixes nodes.
        plan: Function from recipe and batch to the name of the plan; None without a graph.
        encodings: Whether nodes have Laplacian encodings.
        published: Function to the network of the paper, from features, classes and recipe.
    """

    name: str
    title: str
    graph: GraphOfNodes
    mixer: Mixer
    plan: Callable[[Recipe, Batch], str] | None
    encodings: bool = False
    published: PublishedNetwork | None = None


def _map(recipe: Recipe) -> nn.Module:
    return Pointwise(recipe.hidden, recipe.hidden)


def _convolution(recipe: Recipe) -> nn.Module:
    return GraphConvolution(recipe.hidden, recipe.hidden, reduce=recipe.reduce)


def _additive(recipe: Recipe) -> nn.Module:
    return GATAttention(recipe.hidden, recipe.hidden // recipe.heads, recipe.heads)


def _dot(recipe: Recipe) -> nn.Module:
    return DotAttention(recipe.hidden, recipe.heads)


def _perceptron(features: int, out: int, recipe: Recipe) -> nn.Module:
    return Perceptron(features, recipe.hidden, out, dropout=recipe.dropout)


def _gcn(features: int, out: int, recipe: Recipe) -> nn.Module:
    return GCN(features, recipe.hidden, out, dropout=recipe.dropout)


def _gat(features: int, out: int, recipe: Recipe) -> nn.Module:
    head_dim = recipe.hidden // recipe.heads
    return GAT(features, head_dim, out, heads=recipe.heads, dropout=recipe.dropout)


# The networks that ``edgewise compare`` trains, from a network without a graph to a Transformer.
RUNGS: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung("mlp", "no graph", nodes_alone, _map, None, published=_perceptron),
        Rung("gnn", "plain GNN", given, _convolution, sum_plan, published=_gcn),
        Rung(
            "gat", "additive attention", given_with_self, _additive, additive_plan, published=_gat
        ),
        Rung("graph-transformer", "dot-product attention", given_with_self, _dot, dot_plan),
        Rung("transformer", "everyone to everyone", complete, _dot, dot_plan),
        Rung(
            "transformer+pe", "and told where nodes are", complete, _dot, dot_plan, encodings=True
        ),
    )
}


def rungs_named(names: str | None = None) -> list[Rung]:
    """The rungs of a comma-separated list, in the order of the ladder; all when left out.

    Raises:
        ArgumentError: an unknown name, or none.

    Example:
        >>> [rung.name for rung in rungs_named("gat,mlp")]
        ['mlp', 'gat']
    """
    if names is None:
        return list(RUNGS.values())
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in RUNGS]
    if unknown or not chosen:
        near = [each for name in unknown for each in get_close_matches(name.lower(), RUNGS, n=1)]
        cure = f"Did you mean {', '.join(near)}?" if near else "Separate names by commas."
        raise ArgumentError(
            f"rungs: expected some of {', '.join(RUNGS)}, got {', '.join(unknown) or 'none'}. "
            f"{cure}"
        )
    return [rung for name, rung in RUNGS.items() if name in chosen]


def build(rung: Rung, data: GraphDataset, recipe: Recipe) -> nn.Module:
    """The rung's network for a data set, with fresh weights."""
    if recipe.network == "published" and rung.published is not None:
        return rung.published(data.num_features, data.num_classes, recipe)
    trunk = Trunk(
        data.num_features,
        recipe.hidden,
        [rung.mixer(recipe) for _ in range(recipe.layers)],
        encoding_dim=recipe.encodings if rung.encodings else 0,
        dropout=recipe.dropout,
    )
    model = NodeModel if data.on_nodes else GraphModel
    return model(trunk, recipe.hidden, data.num_classes)
