"""Read files of arrays without running anything in them, and check sizes before allocating.

A header says how large an array is. Before anything of that size is allocated, it is compared
with the length of the file, and with the memory that is free.
"""

from __future__ import annotations

import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from edgewise.errors import DataError
from edgewise.optional_packages import require
from edgewise.training.data.memory import check_fits

__all__ = [
    "Arrays",
    "Header",
    "check_file",
    "first_line",
    "read_arrays",
    "read_npz",
    "read_zip",
]

# What numpy and zipfile raise for a file that is cut short, altered, or something else.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    SyntaxError,
    tokenize.TokenError,
    RuntimeError,  # also RecursionError and NotImplementedError
    MemoryError,
)
_WRITERS = {".npz": "numpy.savez", ".npy": "numpy.save", ".safetensors": "safetensors"}
_CHUNK = 1 << 22  # bytes that are unpacked at a time
_DEFLATE = 1032  # deflate never packs more bytes into one
_SLACK = 4096  # bytes of a packed file that may stand for nothing yet
_PER_BYTE = 32  # bytes of memory for each byte of text while its numbers are parsed


class Header(NamedTuple):
    """What a file says of an array.

    Attributes:
        shape: Its shape.
        size: Bytes it takes.
    """

    shape: tuple[int, ...]
    size: int


class Arrays(NamedTuple):
    """The arrays of a file.

    Attributes:
        read: Those that were asked for, by name.
        headers: What the file says of all arrays that could be asked for.
        others: Names of arrays that nobody asked for, in the order of the file.
        metadata: Texts that the file holds besides.
    """

    read: dict[str, np.ndarray]
    headers: dict[str, Header]
    others: tuple[str, ...]
    metadata: dict[str, str]


def read_arrays(
    path: Path, wanted: Collection[str] | None = None, only_headers: Collection[str] = ()
) -> Arrays:
    """Arrays of an ``.npz``, ``.npy`` or ``.safetensors`` file; never unpickles.

    Args:
        path: The file. An ``.npy`` holds one array, whose name is ``edge_index``.
        wanted: Names of the arrays to read; all when left out.
        only_headers: Names of arrays whose header alone is wanted.

    Raises:
        DataError: the file is missing or damaged, an array is pickled, larger than the file can
            hold, or too large for the memory that is free.
    """
    check_file(path)

    def is_wanted(name: str) -> bool:
        return wanted is None or name in wanted

    with _damage(path):
        if path.suffix == ".npy":
            return _read_npy(path)
        read = _read_safetensors if path.suffix == ".safetensors" else _read_npz
        return read(path, is_wanted, only_headers)


def read_npz(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file: ``keys``, which it has to hold, or all; never unpickles.

    Raises:
        DataError: the file is missing or damaged, or lacks one of ``keys``.
    """
    arrays = read_arrays(path, keys or None)
    missing = [key for key in keys if key not in arrays.read]
    if missing:
        there = ", ".join([*arrays.read, *arrays.others]) or "nothing"
        raise DataError(
            f"{path}: expected the arrays {', '.join(keys)}, missing {', '.join(missing)} "
            f"(there is {there})."
        )
    return arrays.read


def read_zip(path: Path, *names: str) -> dict[str, bytes]:
    """Files of text in a ``.zip``, by their names without folders.

    Raises:
        DataError: the file is missing or damaged, lacks one of ``names``, or their numbers would
            not fit into memory.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(info.filename).name: info for info in archive.infolist()}
            for name in names:
                if name not in members:
                    raise DataError(
                        f"{path}: expected the file {name} inside, there is {', '.join(members)}."
                    )
            for name in names:
                _check_member(path, members[name])
            total = sum(members[name].file_size for name in names)
            check_fits(str(path), total, "the numbers of its files", _PER_BYTE)
            return {name: archive.read(members[name]) for name in names}
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(
            f"{path}: expected a .zip archive, got a damaged file ({first_line(error)}). "
            f"Fetch it again."
        ) from error


def check_file(path: Path) -> None:
    """Refuse a path that is no file."""
    if path.is_dir():
        raise DataError(f"{path}: expected a file, got a folder. Name the file in it.")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: expected a regular file, got a device or a pipe. Copy it first.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")


def first_line(error: BaseException) -> str:
    """What an error of another library says, short enough for a sentence of ours."""
    return str(error).strip().split("\n")[0].rstrip(".")[:200] or type(error).__name__


@contextmanager
def _damage(path: Path) -> Generator[None]:
    """Turn what readers raise for a damaged file into one sentence."""
    try:
        yield
    except (DataError, ModuleNotFoundError):
        raise
    except Exception as error:
        if not isinstance(error, _DAMAGED) and type(error).__name__ != "SafetensorError":
            raise
        reason = first_line(error)
        if "pickle" in reason:  # numpy goes on to say how to load it all the same: never
            reason = "it would have to be unpickled"
        raise DataError(
            f"{path}: expected plain arrays, got a damaged file, another kind of file or pickled "
            f"objects ({reason}). Save it again with {_WRITERS.get(path.suffix, 'numpy.savez')}."
        ) from error


