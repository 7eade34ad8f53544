"""Ragged batches as buckets of blocks."""

from edgewise.backends.ragged.backend import Ragged as Ragged
