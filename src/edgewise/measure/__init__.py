"""Measures of this machine: its name, memory, threads, clock and cache folder."""
