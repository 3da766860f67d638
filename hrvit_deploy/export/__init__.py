"""The inference form to an ONNX graph, simplified, checked, typed."""
