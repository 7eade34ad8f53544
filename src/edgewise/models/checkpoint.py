"""The weights of a model as a file: safetensors, so that reading one runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.atomic_file import replacing
from edgewise.errors import DataError
from edgewise.optional_packages import require
from edgewise.shapes import is_shape_only

__all__ = ["load_weights", "save_weights"]


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write all weights and buffers of a model to a safetensors file.

    A tensor that has two names, such as a tied embedding, is written once, under the first of
    them. The file is written beside its place first, so it is whole or not there.

    Args:
        model: Any module.
        path: Where to; folders are created.

    Raises:
        DataError: the model is on the meta device, or has a state that is not a tensor.
        ModuleNotFoundError: safetensors is not installed.

    Example:
        >>> import tempfile
        >>> layer, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(layer, f"{folder}/layer.safetensors")
        ...     load_weights(other, f"{folder}/layer.safetensors")
        >>> torch.equal(layer.weight, other.weight)
        True
    """
    save_file = require("safetensors.torch").save_file
    tensors = {names[0]: tensor for names, tensor in _tensors("save_weights", model)}
    with replacing(Path(path)) as draft:
        save_file(_apart(tensors), draft, {"format": "pt"})


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read all weights and buffers of a model from a safetensors file, or change nothing.

    The file must hold exactly the tensors of the model, in their shapes and dtypes; a tensor that
    has two names in the model may have either in the file, or both.

    Args:
        model: A module like the one that was saved.
        path: The file.

    Raises:
        DataError: the file is not there, damaged, or of another model; the message names the
            first tensors that are missing, unexpected, or of another shape or dtype.
        ModuleNotFoundError: safetensors is not installed.
    """
    path = Path(path)
    found = _read(path)
    missing: list[str] = []
    other: list[str] = []
    untied: list[str] = []
    state: dict[str, Tensor] = {}
    for names, tensor in _tensors("load_weights", model):
        there = {name: found.pop(name) for name in names if name in found}
        if not there:
            missing.append(names[0])
            continue
        first, *others = there.values()
        other += [
            f"{name} as {_kind(each)}, which the model has as {_kind(tensor)}"
            for name, each in there.items()
            if _kind(each) != _kind(tensor)
        ]
        untied += [
            f"{' and '.join(there)} as different tensors, which are one in the model"
            for each in others
            if not torch.equal(first, each)
        ]
        state.update(dict.fromkeys(names, first))
    for what, listed in (
        ("lacks {} of the model", missing),
        ("holds {}, which the model has not", list(found)),
        ("holds {}", other),
        ("holds {}", untied),
    ):
        if listed:
            raise DataError(
                f"load_weights: {path} {what.format(_first(listed))}. Build the model with the "
                f"settings it was saved with."
            )
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, Tensor]:
    safetensors: Any = require("safetensors.torch")
    error_of = require("safetensors").SafetensorError
    if not path.is_file():
        raise DataError(f"load_weights: there is no file {path}. Check the path.")
    try:
        return safetensors.load_file(path)
    except (error_of, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DataError(
            f"load_weights: {path} is not a whole safetensors file ({reason}). Save it again."
        ) from error


def _tensors(owner: str, model: nn.Module) -> list[tuple[list[str], Tensor]]:
    """Every tensor that belongs to the state of a model, with all of its names."""
    found: dict[int, tuple[list[str], Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):
            raise DataError(
                f"{owner}: {name} is not a tensor but {type(tensor).__name__}, which the file "
                f"cannot hold. Keep it in the settings of the model."
            )
        if is_shape_only(tensor):
            raise DataError(
                f"{owner}: {name} is on the meta device and has no memory. Move the model with "
                f"model.to_empty(device='cpu') first."
            )
        found.setdefault(id(tensor), ([], tensor))[0].append(name)
    return list(found.values())


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory: what a file can hold."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().contiguous()
        memory = plain.untyped_storage()
        if memory.data_ptr() in seen or memory.nbytes() > plain.nbytes:
            plain = plain.clone()
        seen.add(memory.data_ptr())
        out[name] = plain
    return out


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _first(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    listed = ", ".join(names[:3])
    return listed if len(names) <= 3 else f"{listed} and {len(names) - 3} more"
