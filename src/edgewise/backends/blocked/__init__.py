"""The blocked backend's cutter: clusters of edges cut into dense tiles."""

from edgewise.backends.blocked.cutter import ClusterCutter as ClusterCutter
