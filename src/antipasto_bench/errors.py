"""The two ways a command can end badly, and what each means to the user."""


class UserError(Exception):
    """Something the user asked for cannot be done; the message is one line. Exit code 2, nothing was written."""


class RunFailure(Exception):  # noqa: N818  (the run failed, not the program)
    """A run that began and could not finish; recorded as failed, with this reason. Exit code 1."""
