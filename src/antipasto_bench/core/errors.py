"""The ways in which a command can end badly, and what each means to the user."""

import errno

from .causes import cause_of, message_line, unreached

# cuDNN's attention takes memory of its own, and says no more than this where there is none; or at another error.
CUDNN_FAILED = "mha_graph.execute(handle, variant_pack, workspace_ptr.get()).is_good()"
FULL_SHARE = 1 / 20  # of a GPU's memory; where less is free, a lack of it is the likely cause


class UserError(Exception):
    """A request that cannot be carried out; the message is one line. Exit code 2, nothing was written."""


class RunFailure(Exception):  # noqa: N818  (the run failed, not the program)
    """A run that began and could not finish; recorded as failed, with this reason. Exit code 1."""


class Damaged(UserWarning):
    """Evidence that could not be read and was left out; a command that reads ends with exit code 1 after it."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error comes from a lack of memory, on a GPU or not."""
    from torch import OutOfMemoryError  # the command line need not wait for it

    messages = ("out of memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "more than available memory")
    if isinstance(error, OutOfMemoryError | MemoryError) or any(words in str(error) for words in messages):
        return True
    return CUDNN_FAILED in str(error) and _gpu_is_full()


def _gpu_is_full() -> bool:
    """Whether little of the current GPU is free; False where there is none, or where it fails at everything."""
    import torch

    try:
        free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (1, 1)
    except RuntimeError:
        return False
    return bool(free < FULL_SHARE * total)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a lack of disk space: none left, none in the quota, or a file larger than allowed."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, UserError) and disk_is_full(error.__cause__)


def first_line(error: BaseException) -> str:
    """Why something failed, in one line of at most 200 characters, without a full stop.

    A library's message that misleads comes behind its cause, shortened; any other one as it is.
    """
    if (offline := unreached(str(error))) is not None:
        return offline
    line = message_line(error)
    cause = cause_of(str(error))
    return (line if cause is None else f"{cause}: {line[:100]}")[:200].rstrip(".")
