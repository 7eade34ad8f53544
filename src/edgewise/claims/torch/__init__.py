"""Claims that layers equal those of torch.nn."""
