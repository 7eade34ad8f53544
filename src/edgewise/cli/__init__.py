"""Command line: the ``edgewise`` command."""
