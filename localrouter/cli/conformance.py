"""`localrouter conformance`: contract checks against any server of OpenAI's chat completions."""

import ipaddress
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import rich_click as click

from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.options import FILE, print_data, talk
from localrouter.errors import ConfigError

if TYPE_CHECKING:
    from localrouter.conformance.check import Result
    from localrouter.conformance.server import Server

_NO_KEY = "none"
_GROUPS = (
    "basics, streaming, limits, sampling, stop, n, logprobs, logit_bias, penalties, response_format, tools, messages, "
    "errors, models, usage"
)


@click.command("conformance", epilog=exit_statuses("no check failed", "a check failed"))
@click.argument("base_url")
@click.option("--model", metavar="ID", help="The model to ask. [default: the first that the server lists]")
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
    default=60.0,
    help="The longest wait for an answer. [default: 60]",
)
@click.option("--json", "json_file", type=FILE, metavar="FILE", help="Write requests, answers and outcomes here.")
@click.option("--markdown", "markdown_file", type=FILE, metavar="FILE", help="Write the table here.")
def conformance(  # noqa: PLR0913 - one for each option
    base_url: str,
    *,
    model: str | None,
    api_key: str | None,
    only: tuple[str, ...],
    timeout: float,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Hold the server at BASE_URL, which ends in /v1, against OpenAI's reference of chat completions.

    A check passes, fails, or is refused: the server says that it does not support what was asked. It is not testable
    where the model's words show neither. No check needs a model that says anything sensible.
    """
    if find_spec("openai") is None:
        raise ConfigError(
            "the checks ask through OpenAI's client, which is not here",
            hint="pip install 'localrouter[conformance]'",
        )
    from localrouter.conformance import report  # noqa: PLC0415 - the openai client is an extra, and slow to import
    from localrouter.conformance.server import Server  # noqa: PLC0415

    with Server(base_url, _key(base_url, api_key), model or "", timeout) as server:
        server.model = model or _first_model(server)
        talk(f"asking {server.model} at {base_url}")
        results = _results(server, only)
    print_data(report.table(results))
    print_data(report.summary(results))
    if json_file:
        _write(json_file, json.dumps(report.as_json(results, base_url, server.model), indent=1) + "\n")
    if markdown_file:
        _write(markdown_file, report.markdown(results, f"`{server.model}`"))
    if any(result.outcome == "failed" for result in results):
        raise SystemExit(FAILED)


def _key(base_url: str, key: str | None) -> str:
    """Return the key to send. Raises ConfigError for no URL, and where another machine would be asked without a key."""
    address = urlsplit(base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ConfigError(f"{base_url} is no address of a server", hint="pass one like http://127.0.0.1:8000/v1")
    if not key and not _is_this_machine(address.hostname):
        raise ConfigError(f"{address.hostname} is another machine", hint="pass --api-key or set OPENAI_API_KEY")
    return key or _NO_KEY


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _first_model(server: "Server") -> str:
    """Return the first model that is listed. Raises ConfigError where none is, or nobody answers."""
    import openai  # noqa: PLC0415 - an extra

    try:
        listed = list(server.client.models.list())
    except openai.APIConnectionError as error:
        raise ConfigError(
            f"no server answers: {error}", hint="is it running, and does its address end in /v1?"
        ) from None
    except openai.APIError as error:
        raise ConfigError(f"the server lists no models: {error}", hint="pass --model ID") from None
    if not listed:
        raise ConfigError("the server lists no models", hint="pass --model ID")
    return listed[0].id


def _results(server: "Server", only: tuple[str, ...]) -> "list[Result]":
    """Run the checks; each group is told on stderr as it begins."""
    from localrouter.conformance.suite import run  # noqa: PLC0415 - the openai client is an extra

    results: list[Result] = []
    for result in run(server, only):
        if not results or results[-1].check.group != result.check.group:
            talk(f"checking {result.check.group}", style="dim")
        results.append(result)
    return results


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
