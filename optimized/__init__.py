"""The optimized server: ONNX Runtime INT8, one tensor a batch, a Redis cache, I/O that never waits."""
