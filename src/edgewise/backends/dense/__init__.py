"""The dense backend: every target-source pair, on the matrix units."""

from edgewise.backends.dense.backend import Dense

__all__ = ["Dense"]
