"""Sparse attention in compiled kernels: one pass over the edges, nothing stored for them."""

from edgewise.backends.native.backend import Native as Native
