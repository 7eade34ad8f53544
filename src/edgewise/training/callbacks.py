"""Lightning callbacks: best weights and early stopping, time of epochs, reports.

This module imports Lightning, so it is imported when training starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback

from edgewise.measure.timing import clock_after

__all__ = ["BestWeights", "Clock", "Reporter"]


class BestWeights(Callback):
    """Keep the weights of the best validation score in memory, and stop when nothing improves.

    Of equal scores that with the smaller loss is better. Training stops when for ``patience``
    epochs neither the score nor the loss has set a new record (Velickovic et al. 2018, 3.3), and
    at once where one of them is no finite number: weights do not recover.

    Args:
        score: Name of the score.
        higher: Whether more is better.
        patience: Epochs without a record.
    """

    def __init__(self, score: str, higher: bool, patience: int) -> None:
        self.score, self.sign, self.patience = score, 1.0 if higher else -1.0, patience
        self.best = (-math.inf, -math.inf)
        self.best_epoch = 0
        self.diverged = 0  # the epoch in which a score or the loss was no finite number
        self.records = [-math.inf, -math.inf]
        self.epochs_without_record = 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        now = (self.sign * pl_module.scores[self.score], -pl_module.scores["loss"])
        if not all(map(math.isfinite, now)):
            self.diverged = trainer.current_epoch + 1
            trainer.should_stop = True
            return
        if now > self.best:
            self.best, self.best_epoch = now, trainer.current_epoch + 1
            self.weights = {k: v.clone() for k, v in pl_module.model.state_dict().items()}
        record = [new > old for new, old in zip(now, self.records, strict=True)]
        self.records = [max(pair) for pair in zip(now, self.records, strict=True)]
        self.epochs_without_record = 0 if any(record) else self.epochs_without_record + 1
        trainer.should_stop = trainer.should_stop or self.epochs_without_record >= self.patience

    def restore(self, model: torch.nn.Module) -> None:
        """Load the best weights into the network (no change if no score was a number)."""
        if self.weights:
            model.load_state_dict(self.weights)

    @property
    def best_score(self) -> float:
        """The best validation score."""
        return self.sign * self.best[0]


class Clock(Callback):
    """Measures the seconds of the training steps of each epoch, without validation."""

    def __init__(self) -> None:
        self.started = 0.0
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.started = clock_after(pl_module.device)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.seconds.append(clock_after(pl_module.device) - self.started)


class Reporter(Callback):
    """Calls a function after each epoch with its number and the validation score."""

    def __init__(self, score: str, report: Callable[[int, float], None]) -> None:
        self.score, self.report = score, report

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.report(trainer.current_epoch + 1, pl_module.scores[self.score])
