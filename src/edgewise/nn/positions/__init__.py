"""Positions and structure as features of nodes or scores of edges."""
