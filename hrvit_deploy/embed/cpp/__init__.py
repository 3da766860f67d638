"""A folder that builds with CMake and runs the artefact."""
