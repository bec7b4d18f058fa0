"""The one place that turns errors into HTTP: a status, headers, and OpenAI's error object."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import Send

from localrouter import errors
from localrouter.api.access_log import AccessRecord, record_of
from localrouter.api.log_fields import fields

LOG = logging.getLogger("localrouter.api")

STATUS: dict[type[Exception], int] = {
    errors.InvalidRequest: 400,
    errors.ContextLengthExceeded: 400,
    errors.AuthenticationFailed: 401,
    errors.HostNotAllowed: 403,
    errors.OriginNotAllowed: 403,
    errors.RouteNotFound: 404,
    errors.ModelNotFound: 404,
    errors.ModelNotDownloaded: 404,
    errors.MethodNotAllowed: 405,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Overloaded: 429,
    errors.RequestError: 400,
    errors.ShuttingDown: 503,
    errors.ServiceError: 500,
}
RETRY_WHILE_STOPPING = "5"
"""`Retry-After` of a server that shuts down, in seconds: time for a restart."""

HEADERS: dict[type[Exception], dict[str, str]] = {
    errors.AuthenticationFailed: {"www-authenticate": "Bearer"},
    errors.BodyTooLarge: {"connection": "close"},
    errors.ShuttingDown: {"retry-after": RETRY_WHILE_STOPPING},
    # It took long to fail and will fail again; OpenAI's SDKs read this header.
    errors.ModelLoadFailed: {"x-should-retry": "false"},
}
"""Headers of errors that are always the same."""


class ErrorObject(msgspec.Struct, frozen=True):
    """The error object that OpenAI's SDKs read."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error response, and of the event that ends a failed stream."""

    error: ErrorObject


@dataclass(frozen=True)
class Problem:
    """An error as an HTTP response."""

    status: int
    body: ErrorBody
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: Exception, record: AccessRecord) -> Problem:
    """Return the response for `error`, and log details that only the operator may see."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if not isinstance(error, errors.RequestError | errors.ServiceError):
        LOG.error("request failed unforeseen request=%s", record.id, exc_info=error)
        message, param, code = (
            f"The server failed on this request; its log has the reason under {record.id}.",
            None,
            None,
        )
    else:
        message, param, code = error.message, error.param, error.reason
        if status == 500:
            facts = fields({"request": record.id, "error": message})
            LOG.error("request failed %s", facts, exc_info=error.__cause__)
    code = code or ("internal_error" if status >= 500 else None)
    record.problem = code or "invalid_request"
    return Problem(status, ErrorBody(ErrorObject(message, _type(status), param, code)), _headers(error))


def _type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"


def _headers(error: Exception) -> dict[str, str]:
    match error:
        case errors.Overloaded():
            return {"retry-after": str(max(1, error.retry_after))}
        case errors.UnsupportedMediaType(encodings=[_, *_]):
            return {"accept-encoding": ", ".join(error.encodings)}
    return next((HEADERS[kind] for kind in type(error).__mro__ if kind in HEADERS), {})


async def send_error(error: Exception, record: AccessRecord, send: Send) -> None:
    """Send the response for `error` from a wrapper of the application, where Litestar's handler does not apply."""
    problem = problem_of(error, record)
    body = msgspec.json.encode(problem.body)
    own = {"content-type": "application/json", "content-length": str(len(body)), **problem.headers}
    headers = [(name.encode(), value.encode()) for name, value in own.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def error_response(request: Request[None, None, State], error: Exception) -> Response[ErrorBody]:
    """Litestar's exception handler for everything."""
    allow = (error.headers or {}).get("allow") if isinstance(error, MethodNotAllowedException) else None
    problem = problem_of(_translated(request, error), record_of(request.scope))
    headers = {**problem.headers, "allow": allow} if allow else dict(problem.headers)
    return Response(problem.body, status_code=problem.status, headers=headers, media_type="application/json")


def _translated(request: Request[None, None, State], error: Exception) -> Exception:
    """Return our own error in place of one of Litestar's."""
    where = f"{request.method} {request.url.path[:200]}"
    if isinstance(error, NotFoundException):
        return errors.RouteNotFound(f"Unknown request URL: {where}.")
    if isinstance(error, MethodNotAllowedException):
        return errors.MethodNotAllowed(f"Not allowed: {where}.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return errors.InvalidRequest(error.detail)
    return error
