"""The two ways a command can end badly, and what each means to the user."""

import errno


class UserError(Exception):
    """Something the user asked for cannot be done; the message is one line. Exit code 2, nothing was written."""


class RunFailure(Exception):  # noqa: N818  (the run failed, not the program)
    """A run that began and could not finish; recorded as failed, with this reason. Exit code 1."""


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error comes from, on a GPU or not."""
    from torch import OutOfMemoryError  # the command line need not wait for it

    told = ("out of memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "more than available memory")
    return isinstance(error, OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether that is what an error comes from: no space, no quota, or a file larger than is allowed."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, UserError) and disk_is_full(error.__cause__)
