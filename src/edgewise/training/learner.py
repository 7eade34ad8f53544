"""Lightning module of a network on a data set: loss, scores and optimizer.

This module imports Lightning and torchmetrics, so it is imported when training starts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from edgewise.nn import random_signs
from edgewise.training.batches import Batch
from edgewise.training.data import GraphDataset, Separate
from edgewise.training.moments import Moments, error_of_share
from edgewise.training.recipe import Recipe

__all__ = ["Learner"]


class Learner(LightningModule):
    """A network with its loss, its scores and its optimizer.

    Classes: cross-entropy and accuracy. Values: squared error of standardized values; root mean
    squared and mean absolute error in their own unit.

    Args:
        model: Network from features and a graph to predictions.
        data: The data set.
        recipe: The settings.
        train: Labels of the training part, for standardization.
        steps: Training steps in an epoch, for the schedule.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self, model: nn.Module, data: GraphDataset, recipe: Recipe, train: Tensor, steps: int
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.steps = steps
        self.has_classes = data.has_classes
        # Signs of eigenvectors are arbitrary, so they are randomized, except for a shared topology.
        self.flips_signs = isinstance(data.topology, Separate) and data.topology.num_graphs > 1
        values = torch.zeros(1) if data.has_classes else train
        spread = values.std() if values.numel() > 1 else torch.ones(())
        self.register_buffer("mean", values.mean())
        self.register_buffer("spread", spread if spread > 0 else torch.ones(()))
        self.judges = _judges(data)
        self.loss_sum = self.loss_count = 0.0
        self.squares = Moments()
        self.scores: dict[str, float] = {}

    def predict(self, batch: Batch, encoding: Tensor | None) -> Tensor:
        """Predictions for the scored nodes or graphs of the batch: ``[M, C]``."""
        keywords: dict[str, Any] = {}
        if encoding is not None:
            keywords["encoding"] = encoding
        if batch.readout is not None:
            keywords["readout"] = batch.readout
        out = self.model(batch.x, batch.graph, **keywords)
        return out if batch.rows is None else out[batch.rows]

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """The loss of training: cross-entropy, or squared error of standardized values."""
        if self.has_classes:
            return F.cross_entropy(predicted, batch.y)
        return F.mse_loss(predicted.squeeze(-1), (batch.y - self.mean) / self.spread)

    def training_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        encoding = batch.encoding
        if encoding is not None and self.flips_signs:
            encoding = random_signs(encoding)
        return self.loss(self.predict(batch, encoding), batch)

    def validation_step(self, batch: Batch, batch_idx: int = 0) -> None:
        predicted = self.predict(batch, batch.encoding)
        count = len(batch.y)
        self.loss_sum += float(self.loss(predicted, batch)) * count
        self.loss_count += count
        if not self.has_classes:
            predicted = predicted.squeeze(-1) * self.spread + self.mean
            self.squares.update((predicted - batch.y).square())
        self.judges.update(predicted, batch.y)

    test_step = validation_step

    def on_validation_epoch_start(self) -> None:
        self.judges.reset()
        self.squares = Moments()
        self.loss_sum = self.loss_count = 0.0

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        self.scores = {name: float(value) for name, value in self.judges.compute().items()}
        self.scores["loss"] = self.loss_sum / self.loss_count

    on_test_epoch_end = on_validation_epoch_end

    def error(self) -> float:
        """Standard error of the deciding score over the items of the last evaluation."""
        if self.has_classes:
            return error_of_share(self.scores["accuracy"], int(self.loss_count))
        return self.squares.error_of_root()

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        kind = torch.optim.Adam if recipe.network == "published" else torch.optim.AdamW
        optimizer = kind(self.model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        if recipe.schedule == "constant":
            return optimizer
        total = recipe.epochs * self.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _cosine(s, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(
        self,
        batch: Batch,
        device: torch.device,
        dataloader_idx: int,
    ) -> Batch:
        return batch if batch.x.device == device else batch.to(device)


def _judges(data: GraphDataset) -> MetricCollection:
    judges: dict[str, Metric | MetricCollection]
    if data.has_classes:
        judges = {"accuracy": MulticlassAccuracy(data.num_classes, average="micro")}
    else:
        judges = {"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError()}
    return MetricCollection(judges)


def _cosine(step: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up over a tenth of all steps, then a cosine to 0."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
