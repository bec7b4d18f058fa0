"""Whether a body is JSON by its content type. A page can send other types across origins without a preflight."""

import re

from litestar.types import HTTPScope

from localrouter.api.request_headers import values_of
from localrouter.errors import UnsupportedMediaType

FORM = "application/x-www-form-urlencoded"
"""Content type that curl sends with `-d` unless another is given."""
OF_BROWSERS = (b"origin", b"sec-fetch-site")
"""Headers of which every current browser sends at least one with a cross-origin POST; curl and SDKs send neither."""
_JSON = re.compile(r"(application|text)/json|application/[^/]+\+json")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]*)")


def require_json(scope: HTTPScope) -> None:
    """Raise UnsupportedMediaType for a body that is not JSON in UTF-8 by its content type.

    No content type passes: only requests with an Origin lack it, and that is checked. The type of HTML forms passes
    for clients that are not browsers.
    """
    given = [value.decode("latin-1").lower().strip() for value in values_of(scope, b"content-type")]
    if not any(given):
        return
    media, _, parameters = given[0].partition(";")
    media = media.strip()
    is_form = media == FORM and not any(values_of(scope, name) for name in OF_BROWSERS)
    if len(given) > 1 or not (is_form or _JSON.fullmatch(media)):
        raise UnsupportedMediaType(f"The content type {given[0][:100]!r} is not JSON. Send it as application/json.")
    charset = _CHARSET.search(f";{parameters}")
    if charset and charset[1] not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"The charset {charset[1][:100]!r} is not supported. JSON is sent in UTF-8.")
