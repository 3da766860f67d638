"""The native libraries, each imported by one module here and nowhere else."""
