"""Grammar of tool calls in Gemma 4's syntax: keys without quotes, strings between `<|"|>`, no white space."""

import json
import re
from typing import Any

from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.lark import EMPTY, LarkGrammar, escaped, in_order, literal, one_of, regex, times
from localrouter.chat.grammar.members import Members, members, members_of
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.property_body import property_body, unspellable
from localrouter.chat.grammar.raw_strings import INTEGER, NUMBER, bounded_text
from localrouter.chat.grammar.schema_fault import Gaps, SchemaFault, unsupported
from localrouter.chat.grammar.schema_reader import MAX_DEPTH
from localrouter.chat.grammar.variants import Variants
from localrouter.schema.field_kinds import JsonObject

QUOTE = '<|"|>'
_QUOTE_IN_JSON = json.dumps(QUOTE)[1:-1]
_BARE = re.compile(r"[\w.$@/-]+")
_NAME = r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}"


def gemma_call(grammar: LarkGrammar, tool: CallableTool, gaps: Gaps | None) -> str:
    """Return a body for a call between its delimiters. Raises SchemaFault for a schema beyond this syntax.

    With `gaps` a property of the arguments beyond this syntax is noted there and is not enforced.
    """
    writer = _Values(grammar, tool)
    arguments = one_of(writer.members(each, gaps) for each in members_of(tool, writer.variants, gaps))
    return f"{literal(f'call:{tool.name}{{')} {arguments} {literal('}')}"


