"""Checks that localrouter does not pass on purpose, because it accepts more than the reference; each with the reason.

Other servers are checked: a server that accepts more may do so by dropping what it does not know.
"""

from collections.abc import Mapping

import httpx2

from localrouter.conformance.server_under_test import ServerUnderTest

OWNER = "localrouter"
"""What localrouter says in `owned_by` of its models."""

EXEMPTIONS: Mapping[str, str] = {
    "five stops are rejected": "up to 64 stop sequences are supported; editors send 12",
    "stream options without a stream are rejected": "clients set them for all requests; they are named as ignored",
    "a schema without a name is rejected": "clients drop the name, which has no effect",
    "an illegal name is rejected": "names of MCP tools have dots, slashes and spaces; they are supported",
    "a name of 65 characters is rejected": "names of MCP tools are longer; 256 characters are supported",
}


def exemptions_of(server: ServerUnderTest) -> Mapping[str, str]:
    """Return the exempt checks of a server, by name: those of localrouter, and none of any other server."""
    try:
        models = server.raw("GET", "/models").json()["data"]
        is_ours = any(model["owned_by"] == OWNER for model in models)
    except (httpx2.HTTPError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return EXEMPTIONS if is_ours else {}
