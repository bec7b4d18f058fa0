"""Completion: what a shell is offered at each place, by the script that `localrouter completion` prints."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from model_home import FILE, REPO, Home, home

from localrouter.cli import COMMANDS, COMPLETE, main
from localrouter.cli.add import add

__all__ = ["home"]
BREAKS = " \t\n\"'><=;|&(:"
BASH = shutil.which("bash")
PROGRAM = "from localrouter.cli import main; main(prog_name='localrouter')"
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture(autouse=True)
def _cache(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(home.cache.root))


def answer(line: str, shell: str = "bash") -> list[str]:
    """What the program answers a shell whose cursor is at the end of this line."""
    environment = {"COMP_WORDS": line, COMPLETE: f"{shell}_complete"}
    result = CliRunner().invoke(main, env=environment, prog_name="localrouter")
    assert (result.exit_code, result.stderr) == (0, "")
    return [text for text in result.stdout.splitlines() if text]


def names(line: str) -> list[str]:
    return [text.removeprefix("plain,") for text in answer(line)]


def test_commands_and_options_are_offered() -> None:
    assert names("localrouter ") == [*COMMANDS]
    assert names("localrouter pr") == ["prune"]
    assert names("localrouter dev") == ["devices"]
    assert names("localrouter devices --j") == ["--json"]
    assert names("localrouter bundle i") == ["import"]
    assert names("localrouter prune --d") == ["--dry-run"]
    assert names("localrouter completion z") == ["zsh"]


def test_a_model_is_offered_by_alias_variant_and_full_name() -> None:
    assert names("localrouter show ") == ["big", "big:9b", "big:4b", "Big-9B", "Big-4B"]
    assert names("localrouter plan big:") == ["big:9b", "big:4b"]
    assert names("localrouter plan B") == ["Big-9B", "Big-4B"]


def test_a_name_that_stands_there_already_is_not_offered_again() -> None:
    assert names("localrouter plan big:9b big:") == ["big:4b"]


@pytest.mark.parametrize("command", ["verify", "du", "remove", "bundle create out.tar"])
def test_what_works_on_files_offers_those_that_are_here(home: Home, command: str) -> None:
    assert names(f"localrouter {command} ") == []
    home.cache.add(REPO, FILE, b"12345")
    assert names(f"localrouter {command} ") == ["big", "big:9b", "Big-9B"]


def test_a_build_without_a_revision_is_here_in_any(home: Home) -> None:
    home.cache.add(REPO, "Four.gguf", b"4")
    assert names("localrouter verify Big") == ["Big-4B"]


def test_what_the_user_has_added_can_be_removed_and_not_pulled(home: Home) -> None:
    home.run(add, "mine", home.gguf("Mine.gguf"))
    assert names("localrouter remove ") == ["mine", "Mine"]
    assert names("localrouter verify ") == ["mine", "Mine"]
    assert "mine" not in names("localrouter pull ")


def test_add_offers_aliases_then_files() -> None:
    assert names("localrouter add ") == ["big"]
    assert answer("localrouter add big ./x") == ["file,./x"]
    assert answer("localrouter add big hf:") == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("serve --manifest x", "file"),
        ("list --manifest x", "file"),
        ("serve --model mine=x", "file"),
        ("list --model mine=x", "file"),
        ("bundle create o", "file"),
        ("bundle import b.tar --wheels w", "dir"),
    ],
)
def test_where_a_file_is_meant_the_shell_completes_it(line: str, kind: str) -> None:
    [offered] = answer(f"localrouter {line}")
    assert offered.startswith(f"{kind},")


def test_settings_offer_their_words() -> None:
    assert names("localrouter serve --log-level ") == ["debug", "info", "warning", "error"]
    assert names("localrouter serve --gpu-layers a") == ["auto", "all"]
    assert names("localrouter serve --port ") == []


def test_a_manifest_on_the_line_or_in_the_environment_is_the_one_that_is_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home.root / "other.toml"
    other.write_text('version = 1\n[models.far]\nbuilds = [{ name = "Far", path = "far.gguf" }]\n')
    assert names(f"localrouter show --manifest {other} ") == ["far", "Far"]
    monkeypatch.setenv("LOCALROUTER_MANIFEST", str(other))
    assert names("localrouter show ") == ["far", "Far"]


@pytest.mark.parametrize("text", ["version = ", "\0", 'version = 1\nwrong = "key"'])
def test_a_wrong_manifest_has_no_names_and_no_complaints(home: Home, text: str) -> None:
    home.own.parent.mkdir(parents=True)
    home.own.write_text(text)
    assert answer("localrouter show ") == []


@pytest.mark.parametrize("line", ["", "localrouter", "localrouter 'x", "localrouter bundle x y"])
def test_what_makes_no_sense_has_no_answer(line: str) -> None:
    assert answer(line) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_and_answers(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert f"{COMPLETE}={shell}_complete" in script
    assert answer("localrouter plan big:9", shell) == ["plain,big:9b"]


def test_neither_the_server_nor_the_hub_s_library_is_waited_for_and_no_socket_is_opened(home: Home) -> None:
    home.cache.add(REPO, FILE, b"12345")
    code = (
        "import atexit, sys; opened = []; "
        "sys.addaudithook(lambda event, _: opened.append(event) if event.startswith('socket.') else None); "
        "atexit.register(lambda: print(*{'litestar', 'uvicorn', 'huggingface_hub', 'llama_cpp', 'numpy'} "
        f"& set(sys.modules), *opened, file=sys.stderr)); {PROGRAM}"
    )
    for line in ("pull q", "remove ", "bundle create o ", "serve --", "add x "):
        environment = os.environ | {"COMP_WORDS": f"localrouter {line}", COMPLETE: "bash_complete"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr.split() == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"HF_HOME": "/a/b"},
        {"HF_HOME": "~/x"},
        {"HF_HUB_CACHE": "$HOME/c", "HF_HOME": "/a"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
        {"XDG_CACHE_HOME": "/cache"},
    ],
)
def test_the_cache_is_where_the_library_has_it(given: dict[str, str]) -> None:
    code = (
        "from localrouter.cli.model_names import hub_cache; from huggingface_hub import constants; "
        "print(hub_cache()); print(constants.HF_HUB_CACHE)"
    )
    environment = {"HOME": "/home/somebody", "PYTHONPATH": os.pathsep.join(sys.path)} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    ours, theirs = done.stdout.splitlines()
    assert ours == theirs


@pytest.fixture
def script(home: Home) -> Path:
    """A file that bash reads: the program under its name, with this home's manifest, and its completion."""
    program = home.root / "bin" / "localrouter"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    paths = f"PATH={program.parent}:$PATH\nexport LOCALROUTER_MANIFEST={home.manifest}\n"
    path = home.root / "rc"
    path.write_text(f'{paths}PS1="> "\nbind "set bell-style none" 2>/dev/null\neval "$(localrouter completion bash)"\n')
    return path


