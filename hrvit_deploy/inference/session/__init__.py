"""An artefact inside a Python service: NumPy, Pillow and the one runtime it needs."""
