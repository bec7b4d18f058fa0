"""Regular expressions that llguidance's dialect cannot read, found without compiling them.

Only patterns of schemas that are not strict are checked: a fault that the compiler finds costs the whole grammar. The
check is coarse; it may pass a pattern that does not compile.
"""

import re

_ESCAPE = (
    r"\\(?:x[0-9A-Fa-f]{2}|x\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|[pP](?:[A-Z]|\{[\w=]+\})"
    r"|[dDwWsSnrtfvaAz]|[^0-9A-Za-z<>])"
)
_TOKEN = re.compile(
    r"(?P<flags>\(\?[imsux-]+\))"
    r"|(?P<open>\((?:\?(?::|P?<[A-Za-z_][A-Za-z0-9_]*>|[imsux-]+:))?)"
    r"|(?P<close>\))"
    r"|(?P<bar>\|)"
    rf"|(?P<class>\[(?!\^\])\^?(?:{_ESCAPE}|[^\]\\])+\])"
    r"|(?P<repeat>[*+?]|\{(?P<least>\d{1,5})(?:,(?P<most>\d{0,5}))?\})"
    rf"|(?P<atom>{_ESCAPE}|[^\\()\[{{*+?|])",
    re.DOTALL,
)
_RANGE = re.compile(r"(?<!\\)([A-Za-z0-9])-([A-Za-z0-9])")
_BEFORE_NOTHING = {"flags", "open", "bar"}
"""Tokens after which there is nothing to repeat."""


def is_readable(pattern: str) -> bool:
    """Return whether the groups, classes, escapes and repetitions of a pattern are those of llguidance's dialect."""
    depth, place = 0, 0
    before = "open"
    while place < len(pattern):
        token = _TOKEN.match(pattern, place)
        if token is None or not _is_possible(token, before):
            return False
        before = "repeat" if token["repeat"] else token.lastgroup or ""
        depth += (before == "open") - (before == "close")
        if depth < 0:
            return False
        place = token.end()
    return depth == 0


def _is_possible(token: re.Match[str], before: str) -> bool:
    """Return whether a token may follow one of the kind `before`, and its bounds are in order."""
    if token["repeat"]:
        is_ordered = not token["most"] or int(token["least"]) <= int(token["most"])
        return before not in _BEFORE_NOTHING and is_ordered
    return not token["class"] or all(one <= other for one, other in _RANGE.findall(token["class"]))
