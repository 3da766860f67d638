"""How near, how fast, and what it is: verify, bench, inspect, doctor."""
