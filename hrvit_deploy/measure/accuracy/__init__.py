"""How good the outputs are, on labelled images."""
