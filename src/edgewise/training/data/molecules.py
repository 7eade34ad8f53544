"""ESOL: 1,128 molecules with their solubility in water."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgewise.training.data.archive import read_npz
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.splits import Drawn
from edgewise.training.data.topology import Separate

__all__ = ["esol"]

_KEYS = (
    "y",
    "node_ptr",
    "edge_ptr",
    "atomic_num",
    "formal_charge",
    "num_h",
    "aromatic",
    "edge_index",
)


def esol(name: str, path: Path) -> GraphDataset:
    """Atoms as nodes, bonds as edges in both directions, the measured log solubility as value.

    An atom carries its element, charge, hydrogens (each one-hot) and whether it is aromatic.

    Raises:
        DataError: the file is missing, damaged or inconsistent.

    References:
        Delaney. ESOL: Estimating Aqueous Solubility Directly from Molecular Structure. 2004.
        Wu et al. MoleculeNet. 2017, arXiv:1703.00564 (random split, RMSE).
    """
    raw = read_npz(path, *_KEYS)
    once = raw["edge_index"].astype(np.int64)
    both = np.stack([once, once[::-1]], axis=2).reshape(2, -1)  # a bond's directions side by side
    columns = [_one_hot(raw[key]) for key in ("atomic_num", "formal_charge", "num_h")]
    x = np.concatenate([*columns, raw["aromatic"][:, None].astype(np.float32)], axis=1)
    y = torch.from_numpy(raw["y"]).float()
    pointers = (raw["node_ptr"].astype(np.int64), 2 * raw["edge_ptr"].astype(np.int64))
    return GraphDataset(
        name=name,
        task="graph-values",
        x=torch.from_numpy(x),
        y=y,
        topology=Separate(*(torch.from_numpy(a) for a in (both, *pointers))),
        splits=Drawn(y, (0.8, 0.1)),
        num_classes=1,
        notes=("Bond types are not used: every rung sees the same atoms and bonds.",),
    )


def _one_hot(column: np.ndarray) -> np.ndarray:
    kinds, kind = np.unique(column, return_inverse=True)
    return np.eye(len(kinds), dtype=np.float32)[kind]
