"""The commands of `python -m benchmark`, one role a file; each says its errors in one line."""

from pathlib import Path

RESULTS = Path("results")
