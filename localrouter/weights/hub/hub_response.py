"""Failed requests to the hub as errors: transient ones, or HubError with a hint."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx2
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from localrouter.errors import HubError, HubGated, HubNotFound, HubUnreachable
from localrouter.weights.hub.retry import Transient

_PASSING = (408, 425, 429, 500, 502, 503, 504)
_FORBIDDEN = (401, 403)
_KNOWN = {each.value for each in HTTPStatus}


class RangeRejected(Exception):
    """The file ends before the first requested byte."""


@dataclass(frozen=True)
class Asked:
    """Subject of a request to the hub: repository, revision and file."""

    repo: str
    revision: str
    file: str | None = None

    @property
    def subject(self) -> str:
        """Name of the file or the repository for error messages."""
        return self.repo if self.file is None else f"{self.repo}/{self.file}"


@contextmanager
def in_words(asked: Asked, endpoint: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into Transient, RangeRejected or HubError."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _meaning(error, asked, endpoint) from None
    except httpx2.TimeoutException:
        raise Transient("the request timed out") from None
    except httpx2.ConnectError as error:
        raise Transient(f"cannot connect to {endpoint} ({error})") from None
    except (httpx2.NetworkError, httpx2.RemoteProtocolError):
        raise Transient("the connection was lost") from None
    except OfflineModeIsEnabled:
        raise HubUnreachable(f"{asked.subject} is needed from the hub, and HF_HUB_OFFLINE is set") from None
    except HFValidationError as error:
        raise HubNotFound(f"{asked.repo} is not a valid repository name: {error}") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.TooManyRedirects, FileMetadataError) as error:
        raise HubUnreachable(
            f"{endpoint}: the request for {asked.subject} failed: {error}",
            hint="check HF_ENDPOINT and the proxy settings",
        ) from None


def is_gone(response: httpx2.Response, endpoint: str) -> bool:
    """Whether the storage host rejects a signed URL, which has expired; a new request to the hub gives a fresh one."""
    return response.status_code in _FORBIDDEN and urlsplit(str(response.url)).netloc != urlsplit(endpoint).netloc


def _meaning(error: HfHubHTTPError, asked: Asked, endpoint: str) -> Exception:
    status = error.response.status_code
    if status == 416:
        return RangeRejected()
    if status in _PASSING:
        return Transient(_answered(status), _retry_after(error.response))
    if isinstance(error, GatedRepoError):
        return _gated(status, asked, endpoint)
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError)) or status == 404:
        return _not_found(error, asked, endpoint)
    if status in _FORBIDDEN:
        said = f" ({error.server_message})" if error.server_message else ""
        return HubGated(
            f"the hub rejects the request for {asked.subject} with status {status}{said}",
            hint=f"set HF_TOKEN to a valid token ({endpoint}/settings/tokens), or unset it for public repositories",
        )
    return HubError(f"{asked.subject}: {_answered(status)}", hint="the status is unexpected; check HF_ENDPOINT")


def _answered(status: int) -> str:
    return f"the hub responded with status {status} {HTTPStatus(status).phrase if status in _KNOWN else ''}".strip()


def _gated(status: int, asked: Asked, endpoint: str) -> HubGated:
    page = f"{endpoint}/{asked.repo}"
    if status == 403:
        return HubGated(
            f"{asked.repo} is gated, and the account of your token has no access to it",
            hint=f"visit {page} with that account, accept the terms, and run this again when access is granted",
        )
    return HubGated(
        f"{asked.repo} is gated: the hub gives its files to accounts that have accepted its terms",
        hint=f"visit {page}, accept the terms, then set HF_TOKEN to a token of that account (or run: hf auth login)",
    )


def _not_found(error: HfHubHTTPError, asked: Asked, endpoint: str) -> HubNotFound:
    match error:
        case RevisionNotFoundError():
            return HubNotFound(
                f"{asked.repo} has no revision {asked.revision}",
                hint=f"see {endpoint}/{asked.repo}/commits/main; then correct the manifest and run: localrouter lock",
            )
        case RepositoryNotFoundError():
            return HubNotFound(
                f"the hub has no repository {asked.repo}, or it is private",
                hint="check `repo` in the manifest; for a private one set HF_TOKEN to a token with read access",
            )
    return HubNotFound(
        f"there is no {asked.subject} at {asked.revision}",
        hint=f"compare `file` in the manifest with {endpoint}/{asked.repo}/tree/{asked.revision}",
    )


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds to wait from `Retry-After`, a number or a date; None without it."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
