"""Recipes: settings of training, with defaults for each data set, and overrides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from edgewise.errors import ArgumentError
from edgewise.training.data import GraphDataset

__all__ = ["Network", "Recipe", "recipe_for"]

Network = Literal["blocks", "published"]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run: the same for every rung, except for settings of a paper.

    Attributes:
        network: ``blocks``, the same stack for every rung, or ``published``, the two-layer
            networks of the papers where a rung has one.
        hidden: Width.
        layers: Blocks, one mixer each.
        heads: Attention heads; they share the width.
        encodings: Laplacian eigenvectors, on rungs with encodings.
        reduce: Reduction over sources in the plain GNN.
        dropout: Share of features dropped; the published GAT drops attention weights too.
        epochs: Largest number of epochs.
        patience: Epochs without a better validation score or loss before training stops.
        batch: Graphs in a step; a step on nodes has all labelled nodes.
        lr: Learning rate of Adam.
        weight_decay: Added to the gradient (``published``) or decoupled (``blocks``).
        schedule: ``cosine`` warms up for a tenth of the epochs and then falls to zero.
    """

    network: Network = "blocks"
    hidden: int = 64
    layers: int = 3
    heads: int = 4
    encodings: int = 8
    reduce: Literal["sum", "mean"] = "sum"
    dropout: float = 0.0
    epochs: int = 100
    patience: int = 100
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "encodings", "epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise ArgumentError(
                    f"{name} must be at least 1, got {getattr(self, name)}. {_default_of(name)}"
                )
        for name, least, fits in (
            ("dropout", "at least 0 and below 1", 0.0 <= self.dropout < 1.0),
            ("lr", "above 0 and finite", 0.0 < self.lr < math.inf),
            ("weight_decay", "at least 0 and finite", 0.0 <= self.weight_decay < math.inf),
        ):
            if not fits:
                raise ArgumentError(
                    f"{name} must be {least}, got {getattr(self, name):g}. {_default_of(name)}"
                )
        if self.hidden % self.heads:
            raise ArgumentError(
                f"hidden={self.hidden} cannot be divided among heads={self.heads}. Choose a "
                f"multiple of heads."
            )
        if self.network == "published" and self.layers != 2:
            raise ArgumentError(
                f"layers must be 2 for the published networks, got {self.layers}. Add "
                f"--network blocks for deeper ones."
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types."""
        return asdict(self)


def _default_of(name: str) -> str:
    """The cure of a setting out of range."""
    default = next(field.default for field in fields(Recipe) if field.name == name)
    return f"Use {default:g}, for example, or leave it out."


_GRAPHS = Recipe(hidden=64, layers=3, epochs=100, patience=30, batch=64, lr=1e-3)
_NODES = Recipe(
    layers=2,
    heads=8,
    reduce="mean",
    dropout=0.5,
    epochs=200,
    patience=100,
    lr=5e-3,
    weight_decay=5e-4,
    schedule="constant",
)
_CITATION = replace(_NODES, network="published", dropout=0.6)

_DEFAULTS: dict[str, Recipe] = {
    "digits": replace(_GRAPHS, layers=2, epochs=30, patience=30, lr=3e-3),
    "nci1": replace(_GRAPHS, epochs=40, patience=15),
    "cora": _CITATION,
    "citeseer": _CITATION,
}

# Kipf and Welling 2016, section 5.2; Velickovic et al. 2018, section 3.3.
_GCN = {"hidden": 16, "dropout": 0.5, "lr": 0.01, "epochs": 200, "patience": 200}
_GAT = {"hidden": 64, "heads": 8, "dropout": 0.6, "lr": 0.005, "epochs": 1000, "patience": 100}
_PUBLISHED: dict[str, dict[str, Any]] = {"mlp": _GCN, "gnn": _GCN, "gat": _GAT}


def recipe_for(data: GraphDataset, rung: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The settings of a rung on a data set.

    Defaults of the data set first, then those of the paper of the rung (for published networks),
    then ``overrides``.

    Args:
        data: The data set.
        rung: Name of the rung.
        overrides: Settings by name; None is ignored.

    Raises:
        ArgumentError: an unknown setting, or one out of range.
    """
    names = {field.name for field in fields(Recipe)}
    chosen = {key: value for key, value in (overrides or {}).items() if value is not None}
    unknown = [key for key in chosen if key not in names]
    if unknown:
        raise ArgumentError(
            f"there is no setting {', '.join(unknown)}. Use {', '.join(sorted(names))}."
        )
    recipe = _DEFAULTS.get(data.name, _NODES if data.on_nodes else _GRAPHS)
    if chosen.get("network", recipe.network) == "published":
        if recipe.network != "published":
            raise ArgumentError(
                f"network=published exists for cora and citeseer, not for {data.name}."
            )
        recipe = replace(recipe, **_PUBLISHED.get(rung, {}))
    return replace(recipe, **chosen)
