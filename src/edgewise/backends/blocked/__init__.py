"""Clusters of edges as dense tiles."""

from edgewise.backends.blocked.backend import Blocked as Blocked
