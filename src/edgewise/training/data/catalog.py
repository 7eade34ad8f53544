"""The data sets that have a name, and where each is found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewise.errors import DataError
from edgewise.extras import require
from edgewise.training.data.archive import read_npz
from edgewise.training.data.citation import citation, citation_arrays
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.digits import digits
from edgewise.training.data.files import SUFFIXES, from_arrays, from_file
from edgewise.training.data.molecules import esol
from edgewise.training.data.tu import tu

__all__ = ["CATALOG", "Entry", "load"]


@dataclass(frozen=True)
class Entry:
    """A data set with a name.

    Attributes:
        title: What it is, in a few words.
        file: Its place under the data root; none when it needs no file.
        read: How that file is read, from its name and path.
    """

    title: str
    file: str | None
    read: Callable[..., GraphDataset]


CATALOG: dict[str, Entry] = {
    "digits": Entry("1,797 images of digits, 4 x 4 patches", None, digits),
    "cora": Entry("2,708 papers, 7 fields", "planetoid/cora.npz", citation),
    "citeseer": Entry("3,327 papers, 6 fields", "planetoid/citeseer.npz", citation),
    "mutag": Entry("188 molecules, mutagenic or not", "tu/MUTAG.zip", tu),
    "nci1": Entry("4,110 molecules, active or not", "tu/NCI1.zip", tu),
    "esol": Entry("1,128 molecules, solubility in water", "molecules/esol.npz", esol),
}


def load(dataset: str, data_root: str | Path | None = None) -> GraphDataset:
    """A data set by name, or from a file of your own.

    A name is looked for under ``data_root``, or the folder that ``EDGEWISE_DATA`` names. Where it
    is not there, PyTorch Geometric downloads it once, and it is kept in the user's cache as plain
    arrays (``$XDG_CACHE_HOME/edgewise``, or ``~/.cache/edgewise``).

    Raises:
        DataError: the name is unknown, or the file is missing, damaged or inconsistent.

    Example:
        >>> load("digits").describe()
        'digits: 1,797 graphs, 28,752 nodes, 179,700 edges, 4 features, 10 graph classes'
    """
    if Path(dataset).suffix in SUFFIXES:
        return from_file(Path(dataset))
    if dataset not in CATALOG:
        raise DataError(
            f"{dataset}: no such data set. Use {', '.join(CATALOG)}, or the path of a file ending "
            f"in {' or '.join(SUFFIXES)}."
        )
    entry = CATALOG[dataset]
    if entry.file is None:
        return entry.read()
    given = data_root or os.environ.get("EDGEWISE_DATA")
    if given:
        root = Path(given)
        if not root.is_dir():
            raise DataError(f"{root}: the data root is not a folder.")
        for path in (root / entry.file, root / Path(entry.file).name):
            if path.is_file():
                return entry.read(dataset, path)
    return _downloaded(dataset, f"{given}/{entry.file}" if given else entry.file)


def _downloaded(name: str, place: str) -> GraphDataset:
    kept = _cache() / f"{name}.npz"
    if not kept.is_file():
        _download(name, kept, place)
    arrays = read_npz(kept)
    if name in ("cora", "citeseer"):
        masks = {part: np.flatnonzero(arrays[f"{part}_mask"]) for part in ("train", "val", "test")}
        return citation_arrays(name, {**arrays, **masks})
    return from_arrays(name, arrays)


def _download(name: str, kept: Path, place: str) -> None:
    """Fetch a data set, and keep its arrays; nothing is kept of a download that failed."""
    from edgewise.integrations import pyg

    try:
        require("torch_geometric", "pyg")
        with tempfile.TemporaryDirectory() as folder:
            dataset = pyg.download(name, Path(folder))
            kept.parent.mkdir(parents=True, exist_ok=True)
            pyg.save(dataset, kept)
    except (DataError, ModuleNotFoundError) as error:
        raise DataError(
            f"{name}: there is no {place}, and it cannot be downloaded: {error} Name the folder "
            f"that has it with --data-root or EDGEWISE_DATA."
        ) from error


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewise"
