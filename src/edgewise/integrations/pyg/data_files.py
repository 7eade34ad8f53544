"""Files of data sets of PyTorch Geometric: plain arrays, without pickles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.atomic_file import replacing
from edgewise.errors import DataError

__all__ = ["arrays", "download", "save"]

_MASKS = ("train_mask", "val_mask", "test_mask")
_SUFFIXES = (".npz", ".safetensors")
_SETS = {
    "cora": ("Planetoid", "Cora"),
    "citeseer": ("Planetoid", "CiteSeer"),
    "mutag": ("TUDataset", "MUTAG"),
    "nci1": ("TUDataset", "NCI1"),
    "esol": ("MoleculeNet", "ESOL"),
}


def arrays(data: Any, *, split: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a ``Data``, or of a ``Dataset`` or list of them.

    Args:
        data: One graph with labelled nodes, or many graphs.
        split: Column of masks that hold several splits.

    Returns:
        ``x``, ``edge_index``, ``y`` and, if present, ``edge_attr``, the three masks, and
        ``node_ptr`` and ``edge_ptr`` of many graphs, as ``edgewise compare`` reads them.

    Raises:
        DataError: a graph lacks ``x``, ``edge_index`` or ``y``, or there is no graph.
    """
    many = not hasattr(data, "edge_index") or _is_dataset(data)
    graphs: list[Any] = list(data) if many else [data]
    if not graphs:
        raise DataError("data: expected at least one graph, got an empty data set.")
    for number, graph in enumerate(graphs):
        missing = [k for k in ("x", "edge_index", "y") if getattr(graph, k, None) is None]
        if missing:
            raise DataError(
                f"data: graph {number} has no {', '.join(missing)}. Set "
                f"{'it' if len(missing) == 1 else 'them'} before saving."
            )
    single = len(graphs) == 1 and graphs[0].y.numel() == graphs[0].x.shape[0]
    out = {
        "x": _joined(g.x for g in graphs),
        "edge_index": _joined((g.edge_index for g in graphs), axis=1),
        "y": _joined(g.y.reshape(-1) if g.y.numel() in (1, g.x.shape[0]) else g.y for g in graphs),
    }
    if all(getattr(g, "edge_attr", None) is not None for g in graphs):
        out["edge_attr"] = _joined(g.edge_attr for g in graphs)
    if all(getattr(g, m, None) is not None for g in graphs for m in _MASKS):
        for mask in _MASKS:
            joined = _joined(getattr(g, mask).reshape(-1, _columns(g, mask)) for g in graphs)
            out[mask] = joined[:, split if joined.shape[1] > 1 else 0]
    if not single:
        out["node_ptr"] = _ends(g.x.shape[0] for g in graphs)
        out["edge_ptr"] = _ends(g.edge_index.shape[1] for g in graphs)
    return out


def save(data: Any, path: str | Path, *, task: str | None = None, split: int = 0) -> Path:
    """Write a ``Data`` or ``Dataset`` as a file that ``edgewise compare PATH`` trains on.

    Args:
        data: One graph with labelled nodes, or many graphs.
        path: The file; the suffix ``.npz`` or ``.safetensors`` gives the format. It is
            written atomically.
        task: ``node-classes``, ``graph-classes``, ``node-values`` or ``graph-values``; derived
            from the labels when left out.
        split: Column of masks that hold several splits.

    Returns:
        The path.

    Raises:
        DataError: another suffix, or a graph that lacks features, edges or labels.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: expected a name ending in {' or '.join(_SUFFIXES)}.")
    out = arrays(data, split=split)
    with replacing(path) as draft:
        if path.suffix == ".npz":
            extra: dict[str, Any] = {"task": np.array(task)} if task else {}
            np.savez_compressed(draft, **out, **extra)
        else:
            from safetensors.numpy import save_file

            save_file(out, draft, metadata={"task": task} if task else None)
    return path


def download(name: str, root: Path) -> Any:
    """A data set of PyTorch Geometric, downloaded into ``root`` if it is not there.

    Raises:
        DataError: it cannot be downloaded, or PyTorch Geometric cannot read it.
    """
    from torch_geometric import datasets

    kind, title = _SETS[name]
    try:
        return getattr(datasets, kind)(str(root), title)
    except (OSError, RuntimeError, ImportError, ValueError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(f"{reason.rstrip('.')}.") from error


def _is_dataset(data: Any) -> bool:
    return hasattr(data, "__len__") and hasattr(data, "get") and hasattr(data, "indices")


def _columns(graph: Any, mask: str) -> int:
    value = getattr(graph, mask)
    return value.shape[1] if value.ndim > 1 else 1


def _joined(tensors: Iterable[Any], axis: int = 0) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([t.detach().cpu().numpy() for t in tensors], axis))


def _ends(sizes: Iterable[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(list(sizes))]).astype(np.int64)
