"""The base of errors that a user can cause or must know of."""


class BenchmarkError(Exception):
    """An error whose text is one line for the user; commands print it and exit with 1."""
