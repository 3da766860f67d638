"""How fast a network runs, each candidate in a process of its own."""
