"""`localrouter conformance`: contract checks against any server with an OpenAI-compatible API."""

import ipaddress
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.options import FILE, print_data, talk
from localrouter.errors import ConfigError

if TYPE_CHECKING:
    from localrouter.conformance.check import Check, CheckResult
    from localrouter.conformance.server_under_test import ServerUnderTest

_NO_KEY = "none"
_KEY_HINT = "pass --api-key or set OPENAI_API_KEY"
_HINTS = {401: _KEY_HINT, 403: _KEY_HINT, 404: "does its address end in /v1? If so, pass --model ID"}
"""Hints by the HTTP status of a failed `GET /models`."""
_GROUPS = (
    "basics, streaming, limits, sampling, stop, n, logprobs, logit_bias, penalties, response_format, tools, "
    "tool_requests, reasoning, messages, fields, errors, models, usage, legacy"
)


@click.command("conformance", epilog=exit_statuses("no check failed", "a check failed"))
@click.argument("base_url")
@click.option("--model", metavar="ID", help="The model to test. [default: the first that the server lists]")
@click.option("--api-key", envvar="OPENAI_API_KEY", metavar="KEY", help="The server's key. [OPENAI_API_KEY]")
@click.option(
    "--only",
    type=click.Choice(_GROUPS.split(", ")),
    metavar="GROUP",
    multiple=True,
    help=f"Only checks of this group; repeatable. {_GROUPS}.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=120.0,
    help="Time limit of one check. [default: 120]",
)
@click.option(
    "--with",
    "always",
    metavar="JSON",
    help="Fields added to every chat request, as an object; for reasoning models: "
    """'{"chat_template_kwargs": {"enable_thinking": false}}'.""",
)
@click.option(
    "--json", "json_file", type=FILE, metavar="FILE", help="Write requests, responses and outcomes to this file."
)
@click.option("--markdown", "markdown_file", type=FILE, metavar="FILE", help="Write the table to this file.")
def conformance(  # noqa: PLR0913 - one for each option
    base_url: str,
    *,
    model: str | None,
    api_key: str | None,
    only: tuple[str, ...],
    timeout: float,
    always: str | None,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Check the server at BASE_URL, which ends in /v1, against OpenAI's API reference of chat completions.

    A check passes, fails, or is rejected: the server reports that it does not support the feature. It is undecided
    where the model's output proves neither. The checks need no useful output, so a model with random weights will do.
    After Ctrl-C the results so far are printed and written.
    """
    _require_client()
    from localrouter.conformance.server_under_test import ServerUnderTest  # imports the openai client, an extra
    from localrouter.conformance.suite import chosen

    with ServerUnderTest(base_url, _key(base_url, api_key), model or "", timeout, _fields(always)) as server:
        server.model = model or _first_model(server, base_url)
        talk(f"testing {server.model} at {base_url}")
        results, interrupted = _results(server, chosen(only))
    _report(results, base_url, server.model, json_file=json_file, markdown_file=markdown_file)
    if interrupted:
        raise KeyboardInterrupt
    if any(result.outcome == "failed" for result in results):
        raise SystemExit(FAILED)


def _require_client() -> None:
    """Raise ConfigError if the openai client is not installed."""
    if find_spec("openai") is None:
        raise ConfigError(
            "the checks need OpenAI's Python client, which is not installed",
            hint=f"{sys.executable} -m pip install 'localrouter[conformance]'",
        )


def _report(
    results: "list[CheckResult]", base_url: str, model: str, *, json_file: Path | None, markdown_file: Path | None
) -> None:
    """Print the results, and write them to the files that are named."""
    from localrouter.conformance import report  # imports the openai client, an extra

    print_data(report.table(results))
    if results[-1].outcome == "not run":
        talk(f"not all checks were run: {results[-1].reason}")
    print_data(report.summary(results))
    if json_file:
        _write(json_file, json.dumps(report.as_json(results, base_url, model), indent=1) + "\n")
    if markdown_file:
        _write(markdown_file, report.markdown(results, f"`{model}`"))


def _fields(always: str | None) -> dict[str, Any]:
    """Return the fields that every request has. Raises ConfigError if `always` is not a JSON object."""
    try:
        fields = json.loads(always or "{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ConfigError(
            f"--with {always} is not a JSON object", hint="""pass one like '{"reasoning_effort": "none"}'"""
        )
    return fields


def _key(base_url: str, key: str | None) -> str:
    """Return the API key to send. Raises ConfigError for an invalid URL, and for a remote server without a key."""
    import httpx2  # an extra

    try:
        address = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        address = httpx2.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigError(f"{base_url} is not the URL of a server", hint="pass one like http://127.0.0.1:8000/v1")
    if not key and not _is_this_machine(address.host):
        raise ConfigError(f"{address.host} is another machine and needs an API key", hint=_KEY_HINT)
    return key or _NO_KEY


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _first_model(server: "ServerUnderTest", base_url: str) -> str:
    """Return the first model that the server lists. Raises ConfigError if it lists none, or does not respond."""
    import httpx2  # an extra

    talk(f"listing the models of {base_url}")
    try:
        listed = server.models()
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        hint = _HINTS.get(status, "pass --model ID")
        raise ConfigError(f"the server lists no models: it responds with status {status}", hint=hint) from None
    except httpx2.HTTPError as error:
        raise ConfigError(
            f"the server does not respond: {error}", hint="is it running, and does its address end in /v1?"
        ) from None
    except ValueError as error:
        raise ConfigError(str(error), hint="does its address end in /v1?") from None
    if not listed:
        raise ConfigError("the server lists no models", hint="pass --model ID")
    return listed[0]


def _results(server: "ServerUnderTest", checks: "list[Check]") -> "tuple[list[CheckResult], bool]":
    """Run the checks. Return a result for each, and whether Ctrl-C ended the run: remaining checks are then not run."""
    # These import the openai client, an extra.
    from localrouter.conformance.exemptions import exemptions_of
    from localrouter.conformance.suite import not_run, run

    results: list[CheckResult] = []
    try:
        with _progress(len(checks)) as show:
            results_of_all = run(server, checks, exemptions_of(server))
            for check in checks:
                show(check)
                results.append(next(results_of_all))
    except KeyboardInterrupt:
        left = checks[len(results) :]
        return [*results, *(not_run(check, "the run was interrupted") for check in left)], True
    return results, False


class _Show(Protocol):
    def __call__(self, check: "Check") -> None:
        """Show that this check begins."""


@contextmanager
def _progress(count: int) -> Iterator[_Show]:
    """Give a function that shows which of `count` checks runs: a bar on a terminal, elsewhere a line per group."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        shown: set[str] = set()

        def print_group(check: "Check") -> None:
            if check.group not in shown:
                shown.add(check.group)
                talk(f"checking {check.group}", style="dim")

        yield print_group
        return
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=count, completed=-1)

        def move(check: "Check") -> None:
            bar.update(task, advance=1, description=f"{check.group}: {check.name}")

        yield move


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
