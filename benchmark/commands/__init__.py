"""The commands of `python -m benchmark`, one or two a file."""
