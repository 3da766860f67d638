"""The Python models before and behind the network in a Triton repository."""
