"""One answer of a completion: from the engine's events to what OpenAI's chunks say of it."""

import codecs
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from uuid import uuid4

from localrouter.chat.parsing.parser import Arguments, CallBegun, CallEnded, Content, Parser, Part, Reasoning
from localrouter.chat.response.logprobs import shown
from localrouter.engine.messages import Event, Finished, Logprob, Piece, TokenUsage
from localrouter.errors import EngineFailed, InvalidRequest, LocalrouterError, ShuttingDown
from localrouter.schema.chat_response import (
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    DeltaCall,
    DeltaFunction,
    FinishReason,
)


class ChoiceStream:
    """Reads the events of one answer, in their order.

    `has_logprobs` says whether they were asked for, `is_old_form` whether a call is OpenAI's older `function_call`.
    """

    def __init__(self, index: int, parser: Parser, *, has_logprobs: bool, is_old_form: bool) -> None:
        self._index = index
        self._parser = parser
        self._has_logprobs = has_logprobs
        self._is_old_form = is_old_form
        self._told = _Told()
        self._has_content = self._has_calls = False
        self.usage: TokenUsage | None = None
        """What was counted, when the answer has ended."""

    def begin(self) -> ChunkChoice:
        """Return what comes first. Content that may turn out to be null, beside calls, is not begun."""
        self._has_content = not self._parser.expects_calls
        return self._choice(Delta(role="assistant", content="" if self._has_content else None), self._shown([]))

    def feed(self, events: Iterable[Event]) -> list[ChunkChoice]:
        """Return what these events add: what came together, and is of one kind, in one piece.

        Raises EngineFailed, or ShuttingDown, when the engine could not finish, and InvalidRequest when the request's
        own grammar leaves nothing to say.
        """
        parts: list[Part] = []
        end: Finished | None = None
        for event in events:
            if isinstance(event, Piece):
                self._told.add(event)
                parts += self._parser.feed(event)
            elif isinstance(event, Finished):
                self.usage, end = event.usage, event
                parts += self._parser.flush()
        choices = list(self._choices(parts))
        if end is not None:
            choices += self._end(end)
        return choices

    def _choices(self, parts: list[Part]) -> Iterator[ChunkChoice]:
        """Yield what the parts say, neighbours of one kind together."""
        for kind, group in groupby(parts, lambda part: (type(part), getattr(part, "index", None))):
            several = list(group)
            if kind[0] is Content:
                self._has_content = True
                tokens = [token for part in several if isinstance(part, Content) for token in self._told.take(part)]
                yield self._choice(Delta(content=_joined(several)), self._shown(tokens))
            elif delta := self._delta(several):
                yield self._choice(delta)

    def _delta(self, parts: list[Part]) -> Delta | None:
        """Return what parts of one kind say, content aside; None where there is nothing to say."""
        match parts[0]:
            case Reasoning():
                return Delta(reasoning_content=_joined(parts))
            case CallBegun(index, name):
                self._has_calls = True
                function = DeltaFunction(name, "")
                if self._is_old_form:
                    return Delta(function_call=function)
                return Delta(tool_calls=[DeltaCall(index, f"call_{uuid4().hex[:24]}", "function", function)])
            case Arguments(index):
                function = DeltaFunction(arguments=_joined(parts))
                if self._is_old_form:
                    return Delta(function_call=function)
                return Delta(tool_calls=[DeltaCall(index, function=function)])
            case _:
                return None

    def _end(self, end: Finished) -> Iterator[ChunkChoice]:
        if end.reason not in ("stop", "length"):
            raise failure(end)
        if not self._has_content and not self._has_calls:
            yield self._choice(Delta(content=""), self._shown([]))
        yield self._choice(Delta(), finish_reason=self._reason(cut=end.reason == "length"))

    def _reason(self, *, cut: bool) -> FinishReason:
        if cut:
            return "length"
        if not self._has_calls:
            return "stop"
        return "function_call" if self._is_old_form else "tool_calls"

    def _shown(self, tokens: list[Logprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(shown(tokens)) if self._has_logprobs else None

    def _choice(
        self, delta: Delta, logprobs: ChoiceLogprobs | None = None, finish_reason: FinishReason | None = None
    ) -> ChunkChoice:
        return ChunkChoice(self._index, delta, finish_reason, logprobs)


class _Told:
    """The tokens of an answer that were told, until the content that they are part of is passed on."""

    def __init__(self) -> None:
        self._groups: deque[tuple[int, list[Logprob]]] = deque()
        """Tokens that end with a character, and where in the answer that is, in characters."""
        self._end = 0

    def add(self, piece: Piece) -> None:
        """Note the tokens of a piece."""
        decoder, group, end = codecs.getincrementaldecoder("utf-8")(errors="replace"), list[Logprob](), self._end
        self._end += len(piece.text)
        for token in piece.logprobs:
            group.append(token)
            if characters := len(decoder.decode(token.piece)):
                end += characters
                self._groups.append((end, group))
                group = []
        if group:
            self._groups.append((self._end, group))

    def take(self, content: Content) -> Iterator[Logprob]:
        """Yield the tokens that some of this content is made of. Those before it are of delimiters and thoughts."""
        while self._groups and self._groups[0][0] <= content.start:
            self._groups.popleft()
        while self._groups:
            end, tokens = self._groups.popleft()
            yield from tokens
            if end >= content.end:
                return


def _joined(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if not isinstance(part, CallBegun | CallEnded))


BY_GRAMMAR = ("grammar_dead_end", "grammar_failed")
"""Codes of answers that could not go on by the grammar that the client promised itself: not our fault."""


def failure(end: Finished) -> LocalrouterError:
    """Return what an answer that neither stopped nor was cut has ended with."""
    message = end.message or "The request was cancelled."
    if end.code in BY_GRAMMAR:
        return InvalidRequest(message, code=end.code)
    return ShuttingDown(message) if end.code == ShuttingDown.code else EngineFailed(message, code=end.code)
