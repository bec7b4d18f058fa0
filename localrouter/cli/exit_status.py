"""Exit statuses: their values, the errors that lead to them, and the sentence at the end of every help page."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TextIO

from click.exceptions import Exit
from rich.console import Console

from localrouter.errors import OperatorError

FAILED = 1
"""Exit status of a check that failed and of a confirmation that was declined."""
WRONG_USE = 2
"""Exit status of a wrong command line, and of a command that cannot be carried out."""
INTERRUPTED = 130
NO_READER = 141
"""Exit status when the reader of the output has closed the pipe (`| head -1`): the status that SIGPIPE gives."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "look at its permissions"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP), "look at what is at this path"),
    **dict.fromkeys(_NO_ROOM, "free some space on that disk"),
}
_PLACES = {
    "HF_HUB_CACHE": None,
    "HF_HOME": "~/.cache/huggingface",
    "XDG_CONFIG_HOME": "~/.config",
    "XDG_DATA_HOME": "~/.local/share",
}
"""Environment variables that set a directory, and the default of each directory."""


def exit_statuses(done: str, failed: str | None = None) -> str:
    """Return the exit status sentence of a help page, with the meanings of 0 and, where it is used, of 1."""
    one = f" {FAILED} {failed};" if failed else ""
    return f"Exit status: 0 {done};{one} {WRONG_USE} error; {INTERRUPTED} interrupted by Ctrl-C."


@contextmanager
def ending() -> Iterator[None]:
    """Turn errors of a command into a message on stderr and an exit status. Raises click's Exit."""
    try:
        yield
    except OperatorError as error:
        complain(error)
        raise Exit(WRONG_USE) from None
    except BrokenPipeError:
        _leave_without_a_reader()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich exits by itself, with another status
            _leave_without_a_reader()
        raise
    except OSError as error:
        complain(of_this_machine(error))
        raise Exit(WRONG_USE) from None
    except KeyboardInterrupt:
        raise Exit(INTERRUPTED) from None
    finally:
        if not _can_be_written(sys.stdout):
            _let_go(sys.stdout)


def of_this_machine(error: OSError) -> OperatorError:
    """Return an unexpected error of the operating system as an OperatorError: the file, the reason, and a hint."""
    if not isinstance(error.filename, (str, bytes)):
        what = "the output cannot be written: " if error.errno in _NO_ROOM else ""
        return OperatorError(f"{what}{error.strerror or error}", hint=_HINTS.get(error.errno or 0))
    path = os.fsdecode(error.filename)
    hint, variable = _HINTS.get(error.errno or 0), _variable(path)
    if hint and variable:
        hint += f", or name another directory with {variable}"
    return OperatorError(f"{path}: {error.strerror or error}", hint=hint)


def complain(error: OperatorError) -> None:
    """Print an error and its hint to stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(error.message, markup=False)
    if error.hint:
        console.print("[bold cyan]hint:[/]", end=" ")
        console.print(error.hint, markup=False)


def _variable(path: str) -> str | None:
    """Return the environment variable that sets the directory of this path; None where there is none."""
    for variable, default in _PLACES.items():
        place = os.environ.get(variable) or default
        if place and Path(path).is_relative_to(os.path.expanduser(place)):
            return variable
    return None


def _leave_without_a_reader() -> NoReturn:
    _let_go(sys.stdout)
    _let_go(sys.stderr)
    raise Exit(NO_READER) from None


def _can_be_written(stream: TextIO | None) -> bool:
    """Whether the buffer of a stream can be flushed; otherwise Python would report the error again at exit."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        return False
    return True


def _let_go(stream: TextIO | None) -> None:
    """Redirect the buffered output of a stream to /dev/null, as Python's documentation of SIGPIPE advises."""
    with suppress(OSError, ValueError, AttributeError):
        assert stream is not None
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
