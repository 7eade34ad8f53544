"""Models over graphs, and the parts that only they have."""
