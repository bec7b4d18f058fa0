"""Tree of all errors that localrouter raises on purpose.

    LocalrouterError
    ├── RequestError                 the client can correct it
    │   ├── InvalidRequest               400
    │   ├── ContextLengthExceeded        400
    │   ├── AuthenticationFailed         401
    │   ├── HostNotAllowed               403
    │   ├── OriginNotAllowed             403
    │   ├── RouteNotFound                404
    │   ├── ModelNotFound                404
    │   ├── ModelNotDownloaded           404
    │   ├── MethodNotAllowed             405
    │   ├── BodyTooLarge                 413
    │   ├── UnsupportedMediaType         415, content type or content encoding of the body
    │   └── Overloaded                   429, with the seconds to wait before a retry
    ├── ServiceError                 a fault of the server
    │   ├── EngineFailed                 500, a worker died or could not go on
    │   ├── ModelLoadFailed              500
    │   │   └── OffloadFailed                with layers on a GPU
    │   └── ShuttingDown                 503
    └── OperatorError                for the person who starts the program: settings, manifest, files
        ├── ConfigError
        │   └── PeerMissing                  llama.cpp's programs are missing (bench/peer.py)
        ├── ProgramFailed                a program that a benchmark started (bench/processes.py)
        ├── ManifestError
        ├── HubError                     the hub's reply cannot be used
        │   ├── HubGated                     the repository requires an account with access
        │   ├── HubNotFound                  no such repository, revision or file
        │   └── HubUnreachable               no reply: offline, no network, or repeated failures
        ├── TransferError                a download is incomplete: disk, cache, checksum
        ├── GgufError                    no GGUF, or a damaged one (gguf/header.py)
        └── BundleError                  a damaged bundle (weights/bundle/index.py)

Only `api/error_responses.py` turns them into HTTP, and only `cli` turns them into an exit status. A message says what
happened, to what, and what to do next; where a client can read it (RequestError and ServiceError) it has no stack trace
and no path of the machine.
"""

from collections.abc import Sequence
from typing import ClassVar


class LocalrouterError(Exception):
    """Base of all errors. `param` names the request field at fault, `code` is a stable word for programs to compare."""

    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.reason = code or self.code


class RequestError(LocalrouterError):
    """The request cannot be served as it is; the client can correct it."""


class InvalidRequest(RequestError):
    """A malformed body, an unknown field, a value of the wrong type or out of range."""


class ContextLengthExceeded(RequestError):
    """The prompt and one more token do not fit into the context. Nothing was truncated."""

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the messages.",
            param="messages",
        )
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class AuthenticationFailed(RequestError):
    """The request has no API key, or a wrong one."""

    code = "invalid_api_key"


class HostNotAllowed(RequestError):
    """The request names the server by a host name that is not allowed, as after DNS rebinding."""

    code = "host_not_allowed"


class OriginNotAllowed(RequestError):
    """A web page sent the request, and its origin is not allowed to use the server."""

    code = "origin_not_allowed"


class RouteNotFound(RequestError):
    """The server has no such path."""

    code = "unknown_url"


class ModelNotFound(RequestError):
    """The manifest has no model of this name."""

    code = "model_not_found"


class ModelNotDownloaded(RequestError):
    """The manifest knows the model, but no build of it is on disk."""

    code = "model_not_downloaded"


class MethodNotAllowed(RequestError):
    """The path exists, but not for this HTTP method."""

    code = "method_not_allowed"


class BodyTooLarge(RequestError):
    """The request body is larger than the configured limit."""

    code = "request_too_large"


class UnsupportedMediaType(RequestError):
    """The content type of the body is not JSON, or its content encoding is unknown.

    `encodings` are the supported content encodings when the encoding is at fault, else empty.
    """

    code = "unsupported_media_type"

    def __init__(self, message: str, *, encodings: Sequence[str] = (), code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.encodings = encodings


class Overloaded(RequestError):
    """The queue is full. `retry_after` is in seconds, from the measured rate of completed requests."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceError(LocalrouterError):
    """The request is valid, but the server could not serve it."""


class EngineFailed(ServiceError):
    """The worker died or could not continue. The next request starts a new one."""

    code = "engine_failed"


class ModelLoadFailed(ServiceError):
    """The build is on disk and could not be loaded."""

    code = "model_load_failed"


class OffloadFailed(ModelLoadFailed):
    """The build could not be loaded with layers on a GPU; a fallback may succeed.

    `crashed`: the worker died or hung, instead of reporting an error.
    """

    def __init__(self, message: str, *, crashed: bool) -> None:
        super().__init__(message)
        self.crashed = crashed


class ShuttingDown(ServiceError):
    """The server is shutting down and accepts no requests."""

    code = "shutting_down"


class OperatorError(LocalrouterError):
    """An error that only the person who starts the program can correct. `hint` says how."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(OperatorError):
    """A setting that cannot be used."""


class ManifestError(OperatorError):
    """The model manifest is unreadable or wrong; the message names file, line and key."""


class HubError(OperatorError):
    """The reply of the Hugging Face hub cannot be used."""


class HubGated(HubError):
    """The repository requires an account that has been granted access, or the token is not valid."""


class HubNotFound(HubError):
    """The hub has no such repository, revision or file that this account can see."""


class HubUnreachable(HubError):
    """The hub cannot be reached: offline by choice, no network, or repeated failures."""


class TransferError(OperatorError):
    """A download failed: no space, a cache that cannot be written, or a wrong checksum."""
