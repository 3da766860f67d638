"""An ONNX graph to a TensorRT plan."""
