"""Grammar of tool calls in the syntax of Qwen3-Coder and Qwen3.5: strings as they are, other values as JSON."""

from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.json_schema import Schema
from localrouter.chat.grammar.lark import EMPTY, LarkGrammar, escaped, literal, one_of, regex, times
from localrouter.chat.grammar.members import Members, members_of
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.property_body import property_body, unspellable
from localrouter.chat.grammar.raw_strings import INTEGER, NUMBER, bounded_text, not_read_as
from localrouter.chat.grammar.schema_fault import Gaps
from localrouter.chat.grammar.variants import Variants
from localrouter.schema.field_kinds import JsonObject

CLOSING = "</parameter>"
_END = f"\n{CLOSING}\n"
_NAME = r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}"
_PLAIN = {"null": '"null"', "boolean": '( "true" | "false" )', "integer": INTEGER, "number": NUMBER}


def parameters_call(grammar: LarkGrammar, tool: CallableTool, gaps: Gaps | None) -> str:
    """Return a body for a call between its delimiters. Raises SchemaFault for a schema beyond this syntax.

    With `gaps` a property beyond this syntax is noted there and is not enforced.
    """
    writer = _Parameters(grammar, tool, gaps)
    arguments = one_of(writer.arguments(members) for members in members_of(tool, writer.variants, gaps))
    begin, end = f"\n<function={tool.name}>\n", "</function>\n"
    return f"{literal(begin)} {arguments} {literal(end)}"


class _Parameters:
    def __init__(self, grammar: LarkGrammar, tool: CallableTool, gaps: Gaps | None) -> None:
        self._grammar = grammar
        self._gaps = gaps
        self._schema: Schema = tool.schema
        self.variants = Variants(tool.schema)

    def arguments(self, members: Members) -> str:
        """Return a body for all arguments: the declared ones in their order, then others if the schema allows them."""
        bodies = [
            body + ("" if name in members.required else "?")
            for name, schema in members.properties.items()
            if (body := property_body(self._grammar, self._gaps, name, schema, self._declared)) is not None
        ]
        if members.others is not False:
            bodies.append(times(self._other(members), members.least_others, members.most_others))
        return " ".join(bodies) or EMPTY

    def _declared(self, name: str, schema: Read) -> str:
        if not name or {">", "\n"} & set(name):
            raise unspellable(name)
        begin = f"<parameter={name}>\n"
        return self._grammar.rule("parameter", f"{literal(begin)} {self._value(schema)}")

    def _other(self, members: Members) -> str:
        taken = "|".join(map(escaped, members.properties))
        name = regex(members.pattern or _NAME) + (f" & ~/(?:{taken})/" if taken else "") + " & /[^>\\n]+/"
        begin = self._grammar.terminal("other", f'"<parameter=" ( {name} ) ">\\n"')
        return self._grammar.rule("parameter", f"{begin} {self._value(members.others)}")

    def _value(self, schema: Read) -> str:
        """Return a body for a value and its closing delimiter."""
        found = self.variants.of(schema)
        texts = [variant for variant in found if _has_strings(variant)]
        others = [variant for variant in map(_without_strings, found) if variant is not None]
        if not texts:
            return f"{self._schema.embedded(schema)} {literal(_END)}"
        plain = [variant for variant in others if variant.keys() == {"type"} and variant["type"] in _PLAIN]
        rest = [variant for variant in others if variant not in plain]
        bodies = [self._text(texts, others, rest), *(_PLAIN[variant["type"]] for variant in plain)]
        terminal = self._grammar.lazy("value", f"( {' | '.join(body for body in bodies if body)} ) {literal(_END)}")
        if not rest:
            return terminal
        return f"( {terminal} | {self._schema.embedded({'anyOf': rest})} {literal(_END)} )"

    def _text(self, texts: list[JsonObject], others: list[JsonObject], rest: list[JsonObject]) -> str | None:
        """Return a body for strings, except for those that would be parsed as one of the other values."""
        bodies = [body for body in (bounded_text(variant, [CLOSING]) for variant in texts) if body is not None]
        if not bodies:
            return None
        excluded = not_read_as(sorted({name for variant in others for name in _types(variant)}))
        if any(_types(variant) & {"integer", "number"} for variant in rest):
            excluded.append(r"~/\s*[-0-9](?s:.*)/")  # the lexer would not let go of a text that begins like a number
        return " & ".join([f"( {' | '.join(bodies)} )", *excluded])


def _has_strings(variant: JsonObject) -> bool:
    if "enum" in variant:
        return any(isinstance(value, str) for value in variant["enum"])
    return bool(variant["type"] == "string")


def _without_strings(variant: JsonObject) -> JsonObject | None:
    if "enum" in variant:
        values = [value for value in variant["enum"] if not isinstance(value, str)]
        return {"enum": values} if values else None
    return None if variant["type"] == "string" else variant


def _types(variant: JsonObject) -> set[str]:
    if "type" in variant:
        return {variant["type"]}
    kinds = {bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}
    return {kinds.get(type(value), "null") for value in variant["enum"]}
