"""Train one rung once, and say what came out."""

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
from edgewise.training.cost import count_parameters
from edgewise.training.data import GraphDataset
from edgewise.training.recipe import Recipe
from edgewise.training.rungs import Rung, build
from edgewise.training.threads import threads_for

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from edgewise.training.callbacks import BestWeights, Clock
    from edgewise.training.learner import Learner

__all__ = ["Run", "score_of", "train"]

Tell = Callable[[int, float], None]


@dataclass(frozen=True)
class Run:
    """What one training of one rung gave.

    Attributes:
        rung: Name of the rung.
        seed: Of the weights, the order, the dropout, and the split where it is drawn.
        scores: Test scores by name, of the weights with the best validation score; empty where
            training diverged.
        validation: That validation score; None where training diverged.
        best_epoch: When it was reached, counted from 1.
        epochs: Epochs trained.
        seconds_per_epoch: Median time of an epoch's training steps.
        seconds: Time of everything, validation and test included.
        threads: Threads it ran on.
        parameters: Numbers trained.
        peak_bytes: Memory one training step allocates at its worst moment.
        plan: How the layers were computed.
        error: Standard error of the deciding test score over the items of the test set; None
            where it is not known.
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
    """The score that decides, and whether more of it is better."""
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
    tell: Tell = lambda epoch, score: None,  # noqa: ARG005
) -> Run:
    """Train one rung with one seed and test its best weights.

    The same arguments give the same scores on the same machine. Torch's own random state and its
    number of threads are put back afterwards.

    Args:
        rung: What to train.
        data: On what.
        recipe: How.
        seed: Of everything that is drawn.
        encoding: Laplacian encodings of the data, for a rung that has them.
        device: Where, in torch's words.
        threads: On how many threads; chosen by the size of a step when left out.
        tell: Called after each epoch with its number and its validation score.

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
            learner, best, clock = _fit(build(rung, data, recipe), data, recipe, loaders, tell)
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
    """Batches to train on, in an order that the seed draws; to validate on; to test on."""
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
    tell: Tell,
) -> tuple[Learner, BestWeights, Clock]:
    """Train, go back to the best weights, and test them; diverged ones are not tested."""
    from edgewise.training.callbacks import BestWeights, Clock, Reporter
    from edgewise.training.learner import Learner

    train, val, test = loaders
    learner = Learner(model, data, recipe, data.y[train.index], len(train))
    score, higher = score_of(data)
    best, clock = BestWeights(score, higher, recipe.patience), Clock()
    trainer = _trainer(recipe, train.device, [best, clock, Reporter(score, tell)])
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
    """Run a stage of Lightning, which turns Ctrl-C into an exit, so that it is Ctrl-C again."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        stage()
    except SystemExit as error:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores all further ones
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from error


def _peak(learner: Learner, batch: Batch) -> int:
    learner.to(batch.x.device).train()

    def step() -> None:
        learner.training_step(batch).backward()

    step()  # what is worked out once for a graph is not the price of a step
    learner.zero_grad(set_to_none=True)
    return peak_memory(step, batch.x.device)


@contextlib.contextmanager
def _silence() -> Generator[None]:
    """Quiet what Lightning says about settings that are chosen here on purpose."""
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
