"""The graphs that sparse attention is measured on."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import numpy as np
import torch

import edgewise as ew
from edgewise.training.data import read_conllu
from edgewise.training.data.archive import read_npz
from edgewise.training.data.topology import Separate

# Degrees fall as rank ** -EXPONENT. With 169,000 nodes and 2.4 million edges this one makes the
# largest degree about 3,000.
EXPONENT = 0.505


def power_law(num_nodes: int, num_edges: int, seed: int = 0) -> ew.EdgeList:
    """A Chung-Lu graph: both directions of each edge, no self-loops, no edge twice.

    Which node is a hub is drawn, so neighbours in memory say nothing about each other. Edges stand
    by target, then source, the best order for those who scatter.

    References:
        Chung, Lu. The average distances in random graphs with given expected degrees. 2002.
    """
    random = np.random.default_rng(seed)
    ends = np.cumsum(np.arange(1, num_nodes + 1) ** -EXPONENT)
    name = random.permutation(num_nodes)
    pairs = np.empty(0, np.int64)
    while len(pairs) < num_edges // 2:
        missing = num_edges // 2 - len(pairs)
        rank = np.searchsorted(ends, ends[-1] * random.random((2, 2 * missing)), side="right")
        low, high = np.sort(name[rank], axis=0)
        drawn = (low * num_nodes + high)[low != high]
        pairs = np.unique(np.concatenate([pairs, drawn[: 1 + missing]]))
    low, high = np.divmod(random.permutation(pairs)[: num_edges // 2], num_nodes)
    target, source = np.divmod(
        np.sort(np.concatenate([low * num_nodes + high, high * num_nodes + low])), num_nodes
    )
    return ew.EdgeList(torch.from_numpy(np.stack([source, target])), num_nodes=num_nodes)


def zinc() -> dict[str, np.ndarray]:
    """29,000 molecules of ZINC: ``node_ptr``, ``edge_ptr``, and bonds in one direction."""
    return read_npz(data_folder() / "molecules" / "zinc29k.npz")


def bonds(raw: dict[str, np.ndarray]) -> Separate:
    """The bonds of `zinc` in both directions, one after the other."""
    once = raw["edge_index"].astype(np.int64)
    both = np.stack([once, once[::-1]], axis=2).reshape(2, -1)
    pointers = (raw["node_ptr"].astype(np.int64), 2 * raw["edge_ptr"].astype(np.int64))
    return Separate(*(torch.from_numpy(array) for array in (both, *pointers)))


def sentence_sizes() -> list[int]:
    """Words of the sentences of the English Web Treebank, in their order."""
    sentences = read_conllu(data_folder() / "ud_ewt" / "en_ewt-ud-dev.conllu")
    return [sentence.num_nodes for sentence in sentences]


def molecule_sizes(count: int, seed: int = 0) -> list[int]:
    """Atoms of molecules drawn from ZINC."""
    sizes = np.diff(zinc()["node_ptr"].astype(np.int64))
    return np.random.default_rng(seed).choice(sizes, count, replace=False).tolist()


def node_graph(name: str, *, loops: bool = True) -> ew.EdgeList:
    """A real graph of one of the sets: both directions of each edge.

    Args:
        name: Of the data set, ``cora`` or ``tolokers``.
        loops: Whether every node reads itself, or none does.
    """
    folder = "planetoid" if name in ("cora", "citeseer") else "graphs"
    data = read_npz(data_folder() / folder / f"{name}.npz")
    nodes = next(len(data[key]) for key in ("y", "node_labels", "labels") if key in data)
    index = next(data[key] for key in ("edge_index", "edges") if key in data)
    index = torch.from_numpy(index.astype(np.int64))
    index = index if index.shape[0] == 2 else index.T
    index = index[:, index[0] != index[1]]
    own = torch.arange(nodes if loops else 0)
    target = torch.cat([index[1], index[0], own])
    source = torch.cat([index[0], index[1], own])
    keys = torch.unique(target * nodes + source)
    return ew.EdgeList(torch.stack([keys % nodes, keys // nodes]), num_nodes=nodes)


def debian() -> ew.EdgeList:
    """Packages read those that depend on them; one reads 21,809 others."""
    with lzma.open(data_folder() / "debian" / "depends.tsv.xz", "rt", encoding="utf-8") as file:
        pairs = np.loadtxt(file, dtype=np.int64)
    with lzma.open(data_folder() / "debian" / "packages.tsv.xz", "rt", encoding="utf-8") as file:
        nodes = sum(1 for _ in file)
    keys = np.unique(pairs[:, 1] * nodes + pairs[:, 0])
    return ew.EdgeList(torch.from_numpy(np.stack([keys % nodes, keys // nodes])), num_nodes=nodes)


def data_folder() -> Path:
    """Where the data sets are."""
    if "EDGEWISE_DATA" not in os.environ:
        raise SystemExit("EDGEWISE_DATA must name the folder of data sets; `make bench` sets it.")
    return Path(os.environ["EDGEWISE_DATA"])
