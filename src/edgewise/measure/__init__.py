"""Properties of this machine: processor, memory, threads, clock and cache folder."""
