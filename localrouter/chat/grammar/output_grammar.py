"""The grammar of a whole output: reasoning, text, tool calls and structured output."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from localrouter.chat.families.family import Family
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.gemma_calls import gemma_call
from localrouter.chat.grammar.json_schema import Schema, read_schema, unenforced
from localrouter.chat.grammar.lark import LarkGrammar, literal, one_of, regex, text_without
from localrouter.chat.grammar.parameter_calls import parameters_call
from localrouter.chat.grammar.pattern import anchored, check_pattern
from localrouter.chat.grammar.schema_fault import Gaps, SchemaFault
from localrouter.engine.generation_request import Grammar
from localrouter.errors import InvalidRequest
from localrouter.schema.explain import NotEnforced

_MAX_REMEMBERED = 1_000_000
"""Characters of tools whose grammar is remembered, so that the memory for it is limited."""
_BREAK = regex(r"\n{1,2}")
"""Line breaks that may follow reasoning and separate calls."""


@dataclass(frozen=True)
class AnyText:
    """Content without structured output: any text."""


@dataclass(frozen=True)
class JsonSchema:
    """Content that is JSON of this schema; `param` is the place of the schema in the request."""

    schema: Any
    param: str = "response_format.json_schema.schema"
    is_strict: bool = True
    """Whether a part of the schema that cannot be enforced is an error; otherwise it is not enforced."""
    fault: str | None = None
    """Reason why nothing but the type of the schema is enforced; None: there is none."""

    def read(self) -> Schema:
        """Return the schema, read for grammars. Raises InvalidRequest where `is_strict`, as `read_schema` does."""
        if self.fault is not None:
            return unenforced(self.schema, self.param, self.fault)
        return read_schema(self.schema, self.param, is_strict=self.is_strict)


@dataclass(frozen=True)
class Regex:
    """Content that a regular expression matches as a whole."""

    pattern: str
    param: str = "response_format.regex"


@dataclass(frozen=True)
class Lark:
    """Content that obeys the client's own grammar, in llguidance's dialect of Lark."""

    grammar: str


Content: TypeAlias = AnyText | JsonSchema | Regex | Lark

ANY_OBJECT = {"type": "object"}
"""JSON Schema of the `response_format` `json_object`."""


@dataclass(frozen=True)
class OutputRules:
    """The rules for the output of one request."""

    content: Content = AnyText()
    reasoning: Literal["none", "open", "optional"] = "none"
    """Whether there is reasoning: open where the prompt ends inside it, optional where the model may begin it."""
    tools: Sequence[CallableTool] = ()
    """Functions that may be called."""
    must_call: bool = False
    """Whether at least one function must be called; then there is no content."""
    parallel: bool = True
    """Whether there may be several calls; otherwise the output ends with the first."""
    has_shown_tools: bool = False
    """Whether the prompt shows functions: even where none may be called, the text must not look like a call."""

    def unenforced(self, why: str) -> "OutputRules | None":
        """Return rules that enforce nothing of the schemas that are not strict, or None where there are none."""
        content, tools = self.content, self.tools
        is_loose = isinstance(content, JsonSchema) and not content.is_strict
        if not is_loose and all(tool.is_strict for tool in tools):
            return None
        if isinstance(content, JsonSchema) and is_loose:
            content = replace(content, fault=why)
        return replace(
            self, content=content, tools=[tool if tool.is_strict else tool.unenforced(why) for tool in tools]
        )


@dataclass(frozen=True)
class OutputGrammar:
    """The grammar of an output, in llguidance's dialect of Lark; None where the rules allow any text."""

    lark: str | None
    not_enforced: tuple[NotEnforced, ...] = ()
    """Parts of schemas that the output may violate."""

    @property
    def grammar(self) -> Grammar | None:
        """The grammar for the engine; None where the output may be any text."""
        return None if self.lark is None else Grammar(self.lark)


def output_grammar(rules: OutputRules, family: Family, special_tokens: Mapping[str, int]) -> OutputGrammar:
    """Return the grammar of an output and the parts of schemas that it does not enforce.

    `special_tokens` has the token ids of the model's special tokens by text. Raises InvalidRequest for a regular
    expression or a strict schema that is wrong or cannot be enforced; the error names its place.
    """
    if isinstance(rules.content, AnyText) and not rules.tools and not rules.has_shown_tools:
        return OutputGrammar(None)
    if isinstance(rules.content, Lark) and not rules.tools and rules.reasoning == "none":
        return OutputGrammar(rules.content.grammar)
    if rules.tools and not isinstance(rules.content, JsonSchema):
        tools = json.dumps(
            [(each.name, each.parameters, each.param, each.is_strict, each.fault) for each in rules.tools]
        )
        if len(tools) <= _MAX_REMEMBERED:
            return _remembered(replace(rules, tools=()), tools, family, tuple(special_tokens.items()))
    return _written(rules, family, special_tokens)


