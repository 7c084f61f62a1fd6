"""How a command ends: its exit code, and the one line that says why."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from typer.exceptions import TyperException

from ..core.errors import UserError, disk_is_full
from ..core.quiet import discard_stdout
from ..core.signals import Interrupted
from ..core.text import printable

_PARTIAL = re.compile(r"\.([^/]+)\.\d+\.\d+\.partial")  # what a file or folder is called until it is whole
_IN_THE_WAY = {
    errno.ENOTDIR: "lies below a file, and should lie in a folder",
    errno.EEXIST: "is a file, and should be a folder",
    errno.EISDIR: "is a folder, and should be a file",
}


def ended(command: Callable[[], int]) -> int:
    """The exit code of a command; where a user's mistake or a signal ended it, one line on stderr says so.

    Raises:
        Exception: an error of the program itself.
    """
    try:
        return command()
    except Interrupted as error:
        where = f" {error.where}" if error.where else ""
        print_error(f"interrupted{where}; the same command goes on from what is kept of it")
        return error.exit_code
    except UserError as error:
        return _refused(str(error))
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print_error(error.format_message())  # the help itself
            return error.exit_code
        return _refused(_usage(error))
    except ValueError as error:
        from antipasto.config import AdapterError  # imported already where one was raised

        if not isinstance(error, AdapterError):
            raise
        return _refused(str(error))
    except RuntimeError as error:  # of pathlib, before Python 3.13
        if not str(error).startswith("Symlink loop"):
            raise
        return _refused(f"{str(error).partition(' from ')[2]} is a symbolic link that leads to itself")
    except BrokenPipeError:  # nobody reads the rest
        discard_stdout()
        return 1
    except OSError as error:
        return _refused(_of_file(error))


def print_error(text: str) -> None:
    """A line on stderr, where that can be written to."""
    with suppress(OSError, ValueError):
        print(printable(text, keep="\n"), file=sys.stderr, flush=True)


def _refused(message: str) -> int:
    print_error(f"error: {' '.join(message.split())}")
    return 2


def _usage(error: TyperException) -> str:
    """What typer has against the words of a command, and where to read what it takes."""
    context = getattr(error, "ctx", None)
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    path = " ".join(["antipasto-bench", *names])
    text = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}; `{path} --help` says what it takes"


def _of_file(error: OSError) -> str:
    """What the system said, of the place that the user named."""
    if error.filename is None:
        if _cannot_print(error):
            return f"the output cannot be written to stdout: {error.strerror}"
        if disk_is_full(error):
            return f"{error.strerror}; nothing was recorded: free some space and start it again"
        raise error
    if disk_is_full(error):
        return f"{error.strerror}; nothing was recorded: free some space and start it again"
    name = _PARTIAL.sub(r"\1", str(error.filename))
    return f"{name} {_IN_THE_WAY[error.errno]}" if error.errno in _IN_THE_WAY else f"{name}: {error.strerror}"


def _cannot_print(error: OSError) -> bool:
    """Whether an error comes from printing to stdout, by typer or by the last flush; the rest is dropped then."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    code = None if frame is None else frame.tb_frame.f_code
    if code is None or not ("typer" in Path(code.co_filename).parts or code.co_name == "run_and_flush"):
        return False
    with suppress(OSError):
        sys.stdout.close()  # else the interpreter tries once more as it ends
    return True
