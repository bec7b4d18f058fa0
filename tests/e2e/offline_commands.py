"""Every command of localrouter, told to stay offline: its arguments, how it ends, and the words that have to be said.

They need a folder with `mine.gguf`, a bundle `house.tar` with `demo`, and a model `noise` of the user's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from click import Command, Context, Group

from localrouter.cli import COMMANDS, main


@dataclass(frozen=True)
class Offline:
    """One use of a command."""

    command: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    status: int = 0

    def __str__(self) -> str:
        return " ".join((*self.command, *self.arguments))

    @property
    def line(self) -> list[str]:
        """The words behind `localrouter`; with --offline where the command knows it."""
        has_option = any("--offline" in option.opts for option in find(self.command).params)
        return [*self.command, *(["--offline"] if has_option else []), *self.arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What tells a command without the option; with it, the option is on its own."""
        return {} if "--offline" in self.line else {"LOCALROUTER_OFFLINE": "1"}


def find(path: tuple[str, ...]) -> Command:
    """Return the command of these words."""
    command: Command = main
    for word in path:
        assert isinstance(command, Group)
        found = command.commands.get(word) if command is not main else main.get_command(Context(main), word)
        assert found is not None
        command = found
    return command


def all_commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that there is, those of groups too."""
    for name in COMMANDS:
        command = find((name,))
        if isinstance(command, Group):
            yield from ((name, inner) for inner in command.commands)
        else:
            yield (name,)


SERVE = ("serve",)
"""Runs until it is stopped, so it is tried by itself."""
HUB = "hf:them/It-GGUF/It-Q8_0.gguf"
OFFLINE = (
    Offline(("list",), says=("localrouter-demo-Q8_0", "not downloaded")),
    Offline(("show",), ("qwen:0.8b",), says=("not downloaded", "localrouter pull qwen:0.8b")),
    Offline(("pull",), ("demo",), says=("already present",)),
    Offline(("pull",), ("qwen:0.8b",), says=("localrouter is offline", "bundle create", "bundle import"), status=2),
    Offline(("add",), ("mine", "mine.gguf", "--name", "Mine-Q4"), says=("added mine: Mine-Q4",)),
    Offline(("add",), ("theirs", HUB), says=("not pinned yet", "localrouter lock", "localrouter pull")),
    Offline(
        ("add",),
        ("branch", "hf:them/It-GGUF/It-Q4_0.gguf@main"),
        says=("localrouter is offline", "leave out --offline"),
        status=2,
    ),
    Offline(("verify",), ("demo",), says=("good", "localrouter-demo-Q8_0")),
    Offline(("verify",), ("qwen:0.8b",), says=("not on this machine", "localrouter pull qwen:0.8b"), status=2),
    Offline(("lock",), says=("localrouter is offline", "leave out --offline"), status=2),
    Offline(("lock",), ("--check",), says=("localrouter is offline", "leave out --offline"), status=2),
    Offline(("plan",), says=("localrouter-demo-Q8_0", "qwen:0.8b")),
    Offline(("plan",), ("qwen:0.8b",), says=("manifest",)),
    Offline(("devices",), says=("device", "CPU")),
    Offline(("bundle", "create"), ("again.tar", "demo"), says=("again.tar: ",)),
    Offline(("bundle", "create"), ("wheels.tar", "demo", "--with-wheels"), says=("which --offline forbids",), status=2),
    Offline(("bundle", "create"), ("none.tar", "qwen:0.8b"), says=("localrouter pull qwen:0.8b",), status=2),
    Offline(("bundle", "verify"), ("house.tar",), says=("house.tar: intact",)),
    Offline(("bundle", "import"), ("house.tar",), says=("localrouter-demo-Q8_0: ",)),
    Offline(("remove",), ("--yes", "noise"), says=("forget Noise",)),
    Offline(("prune",), ("--yes",), says=("nothing to delete",)),
    Offline(("du",), says=("localrouter-demo-Q8_0", "total")),
    Offline(("completion",), ("bash",), says=("localrouter",)),
    Offline(("bench",), ("--build-peer",), says=("sources of llama.cpp are missing", "without --offline"), status=2),
    Offline(("conformance",), ("http://127.0.0.1:9/v1",), says=("the server does not respond",), status=2),
    Offline(("conformance",), ("https://api.example.com/v1",), says=("is another machine", "--api-key"), status=2),
)
