"""Catalog of named data sets: their files, readers and downloads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewise.errors import DataError
from edgewise.measure.cache_directory import cache_directory
from edgewise.measure.memory import as_text, available_memory, memory_errors_as
from edgewise.optional_packages import require
from edgewise.training.data.archive import first_line, read_npz
from edgewise.training.data.array_files import SUFFIXES, from_arrays, from_file
from edgewise.training.data.citation import citation, citation_arrays
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.digits import digits
from edgewise.training.data.molecules import esol
from edgewise.training.data.tu import tu

__all__ = ["CATALOG", "CatalogEntry", "load"]


@dataclass(frozen=True)
class CatalogEntry:
    """A named data set.

    Attributes:
        title: Short description.
        file: Path below the data root; None when it needs no file.
        read: Reader of the file, from name and path.
    """

    title: str
    file: str | None
    read: Callable[..., GraphDataset]


# Data sets by the name that `load` and ``edgewise compare`` take.
CATALOG: dict[str, CatalogEntry] = {
    "digits": CatalogEntry("1,797 images of digits, 4 x 4 patches", None, digits),
    "cora": CatalogEntry("2,708 papers, 7 fields", "planetoid/cora.npz", citation),
    "citeseer": CatalogEntry("3,327 papers, 6 fields", "planetoid/citeseer.npz", citation),
    "mutag": CatalogEntry("188 molecules, mutagenic or not", "tu/MUTAG.zip", tu),
    "nci1": CatalogEntry("4,110 molecules, active or not", "tu/NCI1.zip", tu),
    "esol": CatalogEntry("1,128 molecules, solubility in water", "molecules/esol.npz", esol),
}


def load(dataset: str, data_root: str | Path | None = None) -> GraphDataset:
    """A data set by name, or from a file of your own.

    The file of a name is read from ``data_root``, or the folder that ``EDGEWISE_DATA`` names. If it
    is not there, PyTorch Geometric downloads it once, and it is stored as plain arrays in
    ``EDGEWISE_CACHE``, or the user's cache directory.

    Raises:
        DataError: the name is unknown, or the file is missing, damaged or inconsistent.

    Example:
        >>> load("digits").describe()
        'digits: 1,797 graphs, 28,752 nodes, 179,700 edges, 4 features, 10 graph classes'
    """
    with memory_errors_as(lambda: _too_large(dataset)):
        return _load(dataset, data_root)


def _load(dataset: str, data_root: str | Path | None) -> GraphDataset:
    if Path(dataset).suffix in SUFFIXES:
        return from_file(Path(dataset))
    if dataset not in CATALOG and _exists(Path(dataset)):
        raise DataError(
            f"{dataset}: expected a file ending in {' or '.join(SUFFIXES)}, got "
            f"{Path(dataset).suffix or 'another kind'}. Save its arrays as one of these (edgewise "
            f"compare --help has the layout)."
        )
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
                return _read(entry, dataset, path)
    return _downloaded(dataset, f"{given}/{entry.file}" if given else entry.file)


def _downloaded(name: str, place: str) -> GraphDataset:
    kept = cache_directory() / f"{name}.npz"
    arrays = _kept_arrays(kept)
    if arrays is None:
        _download(name, kept, place)
        arrays = read_npz(kept)
    if name in ("cora", "citeseer"):
        masks = {part: np.flatnonzero(arrays[f"{part}_mask"]) for part in ("train", "val", "test")}
        return citation_arrays(name, {**arrays, **masks})
    return from_arrays(name, arrays)


def _download(name: str, kept: Path, place: str) -> None:
    """Download a data set, and store its arrays; a failed download stores nothing."""
    from edgewise.integrations import pyg

    try:
        require("torch_geometric", "pyg")
        with tempfile.TemporaryDirectory() as folder:
            dataset = pyg.download(name, Path(folder))
            kept.parent.mkdir(parents=True, exist_ok=True)
            pyg.save(dataset, kept)
    except OSError as error:
        raise DataError(
            f"{name}: it cannot be kept in {kept.parent} ({error.strerror or error}). Set "
            f"EDGEWISE_CACHE to a folder that can be written to."
        ) from error
    except (DataError, ModuleNotFoundError) as error:
        raise DataError(
            f"{name}: there is no {place}, and it cannot be downloaded: {error} Name the folder "
            f"that has it with --data-root or EDGEWISE_DATA."
        ) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than any file name
        return False


def _kept_arrays(kept: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an earlier download; None if they are missing or damaged."""
    try:
        return read_npz(kept) if kept.is_file() else None
    except (OSError, DataError):
        return None


def _read(entry: CatalogEntry, name: str, path: Path) -> GraphDataset:
    """Read a file below the data root; DataError if its arrays do not fit together."""
    try:
        return entry.read(name, path)
    except DataError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"{path}: expected the published file of {name}, got arrays that do not fit together "
            f"({first_line(error)}). Fetch it again."
        ) from error


def _too_large(name: str) -> DataError:
    return DataError(
        f"{name}: it has to fit into the {as_text(available_memory())} of memory that are free, "
        f"and does not. Save fewer nodes, edges or features."
    )
