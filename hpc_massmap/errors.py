"""The error a person can act on: one line that names the file, key or value and says what to do."""


class InputError(Exception):
    """Something the user gave, or their machine lacks; the jobs print its message alone and exit with 2."""
