"""Options that several commands have, each meaning the same everywhere; and asking before something is deleted."""

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
"""Columns where nobody looks at a terminal: a line is never folded."""

names_argument = click.argument("names", nargs=-1, metavar="[NAME[:VARIANT]]...")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do it without asking.")
offline_option = click.option(
    "--offline",
    is_flag=True,
    envvar="LOCALROUTER_OFFLINE",
    help="Open no connection to anywhere. [LOCALROUTER_OFFLINE]",
)


def named_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What completes the value of `--model NAME=FILE`: the shell's own files, behind the equals sign."""
    del ctx, param
    return [CompletionItem(incomplete.partition("=")[2], type="file")] if "=" in incomplete else []


models_option = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=FILE",
    shell_complete=named_file,
    help="A GGUF file of your own under this name, as for `localrouter serve`; may be repeated.",
)


def manifest_option(meaning: str) -> Callable[[Command], Command]:
    """Return the option that names a manifest; `meaning` says what it does here."""
    text = f"{meaning} [LOCALROUTER_MANIFEST]"
    return click.option("--manifest", type=FILE, envvar="LOCALROUTER_MANIFEST", metavar="FILE", help=text)


def talk(text: str, style: str = "") -> None:
    """Say something to a person, on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(text, style=style)


def data_width() -> int:
    """Columns that a line of data may take."""
    console = Console()
    return console.width if console.is_terminal else _PIPE_WIDTH


def print_data(what: RenderableType) -> None:
    """Print a table or a text to stdout; where that is no terminal, without folding and without padding."""
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        console.print(what)
        return
    console.width = _PIPE_WIDTH
    with console.capture() as captured:
        console.print(what)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def go_offline(offline: bool) -> None:
    """Tell huggingface_hub, which reads this when it is imported."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def consent(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; all but a yes is a no. Raises ConfigError where nobody can be asked, unless `yes` is given."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here", hint="pass --yes to do it without asking")
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        return False  # the input has ended, and that is no yes
