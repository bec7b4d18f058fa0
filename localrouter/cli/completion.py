"""`localrouter completion`: shell completion of commands, options, files and model names."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import rich_click as click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from localrouter.cli.exit_status import exit_statuses

_BASH = """\
_localrouter_completion() {
    local line=${COMP_LINE:0:COMP_POINT} type value mark start before=""
    local word=${line##*[[:space:]]}
    # Readline ends words at : and =, and replaces only what comes behind the last of them.
    if [[ $word != [\\"\\']* ]]; then
        for mark in : =; do
            start=${word%"${word##*"$mark"}"}
            [[ $COMP_WORDBREAKS == *"$mark"* && ${#start} -gt ${#before} ]] && before=$start
        done
    fi
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain)
                [[ $word == [\\"\\']* ]] || printf -v value %q "$value"
                COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_WORDS=$line _LOCALROUTER_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _localrouter_completion localrouter 2>/dev/null ||
    complete -F _localrouter_completion localrouter
"""
_ZSH = """\
#compdef localrouter
_localrouter() {
    local type value
    local -a names
    while IFS=, read -r type value; do
        case $type in
            dir) _path_files -/ ;;
            file) compset -P '*='; _path_files -f ;;
            plain) names+=("$value") ;;
        esac
    done < <(COMP_WORDS="${(j: :)words[1,CURRENT-1]} $PREFIX" _LOCALROUTER_COMPLETE=zsh_complete \\
        ${~words[1]} 2>/dev/null)
    (( $#names )) && compadd -V models -- $names
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _localrouter "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
    compdef _localrouter localrouter
fi
"""
_FISH = """\
function __localrouter_completion
    set -l words (commandline -cp)
    for answer in (env COMP_WORDS="$words" _LOCALROUTER_COMPLETE=fish_complete (commandline -opc)[1] 2>/dev/null)
        set -l parts (string split -m 1 , -- $answer)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                set -l before (string match -r '^[^=]*=' -- (commandline -ct))
                for path in (__fish_complete_path (string replace -r '^[^=]*=' '' -- (commandline -ct)))
                    echo "$before$path"
                end
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --keep-order --command localrouter --arguments "(__localrouter_completion)"
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command("completion", epilog=exit_statuses("printed"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell script that completes commands, options, files and model names.

    In ~/.bashrc: eval "$(localrouter completion bash)"; in ~/.zshrc: eval "$(localrouter completion zsh)"; in
    ~/.config/fish/config.fish: localrouter completion fish | source
    """
    click.echo(_SCRIPTS[shell], nl=False)


class _Names(click.ParamType[str]):
    """Completion of model names, without those already on the line; `names` selects a function of `cli.model_names`."""

    name = "model"

    def __init__(self, names: Callable[[ModuleType], Callable[[Path | None], list[str]]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the model names that start with `incomplete`."""
        from localrouter.cli import model_names  # imported late: options are completed without a manifest

        manifest = ctx.params.get("manifest") or os.environ.get("LOCALROUTER_MANIFEST")
        before = ctx.params.get(param.name or "") or ()
        names = self._names(model_names)(Path(manifest) if manifest else None)
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in before]


class _FileOrHub(click.ParamType[str]):
    """Completion of a local file; values that start with `hf:` are not completed, since only the hub lists them."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the request for the shell's own completion of files; nothing for files of the hub."""
        del ctx, param
        return [] if incomplete.startswith("hf:") else [CompletionItem(incomplete, type="file")]


class _Shell(ShellComplete):
    """Completion for a shell that sends the line up to the cursor. Errors give no completions instead of a message."""

    def source(self) -> str:
        """Return the completion script."""
        return self.source_template

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the completed one, without the program's name; and the incomplete word."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() else words.pop()
        return words[1:], incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the completions of the word after `args`."""
        _set_argument_types(self.cli, args)
        return super().get_completions(args, incomplete)

    def format_completion(self, item: CompletionItem) -> str:
        """Return a completion as a line: its type, a comma, and its value."""
        return f"{item.type},{item.value}"

    def complete(self) -> str:
        """Return all completions as lines; an empty text after an error."""
        with suppress(Exception):
            return super().complete()
        return ""


_OFFERS: dict[tuple[str, ...], click.ParamType[str]] = {
    ("show", "name"): _Names(lambda of: of.every),
    ("plan", "names"): _Names(lambda of: of.every),
    ("pull", "names"): _Names(lambda of: of.of_the_hub),
    ("lock", "names"): _Names(lambda of: of.of_the_hub),
    ("verify", "names"): _Names(lambda of: of.on_disk),
    ("du", "names"): _Names(lambda of: of.on_disk),
    ("bundle", "create", "names"): _Names(lambda of: of.on_disk),
    ("remove", "names"): _Names(lambda of: of.removable),
    ("add", "name"): _Names(lambda of: of.aliases),
    ("add", "file"): _FileOrHub(),
}
"""Completion types by command and argument name."""


def _set_argument_types(cli: click.Command, args: list[str]) -> None:
    """Set the completion types of `_OFFERS` on the arguments of the command that `args` name."""
    path = tuple(args[: 2 if args[:1] == ["bundle"] else 1])
    command, ctx = cli, click.Context(cli)
    for name in path:
        found = command.get_command(ctx, name) if isinstance(command, click.Group) else None
        if found is None:
            return
        command = found
    for argument in command.params:
        argument.type = _OFFERS.get((*path, argument.name or ""), argument.type)


@add_completion_class
class _Bash(_Shell):
    name = "bash"
    source_template = _BASH


@add_completion_class
class _Zsh(_Shell):
    name = "zsh"
    source_template = _ZSH


@add_completion_class
class _Fish(_Shell):
    name = "fish"
    source_template = _FISH
