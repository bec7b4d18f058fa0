"""The README is executed: its commands exist, its examples run and print what it says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from localrouter.config import Settings
from localrouter.schema.chat_request import ChatRequest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000/v1"


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [
    shlex.split(line, comments=True)
    for block in blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


def commands(program: str) -> list[list[str]]:
    """The commands of the README that run `program`, each without it and without variables set before it."""
    return [words[words.index(program) + 1 :] for words in COMMANDS if program in words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project, wide enough for no help text to be folded."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    environment |= {"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_every_command_is_of_a_kind_that_is_checked() -> None:
    program = {next(word for word in words if "=" not in word) for words in COMMANDS}
    assert program == {"make", "curl", "localrouter"}


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_make_targets_exist(words: list[str]) -> None:
    assert run("make", "-n", *words).returncode == 0


@pytest.mark.parametrize("words", commands("localrouter"), ids=" ".join)
def test_options_of_localrouter_exist(words: list[str]) -> None:
    command = words[:2] if words[0] == "bundle" else words[:1]
    shown = run(sys.executable, "-m", "localrouter", *command, "--help")
    assert shown.returncode == 0, shown.stderr
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", shown.stdout), option


def test_the_table_of_settings_is_true() -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (?:`LOCALROUTER_([A-Z_]+)`)? ?\| ([^|]*?) \|", README, re.MULTILINE)
    assert len(rows) >= 5
    shown = run(sys.executable, "-m", "localrouter", "serve", "--help").stdout
    for option, variable, default in rows:
        assert option in shown
        if variable:
            assert option == "--" + variable.lower().replace("_", "-")
            field = Settings.model_fields[variable.lower()]
            assert not default.startswith("`") or default == f"`{field.default}`"


def test_the_body_for_curl_is_a_valid_request() -> None:
    (words,) = commands("curl")
    assert words[0] == f"{ADDRESS}/chat/completions"
    ChatRequest.model_validate(json.loads(words[words.index("-d") + 1]))


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_examples_are_python() -> None:
    for example in blocks("python"):
        compile(example, "README.md", "exec")
        assert f'base_url="{ADDRESS}"' in example


def printed_by(example: str, request: pytest.FixtureRequest) -> str:
    """What an example prints when it talks to the server of the tests."""
    base_url: str = request.getfixturevalue("server").base_url
    done = run(sys.executable, "-c", example.replace(ADDRESS, base_url))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_example_prints_what_its_comment_says(request: pytest.FixtureRequest) -> None:
    """It samples at temperature 1, where the demo model is right in at least 95 of 100 runs: three attempts."""
    example = blocks("python")[0]
    comment = example.rsplit("#", maxsplit=1)[1].strip()
    assert comment == "The capital of the Netherlands is Amsterdam."
    assert any(printed_by(example, request) == comment + "\n" for _ in range(3))


def test_the_streaming_example_prints_a_story(request: pytest.FixtureRequest) -> None:
    example = blocks("python")[1]
    assert any(len(printed_by(example, request).split()) >= 20 for _ in range(3))
