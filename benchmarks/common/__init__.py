"""What the benchmarks share: reports, forms of the network, tables and the style of charts."""
