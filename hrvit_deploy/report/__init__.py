"""What is installed, what an artefact holds, and charts."""
