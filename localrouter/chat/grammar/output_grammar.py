"""From what a request wants to one grammar for all of an answer: thoughts, text, calls, content in a promised form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from localrouter.chat.families.family import Family
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.gemma_calls import gemma_call
from localrouter.chat.grammar.json_schema import read_schema
from localrouter.chat.grammar.lark import LarkGrammar, literal, one_of, regex, text_without
from localrouter.chat.grammar.parameter_calls import parameters_call
from localrouter.chat.grammar.pattern import anchored, check_pattern
from localrouter.errors import InvalidRequest

_BREAK = regex(r"\n{1,2}")
"""What may stand after a thought and between calls."""


@dataclass(frozen=True)
class AnyText:
    """Content without a promised form."""


@dataclass(frozen=True)
class JsonSchema:
    """Content that is JSON of this schema; `param` is where the schema stands in the request."""

    schema: Any
    param: str = "response_format.json_schema.schema"


@dataclass(frozen=True)
class Regex:
    """Content that a regular expression matches as a whole."""

    pattern: str
    param: str = "response_format.regex"


@dataclass(frozen=True)
class Lark:
    """Content of a grammar that the client wrote, in llguidance's dialect."""

    grammar: str


Content: TypeAlias = AnyText | JsonSchema | Regex | Lark

ANY_OBJECT = {"type": "object"}
"""The schema of `json_object`."""


@dataclass(frozen=True)
class OutputRules:
    """What a request wants of an answer."""

    content: Content = AnyText()
    thought: Literal["none", "open", "optional"] = "none"
    """Whether there is one: open where the prompt ends inside it, optional where the model may begin one."""
    tools: Sequence[CallableTool] = ()
    """The functions that may be called."""
    must_call: bool = False
    """Whether at least one of them must be called; then there is no content."""
    parallel: bool = True
    """Whether there may be several calls; else the answer ends with the first."""
    has_shown_tools: bool = False
    """Whether the prompt shows functions, although none may be called: then the text has no calls in it."""


def answer_grammar(answer: OutputRules, family: Family, marks: Mapping[str, int]) -> str | None:
    """Return the grammar of an answer, in llguidance's Lark; None where any text will do.

    `marks` are the control tokens of the model, with their numbers. Raises InvalidRequest for a schema or a regular
    expression that is wrong or cannot be enforced, naming its place.
    """
    if isinstance(answer.content, AnyText) and not answer.tools and not answer.has_shown_tools:
        return None
    if isinstance(answer.content, Lark) and not answer.tools and answer.thought == "none":
        return answer.content.grammar
    writer = _Writer(answer, family, marks)
    return writer.written()


def _check_regex(regex: Regex) -> None:
    """Raise InvalidRequest for what is no regular expression, or none that can be enforced; it is no schema."""
    try:
        check_pattern(regex.pattern, regex.param)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=regex.param, code="invalid_grammar") from None


class _Writer:
    def __init__(self, answer: OutputRules, family: Family, marks: Mapping[str, int]) -> None:
        self._answer = answer
        self._family = family
        self._grammar = LarkGrammar(marks)

    def written(self) -> str:
        return self._grammar.written(f"{self._thought()} {self._rest()}".strip())

    def _rest(self) -> str:
        if not self._answer.tools:
            return self._content()
        if self._answer.must_call:
            return self._calls()
        if isinstance(self._answer.content, AnyText):
            return self._text_and_calls()
        return one_of([self._content(), self._calls()])

    def _thought(self) -> str:
        if self._answer.thought == "none":
            return ""
        begin, end = self._family.thought.begin, self._family.thought.end
        closing = self._until("thought", end, text_without(end))
        after = self._grammar.terminal("break", _BREAK)
        if self._answer.thought == "open":
            return f"{closing} {after}?"
        return f"({self._grammar.mark(begin)} {closing} {after}?)?"

    def _until(self, stem: str, mark: str, text: str) -> str:
        """Return a body for text and the mark that ends it."""
        if self._grammar.is_token(mark):
            return f"{self._grammar.terminal(stem, text)} {self._grammar.mark(mark)}"
        return self._grammar.lazy(stem, f"( {text} ) {literal(mark)}")

    def _content(self) -> str:
        content = self._answer.content
        match content:
            case JsonSchema():
                schema = read_schema(content.schema, content.param)
                return schema.embedded(schema.root)
            case Regex():
                _check_regex(content)
                return self._grammar.terminal("content", regex(anchored(content.pattern)))
            case Lark():
                return f"%lark {{\n{content.grammar}\n}}"
            case AnyText():
                return self._text()

    def _text(self) -> str:
        """Return a terminal for text that begins neither a thought nor a call."""
        begins = [mark for mark in (self._family.thought.begin, self._family.call.begin) if mark]
        return self._grammar.terminal("text", text_without(*begins))

    def _text_and_calls(self) -> str:
        begin = self._family.call.begin
        thought = [mark for mark in [self._family.thought.begin] if mark]
        before = text_without(begin, *thought) if self._grammar.is_token(begin) else text_without(*thought)
        called = f"{self._until('text', begin, before)} {self._call()}"
        if self._answer.parallel:
            return f"({called})* {self._text()}"
        return one_of([called, self._text()])

    def _calls(self) -> str:
        call = self._grammar.rule("called", f"{self._grammar.mark(self._family.call.begin)} {self._call()}")
        if not self._answer.parallel:
            return call
        return f"{call} ({self._grammar.terminal('break', _BREAK)}? {call})*"

    def _call(self) -> str:
        """Return a rule for a call of any function, from after the mark that begins it to the one that ends it."""
        bodies = [self._written_call(tool) for tool in self._answer.tools]
        return self._grammar.rule("call", f"{one_of(bodies)} {self._grammar.mark(self._family.call.end)}")

    def _written_call(self, tool: CallableTool) -> str:
        match self._family.syntax:
            case "json":
                head, tail = f'\n{{"name": "{tool.name}", "arguments": ', "}\n"
                return f"{literal(head)} {tool.schema.embedded(tool.schema.root)} {literal(tail)}"
            case "parameters":
                return parameters_call(self._grammar, tool)
            case "gemma":
                return gemma_call(self._grammar, tool)
