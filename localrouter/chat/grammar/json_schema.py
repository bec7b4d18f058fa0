"""JSON Schemas of requests, read into the few keywords that a grammar can enforce.

The schema that is read admits no value that the original rejects, except for the parts that it lists as not enforced: a
strict schema has no such parts, and is rejected instead. Apart from a few usual meanings it admits no less either: a
schema with `properties` and no `type` is one of objects, a map with `patternProperties` alone has no other members, and
a strict schema loses the branches of `anyOf` that cannot be enforced.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from localrouter.chat.grammar import keywords
from localrouter.chat.grammar.finite import has_finite_value
from localrouter.chat.grammar.plain import Read, plain
from localrouter.chat.grammar.references import definition_name, definition_names
from localrouter.chat.grammar.schema_fault import Gaps, SchemaFault
from localrouter.chat.grammar.schema_reader import SchemaReader
from localrouter.chat.grammar.values import check_size, folded_types
from localrouter.schema.explain import NotEnforced

MAX_BYTES = 1_000_000

WHITE_SPACE = r" |\r?\n[ \t]{0,64}"
"""White space between the parts of JSON, at most once. Without a limit, confused models write it without end."""


@dataclass(frozen=True)
class Schema:
    """A schema that was read, with the definitions that its references (`#/$defs/NAME`) name."""

    root: Read
    definitions: Mapping[str, Read]
    not_enforced: tuple[NotEnforced, ...] = ()
    """Parts of the original that the schema which was read lacks; none of a strict schema."""

    def embedded(self, part: Read) -> str:
        """Return a part of this schema in llguidance's dialect of Lark, with the definitions that the part needs."""
        names = definition_names(part, self.definitions)
        options = {"whitespace_flexible": False, "whitespace_pattern": WHITE_SPACE}
        if not isinstance(part, dict):
            return "%json false"
        whole = {"x-guidance": options, **part}
        if names:
            whole["$defs"] = {name: self.definitions[name] for name in names}
        return f"%json {json.dumps(whole, ensure_ascii=False)}"

    def target(self, reference: str) -> Read:
        """Return the definition that a reference of this schema names."""
        return self.definitions[definition_name(reference)]


def read_schema(schema: object, param: str, *, is_strict: bool = True) -> Schema:
    """Return a schema of a request, read for grammars. `param` is the place of the schema in the request.

    Raises InvalidRequest, with the place inside of the schema as its `param`, where a strict schema is wrong, too large
    or cannot be enforced. Of a schema that is not strict such parts are left out and listed. Errors that only
    llguidance finds are not found here.
    """
    gaps = None if is_strict else Gaps(param)
    try:
        check_size(schema, MAX_BYTES)
        read = _read(SchemaReader(schema, gaps), schema)
    except SchemaFault as fault:
        if is_strict:
            raise fault.refused(param) from None
        return unenforced(schema, param, fault.message)
    return read if gaps is None else Schema(read.root, read.definitions, gaps.listed)


def unenforced(schema: object, param: str, why: str) -> Schema:
    """Return a schema of which nothing but the type at its root is enforced, for the reason `why`."""
    root: Read = {}
    if isinstance(schema, dict):
        types = folded_types(schema.get("type"))
        named = types if isinstance(types, list) else [types]
        if named and all(name in keywords.TYPES for name in named):
            root = plain({"type": types})
        elif "properties" in schema:
            root = {"type": "object"}
    return Schema(root, {}, (NotEnforced(param, why),))


def _read(reader: SchemaReader, schema: object) -> Schema:
    root = reader.read(schema, ())
    if root is False:
        raise SchemaFault("Nothing satisfies this schema.")
    reader.finish()
    if not has_finite_value(root, reader.definitions):
        raise SchemaFault("No value satisfies this schema: it needs parts of itself without end.")
    return Schema(root, reader.definitions)
