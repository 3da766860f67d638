"""Images to calibrate on, and ranges from them."""