def reply(script: Path, line: str, breaks: str = BREAKS) -> list[str]:
    """COMPREPLY, after bash has called the function of the script."""
    code = (
        f"source {script}; COMP_WORDBREAKS={shlex.quote(breaks)}; COMP_LINE={shlex.quote(line)}; "
        "COMP_POINT=${#COMP_LINE}; _localrouter_completion localrouter; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@needs_bash
def test_bash_gets_what_stands_behind_the_colon(script: Path) -> None:
    assert reply(script, "localrouter pull big:9") == ["9b"]
    assert reply(script, "localrouter pull big:") == ["9b", "4b"]
    assert reply(script, "localrouter pull B") == ["Big-9B", "Big-4B"]


@needs_bash
def test_bash_gets_all_of_it_where_a_colon_ends_no_word(script: Path) -> None:
    assert reply(script, "localrouter pull big:9", BREAKS.replace(":", "")) == ["big:9b"]
    assert reply(script, 'localrouter pull "big:9') == ["big:9b"]


@needs_bash
def test_bash_gets_a_name_that_it_can_read_again(script: Path, home: Home) -> None:
    home.manifest.write_text('version = 1\n[models.a]\nbuilds = [{ name = "Two words (1)", path = "x" }]\n')
    assert reply(script, "localrouter show T") == ["Two\\", "words\\", "\\(1\\)"]


@needs_bash
def test_bash_shows_no_complaint_of_the_program(script: Path, home: Home) -> None:
    program = home.root / "bin" / "localrouter"
    broken = f'[ -z "${COMPLETE}" ] || {{ echo Traceback >&2; exit 1; }}'
    program.write_text(program.read_text().replace("\n", f"\n{broken}\n", 1))
    assert reply(script, "localrouter show T") == []


@needs_bash
def test_a_tab_completes_a_name_with_a_colon_in_a_real_bash(script: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("bash", ["bash", "--noprofile", "--rcfile", str(script), "-i"])
    try:
        read_until(terminal, b"> ")
        os.write(terminal, b"localrouter pull big:9\t")
        assert read_until(terminal, b"big:9b ")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, end: bytes) -> bytes:
    seen, limit = b"", time.monotonic() + 30
    while end not in seen:
        assert select.select([terminal], [], [], max(0.0, limit - time.monotonic()))[0], seen
        seen += os.read(terminal, 4096)
    return seen
