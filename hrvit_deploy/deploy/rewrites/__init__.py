"""One rewrite to a file. Each is exact, and does its work whatever others did.

A rewrite changes a copy of a network in place and says in how many places. What it
replaces keeps the name it had in its parent, so that others still find their sites.
"""
