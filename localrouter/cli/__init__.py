"""The command line: one module per command, imported when the command runs."""

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
"""Environment variable that click reads when a shell requests completions."""


class Commands(click.RichGroup):
    """Command group that imports a command's module on first use and maps every error to an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help page."""
        return [*COMMANDS]  # `list` is a module of this package, once it has been imported

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of this name; None where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Parse the command line, and print help or version where it requests them."""
        with ending():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the exit statuses of `cli.exit_status`."""
        with ending():
            return super().invoke(ctx)

    def main(self, *args: Any, **more: Any) -> Any:
        """Run the program, or print completions where a shell requests them."""
        if COMPLETE in os.environ:
            import_module("localrouter.cli.completion")  # registers the supported shells
        return super().main(*args, **more)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return commands and options that start with `incomplete`; unlike click, without importing every command."""
        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="localrouter")
def main() -> None:
    """OpenAI-compatible API for quantized GGUF models, such as Qwen and Gemma, on this machine."""