@lru_cache(maxsize=8)
def _remembered(
    rules: OutputRules, tools: str, family: Family, special_tokens: tuple[tuple[str, int], ...]
) -> OutputGrammar:
    """Return the grammar for rules with these tools, in JSON. An agent sends the same tools with every request."""
    return _written(
        replace(rules, tools=[CallableTool(*each) for each in json.loads(tools)]), family, dict(special_tokens)
    )


def _written(rules: OutputRules, family: Family, special_tokens: Mapping[str, int]) -> OutputGrammar:
    writer = _Writer(rules, family, special_tokens)
    return OutputGrammar(writer.written(), tuple(writer.not_enforced))


def _check_regex(regex: Regex) -> None:
    """Raise InvalidRequest for a regular expression that is wrong or cannot be enforced."""
    try:
        check_pattern(regex.pattern, regex.param)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=regex.param, code="invalid_grammar") from None


class _Writer:
    def __init__(self, rules: OutputRules, family: Family, special_tokens: Mapping[str, int]) -> None:
        self._rules = rules
        self._family = family
        self._grammar = LarkGrammar(special_tokens)
        self.not_enforced: list[NotEnforced] = []
        """Parts of schemas that what was written so far does not enforce."""

    def written(self) -> str:
        return self._grammar.written(f"{self._reasoning()} {self._rest()}".strip())

    def _rest(self) -> str:
        if not self._rules.tools:
            return self._content()
        if self._rules.must_call:
            return self._calls()
        if isinstance(self._rules.content, AnyText):
            return self._text_and_calls()
        return one_of([self._content(), self._calls()])

    def _reasoning(self) -> str:
        if self._rules.reasoning == "none":
            return ""
        begin, end = self._family.reasoning.begin, self._family.reasoning.end
        closing = self._until("reasoning", end, text_without(end))
        after = self._grammar.terminal("break", _BREAK)
        if self._rules.reasoning == "open":
            return f"{closing} {after}?"
        return f"({self._grammar.delimiter(begin)} {closing} {after}?)?"

    def _until(self, stem: str, delimiter: str, text: str) -> str:
        """Return a body for text and the delimiter that ends it."""
        if self._grammar.is_token(delimiter):
            return f"{self._grammar.terminal(stem, text)} {self._grammar.delimiter(delimiter)}"
        return self._grammar.lazy(stem, f"( {text} ) {literal(delimiter)}")

    def _content(self) -> str:
        content = self._rules.content
        match content:
            case JsonSchema():
                schema = content.read()
                self.not_enforced += schema.not_enforced
                return schema.embedded(schema.root)
            case Regex():
                _check_regex(content)
                return self._grammar.terminal("content", regex(anchored(content.pattern)))
            case Lark():
                return f"%lark {{\n{content.grammar}\n}}"
            case AnyText():
                return self._text()

    def _text(self) -> str:
        """Return a terminal for text that begins neither reasoning nor a call."""
        begins = [begin for begin in (self._family.reasoning.begin, self._family.call.begin) if begin]
        return self._grammar.terminal("text", text_without(*begins))

    def _text_and_calls(self) -> str:
        begin = self._family.call.begin
        reasoning = [self._family.reasoning.begin] if self._family.reasoning.begin else []
        before = text_without(begin, *reasoning) if self._grammar.is_token(begin) else text_without(*reasoning)
        called = f"{self._until('text', begin, before)} {self._call()}"
        if self._rules.parallel:
            return f"({called})* {self._text()}"
        return one_of([called, self._text()])

    def _calls(self) -> str:
        call = self._grammar.rule("called", f"{self._grammar.delimiter(self._family.call.begin)} {self._call()}")
        if not self._rules.parallel:
            return call
        return f"{call} ({self._grammar.terminal('break', _BREAK)}? {call})*"

    def _call(self) -> str:
        """Return a rule for a call of any function, from after its opening delimiter to its closing one."""
        bodies = [self._written_call(tool) for tool in self._rules.tools]
        return self._grammar.rule("call", f"{one_of(bodies)} {self._grammar.delimiter(self._family.call.end)}")

    def _written_call(self, tool: CallableTool) -> str:
        gaps = None if tool.is_strict else Gaps(tool.param)
        before = self._grammar.position
        try:
            body = self._call_of(tool, gaps)
        except SchemaFault as fault:
            if gaps is None or tool.fault is not None:
                raise fault.refused(tool.param) from None
            self._grammar.return_to(before)
            return self._written_call(tool.unenforced(fault.message))
        self.not_enforced += [*tool.schema.not_enforced, *(gaps.listed if gaps else ())]
        return body

    def _call_of(self, tool: CallableTool, gaps: Gaps | None) -> str:
        match self._family.syntax:
            case "json":
                head, tail = f'\n{{"name": "{tool.name}", "arguments": ', "}\n"
                arguments = self._grammar.rule("arguments", tool.schema.embedded(tool.schema.root))
                return f"{literal(head)} {arguments} {literal(tail)}"
            case "parameters":
                return parameters_call(self._grammar, tool, gaps)
            case "gemma":
                return gemma_call(self._grammar, tool, gaps)
