"""Layers of attention, one family a file."""
