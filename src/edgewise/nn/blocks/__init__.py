"""Blocks that wrap a layer: residual connections, normalization, MLPs."""
