"""Reads one schema keyword by keyword."""

from typing import Any

from localrouter.chat.grammar import formats, keywords
from localrouter.chat.grammar.pattern_syntax import is_readable
from localrouter.chat.grammar.plain import Read, plain, typed
from localrouter.chat.grammar.property_names import names_as_properties
from localrouter.chat.grammar.references import PREFIX, Document, Steps, definition_name
from localrouter.chat.grammar.schema_fault import Gaps, SchemaFault, SchemaTooLarge, unsupported
from localrouter.chat.grammar.unions import is_tagged, tag
from localrouter.chat.grammar.values import folded_types, read_pattern, read_value
from localrouter.chat.grammar.weakening import weakened
from localrouter.schema.field_kinds import JsonObject

MAX_DEPTH = 100
MAX_NODES = 10_000
MAX_DEFINITIONS = 1000


class SchemaReader:
    """Reads one schema, and the definitions that it references as they are met.

    A part that is wrong or cannot be enforced raises SchemaFault. With `gaps` the part is noted there and left out.
    """

    def __init__(self, schema: object, gaps: Gaps | None) -> None:
        self.definitions: dict[str, Read] = {}
        self._document = Document(schema)
        self._gaps = gaps
        self._names: dict[tuple[str, str | None], str] = {}
        self._pending: list[tuple[str, str | None]] = []
        self._nodes = 0
        self._depth = 0

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
            raise SchemaTooLarge(f"The schema has more than {MAX_NODES} parts.")
        if self._depth == MAX_DEPTH:
            raise SchemaTooLarge(f"The schema is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(schema, bool):
            return {} if schema else False
        if not isinstance(schema, dict):
            self._leave_out(SchemaFault("A schema must be an object or a boolean.", steps))
            return {}
        self._depth += 1
        try:
            return self._object(schema, steps, required)
        finally:
            self._depth -= 1

    def _leave_out(self, fault: SchemaFault) -> None:
        """Note the part with this fault as not enforced. Raises the fault where all parts must be enforced."""
        if self._gaps is None or isinstance(fault, SchemaTooLarge):
            raise fault
        self._gaps.add(fault)

    def _object(self, schema: JsonObject, steps: Steps, required: str | None) -> Read:
        if self._gaps is not None and "type" in schema:
            schema = {**schema, "type": folded_types(schema["type"])}
        read: JsonObject = {}
        faults: list[SchemaFault] = []
        for keyword in sorted(
            schema, key=lambda name: name == "propertyNames"
        ):  # last, because it changes the meaning of properties
            try:
                contents = self._keyword(keyword, schema[keyword], schema, (*steps, keyword))
            except SchemaFault as fault:
                self._leave_out(fault)
                faults.append(fault)
                continue
            for name, value in contents.items():
                read[name] = [*read[name], *value] if name == "allOf" and name in read else value
        for further in weakened(read, schema, steps, faults, is_strict=self._gaps is None):
            self._leave_out(further)
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
        elif keyword == "pattern":
            read = {keyword: self._pattern(value, steps)}
        else:
            read = read_value(keyword, value, schema, steps)
        return read

    def _unenforceable(self, keyword: str, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        """Return nothing for a value that has no effect. Raises SchemaFault for any other: it cannot be enforced."""
        without_effect = keywords.UNSUPPORTED[keyword]
        if any(type(value) is type(each) and value == each for each in without_effect) or self._has_no_effect(
            keyword, schema
        ):
            return {}
        if self._gaps is not None and keyword in keywords.ANCHORS:
            return {}
        raise unsupported(f"The keyword '{keyword}' cannot be enforced, and is not supported.", steps)

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
            raise SchemaFault(f"'{keyword}' must be a list of at least one schema.", steps)
        if keyword == "anyOf":
            return {keyword: self._branches(value, steps)}
        return {keyword: [self.read(each, (*steps, index)) for index, each in enumerate(value)]}

    def _branches(self, schemas: list[Any], steps: Steps) -> list[Read]:
        """Return the branches, of a strict schema those that can be enforced. Raises the first fault if none can."""
        branches: list[Read] = []
        faults: list[SchemaFault] = []
        for index, schema in enumerate(schemas):
            referred = len(self._pending)
            try:
                branches.append(self.read(schema, (*steps, index)))
            except SchemaFault as fault:
                if fault.reason != "unsupported_schema":
                    raise
                faults.append(fault)
                for key in self._pending[referred:]:
                    del self._names[key]
                del self._pending[referred:]
        if not branches:
            raise faults[0]
        return branches

    def _map(self, keyword: str, value: Any, steps: Steps) -> JsonObject:
        if not isinstance(value, dict):
            raise SchemaFault(f"'{keyword}' must be an object.", steps)
        read = {name: self.read(each, (*steps, name)) for name, each in value.items()}
        if keyword == "patternProperties":
            readable = {pattern: self._name_pattern(pattern, (*steps, pattern)) for pattern in value}
            read = {pattern: read[name] for name, pattern in readable.items() if pattern is not None}
        return {keyword: read}

    def _name_pattern(self, pattern: str, steps: Steps) -> str | None:
        """Return a pattern of names, or None for one that is left out."""
        try:
            return self._pattern(pattern, steps)
        except SchemaFault as fault:
            self._leave_out(fault)
            return None

    def _pattern(self, pattern: Any, steps: Steps) -> str:
        read = read_pattern(pattern, steps)
        if self._gaps is not None and not is_readable(pattern):
            raise unsupported("The regular expression has a part that is not supported.", steps)
        return read

    def _target(self, reference: str) -> tuple[Any, Steps]:
        target = self._document.resolved(reference)
        assert target is not None, "references are resolved when they are met"
        return target

    def _reference(self, value: Any, steps: Steps, required: str | None = None) -> str:
        if not isinstance(value, str):
            raise SchemaFault("'$ref' must be a string.", steps)
        if self._document.resolved(value) is None:
            raise SchemaFault(
                f"'$ref' is to be a place in the same schema, as in '#/$defs/name'; {value!r} is not there.", steps
            )
        key = (value, required)
        if key not in self._names:
            if len(self._names) == MAX_DEFINITIONS:
                raise SchemaTooLarge(f"The schema refers to more than {MAX_DEFINITIONS} definitions.")
            self._names[key] = f"d{len(self._names)}"
            self._pending.append(key)
        return PREFIX + self._names[key]

    def _one_of(self, value: Any, steps: Steps) -> JsonObject:
        if not isinstance(value, list) or not value:
            raise SchemaFault("'oneOf' must be a list of at least one schema.", steps)
        name = tag(value, self._document)
        if name is None:
            message = (
                "'oneOf' is only supported where no value can satisfy two of its schemas: let them differ in their"
                " type or in a constant property, or use 'anyOf'."
            )
            self._leave_out(unsupported(message, steps))  # what is left of it is 'anyOf'
        branches = [self._tagged(each, name, (*steps, index)) for index, each in enumerate(value)]
        return {"allOf": [plain({"anyOf": branches})]}

    def _tagged(self, schema: Any, name: str | None, steps: Steps) -> Read:
        """Return a branch of `oneOf`, read. `name`, if not empty, is the property that tells branches apart."""
        if not name or not is_tagged(schema, name, self._document):
            return self.read(schema, steps)
        if "$ref" in schema:
            own = self.read({keyword: value for keyword, value in schema.items() if keyword != "$ref"}, steps)
            reference = self._reference(schema["$ref"], (*steps, "$ref"), name)
            return plain({"$ref": reference, **own}) if isinstance(own, dict) else own
        return self.read(schema, steps, name)

    def _property_names(self, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        names = self.read(value, steps)
        while isinstance(names, dict) and names.keys() == {"$ref"}:
            reference = definition_name(names["$ref"])
            [sent] = [sent for (sent, _), name in self._names.items() if name == reference]
            names = self.read(*self._target(sent))
        values = (schema.get("additionalProperties", True), (*steps[:-1], "additionalProperties"))
        return names_as_properties(names, lambda: self.read(*values), schema, steps)

    def _format(self, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
        if not isinstance(value, str):
            raise SchemaFault("'format' must be a string.", steps)
        types = schema.get("type", "string")
        known = [name for name in (types if isinstance(types, list) else [types]) if name in keywords.TYPES]
        if known and "string" not in known:
            return {}
        if value in formats.UNSUPPORTED:
            raise unsupported(f"The format '{value}' cannot be enforced, and is not supported.", steps)
        if value not in formats.FORMATS:
            return {}
        pattern = f"^(?:{formats.FORMATS[value]})$"
        return {"allOf": [{"type": "string", "pattern": pattern}]} if "pattern" in schema else {"pattern": pattern}