class _Values:
    """Bodies for the values of one function's arguments."""

    def __init__(self, grammar: LarkGrammar, tool: CallableTool) -> None:
        self._grammar = grammar
        self._tool = tool
        self.variants = Variants(tool.schema)
        self._rules: dict[str, str] = {}
        self._depth = 0

    def members(self, members: Members, gaps: Gaps | None = None) -> str:
        """Return a body for the members between braces, sorted as the template sorts the tools that it shows.

        With `gaps` a member beyond this syntax is noted there and is not enforced.
        """
        declared = [
            (body, name in members.required)
            for name in sorted(members.properties, key=str.lower)
            if (body := property_body(self._grammar, gaps, name, members.properties[name], self._member)) is not None
        ]
        if members.others is not False and members.most_others != 0:
            least, most = members.least_others, members.most_others
            declared.append((self._listed(self._other(members), max(1, least), most), least > 0))
        return in_order(self._grammar, "members", declared, literal(","))

    def _member(self, name: str, schema: Read) -> str:
        known = len(self._rules)
        try:
            return f"{self._key(name)} {self.value(schema)}"
        except SchemaFault:
            while len(self._rules) > known:  # their rules refer to one that was not written
                self._rules.popitem()
            raise

    def value(self, schema: Read) -> str:
        """Return a rule for one value. Equal schemas share one rule, which may be part of itself."""
        key = json.dumps(schema)
        if key not in self._rules:
            if self._depth == MAX_DEPTH:
                raise unsupported("With the definitions that it refers to, it is nested too deep.")
            self._depth += 1
            try:
                self._write(key, schema)
            finally:
                self._depth -= 1
        return self._rules[key]

    def _write(self, key: str, schema: Read) -> None:
        """Write the rule for a value; tools share the rules of equal values without references."""
        if '"$ref"' not in key and schema != {}:
            self._rules[key] = self._grammar.rule("value", self._body(schema))
            return
        shared = key if schema == {} else ""  # any value is the one that is part of itself without a reference
        known = self._grammar.declared("value", shared) if shared else None
        self._rules[key] = known or self._grammar.declare("value", shared)
        if not known:
            self._grammar.define(self._rules[key], self._body(schema))

    def _body(self, schema: Read) -> str:
        if isinstance(schema, dict) and schema.keys() == {"$ref"}:
            return self.value(self._tool.schema.target(schema["$ref"]))
        found = self.variants.of(schema)
        if not found:
            raise SchemaFault("A part of it can have no value.")
        return one_of(map(self._variant, found))

    def _variant(self, variant: JsonObject) -> str:
        if "enum" in variant:
            values = [value for value in variant["enum"] if _QUOTE_IN_JSON not in json.dumps(value)]
            if not values:
                raise unsupported(f"This model's calls cannot have {QUOTE} in a value.")
            return one_of(map(self._constant, values))
        if variant["type"] in {"integer", "number"}:
            return self._number(variant)
        if variant["type"] == "string":
            return self._string(variant)
        if variant["type"] == "array":
            return f"{literal('[')} {self._items(variant)} {literal(']')}"
        if variant["type"] == "object":
            inner = self.members(members(variant))
            return f"{literal('{')} {inner} {literal('}')}"
        return literal("null") if variant["type"] == "null" else '( "true" | "false" )'

    def _number(self, variant: JsonObject) -> str:
        if variant.keys() > {"type"}:
            return self._tool.schema.embedded(variant)
        is_integer = variant["type"] == "integer"
        return self._grammar.terminal("integer" if is_integer else "number", INTEGER if is_integer else NUMBER)

    def _string(self, variant: JsonObject) -> str:
        body = bounded_text(variant, [QUOTE]) or EMPTY
        if self._grammar.is_token(QUOTE):
            return self._quoted(self._grammar.terminal("text", body))
        return f"{literal(QUOTE)} {self._grammar.lazy('text', f'( {body} ) {literal(QUOTE)}')}"

    def _quoted(self, text: str) -> str:
        return f"{self._grammar.delimiter(QUOTE)} {text} {self._grammar.delimiter(QUOTE)}"

    def _items(self, variant: JsonObject) -> str:
        least, most = variant.get("minItems", 0), variant.get("maxItems")
        first = variant.get("prefixItems", [])[:most]
        items = variant.get("items", {})
        parts = [(self.value(each), index < least) for index, each in enumerate(first)]
        left = None if most is None else most - len(first)
        if items is not False and left != 0:
            needed = max(0, least - len(first))
            parts.append((self._listed(self.value(items), max(1, needed), left), needed > 0))
        return _nested(self._grammar, parts)

    def _listed(self, body: str, least: int, most: int | None) -> str:
        """Return a body for `least` to `most` repetitions of a body, at least one, with commas between them."""
        body = self._grammar.rule("listed", body)
        following = times(f"{literal(',')} {body}", least - 1, None if most is None else most - 1)
        return body if following == EMPTY else f"{body} {following}"

    def _key(self, name: str) -> str:
        if QUOTE in name:
            raise unspellable(name)
        return literal(f"{name}:") if _BARE.fullmatch(name) else f"{self._constant(name)} {literal(':')}"

    def _other(self, members: Members) -> str:
        taken = "|".join(map(escaped, members.properties))
        name = regex(members.pattern or _NAME) + (f" & ~/(?:{taken})/" if taken else "") + r" & /[\w.$@\/-]+/"
        key = self._grammar.terminal("key", f'( {name} ) ":"')
        return f"{key} {self.value(members.others)}"

    def _constant(self, value: Any) -> str:
        if isinstance(value, str):
            return self._quoted(literal(value))
        if isinstance(value, list):
            return " ".join([literal("["), *_with_commas([self._constant(each) for each in value]), literal("]")])
        if isinstance(value, dict):
            pairs = [f"{self._key(key)} {self._constant(each)}" for key, each in sorted(value.items())]
            return " ".join([literal("{"), *_with_commas(pairs), literal("}")])
        return literal(json.dumps(value))


def _with_commas(bodies: list[str]) -> list[str]:
    return [part for body in bodies for part in (literal(","), body)][1:]


def _nested(grammar: LarkGrammar, parts: list[tuple[str, bool]]) -> str:
    """Return a body for parts in their order. Parts at the end that are not required may be missing."""
    following = EMPTY
    for index in reversed(range(len(parts))):
        body, is_required = parts[index]
        written = f"{literal(',')} {body} {following}" if index else f"{body} {following}"
        following = grammar.rule("items", written if is_required else f"{written} | {EMPTY}")
    return following
