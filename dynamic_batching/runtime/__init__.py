"""ONNX graphs and what they need: the same bytes in both ONNX server folders."""
