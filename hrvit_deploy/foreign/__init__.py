"""Graphs that other tools wrote: read with distrust, and described from what they hold."""
