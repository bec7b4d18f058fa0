"""Makes thoughts, content and calls of functions of an answer's pieces, of which the engine has said what each is.

No delimiter is looked for here. Only the bodies of tool calls are read; text is passed on as soon as nothing that comes
can change what it is, and reading takes linear time.
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
    """More of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class Content:
    """More of what the model says."""

    text: str
    start: int = field(default=0, compare=False)
    """Where it begins in all that was fed, in characters."""
    end: int = field(default=0, compare=False)


@dataclass(frozen=True)
class CallBegun:
    """The model calls a function. Calls are numbered from 0, and one ends before the next begins."""

    index: int
    name: str


@dataclass(frozen=True)
class Arguments:
    """More of the JSON text of a call's arguments, which are an object."""

    index: int
    text: str


@dataclass(frozen=True)
class CallEnded:
    """The arguments of a call are all there: valid JSON if they are `complete`, else the beginning of it."""

    index: int
    complete: bool


Part: TypeAlias = Reasoning | Content | CallBegun | Arguments | CallEnded
_Parts: TypeAlias = Generator[Part | None, None, None]
"""Yields None when it needs more text."""

_READERS: dict[Syntax, Callable[[Source, Mapping[str, Schema]], Reading]] = {
    "json": read_json_call,
    "parameters": read_parameters_call,
    "gemma": read_gemma_call,
}


class Parser:
    """Reads one answer.

    White space next to a delimiter belongs to the delimiter; only what stands before it is kept if more text of the
    same kind follows later, so that the two do not run together.

    - A title first inside a thought is no part of it.
    - A call is sent once it has named one of the tools. At the first character that cannot belong to it, it ends: what
      was taken of it and not sent is content, verbatim and with its opening delimiter if the name was not sent, and so
      is all that follows, its closing delimiter included. A call whose name was sent ends there with the arguments it
      has, not complete.
    - When the answer ends inside a call that was named, the call ends there too, not complete; what was held back of
      it is part of nothing. Without a name it is content.
    """

    def __init__(self, family: Family, tools: Mapping[str, Schema] | None = None) -> None:
        """`tools`: for each function that may be called the schema of its arguments, {} where it takes none."""
        self._family = family
        self._tools = tools or {}
        self._end = 0
        """How many characters have come."""
        self._thought = _Reasoning(family.thought_title)
        self._content = _Text(Content)
        self._calls = 0
        self._source = Source()
        """The body of the call that is being read."""
        self._reading: _Parts | None = None
        """The call that is being read."""
        self._is_verbatim = False
        """Whether what comes of this call is content."""
        self._has_ended = False

    @property
    def expects_calls(self) -> bool:
        """Whether the answer may call functions."""
        return bool(self._tools)

    def feed(self, piece: Piece) -> list[Part]:
        """Return what is certain by now, and was not returned yet."""
        self._end += len(piece.text)
        match piece.kind:
            case "text":
                return list(self._content.say(piece.text, self._end))
            case "reasoning":
                return list(self._reasoning(piece))
            case "tool_call":
                return list(self._tool_call(piece))

    def flush(self) -> list[Part]:
        """Return what was held back: the answer has ended, and so has the parser."""
        self._has_ended = True
        return [*self._end_call(), *self._thought.end(), *self._content.end()]

    def _reasoning(self, piece: Piece) -> Iterable[Part]:
        self._content.mark()
        if piece.edge == "begin":
            self._thought.begin()
        elif piece.edge == "end":
            yield from self._thought.close()
        else:
            yield from self._thought.say(piece.text)

    def _tool_call(self, piece: Piece) -> Iterable[Part]:
        if piece.edge == "begin":
            self._source = Source()
            self._reading = self._call(piece.text, self._end)
            yield from self._ready()
        elif piece.edge == "end":
            yield from self._end_call()
            if self._is_verbatim:
                yield from self._content.say(piece.text, self._end)
        else:
            self._source.add(piece.text)
            yield from self._ready()

    def _end_call(self) -> Iterable[Part]:
        """Return the rest of the call that is being read: nothing more of its body comes."""
        self._source.end()
        yield from self._ready()
        self._reading = None

    def _ready(self) -> Iterable[Part]:
        """Return what the call that is being read has made certain."""
        for part in self._reading or ():
            if part is None:
                break
            yield part

    def _call(self, begin: str, start: int) -> _Parts:
        """Read a call that begins with this delimiter; its body has the place `start` in the answer."""
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
            yield from self._content.say(unread, start + source.position)
        else:
            yield CallEnded(index, complete=True)
        yield from self._after_call(start)

    def _read_call(self) -> _Parts:
        index = self._calls
        for step in _READERS[self._family.syntax](self._source, self._tools):
            if isinstance(step, Named):
                self._calls += 1
                self._content.mark()
                yield CallBegun(index, step.name)
            elif step is not None:
                yield Arguments(index, step)
            else:
                yield None
                continue
            self._source.record()

    def _after_call(self, start: int) -> _Parts:
        """Pass on as content what follows in the body of a call, but for white space after a whole one."""
        source = self._source
        source.recorded()
        try:
            if not self._is_verbatim:
                yield from source.skip_white()
                yield from source.choose((self._family.call.end,))  # the end of the answer may cut it
            while True:
                yield from source.window()
                self._is_verbatim = True
                text = source.rest()
                yield from self._content.say(text, start + source.position)
        except EndOfText:
            if not self._has_ended and (text := source.rest()):
                self._is_verbatim = True
                yield from self._content.say(text, start + source.position)


