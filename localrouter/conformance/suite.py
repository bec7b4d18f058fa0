"""All checks, and how they are run."""

from collections.abc import Collection, Iterator
from time import monotonic

import httpx2
import openai

from localrouter.conformance.basics import BASICS
from localrouter.conformance.check import Broken, Check, NotTestable, Outcome, Result
from localrouter.conformance.choices import LOGPROBS, N
from localrouter.conformance.limits import LIMITS
from localrouter.conformance.messages import MESSAGES
from localrouter.conformance.protocol import ERRORS, MODELS, USAGE
from localrouter.conformance.sampling import LOGIT_BIAS, PENALTIES, SAMPLING
from localrouter.conformance.server import Endless, Server
from localrouter.conformance.stops import STOP
from localrouter.conformance.streaming import STREAMING
from localrouter.conformance.structured import RESPONSE_FORMAT
from localrouter.conformance.tools import TOOLS

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
        MESSAGES,
        ERRORS,
        MODELS,
        USAGE,
    )
}
_NOT_ABOUT_A_FIELD = (401, 403, 404, 408, 429)
_NOT_IMPLEMENTED = 501
_FAILURES = (
    Broken,
    Endless,
    openai.APIError,
    httpx2.HTTPError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


def run(server: Server, only: Collection[str] = ()) -> Iterator[Result]:
    """Run all checks, or those of some groups, one after the other; each result comes when it is known."""
    for group in GROUPS.values():
        if not only or group.name in only:
            yield from (run_one(check, server) for check in group.checks)


def run_one(check: Check, server: Server) -> Result:
    """Run one check. Whatever a server answers, no exception leaves this function."""
    server.asked, server.came, begun = None, "", monotonic()
    outcome, reason = _outcome(check, server)
    return Result(check, outcome, reason, server.asked, server.came, monotonic() - begun)


def _outcome(check: Check, server: Server) -> tuple[Outcome, str]:
    try:
        check.run(server)
    except NotTestable as why:
        return Outcome.NOT_TESTABLE, str(why)
    except openai.APIStatusError as error:
        server.came = error.response.text[:2000]
        outcome = Outcome.REFUSED if _names_what_it_lacks(error, check) else Outcome.FAILED
        return outcome, f"status {error.status_code}: {_message(error)}"
    except _FAILURES as error:
        return Outcome.FAILED, _in_words(error)
    return Outcome.PASSED, ""


def _in_words(error: Exception) -> str:
    """Say how a check failed; errors of Python are answers of another shape than was promised."""
    match error:
        case Broken():
            return str(error)
        case openai.APITimeoutError() | httpx2.TimeoutException():
            return "no answer came in time"
        case openai.APIError() | httpx2.HTTPError():
            return f"no whole answer came: {error}"
        case Endless():
            return "the stream did not end"
    return f"the answer has another shape: {type(error).__name__}: {error}"


def _names_what_it_lacks(error: openai.APIStatusError, check: Check) -> bool:
    """Whether a server says that it does not support what the check is about.

    A server that answers 501 has said so whatever its words are.
    """
    status = error.status_code
    if status == _NOT_IMPLEMENTED:
        return bool(check.fields)
    if not 400 <= status < 500 or status in _NOT_ABOUT_A_FIELD:
        return False
    said = f"{error.param or ''} {_message(error)}".lower()
    return any(field in said for field in check.fields)


def _message(error: openai.APIStatusError) -> str:
    """The server's words, without what the client puts around them."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    return str(words or error.message)
