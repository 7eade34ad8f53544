"""Ways to compute attention and sums. `BACKENDS` is the registry."""

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
from edgewise.backends.tiled import Tiled

BACKENDS: tuple[Backend, ...] = (
    Reference(),
    Gather(),
    Dense(),
    Tiled("banded", BandCutter()),
    Tiled("ragged", BlockCutter()),
    Tiled("blocked", ClusterCutter()),
    Native(),
    Flex(),
)
