"""One choice of a chat completion: from the engine's events to the choices of OpenAI's chunks."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from uuid import uuid4

from localrouter.chat.parsing.parser import Arguments, CallBegun, CallEnded, Content, Parser, Part, Reasoning
from localrouter.chat.response.logprobs import token_logprobs
from localrouter.chat.response.token_alignment import AlignedToken, TokenAlignment
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
    """Turns the events of one choice, in their order, into chunk choices."""

    def __init__(
        self, index: int, parser: Parser, *, has_logprobs: bool, is_old_form: bool, shows_reasoning: bool = True
    ) -> None:
        """`has_logprobs`: the request asks for logprobs. `is_old_form`: a call is OpenAI's older `function_call`.

        Without `shows_reasoning` the chunks have no reasoning.
        """
        self._index = index
        self._parser = parser
        self._has_logprobs = has_logprobs
        self._is_old_form = is_old_form
        self._shows_reasoning = shows_reasoning
        self._alignment = TokenAlignment()
        self._tokens: deque[AlignedToken] = deque()
        """Tokens of text that was not sent yet."""
        self._has_content = self._has_calls = False
        self.usage: TokenUsage | None = None
        """Token counts of the engine, once the choice has ended."""

    def begin(self) -> ChunkChoice:
        """Return the first chunk choice. Its content is null where the output may have tool calls and no content."""
        self._has_content = not self._parser.expects_calls
        return self._choice(Delta(role="assistant", content="" if self._has_content else None), self._logprobs([]))

    def feed(self, events: Iterable[Event]) -> list[ChunkChoice]:
        """Return the chunk choices for events that arrived together; neighbouring text of one kind is one of them.

        Raises EngineFailed or ShuttingDown when the engine has failed, and InvalidRequest when the request's own
        grammar allows no token.
        """
        parts: list[Part] = []
        end: Finished | None = None
        for event in events:
            if isinstance(event, Piece):
                self._tokens += self._alignment.add(event)
                parts += self._parser.feed(event)
            elif isinstance(event, Finished):
                self.usage, end = event.usage, event
                parts += self._parser.flush()
        choices = list(self._choices(parts))
        if end is not None:
            choices += self._end(end)
        return choices

    def _choices(self, parts: list[Part]) -> Iterator[ChunkChoice]:
        """Yield the chunk choices for parts; neighbours of one kind are one choice."""
        for kind, group in groupby(parts, lambda part: (type(part), getattr(part, "index", None))):
            several = list(group)
            if kind[0] is Content:
                self._has_content = True
                tokens = [token for part in several if isinstance(part, Content) for token in self._take(part)]
                yield self._choice(Delta(content=_joined(several)), self._logprobs(tokens))
            elif delta := self._delta(several):
                yield self._choice(delta)

    def _delta(self, parts: list[Part]) -> Delta | None:
        """Return the delta for parts of one kind, other than content; None for the end of a call."""
        match parts[0]:
            case Reasoning():
                return Delta(reasoning_content=_joined(parts)) if self._shows_reasoning else None
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
            yield self._choice(Delta(content=""), self._logprobs([]))
        yield self._choice(Delta(), finish_reason=self._reason(cut=end.reason == "length"))

    def _reason(self, *, cut: bool) -> FinishReason:
        if cut:
            return "length"
        if not self._has_calls:
            return "stop"
        return "function_call" if self._is_old_form else "tool_calls"

    def _take(self, content: Content) -> Iterator[Logprob]:
        """Yield the tokens of some content. Tokens before it are of delimiters and reasoning, and are dropped."""
        while self._tokens and self._tokens[0].end <= content.start:
            self._tokens.popleft()
        while self._tokens and self._tokens[0].start < content.end:
            yield self._tokens.popleft().token

    def _logprobs(self, tokens: list[Logprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(token_logprobs(tokens)) if self._has_logprobs else None

    def _choice(
        self, delta: Delta, logprobs: ChoiceLogprobs | None = None, finish_reason: FinishReason | None = None
    ) -> ChunkChoice:
        return ChunkChoice(self._index, delta, finish_reason, logprobs)


def _joined(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if not isinstance(part, CallBegun | CallEnded))


BY_GRAMMAR = ("grammar_dead_end", "grammar_failed")
"""Error codes for a grammar of the request that allows no further token: an error of the client."""


def failure(end: Finished) -> LocalrouterError:
    """Return the error for a generation that was cancelled or failed."""
    message = end.message or "The request was cancelled."
    if end.code in BY_GRAMMAR:
        return InvalidRequest(message, code=end.code)
    return ShuttingDown(message) if end.code == ShuttingDown.code else EngineFailed(message, code=end.code)
