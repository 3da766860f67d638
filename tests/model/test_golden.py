"""Every golden output, within 1e-4; see tests/golden/README.md."""
