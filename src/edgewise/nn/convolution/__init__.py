"""Layers that sum messages with weights that no softmax makes."""
