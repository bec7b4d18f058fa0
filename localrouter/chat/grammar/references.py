"""References inside a schema: their targets, and the definitions that a part of a schema needs."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import unquote

Steps: TypeAlias = tuple[str | int, ...]
"""Path from the root of a schema to a part of it: keys and indices."""

PREFIX = "#/$defs/"
MAX_HOPS = 30


class Document:
    """A schema as it was sent, for looking up references."""

    def __init__(self, root: object) -> None:
        self._root = root

    def resolved(self, reference: str) -> tuple[Any, Steps] | None:
        """Return the target of a JSON pointer (`#/$defs/a`) or `$anchor` (`#a`) and its path; None if there is none."""
        if not reference.startswith("#"):
            return None
        pointer = unquote(reference[1:])
        if pointer and not pointer.startswith("/"):
            return self._anchors.get(pointer)
        part: Any = self._root
        steps: Steps = ()
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(part, dict) and name in part:
                part, steps = part[name], (*steps, name)
            elif isinstance(part, list) and name.isdecimal() and int(name) < len(part):
                part, steps = part[int(name)], (*steps, int(name))
            else:
                return None
        return part, steps

    def followed(self, schema: Any) -> Any:
        """Return a schema merged with its reference's target, own keywords first; at most MAX_HOPS are followed."""
        merged = schema
        for _ in range(MAX_HOPS):
            if not isinstance(merged, dict) or not isinstance(merged.get("$ref"), str):
                break
            target = self.resolved(merged["$ref"])
            own = {keyword: value for keyword, value in merged.items() if keyword != "$ref"}
            merged = {**target[0], **own} if target and isinstance(target[0], dict) else own
        return merged

    @cached_property
    def _anchors(self) -> dict[str, tuple[Any, Steps]]:
        found: dict[str, tuple[Any, Steps]] = {}
        waiting: list[tuple[Any, Steps]] = [(self._root, ())]
        while waiting:
            part, steps = waiting.pop()
            if isinstance(part, dict) and isinstance(part.get("$anchor"), str):
                found[part["$anchor"]] = (part, steps)
            inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
            waiting += [(each, (*steps, step)) for step, each in inner]
        return found


def definition_name(reference: str) -> str:
    """Return the name in a reference of a schema that was read."""
    return reference.removeprefix(PREFIX)


def definition_names(part: Any, definitions: Mapping[str, Any]) -> list[str]:
    """Return the names of all definitions that a part of a schema needs, directly or indirectly."""
    names: dict[str, None] = {}
    waiting = [part]
    while waiting:
        for reference in references(waiting.pop()):
            name = definition_name(reference)
            if name not in names:
                names[name] = None
                waiting.append(definitions[name])
    return list(names)


def references(part: Any) -> Iterator[str]:
    """Yield the references in a schema that was read. Values of `enum` and `const` are not schemas."""
    if isinstance(part, list):
        for each in part:
            yield from references(each)
    elif isinstance(part, dict):
        for keyword, value in part.items():
            if keyword == "$ref":
                yield value
            elif keyword in {"properties", "patternProperties"}:
                yield from references(list(value.values()))
            elif keyword not in {"enum", "const"}:
                yield from references(value)
