"""The error of preparation that the user can act on."""


class PreparationError(Exception):
    """The models cannot be prepared; the text names the cause and a remedy."""
