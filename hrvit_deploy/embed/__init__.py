"""Folders for services: a Triton repository, or a program that builds or runs by itself."""
