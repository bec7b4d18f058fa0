"""Spans of an output: its text cut into reasoning, tool calls and other text, at the delimiters around them.

A delimiter that is a token of the vocabulary is that token and nothing else: the same characters spelled with other
tokens are text. A delimiter without a token of its own is found by its characters, over the borders of tokens. Pure.
"""

from collections.abc import Mapping
from typing import NamedTuple

from localrouter.engine.generation_request import Thinking, ToolCalls
from localrouter.engine.messages import Edge, PieceKind
from localrouter.engine.output.stop_strings import Automaton

_WHITE = " \t\r\n"


class Span(NamedTuple):
    """A part of an output that is all of one kind: a delimiter if it has an `edge`, else text between delimiters."""

    text: str
    kind: PieceKind = "text"
    edge: Edge | None = None

    def joins(self, other: "Span") -> bool:
        """Whether `other`, which follows, is more of the same text."""
        return self.kind == other.kind and self.edge is None and other.edge is None


class _Delimiter:
    """A delimiter, and how much of it the text so far ends with where it is found by its characters."""

    def __init__(self, text: str, token: int | None) -> None:
        self.text = text
        self.token = token
        self._automaton = Automaton(text) if token is None else None

    @property
    def matched(self) -> int:
        """Number of characters at the end of the text that may begin the delimiter."""
        return self._automaton.matched if self._automaton else 0

    def step(self, character: str) -> bool:
        """Take the next character; return whether it completes the delimiter."""
        return self._automaton is not None and self._automaton.step(character)

    def reset(self) -> None:
        """Forget the text so far."""
        if self._automaton:
            self._automaton.reset()


class _Quoted:
    """Quoted text inside a call, as JSON strings, in which the characters of the call's end are text."""

    def __init__(self, quotes: tuple[str, str], escape: str) -> None:
        self._begin, self._end = map(Automaton, quotes)
        self._escape = escape
        self._is_inside = self._is_escaped = False

    def hides(self, character: str) -> bool:
        """Take the next character of the call; return whether it is inside quoted text, the last quote included."""
        if not self._is_inside:
            self._is_inside = self._begin.step(character)
            self._end.reset()
            return self._is_inside
        if self._is_escaped:
            self._is_escaped = False
        elif character == self._escape:
            self._is_escaped = True
        elif self._end.step(character):
            self.reset()
        return True

    def reset(self) -> None:
        """Return to the state in which no quote is open."""
        self._is_inside = self._is_escaped = False
        self._begin.reset()


class _Kind:
    """Delimiters of one kind of span: reasoning, or a tool call."""

    def __init__(self, kind: PieceKind, begin: _Delimiter, end: _Delimiter, quoted: _Quoted | None = None) -> None:
        self.kind = kind
        self.begin = begin
        self.end = end
        self.quoted = quoted


class Spans:
    """Cuts one output into spans. Inside a span only its own end is a delimiter, outside only a begin is one."""

    def __init__(
        self,
        thinking: Thinking | None = None,
        calls: ToolCalls | None = None,
        tokens: Mapping[str, int] | None = None,
        *,
        structured: bool = False,
    ) -> None:
        """`tokens` maps the delimiters that are tokens of the vocabulary to their ids.

        Without `thinking` no reasoning is found, without `calls` no tool call. `structured`: once text has begun, white
        space aside, nothing is a delimiter.
        """
        numbers = tokens or {}
        self._kinds: list[_Kind] = []
        if thinking:
            begin, end = (_Delimiter(text, numbers.get(text)) for text in (thinking.begin, thinking.end))
            self._kinds.append(_Kind("reasoning", begin, end))
        self._inside = self._kinds[0] if thinking and thinking.is_open else None
        if calls:
            begin, end = (_Delimiter(text, numbers.get(text)) for text in (calls.begin, calls.end))
            quoted = _Quoted(calls.quotes, calls.escape) if calls.quotes else None
            self._kinds.append(_Kind("tool_call", begin, end, quoted))
        every = [delimiter for kind in self._kinds for delimiter in (kind.begin, kind.end)]
        self._names = {delimiter.token: delimiter.text for delimiter in every if delimiter.token is not None}
        self._is_spelled = any(delimiter.token is None for delimiter in every)
        self._is_structured = structured
        self._expected = self._next()
        """Delimiters that may come next."""
        self._held = ""
        """End of the text that is held back, because it may begin a delimiter."""

    @property
    def in_reasoning(self) -> bool:
        """Whether the output so far ends inside reasoning."""
        return self._inside is not None and self._inside.kind == "reasoning"

    def feed(self, text: str, token: int | None = None) -> list[Span]:
        """Return the spans that are certain after one more token; text that may begin a delimiter is held back.

        `text` is the text that the token completes; where the token is a delimiter it ends with the delimiter.
        """
        name = self._names.get(token) if token is not None else None
        if name is None:
            return self._read(text)
        spans = [*self._read(text.removesuffix(name)), *self._release()]
        found = next((each for each in self._expected if each.token == token), None)
        return spans + (self._read(name) if found is None else [self._cross(found)])

    def flush(self, text: str = "") -> list[Span]:
        """Return the rest at the end of the output: the held-back text and `text`."""
        return [*self._read(text), *self._release()]

    @property
    def _kind(self) -> PieceKind:
        return "text" if self._inside is None else self._inside.kind

    def _next(self) -> list[_Delimiter]:
        return [kind.begin for kind in self._kinds] if self._inside is None else [self._inside.end]

    def _read(self, text: str) -> list[Span]:
        """Take text of tokens that are no delimiters; return the spans that are certain."""
        if not self._is_spelled:
            self._note(text)
            return [Span(text, self._kind)] if text else []
        spans: list[Span] = []
        part, self._held = self._held, ""
        for character in text:
            part += character
            if (found := self._step(character)) is not None:
                spans += [Span(part[: -len(found.text)], self._kind), self._cross(found)]
                part = ""
            elif self._is_structured:
                self._note(part[: len(part) - self._matched])
        certain = len(part) - self._matched
        self._held = part[certain:]
        return [span for span in [*spans, Span(part[:certain], self._kind)] if span.text]

    @property
    def _matched(self) -> int:
        """Number of characters at the end of the text that may begin a delimiter."""
        return max((each.matched for each in self._expected), default=0)

    def _step(self, character: str) -> _Delimiter | None:
        """Take the next character; return the delimiter that it completes."""
        if self._inside is not None and self._inside.quoted is not None and self._inside.quoted.hides(character):
            self._inside.end.reset()
            return None
        complete = [each for each in self._expected if each.step(character)]
        return complete[0] if complete else None

    def _cross(self, delimiter: _Delimiter) -> Span:
        """Enter or leave a span at a delimiter, and return the delimiter's own span."""
        if self._inside is None:
            self._inside = next(kind for kind in self._kinds if kind.begin is delimiter)
            if self._inside.quoted:
                self._inside.quoted.reset()
            span = Span(delimiter.text, self._inside.kind, "begin")
        else:
            span = Span(delimiter.text, self._inside.kind, "end")
            self._inside = None
        self._expected = self._next()
        for expected in self._expected:
            expected.reset()
        return span

    def _release(self) -> list[Span]:
        """Return the held-back text, which is no part of a delimiter."""
        held, self._held = self._held, ""
        for delimiter in self._expected:
            delimiter.reset()
        self._note(held)
        return [Span(held, self._kind)] if held else []

    def _note(self, text: str) -> None:
        """Note text that is certain: the first text of structured output ends the search for delimiters."""
        if self._is_structured and self._inside is None and text.strip(_WHITE):
            self._kinds, self._expected, self._is_spelled = [], [], False
