"""`localrouter conformance`: what it prints and writes, and how it ends."""

import _thread
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from exemplary_server import exemplary_server

from localrouter.cli import main
from localrouter.cli.conformance import _GROUPS
from localrouter.conformance import report
from localrouter.conformance.check import CheckOutcome, CheckResult
from localrouter.conformance.suite import GROUPS


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["conformance", *map(str, words)], env={"OPENAI_API_KEY": None})


def test_the_option_only_knows_every_group() -> None:
    assert _GROUPS.split(", ") == [*GROUPS]


def test_it_is_0_when_nothing_failed_and_prints_a_summary() -> None:
    with exemplary_server() as server:
        result = run(server.base_url, "--only", "models")
    assert result.exit_code == 0, result.output
    assert "3 checks: 3 passed, 0 failed, 0 rejected, 0 exempt, 0 undecided, 0 not run" in result.stdout


def test_it_is_1_when_a_check_failed_and_says_what_was_promised() -> None:
    with exemplary_server(last="") as server:
        result = run(server.base_url, "--only", "streaming")
    assert result.exit_code == 1
    assert "promised: The stream is ended by `data: [DONE]`." in result.stdout


def test_files_have_everything(tmp_path: Path) -> None:
    with exemplary_server() as server:
        run(server.base_url, "--only", "models", "--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md")
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["outcomes"] == {"passed": 3, "failed": 0, "rejected": 0, "exempt": 0, "undecided": 0, "not run": 0}
    assert all(check["promise"] and check["asked"] and check["came"] for check in written["checks"])
    assert "| models | models are listed | passed |  |" in (tmp_path / "a.md").read_text()


def test_ctrl_c_prints_and_writes_what_was_found_until_then(tmp_path: Path) -> None:
    asked: list[Any] = []

    def interrupted(answer: Any) -> Any:
        asked.append(answer)
        if len(asked) == 3:  # the first answer is the list of models
            _thread.interrupt_main()
        return answer

    with exemplary_server(answers=interrupted) as server:
        result = run(server.base_url, "--model", "exemplary", "--only", "basics", "--json", tmp_path / "a.json")
    assert result.exit_code == 130
    outcomes = json.loads((tmp_path / "a.json").read_text())["outcomes"]
    assert outcomes["passed"] in (1, 2)
    assert outcomes["passed"] + outcomes["not run"] == len(GROUPS["basics"].checks)
    assert "the run was interrupted" in result.stderr


def test_fields_of_every_request_are_sent(tmp_path: Path) -> None:
    with exemplary_server() as server:
        run(server.base_url, "--only", "basics", "--with", '{"seed": 3}', "--json", tmp_path / "a.json")
    checks = json.loads((tmp_path / "a.json").read_text())["checks"]
    assert {check["asked"]["seed"] for check in checks} == {3}


def test_fields_that_are_no_object_are_2() -> None:
    result = run("http://127.0.0.1:1/v1", "--with", "seed=3")
    assert (result.exit_code, "not a JSON object" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "not the URL of a server"),
        ("https://api.example.com/v1", "OPENAI_API_KEY"),
        ("http://127.0.0.1:1/v1", "the server does not respond"),
        ("http://127.0.0.1:port/v1", "not the URL of a server"),
        ("http://[::1/v1", "not the URL of a server"),
    ],
)
def test_an_address_that_cannot_be_asked_is_2(address: str, words: str) -> None:
    result = run(address)
    assert (result.exit_code, words in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("status", "page", "words"),
    [
        (200, "<html>Welcome!</html>", "not a list of models: '<html>Welcome!</html>'"),
        (200, "[" * 100_000, "not a list of models: '[[["),
        (200, '{"data": [{}]}', "not a list of models"),
        (200, '{"data": []}', "the server lists no models"),
        (404, "<html>Not here</html>", "does its address end in /v1"),
        (401, '{"error": {"message": "no key"}}', "OPENAI_API_KEY"),
        (500, "oops", "status 500"),
    ],
)
def test_who_does_not_list_its_models_is_told_of_in_words(status: int, page: str, words: str) -> None:
    with exemplary_server(status=status, page=page) as server:
        result = run(server.base_url)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_somebody_who_waits_for_the_models_knows_for_what() -> None:
    assert "listing the models of http://127.0.0.1:1/v1" in run("http://127.0.0.1:1/v1").stderr


def test_a_missing_openai_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localrouter.cli.conformance.find_spec", lambda _: None)
    result = run("http://127.0.0.1:1/v1")
    assert (result.exit_code, "-m pip install 'localrouter[conformance]'" in result.stderr) == (2, True)


def test_what_a_server_says_can_be_printed_whatever_it_is() -> None:
    result = CheckResult(GROUPS["basics"].checks[0], CheckOutcome.FAILED, "red: \x1b[31m, half of a pair: \ud83d")

    told = report.markdown([result], "title")

    assert told.encode().decode() == told
    assert "red: \ufffd[31m, half of a pair: \ufffd" in told
