"""All checks, and how they are run."""

import re
from collections.abc import Collection, Iterable, Iterator
from time import monotonic
from typing import Any

import httpx2
import openai

from localrouter.conformance.check import Broken, Check, CheckOutcome, CheckResult, Undecided
from localrouter.conformance.checks.conversations import MESSAGES
from localrouter.conformance.checks.ignored_fields import FIELDS
from localrouter.conformance.checks.legacy_routes import LEGACY
from localrouter.conformance.checks.length_limits import LIMITS
from localrouter.conformance.checks.multiple_choices import LOGPROBS, N
from localrouter.conformance.checks.plain_answers import BASICS
from localrouter.conformance.checks.protocol import ERRORS, MODELS, USAGE
from localrouter.conformance.checks.reasoning_content import REASONING
from localrouter.conformance.checks.sampling_fields import LOGIT_BIAS, PENALTIES, SAMPLING
from localrouter.conformance.checks.stop_sequences import STOP
from localrouter.conformance.checks.streaming import STREAMING
from localrouter.conformance.checks.structured_output import RESPONSE_FORMAT
from localrouter.conformance.checks.tool_calls import TOOLS
from localrouter.conformance.checks.tool_requests import TOOL_REQUESTS
from localrouter.conformance.server_under_test import Endless, ServerUnderTest

GROUPS = {
    group.name: group
    for group in (
        BASICS,
        STREAMING,
        LIMITS,
        SAMPLING,
        STOP,
        N,
        LOGPROBS,
        LOGIT_BIAS,
        PENALTIES,
        RESPONSE_FORMAT,
        TOOLS,
        TOOL_REQUESTS,
        REASONING,
        MESSAGES,
        FIELDS,
        ERRORS,
        MODELS,
        USAGE,
        LEGACY,
    )
}
_NOT_ABOUT_A_FIELD = (401, 403, 404, 408, 429)
_NOT_IMPLEMENTED = 501
_REQUIRED = ("model", "messages", "prompt")
_SILENT_CHECKS = 3
"""So many checks without any answer, one after the other, and the server is taken for gone."""
_NO_ANSWER = (openai.APIConnectionError, httpx2.TransportError)
_FAILURES = (
    Broken,
    Endless,
    openai.APIError,
    httpx2.HTTPError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def chosen(only: Collection[str] = ()) -> list[Check]:
    """Return all checks, or those of some groups, in the order in which they run."""
    return [check for group in GROUPS.values() if not only or group.name in only for check in group.checks]


def run(server: ServerUnderTest, checks: Iterable[Check]) -> Iterator[CheckResult]:
    """Run checks one after the other; each result comes when it is known.

    When the server has been silent for some checks in a row, the others are not run.
    """
    silent = 0
    for check in checks:
        if silent >= _SILENT_CHECKS:
            yield not_run(check, "the server no longer answers")
            continue
        result = run_one(check, server)
        silent = silent + 1 if result.silent else 0
        yield result


def not_run(check: Check, why: str) -> CheckResult:
    """Return the result of a check that was left out."""
    return CheckResult(check, CheckOutcome.NOT_RUN, why)


def run_one(check: Check, server: ServerUnderTest) -> CheckResult:
    """Run one check. Whatever a server answers, no exception leaves this function."""
    server.begin()
    begun = monotonic()
    outcome, reason, silent = _outcome(check, server)
    return CheckResult(check, outcome, reason, server.asked, server.came, monotonic() - begun, silent)


def _outcome(check: Check, server: ServerUnderTest) -> tuple[CheckOutcome, str, bool]:
    """Return the outcome, why, and whether no answer came."""
    try:
        check.run(server)
    except Undecided as why:
        return CheckOutcome.UNDECIDED, str(why), False
    except openai.APIStatusError as error:
        server.came = error.response.text[:2000]
        outcome = CheckOutcome.REFUSED if _names_what_it_lacks(error, check, server.asked) else CheckOutcome.FAILED
        return outcome, f"status {error.status_code}: {_message(error)}", False
    except _FAILURES as error:
        return CheckOutcome.FAILED, _in_words(error), isinstance(error, _NO_ANSWER)
    return CheckOutcome.PASSED, "", False


def _in_words(error: Exception) -> str:
    """Say how a check failed; errors of Python are answers of another shape than was promised."""
    match error:
        case Broken():
            return str(error)
        case openai.APITimeoutError() | httpx2.TimeoutException():
            return "no whole answer came in time"
        case openai.APIError() | httpx2.HTTPError():
            return f"no whole answer came: {error}"
        case Endless():
            return "the stream did not end"
    return f"the answer has another shape: {type(error).__name__}: {error}"


def _names_what_it_lacks(error: openai.APIStatusError, check: Check, asked: Any) -> bool:
    """Whether a server says that it does not support what the check is about, or an optional field that it needs.

    A server that answers 501 has said so whatever its words are, and one that has no legacy completions answers 404.
    """
    status = error.status_code
    if status == _NOT_IMPLEMENTED:
        return bool(check.fields)
    if status == httpx2.codes.NOT_FOUND and check.group == LEGACY.name:
        return True
    if not 400 <= status < 500 or status in _NOT_ABOUT_A_FIELD:
        return False
    param = str(error.param)
    if param not in _REQUIRED and isinstance(asked, dict) and asked.get(param) is not None:
        return True
    said = f"{error.param or ''} {_message(error)}".lower()
    return any(re.search(rf"(?<!\w){field}(s|ing)?(?!\w)", said) for field in check.fields)


def _message(error: openai.APIStatusError) -> str:
    """The server's words, without what the client puts around them."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    return str(words or error.message)
