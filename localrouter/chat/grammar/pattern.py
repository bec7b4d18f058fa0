"""Regular expressions of JSON Schemas: JavaScript's dialect, matching any part of a string."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from localrouter.errors import InvalidRequest

_STEP = re.compile(r"\\(?:k<|c[A-Za-z]|.)|\[|\]|\(\?(?:[=!]|<[=!])|.", re.DOTALL)
_UNSUPPORTED = {
    "(?=": "a look at what follows",
    "(?!": "a look at what follows",
    "(?<=": "a look at what comes before",
    "(?<!": "a look at what comes before",
    "\\b": "an edge of a word",
    "\\B": "an edge of a word",
    "\\k<": "a reference back to a group",
}
_ASCII = {"\\d": "[0-9]", "\\D": "[^0-9]", "\\w": "[0-9a-zA-Z_]", "\\W": "[^0-9a-zA-Z_]"}
"""JavaScript's meaning of these escapes; in llguidance's dialect they include all of Unicode."""
_ESCAPES = {"/": "\\/", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_OPERATORS = {"[", "&", "~"}
"""Literal characters inside a class of JavaScript's; operators on classes in llguidance's dialect."""
_ANYTHING = "(?s:.*)"


@dataclass(frozen=True)
class PatternFault:
    """The reason why a regular expression is rejected; `message` follows "The regular expression"."""

    message: str
    reason: str


def check_pattern(pattern: str, param: str) -> None:
    """Raise InvalidRequest, naming `param`, for a pattern that is invalid or that an automaton cannot match."""
    fault = pattern_fault(pattern)
    if fault is not None:
        message = f"The regular expression in '{param}' {fault.message}"
        raise InvalidRequest(message, param=param, code=fault.reason)


def pattern_fault(pattern: str) -> PatternFault | None:
    """Return the reason why a pattern is invalid or an automaton cannot match it; None: neither was found."""
    for step, in_class in pattern_steps(pattern):
        what = None if in_class else _UNSUPPORTED.get(step)
        if not in_class and re.fullmatch(r"\\[1-9]", step):
            what = "a reference back to a group"
        if what or re.fullmatch(r"\\c[A-Za-z]", step):
            message = f"has {what or 'a control character'} ({step}), which is not supported."
            return PatternFault(message, "unsupported_schema")
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        return PatternFault("ends with a backslash.", "invalid_schema")
    return None


def without_operators(pattern: str) -> str:
    """Return a JavaScript pattern with the operators of llguidance's dialect escaped inside of classes."""
    return "".join(
        f"\\{step}" if in_class and step in _OPERATORS else step for step, in_class in pattern_steps(pattern)
    )


@lru_cache(maxsize=256)
def whole(pattern: str) -> str:
    """Return the expression that matches the whole of every string in which `pattern` matches any part."""
    return "|".join(_whole(branch) for branch in _branches(pattern))


def anchored(pattern: str) -> str:
    """Return `pattern` in llguidance's dialect, for a place where an expression always matches a whole string."""
    return "".join(_translated(step) for step, _ in pattern_steps(pattern))


def _whole(steps: list[str]) -> str:
    starts, ends = steps[:1] == ["^"], steps[-1:] == ["$"]
    inner = steps[1 if starts else 0 : len(steps) - 1 if ends else None]
    body = "".join(map(_translated, inner))
    return f"{'' if starts else _ANYTHING}(?:{body}){'' if ends else _ANYTHING}"


def _branches(pattern: str) -> list[list[str]]:
    """Return the alternatives of a pattern, each as its steps: the parts between bars outside of groups."""
    branches: list[list[str]] = [[]]
    depth = 0
    for step, in_class in pattern_steps(pattern):
        if not in_class:
            depth += step.startswith("(") - (step == ")")
            if step == "|" and depth == 0:
                branches.append([])
                continue
        branches[-1].append(step)
    return branches


def _translated(step: str) -> str:
    return _ASCII.get(step) or _ESCAPES.get(step) or step


def pattern_steps(pattern: str) -> Iterator[tuple[str, bool]]:
    """Yield the smallest parts of a pattern, and whether each is inside of a character class."""
    in_class = False
    for found in _STEP.finditer(pattern):
        step = found[0]
        if in_class and step.startswith("(?"):
            yield from ((character, True) for character in step)
            continue
        if step == "]":
            in_class = False
        yield step, in_class
        if step == "[":
            in_class = True
