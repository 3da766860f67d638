"""A trained network to its inference form: same outputs, fixed size, fewer nodes."""
