"""Handwritten digits: 1,797 real images of 8 x 8 pixels that come with scikit-learn."""

from __future__ import annotations

import torch

from edgewise.graphs import Grid
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.split import Drawn
from edgewise.training.data.topology import Shared
from edgewise.training.extras import require

__all__ = ["digits"]


def digits() -> GraphDataset:
    """Pixels as the nodes of a `Grid`, one grey value each; the label is the digit.

    Nothing tells a node where it is, so a network without a graph and without encodings sees a
    bag of pixels: how many are dark, never what they draw.

    References:
        Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI, 1998 (its test part).
    """
    bunch = require("sklearn.datasets").load_digits()
    images = torch.from_numpy(bunch.images).float() / 16.0  # [1797, 8, 8], 0 to 1
    labels = torch.from_numpy(bunch.target).long()
    return GraphDataset(
        name="digits",
        task="graph-classes",
        x=images.reshape(-1, 1),
        y=labels,
        topology=Shared(Grid((8, 8)), len(images)),
        splits=Drawn(labels, (0.7, 0.1)),
        num_classes=10,
    )
