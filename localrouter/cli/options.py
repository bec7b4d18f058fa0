"""Options shared by several commands, output to stdout and stderr, and the confirmation before a deletion."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from click.shell_completion import CompletionItem
from rich.console import Console, RenderableType

from localrouter.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
_PIPE_WIDTH = 1000
"""Columns of output that does not go to a terminal: wide enough that no line is folded."""

names_argument = click.argument("names", nargs=-1, metavar="[NAME[:VARIANT]]...")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
offline_option = click.option(
    "--offline",
    is_flag=True,
    envvar="LOCALROUTER_OFFLINE",
    help="Open no network connections. [LOCALROUTER_OFFLINE]",
)


def named_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the file in `--model NAME=FILE` by the shell's own completion of files."""
    del ctx, param
    return [CompletionItem(incomplete.partition("=")[2], type="file")] if "=" in incomplete else []


models_option = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=FILE",
    shell_complete=named_file,
    help="Add a local GGUF file as NAME, as in `localrouter serve`; repeatable.",
)


def manifest_option(meaning: str) -> Callable[[Command], Command]:
    """Return the `--manifest` option; `meaning` is its help text."""
    text = f"{meaning} [LOCALROUTER_MANIFEST]"
    return click.option("--manifest", type=FILE, envvar="LOCALROUTER_MANIFEST", metavar="FILE", help=text)


def talk(text: str, style: str = "") -> None:
    """Print a message for the user to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(text, style=style)


def data_width() -> int:
    """Return the width of a line of data in columns: that of the terminal, or a wide one for pipes and files."""
    console = Console()
    return console.width if console.is_terminal else _PIPE_WIDTH


def print_data(what: RenderableType) -> None:
    """Print a table or a text to stdout; without folding and padding where stdout is not a terminal."""
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        console.print(what)
        return
    console.width = _PIPE_WIDTH
    with console.capture() as captured:
        console.print(what)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def go_offline(offline: bool) -> None:
    """Set HF_HUB_OFFLINE if `offline`. Call it before huggingface_hub is imported, which reads the variable then."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def consent(question: str, *, yes: bool) -> bool:
    """Ask for confirmation on a terminal; anything but yes is no. With `yes`, return True without asking.

    Raises ConfigError where stdin is not a terminal.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            "cannot ask for confirmation: stdin is not a terminal", hint="pass --yes to proceed without confirmation"
        )
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        return False  # end of input counts as no
