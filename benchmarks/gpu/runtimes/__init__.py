"""One module a runtime, each loaded in its own process."""
