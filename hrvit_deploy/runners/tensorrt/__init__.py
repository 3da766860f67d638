"""Plans of TensorRT and TensorRT-RTX, run on a GPU."""
