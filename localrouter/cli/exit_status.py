"""How a command ends: the statuses, what leads to them, and the sentence that closes every help page."""

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
"""The answer is no: something is bad, has moved, or was declined."""
WRONG_USE = 2
"""It cannot be done, or was asked for in a wrong way."""
INTERRUPTED = 130
NO_READER = 141
"""Whoever read the output has gone (`| head -1`): what a shell says of a program that SIGPIPE ended."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "look at its permissions"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP), "look what stands there"),
    **dict.fromkeys(_NO_ROOM, "free some space on that disk"),
}
_PLACES = {
    "HF_HUB_CACHE": None,
    "HF_HOME": "~/.cache/huggingface",
    "XDG_CONFIG_HOME": "~/.config",
    "XDG_DATA_HOME": "~/.local/share",
}
"""Which variable moves which directory, and where it is otherwise."""


def exit_statuses(done: str, failed: str | None = None) -> str:
    """The sentence of a help page: what 0 means here and, where there is one, what 1 means; the rest is alike."""
    one = f" {FAILED} {failed};" if failed else ""
    return f"Exit status: 0 {done};{one} {WRONG_USE} it cannot be done; {INTERRUPTED} Ctrl-C."


@contextmanager
def ending() -> Iterator[None]:
    """Turn what ends a command early into words on stderr and a status. Raises click's Exit with it."""
    try:
        yield
    except OperatorError as error:
        complain(error)
        raise Exit(WRONG_USE) from None
    except BrokenPipeError:
        _leave_without_a_reader()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich ends the program by itself, with a status of its own
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
    """What the system refused where nobody expected it: the file, why, and what to do."""
    if not isinstance(error.filename, (str, bytes)):
        what = "the output cannot be written: " if error.errno in _NO_ROOM else ""
        return OperatorError(f"{what}{error.strerror or error}", hint=_HINTS.get(error.errno or 0))
    path = os.fsdecode(error.filename)
    hint, variable = _HINTS.get(error.errno or 0), _variable(path)
    if hint and variable:
        hint += f", or name another directory with {variable}"
    return OperatorError(f"{path}: {error.strerror or error}", hint=hint)


def complain(error: OperatorError) -> None:
    """Say what went wrong and what to do, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(error.message, markup=False)
    if error.hint:
        console.print("[bold cyan]hint:[/]", end=" ")
        console.print(error.hint, markup=False)


def _variable(path: str) -> str | None:
    """The environment variable that decides where this path is."""
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
    """Whether what a stream still holds goes out; when the program ends it would be tried once more, and complained."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        return False
    return True


def _let_go(stream: TextIO | None) -> None:
    """Send what a stream still holds to nowhere, as Python's documentation of SIGPIPE has it."""
    with suppress(OSError, ValueError, AttributeError):
        assert stream is not None
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
