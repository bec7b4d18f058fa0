"""A response that is not streamed, folded from the chunks of a stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from msgspec import UNSET

from localrouter.errors import EngineFailed
from localrouter.schema.chat_response import (
    AssistantMessage,
    ChatChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    FinishReason,
    FunctionCall,
    TokenLogprob,
    ToolCall,
    Usage,
)


@dataclass
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    @property
    def function(self) -> FunctionCall:
        return FunctionCall(self.name, "".join(self.arguments))


@dataclass
class _Choice:
    """One choice, as far as its chunks have arrived."""

    content: list[str] | None = None
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    function: _Call | None = None
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None

    def add(self, choice: ChunkChoice) -> None:
        """Add the choice of a chunk."""
        self._add_delta(choice.delta)
        if choice.logprobs is not None:
            self.logprobs = (self.logprobs or []) + choice.logprobs.content
        self.finish_reason = choice.finish_reason or self.finish_reason

    def _add_delta(self, delta: Delta) -> None:
        if delta.content is not None:
            self.content = self.content or []
            self.content.append(delta.content)
        if delta.reasoning_content:
            self.reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            function = call.function
            if function is not None and function.name is not None:
                self.calls[call.index] = _Call(call.id or "", function.name)
            self.calls[call.index].arguments.append(function.arguments or "" if function else "")
        if delta.function_call is not None:
            if delta.function_call.name is not None:
                self.function = _Call("", delta.function_call.name)
            assert self.function is not None, "a name comes first"
            self.function.arguments.append(delta.function_call.arguments or "")

    def folded(self, index: int) -> ChatChoice:
        """Return the whole choice. Raises EngineFailed where it has no finish reason."""
        if self.finish_reason is None:
            raise EngineFailed("The output ended without a finish reason.")
        calls = [self.calls[number] for number in sorted(self.calls)]
        message = AssistantMessage(
            content=None if self.content is None else "".join(self.content),
            reasoning_content="".join(self.reasoning) or UNSET,
            tool_calls=[ToolCall(id=call.id, function=call.function) for call in calls] or UNSET,
            function_call=self.function.function if self.function else UNSET,
        )
        logprobs = None if self.logprobs is None else ChoiceLogprobs(self.logprobs)
        return ChatChoice(index, message, self.finish_reason, logprobs)


async def fold(chunks: AsyncIterator[list[ChatCompletionChunk]]) -> ChatCompletionResponse:
    """Return the response that all chunks add up to. Raises EngineFailed for a choice without a finish reason."""
    choices: dict[int, _Choice] = {}
    last: ChatCompletionChunk | None = None
    async for several in chunks:
        for last in several:
            for choice in last.choices:
                choices.setdefault(choice.index, _Choice()).add(choice)
    if last is None or not isinstance(last.usage, Usage):
        raise EngineFailed("The output ended without a finish reason.")
    return ChatCompletionResponse(
        id=last.id,
        created=last.created,
        model=last.model,
        choices=[choices[index].folded(index) for index in sorted(choices)],
        usage=last.usage,
        system_fingerprint=last.system_fingerprint,
        timings=last.timings,
        prompt_logprobs=last.prompt_logprobs,
    )