class _Text:
    """One of the two texts of an answer, without the white space next to delimiters."""

    def __init__(self, part: Callable[[str, int, int], Part]) -> None:
        """`part` makes a part of a text, where it begins, and where it ends."""
        self._part = part
        self._held: list[str] = []
        """White space that is passed on if text follows."""
        self._start: int | None = None
        """Where the part begins that is to be passed on next, if that is known."""
        self._is_empty = True
        self._is_after_mark = False

    def say(self, text: str, end: int) -> Iterable[Part]:
        """Return the next text, which ends at `end`, but white space that a delimiter may follow."""
        if self._is_after_mark:
            text = text.lstrip(WHITE)
        said = text.rstrip(WHITE)
        if self._start is None or self._is_after_mark:
            self._start = end - len(text)
        if said:
            before = "".join(self._held)
            self._held.clear()
            self._is_empty = self._is_after_mark = False
            end -= len(text) - len(said)
            yield self._part(before + said, self._start, end)
            self._start = end
        if said != text:
            self._held.append(text[len(said) :])

    def mark(self) -> None:
        """Note that a delimiter stands here."""
        self._is_after_mark = True
        if self._is_empty:
            self._held.clear()

    def end(self) -> Iterable[Part]:
        """Return the white space that is held back: the answer has ended, and not with a delimiter."""
        held = "".join(self._held)
        if held and not self._is_after_mark:
            start = self._start or 0
            yield self._part(held, start, start + len(held))


class _Reasoning:
    """The thoughts of an answer, without their titles."""

    def __init__(self, title: str) -> None:
        """`title` is what may stand first inside a thought as a word of its own; "": nothing."""
        self._title = title
        self._text = _Text(lambda text, start, end: Reasoning(text))
        self._is_inside = False
        self._start: str | None = None
        """The beginning of a thought, as long as it may turn out to be the title."""

    def begin(self) -> None:
        """Note that a thought begins."""
        self._text.mark()
        self._is_inside = True
        self._start = "" if self._title else None

    def say(self, text: str) -> Iterable[Part]:
        """Return the next text. A thought that was not begun has been begun, and titled, by the prompt."""
        if not self._is_inside:
            self._text.mark()
            self._is_inside = True
        if self._start is not None:
            self._start = text = (self._start + text).lstrip(WHITE)
            if self._title.startswith(text):
                return ()
            self._start = None
            if text.startswith(self._title) and text[len(self._title)] in WHITE:
                text = text.removeprefix(self._title)
        return self._text.say(text, 0)

    def close(self) -> Iterable[Part]:
        """Return the rest of a thought that ends with its delimiter."""
        yield from self._rest()
        self._text.mark()
        self._is_inside = False

    def end(self) -> Iterable[Part]:
        """Return what was held back: the answer has ended."""
        yield from self._rest()
        yield from self._text.end()

    def _rest(self) -> Iterable[Part]:
        start, self._start = self._start, None
        if start and start != self._title:
            yield from self._text.say(start, 0)
