"""The one error that is written for the person at the terminal."""


class UserError(Exception):
    """What is wrong with the input, in one line: the file, column or parameter, and what to do about it."""
