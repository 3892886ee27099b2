"""Turns a model source into the artefacts that the servers load; `optimize_model.py` is its command line."""
