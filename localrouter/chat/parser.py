"""The one state machine of the stream: cuts the text of an answer into thoughts, content and calls of functions.

However the text is cut, what comes out adds up to the same. Pieces are passed on as soon as nothing that comes can
change what they are; the rest is held back, and reading takes linear time.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from localrouter.chat.calls.gemma_reader import read_gemma_call
from localrouter.chat.calls.json_reader import read_json_call
from localrouter.chat.calls.parameters_reader import read_parameters_call
from localrouter.chat.calls.schema_kinds import Schema
from localrouter.chat.calls.source import WHITE, EndOfText, Finder, Mismatch, Named, Reading, Source, Waiting
from localrouter.chat.families.family import Family, Syntax


@dataclass(frozen=True)
class Thought:
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


Part: TypeAlias = Thought | Content | CallBegun | Arguments | CallEnded
_Parts: TypeAlias = Generator[Part | None, None, None]
"""Yields None when it needs more text."""

_READERS: dict[Syntax, Callable[[Source, Mapping[str, Schema]], Reading]] = {
    "json": read_json_call,
    "parameters": read_parameters_call,
    "gemma": read_gemma_call,
}


class Parser:
    """Reads one answer.

    White space next to a mark belongs to the mark; only what stands before it is kept if more text of the same kind
    follows later, so that the two do not run together.

    - A thought reaches from its opening mark to its closing mark; a title first inside it is no part of it. A closing
      mark outside a thought is content, and so is everything that looks like a call when the request has no tools.
    - A call begins with its opening mark, and is sent once it has named one of the tools. At the first character that
      cannot belong to it, it ends: what was taken of it and not sent is content, verbatim and with its opening mark if
      the name was not sent, and what follows is read like any other text. A call whose name was sent ends there with
      the arguments it has, not complete.
    - When the answer ends inside a call that was named, the call ends there too, not complete; what was held back of
      it is part of nothing. Without a name it is content.
    - A missing closing mark after a complete call does no harm.
    """

    def __init__(
        self,
        family: Family,
        *,
        in_thought: bool = False,
        thinks: bool = True,
        has_form: bool = False,
        tools: Mapping[str, Schema] | None = None,
    ) -> None:
        """`in_thought`: the prompt ends inside a thought. `thinks`: thoughts are looked for.

        `has_form`: content is held to a form, JSON for instance; once it has begun, nothing in it is a mark.

        `tools`: for each function that may be called the schema of its arguments, {} where it takes none.
        """
        self._family = family
        self._in_thought = in_thought
        self._has_form = has_form
        self._tools = tools or {}
        begins = [family.thought.begin] if thinks else []
        self._begins = Finder(*begins, *([family.call.begin] if self._tools else []))
        self._source = Source()
        self._thought = _Text(lambda text, start, end: Thought(text))
        self._content = _Text(Content)
        self._calls = 0
        self._parts = self._answer()

    @property
    def expects_calls(self) -> bool:
        """Whether the answer may call functions."""
        return bool(self._tools)

    def feed(self, text: str) -> list[Part]:
        """Return what is certain by now, and was not returned yet; neighbours of one kind are one part."""
        self._source.add(text)
        return self._ready()

    def flush(self) -> list[Part]:
        """Return what was held back: the answer has ended, and so has the parser."""
        self._source.end()
        return self._ready()

    def _ready(self) -> list[Part]:
        parts: list[Part] = []
        for part in self._parts:
            if part is None:
                break
            parts.append(part)
        return _merged(parts)

    def _answer(self) -> _Parts:
        try:
            if self._in_thought:
                yield from self._think(title="")
            while True:
                text, mark = yield from self._source.upto(self._begins)
                if self._has_form and (self._content.has_begun or text.strip(WHITE)):
                    text, mark = text + mark, ""
                yield from self._content.say(text, self._source.position - len(mark))
                if mark == self._family.thought.begin:
                    yield from self._think(title=self._family.thought_title)
                elif mark:
                    yield from self._call(mark)
        except EndOfText:
            yield from self._content.say(self._source.rest(), self._source.position)
            yield from self._content.end()

    def _think(self, *, title: str) -> _Parts:
        """Read a thought whose opening mark was taken, up to its closing mark."""
        self._content.mark()
        self._thought.mark()
        end = Finder(self._family.thought.end)
        try:
            yield from self._source.skip_white()
            start = (yield from self._source.choose((title,))) if title else None
            mark = ""
            while not mark:
                text, mark = yield from self._source.upto(end)
                is_title = text[:1] in WHITE  # "" too: the closing mark follows at once
                yield from self._thought.say(text if is_title or not start else start + text, self._source.position)
                start = None
        except EndOfText:
            yield from self._thought.say(self._source.rest(), self._source.position)
            yield from self._thought.end()
            raise

    def _call(self, begin: str) -> _Parts:
        """Read a call whose opening mark was taken, and its closing mark."""
        index = self._calls
        try:
            self._source.record()
            yield from self._read_call()
        except Mismatch:
            unread = self._source.recorded()
            if self._calls == index:
                unread = begin + unread
            else:
                yield CallEnded(index, complete=False)
            yield from self._content.say(unread, self._source.position)
        except EndOfText:
            if self._calls == index:
                yield from self._content.say(begin + self._source.recorded(), self._source.position)
            else:
                self._source.rest()
                yield CallEnded(index, complete=False)
            raise
        else:
            yield CallEnded(index, complete=True)
            yield from self._end_mark()

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

    def _end_mark(self) -> Waiting[None]:
        """Take the mark after a call, as much of it as there is."""
        self._source.recorded()
        try:
            yield from self._source.skip_white()
            yield from self._source.choose((self._family.call.end,))
        except EndOfText:
            self._source.rest()
            raise


class _Text:
    """One of the two texts of an answer, without the white space next to marks."""

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
        """Return the next text, which ends at `end`, as far as it is certain that no mark follows its white space."""
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

    @property
    def has_begun(self) -> bool:
        """Whether any of it was passed on, white space aside."""
        return not self._is_empty

    def mark(self) -> None:
        """Note that a mark stands here."""
        self._is_after_mark = True
        if self._is_empty:
            self._held.clear()

    def end(self) -> Iterable[Part]:
        """Return the white space that is held back: the answer has ended, and not with a mark."""
        held = "".join(self._held)
        if held and not self._is_after_mark:
            start = self._start or 0
            yield self._part(held, start, start + len(held))


def _merged(parts: list[Part]) -> list[Part]:
    """Return `parts` with neighbours that say more of the same put together."""
    merged: list[Part] = []
    for _, group in groupby(parts, key=lambda part: (type(part), getattr(part, "index", None))):
        first, *others = group
        if others and isinstance(first, Thought | Content | Arguments):
            texts = [first, *(part for part in others if isinstance(part, type(first)))]
            text, last = "".join(part.text for part in texts), texts[-1]
            if isinstance(first, Content) and isinstance(last, Content):
                first = replace(first, text=text, end=last.end)
            else:
                first = replace(first, text=text)
        merged.append(first)
    return merged
