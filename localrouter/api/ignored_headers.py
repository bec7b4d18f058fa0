"""Response headers that name what a request asks for and does not get: ignored fields, and schemas not enforced."""

from collections.abc import Iterable
from urllib.parse import quote

Headers = list[tuple[bytes, bytes]]

IGNORED = b"x-localrouter-ignored"
NOT_ENFORCED = b"x-localrouter-not-enforced"

MAX_LENGTH = 2000
"""Characters of one header; clients and proxies limit all headers together, often to 8 kB."""


def named(header: bytes, paths: Iterable[str]) -> Headers:
    """Return a header with these paths, separated by commas; no header for no paths.

    Characters that a header or its list cannot have are percent-encoded. The last entry of a list that is cut is `...`.
    """
    written: list[str] = []
    length = 0
    for path in paths:
        name = quote(path, safe="[]./$#@:*+~")
        length += len(name) + 2
        if length > MAX_LENGTH:
            written.append("...")
            break
        written.append(name)
    return [(header, ", ".join(written).encode())] if written else []
