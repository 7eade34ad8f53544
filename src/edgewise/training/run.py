"""Run: training of a rung with a seed, and its result."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgewise.measure.memory import peak_memory
from edgewise.measure.threads import threads_set
from edgewise.optional_packages import require
from edgewise.training.batches import Batch, Batches
from edgewise.training.data import GraphDataset
from edgewise.training.network_size import count_parameters
from edgewise.training.recipe import Recipe
from edgewise.training.rungs import Rung, build
from edgewise.training.step_threads import threads_for

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from edgewise.training.callbacks import BestWeights, Clock
    from edgewise.training.learner import Learner

__all__ = ["Run", "score_of", "train"]

EpochCallback = Callable[[int, float], None]


@dataclass(frozen=True)
class Run:
    """Result of the training of a rung with a seed.

    Attributes:
        rung: Name of the rung.
        seed: Seed of the weights, the order, the dropout, and the split where it is drawn.
        scores: Test scores by name, of the weights with the best validation score; empty where
            training diverged.
        validation: Best validation score; None where training diverged.
        best_epoch: Epoch of that score, counted from 1.
        epochs: Epochs trained.
        seconds_per_epoch: Median time of an epoch's training steps.
        seconds: Time of training, validation and test.
        threads: Number of threads.
        parameters: Number of parameters.
        peak_bytes: Peak memory that a training step allocates.
        plan: Plan of the layers.
        error: Standard error of the deciding test score over the items of the test set; None
            if it cannot be computed.
        diverged: Epoch whose weights gave a loss or score that is no finite number; 0 for none.
    """

    rung: str
    seed: int
    scores: dict[str, float]
    validation: float | None
    best_epoch: int
    epochs: int
    seconds_per_epoch: float
    seconds: float
    threads: int
    parameters: int
    peak_bytes: int
    plan: str
    error: float | None = None
    diverged: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON types."""
        return asdict(self)


def score_of(data: GraphDataset) -> tuple[str, bool]:
    """Name of the deciding score, and whether a higher score is better."""
    return ("accuracy", True) if data.has_classes else ("rmse", False)


def train(
    rung: Rung,
    data: GraphDataset,
    recipe: Recipe,
    seed: int,
    *,
    encoding: Tensor | None = None,
    device: str = "cpu",
    threads: int | None = None,
    report: EpochCallback = lambda epoch, score: None,  # noqa: ARG005
) -> Run:
    """Train one rung with one seed and test its best weights.

    The same arguments give the same scores on the same machine. The random state of torch and its
    number of threads are restored afterwards.

    Args:
        rung: The rung to train.
        data: The data set.
        recipe: The settings.
        seed: Seed of everything that is random.
        encoding: Laplacian encodings of the data, for a rung that has them.
        device: Device of training, as torch names it.
        threads: Number of threads; chosen by the size of a step when left out.
        report: Called after each epoch with its number and its validation score.

    Raises:
        ModuleNotFoundError: Lightning or torchmetrics is not installed.
        KeyboardInterrupt: the user stopped it.
    """
    require("lightning.pytorch")
    require("torchmetrics")
    started = time.perf_counter()
    cuda = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(cuda), _silence():
        torch.manual_seed(seed)
        loaders = _loaders(rung, data, recipe, seed, encoding, device)
        batch = next(iter(loaders[0]))
        threads = threads or threads_for(batch, recipe)
        with threads_set(threads):
            learner, best, clock = _fit(build(rung, data, recipe), data, recipe, loaders, report)
            seconds = time.perf_counter() - started
            plan = "" if rung.plan is None else rung.plan(recipe, batch)
            peak = _peak(learner, batch)
    diverged = best.diverged or (0 if _all_finite(learner.scores) else best.best_epoch)
    return Run(
        rung=rung.name,
        seed=seed,
        scores={} if diverged else dict(learner.scores),
        validation=None if diverged else best.best_score,
        best_epoch=best.best_epoch,
        epochs=len(clock.seconds),
        seconds_per_epoch=statistics.median(clock.seconds),
        seconds=seconds,
        threads=threads,
        parameters=count_parameters(learner.model),
        peak_bytes=peak,
        plan=plan,
        error=None if diverged else learner.error(),
        diverged=diverged,
    )


def _all_finite(scores: dict[str, float]) -> bool:
    return all(map(math.isfinite, scores.values()))


def _loaders(
    rung: Rung, data: GraphDataset, recipe: Recipe, seed: int, encoding: Tensor | None, device: str
) -> tuple[Batches, Batches, Batches]:
    """Batches of the training part (in random order), the validation part and the test part.

    Args:
        rung: Gives the graph of each batch.
        data: The data set.
        recipe: Gives the number of graphs in a batch.
        seed: Seed of the split and of the order.
        encoding: Laplacian encodings ``[N, k]``; used if the rung has them.
        device: Device of the batches.
    """
    split = data.split(seed)
    order = torch.Generator().manual_seed(seed)
    encoding = encoding if rung.encodings else None

    def batches(index: Tensor, generator: torch.Generator | None = None) -> Batches:
        return Batches(data, index, rung.graph, recipe.batch, encoding, generator, device)

    return batches(split.train, order), batches(split.val), batches(split.test)


def _fit(
    model: nn.Module,
    data: GraphDataset,
    recipe: Recipe,
    loaders: tuple[Batches, Batches, Batches],
    report: EpochCallback,
) -> tuple[Learner, BestWeights, Clock]:
    """Train, restore the best weights, and test them unless training diverged.

    Args:
        model: The network.
        data: The data set.
        recipe: The settings.
        loaders: Batches of training, validation and test.
        report: Called after each epoch with its number and its validation score.
    """
    from edgewise.training.callbacks import BestWeights, Clock, Reporter
    from edgewise.training.learner import Learner

    train, val, test = loaders
    learner = Learner(model, data, recipe, data.y[train.index], len(train))
    score, higher = score_of(data)
    best, clock = BestWeights(score, higher, recipe.patience), Clock()
    trainer = _trainer(recipe, train.device, [best, clock, Reporter(score, report)])
    _interruptible(trainer, lambda: trainer.fit(learner, train, val))
    best.restore(model)
    if not best.diverged:
        _interruptible(trainer, lambda: trainer.test(learner, test, verbose=False))
    return learner, best, clock


def _trainer(recipe: Recipe, device: str, callbacks: list[Any]) -> Trainer:
    from lightning.pytorch import Trainer

    kind, _, number = device.partition(":")
    return Trainer(
        accelerator="gpu" if kind == "cuda" else kind,
        devices=[int(number or 0)] if kind == "cuda" else 1,
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _interruptible(trainer: Trainer, stage: Callable[[], object]) -> None:
    """Run a stage of Lightning, and raise KeyboardInterrupt where Lightning exits on Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        stage()
    except SystemExit as error:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further signals
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from error


def _peak(learner: Learner, batch: Batch) -> int:
    learner.to(batch.x.device).train()

    def step() -> None:
        learner.training_step(batch).backward()

    step()  # fills caches, which are not part of a step
    learner.zero_grad(set_to_none=True)
    return peak_memory(step, batch.x.device)


@contextlib.contextmanager
def _silence() -> Generator[None]:
    """Silence warnings of Lightning about settings that are chosen on purpose."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", "GPU available but not used")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
