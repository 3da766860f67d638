"""A folder that runs the artefact with NumPy, Pillow and one runtime."""
