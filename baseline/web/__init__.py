"""The HTTP frame: the same bytes in every server folder; `make frames` copies a change to the others."""
