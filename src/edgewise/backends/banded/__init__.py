"""The banded backend's cutter: windows cut into dense tiles."""

from edgewise.backends.banded.cutter import BandCutter as BandCutter
