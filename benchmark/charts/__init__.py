"""One chart a file; `benchmark/charts/draw.py` lists them."""
