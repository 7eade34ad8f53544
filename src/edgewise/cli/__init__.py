"""Speak: the ``edgewise`` command."""
