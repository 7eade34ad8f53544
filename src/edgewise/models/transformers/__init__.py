"""Transformers over text, images and pairs of sequences."""
