"""The one exception that bad input raises; the command line turns it into one line and exit code 2."""


class InputError(ValueError):
    """The user's input cannot be used: the message says what was expected, what was found and what to do."""
