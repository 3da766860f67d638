"""Builds a TensorRT plan from an ONNX graph."""
