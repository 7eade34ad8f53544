"""The native backend: compiled kernels that pass over the edges once and store nothing for them."""

from edgewise.backends.native.backend import Native as Native
