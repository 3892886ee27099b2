"""One chart a file; `benchmark/plots.py` lists them."""
