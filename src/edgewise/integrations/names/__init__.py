"""Which weights of a peer are which of ours: tables of names."""
