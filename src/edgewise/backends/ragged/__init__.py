"""Ragged batches cut into buckets of blocks."""

from edgewise.backends.ragged.cutter import BlockCutter as BlockCutter
