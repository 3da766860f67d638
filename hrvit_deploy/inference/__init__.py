"""Images of any size in, class maps or class scores out, by any runner."""
