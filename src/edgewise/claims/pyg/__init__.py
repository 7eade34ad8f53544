"""Claims that layers equal those of PyTorch Geometric."""
