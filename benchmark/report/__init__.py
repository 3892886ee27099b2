"""The HTML report of a run, and the generated parts of README and docs."""
