"""Claims about symmetry, batches and receptive fields."""
