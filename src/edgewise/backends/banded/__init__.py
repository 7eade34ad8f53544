"""Windows cut into dense tiles."""

from edgewise.backends.banded.cutter import BandCutter as BandCutter
