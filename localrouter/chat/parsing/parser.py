"""Turns the pieces of an output into reasoning, content and tool calls. The engine has set the kind of each piece.

The parser searches for no delimiters and parses only the bodies of tool calls. Text is passed on as soon as no later
text can change its kind, and parsing takes linear time.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from localrouter.chat.families.family import Family, Syntax
from localrouter.chat.parsing.gemma_reader import read_gemma_call
from localrouter.chat.parsing.json_reader import read_json_call
from localrouter.chat.parsing.parameters_reader import read_parameters_call
from localrouter.chat.parsing.schema_kinds import Schema
from localrouter.chat.parsing.source import WHITE, EndOfText, Mismatch, Named, Reading, Source
from localrouter.engine.messages import Piece


@dataclass(frozen=True)
class Reasoning:
    """More text of the reasoning."""

    text: str


@dataclass(frozen=True)
class Content:
    """More text of the content."""

    text: str
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    """`start` and `end` are the place of the text in the whole output, in characters."""


@dataclass(frozen=True)
class CallBegun:
    """The beginning of a tool call. Calls are numbered from 0, and one ends before the next begins."""

    index: int
    name: str


@dataclass(frozen=True)
class Arguments:
    """More of the JSON text of a tool call's arguments, which are an object."""

    index: int
    text: str


@dataclass(frozen=True)
class CallEnded:
    """The end of a tool call. Its arguments are valid JSON if they are `complete`, else the beginning of it."""

    index: int
    complete: bool


Part: TypeAlias = Reasoning | Content | CallBegun | Arguments | CallEnded
_Parts: TypeAlias = Generator[Part | None, None, None]
"""Yields parts, and None when more text is needed."""

_READERS: dict[Syntax, Callable[[Source, Mapping[str, Schema]], Reading]] = {
    "json": read_json_call,
    "parameters": read_parameters_call,
    "gemma": read_gemma_call,
}


class Parser:
    """Parses one output.

    White space next to a delimiter belongs to the delimiter; white space before a delimiter is kept if more text of the
    same kind follows later, so that the two texts do not run together.

    - A title at the beginning of reasoning is no part of the reasoning.
    - A call is sent once it has named one of the tools. It ends at the first character that cannot belong to it. Text
      of the call that was not sent by then is content, verbatim and with the opening delimiter if the name was not
      sent; so is all text after it, the closing delimiter included. A call whose name was sent ends there with the
      arguments so far, not complete.
    - When the output ends inside a call that was named, the call ends too, not complete; text of it that was held back
      is dropped. Without a name it is content.
    """

    def __init__(self, family: Family, tools: Mapping[str, Schema] | None = None) -> None:
        """`tools`: the JSON Schema of the arguments, by name, of each function that may be called."""
        self._family = family
        self._tools = tools or {}
        self._end = 0
        self._reasoning = _Reasoning(family.reasoning_title)
        self._content = _Text(Content)
        self._calls = 0
        self._source = Source()
        self._reading: _Parts | None = None
        """Parser of the current tool call; None outside of calls."""
        self._is_verbatim = False
        """Whether the rest of the current tool call is content."""
        self._has_ended = False

    @property
    def expects_calls(self) -> bool:
        """Whether the output may have tool calls."""
        return bool(self._tools)

    def feed(self, piece: Piece) -> list[Part]:
        """Return the parts that are certain after this piece."""
        self._end += len(piece.text)
        match piece.kind:
            case "text":
                return list(self._content.add(piece.text, self._end))
            case "reasoning":
                return list(self._feed_reasoning(piece))
            case "tool_call":
                return list(self._feed_call(piece))

    def flush(self) -> list[Part]:
        """Return the parts that were held back: the output has ended."""
        self._has_ended = True
        return [*self._end_call(), *self._reasoning.end(), *self._content.end()]

    def _feed_reasoning(self, piece: Piece) -> Iterable[Part]:
        self._content.delimiter()
        if piece.edge == "begin":
            self._reasoning.begin()
        elif piece.edge == "end":
            yield from self._reasoning.close()
        else:
            yield from self._reasoning.add(piece.text)

    def _feed_call(self, piece: Piece) -> Iterable[Part]:
        if piece.edge == "begin":
            self._source = Source()
            self._reading = self._call(piece.text, self._end)
            yield from self._ready()
        elif piece.edge == "end":
            yield from self._end_call()
            if self._is_verbatim:
                yield from self._content.add(piece.text, self._end)
        else:
            self._source.add(piece.text)
            yield from self._ready()

    def _end_call(self) -> Iterable[Part]:
        """Return the last parts of the current tool call: its body has ended."""
        self._source.end()
        yield from self._ready()
        self._reading = None

    def _ready(self) -> Iterable[Part]:
        """Return the parts of the current tool call that are certain by now."""
        for part in self._reading or ():
            if part is None:
                break
            yield part

    def _call(self, begin: str, start: int) -> _Parts:
        """Parse a call that begins with this delimiter; its body begins at `start` in the output."""
        index, source = self._calls, self._source
        self._is_verbatim = False
        source.record()
        try:
            yield from self._read_call()
        except (Mismatch, EndOfText):
            is_named = self._calls > index
            if is_named:
                yield CallEnded(index, complete=False)
                if self._has_ended:
                    return
            self._is_verbatim = True
            unread = source.recorded() if is_named else begin + source.recorded()
            yield from self._content.add(unread, start + source.position)
        else:
            yield CallEnded(index, complete=True)
        yield from self._after_call(start)

    def _read_call(self) -> _Parts:
        index = self._calls
        for step in _READERS[self._family.syntax](self._source, self._tools):
            if isinstance(step, Named):
                self._calls += 1
                self._content.delimiter()
                yield CallBegun(index, step.name)
            elif step is not None:
                yield Arguments(index, step)
            else:
                yield None
                continue
            self._source.record()

    def _after_call(self, start: int) -> _Parts:
        """Yield as content all text that follows in the body of a call, but for white space after a complete call."""
        source = self._source
        source.recorded()
        try:
            if not self._is_verbatim:
                yield from source.skip_white()
                yield from source.choose((self._family.call.end,))  # the end of the output may cut it
            while True:
                yield from source.window()
                self._is_verbatim = True
                text = source.rest()
                yield from self._content.add(text, start + source.position)
        except EndOfText:
            if not self._has_ended and (text := source.rest()):
                self._is_verbatim = True
                yield from self._content.add(text, start + source.position)


