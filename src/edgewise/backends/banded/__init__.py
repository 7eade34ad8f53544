"""Windows as dense tiles."""

from edgewise.backends.banded.backend import Banded as Banded
