"""The ranges of a graph's activations, measured on images."""
