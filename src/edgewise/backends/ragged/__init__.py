"""The ragged backend's cutter: ragged batches cut into buckets of blocks."""

from edgewise.backends.ragged.cutter import BlockCutter as BlockCutter
