"""Header values of a request, as ASGI keeps them."""

from litestar.types import HTTPScope


def values_of(scope: HTTPScope, name: bytes) -> list[bytes]:
    """Return the value of each header of this lower-case name, in the order of the request."""
    return [value for key, value in scope["headers"] if key == name]
