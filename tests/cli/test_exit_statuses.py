"""docs/cli.md, the help pages and the program say the same of how every command ends."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from model_home import FILE, MANIFEST, REPO, Home, home

from localrouter.cli import COMMANDS, main
from localrouter.cli.exit_status import INTERRUPTED, NO_READER, WRONG_USE, exit_statuses, of_this_machine
from localrouter.cli.options import consent

__all__ = ["home"]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Row:
    """What docs/cli.md says of a command."""

    json: bool
    offline: bool
    done: str
    failed: str | None


def rows() -> dict[str, Row]:
    section = PAGE.partition("## Commands")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line]
    return {
        row[0].strip("`"): Row(row[2] == "yes", row[3] == "yes", row[4], row[5] or None)
        for row in cells
        if row[0] != "command"
    }


def commands(group: click.Group = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its words."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} ")
        else:
            yield before + name, command


def run(*words: str | Path, say: str | None = None) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], input=say)


def test_the_table_has_every_command_and_no_other() -> None:
    assert sorted(rows()) == sorted(name for name, _ in commands())


def test_the_table_says_who_has_json_and_offline() -> None:
    options = {name: {option for each in command.params for option in each.opts} for name, command in commands()}
    for name, row in rows().items():
        assert (row.json, row.offline) == ("--json" in options[name], "--offline" in options[name]), name


@pytest.mark.parametrize("name", sorted(rows()))
def test_every_help_page_ends_with_the_statuses_of_the_table(name: str) -> None:
    text = " ".join(run(*name.split(), "--help").stdout.split())
    assert text.endswith(exit_statuses(rows()[name].done, rows()[name].failed))


def test_the_page_has_the_statuses_that_are_the_same_everywhere() -> None:
    said = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert [int(status) for status in said] == [WRONG_USE, INTERRUPTED, NO_READER]


@pytest.mark.parametrize("name", [*sorted(rows()), "bundle", "nonsense"])
def test_wrong_use_is_2(name: str) -> None:
    assert run(*name.split(), "--no-such-option").exit_code == WRONG_USE


@pytest.mark.parametrize(
    "name", ["list", "plan", "du", "lock --offline", "verify", "prune", "completion bash", "show big"]
)
@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141), (PermissionError(13, "no", "/x"), 2)]
)
def test_the_same_end_has_the_same_status_in_every_command(
    monkeypatch: pytest.MonkeyPatch, home: Home, name: str, error: BaseException, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    command = main.get_command(click.Context(main), name.split(maxsplit=1)[0])
    monkeypatch.setattr(command, "callback", fail)
    monkeypatch.setattr("localrouter.cli.exit_status._let_go", lambda _: None)
    result = run(*name.split())
    assert result.exit_code == status
    assert ("error: /x: no" in result.stderr) == (status == WRONG_USE)


@pytest.mark.parametrize("name", ["list", "show big", "du", "plan", "devices", "prune", "verify", "completion fish"])
def test_0_is_done(home: Home, name: str) -> None:
    result = run(*name.split())
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["show", "pull", "verify", "lock", "plan", "remove", "du", "bundle create out.tar"])
def test_a_name_that_nothing_has_is_2(home: Home, name: str) -> None:
    result = run(*name.split(), "nobody")
    assert (result.exit_code, "error: " in result.stderr) == (WRONG_USE, True)


WITHOUT_MANIFEST = {"completion", "bundle", "serve", "add", "devices", "bench", "conformance"}
"""Those that read no manifest, or none with these words alone."""


@pytest.mark.parametrize("name", sorted({*COMMANDS} - WITHOUT_MANIFEST))
def test_a_wrong_manifest_is_2(home: Home, name: str) -> None:
    home.manifest.write_text(MANIFEST + "wrong = 1\n")
    words = ["big"] if name in {"show", "pull", "remove"} else []
    result = run(name, *words)
    assert (result.exit_code, "unknown key" in result.stderr) == (WRONG_USE, True)


def test_verify_is_1_when_something_is_bad(home: Home) -> None:
    home.cache.add(REPO, FILE, b"rubbish")
    assert run("verify", "big").exit_code == 1


@pytest.mark.parametrize("name", ["prune", "remove"])
@pytest.mark.parametrize(
    ("answer", "status"), [("y", 0), ("n", 1), ("", 1), (EOFError(), 1), (KeyboardInterrupt(), INTERRUPTED)]
)
def test_who_is_asked_and_does_not_say_yes_ends_with_1_and_ctrl_c_with_130(
    monkeypatch: pytest.MonkeyPatch, home: Home, name: str, answer: str | BaseException, status: int
) -> None:
    home.cache.add(REPO, FILE, b"12345", revision="f" * 40)
    home.cache.add(REPO, "Four.gguf", b"1234")

    def ask(_: str) -> str:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    command = main.get_command(click.Context(main), name)
    module = sys.modules[f"localrouter.cli.{name}"]
    monkeypatch.setattr(module, "consent", lambda question, yes: _consent_on_a_terminal(monkeypatch, ask, question))
    assert command is not None
    assert run(name, *(["big:4b"] if name == "remove" else [])).exit_code == status


def _consent_on_a_terminal(monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], str], question: str) -> bool:
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", Terminal())
        patch.setattr("click.termui.visible_prompt_func", ask)
        return consent(question, yes=False)


class Terminal(io.StringIO):
    """An input that somebody sits at."""

    def isatty(self) -> bool:
        return True


def program(*words: str, stdout: int, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from localrouter.cli import main; main()", *words]
    return subprocess.run(
        command, env=os.environ | more, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("words", ["list", "list --json", "du", "--help", "plan --help", "completion bash"])
def test_a_reader_that_has_gone_is_141_without_a_word(words: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = program(*words.split(), stdout=write)
    os.close(write)
    assert (done.returncode, "rror" in done.stderr) == (NO_READER, False)


def test_nor_does_anybody_read_stderr_behind_a_pipe_of_both() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from localrouter.cli import main; main()", "lock", "--check", "--offline"]
    done = subprocess.run(command, stdout=write, stderr=write, check=False, timeout=60)
    os.close(write)
    assert done.returncode == NO_READER


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize("words", ["list", "du --json", "--help"])
def test_an_output_without_room_is_an_error(words: str) -> None:
    with open("/dev/full", "w") as full:
        done = program(*words.split(), stdout=full.fileno())
    assert done.returncode == WRONG_USE
    assert done.stderr.startswith("error: the output cannot be written: No space left on device\nhint: ")


def test_a_hint_names_the_variable_that_moves_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/cache")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    inside = of_this_machine(PermissionError(errno.EACCES, "Permission denied", "/cache/hub/x"))
    assert (inside.message, inside.hint) == (
        "/cache/hub/x: Permission denied",
        "look at its permissions, or name another directory with HF_HOME",
    )
    outside = of_this_machine(NotADirectoryError(errno.ENOTDIR, "Not a directory", "/elsewhere/x"))
    assert outside.hint == "look at what is at this path"


def test_sigint_ends_a_running_command_with_130(home: Home) -> None:
    large = home.root / "large.gguf"
    large.write_bytes(home.gguf("x").read_bytes())
    os.truncate(large, 40_000_000_000)  # a hole that takes longer to hash than anybody waits
    home.manifest.write_text(
        f'version = 1\n[models.big]\nbuilds = [{{ name = "Big", path = "{large}", size = 40000000000, '
        f'sha256 = "{"0" * 64}" }}]\n'
    )
    code = "from localrouter.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "verify", "--manifest", str(home.manifest)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Big: ")  # after two seconds it says how far it is
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in said) == (INTERRUPTED, False)
