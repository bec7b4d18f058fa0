"""JSON Schemas of requests, read into the few keywords that a grammar can enforce.

The schema that is read admits no value that the original rejects. It may admit less where that is the usual meaning: a
schema with `properties` and no `type` is one of objects, and branches of `anyOf` that cannot be enforced are dropped.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localrouter.chat.grammar import formats, keywords
from localrouter.chat.grammar.finite import has_finite_value
from localrouter.chat.grammar.pattern import check_pattern, without_operators
from localrouter.chat.grammar.plain import Read, plain, typed
from localrouter.chat.grammar.references import Document, Steps, definition_name, definition_names
from localrouter.chat.grammar.unions import is_tagged, tag
from localrouter.chat.grammar.values import check_size, place, read_value, refusal
from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject

MAX_DEPTH = 100
MAX_NODES = 10_000
MAX_DEFINITIONS = 1000
MAX_OPTIONAL = 500
"""Optional properties of one object: any of them may come next, and llguidance follows only so many alternatives."""
MAX_BYTES = 1_000_000

WHITE_SPACE = r" |\r?\n[ \t]{0,64}"
"""White space between the parts of JSON, at most once. Without a limit, confused models write it without end."""


@dataclass(frozen=True)
class Schema:
    """A schema that was read, with the definitions that its references (`#/$defs/NAME`) name."""

    root: Read
    definitions: Mapping[str, Read]

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


def read_schema(schema: object, param: str) -> Schema:
    """Return a schema of a request, read for grammars. `param` is the place of the schema in the request.

    Raises InvalidRequest, with the place inside of the schema as its `param`, where the schema is wrong, too large or
    cannot be enforced. Errors that only llguidance finds are not found here.
    """
    check_size(schema, param, MAX_BYTES)
    reader = _Reader(Document(schema), param)
    root = reader.read(schema, ())
    if root is False:
        raise refusal("Nothing satisfies this schema.", param, ())
    reader.finish()
    read = Schema(root, reader.definitions)
    if not has_finite_value(root, reader.definitions):
        raise refusal("No value satisfies this schema: it needs parts of itself without end.", param, ())
    return read


@dataclass
class _Reader:
    """Reads one schema, and the definitions that it references as they are met."""

    document: Document
    param: str
    definitions: dict[str, Read] = field(default_factory=dict)
    _names: dict[tuple[str, str | None], str] = field(default_factory=dict)
    _pending: list[tuple[str, str | None]] = field(default_factory=list)
    _nodes: int = 0
    _depth: int = 0

    def finish(self) -> None:
        """Read the definitions that were referenced and not read yet."""
        while self._pending:
            reference, required = self._pending.pop()
            target, steps = self._target(reference)
            self.definitions[self._names[reference, required]] = self.read(target, steps, required)

    def read(self, schema: object, steps: Steps, required: str | None = None) -> Read:
        """Return the schema at the path `steps`, read. `required` is a property that it requires beside its own."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise refusal(f"The schema has more than {MAX_NODES} parts.", self.param, ())
        if self._depth == MAX_DEPTH:
            raise refusal(f"The schema is nested deeper than {MAX_DEPTH} levels.", self.param, ())
        if isinstance(schema, bool):
            return {} if schema else False
        if not isinstance(schema, dict):
            raise refusal("A schema must be an object or a boolean.", self.param, steps)
        self._depth += 1
        try:
            return self._object(schema, steps, required)
        finally:
            self._depth -= 1

    def _object(self, schema: JsonObject, steps: Steps, required: str | None) -> Read:
        read: JsonObject = {}
        for keyword in sorted(
            schema, key=lambda name: name == "propertyNames"
        ):  # last, because it changes the meaning of properties
            value = schema[keyword]
            for name, contents in self._keyword(keyword, value, schema, (*steps, keyword)).items():
                read[name] = [*read[name], *contents] if name == "allOf" and name in read else contents
        if len(read.get("properties", {}).keys() - {*read.get("required", [])}) > MAX_OPTIONAL:
            message = f"More than {MAX_OPTIONAL} of its properties are not required, which is not supported."
            raise self._unsupported(message, (*steps, "properties"))
        if required is not None:
            read["required"] = list(dict.fromkeys([*read.get("required", []), required]))
        return plain(typed(read))

    def _keyword(self, keyword: str, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        """Return the keywords that one keyword is read into, which may be none."""
        if keyword in keywords.UNSUPPORTED:
            read = self._unenforceable(keyword, value, schema, steps)
        elif keyword in keywords.SINGLE or keyword == "additionalItems":
            read = self._single(keyword, value, schema, steps)
        elif keyword in keywords.LISTS:
            read = self._list(keyword, value, steps)
        elif keyword in keywords.MAPS:
            read = self._map(keyword, value, steps)
        elif keyword == "$ref":
            read = {"$ref": self._reference(value, steps)}
        elif keyword == "oneOf":
            read = self._one_of(value, steps)
        elif keyword == "propertyNames":
            read = self._property_names(value, schema, steps)
        elif keyword == "format":
            read = self._format(value, schema, steps)
        else:
            read = read_value(keyword, value, schema, self.param, steps)
        return read

    def _unenforceable(self, keyword: str, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        """Return nothing for a value that has no effect. Raises InvalidRequest for any other: it cannot be enforced."""
        without_effect = keywords.UNSUPPORTED[keyword]
        if any(type(value) is type(each) and value == each for each in without_effect) or self._has_no_effect(
            keyword, schema
        ):
            return {}
        raise self._unsupported(f"The keyword '{keyword}' cannot be enforced, and is not supported.", steps)

    def _has_no_effect(self, keyword: str, schema: JsonObject) -> bool:
        """Return whether a keyword has no effect beside the other keywords of its schema."""
        if keyword == "if":
            return all(schema.get(branch, True) in (True, {}) for branch in ("then", "else"))
        return (keyword in {"then", "else"} and "if" not in schema) or (
            keyword in {"minContains", "maxContains"} and "contains" not in schema
        )

    def _single(self, keyword: str, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        if keyword == "items" and isinstance(value, list):  # how drafts before 2020-12 wrote prefixItems
            items = schema.get("additionalItems", True)
            rest = {} if items is True else {"items": self.read(items, (*steps[:-1], "additionalItems"))}
            return {**self._list("prefixItems", value, steps), **rest}
        if keyword == "additionalItems":
            return {}
        return {keyword: self.read(value, steps)}

    def _list(self, keyword: str, value: Any, steps: Steps) -> JsonObject:
        if not isinstance(value, list) or not value:
            raise refusal(f"'{keyword}' must be a list of at least one schema.", self.param, steps)
        if keyword == "anyOf":
            return {keyword: self._branches(value, steps)}
        return {keyword: [self.read(each, (*steps, index)) for index, each in enumerate(value)]}

    def _branches(self, schemas: list[Any], steps: Steps) -> list[Read]:
        """Return the branches that can be enforced. Raises InvalidRequest for the first branch if none can."""
        branches: list[Read] = []
        errors: list[InvalidRequest] = []
        for index, schema in enumerate(schemas):
            referred = len(self._pending)
            try:
                branches.append(self.read(schema, (*steps, index)))
            except InvalidRequest as error:
                if error.reason != "unsupported_schema":
                    raise
                errors.append(error)
                for key in self._pending[referred:]:
                    del self._names[key]
                del self._pending[referred:]
        if not branches:
            raise errors[0]
        return branches

    def _map(self, keyword: str, value: Any, steps: Steps) -> JsonObject:
        if not isinstance(value, dict):
            raise refusal(f"'{keyword}' must be an object.", self.param, steps)
        read = {name: self.read(each, (*steps, name)) for name, each in value.items()}
        if keyword == "patternProperties":
            for pattern in value:
                check_pattern(pattern, place(self.param, (*steps, pattern)))
            read = {without_operators(pattern): each for pattern, each in read.items()}
        return {keyword: read}

    def _target(self, reference: str) -> tuple[Any, Steps]:
        target = self.document.resolved(reference)
        assert target is not None, "references are resolved when they are met"
        return target

    def _reference(self, value: Any, steps: Steps, required: str | None = None) -> str:
        if not isinstance(value, str):
            raise refusal("'$ref' must be a string.", self.param, steps)
        if self.document.resolved(value) is None:
            raise refusal(
                f"'$ref' is to be a place in the same schema, as in '#/$defs/name'; {value!r} is not there.",
                self.param,
                steps,
            )
        key = (value, required)
        if key not in self._names:
            if len(self._names) == MAX_DEFINITIONS:
                raise refusal(f"The schema refers to more than {MAX_DEFINITIONS} definitions.", self.param, ())
            self._names[key] = f"d{len(self._names)}"
            self._pending.append(key)
        return f"#/$defs/{self._names[key]}"

    def _one_of(self, value: Any, steps: Steps) -> JsonObject:
        if not isinstance(value, list) or not value:
            raise refusal("'oneOf' must be a list of at least one schema.", self.param, steps)
        name = tag(value, self.document)
        if name is None:
            raise self._unsupported(
                "'oneOf' is only supported where no value can satisfy two of its schemas: let them differ in their"
                " type or in a constant property, or use 'anyOf'.",
                steps,
            )
        branches = [self._tagged(each, name, (*steps, index)) for index, each in enumerate(value)]
        return {"allOf": [plain({"anyOf": branches})]}

    def _tagged(self, schema: Any, name: str, steps: Steps) -> Read:
        """Return a branch of `oneOf`, read. `name`, if not empty, is the property that tells branches apart."""
        if not name or not is_tagged(schema, name, self.document):
            return self.read(schema, steps)
        if "$ref" in schema:
            own = self.read({keyword: value for keyword, value in schema.items() if keyword != "$ref"}, steps)
            reference = self._reference(schema["$ref"], (*steps, "$ref"), name)
            return plain({"$ref": reference, **own}) if isinstance(own, dict) else own
        return self.read(schema, steps, name)

    def _property_names(self, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        """Return `propertyNames` as keywords of properties: an enumeration of names, or a pattern that names match."""
        names = self.read(value, steps)
        while isinstance(names, dict) and names.keys() == {"$ref"}:
            value, where = self._target(value["$ref"])
            names = self.read(value, where)
        if isinstance(names, dict) and "string" not in names.get("type", "string"):
            names = {"enum": []}  # every name is a string
        bounds = names.keys() - {"type"} if isinstance(names, dict) else {"not"}
        if not bounds:
            return {}
        if {"properties", "patternProperties"} & schema.keys() or not isinstance(names, dict):
            raise self._unsupported("'propertyNames' is not supported beside properties.", steps)
        values = self.read(schema.get("additionalProperties", True), (*steps[:-1], "additionalProperties"))
        if bounds == {"pattern"}:
            return {"patternProperties": {names["pattern"]: values}, "additionalProperties": False}
        if bounds <= {"minLength", "maxLength"}:
            length = f"^[\\s\\S]{{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$"
            return {"patternProperties": {length: values}, "additionalProperties": False}
        if bounds in ({"enum"}, {"const"}):
            allowed = names.get("enum", [names.get("const")])
            return {
                "properties": {name: values for name in allowed if isinstance(name, str)},
                "additionalProperties": False,
            }
        raise self._unsupported("'propertyNames' is supported with one of enum, const, pattern, or lengths.", steps)

    def _format(self, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        if not isinstance(value, str):
            raise refusal("'format' must be a string.", self.param, steps)
        types = schema.get("type", "string")
        if "string" not in (types if isinstance(types, list) else [types]):
            return {}
        if value in formats.UNSUPPORTED:
            raise self._unsupported(f"The format '{value}' cannot be enforced, and is not supported.", steps)
        if value not in formats.FORMATS:
            return {}
        pattern = f"^(?:{formats.FORMATS[value]})$"
        return {"allOf": [{"type": "string", "pattern": pattern}]} if "pattern" in schema else {"pattern": pattern}

    def _unsupported(self, message: str, steps: Steps) -> InvalidRequest:
        return refusal(message, self.param, steps, "unsupported_schema")