# --- .npy and .npz --------------------------------------------------------------------------------

Wanted = Callable[[str], bool]


class _NpyHeader(NamedTuple):
    """Shape, order and dtype of an array in numpy's format, and the bytes its numbers take."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def _npy_header(file: IO[bytes]) -> _NpyHeader:
    """The header that a file in numpy's format begins with.

    Raises:
        ValueError: there is none, it holds objects, or its sizes cannot be.
    """
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it would have to be unpickled: pickle runs code")
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape of {list(shape)}")
    return _NpyHeader(shape, fortran, dtype, math.prod(shape) * dtype.itemsize)


def _read_npy(path: Path) -> Arrays:
    with path.open("rb") as file:
        header = _npy_header(file)
        held = path.stat().st_size - file.tell()
        if header.size > held:
            raise ValueError(_too_large(header.shape, header.size, held))
        check_fits(str(path), header.size)
        array = _filled(file, header)
    name = "edge_index"
    return Arrays({name: array}, {name: Header(header.shape, header.size)}, (), {})


def _read_npz(path: Path, is_wanted: Wanted, only_headers: Collection[str]) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        # numpy appends .npy to names; what else an archive holds is no array.
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        chosen: dict[str, zipfile.ZipInfo] = {}
        others: list[str] = []
        for filename, info in members.items():
            name = filename.removesuffix(".npy")
            if filename.endswith(".npy") and (is_wanted(name) or name in only_headers):
                chosen[name] = info
            else:
                others.append(name)
        headers: dict[str, Header] = {}
        for name, info in chosen.items():
            _check_member(path, info)
            with archive.open(info) as file:
                header = _npy_header(file)
                if header.size != info.file_size - file.tell():
                    held = info.file_size - file.tell()
                    raise ValueError(f"{name}: {_too_large(header.shape, header.size, held)}")
            headers[name] = Header(header.shape, header.size)
        wanted = [name for name in chosen if is_wanted(name)]
        check_fits(str(path), sum(headers[name].size for name in wanted))
        arrays: dict[str, np.ndarray] = {}
        for name in wanted:
            with archive.open(chosen[name]) as file:
                arrays[name] = _filled(file, _npy_header(file))
                if file.read(1):  # at the end zipfile compares checksums
                    raise ValueError(f"{name} goes on after its numbers")
    return Arrays(arrays, headers, tuple(others), {})


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    """Compare what an archive says of a packed file with what it can hold.

    Raises:
        ValueError: it says more than is there.
    """
    packed, size = info.compress_size, info.file_size
    most = {zipfile.ZIP_STORED: packed, zipfile.ZIP_DEFLATED: _DEFLATE * packed + _SLACK}
    if packed > path.stat().st_size or size > most.get(info.compress_type, size):
        raise ValueError(f"{info.filename} says {size:,} bytes, packed into {packed:,}")


def _filled(file: IO[bytes], header: _NpyHeader) -> np.ndarray:
    """The array whose numbers follow, read piece by piece, so memory grows only with the data."""
    array = np.empty(header.shape, header.dtype, "F" if header.fortran else "C")
    if not header.size:
        return array
    left = array.reshape(-1, order="A").view(np.uint8).data
    while left:
        piece = file.read(min(_CHUNK, len(left)))
        if not piece:
            raise EOFError(f"it ends {len(left):,} bytes too early")
        left[: len(piece)] = piece
        left = left[len(piece) :]
    return array


def _too_large(shape: tuple[int, ...], size: int, held: int) -> str:
    return f"its header says {list(shape)}, which takes {size:,} bytes, and there are {held:,}"


# --- .safetensors ---------------------------------------------------------------------------------


def _read_safetensors(path: Path, is_wanted: Wanted, only_headers: Collection[str]) -> Arrays:
    safetensors = require("safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        names = list(file.keys())  # it is no dictionary
        wanted = [name for name in names if is_wanted(name)]
        headers: dict[str, Header] = {}
        for name in names:
            part = file.get_slice(name)
            shape = tuple(part.get_shape())
            headers[name] = Header(shape, math.prod(shape) * _width(part.get_dtype()))
        check_fits(str(path), sum(headers[name].size for name in wanted))
        arrays = {name: _as_numpy(file.get_tensor(name)) for name in wanted}
        others = tuple(name for name in names if not is_wanted(name) and name not in only_headers)
        return Arrays(arrays, headers, others, file.metadata() or {})


def _width(dtype: str) -> int:
    """Bytes of a number, from a name such as ``F32``; 8 where the name does not say."""
    bits = re.search(r"\d+", dtype)
    return 8 if bits is None else max(1, int(bits[0]) // 8)


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The same numbers in a dtype that numpy has."""
    if tensor.is_floating_point() and tensor.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        tensor = tensor.float()
    return tensor.numpy()
