"""Suite of all checks, and their execution."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from time import monotonic
from types import MappingProxyType
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
"""Consecutive checks without any response after which the server is considered gone."""
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
    """Return all checks, or those of the groups in `only`, in the order in which they run."""
    return [check for group in GROUPS.values() if not only or group.name in only for check in group.checks]


def run(
    server: ServerUnderTest, checks: Iterable[Check], exemptions: Mapping[str, str] = MappingProxyType({})
) -> Iterator[CheckResult]:
    """Run checks one after the other and yield each result.

    A failed check with an entry in `exemptions` is exempt, for the reason in its entry.
    When the server has not responded to some consecutive checks, the remaining ones are not run.
    """
    silent = 0
    for check in checks:
        if silent >= _SILENT_CHECKS:
            yield not_run(check, "the server no longer answers")
            continue
        result = run_one(check, server)
        if result.outcome is CheckOutcome.FAILED and not result.silent and check.name in exemptions:
            result = replace(result, outcome=CheckOutcome.EXEMPT, reason=exemptions[check.name])
        silent = silent + 1 if result.silent else 0
        yield result


def not_run(check: Check, why: str) -> CheckResult:
    """Return the result of a check that was not run."""
    return CheckResult(check, CheckOutcome.NOT_RUN, why)


def run_one(check: Check, server: ServerUnderTest) -> CheckResult:
    """Run one check and return its result. No response of a server makes this function raise."""
    server.begin()
    begun = monotonic()
    outcome, reason, silent = _outcome(check, server)
    return CheckResult(check, outcome, reason, server.asked, server.came, monotonic() - begun, silent)


def _outcome(check: Check, server: ServerUnderTest) -> tuple[CheckOutcome, str, bool]:
    """Return the outcome, its reason, and whether the server did not respond at all."""
    try:
        check.run(server)
    except Undecided as why:
        return CheckOutcome.UNDECIDED, str(why), False
    except openai.APIStatusError as error:
        server.came = error.response.text[:2000]
        outcome = CheckOutcome.REJECTED if _names_what_it_lacks(error, check, server.asked) else CheckOutcome.FAILED
        return outcome, f"status {error.status_code}: {_message(error)}", False
    except _FAILURES as error:
        return CheckOutcome.FAILED, _in_words(error), isinstance(error, _NO_ANSWER)
    return CheckOutcome.PASSED, "", False


def _in_words(error: Exception) -> str:
    """Return the reason of a failure; a Python error means that the response has another structure than promised."""
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
    """Whether a server reports that it does not support the checked feature, or an optional field that the check needs.

    Status 501 counts without a look at the message, as does 404 for the legacy completions.
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
    """Return the server's error message, without the text that the client adds."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    return str(words or error.message)
