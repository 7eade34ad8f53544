"""Handwritten digits: 1,797 images of 8 x 8 pixels from scikit-learn."""

from __future__ import annotations

import torch

from edgewise.graphs import Grid
from edgewise.optional_packages import require
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.splits import Drawn
from edgewise.training.data.topology import Shared

__all__ = ["digits"]


def digits() -> GraphDataset:
    """Patches of 2 x 2 pixels as the nodes of a `Grid`; the label is the digit.

    Nodes have no position as a feature, so a network without a graph and without encodings reads a
    set of patches without their arrangement.

    References:
        Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI, 1998 (its test part).
    """
    bunch = require("sklearn.datasets").load_digits()
    images = torch.from_numpy(bunch.images).float() / 16.0  # [1797, 8, 8], 0 to 1
    patches = images.unfold(1, 2, 2).unfold(2, 2, 2).reshape(-1, 4)  # [1797 * 16, 4], row-major
    labels = torch.from_numpy(bunch.target).long()
    return GraphDataset(
        name="digits",
        task="graph-classes",
        x=patches,
        y=labels,
        topology=Shared(Grid((4, 4)), len(images)),
        splits=Drawn(labels, (0.7, 0.1)),
        num_classes=10,
    )
