"""Charts of a run, drawn from its files; `draw.py` lists them."""