class _Text:
    """The content or the reasoning of an output, without the white space next to delimiters."""

    def __init__(self, part: Callable[[str, int, int], Part]) -> None:
        """`part` makes a part of a text, its start and its end, both in characters of the output."""
        self._part = part
        self._held: list[str] = []
        """White space that is passed on if text follows."""
        self._start: int | None = None
        self._is_empty = True
        self._is_after_delimiter = False

    def add(self, text: str, end: int) -> Iterable[Part]:
        """Return the parts for more text, which ends at `end`. White space at its end is held back."""
        if self._is_after_delimiter:
            text = text.lstrip(WHITE)
        stripped = text.rstrip(WHITE)
        if self._start is None or self._is_after_delimiter:
            self._start = end - len(text)
        if stripped:
            before = "".join(self._held)
            self._held.clear()
            self._is_empty = self._is_after_delimiter = False
            end -= len(text) - len(stripped)
            yield self._part(before + stripped, self._start, end)
            self._start = end
        if stripped != text:
            self._held.append(text[len(stripped) :])

    def delimiter(self) -> None:
        """Note that a delimiter follows the text so far."""
        self._is_after_delimiter = True
        if self._is_empty:
            self._held.clear()

    def end(self) -> Iterable[Part]:
        """Return the white space that was held back, unless the output ends with a delimiter."""
        held = "".join(self._held)
        if held and not self._is_after_delimiter:
            start = self._start or 0
            yield self._part(held, start, start + len(held))


class _Reasoning:
    """The reasoning of an output, without its title."""

    def __init__(self, title: str) -> None:
        """`title` is the word that each span of reasoning may begin with; "" for none."""
        self._title = title
        self._text = _Text(lambda text, start, end: Reasoning(text))
        self._is_inside = False
        self._start: str | None = None
        """The beginning of a span of reasoning, for as long as it may be the title."""

    def begin(self) -> None:
        """Note that a span of reasoning begins."""
        self._text.delimiter()
        self._is_inside = True
        self._start = "" if self._title else None

    def add(self, text: str) -> Iterable[Part]:
        """Return the parts for more text. Without a `begin`, the prompt has begun the span, title included."""
        if not self._is_inside:
            self._text.delimiter()
            self._is_inside = True
        if self._start is not None:
            self._start = text = (self._start + text).lstrip(WHITE)
            if self._title.startswith(text):
                return ()
            self._start = None
            if text.startswith(self._title) and text[len(self._title)] in WHITE:
                text = text.removeprefix(self._title)
        return self._text.add(text, 0)

    def close(self) -> Iterable[Part]:
        """Return the last parts of a span that ends with its delimiter."""
        yield from self._rest()
        self._text.delimiter()
        self._is_inside = False

    def end(self) -> Iterable[Part]:
        """Return the parts that were held back: the output has ended."""
        yield from self._rest()
        yield from self._text.end()

    def _rest(self) -> Iterable[Part]:
        start, self._start = self._start, None
        if start and start != self._title:
            yield from self._text.add(start, 0)
