"""Reads `call:add{a:1,b:<|"|>text<|"|>,c:{d:true}}`.

Strings are written as they are between `<|"|>`, keys without quotes or between `<|"|>`, other values as JSON. JSON
strings are accepted too. The arguments are written as json.dumps does.
"""

from collections.abc import Mapping

from localrouter.chat.parsing.json_text import escaped, json_value, quoted, string_value
from localrouter.chat.parsing.schema_kinds import Schema
from localrouter.chat.parsing.source import WHITE, Finder, Mismatch, Named, Reading, Source, Waiting

QUOTE = '<|"|>'
_END_OF_STRING = Finder(QUOTE)
_END_OF_KEY = Finder(":", "<", "{", "}")


def read_gemma_call(source: Source, tools: Mapping[str, Schema]) -> Reading:
    """Read one call of one of `tools`."""
    opening = yield from source.expect(*(f"call:{name}{{" for name in tools))
    yield Named(opening.removeprefix("call:").removesuffix("{"))
    yield from _object(source)


def _object(source: Source) -> Reading:
    """Read the rest of an object whose opening bracket was taken, nested values included."""
    closing = ["}"]
    comma = ""
    yield "{"
    while closing:
        if (yield from _is_over(source, closing[-1], is_first=not comma)):
            yield closing.pop()
            comma = ", "
            continue
        if closing[-1] == "}":
            comma += f'"{escaped((yield from _key(source)))}": '
        if comma:
            yield comma
        yield from source.skip_white()
        opening = yield from source.peek()
        comma = "" if opening in "{[" else ", "
        if opening in "{[":
            yield source.take(1)
            closing.append("}" if opening == "{" else "]")
        else:
            yield from _scalar(source)


def _is_over(source: Source, closing: str, *, is_first: bool) -> Waiting[bool]:
    """Take the comma before the next member or the closing bracket; return whether the container has ended."""
    if not is_first:
        return (yield from source.expect(",", closing)) == closing
    yield from source.skip_white()
    return (yield from source.choose((closing,))) is not None


def _key(source: Source) -> Waiting[str]:
    """Read a key and the colon after it."""
    yield from source.skip_white()
    first = yield from source.peek()
    if first == '"':
        key = yield from string_value(source)
    elif first == QUOTE[0]:
        yield from source.expect(QUOTE)
        key, _ = yield from source.through(_END_OF_STRING)
    else:
        key, end = yield from source.through(_END_OF_KEY)
        key = key.rstrip(WHITE)
        if end != ":" or not key:
            raise Mismatch
        return key
    yield from source.expect(":")
    return key


def _scalar(source: Source) -> Reading:
    """Read a value that is neither an object nor an array."""
    first = yield from source.peek()
    if first == QUOTE[0]:
        yield from source.expect(QUOTE)
        yield from quoted(source, _END_OF_STRING)
    elif first == "N":  # how the family's chat template shows null in the history
        yield from source.expect("None")
        yield "null"
    else:
        yield from json_value(source)
