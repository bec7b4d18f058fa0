"""Every error that localrouter raises on purpose, in one tree.

    LocalrouterError
    ├── RequestError                 the client can mend it
    │   ├── InvalidRequest               400
    │   ├── ContextLengthExceeded        400
    │   ├── AuthenticationFailed         401
    │   ├── RouteNotFound                404
    │   ├── ModelNotFound                404
    │   ├── ModelNotDownloaded           404
    │   ├── MethodNotAllowed             405
    │   ├── BodyTooLarge                 413
    │   └── Overloaded                   429, with the seconds after which to come back
    ├── ServiceError                 our own fault
    │   ├── EngineFailed                 500, a worker died or could not go on
    │   ├── ModelLoadFailed              500
    │   │   └── OffloadFailed                with layers on a GPU
    │   └── ShuttingDown                 503
    └── OperatorError                for whoever starts the program: settings, manifest, files
        ├── ConfigError
        │   └── PeerMissing                  llama.cpp's programs are not there (bench/peer.py)
        ├── ProgramFailed                a program that a benchmark started (bench/processes.py)
        ├── ManifestError
        ├── HubError                     the hub's answer is of no use
        │   ├── HubGated                     it wants an account that has access
        │   ├── HubNotFound                  it has no such repository, revision or file
        │   └── HubUnreachable               it cannot be asked: offline, no network, or no end of failures
        ├── TransferError                a file could not be brought whole: disk, cache, checksum
        ├── GgufError                    no GGUF, or a damaged one (gguf/header.py)
        └── BundleError                  a bundle that is not what it should be (weights/bundle/index.py)

Only `api/error_responses.py` turns them into HTTP, and only `cli` turns them into an exit status. A message says what
happened, to what, and what to do next; where a client can read it (RequestError and ServiceError) it has no stack trace
and no path of the machine.
"""

from typing import ClassVar


class LocalrouterError(Exception):
    """Base of all. `param` names the request field at fault, `code` is the stable word a program may compare."""

    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.reason = code or self.code


class RequestError(LocalrouterError):
    """The request cannot be served as it is; the client can mend it."""


class InvalidRequest(RequestError):
    """A malformed body, an unknown field, a value of the wrong type or out of range."""


class ContextLengthExceeded(RequestError):
    """The prompt and one token more do not fit into the context. Nothing was cut."""

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
    """No key, or a wrong one."""

    code = "invalid_api_key"


class RouteNotFound(RequestError):
    """No such path."""

    code = "unknown_url"


class ModelNotFound(RequestError):
    """No model of that name in the manifest."""

    code = "model_not_found"


class ModelNotDownloaded(RequestError):
    """The manifest knows the model, but no build of it is on disk."""

    code = "model_not_downloaded"


class MethodNotAllowed(RequestError):
    """The path exists, for another method."""

    code = "method_not_allowed"


class BodyTooLarge(RequestError):
    """The body is over the configured limit."""

    code = "request_too_large"


class Overloaded(RequestError):
    """The queue is full. `retry_after` is in seconds, computed from measured speed."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceError(LocalrouterError):
    """The request was right and the service could not do it."""


class EngineFailed(ServiceError):
    """The worker died or could not go on. The next request gets a fresh one."""

    code = "engine_failed"


class ModelLoadFailed(ServiceError):
    """The build is on disk and could not be loaded."""

    code = "model_load_failed"


class OffloadFailed(ModelLoadFailed):
    """The build could not be loaded with layers on a GPU; with safer settings it may be.

    `crashed`: the worker died or hung, instead of reporting what is missing.
    """

    def __init__(self, message: str, *, crashed: bool) -> None:
        super().__init__(message)
        self.crashed = crashed


class ShuttingDown(ServiceError):
    """The server is stopping and takes no new work."""

    code = "shutting_down"


class OperatorError(LocalrouterError):
    """Something that only the person who starts the program can mend. `hint` says how."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(OperatorError):
    """A setting that cannot be used."""


class ManifestError(OperatorError):
    """The model manifest is unreadable or wrong; the message names file, line and key."""


class HubError(OperatorError):
    """The Hugging Face hub was asked, and what it answered is of no use."""


class HubGated(HubError):
    """The repository wants an account that has been granted access, or the token is not valid."""


class HubNotFound(HubError):
    """The hub has no such repository, revision or file, as far as it tells this account."""


class HubUnreachable(HubError):
    """The hub cannot be asked: offline by choice, no way to it, or it went on failing."""


class TransferError(OperatorError):
    """A file could not be brought whole: no room, a cache that cannot be written, a wrong checksum."""
