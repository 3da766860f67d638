"""Everything that can run the network, behind one protocol."""
