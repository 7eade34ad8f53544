"""Backends: ways to compute attention and sums. `BACKENDS` is their registry."""

from edgewise.backends.banded import BandCutter
from edgewise.backends.base import (
    Accepts as Accepts,
    AggregateBackend as AggregateBackend,
    AttentionBackend as AttentionBackend,
    Backend as Backend,
    Refuses as Refuses,
    Work as Work,
)
from edgewise.backends.blocked import ClusterCutter
from edgewise.backends.dense import Dense
from edgewise.backends.flex import Flex
from edgewise.backends.gather import Gather
from edgewise.backends.native import Native
from edgewise.backends.ragged import BlockCutter
from edgewise.backends.reference import Reference
from edgewise.backends.tiled import (
    Cut as Cut,
    Cutter as Cutter,
    Tiled as Tiled,
)
from edgewise.errors import ArgumentError, printable

# Every backend, in the order in which `explain` lists them.
BACKENDS: list[Backend] = [
    Reference(),
    Gather(),
    Dense(),
    Tiled("banded", BandCutter()),
    Tiled("ragged", BlockCutter()),
    Tiled("blocked", ClusterCutter()),
    Native(),
    Flex(),
]


def register(backend: Backend) -> None:
    """Add a backend of your own, which calls may name and ``"auto"`` may choose.

    Register it where your package is imported, before the first call: graphs keep plans that
    were made earlier. The planner needs a price for each `Accepts.way`, so a backend names the way
    of a backend that takes about as long for the same `Work`.

    Args:
        backend: An `AttentionBackend`, an `AggregateBackend`, or both.

    Raises:
        ArgumentError: it is neither, or its name is not an identifier, or is taken.

    Example:
        >>> import torch, edgewise as ew
        >>> from edgewise.backends import BACKENDS, register
        >>> from edgewise.backends.gather import Gather
        >>> class Loud(Gather):
        ...     name = "loud"
        ...
        ...     def attend(self, signature, prepared, inputs):
        ...         print("computing")
        ...         return super().attend(signature, prepared, inputs)
        >>> register(Loud())
        >>> q = torch.randn(1, 4, 2)
        >>> out = ew.attention(q, q, q, ew.Causal(4), backend="loud")
        computing
        >>> del BACKENDS[-1]
    """
    if not isinstance(backend, AttentionBackend | AggregateBackend):
        raise ArgumentError(
            f"register: backend must be an AttentionBackend or an AggregateBackend, got "
            f"{printable(repr(backend))}. Derive its class from one of them, or from both."
        )
    name = backend.name
    if not isinstance(name, str) or not name.isidentifier():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"register: the name of a backend must be an identifier, got {printable(repr(name))}. "
            f"Use letters, digits and underscores."
        )
    if name in ("auto", *(each.name for each in BACKENDS)):
        raise ArgumentError(f"register: the name {name!r} is taken. Choose another one.")
    BACKENDS.append(backend)
