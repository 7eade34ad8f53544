"""Models over sequences and trees that are not Transformers."""
