"""How near, how accurate and how fast: verify, evaluate, bench."""
