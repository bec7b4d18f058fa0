"""The command line: one module per command, imported when it is needed."""

from importlib import import_module
from typing import Any

import rich_click as click
from rich.console import Console

from localrouter import __version__
from localrouter.errors import OperatorError

COMMANDS = {
    "serve": ("localrouter.cli.serve", "serve"),
    "list": ("localrouter.cli.list", "list_models"),
    "show": ("localrouter.cli.show", "show"),
    "pull": ("localrouter.cli.pull", "pull"),
    "add": ("localrouter.cli.add", "add"),
    "verify": ("localrouter.cli.verify", "verify_builds"),
    "lock": ("localrouter.cli.lock", "lock"),
    "plan": ("localrouter.cli.plan", "plan"),
    "bundle": ("localrouter.cli.bundle", "bundle"),
    "remove": ("localrouter.cli.remove", "remove"),
    "prune": ("localrouter.cli.prune", "prune"),
    "du": ("localrouter.cli.du", "du"),
}
WRONG_USE = 2
INTERRUPTED = 130


class Commands(click.RichGroup):
    """Imports a command's module when the command is asked for, and turns OperatorError into words and a status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help page."""
        return [*COMMANDS]  # `list` is a module of this package, once it has been imported

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Exits with 2 after an OperatorError, with 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            _complain(error)
            ctx.exit(WRONG_USE)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _complain(error: OperatorError) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(error.message, markup=False)
    if error.hint:
        console.print("[bold cyan]hint:[/]", end=" ")
        console.print(error.hint, markup=False)


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="localrouter")
def main() -> None:
    """One local endpoint that speaks OpenAI's chat completions for quantized Qwen and Gemma models."""
