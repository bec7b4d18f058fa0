"""Protection of a server without an API key from web pages in a browser on the same machine.

A page could make the model compute by sending requests, and read responses by DNS rebinding: its own host name then
resolves to this machine. So the `Host` of a request must be a name that no page can have, and an `Origin` must be the
server's own or allowed. Litestar's AllowedHostsConfig runs within routing, compares names together with their port,
knows no IP addresses, and its response is not an error object.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import cast

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from localrouter.api.access_log import record_of
from localrouter.api.cors import Origins
from localrouter.api.error_responses import send_error
from localrouter.api.request_headers import values_of
from localrouter.errors import HostNotAllowed, InvalidRequest, OriginNotAllowed, RequestError

_HOST = re.compile(rb"([a-z0-9._-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{0,5})?", re.IGNORECASE)
_DEFAULT_PORT = {"http": ":80", "https": ":443"}
_OTHER_PAGES = (b"cross-site", b"same-site")
"""Values of `Sec-Fetch-Site` for requests of a page of another origin; a port of the same host is the same site."""


class BrowserProtection:
    """Wraps an application: rejects malformed hosts and, without an API key, requests of web pages."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Origins, *, has_key: bool) -> None:
        """`hosts` are the names of the server beside localhost and IP addresses."""
        self.app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = origins
        self._has_key = has_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            request = cast(HTTPScope, scope)
            host = host_of(request)
            if not self._has_key:
                self._check_host(host)
                self._check_page(request, host)
        except RequestError as error:
            await send_error(error, record_of(scope), send)
        else:
            await self.app(scope, receive, send)

    def _check_host(self, host: str | None) -> None:
        name = None if host is None else _name_of(host)
        if name is None or name in self._hosts or is_own_name(name):
            return
        raise HostNotAllowed(
            f"The host name {name!r} is not allowed on a server without an API key. Use localhost or an IP address, "
            f"or start the server with --allow-host {name}."
        )

    def _check_page(self, scope: HTTPScope, host: str | None) -> None:
        """Raise OriginNotAllowed for a request of a page whose origin is neither the server's own nor allowed."""
        given = values_of(scope, b"origin")
        if given:
            for value in given:
                origin = value.decode("latin-1")
                if not (origin in self._origins or is_same_origin(origin, host)):
                    raise OriginNotAllowed(
                        f"Web pages of the origin {origin[:200]!r} are not allowed on this server. "
                        "Start it with --allow-origin and this origin to allow them."
                    )
        elif not self._origins.all and _is_of_another_page(scope):
            raise OriginNotAllowed(
                "A web page of another origin sent this request (header Sec-Fetch-Site), which this server does not "
                "allow. Requests of fetch() are allowed by --allow-origin."
            )


def host_of(scope: HTTPScope) -> str | None:
    """Return the `Host` header in lower case; None for HTTP/1.0 without one, which no browser sends.

    Raises InvalidRequest when it is missing, given twice, or no host name or IP address with an optional port.
    """
    given = values_of(scope, b"host")
    if not given and scope["http_version"] == "1.0":
        return None
    if len(given) != 1 or not _HOST.fullmatch(given[0]):
        raise InvalidRequest(
            "The request must have one Host header, with a host name or an IP address and an optional port.",
            code="invalid_host",
        )
    return given[0].decode("ascii").lower()


def is_own_name(name: str) -> bool:
    """Return whether a host name is one that no web page of another machine can have: an IP address or localhost."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_same_origin(origin: str, host: str | None) -> bool:
    """Return whether a page of `origin` was loaded from `host`, a Host header in lower case.

    Schemes are not compared: the server cannot know whether a proxy in front of it speaks TLS.
    """
    scheme, separator, authority = origin.lower().partition("://")
    port = _DEFAULT_PORT.get(scheme, "")
    return bool(separator) and host is not None and authority.removesuffix(port) == host.removesuffix(port)


def _name_of(host: str) -> str:
    """Return the name or address of a Host header, without the port and without the final dot of a full name."""
    name = host if host.endswith("]") else re.sub(r":[0-9]*$", "", host)
    return name.removesuffix(".")


def _is_of_another_page(scope: HTTPScope) -> bool:
    """Return whether a request without an Origin was caused by a page of another origin, except that it was a link.

    Following a link is harmless: the new page takes the place of the other one, which cannot read it.
    """
    if not any(site.strip().lower() in _OTHER_PAGES for site in values_of(scope, b"sec-fetch-site")):
        return False
    mode, destination = values_of(scope, b"sec-fetch-mode"), values_of(scope, b"sec-fetch-dest")
    followed = mode == [b"navigate"] and destination == [b"document"] and scope["method"] in ("GET", "HEAD")
    return not followed
