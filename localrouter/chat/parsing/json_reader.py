"""Reads `{"name": "add", "arguments": {"a": 1}}`.

The keys may come in any order, `parameters` may stand for `arguments`, and other keys are skipped. Arguments are passed
on exactly as they were written, held back only until the name is known; a call without arguments has `{}`. Arguments
inside a JSON string are unwrapped when the string is whole, because some models write them as OpenAI's API does.
"""

from collections.abc import Iterator, Mapping

from localrouter.chat.parsing.json_text import is_json, json_value, string_value, whole_value
from localrouter.chat.parsing.schema_kinds import Schema
from localrouter.chat.parsing.source import WHITE, Mismatch, Named, Reading, Source, Waiting

SYNONYMS = {"parameters": "arguments"}


def read_json_call(source: Source, tools: Mapping[str, Schema]) -> Reading:
    """Read one call of one of `tools`."""
    held: list[str] = []
    is_named = False
    for step in _members(source, tools):
        if isinstance(step, Named):
            is_named = True
            yield step
            yield from held
        elif step is None or is_named:
            yield step
        else:
            held.append(step)
    if not is_named:
        raise Mismatch


def _members(source: Source, tools: Mapping[str, Schema]) -> Reading:
    """Read the object: yield the name and pieces of the arguments in their order in the text."""
    seen: set[str] = set()
    yield from source.expect("{")
    while True:
        key = yield from string_value(source)
        key = SYNONYMS.get(key, key)
        if key in seen:
            raise Mismatch
        seen.add(key)
        yield from source.expect(":")
        yield from source.skip_white()
        if key == "name":
            yield Named((yield from _name(source, tools)))
        elif key == "arguments":
            yield from _arguments(source)
        else:
            yield from whole_value(source)
        if (yield from source.expect(",", "}")) == "}":
            break
    if "arguments" not in seen:
        yield "{}"


def _name(source: Source, tools: Mapping[str, Schema]) -> Waiting[str]:
    name = yield from string_value(source)
    if name not in tools:
        raise Mismatch
    return name


def _arguments(source: Source) -> Iterator[str | None]:
    """Read the arguments: yield pieces of an object's text, and None when more is needed."""
    first = yield from source.peek()
    if first == "{":
        yield from json_value(source)
    elif first == '"':
        inner = (yield from string_value(source)).strip(WHITE)
        if not inner.startswith("{") or not is_json(inner):
            raise Mismatch
        yield inner
    else:
        raise Mismatch
