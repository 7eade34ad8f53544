"""Readers of files of arrays: no code in them is executed, and sizes are checked first.

A header states the size of an array. Before memory of that size is allocated, it is compared
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
from edgewise.training.data.memory_check import check_fits

__all__ = [
    "Arrays",
    "Header",
    "check_file",
    "first_line",
    "read_arrays",
    "read_npz",
    "read_zip",
]

# Exceptions of numpy and zipfile for a file that is cut short, altered, or of another kind.
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
_SLACK = 4096  # bytes of a packed file that may be overhead
_PER_BYTE = 32  # bytes of memory for each byte of text while its numbers are parsed


class Header(NamedTuple):
    """Shape and size of an array, from its file.

    Attributes:
        shape: Shape of the array.
        size: Bytes of the array.
    """

    shape: tuple[int, ...]
    size: int


class Arrays(NamedTuple):
    """The arrays of a file.

    Attributes:
        read: The requested arrays, by name.
        headers: Headers of the requested arrays, and of those in ``only_headers``.
        others: Names of other arrays, in the order of the file.
        metadata: Texts in the file, by name.
    """

    read: dict[str, np.ndarray]
    headers: dict[str, Header]
    others: tuple[str, ...]
    metadata: dict[str, str]


def read_arrays(
    path: Path, requested: Collection[str] | None = None, only_headers: Collection[str] = ()
) -> Arrays:
    """Arrays of an ``.npz``, ``.npy`` or ``.safetensors`` file; never unpickles.

    Args:
        path: The file. An ``.npy`` holds one array, whose name is ``edge_index``.
        requested: Names of the arrays to read; all when left out.
        only_headers: Names of arrays of which only the header is read.

    Raises:
        DataError: the file is missing or damaged, an array is pickled, larger than the file can
            hold, or too large for the memory that is free.
    """
    check_file(path)

    def is_requested(name: str) -> bool:
        return requested is None or name in requested

    with _damage(path):
        if path.suffix == ".npy":
            return _read_npy(path)
        read = _read_safetensors if path.suffix == ".safetensors" else _read_npz
        return read(path, is_requested, only_headers)


def read_npz(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file: those named by ``keys``, which are required, or all; no pickle.

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
    """Check that a path is a regular file."""
    if path.is_dir():
        raise DataError(f"{path}: expected a file, got a folder. Name the file in it.")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: expected a regular file, got a device or a pipe. Copy it first.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")


def first_line(error: BaseException) -> str:
    """First line of the message of an error, cut to 200 characters."""
    return str(error).strip().split("\n")[0].rstrip(".")[:200] or type(error).__name__


@contextmanager
def _damage(path: Path) -> Generator[None]:
    """Convert exceptions of readers for damaged files into DataError."""
    try:
        yield
    except (DataError, ModuleNotFoundError):
        raise
    except Exception as error:
        if not isinstance(error, _DAMAGED) and type(error).__name__ != "SafetensorError":
            raise
        reason = first_line(error)
        if "pickle" in reason:  # numpy adds how to load it, which is not safe
            reason = "it would have to be unpickled"
        raise DataError(
            f"{path}: expected plain arrays, got a damaged file, another kind of file or pickled "
            f"objects ({reason}). Save it again with {_WRITERS.get(path.suffix, 'numpy.savez')}."
        ) from error


# --- .npy and .npz --------------------------------------------------------------------------------

IsRequested = Callable[[str], bool]


class _NpyHeader(NamedTuple):
    """Shape, order and dtype of an array in numpy's format, and its size in bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def _npy_header(file: IO[bytes]) -> _NpyHeader:
    """The header of a file in numpy's format.

    Raises:
        ValueError: there is none, it holds objects, or its sizes are impossible.
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


def _read_npz(path: Path, is_requested: IsRequested, only_headers: Collection[str]) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        # numpy appends .npy to names; other files in the archive are no arrays.
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        chosen: dict[str, zipfile.ZipInfo] = {}
        others: list[str] = []
        for filename, info in members.items():
            name = filename.removesuffix(".npy")
            if filename.endswith(".npy") and (is_requested(name) or name in only_headers):
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
        requested = [name for name in chosen if is_requested(name)]
        check_fits(str(path), sum(headers[name].size for name in requested))
        arrays: dict[str, np.ndarray] = {}
        for name in requested:
            with archive.open(chosen[name]) as file:
                arrays[name] = _filled(file, _npy_header(file))
                if file.read(1):  # at the end zipfile compares checksums
                    raise ValueError(f"{name} goes on after its numbers")
    return Arrays(arrays, headers, tuple(others), {})


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    """Check that the stated size of a packed file is possible for its packed bytes.

    Raises:
        ValueError: it is larger.
    """
    packed, size = info.compress_size, info.file_size
    most = {zipfile.ZIP_STORED: packed, zipfile.ZIP_DEFLATED: _DEFLATE * packed + _SLACK}
    if packed > path.stat().st_size or size > most.get(info.compress_type, size):
        raise ValueError(f"{info.filename} says {size:,} bytes, packed into {packed:,}")


def _filled(file: IO[bytes], header: _NpyHeader) -> np.ndarray:
    """The array that follows a header, read in chunks, so that memory grows with the data."""
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


def _read_safetensors(
    path: Path, is_requested: IsRequested, only_headers: Collection[str]
) -> Arrays:
    safetensors = require("safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        names = list(file.keys())  # the file is not iterable
        requested = [name for name in names if is_requested(name)]
        headers: dict[str, Header] = {}
        for name in names:
            part = file.get_slice(name)
            shape = tuple(part.get_shape())
            headers[name] = Header(shape, math.prod(shape) * _width(part.get_dtype()))
        check_fits(str(path), sum(headers[name].size for name in requested))
        arrays = {name: _as_numpy(file.get_tensor(name)) for name in requested}
        others = tuple(
            name for name in names if not is_requested(name) and name not in only_headers
        )
        return Arrays(arrays, headers, others, file.metadata() or {})


def _width(dtype: str) -> int:
    """Bytes of a number, from a dtype such as ``F32``; 8 if it has no digits."""
    bits = re.search(r"\d+", dtype)
    return 8 if bits is None else max(1, int(bits[0]) // 8)


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The tensor as an array, converted to float32 if numpy lacks its dtype."""
    if tensor.is_floating_point() and tensor.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        tensor = tensor.float()
    return tensor.numpy()
