"""Smaller benchmarks, a table each."""
