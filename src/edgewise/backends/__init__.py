"""How attention is computed: one file, one way. The tuple is the registry, in order of names."""

from edgewise.backends.banded import Banded
from edgewise.backends.base import (
    Accepts as Accepts,
    Backend as Backend,
    Refuses as Refuses,
    Work as Work,
)
from edgewise.backends.blocked import Blocked
from edgewise.backends.dense import Dense
from edgewise.backends.flex import Flex
from edgewise.backends.gather import Gather
from edgewise.backends.native import Native
from edgewise.backends.ragged import Ragged
from edgewise.backends.reference import Reference

# Every backend, in the order in which `explain` lists them.
BACKENDS: tuple[Backend, ...] = (
    Reference(),
    Gather(),
    Dense(),
    Banded(),
    Ragged(),
    Blocked(),
    Native(),
    Flex(),
)
