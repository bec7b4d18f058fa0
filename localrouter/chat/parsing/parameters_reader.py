"""Reads `<function=add>`, for each argument `<parameter=a>`, a line with its value, `</parameter>`, then `</function>`.

Values have no type, so the function's schema decides. Text is passed on as it arrives; a value that may have another
type is held back until it is whole. One line break after the opening delimiter and one before the closing delimiter
belong to the delimiters. The arguments are written as json.dumps does.
"""

from collections.abc import Mapping

from localrouter.chat.parsing.json_text import escaped, is_json, kind_of, quoted
from localrouter.chat.parsing.schema_kinds import TEXT, Kinds, Schema, argument_kinds
from localrouter.chat.parsing.source import WHITE, Finder, Mismatch, Named, Reading, Source

PARAMETER = "<parameter="
_END_OF_VALUE = Finder("\n</parameter>", "</parameter>")
_END_OF_KEY = Finder(">", "\n")
_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""Values as the chat templates of this family show them in the history, so that models write them too."""


def read_parameters_call(source: Source, tools: Mapping[str, Schema]) -> Reading:
    """Read one call of one of `tools`."""
    opening = yield from source.expect(*(f"<function={name}>" for name in tools))
    name = opening.removeprefix("<function=").removesuffix(">")
    yield Named(name)
    yield "{"
    comma = ""
    while (yield from source.expect(PARAMETER, "</function>")) == PARAMETER:
        key, end = yield from source.through(_END_OF_KEY)
        if end != ">" or not key:
            raise Mismatch
        yield from source.choose(("\n",))
        yield from _member(source, f'{comma}"{escaped(key)}": ', argument_kinds(tools[name], key))
        comma = ", "
    yield "}"


def _member(source: Source, begin: str, kinds: Kinds) -> Reading:
    """Read a value that may be of `kinds`, and yield it after `begin`, its key in the JSON object."""
    if kinds == TEXT:
        yield begin
        yield from quoted(source, _END_OF_VALUE)
    else:
        value, _ = yield from source.through(_END_OF_VALUE)
        yield begin + _spelled(value, kinds)


def _spelled(value: str, kinds: Kinds) -> str:
    """Return `value` as JSON: as the JSON value that it spells where `kinds` allow its type, else as a string.

    Where `kinds` do not allow strings, JSON of any type is taken as it is: it is closer to the schema than a string.
    """
    plain = value.strip(WHITE)
    plain = _PYTHON.get(plain, plain)
    if is_json(plain) and ("string" not in kinds or kind_of(plain) in kinds - TEXT):
        return plain
    return f'"{escaped(value)}"'
