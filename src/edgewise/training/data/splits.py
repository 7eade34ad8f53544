"""Splits: nodes or graphs for training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import DataError

__all__ = ["Drawn", "Folds", "Published", "Split", "Splits"]


@dataclass(frozen=True, eq=False)
class Split:
    """Numbers of the nodes (or graphs) of the three parts: int64, disjoint."""

    train: Tensor
    val: Tensor
    test: Tensor

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Size of each part."""
        return self.train.numel(), self.val.numel(), self.test.numel()

    def check(self, name: str, count: int, unit: str) -> None:
        """Check that parts are not empty, in range and disjoint.

        Raises:
            DataError: the split cannot be used for ``count`` nodes or graphs (``unit``).
        """
        parts = {"train": self.train, "val": self.val, "test": self.test}
        for part, index in parts.items():
            if not index.numel():
                raise DataError(
                    f"{name}: the {part} part of the split is empty. "
                    f"Give each part at least one {unit}: by masks, or by more {unit}s."
                )
            low, high = int(index.min()), int(index.max())
            if low < 0 or high >= count:
                raise DataError(
                    f"{name}: the {part} part of the split names {unit} "
                    f"{low if low < 0 else high}, but there are {count}. Use 0 to {count - 1}."
                )
        together = torch.cat(list(parts.values()))
        if together.unique().numel() != together.numel():
            raise DataError(
                f"{name}: the split puts a {unit} into two parts. "
                f"Make train, val and test disjoint."
            )


class Splits(Protocol):
    """Protocol of a rule that gives the split of a seed."""

    @property
    def is_fixed(self) -> bool:
        """Whether every seed gets the same split."""
        ...

    def draw(self, seed: int) -> Split:
        """The split of one seed; every rung gets the same one."""
        ...

    def describe(self) -> str:
        """The rule in words, for the table and the results."""
        ...


@dataclass(frozen=True, eq=False)
class Published:
    """A published split, the same for every seed."""

    split: Split
    words: str = "published split"

    @property
    def is_fixed(self) -> bool:
        """True: there is one split."""
        return True

    def draw(self, seed: int) -> Split:
        return self.split

    def describe(self) -> str:
        train, val, test = self.split.sizes
        return f"{self.words}, {train}/{val}/{test}"


@dataclass(frozen=True, eq=False)
class Folds:
    """Published folds: seed ``s`` tests on fold ``s`` modulo their number."""

    folds: tuple[Split, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether there is one fold alone."""
        return len(self.folds) == 1

    def draw(self, seed: int) -> Split:
        return self.folds[seed % len(self.folds)]

    def describe(self) -> str:
        return f"{len(self.folds)} published outer folds, one each seed"


@dataclass(frozen=True, eq=False)
class Drawn:
    """A new random split for each seed, keeping the share of each class.

    Args:
        y: Labels ``[M]`` of the nodes or graphs. With whole numbers the split is stratified;
            a label of -1 means unlabelled and is left out.
        fractions: Shares of train and validation; the rest is the test.

    Example:
        >>> Drawn(torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), (0.6, 0.2)).draw(seed=0).sizes
        (6, 2, 2)
    """

    y: Tensor
    fractions: tuple[float, float]

    @property
    def is_fixed(self) -> bool:
        """False: each seed draws a split."""
        return False

    def draw(self, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        labels = self.y.numpy()
        classes = [np.arange(len(labels))]
        if not self.y.is_floating_point():
            classes = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
        parts: tuple[list[np.ndarray], ...] = ([], [], [])
        for members in classes:
            cuts = np.round(np.cumsum(self.fractions) * len(members)).astype(int)
            for part, chosen in zip(parts, np.split(rng.permutation(members), cuts), strict=True):
                part.append(chosen)
        return Split(*(torch.from_numpy(np.sort(np.concatenate(part))) for part in parts))

    def describe(self) -> str:
        train, val = self.fractions
        kind = "random" if self.y.is_floating_point() else "stratified"
        return f"{kind} split {train:.0%}/{val:.0%}/{1 - train - val:.0%}, drawn anew for each seed"
