"""The reference server: PyTorch float32, eager, one request one forward."""
