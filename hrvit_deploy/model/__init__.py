"""The network in its training form: variants, layers, heads, checkpoints."""
