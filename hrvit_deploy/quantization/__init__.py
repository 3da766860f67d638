"""Eight bits: which products take them, over which ranges, as QDQ nodes in the graph."""
