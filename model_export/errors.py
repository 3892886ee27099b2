"""What can go wrong in preparation for a reason the user can act on."""


class PreparationError(Exception):
    """Models cannot be prepared as asked; the text says what is wrong and what would mend it."""
