"""The command line: one module per command, imported when it is needed."""

import os
from importlib import import_module
from typing import Any

import rich_click as click
from click.shell_completion import CompletionItem

from localrouter import __version__
from localrouter.cli.exit_status import ending

COMMANDS = {
    "serve": ("localrouter.cli.serve", "serve"),
    "list": ("localrouter.cli.list", "list_models"),
    "show": ("localrouter.cli.show", "show"),
    "pull": ("localrouter.cli.pull", "pull"),
    "add": ("localrouter.cli.add", "add"),
    "verify": ("localrouter.cli.verify", "verify_builds"),
    "lock": ("localrouter.cli.lock", "lock"),
    "plan": ("localrouter.cli.plan", "plan"),
    "devices": ("localrouter.cli.devices", "devices"),
    "bench": ("localrouter.cli.bench", "bench"),
    "conformance": ("localrouter.cli.conformance", "conformance"),
    "bundle": ("localrouter.cli.bundle", "bundle"),
    "remove": ("localrouter.cli.remove", "remove"),
    "prune": ("localrouter.cli.prune", "prune"),
    "du": ("localrouter.cli.du", "du"),
    "completion": ("localrouter.cli.completion", "completion"),
}
COMPLETE = "_LOCALROUTER_COMPLETE"
"""The variable by which a shell asks for completions, and click looks."""


class Commands(click.RichGroup):
    """Imports a command's module when the command is asked for, and gives every end its status."""

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

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the command line; help and version are printed here."""
        with ending():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and end as `cli.exit_status` says."""
        with ending():
            return super().invoke(ctx)

    def main(self, *args: Any, **more: Any) -> Any:
        """Run the program, or answer a shell that completes a command line."""
        if COMPLETE in os.environ:
            import_module("localrouter.cli.completion")  # which registers its shells
        return super().main(*args, **more)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin like this; unlike click's, without importing every command."""
        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="localrouter")
def main() -> None:
    """One local endpoint that speaks OpenAI's chat completions for quantized Qwen and Gemma models."""
